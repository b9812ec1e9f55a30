/* dialect.h - which form of EDNS a server address takes: all of it, no options, or none.
 *
 * Some servers answer a query that has EDNS, or an option that they do not know, with FORMERR, NOTIMP, SERVFAIL or
 * BADVERS, or not at all (RFC 6891 section 7). The exchange is repeated in a plainer form then; a form that helped is
 * used at once from then on, for DIALECT_MS.
 * Over TLS only "no options" is learnt: a query without EDNS has no padding (RFC 8467), so each one begins with it.
 * Shared: what was learnt is in the address's row of the status page, for all threads; the rest belongs to one thread.
 * Units:  *_ms are clock_ms().
 */
#ifndef NODEDOT_FORWARD_DIALECT_H
#define NODEDOT_FORWARD_DIALECT_H

#include "nodedot/forward/exchange.h"
#include "nodedot/observe/metrics.h"

#include <stdbool.h>
#include <stdint.h>

/* How long something learnt holds: as long as others remember it (Unbound and BIND: 15 to 30 minutes). A server that was
 * mended is asked with EDNS again without a restart of ours. */
#define DIALECT_MS (15 * 60 * 1000)
/* Failures that may be blamed on EDNS before a server answered anything well. A server whose own upstream is dead says
 * SERVFAIL to everything, and must not be asked three times for each query. */
#define DIALECT_TRIALS 8
/* Questions that were answered only in a plainer form after silence: one may have been a lost datagram. */
#define DIALECT_SILENCES 2

struct dialect {
    struct address_status *status;
    uint64_t known_ms[2]; /* last good answer to a query with all its EDNS: by datagram, over a stream; 0: none */
    uint64_t trial_ms;    /* when the first of the trials happened */
    unsigned trials;      /* failures that were blamed on EDNS, without a good answer since */
    unsigned silences;    /* see DIALECT_SILENCES */
};

/* Gives the form what is known of the server. form->stream says how it will be asked. */
void dialect_apply(const struct dialect *dialect, struct exchange_form *form, uint64_t now_ms);

/* The server disliked the form of an exchange: it is repeated in a plainer one. */
void dialect_disliked(struct dialect *dialect, uint64_t now_ms);

/* A good answer (NOERROR or NXDOMAIN) came to the exchange. silent: what it was asked in fuller form before is still
 * without an answer. */
void dialect_answered(struct dialect *dialect, const struct exchange *exchange, bool silent, uint64_t now_ms);

/* What is known of the address with this row, for people: "full", "no options" or "none". */
const char *dialect_describe(const struct address_status *row, uint64_t now_ms);

#endif

/* dialect.h - the form of EDNS that a server address accepts: full, without options, or none.
 *
 * Some servers answer a query that has EDNS, or an option that they do not know, with FORMERR, NOTIMP, SERVFAIL or
 * BADVERS, or not at all (RFC 6891 section 7). The exchange is then repeated in a plainer form. A form that helped is
 * used directly for DIALECT_MS.
 * Over TLS only "no options" is learnt: a query without EDNS has no padding (RFC 8467), so each one starts with EDNS.
 * Shared: what was learnt is stored in the address's row of the status page, for all threads; the rest belongs to one
 *         thread.
 * Units:  *_ms are clock_ms().
 */
#ifndef NODEDOT_FORWARD_DIALECT_H
#define NODEDOT_FORWARD_DIALECT_H

#include "nodedot/forward/exchange.h"
#include "nodedot/observe/metrics.h"

#include <stdbool.h>
#include <stdint.h>

/* How long a learnt form is used; Unbound and BIND use 15 to 30 minutes. A server that was repaired gets EDNS again
 * without a restart of nodedot. */
#define DIALECT_MS (15 * 60 * 1000)
/* Failures that may be caused by EDNS before a server has answered anything successfully. A server whose own upstream
 * is down answers SERVFAIL to everything, and must not be asked three times for each query. */
#define DIALECT_TRIALS 8
/* Questions that were answered only in a plainer form after silence: a single one may have been a lost datagram. */
#define DIALECT_SILENCES 2

struct dialect {
    struct address_status *status;
    uint64_t known_ms[2]; /* last good answer to a query with all its EDNS: by datagram, over a stream; 0: none */
    uint64_t trial_ms;    /* when the first of the trials happened */
    unsigned trials;      /* failures that EDNS may have caused, without a good answer since */
    unsigned silences;    /* see DIALECT_SILENCES */
};

/* Applies what is known of the server to form. form->stream says how it will be asked. */
void dialect_apply(const struct dialect *dialect, struct exchange_form *form, uint64_t now_ms);

/* The server did not accept the form of an exchange: it is repeated in a plainer one. */
void dialect_disliked(struct dialect *dialect, uint64_t now_ms);

/* A good answer (NOERROR or NXDOMAIN) came to the exchange. silent: an earlier try in a fuller form is still without an
 * answer. */
void dialect_answered(struct dialect *dialect, const struct exchange *exchange, bool silent, uint64_t now_ms);

/* The known form of the address with this row, for people: "full", "no options" or "none". */
const char *dialect_describe(const struct address_status *row, uint64_t now_ms);

#endif

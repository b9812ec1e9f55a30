/* tickets.h - the TLS sessions that may be resumed at one server address.
 *
 * A resumed session shows no certificate, so a ticket is worth as much as the proof that earned it: it dies with the
 * identity epoch, and with the age of that proof. Each is used once (RFC 8446 appendix C.4).
 * Memory: TICKETS_MAX tickets, each owned by the store. Shared: by nobody; a thread has a store for each address.
 */
#ifndef NODEDOT_FORWARD_TICKETS_H
#define NODEDOT_FORWARD_TICKETS_H

#include "nodedot/tls/tls.h"

#include <stdint.h>

/* One for each connection that may have to be reopened at once. */
#define TICKETS_MAX 4

struct kept_ticket {
    struct tls_ticket *ticket; /* NULL: free */
    uint32_t epoch;
    uint64_t proved_ms;
};

struct tickets {
    struct kept_ticket kept[TICKETS_MAX];
};

/* Takes a ticket of this epoch out whose proof is not older than life_ms, or NULL. *proved_ms: clock_ms() of that proof.
 * Releases the others that it passes. */
struct tls_ticket *tickets_take(struct tickets *tickets, uint32_t epoch, uint64_t life_ms, uint64_t *proved_ms);

/* Keeps a ticket, in the place of the oldest if need be. NULL is passed over. */
void tickets_keep(struct tickets *tickets, struct tls_ticket *ticket, uint32_t epoch, uint64_t proved_ms);

/* Releases all. */
void tickets_drop(struct tickets *tickets);

#endif

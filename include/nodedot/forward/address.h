/* address.h - one address of an upstream group, as one thread sees it: its connections, its health, its tickets.
 *
 * Health:      from the queries of clients, and from a query of our own (". NS") where there are none: an address that
 *              fails is tried again after a growing pause, and probed before it counts as good again; one that was not
 *              needed for a while is probed while others of its group are asked. What the threads know together is in
 *              standing.h.
 * Stall:       an address that accepts and never answers is found by comparison with the others, see hedge.h.
 * Connections: one is opened at the start and whenever one closes while queries come; another when the least loaded
 *              one is busy, up to the limit.
 */
#ifndef NODEDOT_FORWARD_ADDRESS_H
#define NODEDOT_FORWARD_ADDRESS_H

#include "nodedot/forward/upstream.h"

/* Prepares the index-th address of upstream. False: no memory. */
bool address_init(struct address *address, struct upstream *upstream, size_t index, const struct forward_setup *setup);

/* The connection with the fewest queries out that can take one more, or NULL. */
struct stream *address_stream(const struct address *address);

/* Queries that are out there. */
unsigned address_outstanding(const struct address *address);

/* Opens one more connection, unless one is on its way or none may be opened. */
void address_open_stream(struct address *address);

/* Writes the attempt to a connection that is ready. False: there is none. */
bool address_ask(struct attempt *attempt);

/* Puts the attempt in the queue for the next connection. */
void address_wait(struct address *address, struct attempt *attempt);

/* Sends a query of our own to see whether it answers. */
void address_probe(struct address *address);

/* Something went wrong there: counts it and tries again later. reason: for the log. */
void address_failed(struct address *address, const char *reason);

/* A valid answer came to what was sent at sent_us. */
void address_answered(struct address *address, uint64_t sent_us);

/* Another address answered within took_us what the attempt, still unanswered, asks here: enough of these, and nothing
 * answered in between, show that the address is stalled. */
void address_outrun(const struct attempt *attempt, uint64_t took_us);

/* Sets the timer of a working address anew: how often it is probed depends on whether its group's fallback serves. */
void address_rewatch(struct address *address);

/* Does it look as if it would answer now? */
bool address_is_good(const struct address *address);

/* Closes connections and tickets of an identity that is over; opens one where there is none. */
void address_recheck(struct address *address);

/* Writes to the stream what waits for one; called when it has become ready or has room again. */
void address_serve_waiting(struct stream *stream);

/* Events of its streams. At address_stream_closed() the attempts that were out are still in the slots. */
void address_stream_ready(struct stream *stream);
void address_stream_closed(struct stream *stream, bool was_ready, const char *reason);

/* A ticket for a new connection, taken out of the store; NULL: none is good any more. proved_ms: of the proof that
 * earned it. */
struct tls_ticket *address_take_ticket(struct address *address, uint64_t *proved_ms);

/* Keeps a ticket, in the oldest one's place if need be; NULL is passed over. */
void address_keep_ticket(struct address *address, struct tls_ticket *ticket, uint32_t epoch, uint64_t proved_ms);
void address_drop_tickets(struct address *address);

#endif

/* trace.h - collects the query log's data about a query while it is answered.
 *
 * One trace per thread. It begins with each query; the code that makes an answer notes its source; the trace is logged
 * when the answer is complete. While the log is off, a query costs one comparison and a store.
 */
#ifndef NODEDOT_RESOLVER_TRACE_H
#define NODEDOT_RESOLVER_TRACE_H

#include "nodedot/base/clock.h"
#include "nodedot/forward/address.h"
#include "nodedot/listener/client.h"
#include "nodedot/observe/query_log.h"

struct trace {
    struct query_tap *tap;        /* NULL: the log is off */
    uint64_t received_us;         /* clock_us() of the current query; 0: it is not logged */
    enum query_source source;     /* source of the last answer, or the reason why there is none */
    uint16_t rcode_high;          /* upper eight bits of its RCODE, as far as the client takes them */
    const struct address *server; /* that sent it, for QUERY_FROM_UPSTREAM */
};

/* A query has come. */
static inline void trace_begin(struct trace *trace)
{
    trace->received_us = trace->tap != NULL && query_tap_wants(trace->tap) ? clock_us() : 0;
}

/* An answer was made, or the query is dropped. */
static inline void trace_note(struct trace *trace, enum query_source source, uint16_t rcode_high)
{
    trace->source = source;
    trace->rcode_high = rcode_high;
}

/* Logs a query of received_us (not 0) with what was noted last. answer: NULL or size 0: there is none. */
void trace_put(const struct trace *trace, const struct client *client, const struct query_message *message,
               const uint8_t *question, uint64_t received_us, const uint8_t *answer, size_t size);

/* The same for the octets that were received. */
void trace_put_received(const struct trace *trace, const struct client *client, const uint8_t *octets,
                        size_t octets_size, const uint8_t *answer, size_t size);

#endif

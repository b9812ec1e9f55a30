/* query.h - a query's life: admission, parsing, cache, local answers, zone, flight, answer.
 *
 * One engine a thread. Listeners call query_receive(); what cannot be answered at once waits, bounded by
 * `in-flight`, for the forward layer's events. Every query that was received is answered, or dropped and counted by
 * cause.
 *
 * In flight: the limit holds for all threads together, and clients share it (share.h): a query that is pushed out is
 *            answered as one past the limit, before the loop sleeps, and a question that nobody waits for any more is
 *            given up. A thread that holds less than its equal part may pass the limit for a moment; one that holds
 *            more gives places up at its next turn.
 */
#ifndef NODEDOT_RESOLVER_QUERY_H
#define NODEDOT_RESOLVER_QUERY_H

#include "nodedot/base/pool.h"
#include "nodedot/cache/cache.h"
#include "nodedot/config/config.h"
#include "nodedot/dns/bailiwick.h"
#include "nodedot/forward/engine.h"
#include "nodedot/forward/zone.h"
#include "nodedot/listener/client.h"
#include "nodedot/observe/metrics.h"
#include "nodedot/resolver/admission.h"
#include "nodedot/resolver/refresh.h"
#include "nodedot/resolver/share.h"
#include "nodedot/resolver/trace.h"

#include <stdatomic.h>

struct query_engine {
    const struct config *config;
    const struct zone_table *zones;
    struct admission *admission;
    const struct hash_key *cookie_key;
    _Atomic uint32_t *in_flight; /* queries that wait, over all threads */
    struct cache *cache;
    struct metrics *metrics;
    struct busiest_sketch *busiest;
    struct bailiwick *bailiwick;
    struct pool queries;
    struct share share;      /* of those that wait */
    struct trace trace;      /* of the query in hand */
    struct query *displaced; /* pushed out and not answered yet */
    struct refresh refresh;
    bool draining; /* clients are told to close their connections (RFC 7828 section 3.3.2) */
    struct engine forward;
};

/* Everything that the threads of a generation share. */
struct query_setup {
    const struct config *config;
    const struct zone_table *zones;
    struct admission *admission;
    const struct hash_key *cookie_key; /* of server cookies */
    _Atomic uint32_t *in_flight;
    void *cache;
    struct query_tap *tap; /* into the query log; NULL: it is off */
    struct busiest_sketch *busiest;
    struct engine_setup forward; /* events and owner are filled in here */
};

/* Takes all memory, reads trust anchors. False, and why in error (TLS_ERROR octets). */
bool query_engine_init(struct query_engine *engine, const struct query_setup *setup, char *error);
void query_engine_close(struct query_engine *engine);

/* Answers what was pushed out. Call before the loop sleeps. */
void query_engine_flush(struct query_engine *engine);

/* A client_query (client.h); owner is the engine. */
client_query query_receive;

/* A client_allowed (client.h). */
client_allowed query_connection_allowed;

#endif

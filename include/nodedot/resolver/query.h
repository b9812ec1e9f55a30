/* query.h - receives queries: admission, parser, cache, local answers, zone. A query without an answer at hand waits.
 *
 * One engine per thread. Listeners call query_receive(). Every query is answered, or dropped and counted by cause;
 * waiting.h limits how many may wait for an upstream.
 */
#ifndef NODEDOT_RESOLVER_QUERY_H
#define NODEDOT_RESOLVER_QUERY_H

#include "nodedot/cache/cache.h"
#include "nodedot/config/config.h"
#include "nodedot/forward/engine.h"
#include "nodedot/forward/zone.h"
#include "nodedot/listener/client.h"
#include "nodedot/observe/metrics.h"
#include "nodedot/resolver/admission.h"
#include "nodedot/resolver/answer.h"
#include "nodedot/resolver/refresh.h"
#include "nodedot/resolver/waiting.h"

#include <stdatomic.h>

struct query_engine {
    const struct config *config;
    struct admission *admission;
    const struct hash_key *cookie_key;
    struct cache *cache;
    struct metrics *metrics;
    struct busiest_sketch *busiest;
    struct answers answers;
    struct refresh refresh;
    struct waiting waiting;
    struct engine forward;
};

/* Everything that the threads of a generation share. */
struct query_setup {
    const struct config *config;
    const struct zone_table *zones;
    const struct origins *origins;
    struct admission *admission;
    const struct hash_key *cookie_key; /* of server cookies */
    _Atomic uint32_t *in_flight;
    void *cache;
    struct query_tap *tap; /* to the query log; NULL: it is off */
    struct busiest_sketch *busiest;
    struct engine_setup forward; /* events and owner are filled in here */
};

/* Takes all memory. False: error (TLS_ERROR octets) has the reason. */
bool query_engine_init(struct query_engine *engine, const struct query_setup *setup, char *error);
void query_engine_close(struct query_engine *engine);

/* From now on clients are told to close their connections, and nothing is refreshed. */
void query_engine_drain(struct query_engine *engine);

/* Is no client waiting for an upstream? */
bool query_engine_is_idle(const struct query_engine *engine);

/* A client_query (client.h); owner is the engine. */
client_query query_receive;

/* A client_allowed (client.h). */
client_allowed query_connection_allowed;

#endif

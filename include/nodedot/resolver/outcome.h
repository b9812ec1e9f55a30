/* outcome.h - stores the result of a flight in the cache: its answer, or its failure.
 *
 * Shared: belongs to one thread.
 */
#ifndef NODEDOT_RESOLVER_OUTCOME_H
#define NODEDOT_RESOLVER_OUTCOME_H

#include "nodedot/cache/cache.h"
#include "nodedot/config/config.h"
#include "nodedot/dns/bailiwick.h"
#include "nodedot/forward/engine.h"
#include "nodedot/forward/flight.h"
#include "nodedot/observe/metrics.h"
#include "nodedot/resolver/origin.h"

struct outcome {
    const struct config *config;
    const struct origins *origins;
    const struct engine *forward;
    struct cache *cache;
    struct metrics *metrics;
    struct bailiwick *bailiwick;
};

/* The key of a flight's question. It refers to the flight. */
struct cache_key outcome_key(const struct outcome *outcome, const struct flight *flight);

/* Removes records that do not belong to the question, and stores the rest, or the failure. After a good answer the key
 * finds only that answer, whatever happens to its origin meanwhile. */
void outcome_take(struct outcome *outcome, const struct flight *flight, struct cache_key *key,
                  struct bailiwick_answer *answer);

/* Stores the failure of the flight's question, with its RCODE; for an answer that can still be served stale, the failure of
 * its refresh. */
void outcome_failed(struct outcome *outcome, const struct flight *flight, const struct cache_key *key, uint16_t rcode);

/* Did the upstream answer the question, positively or negatively? */
static inline bool outcome_is_good(const struct bailiwick_answer *answer)
{
    return answer->info->rcode == RCODE_NOERROR || answer->info->rcode == RCODE_NXDOMAIN;
}

#endif

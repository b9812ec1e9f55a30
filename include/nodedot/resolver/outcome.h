/* outcome.h - what the end of a flight leaves in the cache: its answer, or the memory of its failure.
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

/* Leaves out what does not belong to the question, and stores the rest, or that the upstream failed. After a good answer
 * the key finds that answer alone, whatever becomes of its origin meanwhile. */
void outcome_take(struct outcome *outcome, const struct flight *flight, struct cache_key *key,
                  struct bailiwick_answer *answer);

/* Remembers that the flight's question failed; in an answer that can still be served stale, that its refresh did. */
void outcome_failed(struct outcome *outcome, const struct flight *flight, const struct cache_key *key);

/* Did the upstream answer the question, be it with a denial? */
static inline bool outcome_is_good(const struct bailiwick_answer *answer)
{
    return answer->info->rcode == RCODE_NOERROR || answer->info->rcode == RCODE_NXDOMAIN;
}

#endif

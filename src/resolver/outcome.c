#include "nodedot/resolver/outcome.h"

#include "nodedot/base/clock.h"

struct cache_key outcome_key(const struct outcome *outcome, const struct flight *flight)
{
    struct cache_key key =
        cache_key_of(outcome->cache, &flight->key.question, flight->key.dnssec_ok, flight->key.checking_disabled);

    origins_accept(outcome->origins, flight->zone, &key);
    return key;
}

void outcome_failed(struct outcome *outcome, const struct flight *flight, const struct cache_key *key, uint16_t rcode)
{
    const struct zone_config *zone = flight->zone; /* its upstream counts, even where the fallback was asked */

    cache_store_failure(outcome->cache, key, rcode, group_recovered_s(&outcome->forward->groups[zone->upstream]),
                        clock_seconds());
}

static void keep_bailiwick(struct outcome *outcome, struct bailiwick_answer *answer)
{
    unsigned dropped = bailiwick_keep(outcome->bailiwick, answer);

    if (dropped > 0)
        metric_add(outcome->metrics, upstream_foreign_total, dropped);
}

void outcome_take(struct outcome *outcome, const struct flight *flight, struct cache_key *key,
                  struct bailiwick_answer *answer)
{
    struct cache_limits limits = origins_limits(outcome->config, flight->zone);

    keep_bailiwick(outcome, answer);
    if (answer->info->rcode == RCODE_YXDOMAIN) { /* an answer, with a DNAME that says why; asked for each time */
        cache_forgive(outcome->cache, key);
        return;
    }
    if (!outcome_is_good(answer)) {
        outcome_failed(outcome, flight, key, answer->info->rcode);
        return;
    }
    origins_choose(outcome->origins, flight->zone, flight->fell_back, key);
    if (cache_store(outcome->cache, key, answer->message, answer->info, answer->ttl_offsets, &limits, clock_seconds()))
        metric_inc(outcome->metrics, cache_stores_total);
    else
        cache_forgive(outcome->cache, key);
}

/* origin.h - a number for the source of a zone's answers; the cache stores it with each answer.
 *
 * An answer is valid as long as the configuration would still get it from the same source. Its origin is a hash of the
 * zone's name, of the limits that the zone's answers live under, and of the group that is asked: addresses, transport,
 * name, `auth`, `pin-mode`, pins and the contents of the CA file, in any order. Change one of these, and what is in the
 * cache of that zone is a miss; answers of other zones stay.
 *
 * Fallback: its answers have an origin of their own, which is good from now on when the fallback is proved (DoT). That
 *           of a plain fallback is good only while it serves: each time that it begins makes another one.
 * Size:     32 bits of a keyed hash. A false match needs two origins of one zone, before and after a reload, to agree:
 *           one chance in four thousand million a change, which nobody can aim at without the key of the cache.
 * Shared:   made once a generation; read-only from then on, by all threads.
 */
#ifndef NODEDOT_RESOLVER_ORIGIN_H
#define NODEDOT_RESOLVER_ORIGIN_H

#include "nodedot/cache/cache.h"
#include "nodedot/config/config.h"
#include "nodedot/observe/metrics.h"

#include <stdbool.h>
#include <stdint.h>

struct origins {
    const struct config *config;
    const struct upstream_status *upstreams;
    uint32_t own[CONFIG_ZONES];
    uint32_t fallback[CONFIG_ZONES]; /* that of a plain fallback is mixed with the time when it began */
};

/* config must outlive origins, as must upstreams (in the order of the configuration). The
 * numbers are the same in every process that has the same cache open. */
void origins_init(struct origins *origins, const struct config *config, const struct upstream_status *upstreams,
                  const struct cache *cache);

/* Says in key which answers of the zone are good now. For the hot path. */
void origins_accept(const struct origins *origins, const struct zone_config *zone, struct cache_key *key);

/* Says in key where an answer came from: the zone's own group, or (fell_back) its fallback. Only that is good then. */
void origins_choose(const struct origins *origins, const struct zone_config *zone, bool fell_back,
                    struct cache_key *key);

/* The limits that the zone's answers live under. */
struct cache_limits origins_limits(const struct config *config, const struct zone_config *zone);

#endif

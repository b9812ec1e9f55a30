/* refresh.h - refreshes cached answers, with no client waiting.
 *
 * Why:    an answer in use is refreshed before it expires (prefetch); the most requested names are always refreshed
 *         (prefetch-top); a stale answer that was served at once is refreshed afterwards (RFC 8767 section 5).
 * Budget: none is begun while flights that nobody waits for are REFRESH_SHARE of in-flight; REFRESH_RATE are begun a
 *         second; both over all threads, each of which has an equal part. They have places of their own in the table of
 *         flights (flights_unattended_max()), so that they take none from clients.
 *         Above the budget no refresh is begun: the answer expires, and the next client's query asks.
 * Once:   an answer is refreshed by one thread of one process at a time (cache_claim()), and one that failed not
 *         sooner than CACHE_CLAIM seconds later.
 */
#ifndef NODEDOT_RESOLVER_REFRESH_H
#define NODEDOT_RESOLVER_REFRESH_H

#include "nodedot/forward/engine.h"
#include "nodedot/forward/zone.h"
#include "nodedot/observe/metrics.h"
#include "nodedot/resolver/hot_names.h"
#include "nodedot/resolver/origin.h"

#include <ev.h>

/* A share of in-flight: maximum number of refreshing flights. */
#define REFRESH_SHARE 16
/* Maximum number begun per second: 1000 names (the most that prefetch-top takes) of a TTL of 5 s, the shortest that is
 * kept. */
#define REFRESH_RATE 200

/* Failure recheck timer: after a refresh that failed or was late, the stale answer is served at once for this long, and
 * the upstream is not asked (RFC 8767 section 5). */
#define REFRESH_RECHECK_S 30
/* For this long after the failure, the stale answer is still served at once while the upstream is asked in the
 * background: no client waits again for an upstream that was down half a minute ago. */
#define REFRESH_BEHIND_S 60

struct refresh {
    const struct config *config;
    const struct zone_table *zones;
    const struct origins *origins;
    struct cache *cache;
    struct metrics *metrics;
    struct engine *forward;
    struct hot_names hot_names;
    ev_timer timer;
    size_t unattended; /* flights without a waiting client, including those whose clients got a stale answer */
    uint32_t second;   /* that `begun` counts in */
    uint32_t begun;
    bool stopped; /* the generation drains: nothing is begun any more */
};

/* Takes memory and starts the timer on the loop of forward; the pointers of *refresh are set already. False: no
 * memory. */
bool refresh_init(struct refresh *refresh);
void refresh_close(struct refresh *refresh);

/* Asks for the key's answer, unless it is being asked already or the budget is used up. */
void refresh_ask(struct refresh *refresh, const struct cache_key *key, const struct zone_config *zone);

/* Did the refresh of a stale answer fail, or was it late, less than this many seconds ago, and does that still
 * apply? */
bool refresh_failed_within(const struct refresh *refresh, const struct cache_hit *hit, const struct zone_config *zone,
                           uint32_t seconds);

/* All clients left a flight that continues. False: there are too many of that kind. */
bool refresh_adopt(struct refresh *refresh);

/* A flight without clients is over, or has a client now. */
void refresh_ended(struct refresh *refresh);

#endif

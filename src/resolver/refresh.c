#include "nodedot/resolver/refresh.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/flight.h"

/* How often the most asked names are looked at: clocks of the cache count seconds. */
#define TICK_S 1.
/* A name is kept fresh when it was found in the cache so often: a handful of clients that start at once do not make a
 * name popular. */
#define USES_MIN 10
/* Answers that live shorter are left to their clients: each would cost a query every second or two, whether it is used
 * or not. */
#define LIFE_MIN_S 5
/* A popular answer is asked for in the last tenth of its life, as others, but no later than this before its end: one
 * tick, and the upstream's time to answer. */
#define MARGIN_S 2

/* Of what all threads may have, the part of one. */
static uint32_t part_of(const struct refresh *refresh, uint32_t all)
{
    return (all + refresh->config->workers - 1) / refresh->config->workers;
}

static bool budget_take(struct refresh *refresh)
{
    uint32_t now = clock_seconds();
    uint32_t out = part_of(refresh, refresh->config->in_flight / REFRESH_SHARE + 1);

    if (refresh->second != now) {
        refresh->second = now;
        refresh->begun = 0;
    }
    if (refresh->begun >= part_of(refresh, REFRESH_RATE) || refresh->unattended >= out)
        return false;
    refresh->begun++;
    return true;
}

void refresh_ask(struct refresh *refresh, const struct cache_key *key, const struct zone_config *zone)
{
    struct flights *flights = &refresh->forward->flights;
    struct flight *flight;

    if (refresh->stopped ||
        flight_find(flights, key->hash, key->question, key->dnssec_ok, key->checking_disabled) != NULL ||
        !budget_take(refresh) || !cache_claim(refresh->cache, key, clock_seconds()))
        return;
    flight = flight_take(flights, key->hash, key->question, key->dnssec_ok, key->checking_disabled);
    if (flight == NULL)
        return;
    flight->zone = zone;
    if (!flight_begin(flight, &refresh->forward->groups[zone->upstream])) {
        flight_release(flight);
        return;
    }
    refresh->unattended++;
    metric_inc(refresh->metrics, prefetches_total);
}

bool refresh_failed_within(const struct refresh *refresh, const struct cache_hit *hit, const struct zone_config *zone,
                           uint32_t seconds)
{
    return hit->failed_at > group_recovered_s(&refresh->forward->groups[zone->upstream]) &&
           clock_seconds() < hit->failed_at + seconds;
}

bool refresh_adopt(struct refresh *refresh)
{
    refresh->unattended++;
    return refresh->unattended <= flights_unattended_max(refresh->config);
}

void refresh_ended(struct refresh *refresh)
{
    refresh->unattended--;
}

/* Does an answer that is kept fresh have to be asked for now? */
static bool is_due(const struct refresh *refresh, const struct cache_hit *hit, const struct zone_config *zone)
{
    uint32_t margin = hit->life / 10 > MARGIN_S ? hit->life / 10 : MARGIN_S;

    if (hit->claimed || hit->kind == CACHE_FAILURE || hit->life < LIFE_MIN_S)
        return false;
    if (hit->stale)
        return !refresh_failed_within(refresh, hit, zone, REFRESH_RECHECK_S);
    return hit->ttl_left <= margin;
}

static void keep_fresh(struct refresh *refresh, const struct hot_name *name, uint32_t now)
{
    struct cache_key key = {.question = &name->question,
                            .dnssec_ok = name->dnssec_ok,
                            .checking_disabled = name->checking_disabled,
                            .hash = name->hash};
    const struct zone_config *zone = zone_of_question(refresh->zones, &name->question);
    struct cache_hit hit;

    /* What is not there at all is left to the next client: it may be an answer that cannot be stored any more. */
    if (zone == NULL)
        return;
    origins_accept(refresh->origins, zone, &key);
    if (cache_peek(refresh->cache, &key, now, &hit) && is_due(refresh, &hit, zone))
        refresh_ask(refresh, &key, zone);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct refresh *refresh = timer->data;
    const struct hot_pick *picks;
    size_t count = hot_names_most(&refresh->hot_names, USES_MIN, refresh->config->prefetch_top, &picks);
    uint32_t now = clock_seconds();

    (void)loop, (void)revents;
    for (size_t i = 0; i < count; i++)
        keep_fresh(refresh, picks[i].name, now);
    hot_names_tick(&refresh->hot_names);
}

bool refresh_init(struct refresh *refresh)
{

    ev_timer_init(&refresh->timer, on_tick, TICK_S, TICK_S);
    refresh->timer.data = refresh;
    if (!hot_names_init(&refresh->hot_names, refresh->config->prefetch_top))
        return false;
    if (refresh->config->prefetch_top > 0)
        ev_timer_start(refresh->forward->exchanges.loop, &refresh->timer);
    return true;
}

void refresh_close(struct refresh *refresh)
{
    ev_timer_stop(refresh->forward->exchanges.loop, &refresh->timer);
    hot_names_reset(&refresh->hot_names);
}

#include "nodedot/forward/health.h"

#include "nodedot/base/random.h"
#include "nodedot/forward/hedge.h"

/* Pause before an address that failed is tried again. The first is short, because a server may close a connection just
 * as we write to it; then it is doubled each time, with a quarter of jitter, and service is back within 2 s of the
 * upstream's return. */
#define RETRY_FIRST_MS 20
#define RETRY_MIN_MS   250
#define RETRY_MAX_MS   1500
/* A plain address without an answer for this long is probed: it has no connection whose end would show a failure. */
#define PROBE_IDLE_MS 30000
/* The same for a DoT address while others of its group are asked: a policy that leaves one aside must not find it dead
 * on the day that it is needed. Each costs a resumed handshake, hence rarer. */
#define PROBE_ASIDE_MS 60000
/* The same while the fallback of its group is in use: nothing else shows that it would answer. */
#define PROBE_REPLACED_MS 1000
/* Consecutive failures after which a plain address counts as unreachable: one lost datagram is not enough. */
#define PLAIN_FAILURES 3
/* Consecutive failures after which it counts as silent, so that the fallback is used: a query and a probe. */
#define PLAIN_SILENT_FAILURES 2

void health_failed(struct health *health, uint64_t now_ms)
{
    if (health->failures == 0)
        health->failed_ms = now_ms;
    health->failures++;
}

bool health_answered(struct health *health, uint64_t now_us)
{
    bool had_failed = health->failures > 0;

    health->answered_us = now_us;
    health->outrun = 0;
    health->failures = 0;
    return had_failed;
}

bool health_is_silent(const struct health *health)
{
    return health->failures >= (health->streams ? 1 : PLAIN_SILENT_FAILURES);
}

bool health_is_unreachable(const struct health *health)
{
    return health->failures >= (health->streams ? 1 : PLAIN_FAILURES);
}

bool health_is_bad_for(const struct health *health, uint64_t now_ms, uint64_t long_ms)
{
    return health->failures > 0 && now_ms - health->failed_ms >= long_ms;
}

uint32_t health_pause_ms(const struct health *health)
{
    uint32_t pause_ms = RETRY_FIRST_MS;

    if (health->failures > 1)
        pause_ms = (uint32_t)RETRY_MIN_MS << (health->failures < 6 ? health->failures - 2 : 4);
    if (pause_ms > RETRY_MAX_MS)
        pause_ms = RETRY_MAX_MS;
    return pause_ms * 3 / 4 + random_below(pause_ms / 4);
}

uint32_t health_pause_left_ms(const struct health *health, uint64_t now_ms)
{
    uint64_t took_ms = now_ms - health->tried_ms;
    uint32_t pause_ms = health_pause_ms(health);
    uint32_t least_ms = pause_ms < RETRY_MIN_MS ? pause_ms : RETRY_MIN_MS;

    return took_ms + least_ms < pause_ms ? pause_ms - (uint32_t)took_ms : least_ms;
}

uint32_t health_probe_after_ms(const struct health_need *need)
{
    if (need->replaced)
        return PROBE_REPLACED_MS;
    if (!need->encrypted)
        return PROBE_IDLE_MS;
    return need->alone ? 0 : PROBE_ASIDE_MS;
}

bool health_probe_is_due(const struct health *health, const struct health_need *need, uint64_t now_us)
{
    uint32_t after_ms = health_probe_after_ms(need);

    if (health->failures > 0)
        return true;
    if (after_ms == 0 || now_us - health->answered_us < after_ms * 1000ull)
        return false;
    /* A group that nobody asks is left alone, unless its fallback serves. */
    return after_ms != PROBE_ASIDE_MS || now_us / 1000 - need->group_asked_ms < PROBE_ASIDE_MS;
}

bool health_outrun(struct health *health, uint64_t sent_us, uint64_t now_us, uint64_t took_us, uint32_t usual_us)
{
    if (health->answered_us >= sent_us || health->failures > 0 || !hedge_outran(now_us - sent_us, took_us))
        return false;
    if (!health->streams && now_us - sent_us <= usual_us)
        return false;
    if (health->outrun++ == 0)
        health->outrun_since_us = sent_us;
    return health->outrun >= HEDGE_OUTRUN && now_us - health->outrun_since_us > usual_us;
}

#include "nodedot/base/clock.h"

#include <time.h>

static struct timespec now_of(clockid_t clock)
{
    struct timespec t = {0};

    clock_gettime(clock, &t); /* cannot fail for these clocks */
    return t;
}

uint64_t clock_ms(void)
{
    return clock_us() / 1000;
}

uint64_t clock_us(void)
{
    struct timespec t = now_of(CLOCK_MONOTONIC);

    return ((uint64_t)t.tv_sec + CLOCK_HEAD_START_S) * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* The coarse clock lags by at most a kernel tick, and costs a cache hit a fifth of the time of the precise one. */
uint32_t clock_seconds(void)
{
    return (uint32_t)now_of(CLOCK_MONOTONIC_COARSE).tv_sec + CLOCK_HEAD_START_S;
}

int64_t clock_wall_seconds(void)
{
    return now_of(CLOCK_REALTIME).tv_sec;
}

int64_t clock_wall_ms(void)
{
    struct timespec t = now_of(CLOCK_REALTIME);

    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

uint64_t clock_wall_ns(void)
{
    struct timespec t = now_of(CLOCK_REALTIME);

    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

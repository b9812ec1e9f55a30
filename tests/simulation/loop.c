#include "simulation/loop.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "simulation/check.h"

#include <ev.h>
#include <math.h>
#include <string.h>

#define WATCHERS 4096
/* Turns at one moment: a loop that never sleeps is found by it. A long message that comes octet by octet takes many. */
#define TURNS_AT_ONCE 300000
/* Microseconds that a turn may take. */
#define TURN_US 40
/* When a simulation begins: the machine was booted just now. */
#define BEGIN_US (CLOCK_HEAD_START_S * 1000000ull)
#define WALL_S   1700000000

#define EVENTS (EV_READ | EV_WRITE)

struct ev_loop {
    bool broken;
    uint64_t now_us, until_us;
    uint64_t random;
    unsigned ios, timers, prepares, asyncs;
    ev_io *io[WATCHERS];
    ev_timer *timer[WATCHERS];
    ev_prepare *prepare[8];
    ev_async *async[8];
};

static struct ev_loop loop;

/* ---- random numbers: xorshift64* ---- */

static uint64_t draw(void)
{
    loop.random ^= loop.random >> 12;
    loop.random ^= loop.random << 25;
    loop.random ^= loop.random >> 27;
    return loop.random * 0x2545f4914f6cdd1dull;
}

void random_bytes(void *out, size_t size)
{
    uint8_t *octets = out;

    for (size_t i = 0; i < size; i++)
        octets[i] = (uint8_t)(draw() >> 56);
}

uint16_t random_u16(void)
{
    return (uint16_t)(draw() >> 48);
}

uint32_t random_u32(void)
{
    return (uint32_t)(draw() >> 32);
}

uint32_t random_below(uint32_t bound)
{
    return (uint32_t)(((draw() >> 32) * bound) >> 32);
}

/* ---- time ---- */

uint64_t clock_us(void)
{
    return loop.now_us;
}

uint64_t clock_ms(void)
{
    return loop.now_us / 1000;
}

uint32_t clock_seconds(void)
{
    return (uint32_t)(loop.now_us / 1000000);
}

int64_t clock_wall_seconds(void)
{
    return WALL_S + (int64_t)clock_seconds();
}

uint64_t loop_now_us(void)
{
    return loop.now_us;
}

void loop_advance(uint64_t ms)
{
    loop.until_us = loop.now_us + ms * 1000;
}

void loop_reset(uint64_t seed)
{
    memset(&loop, 0, sizeof(loop));
    loop.random = seed != 0 ? seed : 1;
    loop.now_us = loop.until_us = BEGIN_US;
}

unsigned loop_watchers(void)
{
    return loop.ios + loop.timers;
}

/* ---- watchers: active is one more than the place in the table ---- */

void ev_io_start(struct ev_loop *l, ev_io *w)
{
    if (w->active != 0)
        return;
    check(l->ios < WATCHERS && (w->events & EVENTS) != 0);
    network_ready(w->fd, 0); /* it is open */
    l->io[l->ios] = w;
    w->active = (int)++l->ios;
}

void ev_io_stop(struct ev_loop *l, ev_io *w)
{
    if (w->active == 0)
        return;
    check(l->io[w->active - 1] == w);
    l->io[w->active - 1] = l->io[--l->ios];
    l->io[w->active - 1]->active = w->active;
    w->active = 0;
}

void ev_timer_start(struct ev_loop *l, ev_timer *w)
{
    if (w->active != 0)
        return;
    check(l->timers < WATCHERS && w->at >= 0.);
    w->at += (double)l->now_us / 1e6;
    l->timer[l->timers] = w;
    w->active = (int)++l->timers;
}

void ev_timer_stop(struct ev_loop *l, ev_timer *w)
{
    if (w->active == 0)
        return;
    check(l->timer[w->active - 1] == w);
    l->timer[w->active - 1] = l->timer[--l->timers];
    l->timer[w->active - 1]->active = w->active;
    w->active = 0;
}

void ev_timer_again(struct ev_loop *l, ev_timer *w)
{
    ev_timer_stop(l, w);
    w->at = w->repeat;
    if (w->repeat > 0.)
        ev_timer_start(l, w);
}

void ev_prepare_start(struct ev_loop *l, ev_prepare *w)
{
    l->prepare[l->prepares++] = w;
}

void ev_async_start(struct ev_loop *l, ev_async *w)
{
    l->async[l->asyncs++] = w;
}

void ev_async_send(struct ev_loop *l, ev_async *w)
{
    (void)l;
    w->sent = 1;
}

struct ev_loop *ev_loop_new(unsigned flags)
{
    (void)flags;
    return &loop;
}

void ev_loop_destroy(struct ev_loop *l)
{
    (void)l;
}

void ev_break(struct ev_loop *l, int how)
{
    (void)how;
    l->broken = true;
}

/* ---- turns ---- */

static uint64_t due_us(const ev_timer *w)
{
    return (uint64_t)ceil(w->at * 1e6 - 1e-3);
}

/* When the next timer is due; UINT64_MAX: never. */
static uint64_t next_timer_us(const struct ev_loop *l)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < l->timers; i++)
        next = due_us(l->timer[i]) < next ? due_us(l->timer[i]) : next;
    return next;
}

static bool run_ios(struct ev_loop *l)
{
    static ev_io *ready[WATCHERS];
    unsigned count = 0;

    for (unsigned i = 0; i < l->ios; i++) {
        if (network_ready(l->io[i]->fd, l->io[i]->events & EVENTS) != 0)
            ready[count++] = l->io[i];
    }
    for (unsigned i = 0; i < count; i++) { /* one may stop another, which then is no longer to be called */
        unsigned other = i + random_below(count - i);
        ev_io *w = ready[other];
        int events;

        ready[other] = ready[i];
        for (unsigned j = 0; j < l->ios && w != NULL; j++) {
            if (l->io[j] != w)
                continue;
            events = network_ready(w->fd, w->events & EVENTS);
            if (events != 0)
                w->cb(l, w, events);
            w = NULL;
        }
    }
    return count > 0;
}

static bool run_timers(struct ev_loop *l)
{
    bool ran = false;

    for (unsigned i = 0; i < l->timers;) {
        ev_timer *w = l->timer[i];

        if (due_us(w) > l->now_us) {
            i++;
            continue;
        }
        ran = true;
        ev_timer_stop(l, w);
        if (w->repeat > 0.) {
            w->at = w->repeat;
            ev_timer_start(l, w);
        }
        w->cb(l, w, EV_TIMER);
        if (w->active == 0 || due_us(w) > l->now_us)
            i = 0; /* the table has changed */
        else
            break; /* set anew and due at once: others have their turn first */
    }
    return ran;
}

static bool run_asyncs(struct ev_loop *l)
{
    bool ran = false;

    for (unsigned i = 0; i < l->asyncs; i++) {
        if (!l->async[i]->sent)
            continue;
        l->async[i]->sent = 0;
        l->async[i]->cb(l, l->async[i], EV_ASYNC);
        ran = true;
    }
    return ran;
}

/* Nothing is left to do at this moment. */
static void pass_time(struct ev_loop *l)
{
    uint64_t next = next_timer_us(l);

    l->now_us = next < l->until_us ? next : l->until_us;
}

int ev_run(struct ev_loop *l, int flags)
{
    unsigned turns = 0;

    (void)flags;
    l->broken = false;
    while (!l->broken) {
        uint64_t before = l->now_us;
        bool busy;

        for (unsigned i = 0; i < l->prepares; i++)
            l->prepare[i]->cb(l, l->prepare[i], EV_PREPARE);
        while (l->now_us >= l->until_us && script_step())
            continue;
        busy = run_ios(l);
        busy = run_asyncs(l) || busy;
        busy = run_timers(l) || busy;
        if (!busy && l->now_us < l->until_us)
            pass_time(l);
        else if (l->now_us >= l->until_us)
            l->now_us = l->until_us = l->now_us + random_below(TURN_US);
        turns = l->now_us == before ? turns + 1 : 0;
        check(turns < TURNS_AT_ONCE);
    }
    return 0;
}

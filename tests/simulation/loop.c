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
#define LOOPS   4
/* When a simulation begins: the machine was booted just now. */
#define BEGIN_US (CLOCK_HEAD_START_S * 1000000ull)
#define WALL_S   1700000000

#define EVENTS (EV_READ | EV_WRITE)

struct ev_loop {
    bool broken;
    unsigned ios, timers, prepares, asyncs;
    ev_io *io[WATCHERS];
    ev_timer *timer[WATCHERS];
    ev_prepare *prepare[8];
    ev_async *async[8];
};

/* One for each simulated thread, in the order of ev_loop_new(). Time and random numbers are common to all. */
static struct ev_loop loops[LOOPS];
static unsigned loop_count;
static const struct ev_loop *current;
static struct {
    uint64_t now_us, until_us;
    uint64_t random;
} world;

/* ---- random numbers: xorshift64* ---- */

static uint64_t draw(void)
{
    world.random ^= world.random >> 12;
    world.random ^= world.random << 25;
    world.random ^= world.random >> 27;
    return world.random * 0x2545f4914f6cdd1dull;
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
    return world.now_us;
}

uint64_t clock_ms(void)
{
    return world.now_us / 1000;
}

uint32_t clock_seconds(void)
{
    return (uint32_t)(world.now_us / 1000000);
}

int64_t clock_wall_seconds(void)
{
    return WALL_S + (int64_t)clock_seconds();
}

uint64_t loop_now_us(void)
{
    return world.now_us;
}

void loop_advance(uint64_t ms)
{
    world.until_us = world.now_us + ms * 1000;
}

void loop_reset(uint64_t seed)
{
    memset(loops, 0, sizeof(loops));
    loop_count = 0;
    current = NULL;
    world.random = seed != 0 ? seed : 1;
    world.now_us = world.until_us = BEGIN_US;
}

unsigned loop_watchers(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < loop_count; i++)
        count += loops[i].ios + loops[i].timers;
    return count;
}

void loop_enter(const struct ev_loop *loop)
{
    current = loop;
}

unsigned loop_thread(void)
{
    return current == NULL ? 0 : (unsigned)(current - loops);
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
    w->at += (double)world.now_us / 1e6;
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
    check(loop_count < LOOPS);
    return &loops[loop_count++];
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

        if (due_us(w) > world.now_us) {
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
        if (w->active == 0 || due_us(w) > world.now_us)
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

/* Calls everything of one loop that is due. False: there was nothing. */
static bool turn(struct ev_loop *l)
{
    bool busy;

    loop_enter(l);
    busy = run_ios(l);
    busy = run_asyncs(l) || busy;
    return run_timers(l) || busy;
}

static void prepare(struct ev_loop *l)
{
    loop_enter(l);
    for (unsigned i = 0; i < l->prepares; i++)
        l->prepare[i]->cb(l, l->prepare[i], EV_PREPARE);
}

/* Threads run in any order. */
static bool turn_all(void)
{
    unsigned first = loop_count > 1 ? random_below(loop_count) : 0;
    bool busy = false;

    for (unsigned i = 0; i < loop_count; i++) {
        struct ev_loop *l = &loops[(first + i) % loop_count];

        busy = (!l->broken && turn(l)) || busy;
    }
    return busy;
}

/* Nothing is left to do at this moment. */
static void pass_time(void)
{
    uint64_t next = world.until_us;

    for (unsigned i = 0; i < loop_count; i++) {
        if (!loops[i].broken && next_timer_us(&loops[i]) < next)
            next = next_timer_us(&loops[i]);
    }
    world.now_us = next;
}

static void turn_once(void)
{
    bool busy;

    for (unsigned i = 0; i < loop_count; i++) {
        if (!loops[i].broken)
            prepare(&loops[i]);
    }
    while (world.now_us >= world.until_us && script_step())
        continue;
    busy = turn_all();
    if (!busy && world.now_us < world.until_us)
        pass_time();
    else if (world.now_us >= world.until_us)
        world.now_us = world.until_us = world.now_us + random_below(TURN_US);
}

int ev_run(struct ev_loop *l, int flags)
{
    unsigned turns = 0;

    (void)flags;
    while (!l->broken) {
        uint64_t before = world.now_us;

        turn_once();
        turns = world.now_us == before ? turns + 1 : 0;
        check(turns < TURNS_AT_ONCE);
    }
    loop_enter(l);
    return 0;
}

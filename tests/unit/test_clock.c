/* Somebody sets the clock of the machine, a year back or forward: time to live and timers must not notice. And the machine
 * was booted this moment: nothing may look as if it had just happened. */
#include "nodedot/base/clock.h"

#include <ev.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define YEAR_S (365 * 24 * 3600)
#define WEEK_S (7 * 24 * 3600) /* the longest period that an option allows */

static time_t set_by_s;  /* how far somebody set the clock */
static bool just_booted; /* the monotonic clock stands at 0 */

/* Also in the place of the one that libev calls. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
    int result = (int)syscall(SYS_clock_gettime, clock, t);

    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        t->tv_sec += set_by_s;
    else if (just_booted)
        *t = (struct timespec){0};
    return result;
}

static const time_t changes[] = {YEAR_S, -YEAR_S, 0};
#define CHANGES (sizeof(changes) / sizeof(changes[0]))

static void time_to_live_and_deadlines_go_on_as_before(void **state)
{
    uint64_t began_ms = clock_ms();
    uint64_t began_us = clock_us();
    uint32_t began_s = clock_seconds();

    (void)state;
    for (size_t i = 0; i < CHANGES; i++) {
        set_by_s = changes[i];
        assert_in_range(clock_ms() - began_ms, 0, 10000);
        assert_in_range(clock_us() - began_us, 0, 10000000);
        assert_in_range(clock_seconds() - began_s, 0, 10);
    }
}

static void never_is_long_ago_on_a_machine_booted_just_now(void **state)
{
    const uint64_t never = 0;

    (void)state;
    just_booted = true;
    assert_true(clock_us() - never > 2ull * WEEK_S * 1000000);
    assert_true(clock_ms() - never > 2ull * WEEK_S * 1000);
    assert_true(clock_seconds() - never > 2ull * WEEK_S);
    just_booted = false;
}

static void all_three_functions_tell_the_same_time(void **state)
{
    uint64_t us = clock_us();

    (void)state;
    assert_in_range(clock_ms() - us / 1000, 0, 10000);
    assert_in_range(clock_seconds() + 1 - us / 1000000, 0, 11); /* the coarse clock lags by a tick */
}

static void dates_follow_the_clock(void **state)
{
    int64_t before = clock_wall_seconds();

    (void)state;
    set_by_s = YEAR_S;
    assert_in_range(clock_wall_seconds() - before, YEAR_S, YEAR_S + 10);
    assert_in_range(clock_wall_ms() / 1000 - before, YEAR_S, YEAR_S + 10);
    assert_in_range((int64_t)(clock_wall_ns() / 1000000000) - before, YEAR_S, YEAR_S + 10);
    set_by_s = 0;
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
    (void)timer, (void)revents;
    ev_break(loop, EVBREAK_ALL);
}

static void on_change(struct ev_loop *loop, ev_timer *timer, int revents)
{
    size_t *next = timer->data;

    (void)loop, (void)revents;
    set_by_s = changes[(*next)++ % CHANGES];
}

static void a_timer_is_neither_early_nor_late(void **state)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    uint64_t began_ms = clock_ms();
    ev_timer timer, change;
    size_t next = 0;

    (void)state;
    assert_non_null(loop);
    ev_timer_init(&timer, on_timer, 0.3, 0.);
    ev_timer_init(&change, on_change, 0.02, 0.02);
    change.data = &next;
    ev_timer_start(loop, &timer);
    ev_timer_start(loop, &change);
    ev_run(loop, 0);
    assert_in_range(clock_ms() - began_ms, 250, 10000);
    assert_true(next >= CHANGES);
    ev_timer_stop(loop, &change);
    ev_loop_destroy(loop);
    set_by_s = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_to_live_and_deadlines_go_on_as_before),
        cmocka_unit_test(never_is_long_ago_on_a_machine_booted_just_now),
        cmocka_unit_test(all_three_functions_tell_the_same_time),
        cmocka_unit_test(dates_follow_the_clock),
        cmocka_unit_test(a_timer_is_neither_early_nor_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

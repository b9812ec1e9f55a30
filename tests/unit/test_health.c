#include "nodedot/forward/health.h"

#include "nodedot/forward/hedge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NOW_MS 1000000
#define NOW_US (NOW_MS * 1000ull)

static struct health plain, encrypted;

static int set_up(void **state)
{
    (void)state;
    plain = (struct health){.streams = false};
    encrypted = (struct health){.streams = true};
    return 0;
}

static void fail_times(struct health *health, unsigned times)
{
    while (times-- > 0)
        health_failed(health, NOW_MS);
}

/* The most and the least of many pauses: jitter takes up to a quarter. */
static void expect_pause(const struct health *health, uint32_t longest_ms)
{
    uint32_t least = UINT32_MAX, most = 0;

    for (unsigned i = 0; i < 2000; i++) {
        uint32_t pause_ms = health_pause_ms(health);

        least = pause_ms < least ? pause_ms : least;
        most = pause_ms > most ? pause_ms : most;
    }
    assert_true(least >= longest_ms * 3 / 4 && most <= longest_ms);
    assert_true(most - least > longest_ms / 8); /* threads do not come back at the same moment */
}

static void one_lost_datagram_says_nothing_of_a_plain_address(void **state)
{
    (void)state;
    fail_times(&plain, 1);
    assert_false(health_is_silent(&plain) || health_is_unreachable(&plain));
    fail_times(&plain, 1);
    assert_true(health_is_silent(&plain));
    assert_false(health_is_unreachable(&plain));
    fail_times(&plain, 1);
    assert_true(health_is_unreachable(&plain));
}

static void one_failed_connection_is_enough(void **state)
{
    (void)state;
    assert_false(health_is_silent(&encrypted) || health_is_unreachable(&encrypted));
    fail_times(&encrypted, 1);
    assert_true(health_is_silent(&encrypted) && health_is_unreachable(&encrypted));
}

static void an_answer_ends_all_failures(void **state)
{
    (void)state;
    assert_false(health_answered(&plain, NOW_US));
    fail_times(&plain, 5);
    assert_true(health_answered(&plain, NOW_US + 1));
    assert_int_equal(plain.failures, 0);
    assert_int_equal(plain.answered_us, NOW_US + 1);
    assert_false(health_is_bad_for(&plain, NOW_MS + 100000, 0));
}

static void failing_counts_from_the_first_failure(void **state)
{
    (void)state;
    health_failed(&plain, NOW_MS);
    health_failed(&plain, NOW_MS + 700);
    assert_false(health_is_bad_for(&plain, NOW_MS + 999, 1000));
    assert_true(health_is_bad_for(&plain, NOW_MS + 1000, 1000));
}

static void pauses_grow_up_to_a_limit(void **state)
{
    static const uint32_t longest_ms[] = {20, 250, 500, 1000, 1500, 1500, 1500, 1500};

    (void)state;
    for (size_t i = 0; i < sizeof(longest_ms) / sizeof(longest_ms[0]); i++) {
        fail_times(&encrypted, 1);
        expect_pause(&encrypted, longest_ms[i]);
    }
    fail_times(&encrypted, 100000); /* an outage of days */
    expect_pause(&encrypted, 1500);
}

static void the_time_of_the_last_try_is_part_of_the_pause(void **state)
{
    (void)state;
    fail_times(&encrypted, 10);
    encrypted.tried_ms = NOW_MS - 700;
    for (unsigned i = 0; i < 100; i++) {
        uint32_t left_ms = health_pause_left_ms(&encrypted, NOW_MS);

        assert_true(left_ms >= 1500 * 3 / 4 - 700 && left_ms <= 1500 - 700);
    }
    encrypted.tried_ms = NOW_MS - 60000; /* there is always a little one */
    assert_int_equal(health_pause_left_ms(&encrypted, NOW_MS), 250);
}

static void an_address_that_failed_is_always_to_be_probed(void **state)
{
    struct health_need need = {.alone = true, .encrypted = true};

    (void)state;
    health_answered(&encrypted, NOW_US);
    assert_false(health_probe_is_due(&encrypted, &need, NOW_US + 1000000000ull));
    fail_times(&encrypted, 1);
    assert_true(health_probe_is_due(&encrypted, &need, NOW_US));
}

static void a_plain_address_is_probed_after_thirty_quiet_seconds(void **state)
{
    struct health_need need = {.alone = true};

    (void)state;
    health_answered(&plain, NOW_US);
    assert_false(health_probe_is_due(&plain, &need, NOW_US + 29999999));
    assert_true(health_probe_is_due(&plain, &need, NOW_US + 30000000));
}

static void an_encrypted_address_is_probed_only_while_others_of_its_group_are_asked(void **state)
{
    struct health_need need = {.encrypted = true, .group_asked_ms = NOW_MS + 1000};
    uint64_t later_us = NOW_US + 60000000;

    (void)state;
    health_answered(&encrypted, NOW_US);
    assert_true(health_probe_is_due(&encrypted, &need, later_us));
    need.group_asked_ms = NOW_MS;
    assert_false(health_probe_is_due(&encrypted, &need, later_us));
}

static void while_the_fallback_is_used_every_address_is_probed_each_second(void **state)
{
    struct health_need need = {.alone = true, .encrypted = true, .replaced = true};

    (void)state;
    assert_int_equal(health_probe_after_ms(&need), 1000);
    health_answered(&encrypted, NOW_US);
    assert_true(health_probe_is_due(&encrypted, &need, NOW_US + 1000000));
}

/* Sent at sent_us, and answered elsewhere within a millisecond when it had waited for 20. */
static bool outrun_at(struct health *health, uint64_t sent_us)
{
    return health_outrun(health, sent_us, sent_us + 20000, 1000, 5000);
}

static void an_address_that_answers_nothing_is_stalled_after_a_few_questions(void **state)
{
    (void)state;
    for (unsigned i = 1; i < HEDGE_OUTRUN; i++)
        assert_false(outrun_at(&encrypted, NOW_US + i));
    assert_true(outrun_at(&encrypted, NOW_US + HEDGE_OUTRUN));
}

static void one_answer_shows_that_it_is_not_stalled(void **state)
{
    (void)state;
    for (unsigned i = 1; i < HEDGE_OUTRUN; i++)
        outrun_at(&encrypted, NOW_US + i);
    health_answered(&encrypted, NOW_US + 10);
    assert_false(outrun_at(&encrypted, NOW_US + 5)); /* sent before that answer: it says nothing */
    assert_int_equal(encrypted.outrun, 0);
    assert_false(outrun_at(&encrypted, NOW_US + 11));
}

static void a_name_that_is_slow_everywhere_says_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10 * HEDGE_OUTRUN; i++)
        assert_false(health_outrun(&encrypted, NOW_US + i, NOW_US + i + 20000, 19000, 5000));
    assert_int_equal(encrypted.outrun, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(one_lost_datagram_says_nothing_of_a_plain_address, set_up),
        cmocka_unit_test_setup(one_failed_connection_is_enough, set_up),
        cmocka_unit_test_setup(an_answer_ends_all_failures, set_up),
        cmocka_unit_test_setup(failing_counts_from_the_first_failure, set_up),
        cmocka_unit_test_setup(pauses_grow_up_to_a_limit, set_up),
        cmocka_unit_test_setup(the_time_of_the_last_try_is_part_of_the_pause, set_up),
        cmocka_unit_test_setup(an_address_that_failed_is_always_to_be_probed, set_up),
        cmocka_unit_test_setup(a_plain_address_is_probed_after_thirty_quiet_seconds, set_up),
        cmocka_unit_test_setup(an_encrypted_address_is_probed_only_while_others_of_its_group_are_asked, set_up),
        cmocka_unit_test_setup(while_the_fallback_is_used_every_address_is_probed_each_second, set_up),
        cmocka_unit_test_setup(an_address_that_answers_nothing_is_stalled_after_a_few_questions, set_up),
        cmocka_unit_test_setup(one_answer_shows_that_it_is_not_stalled, set_up),
        cmocka_unit_test_setup(a_name_that_is_slow_everywhere_says_nothing, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

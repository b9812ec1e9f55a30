#include "nodedot/forward/hedge.h"
#include "nodedot/forward/selection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const enum policy policies[] = {POLICY_FASTEST, POLICY_ROUND_ROBIN, POLICY_ORDERED};

static void the_fastest_wins_by_more_than_the_band(void **state)
{
    struct candidate candidates[] = {{.expected_us = 30000}, {.expected_us = 10000}, {.expected_us = 20000}};

    (void)state;
    candidates[1].outstanding = 500; /* load does not matter between those that are not equal */
    assert_int_equal(selection_make(POLICY_FASTEST, candidates, COUNT(candidates), 0), 1);
}

static void among_equals_the_least_loaded_wins(void **state)
{
    struct candidate candidates[] = {{.expected_us = 20000, .outstanding = 3},
                                     {.expected_us = 25000, .outstanding = 2},
                                     {.expected_us = 25001, .outstanding = 0}};

    (void)state;
    assert_int_equal(selection_make(POLICY_FASTEST, candidates, COUNT(candidates), 0), 1);
    candidates[0].outstanding = 2;
    assert_int_equal(selection_make(POLICY_FASTEST, candidates, COUNT(candidates), 0), 0);
}

static void on_a_local_network_a_millisecond_makes_no_difference(void **state)
{
    struct candidate candidates[] = {{.expected_us = 200, .outstanding = 1}, {.expected_us = 1200}};

    (void)state;
    assert_int_equal(selection_make(POLICY_FASTEST, candidates, COUNT(candidates), 0), 1);
    candidates[1].expected_us++;
    assert_int_equal(selection_make(POLICY_FASTEST, candidates, COUNT(candidates), 0), 0);
}

static void one_that_was_never_measured_is_an_equal(void **state)
{
    struct candidate candidates[] = {{.expected_us = 200, .outstanding = 1}, {.expected_us = 0}};

    (void)state;
    assert_int_equal(selection_make(POLICY_FASTEST, candidates, COUNT(candidates), 0), 1);
    candidates[1].outstanding = 2;
    assert_int_equal(selection_make(POLICY_FASTEST, candidates, COUNT(candidates), 0), 0);
    candidates[0].expected_us = 0;
    assert_int_equal(selection_make(POLICY_FASTEST, candidates, COUNT(candidates), 0), 0);
}

static void round_robin_takes_each_that_serves_in_turn(void **state)
{
    struct candidate candidates[] = {{.rank = 0}, {.rank = 2}, {.rank = 0}, {.rank = 0}};
    size_t turn = 0;
    size_t taken[COUNT(candidates)] = {0};

    (void)state;
    for (unsigned i = 0; i < 30; i++) {
        turn = selection_make(POLICY_ROUND_ROBIN, candidates, COUNT(candidates), turn);
        taken[turn++]++;
    }
    assert_int_equal(taken[0], 10);
    assert_int_equal(taken[1], 0);
    assert_int_equal(taken[2], 10);
    assert_int_equal(taken[3], 10);
}

static void ordered_takes_the_first_that_serves(void **state)
{
    struct candidate candidates[] = {{.rank = 2, .expected_us = 1}, {.expected_us = 90000}, {.expected_us = 10}};

    (void)state;
    assert_int_equal(selection_make(POLICY_ORDERED, candidates, COUNT(candidates), 2), 1);
    candidates[0].rank = 0;
    assert_int_equal(selection_make(POLICY_ORDERED, candidates, COUNT(candidates), 2), 0);
}

static void what_failed_comes_last_under_each_policy_and_the_last_one_is_taken(void **state)
{
    struct candidate candidates[] = {{.rank = SELECTION_NEVER}, {.rank = 2, .expected_us = 10}, {.expected_us = 90000}};

    (void)state;
    for (size_t i = 0; i < COUNT(policies); i++) {
        candidates[2].rank = 0;
        assert_int_equal(selection_make(policies[i], candidates, COUNT(candidates), 1), 2);
        candidates[2].rank = SELECTION_NEVER;
        assert_int_equal(selection_make(policies[i], candidates, COUNT(candidates), 2), 1);
    }
}

static void what_has_the_wrong_identity_is_never_taken(void **state)
{
    struct candidate candidates[] = {{.rank = SELECTION_NEVER}, {.rank = SELECTION_NEVER}};

    (void)state;
    for (size_t i = 0; i < COUNT(policies); i++)
        assert_true(selection_make(policies[i], candidates, COUNT(candidates), 1) == SELECTION_NONE);
}

static void hedges_are_five_in_a_hundred_in_the_long_run(void **state)
{
    struct hedge_budget budget;
    unsigned spent = 0;

    (void)state;
    hedge_init(&budget);
    for (unsigned i = 0; i < 10000; i++) {
        hedge_earn(&budget);
        spent += hedge_spend(&budget);
    }
    assert_in_range(spent, 500, 500 + HEDGE_BURST);
}

static void a_quiet_time_saves_up_a_burst_and_no_more(void **state)
{
    struct hedge_budget budget;
    unsigned spent = 0;

    (void)state;
    hedge_init(&budget);
    for (unsigned i = 0; i < 100000; i++)
        hedge_earn(&budget);
    while (hedge_spend(&budget))
        spent++;
    assert_int_equal(spent, HEDGE_BURST);
    for (unsigned i = 0; i < HEDGE_QUESTIONS - 1; i++)
        hedge_earn(&budget);
    assert_false(hedge_spend(&budget));
    hedge_earn(&budget);
    assert_true(hedge_spend(&budget));
}

static void no_question_is_late_before_ten_milliseconds(void **state)
{
    (void)state;
    assert_int_equal(hedge_after_ms(0), 10);
    assert_int_equal(hedge_after_ms(10000), 10);
    assert_int_equal(hedge_after_ms(10001), 11);
    assert_int_equal(hedge_after_ms(250000), 250);
}

static void a_name_that_is_slow_everywhere_is_no_stall(void **state)
{
    (void)state;
    /* Asked here, 10 ms later there; both need so long. */
    for (uint64_t slow = 20000; slow < 4000000; slow += 1000)
        assert_false(hedge_outran(slow + 10000, slow));
}

static void an_address_that_hangs_is_outrun_by_one_of_any_usual_distance(void **state)
{
    (void)state;
    /* The hedge starts when the address's own 95th percentile is over, and the other is about as far away. */
    for (uint64_t rtt = 100; rtt < 300000; rtt += 100) {
        uint64_t late = hedge_after_ms((uint32_t)rtt) * 1000ull;

        assert_true(hedge_outran(late + rtt, rtt));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_wins_by_more_than_the_band),
        cmocka_unit_test(among_equals_the_least_loaded_wins),
        cmocka_unit_test(on_a_local_network_a_millisecond_makes_no_difference),
        cmocka_unit_test(one_that_was_never_measured_is_an_equal),
        cmocka_unit_test(round_robin_takes_each_that_serves_in_turn),
        cmocka_unit_test(ordered_takes_the_first_that_serves),
        cmocka_unit_test(what_failed_comes_last_under_each_policy_and_the_last_one_is_taken),
        cmocka_unit_test(what_has_the_wrong_identity_is_never_taken),
        cmocka_unit_test(hedges_are_five_in_a_hundred_in_the_long_run),
        cmocka_unit_test(a_quiet_time_saves_up_a_burst_and_no_more),
        cmocka_unit_test(no_question_is_late_before_ten_milliseconds),
        cmocka_unit_test(a_name_that_is_slow_everywhere_is_no_stall),
        cmocka_unit_test(an_address_that_hangs_is_outrun_by_one_of_any_usual_distance),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

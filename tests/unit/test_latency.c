#include "nodedot/forward/latency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct latency latency;

static int set_up(void **state)
{
    (void)state;
    memset(&latency, 0, sizeof(latency));
    return 0;
}

static void add_many(uint64_t us, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        latency_add(&latency, us);
}

static void what_was_never_measured_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(latency_expected_us(&latency), 0);
    assert_int_equal(latency_usual_us(&latency), LATENCY_UNKNOWN_US);
}

static void the_first_sample_sets_time_and_half_of_it_as_variance(void **state)
{
    (void)state;
    latency_add(&latency, 1000);
    assert_int_equal(latency.smoothed_us, 1000);
    assert_int_equal(latency.variance_us, 500);
    assert_int_equal(latency_usual_us(&latency), 3000); /* RFC 6298: SRTT + 4 * RTTVAR */
}

static void the_first_samples_weigh_the_same_and_the_next_ones_an_eighth(void **state)
{
    (void)state;
    latency_add(&latency, 80000);
    add_many(8000, 7);
    assert_in_range(latency.smoothed_us, 16990, 17000); /* the mean of eight */
    latency_add(&latency, 97000);
    assert_in_range(latency.smoothed_us, 26990, 27000);
}

static void the_variance_moves_by_a_quarter(void **state)
{
    (void)state;
    latency_add(&latency, 8000);
    latency_add(&latency, 16000);
    assert_int_equal(latency.variance_us, 4000 / 4 * 3 + 8000 / 4);
}

static void few_samples_do_not_compare(void **state)
{
    (void)state;
    add_many(1000, LATENCY_SAMPLES_FEW - 1);
    assert_int_equal(latency_expected_us(&latency), 0);
    latency_add(&latency, 1000);
    assert_in_range(latency_expected_us(&latency), 1000, 1500);
}

static void a_steady_time_ends_with_hardly_any_variance(void **state)
{
    (void)state;
    add_many(20000, 200);
    assert_int_equal(latency.smoothed_us, 20000);
    assert_true(latency.variance_us < 10);
}

static void the_percentile_is_within_a_quarter_of_the_truth(void **state)
{
    (void)state;
    for (uint64_t us = 64; us < 8000000; us = us * 5 / 4 + 1) {
        memset(&latency, 0, sizeof(latency));
        add_many(us, 32);
        assert_true(latency_usual_us(&latency) > us);
        assert_true(latency_usual_us(&latency) <= us + us / 4 + 16);
    }
}

static void five_of_a_hundred_slow_answers_do_not_count_as_usual_but_ten_do(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 800; i++)
        latency_add(&latency, i % 100 < 4 ? 900000 : 2000);
    assert_in_range(latency_usual_us(&latency), 2000, 2600);
    memset(&latency, 0, sizeof(latency));
    for (unsigned i = 0; i < 800; i++)
        latency_add(&latency, i % 100 < 10 ? 900000 : 2000);
    assert_in_range(latency_usual_us(&latency), 900000, 1200000);
}

static void few_samples_make_no_percentile(void **state)
{
    (void)state;
    add_many(1000, LATENCY_SAMPLES_MIN - 1);
    latency.variance_us = 77;
    assert_int_equal(latency_usual_us(&latency), 1000 + 4 * 77);
    latency_add(&latency, 1000);
    assert_in_range(latency_usual_us(&latency), 1001, 1280);
}

static void old_samples_fade(void **state)
{
    (void)state;
    add_many(200000, LATENCY_SAMPLES_MAX * 2);
    assert_in_range(latency_usual_us(&latency), 200000, 260000);
    add_many(3000, LATENCY_SAMPLES_MAX * 5);
    assert_in_range(latency_usual_us(&latency), 3000, 3800);
}

static void the_number_of_samples_stays_bounded(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        unsigned sum = 0;

        latency_add(&latency, i * 7919 % 10000000);
        for (unsigned j = 0; j < LATENCY_BUCKETS; j++)
            sum += latency.buckets[j];
        assert_int_equal(sum, latency.count);
        assert_true(latency.count < LATENCY_SAMPLES_MAX);
    }
}

static void the_shortest_and_the_longest_times_have_a_bucket(void **state)
{
    (void)state;
    latency_add(&latency, 0);
    latency_add(&latency, 63);
    assert_int_equal(latency.buckets[0], 2);
    latency_add(&latency, 64);
    assert_int_equal(latency.buckets[1], 1);
    latency_add(&latency, (8ull << 20) - 1);
    latency_add(&latency, 8ull << 20);
    latency_add(&latency, UINT64_MAX);
    assert_int_equal(latency.buckets[LATENCY_BUCKETS - 1], 3);
    assert_true(latency.smoothed_us > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_was_never_measured_is_unknown, set_up),
        cmocka_unit_test_setup(the_first_sample_sets_time_and_half_of_it_as_variance, set_up),
        cmocka_unit_test_setup(the_first_samples_weigh_the_same_and_the_next_ones_an_eighth, set_up),
        cmocka_unit_test_setup(the_variance_moves_by_a_quarter, set_up),
        cmocka_unit_test_setup(few_samples_do_not_compare, set_up),
        cmocka_unit_test_setup(a_steady_time_ends_with_hardly_any_variance, set_up),
        cmocka_unit_test_setup(the_percentile_is_within_a_quarter_of_the_truth, set_up),
        cmocka_unit_test_setup(five_of_a_hundred_slow_answers_do_not_count_as_usual_but_ten_do, set_up),
        cmocka_unit_test_setup(few_samples_make_no_percentile, set_up),
        cmocka_unit_test_setup(old_samples_fade, set_up),
        cmocka_unit_test_setup(the_number_of_samples_stays_bounded, set_up),
        cmocka_unit_test_setup(the_shortest_and_the_longest_times_have_a_bucket, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "nodedot/observe/histogram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void bounds_grow_by_the_square_root_of_two(void **state)
{
    (void)state;
    for (int i = 0; i < HISTOGRAM_BOUNDS; i++)
        assert_true(fabs((double)histogram_bounds_ns[i] - exp2(i / 2. - 14.5) * 1e9) <= 1.);
}

static void a_duration_is_counted_below_the_bound_that_it_reaches(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket(0), 0);
    assert_int_equal(histogram_bucket(43), 0);
    assert_int_equal(histogram_bucket(44), 1);
    assert_int_equal(histogram_bucket(1000000), 29); /* 2^0 seconds: at its bound */
    assert_int_equal(histogram_bucket(1000001), 30);
    assert_int_equal(histogram_bucket(5656854), HISTOGRAM_BOUNDS - 1);
    assert_int_equal(histogram_bucket(5656855), HISTOGRAM_BOUNDS);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BOUNDS);
}

static void both_ways_of_counting_add_up(void **state)
{
    struct histogram histogram = {0};

    (void)state;
    histogram_add(&histogram, 100, 3);
    histogram_add_shared(&histogram, 100);
    assert_int_equal(histogram.buckets[histogram_bucket(100)], 4);
    assert_int_equal(histogram.sum_us, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_grow_by_the_square_root_of_two),
        cmocka_unit_test(a_duration_is_counted_below_the_bound_that_it_reaches),
        cmocka_unit_test(both_ways_of_counting_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

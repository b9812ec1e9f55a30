#include "nodedot/observe/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct status_page page;

static const struct metric_info *find(const char *name)
{
    for (size_t i = 0; i < metric_table_size; i++)
        if (strcmp(metric_table[i].name, name) == 0)
            return &metric_table[i];
    return NULL;
}

static void a_sum_is_over_all_threads_of_both_slots(void **state)
{
    (void)state;
    memset(&page, 0, sizeof page);
    metric_inc(&page.slots[0].threads[0], queries_udp_total);
    metric_add(&page.slots[0].threads[STATUS_THREADS - 1], queries_udp_total, 10);
    metric_add(&page.slots[STATUS_SLOTS - 1].threads[STATUS_THREADS - 1], queries_udp_total, 100);
    assert_int_equal(metric_sum(&page, find("queries_udp_total")), 111);
    assert_int_equal(metric_sum(&page, find("queries_tcp_total")), 0);
}

static void the_first_and_the_last_row_name_their_own_fields(void **state)
{
    (void)state;
    memset(&page, 0, sizeof page);
    metric_set(&page.slots[1].threads[3], queries_udp_total, 7);
    metric_set(&page.slots[1].threads[3], revalidations_total, 9);
    assert_int_equal(metric_sum(&page, &metric_table[0]), 7);
    assert_int_equal(metric_sum(&page, &metric_table[metric_table_size - 1]), 9);
}

static void a_name_that_ends_in_total_is_a_counter_and_no_other(void **state)
{
    (void)state;
    for (size_t i = 0; i < metric_table_size; i++) {
        const char *name = metric_table[i].name;
        size_t size = strlen(name);
        bool total = size > 6 && strcmp(name + size - 6, "_total") == 0;

        assert_int_equal(metric_table[i].counter, total);
        assert_true(strlen(metric_table[i].help) > 0);
    }
}

static void a_block_of_counters_shares_no_cache_line_with_another(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct metrics) % 64, 0);
    assert_int_equal((uintptr_t)&page.slots[1].threads[1] % 64, 0);
}

static void every_identity_state_has_a_name_even_one_of_another_version(void **state)
{
    (void)state;
    assert_string_equal(identity_state_name(IDENTITY_UNVERIFIED), "unverified");
    assert_string_equal(identity_state_name(IDENTITY_VALID), "valid");
    assert_string_equal(identity_state_name(IDENTITY_MISMATCH), "mismatch");
    assert_string_equal(identity_state_name(IDENTITY_UNREACHABLE), "unreachable");
    assert_string_equal(identity_state_name((enum identity_state)3 + 1), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_is_over_all_threads_of_both_slots),
        cmocka_unit_test(the_first_and_the_last_row_name_their_own_fields),
        cmocka_unit_test(a_name_that_ends_in_total_is_a_counter_and_no_other),
        cmocka_unit_test(a_block_of_counters_shares_no_cache_line_with_another),
        cmocka_unit_test(every_identity_state_has_a_name_even_one_of_another_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

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
    assert_string_equal(identity_state_name(IDENTITY_CLOCK), "clock");
    assert_string_equal(identity_state_name(IDENTITY_STATES), "unknown");
}

/* ---- rows of addresses ---- */

static struct config config;

static void configure(const char *const *addresses, size_t count)
{
    memset(&config, 0, sizeof config);
    config.upstream_count = 1;
    strcpy(config.upstreams[0].name, "up");
    config.upstreams[0].address_count = count;
    config.upstreams[0].pin_count = 3;
    for (size_t i = 0; i < count; i++)
        assert_true(endpoint_parse(addresses[i], 853, &config.upstreams[0].addresses[i]));
}

static uint64_t queries_of(const struct status_slot *slot, const char *address)
{
    struct address_status like = {.upstream = "up"};
    const struct address_status *row;

    assert_true(endpoint_parse(address, 853, &like.endpoint));
    row = metrics_find_row(slot, &like, 0);
    return row != NULL ? atomic_load(&row->queries) : UINT64_MAX;
}

static void a_new_generation_counts_on_and_knows_nothing(void **state)
{
    static const char *const addresses[] = {"192.0.2.1", "192.0.2.2"};
    struct status_slot *slot = &page.slots[0];

    (void)state;
    memset(&page, 0, sizeof page);
    configure(addresses, 2);
    assert_true(metrics_begin_rows(slot, &config));
    atomic_store(&slot->addresses[1].queries, 5);
    atomic_store(&slot->addresses[1].padding_octets, 6);
    histogram_add_shared(&slot->addresses[1].duration, 100);
    atomic_store(&slot->addresses[1].state, IDENTITY_VALID);
    atomic_store(&slot->addresses[1].validated_ms, 1);
    atomic_store(&slot->addresses[1].connections, 2);
    atomic_store(&slot->upstreams[0].fallback, 1);
    assert_true(metrics_begin_rows(slot, &config));
    assert_int_equal(slot->address_count, 2);
    assert_int_equal(slot->addresses[1].queries, 5);
    assert_int_equal(slot->addresses[1].padding_octets, 6);
    assert_int_equal(slot->addresses[1].duration.sum_us, 100);
    assert_int_equal(slot->addresses[1].state, IDENTITY_UNVERIFIED);
    assert_int_equal(slot->addresses[1].validated_ms, 0);
    assert_int_equal(slot->addresses[1].connections, 0);
    assert_int_equal(slot->upstream_count, 1);
    assert_int_equal(slot->upstreams[0].pin_count, 3);
    assert_int_equal(slot->upstreams[0].fallback, 0);
    assert_int_equal(slot->rows_version % 2, 0);
}

static void counters_follow_their_address_to_another_place(void **state)
{
    static const char *const before[] = {"192.0.2.1", "192.0.2.2", "192.0.2.3"};
    static const char *const after[] = {"192.0.2.3", "192.0.2.4", "192.0.2.1"};
    struct status_slot *slot = &page.slots[1];

    (void)state;
    memset(&page, 0, sizeof page);
    configure(before, 3);
    metrics_begin_rows(slot, &config);
    for (size_t i = 0; i < 3; i++)
        atomic_store(&slot->addresses[i].queries, i + 1);
    configure(after, 3);
    metrics_begin_rows(slot, &config);
    assert_int_equal(queries_of(slot, "192.0.2.1"), 1);
    assert_int_equal(queries_of(slot, "192.0.2.2"), UINT64_MAX);
    assert_int_equal(queries_of(slot, "192.0.2.3"), 3);
    assert_int_equal(queries_of(slot, "192.0.2.4"), 0);
}

static void an_address_of_another_upstream_or_port_is_another(void **state)
{
    static const char *const addresses[] = {"192.0.2.1"};
    static const char *const port[] = {"192.0.2.1:854"};
    struct status_slot *slot = &page.slots[0];

    (void)state;
    memset(&page, 0, sizeof page);
    configure(addresses, 1);
    metrics_begin_rows(slot, &config);
    atomic_store(&slot->addresses[0].queries, 5);
    strcpy(config.upstreams[0].name, "other");
    metrics_begin_rows(slot, &config);
    assert_int_equal(slot->addresses[0].queries, 0);
    assert_int_equal(queries_of(slot, "192.0.2.1"), UINT64_MAX);
    configure(addresses, 1);
    metrics_begin_rows(slot, &config);
    atomic_store(&slot->addresses[0].queries, 5);
    configure(port, 1);
    metrics_begin_rows(slot, &config);
    assert_int_equal(slot->addresses[0].queries, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_is_over_all_threads_of_both_slots),
        cmocka_unit_test(the_first_and_the_last_row_name_their_own_fields),
        cmocka_unit_test(a_name_that_ends_in_total_is_a_counter_and_no_other),
        cmocka_unit_test(a_block_of_counters_shares_no_cache_line_with_another),
        cmocka_unit_test(a_new_generation_counts_on_and_knows_nothing),
        cmocka_unit_test(counters_follow_their_address_to_another_place),
        cmocka_unit_test(an_address_of_another_upstream_or_port_is_another),
        cmocka_unit_test(every_identity_state_has_a_name_even_one_of_another_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

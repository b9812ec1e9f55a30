#include "nodedot/base/clock.h"
#include "nodedot/observe/exposition.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct status_page *page;
static struct config *config;
static struct exposition *exposition;
static char *text;

/* ---- pages ---- */

static int begin(void **state)
{
    (void)state;
    page = calloc(1, sizeof *page);
    config = calloc(1, sizeof *config);
    config->upstream_count = 2;
    for (size_t i = 0; i < 2; i++) {
        struct upstream_config *upstream = &config->upstreams[i];

        snprintf(upstream->name, sizeof upstream->name, "up%zu", i);
        upstream->address_count = 2;
        endpoint_parse("192.0.2.1", 853, &upstream->addresses[0]);
        endpoint_parse("2001:db8::1", 853, &upstream->addresses[1]);
        upstream->pin_count = 2;
    }
    strcpy(page->version, "1.2");
    strcpy(page->wolfssl, "5.5.4");
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (exposition != NULL)
        exposition_destroy(exposition);
    exposition = NULL;
    free(text);
    text = NULL;
    free(config);
    free(page);
    return 0;
}

/* Writes the page of this slot, whose rows are there. */
static const char *write_page(unsigned slot, enum exposition_format format)
{
    size_t capacity = exposition_size(page->slots[slot].address_count);
    size_t size;

    if (exposition != NULL)
        exposition_destroy(exposition);
    exposition = exposition_create(page, slot);
    atomic_store(&page->slot, slot);
    free(text);
    text = malloc(capacity + 1);
    size = exposition_write(exposition, format, text, capacity);
    assert_true(size > 0);
    text[size] = '\0';
    return text;
}

/* The value behind a sample's name and labels, which must be there once. */
static const char *value_of(const char *sample)
{
    static char value[64];
    char line[512];
    const char *found;

    snprintf(line, sizeof line, "\n%s ", sample);
    found = strstr(text, line);
    assert_non_null(found);
    assert_null(strstr(found + 1, line));
    found += strlen(line);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(found, "\n"), found);
    return value;
}

static bool has(const char *part)
{
    return strstr(text, part) != NULL;
}

#define ROW "{upstream=\"up1\",address=\"[2001:db8::1]:853\""

/* ---- the two formats ---- */

static void text_names_a_counter_as_its_samples_and_openmetrics_without_total(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    write_page(0, EXPOSITION_TEXT);
    assert_true(has("\n# TYPE nodedot_queries_total counter\n"));
    assert_true(has("# HELP nodedot_queries_total Queries received from clients\n"));
    assert_true(has("# TYPE nodedot_build_info gauge\n"));
    assert_false(has("# UNIT"));
    assert_false(has("# EOF"));
    write_page(0, EXPOSITION_OPENMETRICS);
    assert_true(has("\n# TYPE nodedot_queries counter\n"));
    assert_true(has("\n# HELP nodedot_queries Queries received from clients\n"));
    assert_true(has("# TYPE nodedot_build info\n"));
    assert_true(has("\n# UNIT nodedot_process_cpu_seconds seconds\n"));
    assert_true(has("\n# UNIT nodedot_upstream_padding_bytes bytes\n"));
    assert_string_equal(value_of("nodedot_queries_total{transport=\"udp\"}"), "0");
    assert_string_equal(value_of("nodedot_build_info{version=\"1.2\",wolfssl=\"5.5.4\"}"), "1");
    assert_string_equal(text + strlen(text) - 7, "\n# EOF\n");
}

static void both_formats_have_the_same_samples(void **state)
{
    char *first;
    const char *line, *other;

    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    first = strdup(write_page(0, EXPOSITION_TEXT));
    write_page(0, EXPOSITION_OPENMETRICS);
    line = first;
    other = text;
    for (;;) {
        while (*line == '#')
            line = strchr(line, '\n') + 1;
        while (*other == '#')
            other = strchr(other, '\n') + 1;
        assert_int_equal(*line == '\0', *other == '\0');
        if (*line == '\0')
            break;
        size_t size = strcspn(line, "\n") + 1;
        assert_memory_equal(line, other, size);
        line += size;
        other += size;
    }
    free(first);
}

static void every_family_has_help_and_type_once_before_its_samples(void **state)
{
    char family[128] = "";
    size_t families = 0;

    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    write_page(0, EXPOSITION_TEXT);
    for (char *rest, *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            snprintf(family, sizeof family, "%.*s", (int)strcspn(line + 7, " "), line + 7);
            assert_true(strlen(line) > 7 + strlen(family) + 1);
            families++;
            line = strtok_r(NULL, "\n", &rest);
            assert_int_equal(strncmp(line, "# TYPE ", 7), 0);
            assert_int_equal(strncmp(line + 7, family, strlen(family)), 0);
        } else {
            assert_int_equal(strncmp(line, family, strlen(family)), 0);
        }
    }
    assert_true(families > 60);
}

/* ---- values ---- */

static void a_histogram_is_cumulative_and_its_count_that_of_its_buckets(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    histogram_add(&page->slots[0].threads[0].hit_duration, 10, 2);
    histogram_add(&page->slots[1].threads[5].hit_duration, 1000000, 3);
    histogram_add(&page->slots[0].threads[1].hit_duration, 60000000, 1);
    write_page(0, EXPOSITION_OPENMETRICS);
    assert_string_equal(value_of("nodedot_hit_duration_seconds_bucket{le=\"0.000043158\"}"), "2");
    assert_string_equal(value_of("nodedot_hit_duration_seconds_bucket{le=\"0.707106781\"}"), "2");
    assert_string_equal(value_of("nodedot_hit_duration_seconds_bucket{le=\"1.0\"}"), "5");
    assert_string_equal(value_of("nodedot_hit_duration_seconds_bucket{le=\"5.656854249\"}"), "5");
    assert_string_equal(value_of("nodedot_hit_duration_seconds_bucket{le=\"+Inf\"}"), "6");
    assert_string_equal(value_of("nodedot_hit_duration_seconds_sum"), "63.000020");
    assert_string_equal(value_of("nodedot_hit_duration_seconds_count"), "6");
}

static void a_counter_of_an_address_is_the_sum_of_both_generations(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    metrics_begin_rows(&page->slots[1], config);
    atomic_store(&page->slots[0].addresses[3].queries, 5);
    atomic_store(&page->slots[1].addresses[3].queries, 7);
    atomic_store(&page->slots[1].addresses[2].queries, 100);
    atomic_store(&page->slots[1].addresses[3].timeouts, 2);
    histogram_add_shared(&page->slots[0].addresses[3].duration, 50);
    histogram_add_shared(&page->slots[1].addresses[3].duration, 50);
    for (unsigned slot = 0; slot < STATUS_SLOTS; slot++) {
        write_page(slot, EXPOSITION_TEXT);
        assert_string_equal(value_of("nodedot_upstream_queries_total" ROW "}"), "12");
        assert_string_equal(value_of("nodedot_upstream_errors_total" ROW ",cause=\"timeout\"}"), "2");
        assert_string_equal(value_of("nodedot_upstream_request_duration_seconds_count" ROW "}"), "2");
    }
}

static void rows_are_matched_by_address_where_the_order_has_changed(void **state)
{
    struct endpoint first = config->upstreams[1].addresses[0];

    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    atomic_store(&page->slots[0].addresses[3].queries, 5);
    config->upstreams[1].addresses[0] = config->upstreams[1].addresses[1];
    config->upstreams[1].addresses[1] = first;
    metrics_begin_rows(&page->slots[1], config);
    atomic_store(&page->slots[1].addresses[2].queries, 7);
    write_page(1, EXPOSITION_TEXT);
    assert_string_equal(value_of("nodedot_upstream_queries_total" ROW "}"), "12");
    assert_string_equal(value_of("nodedot_upstream_queries_total{upstream=\"up1\",address=\"192.0.2.1:853\"}"), "0");
}

static void identity_is_a_set_of_states_of_which_one_holds(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    atomic_store(&page->slots[0].addresses[3].state, IDENTITY_MISMATCH);
    write_page(0, EXPOSITION_TEXT);
    assert_string_equal(value_of("nodedot_upstream_identity_state" ROW ",state=\"mismatch\"}"), "1");
    assert_string_equal(value_of("nodedot_upstream_identity_state" ROW ",state=\"valid\"}"), "0");
    assert_string_equal(value_of("nodedot_upstream_identity_state" ROW ",state=\"unreachable\"}"), "0");
    assert_string_equal(value_of("nodedot_upstream_identity_state" ROW ",state=\"unverified\"}"), "0");
}

static void what_is_not_known_has_no_sample(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    write_page(0, EXPOSITION_TEXT);
    assert_false(has("\nnodedot_upstream_rtt_seconds{"));
    assert_false(has("\nnodedot_upstream_last_validation_timestamp_seconds{"));
    assert_false(has("\nnodedot_upstream_certificate_expiry_timestamp_seconds{"));
    assert_false(has("\nnodedot_upstream_pin_matched{"));
}

static void a_proof_shows_its_time_its_end_and_its_pins(void **state)
{
    struct address_status *row = &page->slots[0].addresses[3];
    int64_t ago;

    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    atomic_store(&row->validated_ms, clock_ms() - 5000);
    atomic_store(&row->not_after, 4102444800);
    atomic_store(&row->pins_matched, 2);
    atomic_store(&row->rtt_us, 1500);
    write_page(0, EXPOSITION_TEXT);
    assert_string_equal(value_of("nodedot_upstream_pin_matched" ROW ",pin=\"1\"}"), "0");
    assert_string_equal(value_of("nodedot_upstream_pin_matched" ROW ",pin=\"2\"}"), "1");
    assert_string_equal(value_of("nodedot_upstream_pins_configured{upstream=\"up1\"}"), "2");
    assert_string_equal(value_of("nodedot_upstream_certificate_expiry_timestamp_seconds" ROW "}"), "4102444800");
    assert_string_equal(value_of("nodedot_upstream_rtt_seconds" ROW "}"), "0.001500");
    ago = clock_wall_seconds() -
          strtoll(value_of("nodedot_upstream_last_validation_timestamp_seconds" ROW "}"), NULL, 10);
    assert_in_range(ago, 4, 7);
}

static void a_reload_has_a_result_and_a_time(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    atomic_store(&page->reload_succeeded_at, 1700000000);
    atomic_store(&page->reloads_failed, 3);
    atomic_store(&page->reload_is_bad, 1);
    write_page(0, EXPOSITION_TEXT);
    assert_string_equal(value_of("nodedot_config_last_reload_successful"), "0");
    assert_string_equal(value_of("nodedot_config_last_reload_success_timestamp_seconds"), "1700000000");
    assert_string_equal(value_of("nodedot_reloads_total{result=\"failure\"}"), "3");
    atomic_store(&page->reload_is_bad, 0);
    write_page(0, EXPOSITION_TEXT);
    assert_string_equal(value_of("nodedot_config_last_reload_successful"), "1");
}

static void resolvers_add_up_their_cpu_time_and_the_current_one_shows_its_memory(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    atomic_store(&page->slots[0].process.cpu_us, 1500000);
    atomic_store(&page->slots[1].process.cpu_us, 250000);
    atomic_store(&page->slots[0].process.resident_bytes, 4096);
    atomic_store(&page->slots[1].process.resident_bytes, 8192);
    write_page(0, EXPOSITION_TEXT);
    assert_string_equal(value_of("nodedot_process_cpu_seconds_total{process=\"resolver\"}"), "1.750000");
    assert_string_equal(value_of("nodedot_process_resident_memory_bytes{process=\"resolver\"}"), "4096");
    assert_string_equal(value_of("nodedot_process_resident_memory_bytes{process=\"supervisor\"}"), "0");
}

static void the_busiest_clients_are_ten_series_at_most(void **state)
{
    static const struct client_prefix prefix = {.ipv4 = 32, .ipv6 = 64};
    size_t lines = 0;

    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    busiest_begin(&page->slots[0].busiest, &prefix, clock_ms());
    for (uint32_t i = 0; i < 100; i++) {
        struct endpoint client = {.size = sizeof client.v4, .v4.sin_family = AF_INET};

        client.v4.sin_addr.s_addr = htonl(0x0a000000u + i);
        for (uint32_t j = 0; j < i; j++)
            busiest_count(&page->slots[0].busiest.sketches[0], &client);
    }
    write_page(0, EXPOSITION_TEXT);
    for (const char *at = text; (at = strstr(at, "\nnodedot_busiest_client_queries_per_second{")) != NULL; at++)
        lines++;
    assert_int_equal(lines, BUSIEST_SHOWN);
    assert_true(strtod(value_of("nodedot_busiest_client_queries_per_second{client=\"10.0.0.99\"}"), NULL) > 50.);
}

/* ---- limits ---- */

static void names_are_escaped(void **state)
{
    (void)state;
    strcpy(config->upstreams[0].name, "a\"b\\c\nd");
    strcpy(page->version, "1\"\\\n2");
    metrics_begin_rows(&page->slots[0], config);
    write_page(0, EXPOSITION_TEXT);
    value_of("nodedot_upstream_queries_total{upstream=\"a\\\"b\\\\c\\nd\",address=\"192.0.2.1:853\"}");
    value_of("nodedot_upstream_fallback_active{upstream=\"a\\\"b\\\\c\\nd\"}");
    value_of("nodedot_build_info{version=\"1\\\"\\\\\\n2\",wolfssl=\"5.5.4\"}");
}

/* As many rows as there can be, each number as long as it can be, and names that are all backslashes. */
static void fill_page(void)
{
    struct status_slot *slot = &page->slots[0];

    config->upstream_count = CONFIG_UPSTREAMS;
    for (size_t i = 0; i < CONFIG_UPSTREAMS; i++) {
        struct upstream_config *upstream = &config->upstreams[i];

        memset(upstream->name, '\n', CONFIG_NAME - 1);
        upstream->name[0] = (char)('a' + i % 26);
        upstream->name[1] = (char)('a' + i / 26);
        upstream->address_count = CONFIG_ADDRESSES;
        upstream->pin_count = CONFIG_PINS;
        for (size_t j = 0; j < CONFIG_ADDRESSES; j++) {
            endpoint_parse("fe80:1111:2222:3333:4444:5555:6666:7777", 65535, &upstream->addresses[j]);
            upstream->addresses[j].v6.sin6_addr.s6_addr[3] = (uint8_t)j;
            upstream->addresses[j].v6.sin6_scope_id = UINT32_MAX - 1;
        }
    }
    metrics_begin_rows(slot, config);
    for (size_t i = 0; i < STATUS_ADDRESSES; i++) {
        size_t counted = offsetof(struct address_status, state);

        memset((char *)&slot->addresses[i] + counted, 0xff, sizeof slot->addresses[i] - counted);
        atomic_store(&slot->addresses[i].not_after, INT64_MAX);
    }
    memset(slot->threads, 0xff, sizeof slot->threads);
    memset(&slot->process, 0xff, sizeof slot->process);
    memset(page->version, '\n', sizeof page->version);
    memset(page->wolfssl, '\n', sizeof page->wolfssl);
}

static void the_largest_page_fits(void **state)
{
    (void)state;
    fill_page();
    write_page(0, EXPOSITION_OPENMETRICS);
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
}

static void a_page_without_addresses_fits(void **state)
{
    (void)state;
    fill_page();
    for (size_t i = 0; i < CONFIG_UPSTREAMS; i++)
        config->upstreams[i].address_count = 0;
    metrics_begin_rows(&page->slots[0], config);
    write_page(0, EXPOSITION_OPENMETRICS);
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
}

static void a_page_that_does_not_fit_is_none(void **state)
{
    size_t size;
    char *small;

    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    size = strlen(write_page(0, EXPOSITION_TEXT));
    small = malloc(size);
    assert_int_equal(exposition_write(exposition, EXPOSITION_TEXT, small, size), size);
    assert_int_equal(exposition_write(exposition, EXPOSITION_TEXT, small, size - 1), 0);
    assert_int_equal(exposition_write(exposition, EXPOSITION_TEXT, small, 0), 0);
    free(small);
}

static void rows_that_stay_in_motion_do_not_hold_the_page_up(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    atomic_store(&page->slots[1].rows_version, 1); /* who moved them was killed */
    write_page(0, EXPOSITION_TEXT);
    assert_true(has("nodedot_upstream_queries_total" ROW));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(text_names_a_counter_as_its_samples_and_openmetrics_without_total, begin, end),
        cmocka_unit_test_setup_teardown(both_formats_have_the_same_samples, begin, end),
        cmocka_unit_test_setup_teardown(every_family_has_help_and_type_once_before_its_samples, begin, end),
        cmocka_unit_test_setup_teardown(a_histogram_is_cumulative_and_its_count_that_of_its_buckets, begin, end),
        cmocka_unit_test_setup_teardown(a_counter_of_an_address_is_the_sum_of_both_generations, begin, end),
        cmocka_unit_test_setup_teardown(rows_are_matched_by_address_where_the_order_has_changed, begin, end),
        cmocka_unit_test_setup_teardown(identity_is_a_set_of_states_of_which_one_holds, begin, end),
        cmocka_unit_test_setup_teardown(what_is_not_known_has_no_sample, begin, end),
        cmocka_unit_test_setup_teardown(a_proof_shows_its_time_its_end_and_its_pins, begin, end),
        cmocka_unit_test_setup_teardown(a_reload_has_a_result_and_a_time, begin, end),
        cmocka_unit_test_setup_teardown(resolvers_add_up_their_cpu_time_and_the_current_one_shows_its_memory, begin,
                                        end),
        cmocka_unit_test_setup_teardown(the_busiest_clients_are_ten_series_at_most, begin, end),
        cmocka_unit_test_setup_teardown(names_are_escaped, begin, end),
        cmocka_unit_test_setup_teardown(the_largest_page_fits, begin, end),
        cmocka_unit_test_setup_teardown(a_page_without_addresses_fits, begin, end),
        cmocka_unit_test_setup_teardown(a_page_that_does_not_fit_is_none, begin, end),
        cmocka_unit_test_setup_teardown(rows_that_stay_in_motion_do_not_hold_the_page_up, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "nodedot/base/clock.h"
#include "nodedot/node/status_json.h"
#include "nodedot/node/status_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct status_page *page;
static struct config *config;
static char *text;

static int begin(void **state)
{
    (void)state;
    page = calloc(1, sizeof *page);
    config = calloc(1, sizeof *config);
    config->upstream_count = 1;
    strcpy(config->upstreams[0].name, "up");
    config->upstreams[0].address_count = 2;
    config->upstreams[0].pin_count = 2;
    endpoint_parse("192.0.2.1", 853, &config->upstreams[0].addresses[0]);
    endpoint_parse("2001:db8::1", 853, &config->upstreams[0].addresses[1]);
    strcpy(page->version, "1.2");
    atomic_store(&page->started_ms, clock_ms());
    return 0;
}

static int end(void **state)
{
    (void)state;
    free(text);
    text = NULL;
    free(config);
    free(page);
    return 0;
}

static const char *print(bool json, bool colours, bool numbers)
{
    struct status_style style = {.colours = colours, .numbers = numbers};
    size_t size;
    FILE *out;

    free(text);
    out = open_memstream(&text, &size);
    if (json)
        status_json_print(out, page);
    else
        status_table_print(out, page, &style);
    fclose(out);
    return text;
}

static bool has(const char *part)
{
    return strstr(text, part) != NULL;
}

/* Is it one value, with every bracket closed and nothing but ASCII, as far as one can see without a parser? */
static void assert_is_one_line_of_json(void)
{
    char open[16];
    size_t depth = 0;
    bool quoted = false;

    for (const char *at = text; at[1] != '\0'; at++) {
        assert_true(*at >= ' ' && *at < 0x7f);
        if (quoted && *at == '\\') {
            assert_non_null(strchr("\"\\u", at[1]));
            at++;
        } else if (*at == '"') {
            quoted = !quoted;
        } else if (!quoted && (*at == '{' || *at == '[')) {
            assert_true(depth < sizeof open);
            open[depth++] = *at == '{' ? '}' : ']';
        } else if (!quoted && (*at == '}' || *at == ']')) {
            assert_true(depth > 0 && open[--depth] == *at);
        }
    }
    assert_int_equal(depth, 0);
    assert_false(quoted);
    assert_int_equal(text[strlen(text) - 1], '\n');
}

static void a_page_without_anything_can_be_shown(void **state)
{
    (void)state;
    memset(page, 0, sizeof *page);
    print(true, false, false);
    assert_is_one_line_of_json();
    assert_true(has("\"upstreams\":[]}"));
    print(false, true, true);
    assert_true(has("not ready"));
}

static void a_page_of_nonsense_can_be_shown(void **state)
{
    (void)state;
    memset(page, 0xff, sizeof *page);
    print(true, false, false);
    assert_is_one_line_of_json();
    assert_non_null(print(false, true, true));
}

static void names_are_escaped(void **state)
{
    (void)state;
    strcpy(config->upstreams[0].name, "a\"b\\c\nd\x1b\x7f\xff");
    metrics_begin_rows(&page->slots[0], config);
    print(true, false, false);
    assert_is_one_line_of_json();
    assert_true(has("\"name\":\"a\\\"b\\\\c\\u000ad\\u001b\\u007f\\u00ff\""));
}

static void what_is_not_known_is_null(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    print(true, false, false);
    assert_is_one_line_of_json();
    assert_true(
        has("\"last_validation_at\":null,\"certificate_expires_at\":null,\"pins_matched\":[],\"rtt_seconds\":null"));
    print(false, false, false);
    assert_true(has("? of 2"));
}

static void what_is_known_is_shown(void **state)
{
    struct address_status *row = &page->slots[0].addresses[1];

    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    metrics_begin_rows(&page->slots[1], config);
    atomic_store(&row->state, IDENTITY_VALID);
    atomic_store(&row->validated_ms, clock_ms());
    atomic_store(&row->not_after, 4102444800);
    atomic_store(&row->pins_matched, 2);
    atomic_store(&row->rtt_us, 12345);
    atomic_store(&row->queries, 30);
    atomic_store(&page->slots[1].addresses[1].queries, 45); /* by the generation before */
    atomic_store(&page->slots[0].addresses[0].queries, 25);
    print(true, false, false);
    assert_true(
        has("\"pins_matched\":[2],\"rtt_seconds\":0.012345,\"connections\":0,\"edns\":\"full\",\"queries\":75,"));
    print(false, false, false);
    assert_true(has("2100-01-01"));
    assert_true(has("1 of 2"));
    assert_true(has("12.3 ms"));
    assert_true(has(" 75.0 % "));
    assert_true(has(" 25.0 % "));
}

static void colours_and_numbers_are_there_when_asked_for(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    print(false, false, false);
    assert_false(has("\033"));
    assert_false(has("nodedot_queries_udp_total"));
    print(false, true, true);
    assert_true(has("\033[1;31mnot ready\033[0m"));
    assert_true(has("\nnodedot_queries_udp_total 0\n"));
}

static size_t longest_line(void)
{
    size_t longest = 0;

    for (const char *at = text; *at != '\0'; at += strcspn(at, "\n") + 1)
        longest = strcspn(at, "\n") > longest ? strcspn(at, "\n") : longest;
    return longest;
}

static void a_table_of_full_cells_fits_into_100_columns(void **state)
{
    (void)state;
    memset(config->upstreams[0].name, 'u', CONFIG_NAME - 1);
    assert_true(endpoint_parse("149.112.112.112", 853, &config->upstreams[0].addresses[0]));
    metrics_begin_rows(&page->slots[0], config);
    for (size_t i = 0; i < config->upstreams[0].address_count; i++) {
        struct address_status *row = &page->slots[0].addresses[i];

        atomic_store(&row->state, IDENTITY_UNREACHABLE);
        atomic_store(&row->since_ms, 1);
        atomic_store(&row->validated_ms, 1);
        atomic_store(&row->not_after, 4102444800);
        atomic_store(&row->rtt_us, 3999900);
        atomic_store(&row->queries, 9999999);
        atomic_store(&row->failures, 99999);
    }
    print(false, false, false);
    assert_in_range(longest_line(), 80, 100);
    assert_true(has("3999.9 ms"));
}

static void a_fallback_that_serves_is_said(void **state)
{
    (void)state;
    metrics_begin_rows(&page->slots[0], config);
    print(false, false, false);
    assert_false(has("fallback"));
    atomic_store(&page->slots[0].upstreams[0].fallback, 1);
    print(false, false, false);
    assert_true(has("\nup: its fallback is in use"));
    print(true, false, false);
    assert_true(has("\"fallback_active\":true"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_page_without_anything_can_be_shown, begin, end),
        cmocka_unit_test_setup_teardown(a_page_of_nonsense_can_be_shown, begin, end),
        cmocka_unit_test_setup_teardown(names_are_escaped, begin, end),
        cmocka_unit_test_setup_teardown(what_is_not_known_is_null, begin, end),
        cmocka_unit_test_setup_teardown(what_is_known_is_shown, begin, end),
        cmocka_unit_test_setup_teardown(colours_and_numbers_are_there_when_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(a_table_of_full_cells_fits_into_100_columns, begin, end),
        cmocka_unit_test_setup_teardown(a_fallback_that_serves_is_said, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

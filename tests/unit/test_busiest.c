#include "nodedot/observe/busiest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START_MS 1000000

static struct busiest busiest;
static struct busy_client list[BUSIEST_SHOWN];
static const struct client_prefix whole = {.ipv4 = 32, .ipv6 = 64};

static struct endpoint client(const char *text)
{
    struct endpoint endpoint;

    assert_true(endpoint_parse(text, 53, &endpoint));
    return endpoint;
}

static struct endpoint numbered(uint32_t number)
{
    struct endpoint endpoint = {.size = sizeof endpoint.v4};

    endpoint.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000u + number)};
    return endpoint;
}

static void ask(unsigned worker, const struct endpoint *endpoint, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        busiest_count(&busiest.sketches[worker], endpoint);
}

static void turn(uint64_t now_ms)
{
    for (unsigned i = 0; i < CONFIG_WORKERS; i++)
        busiest_turn(&busiest.sketches[i], now_ms);
}

static const char *name(size_t i)
{
    static char text[ENDPOINT_TEXT];

    return busiest_format(&busiest, &list[i], text);
}

static int begin(void **state)
{
    (void)state;
    busiest_begin(&busiest, &whole, START_MS);
    return 0;
}

static void nobody_asked_and_nobody_is_listed(void **state)
{
    (void)state;
    assert_int_equal(busiest_list(&busiest, START_MS, list), 0);
    assert_int_equal(busiest_list(&busiest, START_MS + 60000, list), 0);
}

static void the_busiest_come_first_and_all_workers_count(void **state)
{
    struct endpoint a = client("10.0.0.1"), b = client("fd00:1:2:3:4:5:6:7"), c = client("10.0.0.3");

    (void)state;
    ask(0, &a, 300);
    ask(0, &b, 250);
    ask(CONFIG_WORKERS - 1, &b, 250);
    ask(1, &c, 100);
    assert_int_equal(busiest_list(&busiest, START_MS + BUSIEST_WINDOW_MS, list), 3);
    assert_string_equal(name(0), "fd00:1:2:3::/64");
    assert_int_equal(list[0].millihertz, 50000);
    assert_string_equal(name(1), "10.0.0.1");
    assert_int_equal(list[1].millihertz, 30000);
    assert_string_equal(name(2), "10.0.0.3");
    assert_int_equal(list[2].millihertz, 10000);
}

static void ten_are_listed_at_most(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 30; i++) {
        struct endpoint endpoint = numbered(i);

        ask(i % 3, &endpoint, i * 10);
    }
    assert_int_equal(busiest_list(&busiest, START_MS + BUSIEST_WINDOW_MS, list), BUSIEST_SHOWN);
    assert_string_equal(name(0), "10.0.0.30");
    assert_string_equal(name(BUSIEST_SHOWN - 1), "10.0.0.21");
}

static void a_rate_is_that_of_the_last_ten_seconds(void **state)
{
    struct endpoint a = client("10.0.0.1");

    (void)state;
    ask(0, &a, 100);
    assert_int_equal(busiest_list(&busiest, START_MS, list), 1);
    assert_int_equal(list[0].millihertz, 100000); /* a second is the least that a rate is taken over */
    busiest_list(&busiest, START_MS + 5000, list);
    assert_int_equal(list[0].millihertz, 20000);
    turn(START_MS + BUSIEST_WINDOW_MS - 1); /* too early to do anything */
    busiest_list(&busiest, START_MS + BUSIEST_WINDOW_MS, list);
    assert_int_equal(list[0].millihertz, 10000);
    turn(START_MS + BUSIEST_WINDOW_MS);
    busiest_list(&busiest, START_MS + BUSIEST_WINDOW_MS, list);
    assert_int_equal(list[0].millihertz, 10000);
    ask(0, &a, 50);
    busiest_list(&busiest, START_MS + BUSIEST_WINDOW_MS + 5000, list); /* half of the 100, and 50 */
    assert_int_equal(list[0].millihertz, 10000);
    assert_int_equal(busiest_list(&busiest, START_MS + 2 * BUSIEST_WINDOW_MS, list), 1);
    assert_int_equal(list[0].millihertz, 5000);
}

static void who_stops_is_forgotten(void **state)
{
    struct endpoint a = client("10.0.0.1");

    (void)state;
    ask(0, &a, 1000000);
    turn(START_MS + BUSIEST_WINDOW_MS);
    assert_int_equal(busiest_list(&busiest, START_MS + 2 * BUSIEST_WINDOW_MS, list), 0);
    turn(START_MS + 2 * BUSIEST_WINDOW_MS);
    assert_int_equal(busiest_list(&busiest, START_MS + 2 * BUSIEST_WINDOW_MS, list), 0);
}

static void clients_are_told_apart_by_their_prefix(void **state)
{
    static const struct client_prefix wide = {.ipv4 = 24, .ipv6 = 48};
    static const struct client_prefix narrow = {.ipv4 = 32, .ipv6 = 128};
    struct endpoint a = client("10.0.0.1"), b = client("10.0.0.255"), mapped = client("::ffff:10.0.0.7");
    struct endpoint c = client("fd00:0:0:1::1"), d = client("fd00:0:0:2::1"), e = client("fd00:0:0:1::2");

    (void)state;
    busiest_begin(&busiest, &wide, START_MS);
    ask(0, &a, 1);
    ask(0, &b, 1);
    ask(0, &mapped, 1);
    ask(0, &c, 1);
    ask(0, &d, 1);
    assert_int_equal(busiest_list(&busiest, START_MS, list), 2);
    assert_string_equal(name(0), "10.0.0.0/24");
    assert_string_equal(name(1), "fd00::/48");
    busiest_begin(&busiest, &narrow, START_MS);
    ask(0, &c, 2);
    ask(0, &e, 1);
    assert_int_equal(busiest_list(&busiest, START_MS, list), 2);
    assert_string_equal(name(0), "fd00:0:0:1::1");
    assert_string_equal(name(1), "fd00:0:0:1::2");
}

/* Space-Saving: whoever sends more than one in BUSIEST_WAYS of its set's queries has a place. Here it is twice that. */
static void a_million_sources_do_not_hide_who_floods(void **state)
{
    struct endpoint heavy = client("192.0.2.1");

    (void)state;
    for (uint32_t i = 0; i < 1000000; i++) {
        struct endpoint source = numbered(i);

        busiest_count(&busiest.sketches[0], &source);
        if (i % (BUSIEST_SETS * BUSIEST_WAYS / 2) == 0)
            busiest_count(&busiest.sketches[0], &heavy);
    }
    assert_int_equal(busiest_list(&busiest, START_MS + BUSIEST_WINDOW_MS, list), BUSIEST_SHOWN);
    assert_string_equal(name(0), "192.0.2.1");
    assert_true(list[0].millihertz > 500000); /* of 781,300 */
    assert_true(list[0].millihertz <= 781300);
    assert_true(list[1].millihertz < 10000);
}

static void the_first_queries_of_a_flood_are_seen_among_the_memory_of_others(void **state)
{
    struct endpoint late = client("192.0.2.1");

    (void)state;
    for (uint32_t i = 0; i < 200; i++) {
        struct endpoint old = numbered(i);

        ask(0, &old, 100);
    }
    turn(START_MS + BUSIEST_WINDOW_MS);
    ask(0, &late, 5000);
    assert_int_equal(busiest_list(&busiest, START_MS + BUSIEST_WINDOW_MS + 1000, list), BUSIEST_SHOWN);
    assert_string_equal(name(0), "192.0.2.1");
    assert_int_equal(list[0].millihertz, 500000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nobody_asked_and_nobody_is_listed, begin),
        cmocka_unit_test_setup(the_busiest_come_first_and_all_workers_count, begin),
        cmocka_unit_test_setup(ten_are_listed_at_most, begin),
        cmocka_unit_test_setup(a_rate_is_that_of_the_last_ten_seconds, begin),
        cmocka_unit_test_setup(who_stops_is_forgotten, begin),
        cmocka_unit_test_setup(clients_are_told_apart_by_their_prefix, begin),
        cmocka_unit_test_setup(a_million_sources_do_not_hide_who_floods, begin),
        cmocka_unit_test_setup(the_first_queries_of_a_flood_are_seen_among_the_memory_of_others, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

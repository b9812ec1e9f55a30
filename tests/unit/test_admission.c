#include "nodedot/resolver/admission.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct config config;
static struct admission *admission;

/* Some time of a machine that has been up for a while. */
static const uint64_t now = 1000000;

static void add_network(struct access_list *list, const char *text)
{
    assert_true(network_parse(text, &list->networks[list->count++]));
}

static int set_up(void **state)
{
    (void)state;
    memset(&config, 0, sizeof(config));
    config.client_prefix = (struct client_prefix){.ipv4 = 32, .ipv6 = 64};
    add_network(&config.allow, "0.0.0.0/0");
    add_network(&config.allow, "::/0");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    admission_destroy(admission);
    return 0;
}

static void create(uint32_t qps, uint32_t burst, uint32_t block)
{
    config.client_qps = qps;
    config.client_burst = burst;
    config.client_block = block;
    admission = admission_create(&config);
    assert_non_null(admission);
}

static struct endpoint endpoint_of(const char *text)
{
    struct endpoint endpoint;

    assert_true(endpoint_parse(text, 1024, &endpoint));
    return endpoint;
}

static enum admission_verdict ask(const char *client, uint64_t at_ms)
{
    struct endpoint endpoint = endpoint_of(client);

    if (!admission_allows(admission, &endpoint))
        return ADMISSION_OUTSIDE;
    return admission_check(admission, &endpoint, false, at_ms);
}

static enum admission_verdict connect_from(const char *client, uint64_t at_ms)
{
    struct endpoint endpoint = endpoint_of(client);

    return admission_check_connection(admission, &endpoint, at_ms);
}

static void assert_verdicts(const char *client, uint64_t at_ms, int count, enum admission_verdict expected)
{
    for (int i = 0; i < count; i++)
        assert_int_equal(ask(client, at_ms), expected);
}

/* ---- ACL ---- */

static void the_default_lets_everybody_in_without_looking_at_the_clock(void **state)
{
    (void)state;
    create(0, 0, 0);
    assert_true(admission_is_open(admission));
    assert_verdicts("192.0.2.1", 0, 1000, ADMISSION_GRANTED);
    assert_verdicts("2001:db8::1", 0, 1000, ADMISSION_GRANTED);
    assert_int_equal(connect_from("192.0.2.1", 0), ADMISSION_GRANTED);
}

static void deny_comes_before_allow(void **state)
{
    (void)state;
    add_network(&config.deny, "10.0.0.0/8");
    create(0, 0, 0);
    assert_false(admission_is_open(admission));
    assert_int_equal(ask("10.0.0.1", now), ADMISSION_OUTSIDE);
    assert_int_equal(ask("::ffff:10.0.0.1", now), ADMISSION_OUTSIDE);
    assert_int_equal(connect_from("10.255.255.255", now), ADMISSION_OUTSIDE);
    assert_int_equal(ask("11.0.0.0", now), ADMISSION_GRANTED);
    assert_int_equal(ask("fd00::1", now), ADMISSION_GRANTED);
}

static void who_is_in_neither_list_is_outside(void **state)
{
    (void)state;
    config.allow.count = 0;
    add_network(&config.allow, "192.0.2.0/24");
    add_network(&config.allow, "fd00::/8");
    create(0, 0, 0);
    assert_false(admission_is_open(admission));
    assert_int_equal(ask("192.0.2.255", now), ADMISSION_GRANTED);
    assert_int_equal(ask("::ffff:192.0.2.255", now), ADMISSION_GRANTED);
    assert_int_equal(ask("192.0.3.0", now), ADMISSION_OUTSIDE);
    assert_int_equal(ask("fd12::1", now), ADMISSION_GRANTED);
    assert_int_equal(ask("fe00::1", now), ADMISSION_OUTSIDE);
    assert_int_equal(connect_from("fe00::1", now), ADMISSION_OUTSIDE);
}

static void an_empty_allow_list_lets_nobody_in(void **state)
{
    (void)state;
    config.allow.count = 0;
    create(0, 0, 0);
    assert_false(admission_is_open(admission));
    assert_int_equal(ask("127.0.0.1", now), ADMISSION_OUTSIDE);
}

static void one_family_alone_is_not_everybody(void **state)
{
    (void)state;
    config.allow.count = 1;
    create(0, 0, 0);
    assert_false(admission_is_open(admission));
    assert_int_equal(ask("192.0.2.1", now), ADMISSION_GRANTED);
    assert_int_equal(ask("2001:db8::1", now), ADMISSION_OUTSIDE);
}

static void an_outsider_has_no_bucket(void **state)
{
    (void)state;
    add_network(&config.deny, "10.0.0.1");
    create(1, 1, 100);
    assert_verdicts("10.0.0.1", now, 100, ADMISSION_OUTSIDE);
}

/* ---- rates ---- */

static void a_burst_is_granted_another_is_refused_the_rest_is_dropped(void **state)
{
    (void)state;
    create(10, 5, 0);
    assert_false(admission_is_open(admission));
    assert_verdicts("192.0.2.1", now, 5, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 5, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.1", now, 100, ADMISSION_DROPPED);
}

static void without_a_burst_it_is_one_second_of_the_rate(void **state)
{
    (void)state;
    create(20, 0, 0);
    assert_verdicts("192.0.2.1", now, 20, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 20, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_DROPPED);
}

static void the_smallest_rate_works(void **state)
{
    (void)state;
    create(1, 1, 0);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_DROPPED);
    assert_verdicts("192.0.2.1", now + 2000, 1, ADMISSION_GRANTED);
}

static void the_largest_rate_works(void **state)
{
    (void)state;
    create(UINT32_MAX, UINT32_MAX, 0);
    assert_verdicts("192.0.2.1", now, 1000, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now + UINT64_MAX / 2, 1000, ADMISSION_GRANTED);
}

static void who_keeps_to_the_rate_is_never_refused(void **state)
{
    (void)state;
    create(10, 5, 10);
    for (uint64_t i = 0; i < 2000; i++)
        assert_int_equal(ask("192.0.2.1", now + i * 100), ADMISSION_GRANTED);
}

static void a_token_comes_on_its_millisecond_and_not_before(void **state)
{
    (void)state;
    create(10, 5, 0);
    assert_verdicts("192.0.2.1", now, 5, ADMISSION_GRANTED);
    assert_int_equal(ask("192.0.2.1", now + 99), ADMISSION_REFUSED); /* which costs no token */
    assert_int_equal(ask("192.0.2.1", now + 100), ADMISSION_GRANTED);
    assert_int_equal(ask("192.0.2.1", now + 199), ADMISSION_REFUSED);
    assert_int_equal(ask("192.0.2.1", now + 200), ADMISSION_GRANTED);
}

static void tokens_never_pile_up_above_the_burst(void **state)
{
    (void)state;
    create(10, 5, 0);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now + 1000000000, 5, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now + 1000000000, 1, ADMISSION_REFUSED);
}

static void clients_do_not_share_a_rate(void **state)
{
    (void)state;
    create(10, 5, 10);
    assert_verdicts("192.0.2.1", now, 5, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 5, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.2", now, 5, ADMISSION_GRANTED);
    assert_verdicts("2001:db8::1", now, 5, ADMISSION_GRANTED);
}

static void ports_and_mapped_addresses_of_one_client_share(void **state)
{
    (void)state;
    create(10, 3, 0);
    assert_verdicts("192.0.2.1:1", now, 1, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1:65535", now, 1, ADMISSION_GRANTED);
    assert_verdicts("::ffff:192.0.2.1", now, 1, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_REFUSED);
}

static void addresses_of_one_64_share(void **state)
{
    (void)state;
    create(10, 2, 0);
    assert_verdicts("2001:db8:0:1::1", now, 1, ADMISSION_GRANTED);
    assert_verdicts("2001:db8:0:1:ffff:ffff:ffff:ffff", now, 1, ADMISSION_GRANTED);
    assert_verdicts("2001:db8:0:1::7777", now, 1, ADMISSION_REFUSED);
    assert_verdicts("2001:db8:0:2::1", now, 1, ADMISSION_GRANTED);
}

static void the_prefixes_of_the_configuration_tell_clients_apart(void **state)
{
    (void)state;
    config.client_prefix = (struct client_prefix){.ipv4 = 24, .ipv6 = 56};
    create(10, 2, 0);
    assert_verdicts("192.0.2.0", now, 1, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.255", now, 1, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.77", now, 1, ADMISSION_REFUSED);
    assert_verdicts("192.0.3.0", now, 2, ADMISSION_GRANTED);
    assert_verdicts("2001:db8:0:1::1", now, 1, ADMISSION_GRANTED);
    assert_verdicts("2001:db8:0:ff::1", now, 1, ADMISSION_GRANTED);
    assert_verdicts("2001:db8:0:77::1", now, 1, ADMISSION_REFUSED);
    assert_verdicts("2001:db8:0:100::1", now, 2, ADMISSION_GRANTED);
}

static void a_proven_client_is_not_charged_for_what_others_send_in_its_name(void **state)
{
    struct endpoint client = endpoint_of("192.0.2.1");

    (void)state;
    create(10, 2, 60);
    assert_verdicts("192.0.2.1", now, 2, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 2, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_DROPPED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_BLOCKED);
    for (int i = 0; i < 2; i++)
        assert_int_equal(admission_check(admission, &client, true, now), ADMISSION_GRANTED);
    assert_int_equal(admission_check(admission, &client, true, now), ADMISSION_REFUSED);
}

/* Workers read the clock before they hold the lock, so a query may be judged after one that came a little later. */
static void a_clock_that_was_read_earlier_gives_no_tokens(void **state)
{
    (void)state;
    create(10, 5, 0);
    assert_verdicts("192.0.2.1", now, 5, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now - 1, 5, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.1", now - 1, 1, ADMISSION_DROPPED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_DROPPED);
}

/* ---- blocking ---- */

static void who_is_dropped_is_blocked_for_the_time_agreed(void **state)
{
    (void)state;
    create(10, 5, 3);
    assert_verdicts("192.0.2.1", now, 5, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 5, ADMISSION_REFUSED);
    assert_int_equal(connect_from("192.0.2.1", now), ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_DROPPED);
    assert_verdicts("192.0.2.1", now, 10, ADMISSION_BLOCKED);
    assert_int_equal(connect_from("192.0.2.1", now + 1), ADMISSION_BLOCKED);
    assert_int_equal(ask("192.0.2.1", now + 2999), ADMISSION_BLOCKED);
    assert_int_equal(connect_from("192.0.2.1", now + 3000), ADMISSION_GRANTED);
    assert_int_equal(ask("192.0.2.1", now + 3000), ADMISSION_GRANTED);
    assert_int_equal(ask("192.0.2.2", now + 1), ADMISSION_GRANTED);
}

static void asking_while_blocked_does_not_prolong_the_block(void **state)
{
    (void)state;
    create(10, 1, 3);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_DROPPED);
    for (uint64_t ms = 0; ms < 3000; ms++)
        assert_int_equal(ask("192.0.2.1", now + ms), ADMISSION_BLOCKED);
    assert_int_equal(ask("192.0.2.1", now + 3000), ADMISSION_GRANTED);
}

static void without_block_seconds_nobody_is_blocked(void **state)
{
    (void)state;
    create(10, 1, 0);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.1", now, 10, ADMISSION_DROPPED);
    assert_int_equal(connect_from("192.0.2.1", now), ADMISSION_GRANTED);
    assert_int_equal(ask("192.0.2.1", now + 1000), ADMISSION_GRANTED);
}

static void connections_take_no_tokens(void **state)
{
    (void)state;
    create(10, 5, 3);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(connect_from("192.0.2.1", now), ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now, 5, ADMISSION_GRANTED);
}

/* ---- a million strangers ---- */

static void flood(uint32_t sources, uint64_t from_ms)
{
    struct endpoint stranger = endpoint_of("10.0.0.0");

    for (uint32_t i = 0; i < sources; i++) {
        stranger.v4.sin_addr.s_addr = htonl(0x0a000000u + i);
        (void)admission_check(admission, &stranger, false, from_ms + i / 10000);
    }
}

static void a_million_sources_do_not_push_out_a_heavy_or_a_blocked_client(void **state)
{
    (void)state;
    create(1, 50, 60);
    assert_verdicts("192.0.2.1", now, 50, ADMISSION_GRANTED); /* heavy */
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.2", now, 50, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.2", now, 50, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.2", now, 1, ADMISSION_DROPPED); /* blocked */
    flood(1000000, now);
    assert_int_equal(ask("192.0.2.1", now + 100), ADMISSION_REFUSED);
    assert_int_equal(ask("192.0.2.2", now + 100), ADMISSION_BLOCKED);
}

static void a_full_table_still_serves_newcomers(void **state)
{
    (void)state;
    create(10, 5, 60);
    flood(10 * ADMISSION_SETS * ADMISSION_WAYS, now);
    assert_verdicts("192.0.2.1", now + 100, 5, ADMISSION_GRANTED);
    assert_verdicts("192.0.2.1", now + 100, 1, ADMISSION_REFUSED);
}

/* Each of so many clients, four for each place, asks so often at one moment. */
static void saturate(int queries)
{
    struct endpoint client = endpoint_of("10.0.0.0");

    for (uint32_t i = 0; i < 4 * ADMISSION_SETS * ADMISSION_WAYS; i++) {
        client.v4.sin_addr.s_addr = htonl(0x0a000000u + i);
        for (int n = 0; n < queries; n++)
            (void)admission_check(admission, &client, false, now);
    }
}

static void a_table_full_of_blocked_clients_lets_newcomers_pass(void **state)
{
    (void)state;
    create(1, 1, 60);
    saturate(4);
    assert_int_equal(connect_from("192.0.2.1", now), ADMISSION_GRANTED);
    assert_int_equal(ask("192.0.2.1", now + 1000), ADMISSION_GRANTED);
    assert_int_equal(ask("192.0.2.1", now + 60000), ADMISSION_GRANTED);
}

static void a_heavy_client_is_known_even_when_all_others_are_blocked(void **state)
{
    (void)state;
    create(1, 3, 60);
    assert_verdicts("192.0.2.1", now, 3, ADMISSION_GRANTED);
    saturate(7);
    assert_verdicts("192.0.2.1", now, 3, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_DROPPED);
    assert_verdicts("192.0.2.1", now, 1, ADMISSION_BLOCKED);
}

static void clients_past_half_of_their_burst_push_out_none_of_their_kind(void **state)
{
    (void)state;
    create(1, 4, 0);
    assert_verdicts("192.0.2.1", now, 4, ADMISSION_GRANTED);
    saturate(3);
    assert_verdicts("192.0.2.1", now, 4, ADMISSION_REFUSED);
    assert_verdicts("192.0.2.1", now, 10, ADMISSION_DROPPED);
}

static void a_stranger_has_a_limit_too_and_is_never_blocked(void **state)
{
    unsigned granted = 0;

    (void)state;
    create(1, 4, 60);
    saturate(9);
    for (int i = 0; i < 1000; i++)
        granted += ask("192.0.2.1", now + 10000) == ADMISSION_GRANTED;
    assert_in_range(granted, 1, ADMISSION_WAYS * 4);
    assert_int_equal(connect_from("192.0.2.1", now + 10000), ADMISSION_GRANTED);
    assert_int_not_equal(ask("192.0.2.1", now + 10000), ADMISSION_BLOCKED);
    assert_int_equal(ask("192.0.2.1", now + 11000), ADMISSION_GRANTED); /* eight new ones a second */
}

/* ---- threads ---- */

enum { THREADS = 4, THREAD_QUERIES = 20000, THREAD_BURST = 30000 };

static void *count_granted(void *argument)
{
    struct endpoint client = endpoint_of("192.0.2.1");
    unsigned *granted = argument;

    for (int i = 0; i < THREAD_QUERIES; i++)
        *granted += admission_check(admission, &client, false, now) == ADMISSION_GRANTED;
    return NULL;
}

static void threads_together_grant_one_burst(void **state)
{
    pthread_t threads[THREADS];
    unsigned granted[THREADS] = {0};
    unsigned sum = 0;

    (void)state;
    create(1, THREAD_BURST, 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_granted, &granted[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += granted[i];
    }
    assert_int_equal(sum, THREAD_BURST);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_default_lets_everybody_in_without_looking_at_the_clock),
        TEST(deny_comes_before_allow),
        TEST(who_is_in_neither_list_is_outside),
        TEST(an_empty_allow_list_lets_nobody_in),
        TEST(one_family_alone_is_not_everybody),
        TEST(an_outsider_has_no_bucket),
        TEST(a_burst_is_granted_another_is_refused_the_rest_is_dropped),
        TEST(without_a_burst_it_is_one_second_of_the_rate),
        TEST(the_smallest_rate_works),
        TEST(the_largest_rate_works),
        TEST(who_keeps_to_the_rate_is_never_refused),
        TEST(a_token_comes_on_its_millisecond_and_not_before),
        TEST(tokens_never_pile_up_above_the_burst),
        TEST(clients_do_not_share_a_rate),
        TEST(ports_and_mapped_addresses_of_one_client_share),
        TEST(addresses_of_one_64_share),
        TEST(a_proven_client_is_not_charged_for_what_others_send_in_its_name),
        TEST(the_prefixes_of_the_configuration_tell_clients_apart),
        TEST(a_clock_that_was_read_earlier_gives_no_tokens),
        TEST(who_is_dropped_is_blocked_for_the_time_agreed),
        TEST(asking_while_blocked_does_not_prolong_the_block),
        TEST(without_block_seconds_nobody_is_blocked),
        TEST(connections_take_no_tokens),
        TEST(a_million_sources_do_not_push_out_a_heavy_or_a_blocked_client),
        TEST(a_full_table_still_serves_newcomers),
        TEST(a_table_full_of_blocked_clients_lets_newcomers_pass),
        TEST(a_heavy_client_is_known_even_when_all_others_are_blocked),
        TEST(clients_past_half_of_their_burst_push_out_none_of_their_kind),
        TEST(a_stranger_has_a_limit_too_and_is_never_blocked),
        TEST(threads_together_grant_one_burst),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "nodedot/listener/quota.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOTAL 1024

static const struct client_prefix prefix = {.ipv4 = 32, .ipv6 = 64};

static struct endpoint client_of(uint32_t number)
{
    struct endpoint endpoint = {.size = sizeof(endpoint.v4)};

    endpoint.v4.sin_family = AF_INET;
    endpoint.v4.sin_addr.s_addr = htonl(0x0a000000u + number);
    endpoint.v4.sin_port = htons((uint16_t)rand()); /* it must not matter */
    return endpoint;
}

static enum quota_verdict take(struct quota *quota, uint32_t number)
{
    struct endpoint endpoint = client_of(number);

    return quota_take(quota, &endpoint);
}

static uint32_t held(struct quota *quota, uint32_t number)
{
    struct endpoint endpoint = client_of(number);

    return quota_held(quota, &endpoint);
}

static void release(struct quota *quota, uint32_t number)
{
    struct endpoint endpoint = client_of(number);

    quota_release(quota, &endpoint);
}

static void a_client_has_its_share_and_no_more(void **state)
{
    struct quota *quota = quota_create(TOTAL, 3, &prefix);

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(take(quota, 1), QUOTA_GRANTED);
    assert_int_equal(take(quota, 1), QUOTA_CLIENT_FULL);
    assert_int_equal(take(quota, 2), QUOTA_GRANTED);
    assert_int_equal(held(quota, 1), 3);
    assert_int_equal(held(quota, 2), 1);
    assert_int_equal(held(quota, 3), 0);
    release(quota, 1);
    assert_int_equal(held(quota, 1), 2);
    assert_int_equal(take(quota, 1), QUOTA_GRANTED);
    assert_int_equal(take(quota, 1), QUOTA_CLIENT_FULL);
    quota_destroy(quota);
}

static void the_total_holds_for_many_clients(void **state)
{
    struct quota *quota = quota_create(TOTAL, 3, &prefix);

    (void)state;
    for (uint32_t i = 0; i < TOTAL; i++)
        assert_int_equal(take(quota, i), QUOTA_GRANTED);
    assert_int_equal(take(quota, 0), QUOTA_TOTAL_FULL);
    assert_int_equal(take(quota, TOTAL), QUOTA_TOTAL_FULL);
    release(quota, 500);
    assert_int_equal(take(quota, TOTAL), QUOTA_GRANTED);
    assert_int_equal(take(quota, 500), QUOTA_TOTAL_FULL);
    quota_destroy(quota);
}

static void what_was_refused_is_not_counted(void **state)
{
    struct quota *quota = quota_create(2, 1, &prefix);

    (void)state;
    assert_int_equal(take(quota, 1), QUOTA_GRANTED);
    for (int i = 0; i < 10; i++)
        assert_int_equal(take(quota, 1), QUOTA_CLIENT_FULL);
    assert_int_equal(take(quota, 2), QUOTA_GRANTED);
    for (int i = 0; i < 10; i++)
        assert_int_equal(take(quota, 3), QUOTA_TOTAL_FULL);
    release(quota, 2);
    assert_int_equal(take(quota, 3), QUOTA_GRANTED);
    quota_destroy(quota);
}

static void a_quota_of_one_works(void **state)
{
    struct quota *quota = quota_create(1, 1, &prefix);

    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(take(quota, i), QUOTA_GRANTED);
        assert_int_equal(take(quota, i), QUOTA_CLIENT_FULL);
        assert_int_equal(take(quota, i + 1), QUOTA_TOTAL_FULL);
        release(quota, i);
    }
    quota_destroy(quota);
}

static void addresses_of_one_64_share(void **state)
{
    static const char *const same[] = {"2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"};
    struct quota *quota = quota_create(TOTAL, 2, &prefix);
    struct endpoint endpoint;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_true(endpoint_parse(same[i], 1000, &endpoint));
        assert_int_equal(quota_take(quota, &endpoint), QUOTA_GRANTED);
    }
    assert_true(endpoint_parse("2001:db8:0:1::77", 2000, &endpoint));
    assert_int_equal(quota_take(quota, &endpoint), QUOTA_CLIENT_FULL);
    assert_true(endpoint_parse("2001:db8:0:2::77", 2000, &endpoint));
    assert_int_equal(quota_take(quota, &endpoint), QUOTA_GRANTED);
    quota_destroy(quota);
}

/* Releases in a given order, and asks in between whether everybody else still has what is his. */
static void check_release_order(const uint32_t *order, uint32_t count)
{
    struct quota *quota = quota_create(count, 1, &prefix);
    bool *held = calloc(count, sizeof(*held));

    assert_non_null(held);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(take(quota, i), QUOTA_GRANTED);
        held[i] = true;
    }
    for (uint32_t step = 0; step < count; step++) {
        release(quota, order[step]);
        held[order[step]] = false;
        for (uint32_t i = 0; i < count; i++) {
            if (held[i])
                assert_int_equal(take(quota, i), QUOTA_CLIENT_FULL);
        }
    }
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(take(quota, count + i), QUOTA_GRANTED);
    assert_int_equal(take(quota, 0), QUOTA_TOTAL_FULL);
    free(held);
    quota_destroy(quota);
}

static void clients_may_leave_in_any_order(void **state)
{
    enum { COUNT = 64 }; /* half of the table: it is as full as it can be */
    uint32_t order[COUNT];
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < COUNT; i++)
            order[i] = round == 0 ? i : COUNT - 1 - i;
        for (uint32_t i = COUNT - 1; i > 0 && round > 1; i--) {
            uint32_t j = (uint32_t)rand_r(&seed) % (i + 1), other = order[i];

            order[i] = order[j];
            order[j] = other;
        }
        check_release_order(order, COUNT);
    }
}

static void a_long_run_agrees_with_simple_counting(void **state)
{
    enum { CLIENTS = 200, LIMIT = 100, SHARE = 4 };
    uint32_t counts[CLIENTS] = {0};
    uint32_t total = 0;
    unsigned seed = 7;

    (void)state;
    for (int round = 0; round < 10; round++) { /* each with another key of the hash */
        struct quota *quota = quota_create(LIMIT, SHARE, &prefix);

        memset(counts, 0, sizeof(counts));
        total = 0;
        for (int step = 0; step < 20000; step++) {
            uint32_t client = (uint32_t)rand_r(&seed) % CLIENTS;

            if (rand_r(&seed) % 2 == 0 && counts[client] > 0) {
                release(quota, client);
                counts[client]--;
                total--;
                continue;
            }
            enum quota_verdict expected = counts[client] >= SHARE ? QUOTA_CLIENT_FULL
                                          : total >= LIMIT        ? QUOTA_TOTAL_FULL
                                                                  : QUOTA_GRANTED;
            assert_int_equal(take(quota, client), expected);
            counts[client] += expected == QUOTA_GRANTED;
            total += expected == QUOTA_GRANTED;
        }
        quota_destroy(quota);
    }
}

enum { THREADS = 4, THREAD_STEPS = 20000, THREAD_TOTAL = 64, THREAD_SHARE = 16 };

static struct quota *shared;
static _Atomic int held_now;
static _Atomic int too_many;

static void *take_and_release(void *argument)
{
    uint32_t client = (uint32_t)(uintptr_t)argument % 2;
    int held = 0;

    for (int i = 0; i < THREAD_STEPS; i++) {
        if (take(shared, client) == QUOTA_GRANTED) {
            held++;
            if (++held_now > 2 * THREAD_SHARE)
                too_many++;
        }
        if (i % 3 == 0 && held > 0) {
            held--;
            held_now--; /* first, so that the sum is never above what the quota counts */
            release(shared, client);
        }
    }
    for (; held > 0; held--) {
        held_now--;
        release(shared, client);
    }
    return NULL;
}

static void threads_share_the_limits(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    shared = quota_create(THREAD_TOTAL, THREAD_SHARE, &prefix);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_release, (void *)i), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(too_many, 0);
    assert_int_equal(held_now, 0);
    for (uint32_t i = 0; i < THREAD_TOTAL; i++) /* all came back, none twice */
        assert_int_equal(take(shared, i), QUOTA_GRANTED);
    assert_int_equal(take(shared, THREAD_TOTAL), QUOTA_TOTAL_FULL);
    quota_destroy(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_has_its_share_and_no_more),
        cmocka_unit_test(the_total_holds_for_many_clients),
        cmocka_unit_test(what_was_refused_is_not_counted),
        cmocka_unit_test(a_quota_of_one_works),
        cmocka_unit_test(addresses_of_one_64_share),
        cmocka_unit_test(clients_may_leave_in_any_order),
        cmocka_unit_test(a_long_run_agrees_with_simple_counting),
        cmocka_unit_test(threads_share_the_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

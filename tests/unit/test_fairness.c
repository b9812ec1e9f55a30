#include "nodedot/resolver/fairness.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CAPACITY 64

static const struct client_prefix prefix = {.ipv4 = 32, .ipv6 = 64};
static struct fairness fairness;
static struct fairness_place places[CAPACITY];

static struct endpoint client_of(uint32_t number)
{
    struct endpoint endpoint = {.size = sizeof(endpoint.v4)};

    endpoint.v4.sin_family = AF_INET;
    endpoint.v4.sin_addr.s_addr = htonl(0x0a000000u + number);
    endpoint.v4.sin_port = htons((uint16_t)rand()); /* it must not matter */
    return endpoint;
}

static void take(size_t place, uint32_t number, size_t group)
{
    struct endpoint client = client_of(number);

    fairness_take(&fairness, &places[place], &client, false, group);
}

static void take_many(size_t from, size_t count, uint32_t number, size_t group)
{
    for (size_t i = 0; i < count; i++)
        take(from + i, number, group);
}

static struct fairness_place *claim(uint32_t number, size_t group)
{
    struct endpoint client = client_of(number);

    return fairness_claim(&fairness, &client, false, group);
}

static int set_up(void **state)
{
    (void)state;
    return fairness_init(&fairness, CAPACITY, &prefix) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    fairness_reset(&fairness);
    return 0;
}

static void one_client_alone_pushes_out_nothing(void **state)
{
    (void)state;
    assert_null(fairness_first_to_go(&fairness));
    take_many(0, CAPACITY, 1, 0);
    assert_int_equal(fairness.held, CAPACITY);
    assert_null(claim(1, 0));
}

static void a_newcomer_has_the_oldest_place_of_the_client_that_holds_most(void **state)
{
    (void)state;
    take(0, 2, 0);
    take_many(1, 5, 1, 0);
    take_many(6, 3, 3, 0);
    assert_ptr_equal(claim(4, 0), &places[1]);
    assert_ptr_equal(fairness_first_to_go(&fairness), &places[1]);
    fairness_release(&fairness, &places[1]);
    assert_ptr_equal(claim(4, 0), &places[2]);
}

static void who_would_hold_more_than_the_other_afterwards_gets_nothing(void **state)
{
    (void)state;
    take_many(0, 4, 1, 0);
    take_many(4, 2, 2, 0);
    assert_ptr_equal(claim(2, 0), &places[0]); /* 3 and 3 */
    take(6, 2, 0);
    assert_null(claim(2, 0)); /* would be 4 and 3 */
    assert_null(claim(1, 0));
    assert_ptr_equal(claim(3, 0), &places[0]);
}

static void who_has_one_place_keeps_it(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < CAPACITY; i++)
        take(i, i, 0);
    assert_null(claim(CAPACITY, 0));
    assert_null(claim(0, 0));
}

static void clients_that_want_everything_end_up_with_equal_shares(void **state)
{
    unsigned held[4] = {0};
    uint32_t owner[CAPACITY] = {0};

    (void)state;
    take_many(0, CAPACITY, 0, 0);
    for (int round = 0; round < 1000; round++) {
        uint32_t number = (uint32_t)round % 4;
        struct fairness_place *place = claim(number, 0);

        if (place == NULL)
            continue;
        fairness_release(&fairness, place);
        take((size_t)(place - places), number, 0);
        owner[place - places] = number;
    }
    for (size_t i = 0; i < CAPACITY; i++)
        held[owner[i]]++;
    for (uint32_t number = 0; number < 4; number++)
        assert_int_equal(held[number], CAPACITY / 4);
    assert_int_equal(fairness.most, CAPACITY / 4);
    assert_int_equal(fairness.held, CAPACITY);
}

static void a_client_at_its_share_gives_up_its_own_place_at_the_busiest_group(void **state)
{
    (void)state;
    take(0, 1, 1);
    take_many(1, 10, 1, 0);
    assert_null(claim(1, 0));
    assert_ptr_equal(claim(1, 1), &places[1]);
    assert_ptr_equal(claim(1, 2), &places[1]);
    assert_ptr_equal(claim(2, 0), &places[0]); /* others first have its oldest */
}

static void groups_are_evened_out_too(void **state)
{
    (void)state;
    take_many(0, 4, 1, 0);
    take_many(4, 3, 1, 1);
    assert_null(claim(1, 1));
    fairness_release(&fairness, &places[6]);
    assert_ptr_equal(claim(1, 1), &places[0]);
}

static void a_client_without_a_place_at_the_busiest_group_gets_none_of_others(void **state)
{
    (void)state;
    take_many(0, 5, 1, 0);
    take_many(5, 4, 2, 1);
    assert_null(claim(2, 2));
}

static void who_proved_its_address_has_a_share_of_its_own(void **state)
{
    struct endpoint client = client_of(1);

    (void)state;
    take_many(0, 10, 1, 0);
    assert_null(fairness_claim(&fairness, &client, false, 0));
    assert_ptr_equal(fairness_claim(&fairness, &client, true, 0), &places[0]);
}

/* ---- against a simple model ---- */

enum { MODEL_CLIENTS = 9, MODEL_GROUPS = 3, MODEL_STEPS = 200000 };

static struct {
    bool used;
    uint32_t client;
    size_t group;
    unsigned since;
} model[CAPACITY];

static unsigned model_count(uint32_t client)
{
    unsigned n = 0;

    for (size_t i = 0; i < CAPACITY; i++)
        n += model[i].used && model[i].client == client;
    return n;
}

static unsigned model_most(void)
{
    unsigned most = 0;

    for (uint32_t client = 0; client < MODEL_CLIENTS; client++)
        most = model_count(client) > most ? model_count(client) : most;
    return most;
}

static bool model_is_oldest(size_t place)
{
    for (size_t i = 0; i < CAPACITY; i++) {
        if (model[i].used && model[i].client == model[place].client && model[i].since < model[place].since)
            return false;
    }
    return true;
}

static void model_put(size_t place, uint32_t client, size_t group, unsigned step)
{
    take(place, client, group);
    model[place].used = true;
    model[place].client = client;
    model[place].group = group;
    model[place].since = step;
}

static void model_claim(uint32_t client, size_t group, unsigned step)
{
    struct fairness_place *victim = claim(client, group);
    size_t at = (size_t)(victim - places);
    bool lighter = model_count(client) + 2 <= model_most();

    assert_true(victim != NULL || !lighter);
    if (victim == NULL)
        return;
    assert_true(model[at].used);
    if (lighter) {
        assert_int_equal(model_count(model[at].client), model_most());
        assert_true(model_is_oldest(at));
    } else {
        assert_int_equal(model[at].client, client);
        assert_int_not_equal(model[at].group, group);
    }
    fairness_release(&fairness, victim);
    model_put(at, client, group, step);
}

static void it_keeps_count_as_a_simple_model_does(void **state)
{
    (void)state;
    memset(model, 0, sizeof(model));
    srand(1);
    for (unsigned step = 0; step < MODEL_STEPS; step++) {
        size_t place = (size_t)rand() % CAPACITY;
        uint32_t client = (uint32_t)(rand() % MODEL_CLIENTS) * (uint32_t)(rand() % 2);
        size_t group = (size_t)rand() % MODEL_GROUPS;

        if (!model[place].used) {
            model_put(place, client, group, step);
        } else if (rand() % 3 == 0) {
            fairness_release(&fairness, &places[place]);
            model[place].used = false;
        } else {
            model_claim(client, group, step);
        }
        assert_int_equal(fairness.most, model_most());
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_client_alone_pushes_out_nothing),
        TEST(a_newcomer_has_the_oldest_place_of_the_client_that_holds_most),
        TEST(who_would_hold_more_than_the_other_afterwards_gets_nothing),
        TEST(who_has_one_place_keeps_it),
        TEST(clients_that_want_everything_end_up_with_equal_shares),
        TEST(a_client_at_its_share_gives_up_its_own_place_at_the_busiest_group),
        TEST(groups_are_evened_out_too),
        TEST(a_client_without_a_place_at_the_busiest_group_gets_none_of_others),
        TEST(who_proved_its_address_has_a_share_of_its_own),
        TEST(it_keeps_count_as_a_simple_model_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

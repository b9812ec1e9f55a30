#include "nodedot/forward/inflight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CAPACITY 64

static struct inflight table;

static int set_up(void **state)
{
    (void)state;
    return inflight_init(&table, CAPACITY) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    inflight_reset(&table);
    return 0;
}

static struct question question_of(const char *text, uint16_t qtype)
{
    struct question question = {.qtype = qtype, .qclass = CLASS_IN};

    assert_true(name_from_text(text, &question.qname));
    return question;
}

static struct question numbered(unsigned number)
{
    char text[32];

    snprintf(text, sizeof(text), "n%u.example", number);
    return question_of(text, TYPE_A);
}

static void an_entry_is_found_by_its_whole_key(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct question other_class = question;

    (void)state;
    other_class.qclass = 3;
    struct question other_type = question_of("example.com", TYPE_AAAA);
    struct question other_name = question_of("example.org", TYPE_A);
    struct flight *flight = inflight_take(&table, 42, &question, true, false);
    assert_non_null(flight);
    assert_ptr_equal(inflight_find(&table, 42, &question, true, false), flight);
    assert_null(inflight_find(&table, 42, &question, false, false));
    assert_null(inflight_find(&table, 42, &question, true, true));
    assert_null(inflight_find(&table, 42, &other_class, true, false));
    assert_null(inflight_find(&table, 42, &other_type, true, false));
    assert_null(inflight_find(&table, 42, &other_name, true, false));
    assert_null(inflight_find(&table, 43, &question, true, false));
    assert_null(inflight_find(&table, 42 + (1ull << 40), &question, true, false));
}

static void a_new_entry_is_zero_but_for_its_key(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct flight *flight = inflight_take(&table, 42, &question, true, true);

    (void)state;
    memset(flight->attempts, 0xff, sizeof(flight->attempts));
    flight->waiting = flight;
    flight->deadline_ms = 99;
    flight->without_edns = true;
    inflight_release(&table, flight);
    flight = inflight_take(&table, 43, &question, false, true);
    assert_true(question_equal(&flight->question, &question));
    assert_true(flight->hash == 43);
    assert_false(flight->dnssec_ok);
    assert_true(flight->checking_disabled);
    assert_null(flight->waiting);
    assert_true(flight->deadline_ms == 0);
    assert_false(flight->without_edns);
    for (int i = 0; i < FLIGHT_ATTEMPTS; i++) {
        assert_int_equal(flight->attempts[i].state, ATTEMPT_FREE);
        assert_null(flight->attempts[i].flight);
    }
}

static void the_table_holds_its_capacity_and_no_more(void **state)
{
    struct flight *flights[CAPACITY];
    struct question one_more = numbered(CAPACITY);

    (void)state;
    for (unsigned i = 0; i < CAPACITY; i++) {
        struct question question = numbered(i);

        assert_non_null(flights[i] = inflight_take(&table, i, &question, false, false));
    }
    assert_int_equal(table.count, CAPACITY);
    assert_null(inflight_take(&table, 1, &one_more, false, false));
    assert_null(inflight_find(&table, 1, &one_more, false, false));
    assert_int_equal(table.count, CAPACITY);
    inflight_release(&table, flights[7]);
    assert_non_null(inflight_take(&table, 1, &one_more, false, false));
    assert_null(inflight_take(&table, 2, &one_more, false, false));
}

static void entries_of_one_bucket_are_released_in_any_order(void **state)
{
    static const unsigned orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}};

    (void)state;
    for (size_t o = 0; o < 4; o++) {
        struct flight *flights[4];
        bool there[4] = {true, true, true, true};

        for (unsigned i = 0; i < 4; i++) {
            struct question question = numbered(i);

            flights[i] = inflight_take(&table, 5, &question, false, false);
        }
        for (unsigned step = 0; step < 4; step++) {
            inflight_release(&table, flights[orders[o][step]]);
            there[orders[o][step]] = false;
            for (unsigned i = 0; i < 4; i++) {
                struct question question = numbered(i);

                assert_ptr_equal(inflight_find(&table, 5, &question, false, false), there[i] ? flights[i] : NULL);
            }
        }
        assert_int_equal(table.count, 0);
    }
}

static void a_long_run_agrees_with_a_list(void **state)
{
    struct flight *model[2 * CAPACITY] = {NULL};
    size_t count = 0;
    unsigned seed = 1;

    (void)state;
    for (int step = 0; step < 50000; step++) {
        unsigned i = (unsigned)rand_r(&seed) % (2 * CAPACITY);
        struct question question = numbered(i);
        uint64_t hash = i % 7; /* few buckets, long chains */

        assert_ptr_equal(inflight_find(&table, hash, &question, false, false), model[i]);
        if (model[i] != NULL) {
            inflight_release(&table, model[i]);
            model[i] = NULL;
            count--;
        } else {
            model[i] = inflight_take(&table, hash, &question, false, false);
            assert_int_equal(model[i] == NULL, count == CAPACITY);
            count += model[i] != NULL;
        }
        assert_int_equal(table.count, count);
    }
}

static void a_table_of_one_works(void **state)
{
    struct question question = numbered(0);
    struct inflight small;

    (void)state;
    assert_true(inflight_init(&small, 1));
    struct flight *flight = inflight_take(&small, UINT64_MAX, &question, false, false);
    assert_non_null(flight);
    assert_null(inflight_take(&small, 0, &question, true, false));
    assert_ptr_equal(inflight_find(&small, UINT64_MAX, &question, false, false), flight);
    inflight_release(&small, flight);
    assert_non_null(inflight_take(&small, 0, &question, true, false));
    inflight_reset(&small);
}

/* ---- attempts ---- */

static void assert_order(const struct attempt_list *list, struct attempt *const *order, size_t count)
{
    struct attempt *at = list->first;
    struct attempt *previous = NULL;

    for (size_t i = 0; i < count; i++, previous = at, at = at->next) {
        assert_ptr_equal(at, order[i]);
        assert_ptr_equal(at->previous, previous);
    }
    assert_null(at);
    assert_ptr_equal(list->last, previous);
}

static void attempts_stand_in_the_order_in_which_they_came(void **state)
{
    struct attempt_list list = {NULL, NULL};
    struct attempt a = {.state = ATTEMPT_WAITING}, b = a, c = a;

    (void)state;
    assert_order(&list, NULL, 0);
    attempt_list_push(&list, &a);
    attempt_list_push(&list, &b);
    attempt_list_push(&list, &c);
    assert_order(&list, (struct attempt *[]){&a, &b, &c}, 3);
    assert_int_equal(a.state, ATTEMPT_WAITING);
}

static void an_attempt_is_taken_out_wherever_it_stands(void **state)
{
    (void)state;
    for (int out = 0; out < 3; out++) {
        struct attempt_list list = {NULL, NULL};
        struct attempt attempts[3] = {{.state = ATTEMPT_LOST}, {.state = ATTEMPT_LOST}, {.state = ATTEMPT_LOST}};
        struct attempt *left[2];

        for (int i = 0, n = 0; i < 3; i++) {
            attempt_list_push(&list, &attempts[i]);
            if (i != out)
                left[n++] = &attempts[i];
        }
        attempt_list_remove(&list, &attempts[out]);
        assert_int_equal(attempts[out].state, ATTEMPT_FREE);
        assert_order(&list, left, 2);
        attempt_list_push(&list, &attempts[out]);
        assert_order(&list, (struct attempt *[]){left[0], left[1], &attempts[out]}, 3);
        for (int i = 0; i < 3; i++)
            attempt_list_remove(&list, &attempts[i]);
        assert_order(&list, NULL, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_entry_is_found_by_its_whole_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_entry_is_zero_but_for_its_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_table_holds_its_capacity_and_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_of_one_bucket_are_released_in_any_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_run_agrees_with_a_list, set_up, tear_down),
        cmocka_unit_test(a_table_of_one_works),
        cmocka_unit_test(attempts_stand_in_the_order_in_which_they_came),
        cmocka_unit_test(an_attempt_is_taken_out_wherever_it_stands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

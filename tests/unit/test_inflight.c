#include "nodedot/forward/inflight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CAPACITY 64

/* What stands behind an entry is the owner's. */
struct object {
    struct inflight_entry key;
    uint8_t other[64];
};

static struct inflight table;

static int set_up(void **state)
{
    (void)state;
    return inflight_init(&table, CAPACITY, sizeof(struct object)) ? 0 : -1;
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
    struct inflight_entry *entry = inflight_take(&table, 42, &question, true, false);
    assert_non_null(entry);
    assert_ptr_equal(inflight_find(&table, 42, &question, true, false), entry);
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
    struct inflight_entry *entry = inflight_take(&table, 42, &question, true, true);
    static const uint8_t zero[sizeof(((struct object *)0)->other)];

    (void)state;
    assert_non_null(entry);
    memset(((struct object *)entry)->other, 0xff, sizeof(zero));
    inflight_release(&table, entry);
    entry = inflight_take(&table, 43, &question, true, true);
    assert_non_null(entry);
    assert_int_equal(entry->hash, 43);
    assert_true(entry->dnssec_ok && entry->checking_disabled);
    assert_true(question_equal(&entry->question, &question));
    assert_memory_equal(((struct object *)entry)->other, zero, sizeof(zero));
}

static void the_table_holds_its_capacity_and_no_more(void **state)
{
    struct inflight_entry *entries[CAPACITY];
    struct question one_more = numbered(CAPACITY);

    (void)state;
    for (unsigned i = 0; i < CAPACITY; i++) {
        struct question question = numbered(i);

        assert_non_null(entries[i] = inflight_take(&table, i, &question, false, false));
    }
    assert_int_equal(table.count, CAPACITY);
    assert_null(inflight_take(&table, 1, &one_more, false, false));
    assert_null(inflight_find(&table, 1, &one_more, false, false));
    assert_int_equal(table.count, CAPACITY);
    inflight_release(&table, entries[7]);
    assert_non_null(inflight_take(&table, 1, &one_more, false, false));
    assert_null(inflight_take(&table, 2, &one_more, false, false));
}

static void entries_of_one_bucket_are_released_in_any_order(void **state)
{
    static const unsigned orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}};

    (void)state;
    for (size_t o = 0; o < 4; o++) {
        struct inflight_entry *entries[4];
        bool there[4] = {true, true, true, true};

        for (unsigned i = 0; i < 4; i++) {
            struct question question = numbered(i);

            entries[i] = inflight_take(&table, 5, &question, false, false);
        }
        for (unsigned step = 0; step < 4; step++) {
            inflight_release(&table, entries[orders[o][step]]);
            there[orders[o][step]] = false;
            for (unsigned i = 0; i < 4; i++) {
                struct question question = numbered(i);

                assert_ptr_equal(inflight_find(&table, 5, &question, false, false), there[i] ? entries[i] : NULL);
            }
        }
        assert_int_equal(table.count, 0);
    }
}

static void a_long_run_agrees_with_a_list(void **state)
{
    struct inflight_entry *model[2 * CAPACITY] = {NULL};
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
    assert_true(inflight_init(&small, 1, sizeof(struct object)));
    struct inflight_entry *entry = inflight_take(&small, UINT64_MAX, &question, false, false);
    assert_non_null(entry);
    assert_null(inflight_take(&small, 0, &question, true, false));
    assert_ptr_equal(inflight_find(&small, UINT64_MAX, &question, false, false), entry);
    inflight_release(&small, entry);
    assert_non_null(inflight_take(&small, 0, &question, true, false));
    inflight_reset(&small);
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Which names are found to be popular, however many others come between. */
#include "nodedot/resolver/hot_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WANTED 100

struct fixture {
    struct hot_names hot;
    const struct hot_pick *found;
};

static struct fixture fixture;

static int fixture_create(void **state)
{
    assert_true(hot_names_init(&fixture.hot, WANTED));
    *state = &fixture;
    return 0;
}

static int fixture_destroy(void **state)
{
    (void)state;
    hot_names_reset(&fixture.hot);
    return 0;
}

static struct question numbered(unsigned number)
{
    struct question q = {.qtype = TYPE_A, .qclass = CLASS_IN};
    char text[32];

    snprintf(text, sizeof(text), "n%u.example", number);
    assert_true(name_from_text(text, &q.qname));
    return q;
}

/* The hash that a cache would give: any that spreads. */
static struct cache_key key_of(const struct question *question)
{
    struct cache_key key = {.question = question, .hash = 14695981039346656037ull};

    for (size_t i = 0; i < question->qname.length; i++)
        key.hash = (key.hash ^ question->qname.bytes[i]) * 1099511628211ull;
    key.hash ^= key.hash >> 29;
    key.hash *= 0xbf58476d1ce4e5b9ull;
    return key;
}

static void use(struct hot_names *hot, unsigned number, unsigned times)
{
    struct question q = numbered(number);
    struct cache_key key = key_of(&q);

    while (times-- > 0)
        hot_names_use(hot, &key);
}

static bool is_found(const struct fixture *f, size_t count, unsigned number)
{
    struct question q = numbered(number);

    for (size_t i = 0; i < count; i++) {
        if (question_equal(&f->found[i].name->question, &q))
            return true;
    }
    return false;
}

static void a_name_is_popular_from_its_least_use_on(void **state)
{
    struct fixture *f = *state;

    use(&f->hot, 1, 9);
    assert_int_equal(hot_names_most(&f->hot, 10, WANTED, &f->found), 0);
    use(&f->hot, 1, 1);
    assert_int_equal(hot_names_most(&f->hot, 10, WANTED, &f->found), 1);
    assert_int_equal(f->found[0].uses, 10);
    assert_true(is_found(f, 1, 1));
}

static void do_and_cd_make_another_name(void **state)
{
    struct fixture *f = *state;
    struct question q = numbered(1);
    struct cache_key key = key_of(&q);

    for (unsigned i = 0; i < 4; i++) {
        key.dnssec_ok = (i & 1) != 0;
        key.checking_disabled = (i & 2) != 0;
        hot_names_count(&f->hot, &key, 10);
    }
    assert_int_equal(hot_names_most(&f->hot, 10, WANTED, &f->found), 4);
    q.qtype = TYPE_AAAA;
    hot_names_count(&f->hot, &key, 10);
    assert_int_equal(hot_names_most(&f->hot, 10, WANTED, &f->found), 5);
}

static void the_most_used_come_first_and_no_more_than_asked_for(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 1; i <= 20; i++)
        use(&f->hot, i, i * 10);
    assert_int_equal(hot_names_most(&f->hot, 10, 20, &f->found), 20);
    assert_int_equal(hot_names_most(&f->hot, 10, 21, &f->found), 20);
    assert_int_equal(hot_names_most(&f->hot, 101, 20, &f->found), 10);
    assert_int_equal(hot_names_most(&f->hot, 10, 5, &f->found), 5);
    for (unsigned i = 0; i < 5; i++)
        assert_true(is_found(f, 5, 20 - i));
    assert_int_equal(hot_names_most(&f->hot, 10, 0, &f->found), 0);
}

static void a_flood_of_names_asked_once_hides_no_popular_one_and_none_of_it_is_popular(void **state)
{
    struct fixture *f = *state;
    unsigned found = 0;
    size_t count;

    for (unsigned round = 0; round < 1000; round++) {
        for (unsigned i = 0; i < WANTED; i++)
            use(&f->hot, i, 1);
        for (unsigned i = 0; i < 100; i++)
            use(&f->hot, 1000 + round * 100 + i, 1);
        if (round % 10 == 0)
            f->hot.seen = 0;
    }
    count = hot_names_most(&f->hot, 100, WANTED, &f->found);
    for (unsigned i = 0; i < WANTED; i++)
        found += is_found(f, count, i);
    assert_int_equal(count, found); /* nothing else */
    assert_true(found >= WANTED * 9 / 10);
}

static void of_many_uses_a_part_is_counted_for_all(void **state)
{
    struct fixture *f = *state;
    size_t count;

    use(&f->hot, 1, HOT_NAMES_COUNTED);
    hot_names_tick(&f->hot);
    assert_int_equal(f->hot.skip, 0);
    use(&f->hot, 1, HOT_NAMES_COUNTED + 1);
    hot_names_tick(&f->hot);
    assert_int_equal(f->hot.skip, 1);
    use(&f->hot, 1, 16 * HOT_NAMES_COUNTED);
    hot_names_tick(&f->hot);
    assert_int_equal(f->hot.skip, 15);
    hot_names_reset(&f->hot);
    assert_true(hot_names_init(&f->hot, WANTED));
    f->hot.skip = 15;
    for (unsigned i = 0; i < 10000; i++) { /* in turn: a part taken in turn, too, would see one of them alone */
        use(&f->hot, 1, 1);
        use(&f->hot, 2, 1);
    }
    count = hot_names_most(&f->hot, 1, WANTED, &f->found);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++)
        assert_in_range(f->found[i].uses, 7000, 13000);
    hot_names_tick(&f->hot);
    hot_names_tick(&f->hot);
    assert_int_equal(f->hot.skip, 0); /* it is quiet again */
}

static void uses_fade_by_half(void **state)
{
    struct fixture *f = *state;

    use(&f->hot, 1, 40);
    for (unsigned i = 1; i < HOT_NAMES_HALF_LIFE; i++)
        hot_names_tick(&f->hot);
    assert_int_equal(hot_names_most(&f->hot, 40, WANTED, &f->found), 1);
    hot_names_tick(&f->hot);
    assert_int_equal(hot_names_most(&f->hot, 21, WANTED, &f->found), 0);
    assert_int_equal(hot_names_most(&f->hot, 20, WANTED, &f->found), 1);
    for (unsigned i = 0; i < 6 * HOT_NAMES_HALF_LIFE; i++)
        hot_names_tick(&f->hot);
    assert_int_equal(hot_names_most(&f->hot, 1, WANTED, &f->found), 0);
}

static void counts_do_not_wrap(void **state)
{
    struct fixture *f = *state;
    struct question q = numbered(1);
    struct cache_key key = key_of(&q);

    hot_names_count(&f->hot, &key, UINT32_MAX - 1);
    for (unsigned i = 0; i < 3; i++)
        hot_names_count(&f->hot, &key, 1);
    assert_int_equal(hot_names_most(&f->hot, UINT32_MAX, WANTED, &f->found), 1);
}

static void with_nothing_wanted_nothing_is_counted(void **state)
{
    struct hot_names none;
    const struct hot_pick *found;

    (void)state;
    assert_true(hot_names_init(&none, 0));
    use(&none, 1, 1000);
    hot_names_tick(&none);
    assert_int_equal(hot_names_most(&none, 0, 10, &found), 0);
    hot_names_reset(&none);
}

static void the_smallest_and_the_largest_table_work(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 999, 1000};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        hot_names_reset(&f->hot);
        assert_true(hot_names_init(&f->hot, sizes[i]));
        for (unsigned name = 0; name < 5000; name++)
            use(&f->hot, name, 2);
        use(&f->hot, 7, 100);
        assert_true(hot_names_most(&f->hot, 50, sizes[i], &f->found) == 1);
        assert_true(is_found(f, 1, 7));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_create, fixture_destroy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_name_is_popular_from_its_least_use_on),
        TEST(do_and_cd_make_another_name),
        TEST(the_most_used_come_first_and_no_more_than_asked_for),
        TEST(a_flood_of_names_asked_once_hides_no_popular_one_and_none_of_it_is_popular),
        TEST(of_many_uses_a_part_is_counted_for_all),
        TEST(uses_fade_by_half),
        TEST(counts_do_not_wrap),
        TEST(with_nothing_wanted_nothing_is_counted),
        TEST(the_smallest_and_the_largest_table_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

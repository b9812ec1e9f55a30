#include "nodedot/base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CAPACITY 100
#define SIZE     48

static struct pool pool;

static int set_up(void **state)
{
    (void)state;
    return pool_init(&pool, CAPACITY, SIZE) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pool_reset(&pool);
    return 0;
}

static void as_many_objects_as_agreed_and_no_more(void **state)
{
    (void)state;
    for (int i = 0; i < CAPACITY; i++)
        assert_non_null(pool_take(&pool));
    assert_null(pool_take(&pool));
    assert_null(pool_take(&pool));
}

static void objects_do_not_overlap_and_are_aligned(void **state)
{
    uint8_t *objects[CAPACITY];

    (void)state;
    for (int i = 0; i < CAPACITY; i++) {
        objects[i] = pool_take(&pool);
        assert_int_equal((uintptr_t)objects[i] % sizeof(void *), 0);
        memset(objects[i], i, SIZE);
    }
    for (int i = 0; i < CAPACITY; i++)
        for (size_t at = 0; at < SIZE; at++)
            assert_int_equal(objects[i][at], i);
}

static void a_new_object_is_zero(void **state)
{
    static const uint8_t zero[SIZE];

    (void)state;
    for (int i = 0; i < CAPACITY; i++)
        assert_memory_equal(pool_take(&pool), zero, SIZE);
}

static void what_was_released_last_is_taken_first(void **state)
{
    void *a = pool_take(&pool);
    void *b = pool_take(&pool);
    void *c = pool_take(&pool);

    (void)state;
    pool_release(&pool, b);
    pool_release(&pool, a);
    pool_release(&pool, c);
    assert_ptr_equal(pool_take(&pool), c);
    assert_ptr_equal(pool_take(&pool), a);
    assert_ptr_equal(pool_take(&pool), b);
}

static void a_released_object_makes_an_empty_pool_serve_again(void **state)
{
    void *objects[CAPACITY];

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CAPACITY; i++)
            assert_non_null(objects[i] = pool_take(&pool));
        assert_null(pool_take(&pool));
        pool_release(&pool, objects[CAPACITY / 2]);
        assert_ptr_equal(pool_take(&pool), objects[CAPACITY / 2]);
        assert_null(pool_take(&pool));
        for (int i = 0; i < CAPACITY; i++)
            pool_release(&pool, objects[i]);
    }
}

static void a_releaser_may_keep_all_but_the_first_word(void **state)
{
    uint8_t *object = pool_take(&pool);

    (void)state;
    memset(object, 0x77, SIZE);
    pool_release(&pool, object);
    for (size_t at = sizeof(void *); at < SIZE; at++)
        assert_int_equal(object[at], 0x77);
}

static void an_object_as_small_as_a_pointer_works(void **state)
{
    struct pool small;

    (void)state;
    assert_true(pool_init(&small, 2, sizeof(void *)));
    void *a = pool_take(&small);
    void *b = pool_take(&small);
    assert_non_null(a);
    assert_ptr_not_equal(a, b);
    assert_null(pool_take(&small));
    pool_release(&small, a);
    assert_ptr_equal(pool_take(&small), a);
    pool_reset(&small);
}

static long resident_pages(void)
{
    char text[128] = "";
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file != NULL && fgets(text, sizeof(text), file) != NULL)
        (void)sscanf(text, "%*s %ld", &pages);
    if (file != NULL)
        fclose(file);
    return pages;
}

static void unused_capacity_costs_no_memory(void **state)
{
    struct pool large;
    long before = resident_pages();

    (void)state;
    assert_true(pool_init(&large, 64 * 1024, 1024)); /* 64 MiB */
    assert_non_null(pool_take(&large));
    assert_true(resident_pages() - before < 4 * 1024 * 1024 / sysconf(_SC_PAGESIZE));
    pool_reset(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(as_many_objects_as_agreed_and_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(objects_do_not_overlap_and_are_aligned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_object_is_zero, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_released_last_is_taken_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_released_object_makes_an_empty_pool_serve_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_releaser_may_keep_all_but_the_first_word, set_up, tear_down),
        cmocka_unit_test(an_object_as_small_as_a_pointer_works),
        cmocka_unit_test(unused_capacity_costs_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The ring against what a queue must do; then one writer and one reader at the same time, which is the part to build with
 * -fsanitize=thread. */
#include "nodedot/observe/query_ring.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LARGEST (64 * 1024)
#define RECORDS 300000 /* of the run with threads */

static int create(void **state)
{
    *state = query_ring_create();
    return *state == NULL;
}

static int destroy(void **state)
{
    query_ring_destroy(*state);
    return 0;
}

/* Sizes follow from the number: mostly small ones, now and then one that is as large as an answer can be. */
static size_t size_of(uint64_t number)
{
    uint64_t x = (number + 1) * 0x9e3779b97f4a7c15u;

    x ^= x >> 29;
    return 8 + (x % 512 == 0 ? x % (LARGEST - 8) : x % 700);
}

static uint8_t octet_of(uint64_t number, size_t at)
{
    return (uint8_t)(number * 31 + at);
}

static bool put(struct query_ring *ring, uint64_t number)
{
    size_t size = size_of(number);
    uint8_t *record = query_ring_begin(ring, size);

    if (record == NULL)
        return false;
    assert_int_equal((uintptr_t)record % 16, 0);
    memcpy(record, &number, sizeof(number));
    for (size_t i = sizeof(number); i < size; i++)
        record[i] = octet_of(number, i);
    query_ring_commit(ring);
    return true;
}

/* Takes one; false: there is none. */
static bool take(struct query_ring *ring, uint64_t expected)
{
    size_t size;
    const uint8_t *record = query_ring_peek(ring, &size);
    uint64_t number;

    if (record == NULL)
        return false;
    memcpy(&number, record, sizeof(number));
    assert_int_equal(number, expected);
    assert_int_equal(size, size_of(number));
    for (size_t i = sizeof(number); i < size; i++)
        if (record[i] != octet_of(number, i))
            fail_msg("octet %zu of record %llu", i, (unsigned long long)number);
    query_ring_release(ring);
    return true;
}

static void an_empty_ring_has_no_record(void **state)
{
    size_t size;

    assert_null(query_ring_peek(*state, &size));
}

static void a_record_that_is_not_committed_is_not_seen(void **state)
{
    size_t size;

    assert_non_null(query_ring_begin(*state, 1));
    assert_null(query_ring_peek(*state, &size));
    query_ring_commit(*state);
    assert_non_null(query_ring_peek(*state, &size));
    assert_int_equal(size, 1);
}

static void a_record_stays_until_it_is_released(void **state)
{
    size_t size;

    assert_true(put(*state, 1));
    assert_ptr_equal(query_ring_peek(*state, &size), query_ring_peek(*state, &size));
    assert_true(take(*state, 1));
    assert_null(query_ring_peek(*state, &size));
}

static void the_ring_is_filled_to_its_last_octet_and_no_further(void **state)
{
    size_t whole = QUERY_RING_OCTETS / 2 - 16; /* a prefix of 16 octets stands before each */
    size_t size;

    assert_non_null(query_ring_begin(*state, whole));
    query_ring_commit(*state);
    assert_null(query_ring_begin(*state, whole + 1));
    assert_non_null(query_ring_begin(*state, whole));
    query_ring_commit(*state);
    assert_null(query_ring_begin(*state, 1));
    assert_non_null(query_ring_peek(*state, &size));
    query_ring_release(*state);
    assert_non_null(query_ring_begin(*state, 1));
}

static void a_full_ring_keeps_what_it_has(void **state)
{
    uint64_t written = 0;
    uint64_t read = 0;

    while (put(*state, written))
        written++;
    assert_true(written > 1000);
    while (take(*state, read))
        read++;
    assert_int_equal(read, written);
}

static void records_come_out_as_they_went_in_many_times_around(void **state)
{
    uint64_t written = 0;
    uint64_t read = 0;

    for (unsigned round = 0; round < 20000; round++) {
        for (unsigned i = 0; i < round * 7 % 13; i++)
            written += put(*state, written);
        for (unsigned i = 0; i < round * 5 % 13; i++)
            read += take(*state, read);
    }
    while (take(*state, read))
        read++;
    assert_int_equal(read, written);
    assert_true(written > 50000);
}

static void *write_all(void *ring)
{
    for (uint64_t number = 0; number < RECORDS; number++)
        while (!put(ring, number))
            sched_yield();
    return NULL;
}

static void one_thread_writes_while_another_reads(void **state)
{
    pthread_t writer;

    assert_int_equal(pthread_create(&writer, NULL, write_all, *state), 0);
    for (uint64_t number = 0; number < RECORDS; number++)
        while (!take(*state, number))
            sched_yield();
    pthread_join(writer, NULL);
    assert_false(take(*state, RECORDS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_ring_has_no_record, create, destroy),
        cmocka_unit_test_setup_teardown(a_record_that_is_not_committed_is_not_seen, create, destroy),
        cmocka_unit_test_setup_teardown(a_record_stays_until_it_is_released, create, destroy),
        cmocka_unit_test_setup_teardown(the_ring_is_filled_to_its_last_octet_and_no_further, create, destroy),
        cmocka_unit_test_setup_teardown(a_full_ring_keeps_what_it_has, create, destroy),
        cmocka_unit_test_setup_teardown(records_come_out_as_they_went_in_many_times_around, create, destroy),
        cmocka_unit_test_setup_teardown(one_thread_writes_while_another_reads, create, destroy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

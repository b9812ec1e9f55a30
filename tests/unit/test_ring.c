/* What one ring keeps, moves and forgets. Random runs against a model are in test_ring_model.c. */
#include "nodedot/cache/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIZE RING_MIN_SIZE

struct fixture {
    void *memory;
    struct ring ring;
    uint8_t *scratch;
    unsigned asked; /* calls of wanted */
};

static int fixture_create(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->memory = aligned_alloc(64, SIZE);
    memset(f->memory, 0xa5, SIZE); /* a new ring must not depend on zeros */
    ring_open(&f->ring, f->memory, SIZE);
    ring_format(&f->ring);
    f->scratch = malloc(ring_max_record(&f->ring));
    *state = f;
    return 0;
}

static int fixture_destroy(void **state)
{
    struct fixture *f = *state;

    free(f->scratch);
    free(f->memory);
    free(f);
    return 0;
}

static bool yes(void *context, const uint8_t *record, size_t size)
{
    struct fixture *f = context;

    (void)record, (void)size;
    f->asked++;
    return true;
}

static bool no(void *context, const uint8_t *record, size_t size)
{
    return !yes(context, record, size);
}

/* Spreads small numbers over all bits. */
static uint64_t hash_of(uint64_t number)
{
    return (number + 1) * 0x9e3779b97f4a7c15 ^ number * 0xc2b2ae3d27d4eb4f >> 29;
}

/* A record of 80 octets that begins with its number. */
static void put(struct fixture *f, uint64_t number, const struct ring_cursor *replaces, ring_wanted *wanted)
{
    uint64_t record[10] = {number};

    assert_true(ring_append(&f->ring, hash_of(number), record, sizeof(record), replaces, wanted, f, f->scratch));
}

static bool find(struct fixture *f, uint64_t number, struct ring_cursor *cursor)
{
    uint64_t first;

    *cursor = ring_find(&f->ring, hash_of(number));
    while (ring_next(cursor))
        if (ring_copy(cursor, 0, &first, sizeof(first)) && first == number)
            return true;
    return false;
}

static bool has(struct fixture *f, uint64_t number)
{
    struct ring_cursor cursor;

    return find(f, number, &cursor);
}

/* Appends others, from number on, until the ring has gone round once. Returns the next number. */
static uint64_t lap(struct fixture *f, uint64_t number, ring_wanted *wanted)
{
    for (unsigned i = 0; i < SIZE / 88; i++) /* more than fit: the index needs room, too */
        put(f, number++, NULL, wanted);
    return number;
}

static void an_empty_ring_finds_nothing(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i < 1000; i++)
        assert_false(has(f, i));
    assert_int_equal(ring_entries(&f->ring), 0);
    assert_int_equal(ring_evictions(&f->ring), 0);
}

static void a_record_is_found_under_its_hash_and_no_other(void **state)
{
    struct fixture *f = *state;
    struct ring_cursor cursor;

    put(f, 7, NULL, yes);
    assert_true(find(f, 7, &cursor));
    assert_int_equal(cursor.size, 80);
    assert_false(ring_next(&cursor));
    for (unsigned bit = 0; bit < 47; bit++) { /* the record keeps 47 bits */
        cursor = ring_find(&f->ring, hash_of(7) ^ (uint64_t)1 << bit);
        assert_false(ring_next(&cursor));
    }
    assert_int_equal(ring_entries(&f->ring), 1);
}

static void records_of_every_size_come_back_whole(void **state)
{
    struct fixture *f = *state;
    size_t max = ring_max_record(&f->ring);
    size_t sizes[] = {0, 1, 7, 8, 9, 15, 16, 17, 1000, max - 1, max};
    uint8_t *record = malloc(max + 1), *copy = malloc(max + 1);

    for (size_t i = 0; i < max; i++)
        record[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct ring_cursor cursor;

        assert_true(ring_append(&f->ring, hash_of(i), record, sizes[i], NULL, yes, f, f->scratch));
        cursor = ring_find(&f->ring, hash_of(i));
        assert_true(ring_next(&cursor));
        assert_int_equal(cursor.size, sizes[i]);
        assert_true(ring_copy(&cursor, 0, copy + 1, sizes[i]));
        assert_memory_equal(copy + 1, record, sizes[i]);
    }
    assert_false(ring_append(&f->ring, hash_of(0), record, max + 1, NULL, yes, f, f->scratch));
    free(record);
    free(copy);
}

static void a_part_at_any_offset_comes_back_right_and_past_the_end_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t record[29], copy[40];
    struct ring_cursor cursor;

    for (unsigned i = 0; i < sizeof(record); i++)
        record[i] = (uint8_t)(i + 100);
    assert_true(ring_append(&f->ring, hash_of(1), record, sizeof(record), NULL, yes, f, f->scratch));
    cursor = ring_find(&f->ring, hash_of(1));
    assert_true(ring_next(&cursor));
    for (size_t offset = 0; offset <= sizeof(record) + 1; offset++)
        for (size_t size = 0; size <= sizeof(record) + 1; size++) {
            bool inside = offset + size <= sizeof(record);

            memset(copy, 0, sizeof(copy));
            assert_int_equal(ring_copy(&cursor, offset, copy + offset % 8, size), inside);
            if (inside)
                assert_memory_equal(copy + offset % 8, record + offset, size);
            assert_int_equal(copy[offset % 8 + size], 0);
        }
    assert_false(ring_copy(&cursor, SIZE_MAX, copy, 2));
    assert_false(ring_copy(&cursor, 2, copy, SIZE_MAX));
}

static void the_oldest_records_make_room(void **state)
{
    struct fixture *f = *state;
    uint64_t end = lap(f, 0, yes);
    uint64_t oldest = 0;

    while (!has(f, oldest))
        oldest++;
    assert_in_range(oldest, 1, end / 4);
    for (uint64_t i = oldest; i < end; i++)
        assert_true(has(f, i));
    assert_int_equal(ring_entries(&f->ring), end - oldest);
    assert_int_equal(ring_evictions(&f->ring), oldest);
    assert_int_equal(f->asked, oldest);
}

static void a_record_that_nobody_wants_is_no_eviction(void **state)
{
    struct fixture *f = *state;

    lap(f, 0, no);
    assert_true(f->asked > 0);
    assert_int_equal(ring_evictions(&f->ring), 0);
}

static void a_used_record_stays_for_another_lap_and_must_then_be_used_again(void **state)
{
    struct fixture *f = *state;
    struct ring_cursor cursor;
    uint64_t next;

    put(f, 0, NULL, yes);
    assert_true(find(f, 0, &cursor));
    assert_false(ring_mark_used(&cursor));
    next = lap(f, 1, yes);
    assert_false(has(f, 1));
    assert_true(find(f, 0, &cursor)); /* moved, and not marked by that */
    assert_false(ring_mark_used(&cursor));
    next = lap(f, next, yes);
    assert_true(has(f, 0));
    lap(f, next, yes);
    assert_false(has(f, 0));
}

static void a_used_record_that_nobody_wants_goes(void **state)
{
    struct fixture *f = *state;
    struct ring_cursor cursor;

    put(f, 0, NULL, no);
    assert_true(find(f, 0, &cursor));
    ring_mark_used(&cursor);
    lap(f, 1, no);
    assert_false(has(f, 0));
}

static void a_mark_tells_whether_there_was_one_and_misses_a_changed_entry(void **state)
{
    struct fixture *f = *state;
    struct ring_cursor first, second, old;

    put(f, 0, NULL, yes);
    assert_true(find(f, 0, &first) && find(f, 0, &second));
    old = first;
    assert_false(ring_mark_used(&first));
    assert_true(ring_mark_used(&second)); /* looked before the mark, and hears of it */
    assert_true(find(f, 0, &first));
    assert_true(ring_mark_used(&first));
    put(f, 0, &first, yes);
    assert_false(ring_mark_used(&old));
    assert_true(find(f, 0, &first));
    assert_false(ring_mark_used(&first)); /* the new record was not used yet */
}

/* However much is in use, an append does a bounded amount of work. */
static void a_ring_full_of_used_records_still_takes_new_ones_quickly(void **state)
{
    struct fixture *f = *state;
    struct ring_cursor cursor;
    unsigned most = 0;

    for (uint64_t i = 0; i < 10 * SIZE / 88; i++) {
        f->asked = 0;
        put(f, i, NULL, yes);
        most = f->asked > most ? f->asked : most;
        assert_true(find(f, i, &cursor));
        ring_mark_used(&cursor);
    }
    assert_true(ring_evictions(&f->ring) > 0);
    assert_in_range(most, 2, 20);
}

static void a_replaced_record_is_neither_found_nor_counted(void **state)
{
    struct fixture *f = *state;
    uint64_t old[10] = {5, 1}, new[10] = {5, 2}, copy[10];
    struct ring_cursor cursor;

    assert_true(ring_append(&f->ring, hash_of(5), old, sizeof(old), NULL, yes, f, f->scratch));
    assert_true(find(f, 5, &cursor));
    ring_mark_used(&cursor);
    assert_true(ring_append(&f->ring, hash_of(5), new, sizeof(new), &cursor, yes, f, f->scratch));
    assert_true(find(f, 5, &cursor));
    assert_true(ring_copy(&cursor, 0, copy, sizeof(copy)));
    assert_memory_equal(copy, new, sizeof(new));
    assert_false(ring_next(&cursor));
    assert_int_equal(ring_entries(&f->ring), 1);
    assert_int_equal(f->asked, 0);
}

/* The record to be replaced may itself be what has to leave for the new one. */
static void a_record_can_be_replaced_wherever_the_tail_is(void **state)
{
    struct fixture *f = *state;
    struct ring_cursor cursor;
    unsigned at_the_tail = 0;

    for (uint64_t others = SIZE / 88 * 3 / 4; others < SIZE / 88; others++) {
        uint64_t first;

        ring_clear(&f->ring);
        put(f, 0, NULL, yes);
        for (uint64_t n = 1; n <= others && has(f, 0); n++)
            put(f, n, NULL, yes);
        if (!find(f, 0, &cursor))
            break;
        ring_mark_used(&cursor);
        assert_true(find(f, 0, &cursor));
        put(f, 0, &cursor, yes);
        at_the_tail += !ring_copy(&cursor, 0, &first, sizeof(first));
        assert_true(find(f, 0, &cursor));
        assert_false(ring_next(&cursor));
        assert_int_equal(ring_entries(&f->ring), others + 1);
    }
    assert_int_equal(at_the_tail, 1); /* with just as many others as there is room for */
}

static void a_copy_of_an_overwritten_record_is_not_good(void **state)
{
    struct fixture *f = *state;
    struct ring_cursor cursor;
    uint64_t first;

    put(f, 0, NULL, yes);
    assert_true(find(f, 0, &cursor));
    assert_true(ring_copy(&cursor, 0, &first, sizeof(first)));
    lap(f, 1, yes);
    assert_false(ring_copy(&cursor, 0, &first, sizeof(first)));
}

/* Both buckets of a hash hold sixteen entries; one more takes the place of the oldest that was not used. */
static void the_seventeenth_record_of_one_hash_displaces_the_oldest(void **state)
{
    struct fixture *f = *state;
    struct ring_cursor cursor;
    unsigned found = 0;
    uint64_t number = 0;

    for (; number < 16; number++)
        assert_true(ring_append(&f->ring, hash_of(0), &number, 8, NULL, yes, f, f->scratch));
    assert_true(find(f, 0, &cursor));
    ring_mark_used(&cursor);
    assert_int_equal(ring_entries(&f->ring), 16);
    assert_int_equal(f->asked, 0);
    assert_true(ring_append(&f->ring, hash_of(0), &number, 8, NULL, yes, f, f->scratch));
    assert_int_equal(ring_entries(&f->ring), 16);
    assert_int_equal(ring_evictions(&f->ring), 1);
    for (cursor = ring_find(&f->ring, hash_of(0)); ring_next(&cursor); found++) {
        assert_true(ring_copy(&cursor, 0, &number, sizeof(number)));
        assert_int_not_equal(number, 1);
    }
    assert_int_equal(found, 16);
}

static void a_cleared_ring_is_empty_at_once_and_works_on(void **state)
{
    struct fixture *f = *state;
    struct ring_cursor cursor;
    uint64_t first;

    for (unsigned i = 0; i < 5; i++) {
        uint64_t end = lap(f, 0, yes);

        assert_true(find(f, end - 1, &cursor));
        ring_clear(&f->ring);
        assert_false(ring_copy(&cursor, 0, &first, sizeof(first)));
        assert_int_equal(ring_entries(&f->ring), 0);
        for (uint64_t n = 0; n < end; n++)
            assert_false(has(f, n));
    }
    put(f, 1, NULL, yes);
    assert_true(has(f, 1));
}

static void a_distrusted_ring_gives_misses_until_the_next_append_empties_it(void **state)
{
    struct fixture *f = *state;

    put(f, 1, NULL, yes);
    ring_distrust(&f->ring);
    assert_false(has(f, 1));
    put(f, 2, NULL, yes);
    assert_false(has(f, 1));
    assert_true(has(f, 2));
    assert_int_equal(ring_entries(&f->ring), 1);
}

static void a_second_view_of_the_memory_sees_the_same(void **state)
{
    struct fixture *f = *state;
    struct fixture other = {.memory = f->memory, .scratch = f->scratch};

    put(f, 1, NULL, yes);
    ring_open(&other.ring, f->memory, SIZE);
    assert_true(has(&other, 1));
    put(&other, 2, NULL, yes);
    assert_true(has(f, 2));
}

static void overwritten_memory_gives_misses_and_an_append_recovers(void **state)
{
    struct fixture *f = *state;
    static const int octets[] = {0x00, 0x01, 0x7f, 0x80, 0xff};

    for (size_t i = 0; i < sizeof(octets) / sizeof(*octets); i++) {
        lap(f, 0, yes);
        memset(f->memory, octets[i], SIZE);
        for (uint64_t n = 0; n < 100; n++)
            assert_false(has(f, n));
        put(f, 3, NULL, yes);
        assert_true(has(f, 3));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_create, fixture_destroy)
    const struct CMUnitTest tests[] = {
        TEST(an_empty_ring_finds_nothing),
        TEST(a_record_is_found_under_its_hash_and_no_other),
        TEST(records_of_every_size_come_back_whole),
        TEST(a_part_at_any_offset_comes_back_right_and_past_the_end_is_refused),
        TEST(the_oldest_records_make_room),
        TEST(a_record_that_nobody_wants_is_no_eviction),
        TEST(a_used_record_stays_for_another_lap_and_must_then_be_used_again),
        TEST(a_used_record_that_nobody_wants_goes),
        TEST(a_mark_tells_whether_there_was_one_and_misses_a_changed_entry),
        TEST(a_ring_full_of_used_records_still_takes_new_ones_quickly),
        TEST(a_replaced_record_is_neither_found_nor_counted),
        TEST(a_record_can_be_replaced_wherever_the_tail_is),
        TEST(a_copy_of_an_overwritten_record_is_not_good),
        TEST(the_seventeenth_record_of_one_hash_displaces_the_oldest),
        TEST(a_cleared_ring_is_empty_at_once_and_works_on),
        TEST(a_distrusted_ring_gives_misses_until_the_next_append_empties_it),
        TEST(a_second_view_of_the_memory_sees_the_same),
        TEST(overwritten_memory_gives_misses_and_an_append_recovers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A ring against a simple model: three million random operations with fixed seeds; then one writer against many readers,
 * which is the part for -fsanitize=thread. */
#include "nodedot/cache/ring.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Sanitizers take ten times as long, and what they look for shows as soon. */
#ifdef NODEDOT_SANITIZED
#define OPERATIONS 50000
#else
#define OPERATIONS 500000 /* of each random run */
#endif
#define SIZES   20 /* of rings, tried with a share of the operations each */
#define KEYS    4096
#define READERS 3
#define WRITES  100000 /* of the run with threads */

/* The least bits of a linear congruence are poor: the upper half is used. */
struct dice {
    uint64_t state;
};

static uint32_t dice_below(struct dice *dice, uint32_t bound)
{
    dice->state = dice->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((dice->state >> 32) * bound >> 32);
}

/* A record tells its key, its version and its size; the octets behind follow from those. */
struct content {
    uint32_t key;
    uint32_t version;
    uint64_t size;
};

static uint8_t content_octet(const struct content *c, size_t at)
{
    return (uint8_t)((c->key * 31 + c->version * 17 + at * 7) >> 1);
}

static void content_write(uint8_t *out, const struct content *c)
{
    memcpy(out, c, sizeof(*c));
    for (size_t i = sizeof(*c); i < c->size; i++)
        out[i] = content_octet(c, i);
}

/* Is this a record as content_write() makes it, whole? */
static bool content_read(const uint8_t *record, size_t size, struct content *c)
{
    *c = (struct content){0};
    if (size < sizeof(*c))
        return false;
    memcpy(c, record, sizeof(*c));
    if (c->size != size || c->key >= KEYS)
        return false;
    for (size_t i = sizeof(*c); i < size; i++)
        if (record[i] != content_octet(c, i))
            return false;
    return true;
}

/* One key in eight shares its hash with the key before. */
static uint64_t key_hash(uint32_t key)
{
    uint64_t x = (key % 8 == 1 ? key - 1 : key) + 1;

    x *= 0x9e3779b97f4a7c15;
    x ^= x >> 32;
    return x * 0xd6e8feb86659fd93;
}

/* What must be true of a key. UNSURE: it was used and wanted when it left, so it may have been moved, or lost. */
enum presence { ABSENT, PRESENT, UNSURE };

struct entry {
    enum presence presence;
    struct content content;
    bool used;
};

struct model {
    struct ring ring;
    void *memory;
    uint8_t *record;
    uint8_t *scratch;
    struct dice dice;
    struct entry entries[KEYS];
    uint64_t lost;   /* wanted, and not used: evictions for certain */
    uint64_t unsure; /* and these may be */
    uint64_t found;
};

static bool is_wanted(uint32_t key)
{
    return key % 4 != 0;
}

/* Each record that leaves must be one that can be found, and whole. */
static bool model_wanted(void *context, const uint8_t *record, size_t size)
{
    struct model *m = context;
    struct entry *e;
    struct content c;

    assert_true(content_read(record, size, &c));
    e = &m->entries[c.key];
    assert_int_not_equal(e->presence, ABSENT);
    assert_int_equal(c.version, e->content.version);
    if (!is_wanted(c.key)) {
        e->presence = ABSENT;
    } else if (e->used) {
        e->presence = UNSURE;
        m->unsure++;
    } else {
        /* Unsure once and asked again: it had been moved, and this time it goes. */
        e->presence = ABSENT;
        m->lost++;
    }
    e->used = false;
    return is_wanted(c.key);
}

static bool model_find(struct model *m, uint32_t key, struct ring_cursor *cursor)
{
    struct content c;

    *cursor = ring_find(&m->ring, key_hash(key));
    while (ring_next(cursor)) {
        assert_true(cursor->size <= ring_max_record(&m->ring));
        assert_true(ring_copy(cursor, 0, m->record, cursor->size));
        assert_true(content_read(m->record, cursor->size, &c));
        if (c.key == key) {
            assert_int_equal(c.version, m->entries[key].content.version);
            return true;
        }
    }
    return false;
}

static void model_check(struct model *m, uint32_t key)
{
    struct entry *e = &m->entries[key];
    struct ring_cursor cursor;
    bool found = model_find(m, key, &cursor);

    if (e->presence != UNSURE)
        assert_int_equal(found, e->presence == PRESENT);
    m->found += found;
    if (found && dice_below(&m->dice, 2) == 0) {
        assert_int_equal(ring_mark_used(&cursor), e->used);
        e->used = true;
    }
}

static void model_append(struct model *m, uint32_t key, size_t size)
{
    struct entry *e = &m->entries[key];
    struct content c = {.key = key, .version = e->content.version + 1, .size = size};
    struct ring_cursor older;
    bool replaces = model_find(m, key, &older);

    content_write(m->record, &c);
    assert_true(
        ring_append(&m->ring, key_hash(key), m->record, size, replaces ? &older : NULL, model_wanted, m, m->scratch));
    *e = (struct entry){.presence = PRESENT, .content = c};
}

static void model_forget(struct model *m)
{
    for (uint32_t key = 0; key < KEYS; key++)
        m->entries[key].presence = ABSENT;
}

/* Mostly as small as answers are, now and then up to the largest. */
static size_t random_size(struct model *m, size_t typical)
{
    size_t max = dice_below(&m->dice, 200) == 0 ? ring_max_record(&m->ring) : typical;

    return sizeof(struct content) + dice_below(&m->dice, (uint32_t)(max - sizeof(struct content) + 1));
}

static void model_step(struct model *m, size_t typical)
{
    uint32_t what = dice_below(&m->dice, 100000);
    uint32_t key = dice_below(&m->dice, KEYS);

    if (what < 3) {
        ring_clear(&m->ring);
        model_forget(m);
    } else if (what < 6) {
        ring_distrust(&m->ring);
        model_forget(m);
    } else if (what < 40000) {
        model_append(m, key, random_size(m, typical));
    } else {
        model_check(m, dice_below(&m->dice, 4) == 0 ? key : key / 16); /* some are asked more often */
    }
}

static void model_run(size_t size, size_t typical, uint64_t seed, unsigned operations)
{
    struct model *m = calloc(1, sizeof(*m));
    uint64_t before, there;

    m->memory = aligned_alloc(64, size);
    memset(m->memory, 0x5a, size);
    m->dice.state = seed;
    ring_open(&m->ring, m->memory, size);
    ring_format(&m->ring);
    m->record = malloc(ring_max_record(&m->ring));
    m->scratch = malloc(ring_max_record(&m->ring));
    for (unsigned i = 0; i < operations; i++)
        model_step(m, typical);
    assert_in_range(ring_evictions(&m->ring), m->lost, m->lost + m->unsure);
    model_append(m, 0, sizeof(struct content)); /* after a distrust, the count is right from here on */
    before = m->found;
    for (uint32_t key = 0; key < KEYS; key++)
        model_check(m, key);
    there = m->found - before;
    assert_int_equal(there, ring_entries(&m->ring));
    assert_true(there > 0);
    free(m->memory);
    free(m->record);
    free(m->scratch);
    free(m);
}

static void a_small_ring_of_small_records_agrees_with_the_model(void **state)
{
    (void)state;
    model_run(RING_MIN_SIZE, 120, 1, OPERATIONS);
}

static void a_small_ring_of_large_records_agrees_with_the_model(void **state)
{
    (void)state;
    model_run(RING_MIN_SIZE, 1200, 2, OPERATIONS);
}

static void a_ring_of_an_odd_number_of_lines_agrees_with_the_model(void **state)
{
    (void)state;
    model_run(RING_MIN_SIZE + 64 * 37, 300, 3, OPERATIONS);
}

/* More entries than the index has room for: records are displaced. */
static void a_ring_of_smallest_records_agrees_with_the_model(void **state)
{
    (void)state;
    model_run(RING_MIN_SIZE, sizeof(struct content), 4, OPERATIONS);
}

static void rings_of_any_size_agree_with_the_model(void **state)
{
    struct dice dice = {.state = 6};

    (void)state;
    for (uint64_t seed = 100; seed < 100 + SIZES; seed++) {
        size_t size = RING_MIN_SIZE + 64 * (size_t)dice_below(&dice, 16384); /* up to 1.1 MiB */
        size_t typical = sizeof(struct content) + dice_below(&dice, 1500);

        model_run(size, typical, seed, 2 * OPERATIONS / SIZES);
    }
}

struct readers {
    struct ring ring;
    _Atomic bool stop;
};

/* Looks at what it pleases until told to stop. Returns how many records it read well; NULL: one was not whole. */
static void *reader_run(void *context)
{
    struct readers *r = context;
    struct dice dice = {.state = (uintptr_t)&dice};
    uint8_t *record = malloc(ring_max_record(&r->ring));
    uintptr_t good = 1;

    while (good != 0 && !r->stop) {
        uint32_t key = dice_below(&dice, KEYS);
        struct ring_cursor cursor = ring_find(&r->ring, key_hash(key));
        struct content c;

        while (good != 0 && ring_next(&cursor)) {
            if (!ring_copy(&cursor, 0, record, cursor.size))
                continue; /* the writer was quicker */
            if (!content_read(record, cursor.size, &c) || key_hash(c.key) != key_hash(key))
                good = 0;
            else
                good++;
            if (dice_below(&dice, 2) == 0)
                ring_mark_used(&cursor);
        }
    }
    free(record);
    return (void *)good;
}

static bool always(void *context, const uint8_t *record, size_t size)
{
    struct content c;

    (void)context;
    assert_true(content_read(record, size, &c)); /* the writer sees its own records whole */
    return is_wanted(c.key);
}

/* Appends records, replacing what there is of the key, and clears now and then. */
static void writer_run(struct ring *ring)
{
    struct dice dice = {.state = 5};
    uint8_t *record = malloc(ring_max_record(ring)), *scratch = malloc(ring_max_record(ring));

    for (uint32_t i = 0; i < WRITES; i++) {
        struct content c = {.key = dice_below(&dice, KEYS), .version = i, .size = 16 + dice_below(&dice, 300)};
        struct ring_cursor older = ring_find(ring, key_hash(c.key));
        bool replaces = ring_next(&older);

        content_write(record, &c);
        assert_true(
            ring_append(ring, key_hash(c.key), record, c.size, replaces ? &older : NULL, always, NULL, scratch));
        if (dice_below(&dice, 10000) == 0)
            ring_clear(ring);
    }
    free(record);
    free(scratch);
}

static void readers_never_see_half_a_record_while_one_writes(void **state)
{
    struct readers r = {.stop = false};
    void *memory = aligned_alloc(64, RING_MIN_SIZE);
    pthread_t threads[READERS];

    (void)state;
    ring_open(&r.ring, memory, RING_MIN_SIZE);
    ring_format(&r.ring);
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader_run, &r), 0);
    writer_run(&r.ring);
    r.stop = true;
    for (unsigned i = 0; i < READERS; i++) {
        void *good;

        assert_int_equal(pthread_join(threads[i], &good), 0);
        assert_non_null(good);
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_ring_of_small_records_agrees_with_the_model),
        cmocka_unit_test(a_small_ring_of_large_records_agrees_with_the_model),
        cmocka_unit_test(a_ring_of_an_odd_number_of_lines_agrees_with_the_model),
        cmocka_unit_test(a_ring_of_smallest_records_agrees_with_the_model),
        cmocka_unit_test(rings_of_any_size_agree_with_the_model),
        cmocka_unit_test(readers_never_see_half_a_record_while_one_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

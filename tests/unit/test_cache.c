/* What the cache answers with, for how long, and what it survives. */
#include "nodedot/cache/cache.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1024 * 1024)
#define NOW 1000u

/* An answer as an upstream sends it, in the making. */
struct answer {
    uint8_t octets[MESSAGE_MAX_OCTETS];
    struct wire_writer w;
    struct answer_info info;
    uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];
};

struct fixture {
    void *memory;
    size_t size;
    struct cache *cache;
    struct cache_limits limits;
    struct answer answer;
    uint8_t out[MESSAGE_MAX_OCTETS];
    struct cache_hit hit;
};

static struct fixture *fixture_of(size_t size)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->size = size;
    f->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(f->memory, MAP_FAILED);
    assert_int_equal(cache_format(f->memory, size), 0);
    f->cache = cache_open(f->memory);
    assert_non_null(f->cache);
    f->limits = (struct cache_limits){.max_ttl = 86400, .negative_max_ttl = 300, .stale_max = 3600};
    return f;
}

static void fixture_free(struct fixture *f)
{
    cache_close(f->cache);
    munmap(f->memory, f->size);
    free(f);
}

static int fixture_create(void **state)
{
    *state = fixture_of(CACHE_MIN_SIZE);
    return 0;
}

static int fixture_destroy(void **state)
{
    fixture_free(*state);
    return 0;
}

static struct question question_of(const char *name, uint16_t qtype)
{
    struct question q = {.qtype = qtype, .qclass = CLASS_IN};

    assert_true(name_from_text(name, &q.qname));
    return q;
}

static void answer_begin(struct answer *a, const struct question *q, uint16_t flags)
{
    a->w = wire_writer_of(a->octets, sizeof(a->octets));
    wire_write_u16(&a->w, 0x1234);
    wire_write_u16(&a->w, (uint16_t)(MESSAGE_QR | MESSAGE_RD | MESSAGE_RA | flags));
    wire_write_u16(&a->w, 1);
    for (unsigned i = 0; i < 3; i++)
        wire_write_u16(&a->w, 0);
    wire_write(&a->w, q->qname.bytes, q->qname.length);
    wire_write_u16(&a->w, q->qtype);
    wire_write_u16(&a->w, q->qclass);
}

enum section { ANSWER, AUTHORITY, ADDITIONAL };

/* Adds a record for the question's name, with size octets of RDATA. */
static void answer_add(struct answer *a, enum section section, uint16_t type, uint32_t ttl, const void *rdata,
                       size_t size)
{
    uint8_t *count = a->octets + 6 + 2 * section;

    wire_put_u16(count, (uint16_t)(wire_get_u16(count) + 1));
    wire_write_u16(&a->w, 0xc00c);
    wire_write_u16(&a->w, type);
    wire_write_u16(&a->w, CLASS_IN);
    wire_write_u32(&a->w, ttl);
    wire_write_u16(&a->w, (uint16_t)size);
    wire_write(&a->w, rdata, size);
}

static void answer_add_a(struct answer *a, uint32_t ttl)
{
    answer_add(a, ANSWER, TYPE_A, ttl, "\xc0\x00\x02\x01", 4);
}

static void answer_add_soa(struct answer *a, uint32_t ttl, uint32_t minimum)
{
    uint8_t rdata[22] = {0};

    wire_put_u32(rdata + 18, minimum);
    answer_add(a, AUTHORITY, TYPE_SOA, ttl, rdata, sizeof(rdata));
}

static void answer_end(struct answer *a)
{
    assert_false(a->w.bad);
    assert_true(answer_parse(a->octets, wire_written(&a->w), &a->info, a->ttl_offsets, MESSAGE_MAX_RECORDS));
}

static bool store(struct fixture *f, const struct question *q)
{
    struct cache_key key = cache_key_of(f->cache, q, false, false);

    return cache_store(f->cache, &key, f->answer.octets, &f->answer.info, f->answer.ttl_offsets, &f->limits, NOW);
}

/* Stores an answer with one A record. */
static bool store_a(struct fixture *f, const struct question *q, uint32_t ttl)
{
    answer_begin(&f->answer, q, 0);
    answer_add_a(&f->answer, ttl);
    answer_end(&f->answer);
    return store(f, q);
}

static bool lookup(struct fixture *f, const struct question *q, uint32_t now, uint32_t stale_ttl)
{
    struct cache_key key = cache_key_of(f->cache, q, false, false);

    return cache_lookup(f->cache, &key, now, stale_ttl, f->out, sizeof(f->out), &f->hit);
}

/* TTL of the record with this number in the copy, counted from the end; all are A records but for negative answers. */
static uint32_t ttl_at(const struct fixture *f, unsigned number)
{
    return wire_get_u32(f->out + f->answer.ttl_offsets[number]);
}

static void a_size_below_the_smallest_or_unaligned_memory_is_refused(void **state)
{
    uint8_t *memory = aligned_alloc(64, 2 * MIB);

    (void)state;
    assert_int_equal(cache_format(memory, CACHE_MIN_SIZE - 1), -EINVAL);
    assert_int_equal(cache_format(memory + 8, CACHE_MIN_SIZE), -EINVAL);
    assert_int_equal(cache_format(memory, (size_t)8192 * MIB + 1), -EINVAL);
    assert_int_equal(cache_format(memory, CACHE_MIN_SIZE), 0);
    assert_int_equal(cache_format(memory, CACHE_MIN_SIZE + 1), 0);
    free(memory);
}

static void memory_without_a_whole_header_is_not_opened(void **state)
{
    struct fixture *f = *state;
    uint8_t *octets = f->memory;
    void *zeros = calloc(1, CACHE_MIN_SIZE);

    assert_null(cache_open(zeros));
    free(zeros);
    for (unsigned i = 0; i < 48; i++) {
        struct cache *cache;

        octets[i] ^= 1;
        cache = cache_open(f->memory);
        assert_null(cache);
        octets[i] ^= 1;
    }
}

static void formatting_touches_few_pages(void **state)
{
    size_t size = 64 * MIB, page = (size_t)sysconf(_SC_PAGESIZE), touched = 0;
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned char *resident = malloc(size / page);

    (void)state;
    assert_int_equal(cache_format(memory, size), 0);
    assert_int_equal(mincore(memory, size, resident), 0);
    for (size_t i = 0; i < size / page; i++)
        touched += resident[i] & 1;
    assert_in_range(touched, 1, 64);
    free(resident);
    munmap(memory, size);
}

static void a_stored_answer_comes_back_as_it_was_without_its_id(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    assert_false(lookup(f, &q, NOW, 0));
    assert_true(store_a(f, &q, 300));
    assert_true(lookup(f, &q, NOW, 0));
    assert_int_equal(f->hit.size, f->answer.info.size_without_opt);
    assert_int_equal(f->hit.kind, CACHE_POSITIVE);
    assert_false(f->hit.stale);
    assert_false(f->hit.prefetch_due);
    assert_int_equal(f->hit.ttl_left, 300);
    assert_int_equal(wire_get_u16(f->out), 0);
    assert_memory_equal(f->out + 2, f->answer.octets + 2, f->hit.size - 2);
}

static void the_question_comes_back_in_lower_case(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    answer_begin(&f->answer, &q, 0);
    memcpy(f->answer.octets + MESSAGE_HEADER, "\3wWw\7EXAMPLE", 12);
    answer_add_a(&f->answer, 300);
    answer_end(&f->answer);
    assert_true(store(f, &q));
    assert_true(lookup(f, &q, NOW, 0));
    assert_memory_equal(f->out + MESSAGE_HEADER, q.qname.bytes, q.qname.length);
}

static void an_opt_record_at_the_end_is_left_out(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    size_t size;

    answer_begin(&f->answer, &q, 0);
    answer_add_a(&f->answer, 300);
    size = wire_written(&f->answer.w);
    wire_write(&f->answer.w, "\0\0\x29\x04\xd0\0\0\0\0\0\0", 11);
    wire_put_u16(f->answer.octets + 10, 1);
    answer_end(&f->answer);
    assert_true(store(f, &q));
    assert_true(lookup(f, &q, NOW, 0));
    assert_int_equal(f->hit.size, size);
    assert_int_equal(wire_get_u16(f->out + 10), 0);
}

static void each_part_of_the_key_tells_answers_apart(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A), other = q;
    struct cache_key key;

    assert_true(store_a(f, &q, 300));
    other.qtype = TYPE_AAAA;
    assert_false(lookup(f, &other, NOW, 0));
    other = q;
    other.qclass = 3;
    assert_false(lookup(f, &other, NOW, 0));
    other = question_of("wwx.example.com", TYPE_A);
    assert_false(lookup(f, &other, NOW, 0));
    other = question_of("example.com", TYPE_A);
    assert_false(lookup(f, &other, NOW, 0));
    for (unsigned bits = 1; bits < 4; bits++) {
        key = cache_key_of(f->cache, &q, (bits & 1) != 0, (bits & 2) != 0);
        assert_false(cache_lookup(f->cache, &key, NOW, 0, f->out, sizeof(f->out), &f->hit));
        assert_true(
            cache_store(f->cache, &key, f->answer.octets, &f->answer.info, f->answer.ttl_offsets, &f->limits, NOW));
        assert_true(cache_lookup(f->cache, &key, NOW, 0, f->out, sizeof(f->out), &f->hit));
    }
    assert_true(lookup(f, &q, NOW, 0));
}

static void an_answer_of_another_origin_is_a_miss_and_makes_room(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("origin.test", TYPE_A);
    struct cache_key key = cache_key_of(f->cache, &q, false, false);

    key.origin = key.origin_also = 1;
    answer_begin(&f->answer, &q, 0);
    answer_add_a(&f->answer, 300);
    answer_end(&f->answer);
    assert_true(cache_store(f->cache, &key, f->answer.octets, &f->answer.info, f->answer.ttl_offsets, &f->limits, NOW));
    assert_true(cache_lookup(f->cache, &key, NOW, 0, f->out, sizeof(f->out), &f->hit));
    key.origin = 2;
    assert_true(cache_lookup(f->cache, &key, NOW, 0, f->out, sizeof(f->out), &f->hit)); /* the other one is good, too */
    key.origin_also = 2;
    assert_false(cache_lookup(f->cache, &key, NOW, 30, f->out, sizeof(f->out), &f->hit));
    assert_false(cache_read_back(f->cache, &key, NOW, f->out, sizeof(f->out), &f->hit));
    assert_false(cache_peek(f->cache, &key, NOW, &f->hit));
    assert_false(cache_claim(f->cache, &key, NOW));
    assert_true(cache_store(f->cache, &key, f->answer.octets, &f->answer.info, f->answer.ttl_offsets, &f->limits, NOW));
    assert_true(cache_lookup(f->cache, &key, NOW, 0, f->out, sizeof(f->out), &f->hit));
    key.origin = key.origin_also = 1;
    assert_false(cache_lookup(f->cache, &key, NOW, 0, f->out, sizeof(f->out), &f->hit));
}

static void a_failure_takes_the_place_of_an_answer_of_another_origin_and_begins_its_own_count(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("origin.test", TYPE_A);
    struct cache_key key = cache_key_of(f->cache, &q, false, false);

    store_a(f, &q, 300);
    key.origin = key.origin_also = 1;
    assert_true(cache_store_failure(f->cache, &key, RCODE_SERVFAIL, 0, NOW));
    assert_true(cache_peek(f->cache, &key, NOW, &f->hit));
    assert_int_equal(f->hit.life, CACHE_FAILURE_TTL);
    key.origin = key.origin_also = 2;
    assert_true(
        cache_store_failure(f->cache, &key, RCODE_SERVFAIL, 0, NOW + 1)); /* of another upstream: the first one */
    assert_true(cache_peek(f->cache, &key, NOW + 1, &f->hit));
    assert_int_equal(f->hit.life, CACHE_FAILURE_TTL);
    assert_true(cache_store_failure(f->cache, &key, RCODE_SERVFAIL, 0, NOW + 2));
    assert_true(cache_peek(f->cache, &key, NOW + 2, &f->hit));
    assert_int_equal(f->hit.life, 2 * CACHE_FAILURE_TTL);
}

static void questions_with_the_same_hash_do_not_get_each_others_answers(void **state)
{
    struct fixture *f = *state;
    struct question questions[] = {question_of("a.example.com", TYPE_A), question_of("b.example.com", TYPE_A),
                                   question_of("a.example.com", 65280), question_of("com", TYPE_A),
                                   question_of("a.example.com.longer.example", TYPE_A)};
    uint64_t hash = cache_key_of(f->cache, &questions[0], false, false).hash;

    for (unsigned i = 0; i < 5; i++)
        for (unsigned bits = 0; bits < 4; bits++) {
            struct cache_key key = {&questions[i], (bits & 1) != 0, (bits & 2) != 0, hash, 0, 0};

            if (i * 4 + bits >= 16)
                break; /* no more entries for one hash */
            assert_false(cache_lookup(f->cache, &key, NOW, 0, f->out, sizeof(f->out), &f->hit));
            answer_begin(&f->answer, &questions[i], 0);
            answer_add(&f->answer, ANSWER, questions[i].qtype, 100 + i * 4 + bits, "\xc0\x00\x02\x01", 4);
            answer_end(&f->answer);
            assert_true(
                cache_store(f->cache, &key, f->answer.octets, &f->answer.info, f->answer.ttl_offsets, &f->limits, NOW));
        }
    for (unsigned i = 0; i < 16; i++) {
        struct cache_key key = {&questions[i / 4], (i & 1) != 0, (i & 2) != 0, hash, 0, 0};

        assert_true(cache_lookup(f->cache, &key, NOW, 0, f->out, sizeof(f->out), &f->hit));
        assert_int_equal(f->hit.ttl_left, 100 + i);
    }
}

static void a_ttl_counts_down_and_its_last_second_is_the_last(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    assert_true(store_a(f, &q, 300));
    for (uint32_t age = 0; age < 300; age += 23) {
        assert_true(lookup(f, &q, NOW + age, 0));
        assert_int_equal(ttl_at(f, 0), 300 - age);
        assert_int_equal(f->hit.ttl_left, 300 - age);
    }
    assert_true(lookup(f, &q, NOW + 299, 0));
    assert_int_equal(ttl_at(f, 0), 1);
    assert_false(lookup(f, &q, NOW + 300, 0));
}

static void a_reader_whose_clock_is_a_second_behind_gets_the_answer(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    assert_true(store_a(f, &q, 300));
    assert_true(lookup(f, &q, NOW - 1, 0));
    assert_int_equal(ttl_at(f, 0), 300);
}

static void ttls_are_held_to_the_limits(void **state)
{
    static const struct {
        uint32_t ttl, min, max, expected;
    } cases[] = {
        {9, 10, 100, 10},
        {10, 10, 100, 10},
        {100, 10, 100, 100},
        {101, 10, 100, 100},
        {0x7fffffff, 0, 86400, 86400},
        {0x80000000, 0, 86400, 86400},
        {0xffffffff, 0, 86400, 86400},
        {0xffffffff, 0, UINT32_MAX, CACHE_LONGEST_TTL},
        {CACHE_LONGEST_TTL, UINT32_MAX, UINT32_MAX, CACHE_LONGEST_TTL},
        {0, 5, 100, 5},
        {1, 0, 100, 1},
    };
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        f->limits.min_ttl = cases[i].min;
        f->limits.max_ttl = cases[i].max;
        assert_true(store_a(f, &q, cases[i].ttl));
        assert_true(lookup(f, &q, NOW, 0));
        assert_int_equal(ttl_at(f, 0), cases[i].expected);
        assert_int_equal(f->hit.ttl_left, cases[i].expected);
        assert_true(lookup(f, &q, NOW + cases[i].expected - 1, 0));
        assert_int_equal(ttl_at(f, 0), 1);
        assert_false(lookup(f, &q, NOW + cases[i].expected, 0));
    }
}

static void each_record_keeps_its_own_ttl_and_the_smallest_in_answer_ends_all(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    answer_begin(&f->answer, &q, 0);
    answer_add_a(&f->answer, 300);
    answer_add_a(&f->answer, 60);
    answer_add(&f->answer, AUTHORITY, TYPE_NS, 20, "\xc0\x0c", 2);
    answer_add(&f->answer, ADDITIONAL, TYPE_A, 100000, "\xc0\x00\x02\x01", 4);
    answer_end(&f->answer);
    assert_true(store(f, &q));
    assert_true(lookup(f, &q, NOW + 30, 0));
    assert_int_equal(f->hit.ttl_left, 30);
    assert_int_equal(ttl_at(f, 0), 270);
    assert_int_equal(ttl_at(f, 1), 30);
    assert_int_equal(ttl_at(f, 2), 0);
    assert_int_equal(ttl_at(f, 3), 86400 - 30);
    assert_false(lookup(f, &q, NOW + 60, 0));
}

static void what_must_not_be_cached_is_not(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A), longer = question_of("wwww.example.com", TYPE_A);

    assert_false(store_a(f, &q, 0));
    answer_begin(&f->answer, &q, MESSAGE_TC);
    answer_add_a(&f->answer, 300);
    answer_end(&f->answer);
    assert_false(store(f, &q));
    for (uint16_t rcode = 1; rcode < 16; rcode++) {
        answer_begin(&f->answer, &q, rcode);
        answer_add_a(&f->answer, 300);
        answer_end(&f->answer);
        if (rcode != RCODE_NXDOMAIN)
            assert_false(store(f, &q));
    }
    assert_false(store_a(f, &q, 0));
    f->limits.max_ttl = 0;
    assert_false(store_a(f, &q, 300));
    f->limits.max_ttl = 300;
    assert_true(store_a(f, &q, 300));
    assert_false(store(f, &longer));
    f->answer.info.ttl_count = UINT16_MAX; /* more than could be followed */
    assert_false(store(f, &longer));
    assert_false(lookup(f, &longer, NOW, 30));
}

static void a_denial_lives_as_long_as_its_soa_says_within_the_limit(void **state)
{
    static const struct {
        uint32_t ttl, minimum, max, expected;
    } cases[] = {{100, 200, 300, 100}, {200, 100, 300, 100}, {900, 900, 300, 300}, {900, 900, 5, 5}, {1, 1, 300, 1}};
    struct fixture *f = *state;
    struct question q = question_of("nope.example.com", TYPE_A);

    f->limits.min_ttl = 250; /* is no limit of denials */
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(*cases); i++) {
        uint32_t expected = cases[i / 2].expected;

        f->limits.negative_max_ttl = cases[i / 2].max;
        answer_begin(&f->answer, &q, i % 2 != 0 ? RCODE_NXDOMAIN : RCODE_NOERROR);
        answer_add_soa(&f->answer, cases[i / 2].ttl, cases[i / 2].minimum);
        answer_end(&f->answer);
        assert_true(store(f, &q));
        assert_true(lookup(f, &q, NOW, 0));
        assert_int_equal(f->hit.kind, CACHE_NEGATIVE);
        assert_int_equal(f->hit.ttl_left, expected);
        assert_int_equal(ttl_at(f, 0), expected); /* a cache behind us forgets when we do */
        assert_true(lookup(f, &q, NOW + expected - 1, 0));
        assert_int_equal(ttl_at(f, 0), 1);
        assert_false(lookup(f, &q, NOW + expected, 0));
    }
}

static void a_denial_without_soa_or_with_a_zero_is_not_cached(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("nope.example.com", TYPE_A);

    answer_begin(&f->answer, &q, RCODE_NXDOMAIN);
    answer_end(&f->answer);
    assert_false(store(f, &q));
    answer_begin(&f->answer, &q, RCODE_NOERROR);
    answer_add(&f->answer, AUTHORITY, TYPE_NS, 300, "\xc0\x0c", 2);
    answer_end(&f->answer);
    assert_false(store(f, &q));
    answer_begin(&f->answer, &q, RCODE_NXDOMAIN);
    answer_add_soa(&f->answer, 300, 0);
    answer_end(&f->answer);
    assert_false(store(f, &q));
    f->limits.negative_max_ttl = 0;
    answer_begin(&f->answer, &q, RCODE_NXDOMAIN);
    answer_add_soa(&f->answer, 300, 300);
    answer_end(&f->answer);
    assert_false(store(f, &q));
}

static void a_denial_behind_a_cname_ends_with_the_cname(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("alias.example.com", TYPE_A);

    answer_begin(&f->answer, &q, RCODE_NXDOMAIN);
    answer_add(&f->answer, ANSWER, TYPE_CNAME, 20, "\3www\xc0\x12", 6);
    answer_add_soa(&f->answer, 300, 300);
    answer_end(&f->answer);
    assert_true(store(f, &q));
    assert_true(lookup(f, &q, NOW, 0));
    assert_int_equal(f->hit.ttl_left, 20);
    assert_false(lookup(f, &q, NOW + 20, 0));
}

static void a_stale_answer_is_had_only_when_asked_for_and_not_for_ever(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    f->limits.stale_max = 1000;
    assert_true(store_a(f, &q, 300));
    assert_true(lookup(f, &q, NOW + 299, 30));
    assert_false(f->hit.stale);
    assert_int_equal(ttl_at(f, 0), 1);
    assert_false(lookup(f, &q, NOW + 300, 0));
    assert_true(lookup(f, &q, NOW + 300, 30));
    assert_true(f->hit.stale);
    assert_false(f->hit.prefetch_due);
    assert_int_equal(f->hit.ttl_left, 0);
    assert_int_equal(ttl_at(f, 0), 30);
    assert_true(lookup(f, &q, NOW + 1299, 30));
    assert_false(lookup(f, &q, NOW + 1300, 30));
    f->limits.stale_max = 0;
    assert_true(store_a(f, &q, 300));
    assert_false(lookup(f, &q, NOW + 300, 30));
    f->limits.stale_max = UINT32_MAX;
    assert_true(store_a(f, &q, 300));
    assert_true(lookup(f, &q, NOW + 0x7fffffff, 30));
}

static bool store_failure(struct fixture *f, const struct question *q, uint32_t forgiven, uint32_t now)
{
    struct cache_key key = cache_key_of(f->cache, q, false, false);

    return cache_store_failure(f->cache, &key, RCODE_SERVFAIL, forgiven, now);
}

static void a_failure_is_a_servfail_for_five_seconds(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    assert_true(store_failure(f, &q, 0, NOW));
    for (uint32_t age = 0; age < CACHE_FAILURE_TTL; age++) {
        assert_true(lookup(f, &q, NOW + age, 0));
        assert_int_equal(f->hit.kind, CACHE_FAILURE);
        assert_int_equal(f->hit.failed_at, NOW);
        assert_false(f->hit.prefetch_due);
        assert_int_equal(f->hit.size, MESSAGE_HEADER + q.qname.length + 4);
        assert_int_equal(wire_get_u16(f->out + 2), MESSAGE_QR | MESSAGE_RD | MESSAGE_RA | RCODE_SERVFAIL);
        assert_int_equal(wire_get_u16(f->out + 4), 1);
        assert_int_equal(wire_get_u16(f->out + 6), 0);
    }
    assert_false(lookup(f, &q, NOW + CACHE_FAILURE_TTL, 30));
}

/* How long the failure of a question at this second is remembered. */
static uint32_t memory_of_failure(struct fixture *f, const struct question *q, uint32_t forgiven, uint32_t now)
{
    uint32_t seconds = 0;

    assert_true(store_failure(f, q, forgiven, now));
    while (lookup(f, q, now + seconds, 0))
        seconds++;
    return seconds;
}

static void a_question_that_goes_on_failing_is_asked_ever_less_often(void **state)
{
    static const uint32_t expected[] = {5, 10, 20, 40, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60};
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    uint32_t now = NOW;

    for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
        assert_int_equal(memory_of_failure(f, &q, 0, now), expected[i]);
        now += expected[i];
    }
    now += CACHE_FAILURE_AGAIN - 1; /* the last second in which it still goes on */
    assert_int_equal(memory_of_failure(f, &q, 0, now), 60);
    now += 60 + CACHE_FAILURE_AGAIN;
    assert_int_equal(memory_of_failure(f, &q, 0, now), 5);
}

static void failures_before_the_upstream_came_back_do_not_count(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    assert_int_equal(memory_of_failure(f, &q, 0, NOW), 5);
    assert_int_equal(memory_of_failure(f, &q, NOW, NOW + 5), 5);
    assert_int_equal(memory_of_failure(f, &q, NOW + 4, NOW + 10), 10);
}

static void an_answer_resets_the_count_of_failures_also_when_it_cannot_be_kept(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    struct cache_key key = cache_key_of(f->cache, &q, false, false);

    f->limits.stale_max = 0;
    assert_int_equal(memory_of_failure(f, &q, 0, NOW), 5);
    assert_true(store_a(f, &q, 1));
    assert_int_equal(memory_of_failure(f, &q, 0, NOW + 5), 5);
    assert_int_equal(memory_of_failure(f, &q, 0, NOW + 10), 10);
    cache_forgive(f->cache, &key);
    assert_int_equal(memory_of_failure(f, &q, 0, NOW + 20), 5);
    q = question_of("other.example.com", TYPE_A);
    key = cache_key_of(f->cache, &q, false, false);
    cache_forgive(f->cache, &key); /* there is nothing to forgive */
    assert_false(lookup(f, &q, NOW, 30));
}

static void a_failure_never_takes_the_place_of_what_can_be_served(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    struct cache_statistics s;

    f->limits.stale_max = 1000;
    assert_true(store_failure(f, &q, 0, NOW));
    assert_true(store_a(f, &q, 300)); /* but an answer takes a failure's */
    assert_true(lookup(f, &q, NOW, 0));
    assert_int_equal(f->hit.kind, CACHE_POSITIVE);
    assert_false(store_failure(f, &q, 0, NOW));
    assert_false(store_failure(f, &q, 0, NOW + 1299));
    assert_true(store_failure(f, &q, 0, NOW + 1300));
    assert_true(lookup(f, &q, NOW + 1300, 0));
    assert_int_equal(f->hit.kind, CACHE_FAILURE);
    cache_statistics(f->cache, &s);
    assert_int_equal(s.entries, 1);
}

static void a_failed_refresh_is_noted_in_a_stale_answer_and_not_in_a_fresh_one(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    struct cache_key key = cache_key_of(f->cache, &q, false, false);

    assert_true(store_a(f, &q, 300));
    assert_false(store_failure(f, &q, 0, NOW + 299));
    assert_true(lookup(f, &q, NOW + 300, 30));
    assert_true(f->hit.stale);
    assert_int_equal(f->hit.failed_at, 0);
    assert_false(store_failure(f, &q, 0, NOW + 300));
    assert_true(lookup(f, &q, NOW + 301, 30));
    assert_int_equal(f->hit.kind, CACHE_POSITIVE);
    assert_int_equal(f->hit.failed_at, NOW + 300);
    assert_memory_equal(f->out + 2, f->answer.octets + 2, MESSAGE_HEADER - 2);
    assert_int_equal(ttl_at(f, 0), 30);
    assert_false(store_failure(f, &q, 0, NOW + 310));
    assert_true(cache_peek(f->cache, &key, NOW + 310, &f->hit));
    assert_int_equal(f->hit.failed_at, NOW + 310);
    cache_forgive(f->cache, &key);
    assert_true(cache_peek(f->cache, &key, NOW + 310, &f->hit));
    assert_int_equal(f->hit.failed_at, 0);
    assert_true(store_a(f, &q, 300));
    assert_true(lookup(f, &q, NOW, 30));
    assert_int_equal(f->hit.failed_at, 0);
}

static void one_caller_in_five_seconds_may_refresh_an_answer(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    struct cache_key key = cache_key_of(f->cache, &q, false, false);

    assert_false(cache_claim(f->cache, &key, NOW)); /* there is none */
    assert_true(store_failure(f, &q, 0, NOW));
    assert_false(cache_claim(f->cache, &key, NOW)); /* nor here */
    assert_true(store_a(f, &q, 300));
    assert_true(cache_claim(f->cache, &key, NOW + 290));
    assert_false(cache_claim(f->cache, &key, NOW + 290));
    assert_false(cache_claim(f->cache, &key, NOW + 290 + CACHE_CLAIM - 1));
    assert_true(cache_claim(f->cache, &key, NOW + 290 + CACHE_CLAIM));
    assert_true(store_a(f, &q, 300)); /* a new answer is nobody's */
    assert_true(cache_claim(f->cache, &key, NOW));
    f->limits.stale_max = 10;
    assert_true(store_a(f, &q, 300));
    assert_true(cache_claim(f->cache, &key, NOW + 309)); /* a stale one is worth it, too */
    assert_false(cache_claim(f->cache, &key, NOW + 320));
}

static void a_peek_tells_all_and_does_not_count_as_use(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    struct cache_key key = cache_key_of(f->cache, &q, false, false);

    assert_false(cache_peek(f->cache, &key, NOW, &f->hit));
    assert_true(store_a(f, &q, 300));
    assert_true(cache_peek(f->cache, &key, NOW + 295, &f->hit));
    assert_int_equal(f->hit.life, 300);
    assert_int_equal(f->hit.ttl_left, 5);
    assert_false(f->hit.stale || f->hit.claimed || f->hit.prefetch_due);
    assert_true(lookup(f, &q, NOW + 295, 0));
    assert_false(f->hit.prefetch_due); /* the first use */
    assert_true(cache_peek(f->cache, &key, NOW + 300, &f->hit));
    assert_true(f->hit.stale);
    assert_int_equal(f->hit.ttl_left, 0);
    assert_true(cache_peek(f->cache, &key, NOW + 300 + f->limits.stale_max - 1, &f->hit));
    assert_false(cache_peek(f->cache, &key, NOW + 300 + f->limits.stale_max, &f->hit));
}

static void prefetch_is_due_in_the_last_tenth_of_an_answer_in_use(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    assert_true(store_a(f, &q, 300));
    assert_true(lookup(f, &q, NOW + 271, 0));
    assert_false(f->hit.prefetch_due); /* nobody asked before */
    assert_true(lookup(f, &q, NOW + 269, 0));
    assert_false(f->hit.prefetch_due);
    assert_true(lookup(f, &q, NOW + 270, 0));
    assert_true(f->hit.prefetch_due);
    assert_true(lookup(f, &q, NOW + 299, 0));
    assert_true(f->hit.prefetch_due);
    struct cache_key key = cache_key_of(f->cache, &q, false, false);
    assert_true(cache_claim(f->cache, &key, NOW + 280));
    assert_true(lookup(f, &q, NOW + 284, 0));
    assert_false(f->hit.prefetch_due); /* somebody is at it */
    assert_true(lookup(f, &q, NOW + 285, 0));
    assert_true(f->hit.prefetch_due);
    assert_true(store_a(f, &q, 300));
    assert_true(lookup(f, &q, NOW + 299, 0));
    assert_false(f->hit.prefetch_due); /* the new one was not used yet */
}

static void an_out_that_is_short_gives_a_miss_and_an_odd_address_a_hit(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    struct cache_key key = cache_key_of(f->cache, &q, false, false);
    size_t size;

    assert_true(store_a(f, &q, 300));
    size = f->answer.info.size_without_opt;
    for (size_t capacity = 0; capacity < size; capacity++) {
        f->out[capacity] = 0xee;
        assert_false(cache_lookup(f->cache, &key, NOW, 0, f->out, capacity, &f->hit));
        assert_int_equal(f->out[capacity], 0xee);
    }
    for (size_t shift = 0; shift < 8; shift++) {
        f->out[size + shift] = 0xee;
        assert_true(cache_lookup(f->cache, &key, NOW, 0, f->out + shift, size, &f->hit));
        assert_memory_equal(f->out + shift + 2, f->answer.octets + 2, size - 2);
        assert_int_equal(f->out[size + shift], 0xee);
    }
}

static void a_newer_answer_takes_the_place_of_an_older_one(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    struct cache_statistics s;

    for (uint32_t ttl = 1; ttl < 300; ttl++) {
        assert_true(store_a(f, &q, ttl));
        assert_true(lookup(f, &q, NOW, 0));
        assert_int_equal(ttl_at(f, 0), ttl);
    }
    cache_statistics(f->cache, &s);
    assert_int_equal(s.entries, 1);
    assert_int_equal(s.evictions, 0);
    assert_int_equal(s.bytes, CACHE_MIN_SIZE);
}

static void as_many_records_as_a_message_holds_all_count_down(void **state)
{
    static const unsigned counts[] = {63, 64, 65, 128, 129, 4092};
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);

    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        answer_begin(&f->answer, &q, 0);
        for (unsigned n = 0; n < counts[i]; n++)
            answer_add_a(&f->answer, 1000 + n);
        answer_end(&f->answer);
        assert_true(store(f, &q));
        assert_true(lookup(f, &q, NOW + 7, 0));
        for (unsigned n = 0; n < counts[i]; n++)
            assert_int_equal(ttl_at(f, n), 993 + n);
    }
}

static void the_largest_message_fits_in_the_smallest_cache(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of(".", TYPE_A);
    uint8_t rdata[64] = {0};

    answer_begin(&f->answer, &q, 0);
    for (unsigned n = 0; n < 5458; n++) /* one less than there is room for */
        answer_add(&f->answer, ANSWER, 65280, 300, rdata, 0);
    answer_add(&f->answer, ANSWER, 65280, 300, rdata, MESSAGE_MAX_OCTETS - 12 - wire_written(&f->answer.w));
    answer_end(&f->answer);
    f->answer.info.negative = false; /* none of them is an A record */
    assert_int_equal(f->answer.info.size_without_opt, MESSAGE_MAX_OCTETS);
    assert_true(store(f, &q));
    assert_true(lookup(f, &q, NOW, 0));
    assert_int_equal(f->hit.size, MESSAGE_MAX_OCTETS);
}

static struct question numbered(unsigned number)
{
    char name[64];

    snprintf(name, sizeof(name), "host%06u.example.com", number);
    return question_of(name, TYPE_A);
}

static unsigned fill(struct fixture *f, unsigned from, unsigned to)
{
    unsigned found = 0;

    for (unsigned i = from; i < to; i++) {
        struct question q = numbered(i);

        assert_true(store_a(f, &q, 300));
    }
    for (unsigned i = from; i < to; i++) {
        struct question q = numbered(i);

        found += lookup(f, &q, NOW, 0);
    }
    return found;
}

static void an_answer_takes_at_most_160_octets_with_its_share_of_the_index(void **state)
{
    struct fixture *f = fixture_of(8 * MIB);
    unsigned found = fill(f, 0, 100000);
    struct cache_statistics s;

    (void)state;
    print_message("%zu octets hold %u answers: %zu octets each\n", 8 * MIB, found, 8 * MIB / found);
    assert_true(found >= 8 * MIB / 160);
    cache_statistics(f->cache, &s);
    assert_int_equal(s.entries, found);
    assert_int_equal(s.evictions, 100000 - found);
    fixture_free(f);
}

static void practically_every_answer_is_found_while_there_is_room(void **state)
{
    struct fixture *f = fixture_of(12 * MIB);
    unsigned found = fill(f, 0, 100000);

    (void)state;
    print_message("%u of 100000 found in a cache that is %u %% full\n", found,
                  (unsigned)(100000 * 88 * 100 / (12 * MIB * 8 / 9)));
    assert_true(found >= 99900);
    fixture_free(f);
}

static void answers_in_use_outlast_a_flood_of_others(void **state)
{
    struct fixture *f = *state;
    unsigned found = 0;

    fill(f, 0, 1000);
    for (unsigned i = 1000; i < 60000; i++) {
        struct question used = numbered(i % 1000), other = numbered(i);

        lookup(f, &used, NOW, 0);
        assert_true(store_a(f, &other, 300));
    }
    for (unsigned i = 0; i < 1000; i++) {
        struct question q = numbered(i);

        found += lookup(f, &q, NOW, 0);
    }
    assert_true(found >= 990);
}

static void expired_answers_and_failures_go_without_being_counted_as_evictions(void **state)
{
    struct fixture *f = *state;
    struct cache_statistics s;

    for (unsigned i = 0; i < 40000; i++) {
        struct question q = numbered(i);

        assert_true(store_failure(f, &q, 0, NOW));
    }
    cache_statistics(f->cache, &s);
    assert_true(s.entries < 40000);
    assert_int_equal(s.evictions, 0);
    cache_clear(f->cache);
    assert_true(fill(f, 0, 5000) > 4900);
    for (unsigned i = 0; i < 40000; i++) {
        struct question q = numbered(i);

        store_failure(f, &q, 0, NOW + 301);
    }
    cache_statistics(f->cache, &s);
    assert_int_equal(s.evictions, 0);
}

static void a_cleared_cache_is_empty_and_takes_answers(void **state)
{
    struct fixture *f = fixture_of(16 * MIB);
    struct cache_statistics s;

    (void)state;
    fill(f, 0, 1000);
    cache_clear(f->cache);
    cache_statistics(f->cache, &s);
    assert_int_equal(s.entries, 0);
    for (unsigned i = 0; i < 1000; i++) {
        struct question q = numbered(i);

        assert_false(lookup(f, &q, NOW, 30));
    }
    assert_int_equal(fill(f, 0, 1000), 1000);
    fixture_free(f);
}

static void another_process_finds_what_was_stored(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    int status;
    pid_t child;

    assert_true(store_a(f, &q, 300));
    child = fork();
    if (child == 0) {
        struct question own = question_of("child.example.com", TYPE_A);
        struct fixture other = {.cache = cache_open(f->memory), .limits = f->limits};

        _exit(lookup(&other, &q, NOW, 0) && store_a(&other, &own, 300) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    q = question_of("child.example.com", TYPE_A);
    assert_true(lookup(f, &q, NOW, 0));
}

/* The mutex of the only shard of a smallest cache stands in the second cache line. */
static pthread_mutex_t *mutex_of(struct fixture *f)
{
    return (pthread_mutex_t *)((uint8_t *)f->memory + 64);
}

static void a_writer_that_died_with_the_mutex_costs_the_shard_and_no_more(void **state)
{
    struct fixture *f = *state;
    struct question old = question_of("old.example.com", TYPE_A), new = question_of("new.example.com", TYPE_A);
    pid_t child;

    for (unsigned round = 0; round < 2; round++) { /* recovered for good: it may happen again */
        assert_true(store_a(f, &old, 300));
        child = fork();
        if (child == 0) {
            pthread_mutex_lock(mutex_of(f));
            _exit(0);
        }
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_true(lookup(f, &old, NOW, 0)); /* readers ask no mutex */
        assert_true(store_a(f, &new, 300));
        assert_true(lookup(f, &new, NOW, 0));
        assert_false(lookup(f, &old, NOW, 0));
    }
}

static void clearing_recovers_the_mutex_of_a_dead_owner(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    pid_t child = fork();

    if (child == 0) {
        pthread_mutex_lock(mutex_of(f));
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    cache_clear(f->cache);
    assert_true(store_a(f, &q, 300));
    assert_true(lookup(f, &q, NOW, 0));
}

static uint64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* How often this thread went to sleep. Giving up the CPU to others that are ready to run does not count. */
static long sleeps(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_THREAD, &usage), 0);
    return usage.ru_nvcsw;
}

static void a_busy_mutex_delays_nobody_for_long(void **state)
{
    struct fixture *f = *state;
    struct question q = question_of("www.example.com", TYPE_A);
    uint64_t start = milliseconds();
    long before;

    assert_true(store_a(f, &q, 300));
    pthread_mutex_lock(mutex_of(f));
    before = sleeps();
    assert_false(store_a(f, &q, 100));
    assert_false(store_failure(f, &q, 0, NOW + 100000));
    assert_true(sleeps() - before <= 2); /* for a page that has to be read from disk */
    assert_true(lookup(f, &q, NOW, 0));
    assert_int_equal(ttl_at(f, 0), 300);
    cache_clear(f->cache); /* cannot wait for ever, but what is there is not to be trusted */
    assert_true(milliseconds() - start < 10000);
    assert_false(lookup(f, &q, NOW, 0));
    pthread_mutex_unlock(mutex_of(f));
    assert_false(lookup(f, &q, NOW, 0));
    assert_true(store_a(f, &q, 300));
    assert_true(lookup(f, &q, NOW, 0));
}

/* What the threads of one generation do at the same time; the last one also clears, as the next generation might. */
struct worker {
    void *memory;
    unsigned number;
    unsigned wrong;
};

static void *worker_run(void *context)
{
    struct worker *w = context;
    struct fixture f = {.cache = cache_open(w->memory), .limits = {.max_ttl = 86400, .stale_max = 10}};

    for (unsigned i = 0; i < 20000; i++) {
        struct question q = numbered((i * 7919 + w->number * 31) % 20000);

        if (lookup(&f, &q, NOW, 0))
            w->wrong += memcmp(f.out + MESSAGE_HEADER, q.qname.bytes, q.qname.length) != 0 ||
                        wire_get_u32(f.out + f.hit.size - 10) != 300 || f.hit.ttl_left != 300;
        else
            store_a(&f, &q, 300);
        if (w->number == 0 && i % 5000 == 0)
            cache_clear(f.cache);
    }
    cache_close(f.cache);
    return NULL;
}

static void threads_that_store_look_up_and_clear_get_right_answers(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[4];
    struct worker workers[4];
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, MIB); /* a fixture has two whole messages */
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){.memory = f->memory, .number = i};
        assert_int_equal(pthread_create(&threads[i], &attributes, worker_run, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    pthread_attr_destroy(&attributes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_create, fixture_destroy)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_below_the_smallest_or_unaligned_memory_is_refused),
        TEST(memory_without_a_whole_header_is_not_opened),
        cmocka_unit_test(formatting_touches_few_pages),
        TEST(a_stored_answer_comes_back_as_it_was_without_its_id),
        TEST(the_question_comes_back_in_lower_case),
        TEST(an_opt_record_at_the_end_is_left_out),
        TEST(each_part_of_the_key_tells_answers_apart),
        TEST(an_answer_of_another_origin_is_a_miss_and_makes_room),
        TEST(a_failure_takes_the_place_of_an_answer_of_another_origin_and_begins_its_own_count),
        TEST(questions_with_the_same_hash_do_not_get_each_others_answers),
        TEST(a_ttl_counts_down_and_its_last_second_is_the_last),
        TEST(a_reader_whose_clock_is_a_second_behind_gets_the_answer),
        TEST(ttls_are_held_to_the_limits),
        TEST(each_record_keeps_its_own_ttl_and_the_smallest_in_answer_ends_all),
        TEST(what_must_not_be_cached_is_not),
        TEST(a_denial_lives_as_long_as_its_soa_says_within_the_limit),
        TEST(a_denial_without_soa_or_with_a_zero_is_not_cached),
        TEST(a_denial_behind_a_cname_ends_with_the_cname),
        TEST(a_stale_answer_is_had_only_when_asked_for_and_not_for_ever),
        TEST(a_failure_is_a_servfail_for_five_seconds),
        TEST(a_question_that_goes_on_failing_is_asked_ever_less_often),
        TEST(failures_before_the_upstream_came_back_do_not_count),
        TEST(an_answer_resets_the_count_of_failures_also_when_it_cannot_be_kept),
        TEST(a_failed_refresh_is_noted_in_a_stale_answer_and_not_in_a_fresh_one),
        TEST(one_caller_in_five_seconds_may_refresh_an_answer),
        TEST(a_peek_tells_all_and_does_not_count_as_use),
        TEST(a_failure_never_takes_the_place_of_what_can_be_served),
        TEST(prefetch_is_due_in_the_last_tenth_of_an_answer_in_use),
        TEST(an_out_that_is_short_gives_a_miss_and_an_odd_address_a_hit),
        TEST(a_newer_answer_takes_the_place_of_an_older_one),
        TEST(as_many_records_as_a_message_holds_all_count_down),
        TEST(the_largest_message_fits_in_the_smallest_cache),
        cmocka_unit_test(an_answer_takes_at_most_160_octets_with_its_share_of_the_index),
        cmocka_unit_test(practically_every_answer_is_found_while_there_is_room),
        TEST(answers_in_use_outlast_a_flood_of_others),
        TEST(expired_answers_and_failures_go_without_being_counted_as_evictions),
        cmocka_unit_test(a_cleared_cache_is_empty_and_takes_answers),
        TEST(another_process_finds_what_was_stored),
        TEST(a_writer_that_died_with_the_mutex_costs_the_shard_and_no_more),
        TEST(clearing_recovers_the_mutex_of_a_dead_owner),
        TEST(a_busy_mutex_delays_nobody_for_long),
        TEST(threads_that_store_look_up_and_clear_get_right_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

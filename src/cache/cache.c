#include "nodedot/cache/cache.h"

#include "nodedot/base/hash.h"
#include "nodedot/cache/ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CACHE_MAGIC 0x6e6f6465646f7403ull /* "nodedot", layout 3 */
#define CACHE_LINE  64
/* Writers of 16 shards seldom meet. A shard has at least CACHE_MIN_SIZE, or the largest message would not fit. */
#define SHARDS_MAX 16
/* A store holds a mutex for a few microseconds. A thread that finds it taken yields the CPU this often, then gives up
 * the store. */
#define STORE_TRIES 32
/* cache_clear() waits for a second: it happens once, after a crash, and is more important. */
#define CLEAR_TRIES    1000
#define CLEAR_PAUSE_NS 1000000
/* TTL positions that a look-up takes from the ring at a time. */
#define TTL_BATCH 64
/* An answer in use is refreshed in this part of its life. */
#define PREFETCH_PART 10
/* Consecutive failures that are counted: more do not extend their lifetime. */
#define FAILURES_COUNTED 4

/* In front of the mapping. Never changes after cache_format(). */
struct cache_header {
    uint64_t magic;
    uint64_t size;
    uint64_t shard_count;
    struct hash_key key;
    uint64_t check; /* keyed hash of the fields before key */
};
_Static_assert(sizeof(struct cache_header) <= CACHE_LINE, "shards begin at the second cache line");

/* In front of each shard's ring. */
struct shard_lock {
    _Alignas(CACHE_LINE) pthread_mutex_t mutex;
};

struct shard {
    struct shard_lock *lock;
    struct ring ring;
};

/* What may change in a record while others read it: one word. */
struct record_notes {
    uint32_t failed_at;  /* second of a failure: of this one, or of a refresh when the answer was stale; 0: none */
    uint32_t claimed_at; /* second in which a refresh began; 0: none */
};
_Static_assert(sizeof(struct record_notes) == sizeof(uint64_t), "notes are read and changed as one word");

/* A record of the ring: this, the message (whose question is the key), the positions of its TTLs (uint16_t each). */
struct record {
    uint32_t stored_at;
    uint32_t stale_max;
    uint16_t message_size;
    uint16_t ttl_count;
    uint32_t life : 24;
    uint32_t kind : 2;
    uint32_t dnssec_ok : 1;
    uint32_t checking_disabled : 1;
    uint32_t failures : 4; /* of a failure: how many there were before it */
    struct record_notes notes;
    uint32_t origin;
    uint32_t reserved; /* 0: makes whole words */
};
_Static_assert(sizeof(struct record) == 32 && offsetof(struct record, notes) % 8 == 0,
               "notes and message are copied in whole words");

#define RECORD_MAX (sizeof(struct record) + MESSAGE_MAX_OCTETS + MESSAGE_MAX_RECORDS * sizeof(uint16_t))

struct cache {
    struct cache_header header;
    struct shard shards[SHARDS_MAX];
    uint8_t record[RECORD_MAX]; /* that is being stored */
    uint8_t scratch[];          /* of ring_append() */
};

static uint64_t header_check(const struct cache_header *header)
{
    return hash_keyed(&header->key, header, offsetof(struct cache_header, key));
}

static size_t shard_size(const struct cache_header *header)
{
    size_t room = header->size - CACHE_LINE;

    return room / header->shard_count / CACHE_LINE * CACHE_LINE;
}

static void shard_open(struct shard *shard, void *memory, const struct cache_header *header, size_t number)
{
    uint8_t *start = (uint8_t *)memory + CACHE_LINE + number * shard_size(header);

    shard->lock = (struct shard_lock *)start;
    ring_open(&shard->ring, start + sizeof(struct shard_lock), shard_size(header) - sizeof(struct shard_lock));
}

static int mutex_format(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    int err = pthread_mutexattr_init(&attributes);

    if (err != 0)
        return -err;
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    memset(mutex, 0, sizeof(*mutex));
    err = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return -err;
}

int cache_format(void *memory, size_t size)
{
    struct cache_header header = {.magic = CACHE_MAGIC, .size = size, .shard_count = 1};

    if (size < CACHE_MIN_SIZE || size > SHARDS_MAX * RING_MAX_SIZE || (uintptr_t)memory % CACHE_LINE != 0)
        return -EINVAL;
    while (header.shard_count < SHARDS_MAX && size / (header.shard_count * 2) >= CACHE_MIN_SIZE)
        header.shard_count *= 2;
    hash_key_random(&header.key);
    header.check = header_check(&header);
    for (size_t i = 0; i < header.shard_count; i++) {
        struct shard shard;
        int err;

        shard_open(&shard, memory, &header, i);
        ring_format(&shard.ring);
        err = mutex_format(&shard.lock->mutex);
        if (err != 0)
            return err;
    }
    memcpy(memory, &header, sizeof(header));
    return 0;
}

struct cache *cache_open(void *memory)
{
    struct cache_header header;
    struct shard first;
    struct cache *cache;

    memcpy(&header, memory, sizeof(header));
    if (header.magic != CACHE_MAGIC || header.check != header_check(&header))
        return NULL;
    shard_open(&first, memory, &header, 0);
    cache = malloc(sizeof(*cache) + ring_max_record(&first.ring));
    if (cache == NULL)
        return NULL;
    cache->header = header;
    for (size_t i = 0; i < header.shard_count; i++)
        shard_open(&cache->shards[i], memory, &header, i);
    return cache;
}

void cache_close(struct cache *cache)
{
    free(cache);
}

/* Gives up the CPU and tries again, tries times at most. An owner that died may have left anything: the shard is
 * emptied. */
static bool shard_lock(struct shard *shard, unsigned tries, long pause_ns)
{
    struct timespec pause = {.tv_nsec = pause_ns};
    int err = pthread_mutex_trylock(&shard->lock->mutex);

    for (; err == EBUSY && tries > 0; tries--) {
        if (pause_ns == 0)
            sched_yield();
        else
            nanosleep(&pause, NULL);
        err = pthread_mutex_trylock(&shard->lock->mutex);
    }
    if (err == EOWNERDEAD) {
        ring_clear(&shard->ring);
        err = pthread_mutex_consistent(&shard->lock->mutex);
    }
    return err == 0;
}

static void shard_unlock(struct shard *shard)
{
    pthread_mutex_unlock(&shard->lock->mutex);
}

void cache_clear(struct cache *cache)
{
    for (size_t i = 0; i < cache->header.shard_count; i++) {
        struct shard *shard = &cache->shards[i];

        if (!shard_lock(shard, CLEAR_TRIES, CLEAR_PAUSE_NS)) {
            ring_distrust(&shard->ring);
            continue;
        }
        ring_clear(&shard->ring);
        shard_unlock(shard);
    }
}

/* The ring uses the lower bits of the hash. */
static size_t shard_number(const struct cache *cache, uint64_t hash)
{
    return (size_t)(hash >> 60) & (cache->header.shard_count - 1);
}

uint64_t cache_hash(const struct cache *cache, const void *data, size_t size)
{
    return hash_keyed(&cache->header.key, data, size);
}

struct cache_key cache_key_of(const struct cache *cache, const struct question *question, bool dnssec_ok,
                              bool checking_disabled)
{
    struct cache_key key = {.question = question, .dnssec_ok = dnssec_ok, .checking_disabled = checking_disabled};
    uint64_t variant = (uint64_t)dnssec_ok << 1 | (uint64_t)checking_disabled;

    /* QTYPE, QCLASS, and QNAME with its length stand one behind the other in the question. The variants need not be
     * hard to predict, only apart. */
    key.hash =
        hash_keyed(&cache->header.key, question, offsetof(struct question, qname.bytes) + question->qname.length) ^
        variant * 0x9e3779b97f4a7c15;
    ring_prefetch_index(&cache->shards[shard_number(cache, key.hash)].ring, key.hash);
    return key;
}

/* Is the question of this message, of size octets, that of the key? */
static bool question_matches(const uint8_t *message, size_t size, const struct question *question)
{
    size_t length = question->qname.length;

    return size >= MESSAGE_HEADER + length + 4 &&
           memcmp(message + MESSAGE_HEADER, question->qname.bytes, length) == 0 &&
           wire_get_u16(message + MESSAGE_HEADER + length) == question->qtype &&
           wire_get_u16(message + MESSAGE_HEADER + length + 2) == question->qclass;
}

static size_t ttl_offsets_at(const struct record *record)
{
    return sizeof(*record) + record->message_size;
}

/* Reads a candidate's record, and as much of its message as is wanted (message_size, if it is at most that) to out. */
static bool candidate_read(const struct ring_cursor *cursor, const struct cache_key *key, struct record *record,
                           uint8_t *out, size_t wanted)
{
    if (!ring_copy(cursor, 0, record, sizeof(*record)) || record->dnssec_ok != key->dnssec_ok ||
        record->checking_disabled != key->checking_disabled)
        return false;
    if (wanted > record->message_size)
        wanted = record->message_size;
    return ring_copy(cursor, sizeof(*record), out, wanted) && question_matches(out, wanted, key->question);
}

/* Does the answer come from the current source? */
static bool record_is_current(const struct record *record, const struct cache_key *key)
{
    return record->origin == key->origin || record->origin == key->origin_also;
}

/* A writer's clock may have turned a moment before the reader looked at its own. */
static uint32_t seconds_since(uint32_t then, uint32_t now)
{
    return (int32_t)(now - then) < 0 ? 0 : now - then;
}

static uint32_t record_age(const struct record *record, uint32_t now)
{
    return seconds_since(record->stored_at, now);
}

static bool record_is_claimed(const struct record *record, uint32_t now)
{
    return record->notes.claimed_at != 0 && seconds_since(record->notes.claimed_at, now) < CACHE_CLAIM;
}

static bool record_is_fresh(const struct record *record, uint32_t now)
{
    return record_age(record, now) < record->life;
}

static bool record_is_servable(const struct record *record, uint32_t now)
{
    return record_age(record, now) < (uint64_t)record->life + record->stale_max;
}

/* Lowers each TTL by age; stale_ttl not 0: sets it to that. False: the record changed meanwhile, or makes no sense. */
static bool ttls_lower(const struct ring_cursor *cursor, const struct record *record, uint8_t *message, uint32_t age,
                       uint32_t stale_ttl)
{
    uint16_t offsets[TTL_BATCH];
    size_t batch;

    for (size_t done = 0; done < record->ttl_count; done += batch) {
        batch = record->ttl_count - done < TTL_BATCH ? record->ttl_count - done : TTL_BATCH;
        if (!ring_copy(cursor, ttl_offsets_at(record) + done * sizeof(*offsets), offsets, batch * sizeof(*offsets)))
            return false;
        for (size_t i = 0; i < batch; i++) {
            uint32_t ttl;

            if (offsets[i] + sizeof(ttl) > record->message_size)
                return false;
            ttl = wire_get_u32(message + offsets[i]);
            if (stale_ttl != 0)
                ttl = stale_ttl;
            else
                ttl = ttl > age ? ttl - age : 0;
            wire_put_u32(message + offsets[i], ttl);
        }
    }
    return true;
}

static void hit_fill(struct cache_hit *hit, const struct record *record, uint32_t now, bool used)
{
    uint32_t age = record_age(record, now);

    hit->size = record->message_size;
    hit->kind = record->kind;
    hit->stale = age >= record->life;
    hit->life = record->life;
    hit->ttl_left = hit->stale ? 0 : record->life - age;
    hit->failed_at = record->notes.failed_at;
    hit->claimed = record_is_claimed(record, now);
    hit->prefetch_due = used && !hit->stale && !hit->claimed && hit->kind != CACHE_FAILURE &&
                        hit->ttl_left <= record->life / PREFETCH_PART;
}

static bool lookup(struct cache *cache, const struct cache_key *key, uint32_t now, uint32_t stale_ttl, uint8_t *out,
                   size_t capacity, struct cache_hit *hit, bool use)
{
    struct ring_cursor cursor = ring_find(&cache->shards[shard_number(cache, key->hash)].ring, key->hash);
    struct record record;
    uint32_t age;
    bool stale;

    do {
        if (!ring_next(&cursor))
            return false;
    } while (!candidate_read(&cursor, key, &record, out, capacity));
    age = record_age(&record, now);
    stale = !record_is_fresh(&record, now);
    if (record.message_size > capacity || !record_is_current(&record, key) || !record_is_servable(&record, now) ||
        (stale && stale_ttl == 0) || !ttls_lower(&cursor, &record, out, age, stale ? stale_ttl : 0))
        return false;
    hit_fill(hit, &record, now, use && ring_mark_used(&cursor));
    return true;
}

bool cache_lookup(struct cache *cache, const struct cache_key *key, uint32_t now, uint32_t stale_ttl, uint8_t *out,
                  size_t capacity, struct cache_hit *hit)
{
    return lookup(cache, key, now, stale_ttl, out, capacity, hit, true);
}

bool cache_read_back(struct cache *cache, const struct cache_key *key, uint32_t now, uint8_t *out, size_t capacity,
                     struct cache_hit *hit)
{
    return lookup(cache, key, now, 0, out, capacity, hit, false);
}

/* Finds the key's record, and leaves its message where it is. */
static bool record_find(const struct ring *ring, const struct cache_key *key, struct ring_cursor *cursor,
                        struct record *record)
{
    uint8_t start[MESSAGE_HEADER + QUESTION_MAX_OCTETS];

    *cursor = ring_find(ring, key->hash);
    while (ring_next(cursor))
        if (candidate_read(cursor, key, record, start, MESSAGE_HEADER + key->question->qname.length + 4u))
            return true;
    return false;
}

bool cache_peek(const struct cache *cache, const struct cache_key *key, uint32_t now, struct cache_hit *hit)
{
    struct ring_cursor cursor;
    struct record record;

    if (!record_find(&cache->shards[shard_number(cache, key->hash)].ring, key, &cursor, &record) ||
        !record_is_current(&record, key) || !record_is_servable(&record, now))
        return false;
    hit_fill(hit, &record, now, false);
    return true;
}

static void record_set_notes(const struct ring_cursor *cursor, const struct record_notes *notes)
{
    uint64_t word;

    memcpy(&word, notes, sizeof(word));
    ring_set_word(cursor, offsetof(struct record, notes), word);
}

bool cache_claim(struct cache *cache, const struct cache_key *key, uint32_t now)
{
    struct shard *shard = &cache->shards[shard_number(cache, key->hash)];
    struct ring_cursor cursor;
    struct record record;
    bool claimed = false;

    if (!shard_lock(shard, STORE_TRIES, 0))
        return false;
    if (record_find(&shard->ring, key, &cursor, &record) && record_is_current(&record, key) &&
        record.kind != CACHE_FAILURE && record_is_servable(&record, now) && !record_is_claimed(&record, now)) {
        record.notes.claimed_at = now;
        record_set_notes(&cursor, &record.notes);
        claimed = true;
    }
    shard_unlock(shard);
    return claimed;
}

/* For ring_append(): an answer that is still fresh. */
static bool is_fresh_answer(void *context, const uint8_t *octets, size_t size)
{
    const uint32_t *now = context;
    struct record record;

    if (size < sizeof(record))
        return false;
    memcpy(&record, octets, sizeof(record));
    return record.kind != CACHE_FAILURE && record_is_fresh(&record, *now);
}

/* Puts cache->record of size octets under the key. Takes and gives back the shard's mutex. */
static bool record_put(struct cache *cache, const struct cache_key *key, size_t size, uint32_t now)
{
    struct shard *shard = &cache->shards[shard_number(cache, key->hash)];
    struct ring_cursor older;
    struct record found;
    bool exists, stored;

    if (!shard_lock(shard, STORE_TRIES, 0))
        return false;
    exists = record_find(&shard->ring, key, &older, &found);
    stored = ring_append(&shard->ring, key->hash, cache->record, size, exists ? &older : NULL, is_fresh_answer, &now,
                         cache->scratch);
    shard_unlock(shard);
    return stored;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t ttl_clamp(uint32_t ttl, uint32_t least, uint32_t most)
{
    return smaller(ttl > least ? ttl : least, most);
}

/* Lifetime of the answer in seconds; *least and *most: limits of its records' TTLs. 0: not stored. */
static uint32_t answer_life(const uint8_t *message, const struct answer_info *info, const struct cache_limits *limits,
                            uint32_t *least, uint32_t *most)
{
    if (info->negative) {
        uint32_t ttl = info->has_soa ? info->soa_ttl : 0;

        if (wire_get_u16(message + MESSAGE_ANCOUNT_AT) != 0) /* a CNAME chain may end sooner */
            ttl = smaller(ttl, info->min_ttl);
        *least = 0;
        *most = smaller(ttl, smaller(limits->negative_max_ttl, CACHE_LONGEST_TTL));
        return *most;
    }
    *most = smaller(limits->max_ttl, CACHE_LONGEST_TTL);
    *least = limits->min_ttl;
    return ttl_clamp(info->min_ttl, *least, *most);
}

static bool answer_is_cacheable(const struct cache_key *key, const struct answer_info *info,
                                const uint16_t *ttl_offsets)
{
    if ((info->flags & MESSAGE_TC) != 0 || (info->rcode != RCODE_NOERROR && info->rcode != RCODE_NXDOMAIN) ||
        info->ttl_count > MESSAGE_MAX_RECORDS || info->size_without_opt > MESSAGE_MAX_OCTETS ||
        info->question_octets != key->question->qname.length + 4 ||
        info->size_without_opt < MESSAGE_HEADER + (size_t)info->question_octets)
        return false;
    for (size_t i = 0; i < info->ttl_count; i++)
        if (ttl_offsets[i] + sizeof(uint32_t) > info->size_without_opt)
            return false;
    return true;
}

/* Writes the key's question, in lower case. */
static void question_write(uint8_t *out, const struct question *question)
{
    memcpy(out, question->qname.bytes, question->qname.length);
    wire_put_u16(out + question->qname.length, question->qtype);
    wire_put_u16(out + question->qname.length + 2, question->qclass);
}

static void ttls_clamp(uint8_t *message, const uint16_t *offsets, size_t count, uint32_t least, uint32_t most)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t *ttl = message + offsets[i];

        wire_put_u32(ttl, ttl_clamp(wire_get_u32(ttl), least, most)); /* unsigned: the top bit means large */
    }
}

void cache_limit_ttls(uint8_t *message, const struct answer_info *info, const uint16_t *ttl_offsets,
                      const struct cache_limits *limits)
{
    uint32_t least = info->negative ? 0 : limits->min_ttl;
    uint32_t most = smaller(info->negative ? limits->negative_max_ttl : limits->max_ttl, CACHE_LONGEST_TTL);

    if (info->ttl_count <= MESSAGE_MAX_RECORDS)
        ttls_clamp(message, ttl_offsets, info->ttl_count, least, most);
}

bool cache_store(struct cache *cache, const struct cache_key *key, const uint8_t *message,
                 const struct answer_info *info, const uint16_t *ttl_offsets, const struct cache_limits *limits,
                 uint32_t now)
{
    uint8_t *copy = cache->record + sizeof(struct record);
    uint32_t least, most;
    uint32_t life = answer_life(message, info, limits, &least, &most);
    struct record record = {.stored_at = now,
                            .stale_max = limits->stale_max,
                            .message_size = (uint16_t)info->size_without_opt,
                            .ttl_count = info->ttl_count,
                            .life = life & 0xffffff,
                            .kind = info->negative ? CACHE_NEGATIVE : CACHE_POSITIVE,
                            .dnssec_ok = key->dnssec_ok,
                            .checking_disabled = key->checking_disabled,
                            .origin = key->origin};

    if (life == 0 || !answer_is_cacheable(key, info, ttl_offsets))
        return false;
    memcpy(cache->record, &record, sizeof(record));
    memcpy(copy, message, info->size_without_opt);
    wire_put_u16(copy, 0);
    wire_put_u16(copy + 10, info->additional_count);
    question_write(copy + MESSAGE_HEADER, key->question);
    ttls_clamp(copy, ttl_offsets, info->ttl_count, least, most);
    memcpy(cache->record + ttl_offsets_at(&record), ttl_offsets, info->ttl_count * sizeof(*ttl_offsets));
    return record_put(cache, key, ttl_offsets_at(&record) + info->ttl_count * sizeof(*ttl_offsets), now);
}

/* What to remember of a question that failed now, when found is what there is about it (NULL: nothing): the failure,
 * that has been going on if there was one a short while ago that still counts. */
static struct record failure_record(const struct cache_key *key, const struct record *found, uint32_t forgiven,
                                    uint32_t now)
{
    struct record record = {.stored_at = now,
                            .message_size = (uint16_t)(MESSAGE_HEADER + key->question->qname.length + 4),
                            .kind = CACHE_FAILURE,
                            .dnssec_ok = key->dnssec_ok,
                            .checking_disabled = key->checking_disabled,
                            .notes.failed_at = now,
                            .origin = key->origin};
    uint32_t life = CACHE_FAILURE_TTL;

    if (found != NULL && found->kind == CACHE_FAILURE && record_is_current(found, key) &&
        found->notes.failed_at > forgiven && record_age(found, now) < (uint32_t)found->life + CACHE_FAILURE_AGAIN)
        record.failures = found->failures < FAILURES_COUNTED ? (found->failures + 1) & 0xf : FAILURES_COUNTED;
    life = smaller(life << record.failures, CACHE_FAILURE_TTL_MAX);
    record.life = life & 0xffffff;
    return record;
}

static void failure_write(uint8_t *out, const struct cache_key *key, uint16_t rcode, const struct record *record)
{
    uint8_t *message = out + sizeof(*record);
    unsigned shown = rcode <= MESSAGE_RCODE ? rcode : RCODE_SERVFAIL;

    memcpy(out, record, sizeof(*record));
    memset(message, 0, MESSAGE_HEADER);
    wire_put_u16(message + MESSAGE_FLAGS_AT, (uint16_t)(MESSAGE_QR | MESSAGE_RD | MESSAGE_RA | shown));
    wire_put_u16(message + MESSAGE_QDCOUNT_AT, 1);
    question_write(message + MESSAGE_HEADER, key->question);
}

/* Notes in what can still be served that its refresh failed. A fresh answer needs none yet: who begins to refresh it
 * claims it, and so it is not asked for at every hit. */
static void failure_note(const struct ring_cursor *cursor, struct record *found, uint32_t now)
{
    if (record_is_fresh(found, now))
        return;
    found->notes.failed_at = now;
    record_set_notes(cursor, &found->notes);
}

bool cache_store_failure(struct cache *cache, const struct cache_key *key, uint16_t rcode, uint32_t forgiven,
                         uint32_t now)
{
    struct shard *shard = &cache->shards[shard_number(cache, key->hash)];
    struct ring_cursor older;
    struct record found, record;
    bool exists, stored = false;

    if (!shard_lock(shard, STORE_TRIES, 0))
        return false;
    exists = record_find(&shard->ring, key, &older, &found);
    if (exists && found.kind != CACHE_FAILURE && record_is_current(&found, key) && record_is_servable(&found, now)) {
        failure_note(&older, &found, now);
    } else {
        record = failure_record(key, exists ? &found : NULL, forgiven, now);
        failure_write(cache->record, key, rcode, &record);
        stored = ring_append(&shard->ring, key->hash, cache->record, sizeof(record) + record.message_size,
                             exists ? &older : NULL, is_fresh_answer, &now, cache->scratch);
    }
    shard_unlock(shard);
    return stored;
}

void cache_forgive(struct cache *cache, const struct cache_key *key)
{
    struct shard *shard = &cache->shards[shard_number(cache, key->hash)];
    struct ring_cursor cursor;
    struct record record;

    /* Usually there is nothing, and no mutex is taken. */
    if (!record_find(&shard->ring, key, &cursor, &record) || record.notes.failed_at == 0 ||
        !shard_lock(shard, STORE_TRIES, 0))
        return;
    if (record_find(&shard->ring, key, &cursor, &record)) {
        record.notes.failed_at = 0;
        record_set_notes(&cursor, &record.notes);
    }
    shard_unlock(shard);
}

void cache_statistics(const struct cache *cache, struct cache_statistics *out)
{
    *out = (struct cache_statistics){.bytes = cache->header.size};
    for (size_t i = 0; i < cache->header.shard_count; i++) {
        out->entries += ring_entries(&cache->shards[i].ring);
        out->evictions += ring_evictions(&cache->shards[i].ring);
    }
}

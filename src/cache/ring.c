#include "nodedot/cache/ring.h"

#include <string.h>

/* A position: lap, and word within the lap. 26 bits of words suffice for RING_MAX_SIZE; at 100 MiB/s through the
 * smallest ring, 38 bits of laps last nine years. */
#define WORD_BITS 26
#define WORD_MASK (((uint64_t)1 << WORD_BITS) - 1)
#define LAP_LAST  (((uint64_t)1 << (64 - WORD_BITS)) - 1)

/* An index entry, from the top: valid, used, tag, low bits of the lap, word. With 19 bits of lap, an entry that a clear
 * left behind looks alive again after half a million laps; the hash in front of the record then tells it apart. */
#define ENTRY_VALID     ((uint64_t)1 << 63)
#define ENTRY_USED      ((uint64_t)1 << 62)
#define ENTRY_LAP_BITS  19
#define ENTRY_LAP_MASK  (((uint64_t)1 << ENTRY_LAP_BITS) - 1)
#define ENTRY_TAG_SHIFT (WORD_BITS + ENTRY_LAP_BITS)
#define ENTRY_TAG_MASK  (((uint64_t)1 << (62 - ENTRY_TAG_SHIFT)) - 1)

/* The word in front of each record: its hash and its size. FILLER instead says that the lap ends here. */
#define SIZE_BITS      17
#define RECORD_HASH    (((uint64_t)1 << (64 - SIZE_BITS)) - 1)
#define RECORD_LARGEST (((size_t)1 << SIZE_BITS) - 2)
#define FILLER         UINT64_MAX

/* The bits of an entry that are the same for all entries of one hash. */
#define ENTRY_SAME (ENTRY_VALID | ENTRY_TAG_MASK << ENTRY_TAG_SHIFT)

#define BUCKET_ENTRIES 8
/* Words of a cache line. */
#define LINE_WORDS 8
/* An entry for each 64 octets of records: answers to A questions take about 90 with their header, so the index is then
 * about 70 % full, where two buckets of eight practically never overflow. */
#define OCTETS_PER_ENTRY 64
/* Second buckets come into play from here on. Filling the first to the brim would make both full too often. */
#define BUCKET_COMFORTABLE 6
/* One record must not evict more than this part of the others. */
#define RECORD_SHARE 8
/* Used records that one append moves at most, and steps of the tail that it makes ahead of need, so that a store stays
 * within some microseconds. At 16, 94 of 100 records may be in use before some of them are lost for want of moves. */
#define STEPS_MAX 16
/* This part of the ring is kept free. Records in use gather, because they are moved one after the other; an append that
 * met many of them at the tail could not move all, and would drop wanted ones. With this reserve, the next appends
 * continue the work: with 1/32, half of the ring may be such a group. */
#define SPARE_SHARE 32

struct ring_state {
    _Atomic uint64_t head; /* where the next record begins */
    _Atomic uint64_t tail; /* the oldest record */
    _Atomic uint64_t entries;
    _Atomic uint64_t evictions;
    uint64_t reserved[4]; /* to the end of the cache line: the index begins there */
};
_Static_assert(sizeof(struct ring_state) == BUCKET_ENTRIES * sizeof(uint64_t), "buckets are cache lines");

/* What the steps of one ring_append() share. */
struct append {
    struct ring *ring;
    const struct ring_cursor *replaces;
    ring_wanted *wanted;
    void *context;
    uint8_t *scratch;
    unsigned moves;
};

static uint64_t relaxed(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void set_relaxed(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/* Counters have one writer, so they need no locked instruction. */
static void count(_Atomic uint64_t *counter, uint64_t by)
{
    set_relaxed(counter, relaxed(counter) + by);
}

static uint64_t position_of(uint64_t lap, uint64_t word)
{
    return lap << WORD_BITS | word;
}

static uint64_t lap_of(uint64_t position)
{
    return position >> WORD_BITS;
}

static uint64_t word_of(uint64_t position)
{
    return position & WORD_MASK;
}

static uint64_t entry_of(uint64_t hash, uint64_t position)
{
    return ENTRY_VALID | (hash & ENTRY_TAG_MASK) << ENTRY_TAG_SHIFT |
           (position & (ENTRY_LAP_MASK << WORD_BITS | WORD_MASK));
}

static size_t size_of(uint64_t record_word)
{
    return (size_t)(record_word & (((uint64_t)1 << SIZE_BITS) - 1));
}

/* Words that a record takes in the ring, with the one in front. */
static uint64_t words_for(size_t size)
{
    return 1 + (size + 7) / 8;
}

/* Bits 15 to 46 of the hash choose the first bucket, all of the 47 that the record keeps choose the second. */
static _Atomic uint64_t *bucket_at(const struct ring *ring, uint64_t hash, unsigned which)
{
    uint64_t kept = hash & RECORD_HASH;
    uint64_t mixed = which == 0 ? kept >> 15 : kept * 0x9e3779b97f4a7c15 >> 32;

    return ring->index + (mixed * ring->bucket_count >> 32) * BUCKET_ENTRIES;
}

/* The full position of an entry. False when that is not between tail and head: the entry is free. */
static bool entry_position(const struct ring *ring, uint64_t entry, uint64_t *position)
{
    uint64_t head = relaxed(&ring->state->head);
    uint64_t back = (lap_of(head) - (entry >> WORD_BITS)) & ENTRY_LAP_MASK;

    *position = position_of(lap_of(head) - back, word_of(entry));
    return (entry & ENTRY_VALID) != 0 && back <= 1 && word_of(entry) < ring->word_count && *position < head &&
           *position >= relaxed(&ring->state->tail);
}

/* Does a record of this size at this word stay within the ring? Not if memory was corrupted. */
static bool record_fits(const struct ring *ring, uint64_t word, size_t size)
{
    return word + words_for(size) <= ring->word_count;
}

static void load_octets(const _Atomic uint64_t *from, size_t offset, uint8_t *out, size_t size)
{
    size_t inside = offset % 8;
    uint64_t word;

    from += offset / 8;
    if (inside != 0) {
        size_t n = size < 8 - inside ? size : 8 - inside;

        word = relaxed(from++);
        memcpy(out, (const uint8_t *)&word + inside, n);
        out += n;
        size -= n;
    }
    for (; size >= 8; size -= 8, out += 8) {
        word = relaxed(from++);
        memcpy(out, &word, 8);
    }
    if (size > 0) {
        word = relaxed(from);
        memcpy(out, &word, size);
    }
}

static void store_octets(_Atomic uint64_t *to, const uint8_t *from, size_t size)
{
    uint64_t word;

    for (; size >= 8; size -= 8, from += 8) {
        memcpy(&word, from, 8);
        set_relaxed(to++, word);
    }
    if (size > 0) {
        word = 0;
        memcpy(&word, from, size);
        set_relaxed(to, word);
    }
}

void ring_open(struct ring *ring, void *memory, size_t size)
{
    size_t room = size - sizeof(struct ring_state);
    size_t bucket_size = BUCKET_ENTRIES * sizeof(uint64_t);
    size_t buckets = room / (bucket_size + BUCKET_ENTRIES * OCTETS_PER_ENTRY);

    ring->state = memory;
    ring->index = (_Atomic uint64_t *)((uint8_t *)memory + sizeof(struct ring_state));
    ring->words = ring->index + buckets * BUCKET_ENTRIES;
    ring->bucket_count = (uint32_t)buckets;
    ring->word_count = (uint32_t)((room - buckets * bucket_size) / sizeof(uint64_t));
}

void ring_format(struct ring *ring)
{
    set_relaxed(&ring->state->head, 0);
    set_relaxed(&ring->state->evictions, 0);
    ring_clear(ring);
}

size_t ring_max_record(const struct ring *ring)
{
    size_t share = (size_t)ring->word_count * sizeof(uint64_t) / RECORD_SHARE;

    return share < RECORD_LARGEST ? share : RECORD_LARGEST;
}

void ring_prefetch_index(const struct ring *ring, uint64_t hash)
{
    __builtin_prefetch(bucket_at(ring, hash, 0));
}

struct ring_cursor ring_find(const struct ring *ring, uint64_t hash)
{
    return (struct ring_cursor){.ring = ring, .hash = hash};
}

/* Is the entry, whose tag is right, that of a record with the cursor's hash? */
static bool cursor_take(struct ring_cursor *cursor, uint64_t entry)
{
    const struct ring *ring = cursor->ring;
    const _Atomic uint64_t *record;
    uint64_t front;

    atomic_thread_fence(memory_order_acquire); /* what the writer wrote before the entry is seen from here on */
    if (!entry_position(ring, entry, &cursor->position))
        return false;
    record = ring->words + word_of(cursor->position);
    __builtin_prefetch(record + LINE_WORDS); /* most records reach into the next cache line */
    front = relaxed(record);
    cursor->entry = entry;
    cursor->size = size_of(front);
    return front >> SIZE_BITS == (cursor->hash & RECORD_HASH) &&
           record_fits(ring, word_of(cursor->position), cursor->size);
}

bool ring_next(struct ring_cursor *cursor)
{
    uint64_t sought = entry_of(cursor->hash, 0);

    while (cursor->next < 2 * BUCKET_ENTRIES) {
        const _Atomic uint64_t *bucket = bucket_at(cursor->ring, cursor->hash, cursor->next / BUCKET_ENTRIES);

        do {
            uint64_t entry = relaxed(&bucket[cursor->next++ % BUCKET_ENTRIES]);

            if ((entry & ENTRY_SAME) == sought && cursor_take(cursor, entry))
                return true;
        } while (cursor->next % BUCKET_ENTRIES != 0);
    }
    return false;
}

bool ring_copy(const struct ring_cursor *cursor, size_t offset, void *out, size_t size)
{
    const struct ring *ring = cursor->ring;

    if (offset > cursor->size || size > cursor->size - offset)
        return false;
    load_octets(ring->words + word_of(cursor->position) + 1, offset, out, size);
    atomic_thread_fence(memory_order_acquire); /* pairs with the fence in tail_advance() */
    return cursor->position >= relaxed(&ring->state->tail);
}

bool ring_mark_used(struct ring_cursor *cursor)
{
    unsigned slot = cursor->next - 1;
    _Atomic uint64_t *bucket = bucket_at(cursor->ring, cursor->hash, slot / BUCKET_ENTRIES);
    uint64_t found = cursor->entry;

    if ((found & ENTRY_USED) != 0)
        return true; /* a popular answer's line stays clean, and shared by all CPUs */
    atomic_compare_exchange_strong_explicit(&bucket[slot % BUCKET_ENTRIES], &found, found | ENTRY_USED,
                                            memory_order_relaxed, memory_order_relaxed);
    return found == (cursor->entry | ENTRY_USED);
}

bool ring_set_word(const struct ring_cursor *cursor, size_t offset, uint64_t word)
{
    if (offset % 8 != 0 || offset > cursor->size || cursor->size - offset < sizeof(word))
        return false;
    set_relaxed(cursor->ring->words + word_of(cursor->position) + 1 + offset / 8, word);
    return true;
}

/* The entry that says that a record with this hash is at position; NULL: none, the record was replaced. */
static _Atomic uint64_t *slot_of(const struct ring *ring, uint64_t hash, uint64_t position)
{
    uint64_t sought = entry_of(hash, position);

    for (unsigned i = 0; i < 2 * BUCKET_ENTRIES; i++) {
        _Atomic uint64_t *slot = bucket_at(ring, hash, i / BUCKET_ENTRIES) + i % BUCKET_ENTRIES;

        if ((relaxed(slot) & ~ENTRY_USED) == sought)
            return slot;
    }
    return NULL;
}

/* The better of two entries to give up: a free one (0), one that was not used, the older one. */
static uint64_t slot_worth(const struct ring *ring, const _Atomic uint64_t *slot)
{
    uint64_t entry = relaxed(slot);
    uint64_t position;

    if (!entry_position(ring, entry, &position))
        return 0;
    return (entry & ENTRY_USED) << 1 | position;
}

/* The entry of one bucket to write to. taken: how many of the eight are in use. */
static _Atomic uint64_t *bucket_slot(const struct ring *ring, _Atomic uint64_t *bucket, unsigned *taken,
                                     uint64_t *worth)
{
    _Atomic uint64_t *best = bucket;

    *taken = 0;
    *worth = UINT64_MAX;
    for (unsigned i = 0; i < BUCKET_ENTRIES; i++) {
        uint64_t this_worth = slot_worth(ring, &bucket[i]);

        *taken += this_worth != 0;
        if (this_worth < *worth) {
            *worth = this_worth;
            best = &bucket[i];
        }
    }
    return best;
}

/* The entry to write to for a new record. occupied: another record will be lost for it. */
static _Atomic uint64_t *slot_choose(const struct ring *ring, uint64_t hash, bool *occupied)
{
    unsigned first_taken, second_taken;
    uint64_t first_worth, second_worth;
    _Atomic uint64_t *first = bucket_slot(ring, bucket_at(ring, hash, 0), &first_taken, &first_worth);
    _Atomic uint64_t *second = bucket_slot(ring, bucket_at(ring, hash, 1), &second_taken, &second_worth);
    bool full = first_taken == BUCKET_ENTRIES && second_taken == BUCKET_ENTRIES;

    *occupied = full;
    if (full)
        return first_worth <= second_worth ? first : second;
    return first_taken < BUCKET_COMFORTABLE || first_taken <= second_taken ? first : second;
}

/* Data before position is invalid. The writer may overwrite it after this. */
static void tail_advance(struct ring *ring, uint64_t position)
{
    set_relaxed(&ring->state->tail, position);
    atomic_thread_fence(memory_order_release); /* a reader that sees later octets sees this tail, too */
}

/* Where the record behind one of this many words begins. */
static uint64_t position_after(const struct ring *ring, uint64_t position, uint64_t words)
{
    if (word_of(position) + words == ring->word_count)
        return position_of(lap_of(position) + 1, 0);
    return position + words;
}

/* Is there room for this many words at the head, or at the beginning of the next lap if they do not fit before the end?
 */
static bool head_has_room(const struct ring *ring, uint64_t words)
{
    uint64_t head = relaxed(&ring->state->head);
    uint64_t lap = lap_of(head);
    uint64_t word = word_of(head);

    if (word + words > ring->word_count) {
        lap++;
        word = 0;
    }
    return relaxed(&ring->state->tail) >= position_of(lap - 1, word + words);
}

/* Is less than the spare part free? */
static bool ring_is_tight(const struct ring *ring)
{
    uint64_t head = relaxed(&ring->state->head);
    uint64_t tail = relaxed(&ring->state->tail);
    uint64_t between = lap_of(head) == lap_of(tail) ? ring->word_count : 0;

    return between + word_of(tail) - word_of(head) < ring->word_count / SPARE_SHARE;
}

/* Writes a record at the head, where there is room, and returns its position. */
static uint64_t head_write(struct ring *ring, uint64_t hash, const uint8_t *record, size_t size)
{
    uint64_t at = relaxed(&ring->state->head);
    uint64_t words = words_for(size);

    if (word_of(at) + words > ring->word_count) {
        set_relaxed(&ring->words[word_of(at)], FILLER);
        at = position_of(lap_of(at) + 1, 0);
    }
    set_relaxed(&ring->words[word_of(at)], (hash & RECORD_HASH) << SIZE_BITS | size);
    store_octets(&ring->words[word_of(at) + 1], record, size);
    atomic_store_explicit(&ring->state->head, position_after(ring, at, words), memory_order_release);
    return at;
}

/* Publishes the record at position. */
static void slot_set(_Atomic uint64_t *slot, uint64_t hash, uint64_t position)
{
    atomic_store_explicit(slot, entry_of(hash, position), memory_order_release);
}

/* Copies the record at position to scratch and asks whether it is wanted. */
static bool record_wanted(struct append *a, uint64_t position, size_t size)
{
    if (size > ring_max_record(a->ring) || !record_fits(a->ring, word_of(position), size))
        return false;
    load_octets(a->ring->words + word_of(position) + 1, 0, a->scratch, size);
    return a->wanted(a->context, a->scratch, size);
}

/* Moves the tail past its record, and that record to the head or away. False: the ring's memory makes no sense. */
static bool tail_drop(struct append *a)
{
    struct ring *ring = a->ring;
    uint64_t position = relaxed(&ring->state->tail);
    uint64_t front = relaxed(&ring->words[word_of(position)]);
    uint64_t hash = front >> SIZE_BITS;
    size_t size = size_of(front);
    uint64_t next =
        front == FILLER ? position_of(lap_of(position) + 1, 0) : position_after(ring, position, words_for(size));
    _Atomic uint64_t *slot;
    bool wanted, used;

    if (next > relaxed(&ring->state->head) || (front != FILLER && !record_fits(ring, word_of(position), size)))
        return false;
    slot = front == FILLER ? NULL : slot_of(ring, hash, position);
    if (slot == NULL) {
        tail_advance(ring, next);
        return true;
    }
    used = (relaxed(slot) & ENTRY_USED) != 0;
    wanted = (a->replaces == NULL || a->replaces->position != position) && record_wanted(a, position, size);
    tail_advance(ring, next);
    if (wanted && used && a->moves < STEPS_MAX) {
        a->moves++;
        /* There is room: a record that ended before the end of the ring behind the head does so at the head; and one
         * from its beginning may go there again. */
        slot_set(slot, hash, head_write(ring, hash, a->scratch, size));
        return true;
    }
    set_relaxed(slot, 0);
    count(&ring->state->entries, (uint64_t)-1);
    count(&ring->state->evictions, wanted);
    return true;
}

/* Enters the record at position into the index. */
static void index_enter(struct append *a, uint64_t hash, uint64_t position)
{
    struct ring *ring = a->ring;
    _Atomic uint64_t *slot = a->replaces == NULL ? NULL : slot_of(ring, hash, a->replaces->position);
    uint64_t lost;
    bool occupied;

    if (slot == NULL) {
        slot = slot_choose(ring, hash, &occupied);
        if (!occupied)
            count(&ring->state->entries, 1);
        else if (entry_position(ring, relaxed(slot), &lost))
            count(&ring->state->evictions, record_wanted(a, lost, size_of(relaxed(&ring->words[word_of(lost)]))));
    }
    slot_set(slot, hash, position);
}

/* Could a writer have left head and tail like this? */
static bool ring_makes_sense(const struct ring *ring)
{
    uint64_t head = relaxed(&ring->state->head);
    uint64_t tail = relaxed(&ring->state->tail);

    if (word_of(head) >= ring->word_count || word_of(tail) >= ring->word_count || tail > head || lap_of(tail) == 0 ||
        lap_of(head) == LAP_LAST)
        return false;
    return lap_of(head) == lap_of(tail) || (lap_of(head) == lap_of(tail) + 1 && word_of(tail) >= word_of(head));
}

bool ring_append(struct ring *ring, uint64_t hash, const void *record, size_t size, const struct ring_cursor *replaces,
                 ring_wanted *wanted, void *context, uint8_t *scratch)
{
    struct append a = {
        .ring = ring, .replaces = replaces, .wanted = wanted, .context = context, .scratch = scratch, .moves = 0};

    if (size > ring_max_record(ring))
        return false;
    if (!ring_makes_sense(ring))
        ring_clear(ring);
    /* The tail moves each time: this ends, at the latest in an empty ring. */
    for (unsigned i = 0; !head_has_room(ring, words_for(size)) || (ring_is_tight(ring) && i < STEPS_MAX); i++)
        if (!tail_drop(&a))
            ring_clear(ring);
    index_enter(&a, hash, head_write(ring, hash, record, size));
    return true;
}

void ring_clear(struct ring *ring)
{
    uint64_t lap = lap_of(relaxed(&ring->state->head));
    /* Two laps on, every entry is out of reach. Lap 0 stays unused so that there is always one before. */
    uint64_t start = position_of(lap < LAP_LAST / 2 ? lap + 2 : 1, 0);

    tail_advance(ring, start);
    set_relaxed(&ring->state->entries, 0);
    atomic_store_explicit(&ring->state->head, start, memory_order_release);
}

void ring_distrust(struct ring *ring)
{
    tail_advance(ring, UINT64_MAX);
}

uint64_t ring_entries(const struct ring *ring)
{
    return relaxed(&ring->state->entries);
}

uint64_t ring_evictions(const struct ring *ring)
{
    return relaxed(&ring->state->evictions);
}

/* A ring whose memory is overwritten between its operations. Whatever stands there: no access outside (the sanitizer
 * sees it, the memory is just as long as the ring), no endless loop, and the next append can be found. */
#include "nodedot/cache/ring.h"
#include "nodedot/dns/wire.h"

#include <stdlib.h>
#include <string.h>

#define SIZE RING_MIN_SIZE
/* Few hashes, so that operations meet: each byte of input names one. */
#define HASH_FACTOR 0x9e3779b97f4a7c15u

static _Alignas(64) uint8_t memory[SIZE];
static uint8_t record[SIZE], scratch[SIZE], out[SIZE];

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool wanted(void *context, const uint8_t *octets, size_t size)
{
    const struct ring *ring = context;

    check(size <= ring_max_record(ring));
    return size > 0 && octets[size - 1] % 2 == 0;
}

static bool find(struct ring *ring, uint64_t hash, struct ring_cursor *cursor)
{
    unsigned candidates = 0;

    ring_prefetch_index(ring, hash);
    *cursor = ring_find(ring, hash);
    while (ring_next(cursor)) {
        check(++candidates <= 16);
        check(cursor->size < SIZE);
        check(!ring_copy(cursor, cursor->size, out, 1));
        if (ring_copy(cursor, 0, out, cursor->size) && ring_copy(cursor, cursor->size / 3, out, cursor->size / 2))
            return true;
    }
    return false;
}

static void append(struct ring *ring, uint64_t hash, size_t size, uint8_t octet, const struct ring_cursor *replaces)
{
    memset(record, octet, size);
    check(ring_append(ring, hash, record, size, replaces, wanted, ring, scratch) == (size <= ring_max_record(ring)));
}

/* Enough records to go round the ring. */
static void append_many(struct ring *ring, uint8_t seed)
{
    for (unsigned i = 0; i < 30; i++)
        append(ring, (seed + i) * HASH_FACTOR, 4000 + i, (uint8_t)i, NULL);
}

/* Where the input wants to overwrite: the header, the index, the records, or anywhere. */
static uint8_t *target(struct ring *ring, uint8_t where, uint32_t offset)
{
    switch (where % 4) {
    case 0:
        return memory + offset % 64;
    case 1:
        return (uint8_t *)ring->index + offset % ((size_t)ring->bucket_count * 64);
    case 2:
        return (uint8_t *)ring->words + offset % 4096; /* the first records of a lap */
    default:
        return memory + offset % SIZE;
    }
}

static void overwrite(struct ring *ring, struct wire *w)
{
    uint8_t where = wire_u8(w);
    uint8_t *at = target(ring, where, (uint32_t)wire_u16(w) * 8 + where / 4 % 8);
    size_t size = wire_u8(w) % 64, room = (size_t)(memory + SIZE - at);
    const uint8_t *octets;

    size = size < room ? size : room;
    octets = wire_take(w, size);
    if (octets != NULL)
        memcpy(at, octets, size);
}

static void step(struct ring *ring, struct wire *w)
{
    uint8_t what = wire_u8(w);
    uint64_t hash = wire_u8(w) * HASH_FACTOR;
    struct ring_cursor cursor;

    switch (what % 8) {
    case 0:
    case 1:
        overwrite(ring, w);
        break;
    case 2:
    case 3:
        if (find(ring, hash, &cursor))
            ring_mark_used(&cursor);
        break;
    case 4:
        append(ring, hash, wire_u16(w), what, NULL);
        break;
    case 5:
        append(ring, hash, wire_u8(w), what, find(ring, hash, &cursor) ? &cursor : NULL);
        break;
    case 6:
        append_many(ring, what);
        break;
    default:
        if (what / 8 % 4 == 0)
            ring_clear(ring);
        else if (what / 8 % 4 == 1)
            ring_distrust(ring);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire w = wire_of(data, size);
    struct ring_cursor cursor;
    struct ring ring;

    memset(memory, 0, SIZE);
    ring_open(&ring, memory, SIZE);
    ring_format(&ring);
    for (unsigned i = 0; i < 200 && wire_left(&w) > 0; i++)
        step(&ring, &w);
    append(&ring, ~(uint64_t)0 / 3, 100, 0x77, NULL);
    cursor = ring_find(&ring, ~(uint64_t)0 / 3);
    check(ring_next(&cursor));
    return 0;
}

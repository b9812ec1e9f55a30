#include "nodedot/observe/query_ring.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* In front of each record, and in front of what is left of the ring where a record did not fit before its end. */
struct prefix {
    uint32_t size; /* of the record in octets, or SKIP */
    uint32_t room; /* to the next prefix, this one included */
    uint64_t unused;
};

#define SKIP 0u

/* Of everything in the ring, so that a record may hold any object. */
#define ALIGNMENT sizeof(struct prefix)

/* Positions count octets since the beginning and never wrap; those of the ring are their lowest bits. Each thread's own
 * members have a cache line of their own, or the threads would take it from each other with each record. */
struct query_ring {
    _Alignas(64) _Atomic uint64_t head; /* written up to here */
    uint64_t tail_seen;                 /* the writer's last look at tail */
    uint64_t next_head;                 /* when what was begun is committed */
    _Alignas(64) _Atomic uint64_t tail; /* read up to here */
    uint64_t head_seen;
    _Alignas(64) uint8_t octets[QUERY_RING_OCTETS];
};

static struct prefix *prefix_at(struct query_ring *ring, uint64_t position)
{
    return (void *)(ring->octets + position % QUERY_RING_OCTETS);
}

struct query_ring *query_ring_create(void)
{
    struct query_ring *ring = aligned_alloc(_Alignof(struct query_ring), sizeof(*ring));

    if (ring == NULL)
        return NULL;
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
    ring->tail_seen = 0;
    ring->head_seen = 0;
    return ring;
}

void query_ring_destroy(struct query_ring *ring)
{
    free(ring);
}

static bool has_room(struct query_ring *ring, uint64_t end)
{
    if (end - ring->tail_seen <= QUERY_RING_OCTETS)
        return true;
    ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return end - ring->tail_seen <= QUERY_RING_OCTETS;
}

void *query_ring_begin(struct query_ring *ring, size_t size)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t room = sizeof(struct prefix) + (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    uint64_t to_end = QUERY_RING_OCTETS - head % QUERY_RING_OCTETS; /* a multiple of ALIGNMENT, so a prefix fits */
    uint64_t at = room <= to_end ? head : head + to_end;

    if (!has_room(ring, at + room))
        return NULL;
    if (at != head)
        *prefix_at(ring, head) = (struct prefix){.size = SKIP, .room = (uint32_t)to_end};
    *prefix_at(ring, at) = (struct prefix){.size = (uint32_t)size, .room = (uint32_t)room};
    ring->next_head = at + room;
    return prefix_at(ring, at) + 1;
}

void query_ring_commit(struct query_ring *ring)
{
    atomic_store_explicit(&ring->head, ring->next_head, memory_order_release);
}

static void advance_tail(struct query_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    atomic_store_explicit(&ring->tail, tail + prefix_at(ring, tail)->room, memory_order_release);
}

const void *query_ring_peek(struct query_ring *ring, size_t *size)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    if (tail == ring->head_seen)
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
    if (tail == ring->head_seen)
        return NULL;
    if (prefix_at(ring, tail)->size == SKIP) { /* a record follows: both were committed together */
        advance_tail(ring);
        tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    }
    *size = prefix_at(ring, tail)->size;
    return prefix_at(ring, tail) + 1;
}

void query_ring_release(struct query_ring *ring)
{
    advance_tail(ring);
}

/* query_ring.h - a ring of records from one worker to the writer of the query log.
 *
 * Shared: one thread writes (begin, commit), one reads (peek, release); no lock, no system call, no waiting.
 * Memory: QUERY_RING_OCTETS and a little, taken at creation; a page is touched when it is first used.
 */
#ifndef NODEDOT_OBSERVE_QUERY_RING_H
#define NODEDOT_OBSERVE_QUERY_RING_H

#include <stddef.h>

/* A power of two. Some 3,000 records without answers, what a worker makes at its fastest while the writer sleeps for
 * 20 ms; or fifteen with the largest answers. */
#define QUERY_RING_OCTETS (1024 * 1024)

struct query_ring;

/* NULL: no memory. */
struct query_ring *query_ring_create(void);
void query_ring_destroy(struct query_ring *ring);

/* Room for one record of size octets (1 to QUERY_RING_OCTETS / 2), aligned for any object; NULL: the ring is full. The
 * record is the reader's once it is committed. */
void *query_ring_begin(struct query_ring *ring, size_t size);
void query_ring_commit(struct query_ring *ring);

/* The oldest record and its size, which stays until it is released; NULL: there is none. */
const void *query_ring_peek(struct query_ring *ring, size_t *size);
void query_ring_release(struct query_ring *ring);

#endif

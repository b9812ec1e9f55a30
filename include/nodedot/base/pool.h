/* pool.h - a fixed number of objects of one size, taken and released without the allocator.
 *
 * Memory: capacity * size octets, reserved at start. An object's pages are touched when it is first taken, and what
 *         was released last is taken first, so unused capacity costs nothing and the working set stays small.
 * Shared: a pool belongs to one thread.
 */
#ifndef NODEDOT_BASE_POOL_H
#define NODEDOT_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool {
    uint8_t *memory;
    void *free;   /* list through the first word of released objects */
    size_t size;  /* of one object, a multiple of its alignment */
    size_t fresh; /* objects that were taken at least once */
    size_t capacity;
};

/* size is at least that of a pointer. False: no memory. */
bool pool_init(struct pool *pool, size_t capacity, size_t size);
void pool_reset(struct pool *pool);

/* An object with undefined content (zero when it is new), or NULL when all are taken. */
void *pool_take(struct pool *pool);
void pool_release(struct pool *pool, void *object);

#endif

#include "nodedot/base/pool.h"

#include <stdlib.h>
#include <string.h>

bool pool_init(struct pool *pool, size_t capacity, size_t size)
{
    *pool = (struct pool){.size = size, .capacity = capacity};
    pool->memory = calloc(capacity, size);
    return pool->memory != NULL;
}

void pool_reset(struct pool *pool)
{
    free(pool->memory);
    *pool = (struct pool){0};
}

void *pool_take(struct pool *pool)
{
    void *object = pool->free;

    if (object != NULL) {
        memcpy(&pool->free, object, sizeof(pool->free));
        return object;
    }
    if (pool->fresh == pool->capacity)
        return NULL;
    return pool->memory + pool->size * pool->fresh++;
}

void pool_release(struct pool *pool, void *object)
{
    memcpy(object, &pool->free, sizeof(pool->free));
    pool->free = object;
}

#include "nodedot/base/random.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* One getrandom() serves this many octets; the kernel gives up to 256 without being interrupted (getrandom(2)). */
#define RANDOM_BLOCK 256

static _Thread_local struct {
    uint8_t octets[RANDOM_BLOCK];
    size_t left;
} block;

/* A child must not use the numbers that its parent uses too. */
static void forget_block(void)
{
    memset(&block, 0, sizeof(block));
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_block);
}

static void read_kernel(uint8_t *out, size_t size)
{
    while (size > 0) {
        ssize_t n = getrandom(out, size, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) { /* without it, nothing that must be unpredictable may be sent */
            fprintf(stderr, "getrandom: %s\n", strerror(errno));
            abort();
        }
        out += n;
        size -= (size_t)n;
    }
}

void random_bytes(void *out, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    if (size > RANDOM_BLOCK) {
        read_kernel(out, size);
        return;
    }
    if (block.left < size) {
        pthread_once(&once, watch_forks);
        read_kernel(block.octets, RANDOM_BLOCK);
        block.left = RANDOM_BLOCK;
    }
    block.left -= size;
    memcpy(out, block.octets + block.left, size);
    memset(block.octets + block.left, 0, size); /* used numbers cannot be read again */
}

uint16_t random_u16(void)
{
    uint16_t v;

    random_bytes(&v, sizeof(v));
    return v;
}

uint32_t random_u32(void)
{
    uint32_t v;

    random_bytes(&v, sizeof(v));
    return v;
}

uint32_t random_below(uint32_t bound)
{
    return (uint32_t)(((uint64_t)random_u32() * bound) >> 32);
}

/* popular.h - the names that are asked for most: a table of fixed size that finds the heavy hitters of a stream.
 *
 * Method: Space-Saving (Metwally, Agrawal and El Abbadi, 2005) in sets of POPULAR_WAYS: a name that is not in its set
 *         takes the place of the least used one there and inherits its count as an error. What is left without the
 *         error was surely seen, so a name that is asked once never looks popular, whatever flood it comes with.
 * Cost:   while there are few uses, each is counted; when there are many, one in so many at random, for that many.
 *         Counting one touches two cache lines. No clock, no lock, no allocation.
 * Fading: popular_tick(), called once a second, halves all counts every POPULAR_HALF_LIFE: yesterday's names go.
 * Memory: taken at start. Shared: a table belongs to one thread.
 */
#ifndef NODEDOT_RESOLVER_POPULAR_H
#define NODEDOT_RESOLVER_POPULAR_H

#include "nodedot/cache/cache.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names of a set: their hashes fill a cache line. */
#define POPULAR_WAYS 8
/* Names that are watched for each that is wanted: what is left to chance stays among those that are hardly used. */
#define POPULAR_SHARE 4
/* Uses a second that are counted one by one; of more, a part. */
#define POPULAR_COUNTED 1000
/* Seconds after which a use counts half. */
#define POPULAR_HALF_LIFE 600

struct popular_name {
    struct question question;
    uint64_t hash; /* of the cache key */
    bool dnssec_ok;
    bool checking_disabled;
    uint32_t uses;  /* at most */
    uint32_t error; /* so many of them may have been others' */
};

/* What popular_most() gives. */
struct popular_pick {
    const struct popular_name *name;
    uint32_t uses; /* at least */
};

/* The hashes of one set of names, kept apart from the names so that a search reads one line. */
struct popular_set {
    _Alignas(64) uint64_t hash[POPULAR_WAYS];
};

struct popular {
    struct popular_set *sets; /* NULL: nothing is counted */
    struct popular_name *names;
    struct popular_pick *picks; /* of popular_most() */
    size_t set_count;
    uint64_t random;
    uint32_t skip;  /* a power of two less one: of so many uses and one, one is counted */
    uint32_t seen;  /* uses since the last tick */
    uint32_t ticks; /* since counts were halved */
};

/* Takes memory to find the `wanted` most used names; 0: nothing is ever counted. False: no memory. */
bool popular_init(struct popular *popular, size_t wanted);
void popular_reset(struct popular *popular);

/* Counts `weight` uses of the key's name. */
void popular_count(struct popular *popular, const struct cache_key *key, uint32_t weight);

/* Once a second: chooses how many uses are counted, and lets counts fade. */
void popular_tick(struct popular *popular);

/* The names that were surely used at least `least` times, most used first, at most `most` of them. Returns their
 * number; *out is good until the next call of any function here. */
size_t popular_most(struct popular *popular, uint32_t least, size_t most, const struct popular_pick **out);

/* A name was used: for the hot path. */
static inline void popular_use(struct popular *popular, const struct cache_key *key)
{
    if (popular->sets == NULL)
        return;
    popular->seen++;
    /* A step of a linear congruential generator (Knuth); its upper bits are good enough to choose by. */
    popular->random = popular->random * 6364136223846793005ull + 1442695040888963407ull;
    if ((popular->random >> 40 & popular->skip) == 0)
        popular_count(popular, key, popular->skip + 1);
}

#endif

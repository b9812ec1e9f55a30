/* hot_names.h - the names that are asked for most: a table of fixed size that finds the heavy hitters of a stream.
 *
 * Method: Space-Saving (Metwally, Agrawal and El Abbadi, 2005) in sets of HOT_NAMES_WAYS: a name that is not in its set
 *         takes the place of the least used one there and inherits its count as an error. What is left without the
 *         error was surely seen, so a name that is asked once never looks popular, whatever flood it comes with.
 * Cost:   if there are few uses, each is counted; if there are many, a random sample is counted with its weight.
 *         Counting one touches two cache lines. No clock, no lock, no allocation.
 * Fading: hot_names_tick(), called once a second, halves all counts every HOT_NAMES_HALF_LIFE, so old names disappear.
 * Memory: taken at start. Shared: a table belongs to one thread.
 */
#ifndef NODEDOT_RESOLVER_HOT_NAMES_H
#define NODEDOT_RESOLVER_HOT_NAMES_H

#include "nodedot/cache/cache.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names of a set: their hashes fill a cache line. */
#define HOT_NAMES_WAYS 8
/* Names that are watched for each wanted one: errors then stay among rarely used names. */
#define HOT_NAMES_WATCHED 4
/* Uses a second that are counted individually; of more, a sample. */
#define HOT_NAMES_COUNTED 1000
/* Seconds after which a use counts half. */
#define HOT_NAMES_HALF_LIFE 600

struct hot_name {
    struct question question;
    uint64_t hash; /* of the cache key */
    bool dnssec_ok;
    bool checking_disabled;
    uint32_t uses;  /* at most */
    uint32_t error; /* this many of them may belong to other names */
};

/* What hot_names_most() gives. */
struct hot_pick {
    const struct hot_name *name;
    uint32_t uses; /* at least */
};

/* The hashes of one set of names, kept apart from the names so that a search reads one line. */
struct hot_set {
    _Alignas(64) uint64_t hash[HOT_NAMES_WAYS];
};

struct hot_names {
    struct hot_set *sets; /* NULL: nothing is counted */
    struct hot_name *names;
    struct hot_pick *picks; /* of hot_names_most() */
    size_t set_count;
    uint64_t random;
    uint32_t skip;  /* a power of two minus one: one in (skip + 1) uses is counted */
    uint32_t seen;  /* uses since the last tick */
    uint32_t ticks; /* since counts were halved */
};

/* Takes memory to find the `wanted` most used names; 0: nothing is counted. False: no memory. */
bool hot_names_init(struct hot_names *hot, size_t wanted);
void hot_names_reset(struct hot_names *hot);

/* Counts `weight` uses of the key's name. */
void hot_names_count(struct hot_names *hot, const struct cache_key *key, uint32_t weight);

/* Once a second: chooses the sampling rate, and lets counts fade. */
void hot_names_tick(struct hot_names *hot);

/* The names with at least `least` certain uses, most used first, at most `most` of them. Returns their number; *out is
 * valid until the next call of any function here. */
size_t hot_names_most(struct hot_names *hot, uint32_t least, size_t most, const struct hot_pick **out);

/* A name was used: for the hot path. */
static inline void hot_names_use(struct hot_names *hot, const struct cache_key *key)
{
    if (hot->sets == NULL)
        return;
    hot->seen++;
    /* A step of a linear congruential generator (Knuth); its upper bits are good enough to choose by. */
    hot->random = hot->random * 6364136223846793005ull + 1442695040888963407ull;
    if ((hot->random >> 40 & hot->skip) == 0)
        hot_names_count(hot, key, hot->skip + 1);
}

#endif

#include "nodedot/listener/quota.h"

#include "nodedot/base/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct place {
    uint8_t client[ENDPOINT_CLIENT]; /* endpoint_client_key() */
    uint32_t count;                  /* 0: empty */
};

struct quota {
    pthread_mutex_t mutex;
    struct hash_key key;
    uint32_t total, per_client;
    struct client_prefix prefix;
    uint32_t count;
    size_t mask;
    struct place places[];
};

struct quota *quota_create(uint32_t total, uint32_t per_client, const struct client_prefix *prefix)
{
    size_t places = 1;
    struct quota *quota;

    while (places < 2 * (size_t)total)
        places *= 2;
    quota = calloc(1, sizeof(*quota) + places * sizeof(struct place));
    if (quota == NULL)
        return NULL;
    pthread_mutex_init(&quota->mutex, NULL);
    hash_key_random(&quota->key);
    quota->total = total;
    quota->per_client = per_client;
    quota->prefix = *prefix;
    quota->mask = places - 1;
    return quota;
}

void quota_destroy(struct quota *quota)
{
    pthread_mutex_destroy(&quota->mutex);
    free(quota);
}

static size_t home_of(const struct quota *quota, const uint8_t key[ENDPOINT_CLIENT])
{
    return hash_keyed(&quota->key, key, ENDPOINT_CLIENT) & quota->mask;
}

/* The client's place, or the empty one where it would be. */
static size_t find_place(const struct quota *quota, const uint8_t key[ENDPOINT_CLIENT])
{
    size_t at = home_of(quota, key);

    while (quota->places[at].count != 0 && memcmp(quota->places[at].client, key, ENDPOINT_CLIENT) != 0)
        at = (at + 1) & quota->mask;
    return at;
}

enum quota_verdict quota_take(struct quota *quota, const struct endpoint *client)
{
    enum quota_verdict verdict = QUOTA_GRANTED;
    uint8_t key[ENDPOINT_CLIENT];
    struct place *place;

    endpoint_client_key(client, &quota->prefix, false, key);
    pthread_mutex_lock(&quota->mutex);
    place = &quota->places[find_place(quota, key)];
    if (place->count >= quota->per_client) {
        verdict = QUOTA_CLIENT_FULL;
    } else if (quota->count >= quota->total) {
        verdict = QUOTA_TOTAL_FULL;
    } else {
        memcpy(place->client, key, ENDPOINT_CLIENT);
        place->count++;
        quota->count++;
    }
    pthread_mutex_unlock(&quota->mutex);
    return verdict;
}

/* Closes the gap at an emptied place, so that a search that stops at an empty place still finds everybody (Knuth, The
 * Art of Computer Programming, section 6.4, algorithm R). */
static void close_gap(struct quota *quota, size_t gap)
{
    for (size_t at = (gap + 1) & quota->mask; quota->places[at].count != 0; at = (at + 1) & quota->mask) {
        size_t home = home_of(quota, quota->places[at].client);

        if (((at - home) & quota->mask) < ((at - gap) & quota->mask))
            continue;
        quota->places[gap] = quota->places[at];
        quota->places[at].count = 0;
        gap = at;
    }
}

uint32_t quota_held(struct quota *quota, const struct endpoint *client)
{
    uint8_t key[ENDPOINT_CLIENT];
    uint32_t count;

    endpoint_client_key(client, &quota->prefix, false, key);
    pthread_mutex_lock(&quota->mutex);
    count = quota->places[find_place(quota, key)].count;
    pthread_mutex_unlock(&quota->mutex);
    return count;
}

void quota_release(struct quota *quota, const struct endpoint *client)
{
    uint8_t key[ENDPOINT_CLIENT];
    size_t at;

    endpoint_client_key(client, &quota->prefix, false, key);
    pthread_mutex_lock(&quota->mutex);
    at = find_place(quota, key);
    quota->count--;
    if (--quota->places[at].count == 0)
        close_gap(quota, at);
    pthread_mutex_unlock(&quota->mutex);
}

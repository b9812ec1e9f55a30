#include "nodedot/resolver/share.h"

#include <stdlib.h>
#include <string.h>

/* How many of its own oldest queries a client is searched for one at the busiest group: as most wait there, it is
 * among the first, and a client that has hardly any there is not held up by that group. */
#define LOOK 32

struct share_client {
    struct share_client *next;           /* in its bucket */
    struct share_client *before, *after; /* on its level */
    struct share_place *oldest, *newest;
    uint32_t held;
    uint8_t key[ENDPOINT_CLIENT];
};

bool share_init(struct share *share, uint32_t capacity, const struct client_prefix *prefix)
{
    size_t buckets = 1;

    memset(share, 0, sizeof(*share));
    while (buckets < 2 * (size_t)capacity)
        buckets *= 2;
    share->prefix = *prefix;
    share->bucket_mask = buckets - 1;
    hash_key_random(&share->key);
    share->buckets = calloc(buckets, sizeof(struct share_client *));
    share->levels = calloc((size_t)capacity + 1, sizeof(struct share_client *));
    return share->buckets != NULL && share->levels != NULL &&
           pool_init(&share->clients, capacity, sizeof(struct share_client));
}

void share_reset(struct share *share)
{
    free(share->buckets);
    free(share->levels);
    pool_reset(&share->clients);
}

static struct share_client **bucket_of(const struct share *share, const uint8_t key[ENDPOINT_CLIENT])
{
    return &share->buckets[hash_keyed(&share->key, key, ENDPOINT_CLIENT) & share->bucket_mask];
}

static struct share_client *find_client(const struct share *share, const uint8_t key[ENDPOINT_CLIENT])
{
    struct share_client *client = *bucket_of(share, key);

    while (client != NULL && memcmp(client->key, key, ENDPOINT_CLIENT) != 0)
        client = client->next;
    return client;
}

static void leave_level(struct share *share, struct share_client *client)
{
    if (client->before != NULL)
        client->before->after = client->after;
    else
        share->levels[client->held] = client->after;
    if (client->after != NULL)
        client->after->before = client->before;
}

static void enter_level(struct share *share, struct share_client *client)
{
    struct share_client **level = &share->levels[client->held];

    client->before = NULL;
    client->after = *level;
    if (*level != NULL)
        (*level)->before = client;
    *level = client;
}

static struct share_client *new_client(struct share *share, const uint8_t key[ENDPOINT_CLIENT])
{
    struct share_client *client = pool_take(&share->clients); /* one for each place: never NULL */
    struct share_client **bucket = bucket_of(share, key);

    memset(client, 0, sizeof(*client));
    memcpy(client->key, key, ENDPOINT_CLIENT);
    client->next = *bucket;
    *bucket = client;
    return client;
}

static void forget_client(struct share *share, struct share_client *client)
{
    struct share_client **link = bucket_of(share, client->key);

    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
    pool_release(&share->clients, client);
}

void share_take(struct share *share, struct share_place *place, const struct endpoint *endpoint, bool proven,
                size_t group)
{
    uint8_t key[ENDPOINT_CLIENT];
    struct share_client *client;

    endpoint_client_key(endpoint, &share->prefix, proven, key);
    client = find_client(share, key);
    if (client == NULL)
        client = new_client(share, key);
    else
        leave_level(share, client);
    *place = (struct share_place){.client = client, .older = client->newest, .group = group};
    if (client->newest != NULL)
        client->newest->newer = place;
    else
        client->oldest = place;
    client->newest = place;
    client->held++;
    enter_level(share, client);
    if (client->held > share->most)
        share->most = client->held;
    share->held++;
    share->groups[group]++;
}

void share_release(struct share *share, struct share_place *place)
{
    struct share_client *client = place->client;

    if (place->older != NULL)
        place->older->newer = place->newer;
    else
        client->oldest = place->newer;
    if (place->newer != NULL)
        place->newer->older = place->older;
    else
        client->newest = place->older;
    leave_level(share, client);
    if (client->held == share->most && share->levels[client->held] == NULL)
        share->most--; /* where this client goes now, unless it goes */
    if (--client->held > 0)
        enter_level(share, client);
    else
        forget_client(share, client);
    share->held--;
    share->groups[place->group]--;
}

static size_t busiest_group(const struct share *share)
{
    size_t busiest = 0;

    for (size_t i = 1; i < CONFIG_UPSTREAMS; i++) {
        if (share->groups[i] > share->groups[busiest])
            busiest = i;
    }
    return busiest;
}

static struct share_place *oldest_at(const struct share_client *client, size_t group)
{
    struct share_place *place = client->oldest;

    for (int i = 0; i < LOOK && place != NULL; i++, place = place->newer) {
        if (place->group == group)
            return place;
    }
    return NULL;
}

struct share_place *share_claim(const struct share *share, const struct endpoint *endpoint, bool proven, size_t group)
{
    uint8_t key[ENDPOINT_CLIENT];
    const struct share_client *client;
    size_t busiest = busiest_group(share);

    endpoint_client_key(endpoint, &share->prefix, proven, key);
    client = find_client(share, key);
    if ((client != NULL ? client->held : 0) + 2 <= share->most)
        return share_first_to_go(share);
    if (client != NULL && share->groups[group] + 2 <= share->groups[busiest])
        return oldest_at(client, busiest);
    return NULL;
}

struct share_place *share_first_to_go(const struct share *share)
{
    return share->most > 0 ? share->levels[share->most]->oldest : NULL;
}

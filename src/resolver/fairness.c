#include "nodedot/resolver/fairness.h"

#include <stdlib.h>
#include <string.h>

/* How many of its own oldest queries a client is searched for one at the busiest group: as most wait there, it is
 * among the first, and a client that has hardly any there is not held up by that group. */
#define LOOK 32

struct fairness_client {
    struct fairness_client *next;           /* in its bucket */
    struct fairness_client *before, *after; /* on its level */
    struct fairness_place *oldest, *newest;
    uint32_t held;
    uint8_t key[ENDPOINT_CLIENT];
};

bool fairness_init(struct fairness *fairness, uint32_t capacity, const struct client_prefix *prefix)
{
    size_t buckets = 1;

    memset(fairness, 0, sizeof(*fairness));
    while (buckets < 2 * (size_t)capacity)
        buckets *= 2;
    fairness->prefix = *prefix;
    fairness->bucket_mask = buckets - 1;
    hash_key_random(&fairness->key);
    fairness->buckets = calloc(buckets, sizeof(struct fairness_client *));
    fairness->levels = calloc((size_t)capacity + 1, sizeof(struct fairness_client *));
    return fairness->buckets != NULL && fairness->levels != NULL &&
           pool_init(&fairness->clients, capacity, sizeof(struct fairness_client));
}

void fairness_reset(struct fairness *fairness)
{
    free(fairness->buckets);
    free(fairness->levels);
    pool_reset(&fairness->clients);
}

static struct fairness_client **bucket_of(const struct fairness *fairness, const uint8_t key[ENDPOINT_CLIENT])
{
    return &fairness->buckets[hash_keyed(&fairness->key, key, ENDPOINT_CLIENT) & fairness->bucket_mask];
}

static struct fairness_client *find_client(const struct fairness *fairness, const uint8_t key[ENDPOINT_CLIENT])
{
    struct fairness_client *client = *bucket_of(fairness, key);

    while (client != NULL && memcmp(client->key, key, ENDPOINT_CLIENT) != 0)
        client = client->next;
    return client;
}

static void leave_level(struct fairness *fairness, struct fairness_client *client)
{
    if (client->before != NULL)
        client->before->after = client->after;
    else
        fairness->levels[client->held] = client->after;
    if (client->after != NULL)
        client->after->before = client->before;
}

static void enter_level(struct fairness *fairness, struct fairness_client *client)
{
    struct fairness_client **level = &fairness->levels[client->held];

    client->before = NULL;
    client->after = *level;
    if (*level != NULL)
        (*level)->before = client;
    *level = client;
}

static struct fairness_client *new_client(struct fairness *fairness, const uint8_t key[ENDPOINT_CLIENT])
{
    struct fairness_client *client = pool_take(&fairness->clients); /* one for each place: never NULL */
    struct fairness_client **bucket = bucket_of(fairness, key);

    memset(client, 0, sizeof(*client));
    memcpy(client->key, key, ENDPOINT_CLIENT);
    client->next = *bucket;
    *bucket = client;
    return client;
}

static void forget_client(struct fairness *fairness, struct fairness_client *client)
{
    struct fairness_client **link = bucket_of(fairness, client->key);

    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
    pool_release(&fairness->clients, client);
}

void fairness_take(struct fairness *fairness, struct fairness_place *place, const struct endpoint *endpoint,
                   bool proven, size_t group)
{
    uint8_t key[ENDPOINT_CLIENT];
    struct fairness_client *client;

    endpoint_client_key(endpoint, &fairness->prefix, proven, key);
    client = find_client(fairness, key);
    if (client == NULL)
        client = new_client(fairness, key);
    else
        leave_level(fairness, client);
    *place = (struct fairness_place){.client = client, .older = client->newest, .group = group};
    if (client->newest != NULL)
        client->newest->newer = place;
    else
        client->oldest = place;
    client->newest = place;
    client->held++;
    enter_level(fairness, client);
    if (client->held > fairness->most)
        fairness->most = client->held;
    fairness->held++;
    fairness->groups[group]++;
}

void fairness_release(struct fairness *fairness, struct fairness_place *place)
{
    struct fairness_client *client = place->client;

    if (place->older != NULL)
        place->older->newer = place->newer;
    else
        client->oldest = place->newer;
    if (place->newer != NULL)
        place->newer->older = place->older;
    else
        client->newest = place->older;
    leave_level(fairness, client);
    if (client->held == fairness->most && fairness->levels[client->held] == NULL)
        fairness->most--; /* where this client goes now, unless it goes */
    if (--client->held > 0)
        enter_level(fairness, client);
    else
        forget_client(fairness, client);
    fairness->held--;
    fairness->groups[place->group]--;
}

static size_t busiest_group(const struct fairness *fairness)
{
    size_t busiest = 0;

    for (size_t i = 1; i < CONFIG_UPSTREAMS; i++) {
        if (fairness->groups[i] > fairness->groups[busiest])
            busiest = i;
    }
    return busiest;
}

static struct fairness_place *oldest_at(const struct fairness_client *client, size_t group)
{
    struct fairness_place *place = client->oldest;

    for (int i = 0; i < LOOK && place != NULL; i++, place = place->newer) {
        if (place->group == group)
            return place;
    }
    return NULL;
}

struct fairness_place *fairness_claim(const struct fairness *fairness, const struct endpoint *endpoint, bool proven,
                                      size_t group)
{
    uint8_t key[ENDPOINT_CLIENT];
    const struct fairness_client *client;
    size_t busiest = busiest_group(fairness);

    endpoint_client_key(endpoint, &fairness->prefix, proven, key);
    client = find_client(fairness, key);
    if ((client != NULL ? client->held : 0) + 2 <= fairness->most)
        return fairness_first_to_go(fairness);
    if (client != NULL && fairness->groups[group] + 2 <= fairness->groups[busiest])
        return oldest_at(client, busiest);
    return NULL;
}

struct fairness_place *fairness_first_to_go(const struct fairness *fairness)
{
    return fairness->most > 0 ? fairness->levels[fairness->most]->oldest : NULL;
}

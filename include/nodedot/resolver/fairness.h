/* fairness.h - the places of the queries that wait for an upstream, counted for each client.
 *
 * While there is room, a client may hold every place. When there is none, a new query may displace another one:
 *
 *   - the oldest query of the client that holds most places, if the new query's client does not hold more than that
 *     client even afterwards. So clients that want too much get equal shares, and clients that ask little are served.
 *   - else the oldest query of its own client for the group that most of the client's queries wait for, if fewer wait
 *     for the new query's group. So a group that never answers does not keep a client from the other groups.
 *
 * The oldest query is displaced because it had the longest time to be answered: an upstream that answers at all does so
 * in a fraction of the timeout. A client's queries cannot displace each other before any is answered, because a query
 * never displaces one of its own client for the same group.
 *
 * Memory: fixed, for as many clients as there are places. Every call takes the same time, however many wait.
 * Shared: belongs to one thread. The kernel spreads a client's sockets over the threads, so shares agree by and large.
 */
#ifndef NODEDOT_RESOLVER_FAIRNESS_H
#define NODEDOT_RESOLVER_FAIRNESS_H

#include "nodedot/base/endpoint.h"
#include "nodedot/base/hash.h"
#include "nodedot/base/pool.h"
#include "nodedot/config/config.h"

#include <stdint.h>

struct fairness_client;

/* One waiting query's place; part of the query. */
struct fairness_place {
    struct fairness_client *client;
    struct fairness_place *older, *newer; /* of the same client */
    size_t group;                         /* of upstreams */
};

struct fairness {
    struct hash_key key;
    struct client_prefix prefix;
    struct pool clients;
    struct fairness_client **buckets;
    size_t bucket_mask;
    struct fairness_client **levels; /* clients, by the number of places that they hold */
    uint32_t most;                   /* the highest level that is not empty; 0: nobody holds a place */
    uint32_t held;                   /* places of all clients */
    uint32_t groups[CONFIG_UPSTREAMS];
};

/* For at most capacity places. False: no memory. */
bool fairness_init(struct fairness *fairness, uint32_t capacity, const struct client_prefix *prefix);
void fairness_reset(struct fairness *fairness);

/* Gives a client one more place. proven: see endpoint_client_key(). */
void fairness_take(struct fairness *fairness, struct fairness_place *place, const struct endpoint *client, bool proven,
                   size_t group);
void fairness_release(struct fairness *fairness, struct fairness_place *place);

/* No room is left: the place that this client may take for a query to this group; NULL: none. */
struct fairness_place *fairness_claim(const struct fairness *fairness, const struct endpoint *client, bool proven,
                                      size_t group);

/* The place to give up first; NULL: none is held. */
struct fairness_place *fairness_first_to_go(const struct fairness *fairness);

#endif

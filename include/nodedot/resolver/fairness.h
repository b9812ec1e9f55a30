/* fairness.h - the places of the queries that wait for an upstream, and which client holds how many.
 *
 * While there is room a client may hold every place. When there is none, a newcomer's query may push out another:
 *
 *   - the oldest of the client that holds most, when the newcomer's client does not hold more than that one even
 *     afterwards. So clients that want more than there is end up with equal shares, and who asks little is served.
 *   - else the oldest of the newcomer's own client at the group of upstreams that most queries wait for, when fewer
 *     wait for the newcomer's group. So a group that never answers does not keep a client from the others.
 *
 * The oldest, because it had the longest time to be answered: what an upstream answers at all leaves in a fraction of
 * the time-out, and what grows old waits for nothing. It cannot happen that a client's queries push each other out
 * before any is answered, as it pushes out none of its own for the same group.
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
    struct fairness_client **levels; /* clients by the number of places that they hold */
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

/* No room is left: which place may this client have for a query to this group? NULL: none. */
struct fairness_place *fairness_claim(const struct fairness *fairness, const struct endpoint *client, bool proven,
                                      size_t group);

/* The place of all that should be given up first; NULL: none is held. */
struct fairness_place *fairness_first_to_go(const struct fairness *fairness);

#endif

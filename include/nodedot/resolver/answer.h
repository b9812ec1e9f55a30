/* answer.h - makes one client's answer: from the cache, from an upstream's message, or an error.
 *
 * Every function writes a whole answer to reply->out, counts it by RCODE, and notes its source for the query log. It
 * returns the answer's size, 0 where there is none.
 * Memory: owned by the caller; nothing is kept.
 * Shared: belongs to one thread.
 */
#ifndef NODEDOT_RESOLVER_ANSWER_H
#define NODEDOT_RESOLVER_ANSWER_H

#include "nodedot/cache/cache.h"
#include "nodedot/config/config.h"
#include "nodedot/dns/bailiwick.h"
#include "nodedot/dns/message.h"
#include "nodedot/forward/zone.h"
#include "nodedot/listener/client.h"
#include "nodedot/observe/metrics.h"
#include "nodedot/resolver/origin.h"
#include "nodedot/resolver/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Everything that one thread needs to make answers. */
struct answers {
    const struct config *config;
    const struct zone_table *zones;
    const struct origins *origins;
    struct cache *cache;
    struct metrics *metrics;
    struct trace trace; /* of the query in hand */
    bool draining;      /* clients are told to close their connections (RFC 7828 section 3.3.2) */
};

/* A query, and the room for its answer. */
struct reply {
    const struct client *client;
    const struct query_message *message;
    const uint8_t *question; /* message->question_octets, as the client wrote them */
    uint8_t *out;
    size_t capacity; /* of out, at least MESSAGE_MAX_OCTETS */
};

/* The zone of a client's question; NULL: no configured zone covers it, so no answer is cached. Else *key is its key,
 * which refers to message. */
const struct zone_config *answers_zone(const struct answers *answers, const struct query_message *message,
                                       struct cache_key *key);

/* An answer without records. */
ssize_t answers_error(struct answers *answers, const struct reply *reply, enum rcode rcode, enum ede ede);

/* An answer for a name that is never forwarded (local.h). 0: the name is forwarded. */
ssize_t answers_local(struct answers *answers, const struct reply *reply, const struct zone_config *zone);

/* Reads the cached answer into reply->out, including stale ones and failures. False: a miss. */
bool answers_look_up(struct answers *answers, const struct reply *reply, const struct cache_key *key,
                     struct cache_hit *hit);

/* Turns the result of a look-up in reply->out into the answer. source: its source, unless it is stale. */
ssize_t answers_stored(struct answers *answers, const struct reply *reply, const struct cache_hit *hit,
                       enum query_source source);

/* Both together. 0: a miss. */
ssize_t answers_cached(struct answers *answers, const struct reply *reply, const struct cache_key *key);

/* The upstream's own message, for an answer that was not cached, with its TTLs held to the zone's limits. */
ssize_t answers_upstream(struct answers *answers, const struct reply *reply, const struct bailiwick_answer *answer,
                         const struct cache_limits *limits);

#endif

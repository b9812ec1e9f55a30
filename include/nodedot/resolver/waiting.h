/* waiting.h - the queries that wait for an upstream: which flight each waits for, which is displaced, and their
 * answers.
 *
 * Limit: `in-flight` holds for all threads together, and clients share it (fairness.h). A query that is displaced is
 *        answered as one past the limit, before the loop sleeps; a flight without waiting queries is given up.
 *        A thread that holds less than its equal part may pass the limit for a moment; one that holds more gives places
 *        up at its next turn.
 * Memory: taken at start, for as many queries as `in-flight` and one turn's displaced ones.
 * Shared: belongs to one thread, but for the number of queries in flight.
 */
#ifndef NODEDOT_RESOLVER_WAITING_H
#define NODEDOT_RESOLVER_WAITING_H

#include "nodedot/base/pool.h"
#include "nodedot/resolver/answer.h"
#include "nodedot/resolver/fairness.h"
#include "nodedot/resolver/outcome.h"
#include "nodedot/resolver/refresh.h"

#include <stdatomic.h>
#include <stdbool.h>

struct waiting_query;

struct waiting {
    const struct config *config;
    struct metrics *metrics;
    struct engine *forward;
    struct answers *answers;
    struct refresh *refresh;
    struct outcome outcome;
    _Atomic uint32_t *in_flight; /* queries that wait, over all threads */
    struct pool queries;
    struct fairness fairness;
    struct waiting_query *displaced; /* not answered yet */
};

/* The owner of these events is a struct waiting. */
extern const struct flight_events waiting_events;

/* Takes memory; the pointers of *waiting and all of its outcome but bailiwick are set already. False: no memory. */
bool waiting_init(struct waiting *waiting);
void waiting_reset(struct waiting *waiting);

/* Joins an identical question in flight, or asks the zone's upstream. Returns CLIENT_LATER, or the size of an immediate
 * answer: a stale one, or an error. */
ssize_t waiting_ask(struct waiting *waiting, const struct reply *reply, const struct cache_key *key,
                    const struct zone_config *zone);

/* Brings the thread below the limit, and answers displaced queries. Call before the loop sleeps. */
void waiting_flush(struct waiting *waiting);

#endif

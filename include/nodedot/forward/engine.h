/* engine.h - everything that one thread holds to ask questions: its groups, their connections, and the flights.
 *
 * Life:   engine_init(); engine_open(); then flight_begin() for each question and engine_flush() before the loop
 *         sleeps; engine_close() when all flights are over.
 * Shared: by nobody, but for the rows of the status page that setup names.
 */
#ifndef NODEDOT_FORWARD_ENGINE_H
#define NODEDOT_FORWARD_ENGINE_H

#include "nodedot/config/config.h"
#include "nodedot/forward/exchange.h"
#include "nodedot/forward/flight.h"
#include "nodedot/forward/group.h"
#include "nodedot/forward/trusts.h"

#include <ev.h>
#include <stdbool.h>

struct engine {
    const struct config *config;
    struct exchanges exchanges;
    struct flights flights;
    struct group groups[CONFIG_UPSTREAMS]; /* in the order of the configuration */
};

/* Everything else that engine_init() needs. */
struct engine_setup {
    struct ev_loop *loop;
    struct metrics *metrics;
    struct address_status *addresses;     /* of all groups, in the order of the configuration */
    const struct upstream_status *groups; /* in the same order */
    const struct trusts *trusts;          /* outlive the engine */
    void (*changed)(void *context);       /* see reachability.h */
    struct relay *relay;                  /* of all threads; NULL: this is the only one */
    unsigned thread;                      /* its number */
    void *context;
    const struct flight_events *events;
    void *owner; /* of the events */
};

/* Takes all memory; no network yet. False: error (TLS_ERROR octets) says why. */
bool engine_init(struct engine *engine, const struct config *config, const struct engine_setup *setup, char *error);

/* Opens the first connections. */
void engine_open(struct engine *engine);

/* Closes everything; flights must be over. */
void engine_close(struct engine *engine);

/* Closes connections with an old identity epoch and opens others; moves the questions of a group to its fallback, if
 * that is in use. Called when reachability's changed() or a fallback woke this thread. */
void engine_recheck(struct engine *engine);

/* Before the loop sleeps: repeats questions of closed connections, and writes what was queued in this turn. Flights end
 * here or in their own callbacks, never inside another flight's. */
void engine_flush(struct engine *engine);

/* Asks the questions of other threads over its connections, and takes the answers that came over theirs. Called when
 * the relay woke this thread. */
void engine_take_relayed(struct engine *engine);

/* Ends all flights as failed, at the end of a drain. */
void engine_give_up(struct engine *engine);

#endif

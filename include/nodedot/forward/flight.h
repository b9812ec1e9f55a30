/* flight.h - one pending question, however many clients wait for it: asked until an answer comes or its time is over.
 *
 * Asking: once at the best address; at a second one when the answer is later than usual (a hedge, within its budget,
 *         see hedge.h); again elsewhere when a connection breaks, an address is stalled, or after a second without an
 *         answer. FLIGHT_TRIES unanswered exchanges and a hedge, FLIGHT_ASKS in all. The first valid
 *         answer ends the flight.
 * Ends:   in flights_retry_lost(), in what engine.h does before the loop sleeps, or in the flight's own callbacks,
 *         never inside another flight's.
 * Memory: a fixed number of flights, taken at start (inflight.h).
 */
#ifndef NODEDOT_FORWARD_FLIGHT_H
#define NODEDOT_FORWARD_FLIGHT_H

#include "nodedot/config/config.h"
#include "nodedot/forward/exchange.h"
#include "nodedot/forward/group.h"
#include "nodedot/forward/inflight.h"

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exchanges of one question that may get no answer. RFC 9520 section 3.1 allows three at a server. */
#define FLIGHT_TRIES 3
/* Exchanges in flight at the same time: the tries, and one hedge. */
#define FLIGHT_EXCHANGES (FLIGHT_TRIES + 1)
/* Exchanges in all, hedges, those after a connection that closed, those over TCP or without EDNS, and those of a
 * fallback included: whatever the servers do, one question never causes more upstream queries than these. */
#define FLIGHT_ASKS 8
/* Flights that no client waits for, beside those that in-flight counts: this part of it. */
#define FLIGHT_UNATTENDED_SHARE 4

struct flight {
    struct inflight_entry key; /* first: the table knows a flight by it */
    struct flights *flights;
    void *waiting;    /* list of the owner's queries */
    const void *zone; /* the owner's */
    struct group *group;
    const struct address *server; /* whose answer ended it */
    struct exchange exchanges[FLIGHT_EXCHANGES];
    ev_timer timer; /* next of: hedge, ask again, serve stale, give up */
    uint64_t started_us;
    uint64_t hedge_ms; /* clock_ms() when a second address is asked as well; 0: no longer */
    uint32_t hedge_wait_ms;
    uint64_t ask_again_ms; /* when it is asked elsewhere as well, even without a hedge; 0: no longer */
    uint64_t stale_ms;     /* when a stale answer is served meanwhile; 0: done */
    uint64_t deadline_ms;  /* when it is given up */
    uint8_t tries;         /* exchanges that got no answer or are in flight, without hedges */
    uint8_t asks;          /* all exchanges */
    uint32_t unable;       /* bit i: address i of the group answered that it cannot */
    bool lacking;          /* this node lacked resources to ask */
    bool over_tcp;         /* a plain answer was truncated */
    bool fell_back;        /* group is the fallback of the original one */
    uint16_t failed_rcode; /* an upstream's own failure, kept while another address is asked */
};

/* Events for the owner. An answer's octets are valid until the call returns. The flight is released after answered()
 * and failed(). */
struct flight_events {
    void (*answered)(void *owner, struct flight *flight, const uint8_t *message, const struct answer_info *info,
                     const uint16_t *ttl_offsets);
    void (*failed)(void *owner, struct flight *flight, enum ede why);
    /* The answer is late: serve a stale one meanwhile. The flight continues. */
    void (*late)(void *owner, struct flight *flight);
};

/* Common to all flights of one thread. */
struct flights {
    struct exchanges *exchanges;
    const struct config *config;
    const struct flight_events *events;
    void *owner;
    struct inflight table;
};

/* Maximum number of flights of one thread without a client; they have places of their own. */
static inline size_t flights_unattended_max(const struct config *config)
{
    return config->in_flight / FLIGHT_UNATTENDED_SHARE + 1;
}

/* Takes all memory. False: no memory. */
bool flights_init(struct flights *flights, struct exchanges *exchanges, const struct config *config,
                  const struct flight_events *events, void *owner);
void flights_reset(struct flights *flights);

/* The flight of a question, or NULL; hash is that of the cache key. */
struct flight *flight_find(const struct flights *flights, uint64_t hash, const struct question *question,
                           bool dnssec_ok, bool checking_disabled);

/* A new flight that has not asked yet; NULL: the table is full. */
struct flight *flight_take(struct flights *flights, uint64_t hash, const struct question *question, bool dnssec_ok,
                           bool checking_disabled);

/* Gives back a flight that flight_begin() refused. */
void flight_release(struct flight *flight);

/* Asks a new flight's question at group. Returns false, without calling failed(), when no address can be asked and none
 * could for a while; the caller releases the flight then. */
bool flight_begin(struct flight *flight, struct group *group);

/* No client waits for it: releases it without an event. Not from an event. */
void flight_abandon(struct flight *flight);

/* Tells the owner that it failed, and releases it. */
void flight_fail(struct flight *flight, enum ede why);

/* The address is stalled: asks elsewhere, unless another address has the question. */
void flight_leave(struct flight *flight, const struct address *address);

/* Forgets its exchanges, and asks the fallback of its group. */
void flight_fall_back(struct flight *flight);

/* Moves exchanges that wait for a connection of this address to a better address, if there is one. */
void flights_move_waiting(struct address *address);

/* For exchanges that wait for a connection that this node has no resources for: moves them to an address with a
 * connection, or fails them. */
void flights_end_lacking(struct address *address);

/* Ends the flights that wait for a connection of an unusable group. */
void flights_fail_waiting(struct group *group);

/* Repeats the exchanges of closed connections. */
void flights_retry_lost(struct exchanges *exchanges);

/* Calls step() for every flight; none may end meanwhile. */
void flights_each(struct flights *flights, void (*step)(struct flight *flight, void *context), void *context);

/* Ends all flights as failed. */
void flights_give_up(struct flights *flights);

#endif

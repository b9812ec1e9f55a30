/* upstream.h - the upstream groups of one thread: where a question is asked, and what happens when nobody answers.
 *
 * Choice:   among the addresses of a group that are not known to be wrong or down, by `policy` (choice.h). An address
 *           that fails is tried again after a growing pause; the last one is never given up.
 * Asking:   forward_ask() asks once; an answer that is late, a connection that breaks, or a second without an answer
 *           makes it ask again elsewhere (flight.h). The first valid answer ends the flight. When no address of the
 *           group has been usable for UPSTREAM_PATIENCE_MS, a flight fails at once instead of waiting for its time-out.
 * Fallback: while the control thread says so (fallback.h), a group's questions go to its fallback. One step: where they
 *           go from there is not looked at.
 * Shared:   everything here belongs to one thread, but for struct standing and struct upstream_status.
 */
#ifndef NODEDOT_FORWARD_UPSTREAM_H
#define NODEDOT_FORWARD_UPSTREAM_H

#include "nodedot/config/config.h"
#include "nodedot/forward/hedge.h"
#include "nodedot/forward/inflight.h"
#include "nodedot/forward/latency.h"
#include "nodedot/forward/standing.h"
#include "nodedot/forward/stream.h"
#include "nodedot/observe/metrics.h"

#include <ev.h>

/* Connections to one address, over all threads; a thread has at least two, so that one can be replaced in peace. */
#define UPSTREAM_STREAMS     4
#define UPSTREAM_STREAMS_MIN 2
/* More of them that are silent: they take no new queries, but an answer that is late may still come. */
#define UPSTREAM_STREAMS_SUSPECT 2
/* Tickets kept for an address: one for each connection that may have to be reopened at once. */
#define UPSTREAM_TICKETS UPSTREAM_STREAMS
/* Flights that no client waits for, beside those that in-flight counts: this part of it. */
#define UNATTENDED_SHARE 4

/* A session to resume. It dies with the identity epoch, and with the proof that earned it. */
struct upstream_ticket {
    struct tls_ticket *ticket;
    uint32_t epoch;
    uint64_t proved_ms;
};

struct address {
    struct upstream *upstream;
    struct endpoint endpoint;
    struct standing standing;
    struct stream *streams;      /* upstream->forward->streams_per_address of them */
    struct attempt_list waiting; /* for a connection */
    struct attempt probe;        /* asks ". NS" to see whether it answers */
    struct upstream_ticket tickets[UPSTREAM_TICKETS];
    ev_timer timer;     /* next connect or probe after a failure */
    unsigned failures;  /* in a row; 0: it works as far as we know */
    uint64_t failed_ms; /* when the first of them happened */
    uint64_t tried_ms;  /* when the last connection or probe was begun */
    struct latency latency;
    unsigned datagrams;    /* askings that are out, each in a datagram */
    unsigned outrun;       /* questions that others answered while this one answered nothing (hedge.h) */
    uint64_t asked_ms;     /* last query, a probe of ours included */
    uint64_t answered_us;  /* last valid answer */
    uint32_t idle_hint_ms; /* after which it closed an idle connection once; twice make a limit */
    bool edns_seen;        /* it knows EDNS, so FORMERR means something else */
    uint32_t idle_ms;      /* idle limit that the server announced or showed */
    bool without_edns;     /* it answered FORMERR to OPT */
    bool move_waiting;     /* no connection is to be had: its queue goes elsewhere when the loop settles */
    bool move_asked;       /* it is stalled: what only it was asked is asked elsewhere when the loop settles */
};

struct upstream {
    struct forward *forward;
    const struct upstream_config *config;
    const struct upstream_status *status;
    struct upstream *fallback; /* NULL: none */
    struct tls_trust *trust;   /* NULL for plain */
    struct address *addresses;
    size_t address_count;
    size_t turn; /* of round-robin */
    struct hedge_budget hedges;
    uint64_t asked_ms;    /* last question */
    uint64_t trial_ms;    /* when a query was last let through to a group without hope */
    bool silent;          /* no address of it answers, as far as this thread knows */
    bool fell_back;       /* its questions were moved to the fallback */
    uint32_t recovered_s; /* see upstream_recovered_s() */
};

/* What the owner is told. An answer's octets are good until the call returns. The flight is released after either call.
 */
struct forward_events {
    void (*answered)(void *owner, struct flight *flight, const uint8_t *message, const struct answer_info *info,
                     const uint16_t *ttl_offsets);
    void (*failed)(void *owner, struct flight *flight, enum ede why);
    /* The answer is late: serve a stale one meanwhile. The flight goes on. */
    void (*late)(void *owner, struct flight *flight);
};

struct forward {
    const struct config *config;
    struct ev_loop *loop;
    struct metrics *metrics;
    const struct forward_events *events;
    void *owner;
    unsigned streams_per_address; /* in memory */
    unsigned streams_open_max;    /* that are not suspect */
    struct upstream upstreams[CONFIG_UPSTREAMS];
    struct inflight inflight;
    struct answer_info info; /* of the message being read; one at a time */
    uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];
    struct stream *dirty;     /* streams that have queries to write */
    struct attempt_list lost; /* to be asked again */
    bool unsettled;           /* an address has something to move, or a group may have become hopeless */
    bool closing;
};

/* Everything that forward_init() needs besides the config. */
struct forward_setup {
    struct ev_loop *loop;
    struct metrics *metrics;
    struct address_status *statuses;         /* of all addresses, in the order of the config */
    const struct upstream_status *upstreams; /* of all groups, in the same order */
    void (*changed)(void *context);          /* see standing.h */
    void *context;
    const struct forward_events *events;
    void *owner;
};

/* So many flights of one thread may be without a client; they have places of their own. */
static inline size_t forward_unattended_max(const struct config *config)
{
    return config->in_flight / UNATTENDED_SHARE + 1;
}

/* Reads trust anchors and takes all memory; no network yet. False, and why in error (TLS_ERROR octets). */
bool forward_init(struct forward *forward, const struct config *config, const struct forward_setup *setup, char *error);

/* Opens the first connections. */
void forward_open(struct forward *forward);

/* Closes everything; flights must be over. */
void forward_close(struct forward *forward);

/* Closes connections whose identity epoch is over and opens others; takes the questions of a group to its fallback, if
 * that serves from now on. Called when standing's changed() or a fallback's beginning woke this thread. */
void forward_recheck(struct forward *forward);

/* Before the loop sleeps: asks again what closed connections left, and writes what was asked in this turn. Flights end
 * here or in their own callbacks, never inside another flight's. */
void forward_flush(struct forward *forward);

/* Ends all flights as failed; for the end of a drain. */
void forward_give_up(struct forward *forward);

/* The best address for one more asking of a flight: one that it does not ask already, that works, that has a
 * connection, and that the policy prefers. NULL: every address has the wrong identity. */
struct address *upstream_choose(const struct flight *flight);

/* Who is asked for the group now: itself, or the fallback that serves. */
struct upstream *upstream_in_use(struct upstream *upstream);

/* Nobody of the group can be asked, but its fallback will serve soon: questions wait for that. */
bool upstream_awaits_fallback(const struct upstream *upstream);

/* No address of the group answered for a while, or all have the wrong identity, and no fallback is about to serve:
 * waiting is of no use. */
bool upstream_is_hopeless(const struct upstream *upstream);

/* An address failed, answered or changed its identity: notes when the group falls silent, and when it answers again. */
void upstream_note(struct upstream *upstream);

/* clock_seconds() when the group, as this thread sees it, last went from "no address answers" to "one answers", or its
 * fallback began to serve or ended; 0: never. A failure that was remembered before says nothing any more. */
uint32_t upstream_recovered_s(const struct upstream *upstream);

#endif

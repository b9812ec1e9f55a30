/* health.h - does a server address work, as one thread sees it, and when is it tried or probed again?
 *
 * A pure state machine: it has no socket, no timer and no clock. The owner reports events with their time, and asks how
 * long to wait.
 * Failures: an address that fails is tried again after a growing pause, and probed before it counts as good again.
 * Probes:   an address without a recent answer is probed, while it may be needed.
 * Stall:    an address that accepts queries and never answers is found by comparison with the others, see hedge.h.
 * Units:    *_ms are clock_ms(), *_us are clock_us(); a pause is in milliseconds.
 */
#ifndef NODEDOT_FORWARD_HEALTH_H
#define NODEDOT_FORWARD_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

/* A probe without an answer for this long is a failure: as long as for any query (flight.c). */
#define HEALTH_PROBE_MS 1000

struct health {
    bool streams;             /* it is asked over connections, not by datagrams */
    unsigned failures;        /* consecutive; 0: it works as far as we know */
    unsigned outrun;          /* questions that other addresses answered while this one answered nothing (hedge.h) */
    uint64_t outrun_since_us; /* when the first of these was sent */
    uint64_t failed_ms;       /* when the first of the failures happened */
    uint64_t tried_ms;        /* when the last connection or probe was started */
    uint64_t asked_ms;        /* last query, including probes */
    uint64_t answered_us;     /* last valid answer */
};

/* What the group says about the need to probe an address. */
struct health_need {
    bool alone;              /* it is the group's only address */
    bool encrypted;          /* DoT: a probe costs a handshake */
    bool replaced;           /* the fallback of its group is in use */
    uint64_t group_asked_ms; /* last question to the group */
};

/* Something went wrong. */
void health_failed(struct health *health, uint64_t now_ms);

/* A valid answer came. True: the address had failed before and is good again. */
bool health_answered(struct health *health, uint64_t now_us);

/* Are there enough failures to tell the other threads that it is silent? To call it unreachable if no connection is
 * ready? One lost datagram is not enough. */
bool health_is_silent(const struct health *health);
bool health_is_unreachable(const struct health *health);

/* Has it been failing for at least this long? */
bool health_is_bad_for(const struct health *health, uint64_t now_ms, uint64_t long_ms);

/* The pause before the next try, after the failures so far, including jitter. */
uint32_t health_pause_ms(const struct health *health);

/* The rest of that pause: the duration of the last try is part of it. An upstream that drops everything is therefore
 * tried as often as one that refuses, and its recovery is noticed as soon. */
uint32_t health_pause_left_ms(const struct health *health, uint64_t now_ms);

/* How long a working address may have no answer before it is probed; 0: for ever. */
uint32_t health_probe_after_ms(const struct health_need *need);

/* Is it time to see whether it still answers? */
bool health_probe_is_due(const struct health *health, const struct health_need *need, uint64_t now_us);

/* Another address answered within took_us a question that was sent here at sent_us and is unanswered. True: enough of
 * these, with no answer in between for longer than usual (usual_us), show that the address is stalled. On a connection,
 * that time counts from the first of them, because late answers are seen there; a datagram must have waited for that
 * long itself. */
bool health_outrun(struct health *health, uint64_t sent_us, uint64_t now_us, uint64_t took_us, uint32_t usual_us);

#endif

#include "nodedot/forward/upstream.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/forward/address.h"
#include "nodedot/forward/choice.h"
#include "nodedot/forward/fallback.h"
#include "nodedot/forward/flight.h"

#include <stdlib.h>
#include <string.h>

/* A group that has been unusable for so long fails queries at once: a restart of the upstream takes less, an outage
 * more. */
#define UPSTREAM_PATIENCE_MS 2000
/* One query in so many goes to another good address than the best, so that their round-trip times stay known. */
#define EXPLORE_ONE_IN 64

/* Ranks of addresses for one more asking, added up: what it says that it comes after those of which it is not true. */
enum {
    RANK_NO_STREAM = 1, /* it has no connection yet */
    RANK_FAILED = 2,
    RANK_ASKED = 4 /* it has the question already */
};

static bool upstream_is_dead(const struct upstream *upstream)
{
    uint64_t now = clock_ms();

    for (size_t i = 0; i < upstream->address_count; i++) {
        const struct address *address = &upstream->addresses[i];

        if (standing_state(&address->standing) == IDENTITY_MISMATCH)
            continue;
        if (address->failures == 0 || now - address->failed_ms < UPSTREAM_PATIENCE_MS)
            return false;
    }
    return true;
}

bool upstream_awaits_fallback(const struct upstream *upstream)
{
    const struct upstream *fallback = upstream->fallback;

    return fallback != NULL && !atomic_load_explicit(&upstream->status->fallback, memory_order_acquire) &&
           fallback_allowed(upstream->config, fallback->config, upstream->addresses[0].standing.status) &&
           !upstream_is_dead(fallback);
}

bool upstream_is_hopeless(const struct upstream *upstream)
{
    return upstream_is_dead(upstream) && !upstream_awaits_fallback(upstream);
}

struct upstream *upstream_in_use(struct upstream *upstream)
{
    if (upstream->fallback != NULL && atomic_load_explicit(&upstream->status->fallback, memory_order_acquire))
        return upstream->fallback;
    return upstream;
}

void upstream_note(struct upstream *upstream)
{
    bool silent = true;

    for (size_t i = 0; i < upstream->address_count && silent; i++)
        silent = !address_is_good(&upstream->addresses[i]);
    if (upstream->silent && !silent)
        upstream->recovered_s = clock_seconds();
    upstream->silent = silent;
}

uint32_t upstream_recovered_s(const struct upstream *upstream)
{
    uint64_t changed_s = atomic_load_explicit(&upstream->status->fallback_since_ms, memory_order_relaxed) / 1000;

    return upstream->fallback != NULL && changed_s > upstream->recovered_s ? (uint32_t)changed_s
                                                                           : upstream->recovered_s;
}

/* Ends the flights that wait for a connection of a group without hope. */
static void upstream_fail_waiting(struct upstream *upstream)
{
    if (!upstream_is_hopeless(upstream))
        return;
    for (size_t i = 0; i < upstream->address_count; i++) {
        while (upstream->addresses[i].waiting.first != NULL)
            flight_fail(upstream->addresses[i].waiting.first->flight, EDE_NO_REACHABLE_AUTHORITY);
    }
}

/* An operator's order is kept even where that means to open a connection first, once the address has proved itself. */
static bool needs_stream(const struct address *address)
{
    return upstream_uses_streams(address->upstream->config) && address_stream(address) == NULL &&
           (address->upstream->config->policy == POLICY_FASTEST ||
            standing_state(&address->standing) != IDENTITY_VALID);
}

static struct candidate candidate_of(const struct flight *flight, const struct address *address)
{
    struct candidate candidate = {.expected_us = latency_expected_us(&address->latency),
                                  .outstanding = address_outstanding(address)};

    if (standing_state(&address->standing) == IDENTITY_MISMATCH) {
        candidate.rank = CHOICE_NEVER;
        return candidate;
    }
    if (flight_is_at(flight, address))
        candidate.rank += RANK_ASKED;
    if (!address_is_good(address))
        candidate.rank += RANK_FAILED;
    if (needs_stream(address))
        candidate.rank += RANK_NO_STREAM;
    return candidate;
}

/* A random address other than the best, if it works. One that was not needed for long has no connection: it gets one, and
 * is asked the next time. */
static struct address *explore(struct upstream *upstream, const struct candidate *candidates, size_t best)
{
    size_t which = (best + 1 + random_below((uint32_t)upstream->address_count - 1)) % upstream->address_count;

    if (candidates[which].rank == RANK_NO_STREAM)
        address_open_stream(&upstream->addresses[which]);
    return candidates[which].rank == 0 ? &upstream->addresses[which] : NULL;
}

struct address *upstream_choose(const struct flight *flight)
{
    struct upstream *upstream = flight->upstream;
    enum policy policy = upstream->config->policy;
    struct candidate candidates[CONFIG_ADDRESSES];
    struct address *explored = NULL;
    size_t which;

    for (size_t i = 0; i < upstream->address_count; i++)
        candidates[i] = candidate_of(flight, &upstream->addresses[i]);
    which = choice_make(policy, candidates, upstream->address_count, upstream->turn);
    if (which == CHOICE_NONE)
        return NULL;
    if (policy == POLICY_FASTEST && upstream->address_count > 1 && flight->asks == 0 &&
        random_below(EXPLORE_ONE_IN) == 0)
        explored = explore(upstream, candidates, which);
    return explored != NULL ? explored : &upstream->addresses[which];
}

/* Flights that wait for a connection of this address go to one that looks better, or on waiting here. */
static void address_move_waiting(struct address *address)
{
    size_t count = 0;

    for (const struct attempt *attempt = address->waiting.first; attempt != NULL; attempt = attempt->next)
        count++;
    while (count-- > 0 && address->waiting.first != NULL) {
        struct attempt *attempt = address->waiting.first;
        struct flight *flight = attempt->flight;

        attempt_list_remove(&address->waiting, attempt);
        if (flight_ask(flight) || flight_is_out(flight) || upstream_awaits_fallback(flight->upstream))
            continue;
        flight_fail(flight, upstream_choose(flight) == NULL ? EDE_NO_REACHABLE_AUTHORITY : EDE_NETWORK_ERROR);
    }
}

/* Does something with every flight; none may end meanwhile. */
static void forward_each_flight(struct forward *forward, void (*step)(struct flight *flight, void *context),
                                void *context)
{
    for (size_t i = 0; i <= forward->inflight.bucket_mask; i++) {
        for (struct flight *flight = forward->inflight.buckets[i]; flight != NULL; flight = flight->next)
            step(flight, context);
    }
}

static void leave_address(struct flight *flight, void *context)
{
    flight_leave(flight, context);
}

static void forward_settle(struct forward *forward)
{
    forward->unsettled = false;
    for (size_t i = 0; i < forward->config->upstream_count; i++) {
        struct upstream *upstream = &forward->upstreams[i];

        for (size_t j = 0; j < upstream->address_count; j++) {
            struct address *address = &upstream->addresses[j];

            if (address->move_asked)
                forward_each_flight(forward, leave_address, address);
            address->move_asked = false;
            if (address->move_waiting) {
                address->move_waiting = false;
                address_move_waiting(address);
            }
        }
        upstream_fail_waiting(upstream);
    }
}

void forward_flush(struct forward *forward)
{
    while (forward->dirty != NULL || forward->lost.first != NULL || forward->unsettled) {
        struct stream *stream;

        while (forward->lost.first != NULL) {
            struct flight *flight = forward->lost.first->flight;

            attempt_list_remove(&forward->lost, forward->lost.first);
            flight_lost_attempt(flight);
        }
        if (forward->unsettled)
            forward_settle(forward);
        stream = forward->dirty; /* only now: what was asked again may stand before it */
        if (stream == NULL)
            continue;
        forward->dirty = stream->next_dirty;
        stream->dirty = false;
        stream_flush(stream);
    }
}

static void fall_back(struct flight *flight, void *context)
{
    const struct upstream *upstream = context;

    if (flight->upstream == upstream && !flight->fell_back)
        flight_fall_back(flight);
}

/* The fallback began to serve, or ended: what waits for the group goes there at once. What was asked of the fallback
 * stays there. */
static void upstream_follow(struct upstream *upstream)
{
    bool falls_back = upstream_in_use(upstream) != upstream;

    if (falls_back && !upstream->fell_back)
        forward_each_flight(upstream->forward, fall_back, upstream);
    upstream->fell_back = falls_back;
    for (size_t i = 0; i < upstream->address_count; i++)
        address_rewatch(&upstream->addresses[i]);
}

void forward_recheck(struct forward *forward)
{
    for (size_t i = 0; i < forward->config->upstream_count; i++) {
        struct upstream *upstream = &forward->upstreams[i];

        for (size_t j = 0; j < upstream->address_count && upstream->config->transport == TRANSPORT_DOT; j++)
            address_recheck(&upstream->addresses[j]);
        if (upstream->fallback != NULL)
            upstream_follow(upstream);
    }
}

static bool upstream_init(struct upstream *upstream, struct forward *forward, const struct upstream_config *config,
                          const struct forward_setup *setup, char *error)
{
    upstream->forward = forward;
    upstream->config = config;
    upstream->address_count = config->address_count;
    upstream->status = setup->upstreams;
    if (config->fallback != CONFIG_NO_UPSTREAM)
        upstream->fallback = &forward->upstreams[config->fallback];
    hedge_init(&upstream->hedges);
    upstream->addresses = calloc(config->address_count, sizeof(struct address));
    strcpy(error, "out of memory");
    if (upstream->addresses == NULL)
        return false;
    for (size_t i = 0; i < config->address_count; i++) {
        if (!address_init(&upstream->addresses[i], upstream, i, setup))
            return false;
    }
    if (config->transport == TRANSPORT_PLAIN)
        return true;
    upstream->trust = identity_trust(config, error);
    return upstream->trust != NULL;
}

bool forward_init(struct forward *forward, const struct config *config, const struct forward_setup *setup, char *error)
{
    struct forward_setup part = *setup;

    memset(forward, 0, sizeof(*forward));
    forward->config = config;
    forward->loop = setup->loop;
    forward->metrics = setup->metrics;
    forward->events = setup->events;
    forward->owner = setup->owner;
    forward->streams_open_max = UPSTREAM_STREAMS / config->workers;
    if (forward->streams_open_max < UPSTREAM_STREAMS_MIN)
        forward->streams_open_max = UPSTREAM_STREAMS_MIN;
    forward->streams_per_address = forward->streams_open_max + UPSTREAM_STREAMS_SUSPECT;
    for (size_t i = 0; i < config->upstream_count; i++) {
        if (!upstream_init(&forward->upstreams[i], forward, &config->upstreams[i], &part, error))
            return false;
        part.statuses += config->upstreams[i].address_count;
        part.upstreams++;
    }
    strcpy(error, "out of memory");
    return inflight_init(&forward->inflight, config->in_flight + forward_unattended_max(config));
}

void forward_open(struct forward *forward)
{
    for (size_t i = 0; i < forward->config->upstream_count; i++) {
        struct upstream *upstream = &forward->upstreams[i];

        for (size_t j = 0; j < upstream->address_count; j++) {
            struct address *address = &upstream->addresses[j];

            if (upstream->config->transport == TRANSPORT_DOT) {
                address_open_stream(address);
                continue;
            }
            address_probe(address);
        }
    }
}

static void upstream_close(struct upstream *upstream)
{
    struct forward *forward = upstream->forward;

    for (size_t i = 0; i < upstream->address_count; i++) {
        struct address *address = &upstream->addresses[i];

        attempt_forget(&address->probe);
        ev_timer_stop(forward->loop, &address->timer);
        for (unsigned j = 0; j < forward->streams_per_address; j++)
            stream_close(&address->streams[j], "closing");
        address_drop_tickets(address);
        free(address->streams);
    }
    free(upstream->addresses);
    if (upstream->trust != NULL)
        tls_trust_destroy(upstream->trust);
}

void forward_close(struct forward *forward)
{
    forward->closing = true;
    for (size_t i = 0; i < forward->config->upstream_count; i++)
        upstream_close(&forward->upstreams[i]);
    inflight_reset(&forward->inflight);
}

void forward_give_up(struct forward *forward)
{
    for (size_t i = 0; i <= forward->inflight.bucket_mask; i++) {
        while (forward->inflight.buckets[i] != NULL)
            flight_fail(forward->inflight.buckets[i], EDE_NOT_READY);
    }
}

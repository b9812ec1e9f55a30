#include "nodedot/forward/upstream.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/forward/address.h"
#include "nodedot/forward/flight.h"

#include <stdlib.h>
#include <string.h>

/* A group that has been unusable for so long fails queries at once: a restart of the upstream takes less, an outage
 * more. */
#define UPSTREAM_PATIENCE_MS 2000
/* One query in so many goes to a random good address, so that their round-trip times stay known. */
#define EXPLORE_ONE_IN 64

/* No address of the group answered for a while, or all have the wrong identity: waiting is of no use. */
bool upstream_is_hopeless(const struct upstream *upstream)
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
    return upstream->recovered_s;
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

/* Smaller is better: addresses that this flight asks already come last, then those that fail. */
static uint64_t address_cost(const struct flight *flight, struct address *address)
{
    uint64_t cost = address->rtt_us;

    if (flight_is_at(flight, address))
        cost += 1ull << 42;
    if (!address_is_good(address))
        cost += 1ull << 41;
    if (upstream_uses_streams(address->upstream->config) && address_stream(address) == NULL)
        cost += 1ull << 40;
    return cost;
}

/* NULL: every address has the wrong identity. */
struct address *upstream_choose(const struct flight *flight)
{
    struct upstream *upstream = flight->upstream;
    struct address *best = NULL;
    uint64_t best_cost = UINT64_MAX;

    if (upstream->address_count > 1 && random_below(EXPLORE_ONE_IN) == 0) {
        struct address *address = &upstream->addresses[random_below((uint32_t)upstream->address_count)];

        if (address_cost(flight, address) < 1ull << 40)
            return address;
    }
    for (size_t i = 0; i < upstream->address_count; i++) {
        struct address *address = &upstream->addresses[i];
        uint64_t cost = address_cost(flight, address);

        if (cost < best_cost && standing_state(&address->standing) != IDENTITY_MISMATCH) {
            best = address;
            best_cost = cost;
        }
    }
    return best;
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
        if (upstream_choose(flight) == NULL && !flight_is_out(flight))
            flight_fail(flight, EDE_NO_REACHABLE_AUTHORITY);
        else if (!flight_ask(flight) && !flight_is_out(flight))
            flight_fail(flight, EDE_NETWORK_ERROR);
    }
}

static void forward_settle(struct forward *forward)
{
    forward->unsettled = false;
    for (size_t i = 0; i < forward->config->upstream_count; i++) {
        struct upstream *upstream = &forward->upstreams[i];

        for (size_t j = 0; j < upstream->address_count; j++) {
            if (!upstream->addresses[j].move_waiting)
                continue;
            upstream->addresses[j].move_waiting = false;
            address_move_waiting(&upstream->addresses[j]);
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

void forward_recheck(struct forward *forward)
{
    for (size_t i = 0; i < forward->config->upstream_count; i++) {
        struct upstream *upstream = &forward->upstreams[i];

        for (size_t j = 0; j < upstream->address_count && upstream->config->transport == TRANSPORT_DOT; j++)
            address_recheck(&upstream->addresses[j]);
    }
}

static bool upstream_init(struct upstream *upstream, struct forward *forward, const struct upstream_config *config,
                          const struct forward_setup *setup, char *error)
{
    struct tls_settings settings = {.ca_file = config->auth != AUTH_PIN ? config->ca_file : NULL,
                                    .client_cert = config->client_cert,
                                    .client_key = config->client_key};

    upstream->forward = forward;
    upstream->config = config;
    upstream->address_count = config->address_count;
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
    upstream->trust = tls_trust_create(&settings, error);
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

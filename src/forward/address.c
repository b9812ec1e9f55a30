#include "nodedot/forward/address.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/forward/flight.h"
#include "nodedot/forward/plain.h"

#include <stdlib.h>

/* Pause before an address that failed is tried again. The first is short, because a server may close a connection just
 * as we write to it; then it is doubled each time, with a quarter of jitter, and service is back within 2 s of the
 * upstream's return. */
#define RETRY_FIRST_MS 20
#define RETRY_MIN_MS   250
#define RETRY_MAX_MS   1500
/* A probe without an answer for so long is a failure: as long as any query's (flight.c). */
#define PROBE_MS 1000
/* A plain upstream that was not heard of for so long is probed: it has no connection whose end would tell. */
#define PROBE_IDLE_MS 30000
/* The same for a DoT address while others of its group are asked: a policy that leaves one aside must not find it dead
 * on the day that it is needed. Each costs a resumed handshake, hence rarer. */
#define PROBE_ASIDE_MS 60000
/* The same while the fallback of its group serves: nothing else shows whether it would answer. */
#define PROBE_REPLACED_MS 1000
/* Failures in a row after which a plain address counts as unreachable: one lost datagram says nothing. */
#define PLAIN_FAILURES 3
/* And after which it counts as silent, which makes the fallback serve: a question and a probe. */
#define PLAIN_SILENT_FAILURES 2
/* A connection that closes is opened again without waiting for a query when there was one in this time. */
#define KEEP_WARM_MS 60000
/* Queries out on the least loaded connection before another is opened: about what fits one TLS record. */
#define STREAM_BUSY 128

struct stream *address_stream(const struct address *address)
{
    struct stream *best = NULL;

    for (unsigned i = 0; i < address->upstream->forward->streams_per_address; i++) {
        struct stream *stream = &address->streams[i];

        if (stream_usable(stream) && (best == NULL || stream->outstanding < best->outstanding))
            best = stream;
    }
    return best;
}

unsigned address_outstanding(const struct address *address)
{
    unsigned count = address->datagrams;

    for (unsigned i = 0; i < address->upstream->forward->streams_per_address; i++)
        count += address->streams[i].outstanding;
    return count;
}

/* Any connection whose state is in [from, to], or NULL. */
static struct stream *stream_in(struct address *address, enum stream_state from, enum stream_state to)
{
    for (unsigned i = 0; i < address->upstream->forward->streams_per_address; i++) {
        if (address->streams[i].state >= from && address->streams[i].state <= to)
            return &address->streams[i];
    }
    return NULL;
}

/* After a failure only the timer opens connections, or those who wait would call a server that refuses without a
 * pause. */
static bool address_pauses(const struct address *address)
{
    return address->failures > 0 && ev_is_active(&address->timer);
}

/* Connections that take queries, or will. */
static unsigned open_streams(const struct address *address)
{
    unsigned count = 0;

    for (unsigned i = 0; i < address->upstream->forward->streams_per_address; i++) {
        const struct stream *stream = &address->streams[i];

        if (stream->state != STREAM_IDLE && stream->state != STREAM_DRAINING && !stream->suspect)
            count++;
    }
    return count;
}

void address_open_stream(struct address *address)
{
    struct stream *idle = stream_in(address, STREAM_IDLE, STREAM_IDLE);

    if (address->upstream->forward->closing || standing_state(&address->standing) == IDENTITY_MISMATCH ||
        idle == NULL || address_pauses(address) ||
        open_streams(address) >= address->upstream->forward->streams_open_max ||
        stream_in(address, STREAM_CONNECTING, STREAM_HANDSHAKE) != NULL)
        return;
    address->tried_ms = clock_ms();
    stream_open(idle);
}

bool address_is_good(const struct address *address)
{
    return address->failures == 0 && standing_state(&address->standing) != IDENTITY_MISMATCH;
}

static void set_timer(struct address *address, uint32_t ms)
{
    struct ev_loop *loop = address->upstream->forward->loop;

    ev_timer_stop(loop, &address->timer);
    ev_timer_set(&address->timer, ms / 1000., 0.);
    ev_timer_start(loop, &address->timer);
}

static uint32_t pause_after(unsigned failures)
{
    uint32_t pause_ms = RETRY_FIRST_MS;

    if (failures > 1)
        pause_ms = (uint32_t)RETRY_MIN_MS << (failures < 6 ? failures - 2 : 4);
    if (pause_ms > RETRY_MAX_MS)
        pause_ms = RETRY_MAX_MS;
    return pause_ms * 3 / 4 + random_below(pause_ms / 4);
}

/* The time that a try took is part of the pause after it: an upstream that swallows everything is tried as often as one
 * that refuses, and is found as soon. */
static uint32_t pause_left(const struct address *address)
{
    uint64_t took_ms = clock_ms() - address->tried_ms;
    uint32_t pause_ms = pause_after(address->failures);
    uint32_t least_ms = pause_ms < RETRY_MIN_MS ? pause_ms : RETRY_MIN_MS;

    return took_ms + least_ms < pause_ms ? pause_ms - (uint32_t)took_ms : least_ms;
}

/* Tells all threads, but for a plain address whose single datagram was lost. */
static void note_silence(struct address *address)
{
    if (upstream_uses_streams(address->upstream->config) || address->failures >= PLAIN_SILENT_FAILURES)
        atomic_store_explicit(&address->standing.status->silent, 1, memory_order_relaxed);
}

void address_failed(struct address *address, const char *reason)
{
    if (address->upstream->forward->closing)
        return;
    if (address->failures == 0)
        address->failed_ms = clock_ms();
    address->failures++;
    note_silence(address);
    atomic_fetch_add_explicit(&address->standing.status->failures, 1, memory_order_relaxed);
    if (stream_in(address, STREAM_READY, STREAM_READY) == NULL &&
        (upstream_uses_streams(address->upstream->config) || address->failures >= PLAIN_FAILURES))
        standing_unreachable(&address->standing, reason);
    set_timer(address, pause_left(address));
    upstream_note(address->upstream);
    address->upstream->forward->unsettled = true;
}

/* How long an address that works may be unheard of before it is probed; 0: for ever. */
static uint32_t probe_after_ms(const struct address *address)
{
    struct upstream *upstream = address->upstream;

    if (upstream_in_use(upstream) != upstream)
        return PROBE_REPLACED_MS;
    if (upstream->config->transport == TRANSPORT_PLAIN)
        return PROBE_IDLE_MS;
    return upstream->address_count > 1 ? PROBE_ASIDE_MS : 0;
}

/* Sets the timer of an address that works. */
static void address_watch(struct address *address)
{
    uint32_t after_ms = probe_after_ms(address);

    if (after_ms != 0)
        set_timer(address, after_ms);
    else
        ev_timer_stop(address->upstream->forward->loop, &address->timer);
}

void address_rewatch(struct address *address)
{
    if (address->failures == 0 && address->probe.state == ATTEMPT_FREE)
        address_watch(address);
}

/* Is it time to see whether it still answers? A group that nobody asks is left alone, unless its fallback serves. */
static bool probe_is_due(const struct address *address)
{
    uint32_t after_ms = probe_after_ms(address);

    if (address->failures > 0)
        return true;
    if (after_ms == 0 || clock_us() - address->answered_us < after_ms * 1000ull)
        return false;
    return after_ms != PROBE_ASIDE_MS || clock_ms() - address->upstream->asked_ms < PROBE_ASIDE_MS;
}

void address_answered(struct address *address, uint64_t sent_us)
{
    uint64_t now_us = clock_us();
    struct address_status *status = address->standing.status;

    latency_add(&address->latency, now_us - sent_us);
    atomic_store_explicit(&status->rtt_us, address->latency.smoothed_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&status->answers, 1, memory_order_relaxed);
    histogram_add_shared(&status->duration, now_us - sent_us);
    address->answered_us = now_us;
    address->outrun = 0;
    if (atomic_load_explicit(&status->silent, memory_order_relaxed) != 0)
        atomic_store_explicit(&status->silent, 0, memory_order_relaxed);
    if (address->failures > 0) {
        address->failures = 0;
        attempt_forget(&address->probe);
        address_watch(address);
    }
    if (standing_state(&address->standing) != IDENTITY_VALID)
        standing_answered(&address->standing);
    if (address->upstream->silent)
        upstream_note(address->upstream);
}

/* It takes questions and answers none. A probe on a connection that it has finds it again as soon as it goes on; no new
 * question is put on these, because they may lead nowhere while another one would not. */
static void address_stalled(struct address *address)
{
    standing_stalled(&address->standing);
    address_failed(address, "others answer, it does not");
    address_probe(address);
    for (unsigned i = 0; i < address->upstream->forward->streams_per_address; i++) {
        struct stream *stream = &address->streams[i];

        if (stream->state == STREAM_READY && stream->outstanding > 0)
            stream->suspect = true;
    }
    address->move_asked = true;
}

void address_outrun(const struct attempt *attempt, uint64_t took_us)
{
    struct address *address = attempt->address;
    uint64_t waited_us = clock_us() - attempt->sent_us;

    /* Its own answer will never be seen, but it was not quicker than this: else what is slow would look quick. */
    if (waited_us > address->latency.smoothed_us)
        latency_add(&address->latency, waited_us);
    if (address->answered_us >= attempt->sent_us || address->failures > 0 || !hedge_outran(waited_us, took_us))
        return;
    if (++address->outrun >= HEDGE_OUTRUN)
        address_stalled(address);
}

void address_wait(struct address *address, struct attempt *attempt)
{
    attempt->address = address;
    attempt->state = ATTEMPT_WAITING;
    attempt_list_push(&address->waiting, attempt);
}

bool address_ask(struct attempt *attempt)
{
    struct stream *stream = address_stream(attempt->address);

    if (stream == NULL || stream->outstanding >= STREAM_BUSY) {
        address_open_stream(attempt->address);
        stream = address_stream(attempt->address); /* a failed open may have changed things */
    }
    if (stream == NULL || !stream_ask(stream, attempt))
        return false;
    attempt_count(attempt);
    return true;
}

void address_probe(struct address *address)
{
    struct attempt *probe = &address->probe;

    if (probe->state != ATTEMPT_FREE)
        return;
    probe->address = address;
    address->tried_ms = clock_ms();
    set_timer(address, PROBE_MS);
    if (upstream_uses_streams(address->upstream->config)) {
        address_ask(probe); /* without a connection, the next one that becomes ready is probed */
    } else if (plain_ask(probe)) {
        attempt_count(probe);
    } else {
        address_failed(address, "the network refuses");
    }
}

void address_serve_waiting(struct stream *stream)
{
    struct address *address = stream->address;

    while (address->waiting.first != NULL && stream_usable(stream)) {
        struct attempt *attempt = address->waiting.first;

        attempt_list_remove(&address->waiting, attempt);
        if (!stream_ask(stream, attempt)) {
            address_wait(address, attempt);
            break;
        }
        attempt_count(attempt);
    }
}

void address_stream_ready(struct stream *stream)
{
    struct address *address = stream->address;
    bool unproved =
        address->upstream->config->transport == TRANSPORT_PLAIN && standing_state(&address->standing) != IDENTITY_VALID;

    address_serve_waiting(stream);
    if (address->failures > 0 || unproved)
        address_probe(address);
    else if (!ev_is_active(&address->timer))
        address_watch(address);
}

/* Notes one query that was out on a closed connection. A connection that answered some of its queries did not refuse
 * this one, so it does not count as a try. */
static void attempt_lost(struct attempt *attempt, bool progress)
{
    struct flight *flight = attempt->flight;

    attempt->stream = NULL;
    attempt->state = ATTEMPT_FREE;
    if (flight == NULL)
        return;
    if (progress && flight->tries > 0)
        flight->tries--;
    attempt->state = ATTEMPT_LOST;
    attempt_list_push(&attempt->address->upstream->forward->lost, attempt);
}

/* Opens the next connection without waiting for a query when one is likely. A server that closes connections before
 * anything was answered on them is called again only when there is a question. */
static void address_reopen(struct address *address, bool wanted, bool progress)
{
    bool warm = progress && clock_ms() - address->asked_ms < KEEP_WARM_MS;

    if (stream_in(address, STREAM_CONNECTING, STREAM_READY) == NULL &&
        (wanted || warm || address->waiting.first != NULL))
        address_open_stream(address);
}

void address_stream_closed(struct stream *stream, bool was_ready, const char *reason)
{
    struct address *address = stream->address;
    struct forward *forward = address->upstream->forward;
    bool wanted = stream->outstanding > 0;
    bool progress = stream->answers > 0;

    if (forward->closing)
        return;
    /* No answer ever, and it closed on us: that is a failure, or a server that hangs up would be called again without a
     * pause. */
    if (!was_ready || (wanted && !progress))
        address_failed(address, reason);
    for (unsigned i = 0; i < STREAM_SLOTS && stream->outstanding > 0; i++) {
        struct attempt *attempt = stream->slots[i];

        if (attempt == NULL)
            continue;
        stream->slots[i] = NULL;
        stream->outstanding--;
        attempt_lost(attempt, progress);
    }
    if (was_ready)
        address_reopen(address, wanted, progress);
    if (stream_in(address, STREAM_CONNECTING, STREAM_READY) == NULL) {
        address->move_waiting = true;
        forward->unsettled = true;
    }
}

/* The probe is out for PROBE_MS without an answer. */
static void probe_failed(struct address *address)
{
    struct stream *stream = address->probe.stream;

    attempt_forget(&address->probe);
    if (stream != NULL) /* it took the question and stays silent */
        stream_close(stream, "probe not answered");
    address_failed(address, "probe not answered");
}

/* Gets a failed address a connection that a probe can be sent on. */
static void connect_again(struct address *address)
{
    struct stream *suspect = stream_in(address, STREAM_READY, STREAM_READY);

    if (stream_in(address, STREAM_IDLE, STREAM_IDLE) == NULL && suspect != NULL)
        stream_close(suspect, "no answer");
    address_open_stream(address);
    if (!ev_is_active(&address->timer)) /* it did not fail at once */
        set_timer(address, pause_after(address->failures));
}

static void on_address_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct address *address = timer->data;

    (void)loop, (void)revents;
    if (address->probe.state != ATTEMPT_FREE)
        probe_failed(address);
    else if (address->failures > 0 && upstream_uses_streams(address->upstream->config) &&
             address_stream(address) == NULL)
        connect_again(address);
    else if (probe_is_due(address))
        address_probe(address);
    else
        address_watch(address);
}

struct tls_ticket *address_take_ticket(struct address *address, uint64_t *proved_ms)
{
    uint32_t epoch = standing_epoch(&address->standing);
    uint64_t life_ms = (uint64_t)address->standing.config->revalidate * 1000;

    for (unsigned i = 0; i < UPSTREAM_TICKETS; i++) {
        struct upstream_ticket taken = address->tickets[i];

        if (taken.ticket == NULL)
            continue;
        address->tickets[i].ticket = NULL;
        if (taken.epoch == epoch && clock_ms() - taken.proved_ms < life_ms) {
            *proved_ms = taken.proved_ms;
            return taken.ticket;
        }
        tls_ticket_release(taken.ticket);
    }
    return NULL;
}

void address_drop_tickets(struct address *address)
{
    for (unsigned i = 0; i < UPSTREAM_TICKETS; i++) {
        tls_ticket_release(address->tickets[i].ticket);
        address->tickets[i].ticket = NULL;
    }
}

void address_keep_ticket(struct address *address, struct tls_ticket *ticket, uint32_t epoch, uint64_t proved_ms)
{
    struct upstream_ticket *oldest = &address->tickets[0];

    if (ticket == NULL)
        return;
    for (unsigned i = 0; i < UPSTREAM_TICKETS; i++) {
        struct upstream_ticket *slot = &address->tickets[i];

        if (slot->ticket == NULL || (oldest->ticket != NULL && slot->proved_ms < oldest->proved_ms))
            oldest = slot;
    }
    tls_ticket_release(oldest->ticket);
    *oldest = (struct upstream_ticket){.ticket = ticket, .epoch = epoch, .proved_ms = proved_ms};
}

void address_recheck(struct address *address)
{
    uint32_t epoch = standing_epoch(&address->standing);
    bool mismatch = standing_state(&address->standing) == IDENTITY_MISMATCH;

    for (unsigned i = 0; i < address->upstream->forward->streams_per_address; i++) {
        struct stream *stream = &address->streams[i];

        if (stream->state >= STREAM_READY && (mismatch || stream->epoch != epoch))
            stream_close(stream, "identity mismatch");
    }
    upstream_note(address->upstream);
    if (mismatch) {
        address_drop_tickets(address);
        address->move_waiting = true;
        address->upstream->forward->unsettled = true;
    } else if (stream_in(address, STREAM_CONNECTING, STREAM_READY) == NULL) {
        address_open_stream(address);
    }
}

bool address_init(struct address *address, struct upstream *upstream, size_t index, const struct forward_setup *setup)
{
    struct forward *forward = upstream->forward;

    address->upstream = upstream;
    address->endpoint = upstream->config->addresses[index];
    address->standing = (struct standing){.config = upstream->config,
                                          .status = &setup->statuses[index],
                                          .changed = setup->changed,
                                          .context = setup->context};
    address->streams = calloc(forward->streams_per_address, sizeof(struct stream));
    ev_init(&address->timer, on_address_timer);
    address->timer.data = address;
    for (unsigned i = 0; address->streams != NULL && i < forward->streams_per_address; i++)
        address->streams[i].address = address;
    return address->streams != NULL;
}

#include "nodedot/forward/flight.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/address.h"
#include "nodedot/forward/plain.h"

/* A question without an answer is asked elsewhere as well after this: twice what a recursive resolver usually needs for
 * a name that it does not have, and short enough for three tries within a stub resolver's 5 s. */
#define ATTEMPT_MS 1000
/* Announced keepalive time-outs are undercut by this, the time that our FIN may take to arrive. */
#define KEEPALIVE_MARGIN_MS 500
/* A group without hope is asked one client's query in this time: it may be well, and only not answer our probes. */
#define TRIAL_MS 1000

static const struct question probe_question = {
    .qtype = TYPE_NS, .qclass = CLASS_IN, .qname = {.length = 1, .bytes = {0}}};

static bool attempt_uses_stream(const struct attempt *attempt)
{
    return upstream_uses_streams(attempt->address->upstream->config) ||
           (attempt->flight != NULL && attempt->flight->over_tcp);
}

void attempt_count(struct attempt *attempt)
{
    struct address *address = attempt->address;

    metric_inc(address->upstream->forward->metrics, upstream_queries_total);
    atomic_fetch_add_explicit(&address->standing.status->queries, 1, memory_order_relaxed);
    address->asked_ms = attempt->sent_us / 1000;
    attempt->late = false;
    if (attempt->flight == NULL)
        return;
    attempt->flight->asks++;
    if (!attempt->hedge)
        attempt->flight->tries++;
}

void attempt_forget(struct attempt *attempt)
{
    switch (attempt->state) {
    case ATTEMPT_WAITING:
        attempt_list_remove(&attempt->address->waiting, attempt);
        break;
    case ATTEMPT_LOST:
        attempt_list_remove(&attempt->address->upstream->forward->lost, attempt);
        break;
    case ATTEMPT_STREAM:
        stream_forget(attempt->stream, attempt);
        break;
    case ATTEMPT_DATAGRAM:
        plain_forget(attempt);
        break;
    case ATTEMPT_FREE:
        break;
    }
}

/* Asks, or waits in the address's queue for a connection. False: a plain address refused at once. */
static bool attempt_ask(struct attempt *attempt, struct address *address)
{
    attempt->address = address;
    if (!attempt_uses_stream(attempt)) {
        if (!plain_ask(attempt))
            return false;
        attempt_count(attempt);
        return true;
    }
    if (!address_ask(attempt))
        address_wait(address, attempt);
    return true;
}

size_t attempt_write(const struct attempt *attempt, uint8_t *out, size_t capacity)
{
    const struct flight *flight = attempt->flight;
    const struct question *question = flight != NULL ? &flight->question : &probe_question;
    bool stream = attempt->state == ATTEMPT_STREAM;
    struct query_style style = {
        .id = attempt->id,
        .dnssec_ok = flight != NULL && flight->dnssec_ok,
        .checking_disabled = flight != NULL && flight->checking_disabled,
        .keepalive = stream,
        .padding_block = attempt->address->upstream->config->transport == TRANSPORT_DOT ? EDNS_PADDING_BLOCK : 0,
        .edns = !attempt->address->without_edns && !(flight != NULL && flight->without_edns),
    };

    if (style.padding_block != 0)
        atomic_fetch_add_explicit(&attempt->address->standing.status->padding_octets, query_padding(question, &style),
                                  memory_order_relaxed);
    return query_write(out, capacity, question, &style);
}

void flight_abandon(struct flight *flight)
{
    struct forward *forward = flight->upstream->forward;

    for (int i = 0; i < FLIGHT_ATTEMPTS; i++)
        attempt_forget(&flight->attempts[i]);
    ev_timer_stop(forward->loop, &flight->timer);
    inflight_release(&forward->inflight, flight);
}

void flight_fail(struct flight *flight, enum ede why)
{
    struct forward *forward = flight->upstream->forward;

    forward->events->failed(forward->owner, flight, why);
    flight_abandon(flight);
}

bool flight_is_out(const struct flight *flight)
{
    for (int i = 0; i < FLIGHT_ATTEMPTS; i++) {
        if (flight->attempts[i].state != ATTEMPT_FREE)
            return true;
    }
    return false;
}

bool flight_is_at(const struct flight *flight, const struct address *address)
{
    for (int i = 0; i < FLIGHT_ATTEMPTS; i++) {
        if (flight->attempts[i].state != ATTEMPT_FREE && flight->attempts[i].address == address)
            return true;
    }
    return false;
}

/* Asks once more, at this address. False: it was asked often enough, or the network refuses. */
static bool flight_ask_at(struct flight *flight, struct address *address, bool hedge)
{
    struct attempt *attempt = NULL;

    if (flight->asks >= FLIGHT_ASKS)
        return false;
    for (int i = 0; i < FLIGHT_ATTEMPTS && attempt == NULL; i++) {
        if (flight->attempts[i].state == ATTEMPT_FREE)
            attempt = &flight->attempts[i];
    }
    if (attempt == NULL)
        return false;
    attempt->flight = flight;
    attempt->hedge = hedge;
    if (attempt_ask(attempt, address))
        return true;
    if (!hedge)
        flight->tries++;
    address_failed(address, "the network refuses");
    return false;
}

bool flight_ask(struct flight *flight)
{
    struct address *address = upstream_choose(flight);

    return address != NULL && flight->tries < FLIGHT_TRIES && flight_ask_at(flight, address, false);
}

/* The first asking: sets when it is late. */
static void flight_ask_first(struct flight *flight)
{
    struct upstream *upstream = flight->upstream;
    const struct attempt *first = &flight->attempts[0];

    hedge_earn(&upstream->hedges);
    upstream->asked_ms = clock_ms();
    flight->ask_again_ms = upstream->asked_ms + ATTEMPT_MS;
    flight->hedge_ms = 0;
    if (!flight_ask(flight)) /* when the network refused, the timer asks again */
        return;
    upstream->turn = (size_t)(first->address - upstream->addresses) + 1;
    if (upstream->address_count < 2)
        return;
    flight->hedge_wait_ms = hedge_after_ms(latency_usual_us(&first->address->latency));
    flight->hedge_ms = upstream->asked_ms + flight->hedge_wait_ms;
}

static void flight_set_timer(struct flight *flight)
{
    uint64_t now = clock_ms();
    uint64_t next = flight->deadline_ms;

    if (flight->stale_ms != 0 && flight->stale_ms < next)
        next = flight->stale_ms;
    if (flight->ask_again_ms != 0 && flight->ask_again_ms < next)
        next = flight->ask_again_ms;
    if (flight->hedge_ms != 0 && flight->hedge_ms < next)
        next = flight->hedge_ms;
    ev_timer_stop(flight->upstream->forward->loop, &flight->timer);
    ev_timer_set(&flight->timer, next > now ? (double)(next - now) / 1000. : 0., 0.);
    ev_timer_start(flight->upstream->forward->loop, &flight->timer);
}

/* Counts an asking that is out without an answer, once. */
static void attempt_count_timeout(struct attempt *attempt)
{
    if (attempt->late || (attempt->state != ATTEMPT_STREAM && attempt->state != ATTEMPT_DATAGRAM))
        return;
    attempt->late = true;
    atomic_fetch_add_explicit(&attempt->address->standing.status->timeouts, 1, memory_order_relaxed);
}

/* An asking was not answered for ATTEMPT_MS: what does that say of its connection and address? A connection that
 * answered others meanwhile is well, and the name is slow. One that is silent takes no new queries, but stays: a
 * resolver may need seconds for a broken domain, and its answer is welcome then. */
static void attempt_is_late(struct attempt *attempt)
{
    struct stream *stream = attempt->stream;

    attempt_count_timeout(attempt);
    if (attempt->state == ATTEMPT_DATAGRAM && attempt->address->answered_us < attempt->sent_us)
        address_failed(attempt->address, "no answer");
    if (attempt->state != ATTEMPT_STREAM || stream->suspect || stream->answered_us >= attempt->sent_us)
        return;
    stream->suspect = true;
    address_failed(attempt->address, "no answer");
}

/* Would another asking go to a place that does not have the question yet? */
static bool flight_has_elsewhere(const struct flight *flight)
{
    struct address *address = upstream_choose(flight);

    if (address == NULL)
        return false;
    if (!upstream_uses_streams(address->upstream->config) && !flight->over_tcp)
        return true; /* a datagram may have been lost */
    for (int i = 0; i < FLIGHT_ATTEMPTS; i++) {
        const struct attempt *attempt = &flight->attempts[i];

        if (attempt->state == ATTEMPT_LOST)
            return false; /* it is asked again before the loop sleeps */
        if (attempt->address != address)
            continue;
        if (attempt->state == ATTEMPT_WAITING || (attempt->state == ATTEMPT_STREAM && !attempt->stream->suspect))
            return false;
    }
    return true;
}

static void flight_ask_again(struct flight *flight)
{
    struct metrics *metrics = flight->upstream->forward->metrics;

    flight->ask_again_ms = flight->tries + 1 < FLIGHT_TRIES ? clock_ms() + ATTEMPT_MS : 0;
    for (int i = 0; i < FLIGHT_ATTEMPTS; i++)
        attempt_is_late(&flight->attempts[i]);
    if (flight_has_elsewhere(flight) && flight_ask(flight))
        metric_inc(metrics, upstream_retries_total);
}

static unsigned flight_count_out(const struct flight *flight)
{
    unsigned count = 0;

    for (int i = 0; i < FLIGHT_ATTEMPTS; i++)
        count += flight->attempts[i].state != ATTEMPT_FREE;
    return count;
}

/* Asks a second address, if one works and the budget has it. */
static bool flight_try_hedge(struct flight *flight)
{
    struct upstream *upstream = flight->upstream;
    struct address *address = upstream_choose(flight);

    if (address == NULL || !address_is_good(address) || flight_is_at(flight, address) || flight->asks >= FLIGHT_ASKS ||
        !hedge_spend(&upstream->hedges) || !flight_ask_at(flight, address, true))
        return false;
    metric_inc(upstream->forward->metrics, hedges_total);
    atomic_fetch_add_explicit(&address->standing.status->hedges, 1, memory_order_relaxed);
    return true;
}

/* The answer is late. Where no hedge can be had, one may be a little later. */
static void flight_hedge(struct flight *flight)
{
    flight->hedge_ms = 0;
    if (flight_count_out(flight) != 1 || flight_try_hedge(flight))
        return;
    flight->hedge_wait_ms *= 2;
    flight->hedge_ms = clock_ms() + flight->hedge_wait_ms;
    if (flight->ask_again_ms == 0 || flight->hedge_ms >= flight->ask_again_ms)
        flight->hedge_ms = 0;
}

static void on_flight_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct flight *flight = timer->data;
    struct forward *forward = flight->upstream->forward;
    uint64_t now = clock_ms();

    (void)loop, (void)revents;
    if (now >= flight->deadline_ms) {
        metric_inc(forward->metrics, upstream_timeouts_total);
        for (int i = 0; i < FLIGHT_ATTEMPTS; i++)
            attempt_count_timeout(&flight->attempts[i]);
        flight_fail(flight, upstream_is_hopeless(flight->upstream) ? EDE_NO_REACHABLE_AUTHORITY : EDE_NETWORK_ERROR);
        return;
    }
    if (flight->stale_ms != 0 && now >= flight->stale_ms) {
        flight->stale_ms = 0;
        forward->events->late(forward->owner, flight);
    }
    if (flight->ask_again_ms != 0 && now >= flight->ask_again_ms)
        flight_ask_again(flight);
    else if (flight->hedge_ms != 0 && now >= flight->hedge_ms)
        flight_hedge(flight);
    flight_set_timer(flight);
}

bool forward_ask(struct forward *forward, struct flight *flight, struct upstream *upstream)
{
    uint64_t now = clock_ms();

    flight->upstream = upstream_in_use(upstream);
    flight->fell_back = flight->upstream != upstream;
    upstream = flight->upstream;
    flight->started_us = clock_us();
    flight->deadline_ms = now + forward->config->timeout;
    flight->stale_ms = forward->config->stale_after != 0 ? now + forward->config->stale_after : 0;
    ev_init(&flight->timer, on_flight_timer);
    flight->timer.data = flight;
    if (upstream_is_hopeless(upstream) &&
        (now - upstream->trial_ms < TRIAL_MS || upstream_choose(flight) == NULL)) /* nothing to try */
        return false;
    upstream->trial_ms = now;
    if (flight->fell_back)
        metric_inc(forward->metrics, fallback_queries_total);
    flight_ask_first(flight);
    flight_set_timer(flight);
    return true;
}

void flight_leave(struct flight *flight, const struct address *address)
{
    for (int i = 0; i < FLIGHT_ATTEMPTS; i++) {
        const struct attempt *attempt = &flight->attempts[i];

        if (attempt->state != ATTEMPT_FREE && attempt->address != address)
            return;
    }
    if (!flight_is_at(flight, address) || !flight_has_elsewhere(flight) || !flight_ask(flight))
        return;
    metric_inc(flight->upstream->forward->metrics, upstream_retries_total);
    flight->hedge_ms = 0;
}

void flight_fall_back(struct flight *flight)
{
    for (int i = 0; i < FLIGHT_ATTEMPTS; i++)
        attempt_forget(&flight->attempts[i]);
    flight->upstream = flight->upstream->fallback;
    flight->fell_back = true;
    flight->tries = 0;
    flight->without_edns = false;
    flight->over_tcp = false;
    flight->failed_rcode = 0;
    metric_inc(flight->upstream->forward->metrics, fallback_queries_total);
    flight_ask_first(flight);
    flight_set_timer(flight);
}

/* The asking is over without an answer, through no fault of the question. */
void flight_lost_attempt(struct flight *flight)
{
    struct metrics *metrics = flight->upstream->forward->metrics;

    if (flight_ask(flight))
        metric_inc(metrics, upstream_retries_total);
    else if (!flight_is_out(flight) && !upstream_awaits_fallback(flight->upstream))
        flight_fail(flight, upstream_is_hopeless(flight->upstream) ? EDE_NO_REACHABLE_AUTHORITY : EDE_NETWORK_ERROR);
}

void attempt_failed(struct attempt *attempt)
{
    struct flight *flight = attempt->flight;
    struct address *address = attempt->address;

    attempt_forget(attempt);
    address_failed(address, "the network refuses");
    if (flight == NULL)
        return;
    /* With nobody listening on the only address, three tries would be over in a millisecond: the timer asks again. */
    if (address->upstream->address_count > 1)
        flight_lost_attempt(flight);
    else if (flight->tries >= FLIGHT_TRIES && !flight_is_out(flight) && !upstream_awaits_fallback(flight->upstream))
        flight_fail(flight, EDE_NETWORK_ERROR);
}

static void take_keepalive(struct stream *stream, const struct edns *edns)
{
    uint32_t announced = (uint32_t)edns->keepalive * 100;

    if (stream == NULL || !edns->has_keepalive || edns->keepalive == UINT16_MAX)
        return;
    if (announced == 0) { /* RFC 7828 section 3.4: close as soon as possible */
        stream_drain(stream);
        return;
    }
    stream_set_idle(stream, announced > 2 * KEEPALIVE_MARGIN_MS ? announced - KEEPALIVE_MARGIN_MS : announced / 2);
    stream->address->idle_ms = stream->idle_ms;
}

/* Asks the same address again in another way. */
static void flight_ask_same(struct flight *flight, struct attempt *attempt)
{
    struct address *address = attempt->address;

    attempt_forget(attempt);
    if (!attempt->hedge)
        flight->tries--;
    if (flight->asks >= FLIGHT_ASKS || !attempt_ask(attempt, address))
        flight_lost_attempt(flight);
}

/* A server before EDNS: FORMERR without OPT to a query with it (RFC 6891 section 7). */
static bool dislikes_edns(const struct flight *flight, const struct address *address, const struct answer_info *info)
{
    return info->rcode == RCODE_FORMERR && !info->edns.present && !flight->without_edns && !address->without_edns;
}

/* The server could not or would not: somebody else may, who has the question already or is asked now. */
static bool ask_other_server(struct flight *flight, struct attempt *attempt, const struct answer_info *info)
{
    bool failed = info->rcode != RCODE_NOERROR && info->rcode != RCODE_NXDOMAIN;

    if (!failed || flight->failed_rcode != 0 || flight->upstream->address_count < 2)
        return false;
    for (size_t i = 0; i < flight->upstream->address_count; i++) {
        struct address *other = &flight->upstream->addresses[i];

        if (other == attempt->address || !address_is_good(other))
            continue;
        flight->failed_rcode = info->rcode;
        if (flight_is_at(flight, other) || flight_ask(flight)) {
            attempt_forget(attempt);
            return true;
        }
    }
    return false;
}

/* What an answer says of those who were asked the same and did not answer. */
static void judge_others(struct flight *flight, const struct attempt *winner)
{
    uint64_t took_us = clock_us() - winner->sent_us;

    if (winner->hedge)
        metric_inc(flight->upstream->forward->metrics, hedges_won_total);
    for (int i = 0; i < FLIGHT_ATTEMPTS; i++) {
        const struct attempt *other = &flight->attempts[i];

        if (other->address != winner->address && (other->state == ATTEMPT_STREAM || other->state == ATTEMPT_DATAGRAM))
            address_outrun(other, took_us);
    }
}

static void flight_answered(struct flight *flight, struct attempt *attempt, const uint8_t *message)
{
    struct forward *forward = flight->upstream->forward;
    const struct answer_info *info = &forward->info;

    if ((info->flags & MESSAGE_TC) != 0 && attempt->state == ATTEMPT_DATAGRAM) {
        metric_inc(forward->metrics, upstream_truncated_total);
        flight->over_tcp = true;
        flight_ask_same(flight, attempt);
        return;
    }
    if (dislikes_edns(flight, attempt->address, info)) {
        flight->without_edns = true;
        flight_ask_same(flight, attempt);
        return;
    }
    if (info->edns.present)
        attempt->address->edns_seen = true;
    else if (flight->without_edns && info->rcode != RCODE_FORMERR && !attempt->address->edns_seen)
        attempt->address->without_edns = true;
    if (ask_other_server(flight, attempt, info))
        return;
    judge_others(flight, attempt);
    flight->server = attempt->address;
    forward->events->answered(forward->owner, flight, message, info, forward->ttl_offsets);
    flight_abandon(flight);
}

/* A server that does not know EDNS at all may send back nothing but a header with FORMERR. */
static bool is_bare_formerr(const struct attempt *attempt, const uint8_t *message, size_t size)
{
    uint16_t flags = size == MESSAGE_HEADER ? wire_get_u16(message + MESSAGE_FLAGS_AT) : 0;

    return (flags & MESSAGE_QR) != 0 && (flags & MESSAGE_RCODE) == RCODE_FORMERR && attempt->flight != NULL &&
           !attempt->flight->without_edns && !attempt->address->without_edns;
}

bool attempt_message(struct attempt *attempt, const uint8_t *message, size_t size)
{
    struct address *address = attempt->address;
    struct forward *forward = address->upstream->forward;
    struct flight *flight = attempt->flight;
    const struct question *question = flight != NULL ? &flight->question : &probe_question;

    if (is_bare_formerr(attempt, message, size)) {
        flight->without_edns = true;
        flight_ask_same(flight, attempt);
        return true;
    }
    if (!answer_parse(message, size, &forward->info, forward->ttl_offsets, MESSAGE_MAX_RECORDS)) {
        metric_inc(forward->metrics, upstream_broken_total);
        return false;
    }
    if (!question_equal(&forward->info.question, question)) {
        metric_inc(forward->metrics, upstream_mismatched_total);
        return false;
    }
    metric_inc(forward->metrics, upstream_answers_total);
    address_answered(address, attempt->sent_us);
    take_keepalive(attempt->stream, &forward->info.edns);
    if (flight == NULL)
        attempt_forget(attempt);
    else
        flight_answered(flight, attempt, message);
    return true;
}

#include "nodedot/forward/address.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/forward/datagram.h"
#include "nodedot/forward/relay.h"
#include "nodedot/forward/socket.h"
#include "nodedot/observe/log.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A closed connection is opened again without waiting for a query if there was one within this time. */
#define KEEP_WARM_MS 60000
/* After a local shortage, a connection is tried again this often; a query does so at once. */
#define LACKING_RETRY_MS 500
/* Minimum interval between log lines about shortages, for all addresses. */
#define LACKING_LOG_MS 10000
/* Queries in flight on the least loaded connection before another one is opened: about as many as fit into one TLS
 * record. */
#define STREAM_BUSY 128
/* Where an upstream allows fewer connections than there are threads, the threads without one try again this often, a
 * quarter of it jitter: the connections of the others may have ended for good. */
#define CAPPED_RETRY_MS 30000
/* Consecutive failures to connect, while other threads are connected, that indicate such a limit. */
#define CAPPED_FAILURES 3
/* A connection that takes longer to be made is not waited for if another thread has one: a few round trips across an
 * ocean. */
#define RELAY_AFTER_MS 250

struct stream *address_stream(const struct address *address)
{
    struct stream *best = NULL;

    for (unsigned i = 0; i < address->stream_count; i++) {
        struct stream *stream = &address->streams[i];

        if (stream_usable(stream) && (best == NULL || stream->pipeline.outstanding < best->pipeline.outstanding))
            best = stream;
    }
    return best;
}

unsigned address_outstanding(const struct address *address)
{
    unsigned count = address->datagrams;

    for (unsigned i = 0; i < address->stream_count; i++)
        count += address->streams[i].pipeline.outstanding;
    return count;
}

/* Any connection whose state is in [from, to], or NULL. */
static struct stream *stream_in(struct address *address, enum stream_state from, enum stream_state to)
{
    for (unsigned i = 0; i < address->stream_count; i++) {
        if (address->streams[i].state >= from && address->streams[i].state <= to)
            return &address->streams[i];
    }
    return NULL;
}

/* After a failure only the timer opens connections, or those who wait would call a server that refuses without a
 * pause. */
static bool address_pauses(const struct address *address)
{
    return address->health.failures > 0 && ev_is_active(&address->timer);
}

/* Connections that take queries, or will. */
static unsigned open_streams(const struct address *address)
{
    unsigned count = 0;

    for (unsigned i = 0; i < address->stream_count; i++) {
        const struct stream *stream = &address->streams[i];

        if (stream->state != STREAM_IDLE && stream->state != STREAM_DRAINING && !stream->suspect)
            count++;
    }
    return count;
}

void address_open_stream(struct address *address)
{
    struct stream *idle = stream_in(address, STREAM_IDLE, STREAM_IDLE);

    if (address->exchanges->closing || identity_state_refused(reachability_state(&address->peer.reachability)) ||
        idle == NULL || address_pauses(address) || open_streams(address) >= address->open_max ||
        stream_in(address, STREAM_CONNECTING, STREAM_HANDSHAKE) != NULL)
        return;
    address->health.tried_ms = clock_ms();
    stream_open(idle);
}

bool address_is_good(const struct address *address)
{
    return address->health.failures == 0 && !identity_state_refused(reachability_state(&address->peer.reachability));
}

bool address_is_dead(const struct address *address, uint64_t long_ms)
{
    const struct reachability *reachability = &address->peer.reachability;
    uint64_t now = clock_ms();

    if (identity_state_refused(reachability_state(reachability)))
        return true;
    return health_is_bad_for(&address->health, now, long_ms) && reachability_others(reachability) == 0 &&
           !reachability_heard_by_others(reachability, address->health.answered_us / 1000, now);
}

static void set_timer(struct address *address, uint32_t ms)
{
    struct ev_loop *loop = address->exchanges->loop;

    ev_timer_stop(loop, &address->timer);
    ev_timer_set(&address->timer, ms / 1000., 0.);
    ev_timer_start(loop, &address->timer);
}

/* Does what this thread failed at say something of the address? An upstream may give a thread no connection because
 * others have as many as it allows a client; those are asked to see whether theirs still work. */
static bool speaks_for_all(const struct address *address, enum address_failure failure)
{
    const struct reachability *reachability = &address->peer.reachability;
    uint64_t now = clock_ms();

    if (reachability_heard_by_others(reachability, address->health.answered_us / 1000, now))
        return false;
    if (failure == ADDRESS_NO_ANSWER || reachability_others(reachability) == 0)
        return true;
    reachability_doubt(reachability, now);
    return false;
}

static uint32_t pause_of(struct address *address, enum address_failure failure)
{
    address->capped = failure == ADDRESS_NO_CONNECTION && address->health.failures >= CAPPED_FAILURES &&
                      address->exchanges->relay != NULL && reachability_others(&address->peer.reachability) != 0;
    return address->capped ? CAPPED_RETRY_MS / 4 * 3 + random_below(CAPPED_RETRY_MS / 4)
                           : health_pause_left_ms(&address->health, clock_ms());
}

void address_failed(struct address *address, enum address_failure failure, const char *reason)
{
    const struct reachability *reachability = &address->peer.reachability;

    if (address->exchanges->closing)
        return;
    health_failed(&address->health, clock_ms());
    atomic_fetch_add_explicit(&reachability->status->failures, 1, memory_order_relaxed);
    if (health_is_silent(&address->health) && speaks_for_all(address, failure)) {
        reachability_silent(reachability);
        if (stream_in(address, STREAM_READY, STREAM_READY) == NULL && health_is_unreachable(&address->health))
            reachability_unreachable(reachability, reason);
    }
    set_timer(address, pause_of(address, failure));
    address->peers->changed(address->peers);
    address->exchanges->unsettled = true;
}

void address_lacking(struct address *address, const char *reason)
{
    static struct log_limit limit;
    uint64_t held_back;
    char text[ENDPOINT_TEXT];

    atomic_fetch_add_explicit(&address->peer.reachability.status->local, 1, memory_order_relaxed);
    if (log_limit_pass(&limit, LACKING_LOG_MS, &held_back))
        log_error("cannot open a socket to an upstream: this node is out of resources",
                  log_s("upstream", address->config->name),
                  log_s("address", endpoint_format(&address->peer.endpoint, text)), log_s("reason", reason),
                  log_n("held_back", (int64_t)held_back));
}

/* A connection was not opened because of that. */
static void stream_lacking(struct address *address, const char *reason)
{
    address_lacking(address, reason);
    address->lacking = true;
    address->lacked = true;
    address->exchanges->unsettled = true;
    if (address->health.failures == 0)
        set_timer(address, LACKING_RETRY_MS);
}

static struct health_need need_of(const struct address *address)
{
    const struct address_peers *peers = address->peers;

    return (struct health_need){.alone = peers->count == 1,
                                .encrypted = address->config->transport == TRANSPORT_DOT,
                                .replaced = peers->has_fallback &&
                                            atomic_load_explicit(&peers->status->fallback, memory_order_acquire) != 0,
                                .group_asked_ms = peers->asked_ms};
}

/* Sets the timer of an address that works. */
static void address_watch(struct address *address)
{
    struct health_need need = need_of(address);
    uint32_t after_ms = health_probe_after_ms(&need);

    if (after_ms != 0)
        set_timer(address, after_ms);
    else
        ev_timer_stop(address->exchanges->loop, &address->timer);
}

void address_rewatch(struct address *address)
{
    if (address->health.failures == 0 && address->probe.state == EXCHANGE_FREE)
        address_watch(address);
}

void address_credit(struct address *address)
{
    uint64_t now_us = clock_us();

    if (health_answered(&address->health, now_us)) {
        address_forget(&address->probe);
        address_watch(address);
    }
    reachability_note_answer(&address->peer.reachability, now_us / 1000);
    if (address->peers->silent)
        address->peers->changed(address->peers);
}

void address_answered(struct exchange *exchange)
{
    struct address *address = exchange->address;
    struct address_status *status = address->peer.reachability.status;
    uint64_t took_us = clock_us() - exchange->sent_us;

    latency_add(&address->latency, took_us);
    atomic_store_explicit(&status->rtt_us, address->latency.smoothed_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&status->answers, 1, memory_order_relaxed);
    histogram_add_shared(&status->duration, took_us);
    if (exchange->state != EXCHANGE_RELAYED) /* which shows nothing of this thread's own connections */
        address_credit(exchange->address);
}

void address_note_edns(const struct exchange *exchange, enum exchange_verdict verdict, bool silent)
{
    uint16_t rcode = exchange->exchanges->answer.info.rcode;

    if (verdict == EXCHANGE_ANSWERED && (rcode == RCODE_NOERROR || rcode == RCODE_NXDOMAIN))
        dialect_answered(&exchange->address->dialect, exchange, silent, clock_ms());
    else if (verdict == EXCHANGE_DISLIKES_EDNS)
        dialect_disliked(&exchange->address->dialect, clock_ms());
}

/* It takes questions and answers none. A probe on a connection that it has finds it again as soon as it goes on; no new
 * question is put on these, because they may lead nowhere while another one would not. */
static void address_stalled(struct address *address)
{
    reachability_stalled(&address->peer.reachability);
    address_failed(address, ADDRESS_NO_ANSWER, "others answer, it does not");
    address_probe(address);
    for (unsigned i = 0; i < address->stream_count; i++) {
        struct stream *stream = &address->streams[i];

        if (stream->state == STREAM_READY && stream->pipeline.outstanding > 0)
            stream->suspect = true;
    }
    address->move_asked = true;
}

void address_outrun(const struct exchange *exchange, uint64_t took_us)
{
    struct address *address = exchange->address;
    uint64_t now_us = clock_us();
    uint64_t waited_us = now_us - exchange->sent_us;

    /* Its own answer will never be seen, but it was not quicker than this: else what is slow would look quick. */
    if (waited_us > address->latency.smoothed_us)
        latency_add(&address->latency, waited_us);
    if (health_outrun(&address->health, exchange->sent_us, now_us, took_us, latency_usual_us(&address->latency)))
        address_stalled(address);
}

void address_count_timeout(struct exchange *exchange)
{
    if (exchange->late || (exchange->state != EXCHANGE_STREAM && exchange->state != EXCHANGE_DATAGRAM))
        return;
    exchange->late = true;
    atomic_fetch_add_explicit(&exchange->address->peer.reachability.status->timeouts, 1, memory_order_relaxed);
}

/* A connection that answered other queries meanwhile is well, and the name is slow. One that is silent takes no new
 * queries, but stays: a resolver may need seconds for a broken domain, and its answer is welcome then. */
void address_late(struct exchange *exchange)
{
    struct address *address = exchange->address;
    struct stream *stream = exchange->stream;

    address_count_timeout(exchange);
    if (exchange->state == EXCHANGE_RELAYED) /* whoever has the connection looks at it */
        reachability_doubt(&address->peer.reachability, clock_ms());
    if (exchange->state == EXCHANGE_DATAGRAM && address->health.answered_us < exchange->sent_us)
        address_failed(address, ADDRESS_NO_ANSWER, "no answer");
    if (exchange->state != EXCHANGE_STREAM || stream->suspect || stream->answered_us >= exchange->sent_us)
        return;
    stream->suspect = true;
    address_failed(address, ADDRESS_NO_ANSWER, "no answer");
}

/* ---- Sending
 * ------------------------------------------------------------------------------------------------------ */

void address_complete_form(const struct address *address, struct exchange_form *form, bool over_tcp)
{
    form->stream = over_tcp || address->health.streams;
    form->padded = address->config->transport == TRANSPORT_DOT;
    form->authenticated = form->padded;
    dialect_apply(&address->dialect, form, clock_ms());
}

/* What is known of the server at this moment goes into the form: the exchange may have waited. */
static void prepare(struct address *address, struct exchange *exchange, bool over_tcp)
{
    exchange->address = address;
    exchange->exchanges = address->exchanges;
    address_complete_form(address, &exchange->form, over_tcp);
}

static void note_sent(struct exchange *exchange)
{
    struct address *address = exchange->address;
    struct address_status *status = address->peer.reachability.status;
    size_t padding = exchange_padding(&exchange->form);

    metric_inc(address->exchanges->metrics, upstream_queries_total);
    atomic_fetch_add_explicit(&status->queries, 1, memory_order_relaxed);
    if (padding != 0)
        atomic_fetch_add_explicit(&status->padding_octets, padding, memory_order_relaxed);
    address->health.asked_ms = exchange->sent_us / 1000;
    exchange->late = false;
    exchange->events->sent(exchange);
}

static void wait_for_stream(struct address *address, struct exchange *exchange)
{
    exchange->state = EXCHANGE_WAITING;
    exchange_list_push(&address->waiting, exchange);
}

bool address_ask_now(struct address *address, struct exchange *exchange)
{
    struct stream *stream = address_stream(address);

    prepare(address, exchange, true);
    if (stream == NULL || !stream_send(stream, exchange))
        return false;
    note_sent(exchange);
    return true;
}

/* Is no connection of this thread available now? */
static bool lacks_stream(const struct address *address)
{
    return address->health.failures > 0 || clock_ms() - address->health.tried_ms >= RELAY_AFTER_MS;
}

/* Hands the exchange to a thread that has a connection. */
static bool send_over_relay(struct address *address, struct exchange *exchange)
{
    struct exchanges *exchanges = address->exchanges;
    const struct reachability *reachability = &address->peer.reachability;
    uint32_t others = reachability_others(reachability);

    if (exchanges->relay == NULL || others == 0 || !lacks_stream(address) ||
        identity_state_refused(reachability_state(reachability)) ||
        !relay_ask(exchanges->relay, exchange, address->row, others))
        return false;
    metric_inc(exchanges->metrics, upstream_relayed_total);
    exchange->sent_us = clock_us();
    exchange->late = false;
    exchange->events->sent(exchange);
    return true;
}

bool address_relay(struct exchange *exchange)
{
    struct address *address = exchange->address;

    if (exchange->state != EXCHANGE_WAITING)
        return false;
    exchange_list_remove(&address->waiting, exchange);
    if (send_over_relay(address, exchange))
        return true;
    wait_for_stream(address, exchange);
    return false;
}

/* The threads that had connections have none any more: nothing is to be waited for. */
static void end_cap(struct address *address)
{
    if (!address->capped || reachability_others(&address->peer.reachability) != 0)
        return;
    address->capped = false;
    ev_timer_stop(address->exchanges->loop, &address->timer);
}

/* Writes the exchange to a connection that is ready. False: there is none. */
static bool send_over_stream(struct address *address, struct exchange *exchange)
{
    struct stream *stream = address_stream(address);

    if (stream == NULL || stream->pipeline.outstanding >= STREAM_BUSY) {
        end_cap(address);
        address_open_stream(address);
        stream = address_stream(address); /* a failed open may have changed things */
    }
    if (stream == NULL || !stream_send(stream, exchange))
        return false;
    note_sent(exchange);
    return true;
}

static bool send_datagram(struct address *address, struct exchange *exchange)
{
    if (!datagram_send(exchange, &address->peer.endpoint))
        return false;
    address->datagrams++;
    note_sent(exchange);
    return true;
}

bool address_ask(struct address *address, struct exchange *exchange, bool over_tcp)
{
    prepare(address, exchange, over_tcp);
    if (!exchange->form.stream)
        return send_datagram(address, exchange);
    if (!send_over_stream(address, exchange) && !send_over_relay(address, exchange))
        wait_for_stream(address, exchange);
    return true;
}

void address_forget(struct exchange *exchange)
{
    switch (exchange->state) {
    case EXCHANGE_WAITING:
        exchange_list_remove(&exchange->address->waiting, exchange);
        break;
    case EXCHANGE_LOST:
        exchange_list_remove(&exchange->exchanges->lost, exchange);
        break;
    case EXCHANGE_STREAM:
        stream_forget(exchange->stream, exchange);
        break;
    case EXCHANGE_RELAYED:
        relay_forget(exchange);
        break;
    case EXCHANGE_DATAGRAM:
        datagram_forget(exchange);
        exchange->address->datagrams--;
        break;
    case EXCHANGE_FREE:
        break;
    }
}

/* ---- Probes
 * ------------------------------------------------------------------------------------------------------- */

static void probe_sent(struct exchange *exchange)
{
    (void)exchange;
}

static void probe_answered(struct exchange *exchange, enum exchange_verdict verdict)
{
    struct stream *stream = exchange->stream;
    const struct edns *edns = &exchange->exchanges->answer.info.edns;

    address_answered(exchange);
    address_note_edns(exchange, verdict, false);
    address_forget(exchange);
    if (stream != NULL && verdict == EXCHANGE_ANSWERED && edns->has_keepalive && edns->keepalive != UINT16_MAX)
        stream_take_keepalive(stream, edns->keepalive);
}

static void probe_refused(struct exchange *exchange)
{
    address_forget(exchange);
    address_failed(exchange->address, ADDRESS_NO_ANSWER, "the network refuses");
}

static const struct exchange_events probe_events = {
    .sent = probe_sent, .answered = probe_answered, .failed = probe_refused};

static void probe_unsent(struct address *address, int error)
{
    if (socket_error_is_local(error))
        address_lacking(address, strerror(error)); /* the timer is set */
    else
        address_failed(address, ADDRESS_NO_ANSWER, "the network refuses");
}

void address_probe(struct address *address)
{
    struct exchange *probe = &address->probe;

    if (probe->state != EXCHANGE_FREE)
        return;
    address->health.tried_ms = clock_ms();
    set_timer(address, HEALTH_PROBE_MS);
    probe->form = (struct exchange_form){.question = &exchange_probe_question, .edns = true};
    prepare(address, probe, false);
    if (address->health.streams)
        send_over_stream(address, probe); /* without a connection, the next one that becomes ready is probed */
    else if (!send_datagram(address, probe))
        probe_unsent(address, errno);
}

/* ---- Connections
 * -------------------------------------------------------------------------------------------------- */

static struct address *address_of(const struct stream *stream)
{
    return (struct address *)((char *)stream->peer - offsetof(struct address, peer));
}

/* Writes to the stream what waits for one. */
static void serve_waiting(struct stream *stream)
{
    struct address *address = address_of(stream);

    while (address->waiting.first != NULL && stream_usable(stream)) {
        struct exchange *exchange = address->waiting.first;

        exchange_list_remove(&address->waiting, exchange);
        prepare(address, exchange, true);
        if (!stream_send(stream, exchange)) {
            wait_for_stream(address, exchange);
            break;
        }
        note_sent(exchange);
    }
}

static void on_ready(struct stream *stream)
{
    struct address *address = address_of(stream);
    bool unproved = address->config->transport == TRANSPORT_PLAIN &&
                    reachability_state(&address->peer.reachability) != IDENTITY_VALID;

    serve_waiting(stream);
    if (address->health.failures > 0 || unproved)
        address_probe(address);
    else if (!ev_is_active(&address->timer))
        address_watch(address);
}

/* Notes the queries that were out on a closed connection; the probe is no loss. */
static void lose_exchanges(struct stream *stream, struct exchanges *exchanges)
{
    struct exchange *exchange;

    while ((exchange = pipeline_take_any(&stream->pipeline)) != NULL) {
        if (exchange->events == &probe_events)
            continue;
        if (exchange->events->lost != NULL) {
            exchange->events->lost(exchange);
            continue;
        }
        exchange->excused = stream->pipeline.answers > 0;
        exchange_list_push(&exchanges->lost, exchange);
        exchange->state = EXCHANGE_LOST;
    }
}

/* Opens the next connection without waiting for a query when one is likely. A server that closes connections before
 * anything was answered on them is called again only when there is a question. */
static void reopen(struct address *address, bool wanted, bool progress)
{
    bool warm = progress && clock_ms() - address->health.asked_ms < KEEP_WARM_MS;

    if (stream_in(address, STREAM_CONNECTING, STREAM_READY) == NULL &&
        (wanted || warm || address->waiting.first != NULL))
        address_open_stream(address);
}

static void on_closed(struct stream *stream, bool was_ready, const char *reason)
{
    struct address *address = address_of(stream);
    struct exchanges *exchanges = address->exchanges;
    bool wanted = stream->pipeline.outstanding > 0;
    bool progress = stream->pipeline.answers > 0;

    if (exchanges->closing)
        return;
    if (stream->local) {
        stream_lacking(address, reason);
        return;
    }
    /* No answer ever, and it closed on us: that is a failure, or a server that hangs up would be called again without a
     * pause. */
    if (!was_ready || (wanted && !progress))
        address_failed(address, ADDRESS_NO_CONNECTION, reason);
    lose_exchanges(stream, exchanges);
    if (was_ready)
        reopen(address, wanted, progress);
    if (stream_in(address, STREAM_CONNECTING, STREAM_READY) == NULL) {
        address->move_waiting = true;
        exchanges->unsettled = true;
    }
}

static void on_late(struct stream *stream)
{
    address_credit(address_of(stream));
}

static const struct stream_events stream_events = {
    .ready = on_ready, .has_room = serve_waiting, .late = on_late, .closed = on_closed};

/* The probe is out for HEALTH_PROBE_MS without an answer. */
static void probe_failed(struct address *address)
{
    struct stream *stream = address->probe.stream;

    address_forget(&address->probe);
    if (stream != NULL) /* it took the question and stays silent */
        stream_close(stream, "probe not answered");
    address_failed(address, ADDRESS_NO_ANSWER, "probe not answered");
}

/* Gets a failed address a connection that a probe can be sent on. */
static void connect_again(struct address *address)
{
    struct stream *suspect = stream_in(address, STREAM_READY, STREAM_READY);

    if (stream_in(address, STREAM_IDLE, STREAM_IDLE) == NULL && suspect != NULL)
        stream_close(suspect, "no answer");
    address_open_stream(address);
    if (!ev_is_active(&address->timer)) /* it did not fail at once */
        set_timer(address, health_pause_ms(&address->health));
}

/* There may be descriptors again. */
static void open_after_lack(struct address *address)
{
    address->lacked = false;
    reopen(address, false, true);
    if (!ev_is_active(&address->timer))
        address_watch(address);
}

static void on_address_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct address *address = timer->data;
    struct health_need need = need_of(address);

    (void)loop, (void)revents;
    if (address->probe.state != EXCHANGE_FREE)
        probe_failed(address);
    else if (address->lacked)
        open_after_lack(address);
    else if (address->health.failures > 0 && address->health.streams && address_stream(address) == NULL)
        connect_again(address);
    else if (health_probe_is_due(&address->health, &need, clock_us()))
        address_probe(address);
    else
        address_watch(address);
}

/* Another thread doubts that the address works: a probe over a connection of ours tells all. */
static void answer_doubt(struct address *address)
{
    if (address_stream(address) != NULL && address->health.failures == 0 &&
        reachability_is_doubted(&address->peer.reachability, address->health.answered_us / 1000))
        address_probe(address);
}

/* Its proof is due, and nobody else can make it: the next connection makes a full handshake. */
static void renew(struct address *address)
{
    struct stream *stream = address_stream(address);

    if (stream == NULL || !reachability_must_renew(&address->peer.reachability))
        return;
    tickets_drop(&address->peer.tickets);
    stream_drain(stream);
}

void address_recheck(struct address *address)
{
    uint32_t epoch = reachability_epoch(&address->peer.reachability);
    bool mismatch = identity_state_refused(reachability_state(&address->peer.reachability));

    for (unsigned i = 0; i < address->stream_count; i++) {
        struct stream *stream = &address->streams[i];

        if (stream->state >= STREAM_READY && (mismatch || stream->epoch != epoch))
            stream_close(stream, "identity mismatch");
    }
    address->peers->changed(address->peers);
    answer_doubt(address);
    renew(address);
    if (mismatch) {
        tickets_drop(&address->peer.tickets);
        address->move_waiting = true;
        address->exchanges->unsettled = true;
    } else if (stream_in(address, STREAM_CONNECTING, STREAM_READY) == NULL) {
        address_open_stream(address);
    }
}

bool address_init(struct address *address, size_t index, const struct address_setup *setup)
{
    address->exchanges = setup->exchanges;
    address->peers = setup->peers;
    address->config = setup->config;
    address->health.streams = upstream_uses_streams(setup->config);
    address->peer = (struct stream_peer){.exchanges = setup->exchanges,
                                         .events = &stream_events,
                                         .config = setup->config,
                                         .endpoint = setup->config->addresses[index],
                                         .trust = setup->trust,
                                         .reachability = {.config = setup->config,
                                                          .status = setup->status,
                                                          .thread = setup->exchanges->thread,
                                                          .changed = setup->changed,
                                                          .context = setup->context}};
    address->probe.events = &probe_events;
    address->dialect.status = setup->status;
    address->row = setup->row;
    ev_init(&address->timer, on_address_timer);
    address->timer.data = address;
    address->open_max = setup->open_max;
    address->stream_count = setup->open_max + ADDRESS_STREAMS_SUSPECT;
    address->streams = calloc(address->stream_count, sizeof(struct stream));
    for (unsigned i = 0; address->streams != NULL && i < address->stream_count; i++)
        address->streams[i].peer = &address->peer;
    return address->streams != NULL;
}

void address_close(struct address *address)
{
    if (address->exchanges == NULL)
        return; /* never initialized */
    address_forget(&address->probe);
    ev_timer_stop(address->exchanges->loop, &address->timer);
    for (unsigned i = 0; address->streams != NULL && i < address->stream_count; i++)
        stream_close(&address->streams[i], "closing");
    tickets_drop(&address->peer.tickets);
    free(address->streams);
}

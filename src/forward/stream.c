#include "nodedot/forward/stream.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/socket.h"
#include "nodedot/observe/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* TCP and TLS together. Long enough for a lost SYN to be sent again (1 s, RFC 6298), short enough that a client still
 * gets an answer from the next try within its own 5 s. */
#define STREAM_CONNECT_S 2.5
/* Public resolvers close after about 10 s without a query; we go first, so that no query crosses their FIN. */
#define STREAM_IDLE_MS 9000
/* Reads in one turn before others have their turn. */
#define STREAM_READS 16
/* The shortest idle limit that we believe a server to have. */
#define STREAM_IDLE_MIN_MS 500
/* An announced keepalive timeout is reduced by this: our FIN may take this long to arrive. */
#define STREAM_KEEPALIVE_MARGIN_MS 500

static struct exchanges *exchanges_of(const struct stream *stream)
{
    return stream->peer->exchanges;
}

static void on_io(struct ev_loop *loop, ev_io *io, int revents);

static void watch(struct stream *stream, int events)
{
    struct ev_loop *loop = exchanges_of(stream)->loop;

    if (stream->events == events)
        return;
    ev_io_stop(loop, &stream->io);
    ev_io_set(&stream->io, stream->fd, events);
    if (events != 0)
        ev_io_start(loop, &stream->io);
    stream->events = events;
}

static void set_timer(struct stream *stream, double seconds)
{
    struct ev_loop *loop = exchanges_of(stream)->loop;

    ev_timer_stop(loop, &stream->timer);
    ev_timer_set(&stream->timer, seconds, 0.);
    ev_timer_start(loop, &stream->timer);
}

/* The address's row of the status page; what is counted there is counted together with the thread's own block. */
static struct address_status *status_of(const struct stream *stream)
{
    return stream->peer->reachability.status;
}

static void count_connect_failure(const struct stream *stream)
{
    metric_inc(exchanges_of(stream)->metrics, upstream_connect_failures_total);
    atomic_fetch_add_explicit(&status_of(stream)->connect_failures, 1, memory_order_relaxed);
}

/* The one place that moves the state. */
static void set_state(struct stream *stream, enum stream_state state)
{
    struct metrics *metrics = exchanges_of(stream)->metrics;
    bool was_ready = stream->state == STREAM_READY || stream->state == STREAM_DRAINING;
    bool is_ready = state == STREAM_READY || state == STREAM_DRAINING;

    if (was_ready != is_ready) {
        metric_add(metrics, upstream_connections, is_ready ? 1 : -1);
        atomic_fetch_add_explicit(&status_of(stream)->connections, is_ready ? 1 : UINT64_MAX, memory_order_relaxed);
        stream->peer->ready += is_ready ? 1 : UINT_MAX;
        reachability_hold(&stream->peer->reachability, stream->peer->ready > 0);
    }
    stream->state = state;
}

/* For who looks closely: every connection's beginning and end. */
static void log_life(const struct stream *stream, const char *what, const char *reason)
{
    char address[ENDPOINT_TEXT];

    log_debug(what, log_s("upstream", stream->peer->config->name),
              log_s("address", endpoint_format(&status_of(stream)->endpoint, address)), log_s("reason", reason));
}

void stream_close(struct stream *stream, const char *reason)
{
    struct exchanges *exchanges = exchanges_of(stream);
    bool was_ready = stream->state == STREAM_READY || stream->state == STREAM_DRAINING;
    char why[TLS_ERROR]; /* the reason may be a text of the TLS connection that ends here */

    if (stream->state == STREAM_IDLE)
        return;
    snprintf(why, sizeof(why), "%s", reason);
    log_life(stream, was_ready ? "upstream connection closed" : "upstream connection did not become ready", why);
    if (!was_ready && !stream->local)
        count_connect_failure(stream);
    if (was_ready && stream->tls != NULL)
        tickets_keep(&stream->peer->tickets, tls_take_ticket(stream->tls), stream->epoch, stream->proved_ms);
    watch(stream, 0);
    ev_timer_stop(exchanges->loop, &stream->timer);
    ev_timer_stop(exchanges->loop, &stream->more);
    if (stream->tls != NULL)
        tls_close(stream->tls);
    stream->tls = NULL;
    close(stream->fd);
    stream->pipeline.open = false;
    set_state(stream, STREAM_IDLE);
    stream->peer->events->closed(stream, was_ready, why);
}

static void become_ready(struct stream *stream)
{
    uint32_t limit = stream->peer->idle_ms;

    stream->idle_ms = limit != 0 ? limit : STREAM_IDLE_MS;
    stream->used_ms = clock_ms();
    stream->answered_us = clock_us();
    set_state(stream, STREAM_READY);
    log_life(stream, "upstream connection is ready",
             stream->tls == NULL        ? "TCP"
             : tls_resumed(stream->tls) ? "resumed handshake"
                                        : "full handshake");
    set_timer(stream, stream->idle_ms / 1000.);
    watch(stream, EV_READ);
    stream->peer->events->ready(stream);
}

/* A resumed session shows no certificate: it counts only while the proof that earned it does. */
static bool resumption_holds(const struct stream *stream)
{
    const struct reachability *reachability = &stream->peer->reachability;
    uint64_t life_ms = (uint64_t)reachability->config->revalidate * 1000;

    return stream->epoch == reachability_epoch(reachability) &&
           !identity_state_refused(reachability_state(reachability)) && stream->proved_ms != 0 &&
           clock_ms() - stream->proved_ms < life_ms;
}

static void finish_handshake(struct stream *stream)
{
    struct exchanges *exchanges = exchanges_of(stream);

    if (tls_resumed(stream->tls)) {
        if (!resumption_holds(stream)) {
            stream_close(stream, "resumed session is older than its proof");
            return;
        }
        metric_inc(exchanges->metrics, handshakes_resumed_total);
        atomic_fetch_add_explicit(&status_of(stream)->handshakes_resumed, 1, memory_order_relaxed);
    } else {
        metric_inc(exchanges->metrics, handshakes_full_total);
        atomic_fetch_add_explicit(&status_of(stream)->handshakes_full, 1, memory_order_relaxed);
        if (!reachability_judge(&stream->peer->reachability, stream->peer->trust, stream->tls, exchanges->metrics)) {
            stream_close(stream, "identity mismatch");
            return;
        }
        stream->proved_ms = clock_ms();
        stream->epoch = reachability_epoch(&stream->peer->reachability);
    }
    become_ready(stream);
}

static void continue_handshake(struct stream *stream)
{
    switch (tls_handshake(stream->tls)) {
    case TLS_DONE:
        finish_handshake(stream);
        break;
    case TLS_WANT_READ:
        watch(stream, EV_READ);
        break;
    case TLS_WANT_WRITE:
        watch(stream, EV_READ | EV_WRITE);
        break;
    case TLS_CLOSED:
        stream_close(stream, "closed during the handshake");
        break;
    case TLS_FAILED:
        stream_close(stream, tls_error(stream->tls));
        break;
    }
}

static void finish_connect(struct stream *stream)
{
    struct stream_peer *peer = stream->peer;
    uint64_t life_ms = (uint64_t)peer->config->revalidate * 1000;
    struct tls_ticket *ticket;
    int err = 0;
    socklen_t size = sizeof(err);

    getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &err, &size);
    if (err != 0) {
        stream_close(stream, strerror(err));
        return;
    }
    if (peer->trust == NULL) {
        become_ready(stream);
        return;
    }
    stream->epoch = reachability_epoch(&peer->reachability);
    ticket = tickets_take(&peer->tickets, stream->epoch, life_ms, &stream->proved_ms);
    stream->tls = tls_open(peer->trust, stream->fd, peer->config->server_name, ticket);
    if (stream->tls == NULL) {
        stream->local = true;
        stream_close(stream, "out of memory");
        return;
    }
    set_state(stream, STREAM_HANDSHAKE);
    continue_handshake(stream);
}

/* Hands on what has come. False: the connection was closed meanwhile. */
static bool take_messages(struct stream *stream)
{
    struct pipeline *pipeline = &stream->pipeline;
    uint64_t answers = pipeline->answers, late = pipeline->late;
    enum pipeline_result result = pipeline_receive(pipeline, exchanges_of(stream)->metrics);

    if (result == PIPELINE_CLOSED)
        return false;
    if (result == PIPELINE_NONSENSE) {
        stream_close(stream, "too many messages that answer nothing");
        return false;
    }
    if (pipeline->late != late)
        stream->peer->events->late(stream);
    if (pipeline->answers != answers || pipeline->late != late) {
        stream->suspect = false;
        stream->answered_us = clock_us();
        stream->used_ms = stream->answered_us / 1000;
    }
    return true;
}

static enum tls_result read_socket(struct stream *stream, uint8_t *out, size_t capacity, size_t *size)
{
    ssize_t n;

    if (stream->tls != NULL)
        return tls_read(stream->tls, out, capacity, size);
    n = recv(stream->fd, out, capacity, 0);
    *size = n > 0 ? (size_t)n : 0;
    if (n > 0)
        return TLS_DONE;
    if (n == 0)
        return TLS_CLOSED;
    return errno == EAGAIN || errno == EINTR ? TLS_WANT_READ : TLS_FAILED;
}

/* A server that closes a connection without queries twice in a row shows how long it keeps idle ones: next time we go
 * first. Once may have been a restart. */
static void learn_idle_limit(struct stream *stream)
{
    struct stream_peer *peer = stream->peer;
    uint32_t idle = (uint32_t)(clock_ms() - stream->used_ms);
    uint32_t longer = idle > peer->idle_hint_ms ? idle : peer->idle_hint_ms;

    if (stream->pipeline.outstanding > 0 || stream->pipeline.answers == 0)
        return;
    if (peer->idle_hint_ms != 0 && longer < stream->idle_ms && longer / 10 * 9 >= STREAM_IDLE_MIN_MS)
        peer->idle_ms = longer / 10 * 9;
    peer->idle_hint_ms = idle;
}

/* Our own limit was kept, so it may be too short: a quarter more next time, up to what is usual. An announced one is
 * announced again. */
static void relax_idle_limit(struct stream_peer *peer)
{
    peer->idle_hint_ms = 0;
    if (peer->idle_ms != 0 && peer->idle_ms < STREAM_IDLE_MS)
        peer->idle_ms = peer->idle_ms / 4 * 5 < STREAM_IDLE_MS ? peer->idle_ms / 4 * 5 : STREAM_IDLE_MS;
}

/* Tickets of TLS 1.3 come behind the handshake: the first read brings them. */
static void keep_ticket(struct stream *stream)
{
    if (stream->tls == NULL || stream->ticket_kept)
        return;
    tickets_keep(&stream->peer->tickets, tls_take_ticket(stream->tls), stream->epoch, stream->proved_ms);
    stream->ticket_kept = true;
}

static void after_read(struct stream *stream)
{
    keep_ticket(stream);
    if (stream->state == STREAM_DRAINING && stream->pipeline.outstanding == 0)
        stream_close(stream, "drained");
    else
        stream->peer->events->has_room(stream);
}

static void read_messages(struct stream *stream)
{
    for (int i = 0; i < STREAM_READS; i++) {
        size_t size = 0;
        enum tls_result result = read_socket(stream, stream->pipeline.in + stream->pipeline.in_used,
                                             PIPELINE_IN - stream->pipeline.in_used, &size);

        if (result == TLS_WANT_READ) {
            if (i > 0)
                after_read(stream);
            return;
        }
        if (result != TLS_DONE) {
            learn_idle_limit(stream);
            stream_close(stream, result == TLS_CLOSED  ? "closed by the upstream"
                                 : stream->tls != NULL ? tls_error(stream->tls)
                                                       : strerror(errno));
            return;
        }
        stream->pipeline.in_used += size;
        if (!take_messages(stream))
            return;
    }
    after_read(stream);
    /* Octets may wait inside the TLS layer, where no event of the socket tells of them. A timer, because an event that
     * is fed would come before all others. */
    if (stream->state >= STREAM_READY)
        ev_timer_start(exchanges_of(stream)->loop, &stream->more);
}

static void on_more(struct ev_loop *loop, ev_timer *timer, int revents)
{
    (void)loop, (void)revents;
    read_messages(timer->data);
}

/* Goes on with what the socket did not take. */
static void continue_write(struct stream *stream)
{
    enum tls_result result = stream->tls != NULL ? tls_flush(stream->tls) : TLS_DONE;

    if (result == TLS_WANT_WRITE)
        return;
    if (result != TLS_DONE) {
        stream_close(stream, tls_error(stream->tls));
        return;
    }
    stream->write_blocked = false;
    watch(stream, EV_READ);
    stream_flush(stream);
    stream->peer->events->has_room(stream);
}

static void on_io(struct ev_loop *loop, ev_io *io, int revents)
{
    struct stream *stream = io->data;

    (void)loop;
    switch (stream->state) {
    case STREAM_CONNECTING:
        finish_connect(stream);
        break;
    case STREAM_HANDSHAKE:
        continue_handshake(stream);
        break;
    case STREAM_READY:
    case STREAM_DRAINING:
        if ((revents & EV_WRITE) != 0 && stream->write_blocked)
            continue_write(stream);
        if ((revents & EV_READ) != 0 && stream->state >= STREAM_READY)
            read_messages(stream);
        break;
    case STREAM_IDLE:
        break;
    }
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct stream *stream = timer->data;
    uint64_t unused_ms = clock_ms() - stream->used_ms;

    (void)loop, (void)revents;
    if (stream->state < STREAM_READY) {
        stream_close(stream, stream->state == STREAM_CONNECTING ? "connect timed out" : "handshake timed out");
        return;
    }
    if (stream->pipeline.outstanding == 0 && unused_ms >= stream->idle_ms) {
        relax_idle_limit(stream->peer);
        stream_close(stream, "idle");
        return;
    }
    set_timer(stream, (double)(unused_ms < stream->idle_ms ? stream->idle_ms - unused_ms : stream->idle_ms) / 1000.);
}

void stream_open(struct stream *stream)
{
    struct exchanges *exchanges = exchanges_of(stream);

    stream->events = 0;
    stream->write_blocked = false;
    stream->local = false;
    stream->suspect = false;
    stream->ticket_kept = false;
    pipeline_open(&stream->pipeline);
    stream->proved_ms = 0;
    metric_inc(exchanges->metrics, upstream_connects_total);
    atomic_fetch_add_explicit(&status_of(stream)->connects, 1, memory_order_relaxed);
    stream->fd = socket_open_tcp(&stream->peer->endpoint);
    if (stream->fd < 0) {
        int error = errno;

        stream->local = socket_error_is_local(error);
        if (!stream->local)
            count_connect_failure(stream);
        stream->peer->events->closed(stream, false, strerror(error));
        return;
    }
    ev_init(&stream->timer, on_timer);
    ev_io_init(&stream->io, on_io, stream->fd, EV_WRITE);
    ev_timer_init(&stream->more, on_more, 0., 0.);
    stream->timer.data = stream;
    stream->more.data = stream;
    stream->io.data = stream;
    set_state(stream, STREAM_CONNECTING);
    set_timer(stream, STREAM_CONNECT_S);
    watch(stream, EV_WRITE);
}

/* In the list of those that stream_flush() is called for before the loop sleeps. */
static void mark_dirty(struct stream *stream)
{
    struct exchanges *exchanges = exchanges_of(stream);

    if (stream->dirty)
        return;
    stream->dirty = true;
    stream->next_dirty = exchanges->dirty;
    exchanges->dirty = stream;
}

bool stream_send(struct stream *stream, struct exchange *exchange)
{
    if (!stream_usable(stream))
        return false;
    if (!pipeline_has_room(&stream->pipeline))
        stream_flush(stream);
    if (!stream_usable(stream) || !pipeline_has_room(&stream->pipeline))
        return false;
    exchange->stream = stream;
    pipeline_add(&stream->pipeline, exchange);
    mark_dirty(stream);
    return true;
}

void stream_forget(struct stream *stream, struct exchange *exchange)
{
    pipeline_forget(&stream->pipeline, exchange);
}

/* Bare TCP has no layer that keeps what the socket does not take: the rest moves to the front. */
static enum tls_result write_socket(struct stream *stream)
{
    ssize_t n;

    if (stream->tls != NULL) {
        enum tls_result result = tls_write(stream->tls, stream->pipeline.out, stream->pipeline.out_used);

        stream->pipeline.out_used = 0;
        return result;
    }
    n = send(stream->fd, stream->pipeline.out, stream->pipeline.out_used, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return TLS_FAILED;
    if (n < 0)
        n = 0;
    stream->pipeline.out_used -= (size_t)n;
    memmove(stream->pipeline.out, stream->pipeline.out + n, stream->pipeline.out_used);
    return stream->pipeline.out_used > 0 ? TLS_WANT_WRITE : TLS_DONE;
}

void stream_flush(struct stream *stream)
{
    if (stream->pipeline.out_used == 0 || stream->write_blocked || stream->state < STREAM_READY)
        return;
    stream->used_ms = clock_ms();
    switch (write_socket(stream)) {
    case TLS_DONE:
        break;
    case TLS_WANT_WRITE:
        stream->write_blocked = true;
        watch(stream, EV_READ | EV_WRITE);
        break;
    default:
        stream_close(stream, stream->tls != NULL ? tls_error(stream->tls) : strerror(errno));
    }
}

static void set_idle(struct stream *stream, uint32_t idle_ms)
{
    stream->peer->idle_ms = idle_ms;
    if (stream->idle_ms == idle_ms)
        return;
    stream->idle_ms = idle_ms;
    set_timer(stream, idle_ms / 1000.);
}

void stream_drain(struct stream *stream)
{
    if (stream->state != STREAM_READY)
        return;
    if (stream->pipeline.outstanding == 0) {
        stream_close(stream, "drained");
        return;
    }
    set_state(stream, STREAM_DRAINING);
}

void stream_take_keepalive(struct stream *stream, uint16_t keepalive)
{
    uint32_t announced = (uint32_t)keepalive * 100;

    if (announced == 0) /* RFC 7828 section 3.4: close as soon as possible */
        stream_drain(stream);
    else
        set_idle(stream,
                 announced > 2 * STREAM_KEEPALIVE_MARGIN_MS ? announced - STREAM_KEEPALIVE_MARGIN_MS : announced / 2);
}

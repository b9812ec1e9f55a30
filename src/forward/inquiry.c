#include "nodedot/forward/inquiry.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/forward/socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A datagram may be lost: it is sent again, with another port and ID, after this time. */
#define INQUIRY_AGAIN_MS 1000

static void finish(struct inquiry *ask, enum inquiry_outcome outcome, const char *reason)
{
    ask->outcome = outcome;
    snprintf(ask->reason, sizeof(ask->reason), "%s", reason);
    handshake_end(&ask->handshake);
    if (ask->pipeline != NULL)
        ask->pipeline->open = false;
    ask->state = INQUIRY_DONE;
}

/* Streams. */

static void connect_stream(struct inquiry *ask)
{
    ask->state = INQUIRY_CONNECTING;
    ask->over = ask->trust != NULL ? "TLS" : "TCP";
    ask->exchange.form.stream = true;
    ask->events = POLLOUT;
    pipeline_open(ask->pipeline);
    if (!handshake_begin(&ask->handshake, ask->trust, ask->address, ask->upstream->server_name))
        finish(ask, INQUIRY_UNREACHABLE, ask->handshake.error);
}

/* Strict profile (RFC 8310): false before the peer has proved who it is, and nothing is written to it then. */
static bool prove(struct inquiry *ask)
{
    struct tls *tls = ask->handshake.tls;

    if (ask->trust == NULL)
        return true;
    if (tls == NULL)
        return false;
    snprintf(ask->version, sizeof(ask->version), "%s", tls_version(tls));
    snprintf(ask->cipher, sizeof(ask->cipher), "%s", tls_cipher(tls));
    identity_check(ask->upstream, ask->address, ask->trust, tls, clock_wall_seconds(), &ask->identity);
    return ask->identity.proved;
}

/* Short messages on a connection without others: the socket's buffer takes them whole. */
static void ask_stream(struct inquiry *ask)
{
    struct pipeline *pipeline = ask->pipeline;
    struct tls *tls = ask->handshake.tls;

    pipeline_add(pipeline, &ask->exchange);
    size_t size = pipeline->out_used;
    pipeline->out_used = 0;
    ask->state = INQUIRY_READING;
    ask->events = POLLIN;
    if (tls == NULL) {
        if (send(ask->handshake.fd, pipeline->out, size, MSG_NOSIGNAL) != (ssize_t)size)
            finish(ask, INQUIRY_SILENT, strerror(errno));
        return;
    }
    switch (tls_write(tls, pipeline->out, size)) {
    case TLS_DONE:
        break;
    case TLS_WANT_WRITE:
        ask->events = POLLIN | POLLOUT;
        break;
    default:
        finish(ask, INQUIRY_SILENT, tls_error(tls));
    }
}

static void go_on_connecting(struct inquiry *ask)
{
    switch (handshake_continue(&ask->handshake)) {
    case TLS_WANT_READ:
        ask->events = POLLIN;
        break;
    case TLS_WANT_WRITE:
        ask->events = POLLIN | POLLOUT;
        break;
    case TLS_DONE:
        ask->connected_us = (uint32_t)(clock_us() - ask->began_us);
        if (prove(ask))
            ask_stream(ask);
        else
            finish(ask, INQUIRY_MISMATCH, ask->identity.reason);
        break;
    default:
        finish(ask, INQUIRY_UNREACHABLE, ask->handshake.error);
    }
}

/* Answers. */

static void ask_datagram(struct inquiry *ask);

static void take_answer(struct inquiry *ask, const struct exchange_answer *answer)
{
    ask->answered_us = (uint32_t)(clock_us() - ask->exchange.sent_us);
    ask->answer_size = answer->size;
    memcpy(ask->out, answer->message, ask->answer_size);
    ask->answer = ask->out;
    ask->info = answer->info;
    finish(ask, INQUIRY_ANSWERED, "");
}

/* The exchange is asked once more, in another form or another way. */
static void forget(struct inquiry *ask)
{
    if (ask->exchange.state == EXCHANGE_STREAM)
        pipeline_forget(ask->pipeline, &ask->exchange);
    ask->exchange.state = EXCHANGE_FREE;
}

static void on_answered(struct exchange *exchange, enum exchange_verdict verdict)
{
    struct inquiry *ask = exchange->owner;
    bool stream = exchange->form.stream;

    forget(ask);
    if (verdict == EXCHANGE_ANSWERED) {
        take_answer(ask, &exchange->exchanges->answer);
    } else if (verdict == EXCHANGE_DISLIKES_EDNS && exchange_make_plainer(&exchange->form)) {
        if (stream)
            ask_stream(ask);
        else
            ask_datagram(ask);
    } else if (stream) {
        finish(ask, INQUIRY_SILENT, "its answer is cut");
    } else {
        handshake_end(&ask->handshake);
        connect_stream(ask);
    }
}

static const struct exchange_events inquiry_events = {.answered = on_answered};

static enum tls_result read_some(struct inquiry *ask, size_t *size)
{
    struct pipeline *pipeline = ask->pipeline;
    uint8_t *at = pipeline->in + pipeline->in_used;
    size_t room = PIPELINE_IN - pipeline->in_used;

    if (ask->handshake.tls != NULL)
        return tls_read(ask->handshake.tls, at, room, size);
    ssize_t n = recv(ask->handshake.fd, at, room, 0);
    *size = n > 0 ? (size_t)n : 0;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? TLS_WANT_READ : TLS_FAILED;
    return n > 0 ? TLS_DONE : TLS_CLOSED;
}

/* Looks at the whole messages that have come. */
static void take_messages(struct inquiry *ask)
{
    if (pipeline_receive(ask->pipeline, ask->exchange.exchanges->metrics) == PIPELINE_NONSENSE)
        finish(ask, INQUIRY_SILENT, "sends messages that answer nothing");
}

static void go_on_reading(struct inquiry *ask)
{
    struct tls *tls = ask->handshake.tls;

    if ((ask->events & POLLOUT) != 0 && tls_flush(tls) == TLS_DONE)
        ask->events = POLLIN;
    while (ask->state == INQUIRY_READING) {
        size_t size;

        switch (read_some(ask, &size)) {
        case TLS_DONE:
            ask->pipeline->in_used += size;
            take_messages(ask);
            break;
        case TLS_CLOSED:
            finish(ask, INQUIRY_SILENT, "closed the connection instead of answering");
            break;
        case TLS_FAILED:
            finish(ask, INQUIRY_SILENT, tls != NULL ? tls_error(tls) : strerror(errno));
            break;
        default:
            return;
        }
    }
}

/* Datagrams. */

static bool send_datagram(struct inquiry *ask)
{
    struct exchange *exchange = &ask->exchange;
    uint8_t message[MESSAGE_QUERY_MAX];

    exchange->id = random_u16();
    exchange->state = EXCHANGE_DATAGRAM;
    exchange->sent_us = clock_us();
    size_t size = exchange_write(&exchange->form, exchange->id, message, sizeof(message));
    return send(ask->handshake.fd, message, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static void ask_datagram(struct inquiry *ask)
{
    handshake_end(&ask->handshake);
    ask->state = INQUIRY_DATAGRAM;
    ask->over = "UDP";
    ask->events = POLLIN;
    ask->again_ms = clock_ms() + INQUIRY_AGAIN_MS;
    ask->handshake.fd = socket_open_udp(ask->address);
    if (ask->handshake.fd < 0 || !send_datagram(ask))
        finish(ask, INQUIRY_UNREACHABLE, strerror(errno));
}

static void read_datagram(struct inquiry *ask)
{
    uint8_t *message = ask->pipeline->in;
    ssize_t n = recv(ask->handshake.fd, message, MESSAGE_MAX_OCTETS, 0);

    if (n >= MESSAGE_HEADER && wire_get_u16(message) == ask->exchange.id)
        exchange_receive(&ask->exchange, message, (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        finish(ask, INQUIRY_UNREACHABLE, strerror(errno));
}

/* Nobody answered in time. A server that is silent to EDNS answers the next one, as it does in the daemon. */
static void ask_datagram_again(struct inquiry *ask)
{
    forget(ask);
    exchange_make_plainer(&ask->exchange.form);
    ask_datagram(ask);
}

/* All of them. */

static void begin(struct inquiry *ask, const struct question *question, uint32_t timeout_ms,
                  struct exchanges *exchanges, struct pipeline *pipeline)
{
    bool tls = ask->trust != NULL;

    *ask = (struct inquiry){.upstream = ask->upstream,
                            .address = ask->address,
                            .trust = ask->trust,
                            .out = ask->out,
                            .over = "",
                            .exchange = {.events = &inquiry_events, .owner = ask, .exchanges = exchanges},
                            .pipeline = pipeline,
                            .handshake = {.fd = -1},
                            .began_us = clock_us(),
                            .deadline_ms = clock_ms() + timeout_ms};
    ask->exchange.form =
        (struct exchange_form){.question = question, .padded = tls, .authenticated = tls, .edns = true};
    if (pipeline == NULL)
        finish(ask, INQUIRY_UNREACHABLE, "out of memory");
    else if (upstream_uses_streams(ask->upstream))
        connect_stream(ask);
    else
        ask_datagram(ask);
}

static void go_on(struct inquiry *ask)
{
    switch (ask->state) {
    case INQUIRY_CONNECTING:
        go_on_connecting(ask);
        break;
    case INQUIRY_READING:
        go_on_reading(ask);
        break;
    case INQUIRY_DATAGRAM:
        read_datagram(ask);
        break;
    case INQUIRY_DONE:
        break;
    }
}

static void look_at_clock(struct inquiry *ask, uint64_t now)
{
    if (now < ask->deadline_ms) {
        if (ask->state == INQUIRY_DATAGRAM && now >= ask->again_ms)
            ask_datagram_again(ask);
        return;
    }
    if (ask->state == INQUIRY_READING)
        finish(ask, INQUIRY_SILENT, "no answer in time");
    else if (ask->state == INQUIRY_DATAGRAM)
        finish(ask, INQUIRY_UNREACHABLE, "no answer in time");
    else
        finish(ask, INQUIRY_UNREACHABLE, ask->handshake.tls == NULL ? "connect timed out" : "handshake timed out");
}

/* Fills in what to wait for, and returns how long at most; -1: all are done. */
static int prepare(struct inquiry *asks, size_t count, struct pollfd *polls)
{
    uint64_t now = clock_ms(), next = UINT64_MAX;

    for (size_t i = 0; i < count; i++) {
        struct inquiry *ask = &asks[i];

        if (ask->state != INQUIRY_DONE)
            look_at_clock(ask, now);
        polls[i] = (struct pollfd){.fd = -1};
        if (ask->state == INQUIRY_DONE)
            continue;
        polls[i] = (struct pollfd){.fd = ask->handshake.fd, .events = ask->events};
        if (ask->deadline_ms < next)
            next = ask->deadline_ms;
        if (ask->state == INQUIRY_DATAGRAM && ask->again_ms < next)
            next = ask->again_ms;
    }
    if (next == UINT64_MAX)
        return -1;
    return next > now ? (int)(next - now) : 0;
}

/* What is shared while they are asked. */
struct inquiry_room {
    struct exchanges exchanges;
    struct metrics metrics; /* nobody reads them */
    struct pipeline pipelines[];
};

void inquiry_ask(struct inquiry *asks, size_t count, const struct question *question, uint32_t timeout_ms)
{
    struct inquiry_room *room = calloc(1, sizeof(*room) + count * sizeof(room->pipelines[0]));
    struct pollfd *polls = calloc(count, sizeof(*polls));
    bool enough = room != NULL && polls != NULL;

    if (enough)
        room->exchanges.metrics = &room->metrics;
    for (size_t i = 0; i < count; i++)
        begin(&asks[i], question, timeout_ms, &room->exchanges, enough ? &room->pipelines[i] : NULL);
    for (int wait_ms; enough && (wait_ms = prepare(asks, count, polls)) >= 0;) {
        if (poll(polls, count, wait_ms) <= 0)
            continue; /* the time of one of them has come, or a signal */
        for (size_t i = 0; i < count; i++)
            if (polls[i].revents != 0)
                go_on(&asks[i]);
    }
    free(polls);
    free(room);
}

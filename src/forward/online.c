#include "nodedot/forward/online.h"

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

/* A datagram may be lost: it is sent again, with another port and ID, after so long. */
#define ONLINE_AGAIN_MS 1000

static void finish(struct online *ask, enum online_outcome outcome, const char *reason)
{
    ask->outcome = outcome;
    snprintf(ask->reason, sizeof(ask->reason), "%s", reason);
    handshake_end(&ask->handshake);
    ask->state = ONLINE_DONE;
}

/* Writes what the daemon would write to this upstream. */
static size_t write_query(struct online *ask, uint8_t *out)
{
    struct query_style style = {
        .id = ask->id = random_u16(),
        .keepalive = ask->state != ONLINE_DATAGRAM,
        .padding_block = ask->trust != NULL ? EDNS_PADDING_BLOCK : 0,
        .edns = !ask->without_edns,
    };

    ask->asked_us = clock_us();
    return query_write(out, MESSAGE_QUERY_MAX, ask->question, &style);
}

/* Streams. */

static void connect_stream(struct online *ask)
{
    ask->state = ONLINE_CONNECTING;
    ask->over = ask->trust != NULL ? "TLS" : "TCP";
    ask->in_used = 0;
    ask->events = POLLOUT;
    if (!handshake_begin(&ask->handshake, ask->trust, ask->address, ask->upstream->server_name))
        finish(ask, ONLINE_UNREACHABLE, ask->handshake.error);
}

/* Strict profile (RFC 8310): false before the peer has proved who it is, and nothing is written to it then. */
static bool prove(struct online *ask)
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

/* One short message on a fresh connection: the socket's buffer takes it whole. */
static void ask_stream(struct online *ask)
{
    uint8_t out[2 + MESSAGE_QUERY_MAX];
    size_t size = write_query(ask, out + 2);

    wire_put_u16(out, (uint16_t)size);
    ask->state = ONLINE_READING;
    ask->events = POLLIN;
    if (ask->handshake.tls == NULL) {
        if (send(ask->handshake.fd, out, 2 + size, MSG_NOSIGNAL) != (ssize_t)(2 + size))
            finish(ask, ONLINE_SILENT, strerror(errno));
        return;
    }
    switch (tls_write(ask->handshake.tls, out, 2 + size)) {
    case TLS_DONE:
        break;
    case TLS_WANT_WRITE:
        ask->events = POLLIN | POLLOUT;
        break;
    default:
        finish(ask, ONLINE_SILENT, tls_error(ask->handshake.tls));
    }
}

static void go_on_connecting(struct online *ask)
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
            finish(ask, ONLINE_MISMATCH, ask->identity.reason);
        break;
    default:
        finish(ask, ONLINE_UNREACHABLE, ask->handshake.error);
    }
}

/* Answers. */

/* A server from before EDNS says FORMERR without OPT (RFC 6891 section 7), or nothing but a header with it. */
static bool dislikes_edns(const struct online *ask, const uint8_t *message, size_t size)
{
    uint16_t flags = size >= MESSAGE_HEADER ? wire_get_u16(message + MESSAGE_FLAGS_AT) : 0;
    bool bare = size == MESSAGE_HEADER || !ask->info.edns.present;

    return !ask->without_edns && (flags & MESSAGE_QR) != 0 && (flags & MESSAGE_RCODE) == RCODE_FORMERR && bare;
}

enum verdict { NO_ANSWER, ASK_AGAIN, ANSWER };

static enum verdict judge(struct online *ask, const uint8_t *message, size_t size)
{
    static uint16_t ttl_offsets[MESSAGE_MAX_RECORDS]; /* of no interest here */

    if (size < MESSAGE_HEADER || wire_get_u16(message) != ask->id)
        return NO_ANSWER;
    bool whole = answer_parse(message, size, &ask->info, ttl_offsets, MESSAGE_MAX_RECORDS) &&
                 question_equal(&ask->info.question, ask->question);
    if ((whole || size == MESSAGE_HEADER) && dislikes_edns(ask, message, size)) {
        ask->without_edns = true;
        return ASK_AGAIN;
    }
    return whole ? ANSWER : NO_ANSWER;
}

static void take_answer(struct online *ask, const uint8_t *message, size_t size)
{
    ask->answered_us = (uint32_t)(clock_us() - ask->asked_us);
    ask->answer = message;
    ask->answer_size = size;
    finish(ask, ONLINE_ANSWERED, "");
}

/* Looks at the whole messages that have come. */
static void take_messages(struct online *ask)
{
    while (ask->state == ONLINE_READING && ask->in_used >= 2) {
        size_t size = wire_get_u16(ask->in);

        if (ask->in_used < 2 + size)
            return;
        enum verdict verdict = judge(ask, ask->in + 2, size);
        if (verdict == ANSWER) {
            take_answer(ask, ask->in + 2, size);
            return;
        }
        ask->in_used -= 2 + size;
        memmove(ask->in, ask->in + 2 + size, ask->in_used);
        if (verdict == ASK_AGAIN)
            ask_stream(ask);
    }
}

static enum tls_result read_some(struct online *ask, size_t *size)
{
    uint8_t *at = ask->in + ask->in_used;

    if (ask->handshake.tls != NULL)
        return tls_read(ask->handshake.tls, at, ONLINE_IN - ask->in_used, size);
    ssize_t n = recv(ask->handshake.fd, at, ONLINE_IN - ask->in_used, 0);
    *size = n > 0 ? (size_t)n : 0;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? TLS_WANT_READ : TLS_FAILED;
    return n > 0 ? TLS_DONE : TLS_CLOSED;
}

static void go_on_reading(struct online *ask)
{
    struct tls *tls = ask->handshake.tls;

    if ((ask->events & POLLOUT) != 0 && tls_flush(tls) == TLS_DONE)
        ask->events = POLLIN;
    while (ask->state == ONLINE_READING) {
        size_t size;

        switch (read_some(ask, &size)) {
        case TLS_DONE:
            ask->in_used += size;
            take_messages(ask);
            break;
        case TLS_CLOSED:
            finish(ask, ONLINE_SILENT, "closed the connection instead of answering");
            break;
        case TLS_FAILED:
            finish(ask, ONLINE_SILENT, tls != NULL ? tls_error(tls) : strerror(errno));
            break;
        default:
            return;
        }
    }
}

/* Datagrams. */

static void ask_datagram(struct online *ask)
{
    uint8_t out[MESSAGE_QUERY_MAX];

    handshake_end(&ask->handshake);
    ask->state = ONLINE_DATAGRAM;
    ask->over = "UDP";
    ask->events = POLLIN;
    ask->again_ms = clock_ms() + ONLINE_AGAIN_MS;
    ask->handshake.fd = socket_open_udp(ask->address);
    if (ask->handshake.fd < 0 || send(ask->handshake.fd, out, write_query(ask, out), MSG_NOSIGNAL) < 0)
        finish(ask, ONLINE_UNREACHABLE, strerror(errno));
}

static void read_datagram(struct online *ask)
{
    ssize_t n = recv(ask->handshake.fd, ask->in, MESSAGE_MAX_OCTETS, 0);

    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            finish(ask, ONLINE_UNREACHABLE, strerror(errno));
        return;
    }
    switch (judge(ask, ask->in, (size_t)n)) {
    case NO_ANSWER:
        break;
    case ASK_AGAIN:
        ask_datagram(ask);
        break;
    case ANSWER:
        if ((ask->info.flags & MESSAGE_TC) == 0) {
            take_answer(ask, ask->in, (size_t)n);
            break;
        }
        handshake_end(&ask->handshake);
        connect_stream(ask);
        break;
    }
}

/* All of them. */

static void begin(struct online *ask, const struct question *question, uint32_t timeout_ms)
{
    *ask = (struct online){.upstream = ask->upstream,
                           .address = ask->address,
                           .trust = ask->trust,
                           .in = ask->in,
                           .question = question,
                           .handshake = {.fd = -1},
                           .began_us = clock_us(),
                           .deadline_ms = clock_ms() + timeout_ms};
    if (upstream_uses_streams(ask->upstream))
        connect_stream(ask);
    else
        ask_datagram(ask);
}

static void go_on(struct online *ask)
{
    switch (ask->state) {
    case ONLINE_CONNECTING:
        go_on_connecting(ask);
        break;
    case ONLINE_READING:
        go_on_reading(ask);
        break;
    case ONLINE_DATAGRAM:
        read_datagram(ask);
        break;
    case ONLINE_DONE:
        break;
    }
}

static void look_at_clock(struct online *ask, uint64_t now)
{
    if (now < ask->deadline_ms) {
        if (ask->state == ONLINE_DATAGRAM && now >= ask->again_ms)
            ask_datagram(ask);
        return;
    }
    if (ask->state == ONLINE_READING)
        finish(ask, ONLINE_SILENT, "no answer in time");
    else if (ask->state == ONLINE_DATAGRAM)
        finish(ask, ONLINE_UNREACHABLE, "no answer in time");
    else
        finish(ask, ONLINE_UNREACHABLE, ask->handshake.tls == NULL ? "connect timed out" : "handshake timed out");
}

/* Fills in what to wait for, and returns how long at most; -1: all are done. */
static int prepare(struct online *asks, size_t count, struct pollfd *polls)
{
    uint64_t now = clock_ms(), next = UINT64_MAX;

    for (size_t i = 0; i < count; i++) {
        struct online *ask = &asks[i];

        if (ask->state != ONLINE_DONE)
            look_at_clock(ask, now);
        polls[i] = (struct pollfd){.fd = -1};
        if (ask->state == ONLINE_DONE)
            continue;
        polls[i] = (struct pollfd){.fd = ask->handshake.fd, .events = ask->events};
        if (ask->deadline_ms < next)
            next = ask->deadline_ms;
        if (ask->state == ONLINE_DATAGRAM && ask->again_ms < next)
            next = ask->again_ms;
    }
    if (next == UINT64_MAX)
        return -1;
    return next > now ? (int)(next - now) : 0;
}

void online_ask(struct online *asks, size_t count, const struct question *question, uint32_t timeout_ms)
{
    struct pollfd *polls = calloc(count, sizeof(*polls));

    for (size_t i = 0; i < count; i++) {
        begin(&asks[i], question, timeout_ms);
        if (polls == NULL && asks[i].state != ONLINE_DONE)
            finish(&asks[i], ONLINE_UNREACHABLE, "out of memory");
    }
    for (int wait_ms; polls != NULL && (wait_ms = prepare(asks, count, polls)) >= 0;) {
        if (poll(polls, count, wait_ms) <= 0)
            continue; /* the time of one of them has come, or a signal */
        for (size_t i = 0; i < count; i++)
            if (polls[i].revents != 0)
                go_on(&asks[i]);
    }
    free(polls);
}

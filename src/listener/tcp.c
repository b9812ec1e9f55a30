#include "nodedot/listener/tcp.h"

#include "nodedot/base/clock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections accepted in one turn before queries have theirs. */
#define TCP_ACCEPTS 16
/* Interval between searches for idle connections. */
#define TCP_SWEEP_S 0.25
/* Connections looked at for one that makes room, those unused longest first; and idle ones among them that are
 * compared: so a flood of connections costs little each. */
#define TCP_EVICT_LOOK    256
#define TCP_EVICT_COMPARE 32
/* While draining, a connection is closed after it has been quiet for this long: queries that were sent before the
 * client saw the close are read. */
#define TCP_DRAIN_QUIET_MS 300

static void on_io(struct ev_loop *loop, ev_io *io, int revents);

/* ---- list by last use ---- */

static void list_remove(struct tcp_connection *c)
{
    struct tcp_listener *listener = c->listener;

    if (c->newer != NULL)
        c->newer->older = c->older;
    else
        listener->newest = c->older;
    if (c->older != NULL)
        c->older->newer = c->newer;
    else
        listener->oldest = c->newer;
}

static void list_push(struct tcp_connection *c)
{
    struct tcp_listener *listener = c->listener;

    c->newer = NULL;
    c->older = listener->newest;
    if (listener->newest != NULL)
        listener->newest->newer = c;
    else
        listener->oldest = c;
    listener->newest = c;
}

static void touch(struct tcp_connection *c)
{
    c->used_ms = clock_ms();
    c->written = 0;
    if (c->listener->newest == c)
        return;
    list_remove(c);
    list_push(c);
}

/* ---- life of a connection ---- */

static void watch(struct tcp_connection *c, int events)
{
    if (c->events == events)
        return;
    ev_io_stop(c->listener->loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    if (events != 0)
        ev_io_start(c->listener->loop, &c->io);
    c->events = events;
}

static void release_output(struct tcp_connection *c)
{
    struct tcp_listener *listener = c->listener;
    struct tcp_output *last;

    if (c->output == NULL)
        return;
    last = listener->used_outputs[--listener->used_output_count];
    last->place = c->output->place;
    listener->used_outputs[last->place] = last;
    pool_release(&listener->outputs, c->output);
    c->output = NULL;
}

static void close_connection(struct tcp_connection *c)
{
    struct tcp_listener *listener = c->listener;

    watch(c, 0);
    close(c->io.fd);
    release_output(c);
    list_remove(c);
    quota_release(listener->quota, &c->endpoint);
    c->state = TCP_FREE;
    c->serial = 0;
    pool_release(&listener->connections, c);
    listener->open--;
    metric_set(listener->metrics, tcp_connections, listener->open);
}

static void mark_dirty(struct tcp_connection *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = c->listener->dirty;
    c->listener->dirty = c;
}

/* Closes it before the loop sleeps: the caller, or the caller's caller, may still use it. */
static void close_later(struct tcp_connection *c)
{
    c->over = true;
    mark_dirty(c);
}

static size_t unwritten(const struct tcp_connection *c)
{
    return c->output != NULL ? c->output->end - c->output->begin : 0;
}

/* What to wait for: room to write when answers wait, queries when there is room for their answers. */
static void update_events(struct tcp_connection *c)
{
    int events = unwritten(c) > 0 ? EV_WRITE : 0;

    if (c->state == TCP_OPEN && c->unanswered < TCP_UNANSWERED && unwritten(c) <= MESSAGE_MAX_OCTETS)
        events |= EV_READ;
    if (c->state == TCP_ENDING)
        events = EV_READ;
    watch(c, events);
}

/* False: the connection is broken. */
static bool write_answers(struct tcp_connection *c)
{
    struct tcp_output *output = c->output;
    ssize_t n;

    if (unwritten(c) == 0) {
        release_output(c); /* room was taken for an answer that comes later, or never */
        return true;
    }
    n = send(c->io.fd, output->data + output->begin, output->end - output->begin, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    output->begin += (size_t)n;
    c->written += (size_t)n;
    if (c->written >= TCP_PROGRESS || output->begin == output->end)
        touch(c);
    if (output->begin == output->end)
        release_output(c);
    return true;
}

/* ---- answers ---- */

/* May it lose the answers that it is slow to read? Not when its turn to be written to is about to come, unless it was
 * stuck before, and never while its next answer is being written. */
static bool may_lose_output(const struct tcp_connection *c, uint64_t now)
{
    return c != c->listener->in_hand && unwritten(c) > 0 && (!c->dirty || now - c->used_ms >= TCP_STUCK_MS);
}

/* The connection that loses its buffer for c: of a client that has more connections, the one that has not read for
 * longest. NULL: no client has more than that of c, and none is stuck. */
static struct tcp_connection *choose_slow_reader(const struct tcp_connection *c)
{
    struct tcp_listener *listener = c->listener;
    uint32_t own = quota_held(listener->quota, &c->endpoint);
    struct tcp_connection *victim = NULL;
    uint64_t now = clock_ms();
    uint32_t most = 0;

    for (size_t i = 0; i < listener->used_output_count; i++) {
        struct tcp_connection *reader = listener->used_outputs[i]->holder;
        uint32_t held;

        if (!may_lose_output(reader, now))
            continue;
        held = quota_held(listener->quota, &reader->endpoint);
        if (held < own && now - reader->used_ms < TCP_STUCK_MS)
            continue;
        if (victim != NULL && (held < most || (held == most && reader->used_ms >= victim->used_ms)))
            continue;
        most = held;
        victim = reader;
    }
    return victim;
}

static bool cut_off_slow_reader(const struct tcp_connection *c)
{
    struct tcp_connection *victim = choose_slow_reader(c);

    if (victim == NULL)
        return false;
    metric_inc(c->listener->metrics, tcp_idle_closed_total);
    release_output(victim);
    close_later(victim);
    return true;
}

static bool take_output(struct tcp_connection *c)
{
    struct tcp_listener *listener = c->listener;

    c->output = pool_take(&listener->outputs);
    if (c->output == NULL && cut_off_slow_reader(c))
        c->output = pool_take(&listener->outputs);
    if (c->output == NULL)
        return false;
    c->output->holder = c;
    c->output->place = listener->used_output_count;
    c->output->begin = 0;
    c->output->end = 0;
    listener->used_outputs[listener->used_output_count++] = c->output;
    return true;
}

/* Room for one more answer behind those that wait; NULL when the reader is too slow or no buffer is left. */
static uint8_t *output_room(struct tcp_connection *c, size_t *capacity)
{
    if (c->output == NULL && !take_output(c))
        return NULL;
    if (TCP_OUT - c->output->end < MESSAGE_MAX_OCTETS + 2) {
        if (!write_answers(c))
            return NULL;
        if (c->output == NULL)
            return output_room(c, capacity);
        memmove(c->output->data, c->output->data + c->output->begin, unwritten(c));
        c->output->end -= c->output->begin;
        c->output->begin = 0;
        if (TCP_OUT - c->output->end < MESSAGE_MAX_OCTETS + 2)
            return NULL;
    }
    *capacity = MESSAGE_MAX_OCTETS;
    return c->output->data + c->output->end + 2;
}

static void append_answer(struct tcp_connection *c, size_t size)
{
    wire_put_u16(c->output->data + c->output->end, (uint16_t)size);
    c->output->end += 2 + size;
    metric_inc(c->listener->metrics, answers_total);
}

uint8_t *tcp_begin(struct tcp_connection *c, uint32_t serial, size_t *capacity)
{
    uint8_t *out;

    if (c->serial != serial || c->over) {
        metric_inc(c->listener->metrics, dropped_client_gone_total);
        return NULL;
    }
    out = output_room(c, capacity);
    if (out == NULL) {
        metric_inc(c->listener->metrics, dropped_send_total);
        metric_inc(c->listener->metrics, tcp_idle_closed_total);
        close_later(c);
    } else {
        mark_dirty(c); /* so that the room is given back if nothing is committed */
    }
    return out;
}

void tcp_commit(struct tcp_connection *c, size_t size)
{
    if (size > 0)
        append_answer(c, size);
    c->unanswered--;
    touch(c);
    mark_dirty(c);
}

/* ---- queries ---- */

/* False: the connection is to be closed. */
static bool handle_query(struct tcp_connection *c, const uint8_t *message, size_t size)
{
    struct tcp_listener *listener = c->listener;
    struct client client = {.endpoint = c->endpoint, .tcp = c, .serial = c->serial};
    size_t capacity;
    uint8_t *out = output_room(c, &capacity);
    ssize_t answer;

    if (out == NULL) {
        metric_inc(listener->metrics, tcp_idle_closed_total);
        return false;
    }
    listener->in_hand = c;
    answer = listener->on_query(listener->owner, &client, message, size, out, capacity);
    listener->in_hand = NULL;
    if (answer > 0) {
        append_answer(c, (size_t)answer);
        listener->answered++;
    } else if (answer == CLIENT_LATER) {
        c->unanswered++;
    }
    return answer != CLIENT_CLOSE;
}

/* Passes over the rest of a query that is too long. Returns the octets of the buffer that belonged to it. */
static size_t skip_rest(struct tcp_connection *c)
{
    size_t n = c->skip < c->in_used ? c->skip : c->in_used;

    c->skip -= n;
    return n;
}

/* Hands on whole messages; one that cannot fit is judged by its beginning, which makes it FORMERR. False: close. */
static bool handle_input(struct tcp_connection *c)
{
    size_t at = skip_rest(c);
    bool whole = false;

    while (c->in_used - at >= 2 && c->unanswered < TCP_UNANSWERED && unwritten(c) <= MESSAGE_MAX_OCTETS) {
        size_t size = wire_get_u16(c->in + at);
        size_t there = c->in_used - at - 2;

        if (there < size && !(size > TCP_IN - 2 && at == 0 && c->in_used == TCP_IN))
            break;
        if (!handle_query(c, c->in + at + 2, there < size ? there : size))
            return false;
        whole = true;
        c->skip = there < size ? size - there : 0;
        at += 2 + (there < size ? there : size);
    }
    c->in_used -= at;
    memmove(c->in, c->in + at, c->in_used);
    if (whole)
        touch(c); /* RFC 7766 section 6.2.3: only a full message restarts the idle timer */
    return true;
}

/* It is finishing, and everything has left. */
static void end_connection(struct tcp_connection *c)
{
    if (c->ended || shutdown(c->io.fd, SHUT_WR) != 0) {
        close_connection(c);
        return;
    }
    c->state = TCP_ENDING;
    c->in_used = 0;
    update_events(c);
}

/* Queries that waited in the buffer for room come first; their answers leave with the others. */
static void flush_connection(struct tcp_connection *c)
{
    size_t before;
    bool full; /* so that queries had to wait for room */

    do {
        before = c->in_used;
        full = unwritten(c) > MESSAGE_MAX_OCTETS;
        if (!c->over && !handle_input(c))
            c->over = true;
        if (c->over || !write_answers(c)) {
            close_connection(c);
            return;
        }
    } while ((c->in_used < before || full) && unwritten(c) <= MESSAGE_MAX_OCTETS);
    if (c->state == TCP_FINISHING && c->unanswered == 0 && unwritten(c) == 0)
        end_connection(c);
    else
        update_events(c);
}

/* The queries that a connection sent are answered together, in one write. Where they waited for a slow reader to take
 * others, that time is not counted: it is the reader's. */
void tcp_flush(struct tcp_listener *listener)
{
    uint64_t began_us = listener->dirty != NULL ? clock_us() : 0;

    while (listener->dirty != NULL) {
        struct tcp_connection *c = listener->dirty;

        listener->dirty = c->next_dirty;
        c->dirty = false;
        listener->answered = 0;
        flush_connection(c);
        if (listener->answered == 0)
            continue;
        uint64_t now_us = clock_us();
        histogram_add(&listener->metrics->hit_duration, now_us - began_us, listener->answered);
        began_us = now_us;
    }
}

static void read_queries(struct tcp_connection *c)
{
    ssize_t n;

    if (c->in_used == TCP_IN)
        return; /* they wait for room */
    n = recv(c->io.fd, c->in + c->in_used, TCP_IN - c->in_used, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        c->over = true;
        return;
    }
    if (n == 0) { /* the peer may still read its answers */
        c->state = TCP_FINISHING;
        c->ended = true;
    }
    c->in_used += (size_t)n;
}

/* After our FIN: waits for the peer's. */
static void read_the_end(struct tcp_connection *c)
{
    ssize_t n = recv(c->io.fd, c->in, TCP_IN, 0);

    c->over = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void on_io(struct ev_loop *loop, ev_io *io, int revents)
{
    struct tcp_connection *c = io->data;

    (void)loop;
    if ((revents & EV_READ) != 0 && c->state == TCP_ENDING)
        read_the_end(c);
    else if ((revents & EV_READ) != 0)
        read_queries(c);
    mark_dirty(c);
}

/* ---- accepting ---- */

static bool closable(const struct tcp_connection *c)
{
    return c->unanswered == 0 && unwritten(c) == 0 && c->in_used == 0;
}

static bool may_make_room(const struct tcp_connection *c, uint64_t now)
{
    bool between_messages = closable(c) && c->skip == 0;

    return !c->dirty && c->unanswered == 0 && (between_messages || now - c->used_ms >= TCP_STUCK_MS);
}

/* The idle connection to close for one of this new client. NULL: none. */
static struct tcp_connection *choose_idle(const struct tcp_listener *listener, const struct endpoint *newcomer)
{
    uint32_t most = quota_held(listener->quota, newcomer);
    struct tcp_connection *victim = NULL;
    struct tcp_connection *c = listener->oldest;
    uint64_t now = clock_ms();
    unsigned compared = 0;

    for (unsigned i = 0; c != NULL && i < TCP_EVICT_LOOK && compared < TCP_EVICT_COMPARE; i++, c = c->newer) {
        uint32_t held;

        if (!may_make_room(c, now))
            continue;
        compared++;
        held = quota_held(listener->quota, &c->endpoint);
        if (victim == NULL ? held < most : held <= most)
            continue;
        most = held;
        victim = c;
    }
    return victim;
}

/* No connection is idle for long. A client that keeps a query waiting on each of many connections must not block
 * others: of a client that will still have more than the new one, the connection that was used longest ago. NULL: all
 * have as few. */
static struct tcp_connection *choose_of_many(const struct tcp_listener *listener, const struct endpoint *newcomer)
{
    uint32_t most = quota_held(listener->quota, newcomer) + 1;
    struct tcp_connection *victim = NULL;
    struct tcp_connection *c = listener->oldest;

    for (unsigned i = 0; c != NULL && i < TCP_EVICT_COMPARE; i++, c = c->newer) {
        uint32_t held = c->dirty ? 0 : quota_held(listener->quota, &c->endpoint);

        if (held <= most)
            continue;
        most = held;
        victim = c;
    }
    return victim;
}

static bool make_room(struct tcp_listener *listener, const struct endpoint *newcomer)
{
    struct tcp_connection *victim = choose_idle(listener, newcomer);
    struct tcp_connection *of_many = NULL;

    /* A client that connected or asked a moment ago may be about to ask. */
    if (victim == NULL || clock_ms() - victim->used_ms < TCP_STUCK_MS)
        of_many = choose_of_many(listener, newcomer);
    if (victim == NULL || (of_many != NULL && quota_held(listener->quota, &of_many->endpoint) >
                                                  quota_held(listener->quota, &victim->endpoint)))
        victim = of_many;
    if (victim == NULL)
        return false;
    metric_inc(listener->metrics, tcp_idle_closed_total);
    close_connection(victim);
    return true;
}

static bool grant(struct tcp_listener *listener, const struct endpoint *endpoint)
{
    enum quota_verdict verdict;

    if (!listener->allowed(listener->owner, endpoint))
        return false; /* counted there */
    verdict = quota_take(listener->quota, endpoint);
    if (verdict == QUOTA_TOTAL_FULL && make_room(listener, endpoint))
        verdict = quota_take(listener->quota, endpoint);
    if (verdict == QUOTA_GRANTED)
        return true;
    metric_inc(listener->metrics, tcp_refused_total);
    return false;
}

static struct tcp_connection *begin_connection(struct tcp_listener *listener, int fd, const struct endpoint *endpoint)
{
    struct tcp_connection *c = pool_take(&listener->connections); /* the quota granted it */
    int on = 1;

    memset(c, 0, offsetof(struct tcp_connection, in));
    c->listener = listener;
    c->endpoint = *endpoint;
    c->state = TCP_OPEN;
    c->serial = ++listener->serial != 0 ? listener->serial : ++listener->serial; /* 0 is nobody's */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));             /* works without it, only slower */
    ev_io_init(&c->io, on_io, fd, EV_READ);
    c->io.data = c;
    c->used_ms = clock_ms();
    list_push(c);
    watch(c, EV_READ);
    listener->open++;
    metric_inc(listener->metrics, tcp_accepted_total);
    metric_set(listener->metrics, tcp_connections, listener->open);
    return c;
}

/* No descriptor or memory is free: waiting connections would wake us repeatedly. on_sweep() resumes accepting. */
static void pause_accepting(struct tcp_listener *listener)
{
    for (size_t i = 0; i < listener->accept_count; i++)
        ev_io_stop(listener->loop, &listener->accepts[i]);
}

static void resume_accepting(struct tcp_listener *listener)
{
    for (size_t i = 0; i < listener->accept_count; i++)
        ev_io_start(listener->loop, &listener->accepts[i]); /* nothing happens to one that runs */
}

static void on_accept(struct ev_loop *loop, ev_io *io, int revents)
{
    struct tcp_listener *listener = io->data;

    (void)loop, (void)revents;
    for (int i = 0; i < TCP_ACCEPTS; i++) {
        struct endpoint endpoint = {.size = sizeof(endpoint.v6)};
        int fd = accept4(io->fd, &endpoint.any, &endpoint.size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                pause_accepting(listener);
            return;
        }
        if (grant(listener, &endpoint))
            begin_connection(listener, fd, &endpoint)->socket = (unsigned)(io - listener->accepts);
        else
            close(fd);
    }
}

static void on_sweep(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct tcp_listener *listener = timer->data;
    uint64_t now = clock_ms();
    uint64_t limit = listener->draining ? listener->drain_quiet_ms : listener->idle_ms;

    (void)loop, (void)revents;
    for (struct tcp_connection *c = listener->oldest, *next; c != NULL && now - c->used_ms >= limit; c = next) {
        next = c->newer;
        /* A client that waits for us is not idle. One that does not read our answers, or sends no whole query, is. */
        if (c->unanswered > 0 && unwritten(c) == 0)
            continue;
        if (listener->draining && !closable(c) && now - c->used_ms < listener->idle_ms)
            continue;
        metric_inc(listener->metrics, tcp_idle_closed_total);
        close_later(c);
    }
    tcp_flush(listener);
    if (!listener->draining)
        resume_accepting(listener);
}

bool tcp_init(struct tcp_listener *listener, const struct tcp_setup *setup)
{
    memset(listener, 0, sizeof(*listener));
    listener->loop = setup->loop;
    listener->metrics = setup->metrics;
    listener->quota = setup->quota;
    listener->on_query = setup->on_query;
    listener->allowed = setup->allowed;
    listener->owner = setup->owner;
    listener->listens = setup->config->listens;
    listener->idle_ms = (uint64_t)setup->config->tcp_idle * 1000;
    if (!pool_init(&listener->connections, setup->config->tcp_connections, sizeof(struct tcp_connection)) ||
        !pool_init(&listener->outputs, TCP_OUTPUTS, sizeof(struct tcp_output)))
        return false;
    ev_init(&listener->sweep, on_sweep);
    listener->sweep.data = listener;
    return true;
}

void tcp_add(struct tcp_listener *listener, int fd)
{
    ev_io *io = &listener->accepts[listener->accept_count++];

    ev_io_init(io, on_accept, fd, EV_READ);
    io->data = listener;
}

void tcp_start(struct tcp_listener *listener)
{
    resume_accepting(listener);
    ev_timer_set(&listener->sweep, TCP_SWEEP_S, TCP_SWEEP_S);
    ev_timer_start(listener->loop, &listener->sweep);
}

void tcp_drain(struct tcp_listener *listener, bool at_once)
{
    listener->draining = true;
    listener->drain_quiet_ms = at_once ? 0 : TCP_DRAIN_QUIET_MS;
    pause_accepting(listener);
}

void tcp_finish(struct tcp_listener *listener)
{
    for (struct tcp_connection *c = listener->oldest; c != NULL; c = c->newer) {
        if (c->state != TCP_OPEN)
            continue;
        read_queries(c); /* what has come so far is answered still */
        c->state = TCP_FINISHING;
        mark_dirty(c);
    }
}

bool tcp_is_idle(const struct tcp_listener *listener)
{
    return listener->open == 0;
}

void tcp_close(struct tcp_listener *listener)
{
    ev_timer_stop(listener->loop, &listener->sweep);
    pause_accepting(listener);
    while (listener->oldest != NULL)
        close_connection(listener->oldest);
    pool_reset(&listener->connections);
    pool_reset(&listener->outputs);
}

#include "nodedot/observe/http.h"

#include "nodedot/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections accepted in one turn of the loop, which others use as well; fewer than there may be, so that one that
 * has just come has its turn before a flood pushes it out. */
#define HTTP_ACCEPTS 4
/* How often time limits are looked at while there are connections. */
#define HTTP_SWEEP_S 1.

/* What counts as one client: the default of [limits], because nobody scrapes from a whole network. */
static const struct client_prefix client_prefix = {.ipv4 = 32, .ipv6 = 64};

struct status_line {
    unsigned code;
    const char *phrase;
};

static const struct status_line status_lines[] = {
    {200, "OK"},
    {REQUEST_BAD, "Bad Request"},
    {REQUEST_NOT_FOUND, "Not Found"},
    {REQUEST_BAD_METHOD, "Method Not Allowed"},
    {REQUEST_WITH_CONTENT, "Content Too Large"},
    {REQUEST_TOO_LARGE, "Request Header Fields Too Large"},
    {503, "Service Unavailable"},
    {REQUEST_BAD_VERSION, "HTTP Version Not Supported"},
};

static void answer_request(struct http_connection *c);

/* ---- connections ---- */

static void watch(struct http_connection *c, int events)
{
    ev_io_stop(c->server->loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(c->server->loop, &c->io);
}

static void enter(struct http_connection *c, enum http_state state, uint64_t limit_ms)
{
    c->state = state;
    c->active_us = clock_us();
    c->until_us = c->active_us + limit_ms * 1000;
    watch(c, state == HTTP_ANSWERING ? EV_WRITE : EV_READ);
}

static void release_page(struct http_connection *c)
{
    if (c->page != NULL)
        pool_release(&c->server->pages, c->page);
    c->page = NULL;
}

static void close_connection(struct http_connection *c)
{
    ev_io_stop(c->server->loop, &c->io);
    close(c->io.fd);
    release_page(c);
    c->state = HTTP_FREE;
}

/* The peer may have more to say that nobody reads; closing at once would answer that with a reset, which could
 * destroy the answer on its way. */
static void linger(struct http_connection *c)
{
    shutdown(c->io.fd, SHUT_WR);
    enter(c, HTTP_LINGERING, HTTP_LINGER_MS);
}

static unsigned held_by_client_of(const struct http_connection *one)
{
    const struct http_connection *connections = one->server->connections;
    unsigned count = 0;

    for (size_t i = 0; i < HTTP_CONNECTIONS; i++)
        count += connections[i].state != HTTP_FREE && memcmp(connections[i].client, one->client, ENDPOINT_CLIENT) == 0;
    return count;
}

static bool goes_before(const struct http_connection *one, const struct http_connection *other)
{
    unsigned held = held_by_client_of(one);
    unsigned held_by_other = held_by_client_of(other);

    if (held != held_by_other)
        return held > held_by_other;
    if (one->state != other->state)
        return one->state < other->state;
    return one->active_us < other->active_us;
}

/* The connection that is closed for another, or, of those that hold a page, the one that loses it. There is always one:
 * it is asked for when all places, or all pages, are taken. */
static struct http_connection *choose_victim(struct http_server *server, bool with_page)
{
    struct http_connection *victim = NULL;

    for (struct http_connection *c = server->connections; c < server->connections + HTTP_CONNECTIONS; c++) {
        if (c->state == HTTP_FREE || (with_page && c->page == NULL))
            continue;
        if (victim == NULL || goes_before(c, victim))
            victim = c;
    }
    if (victim == NULL)
        abort();
    return victim;
}

/* ---- answers ---- */

static const char *phrase_of(unsigned code)
{
    size_t i = 0;

    while (status_lines[i].code != code)
        i++;
    return status_lines[i].phrase;
}

static const char *type_of(const struct request *request, unsigned status)
{
    if (status != 200 || request->path != REQUEST_METRICS)
        return "text/plain; charset=utf-8";
    return exposition_content_type(request->format);
}

/* Puts the header before the content, which begins HTTP_HEADER octets into the buffer, so that both leave in one
 * write. */
static void put_header(struct http_connection *c, const struct request *request, char *buffer, unsigned status,
                       size_t content)
{
    char header[HTTP_HEADER];
    int size =
        snprintf(header, sizeof header,
                 "HTTP/1.1 %u %s\r\n"
                 "Content-Type: %s\r\n"
                 "Content-Length: %zu\r\n"
                 "Cache-Control: no-store\r\n"
                 "%s"
                 "Connection: %s\r\n"
                 "\r\n",
                 status, phrase_of(status), type_of(request, status), content,
                 status == REQUEST_BAD_METHOD ? "Allow: GET, HEAD\r\n" : "", c->keep_alive ? "keep-alive" : "close");

    memcpy(buffer + HTTP_HEADER - size, header, (size_t)size);
    c->write = buffer + HTTP_HEADER - size;
    c->left = (size_t)size + (request->head ? 0 : content);
}

/* A page: one that is free, or that of a reader who is cut off before anybody else waits. */
static char *take_page(struct http_server *server)
{
    char *page = pool_take(&server->pages);

    if (page != NULL)
        return page;
    close_connection(choose_victim(server, true));
    return pool_take(&server->pages);
}

static void begin_answer(struct http_connection *c, const struct request *request)
{
    struct http_server *server = c->server;
    bool is_page = request->status == REQUEST_OK && request->path == REQUEST_METRICS;
    char *buffer = c->answer;
    size_t capacity = HTTP_SHORT - HTTP_HEADER;
    unsigned status = request->status;
    size_t size;

    if (is_page) {
        buffer = c->page = take_page(server);
        capacity = server->page_size;
    }
    if (status == REQUEST_OK)
        size = server->content(server->owner, request, buffer + HTTP_HEADER, capacity, &status);
    else
        size = (size_t)snprintf(buffer + HTTP_HEADER, capacity, "%s\n", phrase_of(status));
    c->keep_alive = request->keep_alive && server->accepting;
    put_header(c, request, buffer, status, size);
    enter(c, HTTP_ANSWERING, HTTP_ANSWER_MS);
}

static void write_answer(struct http_connection *c)
{
    ssize_t n = send(c->io.fd, c->write, c->left, MSG_NOSIGNAL);

    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            close_connection(c);
        return;
    }
    c->active_us = clock_us(); /* a client that reads is not the slowest */
    c->write += n;
    c->left -= (size_t)n;
    if (c->left > 0)
        return;
    release_page(c);
    c->served = true;
    if (!c->keep_alive) {
        linger(c);
        return;
    }
    enter(c, HTTP_READING, c->in_used > 0 ? HTTP_REQUEST_MS : HTTP_IDLE_MS);
    answer_request(c);
}

/* ---- requests ---- */

/* Answers the request in the buffer, if it is whole. What was sent behind it waits: writing comes first. */
static void answer_request(struct http_connection *c)
{
    struct request request;

    if (c->in_used == 0 || !request_parse(c->in, c->in_used, &request))
        return;
    c->in_used -= request.size;
    memmove(c->in, c->in + request.size, c->in_used);
    begin_answer(c, &request);
}

static void read_request(struct http_connection *c)
{
    ssize_t n = recv(c->io.fd, c->in + c->in_used, REQUEST_MAX - c->in_used, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_connection(c);
        return;
    }
    if (c->in_used == 0)
        enter(c, HTTP_READING, HTTP_REQUEST_MS); /* the clock of a request starts with its first octet */
    c->in_used += (size_t)n;
    answer_request(c);
}

static void read_and_forget(struct http_connection *c)
{
    ssize_t n = recv(c->io.fd, c->in, REQUEST_MAX, 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        close_connection(c);
}

static void on_io(struct ev_loop *loop, ev_io *io, int revents)
{
    struct http_connection *c = io->data;

    (void)loop, (void)revents;
    switch (c->state) {
    case HTTP_READING:
        read_request(c);
        break;
    case HTTP_ANSWERING:
        write_answer(c);
        break;
    case HTTP_LINGERING:
        read_and_forget(c);
        break;
    case HTTP_FREE:
        break;
    }
}

/* ---- accepting ---- */

/* A new connection always gets a place. */
static struct http_connection *make_room(struct http_server *server)
{
    struct http_connection *c = server->connections;

    while (c < server->connections + HTTP_CONNECTIONS && c->state != HTTP_FREE)
        c++;
    if (c == server->connections + HTTP_CONNECTIONS) {
        c = choose_victim(server, false);
        close_connection(c);
    }
    return c;
}

static void begin_connection(struct http_server *server, int fd, const struct endpoint *client)
{
    struct http_connection *c = make_room(server);

    c->server = server;
    c->in_used = 0;
    c->served = false;
    endpoint_client_key(client, &client_prefix, false, c->client);
    ev_io_init(&c->io, on_io, fd, EV_READ);
    c->io.data = c;
    enter(c, HTTP_READING, HTTP_IDLE_MS);
    if (!ev_is_active(&server->sweep))
        ev_timer_again(server->loop, &server->sweep);
}

static void set_accepting(struct http_server *server, bool accepting)
{
    for (size_t i = 0; i < server->accept_count; i++) {
        if (accepting)
            ev_io_start(server->loop, &server->accepts[i]);
        else
            ev_io_stop(server->loop, &server->accepts[i]);
    }
}

static void on_accept(struct ev_loop *loop, ev_io *io, int revents)
{
    struct http_server *server = io->data;

    (void)loop, (void)revents;
    for (int i = 0; i < HTTP_ACCEPTS; i++) {
        struct endpoint client = {.size = sizeof(client.v6)};
        int fd = accept4(io->fd, &client.any, &client.size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            begin_connection(server, fd, &client);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            /* No descriptor is free: the waiting connection would wake us repeatedly. on_sweep() resumes accepting. */
            set_accepting(server, false);
            ev_timer_again(server->loop, &server->sweep);
        }
        return;
    }
}

/* Runs only while there are connections. */
static void on_sweep(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct http_server *server = timer->data;
    uint64_t now = clock_us();
    bool open = false;

    (void)revents;
    for (struct http_connection *c = server->connections; c < server->connections + HTTP_CONNECTIONS; c++) {
        if (c->state != HTTP_FREE && c->until_us <= now)
            close_connection(c);
        open = open || c->state != HTTP_FREE;
    }
    if (server->accepting)
        set_accepting(server, true); /* nothing happens where it was not paused */
    if (!open)
        ev_timer_stop(loop, timer);
}

/* ---- life ---- */

bool http_init(struct http_server *server, struct ev_loop *loop, size_t page_size, http_content *content, void *owner)
{
    memset(server, 0, sizeof *server);
    server->loop = loop;
    server->content = content;
    server->owner = owner;
    server->page_size = page_size;
    ev_timer_init(&server->sweep, on_sweep, 0., HTTP_SWEEP_S);
    server->sweep.data = server;
    server->connections = calloc(HTTP_CONNECTIONS, sizeof(struct http_connection));
    return server->connections != NULL && pool_init(&server->pages, HTTP_PAGES, HTTP_HEADER + page_size);
}

void http_add(struct http_server *server, int fd)
{
    ev_io *accept = &server->accepts[server->accept_count++];

    ev_io_init(accept, on_accept, fd, EV_READ);
    accept->data = server;
}

void http_start(struct http_server *server)
{
    server->accepting = true;
    set_accepting(server, true);
}

void http_drain(struct http_server *server)
{
    server->accepting = false;
    set_accepting(server, false);
    for (struct http_connection *c = server->connections; c < server->connections + HTTP_CONNECTIONS; c++) {
        c->keep_alive = false;
        if (c->state == HTTP_READING && c->served && c->in_used == 0)
            close_connection(c); /* the client repeats its request on a new connection (RFC 9112 section 9.3.1) */
        else if (c->state == HTTP_READING)
            c->until_us = clock_us() + HTTP_DRAIN_MS * 1000;
    }
}

bool http_is_busy(const struct http_server *server)
{
    uint64_t now = clock_us();

    for (size_t i = 0; server->connections != NULL && i < HTTP_CONNECTIONS; i++) {
        const struct http_connection *c = &server->connections[i];

        if (c->state == HTTP_ANSWERING || (c->state == HTTP_READING && c->until_us > now))
            return true;
    }
    return false;
}

void http_close(struct http_server *server)
{
    if (server->connections == NULL)
        return;
    set_accepting(server, false);
    ev_timer_stop(server->loop, &server->sweep);
    for (struct http_connection *c = server->connections; c < server->connections + HTTP_CONNECTIONS; c++) {
        if (c->state != HTTP_FREE)
            close_connection(c);
    }
    pool_reset(&server->pages);
    free(server->connections);
    server->connections = NULL;
}

/* http.h - the metrics port: a small HTTP server for one thread's loop.
 *
 * Limits: HTTP_CONNECTIONS at a time; when they are all taken, one of the client that has most of them makes room: one
 *         that has its answers before one that has not asked, and that before a slow reader; of equals the one that has
 *         done nothing for longest. A request is whole within HTTP_REQUEST_MS of its first octet, an
 *         answer is read within HTTP_ANSWER_MS, and between requests a connection may be idle for HTTP_IDLE_MS.
 * Memory: taken at start: HTTP_CONNECTIONS of about 10 KiB, and HTTP_PAGES long answers. A page that is not used costs
 *         nothing. Who asks for one more cuts off a reader, chosen in the same way.
 * Order:  one request at a time; what a client sends ahead waits in its buffer.
 * Shared: nothing; what is answered comes from the owner.
 */
#ifndef NODEDOT_OBSERVE_HTTP_H
#define NODEDOT_OBSERVE_HTTP_H

#include "nodedot/base/pool.h"
#include "nodedot/config/config.h"
#include "nodedot/observe/request.h"

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

/* Scrapers, a browser and a few probes; more is a mistake or an attack. */
#define HTTP_CONNECTIONS 16
/* Long answers being sent: two scrapers at the same time, and as many slow readers. */
#define HTTP_PAGES 4
/* Prometheus scrapes at least every two minutes in practice; its connection is kept that long. */
#define HTTP_IDLE_MS    130000
#define HTTP_REQUEST_MS 5000
/* A scrape's timeout is 10 s by default: nobody waits longer for the rest of a page. */
#define HTTP_ANSWER_MS 10000
/* While draining: time for the request of a connection that was just accepted. */
#define HTTP_DRAIN_MS 250
/* After the last answer: for the peer to read it before a reset could overtake it (RFC 9112 section 9.6). */
#define HTTP_LINGER_MS 1000
/* Longest header of an answer. */
#define HTTP_HEADER 512
/* Header and content of an answer that is no page. */
#define HTTP_SHORT (HTTP_HEADER + 512)

/* In the order in which they are closed for others. */
enum http_state { HTTP_FREE, HTTP_LINGERING, HTTP_READING, HTTP_ANSWERING };

struct http_connection {
    struct http_server *server;
    enum http_state state;
    ev_io io;
    uint8_t client[ENDPOINT_CLIENT]; /* endpoint_client_key() */
    uint64_t active_us;              /* when it did something last */
    uint64_t until_us;               /* then it is closed */
    bool keep_alive;
    bool served;       /* an answer left already */
    char *page;        /* NULL: the answer is in answer */
    const char *write; /* what is left of it */
    size_t left;
    size_t in_used;
    char in[REQUEST_MAX];
    char answer[HTTP_SHORT];
};

/* Writes the content of an answer to out. Returns its size, at most capacity; *status is 200 or 503. */
typedef size_t http_content(void *owner, const struct request *request, char *out, size_t capacity, unsigned *status);

struct http_server {
    struct ev_loop *loop;
    http_content *content;
    void *owner;
    size_t page_size;
    struct pool pages;
    struct http_connection *connections; /* HTTP_CONNECTIONS */
    ev_io accepts[CONFIG_LISTENS];
    size_t accept_count;
    ev_timer sweep;
    bool accepting;
};

/* Takes all memory; a page has up to page_size octets. False: no memory. */
bool http_init(struct http_server *server, struct ev_loop *loop, size_t page_size, http_content *content, void *owner);

/* Adds a listening, non-blocking socket, which stays the caller's. */
void http_add(struct http_server *server, int fd);
void http_start(struct http_server *server);

/* Accepts no more connections and closes idle ones. Requests and answers in progress are completed: a connection that
 * was just accepted has HTTP_DRAIN_MS for its request. */
void http_drain(struct http_server *server);

/* Does a client still wait for an answer? */
bool http_is_busy(const struct http_server *server);

/* Closes everything at once and releases the memory. */
void http_close(struct http_server *server);

#endif

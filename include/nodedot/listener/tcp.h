/* tcp.h - queries over TCP: pipelined, answered in any order (RFC 7766).
 *
 * Limits: connections in total and per client (quota.h), both shared by all threads. With TCP_UNANSWERED queries in
 *         flight, a connection is not read until answers have been sent. It is closed after tcp-idle seconds without
 *         a whole message, or in which a slow reader took less than TCP_PROGRESS octets. At the total limit, an idle
 *         connection of this thread is closed for a new one: of those unused longest, one of the client with the most
 *         connections, but never one of a client that has fewer than the new connection's client. A connection is
 *         idle if nothing is outstanding, or if it has been stuck in the middle of a query or an answer for
 *         TCP_STUCK_MS. If none is idle, one is closed whose client has at least two more than the new connection's,
 *         whatever waits on it.
 * Memory: tcp-connections objects of TCP_IN octets, and TCP_OUTPUTS buffers of TCP_OUT octets for answers that wait
 *         to be written; a connection holds one only while it has such answers. Unused pages cost
 *         nothing. When all buffers are held, a slow reader loses its buffer and is closed: one of the client with the
 *         most connections, or one that has been stuck for TCP_STUCK_MS.
 * Writes: all answers of one turn of the loop are sent in one write.
 */
#ifndef NODEDOT_LISTENER_TCP_H
#define NODEDOT_LISTENER_TCP_H

#include "nodedot/base/pool.h"
#include "nodedot/config/config.h"
#include "nodedot/listener/client.h"
#include "nodedot/listener/quota.h"
#include "nodedot/observe/metrics.h"

#include <ev.h>
#include <stdbool.h>

/* Longest query that is read whole; of a longer one the header is answered with FORMERR and the rest is passed over. A
 * query with every option that we know takes less than 600 octets. Also the octets of pipelined queries that one read
 * takes. */
#define TCP_IN 4096
/* Answers waiting for a slow reader: one of full length while another is written. */
#define TCP_OUT (2 * (MESSAGE_MAX_OCTETS + 2))
/* Maximum number of connections of a thread with unwritten answers; 32 MiB if all buffers were full. */
#define TCP_OUTPUTS 256
/* A reader that takes this much, or all, of the waiting answers is not idle. */
#define TCP_PROGRESS 16384
/* A client writes a query, and reads an answer, without a pause (RFC 7766 section 8). One that has stopped in the
 * middle for this long may be closed for others. */
#define TCP_STUCK_MS 1000
/* Queries of one connection that wait for an answer. */
#define TCP_UNANSWERED 128

enum tcp_state {
    TCP_FREE,
    TCP_OPEN,
    TCP_FINISHING, /* the peer sent FIN, or we drain: answers go out, then it closes */
    TCP_ENDING /* we sent FIN: what still comes is thrown away, or the kernel would reset the connection, and answers
                      that the peer has not read would be lost */
};

struct tcp_output {
    struct tcp_connection *holder;
    size_t place;      /* among the listener's outputs in use */
    size_t begin, end; /* octets of data that wait to be written */
    uint8_t data[TCP_OUT];
};

struct tcp_connection {
    void *pool_link; /* a released object may still be asked for its serial */
    struct tcp_listener *listener;
    struct tcp_connection *newer, *older; /* by the time of last use */
    struct tcp_connection *next_dirty;
    struct tcp_output *output; /* NULL: nothing to write */
    ev_io io;
    struct endpoint endpoint;
    enum tcp_state state;
    uint32_t serial;
    int events;
    unsigned socket; /* that accepted it, in the order of tcp_add() */
    bool dirty;
    bool ended; /* by the peer */
    bool over;  /* close at the next flush, not inside a callback that still uses it */
    unsigned unanswered;
    uint64_t used_ms; /* last whole message, or progress in writing */
    size_t written;   /* octets since then */
    size_t skip;      /* octets left of a query that is too long */
    size_t in_used;
    uint8_t in[TCP_IN];
};

/* Common to all TCP connections of a thread. */
struct tcp_listener {
    struct ev_loop *loop;
    struct metrics *metrics;
    client_query *on_query;
    client_allowed *allowed;
    void *owner;
    struct quota *quota;
    uint64_t idle_ms;
    ev_io accepts[CONFIG_LISTENS];
    const struct endpoint *listens; /* what each of them is bound to */
    size_t accept_count;
    ev_timer sweep;
    struct pool connections, outputs;
    struct tcp_output *used_outputs[TCP_OUTPUTS];
    size_t used_output_count;
    struct tcp_connection *newest, *oldest;
    struct tcp_connection *dirty;
    struct tcp_connection *in_hand; /* its query is being answered, into its output */
    size_t open;
    uint32_t serial;
    unsigned answered; /* queries of the connection in hand that were answered at once */
    bool draining;
    uint64_t drain_quiet_ms;
};

struct tcp_setup {
    struct ev_loop *loop;
    struct metrics *metrics;
    struct quota *quota;
    const struct config *config;
    client_query *on_query;
    client_allowed *allowed;
    void *owner;
};

/* Takes all memory. False: there is none. */
bool tcp_init(struct tcp_listener *listener, const struct tcp_setup *setup);
/* Adds a listening, non-blocking socket, which stays the caller's. */
void tcp_add(struct tcp_listener *listener, int fd);
void tcp_start(struct tcp_listener *listener);

/* Accepts no more connections. Open ones close when they are answered and have been quiet for a moment, so that queries
 * sent before the client saw the close are still read; at_once: without that moment. */
void tcp_drain(struct tcp_listener *listener, bool at_once);

/* At the end of a drain: reads what has arrived and no more queries; each connection gets its answers and our FIN, and
 * closes after the peer's FIN. */
void tcp_finish(struct tcp_listener *listener);

/* Writes what is queued. Call before the loop sleeps. */
void tcp_flush(struct tcp_listener *listener);

/* Is no connection open? */
bool tcp_is_idle(const struct tcp_listener *listener);

/* Closes everything at once and releases the memory. */
void tcp_close(struct tcp_listener *listener);

/* See client_begin() and client_commit(). */
uint8_t *tcp_begin(struct tcp_connection *connection, uint32_t serial, size_t *capacity);
void tcp_commit(struct tcp_connection *connection, size_t size);

#endif

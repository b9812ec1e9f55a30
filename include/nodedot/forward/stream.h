/* stream.h - the life of one pipelined connection to a server address: DNS over TLS, or over bare TCP.
 *
 * Life:    IDLE -> CONNECTING -> HANDSHAKE -> READY -> (DRAINING) -> IDLE; set_state() in stream.c is the one place that
 *          moves it. READY is entered only after the peer proved its identity (reachability_judge()) or resumed a
 *          session that such a proof earned; nothing but the handshake is written before.
 * Queries: all that are sent in one turn of the loop leave in one TLS record (stream_flush()); pipeline.h says which
 *          answer belongs to which.
 * Rules:   RFC 7766 (pipelining), RFC 7828 (keepalive), RFC 7858, RFC 8467 (padding).
 */
#ifndef NODEDOT_FORWARD_STREAM_H
#define NODEDOT_FORWARD_STREAM_H

#include "nodedot/base/endpoint.h"
#include "nodedot/config/config.h"
#include "nodedot/forward/exchange.h"
#include "nodedot/forward/pipeline.h"
#include "nodedot/forward/reachability.h"
#include "nodedot/forward/tickets.h"
#include "nodedot/tls/tls.h"

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

enum stream_state {
    STREAM_IDLE,       /* no socket */
    STREAM_CONNECTING, /* TCP */
    STREAM_HANDSHAKE,  /* TLS */
    STREAM_READY,
    STREAM_DRAINING /* takes no new query; closes when the last answer is in */
};

/* What the owner of a connection is told. */
struct stream_events {
    void (*ready)(struct stream *stream);
    /* It has room for what waits. */
    void (*has_room)(struct stream *stream);
    /* An answer came to a query that was forgotten: the server works. */
    void (*late)(struct stream *stream);
    /* It is closed, or was never opened. Queries that were out are still in its pipeline; the owner takes them. */
    void (*closed)(struct stream *stream, bool was_ready, const char *reason);
};

/* What all connections of one thread to one server address share. */
struct stream_peer {
    struct exchanges *exchanges;
    const struct stream_events *events;
    const struct upstream_config *config;
    struct endpoint endpoint;
    struct reachability reachability;
    struct tls_trust *trust; /* NULL: bare TCP */
    struct tickets tickets;
    unsigned ready;        /* connections that are ready */
    uint32_t idle_ms;      /* idle limit that the server announced or showed; 0: not known */
    uint32_t idle_hint_ms; /* after which it closed an idle connection once; twice make a limit */
};

struct stream {
    struct stream_peer *peer;
    ev_io io;
    ev_timer timer; /* connect and handshake limit, then idle limit */
    ev_timer more;  /* goes on reading after others had their turn */
    struct tls *tls;
    int fd;
    enum stream_state state;
    int events;                /* that io waits for */
    bool write_blocked;        /* the socket did not take everything; wait until it is writable */
    bool local;                /* it was not opened because this node is short of something */
    bool suspect;              /* queries wait and nothing comes: no new ones */
    bool dirty;                /* in the list of those with something to flush */
    bool ticket_kept;          /* a ticket of this connection is in the store */
    struct stream *next_dirty; /* in that list */
    uint32_t epoch;            /* of the identity that it was proved under */
    uint64_t proved_ms;        /* clock_ms() of the full proof that it, or the session it resumed, rests on */
    uint64_t answered_us;      /* last answer that matched a query */
    uint64_t used_ms;          /* last query or answer */
    uint32_t idle_ms;          /* close when unused for this long */
    struct pipeline pipeline;
};

/* Begins to connect. The outcome comes by the events ready() or closed(). */
void stream_open(struct stream *stream);

/* Takes a query for the next flush, with its form as it is. False: not ready, or no slot or room free. */
bool stream_send(struct stream *stream, struct exchange *exchange);

/* Forgets a query; its answer will be dropped. */
void stream_forget(struct stream *stream, struct exchange *exchange);

/* Writes what was sent since the last flush. */
void stream_flush(struct stream *stream);

/* Closes at once; the event closed() follows. */
void stream_close(struct stream *stream, const char *reason);

/* Takes no new query, and closes when the last answer is in. */
void stream_drain(struct stream *stream);

/* What the server announced for idle connections (RFC 7828), in units of 100 ms; 0: close as soon as possible. */
void stream_take_keepalive(struct stream *stream, uint16_t keepalive);

/* Can it take a query now? */
static inline bool stream_usable(const struct stream *stream)
{
    return stream->state == STREAM_READY && !stream->suspect && pipeline_has_slot(&stream->pipeline);
}

#endif

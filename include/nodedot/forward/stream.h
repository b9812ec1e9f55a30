/* stream.h - one pipelined connection to an upstream address: DNS over TLS, or over bare TCP for a plain upstream.
 *
 * Life:    IDLE -> CONNECTING -> HANDSHAKE -> READY -> (DRAINING) -> IDLE; set_state() in stream.c is the one place that
 *          moves it. READY is entered only after the peer proved its identity (standing_judge()) or resumed a
 *          session that such a proof earned; nothing but the handshake is written before.
 * Queries: all that are asked in one turn of the loop leave in one TLS record (stream_flush()); answers come in any
 *          order. The ID is a slot number with a turn above it: it is unique on the connection while it is in use,
 *          and the answer to a query that was given up does not fit the slot's next user.
 * Memory:  STREAM_IN and STREAM_OUT octets and a slot table, taken at start.
 * Rules:   RFC 7766 (6.2.1.1 pipelining, 7 matching), RFC 7828 (keepalive), RFC 7858, RFC 8467 (padding).
 */
#ifndef NODEDOT_FORWARD_STREAM_H
#define NODEDOT_FORWARD_STREAM_H

#include "nodedot/forward/inflight.h"
#include "nodedot/tls/tls.h"

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

/* Queries out on one connection. Power of two; a quarter of the default in-flight limit, so four connections carry it.
 */
#define STREAM_SLOTS 1024
/* One message of full length with its length prefix. */
#define STREAM_IN (MESSAGE_MAX_OCTETS + 2)
/* Queries of one turn: as many as one TLS record takes (RFC 8446 section 5.1), about 120 padded ones. */
#define STREAM_OUT 16384

enum stream_state {
    STREAM_IDLE,       /* no socket */
    STREAM_CONNECTING, /* TCP */
    STREAM_HANDSHAKE,  /* TLS */
    STREAM_READY,
    STREAM_DRAINING /* takes no new query; closes when the last answer is in */
};

struct stream {
    struct address *address;
    ev_io io;
    ev_timer timer; /* connect and handshake limit, then idle limit */
    ev_timer more;  /* goes on reading after others had their turn */
    struct tls *tls;
    int fd;
    enum stream_state state;
    int events;           /* that io waits for */
    bool write_blocked;   /* the socket took not all; wait until it is writable */
    bool suspect;         /* queries wait and nothing comes: no new ones */
    uint32_t epoch;       /* of the identity that it was proved under */
    uint64_t proved_ms;   /* clock_ms() of the full proof that it, or the session it resumed, rests on */
    uint64_t answered_us; /* last answer that matched a query */
    uint64_t used_ms;     /* last query or answer */
    uint32_t idle_ms;     /* close when unused for so long */
    unsigned outstanding;
    uint64_t answers;
    unsigned bad;              /* messages since the last answer that matched nothing */
    struct stream *next_dirty; /* in the list of those with something to flush */
    bool dirty;
    bool ticket_kept;
    uint16_t next_slot;
    uint16_t turn;
    size_t in_used;
    size_t out_used;
    uint8_t out[STREAM_OUT];
    uint8_t in[STREAM_IN];
    struct attempt *slots[STREAM_SLOTS];
};

/* Begins to connect. The outcome is told to the address: address_stream_ready() or address_stream_closed()
 * (upstream.h). */
void stream_open(struct stream *stream);

/* Takes a query for the next flush. False: not ready, or no slot or room free. */
bool stream_ask(struct stream *stream, struct attempt *attempt);

/* Forgets a query; its answer will be dropped. */
void stream_forget(struct stream *stream, struct attempt *attempt);

/* Writes what was asked since the last flush. */
void stream_flush(struct stream *stream);

/* Closes at once; queries that were out are handed to address_stream_closed(). */
void stream_close(struct stream *stream, const char *reason);

/* The peer closes a connection that is unused for longer than this: we go first. */
void stream_set_idle(struct stream *stream, uint32_t idle_ms);

/* Takes no new query and closes when the last answer is in. */
void stream_drain(struct stream *stream);

/* Can it take a query now? */
static inline bool stream_usable(const struct stream *stream)
{
    return stream->state == STREAM_READY && !stream->suspect && stream->outstanding < STREAM_SLOTS;
}

#endif

/* pipeline.h - the queries on one connection: their IDs, the framing of messages, and which answer belongs to which
 * query.
 *
 * IDs:     a slot number with a turn above it. An ID is unique on the connection while it is in use, and the answer to
 *          a query that was given up does not fit the slot's next user.
 * Framing: each message has two octets of length before it (RFC 1035 section 4.2.2). Octets may come in any portions;
 *          answers come in any order (RFC 7766 section 6.2.1.1).
 * Memory:  PIPELINE_IN and PIPELINE_OUT octets and a table of slots, part of struct pipeline. The owner reads into in
 *          behind in_used, and writes out what out holds.
 */
#ifndef NODEDOT_FORWARD_PIPELINE_H
#define NODEDOT_FORWARD_PIPELINE_H

#include "nodedot/forward/exchange.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Queries in flight on one connection. A power of two; a quarter of the default in-flight limit, so four connections
 * carry it. */
#define PIPELINE_SLOTS 1024
/* One message of full length with its length prefix. */
#define PIPELINE_IN (MESSAGE_MAX_OCTETS + 2)
/* Queries of one turn of the loop: as many as one TLS record takes (RFC 8446 section 5.1), about 120 padded ones. */
#define PIPELINE_OUT 16384

struct pipeline {
    unsigned outstanding; /* queries without an answer */
    unsigned unmatched;   /* messages since the last answer that matched no query */
    uint64_t answers;
    uint64_t late; /* messages with the ID of a query that was forgotten */
    uint16_t next_slot;
    uint16_t turn;
    bool open; /* false: the connection is closed or closing */
    size_t in_used;
    size_t out_used;
    uint8_t out[PIPELINE_OUT];
    uint8_t in[PIPELINE_IN];
    struct exchange *slots[PIPELINE_SLOTS];
    uint16_t
        forgotten[PIPELINE_SLOTS]; /* ID of the last query of each slot that was forgotten; of another slot: none */
};

/* Resets the pipeline for a new connection; IDs continue. No query may be in flight. */
void pipeline_open(struct pipeline *pipeline);

/* May another query be added, as far as slots go? */
static inline bool pipeline_has_slot(const struct pipeline *pipeline)
{
    return pipeline->outstanding < PIPELINE_SLOTS;
}

/* Is there room in out for one more query? */
static inline bool pipeline_has_room(const struct pipeline *pipeline)
{
    return PIPELINE_OUT - pipeline->out_used >= 2 + MESSAGE_QUERY_MAX;
}

/* Gives the exchange an ID and appends its query to out. There must be a slot and room. Its stream is the caller's to
 * set. */
void pipeline_add(struct pipeline *pipeline, struct exchange *exchange);

/* Frees the exchange's slot; an answer to it will be dropped, and counted as late. */
void pipeline_forget(struct pipeline *pipeline, struct exchange *exchange);

/* Takes out any query that is still out, or NULL; its slot is free then. For the end of a connection. */
struct exchange *pipeline_take_any(struct pipeline *pipeline);

enum pipeline_result {
    PIPELINE_DONE,
    PIPELINE_CLOSED,  /* the owner closed the connection in a callback */
    PIPELINE_NONSENSE /* too many messages in a row that answer no query */
};

/* Hands on all whole messages in in, and moves the rest to its front. answers grows by one for each answer,
 * late by one for each that comes when its query was answered elsewhere, or given up: it shows that the server works.
 * */
enum pipeline_result pipeline_receive(struct pipeline *pipeline, struct metrics *metrics);

#endif

#include "nodedot/forward/pipeline.h"

#include "nodedot/base/clock.h"

#include <string.h>

/* Messages in a row that answer no query. Late answers to queries that were given up are among them, so the limit is no
 * less than the number of queries that a connection can have out. */
#define PIPELINE_UNMATCHED_MAX PIPELINE_SLOTS

void pipeline_open(struct pipeline *pipeline)
{
    pipeline->outstanding = 0;
    pipeline->unmatched = 0;
    pipeline->answers = 0;
    pipeline->in_used = 0;
    pipeline->out_used = 0;
    pipeline->open = true;
    for (unsigned i = 0; i < PIPELINE_SLOTS; i++)
        pipeline->forgotten[i] = (uint16_t)(i + 1);
}

static void take_slot(struct pipeline *pipeline, struct exchange *exchange)
{
    do {
        pipeline->next_slot = (uint16_t)((pipeline->next_slot + 1) % PIPELINE_SLOTS);
        if (pipeline->next_slot == 0)
            pipeline->turn++;
    } while (pipeline->slots[pipeline->next_slot] != NULL);
    pipeline->slots[pipeline->next_slot] = exchange;
    pipeline->outstanding++;
    exchange->id = (uint16_t)(pipeline->turn * PIPELINE_SLOTS + pipeline->next_slot);
    exchange->state = EXCHANGE_STREAM;
    exchange->sent_us = clock_us();
}

void pipeline_add(struct pipeline *pipeline, struct exchange *exchange)
{
    uint8_t *at = pipeline->out + pipeline->out_used;

    take_slot(pipeline, exchange);
    size_t size = exchange_write(&exchange->form, exchange->id, at + 2, MESSAGE_QUERY_MAX);
    wire_put_u16(at, (uint16_t)size);
    pipeline->out_used += 2 + size;
}

void pipeline_forget(struct pipeline *pipeline, struct exchange *exchange)
{
    pipeline->slots[exchange->id % PIPELINE_SLOTS] = NULL;
    pipeline->forgotten[exchange->id % PIPELINE_SLOTS] = exchange->id;
    pipeline->outstanding--;
    exchange->stream = NULL;
    exchange->state = EXCHANGE_FREE;
}

struct exchange *pipeline_take_any(struct pipeline *pipeline)
{
    for (unsigned i = 0; i < PIPELINE_SLOTS && pipeline->outstanding > 0; i++) {
        struct exchange *exchange = pipeline->slots[i];

        if (exchange != NULL) {
            pipeline_forget(pipeline, exchange);
            return exchange;
        }
    }
    return NULL;
}

/* A message whose ID is no query's: that of one that was forgotten, once? */
static void count_stray(struct pipeline *pipeline, uint16_t id, struct metrics *metrics)
{
    if (pipeline->forgotten[id % PIPELINE_SLOTS] != id) {
        metric_inc(metrics, upstream_mismatched_total);
        return;
    }
    pipeline->forgotten[id % PIPELINE_SLOTS] = (uint16_t)(id + 1);
    pipeline->late++;
    pipeline->unmatched = 0;
    metric_inc(metrics, upstream_late_total);
}

/* Hands one message to the query that it answers. False: too many in a row answered none. */
static bool take_message(struct pipeline *pipeline, uint8_t *message, size_t size, struct metrics *metrics)
{
    if (++pipeline->unmatched > PIPELINE_UNMATCHED_MAX)
        return false;
    if (size < MESSAGE_HEADER) {
        metric_inc(metrics, upstream_broken_total);
        return true;
    }
    uint16_t id = wire_get_u16(message);
    struct exchange *exchange = pipeline->slots[id % PIPELINE_SLOTS];
    if (exchange == NULL || exchange->id != id) {
        count_stray(pipeline, id, metrics);
        return true;
    }
    /* Only an answer shows that the upstream is well: octets alone may be the inside of a frame that never ends. */
    if (exchange_receive(exchange, message, size)) {
        pipeline->answers++;
        pipeline->unmatched = 0;
        pipeline->forgotten[id % PIPELINE_SLOTS] = (uint16_t)(id + 1); /* a second answer would be a stranger's */
    }
    return true;
}

enum pipeline_result pipeline_receive(struct pipeline *pipeline, struct metrics *metrics)
{
    size_t at = 0;

    while (pipeline->in_used - at >= 2) {
        size_t size = wire_get_u16(pipeline->in + at);

        if (pipeline->in_used - at - 2 < size)
            break;
        if (!take_message(pipeline, pipeline->in + at + 2, size, metrics))
            return PIPELINE_NONSENSE;
        if (!pipeline->open)
            return PIPELINE_CLOSED;
        at += 2 + size;
    }
    pipeline->in_used -= at;
    if (at > 0 && pipeline->in_used > 0)
        memmove(pipeline->in, pipeline->in + at, pipeline->in_used);
    return PIPELINE_DONE;
}

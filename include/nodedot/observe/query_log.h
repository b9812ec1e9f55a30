/* query_log.h - a line, or a dnstap frame, for each query or for one in so many.
 *
 * Ways:   a worker copies what it knows of a query into its tap, a ring of its own, without a lock or a system call. One
 *         thread empties all taps every QUERY_LOG_TICK_MS and writes: lines to standard error, or frames to a socket. A
 *         reader that is too slow, or not there, stops that thread alone: the rings fill, and what does not fit is dropped
 *         and counted (query_log_dropped_total). What is written is counted too (query_log_total).
 * Memory: QUERY_RING_OCTETS a worker, and some 300 KiB for frames; nothing while the log is off.
 * Life:   create before the resolver gives up its rights; start once it may have threads; finish when the workers are
 *         gone: what is in the rings is then written as far as QUERY_LOG_END_MS allow.
 */
#ifndef NODEDOT_OBSERVE_QUERY_LOG_H
#define NODEDOT_OBSERVE_QUERY_LOG_H

#include "nodedot/config/config.h"
#include "nodedot/observe/metrics.h"
#include "nodedot/observe/query_record.h"
#include "nodedot/observe/query_ring.h"

#include <stdbool.h>

/* How long a query may wait to be logged; the rings hold what comes meanwhile. */
#define QUERY_LOG_TICK_MS 20
/* At the end of a generation; well below what the supervisor grants one to end (generation.c). */
#define QUERY_LOG_END_MS 250

struct query_log;

/* One worker's way into the log. */
struct query_tap {
    struct query_ring *ring;
    struct metrics *metrics; /* of the worker */
    uint32_t sample;         /* one query in so many is logged */
    uint32_t skip;           /* queries until the next one that is */
    bool answers;            /* with the answers' octets */
};

/* config->log_queries is not LOG_QUERIES_NO. metrics: where query_log_total is counted, as are the drops of the writer; no
 * other thread counts these there. NULL: no memory. */
struct query_log *query_log_create(const struct config *config, struct metrics *metrics);
void query_log_destroy(struct query_log *log);

/* Prepares the tap of a worker, one of config->workers. False: no memory. */
bool query_log_tap(struct query_log *log, struct query_tap *tap, struct metrics *metrics);

/* Starts the writer. False: no thread. */
bool query_log_start(struct query_log *log);

/* Writes what there is, and ends the writer. No tap may be used any more. */
void query_log_finish(struct query_log *log);

/* Is this query to be logged? Asked once a query. The distance between two varies at random around the rate, or a client
 * that asks for A and AAAA in turn would be seen with one of them alone. */
bool query_tap_wants(struct query_tap *tap);

/* Puts a record into the log; wall_ns is filled in from duration_us. answer: record->answer_octets octets. */
void query_tap_put(struct query_tap *tap, struct query_record *record, const uint8_t *answer);

#endif

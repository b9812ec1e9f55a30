/* query_log.h - a line, or a dnstap frame, for each query or for a sample.
 *
 * Ways:   a worker copies the data of a query into its tap, a ring of its own, without a lock or a system call. One
 *         thread empties all taps every QUERY_LOG_TICK_MS and writes lines to standard error, or frames to a socket. A
 *         slow or missing reader stops only that thread: the rings fill, and entries that do not fit are dropped and
 *         counted (query_log_dropped_total). Written entries are counted too (query_log_total).
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

/* How long an entry may wait; the rings hold entries meanwhile. */
#define QUERY_LOG_TICK_MS 20
/* At the end of a generation; well below what the supervisor grants one to end (generation.c). */
#define QUERY_LOG_END_MS 250

struct query_log;

/* One worker's way into the log. */
struct query_tap {
    struct query_ring *ring;
    struct metrics *metrics; /* of the worker */
    uint32_t sample;         /* one query in this many is logged */
    uint32_t skip;           /* queries until the next one that is logged */
    bool answers;            /* with the answers' octets */
};

/* config->log_queries is not LOG_QUERIES_NO. metrics: where query_log_total is counted, as are the drops of the writer;
 * no other thread counts these there. NULL: no memory. */
struct query_log *query_log_create(const struct config *config, struct metrics *metrics);
void query_log_destroy(struct query_log *log);

/* Prepares the tap of a worker, one of config->workers. False: no memory. */
bool query_log_tap(struct query_log *log, struct query_tap *tap, struct metrics *metrics);

/* Starts the writer. False: no thread. */
bool query_log_start(struct query_log *log);

/* Writes the remaining entries, and ends the writer. No tap may be used any longer. */
void query_log_finish(struct query_log *log);

/* Is this query logged? Called once per query. The distance between two varies at random around the rate. Otherwise
 * only one of the queries of a client that asks for A and AAAA in turn would ever be logged. */
bool query_tap_wants(struct query_tap *tap);

/* Puts a record into the log; wall_ns is filled in from duration_us. answer: record->answer_octets octets. */
void query_tap_put(struct query_tap *tap, struct query_record *record, const uint8_t *answer);

#endif

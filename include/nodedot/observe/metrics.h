/* metrics.h - the status page: counters, heartbeats and the state of upstream addresses, in shared memory.
 *
 * Layout:  a header that the supervisor writes; two slots, one for each of the two generations that can be alive at
 *          a time; in a slot one block of counters a thread (workers, then the control thread) and one row per
 *          upstream address. Offsets only, no pointers: `nodedot status` maps the same page in another process.
 * Writers: a block has one writer, its thread. A generation goes on with the counters that its slot's last user
 *          left, so the sum over both slots never goes back. An address row is written by any thread of its
 *          generation.
 * Reading: any process, any time; each number is whole (64-bit atomics), together they are a moment's blur.
 */
#ifndef NODEDOT_OBSERVE_METRICS_H
#define NODEDOT_OBSERVE_METRICS_H

#include "nodedot/base/endpoint.h"
#include "nodedot/config/config.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One row a metric: name, kind, help. A _total is a counter, the rest are gauges. */
#define METRICS(M)                                                                                            \
    M(queries_udp_total, COUNTER, "Queries received over UDP")                                                \
    M(queries_tcp_total, COUNTER, "Queries received over TCP")                                                \
    M(answers_total, COUNTER, "Answers handed to the kernel for clients")                                     \
    M(answers_noerror_total, COUNTER, "Answers with RCODE NOERROR")                                           \
    M(answers_nxdomain_total, COUNTER, "Answers with RCODE NXDOMAIN")                                         \
    M(answers_servfail_total, COUNTER, "Answers with RCODE SERVFAIL")                                         \
    M(answers_refused_total, COUNTER, "Answers with RCODE REFUSED")                                           \
    M(answers_formerr_total, COUNTER, "Answers with RCODE FORMERR")                                           \
    M(answers_notimp_total, COUNTER, "Answers with RCODE NOTIMP")                                             \
    M(answers_other_total, COUNTER, "Answers with another RCODE")                                             \
    M(answers_truncated_total, COUNTER, "Answers over UDP with TC set")                                       \
    M(answers_local_total, COUNTER, "Answers to special-use names and ANY, made here")                        \
    M(dropped_short_total, COUNTER, "Messages dropped: shorter than a header, or no query")                   \
    M(dropped_acl_total, COUNTER, "Queries and connections dropped: client outside the ACL")                  \
    M(dropped_blocked_total, COUNTER, "Queries and connections dropped: client is blocked")                   \
    M(dropped_rate_total, COUNTER, "Queries dropped: client far over its rate")                               \
    M(dropped_send_total, COUNTER, "Answers dropped: the kernel did not take them")                           \
    M(dropped_client_gone_total, COUNTER, "Answers dropped: the client closed its connection first")          \
    M(interrupted_total, COUNTER, "Queries answered SERVFAIL because the resolver had to stop")               \
    M(rate_limited_total, COUNTER, "Queries refused: client over its rate")                                   \
    M(in_flight_refused_total, COUNTER, "Queries refused: in-flight table full")                              \
    M(in_flight, GAUGE, "Queries waiting for an upstream answer")                                             \
    M(joined_total, COUNTER, "Queries that joined an equal question in flight")                               \
    M(cache_hits_total, COUNTER, "Queries answered from the cache")                                           \
    M(cache_misses_total, COUNTER, "Queries that the cache had no fresh answer for")                          \
    M(cache_stale_total, COUNTER, "Queries answered with a stale answer")                                     \
    M(cache_stores_total, COUNTER, "Answers written to the cache")                                            \
    M(cache_entries, GAUGE, "Answers in the cache")                                                           \
    M(cache_bytes, GAUGE, "Memory of the cache")                                                              \
    M(cache_evictions_total, COUNTER, "Unexpired answers that made room for others")                          \
    M(tcp_connections, GAUGE, "Client connections open")                                                      \
    M(tcp_accepted_total, COUNTER, "Client connections accepted")                                             \
    M(tcp_refused_total, COUNTER, "Client connections closed at once: over a limit")                          \
    M(tcp_idle_closed_total, COUNTER, "Client connections closed: idle, slow or stuck")                       \
    M(upstream_queries_total, COUNTER, "Queries sent to upstreams")                                           \
    M(upstream_answers_total, COUNTER, "Valid answers from upstreams")                                        \
    M(upstream_retries_total, COUNTER, "Queries asked again on another connection or address")                \
    M(upstream_mismatched_total, COUNTER, "Messages from upstreams dropped: ID, QR or question do not match") \
    M(upstream_broken_total, COUNTER, "Messages from upstreams dropped: malformed")                           \
    M(upstream_timeouts_total, COUNTER, "Queries given up without an upstream answer")                        \
    M(upstream_truncated_total, COUNTER, "Answers of plain upstreams with TC, asked again over TCP")          \
    M(upstream_connections, GAUGE, "Connections to upstreams that are ready")                                 \
    M(upstream_connects_total, COUNTER, "Connections to upstreams begun")                                     \
    M(upstream_connect_failures_total, COUNTER, "Connections to upstreams that did not become ready")         \
    M(handshakes_full_total, COUNTER, "Full TLS handshakes completed")                                        \
    M(handshakes_resumed_total, COUNTER, "Resumed TLS handshakes completed")                                  \
    M(identity_mismatches_total, COUNTER, "Handshakes whose peer did not prove its identity")                 \
    M(revalidations_total, COUNTER, "Revalidations done")

#define METRIC_FIELD(name, kind, help) _Atomic uint64_t name;
struct metrics {
    _Alignas(64) _Atomic uint64_t heartbeat_ms; /* clock_ms() of the thread's last turn; 0: not running */
    METRICS(METRIC_FIELD)
};
#undef METRIC_FIELD

/* Only the block's own thread may use these: they are a load and a store, without a bus lock. */
#define metric_add(metrics, name, n)                                                                    \
    atomic_store_explicit(&(metrics)->name,                                                             \
                          atomic_load_explicit(&(metrics)->name, memory_order_relaxed) + (uint64_t)(n), \
                          memory_order_relaxed)
#define metric_inc(metrics, name)    metric_add(metrics, name, 1)
#define metric_set(metrics, name, v) atomic_store_explicit(&(metrics)->name, (uint64_t)(v), memory_order_relaxed)

enum identity_state { IDENTITY_UNVERIFIED, IDENTITY_VALID, IDENTITY_MISMATCH, IDENTITY_UNREACHABLE };

/* One upstream address of one generation. The first two members are set before threads start. */
struct address_status {
    char upstream[CONFIG_NAME];
    struct endpoint endpoint;
    _Atomic uint32_t state;    /* enum identity_state; for a plain upstream VALID means that it answered */
    _Atomic uint32_t epoch;    /* grows with every change into or out of MISMATCH; older tickets and connections die */
    _Atomic uint64_t since_ms; /* clock_ms() when state began */
    _Atomic uint64_t logged_ms[4]; /* when entering each state was last logged; a flapping peer must not fill the log */
    _Atomic uint64_t validated_ms; /* clock_ms() of the last full proof; 0: never */
    _Atomic int64_t not_after;     /* wall seconds: earliest end of a certificate in the proved chain; 0: unknown */
    _Atomic uint32_t pins_matched; /* bit i: pin i of the group matched at the last proof */
    _Atomic uint32_t rtt_us;       /* smoothed */
    _Atomic uint64_t queries, answers, failures;
};

#define STATUS_SLOTS     2 /* generations alive at a time */
#define STATUS_THREADS   (CONFIG_WORKERS + 1)
#define STATUS_ADDRESSES (CONFIG_UPSTREAMS * CONFIG_ADDRESSES)
#define STATUS_MAGIC     0x6e6f6465646f7431ull

struct status_slot {
    struct metrics threads[STATUS_THREADS]; /* workers first, then the control thread */
    _Atomic uint32_t address_count;
    struct address_status addresses[STATUS_ADDRESSES];
};

struct status_page {
    uint64_t magic;
    uint64_t size;
    char version[32];
    /* written by the supervisor */
    _Atomic uint64_t started_ms;
    _Atomic uint32_t supervisor_pid;
    _Atomic uint32_t resolver_pid; /* of the current generation, 0: none */
    _Atomic uint32_t slot;         /* of the current generation */
    _Atomic uint32_t ready;
    _Atomic uint64_t generation; /* number of the current one, from 1 */
    _Atomic uint64_t generations_started, generations_lost;
    _Atomic uint64_t reloads_succeeded, reloads_failed;
    struct status_slot slots[STATUS_SLOTS];
};

/* The names and helps of all metrics, for printing. */
struct metric_info {
    const char *name;
    const char *help;
    bool counter;
    size_t offset; /* in struct metrics */
};
extern const struct metric_info metric_table[];
extern const size_t metric_table_size;

/* The sum of one metric over all threads: a counter's of both slots, a gauge's of the current generation's. */
uint64_t metric_sum(const struct status_page *page, const struct metric_info *info);

/* Sets what a generation before left in the gauges of a slot to 0. For the first thread of a new one, before the
 * others. */
void metrics_reset_gauges(struct status_slot *slot);

const char *identity_state_name(enum identity_state state);

#endif

/* metrics.h - the status page: counters, heartbeats and the state of upstream addresses, in shared memory.
 *
 * Layout:  a header that the supervisor writes; two slots, one for each of the two generations that can be alive at
 *          a time; in a slot one block of counters per thread (workers, then the control thread) and one row per
 *          upstream address. Offsets only, no pointers: `nodedot status` maps the same page in another process.
 * Writers: a block has one writer, its thread. A generation continues the counters of the last user of its slot, so
 *          the sum over both slots never decreases. An address row is written by any thread of its generation.
 * Reading: any process, any time; each number is consistent (64-bit atomics), but they are not of the same instant.
 */
#ifndef NODEDOT_OBSERVE_METRICS_H
#define NODEDOT_OBSERVE_METRICS_H

#include "nodedot/base/endpoint.h"
#include "nodedot/config/config.h"
#include "nodedot/observe/busiest.h"
#include "nodedot/observe/histogram.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One row per metric: the field, its kind, the family and labels under which it is exposed, help. Rows of one family
 * are consecutive and have the same help. A family "" is not exposed: the rows of upstream addresses show the same in
 * more detail. */
#define METRICS(M)                                                                                                   \
    M(queries_udp_total, COUNTER, "queries_total", "transport=\"udp\"", "Queries received from clients")             \
    M(queries_tcp_total, COUNTER, "queries_total", "transport=\"tcp\"", "Queries received from clients")             \
    M(type_a_total, COUNTER, "query_types_total", "type=\"A\"", "Well-formed queries by QTYPE")                      \
    M(type_aaaa_total, COUNTER, "query_types_total", "type=\"AAAA\"", "Well-formed queries by QTYPE")                \
    M(type_cname_total, COUNTER, "query_types_total", "type=\"CNAME\"", "Well-formed queries by QTYPE")              \
    M(type_https_total, COUNTER, "query_types_total", "type=\"HTTPS\"", "Well-formed queries by QTYPE")              \
    M(type_mx_total, COUNTER, "query_types_total", "type=\"MX\"", "Well-formed queries by QTYPE")                    \
    M(type_ns_total, COUNTER, "query_types_total", "type=\"NS\"", "Well-formed queries by QTYPE")                    \
    M(type_ptr_total, COUNTER, "query_types_total", "type=\"PTR\"", "Well-formed queries by QTYPE")                  \
    M(type_soa_total, COUNTER, "query_types_total", "type=\"SOA\"", "Well-formed queries by QTYPE")                  \
    M(type_srv_total, COUNTER, "query_types_total", "type=\"SRV\"", "Well-formed queries by QTYPE")                  \
    M(type_txt_total, COUNTER, "query_types_total", "type=\"TXT\"", "Well-formed queries by QTYPE")                  \
    M(type_other_total, COUNTER, "query_types_total", "type=\"other\"", "Well-formed queries by QTYPE")              \
    M(answers_total, COUNTER, "answers_sent_total", "", "Answers passed to the kernel for clients")                  \
    M(answers_noerror_total, COUNTER, "answers_total", "rcode=\"NOERROR\"", "Answers made, by RCODE")                \
    M(answers_nxdomain_total, COUNTER, "answers_total", "rcode=\"NXDOMAIN\"", "Answers made, by RCODE")              \
    M(answers_servfail_total, COUNTER, "answers_total", "rcode=\"SERVFAIL\"", "Answers made, by RCODE")              \
    M(answers_refused_total, COUNTER, "answers_total", "rcode=\"REFUSED\"", "Answers made, by RCODE")                \
    M(answers_formerr_total, COUNTER, "answers_total", "rcode=\"FORMERR\"", "Answers made, by RCODE")                \
    M(answers_notimp_total, COUNTER, "answers_total", "rcode=\"NOTIMP\"", "Answers made, by RCODE")                  \
    M(answers_other_total, COUNTER, "answers_total", "rcode=\"other\"", "Answers made, by RCODE")                    \
    M(answers_truncated_total, COUNTER, "answers_truncated_total", "", "Answers over UDP with TC set")               \
    M(answers_local_total, COUNTER, "answers_local_total", "",                                                       \
      "Answers to special-use names and ANY that nodedot made itself")                                               \
    M(dropped_short_total, COUNTER, "dropped_total", "cause=\"short\"",                                              \
      "Queries, connections and answers dropped, by cause")                                                          \
    M(dropped_acl_total, COUNTER, "dropped_total", "cause=\"acl\"",                                                  \
      "Queries, connections and answers dropped, by cause")                                                          \
    M(dropped_blocked_total, COUNTER, "dropped_total", "cause=\"blocked\"",                                          \
      "Queries, connections and answers dropped, by cause")                                                          \
    M(dropped_rate_total, COUNTER, "dropped_total", "cause=\"rate\"",                                                \
      "Queries, connections and answers dropped, by cause")                                                          \
    M(dropped_send_total, COUNTER, "dropped_total", "cause=\"send\"",                                                \
      "Queries, connections and answers dropped, by cause")                                                          \
    M(dropped_client_gone_total, COUNTER, "dropped_total", "cause=\"client_gone\"",                                  \
      "Queries, connections and answers dropped, by cause")                                                          \
    M(interrupted_total, COUNTER, "interrupted_total", "",                                                           \
      "Queries answered SERVFAIL because the resolver was stopping")                                                 \
    M(rate_limited_total, COUNTER, "rate_limited_total", "", "Queries refused: client above its rate")               \
    M(cookies_valid_total, COUNTER, "cookies_total", "state=\"valid\"",                                              \
      "Queries with a COOKIE option, by whether it proved the client's address")                                     \
    M(cookies_other_total, COUNTER, "cookies_total", "state=\"other\"",                                              \
      "Queries with a COOKIE option, by whether it proved the client's address")                                     \
    M(clients_blocked, GAUGE, "clients_blocked", "", "Clients that are ignored because they sent too many queries")  \
    M(client_blocks_total, COUNTER, "client_blocks_total", "", "Number of times that a client was blocked")          \
    M(in_flight_refused_total, COUNTER, "in_flight_refused_total", "", "Queries refused: in-flight table full")      \
    M(in_flight_displaced_total, COUNTER, "in_flight_displaced_total", "",                                           \
      "Waiting queries displaced by a client with fewer waiting queries")                                            \
    M(in_flight, GAUGE, "in_flight", "", "Queries waiting for an upstream answer")                                   \
    M(joined_total, COUNTER, "joined_total", "", "Queries that joined an identical question in flight")              \
    M(cache_hits_total, COUNTER, "cache_hits_total", "", "Queries answered from the cache")                          \
    M(cache_misses_total, COUNTER, "cache_misses_total", "", "Queries without a fresh answer in the cache")          \
    M(cache_stale_total, COUNTER, "cache_stale_total", "", "Queries answered with a stale answer")                   \
    M(cache_stores_total, COUNTER, "cache_stores_total", "", "Answers written to the cache")                         \
    M(prefetches_total, COUNTER, "prefetches_total", "",                                                             \
      "Questions asked to refresh an answer without a waiting client")                                               \
    M(cache_entries, GAUGE, "cache_entries", "", "Answers in the cache")                                             \
    M(cache_bytes, GAUGE, "cache_bytes", "", "Memory of the cache")                                                  \
    M(cache_evictions_total, COUNTER, "cache_evictions_total", "",                                                   \
      "Unexpired answers evicted to make room for others")                                                           \
    M(tcp_connections, GAUGE, "tcp_connections", "", "Open client connections")                                      \
    M(tcp_accepted_total, COUNTER, "tcp_accepted_total", "", "Client connections accepted")                          \
    M(tcp_refused_total, COUNTER, "tcp_refused_total", "", "Client connections closed at once: above a limit")       \
    M(tcp_idle_closed_total, COUNTER, "tcp_idle_closed_total", "", "Client connections closed: idle, slow or stuck") \
    M(upstream_queries_total, COUNTER, "", "", "Queries sent to upstreams")                                          \
    M(upstream_answers_total, COUNTER, "", "", "Valid answers from upstreams")                                       \
    M(upstream_retries_total, COUNTER, "upstream_retries_total", "",                                                 \
      "Queries asked again on another connection or address")                                                        \
    M(hedges_total, COUNTER, "hedges_total", "", "Late questions that were also sent to a second address")           \
    M(hedges_won_total, COUNTER, "hedges_won_total", "", "Hedges whose second address answered first")               \
    M(fallback_queries_total, COUNTER, "fallback_queries_total", "", "Questions sent to a fallback")                 \
    M(upstream_mismatched_total, COUNTER, "upstream_messages_dropped_total", "cause=\"mismatched\"",                 \
      "Messages from upstreams dropped: they matched no query, were malformed, or came late")                        \
    M(upstream_broken_total, COUNTER, "upstream_messages_dropped_total", "cause=\"malformed\"",                      \
      "Messages from upstreams dropped: they matched no query, were malformed, or came late")                        \
    M(upstream_late_total, COUNTER, "upstream_messages_dropped_total", "cause=\"late\"",                             \
      "Messages from upstreams dropped: they matched no query, were malformed, or came late")                        \
    M(upstream_octets_behind_total, COUNTER, "upstream_octets_behind_total", "",                                     \
      "Answers of upstreams with extra octets after the message, which were ignored")                                \
    M(upstream_plainer_total, COUNTER, "upstream_plainer_total", "",                                                 \
      "Queries asked again without EDNS options, or without EDNS, because the upstream did not accept them")         \
    M(upstream_foreign_total, COUNTER, "upstream_records_dropped_total", "",                                         \
      "Records removed from upstreams' answers because they did not belong to the question")                         \
    M(upstream_relayed_total, COUNTER, "upstream_relayed_total", "",                                                 \
      "Queries asked over another thread's connection, because the upstream allows no more connections")             \
    M(upstream_timeouts_total, COUNTER, "upstream_timeouts_total", "",                                               \
      "Queries that failed without an upstream answer")                                                              \
    M(upstream_truncated_total, COUNTER, "upstream_truncated_total", "",                                             \
      "Answers of plain upstreams with TC, asked again over TCP")                                                    \
    M(upstream_connections, GAUGE, "", "", "Connections to upstreams that are ready")                                \
    M(upstream_connects_total, COUNTER, "", "", "Connections to upstreams started")                                  \
    M(upstream_connect_failures_total, COUNTER, "", "", "Connections to upstreams that did not become ready")        \
    M(handshakes_full_total, COUNTER, "", "", "Full TLS handshakes completed")                                       \
    M(handshakes_resumed_total, COUNTER, "", "", "Resumed TLS handshakes completed")                                 \
    M(identity_mismatches_total, COUNTER, "", "", "Handshakes whose peer did not prove its identity")                \
    M(query_log_total, COUNTER, "query_log_total", "", "Queries written to the query log")                           \
    M(query_log_dropped_total, COUNTER, "query_log_dropped_total", "",                                               \
      "Queries missing in the query log because its reader is slow or gone")                                         \
    M(revalidations_total, COUNTER, "revalidations_total", "", "Identity checks completed")

/* Time from reading a query to sending its answer: one row per histogram. */
#define HISTOGRAMS(H)                                                                     \
    H(hit_duration, "hit_duration_seconds", "Time to answer a query without an upstream") \
    H(miss_duration, "miss_duration_seconds", "Time to answer a query that waited for an upstream")

/* A thread whose loop has not turned for this long hangs. A loop turns at least once a second. With a check every half
 * second, a hung resolver is killed after 3.5 s and replaced within 5. */
#define HEARTBEAT_LIMIT_MS 3000

#define METRIC_FIELD(name, kind, family, labels, help) _Atomic uint64_t name;
#define HISTOGRAM_FIELD(name, family, help)            struct histogram name;
struct metrics {
    _Alignas(64) _Atomic uint64_t heartbeat_ms; /* clock_ms() of the thread's last turn; 0: not running */
    METRICS(METRIC_FIELD)
    HISTOGRAMS(HISTOGRAM_FIELD)
};
#undef METRIC_FIELD
#undef HISTOGRAM_FIELD

/* Only the block's own thread may use these: a load and a store, without a bus lock. */
#define metric_add(metrics, name, n)                                                                    \
    atomic_store_explicit(&(metrics)->name,                                                             \
                          atomic_load_explicit(&(metrics)->name, memory_order_relaxed) + (uint64_t)(n), \
                          memory_order_relaxed)
#define metric_inc(metrics, name)    metric_add(metrics, name, 1)
#define metric_set(metrics, name, v) atomic_store_explicit(&(metrics)->name, (uint64_t)(v), memory_order_relaxed)

/* IDENTITY_CLOCK: the proof fails because the node's clock is before the dates of a certificate, as it may be where no
 * battery keeps the time while the machine is off. As little to be used as after a mismatch. */
enum identity_state {
    IDENTITY_UNVERIFIED,
    IDENTITY_VALID,
    IDENTITY_MISMATCH,
    IDENTITY_UNREACHABLE,
    IDENTITY_CLOCK,
    IDENTITY_STATES
};

/* Was the identity judged, and not proved? */
static inline bool identity_state_refused(enum identity_state state)
{
    return state == IDENTITY_MISMATCH || state == IDENTITY_CLOCK;
}

#define STATUS_WARNINGS 6 /* kinds of doubt about an address whose identity is proved */

/* One upstream address of one generation. The first two members are set before threads start. Counters continue those
 * of the same address in the previous generation of this slot, so the sum over both slots never decreases. */
struct address_status {
    char upstream[CONFIG_NAME];
    struct endpoint endpoint;
    _Atomic uint32_t state;    /* enum identity_state; for a plain upstream VALID means that it answered */
    _Atomic uint32_t epoch;    /* grows with every change into or out of a refusal; older tickets and connections die */
    _Atomic uint64_t since_ms; /* clock_ms() when state began */
    _Atomic uint64_t logged_ms
        [IDENTITY_STATES]; /* when entering each state was last logged; a flapping peer must not fill the log */
    _Atomic uint64_t warned_ms[STATUS_WARNINGS]; /* when each doubt of identity.h was last logged; 0: never */
    _Atomic uint64_t validated_ms;               /* clock_ms() of the last full proof; 0: never */
    _Atomic int64_t not_after;     /* wall seconds: earliest end of a certificate in the proved chain; 0: unknown */
    _Atomic uint32_t pins_matched; /* bit i: pin i of the group matched at the last proof */
    _Atomic uint32_t rtt_us;       /* smoothed */
    _Atomic uint32_t silent;       /* 1: it failed, and no thread has had an answer since */
    _Atomic uint64_t connections;  /* ready now */
    _Atomic uint32_t holders;      /* bit t: thread t has such a connection */
    _Atomic uint64_t answered_ms;  /* clock_ms() of the last valid answer to any thread; 0: never */
    _Atomic uint64_t renew_ms;     /* clock_ms() when a thread was asked to check it again; 0: never */
    _Atomic uint64_t doubted_ms;   /* clock_ms() when a thread without a connection last failed to get one; 0: never */
    _Atomic uint64_t
        dislikes_options_ms;           /* clock_ms() when it was found to answer only without EDNS options; 0: never */
    _Atomic uint64_t dislikes_edns_ms; /* the same, without EDNS */
    /* counted, from here on */
    _Atomic uint64_t queries, answers, failures;
    _Atomic uint64_t timeouts; /* exchanges without an answer when the flight asked again or ended */
    _Atomic uint64_t connects, connect_failures;
    _Atomic uint64_t local; /* shortages of descriptors, buffers, memory or ports on this node */
    _Atomic uint64_t handshakes_full, handshakes_resumed;
    _Atomic uint64_t mismatches;     /* handshakes that did not prove the identity */
    _Atomic uint64_t hedges;         /* hedges asked here */
    _Atomic uint64_t padding_octets; /* sent (RFC 8467) */
    struct histogram duration;       /* from asking to the valid answer; many writers */
};

/* One upstream group of one generation. */
struct upstream_status {
    char name[CONFIG_NAME];
    uint32_t pin_count;                 /* of the configuration; bits of pins_matched */
    _Atomic uint32_t fallback;          /* 1: its fallback is in use */
    _Atomic uint64_t fallback_since_ms; /* clock_ms() when that last began or ended; 0: never */
};

/* Resources that a process uses; it updates them about once a second. */
struct process_status {
    _Atomic uint64_t cpu_us; /* user and system time */
    _Atomic uint64_t resident_bytes;
    _Atomic uint64_t open_fds;
    _Atomic uint64_t log_lost; /* lines that standard error did not take */
};

#define STATUS_SLOTS     2 /* generations alive at a time */
#define STATUS_THREADS   (CONFIG_WORKERS + 1)
#define STATUS_ADDRESSES (CONFIG_UPSTREAMS * CONFIG_ADDRESSES)
#define STATUS_MAGIC     0x6e6f6465646f7431ull

struct status_slot {
    struct metrics threads[STATUS_THREADS]; /* workers first, then the control thread */
    _Atomic uint32_t rows_version;          /* odd while rows are moved */
    _Atomic uint32_t address_count;
    struct address_status addresses[STATUS_ADDRESSES];
    _Atomic uint32_t upstream_count;
    struct upstream_status upstreams[CONFIG_UPSTREAMS];
    struct process_status process; /* the resolver */
    struct busiest busiest;
};

/* Octets of a reason in the status page, NUL included; a longer one is cut. */
#define STATUS_REASON 160

struct status_page {
    uint64_t magic;
    uint64_t size;
    char version[32];
    char wolfssl[16]; /* version of the TLS library */
    /* written by the supervisor */
    _Atomic uint64_t started_ms;
    _Atomic uint32_t supervisor_pid;
    _Atomic uint32_t resolver_pid; /* of the current generation, 0: none */
    _Atomic uint32_t slot;         /* of the current generation */
    _Atomic uint32_t ready;
    _Atomic uint64_t generation; /* number of the current one, from 1 */
    _Atomic uint64_t generations_started, generations_lost;
    _Atomic uint64_t reloads_succeeded, reloads_failed;
    _Atomic int64_t reload_succeeded_at; /* wall seconds of the last good (re)load */
    _Atomic uint32_t reload_is_bad;      /* 1: the last reload failed, and the previous configuration is in use */
    _Atomic uint32_t reload_waits;       /* 1: it failed for a passing reason, and is tried again */
    char reload_reason[STATUS_REASON];   /* why the last reload failed; for people, may be read half written */
    struct process_status process;       /* the supervisor */
    struct status_slot slots[STATUS_SLOTS];
};

/* The names and helps of all metrics, for printing. */
struct metric_info {
    const char *name;   /* of the field */
    const char *family; /* "": not exposed */
    const char *labels; /* as between braces; "": none */
    const char *help;
    bool counter;
    size_t offset; /* in struct metrics */
};
extern const struct metric_info metric_table[];
extern const size_t metric_table_size;

/* The sum of one metric over all threads: a counter's of both slots, a gauge's of the current generation's. */
uint64_t metric_sum(const struct status_page *page, const struct metric_info *info);

/* Sets the gauges that the previous generation left in a slot to 0. Called by the first thread of a new generation,
 * before it starts others. */
void metrics_reset_gauges(struct status_slot *slot);

/* Makes the rows of a new generation: one for each address and each group, in the order of the configuration. For the
 * first thread, as above. False: no memory. */
bool metrics_begin_rows(struct status_slot *slot, const struct config *config);

/* The row of this upstream and address in slot, at best at index; NULL: there is none. */
const struct address_status *metrics_find_row(const struct status_slot *slot, const struct address_status *like,
                                              uint32_t index);

/* What was counted at an address: the 64-bit number at offset of its row, and of its row in the other slot (NULL:
 * none). */
uint64_t metrics_row_sum(const struct address_status *row, const struct address_status *other, size_t offset);

const char *identity_state_name(enum identity_state state);

#endif

/* cache.h - answers in shared memory, kept until their TTL expires.
 *
 * Key:    QNAME (lower case, wire form), QTYPE, QCLASS, and the DO and CD bits; compared in full, never by hash
 *         alone.
 * Origin: a record keeps the number that the key had when it was stored. A record of another origin than those of the
 *         key is a miss, and the next store takes its place: the configuration has changed since (resolver/origin.h).
 * Time:   whole seconds given by the caller (clock_seconds()); this module never reads a clock.
 * Memory: the mapping handed to cache_open(), never more; when it is full, the oldest answer that was not used since
 *         the last lap is evicted.
 * Shared: by threads and by processes. A reader copies out and takes no lock; writers hold a shard's robust mutex,
 *         and one that finds it busy for too long stores nothing: a cache may lose answers, a worker may not hang. The
 *         first writer after one that died with the mutex empties the shard. Each thread opens its own struct cache.
 * Life:   of a positive answer, the smallest TTL of its ANSWER section, raised to min_ttl, then lowered to max_ttl;
 *         of a negative one min(SOA TTL, MINIMUM, TTLs of a CNAME chain in ANSWER), lowered to negative_max_ttl. No
 *         life is longer than CACHE_LONGEST_TTL. An answer is fresh while age < life, stale while age < life +
 *         stale_max.
 * TTLs:   each record of a positive answer keeps its own TTL, raised and lowered in the same way, minus the age, not
 *         below 0. So a client never sees more than the zone's TTL, unless min_ttl raised it, nor more than max_ttl.
 *         TTLs of a negative answer are at most the rest of its life; otherwise a client's cache could keep a negative
 *         answer longer than negative_max_ttl. A TTL with the top bit set is a large one, not 0 (RFC 8767 section 4).
 * Rules:  RFC 2181 section 8 (TTL range), RFC 2308 section 5 (negative answers), RFC 8767 (stale), RFC 9520
 *         (failures).
 */
#ifndef NODEDOT_CACHE_CACHE_H
#define NODEDOT_CACHE_CACHE_H

#include "nodedot/dns/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Smallest mapping that cache_format() takes. */
#define CACHE_MIN_SIZE (1024 * 1024)
/* Maximum lifetime of an answer in seconds, whatever the limits say: 7 days (RFC 8767 section 4). */
#define CACHE_LONGEST_TTL 604800
/* Lifetime of a failure in seconds (RFC 9520 section 3.2 requires 1 to 300; CoreDNS and the patience of clients agree
 * on this value), doubled each time that the question fails again, up to a maximum. The maximum is far below the RFC's:
 * an operator who repairs a broken zone waits for every node of the cluster, and one question a minute hurts no
 * server. */
#define CACHE_FAILURE_TTL     5
#define CACHE_FAILURE_TTL_MAX 60
/* A question that fails again within this time after its last failure expired counts as failing continuously. */
#define CACHE_FAILURE_AGAIN 60
/* Seconds for which the refresh of an answer belongs to the thread that began it. */
#define CACHE_CLAIM 5

struct cache; /* one thread's view of the mapping */

/* Identifies a question. Refers to the caller's question. */
struct cache_key {
    const struct question *question;
    bool dnssec_ok;
    bool checking_disabled;
    uint64_t hash;        /* by cache_key_of() */
    uint32_t origin;      /* stored with an answer; the caller sets both */
    uint32_t origin_also; /* another origin whose answers are valid; usually the same */
};

enum cache_kind { CACHE_POSITIVE, CACHE_NEGATIVE, CACHE_FAILURE };

/* What a lookup found. */
struct cache_hit {
    size_t size; /* octets written to out */
    enum cache_kind kind;
    bool stale;         /* past its TTL, which reads stale_ttl in the copy */
    bool prefetch_due;  /* at least the second hit, in the last tenth of the life, and no thread refreshes it yet */
    bool claimed;       /* a refresh began less than CACHE_CLAIM seconds ago */
    uint32_t life;      /* seconds, when it was stored */
    uint32_t ttl_left;  /* seconds; 0 when stale */
    uint32_t failed_at; /* second of this failure, or of a failed refresh of this stale answer; 0: none */
};

/* Limits for storing, in seconds; of the zone that the question belongs to. */
struct cache_limits {
    uint32_t min_ttl;
    uint32_t max_ttl;
    uint32_t negative_max_ttl;
    uint32_t stale_max; /* an answer may be served for this long after its TTL */
};

/* Lays out an empty cache in memory of size octets (page-aligned, zeroed or not): shards, robust process-shared
 * mutexes, a random hash key. Done by the supervisor, before any thread opens it. Touches a few pages only. 0; -EINVAL
 * for a size below CACHE_MIN_SIZE or above 8 GiB, or memory without alignment; or what pthread_mutex_init() says. */
int cache_format(void *memory, size_t size);

/* Opens a formatted mapping for one thread. NULL: not formatted, its header was overwritten, or no memory. Sizes are
 * read from the mapping here and never again, so later corruption cannot cause accesses outside it. */
struct cache *cache_open(void *memory);
void cache_close(struct cache *cache);

/* Empties the cache after a crash, when its contents cannot be trusted. Called by the first thread of the next
 * generation, while threads of another may still read and write; takes every shard's mutex, and recovers those whose
 * owner died. A mutex that a living process holds for a second is left to it: look-ups in that shard are misses until
 * the next store there, which empties it. */
void cache_clear(struct cache *cache);

/* A hash with the key of the mapping: the same in every process that has it open, and unpredictable for others. */
uint64_t cache_hash(const struct cache *cache, const void *data, size_t size);

/* Makes a key of origin 0; question must outlive it. Asks the CPU for the line of the index that the look-up will
 * read. */
struct cache_key cache_key_of(const struct cache *cache, const struct question *question, bool dnssec_ok,
                              bool checking_disabled);

/* Copies the answer to out: header as stored with ID 0, question in lower case, records with TTLs lowered by their age,
 * no OPT; ready for answer_finish(). stale_ttl 0: a stale answer is a miss; else its TTLs read stale_ttl (RFC 8767
 * section 4: 30). Returns false for a miss, or when capacity is short; out is garbage then. out needs no alignment.
 * Marks the answer as used. */
bool cache_lookup(struct cache *cache, const struct cache_key *key, uint32_t now, uint32_t stale_ttl, uint8_t *out,
                  size_t capacity, struct cache_hit *hit);

/* The same for a fresh answer, without counting as use: for the clients whose question brought the answer that was
 * stored a moment ago. Otherwise every answer in the cache would look used. */
bool cache_read_back(struct cache *cache, const struct cache_key *key, uint32_t now, uint8_t *out, size_t capacity,
                     struct cache_hit *hit);

/* Returns the same about a stored answer, fresh or stale, without copying or using it. prefetch_due is false. */
bool cache_peek(const struct cache *cache, const struct cache_key *key, uint32_t now, struct cache_hit *hit);

/* May the caller refresh the answer? True for one caller, thread or process, in CACHE_CLAIM seconds; false if there is
 * no answer that could be served. */
bool cache_claim(struct cache *cache, const struct cache_key *key, uint32_t now);

/* Stores an upstream's answer: size_without_opt octets of message, with additional_count as ARCOUNT, for its life as
 * above. Nothing is stored for a life of 0, a truncated answer, a negative answer without SOA, RCODEs other than
 * NOERROR and NXDOMAIN, a question of another length than the key's, a message too large for a shard, or while the
 * shard's mutex is busy. An older answer to the same key is replaced. Returns whether it was stored. */
bool cache_store(struct cache *cache, const struct cache_key *key, const uint8_t *message,
                 const struct answer_info *info, const uint16_t *ttl_offsets, const struct cache_limits *limits,
                 uint32_t now);

/* Holds the TTLs of an answer (a copy of what ttl_offsets were made for) to the limits, for an answer that is passed on
 * without having been stored. */
void cache_limit_ttls(uint8_t *message, const struct answer_info *info, const uint16_t *ttl_offsets,
                      const struct cache_limits *limits);

/* Remembers that a question failed (RFC 9520 section 3.2): a lookup gives this RCODE (SERVFAIL for one above 15) without
 * records, of kind CACHE_FAILURE, for CACHE_FAILURE_TTL seconds, or longer when it has failed before. Failures up to the second
 * forgiven do not count. An answer that can still be served is not replaced: a fresh one stays as it is, in a stale one
 * the moment is noted (hit.failed_at); then false. */
bool cache_store_failure(struct cache *cache, const struct cache_key *key, uint16_t rcode, uint32_t forgiven,
                         uint32_t now);

/* The question was answered, but the answer could not be stored: earlier failures no longer count. */
void cache_forgive(struct cache *cache, const struct cache_key *key);

/* Sums over all shards, for the status page. */
struct cache_statistics {
    uint64_t bytes;     /* of the mapping */
    uint64_t entries;   /* that can be found */
    uint64_t evictions; /* of unexpired answers */
};
void cache_statistics(const struct cache *cache, struct cache_statistics *out);

#endif

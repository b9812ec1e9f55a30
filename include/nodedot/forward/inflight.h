/* inflight.h - the questions that wait for an upstream's answer: one entry a question, however many clients wait for it.
 *
 * Key:    as in the cache: QNAME, QTYPE, QCLASS, DO and CD.
 * Memory: a fixed number of entries, taken at start. An entry is the first member of a larger object (a flight), whose
 *         size the owner gives. The limit `in-flight` counts waiting queries over all threads; an entry stands for at
 *         least one of them, or is one of a bounded number that no client waits for, so a table of that many entries
 *         never runs dry before the limit.
 * Shared: a table belongs to one thread.
 */
#ifndef NODEDOT_FORWARD_INFLIGHT_H
#define NODEDOT_FORWARD_INFLIGHT_H

#include "nodedot/base/pool.h"
#include "nodedot/dns/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inflight_entry {
    struct question question;
    bool dnssec_ok;
    bool checking_disabled;
    uint64_t hash;               /* of the cache key */
    struct inflight_entry *next; /* in its bucket */
};

struct inflight {
    struct pool entries;
    size_t entry_size;
    struct inflight_entry **buckets;
    size_t bucket_mask;
    size_t count;
};

/* Takes memory for capacity objects of entry_size octets. False: no memory. */
bool inflight_init(struct inflight *table, size_t capacity, size_t entry_size);
void inflight_reset(struct inflight *table);

/* The entry of a question, or NULL. hash is that of the cache key. */
struct inflight_entry *inflight_find(const struct inflight *table, uint64_t hash, const struct question *question,
                                     bool dnssec_ok, bool checking_disabled);

/* A new entry whose object is zero but for the key; NULL: the table is full. */
struct inflight_entry *inflight_take(struct inflight *table, uint64_t hash, const struct question *question,
                                     bool dnssec_ok, bool checking_disabled);

/* Gives an entry back. */
void inflight_release(struct inflight *table, struct inflight_entry *entry);

#endif

#include "nodedot/forward/inflight.h"

#include <stdlib.h>
#include <string.h>

bool inflight_init(struct inflight *table, size_t capacity, size_t entry_size)
{
    size_t buckets = 1;

    memset(table, 0, sizeof(*table));
    while (buckets < capacity * 2)
        buckets *= 2;
    table->bucket_mask = buckets - 1;
    table->entry_size = entry_size;
    table->buckets = calloc(buckets, sizeof(struct inflight_entry *));
    if (table->buckets == NULL || !pool_init(&table->entries, capacity, entry_size)) {
        inflight_reset(table);
        return false;
    }
    return true;
}

void inflight_reset(struct inflight *table)
{
    free(table->buckets);
    pool_reset(&table->entries);
    memset(table, 0, sizeof(*table));
}

struct inflight_entry *inflight_find(const struct inflight *table, uint64_t hash, const struct question *question,
                                     bool dnssec_ok, bool checking_disabled)
{
    struct inflight_entry *entry = table->buckets[hash & table->bucket_mask];

    while (entry != NULL &&
           (entry->hash != hash || entry->dnssec_ok != dnssec_ok || entry->checking_disabled != checking_disabled ||
            !question_equal(&entry->question, question)))
        entry = entry->next;
    return entry;
}

struct inflight_entry *inflight_take(struct inflight *table, uint64_t hash, const struct question *question,
                                     bool dnssec_ok, bool checking_disabled)
{
    struct inflight_entry *entry = pool_take(&table->entries);
    struct inflight_entry **bucket = &table->buckets[hash & table->bucket_mask];

    if (entry == NULL)
        return NULL;
    memset(entry, 0, table->entry_size);
    entry->question = *question;
    entry->dnssec_ok = dnssec_ok;
    entry->checking_disabled = checking_disabled;
    entry->hash = hash;
    entry->next = *bucket;
    *bucket = entry;
    table->count++;
    return entry;
}

void inflight_release(struct inflight *table, struct inflight_entry *entry)
{
    struct inflight_entry **at = &table->buckets[entry->hash & table->bucket_mask];

    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    pool_release(&table->entries, entry);
    table->count--;
}

#include "nodedot/forward/inflight.h"

#include <stdlib.h>
#include <string.h>

bool inflight_init(struct inflight *table, size_t capacity)
{
    size_t buckets = 1;

    memset(table, 0, sizeof(*table));
    while (buckets < capacity * 2)
        buckets *= 2;
    table->bucket_mask = buckets - 1;
    table->buckets = calloc(buckets, sizeof(struct flight *));
    if (table->buckets == NULL || !pool_init(&table->flights, capacity, sizeof(struct flight))) {
        inflight_reset(table);
        return false;
    }
    return true;
}

void inflight_reset(struct inflight *table)
{
    free(table->buckets);
    pool_reset(&table->flights);
    memset(table, 0, sizeof(*table));
}

struct flight *inflight_find(const struct inflight *table, uint64_t hash, const struct question *question,
                             bool dnssec_ok, bool checking_disabled)
{
    struct flight *flight = table->buckets[hash & table->bucket_mask];

    while (flight != NULL &&
           (flight->hash != hash || flight->dnssec_ok != dnssec_ok || flight->checking_disabled != checking_disabled ||
            !question_equal(&flight->question, question)))
        flight = flight->next;
    return flight;
}

struct flight *inflight_take(struct inflight *table, uint64_t hash, const struct question *question, bool dnssec_ok,
                             bool checking_disabled)
{
    struct flight *flight = pool_take(&table->flights);
    struct flight **bucket = &table->buckets[hash & table->bucket_mask];

    if (flight == NULL)
        return NULL;
    memset(flight, 0, sizeof(*flight));
    flight->question = *question;
    flight->dnssec_ok = dnssec_ok;
    flight->checking_disabled = checking_disabled;
    flight->hash = hash;
    flight->next = *bucket;
    *bucket = flight;
    table->count++;
    return flight;
}

void inflight_release(struct inflight *table, struct flight *flight)
{
    struct flight **at = &table->buckets[flight->hash & table->bucket_mask];

    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    pool_release(&table->flights, flight);
    table->count--;
}

void attempt_list_push(struct attempt_list *list, struct attempt *attempt)
{
    attempt->next = NULL;
    attempt->previous = list->last;
    if (list->last != NULL)
        list->last->next = attempt;
    else
        list->first = attempt;
    list->last = attempt;
}

void attempt_list_remove(struct attempt_list *list, struct attempt *attempt)
{
    if (attempt->previous != NULL)
        attempt->previous->next = attempt->next;
    else
        list->first = attempt->next;
    if (attempt->next != NULL)
        attempt->next->previous = attempt->previous;
    else
        list->last = attempt->previous;
    attempt->state = ATTEMPT_FREE;
}

#include "nodedot/forward/zone.h"

#include "nodedot/dns/record.h"

#include <string.h>

static size_t bucket_of(const struct zone_table *table, const uint8_t *suffix, size_t size)
{
    return hash_keyed(&table->key, suffix, size) % ZONE_BUCKETS;
}

/* The bit of a suffix: by its length and its first two octets, which are there in every name but the root. */
static size_t glance_of(const uint8_t *suffix, size_t size)
{
    size_t start = size > 1 ? suffix[0] * 31u + suffix[1] : 0;

    return (size * 131u + start) % ZONE_GLANCE_BITS;
}

void zone_table_init(struct zone_table *table, const struct config *config)
{
    memset(table, 0, sizeof(*table));
    table->config = config;
    hash_key_random(&table->key);
    for (size_t i = 0; i < config->zone_count; i++) {
        const struct name *name = &config->zones[i].name;
        size_t at = bucket_of(table, name->bytes, name->length);
        size_t glance = glance_of(name->bytes, name->length);

        while (table->buckets[at] != 0)
            at = (at + 1) % ZONE_BUCKETS;
        table->buckets[at] = (uint16_t)(i + 1);
        table->glance[glance / 64] |= (uint64_t)1 << glance % 64;
    }
}

static const struct zone_config *find_exact(const struct zone_table *table, const uint8_t *suffix, size_t size)
{
    size_t glance = glance_of(suffix, size);

    if ((table->glance[glance / 64] >> glance % 64 & 1) == 0)
        return NULL;
    for (size_t at = bucket_of(table, suffix, size); table->buckets[at] != 0; at = (at + 1) % ZONE_BUCKETS) {
        const struct zone_config *zone = &table->config->zones[table->buckets[at] - 1];

        if (zone->name.length == size && memcmp(zone->name.bytes, suffix, size) == 0)
            return zone;
    }
    return NULL;
}

/* The zone of the suffix that begins at octet `at` of the name. */
static const struct zone_config *find_from(const struct zone_table *table, const struct name *name, size_t at)
{
    const struct zone_config *zone = NULL;

    for (; at < name->length && zone == NULL; at += 1 + (size_t)name->bytes[at])
        zone = find_exact(table, name->bytes + at, name->length - at);
    return zone;
}

const struct zone_config *zone_find(const struct zone_table *table, const struct name *name)
{
    return find_from(table, name, 0);
}

const struct zone_config *zone_of_question(const struct zone_table *table, const struct question *question)
{
    const struct name *qname = &question->qname;
    const struct zone_config *zone = NULL;

    if (question->qtype == TYPE_DS)
        zone = find_from(table, qname, 1 + (size_t)qname->bytes[0]);
    return zone != NULL ? zone : find_from(table, qname, 0);
}

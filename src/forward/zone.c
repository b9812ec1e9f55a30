#include "nodedot/forward/zone.h"

#include <string.h>

static size_t bucket_of(const struct zone_table *table, const uint8_t *suffix, size_t size)
{
    return hash_keyed(&table->key, suffix, size) % ZONE_BUCKETS;
}

void zone_table_init(struct zone_table *table, const struct config *config)
{
    memset(table, 0, sizeof(*table));
    table->config = config;
    hash_key_random(&table->key);
    for (size_t i = 0; i < config->zone_count; i++) {
        const struct name *name = &config->zones[i].name;
        size_t at = bucket_of(table, name->bytes, name->length);

        while (table->buckets[at] != 0)
            at = (at + 1) % ZONE_BUCKETS;
        table->buckets[at] = (uint16_t)(i + 1);
    }
}

static const struct zone_config *find_exact(const struct zone_table *table, const uint8_t *suffix, size_t size)
{
    for (size_t at = bucket_of(table, suffix, size); table->buckets[at] != 0; at = (at + 1) % ZONE_BUCKETS) {
        const struct zone_config *zone = &table->config->zones[table->buckets[at] - 1];

        if (zone->name.length == size && memcmp(zone->name.bytes, suffix, size) == 0)
            return zone;
    }
    return NULL;
}

const struct zone_config *zone_find(const struct zone_table *table, const struct name *name)
{
    const struct zone_config *zone = NULL;

    for (size_t at = 0; at < name->length && zone == NULL; at += 1 + (size_t)name->bytes[at])
        zone = find_exact(table, name->bytes + at, name->length - at);
    return zone;
}

/* zone.h - which zone of the configuration does a name belong to? The longest suffix wins.
 *
 * A look-up costs one hash for each label of the name, however many zones there are.
 */
#ifndef NODEDOT_FORWARD_ZONE_H
#define NODEDOT_FORWARD_ZONE_H

#include "nodedot/base/hash.h"
#include "nodedot/config/config.h"

/* Power of two, four times the zones at most: chains of the open-addressed table stay short. */
#define ZONE_BUCKETS (4 * CONFIG_ZONES)

struct zone_table {
    const struct config *config;
    struct hash_key key;
    uint16_t buckets[ZONE_BUCKETS]; /* index into config->zones plus one; 0: empty */
};

/* config must outlive the table. */
void zone_table_init(struct zone_table *table, const struct config *config);

/* The zone of a name; NULL when none covers it. */
const struct zone_config *zone_find(const struct zone_table *table, const struct name *name);

#endif

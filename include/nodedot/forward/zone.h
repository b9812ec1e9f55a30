/* zone.h - which zone of the configuration does a name belong to? The longest suffix wins.
 *
 * A look-up costs some instructions for each label of the name, and a hash for each suffix that looks like a zone's name at
 * a first glance, however many zones there are: it is made for every query.
 */
#ifndef NODEDOT_FORWARD_ZONE_H
#define NODEDOT_FORWARD_ZONE_H

#include "nodedot/base/hash.h"
#include "nodedot/config/config.h"
#include "nodedot/dns/message.h"

/* Power of two, four times the zones at most: chains of the open-addressed table stay short. */
#define ZONE_BUCKETS (4 * CONFIG_ZONES)

/* Bits of the first glance: with CONFIG_ZONES zones, one suffix in eight that is none passes. */
#define ZONE_GLANCE_BITS 2048

struct zone_table {
    const struct config *config;
    uint64_t glance[ZONE_GLANCE_BITS / 64]; /* the bits of all zones' names, see glance_of() */
    struct hash_key key;
    uint16_t buckets[ZONE_BUCKETS]; /* index into config->zones plus one; 0: empty */
};

/* config must outlive the table. */
void zone_table_init(struct zone_table *table, const struct config *config);

/* The zone of a name; NULL when none covers it. */
const struct zone_config *zone_find(const struct zone_table *table, const struct name *name);

/* The zone whose upstream is asked a question. A DS record stands in the zone above its owner (RFC 4035 section 3.1.4.1), so
 * a question for one goes there; where no zone covers that, to the zone of the name itself. */
const struct zone_config *zone_of_question(const struct zone_table *table, const struct question *question);

#endif

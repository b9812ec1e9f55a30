/* fallback.h - does a group's fallback serve? Decided in one place, for all threads.
 *
 * A fallback serves while no address of the first group answers, with hysteresis: it begins when that has been so for
 * FALLBACK_BEGIN_MS, and ends when the group has been usable again for FALLBACK_END_MS, or at once when the fallback
 * itself is of no use any more. Usable: reachability.h, and not without an answer since it last failed.
 * Never by itself: the operator names the fallback. One that proves its identity (DoT) may always serve; a plain one
 *         does not serve while an address of the first group has the wrong identity, unless `fallback-on-mismatch`:
 *         else whoever can put himself between could turn encryption off.
 * Shared: the control thread decides, from the rows that all threads write; workers read upstream_status.fallback.
 */
#ifndef NODEDOT_FORWARD_FALLBACK_H
#define NODEDOT_FORWARD_FALLBACK_H

#include "nodedot/config/config.h"
#include "nodedot/observe/metrics.h"

#include <stdbool.h>
#include <stdint.h>

/* A restart of a resolver should not send everything elsewhere, and a client's second try should find an answer. */
#define FALLBACK_BEGIN_MS 1000
/* What answers once may be gone again: two rounds of probes (address.c), and some revalidation, must pass. */
#define FALLBACK_END_MS 5000

struct fallback_watch {
    const struct config *config;
    const struct address_status *addresses; /* of all groups, in the order of the configuration */
    struct upstream_status *upstreams;
    uint64_t since_ms[CONFIG_UPSTREAMS]; /* since when a group is not as its flag says; 0: it is */
    bool withheld[CONFIG_UPSTREAMS];     /* it was said that the fallback may not serve */
};

void fallback_init(struct fallback_watch *watch, const struct config *config, const struct address_status *addresses,
                   struct upstream_status *upstreams);

/* Looks at all groups, sets their flags and logs what changes. True: something did, and workers should look. */
bool fallback_update(struct fallback_watch *watch, uint64_t now_ms);

/* The rule of `fallback-on-mismatch`: may fallback serve for the group? mismatch: an address of the group has the wrong
 * identity. */
bool fallback_permitted(const struct upstream_config *group, const struct upstream_config *fallback, bool mismatch);

/* The same for a group whose addresses have these rows. */
bool fallback_allowed(const struct upstream_config *group, const struct upstream_config *fallback,
                      const struct address_status *rows);

#endif

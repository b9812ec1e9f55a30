/* fallback.h - decides whether a group's fallback is used, in one place for all threads.
 *
 * A fallback is used while no address of the first group answers, with hysteresis: it begins when no address has
 * answered for FALLBACK_BEGIN_MS, and ends when the group has been usable again for FALLBACK_END_MS, or at once when
 * the fallback itself is unusable. Usable: see reachability.h, with an answer since the last failure.
 * Choice: the operator names the fallback. One that proves its identity (DoT) may always be used. A plain one is not
 *         used while an address of the first group has the wrong identity, unless `fallback-on-mismatch`: otherwise an
 *         attacker on the path could turn encryption off.
 * Shared: the control thread decides, from the rows that all threads write; workers read upstream_status.fallback.
 */
#ifndef NODEDOT_FORWARD_FALLBACK_H
#define NODEDOT_FORWARD_FALLBACK_H

#include "nodedot/config/config.h"
#include "nodedot/observe/metrics.h"

#include <stdbool.h>
#include <stdint.h>

/* Long enough that a restart of a resolver does not move all queries, short enough for a client's second try. */
#define FALLBACK_BEGIN_MS 1000
/* An address that has answered once may fail again: two rounds of probes (address.c), and some revalidation, must
 * pass. */
#define FALLBACK_END_MS 5000

struct fallback_watch {
    const struct config *config;
    const struct address_status *addresses; /* of all groups, in the order of the configuration */
    struct upstream_status *upstreams;
    uint64_t since_ms[CONFIG_UPSTREAMS]; /* since when the state of the group differs from its flag; 0: it does not */
    bool withheld[CONFIG_UPSTREAMS];     /* it was logged that the fallback may not be used */
};

void fallback_init(struct fallback_watch *watch, const struct config *config, const struct address_status *addresses,
                   struct upstream_status *upstreams);

/* Checks all groups, sets their flags and logs changes. True: a flag changed, and workers must look. */
bool fallback_update(struct fallback_watch *watch, uint64_t now_ms);

/* The rule of `fallback-on-mismatch`: may the fallback be used for the group? mismatch: an address of the group has the
 * wrong identity. */
bool fallback_permitted(const struct upstream_config *group, const struct upstream_config *fallback, bool mismatch);

/* The same for a group whose addresses have these rows. */
bool fallback_allowed(const struct upstream_config *group, const struct upstream_config *fallback,
                      const struct address_status *rows);

#endif

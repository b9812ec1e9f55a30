/* revalidate.h - checks the identity of every DoT address again, on a timer, with a separate full handshake.
 *
 * Runs on the control thread. Each address is due `revalidate` seconds after its last proof, with up to a tenth of
 * jitter taken off so that a fleet does not knock at the same second. After a mismatch or a failure it is tried
 * again sooner. The result goes to reachability.h, which takes the address out or puts it back for all threads.
 */
#ifndef NODEDOT_FORWARD_REVALIDATE_H
#define NODEDOT_FORWARD_REVALIDATE_H

#include "nodedot/config/config.h"
#include "nodedot/forward/reachability.h"
#include "nodedot/forward/trusts.h"

#include <ev.h>
#include <stdbool.h>

struct revalidator;

/* Prepares one check per DoT address; statuses, upstreams and trusts as in engine_setup. NULL: out of memory. */
struct revalidator *revalidator_create(const struct config *config, struct ev_loop *loop, const struct trusts *trusts,
                                       struct address_status *statuses, const struct upstream_status *upstreams,
                                       struct metrics *metrics, void (*changed)(void *), void *context);

/* Starts the timers. */
void revalidator_start(struct revalidator *revalidator);
void revalidator_destroy(struct revalidator *revalidator);

/* An address changed its state: one that is not valid any more is not left alone until its period is over. */
void revalidator_recheck(struct revalidator *revalidator);

/* The first zone for which neither its upstream nor the fallback that serves for it has a usable address; NULL: there
 * is none, so this generation is ready. */
const struct zone_config *revalidator_lacks(const struct revalidator *revalidator);

#endif

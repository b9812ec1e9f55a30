/* watch.h - has a configuration's file changed?
 *
 * Polled, by what stat(2) says of each file behind its links: a ConfigMap is updated by swapping a link to a
 * directory, which no watch on the file itself would see. A change counts when two polls agree, so that no file is
 * read while it is written.
 */
#ifndef NODEDOT_NODE_WATCH_H
#define NODEDOT_NODE_WATCH_H

#include "nodedot/config/config.h"

#include <stdbool.h>
#include <stdint.h>

/* Time between two polls: a change is noticed within two. */
#define WATCH_INTERVAL_S 1.0

struct watch {
    const struct config *config; /* whose files */
    uint64_t loaded;             /* their state at the last read */
    uint64_t seen;               /* at the last poll */
};

/* Watches the files of config from now on. They are compared with what they were like just before config_load() read
 * them, so a change since then is noticed. The load may have failed. */
void watch_begin(struct watch *watch, const struct config *config);

/* One poll. True once for each change that has settled. */
bool watch_poll(struct watch *watch);

#endif

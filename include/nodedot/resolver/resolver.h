/* resolver.h - one generation: the main function of a forked process that answers queries.
 *
 * Life: the supervisor forks and calls resolver_run(), which drops privileges, parses trust anchors, starts the
 *       control thread and the workers, and serves until it is told to drain (start.h). It returns the process's exit
 *       status.
 */
#ifndef NODEDOT_RESOLVER_RESOLVER_H
#define NODEDOT_RESOLVER_RESOLVER_H

#include "nodedot/resolver/start.h"

/* Runs a generation in the calling process until it is told to end; see above. Returns an exit status. */
int resolver_run(const struct resolver_start *start);

#endif

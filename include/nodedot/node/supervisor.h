/* supervisor.h - keeps one generation of the resolver running, and owns everything that must outlive it.
 *
 * Owns:            listening sockets, probe ports, status socket, shared memory. Reads no octet that comes from
 *                  outside.
 * States x events: see supervisor.c. One way to change anything: fork a generation, wait until it serves (and,
 *                  while the old one is ready, until it is ready too), let it take over, tell the old one to drain.
 */
#ifndef NODEDOT_NODE_SUPERVISOR_H
#define NODEDOT_NODE_SUPERVISOR_H

#include "nodedot/config/config.h"

/* Runs until SIGTERM or SIGINT. config was loaded from source, which is used again for reloads (SIGHUP or a changed
 * file). Returns the exit status: 0 after a clean stop, 1 when it could not start (one error line was logged that says
 * why). */
int supervisor_run(const struct config_source *source, struct config *config);

#endif

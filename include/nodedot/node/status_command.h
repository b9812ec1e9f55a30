/* status_command.h - `nodedot status`: asks a daemon for its status page (status.h) and prints it. */
#ifndef NODEDOT_NODE_STATUS_COMMAND_H
#define NODEDOT_NODE_STATUS_COMMAND_H

#include "nodedot/config/config.h"

#include <stdbool.h>

/* How `nodedot status` was asked. */
struct status_request {
    bool json;
    bool all;            /* every counter after the tables */
    bool watch;          /* repeatedly, until SIGINT or SIGTERM */
    unsigned interval_s; /* of watch */
};

/* `nodedot status`: asks the daemon that runs with this configuration, or with config NULL any that runs in this
 * network namespace, for its status page and prints it. Returns an exit status. */
int status_print(const struct config *config, const struct status_request *request);

#endif

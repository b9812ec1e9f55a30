/* status.h - hands the status page to who asks, for `nodedot status`.
 *
 * Socket: abstract Unix stream socket "nodedot/ADDRESS:PORT" of the first listen address: reaches every mount
 * namespace, needs
 *         no directory, and is gone with the process. Whoever connects and is root or our own user is sent the page's
 *         file descriptor (SCM_RIGHTS), which can only be read; nothing is read from the socket.
 * Name:   in use or not allowed: a warning, and no status. DNS matters more.
 */
#ifndef NODEDOT_NODE_STATUS_H
#define NODEDOT_NODE_STATUS_H

#include "nodedot/base/endpoint.h"
#include "nodedot/node/shared.h"
#include "nodedot/observe/metrics.h"

#include <ev.h>

struct status_server {
    struct shared shared;
    struct status_page *page; /* in shared */
    struct ev_loop *loop;
    struct endpoint first; /* the listen address that the socket is named after */
    ev_io accept;          /* fd -1: not listening */
};

/* Makes the page. 0 or -errno. */
int status_create(struct status_server *status, struct ev_loop *loop);

/* Listens under the name of the first listen address; nothing if it already does. */
void status_listen(struct status_server *status, const struct endpoint *first);

void status_destroy(struct status_server *status);

#endif

/* status.h - gives the status page to `nodedot status`.
 *
 * Socket: abstract Unix stream socket "nodedot/ADDRESS:PORT" of the first listen address. It is visible in every mount
 *         namespace, needs no directory, and disappears with the process. A client that is root or our own user gets a
 *         read-only file descriptor of the page (SCM_RIGHTS); nothing is read from the socket.
 * Name:   if it is in use or not allowed, a warning is logged and there is no status: DNS is more important.
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

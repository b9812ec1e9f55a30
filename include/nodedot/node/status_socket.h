/* status_socket.h - the name of the status socket, and the message that carries the page; both ends use it (status.h). */
#ifndef NODEDOT_NODE_STATUS_SOCKET_H
#define NODEDOT_NODE_STATUS_SOCKET_H

#include "nodedot/base/endpoint.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

/* Begin of the abstract socket's name; the first listen address follows. */
#define STATUS_PREFIX "nodedot/"

/* A message of one octet with room for one file descriptor. */
struct fd_message {
    struct msghdr header;
    struct iovec part;
    char octet;
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
};

void fd_message_init(struct fd_message *message);

/* Writes the abstract name of prefix and rest, and returns its size. */
socklen_t status_abstract_name(const char *prefix, const char *rest, struct sockaddr_un *name);

/* The same for the daemon with this first listen address. */
socklen_t status_socket_name(const struct endpoint *first, struct sockaddr_un *name);

/* Is the other end root, or the user that we are? */
bool status_peer_is_trusted(int fd);

#endif

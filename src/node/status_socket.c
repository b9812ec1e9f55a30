#include "nodedot/node/status_socket.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void fd_message_init(struct fd_message *message)
{
    memset(message, 0, sizeof *message);
    message->part = (struct iovec){.iov_base = &message->octet, .iov_len = 1};
    message->header.msg_iov = &message->part;
    message->header.msg_iovlen = 1;
    message->header.msg_control = message->control.space;
    message->header.msg_controllen = sizeof message->control.space;
}

/* The name is abstract: it begins with a NUL, and its length says where it ends (unix(7)). */
socklen_t status_abstract_name(const char *prefix, const char *rest, struct sockaddr_un *name)
{
    memset(name, 0, sizeof *name);
    name->sun_family = AF_UNIX;
    int size = snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "%s%s", prefix, rest);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
}

socklen_t status_socket_name(const struct endpoint *first, struct sockaddr_un *name)
{
    char text[ENDPOINT_TEXT];

    return status_abstract_name(STATUS_PREFIX, endpoint_format(first, text), name);
}

bool status_peer_is_trusted(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

#include "nodedot/forward/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* Sent octets without an acknowledgement for this long end the connection (RFC 5482): this detects a broken route. */
#define SOCKET_USER_TIMEOUT_MS 3000

#ifndef IP_PMTUDISC_OMIT
#define IP_PMTUDISC_OMIT 5
#endif

static int connect_socket(int fd, const struct endpoint *endpoint)
{
    if (connect(fd, &endpoint->any, endpoint->size) == 0 || errno == EINPROGRESS)
        return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

int socket_open_tcp(const struct endpoint *endpoint)
{
    int fd = socket(endpoint->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    unsigned user_timeout = SOCKET_USER_TIMEOUT_MS;

    if (fd < 0)
        return -1;
    /* Both are improvements, not needs: without them the connection works as well. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
    return connect_socket(fd, endpoint);
}

int socket_open_udp(const struct endpoint *endpoint)
{
    int v6 = endpoint->any.sa_family == AF_INET6;
    int fd = socket(endpoint->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int omit = IP_PMTUDISC_OMIT;

    if (fd < 0)
        return -1;
    /* Best effort: a kernel that does not know it sends with DF as before. */
    (void)setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &omit, sizeof(omit));
    return connect_socket(fd, endpoint);
}

bool socket_error_is_local(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL:
        return true;
    default:
        return false;
    }
}

#include "nodedot/forward/handshake.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum tls_result fail(struct handshake *handshake, const char *reason)
{
    snprintf(handshake->error, sizeof(handshake->error), "%s", reason);
    return TLS_FAILED;
}

bool handshake_begin(struct handshake *handshake, struct tls_trust *trust, const struct endpoint *address,
                     const char *server_name)
{
    *handshake = (struct handshake){.fd = socket_open_tcp(address), .trust = trust, .server_name = server_name};
    if (handshake->fd < 0)
        fail(handshake, strerror(errno));
    return handshake->fd >= 0;
}

/* The socket is writable: is it connected, and does TLS begin? */
static bool open_tls(struct handshake *handshake)
{
    int error = 0;
    socklen_t size = sizeof(error);

    getsockopt(handshake->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        fail(handshake, strerror(error));
        return false;
    }
    if (handshake->trust == NULL)
        return true;
    handshake->tls = tls_open(handshake->trust, handshake->fd, handshake->server_name, NULL);
    if (handshake->tls == NULL)
        fail(handshake, "out of memory");
    return handshake->tls != NULL;
}

enum tls_result handshake_continue(struct handshake *handshake)
{
    if (handshake->tls == NULL && !open_tls(handshake))
        return TLS_FAILED;
    if (handshake->tls == NULL)
        return TLS_DONE;
    enum tls_result result = tls_handshake(handshake->tls);
    switch (result) {
    case TLS_CLOSED:
        return fail(handshake, "closed during the handshake");
    case TLS_FAILED:
        return fail(handshake, tls_error(handshake->tls));
    default:
        return result;
    }
}

/* False: the time is up. */
static bool wait_for(int fd, short events, uint64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = clock_ms();
        if (now >= deadline_ms)
            return false;
        int n = poll(&p, 1, (int)(deadline_ms - now));
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

enum tls_result handshake_wait(struct handshake *handshake, uint64_t deadline_ms)
{
    short events = POLLOUT;

    while (wait_for(handshake->fd, events, deadline_ms)) {
        switch (handshake_continue(handshake)) {
        case TLS_DONE:
            return TLS_DONE;
        case TLS_WANT_READ:
            events = POLLIN;
            break;
        case TLS_WANT_WRITE:
            events = POLLIN | POLLOUT;
            break;
        default:
            return TLS_FAILED;
        }
    }
    return fail(handshake, handshake->tls == NULL ? "connect timed out" : "handshake timed out");
}

void handshake_end(struct handshake *handshake)
{
    tls_close(handshake->tls);
    handshake->tls = NULL;
    if (handshake->fd >= 0)
        close(handshake->fd);
    handshake->fd = -1;
}

#include "nodedot/node/status.h"

#include "nodedot/base/clock.h"
#include "nodedot/node/status_socket.h"
#include "nodedot/observe/log.h"
#include "nodedot/tls/tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* People use it, one at a time. */
#define STATUS_BACKLOG 8

static void send_page(int fd, int page)
{
    struct fd_message message;

    fd_message_init(&message);
    struct cmsghdr *control = CMSG_FIRSTHDR(&message.header);
    if (control == NULL) /* never: there is room for one */
        return;
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(control), &page, sizeof page);
    ssize_t sent = sendmsg(fd, &message.header, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent; /* the client sees the end of the stream, and reports it */
}

static void on_connection(struct ev_loop *loop, ev_io *io, int revents)
{
    struct status_server *status = io->data;
    int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)loop, (void)revents;
    if (fd < 0)
        return;
    if (status_peer_is_trusted(fd))
        send_page(fd, status->shared.fd);
    close(fd);
}

int status_create(struct status_server *status, struct ev_loop *loop)
{
    memset(status, 0, sizeof *status);
    status->loop = loop;
    status->accept.fd = -1;
    int result = shared_create(&status->shared, "nodedot-status", sizeof(struct status_page));
    if (result == 0)
        result = shared_seal(&status->shared);
    if (result < 0)
        return result;
    status->page = status->shared.memory;
    status->page->magic = STATUS_MAGIC;
    status->page->size = sizeof(struct status_page);
    snprintf(status->page->version, sizeof status->page->version, "%s", NODEDOT_VERSION);
    snprintf(status->page->wolfssl, sizeof status->page->wolfssl, "%s", tls_library_version());
    atomic_store(&status->page->started_ms, clock_ms());
    atomic_store(&status->page->supervisor_pid, (uint32_t)getpid());
    return 0;
}

static void stop_listening(struct status_server *status)
{
    if (status->accept.fd < 0)
        return;
    ev_io_stop(status->loop, &status->accept);
    close(status->accept.fd);
    status->accept.fd = -1;
}

void status_listen(struct status_server *status, const struct endpoint *first)
{
    struct sockaddr_un name;
    socklen_t size = status_socket_name(first, &name);

    if (status->accept.fd >= 0 && endpoint_equal(&status->first, first))
        return;
    stop_listening(status);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) < 0 || listen(fd, STATUS_BACKLOG) < 0) {
        log_warn("no status: cannot bind its socket", log_s("name", name.sun_path + 1),
                 log_s("reason", strerror(errno)));
        if (fd >= 0)
            close(fd);
        return;
    }
    status->first = *first;
    ev_io_init(&status->accept, on_connection, fd, EV_READ);
    status->accept.data = status;
    ev_io_start(status->loop, &status->accept);
}

void status_destroy(struct status_server *status)
{
    stop_listening(status);
    shared_destroy(&status->shared);
}

#include "simulation/network.h"

#include "nodedot/base/random.h"
#include "nodedot/dns/wire.h"
#include "simulation/check.h"
#include "simulation/loop.h"

#include <errno.h>
#include <ev.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST_FD    1000000 /* no real descriptor is as large */
#define SOCKETS     512
#define FULL_ONE_IN 32 /* how often the listener's socket takes nothing for a moment */
#define BACKLOG     64 /* datagrams and connections that wait to be read */

struct network_faults faults;

static struct simulated_socket sockets[SOCKETS];
static uint32_t serial;
static uint64_t accepted, blocked_us;

static struct {
    struct endpoint from;
    uint8_t *data;
    size_t size;
} datagrams[BACKLOG];
static unsigned datagram_count;
static struct endpoint connections[BACKLOG];
static unsigned connection_count;

/* ---- octets on their way ---- */

static void queue_put(struct octet_queue *q, const void *data, size_t size)
{
    if (q->end + size > q->capacity) {
        q->capacity = 2 * (q->end + size);
        q->data = realloc(q->data, q->capacity);
        check(q->data != NULL);
    }
    if (size > 0)
        memcpy(q->data + q->end, data, size);
    q->end += size;
}

static size_t queue_size(const struct octet_queue *q)
{
    return q->end - q->begin;
}

static void queue_drop(struct octet_queue *q, size_t size)
{
    q->begin += size;
    if (q->begin == q->end)
        q->begin = q->end = 0;
}

static void queue_free(struct octet_queue *q)
{
    free(q->data);
    *q = (struct octet_queue){0};
}

/* ---- sockets ---- */

static struct simulated_socket *open_simulated(enum socket_kind kind)
{
    unsigned at = 0;

    while (at < SOCKETS && sockets[at].kind != SOCKET_FREE)
        at++;
    check(at < SOCKETS);
    sockets[at] = (struct simulated_socket){.kind = kind,
                                            .fd = FIRST_FD + (int)at,
                                            .serial = ++serial,
                                            .thread = loop_thread(),
                                            .segment = SIZE_MAX,
                                            .room = SIZE_MAX};
    return &sockets[at];
}

struct simulated_socket *network_socket(int fd)
{
    check(fd >= FIRST_FD && fd < FIRST_FD + SOCKETS && sockets[fd - FIRST_FD].kind != SOCKET_FREE);
    return &sockets[fd - FIRST_FD];
}

static void close_simulated(struct simulated_socket *s)
{
    queue_free(&s->in);
    queue_free(&s->out);
    s->kind = SOCKET_FREE;
}

int close(int fd)
{
    struct simulated_socket *s;

    if (fd < FIRST_FD)
        return (int)syscall(SYS_close, fd);
    s = network_socket(fd); /* nothing is closed twice */
    peer_was_closed(s);
    close_simulated(s);
    return 0;
}

void network_reset(void)
{
    for (unsigned i = 0; i < SOCKETS; i++) {
        if (sockets[i].kind != SOCKET_FREE)
            close_simulated(&sockets[i]);
    }
    while (datagram_count > 0)
        free(datagrams[--datagram_count].data);
    connection_count = 0;
    faults = (struct network_faults){0};
    serial = 0;
    accepted = 0;
    blocked_us = 0;
}

void network_mend(void)
{
    blocked_us = network_blocked_us();
    faults = (struct network_faults){0};
}

int network_listen(enum socket_kind kind)
{
    return open_simulated(kind)->fd;
}

struct simulated_socket *network_pick(enum socket_kind kind, unsigned n)
{
    unsigned count = network_count(kind);

    if (count == 0)
        return NULL;
    n %= count;
    for (unsigned i = 0;; i++) {
        if (sockets[i].kind == kind && n-- == 0)
            return &sockets[i];
    }
}

unsigned network_count(enum socket_kind kind)
{
    unsigned count = 0;

    for (unsigned i = 0; i < SOCKETS; i++)
        count += sockets[i].kind == kind;
    return count;
}

uint64_t network_accepted(void)
{
    return accepted;
}

uint64_t network_blocked_us(void)
{
    return faults.udp_blocked ? loop_now_us() : blocked_us;
}

void network_deliver(struct simulated_socket *s, const uint8_t *data, size_t size)
{
    uint8_t prefix[2];

    wire_put_u16(prefix, (uint16_t)size);
    if (s->kind == SOCKET_UPSTREAM_DATAGRAM)
        queue_put(&s->in, prefix, 2);
    queue_put(&s->in, data, size);
}

static int stream_ready(const struct simulated_socket *s)
{
    int events = 0;

    if (s->kind == SOCKET_UPSTREAM_STREAM && s->connect == PROGRESS_NONE)
        return 0;
    if (queue_size(&s->in) > 0 || s->ended || s->reset || s->connect == PROGRESS_BAD ||
        (s->has_tls && s->handshake != PROGRESS_NONE && !s->handshake_told))
        events |= EV_READ;
    if (s->room > 0 || s->reset || s->connect == PROGRESS_BAD)
        events |= EV_WRITE;
    return events;
}

int network_ready(int fd, int events)
{
    const struct simulated_socket *s = network_socket(fd);

    switch (s->kind) {
    case SOCKET_LISTEN_UDP:
        return events & ((datagram_count > 0 ? EV_READ : 0) | (faults.udp_blocked ? 0 : EV_WRITE));
    case SOCKET_LISTEN_TCP:
        return events & (connection_count > 0 ? EV_READ : 0);
    case SOCKET_UPSTREAM_DATAGRAM:
        return events & (queue_size(&s->in) > 0 || s->reset ? EV_READ : 0);
    default:
        return events & stream_ready(s);
    }
}

/* ---- what the resolver calls ---- */

static int fail(int err)
{
    errno = err;
    return -1;
}

int socket(int domain, int type, int protocol)
{
    (void)domain, (void)protocol;
    check((type & SOCK_NONBLOCK) != 0 && (type & SOCK_CLOEXEC) != 0);
    if (faults.no_sockets)
        return fail(EMFILE);
    return open_simulated((type & 0xf) == SOCK_DGRAM ? SOCKET_UPSTREAM_DATAGRAM : SOCKET_UPSTREAM_STREAM)->fd;
}

int connect(int fd, const struct sockaddr *address, socklen_t size)
{
    struct simulated_socket *s = network_socket(fd);

    if (faults.no_route)
        return fail(ENETUNREACH);
    s->peer.size = size;
    memcpy(&s->peer.v6, address, size);
    return s->kind == SOCKET_UPSTREAM_DATAGRAM ? 0 : fail(EINPROGRESS);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    (void)level, (void)name, (void)value, (void)size;
    network_socket(fd);
    return 0;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    const struct simulated_socket *s = network_socket(fd);
    int err = s->connect == PROGRESS_BAD ? ECONNREFUSED : 0;

    check(level == SOL_SOCKET && name == SO_ERROR && *size == sizeof(int));
    memcpy(value, &err, sizeof(err));
    return 0;
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    struct simulated_socket *s;

    (void)flags;
    check(network_socket(fd)->kind == SOCKET_LISTEN_TCP);
    if (connection_count == 0)
        return fail(EAGAIN);
    if (faults.no_sockets)
        return fail(EMFILE);
    s = open_simulated(SOCKET_CLIENT);
    s->peer = connections[0];
    memmove(connections, connections + 1, --connection_count * sizeof(connections[0]));
    memcpy(address, &s->peer.v6, s->peer.size);
    *size = s->peer.size;
    accepted++;
    return s->fd;
}

static ssize_t receive_datagram(struct simulated_socket *s, void *out, size_t capacity, int flags)
{
    size_t size;

    if (queue_size(&s->in) == 0) {
        bool reset = s->reset;

        s->reset = false; /* an ICMP error is told once */
        return fail(reset ? ECONNREFUSED : EAGAIN);
    }
    size = wire_get_u16(s->in.data + s->in.begin);
    memcpy(out, s->in.data + s->in.begin + 2, size < capacity ? size : capacity);
    queue_drop(&s->in, 2 + size);
    return (ssize_t)((flags & MSG_TRUNC) != 0 || size < capacity ? size : capacity);
}

ssize_t recv(int fd, void *out, size_t capacity, int flags)
{
    struct simulated_socket *s = network_socket(fd);
    size_t size = queue_size(&s->in);

    if (s->kind == SOCKET_UPSTREAM_DATAGRAM)
        return receive_datagram(s, out, capacity, flags);
    check(capacity > 0); /* a read of nothing would look like the end */
    if (s->reset)
        return fail(ECONNRESET);
    if (size == 0)
        return s->ended ? 0 : fail(EAGAIN);
    size = size < capacity ? size : capacity;
    size = size < s->segment ? size : s->segment;
    memcpy(out, s->in.data + s->in.begin, size);
    queue_drop(&s->in, size);
    s->read += size;
    if (s->kind == SOCKET_CLIENT)
        client_was_read(s, NULL);
    return (ssize_t)size;
}

/* Hands whole messages to the peer. */
static void cut_messages(struct simulated_socket *s)
{
    while (queue_size(&s->out) >= 2) {
        const uint8_t *at = s->out.data + s->out.begin;
        size_t size = wire_get_u16(at);

        if (queue_size(&s->out) < 2 + size)
            return;
        if (s->kind == SOCKET_CLIENT)
            client_receives(s, &s->peer, at + 2, size);
        else
            upstream_receives(s, at + 2, size);
        queue_drop(&s->out, 2 + size);
    }
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    struct simulated_socket *s = network_socket(fd);

    check((flags & MSG_NOSIGNAL) != 0 && size > 0);
    if (s->kind == SOCKET_UPSTREAM_DATAGRAM) {
        if (faults.refused)
            return fail(ECONNREFUSED);
        upstream_receives(s, data, size);
        return (ssize_t)size;
    }
    if (s->reset)
        return fail(EPIPE);
    if (s->room == 0)
        return fail(EAGAIN);
    size = size < s->room ? size : s->room;
    s->room -= s->room != SIZE_MAX ? size : 0;
    s->written += size;
    queue_put(&s->out, data, size);
    cut_messages(s);
    return (ssize_t)size;
}

void network_datagram(const struct endpoint *from, const uint8_t *data, size_t size)
{
    if (datagram_count == BACKLOG)
        return; /* lost */
    datagrams[datagram_count].from = *from;
    datagrams[datagram_count].data = malloc(size + 1);
    check(datagrams[datagram_count].data != NULL);
    if (size > 0)
        memcpy(datagrams[datagram_count].data, data, size);
    datagrams[datagram_count++].size = size;
}

void network_connection(const struct endpoint *from)
{
    if (connection_count < BACKLOG)
        connections[connection_count++] = *from;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    unsigned n = count < datagram_count ? count : datagram_count;

    (void)flags, (void)timeout;
    check(network_socket(fd)->kind == SOCKET_LISTEN_UDP);
    if (n == 0)
        return fail(EAGAIN);
    for (unsigned i = 0; i < n; i++) {
        struct msghdr *header = &messages[i].msg_hdr;
        size_t size = datagrams[i].size < header->msg_iov->iov_len ? datagrams[i].size : header->msg_iov->iov_len;

        check(header->msg_namelen >= datagrams[i].from.size);
        memcpy(header->msg_name, &datagrams[i].from.v6, datagrams[i].from.size);
        header->msg_namelen = datagrams[i].from.size;
        header->msg_controllen = 0;
        memcpy(header->msg_iov->iov_base, datagrams[i].data, size);
        messages[i].msg_len = (unsigned)size;
        client_was_read(NULL, &datagrams[i].from);
        free(datagrams[i].data);
    }
    datagram_count -= n;
    memmove(datagrams, datagrams + n, datagram_count * sizeof(datagrams[0]));
    return (int)n;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    check(network_socket(fd)->kind == SOCKET_LISTEN_UDP && (flags & MSG_NOSIGNAL) != 0 && count > 0);
    if (faults.udp_denied || faults.udp_blocked || random_below(FULL_ONE_IN) == 0) {
        bool denied = faults.udp_denied;

        blocked_us = loop_now_us();
        faults.udp_denied = false;
        return fail(denied ? EPERM : EAGAIN);
    }
    count = 1 + random_below(count); /* the kernel may take fewer */
    for (unsigned i = 0; i < count; i++) {
        const struct msghdr *header = &messages[i].msg_hdr;
        struct endpoint to = {.size = header->msg_namelen};

        check(header->msg_namelen <= sizeof(to.v6));
        memcpy(&to.v6, header->msg_name, header->msg_namelen);
        client_receives(NULL, &to, header->msg_iov->iov_base, header->msg_iov->iov_len);
    }
    return (int)count;
}

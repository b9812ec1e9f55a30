/* echo.c - the limit: sends every query back with QR set and does nothing else.
 *
 *   echo udp PORT    recvmmsg and sendmmsg, batches of at most UDP_BATCH
 *   echo tcp PORT    epoll; everything that one read brought goes back in one write
 *
 * Single-threaded, on 127.0.0.1, until it is killed.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    UDP_BATCH = 64, /* messages a system call: more gains nothing */
    UDP_SIZE = 1500,
    TCP_BUFFER = 16384, /* octets of whole queries that one read may bring */
    EVENTS = 64,
    QR_OCTET = 2,
    QR_BIT = 0x80,
};

struct peer {
    int fd;
    size_t len; /* octets in buffer: the start of a query whose rest has not come */
    uint8_t buffer[TCP_BUFFER];
};

static int open_socket(int type, uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){SOCKET_BUFFER}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("bind");
    return fd;
}

static void echo_udp(uint16_t port)
{
    static uint8_t data[UDP_BATCH][UDP_SIZE];
    static struct sockaddr_in from[UDP_BATCH];
    static struct iovec iov[UDP_BATCH];
    static struct mmsghdr batch[UDP_BATCH];
    int fd = open_socket(SOCK_DGRAM, port);

    for (;;) {
        for (int i = 0; i < UDP_BATCH; i++) {
            iov[i] = (struct iovec){data[i], UDP_SIZE};
            batch[i].msg_hdr = (struct msghdr){
                .msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &iov[i], .msg_iovlen = 1};
        }
        int n = recvmmsg(fd, batch, UDP_BATCH, MSG_WAITFORONE, NULL);
        if (n < 0)
            die("recvmmsg");
        for (int i = 0; i < n; i++) {
            iov[i].iov_len = batch[i].msg_len;
            data[i][QR_OCTET] |= QR_BIT;
        }
        if (sendmmsg(fd, batch, (unsigned)n, 0) < 0)
            die("sendmmsg");
    }
}

/* Sets QR in each whole message. Returns the octets that they take. */
static size_t mark_messages(uint8_t *data, size_t len)
{
    size_t done = 0;

    while (len - done >= 2) {
        size_t size = 2u + get_u16(data + done);
        if (size > len - done || size < 2 + DNS_HEADER)
            break;
        data[done + 2 + QR_OCTET] |= QR_BIT;
        done += size;
    }
    return done;
}

/* False when the connection is at its end. */
static bool echo_once(struct peer *p)
{
    ssize_t n = read(p->fd, p->buffer + p->len, TCP_BUFFER - p->len);

    if (n <= 0)
        return false;
    p->len += (size_t)n;
    size_t done = mark_messages(p->buffer, p->len);
    /* The socket blocks: a client that asks in a closed loop always has room for its answers. */
    for (size_t sent = 0; sent < done; sent += (size_t)n) {
        n = write(p->fd, p->buffer + sent, done - sent);
        if (n < 0)
            return false;
    }
    p->len -= done;
    memmove(p->buffer, p->buffer + done, p->len);
    return true;
}

static void accept_peer(int epoll, int listener)
{
    struct peer *p = calloc(1, sizeof(*p));

    if (p == NULL)
        die("calloc");
    p->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (p->fd < 0)
        die("accept4");
    epoll_ctl(epoll, EPOLL_CTL_ADD, p->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = p});
}

static void echo_tcp(uint16_t port)
{
    struct epoll_event events[EVENTS];
    int listener = open_socket(SOCK_STREAM, port);
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (listen(listener, TCP_BACKLOG) < 0)
        die("listen");
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = NULL});
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            if (p == NULL) {
                accept_peer(epoll, listener);
            } else if (!echo_once(p)) {
                close(p->fd);
                free(p);
            }
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "udp") == 0)
        echo_udp((uint16_t)number_argument("PORT", argv[2], UINT16_MAX));
    if (argc == 3 && strcmp(argv[1], "tcp") == 0)
        echo_tcp((uint16_t)number_argument("PORT", argv[2], UINT16_MAX));
    fprintf(stderr, "usage: echo udp|tcp PORT\n");
    return 2;
}

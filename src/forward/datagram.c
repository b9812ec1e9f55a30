#include "nodedot/forward/datagram.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/forward/socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* Datagrams read from one socket in one turn of the loop: a forger must not keep the thread busy. */
#define DATAGRAM_BATCH 8
/* We advertise EDNS_UDP_SIZE, but some servers send more. */
#define DATAGRAM_IN 4096

/* True: it was the answer, and the exchange is over. */
static bool take(struct exchange *exchange, uint8_t *message, size_t size)
{
    struct metrics *metrics = exchange->exchanges->metrics;

    if (size < MESSAGE_HEADER) {
        metric_inc(metrics, upstream_broken_total);
        return false;
    }
    if (wire_get_u16(message) != exchange->id) {
        metric_inc(metrics, upstream_mismatched_total);
        return false;
    }
    return exchange_receive(exchange, message, size);
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
    struct exchange *exchange = io->data;
    uint8_t message[DATAGRAM_IN];

    (void)loop, (void)revents;
    for (int i = 0; i < DATAGRAM_BATCH && exchange->state == EXCHANGE_DATAGRAM; i++) {
        ssize_t n = recv(io->fd, message, sizeof(message), MSG_TRUNC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) { /* ECONNREFUSED: no server listens there */
            exchange->events->failed(exchange);
            return;
        }
        if ((size_t)n > sizeof(message))
            n = (ssize_t)sizeof(message); /* cut: the parser will refuse it */
        if (take(exchange, message, (size_t)n))
            return;
    }
}

bool datagram_send(struct exchange *exchange, const struct endpoint *server)
{
    uint8_t message[MESSAGE_QUERY_MAX];
    int fd = socket_open_udp(server);

    if (fd < 0)
        return false;
    exchange->id = random_u16();
    if (send(fd, message, exchange_write(&exchange->form, exchange->id, message, sizeof(message)), MSG_NOSIGNAL) < 0) {
        int error = errno;

        close(fd);
        errno = error;
        return false;
    }
    exchange->state = EXCHANGE_DATAGRAM;
    exchange->sent_us = clock_us();
    ev_io_init(&exchange->io, on_readable, fd, EV_READ);
    exchange->io.data = exchange;
    ev_io_start(exchange->exchanges->loop, &exchange->io);
    return true;
}

void datagram_forget(struct exchange *exchange)
{
    ev_io_stop(exchange->exchanges->loop, &exchange->io);
    close(exchange->io.fd);
    exchange->state = EXCHANGE_FREE;
}

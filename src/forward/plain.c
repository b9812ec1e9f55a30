#include "nodedot/forward/plain.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/forward/flight.h"
#include "nodedot/forward/socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* Datagrams read from one socket in one turn: a forger must not keep the loop busy. */
#define PLAIN_BATCH 8
/* We advertise EDNS_UDP_SIZE, but some servers send more. */
#define PLAIN_IN 4096

/* True: it was the answer, and the attempt is over. */
static bool take_datagram(struct attempt *attempt, const uint8_t *message, size_t size)
{
    struct metrics *metrics = attempt->address->upstream->forward->metrics;

    if (size < MESSAGE_HEADER) {
        metric_inc(metrics, upstream_broken_total);
        return false;
    }
    if (wire_get_u16(message) != attempt->id) {
        metric_inc(metrics, upstream_mismatched_total);
        return false;
    }
    return attempt_message(attempt, message, size);
}

static void on_datagram(struct ev_loop *loop, ev_io *io, int revents)
{
    struct attempt *attempt = io->data;
    uint8_t message[PLAIN_IN];

    (void)loop, (void)revents;
    for (int i = 0; i < PLAIN_BATCH && attempt->state == ATTEMPT_DATAGRAM; i++) {
        ssize_t n = recv(io->fd, message, sizeof(message), MSG_TRUNC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) { /* ECONNREFUSED: nobody listens there */
            attempt_failed(attempt);
            return;
        }
        if ((size_t)n > sizeof(message))
            n = (ssize_t)sizeof(message); /* cut: the parser will refuse it */
        if (take_datagram(attempt, message, (size_t)n))
            return;
    }
}

bool plain_ask(struct attempt *attempt)
{
    struct ev_loop *loop = attempt->address->upstream->forward->loop;
    uint8_t message[MESSAGE_QUERY_MAX];
    int fd = socket_open_udp(&attempt->address->endpoint);
    size_t size;

    if (fd < 0)
        return false;
    attempt->id = random_u16();
    size = attempt_write(attempt, message, sizeof(message));
    if (send(fd, message, size, MSG_NOSIGNAL) < 0) {
        close(fd);
        return false;
    }
    attempt->state = ATTEMPT_DATAGRAM;
    attempt->sent_us = clock_us();
    attempt->address->datagrams++;
    ev_io_init(&attempt->io, on_datagram, fd, EV_READ);
    attempt->io.data = attempt;
    ev_io_start(loop, &attempt->io);
    return true;
}

void plain_forget(struct attempt *attempt)
{
    ev_io_stop(attempt->address->upstream->forward->loop, &attempt->io);
    close(attempt->io.fd);
    attempt->address->datagrams--;
    attempt->state = ATTEMPT_FREE;
}

/* udp.h - datagrams in and out, in batches.
 *
 * One recvmmsg(2) takes up to UDP_BATCH queries; their answers leave in one sendmmsg(2), as do all late answers of
 * one turn of the loop. When the socket's send buffer is full, reading stops until it has room: nothing is dropped
 * while the kernel can still queue queries.
 */
#ifndef NODEDOT_LISTENER_UDP_H
#define NODEDOT_LISTENER_UDP_H

#include "nodedot/listener/client.h"
#include "nodedot/observe/metrics.h"

#include <ev.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

/* Queries per system call: enough to share its cost, and a batch still fits into the second-level cache. */
#define UDP_BATCH 64
/* Longest query that is read. We advertise EDNS_UDP_SIZE; one octet more tells a longer one. */
#define UDP_QUERY_MAX (EDNS_UDP_SIZE + 1)
/* Answers that wait for a flush are packed here; the last may be as long as a message can be before it is cut to
 * size. */
#define UDP_OUT (UDP_BATCH * EDNS_UDP_SIZE + MESSAGE_MAX_OCTETS)
/* Room for one IP_PKTINFO or IPV6_PKTINFO. */
#define UDP_CONTROL CMSG_SPACE(sizeof(struct in6_pktinfo))

struct udp_output {
    struct mmsghdr headers[UDP_BATCH];
    struct iovec vectors[UDP_BATCH];
    struct endpoint endpoints[UDP_BATCH];
    _Alignas(struct cmsghdr) uint8_t controls[UDP_BATCH][UDP_CONTROL];
    unsigned count;
    size_t used; /* octets of out */
    uint8_t out[UDP_OUT];
};

struct udp_input {
    struct mmsghdr headers[UDP_BATCH];
    struct iovec vectors[UDP_BATCH];
    struct sockaddr_in6 endpoints[UDP_BATCH];
    _Alignas(struct cmsghdr) uint8_t controls[UDP_BATCH][UDP_CONTROL];
    uint8_t messages[UDP_BATCH][UDP_QUERY_MAX];
};

struct udp_listener {
    struct ev_loop *loop;
    struct metrics *metrics;
    client_query *on_query;
    void *owner;
    ev_io io;
    int fd;
    const struct endpoint *endpoint; /* of the socket */
    bool wildcard;                   /* answers must leave from the address that was asked */
    bool reading;
    bool blocked;            /* waits until the socket can send */
    bool rest;               /* queries in the socket must still be read, although it is not watched any longer */
    struct udp_input *input; /* shared by the listeners of a thread */
    struct udp_output output;
};

/* Prepares a listener on a bound, non-blocking socket, which stays the caller's, as does endpoint. input: scratch
 * memory. */
void udp_init(struct udp_listener *listener, struct ev_loop *loop, int fd, const struct endpoint *endpoint,
              struct udp_input *input, struct metrics *metrics, client_query *on_query, void *owner);

void udp_start(struct udp_listener *listener);

/* Stops reading; answers can still be sent. with_rest: first reads the queries in the socket, because no other process
 * will. */
void udp_stop(struct udp_listener *listener, bool with_rest);

/* Sends what is queued. Call before the loop sleeps. */
void udp_flush(struct udp_listener *listener);

/* Is everything sent? */
bool udp_is_idle(const struct udp_listener *listener);

/* See client_begin() and client_commit(). */
uint8_t *udp_begin(struct udp_listener *listener, size_t *capacity);
void udp_commit(struct udp_listener *listener, const struct client *client, size_t size);

#endif

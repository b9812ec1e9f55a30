/* network.h - the sockets of a simulation: descriptors that only exist here, with peers that the script plays.
 *
 * Takes the place of socket(), connect(), accept4(), send(), recv(), sendmmsg(), recvmmsg(), setsockopt(), getsockopt()
 * and close(); a real descriptor may still be closed.
 */
#ifndef NODEDOT_TESTS_SIMULATION_NETWORK_H
#define NODEDOT_TESTS_SIMULATION_NETWORK_H

#include "nodedot/base/endpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum socket_kind {
    SOCKET_FREE,
    SOCKET_LISTEN_UDP,
    SOCKET_LISTEN_TCP,
    SOCKET_CLIENT,            /* accepted; the peer is a client */
    SOCKET_UPSTREAM_DATAGRAM, /* connected; the peer is an upstream */
    SOCKET_UPSTREAM_STREAM
};

enum socket_progress { PROGRESS_NONE, PROGRESS_GOOD, PROGRESS_BAD, PROGRESS_CLOSED };

/* Octets on their way. */
struct octet_queue {
    uint8_t *data;
    size_t begin, end, capacity;
};

struct simulated_socket {
    enum socket_kind kind;
    int fd;
    uint32_t serial; /* no two sockets of a simulation have the same */
    unsigned thread; /* that made it */
    struct endpoint peer;
    enum socket_progress connect;   /* of a stream to an upstream */
    enum socket_progress handshake; /* of the TLS that is played above it */
    bool has_tls, handshake_told;
    bool ended;             /* the peer sent FIN */
    bool reset;             /* the peer sent RST */
    bool raw;               /* a client that sends octets, not messages: its answers cannot be foreseen */
    size_t segment;         /* octets that a recv() gets at most */
    size_t room;            /* octets that send() still takes; SIZE_MAX: no limit */
    uint64_t read, written; /* octets so far */
    struct octet_queue in;  /* to the resolver; datagrams have their length before them */
    struct octet_queue out; /* from the resolver: the beginning of a message */
    unsigned waiting;       /* of a client: answers that it waits for */
    uint64_t slow_us;       /* of a client: when it last did not read */
};

/* What goes wrong until it is said otherwise. */
struct network_faults {
    bool no_sockets;  /* socket() fails */
    bool no_route;    /* connect() fails */
    bool refused;     /* send() of a datagram to an upstream fails */
    bool udp_blocked; /* the listener's socket takes nothing */
    bool udp_denied;  /* the next datagram to a client is refused by the kernel */
};
extern struct network_faults faults;

/* Nothing goes wrong any more. */
void network_mend(void);

/* Closes what is left and forgets everything. */
void network_reset(void);

/* A listening socket; returns its descriptor. */
int network_listen(enum socket_kind kind);

/* A client's datagram comes in. */
void network_datagram(const struct endpoint *from, const uint8_t *data, size_t size);
/* A client's connection waits to be accepted. */
void network_connection(const struct endpoint *from);

/* Octets, or one datagram, come in from the peer. */
void network_deliver(struct simulated_socket *socket, const uint8_t *data, size_t size);

/* The n-th open socket of a kind, counted round; NULL: there is none. */
struct simulated_socket *network_pick(enum socket_kind kind, unsigned n);
struct simulated_socket *network_socket(int fd);
unsigned network_count(enum socket_kind kind);

/* Connections that the resolver accepted from the kernel so far. */
uint64_t network_accepted(void);
/* When the listener's socket last took nothing. */
uint64_t network_blocked_us(void);

/* Given by the peers. A datagram, or a whole message of a stream, that the resolver sent. */
void client_receives(struct simulated_socket *socket, const struct endpoint *to, const uint8_t *data, size_t size);
void upstream_receives(struct simulated_socket *socket, const uint8_t *data, size_t size);
/* The resolver has read a client's datagram, or octets of a client's stream up to socket->read. */
void client_was_read(struct simulated_socket *socket, const struct endpoint *from);
/* The resolver has closed it. */
void peer_was_closed(struct simulated_socket *socket);

#endif

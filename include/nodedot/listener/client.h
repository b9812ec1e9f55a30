/* client.h - who asked, and how an answer gets there: the common face of the UDP and the TCP listener.
 *
 * A listener hands each message up through on_query. The owner writes the answer to the place it is given, at once,
 * or keeps a copy of struct client and answers later with client_begin() and client_commit(). Every query that was
 * kept must be committed, with size 0 when there is no answer, or its connection would never be idle.
 */
#ifndef NODEDOT_LISTENER_CLIENT_H
#define NODEDOT_LISTENER_CLIENT_H

#include "nodedot/base/endpoint.h"
#include "nodedot/dns/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What on_query returns when the answer comes later. */
#define CLIENT_LATER (-1)
/* What it returns when the client's connection is to be closed; for a datagram the same as 0. */
#define CLIENT_CLOSE (-2)

struct udp_listener;
struct tcp_connection;

struct client {
    struct endpoint endpoint;
    struct endpoint local; /* the address that was asked, for wildcard sockets; size 0: the socket's own */
    struct udp_listener *udp;
    struct tcp_connection *tcp; /* when udp is NULL */
    uint32_t serial;            /* of the connection: its memory may serve another client by now */
};

/* message has size octets. An answer goes to out, where capacity is at least MESSAGE_MAX_OCTETS. Returns the answer's
 * size, 0 for none, CLIENT_LATER or CLIENT_CLOSE. */
typedef ssize_t client_query(void *owner, const struct client *client, const uint8_t *message, size_t size,
                             uint8_t *out, size_t capacity);

/* May this client be served at all? Asked once a connection; datagrams are judged by on_query. */
typedef bool client_allowed(void *owner, const struct endpoint *endpoint);

/* Room for a late answer, at least MESSAGE_MAX_OCTETS; NULL when the client is gone or cannot be served any more. Then
 * client_commit() must not be called. */
uint8_t *client_begin(const struct client *client, size_t *capacity);

/* Hands over the size octets written there. They leave at the next flush. */
void client_commit(const struct client *client, size_t size);

/* The address that was asked, as far as it is known without a system call; size 0: it is not. */
void client_local(const struct client *client, struct endpoint *out);

#endif

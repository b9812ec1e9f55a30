/* client.h - the client of a query and the way to it: the common interface of the UDP and TCP listeners.
 *
 * A listener passes each message up through on_query. The owner either writes the answer to the given buffer at once,
 * or keeps a copy of struct client and answers later (client_answer.h). Every kept query must be committed, with size 0
 * if there is no answer. Otherwise its connection would never become idle.
 */
#ifndef NODEDOT_LISTENER_CLIENT_H
#define NODEDOT_LISTENER_CLIENT_H

#include "nodedot/base/endpoint.h"
#include "nodedot/dns/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Return value of on_query if the answer comes later. */
#define CLIENT_LATER (-1)
/* Return value if the client's connection must be closed; for a datagram the same as 0. */
#define CLIENT_CLOSE (-2)

struct udp_listener;
struct tcp_connection;

struct client {
    struct endpoint endpoint;
    struct endpoint local; /* the address that was asked, for wildcard sockets; size 0: the socket's own */
    struct udp_listener *udp;
    struct tcp_connection *tcp; /* when udp is NULL */
    uint32_t serial;            /* of the connection, because its memory may serve another client later */
};

/* message has size octets. An answer is written to out, whose capacity is at least MESSAGE_MAX_OCTETS. Returns the
 * answer's size, 0 for none, CLIENT_LATER or CLIENT_CLOSE. */
typedef ssize_t client_query(void *owner, const struct client *client, const uint8_t *message, size_t size,
                             uint8_t *out, size_t capacity);

/* May this client be served? Called once per connection; datagrams are judged by on_query. */
typedef bool client_allowed(void *owner, const struct endpoint *endpoint);

#endif

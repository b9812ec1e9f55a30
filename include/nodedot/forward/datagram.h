/* datagram.h - an exchange in a datagram from a socket of its own.
 *
 * The socket is connected and its port is chosen by the kernel at random, the ID by us: together they are what a forger
 * must guess (RFC 5452 section 9.2). A second datagram for the same question has another port and another ID.
 */
#ifndef NODEDOT_FORWARD_DATAGRAM_H
#define NODEDOT_FORWARD_DATAGRAM_H

#include "nodedot/base/endpoint.h"
#include "nodedot/forward/exchange.h"

#include <stdbool.h>

/* Sends it to server, with exchange->form as it is. False: no socket, or the network refuses at once (errno is set). */
bool datagram_send(struct exchange *exchange, const struct endpoint *server);

/* Closes the socket; an answer that comes later is dropped by the kernel. */
void datagram_forget(struct exchange *exchange);

#endif

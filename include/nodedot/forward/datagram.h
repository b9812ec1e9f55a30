/* datagram.h - one exchange in one datagram, from its own socket.
 *
 * The socket is connected and its port is chosen by the kernel at random, the ID by us: an attacker who forges an
 * answer must guess both (RFC 5452 section 9.2). A second datagram for the same question has another port and another
 * ID.
 */
#ifndef NODEDOT_FORWARD_DATAGRAM_H
#define NODEDOT_FORWARD_DATAGRAM_H

#include "nodedot/base/endpoint.h"
#include "nodedot/forward/exchange.h"

#include <stdbool.h>

/* Sends it to server, with exchange->form unchanged. False: no socket, or the network refuses at once (errno is
 * set). */
bool datagram_send(struct exchange *exchange, const struct endpoint *server);

/* Closes the socket; the kernel drops a later answer. */
void datagram_forget(struct exchange *exchange);

#endif

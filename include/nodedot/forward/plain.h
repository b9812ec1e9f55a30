/* plain.h - one question in one UDP datagram from a socket of its own.
 *
 * Each asking has a fresh connected socket (socket.h) and a random ID (RFC 5452 sections 9.2 and 10). A truncated answer
 * is asked again over a TCP stream of the same address.
 */
#ifndef NODEDOT_FORWARD_PLAIN_H
#define NODEDOT_FORWARD_PLAIN_H

#include "nodedot/forward/inflight.h"

#include <stdbool.h>

/* Sends it. False: no socket, or the network refuses at once (errno is set). */
bool plain_ask(struct attempt *attempt);

/* Closes the socket. */
void plain_forget(struct attempt *attempt);

#endif

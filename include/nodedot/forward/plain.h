/* plain.h - one question in one UDP datagram from a socket of its own.
 *
 * Each asking has a fresh connected socket, so a random source port from the kernel, and a random ID (RFC 5452
 * sections 9.2 and 10); the kernel drops datagrams of other senders. Path MTU discovery is off (RFC 9715). A
 * truncated answer is asked again over a TCP stream of the same address.
 */
#ifndef NODEDOT_FORWARD_PLAIN_H
#define NODEDOT_FORWARD_PLAIN_H

#include "nodedot/base/endpoint.h"
#include "nodedot/forward/inflight.h"

#include <stdbool.h>

/* A fresh connected socket, non-blocking; -1 with errno. */
int plain_open_socket(const struct endpoint *endpoint);

/* Sends it. False: no socket, or the network refuses at once (errno is set). */
bool plain_ask(struct attempt *attempt);

/* Closes the socket. */
void plain_forget(struct attempt *attempt);

#endif

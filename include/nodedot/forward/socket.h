/* socket.h - sockets to upstreams: non-blocking, closed on exec, connected or about to be.
 *
 * A connected UDP socket has a source port that the kernel chose at random for it alone, and hears the one peer only
 * (RFC 5452 section 9.2). Each function returns a descriptor that is the caller's, or -1 with errno.
 */
#ifndef NODEDOT_FORWARD_SOCKET_H
#define NODEDOT_FORWARD_SOCKET_H

#include "nodedot/base/endpoint.h"

#include <stdbool.h>

/* Begins to connect; the socket becomes writable when it is, or failed (SO_ERROR). What is written leaves at once, and
 * octets that are not acknowledged for 3 s end the connection (RFC 5482). */
int socket_open_tcp(const struct endpoint *endpoint);

/* For one question. Path MTU discovery is off (RFC 9715). */
int socket_open_udp(const struct endpoint *endpoint);

/* Does this errno of the functions above, or of a first send(), say that this node is short of something: descriptors,
 * buffers, memory, ports or addresses of its own? The server has no part in that. */
bool socket_error_is_local(int error);

#endif

/* sockets.h - the listening sockets: one UDP and one TCP socket for each listen address and worker, and one TCP
 * socket for each metrics address.
 *
 * Life: sockets_prepare() makes what a configuration wants, and takes over from the set in use what both want;
 *       sockets_activate() binds the new ones, so that the kernel gives them queries; sockets_retire() takes those
 *       out of service that the next set does not have. Why two steps: the sockets of one address share its queries
 *       (SO_REUSEPORT). One more worker's socket would be given its share from the moment it is bound, and while
 *       its generation is still loading nobody would read them. A forked child holds the same socket, so the
 *       supervisor binds it for the child just before it takes over. Owner:  the supervisor; children inherit
 *       copies of the file descriptors.
 */
#ifndef NODEDOT_NODE_SOCKETS_H
#define NODEDOT_NODE_SOCKETS_H

#include "nodedot/config/config.h"
#include "nodedot/resolver/start.h"

#include <stdbool.h>
#include <stddef.h>

/* Octets for "cannot bind [ADDRESS]:PORT/udp: REASON". */
#define SOCKETS_ERROR 256

struct sockets {
    struct listen_sockets listens[CONFIG_LISTENS];
    size_t count;
    size_t workers;
    struct metrics_socket metrics[CONFIG_LISTENS]; /* the metrics port's: one an address, HTTP over TCP */
    size_t metrics_count;
};

/* Fills next with what config wants; an address and worker that current has too keeps its socket. New addresses are
 * bound for a moment to see that they can be: that they are on this machine, allowed, and used by nobody else. False,
 * and why in error (SOCKETS_ERROR octets), with nothing left open. */
bool sockets_prepare(struct sockets *next, const struct sockets *current, const struct config *config, char *error);

/* Binds the sockets of next that are not in current, and listens. False, and why in error; next is still the
 * caller's. */
bool sockets_activate(struct sockets *next, const struct sockets *current, char *error);

/* Takes the sockets of gone that are not in kept out of service at once, even where a child still holds them, and
 * closes them. gone is not to be used any more. */
void sockets_retire(struct sockets *gone, const struct sockets *kept);

/* Logs how large the receive buffers are that the kernel granted. */
void sockets_log_buffers(const struct sockets *sockets);

/* Binds for the file's own use and that of probes.c: a non-blocking, close-on-exec socket, bound with SO_REUSEADDR.
 * Returns it, or -errno. */
int socket_bind_tcp(const struct endpoint *endpoint);

/* Writes "cannot bind ADDRESS:PORT/PROTOCOL: REASON" to error of SOCKETS_ERROR octets; reason is a negative errno. */
void socket_describe_failure(const struct endpoint *endpoint, const char *protocol, int reason, char *error);

#endif

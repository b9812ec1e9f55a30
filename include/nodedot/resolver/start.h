/* start.h - the parameters of a generation, and its messages to and from the supervisor.
 *
 * Channel: a SOCK_SEQPACKET pair; every message is one octet, see the enums below. End of file from the supervisor
 *          means that it died: the resolver drains and exits.
 */
#ifndef NODEDOT_RESOLVER_START_H
#define NODEDOT_RESOLVER_START_H

#include "nodedot/base/hash.h"
#include "nodedot/config/config.h"
#include "nodedot/observe/metrics.h"

#include <stdbool.h>
#include <stddef.h>

/* Resolver to supervisor. */
enum resolver_report {
    RESOLVER_SERVING = 'S',  /* everything is loaded; its listeners run, or will as soon as it is told to take over */
    RESOLVER_READY = 'R',    /* at least one address of every zone's upstream is usable */
    RESOLVER_NOT_READY = 'N' /* not any more */
};

/* Supervisor to resolver. */
enum resolver_order {
    RESOLVER_TAKE_OVER = 'T', /* start to read from the sockets */
    RESOLVER_DRAIN =
        'D', /* a successor serves: stop reading new queries and connections, let open connections finish, exit */
    RESOLVER_STOP = 'X' /* shutdown: answer the queries in flight, for at most RESOLVER_STOP_MS, and exit */
};

#define RESOLVER_STOP_MS  2000 /* DESIGN: SIGTERM answers what is in flight, 2 s at most */
#define RESOLVER_DRAIN_MS 6000 /* longest timeout of a query plus time to send it */

/* Exit statuses of a resolver process that the supervisor tells apart. */
enum { RESOLVER_EXIT_DONE = 0, RESOLVER_EXIT_FAILED = 1 };

/* The sockets of one listen address, bound by the supervisor; one UDP and one TCP socket a worker (SO_REUSEPORT). */
struct listen_sockets {
    struct endpoint endpoint;
    int udp[CONFIG_WORKERS];
    int tcp[CONFIG_WORKERS]; /* listening */
};

/* That of one metrics address, bound and listening. */
struct metrics_socket {
    struct endpoint endpoint;
    int fd;
};

struct resolver_start {
    const struct config *config;
    const struct listen_sockets *sockets;         /* config->listen_count entries */
    const struct metrics_socket *metrics_sockets; /* config->metrics_listen_count entries */
    int channel;                                  /* resolver's end */
    uint64_t generation;
    unsigned slot;              /* of the status page */
    struct status_page *status; /* mapped, shared */
    void *cache;                /* formatted mapping, shared */
    struct hash_key cookie_key; /* of server cookies; the same for all generations of a supervisor */
    bool clear_cache;           /* the previous generation crashed */
    bool take_over;             /* serve at once: no other generation serves */
};

#endif

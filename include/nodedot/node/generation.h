/* generation.h - one resolver process as the supervisor sees it: fork, reports, orders, exit.
 *
 * Life: NONE -> generation_start() -> LOADING -> SERVING <-> READY, as it reports; generation_order() to drain or
 *       stop makes it ENDING; generation_kill() makes it KILLED; generation_ended() makes it NONE again once it is
 *       reaped. Child:  holds its channel, the listening sockets and the shared memory, and no other file
 *       descriptor of the supervisor. SIGINT and SIGHUP are ignored there: a terminal sends them to both, and only
 *       the supervisor is to act.
 */
#ifndef NODEDOT_NODE_GENERATION_H
#define NODEDOT_NODE_GENERATION_H

#include "nodedot/resolver/start.h"

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum generation_state {
    GENERATION_NONE,    /* no process, and its slot of the status page has no writer */
    GENERATION_LOADING, /* forked, has not reported yet */
    GENERATION_SERVING,
    GENERATION_READY,
    GENERATION_ENDING, /* told to drain or to stop */
    GENERATION_KILLED  /* not reaped yet */
};

struct generation {
    enum generation_state state;
    pid_t pid;
    uint64_t number;
    uint64_t since_ms; /* clock_ms() when it began to serve, or was killed */
    struct status_slot *slot;
    int channel;
    void (*on_report)(struct generation *); /* its state has changed by what it reported */
    void *owner;
    struct ev_loop *loop;
    ev_io reports;
    ev_timer limit; /* deadline of an exit that was ordered */
};

/* Forks a generation as start says; start->channel is filled in. The caller has set on_report and owner. 0 or
 * -errno. */
int generation_start(struct generation *generation, struct ev_loop *loop, struct resolver_start *start);

/* Has it reported that it serves? */
bool generation_serves(const struct generation *generation);

/* Sends an order. After RESOLVER_DRAIN and RESOLVER_STOP the process must exit in time, or it is killed. */
void generation_order(struct generation *generation, enum resolver_order order);

/* Kills it at once; does nothing if it has exited. */
void generation_kill(struct generation *generation, const char *because);

/* Was it killed, and has not been reaped yet? */
bool generation_is_stuck(const struct generation *generation, uint64_t now_ms);

/* Has one of its threads stopped turning? */
bool generation_hangs(const struct generation *generation, uint64_t now_ms);

/* It was reaped with this status: logs the reason and releases everything. */
void generation_ended(struct generation *generation, int wait_status);

#endif

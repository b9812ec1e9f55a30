/* probes.h - the liveness and readiness ports: a probe is a TCP connection that is accepted and closed.
 *
 * Closed: the socket stays bound, so that nobody else gets the port, but does not listen: connections are refused.
 * Hung:   the kernel accepts for a hung process as long as the backlog has room. It is the smallest, so at most two
 *         probes succeed once the supervisor turns no more.
 * Flood:  a connection that finds no room is let in a second later, when a probe has failed already. So while somebody
 *         connects more often than any probe does, the backlog is longer: whoever floods fills it by himself as soon as
 *         the supervisor hangs.
 * Change: probes_prepare() binds what a configuration wants beside what is in use; then probes_commit() or
 *         probes_abandon().
 * Memory: must not move once prepared; libev holds pointers into it.
 */
#ifndef NODEDOT_NODE_PROBES_H
#define NODEDOT_NODE_PROBES_H

#include "nodedot/config/config.h"

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

enum probe_kind { PROBE_LIVENESS, PROBE_READINESS };
#define PROBE_KINDS 2

/* Two kinds, on each address, in use and wanted next. */
#define PROBES_MAX (PROBE_KINDS * CONFIG_LISTENS * 2)

struct probe {
    struct endpoint endpoint;
    enum probe_kind kind, next_kind;
    bool in_use, wanted; /* by the configuration in use, by the one that is prepared; neither: a free entry */
    bool listening;
    bool failed;          /* to listen, and that was logged */
    bool flooded;         /* the backlog is the longer one */
    unsigned connections; /* since second_ms, for a second at most */
    uint64_t second_ms;
    uint64_t flood_ms; /* when there were too many last */
    int fd;
    ev_io accept;
};

struct probes {
    struct ev_loop *loop;
    struct probe probe[PROBES_MAX];
    bool open[PROBE_KINDS]; /* as probes_set() said last */
};

void probes_init(struct probes *probes, struct ev_loop *loop);

/* False, and why in error (SOCKETS_ERROR octets), with nothing changed. */
bool probes_prepare(struct probes *probes, const struct config *config, char *error);
void probes_commit(struct probes *probes);
void probes_abandon(struct probes *probes);

/* Opens and closes the ports as asked; logs a change. To be called again with the same values now and then: a port that
 * could not be opened is tried again, and the end of a flood is noticed. */
void probes_set(struct probes *probes, bool liveness, bool readiness);

void probes_close(struct probes *probes);

#endif

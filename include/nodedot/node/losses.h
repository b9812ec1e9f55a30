/* losses.h - generations that ended untold: how long to wait before the next one, and whether there is any point.
 *
 * Pause:    none after the first loss, then growing as losses follow each other.
 * Hopeless: LOSSES_MAX losses within CALM_MS, until a generation has served for a while.
 */
#ifndef NODEDOT_NODE_LOSSES_H
#define NODEDOT_NODE_LOSSES_H

#include "nodedot/node/generation.h"

#include <stdbool.h>
#include <stdint.h>

/* Older losses are forgotten. */
#define CALM_MS 30000

/* After this many losses within CALM_MS forking again does not help. The liveness port closes, and the kubelet restarts
 * the container. */
#define LOSSES_MAX 5

/* The longest pause. */
#define LOSSES_PAUSE_MAX_MS 2000

/* Recent losses, for pauses and liveness. */
struct losses {
    uint64_t at_ms[LOSSES_MAX]; /* a ring; oldest at next */
    unsigned next;
    uint64_t last_ms;
    uint64_t pause_ms; /* before the next fork */
    bool hopeless;     /* LOSSES_MAX within CALM_MS */
};

/* A generation was lost now: computes the pause. */
void losses_add(struct losses *losses, uint64_t now_ms);

/* Generations can be kept alive again if the current one (NULL: none) has served for long enough. */
void losses_recover(struct losses *losses, const struct generation *current, uint64_t now_ms);

#endif

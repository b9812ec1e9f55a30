#include "nodedot/node/losses.h"

#include "nodedot/observe/log.h"

/* The first replacement of a lost generation starts at once. Later ones wait, so that a crash at start does not use the
 * CPU of the node, and queries in the sockets' buffers still find a resolver in time. */
#define PAUSE_FIRST_MS 50

/* After serving for this long, generations count as stable again. Shorter than the default patience of the kubelet
 * (three probes, 10 s apart), so that a pod that has recovered is not restarted. */
#define RECOVERED_MS 10000

void losses_add(struct losses *losses, uint64_t now_ms)
{
    bool first = losses->last_ms == 0 || now_ms - losses->last_ms > CALM_MS;
    uint64_t longer = losses->pause_ms == 0 ? PAUSE_FIRST_MS : 2 * losses->pause_ms;

    losses->pause_ms = first ? 0 : longer < LOSSES_PAUSE_MAX_MS ? longer : LOSSES_PAUSE_MAX_MS;
    losses->last_ms = now_ms;
    losses->at_ms[losses->next] = now_ms;
    losses->next = (losses->next + 1) % LOSSES_MAX;
    uint64_t oldest = losses->at_ms[losses->next];
    if (oldest == 0 || now_ms - oldest > CALM_MS || losses->hopeless)
        return;
    losses->hopeless = true;
    log_error("too many resolvers exited unexpectedly: liveness port closed", log_n("lost", LOSSES_MAX),
              log_n("seconds", (now_ms - oldest) / 1000));
}

void losses_recover(struct losses *losses, const struct generation *current, uint64_t now_ms)
{
    if (!losses->hopeless || current == NULL || !generation_serves(current) ||
        now_ms - current->since_ms < RECOVERED_MS)
        return;
    losses->hopeless = false;
    log_info("resolver is stable again: liveness port opened", log_n("generation", current->number));
}

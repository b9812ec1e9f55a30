/* exporter.h - what the metrics port answers: /metrics, /healthz and /readyz of one generation.
 *
 * /healthz: 200 while this thread turns and every worker has turned within HEARTBEAT_LIMIT_MS; a failure names the
 *           thread.
 * /readyz:  200 when an upstream of every zone is usable, as for the readiness port; else 503, naming the zone.
 * Runs on the control thread: a scrape takes nothing from the workers.
 */
#ifndef NODEDOT_RESOLVER_EXPORTER_H
#define NODEDOT_RESOLVER_EXPORTER_H

#include "nodedot/forward/revalidate.h"
#include "nodedot/observe/http.h"
#include "nodedot/resolver/start.h"

struct exporter {
    const struct resolver_start *start;
    const struct revalidator *revalidator;
    void (*refresh)(void *context); /* brings figures up to date that are taken now and then */
    void *context;
    struct exposition *exposition;
    struct http_server http;
};

/* Takes all memory; the generation's rows of the status page are made already. Nothing without a metrics address.
 * False: no memory. */
bool exporter_init(struct exporter *exporter, struct ev_loop *loop, const struct resolver_start *start,
                   const struct revalidator *revalidator, void (*refresh)(void *), void *context);

/* Accepts connections; accepts no more. */
void exporter_start(struct exporter *exporter);
void exporter_drain(struct exporter *exporter);

/* Is somebody owed an answer? */
bool exporter_is_busy(const struct exporter *exporter);

void exporter_close(struct exporter *exporter);

#endif

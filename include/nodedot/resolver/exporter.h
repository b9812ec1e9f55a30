/* exporter.h - the pages of the metrics port: /metrics, /healthz and /readyz of one generation.
 *
 * /healthz: 200 while this thread turns and every worker has turned within HEARTBEAT_LIMIT_MS; a failure names the
 *           thread.
 * /readyz:  200 when an upstream of every zone is usable, as for the readiness port; else 503, naming the zone.
 * Runs on the control thread: a scrape does not delay the workers.
 */
#ifndef NODEDOT_RESOLVER_EXPORTER_H
#define NODEDOT_RESOLVER_EXPORTER_H

#include "nodedot/forward/revalidate.h"
#include "nodedot/observe/http.h"
#include "nodedot/resolver/start.h"

struct exporter {
    const struct resolver_start *start;
    const struct revalidator *revalidator;
    void (*refresh)(void *context); /* updates figures that are computed only now and then */
    void *context;
    struct exposition *exposition;
    struct http_server http;
};

/* Takes all memory; the generation's rows of the status page exist already. Does nothing without a metrics address.
 * False: no memory. */
bool exporter_init(struct exporter *exporter, struct ev_loop *loop, const struct resolver_start *start,
                   const struct revalidator *revalidator, void (*refresh)(void *), void *context);

/* Starts to accept connections; stops. */
void exporter_start(struct exporter *exporter);
void exporter_drain(struct exporter *exporter);

/* Does a client still wait for an answer? */
bool exporter_is_busy(const struct exporter *exporter);

void exporter_close(struct exporter *exporter);

#endif

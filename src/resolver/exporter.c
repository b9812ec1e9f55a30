#include "nodedot/resolver/exporter.h"

#include "nodedot/base/clock.h"

#include <stdio.h>
#include <string.h>

#define UNAVAILABLE 503

static size_t say(char *out, size_t capacity, const char *what)
{
    return (size_t)snprintf(out, capacity, "%s\n", what);
}

/* ---- /healthz ---- */

static size_t health(const struct exporter *exporter, char *out, size_t capacity, unsigned *status)
{
    const struct status_slot *slot = &exporter->start->status->slots[exporter->start->slot];
    uint64_t now = clock_ms();

    for (uint32_t i = 0; i < exporter->start->config->workers; i++) {
        uint64_t beat = atomic_load_explicit(&slot->threads[i].heartbeat_ms, memory_order_relaxed);

        if (beat == 0 || beat + HEARTBEAT_LIMIT_MS < now) {
            *status = UNAVAILABLE;
            return (size_t)snprintf(out, capacity, "worker %u does not turn\n", (unsigned)i);
        }
    }
    return say(out, capacity, "ok");
}

/* ---- /readyz ---- */

static size_t readiness(const struct exporter *exporter, char *out, size_t capacity, unsigned *status)
{
    const struct zone_config *zone = revalidator_lacks(exporter->revalidator);
    char name[NAME_TEXT];

    if (zone == NULL)
        return say(out, capacity, "ok");
    *status = UNAVAILABLE;
    name_to_text(&zone->name, name);
    return (size_t)snprintf(out, capacity, "zone %.255s: no address of upstream %s is usable\n", name,
                            exporter->start->config->upstreams[zone->upstream].name);
}

/* ---- the server ---- */

static size_t metrics(const struct exporter *exporter, const struct request *request, char *out, size_t capacity,
                      unsigned *status)
{
    size_t size;

    exporter->refresh(exporter->context);
    size = exposition_write(exporter->exposition, request->format, out, capacity);
    if (size > 0)
        return size;
    *status = UNAVAILABLE;
    return say(out, capacity, "the page does not fit");
}

static size_t content(void *owner, const struct request *request, char *out, size_t capacity, unsigned *status)
{
    switch (request->path) {
    case REQUEST_HEALTHZ:
        return health(owner, out, capacity, status);
    case REQUEST_READYZ:
        return readiness(owner, out, capacity, status);
    case REQUEST_METRICS:
        break;
    }
    return metrics(owner, request, out, capacity, status);
}

/* ---- life ---- */

bool exporter_init(struct exporter *exporter, struct ev_loop *loop, const struct resolver_start *start,
                   const struct revalidator *revalidator, void (*refresh)(void *), void *context)
{
    size_t addresses = start->status->slots[start->slot].address_count;

    memset(exporter, 0, sizeof *exporter);
    if (start->config->metrics_listen_count == 0)
        return true;
    exporter->start = start;
    exporter->revalidator = revalidator;
    exporter->refresh = refresh;
    exporter->context = context;
    exporter->exposition = exposition_create(start->status, start->slot);
    if (exporter->exposition == NULL ||
        !http_init(&exporter->http, loop, exposition_size(addresses), content, exporter))
        return false;
    for (size_t i = 0; i < start->config->metrics_listen_count; i++)
        http_add(&exporter->http, start->metrics_sockets[i].fd);
    return true;
}

void exporter_start(struct exporter *exporter)
{
    if (exporter->exposition != NULL)
        http_start(&exporter->http);
}

void exporter_drain(struct exporter *exporter)
{
    if (exporter->exposition != NULL)
        http_drain(&exporter->http);
}

bool exporter_is_busy(const struct exporter *exporter)
{
    return http_is_busy(&exporter->http);
}

void exporter_close(struct exporter *exporter)
{
    http_close(&exporter->http);
    if (exporter->exposition != NULL)
        exposition_destroy(exporter->exposition);
}

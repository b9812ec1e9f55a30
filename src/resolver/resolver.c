#include "nodedot/resolver/resolver.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/fallback.h"
#include "nodedot/forward/relay.h"
#include "nodedot/forward/revalidate.h"
#include "nodedot/forward/trusts.h"
#include "nodedot/observe/log.h"
#include "nodedot/observe/process.h"
#include "nodedot/observe/query_log.h"
#include "nodedot/resolver/exporter.h"
#include "nodedot/resolver/sandbox.h"
#include "nodedot/resolver/worker.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often figures are taken, and readiness is judged when nothing wakes the thread: proofs age without an event. A
 * change of standing is one. */
#define CONTROL_TICK_S 1.
/* After the workers have finished, running scrapes get their answers; interval of that check. */
#define SCRAPES_MS 500
#define SCRAPES_S  0.01
/* The same where an upstream has a fallback, whose hysteresis counts tenths of seconds. */
#define FALLBACK_TICK_S 0.1

/* A handshake takes up to 2 MiB for a moment. The allocator of each thread gives back what is free above this; set, it
 * also stays, while glibc would let it grow with the largest block that was ever freed. */
#define KEEP_FREE_OCTETS (128 * 1024)

/* One generation: the main thread is the control thread. */
struct resolver {
    const struct resolver_start *start;
    struct ev_loop *loop;
    struct metrics *metrics; /* the control thread's block */
    struct zone_table zones;
    struct origins origins;
    struct admission *admission;
    struct quota *quota;
    struct trusts trusts;
    struct revalidator *revalidator;
    struct relay *relay; /* between workers; NULL: there is one */
    struct exporter exporter;
    struct fallback_watch fallbacks;
    struct process process;
    struct cache *cache; /* for clearing and figures */
    uint64_t evictions;  /* of the cache, as far as they are counted */
    _Atomic uint32_t in_flight;
    struct query_log *query_log; /* NULL: it is off */
    struct query_tap taps[CONFIG_WORKERS];
    struct worker *workers;
    unsigned worker_count;
    bool ready;
    bool ending;
    uint64_t over_ms; /* clock_ms() when it ends whatever is open; 0: its workers are not done */
    ev_io channel;
    ev_timer tick;
    ev_async wake;
};

static struct status_slot *slot_of(const struct resolver *resolver)
{
    return &resolver->start->status->slots[resolver->start->slot];
}

static struct metrics *metrics_of(const struct resolver *resolver, unsigned thread)
{
    return &slot_of(resolver)->threads[thread];
}

static void report(const struct resolver *resolver, enum resolver_report report)
{
    char octet = (char)report;

    /* When the supervisor is gone, the channel's end of file says so. */
    (void)send(resolver->start->channel, &octet, 1, MSG_NOSIGNAL);
}

static void order_workers(struct resolver *resolver, enum resolver_order order)
{
    for (unsigned i = 0; i < resolver->worker_count; i++)
        worker_order(&resolver->workers[i], order);
}

static void end(struct resolver *resolver, enum resolver_order order)
{
    if (resolver->ending && order != RESOLVER_STOP)
        return;
    resolver->ending = true;
    exporter_drain(&resolver->exporter);
    order_workers(resolver, order);
}

static void recheck_workers(struct resolver *resolver)
{
    for (unsigned i = 0; i < resolver->worker_count; i++)
        worker_recheck(&resolver->workers[i]);
}

static void take_over(struct resolver *resolver)
{
    exporter_start(&resolver->exporter);
    order_workers(resolver, RESOLVER_TAKE_OVER);
}

/* An identity changed, in any thread: everybody looks. */
static void on_identity_changed(void *context)
{
    struct resolver *resolver = context;

    recheck_workers(resolver);
    ev_async_send(resolver->loop, &resolver->wake);
}

/* Another worker asks this one, or has answered it. */
static void on_relayed(void *context, unsigned thread)
{
    struct resolver *resolver = context;

    worker_relay(&resolver->workers[thread]);
}

static void on_worker_finished(void *context)
{
    struct resolver *resolver = context;

    ev_async_send(resolver->loop, &resolver->wake);
}

static bool all_finished(const struct resolver *resolver)
{
    for (unsigned i = 0; i < resolver->worker_count; i++) {
        if (!atomic_load(&resolver->workers[i].finished))
            return false;
    }
    return true;
}

static void update_figures(void *context)
{
    struct resolver *resolver = context;
    struct cache_statistics statistics;

    cache_statistics(resolver->cache, &statistics);
    if (statistics.evictions > resolver->evictions && !resolver->ending)
        metric_add(resolver->metrics, cache_evictions_total, statistics.evictions - resolver->evictions);
    resolver->evictions = statistics.evictions;
    metric_set(resolver->metrics, cache_entries, statistics.entries);
    metric_set(resolver->metrics, cache_bytes, statistics.bytes);
    metric_set(resolver->metrics, clients_blocked, admission_blocked(resolver->admission, clock_ms()));
    process_write(&resolver->process, &resolver->start->status->slots[resolver->start->slot].process);
}

static void update_ready(struct resolver *resolver)
{
    bool ready = revalidator_lacks(resolver->revalidator) == NULL;

    if (ready == resolver->ready || resolver->ending)
        return;
    resolver->ready = ready;
    report(resolver, ready ? RESOLVER_READY : RESOLVER_NOT_READY);
}

static void finish(struct resolver *resolver)
{
    if (resolver->over_ms == 0) {
        resolver->over_ms = clock_ms() + SCRAPES_MS;
        resolver->tick.repeat = SCRAPES_S;
        ev_timer_again(resolver->loop, &resolver->tick);
    }
    if (!exporter_is_busy(&resolver->exporter) || clock_ms() >= resolver->over_ms)
        ev_break(resolver->loop, EVBREAK_ALL);
}

static void look_around(struct resolver *resolver)
{
    metric_set(resolver->metrics, heartbeat_ms, clock_ms());
    if (fallback_update(&resolver->fallbacks, clock_ms()))
        recheck_workers(resolver);
    update_ready(resolver);
    if (all_finished(resolver))
        finish(resolver);
}

static void on_wake(struct ev_loop *loop, ev_async *async, int revents)
{
    struct resolver *resolver = async->data;

    (void)loop, (void)revents;
    revalidator_recheck(resolver->revalidator);
    look_around(resolver);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int revents)
{
    (void)loop, (void)revents;
    update_figures(timer->data);
    look_around(timer->data);
}

static void on_channel(struct ev_loop *loop, ev_io *io, int revents)
{
    struct resolver *resolver = io->data;
    char octet;
    ssize_t n = recv(io->fd, &octet, 1, MSG_DONTWAIT);

    (void)revents;
    if (n < 0)
        return;
    if (n == 0) { /* the supervisor died: leave nothing behind */
        ev_io_stop(loop, io);
        end(resolver, RESOLVER_STOP);
        return;
    }
    if (octet == RESOLVER_TAKE_OVER)
        take_over(resolver);
    else if (octet == RESOLVER_DRAIN || octet == RESOLVER_STOP)
        end(resolver, (enum resolver_order)octet);
}

static bool fail(const char *what, const char *reason)
{
    log_error("generation cannot start", log_s("step", what), log_s("reason", reason));
    return false;
}

static bool init_query_log(struct resolver *resolver)
{
    const struct config *config = resolver->start->config;

    if (config->log_queries == LOG_QUERIES_NO)
        return true;
    resolver->query_log = query_log_create(config, resolver->metrics);
    if (resolver->query_log == NULL)
        return fail("query log", "out of memory");
    for (unsigned i = 0; i < config->workers; i++) {
        if (!query_log_tap(resolver->query_log, &resolver->taps[i], metrics_of(resolver, i)))
            return fail("query log", "out of memory");
    }
    return true;
}

static bool init_workers(struct resolver *resolver)
{
    const struct resolver_start *start = resolver->start;
    struct status_slot *slot = slot_of(resolver);
    char error[TLS_ERROR];

    resolver->workers = calloc(start->config->workers, sizeof(struct worker));
    if (start->config->workers > 1)
        resolver->relay = relay_create(on_relayed, resolver);
    if (resolver->workers == NULL || (start->config->workers > 1 && resolver->relay == NULL))
        return fail("workers", "out of memory");
    for (unsigned i = 0; i < start->config->workers; i++) {
        struct worker_setup setup = {
            .index = i,
            .start = start,
            .query = {.config = start->config,
                      .busiest = &slot->busiest.sketches[i],
                      .zones = &resolver->zones,
                      .origins = &resolver->origins,
                      .admission = resolver->admission,
                      .cookie_key = &start->cookie_key,
                      .in_flight = &resolver->in_flight,
                      .cache = start->cache,
                      .tap = resolver->query_log != NULL ? &resolver->taps[i] : NULL,
                      .forward = {.metrics = metrics_of(resolver, i),
                                  .addresses = slot->addresses,
                                  .groups = slot->upstreams,
                                  .trusts = &resolver->trusts,
                                  .relay = resolver->relay,
                                  .thread = i,
                                  .changed = on_identity_changed,
                                  .context = resolver}},
            .quota = resolver->quota,
            .on_finished = on_worker_finished,
            .context = resolver,
        };

        if (!worker_init(&resolver->workers[i], &setup, error))
            return fail("worker", error);
        resolver->worker_count++;
    }
    return true;
}

static bool init_shared(struct resolver *resolver)
{
    const struct config *config = resolver->start->config;
    struct status_slot *slot = slot_of(resolver);
    struct cache_statistics statistics;
    char error[TLS_ERROR];

    resolver->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    resolver->admission = admission_create(config);
    resolver->quota = quota_create(config->tcp_connections, config->tcp_connections_per_client, &config->client_prefix);
    resolver->cache = cache_open(resolver->start->cache);
    if (resolver->loop == NULL || resolver->admission == NULL || resolver->quota == NULL || resolver->cache == NULL)
        return fail("control", "out of memory");
    if (resolver->start->clear_cache)
        cache_clear(resolver->cache);
    cache_statistics(resolver->cache, &statistics);
    resolver->evictions = statistics.evictions;
    zone_table_init(&resolver->zones, config);
    origins_init(&resolver->origins, config, slot->upstreams, resolver->cache);
    process_open(&resolver->process, &slot->process); /* of the last process in this slot */
    metrics_reset_gauges(slot);
    busiest_begin(&slot->busiest, &config->client_prefix, clock_ms());
    if (!metrics_begin_rows(slot, config))
        return fail("status", "out of memory");
    if (!trusts_open(&resolver->trusts, config, error))
        return fail("trust", error);
    resolver->revalidator = revalidator_create(config, resolver->loop, &resolver->trusts, slot->addresses,
                                               slot->upstreams, resolver->metrics, on_identity_changed, resolver);
    if (resolver->revalidator == NULL)
        return fail("revalidation", "out of memory");
    fallback_init(&resolver->fallbacks, config, slot->addresses, slot->upstreams);
    return exporter_init(&resolver->exporter, resolver->loop, resolver->start, resolver->revalidator, update_figures,
                         resolver) ||
           fail("metrics", "out of memory");
}

static double tick_of(const struct config *config)
{
    for (size_t i = 0; i < config->upstream_count; i++) {
        if (config->upstreams[i].fallback != CONFIG_NO_UPSTREAM)
            return FALLBACK_TICK_S;
    }
    return CONTROL_TICK_S;
}

static void init_watchers(struct resolver *resolver)
{
    double tick_s = tick_of(resolver->start->config);

    ev_io_init(&resolver->channel, on_channel, resolver->start->channel, EV_READ);
    ev_timer_init(&resolver->tick, on_tick, tick_s, tick_s);
    ev_async_init(&resolver->wake, on_wake);
    resolver->channel.data = resolver;
    resolver->tick.data = resolver;
    resolver->wake.data = resolver;
    ev_io_start(resolver->loop, &resolver->channel);
    ev_timer_start(resolver->loop, &resolver->tick);
    ev_async_start(resolver->loop, &resolver->wake);
}

/* The supervisor says what happens; a terminal's Ctrl-C and a service manager's SIGTERM reach the whole group. */
static void ignore_signals(void)
{
    static const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP};

    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
}

static bool start_threads(struct resolver *resolver)
{
    if (resolver->query_log != NULL && !query_log_start(resolver->query_log))
        return fail("query log", "no thread could be made");
    for (unsigned i = 0; i < resolver->worker_count; i++) {
        if (!worker_start(&resolver->workers[i]))
            return fail("thread", "no thread could be made");
    }
    return true;
}

int resolver_run(const struct resolver_start *start)
{
    static struct resolver resolver; /* the process runs one generation, and large things do not belong on a stack */

    memset(&resolver, 0, sizeof(resolver));
    resolver.start = start;
    resolver.metrics = metrics_of(&resolver, start->config->workers);
    ignore_signals();
    mallopt(M_TRIM_THRESHOLD, KEEP_FREE_OCTETS);
    mallopt(M_MMAP_THRESHOLD, KEEP_FREE_OCTETS);
    sandbox_raise_limits();
    if (!tls_global_init()) {
        fail("tls", "wolfSSL does not start");
        return RESOLVER_EXIT_FAILED;
    }
    if (!init_shared(&resolver) || !init_query_log(&resolver) || !init_workers(&resolver) ||
        !sandbox_enter(start->config))
        return RESOLVER_EXIT_FAILED;
    init_watchers(&resolver);
    if (!start_threads(&resolver))
        return RESOLVER_EXIT_FAILED;
    if (start->take_over)
        take_over(&resolver);
    report(&resolver, RESOLVER_SERVING);
    revalidator_start(resolver.revalidator);
    update_figures(&resolver);
    ev_run(resolver.loop, 0);
    metric_set(resolver.metrics, heartbeat_ms, 0);
    for (unsigned i = 0; i < resolver.worker_count; i++)
        worker_join(&resolver.workers[i]);
    if (resolver.query_log != NULL)
        query_log_finish(resolver.query_log);
    query_log_destroy(resolver.query_log);
    exporter_close(&resolver.exporter);
    process_close(&resolver.process);
    revalidator_destroy(resolver.revalidator);
    trusts_close(&resolver.trusts);
    cache_close(resolver.cache);
    quota_destroy(resolver.quota);
    admission_destroy(resolver.admission);
    relay_destroy(resolver.relay);
    free(resolver.workers);
    ev_loop_destroy(resolver.loop);
    return RESOLVER_EXIT_DONE;
}

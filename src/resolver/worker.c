#include "nodedot/resolver/worker.h"

#include "nodedot/base/clock.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The supervisor takes a worker for hung after HEARTBEAT_LIMIT_MS, which is several of these. */
#define HEARTBEAT_S 1.
/* How often a draining worker looks whether it is done. */
#define DRAIN_CHECK_S 0.02
/* Before the end of a drain: connections read no more queries; and what still waits for an upstream is answered
 * SERVFAIL, with time left for the answers to be written. */
#define DRAIN_FINISH_MS  500
#define DRAIN_GIVE_UP_MS 200

static void on_heartbeat(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct worker *worker = timer->data;

    (void)loop, (void)revents;
    metric_set(worker->metrics, heartbeat_ms, clock_ms());
    busiest_turn(worker->engine.busiest, clock_ms());
}

/* Before the loop sleeps: everything that this turn made leaves, in few system calls. Writing to clients may bring
 * queries that waited in a connection's buffer, and asking again may bring answers. */
static void on_flush(struct ev_loop *loop, ev_prepare *prepare, int revents)
{
    struct worker *worker = prepare->data;

    (void)loop, (void)revents;
    do {
        waiting_flush(&worker->engine.waiting);
        tcp_flush(&worker->tcp);
        engine_flush(&worker->engine.forward);
    } while (worker->engine.waiting.displaced != NULL || worker->tcp.dirty != NULL ||
             worker->engine.forward.exchanges.dirty != NULL);
    for (size_t i = 0; i < worker->udp_count; i++)
        udp_flush(&worker->udp[i]);
}

static void start_listening(struct worker *worker)
{
    for (size_t i = 0; i < worker->udp_count; i++)
        udp_start(&worker->udp[i]);
    tcp_start(&worker->tcp);
}

static void begin_drain(struct worker *worker, enum resolver_order order)
{
    bool stop = order == RESOLVER_STOP;

    query_engine_drain(&worker->engine);
    worker->drain_until_ms = clock_ms() + (stop ? RESOLVER_STOP_MS : RESOLVER_DRAIN_MS);
    for (size_t i = 0; i < worker->udp_count; i++)
        udp_stop(&worker->udp[i], stop);
    tcp_drain(&worker->tcp, stop);
    ev_timer_again(worker->loop, &worker->drain);
}

static bool is_idle(const struct worker *worker)
{
    for (size_t i = 0; i < worker->udp_count; i++) {
        if (!udp_is_idle(&worker->udp[i]))
            return false;
    }
    return tcp_is_idle(&worker->tcp) && query_engine_is_idle(&worker->engine);
}

static void on_drain(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct worker *worker = timer->data;
    uint64_t now = clock_ms();
    uint64_t left_ms = worker->drain_until_ms > now ? worker->drain_until_ms - now : 0;

    (void)revents;
    if (left_ms <= DRAIN_FINISH_MS)
        tcp_finish(&worker->tcp);
    if (left_ms <= DRAIN_GIVE_UP_MS)
        engine_give_up(&worker->engine.forward);
    on_flush(loop, &worker->flush, 0);
    if (!is_idle(worker) && left_ms != 0)
        return;
    engine_give_up(&worker->engine.forward); /* what is asked for nobody in particular */
    ev_break(loop, EVBREAK_ALL);
}

static void on_wake(struct ev_loop *loop, ev_async *async, int revents)
{
    struct worker *worker = async->data;
    int order = atomic_exchange(&worker->order, 0);

    (void)loop, (void)revents;
    if (atomic_exchange(&worker->relayed, false))
        engine_take_relayed(&worker->engine.forward);
    if (atomic_exchange(&worker->recheck, false))
        engine_recheck(&worker->engine.forward);
    if (order == RESOLVER_TAKE_OVER)
        start_listening(worker);
    else if (order != 0)
        begin_drain(worker, (enum resolver_order)order);
}

void worker_open(struct worker *worker)
{
    on_heartbeat(worker->loop, &worker->heartbeat, 0);
    engine_open(&worker->engine.forward);
}

void worker_close(struct worker *worker)
{
    metric_set(worker->metrics, heartbeat_ms, 0);
    metric_set(worker->metrics, in_flight, 0);
    tcp_close(&worker->tcp);
    query_engine_close(&worker->engine);
    metric_set(worker->metrics, upstream_connections, 0);
    atomic_store(&worker->finished, true);
    worker->on_finished(worker->context);
}

static void *run_thread(void *argument)
{
    struct worker *worker = argument;

    worker_open(worker);
    ev_run(worker->loop, 0);
    worker_close(worker);
    return NULL;
}

static void init_watchers(struct worker *worker)
{
    ev_prepare_init(&worker->flush, on_flush);
    ev_timer_init(&worker->heartbeat, on_heartbeat, HEARTBEAT_S, HEARTBEAT_S);
    ev_async_init(&worker->wake, on_wake);
    ev_timer_init(&worker->drain, on_drain, 0., DRAIN_CHECK_S);
    worker->flush.data = worker;
    worker->heartbeat.data = worker;
    worker->wake.data = worker;
    worker->drain.data = worker;
    ev_prepare_start(worker->loop, &worker->flush);
    ev_timer_start(worker->loop, &worker->heartbeat);
    ev_async_start(worker->loop, &worker->wake);
}

static void init_udp(struct worker *worker, const struct worker_setup *setup)
{
    const struct resolver_start *start = setup->start;

    for (size_t i = 0; i < worker->udp_count; i++)
        udp_init(&worker->udp[i], worker->loop, start->sockets[i].udp[setup->index], &start->sockets[i].endpoint,
                 worker->input, worker->metrics, query_receive, &worker->engine);
}

static bool init_tcp(struct worker *worker, const struct worker_setup *setup)
{
    struct tcp_setup tcp = {.loop = worker->loop,
                            .metrics = worker->metrics,
                            .quota = setup->quota,
                            .config = setup->start->config,
                            .on_query = query_receive,
                            .allowed = query_connection_allowed,
                            .owner = &worker->engine};

    if (!tcp_init(&worker->tcp, &tcp))
        return false;
    for (size_t i = 0; i < worker->udp_count; i++)
        tcp_add(&worker->tcp, setup->start->sockets[i].tcp[setup->index]);
    return true;
}

bool worker_init(struct worker *worker, const struct worker_setup *setup, char *error)
{
    struct query_setup query = setup->query;

    memset(worker, 0, sizeof(*worker));
    worker->metrics = query.forward.metrics;
    worker->on_finished = setup->on_finished;
    worker->context = setup->context;
    worker->udp_count = setup->start->config->listen_count;
    worker->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    worker->udp = calloc(worker->udp_count, sizeof(struct udp_listener));
    worker->input = calloc(1, sizeof(struct udp_input));
    strcpy(error, "out of memory");
    if (worker->loop == NULL || worker->udp == NULL || worker->input == NULL)
        return false;
    query.forward.loop = worker->loop;
    if (!query_engine_init(&worker->engine, &query, error))
        return false;
    strcpy(error, "out of memory");
    init_udp(worker, setup);
    if (!init_tcp(worker, setup))
        return false;
    init_watchers(worker);
    return true;
}

bool worker_start(struct worker *worker)
{
    sigset_t all;
    sigset_t before;
    int err;

    sigfillset(&all); /* signals are the control thread's */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    err = pthread_create(&worker->thread, NULL, run_thread, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    worker->started = err == 0;
    return worker->started;
}

void worker_order(struct worker *worker, enum resolver_order order)
{
    atomic_store(&worker->order, order);
    ev_async_send(worker->loop, &worker->wake);
}

void worker_recheck(struct worker *worker)
{
    if (atomic_load(&worker->finished))
        return;
    atomic_store(&worker->recheck, true);
    ev_async_send(worker->loop, &worker->wake);
}

void worker_relay(struct worker *worker)
{
    if (atomic_load(&worker->finished))
        return;
    atomic_store(&worker->relayed, true);
    ev_async_send(worker->loop, &worker->wake);
}

void worker_join(struct worker *worker)
{
    if (worker->started)
        pthread_join(worker->thread, NULL);
    free(worker->udp);
    free(worker->input);
    if (worker->loop != NULL)
        ev_loop_destroy(worker->loop);
}

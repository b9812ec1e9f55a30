/* worker.h - one thread that answers queries: a loop, its sockets, its engine.
 *
 * Life: worker_init() in the main thread while files can still be read; worker_start() makes the thread; orders
 *       come through worker_order() and worker_recheck() from the control thread; worker_join() waits for the end.
 */
#ifndef NODEDOT_RESOLVER_WORKER_H
#define NODEDOT_RESOLVER_WORKER_H

#include "nodedot/listener/tcp.h"
#include "nodedot/listener/udp.h"
#include "nodedot/resolver/query.h"
#include "nodedot/resolver/start.h"

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>

struct worker {
    struct ev_loop *loop;
    struct metrics *metrics;
    pthread_t thread;
    bool started;
    struct query_engine engine;
    struct udp_listener *udp; /* one a listen address */
    size_t udp_count;
    struct udp_input *input;
    struct tcp_listener tcp;
    ev_prepare flush;
    ev_timer heartbeat;
    ev_async wake;
    ev_timer drain;
    uint64_t drain_until_ms;
    _Atomic int order;     /* enum resolver_order that was not executed yet, or 0 */
    _Atomic bool recheck;  /* an identity changed */
    _Atomic bool relayed;  /* another thread asks, or has answered */
    _Atomic bool finished; /* the loop has ended */
    void (*on_finished)(void *context);
    void *context;
};

struct worker_setup {
    unsigned index;
    const struct resolver_start *start;
    struct query_setup query; /* forward.loop and forward.metrics are filled in here */
    struct quota *quota;
    void (*on_finished)(void *context); /* called by the worker's thread as its last action */
    void *context;
};

/* False: error (TLS_ERROR octets) has the reason. */
bool worker_init(struct worker *worker, const struct worker_setup *setup, char *error);

/* Starts the thread. False: no thread. */
bool worker_start(struct worker *worker);

/* What that thread does before and after its loop: it opens the first connections, and closes everything. For a caller
 * that turns the loop itself. */
void worker_open(struct worker *worker);
void worker_close(struct worker *worker);

/* Any thread may call these. */
void worker_order(struct worker *worker, enum resolver_order order);
void worker_recheck(struct worker *worker);
void worker_relay(struct worker *worker);

/* Waits for the thread and gives back what it held. */
void worker_join(struct worker *worker);

#endif

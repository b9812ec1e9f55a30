#include "nodedot/node/generation.h"

#include "nodedot/base/clock.h"
#include "nodedot/observe/log.h"
#include "nodedot/resolver/resolver.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Extra time for a resolver to be scheduled and to release its memory. */
#define END_MARGIN_MS 500

/* A process exits milliseconds after SIGKILL, unless it may not be killed or waits in the kernel for a device. */
#define KILL_PATIENCE_MS 2000

/* Maximum number of reports in one turn: a faulty resolver must not keep the supervisor busy. */
#define REPORTS_MAX 16

/* File descriptors closed one by one where close_range(2) is refused (old container runtimes). There are never so
 * many. */
#define CLOSE_SCAN 4096

/* Those that a resolver keeps: its channel and its sockets. */
#define KEEP_MAX (1 + 2 * CONFIG_LISTENS * CONFIG_WORKERS + CONFIG_LISTENS)

static void log_life(const struct generation *generation, const char *message)
{
    log_info(message, log_n("generation", generation->number), log_n("pid", generation->pid));
}

/* ---- the child ---- */

static int compare_fds(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void close_between(int first, int last)
{
    if (first > last || close_range((unsigned)first, (unsigned)last, 0) == 0)
        return;
    for (int fd = first; fd <= last && fd < CLOSE_SCAN; fd++)
        close(fd);
}

static size_t fds_of(const struct resolver_start *start, int keep[KEEP_MAX])
{
    size_t count = 0;

    keep[count++] = start->channel;
    for (size_t i = 0; i < start->config->listen_count; i++)
        for (size_t worker = 0; worker < start->config->workers; worker++) {
            keep[count++] = start->sockets[i].udp[worker];
            keep[count++] = start->sockets[i].tcp[worker];
        }
    for (size_t i = 0; i < start->config->metrics_listen_count; i++)
        keep[count++] = start->metrics_sockets[i].fd;
    return count;
}

/* Above all the supervisor's ends of channels: a resolver that held one would keep another, or itself, from seeing the
 * supervisor's death. */
static void close_others(const struct resolver_start *start)
{
    int keep[KEEP_MAX];
    size_t count = fds_of(start, keep);
    int first = STDERR_FILENO + 1;

    qsort(keep, count, sizeof keep[0], compare_fds);
    for (size_t i = 0; i < count; i++) {
        close_between(first, keep[i] - 1);
        first = keep[i] + 1;
    }
    close_between(first, INT32_MAX);
}

static void reset_signals(const sigset_t *mask)
{
    static const int by_default[] = {SIGTERM, SIGCHLD};
    static const int ignored[] = {SIGINT, SIGHUP};

    for (size_t i = 0; i < sizeof by_default / sizeof by_default[0]; i++)
        signal(by_default[i], SIG_DFL);
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        signal(ignored[i], SIG_IGN);
    sigprocmask(SIG_SETMASK, mask, NULL);
}

static _Noreturn void run_child(struct ev_loop *loop, const struct resolver_start *start, const sigset_t *mask)
{
    ev_loop_destroy(loop);
    reset_signals(mask);
    close_others(start);
    log_configure(start->config->log_level, start->config->log_format);
    log_set_node(start->config->node_name);
    _exit(resolver_run(start)); /* the exit handlers of the supervisor are not for the child */
}

/* ---- reports ---- */

static void move(struct generation *generation, enum generation_state state, const char *message)
{
    if (generation->state == GENERATION_LOADING)
        generation->since_ms = clock_ms();
    generation->state = state;
    log_life(generation, message);
    generation->on_report(generation);
}

static void take_report(struct generation *generation, uint8_t report)
{
    if (report == RESOLVER_SERVING && generation->state == GENERATION_LOADING)
        move(generation, GENERATION_SERVING, "resolver serving");
    else if (report == RESOLVER_READY &&
             (generation->state == GENERATION_LOADING || generation->state == GENERATION_SERVING))
        move(generation, GENERATION_READY, "resolver ready");
    else if (report == RESOLVER_NOT_READY && generation->state == GENERATION_READY)
        move(generation, GENERATION_SERVING, "resolver not ready");
}

static void on_channel(struct ev_loop *loop, ev_io *io, int revents)
{
    struct generation *generation = io->data;

    (void)revents;
    for (int i = 0; i < REPORTS_MAX; i++) {
        uint8_t report;
        ssize_t size = recv(io->fd, &report, 1, 0);

        if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR))
            ev_io_stop(loop, io); /* it has exited or is about to; SIGCHLD tells */
        if (size <= 0)
            return;
        take_report(generation, report);
    }
}

/* ---- life ---- */

static void on_limit(struct ev_loop *loop, ev_timer *timer, int revents)
{
    (void)loop, (void)revents;
    generation_kill(timer->data, "did not end in time");
}

static void watch_child(struct generation *generation)
{
    ev_io_init(&generation->reports, on_channel, generation->channel, EV_READ);
    generation->reports.data = generation;
    ev_io_start(generation->loop, &generation->reports);
    ev_timer_init(&generation->limit, on_limit, 0, 0);
    generation->limit.data = generation;
}

/* Heartbeats of the last user of the slot would look like hung threads. Nobody else writes there now. */
static void clear_heartbeats(struct status_slot *slot)
{
    for (size_t i = 0; i < STATUS_THREADS; i++)
        metric_set(&slot->threads[i], heartbeat_ms, 0);
}

/* Signals are blocked meanwhile: a handler that ran in the child would wake the supervisor's loop. */
static pid_t fork_child(struct ev_loop *loop, const struct resolver_start *start)
{
    sigset_t all, before;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        run_child(loop, start, &before);
    int err = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? -err : pid;
}

int generation_start(struct generation *generation, struct ev_loop *loop, struct resolver_start *start)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    start->channel = ends[1];
    generation->slot = &start->status->slots[start->slot];
    clear_heartbeats(generation->slot);
    pid_t pid = fork_child(loop, start);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return pid;
    }
    generation->state = GENERATION_LOADING;
    generation->pid = pid;
    generation->number = start->generation;
    generation->channel = ends[0];
    generation->loop = loop;
    watch_child(generation);
    log_life(generation, "resolver started");
    return 0;
}

bool generation_serves(const struct generation *generation)
{
    return generation->state == GENERATION_SERVING || generation->state == GENERATION_READY;
}

static void set_limit(struct generation *generation, unsigned limit_ms)
{
    ev_now_update(
        generation->loop); /* the loop's time is that of its last turn; a configuration may have been read since */
    ev_timer_stop(generation->loop, &generation->limit);
    ev_timer_set(&generation->limit, (limit_ms + END_MARGIN_MS) / 1000.0, 0);
    ev_timer_start(generation->loop, &generation->limit);
}

void generation_order(struct generation *generation, enum resolver_order order)
{
    uint8_t octet = (uint8_t)order;

    if (generation->state == GENERATION_NONE || generation->state == GENERATION_KILLED)
        return;
    /* A failure means that it has closed its end; then it is reaped soon, or killed by the limit or for its
     * heartbeat. */
    ssize_t sent = send(generation->channel, &octet, 1, MSG_NOSIGNAL);
    (void)sent;
    if (order == RESOLVER_TAKE_OVER) {
        log_life(generation, "resolver took over");
        return;
    }
    generation->state = GENERATION_ENDING;
    set_limit(generation, order == RESOLVER_STOP ? RESOLVER_STOP_MS : RESOLVER_DRAIN_MS);
    log_life(generation, order == RESOLVER_STOP ? "resolver stopping" : "resolver draining");
}

void generation_kill(struct generation *generation, const char *because)
{
    if (generation->state == GENERATION_NONE || generation->state == GENERATION_KILLED)
        return;
    log_warn("resolver killed", log_n("generation", generation->number), log_n("pid", generation->pid),
             log_s("reason", because));
    if (kill(generation->pid, SIGKILL) < 0) /* it runs as another user: root without CAP_KILL may not */
        log_error("cannot kill a resolver", log_n("pid", generation->pid), log_s("reason", strerror(errno)));
    generation->state = GENERATION_KILLED;
    generation->since_ms = clock_ms();
}

bool generation_is_stuck(const struct generation *generation, uint64_t now_ms)
{
    return generation->state == GENERATION_KILLED && now_ms - generation->since_ms > KILL_PATIENCE_MS;
}

bool generation_hangs(const struct generation *generation, uint64_t now_ms)
{
    if (!generation_serves(generation))
        return false;
    for (size_t i = 0; i < STATUS_THREADS; i++) {
        uint64_t beat = atomic_load_explicit(&generation->slot->threads[i].heartbeat_ms, memory_order_relaxed);

        if (beat != 0 && beat + HEARTBEAT_LIMIT_MS < now_ms)
            return true;
    }
    return false;
}

static void log_end(const struct generation *generation, int wait_status)
{
    bool told = generation->state == GENERATION_ENDING || generation->state == GENERATION_KILLED;
    const char *message = told ? "resolver ended" : "resolver lost";
    struct log_field number = log_n("generation", generation->number), pid = log_n("pid", generation->pid);

    if (generation->state == GENERATION_KILLED || (told && wait_status == 0))
        log_info(message, number, pid);
    else if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGSYS)
        log_warn(message, number, pid, log_s("reason", "killed by the system-call filter"));
    else if (WIFSIGNALED(wait_status))
        log_warn(message, number, pid, log_n("signal", WTERMSIG(wait_status)));
    else
        log_warn(message, number, pid, log_n("exit-status", WEXITSTATUS(wait_status)));
}

void generation_ended(struct generation *generation, int wait_status)
{
    log_end(generation, wait_status);
    ev_io_stop(generation->loop, &generation->reports);
    ev_timer_stop(generation->loop, &generation->limit);
    close(generation->channel);
    metrics_reset_gauges(generation->slot); /* nothing is in flight or open there any more */
    clear_heartbeats(generation->slot);
    generation->state = GENERATION_NONE;
}

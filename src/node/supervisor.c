#include "nodedot/node/supervisor.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/node/generation.h"
#include "nodedot/node/losses.h"
#include "nodedot/node/privileges.h"
#include "nodedot/node/retry.h"
#include "nodedot/node/setup.h"
#include "nodedot/node/status.h"
#include "nodedot/node/watch.h"
#include "nodedot/observe/log.h"
#include "nodedot/observe/process.h"
#include "nodedot/resolver/start.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Time limit for a generation to serve, and on a reload to become ready: connecting takes seconds at most. */
#define START_LIMIT_S 10.0

/* Added to the resolver's own time limit to stop, for a kernel that does not end the process. */
#define STOP_LIMIT_S (RESOLVER_STOP_MS / 1000.0 + 1.5)

/* Interval between checks of the heartbeats. */
#define TICK_MS 500

/* A tick that comes later than this means that the supervisor itself was stopped. Heartbeats may be old for the same
 * reason, so the resolver gets another period. */
#define TICK_LATE_MS 1000

/* State of the supervisor. An old generation that drains beside the current one has a state of its own (generation.h). */
enum state {
    DOWN,      /* no generation; a pause runs */
    STARTING,  /* a generation was forked to serve at once, and has not reported yet */
    UP,        /* the current generation serves */
    REPLACING, /* the next one is loading; the current one, if there is one, serves */
    STOPPING,  /* the program ends */
    STATES
};

enum event {
    REPORTED,     /* a generation has reported something new */
    CURRENT_LOST, /* the current generation has exited unexpectedly */
    NEXT_LOST,    /* the next generation has exited before it took over */
    OTHER_ENDED,  /* a generation that drained or was given up has exited */
    LIMIT,        /* the time limit of the state is over */
    RELOAD,       /* SIGHUP or a changed file */
    STOP,         /* SIGTERM or SIGINT */
    EVENTS
};

struct supervisor {
    const struct config_source *source;
    struct ev_loop *loop;
    enum state state;
    int exit_status;

    struct generation generations[STATUS_SLOTS]; /* by slot */
    struct generation *current, *next;           /* NULL: none */
    uint64_t number;                             /* of the last generation forked */

    struct setups setups;
    struct status_server status;
    struct watch watch;
    struct losses losses;
    struct process process;

    struct hash_key cookie_key; /* of all generations, so that cookies outlive them */

    bool reload_wanted; /* as soon as the state allows it */
    bool cache_suspect; /* a generation was lost, and none that has served since has emptied the cache */
    bool has_served;    /* at least once */

    uint64_t last_tick_ms;
    uint64_t patient_until_ms; /* no heartbeat is judged before */

    ev_signal term, interrupt, hangup;
    ev_child child;
    struct retry retry;
    ev_timer limit, tick, poll, again; /* again: another try of a reload that waits */
};

static void handle(struct supervisor *s, enum event event);
static void start_current(struct supervisor *s);

/* ---- small steps ---- */

static void enter(struct supervisor *s, enum state state, double limit_s)
{
    s->state = state;
    ev_timer_stop(s->loop, &s->limit);
    if (limit_s < 0)
        return;
    ev_now_update(s->loop); /* the loop's time is that of its last turn; a configuration may have been read since */
    ev_timer_set(&s->limit, limit_s, 0);
    ev_timer_start(s->loop, &s->limit);
}

#define NO_LIMIT (-1.0)

static bool is_current_ready(const struct supervisor *s)
{
    return s->current != NULL && s->current->state == GENERATION_READY;
}

/* Are generations stable? */
static bool is_alive(const struct supervisor *s)
{
    return !s->losses.hopeless && (s->current == NULL || !generation_is_stuck(s->current, clock_ms()));
}

/* Updates probe ports and status page. */
static void show(struct supervisor *s)
{
    struct status_page *page = s->status.page;
    bool ready = s->state != STOPPING && is_current_ready(s);

    probes_set(&s->setups.probes, is_alive(s), ready);
    atomic_store(&page->ready, ready);
    atomic_store(&page->resolver_pid, s->current == NULL ? 0 : (uint32_t)s->current->pid);
    if (s->current == NULL)
        return;
    atomic_store(&page->slot, (uint32_t)(s->current - s->generations));
    atomic_store(&page->generation, s->current->number);
}

/* A reload that had to wait. */
static void catch_up(struct supervisor *s)
{
    if (s->reload_wanted)
        handle(s, RELOAD);
}

static bool all_ended_but(const struct supervisor *s, const struct generation *one)
{
    for (size_t i = 0; i < STATUS_SLOTS; i++)
        if (&s->generations[i] != one && s->generations[i].state != GENERATION_NONE)
            return false;
    return true;
}

static struct generation *free_slot(struct supervisor *s)
{
    for (size_t i = 0; i < STATUS_SLOTS; i++)
        if (s->generations[i].state == GENERATION_NONE)
            return &s->generations[i];
    return NULL;
}

static void on_report(struct generation *generation)
{
    handle(generation->owner, REPORTED);
}

/* Forks a generation with setup. NULL: it failed, and the reason was logged. */
static struct generation *fork_generation(struct supervisor *s, const struct setup *setup, bool take_over)
{
    struct generation *generation = free_slot(s);
    struct resolver_start start = {.config = setup->config,
                                   .sockets = setup->sockets.listens,
                                   .metrics_sockets = setup->sockets.metrics,
                                   .generation = s->number + 1,
                                   .status = s->status.page,
                                   .cache = setup->cache.memory,
                                   .cookie_key = s->cookie_key,
                                   .clear_cache = take_over && s->cache_suspect,
                                   .take_over = take_over};

    if (generation == NULL)
        return NULL; /* not before the last one killed is reaped */
    start.slot = (unsigned)(generation - s->generations);
    generation->on_report = on_report;
    generation->owner = s;
    int result = generation_start(generation, s->loop, &start);
    if (result < 0) {
        log_error("cannot start a resolver", log_s("reason", strerror(-result)));
        return NULL;
    }
    s->number++;
    atomic_fetch_add(&s->status.page->generations_started, 1);
    return generation;
}

/* ---- a reload: try another setup ---- */

static enum config_result load_config(struct supervisor *s)
{
    enum config_result result = setups_load(&s->setups, s->source);

    watch_begin(&s->watch, s->setups.tried.config);
    return result;
}

/* The last octet of the text stays 0, so that a reader finds an end in any case. */
static void show_reload(struct supervisor *s, bool is_bad, bool waits, const char *reason)
{
    struct status_page *page = s->status.page;

    snprintf(page->reload_reason, sizeof page->reload_reason, "%s", reason);
    atomic_store(&page->reload_is_bad, is_bad);
    atomic_store(&page->reload_waits, waits);
}

static void note_failed_reload(struct supervisor *s, const char *reason)
{
    atomic_fetch_add(&s->status.page->reloads_failed, 1);
    show_reload(s, true, false, reason);
    log_error("reload failed", log_s("reason", reason));
}

/* Replaces an earlier appointment. */
static void reload_after(struct supervisor *s, uint32_t pause_ms)
{
    ev_now_update(s->loop);
    ev_timer_stop(s->loop, &s->again);
    ev_timer_set(&s->again, pause_ms / 1000.0, 0);
    ev_timer_start(s->loop, &s->again);
}

/* The reason may pass by itself, without a change of any file: the configuration is tried again. */
static void postpone_reload(struct supervisor *s, const char *reason)
{
    uint32_t pause_ms = retry_next_ms(&s->retry, random_u32());

    note_failed_reload(s, reason);
    show_reload(s, true, true, reason);
    log_warn("configuration waiting", log_n("retry-seconds", pause_ms / 1000));
    reload_after(s, pause_ms);
}

/* Without a current generation the next serves at once, so its sockets are needed now. */
static bool start_next(struct supervisor *s, char *error)
{
    bool take_over = s->current == NULL;

    if (take_over && !sockets_activate(&s->setups.tried.sockets, &s->setups.held.sockets, error))
        return false;
    s->next = fork_generation(s, &s->setups.tried, take_over);
    if (s->next == NULL)
        snprintf(error, SOCKETS_ERROR, "cannot start a resolver");
    return s->next != NULL;
}

/* UP, DOWN x RELOAD. Two generations are alive at most: while another one ends, the reload waits for it. */
static void begin_replacing(struct supervisor *s)
{
    char error[SOCKETS_ERROR];

    s->reload_wanted = !all_ended_but(s, s->current);
    if (s->reload_wanted)
        return;
    ev_timer_stop(s->loop, &s->again);
    log_info("reloading the configuration");
    switch (load_config(s)) {
    case CONFIG_OK:
        break;
    case CONFIG_INVALID: /* until it is changed */
        note_failed_reload(s, "the configuration is not valid");
        return;
    case CONFIG_UNREADABLE:
        postpone_reload(s, "a file of the configuration cannot be read");
        return;
    }
    if (!setups_prepare(&s->setups, error)) {
        postpone_reload(s, error);
        return;
    }
    if (!start_next(s, error)) {
        setups_abandon(&s->setups);
        postpone_reload(s, error);
        return;
    }
    enter(s, REPLACING, START_LIMIT_S);
}

static void adopt_tried(struct supervisor *s)
{
    setups_adopt(&s->setups);
    status_listen(&s->status, &s->setups.held.config->listens[0]);
    atomic_store(&s->status.page->reload_succeeded_at, clock_wall_seconds());
    show_reload(s, false, false, "");
    retry_reset(&s->retry);
}

/* Addresses that left the configuration stay for as long as a generation still answers on them. */
static void drop_old_addresses(struct supervisor *s)
{
    if (all_ended_but(s, s->current))
        addresses_drained(&s->setups.addresses);
}

static void let_next_take_over(struct supervisor *s)
{
    struct generation *old = s->current;

    adopt_tried(s);
    s->current = s->next;
    s->next = NULL;
    if (old != NULL) {
        generation_order(s->current, RESOLVER_TAKE_OVER);
        generation_order(old, RESOLVER_DRAIN);
    } else {
        s->cache_suspect = false;
    }
    drop_old_addresses(s);
    s->has_served = true;
    atomic_fetch_add(&s->status.page->reloads_succeeded, 1);
    log_info("reload done", log_n("generation", s->current->number));
    enter(s, UP, NO_LIMIT);
    show(s);
    catch_up(s);
}

static void abandon_next(struct supervisor *s, const char *reason)
{
    generation_kill(s->next, reason);
    s->next = NULL;
    setups_abandon(&s->setups);
}

static void give_up_next(struct supervisor *s, const char *reason)
{
    abandon_next(s, reason);
    postpone_reload(s, reason);
    if (s->current == NULL) {
        start_current(s);
        return;
    }
    enter(s, UP, NO_LIMIT);
    show(s);
    catch_up(s);
}

/* REPLACING x REPORTED. A generation never replaces a better one. */
static void consider_next(struct supervisor *s)
{
    char error[SOCKETS_ERROR];

    show(s);
    if (!generation_serves(s->next) || (is_current_ready(s) && s->next->state != GENERATION_READY))
        return;
    if (s->current != NULL && !sockets_activate(&s->setups.tried.sockets, &s->setups.held.sockets, error)) {
        give_up_next(s, error);
        return;
    }
    let_next_take_over(s);
}

/* REPLACING x NEXT_LOST */
static void next_lost(struct supervisor *s)
{
    give_up_next(s, "the new resolver ended before it took over");
}

/* REPLACING x LIMIT */
static void next_late(struct supervisor *s)
{
    give_up_next(s, generation_serves(s->next) ? "the new resolver is given up: it is not ready in time"
                                               : "the new resolver is given up: it does not serve in time");
}

/* ---- the current generation ---- */

static void pause_before_start(struct supervisor *s, uint64_t pause_ms)
{
    enter(s, DOWN, (double)pause_ms / 1000);
    show(s);
    catch_up(s);
}

static void start_current(struct supervisor *s)
{
    s->current = fork_generation(s, &s->setups.held, true);
    if (s->current == NULL) {
        pause_before_start(s, LOSSES_PAUSE_MAX_MS);
        return;
    }
    enter(s, STARTING, START_LIMIT_S);
    show(s);
}

/* STARTING x REPORTED */
static void current_reported(struct supervisor *s)
{
    show(s);
    if (!generation_serves(s->current))
        return;
    s->has_served = true;
    s->cache_suspect = false;
    enter(s, UP, NO_LIMIT);
    catch_up(s);
}

/* UP x REPORTED. A configuration that waited for its upstreams may be the better one now. */
static void current_changed(struct supervisor *s)
{
    show(s);
    if (ev_is_active(&s->again) && !is_current_ready(s))
        handle(s, RELOAD);
}

/* STARTING x LIMIT: it is started again when it was reaped. */
static void current_late(struct supervisor *s)
{
    generation_kill(s->current, "does not serve in time");
    enter(s, STARTING, NO_LIMIT);
}

/* STARTING, UP x CURRENT_LOST */
static void replace_lost(struct supervisor *s)
{
    s->current = NULL;
    s->cache_suspect = true;
    atomic_fetch_add(&s->status.page->generations_lost, 1);
    losses_add(&s->losses, clock_ms());
    if (s->losses.pause_ms == 0)
        start_current(s);
    else
        pause_before_start(s, s->losses.pause_ms);
}

/* REPLACING x CURRENT_LOST. The next one has opened a cache that is not to be trusted any more, so it goes too. */
static void replace_both(struct supervisor *s)
{
    abandon_next(s, "the resolver that it was to replace is lost");
    s->reload_wanted = true;
    replace_lost(s);
}

/* STARTING, REPLACING x RELOAD */
static void remember_reload(struct supervisor *s)
{
    s->reload_wanted = true;
}

/* ---- the end ---- */

/* STOPPING x every end of a generation */
static void finish_when_ended(struct supervisor *s)
{
    if (all_ended_but(s, NULL))
        ev_break(s->loop, EVBREAK_ALL);
}

/* any x STOP. Readiness first, so that nobody is sent here any more. */
static void begin_stop(struct supervisor *s)
{
    log_info("stopping");
    enter(s, STOPPING, STOP_LIMIT_S);
    show(s);
    for (size_t i = 0; i < STATUS_SLOTS; i++)
        generation_order(&s->generations[i], RESOLVER_STOP);
    finish_when_ended(s);
}

/* STOPPING x LIMIT: a process that even SIGKILL did not end is left to the kernel. */
static void leave(struct supervisor *s)
{
    ev_break(s->loop, EVBREAK_ALL);
}

/* ---- states and events ---- */

static void ignore(struct supervisor *s)
{
    (void)s;
}

typedef void action(struct supervisor *);

/* clang-format off */
static action *const actions[STATES][EVENTS] = {
    /* REPORTED          CURRENT_LOST       NEXT_LOST          OTHER_ENDED        LIMIT          RELOAD
     * STOP */
    [DOWN]      = { ignore,           ignore,            ignore,            catch_up,          start_current, begin_replacing, begin_stop },
    [STARTING]  = { current_reported, replace_lost,      ignore,            ignore,            current_late,  remember_reload, begin_stop },
    [UP]        = { current_changed,  replace_lost,      ignore,            catch_up,          ignore,        begin_replacing, begin_stop },
    [REPLACING] = { consider_next,    replace_both,      next_lost,         ignore,            next_late,     remember_reload, begin_stop },
    [STOPPING]  = { ignore,           finish_when_ended, finish_when_ended, finish_when_ended, leave,         ignore,          ignore },
};
/* clang-format on */

static void handle(struct supervisor *s, enum event event)
{
    actions[s->state][event](s);
}

/* ---- what happens ---- */

static struct generation *generation_of(struct supervisor *s, pid_t pid)
{
    for (size_t i = 0; i < STATUS_SLOTS; i++)
        if (s->generations[i].state != GENERATION_NONE && s->generations[i].pid == pid)
            return &s->generations[i];
    return NULL;
}

/* If the very first resolver cannot load, something is missing or wrong, and it has reported what; another one would
 * fail as well. */
static bool cannot_start(const struct supervisor *s, int wait_status)
{
    return s->state == STARTING && !s->has_served && WIFEXITED(wait_status) &&
           WEXITSTATUS(wait_status) == RESOLVER_EXIT_FAILED;
}

/* As process 1 of a container, the supervisor also reaps processes that are not its own. */
static void on_child(struct ev_loop *loop, ev_child *child, int revents)
{
    struct supervisor *s = child->data;
    struct generation *generation = generation_of(s, child->rpid);

    (void)revents;
    if (generation == NULL)
        return;
    generation_ended(generation, child->rstatus);
    drop_old_addresses(s);
    if (generation == s->current && cannot_start(s, child->rstatus)) {
        s->exit_status = 1;
        ev_break(loop, EVBREAK_ALL);
        return;
    }
    handle(s, generation == s->current ? CURRENT_LOST : generation == s->next ? NEXT_LOST : OTHER_ENDED);
}

static void on_stop(struct ev_loop *loop, ev_signal *signal, int revents)
{
    (void)loop, (void)revents;
    handle(signal->data, STOP);
}

static void on_hangup(struct ev_loop *loop, ev_signal *signal, int revents)
{
    struct supervisor *s = signal->data;

    (void)loop, (void)revents;
    retry_reset(&s->retry);
    handle(s, RELOAD);
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int revents)
{
    (void)loop, (void)revents;
    handle(timer->data, RELOAD);
}

/* One ConfigMap changes on all nodes of a cluster at the same moment. */
static void spread_reload(struct supervisor *s)
{
    uint32_t spread_ms = s->setups.held.config->reload_spread * 1000;
    uint32_t pause_ms = spread_ms == 0 ? 0 : random_below(spread_ms);

    if (pause_ms == 0) {
        handle(s, RELOAD);
        return;
    }
    log_info("the configuration has changed", log_n("reload-seconds", pause_ms / 1000));
    reload_after(s, pause_ms);
}

static void on_poll(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct supervisor *s = timer->data;

    (void)loop, (void)revents;
    if (!watch_poll(&s->watch))
        return;
    retry_reset(&s->retry);
    spread_reload(s);
}

static void on_limit(struct ev_loop *loop, ev_timer *timer, int revents)
{
    (void)loop, (void)revents;
    handle(timer->data, LIMIT);
}

/* The end of a killed generation is an event like any other, when it is reaped. */
static void check_heartbeats(struct supervisor *s, uint64_t now_ms)
{
    if (now_ms < s->patient_until_ms)
        return;
    for (size_t i = 0; i < STATUS_SLOTS; i++)
        if (generation_hangs(&s->generations[i], now_ms))
            generation_kill(&s->generations[i], "hangs: its heartbeat has stopped");
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct supervisor *s = timer->data;
    uint64_t now_ms = clock_ms();

    (void)loop, (void)revents;
    if (now_ms - s->last_tick_ms > TICK_LATE_MS)
        s->patient_until_ms = now_ms + HEARTBEAT_LIMIT_MS;
    s->last_tick_ms = now_ms;
    check_heartbeats(s, now_ms);
    addresses_tick(&s->setups.addresses, now_ms);
    losses_recover(&s->losses, s->current, now_ms);
    process_write(&s->process, &s->status.page->process);
    show(s);
}

/* ---- start and end ---- */

static void watch_signals(struct supervisor *s)
{
    ev_signal_init(&s->term, on_stop, SIGTERM);
    ev_signal_init(&s->interrupt, on_stop, SIGINT);
    ev_signal_init(&s->hangup, on_hangup, SIGHUP);
    ev_child_init(&s->child, on_child, 0, 0);
    s->term.data = s->interrupt.data = s->hangup.data = s->child.data = s;
    ev_signal_start(s->loop, &s->term);
    ev_signal_start(s->loop, &s->interrupt);
    ev_signal_start(s->loop, &s->hangup);
    ev_child_start(s->loop, &s->child);
    signal(SIGPIPE, SIG_IGN); /* the reader of the log may exit */
}

static void start_timers(struct supervisor *s)
{
    ev_init(&s->limit, on_limit);
    ev_init(&s->again, on_again);
    ev_timer_init(&s->tick, on_tick, TICK_MS / 1000.0, TICK_MS / 1000.0);
    ev_timer_init(&s->poll, on_poll, WATCH_INTERVAL_S, WATCH_INTERVAL_S);
    s->limit.data = s->tick.data = s->poll.data = s->again.data = s;
    ev_timer_start(s->loop, &s->tick);
    ev_timer_start(s->loop, &s->poll);
    s->last_tick_ms = clock_ms();
}

/* The first setup is made like any other: as a change from an empty one. */
static bool set_up(struct supervisor *s, char *error)
{
    int result = status_create(&s->status, s->loop);

    if (result < 0) {
        snprintf(error, SOCKETS_ERROR, "cannot make the status page: %s", strerror(-result));
        return false;
    }
    if (!setups_prepare(&s->setups, error))
        return false;
    if (!sockets_activate(&s->setups.tried.sockets, &s->setups.held.sockets, error)) {
        setups_abandon(&s->setups);
        return false;
    }
    adopt_tried(s);
    return true;
}

static void tear_down(struct supervisor *s)
{
    setups_close(&s->setups);
    process_close(&s->process);
    status_destroy(&s->status);
    ev_loop_destroy(s->loop);
}

static int run(struct supervisor *s)
{
    char error[SOCKETS_ERROR];

    if (!set_up(s, error)) {
        log_error("cannot start", log_s("reason", error));
        return 1;
    }
    int result = privileges_settle(s->setups.held.config);
    if (result < 0) {
        log_error("cannot start", log_s("reason", strerror(-result)));
        return 1;
    }
    sockets_log_buffers(&s->setups.held.sockets);
    watch_begin(&s->watch, s->setups.held.config);
    start_timers(s);
    process_write(&s->process, &s->status.page->process);
    start_current(s);
    ev_run(s->loop, 0);
    if (s->next != NULL)
        abandon_next(s, "stopped");
    log_info("stopped", log_n("exit-status", s->exit_status));
    return s->exit_status;
}

int supervisor_run(const struct config_source *source, struct config *config)
{
    static struct config second; /* large; a reload fills it */
    static struct supervisor s;

    memset(&s, 0, sizeof s);
    s.source = source;
    s.setups.tried.config = config;
    s.setups.held.config = &second;
    hash_key_random(&s.cookie_key);
    log_configure(config->log_level, config->log_format);
    log_set_node(config->node_name);
    s.loop = ev_default_loop(EVFLAG_NOENV);
    if (s.loop == NULL) {
        log_error("cannot start", log_s("reason", "no event loop"));
        return 1;
    }
    process_open(&s.process, &(struct process_status){0});
    watch_signals(&s);
    addresses_init(&s.setups.addresses, s.loop);
    probes_init(&s.setups.probes, s.loop);
    int status = run(&s);
    tear_down(&s);
    return status;
}

#include "nodedot/forward/revalidate.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/forward/handshake.h"
#include "nodedot/forward/socket.h"
#include "nodedot/observe/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* TCP and TLS together; an upstream that needs longer is of no use for queries either. */
#define CHECK_TIMEOUT_S 5.
/* After a mismatch or a failure: soon enough that a mended certificate is back in service while somebody watches, rare
 * enough not to trouble a server that refuses. */
#define CHECK_AGAIN_S 5.
/* The same where no address of the group is usable: service is to be back within 2 s. */
#define CHECK_URGENT_S 1.5
/* Each refusal in a row doubles the pause, up to this. A verdict on a hostile chain costs up to 20 ms of CPU time, and who
 * is on the path can show one for every check. */
#define CHECK_REFUSED_MAX_S 30.
/* The first look at what the workers' own connections proved. */
#define CHECK_FIRST_S 1.

struct check {
    struct revalidator *owner;
    struct reachability reachability;
    struct tls_trust *trust;    /* of its upstream, shared by its checks */
    struct handshake handshake; /* fd -1: no check under way */
    unsigned refusals;          /* in a row */
    ev_io io;
    ev_timer timer; /* due time, or the limit of the check under way */
};

struct revalidator {
    const struct config *config;
    struct ev_loop *loop;
    struct address_status *statuses;
    const struct upstream_status *upstreams;
    struct metrics *metrics;
    struct check checks[STATUS_ADDRESSES];
    size_t check_count;
};

static void start_timer(struct check *check, double seconds)
{
    ev_timer_stop(check->owner->loop, &check->timer);
    ev_timer_set(&check->timer, seconds, 0.);
    ev_timer_start(check->owner->loop, &check->timer);
}

static bool group_usable(const struct revalidator *revalidator, size_t index, uint64_t now)
{
    const struct config *config = revalidator->config;
    const struct address_status *rows = revalidator->statuses;

    for (size_t i = 0; i < index; i++)
        rows += config->upstreams[i].address_count;
    for (size_t i = 0; i < config->upstreams[index].address_count; i++) {
        if (reachability_row_usable(&config->upstreams[index], rows + i, now))
            return true;
    }
    return false;
}

/* The pause before an address that is not valid is looked at again, a quarter of it jitter. */
static double seconds_until_again(const struct check *check)
{
    const struct revalidator *owner = check->owner;
    size_t group = (size_t)(check->reachability.config - owner->config->upstreams);
    double pause = group_usable(owner, group, clock_ms()) ? CHECK_AGAIN_S : CHECK_URGENT_S;

    for (unsigned i = 1; i < check->refusals && pause < CHECK_REFUSED_MAX_S; i++)
        pause *= 2;
    pause = pause < CHECK_REFUSED_MAX_S ? pause : CHECK_REFUSED_MAX_S;
    return pause * (0.75 + random_below(256) / 1024.);
}

/* When the address is due: its period after the last proof, whoever made it. */
static double seconds_until_due(const struct check *check)
{
    uint32_t period = check->reachability.config->revalidate;
    uint64_t proved_ms = atomic_load(&check->reachability.status->validated_ms);
    uint64_t age_s = (clock_ms() - proved_ms) / 1000;
    uint32_t jitter = random_below(period / 10 + 1);

    if (proved_ms == 0 || reachability_state(&check->reachability) != IDENTITY_VALID)
        return seconds_until_again(check);
    return age_s + jitter < period ? (double)(period - jitter - age_s) : 0.;
}

static void finish(struct check *check)
{
    ev_io_stop(check->owner->loop, &check->io);
    handshake_end(&check->handshake);
}

static void finish_unreachable(struct check *check, const char *reason)
{
    atomic_fetch_add_explicit(&check->reachability.status->connect_failures, 1, memory_order_relaxed);
    finish(check);
    if (reachability_others(&check->reachability) != 0) /* the upstream may allow no more connections than there are */
        reachability_ask_renewal(&check->reachability);
    else
        reachability_unreachable(&check->reachability, reason);
    start_timer(check, seconds_until_again(check));
}

/* This node had no socket for it, which says nothing of the address. */
static void finish_lacking(struct check *check)
{
    atomic_fetch_add_explicit(&check->reachability.status->local, 1, memory_order_relaxed);
    start_timer(check, seconds_until_again(check));
}

static void finish_proof(struct check *check)
{
    struct revalidator *owner = check->owner;

    metric_inc(owner->metrics, revalidations_total);
    metric_inc(owner->metrics, handshakes_full_total);
    atomic_fetch_add_explicit(&check->reachability.status->handshakes_full, 1, memory_order_relaxed);
    if (reachability_judge(&check->reachability, check->trust, check->handshake.tls, owner->metrics))
        check->refusals = 0;
    else
        check->refusals++;
    finish(check);
    start_timer(check, seconds_until_due(check));
}

static void watch(struct check *check, int events)
{
    ev_io_stop(check->owner->loop, &check->io);
    ev_io_set(&check->io, check->handshake.fd, events);
    ev_io_start(check->owner->loop, &check->io);
}

static void on_io(struct ev_loop *loop, ev_io *io, int revents)
{
    struct check *check = io->data;

    (void)loop, (void)revents;
    switch (handshake_continue(&check->handshake)) {
    case TLS_DONE:
        finish_proof(check);
        break;
    case TLS_WANT_READ:
        watch(check, EV_READ);
        break;
    case TLS_WANT_WRITE:
        watch(check, EV_READ | EV_WRITE);
        break;
    default:
        finish_unreachable(check, check->handshake.error);
    }
}

static void begin(struct check *check)
{
    atomic_fetch_add_explicit(&check->reachability.status->connects, 1, memory_order_relaxed);
    if (!handshake_begin(&check->handshake, check->trust, &check->reachability.status->endpoint,
                         check->reachability.config->server_name)) {
        if (socket_error_is_local(errno))
            finish_lacking(check);
        else
            finish_unreachable(check, check->handshake.error);
        return;
    }
    watch(check, EV_WRITE);
    start_timer(check, CHECK_TIMEOUT_S);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct check *check = timer->data;
    double due;

    (void)loop, (void)revents;
    if (check->handshake.fd >= 0) {
        finish_unreachable(check, "revalidation timed out");
        return;
    }
    due = reachability_state(&check->reachability) == IDENTITY_VALID ? seconds_until_due(check) : 0.;
    if (due > 0.)
        start_timer(check, due); /* a worker's own full handshake proved it meanwhile */
    else
        begin(check);
}

static void add_check(struct revalidator *revalidator, const struct upstream_config *config, struct tls_trust *trust,
                      struct address_status *status, void (*changed)(void *), void *context)
{
    struct check *check = &revalidator->checks[revalidator->check_count++];

    check->owner = revalidator;
    check->reachability = (struct reachability){.config = config,
                                                .status = status,
                                                .thread = revalidator->config->workers, /* none of theirs */
                                                .changed = changed,
                                                .context = context};
    check->trust = trust;
    check->handshake.fd = -1;
    ev_init(&check->io, on_io);
    check->io.data = check;
    ev_init(&check->timer, on_timer);
    check->timer.data = check;
}

struct revalidator *revalidator_create(const struct config *config, struct ev_loop *loop, const struct trusts *trusts,
                                       struct address_status *statuses, const struct upstream_status *upstreams,
                                       struct metrics *metrics, void (*changed)(void *), void *context)
{
    struct revalidator *revalidator = calloc(1, sizeof(*revalidator));

    if (revalidator == NULL)
        return NULL;
    revalidator->config = config;
    revalidator->loop = loop;
    revalidator->statuses = statuses;
    revalidator->upstreams = upstreams;
    revalidator->metrics = metrics;
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct upstream_config *upstream = &config->upstreams[i];

        for (size_t j = 0; j < upstream->address_count && upstream->transport == TRANSPORT_DOT; j++)
            add_check(revalidator, upstream, trusts->of[i], statuses + j, changed, context);
        statuses += upstream->address_count;
    }
    return revalidator;
}

void revalidator_start(struct revalidator *revalidator)
{
    for (size_t i = 0; i < revalidator->check_count; i++)
        start_timer(&revalidator->checks[i], CHECK_FIRST_S);
    for (size_t i = 0; i < revalidator->config->upstream_count; i++)
        if (identity_lacks_backup(&revalidator->config->upstreams[i]))
            log_warn(IDENTITY_LACKS_BACKUP, log_s("upstream", revalidator->config->upstreams[i].name));
}

void revalidator_destroy(struct revalidator *revalidator)
{
    for (size_t i = 0; i < revalidator->check_count; i++) {
        finish(&revalidator->checks[i]);
        ev_timer_stop(revalidator->loop, &revalidator->checks[i].timer);
    }
    free(revalidator);
}

void revalidator_recheck(struct revalidator *revalidator)
{
    for (size_t i = 0; i < revalidator->check_count; i++) {
        struct check *check = &revalidator->checks[i];
        enum identity_state state = reachability_state(&check->reachability);
        double again = seconds_until_again(check);

        if (check->handshake.fd < 0 && (identity_state_refused(state) || state == IDENTITY_UNREACHABLE) &&
            ev_timer_remaining(revalidator->loop, &check->timer) > again)
            start_timer(check, again);
    }
}

const struct zone_config *revalidator_lacks(const struct revalidator *revalidator)
{
    const struct config *config = revalidator->config;
    uint64_t now = clock_ms();

    for (size_t i = 0; i < config->zone_count; i++) {
        size_t group = config->zones[i].upstream;

        if (!group_usable(revalidator, group, now) &&
            (atomic_load(&revalidator->upstreams[group].fallback) == 0 ||
             !group_usable(revalidator, config->upstreams[group].fallback, now)))
            return &config->zones[i];
    }
    return NULL;
}

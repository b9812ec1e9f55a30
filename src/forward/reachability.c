#include "nodedot/forward/reachability.h"

#include "nodedot/base/clock.h"
#include "nodedot/observe/log.h"

#include <stdatomic.h>
#include <time.h>

/* Added to the revalidation period before a proof counts as too old: the jitter, a check's own time and one repetition
 * must fit, else readiness would flap at each revalidation. */
#define REACHABILITY_GRACE_MS 15000
/* A doubt is logged at most this often for an address, although every revalidation finds it: a few lines a day. */
#define REACHABILITY_WARN_MS (6 * 3600 * 1000)

/* An answer to another thread counts for this long: the maximum duration of a probe. */
#define REACHABILITY_HEARD_MS 1000

/* Minimum interval between log lines about the state of one address. */
#define REACHABILITY_LOG_MS 1000

static struct log_limit stall_limit;

_Static_assert(STATUS_WARNINGS == IDENTITY_DOUBTS, "an address remembers when it was warned of each doubt");

enum identity_state reachability_state(const struct reachability *reachability)
{
    return (enum identity_state)atomic_load_explicit(&reachability->status->state, memory_order_acquire);
}

uint32_t reachability_epoch(const struct reachability *reachability)
{
    return atomic_load_explicit(&reachability->status->epoch, memory_order_acquire);
}

static void log_change(const struct reachability *reachability, enum log_level level, const char *message,
                       const char *reason)
{
    char address[ENDPOINT_TEXT];

    log_at(level, message, log_s("upstream", reachability->config->name),
           log_s("address", endpoint_format(&reachability->status->endpoint, address)), log_s("reason", reason));
}

/* The same for a change of state, which the peer can cause as often as it likes. */
static void log_state(const struct reachability *reachability, enum log_level level, enum identity_state state,
                      const char *message, const char *reason)
{
    uint64_t now = clock_ms();
    uint64_t before = atomic_exchange(&reachability->status->logged_ms[state], now);

    if (before == 0 || now - before >= REACHABILITY_LOG_MS)
        log_change(reachability, level, message, reason);
}

static void entered(const struct reachability *reachability, uint32_t before, enum identity_state state)
{
    struct address_status *status = reachability->status;

    atomic_store(&status->since_ms, clock_ms());
    if (identity_state_refused((enum identity_state)before) || identity_state_refused(state))
        atomic_fetch_add(&status->epoch, 1);
    reachability->changed(reachability->context);
}

/* A judgement on a certificate overrides whatever was known before. True: the state is new. */
static bool enter(const struct reachability *reachability, enum identity_state state)
{
    uint32_t before = atomic_exchange(&reachability->status->state, (uint32_t)state);

    if (before != (uint32_t)state)
        entered(reachability, before, state);
    return before != (uint32_t)state;
}

/* Other events must not override a judgement that another thread makes at this moment. True: the state is new. */
static bool enter_from(const struct reachability *reachability, enum identity_state from, enum identity_state state)
{
    uint32_t before = (uint32_t)from;

    if (from == state || !atomic_compare_exchange_strong(&reachability->status->state, &before, (uint32_t)state))
        return false;
    entered(reachability, before, state);
    return true;
}

/* If threads find a doubt at the same time, the one that sets the time logs it. */
static bool warning_is_due(const struct reachability *reachability, enum identity_doubt doubt)
{
    _Atomic uint64_t *warned_ms = &reachability->status->warned_ms[doubt];
    uint64_t now = clock_ms();
    uint64_t before = atomic_load(warned_ms);

    return (before == 0 || now - before >= REACHABILITY_WARN_MS) &&
           atomic_compare_exchange_strong(warned_ms, &before, now);
}

static void warn_of_doubts(const struct reachability *reachability, const struct identity_result *result)
{
    int64_t now = clock_wall_seconds();
    uint32_t doubts = identity_doubts(reachability->config, result, now);
    char proof[IDENTITY_PROOF], address[ENDPOINT_TEXT];

    for (unsigned i = 0; i < IDENTITY_DOUBTS; i++) {
        if ((doubts >> i & 1) == 0 || !warning_is_due(reachability, i))
            continue;
        log_at(i == DOUBT_ENDS_AT_ONCE ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, identity_doubt_text(i),
               log_s("upstream", reachability->config->name),
               log_s("address", endpoint_format(&reachability->status->endpoint, address)),
               log_s("proof", identity_proof(reachability->config, result, proof)),
               log_n("days_left", (result->not_after - now) / (24 * 3600)));
    }
}

static void record_proof(const struct reachability *reachability, const struct identity_result *result)
{
    struct address_status *status = reachability->status;

    atomic_store(&status->validated_ms, clock_ms());
    atomic_store(&status->not_after, result->not_after);
    atomic_store(&status->pins_matched, result->pins_matched);
    if (enter(reachability, IDENTITY_VALID))
        log_state(reachability, LOG_LEVEL_INFO, IDENTITY_VALID, "upstream address proved its identity",
                  "full handshake");
    warn_of_doubts(reachability, result);
}

bool reachability_judge(const struct reachability *reachability, struct tls_trust *trust, struct tls *tls,
                        struct metrics *metrics)
{
    struct identity_result result;

    identity_check(reachability->config, &reachability->status->endpoint, trust, tls, clock_wall_seconds(), &result);
    if (!result.early && (!result.proved || result.pin_missed)) {
        metric_inc(metrics, identity_mismatches_total);
        atomic_fetch_add_explicit(&reachability->status->mismatches, 1, memory_order_relaxed);
    }
    if (result.proved) {
        record_proof(reachability, &result);
        return true;
    }
    if (result.early) {
        if (enter(reachability, IDENTITY_CLOCK))
            log_state(reachability, LOG_LEVEL_ERROR, IDENTITY_CLOCK,
                      "upstream address removed from service: this node's clock is before the dates of its certificate",
                      result.reason);
    } else if (enter(reachability, IDENTITY_MISMATCH)) {
        log_state(reachability, LOG_LEVEL_ERROR, IDENTITY_MISMATCH,
                  "upstream address removed from service: identity mismatch", result.reason);
    }
    return false;
}

void reachability_answered(const struct reachability *reachability)
{
    enum identity_state state = reachability_state(reachability);

    if (state == IDENTITY_VALID || identity_state_refused(state))
        return;
    if (reachability->config->transport == TRANSPORT_DOT && atomic_load(&reachability->status->validated_ms) == 0)
        return; /* only a full proof makes a DoT address valid for the first time */
    if (enter_from(reachability, state, IDENTITY_VALID))
        log_state(reachability, LOG_LEVEL_INFO, IDENTITY_VALID, "upstream address answers", "answer");
}

void reachability_unreachable(const struct reachability *reachability, const char *reason)
{
    enum identity_state state = reachability_state(reachability);

    if (!identity_state_refused(state) && enter_from(reachability, state, IDENTITY_UNREACHABLE))
        log_state(reachability, LOG_LEVEL_WARN, IDENTITY_UNREACHABLE, "upstream address is unreachable", reason);
}

uint32_t reachability_others(const struct reachability *reachability)
{
    return atomic_load_explicit(&reachability->status->holders, memory_order_relaxed) &
           ~(UINT32_C(1) << reachability->thread);
}

void reachability_hold(const struct reachability *reachability, bool held)
{
    uint32_t bit = UINT32_C(1) << reachability->thread;

    if (held)
        atomic_fetch_or_explicit(&reachability->status->holders, bit, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&reachability->status->holders, ~bit, memory_order_relaxed);
}

void reachability_note_answer(const struct reachability *reachability, uint64_t now_ms)
{
    struct address_status *status = reachability->status;

    if (atomic_load_explicit(&status->answered_ms, memory_order_relaxed) != now_ms)
        atomic_store_explicit(&status->answered_ms, now_ms, memory_order_relaxed);
    if (atomic_load_explicit(&status->silent, memory_order_relaxed) != 0)
        atomic_store_explicit(&status->silent, 0, memory_order_relaxed);
    if (reachability_state(reachability) != IDENTITY_VALID)
        reachability_answered(reachability);
}

bool reachability_heard_by_others(const struct reachability *reachability, uint64_t answered_ms, uint64_t now_ms)
{
    uint64_t heard_ms = atomic_load_explicit(&reachability->status->answered_ms, memory_order_relaxed);

    return heard_ms > answered_ms && now_ms < heard_ms + REACHABILITY_HEARD_MS;
}

void reachability_doubt(const struct reachability *reachability, uint64_t now_ms)
{
    uint64_t before = atomic_load_explicit(&reachability->status->doubted_ms, memory_order_relaxed);

    if (before != 0 && now_ms - before < REACHABILITY_HEARD_MS)
        return;
    atomic_store_explicit(&reachability->status->doubted_ms, now_ms, memory_order_relaxed);
    reachability->changed(reachability->context);
}

bool reachability_is_doubted(const struct reachability *reachability, uint64_t answered_ms)
{
    return atomic_load_explicit(&reachability->status->doubted_ms, memory_order_relaxed) > answered_ms;
}

void reachability_ask_renewal(const struct reachability *reachability)
{
    atomic_store(&reachability->status->renew_ms, clock_ms());
    reachability->changed(reachability->context);
}

bool reachability_must_renew(const struct reachability *reachability)
{
    const struct address_status *status = reachability->status;
    uint32_t holders = atomic_load_explicit(&status->holders, memory_order_relaxed);
    uint32_t first = holders & (~holders + 1);

    return first == UINT32_C(1) << reachability->thread &&
           atomic_load(&status->renew_ms) > atomic_load(&status->validated_ms);
}

void reachability_silent(const struct reachability *reachability)
{
    atomic_store_explicit(&reachability->status->silent, 1, memory_order_relaxed);
}

void reachability_stalled(const struct reachability *reachability)
{
    uint64_t held_back;

    if (log_limit_pass(&stall_limit, REACHABILITY_LOG_MS, &held_back))
        log_change(reachability, LOG_LEVEL_WARN, "upstream address stalled: not used until it answers",
                   "others answer");
}

bool reachability_row_usable(const struct upstream_config *config, const struct address_status *row, uint64_t now_ms)
{
    uint64_t limit = (uint64_t)config->revalidate * 1000 + REACHABILITY_GRACE_MS;

    if (atomic_load_explicit(&row->state, memory_order_acquire) != IDENTITY_VALID)
        return false;
    if (config->transport == TRANSPORT_PLAIN)
        return true;
    /* The proof may be newer than the caller's clock. */
    return now_ms <= atomic_load(&row->validated_ms) + limit;
}

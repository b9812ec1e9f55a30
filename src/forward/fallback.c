#include "nodedot/forward/fallback.h"

#include "nodedot/forward/reachability.h"
#include "nodedot/observe/log.h"

#include <string.h>

static const struct address_status *rows_of(const struct fallback_watch *watch, size_t group)
{
    const struct address_status *rows = watch->addresses;

    for (size_t i = 0; i < group; i++)
        rows += watch->config->upstreams[i].address_count;
    return rows;
}

/* Does an address of the group answer? */
static bool answers(const struct fallback_watch *watch, size_t group, uint64_t now_ms)
{
    const struct upstream_config *config = &watch->config->upstreams[group];
    const struct address_status *rows = rows_of(watch, group);

    for (size_t i = 0; i < config->address_count; i++) {
        if (reachability_row_usable(config, &rows[i], now_ms) && atomic_load(&rows[i].silent) == 0)
            return true;
    }
    return false;
}

/* Is there an address that nothing is known against? */
static bool may_answer(const struct fallback_watch *watch, size_t group, uint64_t now_ms)
{
    const struct address_status *rows = rows_of(watch, group);

    for (size_t i = 0; i < watch->config->upstreams[group].address_count; i++) {
        if (atomic_load(&rows[i].state) == IDENTITY_UNVERIFIED)
            return true;
    }
    return answers(watch, group, now_ms);
}

bool fallback_permitted(const struct upstream_config *group, const struct upstream_config *fallback, bool mismatch)
{
    return fallback->transport != TRANSPORT_PLAIN || group->fallback_on_mismatch || !mismatch;
}

bool fallback_allowed(const struct upstream_config *group, const struct upstream_config *fallback,
                      const struct address_status *rows)
{
    bool mismatch = false;

    for (size_t i = 0; i < group->address_count && !mismatch; i++)
        mismatch = identity_state_refused((enum identity_state)atomic_load(&rows[i].state));
    return fallback_permitted(group, fallback, mismatch);
}

static void set(struct fallback_watch *watch, size_t group, bool serves, uint64_t now_ms)
{
    struct upstream_status *status = &watch->upstreams[group];

    atomic_store(&status->fallback_since_ms, now_ms);
    atomic_store_explicit(&status->fallback, serves, memory_order_release);
    watch->since_ms[group] = 0;
    watch->withheld[group] = false;
}

static void say(const struct fallback_watch *watch, size_t group, const char *message, const char *reason)
{
    const struct upstream_config *config = &watch->config->upstreams[group];

    log_warn(message, log_s("upstream", config->name),
             log_s("fallback", watch->config->upstreams[config->fallback].name), log_s("reason", reason));
}

/* The group has been without an answer for long enough. True: the fallback serves from now on. */
static bool begin(struct fallback_watch *watch, size_t group, uint64_t now_ms)
{
    const struct upstream_config *config = &watch->config->upstreams[group];
    const struct upstream_config *fallback = &watch->config->upstreams[config->fallback];

    if (!fallback_allowed(config, fallback, rows_of(watch, group))) {
        if (!watch->withheld[group])
            say(watch, group, "plain fallback is not used", "identity mismatch");
        watch->withheld[group] = true;
        return false;
    }
    if (!may_answer(watch, config->fallback, now_ms))
        return false;
    set(watch, group, true, now_ms);
    say(watch, group,
        fallback->transport == TRANSPORT_PLAIN ? "fallback in use: queries leave this node UNENCRYPTED"
                                               : "fallback in use",
        "no address of the upstream answers");
    return true;
}

static bool end(struct fallback_watch *watch, size_t group, uint64_t now_ms, const char *reason)
{
    set(watch, group, false, now_ms);
    say(watch, group, "fallback no longer used", reason);
    return true;
}

static bool update_group(struct fallback_watch *watch, size_t group, uint64_t now_ms)
{
    const struct upstream_config *config = &watch->config->upstreams[group];
    const struct upstream_config *fallback = &watch->config->upstreams[config->fallback];
    bool serves = atomic_load(&watch->upstreams[group].fallback) != 0;
    bool answered = answers(watch, group, now_ms);

    if (serves && !fallback_allowed(config, fallback, rows_of(watch, group)))
        return end(watch, group, now_ms, "identity mismatch");
    if (serves != answered) {
        watch->since_ms[group] = 0;
        watch->withheld[group] = false;
        return false;
    }
    if (watch->since_ms[group] == 0)
        watch->since_ms[group] = now_ms;
    if (!serves)
        return now_ms - watch->since_ms[group] >= FALLBACK_BEGIN_MS && begin(watch, group, now_ms);
    if (now_ms - watch->since_ms[group] >= FALLBACK_END_MS)
        return end(watch, group, now_ms, "the upstream answers again");
    if (!answers(watch, config->fallback, now_ms))
        return end(watch, group, now_ms, "the fallback does not answer, the upstream does");
    return false;
}

void fallback_init(struct fallback_watch *watch, const struct config *config, const struct address_status *addresses,
                   struct upstream_status *upstreams)
{
    memset(watch, 0, sizeof(*watch));
    watch->config = config;
    watch->addresses = addresses;
    watch->upstreams = upstreams;
}

bool fallback_update(struct fallback_watch *watch, uint64_t now_ms)
{
    bool changed = false;

    for (size_t i = 0; i < watch->config->upstream_count; i++) {
        if (watch->config->upstreams[i].fallback != CONFIG_NO_UPSTREAM)
            changed |= update_group(watch, i, now_ms);
    }
    return changed;
}

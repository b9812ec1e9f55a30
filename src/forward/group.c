#include "nodedot/forward/group.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/forward/fallback.h"
#include "nodedot/forward/selection.h"
#include "nodedot/proof/identity.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A group that has been unusable for this long fails queries at once: a restart of the upstream takes less, an outage
 * more. */
#define GROUP_PATIENCE_MS 2000
/* One query in this many goes to another good address than the best, so that their round-trip times stay known. */
#define EXPLORE_ONE_IN 64

/* Penalties, added up: an address with one is chosen only after all addresses without it. */
enum {
    RANK_NO_STREAM = 1, /* it has no connection yet */
    RANK_FAILED = 2,
    RANK_ASKED = 4, /* it has the question already */
    RANK_UNABLE = 8 /* it said that it cannot answer it */
};

_Static_assert(CONFIG_ADDRESSES <= 32, "each address has a bit in struct group_question");

static bool is_dead(const struct group *group)
{
    for (size_t i = 0; i < group->address_count; i++) {
        if (!address_is_dead(&group->addresses[i], GROUP_PATIENCE_MS))
            return false;
    }
    return true;
}

bool group_awaits_fallback(const struct group *group)
{
    const struct group *fallback = group->fallback;

    return fallback != NULL && !atomic_load_explicit(&group->status->fallback, memory_order_acquire) &&
           fallback_allowed(group->config, fallback->config, group->addresses[0].peer.reachability.status) &&
           !is_dead(fallback);
}

bool group_is_hopeless(const struct group *group)
{
    return is_dead(group) && !group_awaits_fallback(group);
}

bool group_is_refused(const struct group *group)
{
    bool mismatch = false;

    for (size_t i = 0; i < group->address_count; i++) {
        if (address_is_good(&group->addresses[i]))
            return false;
        if (identity_state_refused(reachability_state(&group->addresses[i].peer.reachability)))
            mismatch = true;
    }
    return mismatch;
}

uint32_t group_usual_us(const struct group *group)
{
    uint32_t usual = UINT32_MAX;

    for (size_t i = 0; i < group->address_count; i++) {
        const struct address *address = &group->addresses[i];
        uint32_t us = latency_usual_us(&address->latency);

        if (address_is_good(address) && us < usual)
            usual = us;
    }
    return usual != UINT32_MAX ? usual : LATENCY_UNKNOWN_US;
}

struct group *group_in_use(struct group *group)
{
    if (group->fallback != NULL && atomic_load_explicit(&group->status->fallback, memory_order_acquire))
        return group->fallback;
    return group;
}

/* An address failed, answered or changed its identity: notes when the group falls silent, and when it answers again. */
static void on_changed(struct address_peers *peers)
{
    struct group *group = (struct group *)((char *)peers - offsetof(struct group, peers));
    bool silent = true;

    for (size_t i = 0; i < group->address_count && silent; i++)
        silent = !address_is_good(&group->addresses[i]);
    if (peers->silent && !silent)
        group->recovered_s = clock_seconds();
    peers->silent = silent;
}

uint32_t group_recovered_s(const struct group *group)
{
    uint64_t changed_s = atomic_load_explicit(&group->status->fallback_since_ms, memory_order_relaxed) / 1000;

    return group->fallback != NULL && changed_s > group->recovered_s ? (uint32_t)changed_s : group->recovered_s;
}

/* An operator's order is kept even where that means to open a connection first, once the address has proved itself. */
static bool needs_stream(const struct address *address)
{
    return address->health.streams && address_stream(address) == NULL &&
           (address->config->policy == POLICY_FASTEST ||
            reachability_state(&address->peer.reachability) != IDENTITY_VALID);
}

static struct candidate candidate_of(const struct address *address, bool asked, bool unable)
{
    struct candidate candidate = {.expected_us = latency_expected_us(&address->latency),
                                  .outstanding = address_outstanding(address)};

    if (identity_state_refused(reachability_state(&address->peer.reachability))) {
        candidate.rank = SELECTION_NEVER;
        return candidate;
    }
    if (asked)
        candidate.rank += RANK_ASKED;
    if (unable)
        candidate.rank += RANK_UNABLE;
    if (!address_is_good(address))
        candidate.rank += RANK_FAILED;
    if (needs_stream(address))
        candidate.rank += RANK_NO_STREAM;
    return candidate;
}

/* A random address other than the best, if it works. One that was not needed for long has no connection: it gets one, and
 * is asked the next time. */
static struct address *explore(struct group *group, const struct candidate *candidates, size_t best)
{
    size_t which = (best + 1 + random_below((uint32_t)group->address_count - 1)) % group->address_count;

    if (candidates[which].rank == RANK_NO_STREAM)
        address_open_stream(&group->addresses[which]);
    return candidates[which].rank == 0 ? &group->addresses[which] : NULL;
}

struct address *group_choose(struct group *group, const struct group_question *question)
{
    enum policy policy = group->config->policy;
    struct candidate candidates[CONFIG_ADDRESSES];
    struct address *explored = NULL;
    size_t which;

    for (size_t i = 0; i < group->address_count; i++)
        candidates[i] = candidate_of(&group->addresses[i],
                                     exchange_is_at(question->exchanges, question->count, &group->addresses[i]),
                                     (question->unable >> i & 1) != 0);
    which = selection_make(policy, candidates, group->address_count, group->turn);
    if (which == SELECTION_NONE)
        return NULL;
    if (policy == POLICY_FASTEST && group->address_count > 1 && question->first && random_below(EXPLORE_ONE_IN) == 0)
        explored = explore(group, candidates, which);
    return explored != NULL ? explored : &group->addresses[which];
}

bool group_init(struct group *group, const struct group_setup *setup, char *error)
{
    const struct upstream_config *config = setup->config;
    struct address_setup address = {.exchanges = setup->exchanges,
                                    .peers = &group->peers,
                                    .config = config,
                                    .changed = setup->changed,
                                    .context = setup->context,
                                    .open_max = setup->streams};

    group->config = config;
    group->status = setup->status;
    group->address_count = config->address_count;
    group->peers = (struct address_peers){.status = setup->status,
                                          .has_fallback = config->fallback != CONFIG_NO_UPSTREAM,
                                          .count = config->address_count,
                                          .changed = on_changed};
    hedge_init(&group->hedges);
    address.trust = setup->trust;
    strcpy(error, "out of memory");
    group->addresses = calloc(config->address_count, sizeof(struct address));
    for (size_t i = 0; group->addresses != NULL && i < config->address_count; i++) {
        address.status = &setup->addresses[i];
        address.row = setup->first_row + i;
        if (!address_init(&group->addresses[i], i, &address))
            return false;
    }
    return group->addresses != NULL;
}

void group_close(struct group *group)
{
    for (size_t i = 0; group->addresses != NULL && i < group->address_count; i++)
        address_close(&group->addresses[i]);
    free(group->addresses);
}

void group_open(struct group *group)
{
    for (size_t i = 0; i < group->address_count; i++) {
        if (group->config->transport == TRANSPORT_DOT)
            address_open_stream(&group->addresses[i]);
        else
            address_probe(&group->addresses[i]);
    }
}

/* group.h - an upstream of the configuration, as one thread sees it: which address to ask, and is any usable?
 *
 * Choice:   by `policy` (selection.h), among the addresses without a wrong identity or a failure. An address that fails
 *           is tried again after a growing pause; the last one is always tried.
 * Fallback: while the control thread says so (fallback.h), the questions of a group go to its fallback, but never to
 *           the fallback of that one.
 * Shared:   everything here belongs to one thread, but for struct reachability and struct upstream_status.
 */
#ifndef NODEDOT_FORWARD_GROUP_H
#define NODEDOT_FORWARD_GROUP_H

#include "nodedot/config/config.h"
#include "nodedot/forward/address.h"
#include "nodedot/forward/exchange.h"
#include "nodedot/forward/hedge.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct group {
    const struct upstream_config *config;
    const struct upstream_status *status;
    struct group *fallback; /* NULL: none */
    struct address *addresses;
    size_t address_count;
    struct address_peers peers;
    size_t turn; /* of round-robin */
    struct hedge_budget hedges;
    uint64_t trial_ms;    /* when a query was last allowed to an unusable group */
    uint32_t recovered_s; /* see group_recovered_s() */
    bool fell_back;       /* its questions were moved to the fallback */
};

struct group_setup {
    struct exchanges *exchanges;
    const struct upstream_config *config;
    const struct upstream_status *status;
    struct tls_trust *trust;          /* NULL for plain; outlives the group */
    struct address_status *addresses; /* the rows of its addresses */
    size_t first_row;                 /* the number of the first of these */
    void (*changed)(void *context);   /* see reachability.h */
    void *context;
    unsigned streams; /* connections of this thread to one address */
};

/* Takes all memory; no network yet. False: error (TLS_ERROR octets) says why. group_close()
 * releases what was taken. */
bool group_init(struct group *group, const struct group_setup *setup, char *error);
void group_close(struct group *group);

/* Opens the first connections, or sends the first probes. */
void group_open(struct group *group);

/* The properties of a question that matter for the choice of an address. */
struct group_question {
    const struct exchange *exchanges; /* count of them */
    size_t count;
    uint32_t unable; /* bit i: address i answered that it cannot */
    bool first;      /* it is asked for the first time */
};

/* The best address for one more exchange of a question: not asked yet, working, with a connection, and preferred by the
 * policy. NULL: every address has the wrong identity. */
struct address *group_choose(struct group *group, const struct group_question *question);

/* The time within which 95 of 100 answers come from the quickest of its addresses that work, in microseconds. */
uint32_t group_usual_us(const struct group *group);

/* The group that is asked now: itself, or its fallback in use. */
struct group *group_in_use(struct group *group);

/* No address of the group can be asked, but its fallback will soon be used: questions wait for it. */
bool group_awaits_fallback(const struct group *group);

/* No address of the group has answered for a while, or all have the wrong identity, and no fallback will be used soon:
 * waiting is useless. */
bool group_is_hopeless(const struct group *group);

/* No address of the group can be asked now, and one of them has the wrong identity: waiting does not help. */
bool group_is_refused(const struct group *group);

/* clock_seconds() when the group, as this thread sees it, last changed from "no address answers" to "one answers", or
 * its fallback began or ended; 0: never. Older cached failures no longer apply. */
uint32_t group_recovered_s(const struct group *group);

#endif

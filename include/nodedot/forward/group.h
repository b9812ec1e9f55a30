/* group.h - an upstream of the configuration, as one thread sees it: which of its addresses is asked, and is there any hope?
 *
 * Choice:   among the addresses that are not known to be wrong or down, by `policy` (selection.h). An address that fails
 *           is tried again after a growing pause; the last one is never given up.
 * Fallback: while the control thread says so (fallback.h), the questions of a group go to its fallback. One step: where
 *           they go from there is not looked at.
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
    uint64_t trial_ms;    /* when a query was last let through to a group without hope */
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

/* A question, as far as the choice of an address goes. */
struct group_question {
    const struct exchange *exchanges; /* count of them */
    size_t count;
    uint32_t unable; /* bit i: address i answered that it cannot */
    bool first;      /* it is asked for the first time */
};

/* The best address for one more exchange of a question: one that has not been asked, that works, that has a connection,
 * and that the policy prefers. NULL: every address has the wrong identity. */
struct address *group_choose(struct group *group, const struct group_question *question);

/* The time within which 95 of 100 answers come from the quickest of its addresses that work, in microseconds. */
uint32_t group_usual_us(const struct group *group);

/* The group that is asked now: itself, or the fallback that serves. */
struct group *group_in_use(struct group *group);

/* No address of the group can be asked, but its fallback will serve soon: questions wait for that. */
bool group_awaits_fallback(const struct group *group);

/* No address of the group answered for a while, or all have the wrong identity, and no fallback is about to serve:
 * waiting is of no use. */
bool group_is_hopeless(const struct group *group);

/* No address of the group can be asked at this moment, and one of them has the wrong identity: time will not mend it. */
bool group_is_refused(const struct group *group);

/* clock_seconds() when the group, as this thread sees it, last went from "no address answers" to "one answers", or its
 * fallback began to serve or ended; 0: never. A failure that was remembered before says nothing any more. */
uint32_t group_recovered_s(const struct group *group);

#endif

/* addresses.h - the listen addresses on the node: there before anything is bound, gone when nobody answers on them.
 *
 * Which:    those of server.listen while server.manage-address is yes, but wildcards, loopback addresses and IPv6
 *           link-local ones, which belong to an interface of their own.
 * Where:    on a dummy interface of our own, server.interface, made when it is needed; an interface of that name that
 *           is there is used as it is. lo, where the kernel has no dummy device.
 * Lifetime: an address is valid for ADDRESSES_LIFETIME_S and renewed long before that: however this process ends, the
 *           kernel takes the address away. Pods must not be left with an address that swallows their queries.
 * Adopted:  an address that is there without an end, on any interface, or with an end on an interface that is neither
 *           ours nor lo, is somebody else's: not renewed, not added a second time, not taken away. Should it go, it
 *           is added. One that has an end and is on our interface or lo was left by one like us, or belongs to one
 *           that runs beside us: it is renewed, and from then on ours.
 * Removed:  when no configuration wants it any more, and at the end; but not while somebody else renews it as well.
 *           The interface goes with the last address, if it bears our mark (ADDRESSES_ALIAS), whoever of us made it.
 * Put back: at once, when it, or the interface, is removed or the interface is taken down.
 * Change:   addresses_prepare() adds what a configuration wants beside what is in use; then addresses_commit() or
 *           addresses_abandon(); after a commit, addresses_drained() once nobody answers on the old ones any more.
 * Rights:   CAP_NET_ADMIN and no other; without it only addresses of somebody else can be used.
 * Memory:   must not move once prepared; libev holds pointers into it.
 */
#ifndef NODEDOT_NODE_ADDRESSES_H
#define NODEDOT_NODE_ADDRESSES_H

#include "nodedot/config/config.h"
#include "nodedot/node/rtnetlink.h"

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

/* After this time, pods of a node without nodedot use their other name servers. Addresses are renewed three times in
 * this period, so a supervisor that is stopped for a while loses nothing. */
#define ADDRESSES_LIFETIME_S 60
#define ADDRESSES_RENEW_MS   20000

/* The alias that marks an interface made by nodedot. */
#define ADDRESSES_ALIAS "nodedot"

/* In use, wanted next, and those of the generation that drains. */
#define ADDRESSES_MAX (3 * CONFIG_LISTENS)

enum node_address_state {
    NODE_ADDRESS_NEW,     /* not looked at yet */
    NODE_ADDRESS_FOREIGN, /* there, and somebody else's */
    NODE_ADDRESS_OURS     /* there as long as it is renewed */
};

struct node_address {
    struct endpoint endpoint; /* port 0 */
    char interface[CONFIG_INTERFACE];
    bool in_use, wanted, draining; /* by the configuration in use, the next, the last; none: a free entry */
    enum node_address_state state;
    bool failing;        /* cannot be added or renewed, and that was logged */
    uint64_t renewed_ms; /* when we did so last; 0: never */
    uint64_t others_ms;  /* when it was seen last that somebody else had; 0: never */
    /* how the node was when it was looked at last */
    struct rtnetlink_link home; /* where it belongs; index 0: has to be made */
    int index;                  /* of the interface that has it; 0: none */
    uint32_t valid_s;
};

struct addresses {
    struct ev_loop *loop;
    struct rtnetlink rtnetlink;
    struct node_address address[ADDRESSES_MAX];
    bool no_dummy; /* the kernel has said so */
    bool failing;  /* the node cannot be looked at, and that was logged */
    uint64_t held_ms, next_ms;
    ev_io changes; /* fd -1: not open */
};

void addresses_init(struct addresses *addresses, struct ev_loop *loop);

/* Adds the addresses of config to the node. False: nothing was changed, and error (SOCKETS_ERROR octets) has the
 * reason. */
bool addresses_prepare(struct addresses *addresses, const struct config *config, char *error);
void addresses_commit(struct addresses *addresses);
void addresses_abandon(struct addresses *addresses);

/* Removes the addresses that the configuration before the last commit had and this one does not. */
void addresses_drained(struct addresses *addresses);

/* Renews addresses that are due, and tries again after failures. Called at least once a second. */
void addresses_tick(struct addresses *addresses, uint64_t now_ms);

/* Removes all addresses. */
void addresses_close(struct addresses *addresses);

#endif

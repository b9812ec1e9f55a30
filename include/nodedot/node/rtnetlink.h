/* rtnetlink.h - asks the kernel about interfaces and their addresses, changes them, and hears of changes.
 *
 * Two sockets: one for requests, each answered before the call returns, and one for what the kernel announces, which
 *              never blocks and belongs into an event loop.
 * Rights:      reading takes none; every change takes CAP_NET_ADMIN, and gives -EPERM without it.
 * Errors:      0 or -errno as the kernel gave it. -ETIMEDOUT: it did not answer.
 * Rules:       RFC 3549, rtnetlink(7).
 */
#ifndef NODEDOT_NODE_RTNETLINK_H
#define NODEDOT_NODE_RTNETLINK_H

#include "nodedot/base/endpoint.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/* Octets of an alias of ours, NUL included. A longer one is read as its beginning. */
#define RTNETLINK_ALIAS 16

/* A lifetime without end, as the kernel writes it. */
#define RTNETLINK_FOREVER UINT32_MAX

struct rtnetlink {
    int fd; /* -1: not open */
    uint32_t sequence;
};

struct rtnetlink_link {
    int index; /* 0: none */
    bool up;
    char alias[RTNETLINK_ALIAS];
};

struct rtnetlink_address {
    struct endpoint endpoint; /* port 0, and an IPv6 address without zone */
    int index;                /* of its interface */
    uint32_t valid_s;         /* that it has left; RTNETLINK_FOREVER */
};

enum rtnetlink_event_kind {
    RTNETLINK_ADDRESS_GONE, /* address tells which, and where it was */
    RTNETLINK_LINK_CHANGED,
    RTNETLINK_LINK_GONE,
    RTNETLINK_MISSED /* there were more announcements than the socket holds: anything may have happened */
};

struct rtnetlink_event {
    enum rtnetlink_event_kind kind;
    struct rtnetlink_link link;       /* of the two link events; without alias */
    struct rtnetlink_address address; /* of RTNETLINK_ADDRESS_GONE; without lifetime */
};

int rtnetlink_open(struct rtnetlink *rtnetlink);
void rtnetlink_close(struct rtnetlink *rtnetlink);

/* -ENODEV: there is no interface of that name. */
int rtnetlink_find_link(struct rtnetlink *rtnetlink, const char *name, struct rtnetlink_link *out);

/* Makes a dummy interface, which is down. -EOPNOTSUPP: the kernel has no such device; -EEXIST: the name is taken. */
int rtnetlink_make_dummy(struct rtnetlink *rtnetlink, const char *name);

/* Brings an interface up, and gives it an alias unless that is NULL. */
int rtnetlink_set_up(struct rtnetlink *rtnetlink, int index, const char *alias);

int rtnetlink_delete_link(struct rtnetlink *rtnetlink, int index);

/* Adds an address of one host (/32, /128) to an interface, or gives the one that is there a new lifetime. It can be
 * bound at once, and the kernel does not choose it as the source of anything (see rtnetlink.c). */
int rtnetlink_put_address(struct rtnetlink *rtnetlink, int index, const struct endpoint *endpoint, uint32_t valid_s);

/* -EADDRNOTAVAIL: it is not there. */
int rtnetlink_delete_address(struct rtnetlink *rtnetlink, int index, const struct endpoint *endpoint);

/* Calls each() for every address of every interface. */
int rtnetlink_each_address(struct rtnetlink *rtnetlink,
                           void (*each)(void *owner, const struct rtnetlink_address *address), void *owner);

/* Opens a socket that hears of changes. Returns it, or -errno. */
int rtnetlink_watch(void);

/* Calls each() for what was announced since, as far as it is of a kind that is listed above. */
void rtnetlink_read_events(int fd, void (*each)(void *owner, const struct rtnetlink_event *event), void *owner);

#endif

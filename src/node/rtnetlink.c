#include "nodedot/node/rtnetlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* The largest request: headers, a name, an alias, an address and its lifetimes come to about 120 octets. */
#define REQUEST_OCTETS 256

/* The kernel fills up to 32 KiB at once, whatever the reader offers (linux/net/netlink/af_netlink.c). */
#define RECEIVE_OCTETS (32 * 1024)

/* Maximum time to wait for the kernel. It answers within the request, but may wait for others that change the network. */
#define ANSWER_LIMIT_S 2

/* A dump interrupted by a change is repeated this many times, then reported as an error. */
#define DUMP_ATTEMPTS 5

/* Maximum number of receive calls per event: a node that starts many pods must not keep the supervisor from its probes. */
#define EVENT_READS 16

struct request {
    union {
        struct nlmsghdr header;
        char octets[REQUEST_OCTETS];
    };
};

struct received {
    union {
        struct nlmsghdr header;
        char octets[RECEIVE_OCTETS];
    };
};

/* One of several messages that were received together. */
struct message {
    const struct nlmsghdr *header;
    const char *body;
    size_t size; /* of the body */
};

/* The receiver of the messages of an answer. */
struct reader {
    void (*take)(struct reader *reader, const struct message *message);
    void (*each)(void *owner, const struct rtnetlink_address *address);
    void *owner;
    struct rtnetlink_link *link;
};

/* ---- requests ---- */

/* Zeroed room at the end of the request. Only this file makes requests, and all of them fit. */
static void *append(struct request *request, size_t size)
{
    size_t at = NLMSG_ALIGN(request->header.nlmsg_len);

    request->header.nlmsg_len = (uint32_t)(at + size);
    return request->octets + at;
}

static void *begin_request(struct request *request, uint16_t type, uint16_t flags, size_t size)
{
    memset(request, 0, sizeof *request);
    request->header.nlmsg_len = NLMSG_HDRLEN;
    request->header.nlmsg_type = type;
    request->header.nlmsg_flags = NLM_F_REQUEST | flags;
    return append(request, size);
}

static void add_attribute(struct request *request, uint16_t type, const void *data, size_t size)
{
    struct rtattr *attribute = append(request, RTA_LENGTH(size));

    attribute->rta_len = (uint16_t)RTA_LENGTH(size);
    attribute->rta_type = type;
    memcpy(RTA_DATA(attribute), data, size);
}

static void add_text(struct request *request, uint16_t type, const char *text)
{
    add_attribute(request, type, text, strlen(text) + 1);
}

static bool is_v6(const struct endpoint *endpoint)
{
    return endpoint->any.sa_family == AF_INET6;
}

static void begin_address(struct request *request, uint16_t type, uint16_t flags, int index,
                          const struct endpoint *endpoint)
{
    bool v6 = is_v6(endpoint);
    const void *octets = v6 ? (const void *)&endpoint->v6.sin6_addr : &endpoint->v4.sin_addr;
    size_t size = v6 ? sizeof endpoint->v6.sin6_addr : sizeof endpoint->v4.sin_addr;
    struct ifaddrmsg *address = begin_request(request, type, flags, sizeof *address);

    address->ifa_family = (uint8_t)endpoint->any.sa_family;
    address->ifa_prefixlen = (uint8_t)(8 * size);
    address->ifa_index = (uint32_t)index;
    add_attribute(request, IFA_LOCAL, octets, size);
    add_attribute(request, IFA_ADDRESS, octets, size);
}

/* ---- what is received ---- */

/* Takes the next message off what is left of a buffer. */
static bool next_message(const char **at, size_t *left, struct message *message)
{
    const struct nlmsghdr *header = (const void *)*at;

    if (*left < NLMSG_HDRLEN || header->nlmsg_len < NLMSG_HDRLEN || header->nlmsg_len > *left)
        return false;
    size_t size = NLMSG_ALIGN(header->nlmsg_len) < *left ? NLMSG_ALIGN(header->nlmsg_len) : *left;
    *message = (struct message){header, *at + NLMSG_HDRLEN, header->nlmsg_len - NLMSG_HDRLEN};
    *at += size;
    *left -= size;
    return true;
}

/* The value of an attribute of at least size octets behind a message's own head; NULL: it has none. */
static const void *find_attribute(const struct message *message, size_t head, uint16_t type, size_t size)
{
    size_t at = NLMSG_ALIGN(head);

    while (at + sizeof(struct rtattr) <= message->size) {
        const struct rtattr *attribute = (const void *)(message->body + at);

        if (attribute->rta_len < sizeof *attribute || attribute->rta_len > message->size - at)
            return NULL;
        if ((attribute->rta_type & NLA_TYPE_MASK) == type)
            return attribute->rta_len >= RTA_LENGTH(size) ? RTA_DATA(attribute) : NULL;
        at += RTA_ALIGN(attribute->rta_len);
    }
    return NULL;
}

/* The local address of a point-to-point interface is in IFA_LOCAL, and IPv6 has IFA_ADDRESS alone. */
static bool read_endpoint(const struct message *message, uint8_t family, struct endpoint *out)
{
    size_t size = family == AF_INET6 ? sizeof out->v6.sin6_addr : sizeof out->v4.sin_addr;
    const void *octets = find_attribute(message, sizeof(struct ifaddrmsg), IFA_LOCAL, size);

    if (octets == NULL)
        octets = find_attribute(message, sizeof(struct ifaddrmsg), IFA_ADDRESS, size);
    if (octets == NULL || (family != AF_INET && family != AF_INET6))
        return false;
    memset(out, 0, sizeof *out);
    out->any.sa_family = family;
    out->size = family == AF_INET6 ? sizeof out->v6 : sizeof out->v4;
    memcpy(family == AF_INET6 ? (void *)&out->v6.sin6_addr : &out->v4.sin_addr, octets, size);
    return true;
}

static bool read_address(const struct message *message, struct rtnetlink_address *out)
{
    const struct ifaddrmsg *head = (const void *)message->body;

    if (message->size < sizeof *head || !read_endpoint(message, head->ifa_family, &out->endpoint))
        return false;
    const struct ifa_cacheinfo *times = find_attribute(message, sizeof *head, IFA_CACHEINFO, sizeof *times);
    out->index = (int)head->ifa_index;
    out->valid_s = times == NULL ? RTNETLINK_FOREVER : times->ifa_valid;
    return true;
}

static bool read_link(const struct message *message, struct rtnetlink_link *out)
{
    const struct ifinfomsg *head = (const void *)message->body;

    if (message->size < sizeof *head)
        return false;
    const char *alias = find_attribute(message, sizeof *head, IFLA_IFALIAS, 1);
    *out = (struct rtnetlink_link){.index = head->ifi_index, .up = (head->ifi_flags & IFF_UP) != 0};
    if (alias != NULL)
        strncat(out->alias, alias, sizeof out->alias - 1); /* the kernel ends it with NUL */
    return true;
}

/* Octets, or -errno; the buffer is large enough for anything that the kernel sends. Messages of other programs with
 * CAP_NET_ADMIN are ignored. */
static ssize_t receive(int fd, struct received *received)
{
    struct sockaddr_nl from = {.nl_pid = 0};
    socklen_t size = sizeof from;
    ssize_t got;

    do
        got = recvfrom(fd, received->octets, sizeof received->octets, MSG_TRUNC, (struct sockaddr *)&from, &size);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    if ((size_t)got > sizeof received->octets)
        return -ENOBUFS;
    return from.nl_pid == 0 ? got : 0;
}

/* ---- a request and its answer ---- */

/* True when the answer has come to its end; result then says how. */
static bool read_answer(struct rtnetlink *rtnetlink, const struct received *received, size_t size,
                        struct reader *reader, bool *interrupted, int *result)
{
    const char *at = received->octets;
    struct message message;

    while (next_message(&at, &size, &message)) {
        uint16_t type = message.header->nlmsg_type;

        if (message.header->nlmsg_seq != rtnetlink->sequence)
            continue; /* the answer to a request that was given up */
        *interrupted |= (message.header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (type == NLMSG_ERROR || type == NLMSG_DONE) {
            *result = message.size >= sizeof(int) ? *(const int *)(const void *)message.body : 0;
            return true;
        }
        if (reader != NULL)
            reader->take(reader, &message);
    }
    return false;
}

/* Sends a request and reads to the end of its answer: an acknowledgement, an error, or the end of a list. */
static int ask(struct rtnetlink *rtnetlink, struct request *request, struct reader *reader)
{
    struct received received;
    bool interrupted = false;
    int result;

    request->header.nlmsg_seq = ++rtnetlink->sequence;
    if (send(rtnetlink->fd, request->octets, request->header.nlmsg_len, 0) < 0)
        return -errno;
    for (;;) {
        ssize_t size = receive(rtnetlink->fd, &received);

        if (size < 0)
            return size == -EAGAIN ? -ETIMEDOUT : (int)size;
        if (read_answer(rtnetlink, &received, (size_t)size, reader, &interrupted, &result))
            return result == 0 && interrupted ? -EAGAIN : result;
    }
}

static int open_netlink(int flags, uint32_t groups)
{
    struct sockaddr_nl local = {.nl_family = AF_NETLINK, .nl_groups = groups};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);

    if (fd < 0)
        return -errno;
    if (bind(fd, (const struct sockaddr *)&local, sizeof local) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

int rtnetlink_open(struct rtnetlink *rtnetlink)
{
    struct timeval limit = {.tv_sec = ANSWER_LIMIT_S};
    int fd = open_netlink(0, 0);

    rtnetlink->fd = fd < 0 ? -1 : fd;
    if (fd < 0)
        return fd;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0) {
        int err = -errno;
        rtnetlink_close(rtnetlink);
        return err;
    }
    return 0;
}

void rtnetlink_close(struct rtnetlink *rtnetlink)
{
    if (rtnetlink->fd >= 0)
        close(rtnetlink->fd);
    rtnetlink->fd = -1;
}

/* ---- interfaces ---- */

static void take_link(struct reader *reader, const struct message *message)
{
    if (message->header->nlmsg_type == RTM_NEWLINK)
        read_link(message, reader->link);
}

int rtnetlink_find_link(struct rtnetlink *rtnetlink, const char *name, struct rtnetlink_link *out)
{
    struct reader reader = {.take = take_link, .link = out};
    struct request request;

    *out = (struct rtnetlink_link){.index = 0};
    begin_request(&request, RTM_GETLINK, NLM_F_ACK, sizeof(struct ifinfomsg));
    add_text(&request, IFLA_IFNAME, name);
    return ask(rtnetlink, &request, &reader);
}

int rtnetlink_make_dummy(struct rtnetlink *rtnetlink, const char *name)
{
    struct request request;

    begin_request(&request, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
    add_text(&request, IFLA_IFNAME, name);
    struct rtattr *info = append(&request, RTA_LENGTH(0));
    add_text(&request, IFLA_INFO_KIND, "dummy");
    info->rta_type = IFLA_LINKINFO;
    info->rta_len = (uint16_t)(request.octets + request.header.nlmsg_len - (char *)info);
    return ask(rtnetlink, &request, NULL);
}

/* The kernel takes no alias when it makes an interface, so this is a step of its own. */
int rtnetlink_set_up(struct rtnetlink *rtnetlink, int index, const char *alias)
{
    struct request request;
    struct ifinfomsg *link = begin_request(&request, RTM_SETLINK, NLM_F_ACK, sizeof *link);

    link->ifi_index = index;
    link->ifi_flags = link->ifi_change = IFF_UP;
    if (alias != NULL)
        add_text(&request, IFLA_IFALIAS, alias);
    return ask(rtnetlink, &request, NULL);
}

int rtnetlink_delete_link(struct rtnetlink *rtnetlink, int index)
{
    struct request request;
    struct ifinfomsg *link = begin_request(&request, RTM_DELLINK, NLM_F_ACK, sizeof *link);

    link->ifi_index = index;
    return ask(rtnetlink, &request, NULL);
}

/* ---- addresses ---- */

/* As a source it would be wrong: nobody beyond the node has a way back to it. IPv4: on a route without an address of
 * its own, as the interfaces of pods often are, the kernel takes the first address of any interface, lo before all;
 * scope "link" keeps it from this one. IPv6: rules 5 to 8 of RFC 6724 section 5 could prefer it, rule 3 does not once
 * it is deprecated, which is what no preferred lifetime means. NODAD: nobody else can have it, and the wait would keep
 * it from being bound. */
int rtnetlink_put_address(struct rtnetlink *rtnetlink, int index, const struct endpoint *endpoint, uint32_t valid_s)
{
    struct ifa_cacheinfo times = {.ifa_prefered = 0, .ifa_valid = valid_s};
    struct request request;

    begin_address(&request, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, index, endpoint);
    struct ifaddrmsg *address = (void *)(request.octets + NLMSG_HDRLEN);
    address->ifa_scope = is_v6(endpoint) ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    address->ifa_flags = is_v6(endpoint) ? IFA_F_NODAD : 0;
    add_attribute(&request, IFA_CACHEINFO, &times, sizeof times);
    return ask(rtnetlink, &request, NULL);
}

int rtnetlink_delete_address(struct rtnetlink *rtnetlink, int index, const struct endpoint *endpoint)
{
    struct request request;

    begin_address(&request, RTM_DELADDR, NLM_F_ACK, index, endpoint);
    return ask(rtnetlink, &request, NULL);
}

static void take_address(struct reader *reader, const struct message *message)
{
    struct rtnetlink_address address;

    if (message->header->nlmsg_type == RTM_NEWADDR && read_address(message, &address))
        reader->each(reader->owner, &address);
}

int rtnetlink_each_address(struct rtnetlink *rtnetlink,
                           void (*each)(void *owner, const struct rtnetlink_address *address), void *owner)
{
    struct reader reader = {.take = take_address, .each = each, .owner = owner};
    struct request request;
    int result = -EAGAIN;

    for (int i = 0; i < DUMP_ATTEMPTS && result == -EAGAIN; i++) {
        begin_request(&request, RTM_GETADDR, NLM_F_DUMP, sizeof(struct ifaddrmsg));
        result = ask(rtnetlink, &request, &reader);
    }
    return result;
}

/* ---- announcements ---- */

int rtnetlink_watch(void)
{
    return open_netlink(SOCK_NONBLOCK, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
}

static bool read_event(const struct message *message, struct rtnetlink_event *event)
{
    switch (message->header->nlmsg_type) {
    case RTM_DELADDR:
        event->kind = RTNETLINK_ADDRESS_GONE;
        return read_address(message, &event->address);
    case RTM_NEWLINK:
        event->kind = RTNETLINK_LINK_CHANGED;
        return read_link(message, &event->link);
    case RTM_DELLINK:
        event->kind = RTNETLINK_LINK_GONE;
        return read_link(message, &event->link);
    default:
        return false;
    }
}

void rtnetlink_read_events(int fd, void (*each)(void *owner, const struct rtnetlink_event *event), void *owner)
{
    struct received received;
    struct rtnetlink_event event;
    struct message message;

    for (int i = 0; i < EVENT_READS; i++) {
        ssize_t size = receive(fd, &received);
        const char *at = received.octets;
        size_t left = size > 0 ? (size_t)size : 0;

        if (size == -EAGAIN)
            return;
        if (size < 0) { /* mainly ENOBUFS, after which the socket continues with the next message */
            event = (struct rtnetlink_event){.kind = RTNETLINK_MISSED};
            each(owner, &event);
        }
        while (next_message(&at, &left, &message))
            if (read_event(&message, &event))
                each(owner, &event);
    }
}

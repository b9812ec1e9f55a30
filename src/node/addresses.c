#include "nodedot/node/addresses.h"

#include "nodedot/base/clock.h"
#include "nodedot/node/sockets.h"
#include "nodedot/observe/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Interval between retries. */
#define RETRY_MS 1000

/* Minimum interval between repairs: two programs that both insist on their state must not use a CPU each. */
#define REPAIR_PAUSE_MS 200

/* The kernel counts whole seconds, and rounds them. */
#define ROUNDING_S 1

/* A program that has not renewed an address for this long no longer does so: it has missed two periods. */
#define OTHERS_MS (2 * ADDRESSES_RENEW_MS)

static const char lo[] = "lo";
#define LO_INDEX 1 /* in every network namespace; the kernel insists */

/* ---- entries ---- */

static bool is_used(const struct node_address *address)
{
    return address->in_use || address->wanted || address->draining;
}

static bool is_same(const struct node_address *address, const struct endpoint *endpoint, const char *interface)
{
    return is_used(address) && endpoint_equal(&address->endpoint, endpoint) &&
           strcmp(address->interface, interface) == 0;
}

/* The addresses of a configuration that this module manages. */
static bool is_manageable(const struct endpoint *endpoint)
{
    if (endpoint_is_wildcard(endpoint))
        return false;
    if (endpoint->any.sa_family == AF_INET6)
        return !IN6_IS_ADDR_LOOPBACK(&endpoint->v6.sin6_addr) && !IN6_IS_ADDR_LINKLOCAL(&endpoint->v6.sin6_addr);
    return ntohl(endpoint->v4.sin_addr.s_addr) >> IN_CLASSA_NSHIFT != IN_LOOPBACKNET;
}

/* An entry for an address, its own or a free one; there is room for all that can be used at a time. */
static struct node_address *entry_for(struct addresses *addresses, const struct endpoint *endpoint,
                                      const char *interface)
{
    struct node_address *found = NULL;

    for (struct node_address *a = addresses->address; a < addresses->address + ADDRESSES_MAX; a++) {
        if (is_same(a, endpoint, interface))
            return a;
        if (found == NULL && !is_used(a))
            found = a;
    }
    if (found == NULL)
        abort(); /* ADDRESSES_MAX is too small */
    *found = (struct node_address){.endpoint = *endpoint};
    strcpy(found->interface, interface);
    return found;
}

static void want(struct addresses *addresses, const struct config *config)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        struct endpoint endpoint = config->listens[i];

        endpoint_set_port(&endpoint, 0);
        if (is_manageable(&endpoint))
            entry_for(addresses, &endpoint, config->interface)->wanted = true;
    }
}

static void log_change(const struct node_address *address, enum log_level level, const char *message)
{
    char text[ENDPOINT_TEXT];

    log_at(level, message, log_s("address", endpoint_format_address(&address->endpoint, text)),
           log_s("interface", address->home.index == LO_INDEX ? lo : address->interface));
}

/* What a refusal of the kernel means to an operator. */
static const char *reason_text(int result)
{
    if (result == -EPERM)
        return "the capability NET_ADMIN is missing (a start with manage-address = no gives it up)";
    if (result == -EACCES)
        return "IPv6 is disabled on this interface";
    return strerror(-result);
}

/* ---- looking at the node ---- */

/* Where an address with an end is one of ours, or was left by one like us: lo is where they go without a dummy
 * device. */
static bool is_at_home(const struct node_address *address, int index)
{
    return index == address->home.index || index == LO_INDEX;
}

/* One on another interface counts only when there is none at home. */
static void see_address(void *owner, const struct rtnetlink_address *seen)
{
    struct addresses *addresses = owner;

    for (struct node_address *a = addresses->address; a < addresses->address + ADDRESSES_MAX; a++) {
        if (!is_used(a) || !endpoint_equal(&a->endpoint, &seen->endpoint) ||
            (a->index != 0 && (is_at_home(a, a->index) || !is_at_home(a, seen->index))))
            continue;
        a->index = seen->index;
        a->valid_s = seen->valid_s;
    }
}

static int find_home(struct addresses *addresses, struct node_address *address)
{
    int result = rtnetlink_find_link(&addresses->rtnetlink, address->interface, &address->home);

    if (result == -ENODEV && addresses->no_dummy)
        return rtnetlink_find_link(&addresses->rtnetlink, lo, &address->home);
    return result == -ENODEV ? 0 : result;
}

/* Only somebody else can have left it more than is left of what we gave it. */
static void notice_others(struct node_address *address, uint64_t now_ms)
{
    if (address->state != NODE_ADDRESS_OURS || address->index == 0)
        return;
    uint64_t left_s = address->valid_s + (now_ms - address->renewed_ms) / 1000;
    if (left_s > ADDRESSES_LIFETIME_S + ROUNDING_S)
        address->others_ms = now_ms;
}

/* Finds out what is there. 0 or -errno. */
static int look(struct addresses *addresses, uint64_t now_ms)
{
    int result = 0;

    for (struct node_address *a = addresses->address; a < addresses->address + ADDRESSES_MAX && result == 0; a++) {
        a->index = 0;
        if (is_used(a))
            result = find_home(addresses, a);
    }
    if (result == 0)
        result = rtnetlink_each_address(&addresses->rtnetlink, see_address, addresses);
    for (struct node_address *a = addresses->address; a < addresses->address + ADDRESSES_MAX && result == 0; a++)
        if (is_used(a))
            notice_others(a, now_ms);
    return result;
}

/* ---- putting it right ---- */

static int make_home(struct addresses *addresses, struct node_address *address)
{
    if (addresses->no_dummy)
        return find_home(addresses, address);
    int result = rtnetlink_make_dummy(&addresses->rtnetlink, address->interface);
    if (result == -EOPNOTSUPP || result == -ENODEV) {
        addresses->no_dummy = true;
        log_info("the kernel has no dummy device: addresses go to lo", log_s("interface", address->interface));
        return rtnetlink_find_link(&addresses->rtnetlink, lo, &address->home);
    }
    if (result < 0 && result != -EEXIST) /* for another address, or by one that runs beside us */
        return result;
    int found = rtnetlink_find_link(&addresses->rtnetlink, address->interface, &address->home);
    if (found < 0 || result == -EEXIST)
        return found;
    log_info("interface created", log_s("interface", address->interface));
    return rtnetlink_set_up(&addresses->rtnetlink, address->home.index, ADDRESSES_ALIAS);
}

/* Does another entry, with another interface by name, hold the very same? Two names may both mean lo. */
static bool is_ours_as_well(const struct addresses *addresses, const struct node_address *address)
{
    for (const struct node_address *a = addresses->address; a < addresses->address + ADDRESSES_MAX; a++)
        if (a != address && is_used(a) && a->state == NODE_ADDRESS_OURS && a->index == address->index &&
            endpoint_equal(&a->endpoint, &address->endpoint))
            return true;
    return false;
}

static bool is_foreign(const struct node_address *address)
{
    if (address->index == 0)
        return false;
    if (!is_at_home(address, address->index))
        return true;
    return address->valid_s == RTNETLINK_FOREVER && address->state != NODE_ADDRESS_OURS;
}

static void move(struct node_address *address, enum node_address_state state)
{
    enum node_address_state before = address->state;

    address->state = state;
    if (address->index == 0 && before == NODE_ADDRESS_NEW)
        log_change(address, LOG_LEVEL_INFO, "listen address added");
    else if (address->index == 0)
        log_change(address, LOG_LEVEL_WARN, "listen address was missing: added again");
    else if (state == NODE_ADDRESS_FOREIGN && before != NODE_ADDRESS_FOREIGN)
        log_change(address, LOG_LEVEL_INFO, "listen address found: not changed");
    else if (state == NODE_ADDRESS_OURS && before != NODE_ADDRESS_OURS)
        log_change(address, LOG_LEVEL_INFO, "listen address found: renewed from now on");
}

/* Makes sure that an address that was looked at is there. 0 or -errno. */
static int hold(struct addresses *addresses, struct node_address *address)
{
    int result = 0;

    if (is_foreign(address) && is_ours_as_well(addresses, address))
        address->index = 0; /* it moves to another interface, and is on both until the old one has drained */
    if (is_foreign(address)) {
        move(address, NODE_ADDRESS_FOREIGN);
        return 0;
    }
    if (address->home.index == 0 && address->index == 0)
        result = make_home(addresses, address);
    else if (address->home.index != 0 && !address->home.up)
        result = rtnetlink_set_up(&addresses->rtnetlink, address->home.index, NULL);
    if (result < 0)
        return result;
    int index = address->index != 0 ? address->index : address->home.index;
    result = rtnetlink_put_address(&addresses->rtnetlink, index, &address->endpoint, ADDRESSES_LIFETIME_S);
    if (result < 0)
        return result;
    move(address, NODE_ADDRESS_OURS);
    address->index = index;
    address->renewed_ms = clock_ms(); /* not before the kernel did, or our own renewal would look like another's */
    return 0;
}

static void note_result(struct node_address *address, int result)
{
    char text[ENDPOINT_TEXT];

    if (result < 0 && !address->failing)
        log_error("listen address cannot be added or renewed",
                  log_s("address", endpoint_format_address(&address->endpoint, text)),
                  log_s("interface", address->interface), log_s("reason", reason_text(result)));
    else if (result == 0 && address->failing)
        log_change(address, LOG_LEVEL_INFO, "listen address is present again");
    address->failing = result < 0;
}

static int hold_used(struct addresses *addresses)
{
    int worst = 0;

    for (struct node_address *a = addresses->address; a < addresses->address + ADDRESSES_MAX; a++) {
        if (!is_used(a))
            continue;
        int result = hold(addresses, a);
        note_result(a, result);
        worst = result < 0 ? result : worst;
    }
    return worst;
}

static bool is_any_used(const struct addresses *addresses)
{
    for (size_t i = 0; i < ADDRESSES_MAX; i++)
        if (is_used(&addresses->address[i]))
            return true;
    return false;
}

/* Looks at everything, and puts right what is not. */
static void hold_all(struct addresses *addresses, uint64_t now_ms)
{
    int result = look(addresses, now_ms);

    if (result < 0 && !addresses->failing)
        log_error("the node's addresses cannot be read", log_s("reason", strerror(-result)));
    addresses->failing = result < 0;
    if (result == 0)
        result = hold_used(addresses);
    addresses->held_ms = now_ms;
    addresses->next_ms = now_ms + (result < 0 ? RETRY_MS : ADDRESSES_RENEW_MS);
}

void addresses_tick(struct addresses *addresses, uint64_t now_ms)
{
    if (now_ms >= addresses->next_ms && is_any_used(addresses))
        hold_all(addresses, now_ms);
}

/* ---- what the kernel announces ---- */

static bool concerns(const struct node_address *address, const struct rtnetlink_event *event)
{
    switch (event->kind) {
    case RTNETLINK_ADDRESS_GONE:
        return endpoint_equal(&address->endpoint, &event->address.endpoint);
    case RTNETLINK_LINK_CHANGED:
        return address->home.index == event->link.index && !event->link.up;
    case RTNETLINK_LINK_GONE:
        return address->home.index == event->link.index;
    default:
        return true;
    }
}

static void hear(void *owner, const struct rtnetlink_event *event)
{
    struct addresses *addresses = owner;

    for (struct node_address *a = addresses->address; a < addresses->address + ADDRESSES_MAX; a++)
        if (is_used(a) && concerns(a, event))
            addresses->next_ms = 0;
}

/* Whatever was announced, the node itself is asked: an announcement may be of what has been put right already. */
static void on_changes(struct ev_loop *loop, ev_io *io, int revents)
{
    struct addresses *addresses = io->data;
    uint64_t now_ms = clock_ms();

    (void)loop, (void)revents;
    rtnetlink_read_events(io->fd, hear, addresses);
    if (addresses->next_ms == 0 && now_ms - addresses->held_ms < REPAIR_PAUSE_MS)
        return; /* the next tick does it */
    addresses_tick(addresses, now_ms);
}

/* ---- taking away ---- */

static void take_away(struct addresses *addresses, struct node_address *address, uint64_t now_ms)
{
    if (address->state != NODE_ADDRESS_OURS || address->index == 0 || is_ours_as_well(addresses, address))
        return;
    if (address->others_ms != 0 && now_ms - address->others_ms < OTHERS_MS) {
        log_change(address, LOG_LEVEL_INFO, "listen address kept: another process renews it");
        return;
    }
    int result = rtnetlink_delete_address(&addresses->rtnetlink, address->index, &address->endpoint);
    if (result < 0)
        note_result(address, result);
    else
        log_change(address, LOG_LEVEL_INFO, "listen address removed");
}

struct count {
    int index;
    size_t addresses;
};

/* IPv6 gives every interface that is up a link-local address by itself. */
static void count_address(void *owner, const struct rtnetlink_address *address)
{
    struct count *count = owner;

    if (address->index == count->index && is_manageable(&address->endpoint))
        count->addresses++;
}

static void remove_interface(struct addresses *addresses, const char *name)
{
    struct rtnetlink_link link;

    for (size_t i = 0; i < ADDRESSES_MAX; i++)
        if (is_used(&addresses->address[i]) && strcmp(addresses->address[i].interface, name) == 0)
            return;
    if (rtnetlink_find_link(&addresses->rtnetlink, name, &link) < 0 || strcmp(link.alias, ADDRESSES_ALIAS) != 0)
        return;
    struct count count = {.index = link.index};
    int result = rtnetlink_each_address(&addresses->rtnetlink, count_address, &count);
    if (result == 0 && count.addresses > 0)
        return; /* one who runs beside us has it now */
    if (result == 0)
        result = rtnetlink_delete_link(&addresses->rtnetlink, link.index);
    if (result < 0)
        log_error("interface cannot be removed", log_s("interface", name), log_s("reason", reason_text(result)));
    else
        log_info("interface removed", log_s("interface", name));
}

/* Entries that lost their last use: the caller has looked at the node, and has not freed them yet. */
static void release(struct addresses *addresses, struct node_address *address)
{
    address->in_use = address->wanted = address->draining = false;
    take_away(addresses, address, clock_ms());
    remove_interface(addresses, address->interface);
    *address = (struct node_address){.state = NODE_ADDRESS_NEW};
}

/* Releases every entry that has no other use than those of which(). */
static void release_where(struct addresses *addresses, bool (*which)(const struct node_address *address))
{
    bool looked = false;

    for (struct node_address *a = addresses->address; a < addresses->address + ADDRESSES_MAX; a++) {
        if (!is_used(a) || !which(a))
            continue;
        if (!looked && look(addresses, clock_ms()) < 0)
            return; /* the kernel does it when the lifetimes end */
        looked = true;
        release(addresses, a);
    }
}

/* ---- changes of the configuration ---- */

void addresses_init(struct addresses *addresses, struct ev_loop *loop)
{
    memset(addresses, 0, sizeof *addresses);
    addresses->loop = loop;
    addresses->rtnetlink.fd = -1;
    ev_io_init(&addresses->changes, on_changes, -1, EV_READ);
    addresses->changes.data = addresses;
}

/* Announcements first: what changes after the first look is heard. */
static int open_sockets(struct addresses *addresses)
{
    if (addresses->rtnetlink.fd >= 0)
        return 0;
    int fd = rtnetlink_watch();
    if (fd < 0)
        return fd;
    int result = rtnetlink_open(&addresses->rtnetlink);
    if (result < 0) {
        close(fd);
        return result;
    }
    ev_io_set(&addresses->changes, fd, EV_READ);
    ev_io_start(addresses->loop, &addresses->changes);
    return 0;
}

static int hold_wanted(struct addresses *addresses, const struct node_address **failed)
{
    int result = look(addresses, clock_ms());

    for (struct node_address *a = addresses->address; a < addresses->address + ADDRESSES_MAX && result == 0; a++) {
        if (!a->wanted || a->in_use)
            continue; /* what is in use is held anyhow */
        *failed = a;
        result = hold(addresses, a);
    }
    return result;
}

static bool describe_failure(const struct node_address *failed, int result, char *error)
{
    char text[ENDPOINT_TEXT];

    if (failed == NULL)
        snprintf(error, SOCKETS_ERROR, "cannot read the node's addresses: %s", strerror(-result));
    else
        snprintf(error, SOCKETS_ERROR, "cannot add %s to interface %s: %s",
                 endpoint_format_address(&failed->endpoint, text), failed->interface, reason_text(result));
    return false;
}

bool addresses_prepare(struct addresses *addresses, const struct config *config, char *error)
{
    const struct node_address *failed = NULL;

    if (!config->manage_address)
        return true;
    int result = open_sockets(addresses);
    if (result < 0)
        return describe_failure(NULL, result, error);
    want(addresses, config);
    result = hold_wanted(addresses, &failed);
    if (result == 0)
        return true;
    describe_failure(failed, result, error);
    addresses_abandon(addresses);
    return false;
}

void addresses_commit(struct addresses *addresses)
{
    for (struct node_address *a = addresses->address; a < addresses->address + ADDRESSES_MAX; a++) {
        a->draining = a->draining || (a->in_use && !a->wanted);
        a->in_use = a->wanted;
        a->wanted = false;
    }
}

static bool is_only_wanted(const struct node_address *address)
{
    return address->wanted && !address->in_use && !address->draining;
}

static bool is_only_draining(const struct node_address *address)
{
    return address->draining && !address->in_use && !address->wanted;
}

void addresses_abandon(struct addresses *addresses)
{
    release_where(addresses, is_only_wanted);
    for (size_t i = 0; i < ADDRESSES_MAX; i++)
        addresses->address[i].wanted = false;
}

void addresses_drained(struct addresses *addresses)
{
    release_where(addresses, is_only_draining);
    for (size_t i = 0; i < ADDRESSES_MAX; i++)
        addresses->address[i].draining = false;
}

void addresses_close(struct addresses *addresses)
{
    if (addresses->rtnetlink.fd < 0)
        return;
    release_where(addresses, is_used);
    ev_io_stop(addresses->loop, &addresses->changes);
    close(addresses->changes.fd);
    rtnetlink_close(&addresses->rtnetlink);
}

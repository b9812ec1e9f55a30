/* The listen addresses on a node that is played here: the kernel's side of rtnetlink.h, with dummy devices or without. */
#include "nodedot/base/clock.h"
#include "nodedot/node/addresses.h"
#include "nodedot/node/sockets.h"
#include "nodedot/observe/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LINKS 4
#define LO    1

/* --- the node that is played ---------------------------------------------------------------------------------------- */

static struct link {
    char name[IFNAMSIZ];
    bool exists, up;
    char alias[RTNETLINK_ALIAS];
} links[LINKS + 1]; /* by index, which begins at 1 */

static struct rtnetlink_address held[2 * ADDRESSES_MAX]; /* index 0: none */
static int make_result, put_result, look_result;
static unsigned puts_done, looks_done;
static int next_link;

static struct config config;
static struct addresses addresses;
static struct ev_loop *loop;
static char error[SOCKETS_ERROR];

int rtnetlink_open(struct rtnetlink *rtnetlink)
{
    rtnetlink->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return rtnetlink->fd < 0 ? -errno : 0;
}

void rtnetlink_close(struct rtnetlink *rtnetlink)
{
    close(rtnetlink->fd);
    rtnetlink->fd = -1;
}

int rtnetlink_watch(void)
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    close(ends[1]);
    return ends[0];
}

void rtnetlink_read_events(int fd, void (*each)(void *owner, const struct rtnetlink_event *event), void *owner)
{
    (void)fd, (void)each, (void)owner;
}

int rtnetlink_find_link(struct rtnetlink *rtnetlink, const char *name, struct rtnetlink_link *out)
{
    (void)rtnetlink;
    *out = (struct rtnetlink_link){.index = 0};
    for (int i = LO; i <= LINKS; i++) {
        if (!links[i].exists || strcmp(links[i].name, name) != 0)
            continue;
        *out = (struct rtnetlink_link){.index = i, .up = links[i].up};
        strcpy(out->alias, links[i].alias);
        return 0;
    }
    return -ENODEV;
}

static int add_link(const char *name, bool up)
{
    links[next_link] = (struct link){.exists = true, .up = up};
    strcpy(links[next_link].name, name);
    return next_link++;
}

int rtnetlink_make_dummy(struct rtnetlink *rtnetlink, const char *name)
{
    struct rtnetlink_link there;

    if (make_result < 0)
        return make_result;
    if (rtnetlink_find_link(rtnetlink, name, &there) == 0)
        return -EEXIST;
    add_link(name, false);
    return 0;
}

int rtnetlink_set_up(struct rtnetlink *rtnetlink, int index, const char *alias)
{
    (void)rtnetlink;
    links[index].up = true;
    if (alias != NULL)
        strcpy(links[index].alias, alias);
    return 0;
}

static struct rtnetlink_address *find_held(int index, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < sizeof held / sizeof held[0]; i++)
        if (held[i].index != 0 && held[i].index == index && endpoint_equal(&held[i].endpoint, endpoint))
            return &held[i];
    return NULL;
}

int rtnetlink_delete_link(struct rtnetlink *rtnetlink, int index)
{
    (void)rtnetlink;
    links[index].exists = false;
    for (size_t i = 0; i < sizeof held / sizeof held[0]; i++)
        if (held[i].index == index)
            held[i].index = 0;
    return 0;
}

static void put(int index, const struct endpoint *endpoint, uint32_t valid_s)
{
    struct rtnetlink_address *at = find_held(index, endpoint);

    for (size_t i = 0; at == NULL; i++)
        if (held[i].index == 0)
            at = &held[i];
    *at = (struct rtnetlink_address){.endpoint = *endpoint, .index = index, .valid_s = valid_s};
}

int rtnetlink_put_address(struct rtnetlink *rtnetlink, int index, const struct endpoint *endpoint, uint32_t valid_s)
{
    (void)rtnetlink;
    if (put_result < 0)
        return put_result;
    assert_true(index >= LO && links[index].exists && links[index].up);
    put(index, endpoint, valid_s);
    puts_done++;
    return 0;
}

int rtnetlink_delete_address(struct rtnetlink *rtnetlink, int index, const struct endpoint *endpoint)
{
    struct rtnetlink_address *at = find_held(index, endpoint);

    (void)rtnetlink;
    if (at == NULL)
        return -EADDRNOTAVAIL;
    at->index = 0;
    return 0;
}

int rtnetlink_each_address(struct rtnetlink *rtnetlink,
                           void (*each)(void *owner, const struct rtnetlink_address *address), void *owner)
{
    (void)rtnetlink;
    looks_done++;
    for (size_t i = 0; i < sizeof held / sizeof held[0] && look_result == 0; i++)
        if (held[i].index != 0)
            each(owner, &held[i]);
    return look_result;
}

/* --- steps ---------------------------------------------------------------------------------------------------------- */

static struct endpoint endpoint_of(const char *text)
{
    struct endpoint endpoint;

    assert_true(endpoint_parse(text, 53, &endpoint));
    endpoint_set_port(&endpoint, 0);
    return endpoint;
}

static void listen_on(const char *const *texts, size_t count)
{
    config.listen_count = count;
    for (size_t i = 0; i < count; i++)
        assert_true(endpoint_parse(texts[i], 53, &config.listens[i]));
}

#define LISTEN_ON(...) \
    listen_on((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static bool prepare(void)
{
    return addresses_prepare(&addresses, &config, error);
}

/* As a reload does it whose old generation has ended. */
static void take_over(void)
{
    assert_true(prepare());
    addresses_commit(&addresses);
    addresses_drained(&addresses);
}

static uint32_t valid_on(int index, const char *text)
{
    struct endpoint endpoint = endpoint_of(text);
    const struct rtnetlink_address *at = find_held(index, &endpoint);

    return at == NULL ? 0 : at->valid_s;
}

static size_t held_count(void)
{
    size_t count = 0;

    for (size_t i = 0; i < sizeof held / sizeof held[0]; i++)
        count += held[i].index != 0;
    return count;
}

static int index_of(const char *name)
{
    struct rtnetlink_link link;

    rtnetlink_find_link(NULL, name, &link);
    return link.index;
}

static int set_up(void **state)
{
    (void)state;
    memset(links, 0, sizeof links);
    memset(held, 0, sizeof held);
    memset(&config, 0, sizeof config);
    make_result = put_result = look_result = 0;
    puts_done = looks_done = 0;
    next_link = LO;
    add_link("lo", true);
    config.manage_address = true;
    strcpy(config.interface, "nodedot0");
    LISTEN_ON("169.254.20.10", "[fd00::10]:53");
    loop = ev_loop_new(0);
    addresses_init(&addresses, loop);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    addresses_close(&addresses);
    ev_loop_destroy(loop);
    return 0;
}

/* --- where they are ------------------------------------------------------------------------------------------------- */

static void both_families_go_to_a_dummy_interface_that_bears_our_mark(void **state)
{
    (void)state;
    take_over();
    int index = index_of("nodedot0");
    assert_int_not_equal(index, 0);
    assert_string_equal(links[index].alias, ADDRESSES_ALIAS);
    assert_int_equal(valid_on(index, "169.254.20.10"), ADDRESSES_LIFETIME_S);
    assert_int_equal(valid_on(index, "fd00::10"), ADDRESSES_LIFETIME_S);
    assert_int_equal(held_count(), 2);
}

static void address_and_interface_go_at_the_end(void **state)
{
    (void)state;
    take_over();
    addresses_close(&addresses);
    assert_int_equal(held_count(), 0);
    assert_int_equal(index_of("nodedot0"), 0);
}

static void an_interface_without_our_mark_stays(void **state)
{
    (void)state;
    int index = add_link("nodedot0", false);
    take_over();
    assert_int_equal(valid_on(index, "fd00::10"), ADDRESSES_LIFETIME_S);
    addresses_close(&addresses);
    assert_int_equal(held_count(), 0);
    assert_int_equal(index_of("nodedot0"), index);
}

static void an_interface_that_a_killed_one_made_goes_as_well(void **state)
{
    (void)state;
    int index = add_link("nodedot0", true);
    strcpy(links[index].alias, ADDRESSES_ALIAS);
    take_over();
    addresses_close(&addresses);
    assert_int_equal(index_of("nodedot0"), 0);
}

static void an_interface_that_has_more_addresses_stays(void **state)
{
    struct endpoint other = endpoint_of("192.0.2.1");

    (void)state;
    take_over();
    put(index_of("nodedot0"), &other, RTNETLINK_FOREVER);
    addresses_close(&addresses);
    assert_int_not_equal(index_of("nodedot0"), 0);
    assert_int_equal(held_count(), 1);
}

static void an_interface_with_nothing_but_a_link_local_address_goes(void **state)
{
    struct endpoint link_local = endpoint_of("fe80::1");

    (void)state;
    take_over();
    put(index_of("nodedot0"), &link_local, RTNETLINK_FOREVER);
    addresses_close(&addresses);
    assert_int_equal(index_of("nodedot0"), 0);
}

static void without_a_dummy_device_they_go_to_lo(void **state)
{
    (void)state;
    make_result = -EOPNOTSUPP;
    take_over();
    assert_int_equal(valid_on(LO, "169.254.20.10"), ADDRESSES_LIFETIME_S);
    assert_int_equal(valid_on(LO, "fd00::10"), ADDRESSES_LIFETIME_S);
    addresses_close(&addresses);
    assert_int_equal(held_count(), 0);
}

static void wildcards_loopback_and_link_local_addresses_are_nobodys_business(void **state)
{
    (void)state;
    LISTEN_ON("0.0.0.0", "[::]:53", "127.0.0.1", "127.255.255.255", "[::1]:53", "[fe80::1%lo]:53");
    put_result = make_result = -EPERM;
    take_over();
    LISTEN_ON("128.0.0.0");
    assert_false(prepare());
    LISTEN_ON("126.255.255.255");
    assert_false(prepare());
}

static void two_ports_of_one_address_are_one_address(void **state)
{
    (void)state;
    LISTEN_ON("169.254.20.10:53", "169.254.20.10:5353");
    take_over();
    assert_int_equal(held_count(), 1);
}

static void all_that_can_be_listened_on_and_as_many_next_have_room(void **state)
{
    (void)state;
    char texts[CONFIG_LISTENS][16];
    const char *list[CONFIG_LISTENS];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CONFIG_LISTENS; i++) {
            snprintf(texts[i], sizeof texts[i], "10.%d.0.%d", round, i);
            list[i] = texts[i];
        }
        listen_on(list, CONFIG_LISTENS);
        assert_true(prepare());
        addresses_commit(&addresses);
        if (round < 1)
            addresses_drained(&addresses);
    }
    assert_int_equal(held_count(), 3 * CONFIG_LISTENS);
    addresses_drained(&addresses);
    assert_int_equal(held_count(), CONFIG_LISTENS);
}

/* --- whose they are ------------------------------------------------------------------------------------------------- */

static void one_without_an_end_is_left_as_it_is(void **state)
{
    struct endpoint there = endpoint_of("169.254.20.10");
    int eth0 = add_link("eth0", true);

    (void)state;
    put(eth0, &there, RTNETLINK_FOREVER);
    take_over();
    assert_int_equal(valid_on(eth0, "169.254.20.10"), RTNETLINK_FOREVER);
    assert_int_equal(held_count(), 2);
    addresses_close(&addresses);
    assert_int_equal(held_count(), 1);
}

static void one_with_an_end_on_lo_is_taken_over_there(void **state)
{
    struct endpoint there = endpoint_of("169.254.20.10");

    (void)state;
    LISTEN_ON("169.254.20.10");
    put(LO, &there, 7);
    take_over();
    assert_int_equal(valid_on(LO, "169.254.20.10"), ADDRESSES_LIFETIME_S);
    assert_int_equal(held_count(), 1);
    addresses_close(&addresses);
    assert_int_equal(held_count(), 0);
}

static void one_that_somebody_else_renews_is_left_to_them(void **state)
{
    struct endpoint there = endpoint_of("169.254.20.10");

    (void)state;
    take_over();
    put(index_of("nodedot0"), &there, ADDRESSES_LIFETIME_S + 2); /* as if ours were 2 s old, and theirs new */
    addresses_close(&addresses);
    assert_int_equal(held_count(), 1);
    assert_int_not_equal(index_of("nodedot0"), 0);
}

static void our_own_renewal_is_not_taken_for_somebody_elses(void **state)
{
    (void)state;
    take_over();
    addresses_tick(&addresses, clock_ms());
    assert_int_equal(puts_done, 4);
    addresses_close(&addresses);
    assert_int_equal(held_count(), 0);
}

/* --- changes -------------------------------------------------------------------------------------------------------- */

static void what_a_reload_drops_stays_until_the_old_generation_has_drained(void **state)
{
    (void)state;
    take_over();
    LISTEN_ON("[fd00::20]:53");
    assert_true(prepare());
    assert_int_equal(held_count(), 3);
    addresses_commit(&addresses);
    assert_int_equal(held_count(), 3);
    addresses_drained(&addresses);
    assert_int_equal(held_count(), 1);
    assert_int_equal(valid_on(index_of("nodedot0"), "fd00::20"), ADDRESSES_LIFETIME_S);
}

static void an_abandoned_change_leaves_what_is_in_use(void **state)
{
    (void)state;
    take_over();
    LISTEN_ON("169.254.20.10", "192.0.2.1");
    assert_true(prepare());
    assert_int_equal(held_count(), 3);
    addresses_abandon(&addresses);
    assert_int_equal(held_count(), 2);
    assert_int_equal(valid_on(index_of("nodedot0"), "fd00::10"), ADDRESSES_LIFETIME_S);
}

static void a_reload_to_another_interface_is_there_before_it_leaves_the_old(void **state)
{
    (void)state;
    take_over();
    strcpy(config.interface, "other0");
    assert_true(prepare());
    assert_int_equal(held_count(), 4);
    addresses_commit(&addresses);
    addresses_drained(&addresses);
    assert_int_equal(held_count(), 2);
    assert_int_equal(valid_on(index_of("other0"), "fd00::10"), ADDRESSES_LIFETIME_S);
    assert_int_equal(index_of("nodedot0"), 0);
}

static void another_name_for_lo_does_not_take_them_off_lo(void **state)
{
    (void)state;
    make_result = -EOPNOTSUPP;
    take_over();
    strcpy(config.interface, "other0");
    take_over();
    assert_int_equal(held_count(), 2);
    assert_int_equal(valid_on(LO, "fd00::10"), ADDRESSES_LIFETIME_S);
    addresses_close(&addresses);
    assert_int_equal(held_count(), 0);
}

static void switched_off_it_asks_the_kernel_nothing(void **state)
{
    (void)state;
    config.manage_address = false;
    take_over();
    addresses_tick(&addresses, clock_ms());
    assert_int_equal(looks_done, 0);
    assert_int_equal(addresses.rtnetlink.fd, -1);
}

/* --- time and failures ---------------------------------------------------------------------------------------------- */

static void they_are_renewed_when_it_is_time_and_not_before(void **state)
{
    uint64_t now_ms = clock_ms();

    (void)state;
    take_over();
    addresses_tick(&addresses, now_ms);
    assert_int_equal(puts_done, 4);
    addresses_tick(&addresses, now_ms + ADDRESSES_RENEW_MS - 1);
    assert_int_equal(puts_done, 4);
    addresses_tick(&addresses, now_ms + ADDRESSES_RENEW_MS);
    assert_int_equal(puts_done, 6);
}

static void a_renewal_that_fails_is_tried_again_after_a_second(void **state)
{
    uint64_t now_ms = clock_ms();

    (void)state;
    take_over();
    put_result = -ENOBUFS;
    addresses_tick(&addresses, now_ms);
    put_result = 0;
    addresses_tick(&addresses, now_ms + 999);
    assert_int_equal(puts_done, 2);
    addresses_tick(&addresses, now_ms + 1000);
    assert_int_equal(puts_done, 4);
}

static void a_node_that_cannot_be_read_keeps_what_it_has(void **state)
{
    uint64_t now_ms = clock_ms();

    (void)state;
    take_over();
    look_result = -ETIMEDOUT;
    addresses_tick(&addresses, now_ms);
    assert_int_equal(held_count(), 2);
    look_result = 0;
    addresses_tick(&addresses, now_ms + 1000);
    assert_int_equal(puts_done, 4);
}

static void without_the_right_to_it_the_address_and_the_capability_are_named(void **state)
{
    static const char why[] = "cannot add 169.254.20.10 to interface nodedot0: the capability NET_ADMIN is missing "
                              "(a start with manage-address = no gives it up)";

    (void)state;
    make_result = -EPERM;
    assert_false(prepare());
    assert_string_equal(error, why);
    make_result = -EOPNOTSUPP;
    put_result = -EPERM;
    assert_false(prepare());
    assert_string_equal(error, why);
}

static void what_fails_in_the_middle_is_taken_back(void **state)
{
    struct endpoint first = endpoint_of("169.254.20.10");

    (void)state;
    int eth0 = add_link("eth0", true);
    put(eth0, &first, RTNETLINK_FOREVER);
    put_result = -EACCES;
    assert_false(prepare());
    assert_string_equal(error, "cannot add fd00::10 to interface nodedot0: IPv6 is disabled on this interface");
    assert_int_equal(held_count(), 1);
    assert_int_equal(index_of("nodedot0"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(both_families_go_to_a_dummy_interface_that_bears_our_mark),
        TEST(address_and_interface_go_at_the_end),
        TEST(an_interface_without_our_mark_stays),
        TEST(an_interface_that_a_killed_one_made_goes_as_well),
        TEST(an_interface_that_has_more_addresses_stays),
        TEST(an_interface_with_nothing_but_a_link_local_address_goes),
        TEST(without_a_dummy_device_they_go_to_lo),
        TEST(wildcards_loopback_and_link_local_addresses_are_nobodys_business),
        TEST(two_ports_of_one_address_are_one_address),
        TEST(all_that_can_be_listened_on_and_as_many_next_have_room),
        TEST(one_without_an_end_is_left_as_it_is),
        TEST(one_with_an_end_on_lo_is_taken_over_there),
        TEST(one_that_somebody_else_renews_is_left_to_them),
        TEST(our_own_renewal_is_not_taken_for_somebody_elses),
        TEST(what_a_reload_drops_stays_until_the_old_generation_has_drained),
        TEST(an_abandoned_change_leaves_what_is_in_use),
        TEST(a_reload_to_another_interface_is_there_before_it_leaves_the_old),
        TEST(another_name_for_lo_does_not_take_them_off_lo),
        TEST(switched_off_it_asks_the_kernel_nothing),
        TEST(they_are_renewed_when_it_is_time_and_not_before),
        TEST(a_renewal_that_fails_is_tried_again_after_a_second),
        TEST(a_node_that_cannot_be_read_keeps_what_it_has),
        TEST(without_the_right_to_it_the_address_and_the_capability_are_named),
        TEST(what_fails_in_the_middle_is_taken_back),
    };

    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "nodedot/forward/socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Of <linux/in.h>, for both families: no path MTU discovery, and what others say of the path's MTU is not believed. */
#define PMTUDISC_OMIT 5

static struct endpoint parsed(const char *text)
{
    struct endpoint endpoint;

    assert_true(endpoint_parse(text, 853, &endpoint));
    return endpoint;
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static uint16_t local_port(int fd)
{
    struct endpoint local = {.size = sizeof(local.v6)};

    assert_int_equal(getsockname(fd, &local.any, &local.size), 0);
    return endpoint_port(&local);
}

static void expect_no_wait_and_no_heir(int fd)
{
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

static void a_datagram_may_be_fragmented_and_no_icmp_is_believed(void **state)
{
    struct endpoint v4 = parsed("127.0.0.1:53");
    struct endpoint v6 = parsed("[::1]:53");
    int fd4 = socket_open_udp(&v4);
    int fd6 = socket_open_udp(&v6);

    (void)state;
    assert_true(fd4 >= 0);
    assert_int_equal(option_of(fd4, IPPROTO_IP, IP_MTU_DISCOVER), PMTUDISC_OMIT);
    expect_no_wait_and_no_heir(fd4);
    close(fd4);
    if (fd6 < 0)
        skip(); /* a machine without IPv6 */
    assert_int_equal(option_of(fd6, IPPROTO_IPV6, IPV6_MTU_DISCOVER), PMTUDISC_OMIT);
    expect_no_wait_and_no_heir(fd6);
    close(fd6);
}

static void a_datagram_goes_to_one_peer_from_a_port_that_changes(void **state)
{
    enum { SOCKETS = 64 };
    struct endpoint endpoint = parsed("127.0.0.1:53");
    struct endpoint peer = {.size = sizeof(peer.v6)};
    unsigned in_a_row = 0;
    uint16_t last = 0;

    (void)state;
    for (int i = 0; i < SOCKETS; i++) {
        int fd = socket_open_udp(&endpoint);
        uint16_t port = local_port(fd);

        assert_int_equal(getpeername(fd, &peer.any, &peer.size), 0);
        assert_true(endpoint_equal(&peer, &endpoint));
        in_a_row += port == last || port == last + 1 || port == last + 2;
        last = port;
        close(fd);
    }
    assert_in_range(in_a_row, 0, SOCKETS / 8);
}

static void a_stream_writes_at_once_and_gives_up_a_route_that_vanished(void **state)
{
    struct endpoint endpoint = parsed("127.0.0.1:853");
    int fd = socket_open_tcp(&endpoint);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 3000);
    expect_no_wait_and_no_heir(fd);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_datagram_may_be_fragmented_and_no_icmp_is_believed),
        cmocka_unit_test(a_datagram_goes_to_one_peer_from_a_port_that_changes),
        cmocka_unit_test(a_stream_writes_at_once_and_gives_up_a_route_that_vanished),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

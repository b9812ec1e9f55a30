#include "nodedot/base/clock.h"
#include "nodedot/listener/client_answer.h"
#include "nodedot/listener/udp.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

/* Queries of these tests: what to do with it, its number, the octets of the answer, then octets equal to the number. */
#define QUERY_HEADER 5
enum { ANSWER = 'a', ANSWER_LATER = 'l', NO_ANSWER = 'n' };

#define SEEN_MAX    2048
#define PATIENCE_MS 3000 /* a machine that is this slow fails the test */

/* ---- the kernel, as far as it is made to behave ---- */

static unsigned send_room; /* datagrams that sendmmsg() still takes */
static unsigned sends;
static uint16_t unreachable_port; /* sending there fails */

int sendmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags)
{
    unsigned n = count < send_room ? count : send_room;

    sends++;
    for (unsigned i = 0; i < n; i++) {
        const struct sockaddr_in *to = headers[i].msg_hdr.msg_name;

        if (unreachable_port != 0 && to->sin_port == htons(unreachable_port)) {
            n = i;
            if (i == 0) {
                errno = EHOSTUNREACH;
                return -1;
            }
        }
    }
    if (n == 0) {
        errno = EAGAIN;
        return -1;
    }
    long sent = syscall(SYS_sendmmsg, fd, headers, n, flags);
    if (sent > 0 && send_room != UINT32_MAX)
        send_room -= (unsigned)sent;
    return (int)sent;
}

/* ---- the owner of the listener ---- */

static struct {
    struct ev_loop *loop;
    struct metrics metrics;
    struct udp_input input;
    struct udp_listener listener;
    struct endpoint endpoint;
    int fd;
    uint16_t seen[SEEN_MAX];
    size_t sizes[SEEN_MAX];
    size_t seen_count;
    struct client late[SEEN_MAX];
    size_t late_sizes[SEEN_MAX];
    uint16_t late_numbers[SEEN_MAX];
    size_t late_count;
} server;

static size_t write_answer(uint8_t *out, uint16_t number, size_t size)
{
    memset(out, number & 0xff, size);
    wire_put_u16(out, number);
    return size;
}

static ssize_t on_query(void *owner, const struct client *client, const uint8_t *message, size_t size, uint8_t *out,
                        size_t capacity)
{
    uint16_t number = size >= QUERY_HEADER ? wire_get_u16(message + 1) : 0;
    uint16_t answer = size >= QUERY_HEADER ? wire_get_u16(message + 3) : 0;

    assert_ptr_equal(owner, &server);
    assert_ptr_equal(client->udp, &server.listener);
    assert_true(capacity >= MESSAGE_MAX_OCTETS);
    assert_true(server.seen_count < SEEN_MAX);
    for (size_t i = QUERY_HEADER; i < size; i++)
        assert_int_equal(message[i], number & 0xff);
    server.sizes[server.seen_count] = size;
    server.seen[server.seen_count++] = number;
    if (size < QUERY_HEADER || message[0] == NO_ANSWER)
        return 0;
    if (message[0] == ANSWER)
        return (ssize_t)write_answer(out, number, answer);
    server.late[server.late_count] = *client;
    server.late_numbers[server.late_count] = number;
    server.late_sizes[server.late_count++] = answer;
    return CLIENT_LATER;
}

static bool answer_late(size_t index)
{
    size_t capacity;
    uint8_t *out = client_begin(&server.late[index], &capacity);

    if (out == NULL)
        return false;
    assert_true(capacity >= MESSAGE_MAX_OCTETS);
    client_commit(&server.late[index], write_answer(out, server.late_numbers[index], server.late_sizes[index]));
    return true;
}

static void turn(void)
{
    udp_flush(&server.listener);
    ev_run(server.loop, EVRUN_NOWAIT);
    udp_flush(&server.listener);
}

static void settle(void)
{
    for (int i = 0; i < 10; i++) {
        turn();
        usleep(1000);
    }
}

static void wait_until_seen(size_t count)
{
    uint64_t end = clock_ms() + PATIENCE_MS;

    while (server.seen_count < count && clock_ms() < end)
        turn();
    assert_int_equal(server.seen_count, count);
}

static uint64_t metric(const _Atomic uint64_t *field)
{
    return atomic_load(field);
}

/* Listens at address, whose port is 0, and learns the port. */
static void listen_at(const char *address)
{
    int on = 1;
    int octets = 4 << 20;

    assert_true(endpoint_parse(address, 1, &server.endpoint));
    endpoint_set_port(&server.endpoint, 0);
    int family = server.endpoint.any.sa_family;
    server.fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(server.fd >= 0);
    (void)setsockopt(server.fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof(octets));
    if (family == AF_INET)
        assert_int_equal(setsockopt(server.fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)), 0);
    else
        assert_int_equal(setsockopt(server.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)), 0);
    assert_int_equal(bind(server.fd, &server.endpoint.any, server.endpoint.size), 0);
    assert_int_equal(getsockname(server.fd, &server.endpoint.any, &server.endpoint.size), 0);
    udp_init(&server.listener, server.loop, server.fd, &server.endpoint, &server.input, &server.metrics, on_query,
             &server);
    udp_start(&server.listener);
}

static int set_up(void **state)
{
    (void)state;
    memset(&server, 0, sizeof(server));
    server.loop = ev_loop_new(EVFLAG_AUTO);
    send_room = UINT32_MAX;
    sends = 0;
    unreachable_port = 0;
    return server.loop != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ev_io_stop(server.loop, &server.listener.io);
    close(server.fd);
    ev_loop_destroy(server.loop);
    return 0;
}

/* ---- clients ---- */

/* A client that hears only answers from the very address that it asked. */
static int peer_open(const char *address)
{
    struct endpoint to;
    int octets = 4 << 20;

    assert_true(endpoint_parse(address, 1, &to));
    endpoint_set_port(&to, endpoint_port(&server.endpoint));
    int fd = socket(to.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof(octets));
    assert_int_equal(connect(fd, &to.any, to.size), 0);
    return fd;
}

static uint16_t port_of(int fd)
{
    struct endpoint endpoint = {.size = sizeof(endpoint.v6)};

    assert_int_equal(getsockname(fd, &endpoint.any, &endpoint.size), 0);
    return endpoint_port(&endpoint);
}

static void peer_ask(int fd, char kind, uint16_t number, size_t answer, size_t size)
{
    uint8_t query[4096];

    memset(query, number & 0xff, size);
    query[0] = (uint8_t)kind;
    wire_put_u16(query + 1, number);
    wire_put_u16(query + 3, (uint16_t)answer);
    assert_int_equal(write(fd, query, size), size);
}

static void expect_answer(int fd, uint16_t number, size_t size)
{
    static uint8_t in[MESSAGE_MAX_OCTETS];
    uint64_t end = clock_ms() + PATIENCE_MS;
    ssize_t n;

    while ((n = recv(fd, in, sizeof(in), 0)) < 0 && clock_ms() < end)
        turn();
    assert_int_equal(n, size);
    assert_int_equal(wire_get_u16(in), number);
    for (size_t i = 2; i < size; i++)
        assert_int_equal(in[i], number & 0xff);
}

static void expect_nothing(int fd)
{
    uint8_t octet;

    settle();
    assert_int_equal(recv(fd, &octet, 1, 0), -1);
}

/* ---- tests ---- */

static void a_query_is_answered_over_both_families(void **state)
{
    static const char *const addresses[] = {"127.0.0.1", "::1"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        listen_at(addresses[i]);
        int fd = peer_open(addresses[i]);
        peer_ask(fd, ANSWER, 7, 100, 30);
        expect_answer(fd, 7, 100);
        expect_nothing(fd);
        close(fd);
        if (i == 0) {
            ev_io_stop(server.loop, &server.listener.io);
            close(server.fd);
        }
    }
    assert_true(metric(&server.metrics.answers_total) == 2);
}

static void a_batch_is_answered_in_one_system_call(void **state)
{
    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    for (uint16_t i = 0; i < UDP_BATCH; i++)
        peer_ask(fd, ANSWER, i, 100, 30);
    wait_until_seen(UDP_BATCH);
    assert_int_equal(sends, 1);
    for (uint16_t i = 0; i < UDP_BATCH; i++)
        expect_answer(fd, i, 100);
    close(fd);
}

static void more_queries_than_a_batch_are_all_answered(void **state)
{
    static const uint16_t counts[] = {1, UDP_BATCH - 1, UDP_BATCH + 1, 2 * UDP_BATCH, 1000};

    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        server.seen_count = 0;
        for (uint16_t i = 0; i < counts[c]; i++)
            peer_ask(fd, ANSWER, i, 50u + i % 50, 30);
        for (uint16_t i = 0; i < counts[c]; i++)
            expect_answer(fd, i, 50u + i % 50);
        expect_nothing(fd);
        assert_int_equal(server.seen_count, counts[c]);
    }
    assert_true(udp_is_idle(&server.listener));
    close(fd);
}

static void each_client_has_its_own_answer(void **state)
{
    enum { PEERS = 100 };
    int fds[PEERS];

    (void)state;
    listen_at("127.0.0.1");
    for (uint16_t i = 0; i < PEERS; i++) {
        fds[i] = peer_open("127.0.0.1");
        peer_ask(fds[i], i % 3 == 0 ? ANSWER_LATER : ANSWER, i, 60, 30);
    }
    wait_until_seen(PEERS);
    for (size_t i = server.late_count; i-- > 0;)
        assert_true(answer_late(i));
    for (uint16_t i = 0; i < PEERS; i++) {
        expect_answer(fds[i], i, 60);
        close(fds[i]);
    }
}

static void late_answers_of_one_turn_leave_together(void **state)
{
    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    for (uint16_t i = 0; i < 10; i++)
        peer_ask(fd, ANSWER_LATER, i, 60, 30);
    wait_until_seen(10);
    expect_nothing(fd);
    assert_int_equal(sends, 0);
    for (size_t i = 0; i < 10; i++)
        assert_true(answer_late(i));
    assert_int_equal(sends, 0);
    assert_false(udp_is_idle(&server.listener));
    for (uint16_t i = 0; i < 10; i++)
        expect_answer(fd, i, 60);
    assert_int_equal(sends, 1);
    assert_true(udp_is_idle(&server.listener));
    close(fd);
}

static void more_late_answers_than_a_batch_do_not_wait_for_the_flush(void **state)
{
    enum { QUERIES = 3 * UDP_BATCH };

    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    for (uint16_t i = 0; i < QUERIES; i++)
        peer_ask(fd, ANSWER_LATER, i, EDNS_UDP_SIZE, 30);
    wait_until_seen(QUERIES);
    for (size_t i = 0; i < QUERIES; i++)
        assert_true(answer_late(i));
    for (uint16_t i = 0; i < QUERIES; i++)
        expect_answer(fd, i, EDNS_UDP_SIZE);
    close(fd);
}

static void no_answer_is_no_datagram(void **state)
{
    size_t capacity;

    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    peer_ask(fd, NO_ANSWER, 1, 60, 30);
    peer_ask(fd, ANSWER_LATER, 2, 60, 30);
    wait_until_seen(2);
    assert_non_null(client_begin(&server.late[0], &capacity));
    client_commit(&server.late[0], 0);
    expect_nothing(fd);
    assert_true(udp_is_idle(&server.listener));
    close(fd);
}

static void an_empty_datagram_is_handed_up(void **state)
{
    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    assert_int_equal(send(fd, "", 0, 0), 0);
    peer_ask(fd, ANSWER, 2, 60, 30);
    expect_answer(fd, 2, 60);
    assert_int_equal(server.seen_count, 2);
    assert_int_equal(server.sizes[0], 0);
    close(fd);
}

static void a_query_that_is_too_long_is_told_by_one_octet_more(void **state)
{
    static const size_t sizes[] = {EDNS_UDP_SIZE - 1, EDNS_UDP_SIZE, EDNS_UDP_SIZE + 1, EDNS_UDP_SIZE + 2, 4096};

    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    for (size_t i = 0; i < 5; i++)
        peer_ask(fd, ANSWER, (uint16_t)i, 60, sizes[i]);
    for (uint16_t i = 0; i < 5; i++) {
        expect_answer(fd, i, 60);
        assert_int_equal(server.sizes[i], sizes[i] < UDP_QUERY_MAX ? sizes[i] : UDP_QUERY_MAX);
    }
    close(fd);
}

static void a_wildcard_socket_answers_from_the_address_that_was_asked(void **state)
{
    (void)state;
    listen_at("0.0.0.0");
    int first = peer_open("127.0.0.1");
    int second = peer_open("127.1.2.3");
    for (uint16_t i = 0; i < 100; i++) {
        peer_ask(first, i % 2 == 0 ? ANSWER : ANSWER_LATER, i, 60, 30);
        peer_ask(second, i % 2 == 0 ? ANSWER : ANSWER_LATER, i, 61, 30);
    }
    wait_until_seen(200);
    for (size_t i = 0; i < server.late_count; i++)
        assert_true(answer_late(i));
    for (uint16_t i = 0; i < 100; i += 2) {
        expect_answer(first, i, 60);
        expect_answer(second, i, 61);
    }
    for (uint16_t i = 1; i < 100; i += 2) {
        expect_answer(first, i, 60);
        expect_answer(second, i, 61);
    }
    close(first);
    close(second);
}

static void a_wildcard_socket_of_ipv6_does_so_too(void **state)
{
    (void)state;
    listen_at("::");
    int fd = peer_open("::1");
    peer_ask(fd, ANSWER, 1, 60, 30);
    peer_ask(fd, ANSWER_LATER, 2, 60, 30);
    expect_answer(fd, 1, 60);
    assert_true(answer_late(0));
    expect_answer(fd, 2, 60);
    close(fd);
}

/* ---- a full send buffer ---- */

static void a_full_send_buffer_stops_reading_and_loses_nothing(void **state)
{
    enum { QUERIES = 5 * UDP_BATCH };

    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    send_room = 10;
    for (uint16_t i = 0; i < QUERIES; i++)
        peer_ask(fd, ANSWER, i, EDNS_UDP_SIZE, 30);
    settle();
    assert_int_equal(server.seen_count, UDP_BATCH); /* the others are better off in the kernel */
    assert_false(udp_is_idle(&server.listener));
    for (uint16_t i = 0; i < 10; i++)
        expect_answer(fd, i, EDNS_UDP_SIZE);
    expect_nothing(fd);
    send_room = 7;
    settle();
    send_room = UINT32_MAX;
    for (uint16_t i = 10; i < QUERIES; i++)
        expect_answer(fd, i, EDNS_UDP_SIZE);
    assert_true(udp_is_idle(&server.listener));
    assert_true(metric(&server.metrics.dropped_send_total) == 0);
    assert_true(metric(&server.metrics.answers_total) == QUERIES);
    close(fd);
}

static void late_answers_beyond_a_batch_are_dropped_while_the_kernel_takes_none(void **state)
{
    enum { QUERIES = UDP_BATCH + 10 };

    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    for (uint16_t i = 0; i < QUERIES; i++)
        peer_ask(fd, ANSWER_LATER, i, 60, 30);
    wait_until_seen(QUERIES);
    send_room = 0;
    for (size_t i = 0; i < QUERIES; i++)
        assert_int_equal(answer_late(i), i < UDP_BATCH);
    assert_true(metric(&server.metrics.dropped_send_total) == QUERIES - UDP_BATCH);
    settle();
    send_room = UINT32_MAX;
    for (uint16_t i = 0; i < UDP_BATCH; i++)
        expect_answer(fd, i, 60);
    expect_nothing(fd);
    close(fd);
}

static void a_wildcard_socket_keeps_the_addresses_of_answers_that_wait(void **state)
{
    (void)state;
    listen_at("0.0.0.0");
    int first = peer_open("127.0.0.1");
    int second = peer_open("127.1.2.3");
    send_room = 1;
    for (uint16_t i = 0; i < 20; i++)
        peer_ask(i % 2 == 0 ? first : second, ANSWER, i, 60, 30);
    settle();
    send_room = 3;
    settle();
    send_room = UINT32_MAX;
    for (uint16_t i = 0; i < 20; i++)
        expect_answer(i % 2 == 0 ? first : second, i, 60);
    close(first);
    close(second);
}

static void a_client_that_cannot_be_reached_does_not_harm_the_others(void **state)
{
    int fds[3];

    (void)state;
    listen_at("127.0.0.1");
    for (int i = 0; i < 3; i++)
        fds[i] = peer_open("127.0.0.1");
    unreachable_port = port_of(fds[1]);
    for (uint16_t i = 0; i < 30; i++)
        peer_ask(fds[i % 3], ANSWER, i, 60, 30);
    for (uint16_t i = 0; i < 30; i++)
        if (i % 3 != 1)
            expect_answer(fds[i % 3], i, 60);
    expect_nothing(fds[1]);
    assert_true(metric(&server.metrics.dropped_send_total) == 10);
    assert_true(metric(&server.metrics.answers_total) == 20);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

/* ---- the end ---- */

static void a_stopped_listener_reads_no_more_but_sends_late_answers(void **state)
{
    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    peer_ask(fd, ANSWER_LATER, 1, 60, 30);
    wait_until_seen(1);
    peer_ask(fd, ANSWER, 2, 60, 30);
    udp_stop(&server.listener, false);
    expect_nothing(fd);
    assert_int_equal(server.seen_count, 1);
    assert_true(answer_late(0));
    expect_answer(fd, 1, 60);
    close(fd);
}

static void what_waits_in_the_socket_is_read_when_nobody_else_will(void **state)
{
    enum { QUERIES = 10 * UDP_BATCH + 1 };

    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    for (uint16_t i = 0; i < QUERIES; i++)
        peer_ask(fd, ANSWER, i, 60, 30);
    udp_stop(&server.listener, true);
    assert_int_equal(server.seen_count, QUERIES);
    for (uint16_t i = 0; i < QUERIES; i++)
        expect_answer(fd, i, 60);
    peer_ask(fd, ANSWER, 1, 60, 30);
    expect_nothing(fd);
    udp_stop(&server.listener, true); /* it is stopped already */
    assert_int_equal(server.seen_count, QUERIES);
    close(fd);
}

static void what_waits_in_a_socket_that_was_taken_out_of_service_is_read(void **state)
{
    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    for (uint16_t i = 0; i < 3; i++)
        peer_ask(fd, ANSWER, i, 60, 30);
    assert_int_equal(connect(server.listener.fd, &server.listener.endpoint->any, server.listener.endpoint->size), 0);
    peer_ask(fd, ANSWER, 3, 60, 30); /* too late */
    udp_stop(&server.listener, false);
    assert_int_equal(server.seen_count, 3);
    for (uint16_t i = 0; i < 3; i++)
        expect_answer(fd, i, 60);
    close(fd);
}

static void what_waits_behind_a_full_send_buffer_is_read_in_the_end_too(void **state)
{
    enum { QUERIES = 3 * UDP_BATCH };

    (void)state;
    listen_at("127.0.0.1");
    int fd = peer_open("127.0.0.1");
    for (uint16_t i = 0; i < QUERIES; i++)
        peer_ask(fd, ANSWER, i, 60, 30);
    send_room = 0;
    udp_stop(&server.listener, true);
    send_room = UINT32_MAX;
    for (uint16_t i = 0; i < QUERIES; i++)
        expect_answer(fd, i, 60);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_query_is_answered_over_both_families),
        TEST(a_batch_is_answered_in_one_system_call),
        TEST(more_queries_than_a_batch_are_all_answered),
        TEST(each_client_has_its_own_answer),
        TEST(late_answers_of_one_turn_leave_together),
        TEST(more_late_answers_than_a_batch_do_not_wait_for_the_flush),
        TEST(no_answer_is_no_datagram),
        TEST(an_empty_datagram_is_handed_up),
        TEST(a_query_that_is_too_long_is_told_by_one_octet_more),
        TEST(a_wildcard_socket_answers_from_the_address_that_was_asked),
        TEST(a_wildcard_socket_of_ipv6_does_so_too),
        TEST(a_full_send_buffer_stops_reading_and_loses_nothing),
        TEST(late_answers_beyond_a_batch_are_dropped_while_the_kernel_takes_none),
        TEST(a_wildcard_socket_keeps_the_addresses_of_answers_that_wait),
        TEST(a_client_that_cannot_be_reached_does_not_harm_the_others),
        TEST(a_stopped_listener_reads_no_more_but_sends_late_answers),
        TEST(what_waits_in_a_socket_that_was_taken_out_of_service_is_read),
        TEST(what_waits_in_the_socket_is_read_when_nobody_else_will),
        TEST(what_waits_behind_a_full_send_buffer_is_read_in_the_end_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

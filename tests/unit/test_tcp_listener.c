#include "nodedot/base/clock.h"
#include "nodedot/listener/client_answer.h"
#include "nodedot/listener/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

/* Queries of these tests: what to do with it, its number, the octets of the answer, then octets equal to the number. */
#define QUERY_HEADER 5
enum { ANSWER = 'a', ANSWER_LATER = 'l', NO_ANSWER = 'n' };

#define SEEN_MAX    4096
#define PATIENCE_MS 3000 /* a machine that is this slow fails the test */
#define IDLE_MS     150
#define CONNECTIONS 300

static const struct client_prefix prefix = {.ipv4 = 32, .ipv6 = 64};

/* ---- the kernel, as far as it is made to behave ---- */

static size_t send_room; /* octets that send() still takes */
static unsigned sends;

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    ssize_t n;

    sends++;
    if (send_room == 0) {
        errno = EAGAIN;
        return -1;
    }
    n = syscall(SYS_sendto, fd, data, size < send_room ? size : send_room, flags, NULL, 0);
    if (n > 0 && send_room != SIZE_MAX)
        send_room -= (size_t)n;
    return n;
}

/* ---- the owner of the listener ---- */

struct seen {
    size_t size;
    uint16_t number;
};

static struct {
    struct ev_loop *loop;
    struct metrics metrics;
    struct config config;
    struct tcp_listener listener;
    struct quota *quota;
    struct endpoint endpoint;
    int fd;
    bool allow;
    struct seen seen[SEEN_MAX];
    size_t seen_count;
    struct client late[SEEN_MAX];
    struct seen late_answers[SEEN_MAX];
    size_t late_count;
} server;

static size_t write_answer(uint8_t *out, uint16_t number, size_t size)
{
    memset(out, number & 0xff, size);
    if (size >= 2)
        wire_put_u16(out, number);
    return size;
}

static ssize_t on_query(void *owner, const struct client *client, const uint8_t *message, size_t size, uint8_t *out,
                        size_t capacity)
{
    uint16_t number = size >= QUERY_HEADER ? wire_get_u16(message + 1) : 0;
    uint16_t answer = size >= QUERY_HEADER ? wire_get_u16(message + 3) : 0;

    assert_ptr_equal(owner, &server);
    assert_true(capacity >= MESSAGE_MAX_OCTETS);
    assert_null(client->udp);
    assert_true(server.seen_count < SEEN_MAX);
    for (size_t i = QUERY_HEADER; i < size; i++)
        assert_int_equal(message[i], number & 0xff);
    server.seen[server.seen_count++] = (struct seen){.size = size, .number = number};
    if (size < QUERY_HEADER || message[0] == NO_ANSWER)
        return 0;
    if (message[0] == ANSWER)
        return (ssize_t)write_answer(out, number, answer);
    server.late[server.late_count] = *client;
    server.late_answers[server.late_count++] = (struct seen){.size = answer, .number = number};
    return CLIENT_LATER;
}

static bool allowed(void *owner, const struct endpoint *endpoint)
{
    assert_ptr_equal(owner, &server);
    assert_int_equal(ntohl(endpoint->v4.sin_addr.s_addr) >> 8, INADDR_LOOPBACK >> 8);
    return server.allow;
}

static bool answer_late(size_t index)
{
    size_t capacity;
    uint8_t *out = client_begin(&server.late[index], &capacity);

    if (out == NULL)
        return false;
    assert_true(capacity >= MESSAGE_MAX_OCTETS);
    client_commit(&server.late[index],
                  write_answer(out, server.late_answers[index].number, server.late_answers[index].size));
    return true;
}

/* One turn of the loop, as a worker does it. */
static void turn(void)
{
    tcp_flush(&server.listener);
    ev_run(server.loop, EVRUN_NOWAIT);
    tcp_flush(&server.listener);
}

/* Long enough for what is on its way to arrive and be dealt with. */
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

static void wait_ms(uint64_t ms)
{
    uint64_t end = clock_ms() + ms;

    while (clock_ms() < end) {
        turn();
        usleep(2000);
    }
}

static void listen_with(uint32_t connections, uint32_t per_client)
{
    struct tcp_setup setup = {.loop = server.loop,
                              .metrics = &server.metrics,
                              .config = &server.config,
                              .on_query = on_query,
                              .allowed = allowed,
                              .owner = &server};

    server.config.tcp_connections = connections;
    server.config.tcp_idle = 10;
    server.quota = quota_create(connections, per_client, &prefix);
    assert_non_null(server.quota);
    setup.quota = server.quota;
    assert_true(tcp_init(&server.listener, &setup));
    tcp_add(&server.listener, server.fd);
    tcp_start(&server.listener);
}

static int set_up(void **state)
{
    (void)state;
    memset(&server, 0, sizeof(server));
    server.allow = true;
    server.loop = ev_loop_new(EVFLAG_AUTO);
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server.loop == NULL || server.fd < 0 || !endpoint_parse("127.0.0.1:1", 0, &server.endpoint))
        return -1;
    endpoint_set_port(&server.endpoint, 0);
    if (bind(server.fd, &server.endpoint.any, server.endpoint.size) != 0 || listen(server.fd, 512) != 0 ||
        getsockname(server.fd, &server.endpoint.any, &server.endpoint.size) != 0)
        return -1;
    send_room = SIZE_MAX;
    sends = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tcp_close(&server.listener);
    quota_destroy(server.quota);
    close(server.fd);
    ev_loop_destroy(server.loop);
    return 0;
}

/* ---- clients ---- */

struct peer {
    int fd;
    size_t used, taken;
    uint8_t in[1 << 20];
};

static struct peer peer, second, third;

static void peer_open_from(struct peer *p, const char *source)
{
    size_t open = server.listener.open;
    struct endpoint endpoint;

    p->used = p->taken = 0;
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(p->fd >= 0);
    assert_true(endpoint_parse(source, 1, &endpoint));
    endpoint_set_port(&endpoint, 0);
    assert_int_equal(bind(p->fd, &endpoint.any, endpoint.size), 0);
    assert_int_equal(connect(p->fd, &server.endpoint.any, server.endpoint.size), 0);
    assert_int_equal(fcntl(p->fd, F_SETFL, O_NONBLOCK), 0);
    for (int i = 0; i < 100 && server.listener.open == open; i++) {
        turn();
        usleep(100);
    }
}

static void peer_open(struct peer *p)
{
    peer_open_from(p, "127.0.0.1");
}

static void peer_close(struct peer *p)
{
    close(p->fd);
    p->fd = -1;
}

/* Goes away with a RST. */
static void peer_abort(struct peer *p)
{
    struct linger linger = {.l_onoff = 1};

    assert_int_equal(setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    peer_close(p);
}

static void peer_write(struct peer *p, const uint8_t *data, size_t size)
{
    uint64_t end = clock_ms() + PATIENCE_MS;

    while (size > 0) {
        ssize_t n = write(p->fd, data, size);

        assert_true(n > 0 || errno == EAGAIN);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else {
            assert_true(clock_ms() < end);
            turn();
        }
    }
}

/* Writes a query of size octets behind its length to out, and returns the octets of both. */
static size_t make_query(uint8_t *out, char kind, uint16_t number, size_t answer, size_t size)
{
    wire_put_u16(out, (uint16_t)size);
    memset(out + 2, number & 0xff, size);
    if (size >= QUERY_HEADER) {
        out[2] = (uint8_t)kind;
        wire_put_u16(out + 3, number);
        wire_put_u16(out + 5, (uint16_t)answer);
    }
    return 2 + size;
}

static void peer_ask(struct peer *p, char kind, uint16_t number, size_t answer, size_t size)
{
    static uint8_t out[2 + UINT16_MAX];

    peer_write(p, out, make_query(out, kind, number, answer, size));
}

/* Takes what the kernel has. False: the listener closed. */
static bool peer_read(struct peer *p)
{
    ssize_t n = recv(p->fd, p->in + p->used, sizeof(p->in) - p->used, 0);

    if (n > 0)
        p->used += (size_t)n;
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static bool peer_has_answer(const struct peer *p)
{
    size_t left = p->used - p->taken;

    return left >= 2 && left - 2 >= wire_get_u16(p->in + p->taken);
}

static void expect_answer(struct peer *p, uint16_t number, size_t size)
{
    uint64_t end = clock_ms() + PATIENCE_MS;

    while (!peer_has_answer(p) && clock_ms() < end) {
        turn();
        if (!peer_read(p) && !peer_has_answer(p))
            fail_msg("closed before answer %u", number);
    }
    if (!peer_has_answer(p))
        fail_msg("no answer %u", number);
    const uint8_t *answer = p->in + p->taken + 2;
    assert_int_equal(wire_get_u16(answer - 2), size);
    assert_int_equal(wire_get_u16(answer), number);
    for (size_t i = 2; i < size; i++)
        if (answer[i] != (number & 0xff))
            fail_msg("answer %u: octet %zu is %u", number, i, answer[i]);
    p->taken += 2 + size;
    if (p->taken == p->used)
        p->taken = p->used = 0;
}

static void expect_nothing(struct peer *p)
{
    settle();
    assert_true(peer_read(p));
    assert_int_equal(p->used, p->taken);
}

static void expect_closed(struct peer *p)
{
    uint64_t end = clock_ms() + PATIENCE_MS;

    while (peer_read(p) && clock_ms() < end)
        turn();
    assert_false(peer_read(p));
    assert_int_equal(p->used, p->taken);
    peer_close(p);
}

static uint64_t metric(const _Atomic uint64_t *field)
{
    return atomic_load(field);
}

/* ---- queries and answers ---- */

static void pipelined_queries_are_answered_in_one_write(void **state)
{
    uint8_t out[1024];
    size_t size = 0;

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    for (uint16_t i = 1; i <= 10; i++)
        size += make_query(out + size, ANSWER, i, 100, 30);
    peer_write(&peer, out, size);
    for (uint16_t i = 1; i <= 10; i++)
        expect_answer(&peer, i, 100);
    assert_int_equal(sends, 1);
    assert_int_equal(server.seen_count, 10);
    assert_true(metric(&server.metrics.answers_total) == 10);
    expect_nothing(&peer);
    peer_close(&peer);
}

static void late_answers_leave_in_the_order_in_which_they_come_and_in_one_write(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    for (uint16_t i = 1; i <= 5; i++)
        peer_ask(&peer, ANSWER_LATER, i, 50u + i, 30);
    wait_until_seen(5);
    expect_nothing(&peer);
    for (size_t i = 5; i-- > 0;)
        assert_true(answer_late(i));
    for (uint16_t i = 5; i > 0; i--)
        expect_answer(&peer, i, 50u + i);
    assert_int_equal(sends, 1);
    peer_close(&peer);
}

static void a_quick_answer_overtakes_a_late_one(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    peer_ask(&peer, NO_ANSWER, 2, 0, 30);
    peer_ask(&peer, ANSWER, 3, 60, 30);
    expect_answer(&peer, 3, 60);
    assert_true(answer_late(0));
    expect_answer(&peer, 1, 60);
    peer_close(&peer);
}

static void queries_may_come_octet_by_octet(void **state)
{
    uint8_t out[64];

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    for (uint16_t i = 1; i <= 3; i++) {
        size_t size = make_query(out, ANSWER, i, 40, 20);

        for (size_t at = 0; at < size; at++) {
            peer_write(&peer, out + at, 1);
            turn();
        }
        expect_answer(&peer, i, 40);
    }
    assert_int_equal(server.seen_count, 3);
    peer_close(&peer);
}

static void a_stream_may_be_cut_anywhere(void **state)
{
    static uint8_t out[1 << 20];
    size_t sizes[300];
    size_t size = 0;
    unsigned seed = 3;

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    for (uint16_t i = 0; i < 300; i++) {
        sizes[i] = i % 10 == 0 ? TCP_IN - 2 : QUERY_HEADER + (size_t)rand_r(&seed) % 1500;
        size += make_query(out + size, NO_ANSWER, i, 0, sizes[i]);
    }
    for (size_t at = 0; at < size;) {
        size_t n = 1 + (size_t)rand_r(&seed) % (3 * TCP_IN);

        n = n < size - at ? n : size - at;
        peer_write(&peer, out + at, n);
        turn();
        at += n;
    }
    wait_until_seen(300);
    for (uint16_t i = 0; i < 300; i++) {
        assert_int_equal(server.seen[i].number, i);
        assert_int_equal(server.seen[i].size, sizes[i]);
    }
    peer_close(&peer);
}

static void a_message_without_octets_is_handed_up_and_harms_nothing(void **state)
{
    uint8_t out[64] = {0};

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    size_t size = 6 + make_query(out + 6, ANSWER, 4, 40, 20);
    peer_write(&peer, out, size);
    expect_answer(&peer, 4, 40);
    assert_int_equal(server.seen_count, 4);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(server.seen[i].size, 0);
    peer_close(&peer);
}

static void a_query_as_long_as_the_buffer_is_whole(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    peer_ask(&peer, ANSWER, 1, 60, TCP_IN - 2);
    expect_answer(&peer, 1, 60);
    assert_int_equal(server.seen[0].size, TCP_IN - 2);
    peer_close(&peer);
}

static void of_a_longer_query_the_beginning_is_judged_and_the_rest_passed_over(void **state)
{
    static const size_t sizes[] = {TCP_IN - 1, TCP_IN, TCP_IN + 1, 2 * TCP_IN, 3 * TCP_IN - 3, UINT16_MAX};

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    for (uint16_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        server.seen_count = 0;
        peer_ask(&peer, ANSWER, 1, 60, 40); /* so that it does not begin where the buffer does */
        peer_ask(&peer, ANSWER, 2, 61, sizes[i]);
        peer_ask(&peer, ANSWER, 3, 62, 40);
        expect_answer(&peer, 1, 60);
        expect_answer(&peer, 2, 61);
        expect_answer(&peer, 3, 62);
        assert_int_equal(server.seen_count, 3);
        assert_int_equal(server.seen[1].size, TCP_IN - 2);
    }
    peer_close(&peer);
}

static void a_query_that_is_too_long_is_answered_before_its_end_came(void **state)
{
    static uint8_t out[2 + UINT16_MAX];

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    size_t size = make_query(out, ANSWER, 1, 60, UINT16_MAX);
    peer_write(&peer, out, TCP_IN - 1);
    expect_nothing(&peer);
    peer_write(&peer, out + TCP_IN - 1, 1);
    expect_answer(&peer, 1, 60);
    for (size_t at = TCP_IN; at < size; at += 1000) {
        peer_write(&peer, out + at, size - at < 1000 ? size - at : 1000);
        turn();
    }
    peer_ask(&peer, ANSWER, 2, 60, 40);
    expect_answer(&peer, 2, 60);
    assert_int_equal(server.seen_count, 2);
    peer_close(&peer);
}

static void answers_of_full_length_come_whole(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    for (uint16_t i = 0; i < 8; i++)
        peer_ask(&peer, i % 2 == 0 ? ANSWER : ANSWER_LATER, i, MESSAGE_MAX_OCTETS, 30);
    for (uint16_t i = 0; i < 8; i += 2)
        expect_answer(&peer, i, MESSAGE_MAX_OCTETS);
    for (uint16_t i = 0; i < 4; i++) {
        assert_true(answer_late(i));
        expect_answer(&peer, (uint16_t)(2 * i + 1), MESSAGE_MAX_OCTETS);
    }
    peer_close(&peer);
}

static void answers_survive_writes_of_a_few_octets(void **state)
{
    static uint8_t out[1 << 16];
    size_t size = 0;
    uint64_t end = clock_ms() + 3 * PATIENCE_MS;

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    for (uint16_t i = 0; i < 100; i++)
        size += make_query(out + size, ANSWER, i, 2000u + i, 60);
    send_room = 0;
    peer_write(&peer, out, size);
    for (size_t got = 0; got < 100 && clock_ms() < end;) {
        send_room = 777;
        turn();
        assert_true(peer_read(&peer));
        for (; got < 100 && peer_has_answer(&peer); got++)
            expect_answer(&peer, (uint16_t)got, 2000 + got);
    }
    assert_int_equal(server.seen_count, 100);
    assert_int_equal(peer.used, peer.taken);
    peer_close(&peer);
}

/* ---- queries that wait in the buffer ---- */

static void the_unanswered_limit_stops_reading_and_an_answer_resumes_it(void **state)
{
    static uint8_t out[1 << 16];
    size_t size = 0;
    enum { QUERIES = TCP_UNANSWERED + 300 };

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    for (uint16_t i = 0; i < QUERIES; i++)
        size += make_query(out + size, ANSWER_LATER, i, 50, 30);
    peer_write(&peer, out, size);
    wait_until_seen(TCP_UNANSWERED);
    settle();
    assert_int_equal(server.seen_count, TCP_UNANSWERED);
    for (uint16_t i = 0; i < QUERIES; i++) {
        assert_true(answer_late(i));
        expect_answer(&peer, i, 50);
        wait_until_seen(i + 1 + TCP_UNANSWERED < QUERIES ? i + 1 + TCP_UNANSWERED : QUERIES);
    }
    peer_close(&peer);
}

static void queries_behind_large_answers_are_not_forgotten(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    send_room = 10000;
    for (uint16_t i = 1; i <= 3; i++)
        peer_ask(&peer, ANSWER, i, 40000, 30);
    settle();
    assert_int_equal(server.seen_count, 2); /* more than one full answer waits: no more queries are taken */
    send_room = SIZE_MAX;                   /* the reader wakes up, and all leaves in one write */
    for (uint16_t i = 1; i <= 3; i++)
        expect_answer(&peer, i, 40000);
    peer_close(&peer);
}

static void a_full_buffer_is_not_the_end_of_the_stream(void **state)
{
    static uint8_t out[4 * TCP_IN];
    size_t size = 0;
    uint16_t count = 0;

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    peer_ask(&peer, ANSWER_LATER, 1000, 40000, 30);
    peer_ask(&peer, ANSWER_LATER, 1001, 40000, 30);
    wait_until_seen(2);
    for (; size < 2 * TCP_IN; count++)
        size += make_query(out + size, ANSWER, count, 50, 30);
    peer_write(&peer, out, size);
    usleep(5000);
    ev_run(server.loop, EVRUN_NOWAIT); /* reads a buffer full; large answers come in the same turn */
    send_room = 20000;
    assert_true(answer_late(0));
    assert_true(answer_late(1));
    turn();
    settle();
    send_room = SIZE_MAX;
    expect_answer(&peer, 1000, 40000);
    expect_answer(&peer, 1001, 40000);
    for (uint16_t i = 0; i < count; i++)
        expect_answer(&peer, i, 50);
    expect_nothing(&peer);
    peer_close(&peer);
}

static void a_half_closed_client_has_answers_to_queries_that_waited_in_the_buffer(void **state)
{
    static uint8_t out[1 << 14];
    size_t size = 0;

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    for (uint16_t i = 0; i < TCP_UNANSWERED; i++)
        size += make_query(out + size, ANSWER_LATER, i, 600, 20);
    for (uint16_t i = TCP_UNANSWERED; i < TCP_UNANSWERED + 10; i++)
        size += make_query(out + size, ANSWER, i, 50, 20);
    peer_write(&peer, out, size);
    shutdown(peer.fd, SHUT_WR);
    wait_until_seen(TCP_UNANSWERED);
    settle();
    for (uint16_t i = 0; i < TCP_UNANSWERED; i++)
        assert_true(answer_late(i)); /* together more than one full answer */
    for (uint16_t i = 0; i < TCP_UNANSWERED; i++)
        expect_answer(&peer, i, 600);
    for (uint16_t i = TCP_UNANSWERED; i < TCP_UNANSWERED + 10; i++)
        expect_answer(&peer, i, 50);
    expect_closed(&peer);
}

static void a_half_closed_slow_reader_has_all_its_answers(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    send_room = 10000;
    for (uint16_t i = 1; i <= 5; i++)
        peer_ask(&peer, ANSWER, i, 40000, 30);
    shutdown(peer.fd, SHUT_WR);
    settle();
    send_room = 10000; /* less than one full answer is left, so the end of the stream is read and a third one made */
    settle();
    send_room = SIZE_MAX;
    for (uint16_t i = 1; i <= 5; i++)
        expect_answer(&peer, i, 40000);
    expect_closed(&peer);
}

/* ---- the end of a connection ---- */

static void a_half_closed_client_has_its_answers_and_then_the_end(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    peer_ask(&peer, ANSWER_LATER, 2, 60, 30);
    peer_ask(&peer, ANSWER, 3, 60, 30);
    shutdown(peer.fd, SHUT_WR);
    expect_answer(&peer, 3, 60);
    expect_nothing(&peer);
    assert_true(answer_late(0));
    expect_answer(&peer, 1, 60);
    expect_nothing(&peer);
    assert_true(answer_late(1));
    expect_answer(&peer, 2, 60);
    expect_closed(&peer);
    assert_true(tcp_is_idle(&server.listener));
}

static void a_half_closed_client_that_will_get_no_answer_is_closed(void **state)
{
    size_t capacity;

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    shutdown(peer.fd, SHUT_WR);
    wait_until_seen(1);
    expect_nothing(&peer);
    assert_non_null(client_begin(&server.late[0], &capacity));
    client_commit(&server.late[0], 0);
    expect_closed(&peer);
}

static void a_client_that_leaves_in_the_middle_of_a_query_is_closed(void **state)
{
    static const size_t sent[] = {0, 1, 2, 3, 20};
    uint8_t out[64];

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    make_query(out, ANSWER, 1, 60, 30);
    for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++) {
        peer_open(&peer);
        peer_write(&peer, out, sent[i]);
        shutdown(peer.fd, SHUT_WR);
        expect_closed(&peer);
    }
    assert_int_equal(server.seen_count, 0);
    assert_true(tcp_is_idle(&server.listener));
}

static void a_late_answer_to_a_client_that_has_gone_is_dropped(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    wait_until_seen(1);
    peer_abort(&peer);
    settle();
    assert_true(tcp_is_idle(&server.listener));
    assert_false(answer_late(0));
    assert_true(metric(&server.metrics.dropped_client_gone_total) == 1);
}

static void a_late_answer_does_not_reach_the_next_client_in_the_same_memory(void **state)
{
    (void)state;
    listen_with(1, 1);
    peer_open(&peer);
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    wait_until_seen(1);
    peer_abort(&peer);
    settle();
    peer_open(&second);
    peer_ask(&second, ANSWER_LATER, 2, 60, 30);
    wait_until_seen(2);
    assert_ptr_equal(server.late[0].tcp, server.late[1].tcp);
    assert_false(answer_late(0));
    expect_nothing(&second);
    assert_true(answer_late(1));
    expect_answer(&second, 2, 60);
    peer_close(&second);
}

static void a_client_that_vanishes_while_answers_wait_is_closed(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    send_room = 0;
    peer_ask(&peer, ANSWER, 1, 60000, 30);
    wait_until_seen(1);
    peer_abort(&peer);
    send_room = SIZE_MAX;
    settle();
    assert_true(tcp_is_idle(&server.listener));
    assert_true(metric(&server.metrics.tcp_connections) == 0);
}

/* ---- limits ---- */

static void an_idle_connection_is_closed_and_a_waiting_one_is_not(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    server.listener.idle_ms = IDLE_MS;
    peer_open(&peer);
    peer_open(&second);
    peer_ask(&second, ANSWER_LATER, 1, 60, 30);
    wait_until_seen(1);
    expect_closed(&peer);
    wait_ms(3 * IDLE_MS);
    expect_nothing(&second);
    assert_true(answer_late(0));
    expect_answer(&second, 1, 60);
    expect_closed(&second);
    assert_true(metric(&server.metrics.tcp_idle_closed_total) == 2);
}

static void octets_that_make_no_query_do_not_keep_a_connection(void **state)
{
    uint64_t begin = clock_ms();

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    server.listener.idle_ms = IDLE_MS;
    peer_open(&peer);
    peer_write(&peer, (const uint8_t *)"\x0f", 1);
    while (server.listener.open > 0 && clock_ms() - begin < PATIENCE_MS) {
        (void)!write(peer.fd, "x", 1); /* a query of 3,960 octets, one at a time */
        wait_ms(10);
    }
    assert_true(tcp_is_idle(&server.listener));
    assert_int_equal(server.seen_count, 0);
    peer_close(&peer);
}

static void whole_queries_keep_a_connection(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    server.listener.idle_ms = 4 * IDLE_MS;
    peer_open(&peer);
    for (uint16_t i = 0; i < 12; i++) {
        peer_ask(&peer, ANSWER, i, 60, 30);
        expect_answer(&peer, i, 60);
        wait_ms(IDLE_MS / 2);
    }
    peer_close(&peer);
}

static void a_reader_who_takes_nothing_stops_being_read_and_is_closed(void **state)
{
    static uint8_t out[1 << 15];
    size_t size = 0;

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    server.listener.idle_ms = IDLE_MS;
    peer_open(&peer);
    send_room = 0;
    for (uint16_t i = 0; i < 500; i++)
        size += make_query(out + size, ANSWER, i, 1000, 30);
    peer_write(&peer, out, size);
    settle();
    assert_in_range(server.seen_count, MESSAGE_MAX_OCTETS / 1002, TCP_OUT / 1002);
    wait_ms(IDLE_MS + 300);
    assert_true(tcp_is_idle(&server.listener));
    assert_true(metric(&server.metrics.tcp_idle_closed_total) == 1);
    peer_close(&peer);
}

static void a_reader_who_takes_a_good_part_of_a_long_answer_is_not_closed(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    server.listener.idle_ms = 4 * IDLE_MS;
    peer_open(&peer);
    send_room = 0;
    peer_ask(&peer, ANSWER, 1, MESSAGE_MAX_OCTETS, 30);
    for (int i = 0; i < 10; i++) {
        send_room = TCP_PROGRESS / 3;
        wait_ms(IDLE_MS);
    }
    send_room = SIZE_MAX;
    expect_answer(&peer, 1, MESSAGE_MAX_OCTETS);
    peer_close(&peer);
}

static void a_reader_who_takes_an_octet_now_and_then_is_closed(void **state)
{
    uint64_t began = clock_ms();

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    server.listener.idle_ms = 3 * IDLE_MS;
    peer_open(&peer);
    send_room = 0;
    peer_ask(&peer, ANSWER, 1, 1000, 30);
    while (!tcp_is_idle(&server.listener) && clock_ms() < began + PATIENCE_MS) {
        send_room = 10;
        wait_ms(IDLE_MS / 2);
    }
    assert_true(tcp_is_idle(&server.listener));
    assert_true(clock_ms() >= began + 3 * IDLE_MS);
    peer_close(&peer);
}

static void late_answers_beyond_the_buffer_of_a_slow_reader_close_it(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    for (uint16_t i = 0; i < 4; i++)
        peer_ask(&peer, ANSWER_LATER, i, MESSAGE_MAX_OCTETS, 30);
    wait_until_seen(4);
    send_room = 0;
    assert_true(answer_late(0));
    assert_true(answer_late(1));
    assert_false(answer_late(2));
    assert_true(metric(&server.metrics.dropped_send_total) == 1);
    assert_false(answer_late(3)); /* it is going to be closed */
    settle();
    assert_true(tcp_is_idle(&server.listener));
    peer_close(&peer);
}

static void connections_that_wait_for_answers_hold_no_output_buffers(void **state)
{
    static int fds[TCP_OUTPUTS + 1];
    uint8_t out[64];

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    size_t size = make_query(out, ANSWER_LATER, 1, 60, 30);
    for (size_t i = 0; i < TCP_OUTPUTS + 1; i++) {
        peer_open(&peer);
        fds[i] = peer.fd;
        peer_write(&peer, out, size);
    }
    wait_until_seen(TCP_OUTPUTS + 1);
    settle();
    assert_int_equal(server.listener.open, TCP_OUTPUTS + 1);
    for (size_t i = 0; i < TCP_OUTPUTS + 1; i++) {
        peer.fd = fds[i];
        assert_true(answer_late(i));
        expect_answer(&peer, 1, 60);
        peer_close(&peer);
    }
}

static void of_readers_that_hold_every_output_buffer_one_gives_way(void **state)
{
    static int fds[TCP_OUTPUTS];

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    send_room = 0;
    for (size_t i = 0; i < TCP_OUTPUTS; i++) {
        peer_open(&peer);
        fds[i] = peer.fd;
        peer_ask(&peer, ANSWER, 1, 1000, 30);
        wait_until_seen(i + 1);
    }
    wait_ms(TCP_STUCK_MS);
    peer_open_from(&second, "127.0.0.2");
    peer_ask(&second, ANSWER, 2, 60, 30);
    wait_until_seen(TCP_OUTPUTS + 1);
    send_room = SIZE_MAX;
    expect_answer(&second, 2, 60);
    assert_int_equal(server.listener.open, TCP_OUTPUTS);
    assert_true(metric(&server.metrics.tcp_idle_closed_total) == 1);
    peer.fd = fds[0];
    expect_closed(&peer);
    for (size_t i = 1; i < TCP_OUTPUTS; i++) {
        peer.fd = fds[i];
        expect_answer(&peer, 1, 1000);
        peer_close(&peer);
    }
    peer_close(&second);
}

static void a_late_answer_finds_a_buffer_when_slow_readers_hold_them_all(void **state)
{
    static int fds[TCP_OUTPUTS];

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open_from(&second, "127.0.0.2");
    peer_ask(&second, ANSWER_LATER, 2, 60, 30);
    wait_until_seen(1);
    settle();
    send_room = 0;
    for (size_t i = 0; i < TCP_OUTPUTS; i++) {
        peer_open(&peer);
        fds[i] = peer.fd;
        peer_ask(&peer, ANSWER, 1, 1000, 30);
        wait_until_seen(i + 2);
    }
    wait_ms(TCP_STUCK_MS);
    assert_true(answer_late(0));
    send_room = SIZE_MAX;
    expect_answer(&second, 2, 60);
    for (size_t i = 0; i < TCP_OUTPUTS; i++)
        close(fds[i]);
    peer_close(&second);
}

static void at_the_limit_the_longest_idle_connection_makes_room(void **state)
{
    (void)state;
    listen_with(2, 3);
    peer_open(&peer);
    peer_open(&second);
    wait_ms(5);
    peer_ask(&peer, ANSWER, 1, 60, 30); /* so the second one is idle longest */
    expect_answer(&peer, 1, 60);
    peer_open(&third);
    expect_closed(&second);
    peer_ask(&third, ANSWER, 2, 60, 30);
    expect_answer(&third, 2, 60);
    peer_ask(&peer, ANSWER, 3, 60, 30);
    expect_answer(&peer, 3, 60);
    assert_int_equal(server.listener.open, 2);
    peer_close(&peer);
    peer_close(&third);
}

static void connections_with_something_outstanding_make_no_room(void **state)
{
    uint8_t half[] = {0, 30, 'a'};

    (void)state;
    listen_with(2, 3);
    peer_open(&peer);
    peer_open(&second);
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    peer_write(&second, half, sizeof(half));
    wait_until_seen(1);
    settle();
    peer_open(&third);
    expect_closed(&third);
    assert_true(metric(&server.metrics.tcp_refused_total) == 1);
    assert_true(answer_late(0));
    expect_answer(&peer, 1, 60);
    peer_close(&peer);
    peer_close(&second);
}

static void of_many_connections_of_one_client_one_makes_room_though_it_waits(void **state)
{
    static struct peer fourth;

    (void)state;
    listen_with(3, 3);
    peer_open(&peer);
    peer_open(&second);
    peer_open_from(&third, "127.0.0.2");
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    wait_until_seen(1);
    peer_ask(&second, ANSWER_LATER, 2, 60, 30);
    peer_ask(&third, ANSWER_LATER, 3, 60, 30);
    wait_until_seen(3);
    settle();
    peer_open_from(&fourth, "127.0.0.3");
    expect_closed(&peer);
    assert_false(answer_late(0));
    assert_true(metric(&server.metrics.dropped_client_gone_total) == 1);
    peer_ask(&fourth, ANSWER, 4, 60, 30);
    expect_answer(&fourth, 4, 60);
    peer_ask(&fourth, ANSWER_LATER, 5, 60, 30);
    wait_until_seen(5);
    settle();
    peer_open_from(&peer, "127.0.0.4"); /* now each has one */
    expect_closed(&peer);
    assert_true(answer_late(1));
    assert_true(answer_late(2));
    expect_answer(&second, 2, 60);
    expect_answer(&third, 3, 60);
    peer_close(&second);
    peer_close(&third);
    peer_close(&fourth);
}

static void a_connection_stuck_in_a_query_makes_room(void **state)
{
    uint8_t half[] = {0, 30, 'a'};

    (void)state;
    listen_with(1, 3);
    peer_open(&peer);
    peer_write(&peer, half, sizeof(half));
    settle();
    peer_open_from(&second, "127.0.0.2");
    expect_closed(&second);
    wait_ms(TCP_STUCK_MS);
    peer_open_from(&second, "127.0.0.2");
    expect_closed(&peer);
    peer_ask(&second, ANSWER, 2, 60, 30);
    expect_answer(&second, 2, 60);
    peer_close(&second);
}

static void a_reader_stuck_in_an_answer_makes_room(void **state)
{
    (void)state;
    listen_with(1, 3);
    peer_open(&peer);
    send_room = 0;
    peer_ask(&peer, ANSWER, 1, 1000, 30);
    wait_until_seen(1);
    wait_ms(TCP_STUCK_MS);
    send_room = SIZE_MAX;
    peer_open_from(&second, "127.0.0.2");
    expect_nothing(&second);
    assert_int_equal(server.listener.open, 1);
    peer_close(&peer);
    peer_close(&second);
}

static void of_idle_connections_one_of_the_client_that_has_most_makes_room(void **state)
{
    static struct peer fourth;

    (void)state;
    listen_with(3, 3);
    peer_open_from(&peer, "127.0.0.2"); /* idle longest, but its client's only one */
    peer_open(&second);
    wait_ms(5);
    peer_open(&third);
    peer_open_from(&fourth, "127.0.0.3");
    expect_closed(&second);
    expect_nothing(&peer);
    expect_nothing(&third);
    expect_nothing(&fourth);
    peer_close(&peer);
    peer_close(&third);
    peer_close(&fourth);
}

static void who_has_more_connections_than_others_gets_no_room_from_them(void **state)
{
    static struct peer fourth;

    (void)state;
    listen_with(3, 3);
    peer_open_from(&peer, "127.0.0.2");
    peer_open(&second);
    peer_open(&third);
    peer_ask(&second, ANSWER_LATER, 1, 60, 30);
    peer_ask(&third, ANSWER_LATER, 2, 60, 30);
    wait_until_seen(2);
    settle();
    peer_open(&fourth);
    expect_closed(&fourth);
    expect_nothing(&peer);
    assert_true(answer_late(0));
    assert_true(answer_late(1));
    expect_answer(&second, 1, 60);
    expect_answer(&third, 2, 60);
    peer_close(&peer);
    peer_close(&second);
    peer_close(&third);
}

static void a_client_at_its_own_limit_pushes_nobody_out(void **state)
{
    (void)state;
    listen_with(3, 2);
    peer_open(&peer);
    peer_open(&second);
    peer_open(&third);
    expect_closed(&third);
    assert_true(metric(&server.metrics.tcp_refused_total) == 1);
    assert_true(metric(&server.metrics.tcp_accepted_total) == 2);
    expect_nothing(&peer);
    expect_nothing(&second);
    peer_close(&peer);
    settle();
    peer_open(&third);
    expect_nothing(&third);
    peer_close(&second);
    peer_close(&third);
}

static void who_is_not_allowed_is_closed_and_not_counted(void **state)
{
    (void)state;
    listen_with(1, 1);
    server.allow = false;
    for (int i = 0; i < 5; i++) {
        peer_open(&peer);
        expect_closed(&peer);
    }
    assert_true(metric(&server.metrics.tcp_accepted_total) == 0);
    server.allow = true;
    peer_open(&peer);
    peer_ask(&peer, ANSWER, 1, 60, 30);
    expect_answer(&peer, 1, 60);
    peer_close(&peer);
}

static void a_connection_that_ended_frees_its_place(void **state)
{
    (void)state;
    listen_with(1, 1);
    for (uint16_t i = 0; i < 12; i++) {
        peer_open(&peer);
        peer_ask(&peer, ANSWER, i, 60, 30);
        expect_answer(&peer, i, 60);
        if (i % 2 == 0)
            peer_close(&peer);
        else
            peer_abort(&peer);
        settle();
        assert_true(tcp_is_idle(&server.listener));
    }
    assert_true(metric(&server.metrics.tcp_accepted_total) == 12);
}

/* ---- draining ---- */

static void draining_answers_what_is_out_and_what_was_already_sent(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    peer_open(&second);
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    wait_until_seen(1);
    tcp_drain(&server.listener, false);
    peer_ask(&second, ANSWER, 2, 60, 30);
    expect_answer(&second, 2, 60);
    expect_closed(&second);
    wait_ms(600);
    assert_false(tcp_is_idle(&server.listener));
    assert_true(answer_late(0));
    expect_answer(&peer, 1, 60);
    expect_closed(&peer);
    assert_true(tcp_is_idle(&server.listener));
}

static void draining_at_once_closes_all_but_those_that_wait(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    peer_open(&second);
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    wait_until_seen(1);
    tcp_drain(&server.listener, true);
    expect_closed(&second);
    expect_nothing(&peer);
    assert_true(answer_late(0));
    expect_answer(&peer, 1, 60);
    expect_closed(&peer);
    assert_true(tcp_is_idle(&server.listener));
}

static void the_end_of_a_drain_is_no_reset_however_busy_the_client(void **state)
{
    uint64_t end = clock_ms() + PATIENCE_MS;

    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    tcp_drain(&server.listener, false);
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    wait_until_seen(1);
    peer_ask(&peer, ANSWER, 2, 60, 30); /* in the kernel when the end comes */
    tcp_finish(&server.listener);
    wait_until_seen(2);
    peer_ask(&peer, ANSWER, 3, 60, 30); /* too late */
    settle();
    assert_true(answer_late(0));
    expect_answer(&peer, 2, 60);
    expect_answer(&peer, 1, 60);
    while (recv(peer.fd, peer.in, sizeof(peer.in), 0) != 0) {
        assert_int_equal(errno, EAGAIN); /* never ECONNRESET */
        assert_true(clock_ms() < end);
        turn();
    }
    assert_int_equal(server.seen_count, 2);
    peer_ask(&peer, ANSWER, 4, 60, 30);
    settle();
    peer_close(&peer);
    settle();
    assert_true(tcp_is_idle(&server.listener));
}

static void who_connects_while_draining_waits_in_the_kernel(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    tcp_drain(&server.listener, false);
    peer_open(&peer);
    expect_nothing(&peer);
    assert_true(tcp_is_idle(&server.listener));
    assert_true(metric(&server.metrics.tcp_accepted_total) == 0);
    peer_close(&peer);
}

static void closing_leaves_nothing_open(void **state)
{
    (void)state;
    listen_with(CONNECTIONS, CONNECTIONS);
    peer_open(&peer);
    peer_open(&second);
    peer_ask(&peer, ANSWER_LATER, 1, 60, 30);
    wait_until_seen(1);
    tcp_close(&server.listener);
    assert_true(tcp_is_idle(&server.listener));
    assert_false(peer_read(&peer));
    assert_false(peer_read(&second));
    peer_close(&peer);
    peer_close(&second);
    assert_int_equal(quota_take(server.quota, &server.endpoint), QUOTA_GRANTED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pipelined_queries_are_answered_in_one_write),
        TEST(late_answers_leave_in_the_order_in_which_they_come_and_in_one_write),
        TEST(a_quick_answer_overtakes_a_late_one),
        TEST(queries_may_come_octet_by_octet),
        TEST(a_stream_may_be_cut_anywhere),
        TEST(a_message_without_octets_is_handed_up_and_harms_nothing),
        TEST(a_query_as_long_as_the_buffer_is_whole),
        TEST(of_a_longer_query_the_beginning_is_judged_and_the_rest_passed_over),
        TEST(a_query_that_is_too_long_is_answered_before_its_end_came),
        TEST(answers_of_full_length_come_whole),
        TEST(answers_survive_writes_of_a_few_octets),
        TEST(the_unanswered_limit_stops_reading_and_an_answer_resumes_it),
        TEST(queries_behind_large_answers_are_not_forgotten),
        TEST(a_full_buffer_is_not_the_end_of_the_stream),
        TEST(a_half_closed_client_has_answers_to_queries_that_waited_in_the_buffer),
        TEST(a_half_closed_slow_reader_has_all_its_answers),
        TEST(a_half_closed_client_has_its_answers_and_then_the_end),
        TEST(a_half_closed_client_that_will_get_no_answer_is_closed),
        TEST(a_client_that_leaves_in_the_middle_of_a_query_is_closed),
        TEST(a_late_answer_to_a_client_that_has_gone_is_dropped),
        TEST(a_late_answer_does_not_reach_the_next_client_in_the_same_memory),
        TEST(a_client_that_vanishes_while_answers_wait_is_closed),
        TEST(an_idle_connection_is_closed_and_a_waiting_one_is_not),
        TEST(octets_that_make_no_query_do_not_keep_a_connection),
        TEST(whole_queries_keep_a_connection),
        TEST(a_reader_who_takes_nothing_stops_being_read_and_is_closed),
        TEST(a_reader_who_takes_a_good_part_of_a_long_answer_is_not_closed),
        TEST(a_reader_who_takes_an_octet_now_and_then_is_closed),
        TEST(late_answers_beyond_the_buffer_of_a_slow_reader_close_it),
        TEST(connections_that_wait_for_answers_hold_no_output_buffers),
        TEST(of_readers_that_hold_every_output_buffer_one_gives_way),
        TEST(a_late_answer_finds_a_buffer_when_slow_readers_hold_them_all),
        TEST(at_the_limit_the_longest_idle_connection_makes_room),
        TEST(connections_with_something_outstanding_make_no_room),
        TEST(of_many_connections_of_one_client_one_makes_room_though_it_waits),
        TEST(a_connection_stuck_in_a_query_makes_room),
        TEST(a_reader_stuck_in_an_answer_makes_room),
        TEST(of_idle_connections_one_of_the_client_that_has_most_makes_room),
        TEST(who_has_more_connections_than_others_gets_no_room_from_them),
        TEST(a_client_at_its_own_limit_pushes_nobody_out),
        TEST(who_is_not_allowed_is_closed_and_not_counted),
        TEST(a_connection_that_ended_frees_its_place),
        TEST(draining_answers_what_is_out_and_what_was_already_sent),
        TEST(draining_at_once_closes_all_but_those_that_wait),
        TEST(the_end_of_a_drain_is_no_reset_however_busy_the_client),
        TEST(who_connects_while_draining_waits_in_the_kernel),
        TEST(closing_leaves_nothing_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

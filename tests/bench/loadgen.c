/* loadgen.c - asks a DNS server on loopback as fast as it answers, and prints what came back as one line of JSON.
 *
 * A closed loop: a fixed number of queries is outstanding, each answer makes room for the next query, so a run never
 * offers more than the server takes. With -R it is an open one: queries leave at a steady rate, whatever comes back,
 * as long as the window has room. The run is over when nothing is outstanding any more; a query that is not
 * answered within the time-out is lost, or late when its answer comes before the end after all.
 * Every answer is checked: ID, QR, question, RCODE, TC, and that it holds a record.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IDS = 65536,
    UDP_BATCH = 64,
    UDP_SIZE = 1500,
    TCP_BUFFER = 65536 + 2, /* octets: one message of any size */
    EVENTS = 64,
    EXPIRY_MS = 50,      /* pause between two looks for queries past their time-out */
    MOST_WAITING = 8192, /* outstanding queries: an eighth of the IDs, so that one is rarely used again early */
    /* The histogram is logarithmic with HIST_STEPS linear steps for each power of two: within 0.4 %. */
    HIST_BITS = 8,
    HIST_STEPS = 1 << HIST_BITS,
    HIST_SIZE = (65 - HIST_BITS) * HIST_STEPS,
};

static const char usage[] = "usage: loadgen [options] udp|tcp PORT\n"
                            "  -n OUTSTANDING  queries in flight over UDP (100)\n"
                            "  -c CONNECTIONS  TCP connections (100)\n"
                            "  -k PIPELINE     queries in flight on each TCP connection (10)\n"
                            "  -d MS           ask for so long (1000)\n"
                            "  -q QUERIES      ask so many, however long it takes\n"
                            "  -f FIRST        number of the first name (0)\n"
                            "  -m NAMES        go round so many names; 0: each name is asked once (0)\n"
                            "  -R RATE         queries a second over UDP (0: as fast as the window allows)\n"
                            "  -r              take the names in random order instead\n"
                            "  -t MS           time-out of a query (5000)\n"
                            "One line of JSON goes to standard output; latencies are in milliseconds.\n";

struct options {
    uint16_t port;
    bool tcp, random;
    unsigned outstanding, connections, pipeline;
    uint64_t duration_ns, queries, timeout_ns; /* queries 0: until duration_ns has passed */
    uint64_t rate;                             /* 0: none */
    uint32_t first, names;
};

enum asked_state { ASKED_FREE, ASKED_WAITING, ASKED_EXPIRED };

struct asked {
    uint64_t at_ns;
    uint32_t number;
    uint16_t connection;
    uint8_t state; /* enum asked_state */
};

/* One TCP connection. */
struct stream {
    int fd; /* -1: closed by the server, not opened again */
    unsigned waiting;
    size_t in_len, out_len;
    uint8_t *in;  /* TCP_BUFFER */
    uint8_t *out; /* pipeline whole queries */
};

struct run {
    struct options o;
    struct asked asked[IDS]; /* by ID */
    uint16_t next_id;
    uint32_t next_name;
    uint64_t seed, start_ns, last_answer_ns, expiry_ns;
    unsigned waiting;
    uint64_t sent, verdicts[VERDICT_EMPTY + 1], unknown, lost, late, closed;
    uint64_t answered, longest_ns, histogram[HIST_SIZE];
};

/* -- latency -- */

static unsigned histogram_slot(uint64_t ns)
{
    unsigned exponent = 0;

    while (ns >> exponent >= 2 * HIST_STEPS)
        exponent++;
    return exponent * HIST_STEPS + (unsigned)(ns >> exponent);
}

static uint64_t histogram_value(unsigned slot)
{
    unsigned exponent = slot < 2 * HIST_STEPS ? 0 : slot / HIST_STEPS - 1;

    return (uint64_t)(slot - exponent * HIST_STEPS) << exponent;
}

static double percentile_ms(const struct run *r, double share)
{
    uint64_t rank = (uint64_t)(share * (double)r->answered), seen = 0;

    for (unsigned i = 0; i < HIST_SIZE; i++) {
        seen += r->histogram[i];
        if (seen > rank)
            return (double)histogram_value(i) / (double)NS_PER_MS;
    }
    return (double)r->longest_ns / (double)NS_PER_MS;
}

/* -- queries and answers -- */

static bool is_over(const struct run *r, uint64_t now)
{
    return r->o.queries > 0 ? r->sent >= r->o.queries : now - r->start_ns >= r->o.duration_ns;
}

static uint64_t next_due_ns(const struct run *r)
{
    return r->o.rate > 0 ? r->start_ns + r->sent * NS_PER_S / r->o.rate : 0;
}

static bool may_ask(const struct run *r, uint64_t now)
{
    return !is_over(r, now) && now >= next_due_ns(r);
}

static uint32_t choose_name(struct run *r)
{
    if (r->o.random && r->o.names > 0)
        return r->o.first + (uint32_t)(random_next(&r->seed) % r->o.names);
    uint32_t n = r->next_name++;
    return r->o.first + (r->o.names > 0 ? n % r->o.names : n);
}

/* Writes the next query and notes that it waits. */
static void ask(struct run *r, uint8_t *out, uint16_t connection, uint64_t now)
{
    while (r->asked[r->next_id].state == ASKED_WAITING)
        r->next_id++;
    struct asked *a = &r->asked[r->next_id];
    *a = (struct asked){now, choose_name(r), connection, ASKED_WAITING};
    query_write(out, r->next_id++, a->number);
    r->waiting++;
    r->sent++;
}

static void take_answer(struct run *r, const uint8_t *message, size_t len, uint16_t connection, uint64_t now)
{
    struct asked *a = len >= 2 ? &r->asked[get_u16(message)] : NULL;

    if (a == NULL || a->state == ASKED_FREE || a->connection != connection) {
        r->unknown++;
        return;
    }
    enum verdict verdict = answer_judge(message, len, a->number);
    r->verdicts[verdict]++;
    if (verdict == VERDICT_WRONG)
        return; /* whatever it is, the query still waits for its own answer */
    if (a->state == ASKED_EXPIRED) {
        r->lost--;
        r->late++;
    } else {
        uint64_t took = now - a->at_ns;
        r->waiting--;
        r->answered++;
        r->histogram[histogram_slot(took)]++;
        r->longest_ns = took > r->longest_ns ? took : r->longest_ns;
        r->last_answer_ns = now;
    }
    a->state = ASKED_FREE;
}

static void lose(struct run *r, struct asked *a)
{
    a->state = ASKED_EXPIRED;
    r->waiting--;
    r->lost++;
}

/* Gives up the queries past their time-out and, if they were asked over TCP, makes room on their connections. A stream
 * whose server has gone silent altogether is not asked again: there is no event that would. */
static void expire(struct run *r, struct stream *streams, uint64_t now)
{
    if (now - r->expiry_ns < EXPIRY_MS * NS_PER_MS)
        return;
    r->expiry_ns = now;
    for (unsigned id = 0; id < IDS; id++) {
        struct asked *a = &r->asked[id];
        if (a->state != ASKED_WAITING || now - a->at_ns < r->o.timeout_ns)
            continue;
        lose(r, a);
        if (streams != NULL)
            streams[a->connection].waiting--;
    }
}

/* -- UDP -- */

struct udp_batch {
    struct mmsghdr head[UDP_BATCH];
    struct iovec iov[UDP_BATCH];
    uint8_t data[UDP_BATCH][UDP_SIZE];
};

static void udp_batch_reset(struct udp_batch *b, size_t size)
{
    for (int i = 0; i < UDP_BATCH; i++) {
        b->iov[i] = (struct iovec){b->data[i], size};
        b->head[i].msg_hdr = (struct msghdr){.msg_iov = &b->iov[i], .msg_iovlen = 1};
    }
}

static int udp_open(uint16_t port)
{
    struct sockaddr_in to = loopback(port);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){SOCKET_BUFFER}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_usec = EXPIRY_MS * 1000}, sizeof(struct timeval));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        die("connect");
    return fd;
}

/* Fills the window. A message that the kernel refuses (nobody listens) counts as sent, and is lost in time. */
static void udp_send(struct run *r, struct udp_batch *b, int fd)
{
    uint64_t now = now_ns();

    while (r->waiting < r->o.outstanding && may_ask(r, now)) {
        unsigned n = 0;
        for (; n < UDP_BATCH && r->waiting < r->o.outstanding && may_ask(r, now); n++)
            ask(r, b->data[n], 0, now);
        for (unsigned done = 0; done < n;) {
            int sent = sendmmsg(fd, b->head + done, n - done, 0);
            if (sent < 0 && errno != ECONNREFUSED)
                die("sendmmsg");
            done += sent > 0 ? (unsigned)sent : 1;
        }
    }
}

/* Until an answer is there, or the next query is due. */
static void udp_wait(const struct run *r, int fd)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    uint64_t now = now_ns();
    uint64_t due = next_due_ns(r);
    uint64_t pause = due > now ? due - now : 0;

    if (is_over(r, now) || pause > EXPIRY_MS * NS_PER_MS)
        pause = EXPIRY_MS * NS_PER_MS;
    ppoll(&readable, 1, &(struct timespec){.tv_nsec = (long)pause}, NULL);
}

static void udp_receive(struct run *r, struct udp_batch *b, int fd)
{
    if (r->o.rate > 0)
        udp_wait(r, fd);
    int n = recvmmsg(fd, b->head, UDP_BATCH, r->o.rate > 0 ? MSG_DONTWAIT : MSG_WAITFORONE, NULL);
    uint64_t now = now_ns();

    if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED)
        die("recvmmsg");
    for (int i = 0; i < n; i++)
        take_answer(r, b->data[i], b->head[i].msg_len, 0, now);
    expire(r, NULL, now);
}

static void run_udp(struct run *r)
{
    static struct udp_batch in, out;
    int fd = udp_open(r->o.port);

    udp_batch_reset(&out, QUERY_LEN);
    udp_batch_reset(&in, UDP_SIZE);
    while (r->waiting > 0 || !is_over(r, now_ns())) {
        udp_send(r, &out, fd);
        udp_receive(r, &in, fd);
    }
}

/* -- TCP -- */

static void stream_open(struct run *r, struct stream *s)
{
    struct sockaddr_in to = loopback(r->o.port);

    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        die("connect");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    s->in = malloc(TCP_BUFFER);
    s->out = malloc(r->o.pipeline * (2 + QUERY_LEN));
    if (s->in == NULL || s->out == NULL)
        die("malloc");
}

/* The server closed: everything that this connection waits for is lost. */
static void stream_close(struct run *r, struct stream *s, uint16_t index)
{
    for (unsigned id = 0; id < IDS; id++)
        if (r->asked[id].state == ASKED_WAITING && r->asked[id].connection == index)
            lose(r, &r->asked[id]);
    s->waiting = 0;
    close(s->fd);
    s->fd = -1;
    r->closed++;
}

/* Fills the pipeline and writes it all at once. False when the connection is broken. */
static bool stream_ask(struct run *r, struct stream *s, uint16_t index)
{
    uint64_t now = now_ns();

    while (s->waiting < r->o.pipeline && s->out_len + 2 + QUERY_LEN <= r->o.pipeline * (2 + QUERY_LEN) &&
           may_ask(r, now)) {
        put_u16(s->out + s->out_len, QUERY_LEN);
        ask(r, s->out + s->out_len + 2, index, now);
        s->out_len += 2 + QUERY_LEN;
        s->waiting++;
    }
    if (s->out_len == 0)
        return true;
    ssize_t n = send(s->fd, s->out, s->out_len, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN;
    s->out_len -= (size_t)n;
    memmove(s->out, s->out + n, s->out_len);
    return true;
}

static void stream_answers(struct run *r, struct stream *s, uint16_t index)
{
    uint64_t now = now_ns();
    size_t at = 0;

    while (s->in_len - at >= 2) {
        size_t len = get_u16(s->in + at);
        if (s->in_len - at < 2 + len)
            break;
        unsigned before = r->waiting;
        take_answer(r, s->in + at + 2, len, index, now);
        s->waiting -= before - r->waiting;
        at += 2 + len;
    }
    s->in_len -= at;
    memmove(s->in, s->in + at, s->in_len);
}

/* One read, then as many new queries as it brought answers. False when the connection is broken. */
static bool stream_turn(struct run *r, struct stream *s, uint16_t index, uint32_t events)
{
    if ((events & ~(uint32_t)EPOLLOUT) != 0) {
        ssize_t n = recv(s->fd, s->in + s->in_len, TCP_BUFFER - s->in_len, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        s->in_len += n > 0 ? (size_t)n : 0;
        stream_answers(r, s, index);
    }
    return stream_ask(r, s, index);
}

static void stream_watch(int epoll, int operation, const struct stream *s, uint16_t index)
{
    uint32_t events = EPOLLIN | (s->out_len > 0 ? (uint32_t)EPOLLOUT : 0);

    epoll_ctl(epoll, operation, s->fd, &(struct epoll_event){.events = events, .data.u32 = index});
}

static void tcp_wait(struct run *r, struct stream *streams, int epoll)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, EXPIRY_MS);

    for (int i = 0; i < n; i++) {
        uint16_t index = (uint16_t)events[i].data.u32;
        struct stream *s = &streams[index];
        bool was_full = s->out_len > 0;
        if (!stream_turn(r, s, index, events[i].events))
            stream_close(r, s, index);
        else if (was_full != (s->out_len > 0))
            stream_watch(epoll, EPOLL_CTL_MOD, s, index);
    }
    expire(r, streams, now_ns());
}

static void run_tcp(struct run *r)
{
    struct stream *streams = calloc(r->o.connections, sizeof(*streams));
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (streams == NULL || epoll < 0)
        die("streams");
    for (unsigned i = 0; i < r->o.connections; i++)
        stream_open(r, &streams[i]);
    for (uint16_t i = 0; i < r->o.connections; i++) {
        if (!stream_ask(r, &streams[i], i))
            die("send");
        stream_watch(epoll, EPOLL_CTL_ADD, &streams[i], i);
    }
    while (r->waiting > 0)
        tcp_wait(r, streams, epoll);
    for (unsigned i = 0; i < r->o.connections; i++) {
        free(streams[i].in);
        free(streams[i].out);
    }
    free(streams); /* the sockets close with the process, after the result has been printed */
}

/* -- command line -- */

static void read_option(struct options *o, int option, const char *text)
{
    const char what[] = {'-', (char)option, '\0'};

    switch (option) {
    case 'n':
        o->outstanding = (unsigned)number_argument(what, text, MOST_WAITING);
        break;
    case 'c':
        o->connections = (unsigned)number_argument(what, text, MOST_WAITING);
        break;
    case 'k':
        o->pipeline = (unsigned)number_argument(what, text, MOST_WAITING);
        break;
    case 'd':
        o->duration_ns = number_argument(what, text, UINT32_MAX) * NS_PER_MS;
        break;
    case 'q':
        o->queries = number_argument(what, text, UINT32_MAX);
        break;
    case 'f':
        o->first = (uint32_t)number_argument(what, text, UINT32_MAX);
        break;
    case 'm':
        o->names = (uint32_t)number_argument(what, text, UINT32_MAX);
        break;
    case 'R':
        o->rate = number_argument(what, text, UINT32_MAX);
        break;
    case 'r':
        o->random = true;
        break;
    case 't':
        o->timeout_ns = number_argument(what, text, UINT32_MAX) * NS_PER_MS;
        break;
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

static struct options read_options(int argc, char **argv)
{
    struct options o = {
        .outstanding = 100, .connections = 100, .pipeline = 10, .duration_ns = NS_PER_S, .timeout_ns = 5 * NS_PER_S};

    for (int c; (c = getopt(argc, argv, "n:c:k:d:q:f:m:R:rt:")) != -1;)
        read_option(&o, c, optarg);
    if (argc - optind != 2 || (strcmp(argv[optind], "udp") != 0 && strcmp(argv[optind], "tcp") != 0) ||
        o.outstanding == 0 || o.connections == 0 || o.pipeline == 0 || o.connections * o.pipeline > MOST_WAITING) {
        fputs(usage, stderr);
        exit(2);
    }
    o.tcp = strcmp(argv[optind], "tcp") == 0;
    o.port = (uint16_t)number_argument("PORT", argv[optind + 1], UINT16_MAX);
    return o;
}

static void print_result(const struct run *r)
{
    uint64_t end = r->answered > 0 ? r->last_answer_ns : now_ns();

    printf("{\"sent\": %" PRIu64 ", \"answered\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"late\": %" PRIu64
           ", \"closed\": %" PRIu64 ", \"unknown\": %" PRIu64,
           r->sent, r->answered, r->lost, r->late, r->closed, r->unknown);
    printf(", \"good\": %" PRIu64 ", \"wrong\": %" PRIu64 ", \"rcode\": %" PRIu64 ", \"truncated\": %" PRIu64
           ", \"empty\": %" PRIu64,
           r->verdicts[VERDICT_GOOD], r->verdicts[VERDICT_WRONG], r->verdicts[VERDICT_RCODE],
           r->verdicts[VERDICT_TRUNCATED], r->verdicts[VERDICT_EMPTY]);
    printf(", \"seconds\": %.6f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f}\n",
           (double)(end - r->start_ns) / (double)NS_PER_S, percentile_ms(r, 0.50), percentile_ms(r, 0.99),
           (double)r->longest_ns / (double)NS_PER_MS);
}

int main(int argc, char **argv)
{
    static struct run r;

    r.o = read_options(argc, argv);
    r.seed = 0x9e3779b97f4a7c15ull;
    r.start_ns = now_ns();
    if (r.o.tcp)
        run_tcp(&r);
    else
        run_udp(&r);
    print_result(&r);
    return 0;
}

/* dotserver.c - the upstream of a bench: a DNS-over-TLS server that knows an A record for every name.
 *
 *   dotserver [options] CERT KEY
 *
 * Prints {"port": N} when it listens, and one line of JSON with its counters for every SIGUSR1. Single-threaded, on
 * 127.0.0.1. Idle connections are never closed.
 *
 * A server writes one TLS record for each answer (Unbound does, for one) unless -j tells to join those that one read
 * or one moment brings. Either way they leave in one system call, so that this program costs its core little.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 64,
    IN_SIZE = 65536 + 2, /* one message of any size */
    RECORD_SIZE = 16384, /* most plain text of a TLS record, RFC 8446 section 5.1 */
    READ_BUFFER = 65536, /* octets that one system call may read */
    ANSWER_MAX = 512,    /* an answer, padding included */
    BATCH_MAX = 16384,   /* octets of answers gathered before they are encrypted */
    QUERIES_MAX = 65536, /* delayed answers: far above any window of outstanding queries */
    OPT_LEN = 11,        /* octets of an OPT record without options, RFC 6891 section 6.1.2 */
    A_RECORD_LEN = 16,   /* octets: compressed name, type, class, TTL, length, address */
    OPTION_HEADER = 4,   /* octets: code and length */
    TYPE_A = 1,
    TYPE_OPT = 41,
    OPTION_PADDING = 12, /* RFC 7830 */
    UDP_PAYLOAD = 1232,
    TTL = 3600, /* seconds: nothing runs out during a bench */
};

static const char usage[] = "usage: dotserver [options] CERT KEY\n"
                            "  -p PORT   listen there (any free port)\n"
                            "  -d US     answer after at least so many microseconds (0)\n"
                            "  -D US     ... and at most so many, evenly spread (the same)\n"
                            "  -b BLOCK  pad answers to queries with EDNS to a multiple of BLOCK octets (0: do not)\n"
                            "  -j        join answers in one TLS record\n";

struct connection {
    int fd;
    SSL *tls;
    BIO *out; /* encrypted octets that wait for the socket */
    bool ready, want_write, dirty, broken;
    unsigned delayed; /* answers that still refer to this connection */
    struct connection *next_dirty;
    size_t in_len, batch_len;
    uint8_t in[IN_SIZE];      /* length-prefixed queries */
    uint8_t batch[BATCH_MAX]; /* length-prefixed answers */
};

/* An answer that waits for its time. */
struct delayed {
    uint64_t due_ns;
    struct connection *connection;
    size_t len;
    uint8_t message[ANSWER_MAX];
};

struct server {
    SSL_CTX *context;
    int epoll, listener, signals;
    bool join;
    size_t block;
    uint64_t delay_ns, spread_ns, seed;
    struct connection *dirty;                              /* those with answers or octets to write */
    struct delayed *heap[QUERIES_MAX], *free[QUERIES_MAX]; /* heap: the first is the one due next */
    size_t heap_len, free_len;
    uint64_t queries, records, accepted, open, most_open, resumed, failed;
    const char *cipher;
};

/* -- answers -- */

static uint8_t *write_a_record(uint8_t *at, uint32_t address)
{
    static const uint8_t head[] = {0xc0, DNS_HEADER, 0, TYPE_A, 0, 1, 0, 0, TTL >> 8, TTL & 0xff, 0, 4, 10};

    memcpy(at, head, sizeof(head));
    at[13] = (uint8_t)(address >> 16);
    at[14] = (uint8_t)(address >> 8);
    at[15] = (uint8_t)address;
    return at + A_RECORD_LEN;
}

static uint8_t *write_opt(uint8_t *at, size_t len_so_far, size_t block)
{
    memset(at, 0, OPT_LEN);
    at[2] = TYPE_OPT;
    put_u16(at + 3, UDP_PAYLOAD);
    if (block == 0)
        return at + OPT_LEN;
    size_t fixed = len_so_far + OPT_LEN + OPTION_HEADER;
    size_t padding = (block - fixed % block) % block;
    if (fixed + padding > ANSWER_MAX)
        padding = 0;
    put_u16(at + OPT_LEN - 2, (uint16_t)(OPTION_HEADER + padding));
    put_u16(at + OPT_LEN, OPTION_PADDING);
    put_u16(at + OPT_LEN + 2, (uint16_t)padding);
    memset(at + OPT_LEN + OPTION_HEADER, 0, padding);
    return at + OPT_LEN + OPTION_HEADER + padding;
}

/* Octets of header and question, or 0 when the query is not one that this server can answer. */
static size_t question_end(const uint8_t *query, size_t len)
{
    size_t at = DNS_HEADER;

    while (at < len && query[at] != 0)
        at += 1u + query[at];
    at += 1 + 4;
    return len > DNS_HEADER && get_u16(query + 4) == 1 && at <= len && at < UINT8_MAX + DNS_HEADER ? at : 0;
}

/* Writes the answer to out (ANSWER_MAX octets). Returns its length, or 0 for none. */
static size_t answer(const uint8_t *query, size_t len, size_t block, uint8_t *out)
{
    size_t end = question_end(query, len);

    if (end == 0)
        return 0;
    bool edns = get_u16(query + 10) > 0; /* the only additional record that a resolver sends is OPT */
    bool is_a = get_u16(query + end - 4) == TYPE_A;
    memcpy(out, query, end);
    out[2] = (uint8_t)(0x80 | (query[2] & 0x01)); /* QR, and RD as it came */
    out[3] = 0x80;                                /* RA */
    put_u16(out + 6, is_a);
    put_u16(out + 8, 0);
    put_u16(out + 10, edns);
    uint8_t *at = out + end;
    if (is_a)
        at = write_a_record(at, get_u16(query + DNS_HEADER + 7)); /* any octets of the name will do */
    if (edns)
        at = write_opt(at, (size_t)(at - out), block);
    return (size_t)(at - out);
}

/* -- connections -- */

static void connection_release(struct server *s, struct connection *c)
{
    if (c->fd >= 0) {
        SSL_free(c->tls);
        close(c->fd);
        c->fd = -1;
        c->broken = true;
        s->open--;
    }
    if (c->delayed == 0 && !c->dirty)
        free(c);
}

static void connection_mark(struct server *s, struct connection *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = s->dirty;
    s->dirty = c;
}

static void encrypt(struct server *s, struct connection *c, const uint8_t *data, size_t len)
{
    if (SSL_write(c->tls, data, (int)len) != (int)len)
        c->broken = true; /* a memory buffer takes everything, so this is an error of TLS */
    s->records++;
}

static void encrypt_batch(struct server *s, struct connection *c)
{
    for (size_t at = 0, len; at < c->batch_len && !c->broken; at += len) {
        len = s->join ? c->batch_len : 2u + get_u16(c->batch + at);
        encrypt(s, c, c->batch + at, len);
    }
    c->batch_len = 0;
}

static void queue_answer(struct server *s, struct connection *c, const uint8_t *message, size_t len)
{
    if (c->batch_len + 2 + len > BATCH_MAX)
        encrypt_batch(s, c);
    put_u16(c->batch + c->batch_len, (uint16_t)len);
    memcpy(c->batch + c->batch_len + 2, message, len);
    c->batch_len += 2 + len;
    connection_mark(s, c);
}

static void drop_sent(BIO *out, size_t len)
{
    char sink[4096];

    while (len > 0) {
        int n = BIO_read(out, sink, len < sizeof(sink) ? (int)len : (int)sizeof(sink));
        if (n <= 0)
            return;
        len -= (size_t)n;
    }
}

/* Hands the socket as much as it takes. */
static void write_out(struct server *s, struct connection *c)
{
    char *data;
    size_t len = (size_t)BIO_get_mem_data(c->out, &data);

    if (len > 0) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            c->broken = true;
        else if (n == (ssize_t)len)
            (void)BIO_reset(c->out);
        else if (n > 0)
            drop_sent(c->out, (size_t)n);
    }
    bool want = BIO_ctrl_pending(c->out) > 0;
    if (want != c->want_write && !c->broken) {
        struct epoll_event e = {.events = EPOLLIN | (want ? (uint32_t)EPOLLOUT : 0), .data.ptr = c};
        epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &e);
        c->want_write = want;
    }
}

/* Writes what this turn of the loop has gathered, and releases the connections that broke. */
static void flush_dirty(struct server *s)
{
    while (s->dirty != NULL) {
        struct connection *c = s->dirty;
        s->dirty = c->next_dirty;
        c->dirty = false;
        if (!c->broken)
            encrypt_batch(s, c);
        if (!c->broken)
            write_out(s, c);
        if (c->broken)
            connection_release(s, c);
    }
}

/* -- delayed answers: a binary heap -- */

static void heap_swap(struct server *s, size_t a, size_t b)
{
    struct delayed *d = s->heap[a];

    s->heap[a] = s->heap[b];
    s->heap[b] = d;
}

static void heap_add(struct server *s, struct delayed *d)
{
    size_t at = s->heap_len++;

    s->heap[at] = d;
    for (size_t up; at > 0 && s->heap[up = (at - 1) / 2]->due_ns > s->heap[at]->due_ns; at = up)
        heap_swap(s, at, up);
}

static struct delayed *heap_take(struct server *s)
{
    struct delayed *first = s->heap[0];

    s->heap[0] = s->heap[--s->heap_len];
    for (size_t at = 0, down; (down = 2 * at + 1) < s->heap_len; at = down) {
        if (down + 1 < s->heap_len && s->heap[down + 1]->due_ns < s->heap[down]->due_ns)
            down++;
        if (s->heap[at]->due_ns <= s->heap[down]->due_ns)
            break;
        heap_swap(s, at, down);
    }
    return first;
}

static void delay_answer(struct server *s, struct connection *c, const uint8_t *message, size_t len)
{
    if (s->heap_len == QUERIES_MAX)
        return; /* lost, which the load generator will see */
    struct delayed *d = s->free_len > 0 ? s->free[--s->free_len] : malloc(sizeof(*d));
    if (d == NULL)
        die("malloc");
    d->due_ns = now_ns() + s->delay_ns + (s->spread_ns > 0 ? random_next(&s->seed) % s->spread_ns : 0);
    d->connection = c;
    d->len = len;
    memcpy(d->message, message, len);
    c->delayed++;
    heap_add(s, d);
}

static void send_due(struct server *s)
{
    uint64_t now = s->heap_len > 0 ? now_ns() : 0;

    while (s->heap_len > 0 && s->heap[0]->due_ns <= now) {
        struct delayed *d = heap_take(s);
        struct connection *c = d->connection;
        c->delayed--;
        if (!c->broken)
            queue_answer(s, c, d->message, d->len);
        else
            connection_release(s, c);
        s->free[s->free_len++] = d;
    }
}

/* -- events -- */

static void answer_queries(struct server *s, struct connection *c)
{
    uint8_t message[ANSWER_MAX];
    size_t at = 0;

    while (c->in_len - at >= 2) {
        size_t len = get_u16(c->in + at);
        if (c->in_len - at < 2 + len)
            break;
        size_t answer_len = answer(c->in + at + 2, len, s->block, message);
        s->queries++;
        if (answer_len > 0 && s->delay_ns + s->spread_ns > 0)
            delay_answer(s, c, message, answer_len);
        else if (answer_len > 0)
            queue_answer(s, c, message, answer_len);
        at += 2 + len;
    }
    c->in_len -= at;
    memmove(c->in, c->in + at, c->in_len);
}

static void handshake(struct server *s, struct connection *c)
{
    int result = SSL_do_handshake(c->tls);

    if (result == 1) {
        c->ready = true;
        s->resumed += (uint64_t)SSL_session_reused(c->tls);
        s->cipher = SSL_get_cipher_name(c->tls);
    } else if (SSL_get_error(c->tls, result) != SSL_ERROR_WANT_READ) {
        c->broken = true;
        s->failed++;
    }
}

static void on_readable(struct server *s, struct connection *c)
{
    int n = 0;

    ERR_clear_error();
    if (!c->ready)
        handshake(s, c);
    while (c->ready && (n = SSL_read(c->tls, c->in + c->in_len, (int)(IN_SIZE - c->in_len))) > 0) {
        c->in_len += (size_t)n;
        answer_queries(s, c);
    }
    if (c->ready && SSL_get_error(c->tls, n) != SSL_ERROR_WANT_READ)
        c->broken = true;
    connection_mark(s, c);
}

static void on_connection(struct server *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct connection *c = fd < 0 ? NULL : calloc(1, sizeof(*c));

    if (c == NULL)
        die("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->fd = fd;
    c->tls = SSL_new(s->context);
    c->out = BIO_new(BIO_s_mem());
    if (c->tls == NULL || c->out == NULL)
        die("SSL_new");
    SSL_set_bio(c->tls, BIO_new_socket(fd, BIO_NOCLOSE), c->out);
    SSL_set_accept_state(c->tls);
    epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = c});
    s->accepted++;
    s->open++;
    s->most_open = s->open > s->most_open ? s->open : s->most_open;
}

/* Prints the counters. most_open starts again from what is open now. */
static void on_signal(struct server *s)
{
    struct signalfd_siginfo info;

    if (read(s->signals, &info, sizeof(info)) != sizeof(info))
        die("signalfd");
    printf("{\"queries\": %" PRIu64 ", \"records\": %" PRIu64 ", \"accepted\": %" PRIu64 ", \"open\": %" PRIu64
           ", \"most_open\": %" PRIu64 ", \"resumed\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"cipher\": \"%s\"}\n",
           s->queries, s->records, s->accepted, s->open, s->most_open, s->resumed, s->failed,
           s->cipher != NULL ? s->cipher : "");
    fflush(stdout);
    s->most_open = s->open;
}

static int wait_events(struct server *s, struct epoll_event *events)
{
    struct timespec pause = {0};

    if (s->heap_len == 0)
        return epoll_wait(s->epoll, events, EVENTS, -1);
    uint64_t now = now_ns(), due = s->heap[0]->due_ns;
    pause.tv_nsec = due > now ? (long)((due - now) % NS_PER_S) : 0;
    pause.tv_sec = due > now ? (time_t)((due - now) / NS_PER_S) : 0;
    return epoll_pwait2(s->epoll, events, EVENTS, &pause, NULL); /* milliseconds would be too coarse */
}

static void serve(struct server *s)
{
    struct epoll_event events[EVENTS];

    for (;;) {
        int n = wait_events(s, events);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &s->listener)
                on_connection(s);
            else if (events[i].data.ptr == &s->signals)
                on_signal(s);
            else
                on_readable(s, events[i].data.ptr);
        }
        send_due(s);
        flush_dirty(s);
    }
}

/* -- start -- */

static SSL_CTX *open_context(const char *cert, const char *key)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (context == NULL || SSL_CTX_use_certificate_chain_file(context, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_BUFFER);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"bench", 5);
    return context;
}

/* Returns the port. */
static uint16_t open_listener(struct server *s, uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    socklen_t len = sizeof(address);

    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0)
        die("socket");
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(s->listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(s->listener, TCP_BACKLOG) < 0)
        die("bind");
    getsockname(s->listener, (struct sockaddr *)&address, &len);
    return ntohs(address.sin_port);
}

static void open_signals(struct server *s)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
    static struct server s = {.seed = 0x9e3779b97f4a7c15ull};
    uint64_t delay_us = 0, most_us = 0;
    uint16_t port = 0;

    for (int c; (c = getopt(argc, argv, "p:d:D:b:j")) != -1;) {
        switch (c) {
        case 'p':
            port = (uint16_t)number_argument("-p", optarg, UINT16_MAX);
            break;
        case 'd':
            delay_us = number_argument("-d", optarg, UINT32_MAX);
            break;
        case 'D':
            most_us = number_argument("-D", optarg, UINT32_MAX);
            break;
        case 'b':
            s.block = number_argument("-b", optarg, ANSWER_MAX);
            break;
        case 'j':
            s.join = true;
            break;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (argc - optind != 2) {
        fputs(usage, stderr);
        return 2;
    }
    s.delay_ns = delay_us * NS_PER_US;
    s.spread_ns = most_us > delay_us ? (most_us - delay_us) * NS_PER_US : 0;
    s.context = open_context(argv[optind], argv[optind + 1]);
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    port = open_listener(&s, port);
    open_signals(&s);
    epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &s.listener});
    epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.signals, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &s.signals});
    printf("{\"port\": %u}\n", port);
    fflush(stdout);
    serve(&s);
}

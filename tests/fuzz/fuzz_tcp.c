/* TCP framing: however a stream is cut and however slowly answers are read, the messages handed up are the frames that
 * were sent, and the answers written are those that were given, whole and in order.
 *
 * Input: an octet that seeds the cutting, then the client's stream. A message's first octet says how it is answered.
 * The kernel is played here: accept4(), recv(), send() and close() on a descriptor that does not exist. */
#include "nodedot/listener/client_answer.h"
#include "nodedot/listener/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Turns in which nothing moves before all is taken to be over. */
#define QUIET_TURNS 4
/* Answers given in one run; more would only be slow. */
#define ANSWERS_MAX 64

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct {
    const uint8_t *stream;
    size_t size, read; /* of the stream */
    size_t judged;     /* octets of the stream whose messages were handed up */
    uint32_t random;
    bool ended;          /* recv() has told the end */
    bool unlimited;      /* send() takes everything */
    size_t given, taken; /* octets of answers: handed to the listener, and by it to send() */
    size_t at, left;     /* of the answer that is being taken */
    uint16_t sizes[ANSWERS_MAX];
    size_t answers, next_answer;
    struct client late[TCP_UNANSWERED];
    size_t late_count;
    int accepts;
} peer;

static uint32_t draw(uint32_t bound)
{
    peer.random = peer.random * 1664525 + 1013904223;
    return (peer.random >> 8) % bound;
}

/* ---- the kernel ---- */

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    (void)fd, (void)flags;
    if (peer.accepts == 0) {
        errno = EAGAIN;
        return -1;
    }
    peer.accepts--;
    *(struct sockaddr_in *)(void *)address = (struct sockaddr_in){.sin_family = AF_INET};
    *size = sizeof(struct sockaddr_in);
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

ssize_t recv(int fd, void *out, size_t capacity, int flags)
{
    size_t n = 1 + (draw(4) == 0 ? draw(2 * TCP_IN) : draw(40));

    (void)fd, (void)flags;
    n = n < capacity ? n : capacity;
    n = n < peer.size - peer.read ? n : peer.size - peer.read;
    memcpy(out, peer.stream + peer.read, n);
    peer.read += n;
    peer.ended = peer.ended || n == 0;
    return (ssize_t)n;
}

/* Each answer is its length and then octets that all are the lower half of that length. */
static void take_octet(uint8_t octet)
{
    if (peer.at == 0)
        check(peer.next_answer < peer.answers && octet == peer.sizes[peer.next_answer] >> 8);
    else
        check(octet == (peer.sizes[peer.next_answer] & 0xff));
    peer.taken++;
    if (++peer.at < 2u + peer.sizes[peer.next_answer])
        return;
    peer.at = 0;
    peer.next_answer++;
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    const uint8_t *octets = data;
    size_t n = peer.unlimited || draw(3) == 0 ? size : draw(4) == 0 ? draw(100000) : draw(600);

    (void)fd, (void)flags;
    n = n < size ? n : size;
    if (n == 0) {
        errno = EAGAIN;
        return -1;
    }
    for (size_t i = 0; i < n; i++)
        take_octet(octets[i]);
    return (ssize_t)n;
}

/* ---- the owner ---- */

static size_t write_answer(uint8_t *out)
{
    size_t size = draw(8) == 0 ? 1 + draw(MESSAGE_MAX_OCTETS) : 1 + draw(600);

    memset(out, (int)(size & 0xff), size);
    peer.sizes[peer.answers++] = (uint16_t)size;
    peer.given += 2 + size;
    return size;
}

static ssize_t on_query(void *owner, const struct client *client, const uint8_t *message, size_t size, uint8_t *out,
                        size_t capacity)
{
    size_t left = peer.judged < peer.read ? peer.read - peer.judged : 0;
    size_t whole;

    (void)owner;
    check(capacity >= MESSAGE_MAX_OCTETS && left >= 2);
    whole = wire_get_u16(peer.stream + peer.judged);
    check(size == (whole <= TCP_IN - 2 ? whole : TCP_IN - 2));
    check(left - 2 >= size && memcmp(message, peer.stream + peer.judged + 2, size) == 0);
    peer.judged += 2 + whole;
    if (size == 0 || peer.answers + peer.late_count >= ANSWERS_MAX)
        return 0;
    if (message[0] % 3 == 0)
        return (ssize_t)write_answer(out);
    if (message[0] % 3 == 1)
        return 0;
    check(peer.late_count < TCP_UNANSWERED);
    peer.late[peer.late_count++] = *client;
    return CLIENT_LATER;
}

static bool allowed(void *owner, const struct endpoint *endpoint)
{
    (void)owner, (void)endpoint;
    return true;
}

/* Answers one of those that wait. False: the listener has closed, because the reader was too slow. */
static bool answer_late(void)
{
    size_t i = draw((uint32_t)peer.late_count);
    struct client client = peer.late[i];
    size_t capacity;
    uint8_t *out = client_begin(&client, &capacity);

    peer.late[i] = peer.late[--peer.late_count];
    if (out == NULL)
        return false;
    client_commit(&client, draw(5) == 0 ? 0 : write_answer(out));
    return true;
}

/* ---- a run ---- */

/* One turn of the loop: what is watched and possible happens. False: the listener closed because of a slow reader. */
static bool turn(struct tcp_listener *listener, struct tcp_connection *c)
{
    int events = c->events & EV_WRITE;

    if ((c->events & EV_READ) != 0 && !peer.ended && (peer.unlimited || draw(3) != 0))
        events |= EV_READ;
    if (events != 0)
        ev_invoke(listener->loop, &c->io, events);
    for (uint32_t n = peer.unlimited ? UINT32_MAX : draw(6); n > 0 && peer.late_count > 0; n--) {
        if (!answer_late())
            return false;
        if (peer.unlimited && draw(4) == 0)
            break;
    }
    tcp_flush(listener);
    return true;
}

/* Does the stream go on with a message that should have been handed up? */
static bool is_owed(void)
{
    size_t left = peer.judged < peer.size ? peer.size - peer.judged : 0;
    size_t whole = left >= 2 ? wire_get_u16(peer.stream + peer.judged) : SIZE_MAX;

    return left >= 2 && left - 2 >= (whole <= TCP_IN - 2 ? whole : TCP_IN - 2);
}

static void run(struct tcp_listener *listener)
{
    struct tcp_connection *c;
    int quiet = 0;

    peer.accepts = 1;
    ev_invoke(listener->loop, &listener->accepts[0], EV_READ);
    check(listener->open == 1);
    c = listener->newest;
    for (int turns = 0; quiet < QUIET_TURNS && listener->open == 1; turns++) {
        size_t moved = peer.read + peer.judged + peer.taken + peer.late_count;

        peer.unlimited = peer.unlimited || turns > 1000 || (peer.read == peer.size && draw(8) == 0);
        if (!turn(listener, c))
            return;
        quiet = peer.unlimited && moved == peer.read + peer.judged + peer.taken + peer.late_count ? quiet + 1 : 0;
    }
    check(listener->open == 0 && peer.ended);
    check(!is_owed());
    check(peer.taken == peer.given && peer.late_count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct client_prefix prefix = {.ipv4 = 32, .ipv6 = 64};
    static struct config config = {.tcp_connections = 1, .tcp_idle = 10};
    static struct metrics metrics;
    static struct tcp_listener listener;
    static struct quota *quota;

    if (size < 1)
        return 0;
    if (quota == NULL) {
        struct tcp_setup setup = {.loop = ev_loop_new(EVFLAG_AUTO),
                                  .metrics = &metrics,
                                  .quota = quota = quota_create(1, 1, &prefix),
                                  .config = &config,
                                  .on_query = on_query,
                                  .allowed = allowed};

        check(setup.loop != NULL && quota != NULL && tcp_init(&listener, &setup));
        tcp_add(&listener, 0);
    }
    memset(&peer, 0, sizeof(peer));
    peer.random = data[0];
    peer.stream = data + 1;
    peer.size = size - 1;
    run(&listener);
    tcp_flush(&listener);
    check(listener.open == 0); /* a reader who was too slow is closed at the next flush */
    return 0;
}

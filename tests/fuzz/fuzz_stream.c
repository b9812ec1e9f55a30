/* The framing of an upstream's stream: however it is cut, each message that has the ID of a query that is out is handed
 * to that query, whole and in order, and no other is.
 *
 * Input: how many queries are out, then the upstream's octets. The connection ends behind them. */
#include "nodedot/base/random.h"
#include "nodedot/forward/address.h"
#include "nodedot/forward/flight.h"
#include "simulation/check.h"
#include "simulation/loop.h"
#include "simulation/network.h"

#include <string.h>

#define QUERIES 16

static struct config config;
static struct metrics metrics;
static struct address_status status;
static struct forward forward;
static struct upstream upstream;
static struct address address;
static struct stream stream;
static struct attempt attempts[QUERIES];

static struct {
    const uint8_t *octets;
    size_t size, fed, judged;
    unsigned queries;
    bool closed;
} peer;

/* ---- what stands above the stream ---- */

void address_stream_ready(struct stream *s)
{
    for (unsigned i = 0; i < peer.queries; i++)
        check(stream_ask(s, &attempts[i]));
    stream_flush(s);
}

void address_stream_closed(struct stream *s, bool was_ready, const char *reason)
{
    check(was_ready && reason[0] != '\0');
    for (unsigned i = 0; i < STREAM_SLOTS; i++) {
        if (s->slots[i] != NULL)
            stream_forget(s, s->slots[i]);
    }
    peer.closed = true;
}

void address_serve_waiting(struct stream *s)
{
    (void)s;
}

size_t attempt_write(const struct attempt *attempt, uint8_t *out, size_t capacity)
{
    struct wire_writer w = wire_writer_of(out, capacity);

    wire_write_u16(&w, attempt->id);
    wire_write(&w, "\1\0\0\1\0\0\0\0\0\0\0\0\1\0\1", 15);
    return wire_written(&w);
}

/* Passes over the messages that are for nobody. The size of the one that is next; SIZE_MAX: there is none. */
static size_t next_message(void)
{
    while (peer.size - peer.judged >= 2) {
        const uint8_t *at = peer.octets + peer.judged;
        size_t size = wire_get_u16(at);

        if (peer.size - peer.judged - 2 < size)
            break;
        for (unsigned i = 0; i < peer.queries && size >= MESSAGE_HEADER; i++) {
            if (attempts[i].state == ATTEMPT_STREAM && attempts[i].id == wire_get_u16(at + 2))
                return size;
        }
        peer.judged += 2 + size;
    }
    return SIZE_MAX;
}

/* The third octet says whether it is taken for an answer. */
bool attempt_message(struct attempt *attempt, const uint8_t *message, size_t size)
{
    check(next_message() == size && memcmp(message, peer.octets + peer.judged + 2, size) == 0);
    check(attempt->state == ATTEMPT_STREAM && attempt->id == wire_get_u16(message));
    peer.judged += 2 + size;
    if (message[2] % 4 == 0)
        return false;
    stream_forget(&stream, attempt);
    return true;
}

/* ---- the upstream ---- */

void client_receives(struct simulated_socket *s, const struct endpoint *to, const uint8_t *data, size_t size)
{
    (void)s, (void)to, (void)data, (void)size;
    check(false);
}

void client_was_read(struct simulated_socket *s, const struct endpoint *from)
{
    (void)s, (void)from;
    check(false);
}

void upstream_receives(struct simulated_socket *s, const uint8_t *data, size_t size)
{
    (void)s;
    check(size == 17 && wire_get_u16(data) >= 1 && wire_get_u16(data) <= peer.queries);
}

void peer_was_closed(struct simulated_socket *s)
{
    (void)s;
}

bool script_step(void)
{
    struct simulated_socket *s = network_pick(SOCKET_UPSTREAM_STREAM, 0);
    size_t size = 1 + random_below(random_below(4) == 0 ? 70000 : 40);

    if (s == NULL) {
        ev_break(forward.loop, EVBREAK_ALL);
        return false;
    }
    s->connect = PROGRESS_GOOD;
    s->segment = 1 + random_below(random_below(3) == 0 ? 70000 : 300);
    size = size < peer.size - peer.fed ? size : peer.size - peer.fed;
    network_deliver(s, peer.octets + peer.fed, size);
    peer.fed += size;
    s->ended = peer.fed == peer.size;
    return false;
}

static void begin(void)
{
    struct endpoint *endpoint = &config.upstreams[0].addresses[0];

    config.upstreams[0].transport = TRANSPORT_PLAIN;
    check(endpoint_parse("192.0.2.1:53", 0, endpoint));
    forward.loop = ev_loop_new(0);
    forward.metrics = &metrics;
    upstream.forward = &forward;
    upstream.config = &config.upstreams[0];
    address.upstream = &upstream;
    address.endpoint = *endpoint;
    address.standing = (struct standing){.config = upstream.config, .status = &status};
    stream.address = &address;
    stream.next_slot = 0; /* so that the IDs are the same in each run */
    stream.turn = 0;
    stream.dirty = false;
    forward.dirty = NULL;
    for (unsigned i = 0; i < QUERIES; i++)
        attempts[i] = (struct attempt){.address = &address};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    loop_reset(size * 2654435761u + data[0]);
    network_reset();
    memset(&peer, 0, sizeof(peer));
    peer.queries = data[0] % (QUERIES + 1);
    peer.octets = data + 1;
    peer.size = size - 1;
    begin();
    stream_open(&stream);
    ev_run(forward.loop, 0);
    check(peer.closed && stream.state == STREAM_IDLE && stream.outstanding == 0);
    check(network_count(SOCKET_UPSTREAM_STREAM) == 0 && loop_watchers() == 0);
    check(next_message() == SIZE_MAX);
    return 0;
}

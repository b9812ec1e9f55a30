/* The framing of an upstream's stream: however it is cut, each message that has the ID of a query that is out is handed
 * to that query, whole and in order, and no other is.
 *
 * Input: how many queries are out, then the upstream's octets. The connection ends behind them. */
#include "nodedot/base/random.h"
#include "nodedot/forward/stream.h"
#include "simulation/check.h"
#include "simulation/loop.h"
#include "simulation/network.h"

#include <string.h>

#define QUERIES 16

static struct config config;
static struct metrics metrics;
static struct address_status status;
static struct exchanges exchanges;
static struct stream_peer stream_peer;
static struct stream stream;
static struct exchange queries[QUERIES];

static struct {
    const uint8_t *octets;
    size_t size, fed, judged;
    unsigned queries;
    bool closed;
} peer;

/* ---- what stands above the stream ---- */

static void on_ready(struct stream *s)
{
    for (unsigned i = 0; i < peer.queries; i++) {
        queries[i].form.stream = true;
        check(stream_send(s, &queries[i]));
    }
    stream_flush(s);
}

static void on_closed(struct stream *s, bool was_ready, const char *reason)
{
    check(was_ready && reason[0] != '\0');
    while (pipeline_take_any(&s->pipeline) != NULL)
        continue;
    peer.closed = true;
}

static void on_room(struct stream *s)
{
    (void)s;
}

static const struct stream_events stream_events = {
    .ready = on_ready, .has_room = on_room, .late = on_room, .closed = on_closed};

/* Passes over the messages that are for nobody. The size of the one that is next; SIZE_MAX: there is none. */
static size_t next_message(void)
{
    while (peer.size - peer.judged >= 2) {
        const uint8_t *at = peer.octets + peer.judged;
        size_t size = wire_get_u16(at);

        if (peer.size - peer.judged - 2 < size)
            break;
        for (unsigned i = 0; i < peer.queries && size >= MESSAGE_HEADER; i++) {
            if (queries[i].state == EXCHANGE_STREAM && queries[i].id == wire_get_u16(at + 2))
                return size;
        }
        peer.judged += 2 + size;
    }
    return SIZE_MAX;
}

/* In place of exchange.c: the third octet says whether it is taken for an answer. */
bool exchange_receive(struct exchange *exchange, uint8_t *message, size_t size)
{
    check(next_message() == size && memcmp(message, peer.octets + peer.judged + 2, size) == 0);
    check(exchange->state == EXCHANGE_STREAM && exchange->id == wire_get_u16(message));
    peer.judged += 2 + size;
    if (message[2] % 4 == 0)
        return false;
    stream_forget(&stream, exchange);
    return true;
}

size_t exchange_write(const struct exchange_form *form, uint16_t id, uint8_t *out, size_t capacity)
{
    struct wire_writer w = wire_writer_of(out, capacity);

    check(form->stream && !form->padded);
    wire_write_u16(&w, id);
    wire_write(&w, "\1\0\0\1\0\0\0\0\0\0\0\0\1\0\1", 15);
    return wire_written(&w);
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
        ev_break(exchanges.loop, EVBREAK_ALL);
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
    exchanges.loop = ev_loop_new(0);
    exchanges.metrics = &metrics;
    exchanges.dirty = NULL;
    stream_peer = (struct stream_peer){.exchanges = &exchanges,
                                       .events = &stream_events,
                                       .config = &config.upstreams[0],
                                       .endpoint = *endpoint,
                                       .reachability = {.config = &config.upstreams[0], .status = &status}};
    stream.peer = &stream_peer;
    stream.pipeline.next_slot = 0; /* so that the IDs are the same in each run */
    stream.pipeline.turn = 0;
    stream.dirty = false;
    for (unsigned i = 0; i < QUERIES; i++)
        queries[i] = (struct exchange){.exchanges = &exchanges};
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
    ev_run(exchanges.loop, 0);
    check(peer.closed && stream.state == STREAM_IDLE && stream.pipeline.outstanding == 0);
    check(network_count(SOCKET_UPSTREAM_STREAM) == 0 && loop_watchers() == 0);
    check(next_message() == SIZE_MAX);
    return 0;
}

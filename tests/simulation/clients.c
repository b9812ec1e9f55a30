/* The clients: what they ask, and what they may expect. */
#include "nodedot/base/random.h"
#include "nodedot/listener/tcp.h"
#include "simulation/check.h"
#include "simulation/loop.h"
#include "simulation/network.h"
#include "simulation/simulation.h"

#include <string.h>

#define EXPECTATIONS 65000 /* queries of one simulation: an expectation's number is its client's port or its ID */
#define FIRST_PORT   100
/* Queries that a client of a connection has out before it waits itself. */
#define OUTSTANDING (TCP_UNANSWERED + 10)
#define SLOW_FROM   100

struct expectation {
    bool udp, read, over;
    uint32_t serial;  /* of the connection */
    uint64_t end_at;  /* of the message, in the connection's octets */
    uint64_t read_us; /* when it had been read whole */
    struct query_message message;
    uint8_t question[QUESTION_MAX_OCTETS];
};

static struct expectation expectations[EXPECTATIONS];
static unsigned count, first_open;
static uint64_t datagrams_read, unanswered;

static const char *const names[] = {
    "a.test",
    "b.test",
    "sub.a.test",
    "web.cluster.local",
    "db.web.cluster.local",
    "localhost",
    "x.onion",
    ".",
    "com",
    "1.0.168.192.in-addr.arpa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    "bbbbbbbb.ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc."
    "ddddddddddddddddddddddddddddddddddddddddddddd"
    "ddddddddddd.test",
};
static const uint16_t types[] = {TYPE_A, TYPE_A, TYPE_AAAA, TYPE_A, 16, 65, TYPE_CNAME, TYPE_SOA, TYPE_ANY, TYPE_AXFR};

void clients_reset(void)
{
    count = first_open = 0;
    datagrams_read = unanswered = 0;
}

uint64_t clients_datagrams(void)
{
    return datagrams_read;
}

uint64_t clients_unanswered(void)
{
    return unanswered;
}

/* ---- questions ---- */

enum query_bits {
    BIT_EDNS = 1,
    BIT_DO = 2,
    BIT_KEEPALIVE = 4,
    BIT_CD = 8,
    BIT_AD = 16,
    BIT_NUMBERED = 32, /* one of many names, so that table and cache fill */
    BIT_CASE = 64,
    BIT_ODD = 128 /* something is wrong with it */
};

static void write_name(struct wire_writer *w, uint8_t bits)
{
    char text[32];
    struct name name;

    if ((bits & BIT_NUMBERED) != 0)
        snprintf(text, sizeof(text), "n%u.test", script_octet() & 63u);
    check(name_from_text((bits & BIT_NUMBERED) != 0 ? text : names[script_octet() % (sizeof(names) / sizeof(names[0]))],
                         &name));
    for (size_t i = 0; i < name.length && (bits & BIT_CASE) != 0; i++) {
        if (name.bytes[i] >= 'a' && name.bytes[i] <= 'z' && random_below(2) == 0)
            name.bytes[i] = (uint8_t)(name.bytes[i] - 'a' + 'A');
    }
    wire_write(w, name.bytes, name.length);
}

static void write_opt(struct wire_writer *w, uint8_t bits, uint8_t odd)
{
    static const uint16_t sizes[] = {0, 511, 512, 600, 1231, 1232, 1233, 4096};

    wire_write_u8(w, 0);
    wire_write_u16(w, TYPE_OPT);
    wire_write_u16(w, sizes[script_octet() % 8]);
    wire_write_u16(w, odd == 1 ? 1 : 0); /* version */
    wire_write_u16(w, (bits & BIT_DO) != 0 ? 0x8000 : 0);
    wire_write_u16(w, (uint16_t)(((bits & BIT_KEEPALIVE) != 0 ? 4 : 0) + (odd == 7 ? 12 : 0)));
    if (odd == 7) {
        wire_write_u32(w, EDNS_OPTION_COOKIE << 16 | 8);
        wire_write(w, "a cookie", 8);
    }
    if ((bits & BIT_KEEPALIVE) != 0)
        wire_write_u32(w, EDNS_OPTION_TCP_KEEPALIVE << 16);
}

static size_t write_query(uint8_t *out, size_t capacity, uint16_t id)
{
    struct wire_writer w = wire_writer_of(out, capacity);
    uint8_t bits = script_octet();
    uint8_t odd = (bits & BIT_ODD) != 0 ? script_octet() % 8 : UINT8_MAX;
    uint16_t flags = MESSAGE_RD;

    flags |= (bits & BIT_CD) != 0 ? MESSAGE_CD : 0;
    flags |= (bits & BIT_AD) != 0 ? MESSAGE_AD : 0;
    if (odd == 2)
        flags = 0;
    if (odd == 3)
        flags |= 5 << 11; /* UPDATE */
    if (odd == 4)
        flags |= MESSAGE_QR;
    wire_write_u16(&w, id);
    wire_write_u16(&w, flags);
    wire_write_u16(&w, 1);
    wire_write_u32(&w, 0);
    wire_write_u16(&w, (bits & BIT_EDNS) != 0);
    write_name(&w, bits);
    wire_write_u16(&w, types[script_octet() % (sizeof(types) / sizeof(types[0]))]);
    wire_write_u16(&w, odd == 5 ? 3 : CLASS_IN);
    if ((bits & BIT_EDNS) != 0)
        write_opt(&w, bits, odd);
    if (odd == 6)
        wire_write_u8(&w, 0); /* behind the end */
    check(!w.bad);
    return wire_written(&w);
}

/* ---- expectations ---- */

static struct endpoint client_endpoint(unsigned host, unsigned port)
{
    struct endpoint e = {.size = sizeof(e.v4)};

    e.v4 = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(0x0a000000u + 1 + host % 3)};
    return e;
}

/* A message whose first size octets are what the resolver will judge. NULL: there were too many. */
static struct expectation *expect(const uint8_t *message, size_t size)
{
    struct expectation *e = &expectations[count];

    *e = (struct expectation){0};
    /* The parser has fuzz targets of its own; here it says what is owed. */
    if (query_parse(message, size, &e->message) == QUERY_DROP)
        e->over = true;
    else if (e->message.question_octets > 0)
        memcpy(e->question, message + MESSAGE_HEADER, e->message.question_octets);
    count++;
    return e;
}

static void send_datagram(const uint8_t *message, size_t size)
{
    struct endpoint from = client_endpoint(script_octet(), FIRST_PORT + count);
    struct expectation *e = expect(message, size < 1233 ? size : 1233);

    e->udp = true;
    network_datagram(&from, message, size);
}

void clients_ask(void)
{
    uint8_t message[512];

    if (count < EXPECTATIONS)
        send_datagram(message, write_query(message, sizeof(message), script_number()));
}

void clients_send_octets(void)
{
    size_t size;
    const uint8_t *octets = script_octets(script_octet(), &size);

    if (count < EXPECTATIONS)
        send_datagram(octets, size);
}

void clients_connect(void)
{
    struct endpoint from = client_endpoint(script_octet(), 40000);

    network_connection(&from);
}

static struct simulated_socket *pick_stream(void)
{
    struct simulated_socket *s = network_pick(SOCKET_CLIENT, script_octet());

    return s == NULL || s->ended || s->reset || count == EXPECTATIONS ? NULL : s;
}

static void send_frame(struct simulated_socket *s, uint8_t *message, size_t size)
{
    uint8_t prefix[2];
    struct expectation *e;

    if (s->raw || s->waiting >= OUTSTANDING)
        return;
    wire_put_u16(prefix, (uint16_t)size);
    if (size >= 2)
        wire_put_u16(message, (uint16_t)count);
    e = expect(message, size < TCP_IN - 2 ? size : TCP_IN - 2); /* a longer one is judged by its beginning */
    e->end_at = s->read + (s->in.end - s->in.begin) + (size < TCP_IN - 2 ? 2 + size : TCP_IN);
    network_deliver(s, prefix, 2);
    network_deliver(s, message, size);
    e->serial = s->serial;
    s->waiting += !e->over;
}

void clients_ask_stream(void)
{
    uint8_t message[512];
    struct simulated_socket *s = pick_stream();
    size_t size = write_query(message, sizeof(message), 0);

    if (s != NULL)
        send_frame(s, message, size);
}

void clients_send_frame(void)
{
    static uint8_t message[MESSAGE_MAX_OCTETS];
    struct simulated_socket *s = pick_stream();
    size_t size;
    const uint8_t *octets = script_octets(script_octet(), &size);

    if (size > 0)
        memcpy(message, octets, size);
    if (size > 200) { /* once in a while a long one */
        memset(message + size, 0, sizeof(message) - size);
        size = (size_t)(octets[0] & (octets[2] < 16 ? 0xff : 0x1f)) << 8 | octets[1];
    }
    if (s != NULL)
        send_frame(s, message, size);
}

void clients_send_stream(void)
{
    struct simulated_socket *s = pick_stream();
    size_t size;
    const uint8_t *octets = script_octets(script_octet(), &size);

    if (s == NULL || s->waiting > 0)
        return;
    s->raw = true;
    network_deliver(s, octets, size);
}

void clients_disturb(void)
{
    struct simulated_socket *s = network_pick(SOCKET_CLIENT, script_octet());
    uint8_t how = script_octet();

    if (s == NULL)
        return;
    switch (how % 6) {
    case 0:
        s->ended = true;
        break;
    case 1:
        s->reset = true;
        break;
    case 2:
        s->room = how / 6 % 2 * 700u;
        s->slow_us = loop_now_us();
        break;
    case 3:
        s->room = SIZE_MAX;
        s->slow_us = loop_now_us();
        break;
    case 4:
        s->segment = 1 + how / 6u;
        break;
    default:
        s->segment = SIZE_MAX;
    }
}

void clients_calm(void)
{
    for (unsigned i = 0; i < network_count(SOCKET_CLIENT); i++) {
        struct simulated_socket *s = network_pick(SOCKET_CLIENT, i);

        if (s->room != SIZE_MAX)
            s->slow_us = loop_now_us();
        s->room = SIZE_MAX;
        s->segment = SIZE_MAX;
    }
}

/* ---- what the resolver does with it ---- */

static void mark_read(struct expectation *e)
{
    e->read = true;
    e->read_us = loop_now_us();
    simulation_account.queries++;
}

static void owe_answer(const struct expectation *e)
{
    if (!e->over)
        unanswered++;
}

void client_was_read(struct simulated_socket *s, const struct endpoint *from)
{
    if (s == NULL) {
        struct expectation *e = &expectations[endpoint_port(from) - FIRST_PORT];

        datagrams_read++;
        mark_read(e);
        owe_answer(e);
        return;
    }
    for (unsigned i = first_open; i < count && !s->raw; i++) {
        struct expectation *e = &expectations[i];

        if (!e->udp && !e->read && e->serial == s->serial && e->end_at <= s->read)
            mark_read(e);
    }
    if (s->waiting > SLOW_FROM)
        s->slow_us = loop_now_us();
}

/* Every record that stands for data must be what an honest upstream says to this question. */
static void check_data(const struct expectation *e, const uint8_t *data, size_t size)
{
    const struct question *question = &e->message.question;
    bool checking_disabled = (e->message.flags & MESSAGE_CD) != 0;
    uint32_t truth = simulation_truth(question, e->message.edns.dnssec_ok, checking_disabled);
    uint32_t plain = simulation_noted_plain() ? simulation_truth(question, false, checking_disabled) : truth;
    struct wire w = wire_of(data, size);

    wire_take(&w, MESSAGE_HEADER + (size_t)e->message.question_octets);
    for (unsigned left = wire_get_u16(data + MESSAGE_ANCOUNT_AT); left > 0; left--) {
        const uint8_t *rdata;
        uint16_t type, rdlength;
        uint32_t told;

        name_skip(&w);
        type = wire_u16(&w);
        wire_take(&w, 6);
        rdlength = wire_u16(&w);
        rdata = wire_take(&w, rdlength);
        check(!w.bad);
        if (type == TYPE_CNAME || rdlength < 4)
            continue;
        told = wire_get_u32(rdata + rdlength - 4);
        check(told != ~truth); /* a lie that the resolver must have seen through */
        check(told == truth || told == plain || simulation_trusts_nothing());
    }
}

static bool is_data(const struct question *question)
{
    static struct name test, cluster;

    check(name_from_text("test", &test) && name_from_text("cluster.local", &cluster));
    return question->qtype != TYPE_ANY &&
           (name_in_zone(&question->qname, &test) || name_in_zone(&question->qname, &cluster));
}

static size_t size_limit(const struct expectation *e)
{
    const struct edns *edns = &e->message.edns;

    if (!e->udp)
        return MESSAGE_MAX_OCTETS;
    if (!edns->present || edns->udp_size < EDNS_UDP_SIZE_MIN)
        return EDNS_UDP_SIZE_MIN;
    return edns->udp_size < EDNS_UDP_SIZE ? edns->udp_size : EDNS_UDP_SIZE;
}

static void check_answer(const struct expectation *e, const uint8_t *data, size_t size)
{
    static uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];
    const struct query_message *query = &e->message;
    struct answer_info info;
    uint16_t flags;

    check(size >= MESSAGE_HEADER && size <= size_limit(e) && wire_get_u16(data) == query->id);
    flags = wire_get_u16(data + MESSAGE_FLAGS_AT);
    check((flags & (MESSAGE_QR | MESSAGE_RA | MESSAGE_Z)) == (MESSAGE_QR | MESSAGE_RA));
    check(((flags ^ query->flags) & (MESSAGE_OPCODE | MESSAGE_RD | MESSAGE_CD)) == 0);
    check(wire_get_u16(data + MESSAGE_QDCOUNT_AT) == (query->question_octets > 0));
    check(size >= MESSAGE_HEADER + (size_t)query->question_octets);
    check(memcmp(data + MESSAGE_HEADER, e->question, query->question_octets) == 0);
    if (query->question_octets == 0 || (query->flags & MESSAGE_OPCODE) != 0)
        return;
    check(answer_parse(data, size, &info, ttl_offsets, MESSAGE_MAX_RECORDS));
    check(info.edns.present == query->edns.present && info.edns.version == 0);
    check(!info.edns.has_keepalive || (!e->udp && query->edns.has_keepalive));
    check(info.edns.dnssec_ok == query->edns.dnssec_ok);
    check((flags & MESSAGE_AA) == 0);
    check((flags & MESSAGE_AD) == 0 || (query->flags & MESSAGE_AD) != 0 || query->edns.dnssec_ok);
    if (is_data(&query->question))
        check_data(e, data, size);
}

void client_receives(struct simulated_socket *s, const struct endpoint *to, const uint8_t *data, size_t size)
{
    struct expectation *e;
    unsigned number;

    simulation_account.answers++;
    if (s != NULL && s->raw)
        return;
    check(size >= MESSAGE_HEADER);
    number = s != NULL ? wire_get_u16(data) : endpoint_port(to) - FIRST_PORT;
    check(number < count);
    e = &expectations[number];
    check(e->udp == (s == NULL) && e->read && !e->over); /* it was asked, and is not answered twice */
    check(s == NULL || e->serial == s->serial);
    check_answer(e, data, size);
    e->over = true;
    simulation_account.late += loop_now_us() - e->read_us > 1000;
    if (s != NULL)
        s->waiting--;
    else
        unanswered--;
}

/* Is the client, or its network, the reason why it has no answer yet? */
static bool excused(const struct expectation *e)
{
    struct simulated_socket *s = NULL;

    if (e->udp)
        return network_blocked_us() >= e->read_us;
    for (unsigned i = 0; i < network_count(SOCKET_CLIENT) && (s == NULL || s->serial != e->serial); i++)
        s = network_pick(SOCKET_CLIENT, i);
    if (s == NULL || s->serial != e->serial)
        return true; /* closed */
    if (s->room != SIZE_MAX || s->waiting > SLOW_FROM)
        s->slow_us = loop_now_us();
    return s->reset || s->slow_us >= e->read_us;
}

void clients_check_patience(void)
{
    while (first_open < count && expectations[first_open].over)
        first_open++;
    for (unsigned i = first_open; i < count; i++) {
        struct expectation *e = &expectations[i];

        if (e->read && !e->over && loop_now_us() - e->read_us > simulation_patience_us())
            check(excused(e));
    }
}

/* The upstreams: what they are asked, and the many ways in which they answer. */
#include "nodedot/base/random.h"
#include "nodedot/forward/stream.h"
#include "simulation/check.h"
#include "simulation/loop.h"
#include "simulation/network.h"
#include "simulation/simulation.h"

#include <string.h>

#define ASKED 4096

struct asked {
    int fd;
    uint32_t serial; /* of the socket */
    struct query_message query;
};

static struct asked asked[ASKED];
static unsigned asked_count;
static uint8_t message[MESSAGE_MAX_OCTETS + 1];

void upstreams_reset(void)
{
    asked_count = 0;
}

static void forget(unsigned i)
{
    asked[i] = asked[--asked_count];
}

void upstream_receives(struct simulated_socket *s, const uint8_t *data, size_t size)
{
    struct asked *a;

    if (asked_count == ASKED)
        forget(0);
    a = &asked[asked_count];
    a->fd = s->fd;
    a->serial = s->serial;
    check(query_parse(data, size, &a->query) == QUERY_OK);
    for (unsigned i = 0; i < asked_count; i++)
        check(asked[i].serial != s->serial || asked[i].query.id != a->query.id); /* RFC 7766 section 6.2.1 */
    asked_count++;
    if (!a->query.edns.present)
        simulation_note_plain();
    simulation_account.asked++;
}

void peer_was_closed(struct simulated_socket *s)
{
    for (unsigned i = asked_count; i-- > 0;) {
        if (asked[i].serial == s->serial)
            forget(i);
    }
    if (s->kind == SOCKET_UPSTREAM_STREAM)
        simulation_account.connections++;
}

/* ---- answers ---- */

static void tell(const struct asked *a, const uint8_t *data, size_t size)
{
    struct simulated_socket *s = network_socket(a->fd);
    uint8_t prefix[2];

    if (s->ended || s->reset)
        return;
    wire_put_u16(prefix, (uint16_t)size);
    if (s->kind == SOCKET_UPSTREAM_STREAM)
        network_deliver(s, prefix, 2);
    network_deliver(s, data, size);
    simulation_account.told++;
}

static struct wire_writer begin(const struct asked *a, const struct question *question, uint16_t flags)
{
    struct wire_writer w = wire_writer_of(message, MESSAGE_MAX_OCTETS);

    wire_write_u16(&w, a->query.id);
    flags |= random_below(2) == 0 ? MESSAGE_AA | MESSAGE_AD : 0; /* for nobody who did not ask */
    wire_write_u16(&w, (uint16_t)(MESSAGE_QR | MESSAGE_RD | MESSAGE_RA | flags));
    wire_write_u16(&w, 1);
    wire_write_u32(&w, 0);
    wire_write_u16(&w, 0);
    wire_write(&w, question->qname.bytes, question->qname.length);
    wire_write_u16(&w, question->qtype);
    wire_write_u16(&w, question->qclass);
    return w;
}

static void count_record(int section)
{
    wire_put_u16(message + section, (uint16_t)(wire_get_u16(message + section) + 1));
}

static uint32_t draw_ttl(void)
{
    static const uint32_t ttls[] = {0, 1, 5, 60, 300, 86400, 0x7fffffff, 0x80000000};

    return ttls[script_octet() % 8];
}

static void write_frame(struct wire_writer *w, uint16_t type, uint32_t ttl, uint16_t rdlength)
{
    wire_write_u16(w, type);
    wire_write_u16(w, CLASS_IN);
    wire_write_u32(w, ttl);
    wire_write_u16(w, rdlength);
}

/* A record of the type asked for, whose last four octets are data; its owner is written already. */
static void write_data(struct wire_writer *w, const struct question *question, uint32_t ttl, uint32_t data)
{
    uint16_t type = question->qtype;

    if (type == TYPE_AAAA) {
        write_frame(w, type, ttl, 16);
        wire_write(w, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0", 12);
    } else if (type == TYPE_SOA || type == TYPE_CNAME) { /* would need names */
        write_frame(w, TYPE_A, ttl, 4);
    } else if (type == 16) {
        write_frame(w, type, ttl, 5);
        wire_write_u8(w, 4);
    } else {
        write_frame(w, type, ttl, 4);
    }
    wire_write_u32(w, data);
    count_record(MESSAGE_ANCOUNT_AT);
}

static uint32_t truth_of(const struct asked *a)
{
    return simulation_truth(&a->query.question, a->query.edns.dnssec_ok, (a->query.flags & MESSAGE_CD) != 0);
}

static void write_soa(struct wire_writer *w)
{
    write_frame(w, TYPE_SOA, draw_ttl(), 22); /* behind an owner */
    wire_write_u16(w, 0);                     /* two root names */
    for (int i = 0; i < 4; i++)
        wire_write_u32(w, 3600);
    wire_write_u32(w, draw_ttl()); /* MINIMUM */
    count_record(MESSAGE_NSCOUNT_AT);
}

static void write_opt(struct wire_writer *w, const struct asked *a, uint16_t option, uint16_t value)
{
    if (!a->query.edns.present)
        return;
    wire_write_u8(w, 0);
    wire_write_u16(w, TYPE_OPT);
    wire_write_u16(w, 1232);
    wire_write_u32(w, a->query.edns.dnssec_ok ? 0x8000 : 0);
    wire_write_u16(w, option != 0 ? 6 : 0);
    if (option != 0) {
        wire_write_u16(w, option);
        wire_write_u16(w, 2);
        wire_write_u16(w, value);
    }
    count_record(MESSAGE_ARCOUNT_AT);
}

static void tell_written(const struct asked *a, const struct wire_writer *w)
{
    if (!w->bad)
        tell(a, message, wire_written(w));
}

static void answer_well(const struct asked *a, uint16_t option, uint16_t value)
{
    struct wire_writer w = begin(a, &a->query.question, 0);

    wire_write_u16(&w, 0xc00c);
    write_data(&w, &a->query.question, draw_ttl(), truth_of(a));
    write_opt(&w, a, option, value);
    tell_written(a, &w);
}

static void answer_chain(const struct asked *a)
{
    struct wire_writer w = begin(a, &a->query.question, 0);
    unsigned links = 1 + script_octet() % 20u;
    size_t owner = MESSAGE_HEADER;

    for (unsigned i = 0; i < links; i++) {
        wire_write_u16(&w, (uint16_t)(0xc000 | owner));
        write_frame(&w, TYPE_CNAME, draw_ttl(), 4);
        owner = wire_written(&w);
        wire_write_u8(&w, 2);
        wire_write_u8(&w, 'c');
        wire_write_u8(&w, (uint8_t)('a' + i));
        wire_write_u8(&w, 0);
        count_record(MESSAGE_ANCOUNT_AT);
    }
    wire_write_u16(&w, (uint16_t)(0xc000 | owner));
    write_data(&w, &a->query.question, draw_ttl(), truth_of(a));
    write_opt(&w, a, 0, 0);
    tell_written(a, &w);
}

static void answer_negative(const struct asked *a, uint16_t rcode, bool soa)
{
    struct wire_writer w = begin(a, &a->query.question, rcode);

    if (soa) {
        wire_write_u16(&w, 0xc00c);
        write_soa(&w);
    }
    write_opt(&w, a, 0, 0);
    tell_written(a, &w);
}

static void answer_failure(const struct asked *a, uint16_t flags, bool opt)
{
    struct wire_writer w = begin(a, &a->query.question, flags);

    if (opt)
        write_opt(&w, a, EDNS_OPTION_EXTENDED_ERROR, script_octet() % 30);
    tell_written(a, &w);
}

static void answer_at_length(const struct asked *a)
{
    struct wire_writer w = begin(a, &a->query.question, 0);
    uint32_t ttl = draw_ttl();
    unsigned records = script_octet() * 24u;

    for (unsigned i = 0; i < records && (size_t)(w.end - w.at) > 64; i++) {
        wire_write_u16(&w, 0xc00c);
        write_data(&w, &a->query.question, ttl, truth_of(a));
    }
    write_opt(&w, a, 0, 0);
    tell_written(a, &w);
}

/* The ID, the name, the type or the class is another one: none of it may be believed. */
static void lie(const struct asked *a, unsigned about)
{
    /* The one before; the same slot at another turn. The one behind may be the next query's, with the same question. */
    static const uint16_t shifts[] = {UINT16_MAX, PIPELINE_SLOTS, 0x8000, 2 * PIPELINE_SLOTS};
    struct question question = a->query.question;
    struct asked other = *a;
    struct wire_writer w;

    if (about == 0)
        other.query.id = (uint16_t)(other.query.id + shifts[script_octet() % 4]);
    else if (about == 1)
        check(name_from_text("lie.test", &question.qname));
    else if (about == 2)
        question.qtype = question.qtype == TYPE_A ? TYPE_AAAA : TYPE_A;
    else
        question.qclass = 3;
    for (unsigned i = 0; i < asked_count && about == 0; i++) {
        if (asked[i].serial == a->serial && asked[i].query.id == other.query.id)
            return; /* it would be an answer to that one, with another question perhaps */
    }
    w = begin(&other, &question, 0);
    wire_write_u16(&w, 0xc00c);
    write_data(&w, &a->query.question, 3600, ~truth_of(a));
    write_opt(&w, a, 0, 0);
    tell_written(a, &w);
}

/* The question, and then anything. */
static void answer_anything(const struct asked *a)
{
    size_t size;
    const uint8_t *octets = script_octets(script_octet(), &size);
    struct wire_writer w = begin(a, &a->query.question, script_number() & 0x79ffu);

    for (int section = MESSAGE_ANCOUNT_AT; section <= MESSAGE_ARCOUNT_AT; section += 2)
        wire_put_u16(message + section, script_octet() % 4);
    wire_write(&w, octets, size);
    simulation_trust_nothing();
    tell_written(a, &w);
}

/* A good answer with a few octets changed behind the question. */
static void answer_mutated(const struct asked *a)
{
    struct wire_writer w = begin(a, &a->query.question, 0);
    size_t from = wire_written(&w);

    wire_write_u16(&w, 0xc00c);
    write_data(&w, &a->query.question, draw_ttl(), truth_of(a));
    wire_write_u16(&w, 0xc00c);
    write_soa(&w);
    write_opt(&w, a, EDNS_OPTION_EXTENDED_ERROR, 3);
    for (unsigned left = 1 + script_octet() % 4u; left > 0; left--)
        message[from + script_octet() % (wire_written(&w) - from)] ^= script_octet();
    simulation_trust_nothing();
    tell_written(a, &w);
}

static void answer(const struct asked *a, uint8_t how)
{
    switch (how % 32) {
    case 0:
        answer_chain(a);
        break;
    case 1:
        answer_negative(a, RCODE_NXDOMAIN, true);
        break;
    case 2:
        answer_negative(a, RCODE_NOERROR, true);
        break;
    case 3:
        answer_negative(a, script_octet() % 2 * RCODE_NXDOMAIN, false);
        break;
    case 4:
        answer_failure(a, RCODE_SERVFAIL, true);
        break;
    case 5:
        answer_failure(a, RCODE_REFUSED, true);
        break;
    case 6:
        answer_failure(a, RCODE_FORMERR, false);
        break;
    case 7:
        begin(a, &a->query.question, RCODE_FORMERR);
        wire_put_u16(message + MESSAGE_QDCOUNT_AT, 0);
        tell(a, message, MESSAGE_HEADER);
        break;
    case 8:
        answer_failure(a, MESSAGE_TC, true);
        break;
    case 9:
        answer_at_length(a);
        break;
    case 10:
    case 11:
    case 12:
    case 13:
        lie(a, how % 32 - 10u);
        break;
    case 14:
        answer_anything(a);
        break;
    case 15:
        answer_mutated(a);
        break;
    case 16:
        tell(a, message, script_octet() % MESSAGE_HEADER);
        break;
    case 17:
        answer_well(a, EDNS_OPTION_TCP_KEEPALIVE, script_octet() % 4 * 30u);
        break;
    case 18:
        answer_well(a, EDNS_OPTION_EXTENDED_ERROR, script_octet());
        break;
    case 19:
        answer_well(a, 0, 0);
        answer_well(a, 0, 0);
        break;
    default:
        answer_well(a, 0, 0);
    }
}

void upstreams_answer(void)
{
    uint8_t which = script_octet();
    uint8_t how = script_octet();

    if (asked_count == 0)
        return;
    answer(&asked[which % asked_count], how);
    /* What may have been no answer can be followed by one. After an answer, one more is a message too many: sometimes. */
    if ((how & 0x80) == 0 && !(how % 32 >= 10 && how % 32 <= 16))
        forget(which % asked_count);
}

void upstreams_answer_all(void)
{
    while (asked_count > 0) {
        unsigned which = random_below(asked_count);

        answer_well(&asked[which], 0, 0);
        forget(which);
    }
}

/* ---- connections ---- */

static void proceed(struct simulated_socket *s, uint8_t how)
{
    enum socket_progress progress = how % 8 == 0 ? PROGRESS_BAD : how % 8 == 1 ? PROGRESS_CLOSED : PROGRESS_GOOD;

    if (s->connect == PROGRESS_NONE)
        s->connect = progress == PROGRESS_BAD ? PROGRESS_BAD : PROGRESS_GOOD;
    else if (s->handshake == PROGRESS_NONE)
        s->handshake = progress;
}

void upstreams_proceed(void)
{
    struct simulated_socket *s = network_pick(SOCKET_UPSTREAM_STREAM, script_octet());
    uint8_t how = script_octet();

    if (s != NULL)
        proceed(s, how);
}

void upstreams_proceed_all(void)
{
    for (unsigned i = 0; i < network_count(SOCKET_UPSTREAM_STREAM); i++) {
        struct simulated_socket *s = network_pick(SOCKET_UPSTREAM_STREAM, i);

        proceed(s, 2);
        proceed(s, 2);
    }
}

static void disturb_datagram(void)
{
    struct simulated_socket *s = network_pick(SOCKET_UPSTREAM_DATAGRAM, script_octet());
    size_t size;
    const uint8_t *octets = script_octets(script_octet(), &size);

    if (s == NULL)
        return;
    if (size == 0)
        s->reset = true; /* an ICMP error */
    else
        network_deliver(s, octets, size);
    simulation_trust_nothing(); /* it may have guessed the ID and question */
}

void upstreams_disturb(void)
{
    uint8_t how = script_octet();
    struct simulated_socket *s = network_pick(SOCKET_UPSTREAM_STREAM, script_octet());
    const uint8_t *octets;
    size_t size;

    if (how % 8 == 7) {
        disturb_datagram();
        return;
    }
    if (s == NULL || s->connect != PROGRESS_GOOD)
        return;
    switch (how % 8) {
    case 0:
        s->ended = true;
        break;
    case 1:
        s->reset = true;
        break;
    case 2:
        s->room = how / 8 * 20u;
        break;
    case 3:
        s->room = SIZE_MAX;
        break;
    case 4:
        s->segment = 1 + how / 8u;
        break;
    case 5:
        s->segment = SIZE_MAX;
        break;
    default:
        octets = script_octets(script_octet(), &size);
        network_deliver(s, octets, size);
        simulation_trust_nothing();
    }
}

void upstreams_calm(void)
{
    for (unsigned i = 0; i < network_count(SOCKET_UPSTREAM_STREAM); i++) {
        struct simulated_socket *s = network_pick(SOCKET_UPSTREAM_STREAM, i);

        s->room = SIZE_MAX;
        s->segment = SIZE_MAX;
    }
}

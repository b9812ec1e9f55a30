/* OPT records: what is read of one stays inside it, what is not well-formed is refused, and ours are read back as they
 * were meant.
 *
 * Input: four octets that choose what is written, then the body of an OPT record behind its TYPE. */
#include "nodedot/dns/edns.h"

#include <stdlib.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Octets of the options if they fill RDATA exactly; SIZE_MAX: they do not. */
static size_t options_end(const uint8_t *rdata, size_t size)
{
    size_t at = 0;

    while (at + 4 <= size)
        at += 4u + wire_get_u16(rdata + at + 2);
    return at == size ? at : SIZE_MAX;
}

static void check_read(const uint8_t *data, size_t size)
{
    struct wire w = wire_of(data, size);
    struct edns edns;
    uint16_t code = 0;

    edns_read(&w, &edns);
    check(edns.cookie_size <= sizeof(edns.cookie));
    if (w.bad)
        return;
    check(edns.present && size >= 8);
    check((size_t)(w.at - w.start) == 8u + wire_get_u16(data + 6));
    check(options_end(data + 8, wire_get_u16(data + 6)) != SIZE_MAX);
    check(edns.udp_size == wire_get_u16(data) && edns.version == data[3] && edns.extended_rcode == data[2]);
    check(edns.has_keepalive || edns.keepalive == 0);
    if (edns_find_error(wire_of(data, (size_t)(w.at - w.start)), &code))
        check(wire_get_u16(data + 6) >= 6);
}

static void check_answer(const uint8_t *choice)
{
    uint8_t out[64];
    struct wire_writer writer = wire_writer_of(out, sizeof(out));
    struct edns_answer answer = {.extended_rcode = choice[0],
                                 .dnssec_ok = (choice[1] & 1) != 0,
                                 .ede = (choice[1] & 2) != 0 ? (enum ede)choice[2] : EDE_NONE,
                                 .keepalive = (choice[1] & 4) != 0,
                                 .keepalive_timeout = choice[3]};
    struct edns edns;
    uint16_t code = 0;

    edns_write_answer(&writer, &answer);
    check(!writer.bad && wire_written(&writer) == edns_answer_size(&answer));
    check(out[0] == 0 && wire_get_u16(out + 1) == 41);
    struct wire w = wire_of(out + 3, wire_written(&writer) - 3);
    struct wire body = w;
    edns_read(&w, &edns);
    check(!w.bad && wire_left(&w) == 0 && edns.present && edns.version == 0);
    check(edns.extended_rcode == answer.extended_rcode && edns.dnssec_ok == answer.dnssec_ok);
    check(edns.has_keepalive == answer.keepalive && (!answer.keepalive || edns.keepalive == choice[3]));
    check(edns_find_error(body, &code) == (answer.ede != EDE_NONE));
    check(answer.ede == EDE_NONE || code == (uint16_t)answer.ede);
}

static void check_query(const uint8_t *choice)
{
    uint8_t out[1024] = {0};
    struct wire_writer writer = wire_writer_of(out, sizeof(out));
    size_t before = choice[0];
    size_t block = (choice[1] & 8) != 0 ? EDNS_PADDING_BLOCK : 0;
    struct edns edns;

    check(wire_make(&writer, before) != NULL);
    edns_write_query(&writer, (choice[1] & 1) != 0, (choice[1] & 4) != 0, block);
    check(!writer.bad && (block == 0 || wire_written(&writer) % block == 0));
    struct wire w = wire_of(out + before + 3, wire_written(&writer) - before - 3);
    edns_read(&w, &edns);
    check(!w.bad && wire_left(&w) == 0 && edns.udp_size == EDNS_UDP_SIZE);
    check(edns.dnssec_ok == ((choice[1] & 1) != 0) && edns.has_keepalive == ((choice[1] & 4) != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    check_answer(data);
    check_query(data);
    check_read(data + 4, size - 4);
    return 0;
}

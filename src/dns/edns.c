#include "nodedot/dns/edns.h"

enum {
    TYPE_OF_OPT = 41,
    FLAG_DNSSEC_OK = 0x8000,
    OPT_FIXED_OCTETS = 11, /* owner, TYPE, CLASS, TTL, RDLENGTH */
    OPTION_HEADER_OCTETS = 4,
    BODY_FIXED = 8, /* octets of a body before RDATA */
    KEEPALIVE_EMPTY = 0xffff
};

static void cookie_read(const uint8_t *data, size_t size, struct edns *out)
{
    if (!cookie_size_is_good(size)) {
        out->cookie_is_broken = true;
    } else if (out->cookie_size == 0) {
        out->cookie_size = (uint8_t)size;
        memcpy(out->cookie, data, size);
    }
}

static void option_read(struct wire *options, struct edns *out)
{
    uint16_t code = wire_u16(options);
    uint16_t size = wire_u16(options);
    const uint8_t *data = wire_take(options, size);

    if (code == EDNS_OPTION_COOKIE && data != NULL)
        cookie_read(data, size, out);
    if (code != EDNS_OPTION_TCP_KEEPALIVE || data == NULL)
        return;
    if (size != 0 && size != 2)
        options->bad = true;
    out->has_keepalive = true;
    out->keepalive = size == 2 ? wire_get_u16(data) : KEEPALIVE_EMPTY;
}

void edns_read(struct wire *w, struct edns *out)
{
    const uint8_t *fixed = wire_take(w, BODY_FIXED);

    *out = (struct edns){.present = fixed != NULL};
    if (fixed == NULL)
        return;
    out->udp_size = wire_get_u16(fixed);
    out->extended_rcode = fixed[2];
    out->version = fixed[3];
    out->dnssec_ok = (wire_get_u16(fixed + 4) & FLAG_DNSSEC_OK) != 0;
    size_t size = wire_get_u16(fixed + 6);
    const uint8_t *rdata = wire_take(w, size);

    if (rdata == NULL)
        return;
    struct wire options = wire_of(rdata, size);
    while (wire_left(&options) > 0)
        option_read(&options, out);
    w->bad = options.bad;
}

bool edns_find_error(struct wire body, uint16_t *code)
{
    wire_take(&body, BODY_FIXED);
    while (wire_left(&body) > 0) {
        uint16_t option = wire_u16(&body);
        uint16_t size = wire_u16(&body);
        const uint8_t *data = wire_take(&body, size);

        if (option == EDNS_OPTION_EXTENDED_ERROR && data != NULL && size >= 2) {
            *code = wire_get_u16(data);
            return true;
        }
    }
    return false;
}

static void opt_write(struct wire_writer *w, uint8_t extended_rcode, bool dnssec_ok, size_t rdlength)
{
    wire_write_u8(w, 0); /* the root */
    wire_write_u16(w, TYPE_OF_OPT);
    wire_write_u16(w, EDNS_UDP_SIZE);
    wire_write_u8(w, extended_rcode);
    wire_write_u8(w, 0); /* version */
    wire_write_u16(w, dnssec_ok ? FLAG_DNSSEC_OK : 0);
    wire_write_u16(w, (uint16_t)rdlength);
}

static void option_write_header(struct wire_writer *w, enum edns_option code, size_t size)
{
    wire_write_u16(w, (uint16_t)code);
    wire_write_u16(w, (uint16_t)size);
}

static bool has_cookie(const struct edns_answer *answer)
{
    return answer->cookie != NULL && answer->cookie->present;
}

size_t edns_answer_size(const struct edns_answer *answer)
{
    size_t size = OPT_FIXED_OCTETS;

    if (answer->ede != EDE_NONE)
        size += OPTION_HEADER_OCTETS + 2;
    if (answer->keepalive)
        size += OPTION_HEADER_OCTETS + 2;
    if (has_cookie(answer))
        size += OPTION_HEADER_OCTETS + COOKIE_OPTION;
    return size;
}

void edns_write_answer(struct wire_writer *w, const struct edns_answer *answer)
{
    opt_write(w, answer->extended_rcode, answer->dnssec_ok, edns_answer_size(answer) - OPT_FIXED_OCTETS);
    if (answer->ede != EDE_NONE) {
        option_write_header(w, EDNS_OPTION_EXTENDED_ERROR, 2);
        wire_write_u16(w, (uint16_t)answer->ede);
    }
    if (answer->keepalive) {
        option_write_header(w, EDNS_OPTION_TCP_KEEPALIVE, 2);
        wire_write_u16(w, answer->keepalive_timeout);
    }
    if (has_cookie(answer)) {
        option_write_header(w, EDNS_OPTION_COOKIE, COOKIE_OPTION);
        wire_write(w, answer->cookie->octets, COOKIE_OPTION);
    }
}

size_t edns_query_padding(size_t size, bool keepalive, size_t block)
{
    size_t options = OPTION_HEADER_OCTETS + (keepalive ? OPTION_HEADER_OCTETS : 0);
    size_t over = block != 0 ? (size + OPT_FIXED_OCTETS + options) % block : 0;

    return over != 0 ? block - over : 0;
}

void edns_write_query(struct wire_writer *w, bool dnssec_ok, bool keepalive, size_t block)
{
    size_t rdlength = keepalive ? OPTION_HEADER_OCTETS : 0;
    size_t padding = edns_query_padding(wire_written(w), keepalive, block);

    if (block != 0)
        rdlength += OPTION_HEADER_OCTETS;
    opt_write(w, 0, dnssec_ok, rdlength + padding);
    if (keepalive)
        option_write_header(w, EDNS_OPTION_TCP_KEEPALIVE, 0);
    if (block != 0) {
        option_write_header(w, EDNS_OPTION_PADDING, padding);
        uint8_t *zeros = wire_make(w, padding);
        if (zeros != NULL)
            memset(zeros, 0, padding);
    }
}

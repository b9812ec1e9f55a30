#include "nodedot/dns/message.h"

#include "nodedot/dns/record.h"

enum {
    TYPE_META_FIRST = 128, /* RFC 6895 section 3.1: 128 to 255 are for questions and transactions, never data */
    TYPE_META_LAST = 255
};

enum {
    QUESTION_FIXED = 4, /* octets behind QNAME: TYPE, CLASS */
    CLASS_ANY = 255
};

#define TTL_LARGEST 0x7fffffff /* RFC 8767 section 4: a TTL with its top bit set is large, not 0 */

static bool type_is_meta(uint16_t type)
{
    return type == TYPE_OPT || (type >= TYPE_META_FIRST && type <= TYPE_META_LAST);
}

static bool question_read(struct wire *w, struct question *out)
{
    name_read(w, &out->qname);
    const uint8_t *rest = wire_take(w, QUESTION_FIXED);

    if (rest == NULL)
        return false;
    out->qtype = wire_get_u16(rest);
    out->qclass = wire_get_u16(rest + 2);
    return true;
}

bool question_equal(const struct question *a, const struct question *b)
{
    return a->qtype == b->qtype && a->qclass == b->qclass && name_equal(&a->qname, &b->qname);
}

/* Records that are about the message and not data: one OPT owned by the root (RFC 6891 section 6.1.1), one TSIG of
 * class ANY, the last record of all (RFC 8945 section 5.1). */
static bool opt_read(const struct wire *w, const struct record *record, struct edns *edns)
{
    struct wire body = record_part(w, record, record->body);

    if (edns->present || w->start[record->owner] != 0)
        return false;
    edns_read(&body, edns);
    return !body.bad;
}

static bool tsig_is_sane(const struct wire *w, const struct record *record)
{
    return record->class == CLASS_ANY && wire_left(w) == 0;
}

/* Everything behind the question: at most an OPT, and a TSIG, which is passed over because we share no keys. Any other
 * additional record in a query, SIG(0) too, has no meaning for us and is an error. */
static bool query_records_read(struct wire *w, const uint8_t *message, struct edns *edns)
{
    struct record record;

    if (wire_get_u16(message + MESSAGE_ANCOUNT_AT) != 0 || wire_get_u16(message + MESSAGE_NSCOUNT_AT) != 0)
        return false;
    for (unsigned left = wire_get_u16(message + MESSAGE_ARCOUNT_AT); left > 0; left--) {
        if (!record_read(w, &record))
            return false;
        if (record.type == TYPE_OPT ? !opt_read(w, &record, edns)
                                    : record.type != TYPE_TSIG || !tsig_is_sane(w, &record))
            return false;
    }
    return wire_left(w) == 0 && !edns->cookie_is_broken;
}

static bool query_body_read(const uint8_t *message, size_t size, struct query_message *out)
{
    struct wire w = wire_of(message, size);
    unsigned questions = wire_get_u16(message + MESSAGE_QDCOUNT_AT);

    wire_take(&w, MESSAGE_HEADER);
    if (questions > 1 || (questions == 1 && !question_read(&w, &out->question)))
        return false;
    out->question_octets = (uint16_t)(wire_offset(&w) - MESSAGE_HEADER);
    return query_records_read(&w, message, &out->edns) && (questions == 1 || out->edns.cookie_size > 0);
}

enum query_verdict query_parse(const uint8_t *message, size_t size, struct query_message *out)
{
    if (size < MESSAGE_HEADER)
        return QUERY_DROP;
    out->id = wire_get_u16(message);
    out->flags = wire_get_u16(message + MESSAGE_FLAGS_AT);
    out->question_octets = 0;
    out->question.qtype = 0;
    out->question.qclass = 0;
    out->question.qname.length = 1;
    out->question.qname.bytes[0] = 0;
    out->edns = (struct edns){0};
    out->cookie.present = false;
    out->cookie.valid = false;
    if ((out->flags & MESSAGE_QR) != 0)
        return QUERY_DROP;
    bool whole = query_body_read(message, size, out);
    if ((out->flags & MESSAGE_OPCODE) != 0)
        return QUERY_NOTIMP; /* whatever its body is like: other opcodes have forms of their own */
    if (!whole)
        return QUERY_FORMERR;
    if (out->edns.version > 0)
        return QUERY_BADVERS;
    if (out->question_octets == 0)
        return QUERY_COOKIE;
    if (out->question.qclass != CLASS_IN)
        return QUERY_REFUSED_CLASS;
    if (type_is_meta(out->question.qtype) && out->question.qtype != TYPE_ANY)
        return QUERY_REFUSED_TRANSFER;
    return (out->flags & MESSAGE_RD) != 0 ? QUERY_OK : QUERY_REFUSED_NO_RD;
}

static bool rdata_is_sane(struct wire *w, const struct record *record)
{
    const struct rdata_layout *layout = rdata_layout_of(record->type);
    struct wire rdata = record_part(w, record, record->rdata);

    if (layout == NULL)
        return true;
    wire_take(&rdata, layout->before);
    for (unsigned i = 0; i < layout->names; i++)
        name_skip(&rdata);
    w->steps = rdata.steps;
    wire_take(&rdata, layout->after);
    return !rdata.bad && (layout->open || rdata.at == rdata.end);
}

/* The way from QNAME along the CNAMEs in ANSWER. */
struct chain {
    uint16_t qtype;
    size_t name; /* offset of the name that the chain has come to */
    bool moved;
    bool arrived; /* that name has a record of the type asked for */
};

static void chain_follow(struct chain *chain, const uint8_t *message, const struct record *record)
{
    bool wanted = record->type == chain->qtype || chain->qtype == TYPE_ANY;

    if (chain->arrived || (!wanted && record->type != TYPE_CNAME))
        return;
    if (!name_equal_at(message, record->owner, chain->name))
        return;
    chain->arrived = wanted;
    if (!wanted) {
        chain->name = record->rdata;
        chain->moved = true;
    }
}

/* A pass over ANSWER that starts at first_record: a server need not put the chain in order. A chain that is still not
 * at its end then counts as negative, which has no SOA, so it is passed on and not cached. */
static void chain_follow_again(struct chain *chain, const uint8_t *message, size_t size, size_t first_record)
{
    struct wire w = wire_of(message, size);
    struct record record;

    wire_take(&w, first_record);
    for (unsigned left = wire_get_u16(message + MESSAGE_ANCOUNT_AT); left > 0 && record_read(&w, &record); left--)
        chain_follow(chain, message, &record);
}

struct answer_parser {
    struct wire w;
    struct answer_info *info;
    struct chain chain;
    bool cut; /* at an OPT or TSIG: nothing from there on is kept */
    uint16_t *ttl_offsets;
    size_t ttl_capacity;
    size_t ttl_count;
};

static uint32_t ttl_of(uint32_t value)
{
    return value <= TTL_LARGEST ? value : TTL_LARGEST;
}

/* RFC 2308 section 5: the smaller of the SOA's TTL and its MINIMUM. */
static void soa_note(struct answer_info *info, const uint8_t *message, const struct record *record)
{
    uint32_t minimum = ttl_of(wire_get_u32(message + record->rdata + record->rdlength - 4));
    uint32_t ttl = ttl_of(record->ttl);

    if (minimum < ttl)
        ttl = minimum;
    if (!info->has_soa || ttl < info->soa_ttl)
        info->soa_ttl = ttl;
    info->has_soa = true;
}

static void ttl_note(struct answer_parser *p, const struct record *record, bool counts)
{
    uint32_t ttl = ttl_of(record->ttl);

    if (p->ttl_count < p->ttl_capacity)
        p->ttl_offsets[p->ttl_count] = (uint16_t)(record->body + 2);
    p->ttl_count++;
    if (counts && ttl < p->info->min_ttl)
        p->info->min_ttl = ttl;
}

static bool transaction_record_read(struct answer_parser *p, const struct record *record, int section)
{
    struct answer_info *info = p->info;

    if (section != MESSAGE_ARCOUNT_AT)
        return false;
    if (!p->cut)
        info->size_without_opt = record->owner;
    p->cut = true;
    if (record->type == TYPE_TSIG)
        return tsig_is_sane(&p->w, record);
    if (!opt_read(&p->w, record, &info->edns))
        return false;
    info->has_ede = edns_find_error(record_part(&p->w, record, record->body), &info->ede_code);
    return true;
}

/* Reads one record; section is the offset of its count. */
static bool answer_record_read(struct answer_parser *p, int section, bool counts)
{
    struct record record;

    if (!record_read(&p->w, &record))
        return false;
    if (record.type == TYPE_OPT || record.type == TYPE_TSIG)
        return transaction_record_read(p, &record, section);
    if (type_is_meta(record.type) || record.class != p->info->question.qclass || !rdata_is_sane(&p->w, &record))
        return false;
    if (p->cut)
        return true;
    ttl_note(p, &record, counts);
    if (section == MESSAGE_ANCOUNT_AT)
        chain_follow(&p->chain, p->w.start, &record);
    else if (section == MESSAGE_ARCOUNT_AT)
        p->info->additional_count++;
    else if (record.type == TYPE_SOA)
        soa_note(p->info, p->w.start, &record);
    return true;
}

static bool answer_sections_read(struct answer_parser *p)
{
    const uint8_t *message = p->w.start;
    bool has_answer = wire_get_u16(message + MESSAGE_ANCOUNT_AT) != 0;

    for (int section = MESSAGE_ANCOUNT_AT; section <= MESSAGE_ARCOUNT_AT; section += 2)
        for (unsigned left = wire_get_u16(message + section); left > 0; left--)
            if (!answer_record_read(p, section, section == MESSAGE_ANCOUNT_AT || !has_answer))
                return false;
    if (!p->cut)
        p->info->size_without_opt = wire_offset(&p->w);
    p->info->octets_behind = wire_left(&p->w);
    return true;
}

static enum answer_head answer_head_read(struct wire *w, struct answer_info *out)
{
    const uint8_t *header = wire_take(w, MESSAGE_HEADER);

    if (header == NULL)
        return ANSWER_HEAD_BROKEN;
    out->id = wire_get_u16(header);
    out->flags = wire_get_u16(header + MESSAGE_FLAGS_AT);
    out->rcode = out->flags & MESSAGE_RCODE;
    if ((out->flags & (MESSAGE_QR | MESSAGE_OPCODE)) != MESSAGE_QR)
        return ANSWER_HEAD_BROKEN;
    if (wire_get_u16(header + MESSAGE_QDCOUNT_AT) == 0)
        return ANSWER_HEAD_ALONE;
    if (wire_get_u16(header + MESSAGE_QDCOUNT_AT) != 1 || !question_read(w, &out->question))
        return ANSWER_HEAD_BROKEN;
    out->question_octets = (uint16_t)(wire_offset(w) - MESSAGE_HEADER);
    return ANSWER_HEAD_WHOLE;
}

enum answer_head answer_parse_head(const uint8_t *message, size_t size, struct answer_info *out)
{
    struct wire w = wire_of(message, size);

    *out = (struct answer_info){.size_without_opt = size};
    return answer_head_read(&w, out);
}

bool answer_parse(const uint8_t *message, size_t size, struct answer_info *out, uint16_t *ttl_offsets, size_t capacity)
{
    struct answer_parser p = {
        .w = wire_of(message, size), .info = out, .ttl_offsets = ttl_offsets, .ttl_capacity = capacity};

    *out = (struct answer_info){.size_without_opt = size, .min_ttl = UINT32_MAX};
    if (size > MESSAGE_MAX_OCTETS || answer_head_read(&p.w, out) != ANSWER_HEAD_WHOLE)
        return false;
    p.chain = (struct chain){.qtype = out->question.qtype, .name = MESSAGE_HEADER};
    size_t first_record = wire_offset(&p.w);
    if (!answer_sections_read(&p))
        return false;
    if (p.chain.moved && !p.chain.arrived)
        chain_follow_again(&p.chain, message, size, first_record);
    if (out->min_ttl == UINT32_MAX)
        out->min_ttl = 0;
    out->ttl_count = p.ttl_count <= capacity ? (uint16_t)p.ttl_count : UINT16_MAX;
    out->rcode = (uint16_t)(out->edns.extended_rcode << 4 | (out->flags & MESSAGE_RCODE));
    out->negative = out->rcode == RCODE_NXDOMAIN || (out->rcode == RCODE_NOERROR && !p.chain.arrived);
    return true;
}

/* What an answer to query may have in its OPT. */
static struct edns_answer opt_for(const struct query_message *query, const struct answer_style *style,
                                  uint16_t extended_rcode)
{
    return (struct edns_answer){
        .extended_rcode = (uint8_t)extended_rcode,
        .dnssec_ok = query->edns.dnssec_ok,
        .ede = style->ede,
        .keepalive = !style->udp && query->edns.has_keepalive, /* RFC 7828 section 3.2.1: never over UDP */
        .keepalive_timeout = style->keepalive_timeout,
        .cookie = &query->cookie,
    };
}

/* The largest message that the client takes. */
static size_t answer_limit(const struct query_message *query, const struct answer_style *style)
{
    if (!style->udp)
        return MESSAGE_MAX_OCTETS;
    if (!query->edns.present || query->edns.udp_size < EDNS_UDP_SIZE_MIN)
        return EDNS_UDP_SIZE_MIN;
    return query->edns.udp_size < EDNS_UDP_SIZE ? query->edns.udp_size : EDNS_UDP_SIZE;
}

static void message_set_rcode(uint8_t *message, enum rcode rcode)
{
    unsigned flags = wire_get_u16(message + MESSAGE_FLAGS_AT) & ~(unsigned)MESSAGE_RCODE;

    wire_put_u16(message + MESSAGE_FLAGS_AT, (uint16_t)(flags | (rcode & MESSAGE_RCODE)));
}

/* Leaves the header and the question. Over UDP, TC sends the client to TCP; there is nowhere to send it to from TCP,
 * where a message is too large only if our OPT does not fit behind it, so the query has failed. */
static size_t answer_truncate(uint8_t *message, const struct query_message *query, struct edns_answer *opt, bool udp)
{
    if (udp) {
        wire_put_u16(message + MESSAGE_FLAGS_AT, wire_get_u16(message + MESSAGE_FLAGS_AT) | MESSAGE_TC);
    } else {
        message_set_rcode(message, RCODE_SERVFAIL);
        opt->extended_rcode = 0;
    }
    memset(message + MESSAGE_ANCOUNT_AT, 0, MESSAGE_HEADER - MESSAGE_ANCOUNT_AT);
    return MESSAGE_HEADER + (size_t)query->question_octets;
}

/* Appends opt; what is optional in it gives way before the answer does (RFC 8914 section 3), and comes back when the
 * records had to go anyway. */
static size_t answer_add_opt(uint8_t *message, size_t size, size_t limit, const struct query_message *query,
                             struct edns_answer opt, bool udp)
{
    struct edns_answer bare = opt;

    bare.ede = EDE_NONE;
    bare.keepalive = false;
    if (size + edns_answer_size(&bare) > limit)
        size = answer_truncate(message, query, &opt, udp);
    else if (size + edns_answer_size(&opt) > limit)
        opt = bare;
    struct wire_writer w = wire_writer_of(message + size, limit - size);
    edns_write_answer(&w, &opt);
    wire_put_u16(message + MESSAGE_ARCOUNT_AT, (uint16_t)(wire_get_u16(message + MESSAGE_ARCOUNT_AT) + 1));
    return size + wire_written(&w);
}

static uint16_t answer_flags(uint16_t stored, const struct query_message *query)
{
    uint16_t keep = MESSAGE_TC | MESSAGE_RCODE;

    if ((query->flags & MESSAGE_AD) != 0 || query->edns.dnssec_ok)
        keep |= MESSAGE_AD;
    return (uint16_t)(MESSAGE_QR | MESSAGE_RA | (stored & keep) | (query->flags & (MESSAGE_RD | MESSAGE_CD)));
}

size_t answer_finish(uint8_t *message, size_t size, size_t capacity, const struct query_message *query,
                     const uint8_t *question, const struct answer_style *style)
{
    struct edns_answer opt = opt_for(query, style, style->extended_rcode);
    size_t limit = answer_limit(query, style);

    if (limit > capacity)
        limit = capacity;
    wire_put_u16(message, query->id);
    wire_put_u16(message + MESSAGE_FLAGS_AT, answer_flags(wire_get_u16(message + MESSAGE_FLAGS_AT), query));
    memcpy(message + MESSAGE_HEADER, question, query->question_octets);
    if (query->edns.present)
        return answer_add_opt(message, size, limit, query, opt, style->udp);
    if (opt.extended_rcode != 0)
        message_set_rcode(message, RCODE_SERVFAIL); /* its lower four bits alone would say something else */
    return size <= limit ? size : answer_truncate(message, query, &opt, style->udp);
}

size_t answer_error(uint8_t *out, size_t capacity, const struct query_message *query, const uint8_t *question,
                    enum rcode rcode, const struct answer_style *style)
{
    const uint16_t echoed = MESSAGE_OPCODE | MESSAGE_RD | MESSAGE_CD;
    struct edns_answer opt = opt_for(query, style, (uint16_t)(rcode >> 4));
    struct wire_writer w = wire_writer_of(out, capacity);

    wire_write_u16(&w, query->id);
    wire_write_u16(&w, (uint16_t)(MESSAGE_QR | MESSAGE_RA | (query->flags & echoed) | (rcode & MESSAGE_RCODE)));
    wire_write_u16(&w, query->question_octets != 0);
    wire_write_u32(&w, 0);
    wire_write_u16(&w, query->edns.present);
    wire_write(&w, question, query->question_octets);
    if (query->edns.present)
        edns_write_answer(&w, &opt);
    return wire_written(&w);
}

size_t query_write(uint8_t *out, size_t capacity, const struct question *question, const struct query_style *style)
{
    struct wire_writer w = wire_writer_of(out, capacity);

    if (capacity < MESSAGE_QUERY_MAX)
        return 0;
    wire_write_u16(&w, style->id);
    wire_write_u16(&w, (uint16_t)(MESSAGE_RD | MESSAGE_AD | (style->checking_disabled ? MESSAGE_CD : 0)));
    wire_write_u16(&w, 1);
    wire_write_u32(&w, 0);
    wire_write_u16(&w, style->edns);
    wire_write(&w, question->qname.bytes, question->qname.length);
    wire_write_u16(&w, question->qtype);
    wire_write_u16(&w, question->qclass);
    if (style->edns)
        edns_write_query(&w, style->dnssec_ok, style->keepalive, style->padding_block);
    return w.bad ? 0 : wire_written(&w);
}

size_t query_padding(const struct question *question, const struct query_style *style)
{
    size_t before_opt = MESSAGE_HEADER + question->qname.length + QUESTION_FIXED;

    return style->edns ? edns_query_padding(before_opt, style->keepalive, style->padding_block) : 0;
}

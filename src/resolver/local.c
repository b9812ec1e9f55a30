#include "nodedot/resolver/local.h"

enum {
    LOCAL_TTL = 10800,  /* of the records and the SOA, as in RFC 6303 section 3 */
    ANY_TTL = 3600,     /* RFC 8482 section 4.2 asks for one that is worth caching */
    POINTER = 0xc000,   /* RFC 1035 section 4.1.4; the offset is added */
    ADDRESS_LABELS = 4, /* of an IPv4 address under in-addr.arpa */
    REVERSE_LABELS = 2  /* in-addr.arpa, ip6.arpa */
};

/* Where each label of a name starts; the top-level one is the last. */
struct labels {
    unsigned count;
    uint8_t at[NAME_MAX_LABELS];
};

enum special_kind {
    SPECIAL_NONE,
    SPECIAL_LOOPBACK, /* 127.0.0.1 and ::1 */
    SPECIAL_ABSENT,   /* NXDOMAIN for the name and everything below */
    SPECIAL_EMPTY,    /* a zone with an SOA and an NS record alone: NXDOMAIN below (RFC 6303 section 3) */
    SPECIAL_NO_DATA   /* NODATA for the name and everything below */
};

struct special {
    enum special_kind kind;
    unsigned zone_labels;
};

/* Top-level names, in wire form. */
static const struct {
    const char *label;
    enum special_kind kind;
    bool claimable; /* a zone of the configuration may have it */
} special_names[] = {
    {"\011localhost", SPECIAL_LOOPBACK, false}, /* RFC 6761 section 6.3 */
    {"\007invalid", SPECIAL_ABSENT, false},     /* RFC 6761 section 6.4 */
    {"\005onion", SPECIAL_ABSENT, false},       /* RFC 7686 section 2 */
    {"\005local", SPECIAL_ABSENT, true},        /* RFC 6762 section 22.1 */
    {"\003alt", SPECIAL_ABSENT, true},          /* RFC 9476 */
};

/* RFC 6303 sections 4.2 to 4.6 and RFC 7793. Bits behind the prefix are zero. */
static const struct {
    uint32_t address;
    unsigned bits;
} private4[] = {
    {0x0a000000, 8},  /* 10.0.0.0 */
    {0xac100000, 12}, /* 172.16.0.0 */
    {0xc0a80000, 16}, /* 192.168.0.0 */
    {0x64400000, 10}, /* 100.64.0.0 */
    {0x00000000, 8},  /* 0.0.0.0 */
    {0x7f000000, 8},  /* 127.0.0.0 */
    {0xa9fe0000, 16}, /* 169.254.0.0 */
    {0xc0000200, 24}, /* 192.0.2.0 */
    {0xc6336400, 24}, /* 198.51.100.0 */
    {0xcb007100, 24}, /* 203.0.113.0 */
    {0xffffffff, 32}, /* 255.255.255.255 */
};

/* The names under ip6.arpa of the same RFC, in text order, without dots. */
static const char *const private6[] = {
    "df",  /* fd00::/8 */
    "8ef", /* fe80::/10 */
    "9ef",
    "aef",
    "bef",
    "8bd01002",                         /* 2001:db8::/32 */
    "00000000000000000000000000000000", /* :: */
    "10000000000000000000000000000000", /* ::1 */
};

static void labels_find(const struct name *name, struct labels *out)
{
    out->count = 0;
    for (unsigned at = 0; name->bytes[at] != 0; at += 1u + name->bytes[at])
        out->at[out->count++] = (uint8_t)at;
}

/* The label at a distance from the top: 0 is the top-level one. */
static const uint8_t *label_from_top(const struct name *name, const struct labels *labels, unsigned distance)
{
    return name->bytes + labels->at[labels->count - 1 - distance];
}

/* Both in wire form. */
static bool label_equal(const uint8_t *label, const char *other)
{
    return label[0] == (uint8_t)other[0] && memcmp(label + 1, other + 1, label[0]) == 0;
}

/* Reads "0" to "255" as it is written under in-addr.arpa, without leading zeros. */
static bool label_octet(const uint8_t *label, uint32_t *out)
{
    uint32_t value = 0;

    if (label[0] > 3 || (label[0] > 1 && label[1] == '0'))
        return false;
    for (unsigned i = 1; i <= label[0]; i++) {
        if (label[i] < '0' || label[i] > '9')
            return false;
        value = value * 10 + label[i] - '0';
    }
    *out = value;
    return value <= UINT8_MAX;
}

/* The labels of the private zone under in-addr.arpa that name is in; 0: none. */
static unsigned private4_labels(const struct name *name, const struct labels *labels)
{
    uint32_t address = 0;
    uint32_t octet;
    unsigned known = 0; /* octets of address */

    while (known < ADDRESS_LABELS && labels->count > REVERSE_LABELS + known &&
           label_octet(label_from_top(name, labels, REVERSE_LABELS + known), &octet))
        address |= octet << (24 - 8 * known++);
    for (size_t i = 0; i < sizeof(private4) / sizeof(private4[0]); i++) {
        unsigned octets = (private4[i].bits + 7) / 8;

        if (octets <= known && (address ^ private4[i].address) >> (32 - private4[i].bits) == 0)
            return REVERSE_LABELS + octets;
    }
    return 0;
}

static bool nibbles_match(const struct name *name, const struct labels *labels, const char *nibbles, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *label = label_from_top(name, labels, REVERSE_LABELS + i);

        if (label[0] != 1 || label[1] != (uint8_t)nibbles[count - 1 - i])
            return false;
    }
    return true;
}

/* The same under ip6.arpa. */
static unsigned private6_labels(const struct name *name, const struct labels *labels)
{
    for (size_t i = 0; i < sizeof(private6) / sizeof(private6[0]); i++) {
        unsigned count = (unsigned)strlen(private6[i]);

        if (labels->count >= REVERSE_LABELS + count && nibbles_match(name, labels, private6[i], count))
            return REVERSE_LABELS + count;
    }
    return 0;
}

static struct special special_under_arpa(const struct name *name, const struct labels *labels, enum local_zone zone)
{
    const uint8_t *second = label_from_top(name, labels, 1);
    unsigned zone_labels = 0;

    if (label_equal(second, "\010resolver")) /* RFC 9462 section 4: we have no designated resolver */
        return (struct special){SPECIAL_NO_DATA, 2};
    if (label_equal(second, "\004home") && zone != LOCAL_ZONE_NAMED) /* RFC 8375 section 4 */
        return (struct special){SPECIAL_EMPTY, 2};
    if (zone != LOCAL_ZONE_ROOT_DOT)
        return (struct special){SPECIAL_NONE, 0};
    if (label_equal(second, "\007in-addr"))
        zone_labels = private4_labels(name, labels);
    else if (label_equal(second, "\003ip6"))
        zone_labels = private6_labels(name, labels);
    return (struct special){zone_labels != 0 ? SPECIAL_EMPTY : SPECIAL_NONE, zone_labels};
}

static struct special special_find(const struct name *name, const struct labels *labels, enum local_zone zone)
{
    if (labels->count == 0)
        return (struct special){SPECIAL_NONE, 0};
    const uint8_t *top = label_from_top(name, labels, 0);

    for (size_t i = 0; i < sizeof(special_names) / sizeof(special_names[0]); i++)
        if (label_equal(top, special_names[i].label) && !(special_names[i].claimable && zone == LOCAL_ZONE_NAMED))
            return (struct special){special_names[i].kind, 1};
    if (labels->count > 1 && label_equal(top, "\004arpa"))
        return special_under_arpa(name, labels, zone);
    return (struct special){SPECIAL_NONE, 0};
}

/* An answer under construction. */
struct draft {
    struct wire_writer w;
    uint16_t rcode;
    uint16_t answers;
    uint16_t authorities;
    uint16_t qname; /* pointers */
    uint16_t zone;
};

static void record_write(struct draft *d, uint16_t owner, enum rrtype type, uint32_t ttl, const void *rdata,
                         size_t size)
{
    wire_write_u16(&d->w, owner);
    wire_write_u16(&d->w, (uint16_t)type);
    wire_write_u16(&d->w, CLASS_IN);
    wire_write_u32(&d->w, ttl);
    wire_write_u16(&d->w, (uint16_t)size);
    wire_write(&d->w, rdata, size);
}

/* The zone's SOA with the values of RFC 6303 section 3. */
static void soa_write(struct draft *d)
{
    uint8_t rdata[2 + 16 + 20] = "..\006nobody\007invalid"; /* MNAME, RNAME, numbers */
    static const uint32_t numbers[] = {1, 3600, 1200, 604800, LOCAL_TTL};

    wire_put_u16(rdata, d->zone);
    for (size_t i = 0; i < 5; i++)
        wire_put_u32(rdata + 2 + 16 + 4 * i, numbers[i]);
    record_write(d, d->zone, TYPE_SOA, LOCAL_TTL, rdata, sizeof(rdata));
}

static void ns_write(struct draft *d)
{
    uint8_t rdata[2];

    wire_put_u16(rdata, d->zone);
    record_write(d, d->zone, TYPE_NS, LOCAL_TTL, rdata, sizeof(rdata));
}

/* RFC 8482 section 4.2. */
static void hinfo_write(struct draft *d)
{
    static const char rdata[] = "\007RFC8482"; /* its NUL is the empty second string */

    record_write(d, d->qname, TYPE_HINFO, ANY_TTL, rdata, sizeof(rdata));
}

/* Writes the record that answers the question, if there is one. */
static bool positive_write(struct draft *d, enum special_kind kind, uint16_t qtype, bool at_apex)
{
    static const uint8_t loopback4[4] = {127, 0, 0, 1};
    static const uint8_t loopback6[16] = {[15] = 1};

    if (kind == SPECIAL_ABSENT || (kind == SPECIAL_EMPTY && !at_apex))
        return false;
    if (qtype == TYPE_ANY)
        hinfo_write(d);
    else if (kind == SPECIAL_LOOPBACK && qtype == TYPE_A)
        record_write(d, d->qname, TYPE_A, LOCAL_TTL, loopback4, sizeof(loopback4));
    else if (kind == SPECIAL_LOOPBACK && qtype == TYPE_AAAA)
        record_write(d, d->qname, TYPE_AAAA, LOCAL_TTL, loopback6, sizeof(loopback6));
    else if (kind == SPECIAL_EMPTY && qtype == TYPE_SOA)
        soa_write(d);
    else if (kind == SPECIAL_EMPTY && qtype == TYPE_NS)
        ns_write(d);
    else
        return false;
    return true;
}

static void records_write(struct draft *d, enum special_kind kind, uint16_t qtype, bool at_apex)
{
    if (positive_write(d, kind, qtype, at_apex)) {
        d->answers = 1;
        return;
    }
    soa_write(d); /* lets the client cache the denial (RFC 2308 section 5) */
    d->authorities = 1;
    if (kind == SPECIAL_ABSENT || (kind == SPECIAL_EMPTY && !at_apex))
        d->rcode = RCODE_NXDOMAIN;
}

enum local_zone local_zone_of(const struct config *config, const struct zone_config *zone)
{
    if (zone != NULL && zone->name.length > 1)
        return LOCAL_ZONE_NAMED;
    if (zone != NULL && config->upstreams[zone->upstream].transport == TRANSPORT_PLAIN)
        return LOCAL_ZONE_ROOT_PLAIN;
    return LOCAL_ZONE_ROOT_DOT;
}

size_t local_answer(const struct query_message *query, const uint8_t *question, enum local_zone zone, uint8_t *out,
                    size_t capacity, const struct answer_style *style)
{
    static const uint8_t no_header[MESSAGE_HEADER];
    const struct name *qname = &query->question.qname;
    struct labels labels;

    labels_find(qname, &labels);
    struct special special = special_find(qname, &labels, zone);
    if (special.kind == SPECIAL_NONE && query->question.qtype != TYPE_ANY)
        return 0;
    bool at_apex = labels.count == special.zone_labels;
    uint8_t zone_at = special.zone_labels != 0 ? labels.at[labels.count - special.zone_labels] : 0;
    struct draft d = {
        .w = wire_writer_of(out, capacity),
        .qname = POINTER | MESSAGE_HEADER,
        .zone = (uint16_t)(POINTER | (MESSAGE_HEADER + zone_at)),
    };

    wire_write(&d.w, no_header, sizeof(no_header));
    wire_write(&d.w, question, query->question_octets);
    records_write(&d, special.kind, query->question.qtype, at_apex);
    wire_put_u16(out + MESSAGE_FLAGS_AT, d.rcode);
    wire_put_u16(out + MESSAGE_QDCOUNT_AT, 1);
    wire_put_u16(out + MESSAGE_ANCOUNT_AT, d.answers);
    wire_put_u16(out + MESSAGE_NSCOUNT_AT, d.authorities);
    return answer_finish(out, wire_written(&d.w), capacity, query, question, style);
}

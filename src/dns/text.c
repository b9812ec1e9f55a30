#include "nodedot/dns/text.h"

#include "nodedot/base/base64.h"
#include "nodedot/dns/mnemonic.h"
#include "nodedot/dns/record.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

/* One row a type. A layout has one letter a field: 1 2 4 numbers of so many octets, a A address, 6 AAAA address, n name,
 * s character-string, S character-strings to the end, T type, x hex to the end, b base64 to the end, c property and
 * value of CAA, p parameters of SVCB. Types that are not here are written as unknown ones. */
static const struct layout {
    uint16_t type;
    const char *text;
} layouts[] = {
    {1, "a"} /* A */,          {2, "n"} /* NS */,       {5, "n"} /* CNAME */,    {6, "nn44444"} /* SOA */,
    {12, "n"} /* PTR */,       {13, "ss"} /* HINFO */,  {15, "2n"} /* MX */,     {16, "S"} /* TXT */,
    {17, "nn"} /* RP */,       {28, "6"} /* AAAA */,    {33, "222n"} /* SRV */,  {35, "22sssn"} /* NAPTR */,
    {39, "n"} /* DNAME */,     {43, "211x"} /* DS */,   {44, "11x"} /* SSHFP */, {46, "T114442nb"} /* RRSIG */,
    {48, "211b"} /* DNSKEY */, {52, "111x"} /* TLSA */, {59, "211x"} /* CDS */,  {60, "211b"} /* CDNSKEY */,
    {64, "2np"} /* SVCB */,    {65, "2np"} /* HTTPS */, {99, "S"} /* SPF */,     {257, "1c"} /* CAA */,
};

/* RFC 9460 section 14.3.2. */
enum {
    SVCB_MANDATORY = 0,
    SVCB_ALPN = 1,
    SVCB_NO_DEFAULT_ALPN = 2,
    SVCB_PORT = 3,
    SVCB_IPV4HINT = 4,
    SVCB_ECH = 5,
    SVCB_IPV6HINT = 6
};

static const char *const svcb_keys[] = {"mandatory", "alpn", "no-default-alpn", "port",
                                        "ipv4hint",  "ech",  "ipv6hint",        "dohpath"};

/* Where text goes. Past the end nothing is written and bad is set. */
struct text {
    char *at;
    size_t left;
    bool bad;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    int size = vsnprintf(t->at, t->left, format, values);
    va_end(values);
    if (size < 0 || (size_t)size >= t->left) {
        t->bad = true;
        return;
    }
    t->at += size;
    t->left -= (size_t)size;
}

static const char *layout_of(uint16_t type)
{
    for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)
        if (layouts[i].type == type)
            return layouts[i].text;
    return NULL;
}

/* One octet inside a quoted string. */
static void put_octet(struct text *t, uint8_t c)
{
    if (c < ' ' || c > '~')
        put(t, "\\%03u", c);
    else
        put(t, c == '"' || c == '\\' ? "\\%c" : "%c", c);
}

static void put_quoted(struct text *t, const uint8_t *octets, size_t size)
{
    put(t, "\"");
    for (size_t i = 0; i < size; i++)
        put_octet(t, octets[i]);
    put(t, "\"");
}

static void put_hex(struct text *t, const uint8_t *octets, size_t size)
{
    for (size_t i = 0; i < size; i++)
        put(t, "%02X", octets[i]);
}

static void put_base64(struct text *t, const uint8_t *octets, size_t size)
{
    if (t->bad || BASE64_LENGTH(size) + 1 > t->left) {
        t->bad = true;
        return;
    }
    base64_encode(octets, size, t->at);
    t->at += BASE64_LENGTH(size);
    t->left -= BASE64_LENGTH(size);
}

static void put_name(struct text *t, struct wire *w)
{
    struct name name;
    char text[NAME_TEXT];

    name_expand(w, &name);
    put(t, "%s%s", name_to_text(&name, text), name.length > 1 ? "." : "");
}

static void put_address(struct text *t, int family, const uint8_t *octets)
{
    char text[INET6_ADDRSTRLEN];

    if (octets != NULL)
        put(t, "%s", inet_ntop(family, octets, text, sizeof(text)));
}

static void put_string(struct text *t, struct wire *w)
{
    size_t size = wire_u8(w);
    const uint8_t *octets = wire_take(w, size);

    if (octets != NULL)
        put_quoted(t, octets, size);
}

static void put_strings(struct text *t, struct wire *w)
{
    do {
        put_string(t, w);
        if (wire_left(w) > 0)
            put(t, " ");
    } while (wire_left(w) > 0);
}

static void put_rest(struct text *t, struct wire *w, void (*put_octets)(struct text *, const uint8_t *, size_t))
{
    size_t size = wire_left(w);
    const uint8_t *octets = wire_take(w, size);

    if (octets != NULL)
        put_octets(t, octets, size);
}

/* RFC 8659 section 4.1: a tag of letters and digits, then the value to the end. */
static void put_property(struct text *t, struct wire *w)
{
    size_t size = wire_u8(w);
    const uint8_t *tag = wire_take(w, size);

    if (size == 0)
        w->bad = true;
    for (size_t i = 0; tag != NULL && i < size; i++) {
        if (!(tag[i] >= '0' && tag[i] <= '9') && !((tag[i] | 0x20) >= 'a' && (tag[i] | 0x20) <= 'z'))
            w->bad = true;
        put_octet(t, tag[i]);
    }
    put(t, " ");
    put_rest(t, w, put_quoted);
}

static void put_svcb_key(struct text *t, uint16_t key)
{
    if (key < sizeof(svcb_keys) / sizeof(*svcb_keys))
        put(t, "%s", svcb_keys[key]);
    else
        put(t, "key%u", key);
}

/* A list inside a quoted string has an escape of its own below that of the string (RFC 9460 appendix A.1). */
static void put_alpn(struct text *t, struct wire *value)
{
    put(t, "\"");
    while (wire_left(value) > 0) {
        size_t size = wire_u8(value);
        const uint8_t *id = wire_take(value, size);

        for (size_t i = 0; id != NULL && i < size; i++) {
            if (id[i] == ',' || id[i] == '\\')
                put(t, "\\\\");
            put_octet(t, id[i]);
        }
        if (wire_left(value) > 0)
            put(t, ",");
    }
    put(t, "\"");
}

static void put_addresses(struct text *t, struct wire *value, int family)
{
    while (wire_left(value) > 0) {
        put_address(t, family, wire_take(value, family == AF_INET ? 4 : 16));
        if (wire_left(value) > 0)
            put(t, ",");
    }
}

static void put_svcb_keys(struct text *t, struct wire *value)
{
    while (wire_left(value) > 0) {
        put_svcb_key(t, wire_u16(value));
        if (wire_left(value) > 0)
            put(t, ",");
    }
}

static void put_svcb_value(struct text *t, uint16_t key, struct wire *value)
{
    switch (key) {
    case SVCB_MANDATORY:
        put_svcb_keys(t, value);
        break;
    case SVCB_ALPN:
        put_alpn(t, value);
        break;
    case SVCB_PORT:
        put(t, "%u", wire_u16(value));
        break;
    case SVCB_IPV4HINT:
        put_addresses(t, value, AF_INET);
        break;
    case SVCB_ECH:
        put_rest(t, value, put_base64);
        break;
    case SVCB_IPV6HINT:
        put_addresses(t, value, AF_INET6);
        break;
    default:
        put_rest(t, value, put_quoted);
    }
}

static void put_parameters(struct text *t, struct wire *w)
{
    while (wire_left(w) > 0) {
        uint16_t key = wire_u16(w);
        size_t size = wire_u16(w);
        struct wire value = *w;

        if (wire_take(w, size) == NULL)
            return;
        value.end = w->at;
        put(t, " ");
        put_svcb_key(t, key);
        if (size > 0) {
            put(t, "=");
            put_svcb_value(t, key, &value);
        }
        if (value.bad || wire_left(&value) > 0)
            w->bad = true;
    }
}

static void put_field(struct text *t, char field, struct wire *w)
{
    char type[MNEMONIC_TEXT];

    switch (field) {
    case '1':
        put(t, "%u", wire_u8(w));
        break;
    case '2':
        put(t, "%u", wire_u16(w));
        break;
    case '4':
        put(t, "%u", wire_u32(w));
        break;
    case 'a':
        put_address(t, AF_INET, wire_take(w, 4));
        break;
    case '6':
        put_address(t, AF_INET6, wire_take(w, 16));
        break;
    case 'n':
        put_name(t, w);
        break;
    case 's':
        put_string(t, w);
        break;
    case 'S':
        put_strings(t, w);
        break;
    case 'T':
        put(t, "%s", rrtype_to_text(wire_u16(w), type));
        break;
    case 'x':
        put_rest(t, w, put_hex);
        break;
    case 'b':
        put_rest(t, w, put_base64);
        break;
    case 'c':
        put_property(t, w);
        break;
    case 'p':
        put_parameters(t, w);
        break;
    }
}

/* False: it is not as the layout says. */
static bool put_rdata(struct text *t, const char *layout, struct wire *rdata)
{
    for (const char *field = layout; *field != '\0'; field++) {
        if (field != layout && *field != 'p') /* parameters bring their own blanks, and there may be none */
            put(t, " ");
        put_field(t, *field, rdata);
    }
    return !rdata->bad && wire_left(rdata) == 0 && !t->bad;
}

static void put_unknown(struct text *t, struct wire rdata)
{
    size_t size = wire_left(&rdata);

    put(t, "\\# %zu%s", size, size > 0 ? " " : "");
    put_rest(t, &rdata, put_hex);
}

bool text_record(struct wire *w, uint16_t *type, char *out, size_t capacity)
{
    struct text t = {.at = out, .left = capacity};
    char type_text[MNEMONIC_TEXT], class_text[MNEMONIC_TEXT];

    put_name(&t, w);
    const uint8_t *fixed = wire_take(w, RECORD_FIXED);
    if (fixed == NULL)
        return false;
    *type = wire_get_u16(fixed);
    uint16_t class = wire_get_u16(fixed + 2);
    struct wire rdata = *w;
    if (wire_take(w, wire_get_u16(fixed + 8)) == NULL)
        return false;
    rdata.end = w->at;

    put(&t, "\t%u\t%s\t%s\t", wire_get_u32(fixed + 4), rrclass_to_text(class, class_text),
        rrtype_to_text(*type, type_text));
    const char *layout = layout_of(*type);
    struct text before = t;
    struct wire read = rdata;
    if (layout == NULL || !put_rdata(&t, layout, &read)) {
        t = before;
        put_unknown(&t, rdata);
    }
    w->steps = read.steps; /* the work of a whole message is bounded */
    return !t.bad;
}

#include "nodedot/dns/name.h"

#include <ctype.h>

enum {
    LABEL_MAX_OCTETS = 63,
    POINTER_BITS = 0xc0,       /* RFC 1035 section 4.1.4 */
    POINTER_LOWEST_TARGET = 12 /* the header's end: no name stands before it */
};

static const struct name root = {.length = 1};

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* Eight letters at once: bit 7 of each sum tells whether that octet is past 'Z', or at 'A' or past it. */
static uint64_t lower_eight(uint64_t v)
{
    const uint64_t each = 0x0101010101010101;
    uint64_t seven = v & 0x7f * each;
    uint64_t past_z = seven + (0x7f - 'Z') * each;
    uint64_t from_a = seven + (0x80 - 'A') * each;
    uint64_t upper = (from_a ^ past_z) & ~v & 0x80 * each;

    return v | upper >> 2;
}

/* Length octets are at most 63 and no letter is below 65, so a name's octets can all be treated alike. */
static void copy_lower(uint8_t *to, const uint8_t *from, size_t n)
{
    uint64_t v;
    size_t i = 0;

    for (; i + sizeof(v) <= n; i += sizeof(v)) {
        memcpy(&v, from + i, sizeof(v));
        v = lower_eight(v);
        memcpy(to + i, &v, sizeof(v));
    }
    for (; i < n; i++)
        to[i] = lower(from[i]);
}

void name_read(struct wire *w, struct name *out)
{
    size_t left = wire_left(w);
    size_t n = 0;
    size_t label;

    if (left > NAME_MAX_OCTETS)
        left = NAME_MAX_OCTETS;
    do {
        label = n < left ? w->at[n] : POINTER_BITS;
        n += label + 1;
        if (label > LABEL_MAX_OCTETS || n > left) {
            w->bad = true;
            *out = root;
            return;
        }
    } while (label != 0);
    copy_lower(out->bytes, w->at, n);
    out->length = (uint8_t)n;
    w->at += n;
}

/* Walks a name that may be compressed, copies it to out unless that is NULL, and returns its length; 0 when bad. What a
 * pointer leads to must end before the octets that led to it: so the walk ends, and a name never rests on what stands
 * behind it (an OPT, say, that another takes the place of). */
static inline size_t name_walk(struct wire *w, uint8_t *out)
{
    const uint8_t *message = w->start;
    size_t end = (size_t)(w->end - w->start);
    size_t at = (size_t)(w->at - w->start);
    size_t run = at;   /* where the octets being read began */
    size_t after = 0;  /* behind the first pointer, where the record goes on */
    size_t length = 0; /* of the expanded name */

    while (!w->bad && at < end && w->steps++ < NAME_STEPS_MAX) {
        size_t n = message[at];

        if (n >= POINTER_BITS && end - at >= 2) {
            if (after == 0)
                after = at + 2;
            end = run;
            run = at = wire_get_u16(message + at) & 0x3fff;
            if (at < POINTER_LOWEST_TARGET)
                break;
            continue;
        }
        if (n > LABEL_MAX_OCTETS || ++n > end - at || length + n > NAME_MAX_OCTETS)
            break;
        if (out != NULL)
            copy_lower(out + length, message + at, n);
        length += n;
        at += n;
        if (n == 1) {
            w->at = message + (after != 0 ? after : at);
            return length;
        }
    }
    w->bad = true;
    return 0;
}

void name_skip(struct wire *w)
{
    name_walk(w, NULL);
}

void name_expand(struct wire *w, struct name *out)
{
    out->length = (uint8_t)name_walk(w, out->bytes);
    if (w->bad)
        *out = root;
}

static size_t follow_pointers(const uint8_t *message, size_t at)
{
    while (message[at] >= POINTER_BITS)
        at = wire_get_u16(message + at) & 0x3fff;
    return at;
}

bool name_equal_at(const uint8_t *message, size_t a, size_t b)
{
    for (;;) {
        a = follow_pointers(message, a);
        b = follow_pointers(message, b);
        size_t n = message[a];

        if (a == b)
            return true;
        for (size_t i = 0; i <= n; i++)
            if (lower(message[a + i]) != lower(message[b + i]))
                return false;
        if (n == 0)
            return true;
        a += n + 1;
        b += n + 1;
    }
}

/* Reads one character or escape; -1 for a bad escape. */
static int text_octet(const char **text)
{
    const unsigned char *p = (const unsigned char *)*text;
    int value = p[0];

    *text += 1;
    if (value != '\\')
        return value;
    if (!isdigit(p[1])) {
        *text += 1;
        return p[1] != '\0' ? p[1] : -1;
    }
    if (!isdigit(p[2]) || !isdigit(p[3]))
        return -1;
    *text += 3;
    value = (p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0');
    return value <= UINT8_MAX ? value : -1;
}

/* Reads a label up to its dot or the text's end into at[1..63]. Returns its length; 0 when bad. */
static size_t text_label(const char **text, uint8_t *at)
{
    size_t n = 0;

    while (**text != '\0' && **text != '.') {
        int octet = text_octet(text);

        if (octet < 0 || n == LABEL_MAX_OCTETS)
            return 0;
        at[++n] = lower((uint8_t)octet);
    }
    at[0] = (uint8_t)n;
    return n;
}

bool name_from_text(const char *text, struct name *out)
{
    uint8_t wire[NAME_MAX_OCTETS + 1 + LABEL_MAX_OCTETS]; /* one label more than fits, before it is refused */
    size_t length = 0;

    if (strcmp(text, ".") == 0) {
        *out = root;
        return true;
    }
    do {
        size_t n = text_label(&text, wire + length);

        length += n + 1;
        if (n == 0 || length + 1 > NAME_MAX_OCTETS)
            return false;
        if (*text == '.')
            text++;
    } while (*text != '\0');
    wire[length++] = 0;
    memcpy(out->bytes, wire, length);
    out->length = (uint8_t)length;
    return true;
}

static char *octet_to_text(uint8_t c, char *out)
{
    if (c <= ' ' || c > '~') {
        *out++ = '\\';
        *out++ = (char)('0' + c / 100);
        *out++ = (char)('0' + c / 10 % 10);
        *out++ = (char)('0' + c % 10);
        return out;
    }
    if (c == '.' || c == '\\' || c == '"')
        *out++ = '\\';
    *out++ = (char)c;
    return out;
}

const char *name_to_text(const struct name *name, char *out)
{
    const uint8_t *label = name->bytes;
    char *p = out;

    if (label[0] == 0)
        *p++ = '.';
    for (; label[0] != 0; label += 1 + label[0]) {
        if (label != name->bytes)
            *p++ = '.';
        for (unsigned i = 1; i <= label[0]; i++)
            p = octet_to_text(label[i], p);
    }
    *p = '\0';
    return out;
}

bool name_equal(const struct name *a, const struct name *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

bool name_in_zone(const struct name *name, const struct name *zone)
{
    if (name->length < zone->length)
        return false;
    size_t start = (size_t)name->length - zone->length;
    size_t at = 0;

    if (memcmp(name->bytes + start, zone->bytes, zone->length) != 0)
        return false;
    while (at < start)
        at += 1u + name->bytes[at];
    return at == start;
}

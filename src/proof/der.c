#include "nodedot/proof/der.h"

#include <string.h>

struct der der_open(struct octets octets)
{
    if (octets.at == NULL)
        return (struct der){.bad = true};
    return (struct der){.at = octets.at, .end = octets.at + octets.size};
}

bool der_at_end(const struct der *d)
{
    return d->bad || d->at == d->end;
}

bool der_is(const struct der *d, uint8_t tag)
{
    return !der_at_end(d) && *d->at == tag;
}

/* Length octets of X.690 section 8.1.3: definite, and as short as they can be (section 10.1). */
static size_t der_length(struct der *d)
{
    if (d->at == d->end || *d->at == 0x80 || *d->at > 0x83) {
        d->bad = true;
        return 0;
    }
    size_t size = *d->at++;
    if (size < 0x80)
        return size;
    size_t octets = size & 0x7f;
    if (octets > (size_t)(d->end - d->at) || *d->at == 0) {
        d->bad = true;
        return 0;
    }
    size = 0;
    for (size_t i = 0; i < octets; i++)
        size = size << 8 | *d->at++;
    if (size < 0x80)
        d->bad = true;
    return size;
}

/* The next element, whatever it is: its contents, its tag, and all of it with tag and length in *whole. */
struct octets der_any(struct der *d, uint8_t *tag, struct octets *whole)
{
    const uint8_t *start = d->at;

    *tag = 0;
    *whole = (struct octets){0};
    if (der_at_end(d) || (*d->at & 0x1f) == 0x1f) { /* tags of several octets are not used in certificates */
        d->bad = true;
        return (struct octets){0};
    }
    uint8_t first = *d->at++;
    size_t size = der_length(d);
    if (d->bad || size > (size_t)(d->end - d->at)) {
        d->bad = true;
        return (struct octets){0};
    }
    struct octets contents = {d->at, size};
    d->at += size;
    *tag = first;
    *whole = (struct octets){start, (size_t)(d->at - start)};
    return contents;
}

struct octets der_whole(struct der *d, uint8_t tag, struct octets *whole)
{
    uint8_t got;
    struct octets contents = der_any(d, &got, whole);

    if (got == tag && !d->bad)
        return contents;
    d->bad = true;
    *whole = (struct octets){0};
    return (struct octets){0};
}

struct octets der_take(struct der *d, uint8_t tag)
{
    struct octets whole;

    return der_whole(d, tag, &whole);
}

struct der der_enter(struct der *d, uint8_t tag)
{
    return der_open(der_take(d, tag));
}

void der_skip(struct der *d)
{
    uint8_t tag;
    struct octets whole;

    der_any(d, &tag, &whole);
}

bool octets_equal(struct octets a, struct octets b)
{
    return a.at != NULL && b.at != NULL && a.size == b.size && memcmp(a.at, b.at, a.size) == 0;
}

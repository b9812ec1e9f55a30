/* wire.h - one cursor that reads octets, and one that writes them.
 *
 * A read or write that does not fit sets bad and gives zero (or writes nothing); later ones do the same, so a
 * parser reads everything and checks once. Numbers are in network order (RFC 1035 section 2.3.2).
 */
#ifndef NODEDOT_DNS_WIRE_H
#define NODEDOT_DNS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wire {
    const uint8_t *start; /* of the message: compression pointers count from here */
    const uint8_t *at;
    const uint8_t *end;
    uint32_t steps; /* labels and pointers of names read so far: name.c bounds the work of a whole message */
    bool bad;
};

struct wire_writer {
    uint8_t *start;
    uint8_t *at;
    uint8_t *end;
    bool bad;
};

static inline uint16_t wire_get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t wire_get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void wire_put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void wire_put_u32(uint8_t *p, uint32_t v)
{
    wire_put_u16(p, (uint16_t)(v >> 16));
    wire_put_u16(p + 2, (uint16_t)v);
}

static inline struct wire wire_of(const uint8_t *data, size_t size)
{
    return (struct wire){.start = data, .at = data, .end = data + size};
}

static inline size_t wire_left(const struct wire *w)
{
    return w->bad ? 0 : (size_t)(w->end - w->at);
}

/* The next n octets, which the cursor moves past; NULL when there are fewer. */
static inline const uint8_t *wire_take(struct wire *w, size_t n)
{
    if (w->bad || n > (size_t)(w->end - w->at)) {
        w->bad = true;
        return NULL;
    }
    w->at += n;
    return w->at - n;
}

static inline uint8_t wire_u8(struct wire *w)
{
    const uint8_t *p = wire_take(w, 1);

    return p != NULL ? p[0] : 0;
}

static inline uint16_t wire_u16(struct wire *w)
{
    const uint8_t *p = wire_take(w, 2);

    return p != NULL ? wire_get_u16(p) : 0;
}

static inline uint32_t wire_u32(struct wire *w)
{
    const uint8_t *p = wire_take(w, 4);

    return p != NULL ? wire_get_u32(p) : 0;
}

static inline struct wire_writer wire_writer_of(uint8_t *data, size_t size)
{
    return (struct wire_writer){.start = data, .at = data, .end = data + size};
}

static inline size_t wire_written(const struct wire_writer *w)
{
    return (size_t)(w->at - w->start);
}

/* n octets to fill, or NULL. */
static inline uint8_t *wire_make(struct wire_writer *w, size_t n)
{
    if (w->bad || n > (size_t)(w->end - w->at)) {
        w->bad = true;
        return NULL;
    }
    w->at += n;
    return w->at - n;
}

static inline void wire_write(struct wire_writer *w, const void *data, size_t n)
{
    uint8_t *p = wire_make(w, n);

    if (p != NULL && n > 0)
        memcpy(p, data, n);
}

static inline void wire_write_u8(struct wire_writer *w, uint8_t v)
{
    wire_write(w, &v, 1);
}

static inline void wire_write_u16(struct wire_writer *w, uint16_t v)
{
    uint8_t *p = wire_make(w, 2);

    if (p != NULL)
        wire_put_u16(p, v);
}

static inline void wire_write_u32(struct wire_writer *w, uint32_t v)
{
    uint8_t *p = wire_make(w, 4);

    if (p != NULL)
        wire_put_u32(p, v);
}

#endif

/* record.h - resource records in a message: their frames, and the positions of names in their data.
 *
 * Rules: RFC 1035 section 4.1.3, RFC 3597 section 4 (which types may hold compressed names).
 */
#ifndef NODEDOT_DNS_RECORD_H
#define NODEDOT_DNS_RECORD_H

#include "nodedot/dns/name.h"
#include "nodedot/dns/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Octets behind an owner: TYPE, CLASS, TTL, RDLENGTH. */
#define RECORD_FIXED 10

/* One record's frame. Offsets count from the message's start. */
struct record {
    size_t owner;
    uint16_t type;
    uint16_t class;
    uint32_t ttl;
    size_t body; /* CLASS, TTL, RDLENGTH and RDATA, the form that edns_read() takes */
    size_t rdata;
    uint16_t rdlength;
};

static inline size_t wire_offset(const struct wire *w)
{
    return (size_t)(w->at - w->start);
}

/* Reads a frame and moves past the record. False: it is broken. */
static inline bool record_read(struct wire *w, struct record *out)
{
    out->owner = wire_offset(w);
    name_skip(w);
    const uint8_t *fixed = wire_take(w, RECORD_FIXED);

    if (fixed == NULL)
        return false;
    out->type = wire_get_u16(fixed);
    out->class = wire_get_u16(fixed + 2);
    out->ttl = wire_get_u32(fixed + 4);
    out->rdlength = wire_get_u16(fixed + 8);
    out->rdata = wire_offset(w);
    out->body = out->rdata - RECORD_FIXED + 2;
    return wire_take(w, out->rdlength) != NULL;
}

/* A cursor on a part of a record that w has passed. */
static inline struct wire record_part(const struct wire *w, const struct record *record, size_t from)
{
    struct wire part = *w;

    part.at = w->start + from;
    part.end = w->start + record->rdata + record->rdlength;
    return part;
}

/* How the RDATA of a type that we know is built: octets, names, octets. The types of RFC 1035 may have their names
 * compressed; for the others RFC 3597 section 4 tells receivers to bear with it. */
struct rdata_layout {
    uint8_t before;
    uint8_t names;
    uint8_t after;
    bool open; /* anything may follow */
};

/* NULL: the type's RDATA is opaque. */
const struct rdata_layout *rdata_layout_of(uint16_t type);

#endif

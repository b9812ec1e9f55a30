#include "nodedot/dns/bailiwick.h"

#include "nodedot/base/hash.h"
#include "nodedot/dns/record.h"

#include <stdlib.h>

/* The smallest record is owned by the root and has no data. */
#define RECORDS_MAX (MESSAGE_MAX_OCTETS / (1 + RECORD_FIXED))
/* DNAMEs, zones and records of AUTHORITY that are looked at. Honest answers have a few; each may be compared with
 * all of the chain, so more would be costly. */
#define DNAMES_MAX    BAILIWICK_CHAIN
#define ZONES_MAX     BAILIWICK_CHAIN
#define AUTHORITY_MAX 256
/* Slots for the names that kept records name: never more than half full. */
#define NAMED_MAX 16384
/* A compression pointer reaches so far (RFC 1035 section 4.1.4). */
#define POINTER_REACH 0x4000
#define POINTER_BITS  0xc0
/* Where an RRSIG's data say what it covers and who signed. */
#define RRSIG_COVERED 0
#define RRSIG_SIGNER  18

struct entry {
    struct record record;
    uint64_t hash; /* of the owner */
    bool kept;
};

struct hashed_name {
    uint64_t hash;
    struct name name;
};

struct dname {
    struct entry *entry;
    struct name owner, target;
};

struct bailiwick {
    struct hash_key key;
    const uint8_t *message;
    size_t size;
    const struct question *question;
    size_t answer_count, authority_count, count; /* of entries */
    struct hashed_name chain[BAILIWICK_CHAIN];
    size_t chain_count;
    size_t reach; /* names of the chain that may own records */
    struct dname dnames[DNAMES_MAX];
    size_t dname_count;
    struct name zones[ZONES_MAX];
    size_t zone_count;
    size_t named_mask;
    struct answer_info info;
    /* what follows is touched as far as a message needs it */
    struct entry entries[RECORDS_MAX];
    uint64_t named[NAMED_MAX];
    uint16_t moved[POINTER_REACH]; /* where the name at this offset stands in out; 0: nowhere yet */
    uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];
    uint8_t out[MESSAGE_MAX_OCTETS];
};

struct bailiwick *bailiwick_create(void)
{
    struct bailiwick *b = calloc(1, sizeof(*b));

    if (b != NULL)
        hash_key_random(&b->key);
    return b;
}

void bailiwick_destroy(struct bailiwick *b)
{
    free(b);
}

/* ---- names ---- */

static uint64_t hash_of(const struct bailiwick *b, const struct name *name)
{
    return hash_keyed(&b->key, name->bytes, name->length);
}

/* The name at an offset of the message where one is known to stand. */
static void name_at(const struct bailiwick *b, size_t offset, struct name *out)
{
    struct wire w = wire_of(b->message, b->size);

    wire_take(&w, offset);
    name_expand(&w, out);
}

static void owner_of(const struct bailiwick *b, const struct entry *entry, struct name *out)
{
    name_at(b, entry->record.owner, out);
}

static uint16_t covered_by(const struct bailiwick *b, const struct entry *rrsig)
{
    return wire_get_u16(b->message + rrsig->record.rdata + RRSIG_COVERED);
}

/* Is the name that of a zone which a name of the chain is in? */
static bool is_above_chain(const struct bailiwick *b, const struct name *name)
{
    for (size_t i = 0; i < b->reach; i++) {
        if (name_in_zone(&b->chain[i].name, name))
            return true;
    }
    return false;
}

static bool owner_is_above_chain(const struct bailiwick *b, const struct entry *entry)
{
    struct name owner;

    owner_of(b, entry, &owner);
    return is_above_chain(b, &owner);
}

/* ---- the records ---- */

static bool entry_read(struct bailiwick *b, struct wire *w, struct entry *entry)
{
    struct name owner;

    if (!record_read(w, &entry->record))
        return false;
    owner_of(b, entry, &owner);
    entry->hash = hash_of(b, &owner);
    entry->kept = false;
    return true;
}

static void entries_read(struct bailiwick *b, const struct answer_info *info)
{
    struct wire w = wire_of(b->message, b->size);
    size_t counts = (size_t)wire_get_u16(b->message + MESSAGE_ANCOUNT_AT) +
                    wire_get_u16(b->message + MESSAGE_NSCOUNT_AT) + info->additional_count;

    b->answer_count = wire_get_u16(b->message + MESSAGE_ANCOUNT_AT);
    b->authority_count = wire_get_u16(b->message + MESSAGE_NSCOUNT_AT);
    b->count = 0;
    wire_take(&w, MESSAGE_HEADER + (size_t)info->question_octets);
    while (b->count < counts && b->count < RECORDS_MAX && entry_read(b, &w, &b->entries[b->count]))
        b->count++;
}

/* ---- the chain ---- */

static bool chain_has(const struct bailiwick *b, uint64_t hash)
{
    for (size_t i = 0; i < b->reach; i++) {
        if (b->chain[i].hash == hash)
            return true;
    }
    return false;
}

static void dnames_read(struct bailiwick *b)
{
    b->dname_count = 0;
    for (size_t i = 0; i < b->answer_count && b->dname_count < DNAMES_MAX; i++) {
        struct dname *dname = &b->dnames[b->dname_count];

        if (b->entries[i].record.type != TYPE_DNAME)
            continue;
        dname->entry = &b->entries[i];
        owner_of(b, dname->entry, &dname->owner);
        name_at(b, dname->entry->record.rdata, &dname->target);
        b->dname_count++;
    }
}

/* What the DNAME makes of a name below its owner (RFC 6672 section 2.2). False: it is not below, or the new name would
 * be too long. */
static bool dname_substitute(const struct dname *dname, const struct name *name, struct name *out)
{
    size_t prefix = (size_t)name->length - dname->owner.length;

    if (name->length <= dname->owner.length || !name_in_zone(name, &dname->owner) ||
        prefix + dname->target.length > NAME_MAX_OCTETS)
        return false;
    memcpy(out->bytes, name->bytes, prefix);
    memcpy(out->bytes + prefix, dname->target.bytes, dname->target.length);
    out->length = (uint8_t)(prefix + dname->target.length);
    return true;
}

/* Where a CNAME, else a DNAME, leads from the last name of the chain. False: it ends here. */
static bool chain_step(const struct bailiwick *b, struct name *out)
{
    const struct hashed_name *last = &b->chain[b->chain_count - 1];

    for (size_t i = 0; i < b->answer_count; i++) {
        if (b->entries[i].record.type == TYPE_CNAME && b->entries[i].hash == last->hash) {
            name_at(b, b->entries[i].record.rdata, out);
            return true;
        }
    }
    for (size_t i = 0; i < b->answer_count; i++) {
        if (b->entries[i].hash == last->hash)
            return false; /* there is an answer: what stands above does not matter */
    }
    for (size_t i = 0; i < b->dname_count; i++) {
        if (dname_substitute(&b->dnames[i], &last->name, out))
            return true;
    }
    return false;
}

static void chain_follow(struct bailiwick *b)
{
    struct name *next = &b->chain[0].name;

    *next = b->question->qname;
    b->chain_count = 0;
    do {
        uint64_t hash = hash_of(b, next);

        b->reach = b->chain_count;
        if (chain_has(b, hash))
            break; /* a loop */
        b->chain[b->chain_count++].hash = hash;
        if (b->chain_count == BAILIWICK_CHAIN)
            break;
        next = &b->chain[b->chain_count].name;
    } while (chain_step(b, next));
    b->reach = b->question->qtype == TYPE_CNAME ? 1 : b->chain_count;
}

/* ---- what is kept ---- */

/* The DNAMEs that lead from one name of the chain to the next. */
static void keep_dnames(struct bailiwick *b)
{
    struct name next;

    for (size_t i = 0; i < b->dname_count; i++) {
        for (size_t j = 0; j < b->reach && j + 1 < b->chain_count; j++) {
            if (dname_substitute(&b->dnames[i], &b->chain[j].name, &next) && name_equal(&next, &b->chain[j + 1].name))
                b->dnames[i].entry->kept = true;
        }
    }
}

static bool signs_kept_dname(const struct bailiwick *b, const struct entry *rrsig)
{
    for (size_t i = 0; i < b->dname_count; i++) {
        if (b->dnames[i].entry->kept && b->dnames[i].entry->hash == rrsig->hash)
            return covered_by(b, rrsig) == TYPE_DNAME;
    }
    return false;
}

static void keep_answer(struct bailiwick *b)
{
    keep_dnames(b);
    for (size_t i = 0; i < b->answer_count; i++) {
        struct entry *entry = &b->entries[i];

        if (chain_has(b, entry->hash) || (entry->record.type == TYPE_RRSIG && signs_kept_dname(b, entry)))
            entry->kept = true;
    }
}

static void add_zone(struct bailiwick *b, const struct name *zone)
{
    for (size_t i = 0; i < b->zone_count; i++) {
        if (name_equal(&b->zones[i], zone))
            return;
    }
    if (b->zone_count < ZONES_MAX)
        b->zones[b->zone_count++] = *zone;
}

/* An RRSIG tells of a zone if its signer could be that of a name of the chain. */
static bool add_signer(struct bailiwick *b, const struct entry *rrsig)
{
    struct name owner, signer;

    owner_of(b, rrsig, &owner);
    name_at(b, rrsig->record.rdata + RRSIG_SIGNER, &signer);
    if (!name_in_zone(&owner, &signer) || !is_above_chain(b, &signer))
        return false;
    add_zone(b, &signer);
    return true;
}

/* All but denials, whose zones are known only then. */
static bool is_authority(struct bailiwick *b, const struct entry *entry)
{
    struct name owner;

    switch (entry->record.type) {
    case TYPE_SOA:
    case TYPE_NS:
        owner_of(b, entry, &owner);
        if (!is_above_chain(b, &owner))
            return false;
        add_zone(b, &owner);
        return true;
    case TYPE_DS:
        return owner_is_above_chain(b, entry);
    case TYPE_RRSIG:
        break;
    default:
        return false;
    }
    switch (covered_by(b, entry)) {
    case TYPE_SOA:
    case TYPE_NS:
    case TYPE_DS:
        return owner_is_above_chain(b, entry) && add_signer(b, entry);
    case TYPE_NSEC:
    case TYPE_NSEC3:
        return add_signer(b, entry);
    default:
        return false;
    }
}

static bool is_denial(const struct bailiwick *b, const struct entry *entry)
{
    struct name owner;

    if (entry->record.type != TYPE_NSEC && entry->record.type != TYPE_NSEC3)
        return false;
    owner_of(b, entry, &owner);
    for (size_t i = 0; i < b->zone_count; i++) {
        if (name_in_zone(&owner, &b->zones[i]))
            return true;
    }
    return false;
}

static void keep_authority(struct bailiwick *b)
{
    struct entry *first = &b->entries[b->answer_count];
    size_t count = b->authority_count < AUTHORITY_MAX ? b->authority_count : AUTHORITY_MAX;

    b->zone_count = 0;
    for (size_t i = 0; i < b->answer_count && b->zone_count < ZONES_MAX; i++) {
        if (b->entries[i].kept && b->entries[i].record.type == TYPE_RRSIG)
            add_signer(b, &b->entries[i]);
    }
    for (size_t i = 0; i < count; i++)
        first[i].kept = is_authority(b, &first[i]);
    for (size_t i = 0; i < count; i++)
        first[i].kept |= is_denial(b, &first[i]);
}

/* Where the name that a record points its readers to stands in its data; 0: nowhere. */
static size_t target_in(uint16_t type)
{
    switch (type) {
    case TYPE_MX:
    case TYPE_AFSDB:
    case TYPE_KX:
    case TYPE_SVCB:
    case TYPE_HTTPS:
        return 2;
    case TYPE_SRV:
        return 6;
    default:
        return 0;
    }
}

static void named_add(struct bailiwick *b, uint64_t hash)
{
    size_t slot = (size_t)hash & b->named_mask;

    while (b->named[slot] != 0 && b->named[slot] != hash)
        slot = (slot + 1) & b->named_mask;
    b->named[slot] = hash;
}

static bool is_named(const struct bailiwick *b, uint64_t hash)
{
    size_t slot = (size_t)hash & b->named_mask;

    while (b->named[slot] != 0 && b->named[slot] != hash)
        slot = (slot + 1) & b->named_mask;
    return b->named[slot] == hash;
}

static void note_target(struct bailiwick *b, const struct entry *entry)
{
    struct wire w = wire_of(b->message, b->size);
    struct wire rdata = record_part(&w, &entry->record, entry->record.rdata);
    struct name target;

    if (!entry->kept || (target_in(entry->record.type) == 0 && entry->record.type != TYPE_NS))
        return;
    wire_take(&rdata, target_in(entry->record.type)); /* 0 for NS */
    name_expand(&rdata, &target);
    if (!rdata.bad)
        named_add(b, target.length > 1 ? hash_of(b, &target) : entry->hash); /* ".": the owner (RFC 9460 section 2.5) */
}

static bool is_additional(const struct bailiwick *b, const struct entry *entry)
{
    uint16_t type = entry->record.type == TYPE_RRSIG ? covered_by(b, entry) : entry->record.type;

    return (type == TYPE_A || type == TYPE_AAAA || type == TYPE_SVCB || type == TYPE_HTTPS) && is_named(b, entry->hash);
}

static void keep_additional(struct bailiwick *b)
{
    size_t first = b->answer_count + b->authority_count;

    if (b->count <= first)
        return;
    b->named_mask = 2 * BAILIWICK_CHAIN - 1;
    while (b->named_mask < 2 * b->count)
        b->named_mask = b->named_mask * 2 + 1;
    memset(b->named, 0, (b->named_mask + 1) * sizeof(*b->named));
    for (size_t i = 0; i < b->reach; i++)
        named_add(b, b->chain[i].hash);
    for (size_t i = 0; i < first; i++)
        note_target(b, &b->entries[i]);
    for (size_t i = first; i < b->count; i++) {
        b->entries[i].kept = is_additional(b, &b->entries[i]);
        note_target(b, &b->entries[i]);
    }
}

/* ---- writing what is left ---- */

/* Writes the name that stands at an offset, and points to what was written of it before. A label is written once, where
 * the original had it or in place of what was left out, so the whole does not grow. */
static void name_write(struct bailiwick *b, struct wire_writer *w, size_t at)
{
    for (;;) {
        size_t n = b->message[at];
        size_t to = wire_written(w);

        if (n >= POINTER_BITS) {
            at = wire_get_u16(b->message + at) & (POINTER_REACH - 1);
            continue;
        }
        if (n == 0 || w->bad) {
            wire_write_u8(w, 0);
            return;
        }
        if (at < POINTER_REACH && b->moved[at] != 0) {
            wire_write_u16(w, (uint16_t)(POINTER_BITS << 8 | b->moved[at]));
            return;
        }
        if (at < POINTER_REACH && to < POINTER_REACH)
            b->moved[at] = (uint16_t)to;
        wire_write(w, b->message + at, n + 1);
        at += n + 1;
    }
}

static void rdata_write(struct bailiwick *b, struct wire_writer *w, const struct record *record)
{
    const struct rdata_layout *layout = rdata_layout_of(record->type);
    struct wire all = wire_of(b->message, b->size);
    struct wire rdata = record_part(&all, record, record->rdata);

    if (layout != NULL) {
        wire_write(w, wire_take(&rdata, layout->before), layout->before);
        for (unsigned i = 0; i < layout->names; i++) {
            name_write(b, w, wire_offset(&rdata));
            name_skip(&rdata);
        }
    }
    wire_write(w, rdata.at, wire_left(&rdata));
}

static void record_write(struct bailiwick *b, struct wire_writer *w, const struct record *record)
{
    uint8_t *fixed;

    name_write(b, w, record->owner);
    fixed = wire_make(w, RECORD_FIXED);
    rdata_write(b, w, record);
    if (w->bad)
        return;
    memcpy(fixed, b->message + record->rdata - RECORD_FIXED, RECORD_FIXED - 2);
    wire_put_u16(fixed + RECORD_FIXED - 2, (uint16_t)(w->at - fixed - RECORD_FIXED));
}

static void question_write(struct bailiwick *b, struct wire_writer *w, const struct answer_info *info)
{
    memset(b->moved, 0, sizeof(b->moved));
    wire_write(w, b->message, MESSAGE_HEADER);
    name_write(b, w, MESSAGE_HEADER);
    wire_write(w, b->message + MESSAGE_HEADER + info->question.qname.length, 4);
    memset(b->out + MESSAGE_ANCOUNT_AT, 0, MESSAGE_HEADER - MESSAGE_ANCOUNT_AT);
}

static void count_up(uint8_t *count)
{
    wire_put_u16(count, (uint16_t)(wire_get_u16(count) + 1));
}

static size_t answer_write(struct bailiwick *b, const struct answer_info *info)
{
    struct wire_writer w = wire_writer_of(b->out, b->size);

    question_write(b, &w, info);
    for (size_t i = 0; i < b->count; i++) {
        if (!b->entries[i].kept)
            continue;
        record_write(b, &w, &b->entries[i].record);
        if (i < b->answer_count)
            count_up(b->out + MESSAGE_ANCOUNT_AT);
        else
            count_up(b->out + (i < b->answer_count + b->authority_count ? MESSAGE_NSCOUNT_AT : MESSAGE_ARCOUNT_AT));
    }
    return w.bad ? 0 : wire_written(&w);
}

/* What was in the OPT, which is not written. */
static void info_restore(struct answer_info *now, const struct answer_info *before)
{
    now->edns = before->edns;
    now->has_ede = before->has_ede;
    now->ede_code = before->ede_code;
    now->rcode = before->rcode;
    now->negative = now->negative && (now->rcode == RCODE_NOERROR || now->rcode == RCODE_NXDOMAIN);
}

static void answer_replace(struct bailiwick *b, struct bailiwick_answer *answer)
{
    size_t size = answer_write(b, answer->info);

    if (size != 0 && answer_parse(b->out, size, &b->info, b->ttl_offsets, MESSAGE_MAX_RECORDS)) {
        info_restore(&b->info, answer->info);
    } else {
        struct wire_writer w = wire_writer_of(b->out, b->size);

        question_write(b, &w, answer->info);
        b->out[3] = (uint8_t)((b->out[3] & 0xf0) | RCODE_SERVFAIL);
        answer_parse(b->out, wire_written(&w), &b->info, b->ttl_offsets, MESSAGE_MAX_RECORDS);
    }
    *answer = (struct bailiwick_answer){.message = b->out, .info = &b->info, .ttl_offsets = b->ttl_offsets};
}

unsigned bailiwick_keep(struct bailiwick *b, struct bailiwick_answer *answer)
{
    unsigned dropped = 0;

    b->message = answer->message;
    b->size = answer->info->size_without_opt;
    b->question = &answer->info->question;
    entries_read(b, answer->info);
    dnames_read(b);
    chain_follow(b);
    keep_answer(b);
    keep_authority(b);
    keep_additional(b);
    for (size_t i = 0; i < b->count; i++)
        dropped += !b->entries[i].kept;
    if (dropped > 0)
        answer_replace(b, answer);
    return dropped;
}

/* What is left of an upstream's answer, and that honest answers stay as they are. */
#include "nodedot/dns/bailiwick.h"
#include "nodedot/dns/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* An answer in the making. Names are compressed as servers do it: to a name that was written before, or not at all. */
struct maker {
    uint8_t octets[MESSAGE_MAX_OCTETS];
    struct wire_writer w;
    struct {
        struct name name;
        uint16_t at;
    } written[64];
    size_t written_count;
    bool compress;
};

struct fixture {
    struct bailiwick *bailiwick;
    struct maker m;
    struct maker expected;
    struct answer_info info;
    uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];
    struct bailiwick_answer answer;
};

static int fixture_create(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->bailiwick = bailiwick_create();
    assert_non_null(f->bailiwick);
    *state = f;
    return 0;
}

static int fixture_destroy(void **state)
{
    struct fixture *f = *state;

    bailiwick_destroy(f->bailiwick);
    free(f);
    return 0;
}

static void put_name(struct maker *m, const char *text, bool compress)
{
    struct name name;
    size_t at = 0;

    assert_true(name_from_text(text, &name));
    while (name.bytes[at] != 0) {
        struct name rest = {.length = (uint8_t)(name.length - at)};

        memcpy(rest.bytes, name.bytes + at, rest.length);
        for (size_t i = 0; i < m->written_count && compress && m->compress; i++) {
            if (name_equal(&m->written[i].name, &rest)) {
                wire_write_u16(&m->w, (uint16_t)(0xc000 | m->written[i].at));
                return;
            }
        }
        if (m->written_count < 64 && wire_written(&m->w) < 0x4000) {
            m->written[m->written_count].name = rest;
            m->written[m->written_count++].at = (uint16_t)wire_written(&m->w);
        }
        wire_write(&m->w, name.bytes + at, name.bytes[at] + 1u);
        at += name.bytes[at] + 1u;
    }
    wire_write_u8(&m->w, 0);
}

static void begin(struct maker *m, const char *qname, uint16_t qtype, uint16_t flags, bool compress)
{
    m->w = wire_writer_of(m->octets, sizeof(m->octets));
    m->written_count = 0;
    m->compress = compress;
    wire_write_u16(&m->w, 0x1234);
    wire_write_u16(&m->w, (uint16_t)(MESSAGE_QR | MESSAGE_RD | MESSAGE_RA | flags));
    wire_write_u16(&m->w, 1);
    for (unsigned i = 0; i < 3; i++)
        wire_write_u16(&m->w, 0);
    put_name(m, qname, true);
    wire_write_u16(&m->w, qtype);
    wire_write_u16(&m->w, CLASS_IN);
}

enum section { ANSWER, AUTHORITY, ADDITIONAL };

/* Begins a record; returns where its length goes. */
static uint8_t *record_begin(struct maker *m, enum section section, const char *owner, uint16_t type)
{
    uint8_t *count = m->octets + MESSAGE_ANCOUNT_AT + 2 * section;

    wire_put_u16(count, (uint16_t)(wire_get_u16(count) + 1));
    put_name(m, owner, true);
    wire_write_u16(&m->w, type);
    wire_write_u16(&m->w, CLASS_IN);
    wire_write_u32(&m->w, 300);
    return wire_make(&m->w, 2);
}

static void record_end(struct maker *m, uint8_t *length)
{
    assert_false(m->w.bad);
    wire_put_u16(length, (uint16_t)(m->w.at - length - 2));
}

/* A record of the types below; data: what its name is, if it has one. */
static void put(struct maker *m, enum section section, const char *owner, uint16_t type, const char *data)
{
    static const uint8_t zeros[32];
    uint8_t *length = record_begin(m, section, owner, type);
    bool old = true; /* its names may be compressed */

    switch (type) {
    case TYPE_A:
        wire_write(&m->w, "\xc0\x00\x02\x01", 4);
        break;
    case TYPE_AAAA:
        wire_write(&m->w, zeros, 16);
        break;
    case TYPE_DS:
        wire_write(&m->w, zeros, 24);
        break;
    case TYPE_NSEC3:
        wire_write(&m->w, zeros, 31);
        break;
    case TYPE_MX:
    case TYPE_SVCB:
    case TYPE_HTTPS:
        old = type == TYPE_MX;
        wire_write(&m->w, zeros, 2);
        put_name(m, data, old);
        break;
    case TYPE_SRV:
        wire_write(&m->w, zeros, 6);
        put_name(m, data, false);
        break;
    case TYPE_SOA:
        put_name(m, data, true);
        put_name(m, "hostmaster.example", true);
        wire_write(&m->w, zeros, 20);
        break;
    case TYPE_NSEC:
        put_name(m, data, false);
        wire_write(&m->w, zeros, 3);
        break;
    case TYPE_CNAME:
    case TYPE_NS:
    case TYPE_PTR:
        put_name(m, data, true);
        break;
    case TYPE_DNAME:
        put_name(m, data, false);
        break;
    default:
        wire_write(&m->w, data, strlen(data));
    }
    record_end(m, length);
}

static void put_rrsig(struct maker *m, enum section section, const char *owner, uint16_t covered, const char *signer)
{
    static const uint8_t zeros[64];
    uint8_t *length = record_begin(m, section, owner, TYPE_RRSIG);

    wire_write_u16(&m->w, covered);
    wire_write(&m->w, zeros, 16);
    put_name(m, signer, false);
    wire_write(&m->w, zeros, 64);
    record_end(m, length);
}

static void put_opt(struct maker *m, const char *options, size_t size)
{
    uint8_t *count = m->octets + MESSAGE_ARCOUNT_AT;

    wire_put_u16(count, (uint16_t)(wire_get_u16(count) + 1));
    wire_write(&m->w, "\0\0\x29\x04\xd0\0\0\0\0", 9);
    wire_write_u16(&m->w, (uint16_t)size);
    wire_write(&m->w, options, size);
}

static unsigned keep(struct fixture *f)
{
    size_t size = wire_written(&f->m.w);

    assert_false(f->m.w.bad);
    assert_true(answer_parse(f->m.octets, size, &f->info, f->ttl_offsets, MESSAGE_MAX_RECORDS));
    f->answer = (struct bailiwick_answer){.message = f->m.octets, .info = &f->info, .ttl_offsets = f->ttl_offsets};
    return bailiwick_keep(f->bailiwick, &f->answer);
}

static void assert_unchanged(struct fixture *f)
{
    assert_int_equal(keep(f), 0);
    assert_ptr_equal(f->answer.message, f->m.octets);
    assert_ptr_equal(f->answer.info, &f->info);
    assert_ptr_equal(f->answer.ttl_offsets, f->ttl_offsets);
}

/* So many records were left out, and what is left is what f->expected makes. */
static void assert_left(struct fixture *f, unsigned dropped)
{
    assert_int_equal(keep(f), dropped);
    assert_int_equal(f->answer.info->size_without_opt, wire_written(&f->expected.w));
    assert_memory_equal(f->answer.message, f->expected.octets, wire_written(&f->expected.w));
    assert_true(f->answer.info->size_without_opt <= wire_written(&f->m.w));
}

/* ---- honest answers ---- */

static void honest_answers_stay_as_they_are(void **state)
{
    struct fixture *f = *state;
    struct maker *m = &f->m;

    for (int compress = 0; compress < 2; compress++) {
        begin(m, "www.example.com", TYPE_A, 0, compress);
        put(m, ANSWER, "www.example.com", TYPE_A, NULL);
        put(m, ANSWER, "www.example.com", TYPE_A, NULL);
        put_rrsig(m, ANSWER, "www.example.com", TYPE_A, "example.com");
        put_opt(m, "", 0);
        assert_unchanged(f);

        begin(m, "www.example.com", TYPE_A, 0, compress); /* an authoritative server's */
        put(m, ANSWER, "www.example.com", TYPE_A, NULL);
        put(m, AUTHORITY, "example.com", TYPE_NS, "ns1.example.com");
        put(m, AUTHORITY, "example.com", TYPE_NS, "ns.elsewhere.net");
        put_rrsig(m, AUTHORITY, "example.com", TYPE_NS, "example.com");
        put(m, ADDITIONAL, "ns1.example.com", TYPE_A, NULL);
        put(m, ADDITIONAL, "ns1.example.com", TYPE_AAAA, NULL);
        put_rrsig(m, ADDITIONAL, "ns1.example.com", TYPE_A, "example.com");
        put(m, ADDITIONAL, "ns.elsewhere.net", TYPE_A, NULL);
        put_opt(m, "", 0);
        assert_unchanged(f);

        begin(m, "a.example.com", TYPE_AAAA, 0, compress); /* over three zones, out of order */
        put(m, ANSWER, "c.example.org", TYPE_AAAA, NULL);
        put(m, ANSWER, "b.example.net", TYPE_CNAME, "c.example.org");
        put(m, ANSWER, "a.example.com", TYPE_CNAME, "b.example.net");
        put_rrsig(m, ANSWER, "a.example.com", TYPE_CNAME, "example.com");
        assert_unchanged(f);

        begin(m, ".", TYPE_NS, 0, compress);
        put(m, ANSWER, ".", TYPE_NS, "a.root-servers.net");
        put_rrsig(m, ANSWER, ".", TYPE_NS, ".");
        put(m, ADDITIONAL, "a.root-servers.net", TYPE_A, NULL);
        assert_unchanged(f);

        begin(m, "example.com", TYPE_MX, 0, compress);
        put(m, ANSWER, "example.com", TYPE_MX, "mail.example.com");
        put(m, ANSWER, "example.com", TYPE_MX, "backup.example.net");
        put(m, ADDITIONAL, "mail.example.com", TYPE_A, NULL);
        put(m, ADDITIONAL, "backup.example.net", TYPE_AAAA, NULL);
        assert_unchanged(f);
    }
}

static void honest_denials_stay_as_they_are(void **state)
{
    struct fixture *f = *state;
    struct maker *m = &f->m;

    for (int compress = 0; compress < 2; compress++) {
        begin(m, "no.such.example.com", TYPE_A, RCODE_NXDOMAIN, compress); /* NSEC */
        put(m, AUTHORITY, "example.com", TYPE_SOA, "ns1.example.com");
        put_rrsig(m, AUTHORITY, "example.com", TYPE_SOA, "example.com");
        put(m, AUTHORITY, "example.com", TYPE_NSEC, "a.example.com");
        put_rrsig(m, AUTHORITY, "example.com", TYPE_NSEC, "example.com");
        put(m, AUTHORITY, "nn.example.com", TYPE_NSEC, "p.example.com");
        put_rrsig(m, AUTHORITY, "nn.example.com", TYPE_NSEC, "example.com");
        put_opt(m, "", 0);
        assert_unchanged(f);

        begin(m, "no.example.com", TYPE_A, RCODE_NXDOMAIN, compress); /* NSEC3 */
        put(m, AUTHORITY, "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example.com", TYPE_NSEC3, NULL);
        put_rrsig(m, AUTHORITY, "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example.com", TYPE_NSEC3, "example.com");
        put(m, AUTHORITY, "b4um86eghhds6nea196smvmlo4ors995.example.com", TYPE_NSEC3, NULL);
        put_rrsig(m, AUTHORITY, "b4um86eghhds6nea196smvmlo4ors995.example.com", TYPE_NSEC3, "example.com");
        put(m, AUTHORITY, "example.com", TYPE_SOA, "ns1.example.com");
        put_rrsig(m, AUTHORITY, "example.com", TYPE_SOA, "example.com");
        assert_unchanged(f);

        begin(m, "any.wild.example.com", TYPE_A, 0, compress); /* expanded from *.wild.example.com: no SOA */
        put(m, ANSWER, "any.wild.example.com", TYPE_A, NULL);
        put_rrsig(m, ANSWER, "any.wild.example.com", TYPE_A, "example.com");
        put(m, AUTHORITY, "*.wild.example.com", TYPE_NSEC, "x.example.com");
        put_rrsig(m, AUTHORITY, "*.wild.example.com", TYPE_NSEC, "example.com");
        assert_unchanged(f);

        begin(m, "a.example.com", TYPE_AAAA, 0, compress); /* no data at the end of a chain */
        put(m, ANSWER, "a.example.com", TYPE_CNAME, "b.example.net");
        put(m, AUTHORITY, "example.net", TYPE_SOA, "ns.example.net");
        put(m, AUTHORITY, "b.example.net", TYPE_NSEC, "c.example.net");
        put_rrsig(m, AUTHORITY, "b.example.net", TYPE_NSEC, "example.net");
        assert_unchanged(f);

        begin(m, "nxname.example", TYPE_A, RCODE_NXDOMAIN, compress); /* denied by the root */
        put(m, AUTHORITY, ".", TYPE_SOA, "a.root-servers.net");
        put_rrsig(m, AUTHORITY, ".", TYPE_SOA, ".");
        put(m, AUTHORITY, "events", TYPE_NSEC, "exchange");
        put_rrsig(m, AUTHORITY, "events", TYPE_NSEC, ".");
        put(m, AUTHORITY, ".", TYPE_NSEC, "aaa");
        put_rrsig(m, AUTHORITY, ".", TYPE_NSEC, ".");
        assert_unchanged(f);

        begin(m, "host.sub.example.com", TYPE_A, 0, compress); /* a referral to an unsigned zone */
        put(m, AUTHORITY, "sub.example.com", TYPE_NS, "ns.sub.example.com");
        put(m, AUTHORITY, "aaaa.example.com", TYPE_NSEC3, NULL);
        put_rrsig(m, AUTHORITY, "aaaa.example.com", TYPE_NSEC3, "example.com");
        put(m, ADDITIONAL, "ns.sub.example.com", TYPE_A, NULL);
        assert_unchanged(f);

        begin(m, "host.sub.example.com", TYPE_A, 0, compress); /* and to a signed one */
        put(m, AUTHORITY, "sub.example.com", TYPE_NS, "ns.sub.example.com");
        put(m, AUTHORITY, "sub.example.com", TYPE_DS, NULL);
        put_rrsig(m, AUTHORITY, "sub.example.com", TYPE_DS, "example.com");
        assert_unchanged(f);
    }
}

static void dnames_with_what_they_make_stay(void **state)
{
    struct fixture *f = *state;
    struct maker *m = &f->m;

    for (int order = 0; order < 2; order++) {
        begin(m, "www.old.example", TYPE_A, 0, true);
        if (order == 0)
            put(m, ANSWER, "www.old.example", TYPE_CNAME, "www.new.example");
        put(m, ANSWER, "old.example", TYPE_DNAME, "new.example");
        put_rrsig(m, ANSWER, "old.example", TYPE_DNAME, "example");
        if (order == 1)
            put(m, ANSWER, "www.old.example", TYPE_CNAME, "www.new.example");
        put(m, ANSWER, "www.new.example", TYPE_A, NULL);
        put_rrsig(m, ANSWER, "www.new.example", TYPE_A, "new.example");
        assert_unchanged(f);
    }
    begin(m, "www.old.example", TYPE_A, 0, true); /* from a server that makes no CNAME of it */
    put(m, ANSWER, "old.example", TYPE_DNAME, "new.example");
    put(m, ANSWER, "www.new.example", TYPE_A, NULL);
    assert_unchanged(f);
    begin(m, "www.old.example", TYPE_CNAME, 0, true);
    put(m, ANSWER, "old.example", TYPE_DNAME, "new.example");
    put(m, ANSWER, "www.old.example", TYPE_CNAME, "www.new.example");
    assert_unchanged(f);
    begin(m, "old.example", TYPE_DNAME, 0, true);
    put(m, ANSWER, "old.example", TYPE_DNAME, "new.example");
    assert_unchanged(f);
}

static void services_with_the_addresses_of_their_targets_stay(void **state)
{
    struct fixture *f = *state;
    struct maker *m = &f->m;

    begin(m, "_http._tcp.web.default.svc.cluster.local", TYPE_SRV, 0, true);
    for (unsigned i = 0; i < 20; i++) {
        char pod[64];

        snprintf(pod, sizeof(pod), "10-0-0-%u.web.default.svc.cluster.local", i);
        put(m, ANSWER, "_http._tcp.web.default.svc.cluster.local", TYPE_SRV, pod);
    }
    for (unsigned i = 0; i < 20; i++) {
        char pod[64];

        snprintf(pod, sizeof(pod), "10-0-0-%u.web.default.svc.cluster.local", i);
        put(m, ADDITIONAL, pod, TYPE_A, NULL);
    }
    assert_unchanged(f);

    begin(m, "example.com", TYPE_HTTPS, 0, true);
    put(m, ANSWER, "example.com", TYPE_HTTPS, "pool.example.net");
    put(m, ADDITIONAL, "pool.example.net", TYPE_HTTPS, "edge.example.net");
    put(m, ADDITIONAL, "edge.example.net", TYPE_A, NULL);
    assert_unchanged(f);
    begin(m, "example.com", TYPE_HTTPS, 0, true);
    put(m, ANSWER, "example.com", TYPE_HTTPS, "."); /* the owner itself */
    put(m, ADDITIONAL, "example.com", TYPE_AAAA, NULL);
    put_rrsig(m, ADDITIONAL, "example.com", TYPE_AAAA, "example.com");
    assert_unchanged(f);
}

/* ---- others ---- */

static void records_of_other_names_are_left_out(void **state)
{
    static const char *const others[] = {
        "bank.example", "example.com", "a.www.example.com", "ww.example.com", "wwwwexample.com", ".", "com"};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        begin(&f->m, "www.example.com", TYPE_A, 0, true);
        put(&f->m, ANSWER, others[i], TYPE_A, NULL);
        put(&f->m, ANSWER, "www.example.com", TYPE_A, NULL);
        put(&f->m, ADDITIONAL, others[i], TYPE_A, NULL);
        begin(&f->expected, "www.example.com", TYPE_A, 0, true);
        put(&f->expected, ANSWER, "www.example.com", TYPE_A, NULL);
        assert_left(f, 2);
        assert_int_equal(f->answer.info->ttl_count, 1);
        assert_false(f->answer.info->negative);
    }
}

static void an_answer_of_nothing_but_lies_is_a_denial_that_is_not_kept(void **state)
{
    struct fixture *f = *state;

    begin(&f->m, "www.example.com", TYPE_A, 0, true);
    put(&f->m, ANSWER, "www.example.org", TYPE_A, NULL);
    put(&f->m, AUTHORITY, "example.org", TYPE_SOA, "ns.example.org");
    begin(&f->expected, "www.example.com", TYPE_A, 0, true);
    assert_left(f, 2);
    assert_true(f->answer.info->negative);
    assert_false(f->answer.info->has_soa);
}

static void names_that_rest_on_what_is_left_out_are_written_anew(void **state)
{
    struct fixture *f = *state;

    begin(&f->m, "a.example.com", TYPE_A, 0, true);
    put(&f->m, ANSWER, "evil.target.example.net", TYPE_A, NULL);
    put(&f->m, ANSWER, "a.example.com", TYPE_CNAME, "b.target.example.net"); /* its end stands in what goes */
    put(&f->m, ANSWER, "b.target.example.net", TYPE_CNAME, "c.example.net");
    put(&f->m, ANSWER, "c.example.net", TYPE_A, NULL);
    begin(&f->expected, "a.example.com", TYPE_A, 0, true);
    put(&f->expected, ANSWER, "a.example.com", TYPE_CNAME, "b.target.example.net");
    put(&f->expected, ANSWER, "b.target.example.net", TYPE_CNAME, "c.example.net");
    put(&f->expected, ANSWER, "c.example.net", TYPE_A, NULL);
    assert_left(f, 1);
}

static void a_zone_beside_the_question_is_left_out_of_authority(void **state)
{
    struct fixture *f = *state;

    begin(&f->m, "www.example.com", TYPE_A, 0, true);
    put(&f->m, ANSWER, "www.example.com", TYPE_A, NULL);
    put(&f->m, AUTHORITY, "bank.com", TYPE_NS, "ns.evil.example");
    put(&f->m, AUTHORITY, "x.www.example.com", TYPE_NS, "ns.evil.example");
    put(&f->m, AUTHORITY, "bank.com", TYPE_DS, NULL);
    put(&f->m, AUTHORITY, "www.example.com", TYPE_A, NULL);           /* no type of this section */
    put(&f->m, AUTHORITY, "n.bank.com", TYPE_NSEC, "p.bank.com");     /* signed by nobody in sight */
    put_rrsig(&f->m, AUTHORITY, "n.bank.com", TYPE_NSEC, "bank.com"); /* by one who is not above */
    put_rrsig(&f->m, AUTHORITY, "bank.com", TYPE_NS, "com");          /* above, but of another zone */
    put_rrsig(&f->m, AUTHORITY, "example.com", TYPE_A, "example.com");
    put(&f->m, ADDITIONAL, "ns.evil.example", TYPE_A, NULL);
    begin(&f->expected, "www.example.com", TYPE_A, 0, true);
    put(&f->expected, ANSWER, "www.example.com", TYPE_A, NULL);
    assert_left(f, 9);
}

static void only_addresses_and_services_stay_in_additional(void **state)
{
    struct fixture *f = *state;

    begin(&f->m, "example.com", TYPE_MX, 0, true);
    put(&f->m, ANSWER, "example.com", TYPE_MX, "mail.example.com");
    put(&f->m, ADDITIONAL, "mail.example.com", TYPE_A, NULL);
    put(&f->m, ADDITIONAL, "mail.example.com", TYPE_MX, "x.example.com");
    put(&f->m, ADDITIONAL, "mail.example.com", TYPE_CNAME, "y.example.com");
    put_rrsig(&f->m, ADDITIONAL, "mail.example.com", TYPE_MX, "example.com");
    put(&f->m, ADDITIONAL, "x.example.com", TYPE_A, NULL);
    put(&f->m, ADDITIONAL, "y.example.com", TYPE_A, NULL);
    begin(&f->expected, "example.com", TYPE_MX, 0, true);
    put(&f->expected, ANSWER, "example.com", TYPE_MX, "mail.example.com");
    put(&f->expected, ADDITIONAL, "mail.example.com", TYPE_A, NULL);
    assert_left(f, 5);
}

static void a_dname_that_the_chain_does_not_use_is_left_out(void **state)
{
    struct fixture *f = *state;

    begin(&f->m, "www.example.com", TYPE_A, 0, true);
    put(&f->m, ANSWER, "com", TYPE_DNAME, "evil.example");
    put_rrsig(&f->m, ANSWER, "com", TYPE_DNAME, "com");
    put(&f->m, ANSWER, "www.example.evil.example", TYPE_A, NULL);
    put(&f->m, ANSWER, "www.example.com", TYPE_A, NULL);
    begin(&f->expected, "www.example.com", TYPE_A, 0, true);
    put(&f->expected, ANSWER, "www.example.com", TYPE_A, NULL);
    assert_left(f, 3);
}

static void a_question_for_a_cname_is_not_followed(void **state)
{
    struct fixture *f = *state;

    begin(&f->m, "a.example.com", TYPE_CNAME, 0, true);
    put(&f->m, ANSWER, "a.example.com", TYPE_CNAME, "b.example.com");
    put(&f->m, ANSWER, "b.example.com", TYPE_A, NULL);
    begin(&f->expected, "a.example.com", TYPE_CNAME, 0, true);
    put(&f->expected, ANSWER, "a.example.com", TYPE_CNAME, "b.example.com");
    assert_left(f, 1);
}

static void put_chain(struct maker *m, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        char owner[32], target[32];

        snprintf(owner, sizeof(owner), "n%u.example", i);
        snprintf(target, sizeof(target), "n%u.example", i + 1);
        put(m, ANSWER, owner, TYPE_CNAME, target);
    }
}

static void loops_end_and_long_chains_are_cut(void **state)
{
    struct fixture *f = *state;

    begin(&f->m, "n0.example", TYPE_A, 0, false);
    put_chain(&f->m, 0, BAILIWICK_CHAIN);
    assert_unchanged(f); /* the last name owns nothing here */
    put(&f->m, ANSWER, "n32.example", TYPE_A, NULL);
    begin(&f->expected, "n0.example", TYPE_A, 0, false);
    put_chain(&f->expected, 0, BAILIWICK_CHAIN);
    assert_left(f, 1);
    assert_true(f->answer.info->negative); /* and has no SOA: it is passed on and not kept */
    begin(&f->m, "n0.example", TYPE_A, 0, false);
    put_chain(&f->m, 0, BAILIWICK_CHAIN + 1);
    assert_left(f, 1);

    begin(&f->m, "a.example", TYPE_A, 0, true);
    put(&f->m, ANSWER, "a.example", TYPE_CNAME, "b.example");
    put(&f->m, ANSWER, "b.example", TYPE_CNAME, "a.example");
    assert_unchanged(f);
    begin(&f->m, "a.example", TYPE_A, 0, true);
    put(&f->m, ANSWER, "a.example", TYPE_CNAME, "a.example");
    assert_unchanged(f);
    begin(&f->m, "x.a.example", TYPE_A, 0, true); /* grows until it is too long */
    put(&f->m, ANSWER, "a.example", TYPE_DNAME, "b.a.example");
    assert_unchanged(f);
}

static void what_the_opt_said_is_kept(void **state)
{
    struct fixture *f = *state;

    begin(&f->m, "www.example.com", TYPE_A, RCODE_SERVFAIL, true);
    put(&f->m, ADDITIONAL, "bank.example", TYPE_A, NULL);
    put_opt(&f->m, "\0\x0f\0\x02\0\x07", 6);
    begin(&f->expected, "www.example.com", TYPE_A, RCODE_SERVFAIL, true);
    assert_left(f, 1);
    assert_true(f->answer.info->has_ede && f->answer.info->edns.present);
    assert_int_equal(f->answer.info->ede_code, 7);
    assert_int_equal(f->answer.info->rcode, RCODE_SERVFAIL);
    assert_int_equal(f->answer.info->additional_count, 0);
}

static void an_answer_whose_names_rest_on_data_becomes_a_servfail(void **state)
{
    struct fixture *f = *state;
    uint16_t data_at;

    begin(&f->m, "q.example", TYPE_A, 0, true);
    put(&f->m, ANSWER, "q.example", 65280,
        "\x3f"
        "012345678901234567890123456789012345678901234567890123456789012");
    data_at = (uint16_t)(wire_written(&f->m.w) - 64);
    wire_write_u8(&f->m.w, 0); /* the data's end is the name's */
    wire_put_u16(f->m.octets + data_at - 2, 65);
    for (unsigned i = 0; i < 2; i++) { /* two short records, each of which would have to spell the name */
        uint8_t *length = record_begin(&f->m, ANSWER, "q.example", TYPE_CNAME);

        wire_write_u16(&f->m.w, (uint16_t)(0xc000 | data_at));
        record_end(&f->m, length);
    }
    put(&f->m, ANSWER, "x", TYPE_A, NULL);
    assert_int_equal(keep(f), 1);
    assert_int_equal(f->answer.info->rcode, RCODE_SERVFAIL);
    assert_int_equal(f->answer.info->ttl_count, 0);
    assert_int_equal(f->answer.info->size_without_opt, MESSAGE_HEADER + f->info.question_octets);
}

static double milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* As many records as fit, of owners as long as they get, and DNAMEs and signers that fit nothing. */
static void hostile_answers_cost_little(void **state)
{
    static const uint16_t types[] = {TYPE_CNAME, TYPE_DNAME, TYPE_NS, TYPE_RRSIG, TYPE_NSEC, TYPE_A, TYPE_MX};
    struct fixture *f = *state;
    static const char *const deep =
        "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a";

    for (size_t t = 0; t < sizeof(types) / sizeof(*types); t++) {
        for (enum section section = ANSWER; section <= ADDITIONAL; section++) {
            double start;

            begin(&f->m, deep, TYPE_A, 0, true);
            for (unsigned i = 0; wire_left(&(struct wire){.at = f->m.w.at, .end = f->m.w.end}) > 200 && i < 2000; i++) {
                if (types[t] == TYPE_RRSIG)
                    put_rrsig(&f->m, section, deep, TYPE_NSEC, "a.a.b");
                else
                    put(&f->m, section, deep, types[t], deep);
            }
            assert_true(
                answer_parse(f->m.octets, wire_written(&f->m.w), &f->info, f->ttl_offsets, MESSAGE_MAX_RECORDS));
            start = milliseconds();
            keep(f);
            assert_true(milliseconds() - start < 50); /* a few, where nothing checks every access */
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_create, fixture_destroy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(honest_answers_stay_as_they_are),
        TEST(honest_denials_stay_as_they_are),
        TEST(dnames_with_what_they_make_stay),
        TEST(services_with_the_addresses_of_their_targets_stay),
        TEST(records_of_other_names_are_left_out),
        TEST(an_answer_of_nothing_but_lies_is_a_denial_that_is_not_kept),
        TEST(names_that_rest_on_what_is_left_out_are_written_anew),
        TEST(a_zone_beside_the_question_is_left_out_of_authority),
        TEST(only_addresses_and_services_stay_in_additional),
        TEST(a_dname_that_the_chain_does_not_use_is_left_out),
        TEST(a_question_for_a_cname_is_not_followed),
        TEST(loops_end_and_long_chains_are_cut),
        TEST(what_the_opt_said_is_kept),
        TEST(an_answer_whose_names_rest_on_data_becomes_a_servfail),
        TEST(hostile_answers_cost_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "nodedot/dns/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define OPT_BARE      "\0\0\x29\x04\xd0\0\0\0\0\0\0"
#define QNAME_POINTER "\300\014"
#define ID            0x1234

/* A message being built. */
static uint8_t message[70000];
static struct wire_writer builder;

static void put(const void *octets, size_t size)
{
    wire_write(&builder, octets, size);
    assert_false(builder.bad);
}

#define PUT(text) put(text, sizeof(text) - 1)

static void put_u16(unsigned value)
{
    wire_write_u16(&builder, (uint16_t)value);
}

static void put_name(const char *text)
{
    struct name name;

    assert_true(name_from_text(text, &name));
    put(name.bytes, name.length);
}

static void begin(unsigned flags, unsigned questions, unsigned answers, unsigned authorities, unsigned additionals)
{
    builder = wire_writer_of(message, sizeof(message));
    put_u16(ID);
    put_u16(flags);
    put_u16(questions);
    put_u16(answers);
    put_u16(authorities);
    put_u16(additionals);
}

static void put_question(const char *qname, unsigned qtype, unsigned qclass)
{
    put_name(qname);
    put_u16(qtype);
    put_u16(qclass);
}

/* What follows an owner. */
static void put_rest(unsigned type, unsigned class, uint32_t ttl, const void *rdata, size_t size)
{
    put_u16(type);
    put_u16(class);
    wire_write_u32(&builder, ttl);
    put_u16((unsigned)size);
    put(rdata, size);
}

static void put_a(const char *owner, uint32_t ttl)
{
    put_name(owner);
    put_rest(TYPE_A, CLASS_IN, ttl, "\300\000\002\001", 4);
}

/* A record of a type whose RDATA is one name. */
static void put_alias(const char *owner, unsigned type, uint32_t ttl, const char *target)
{
    struct name name;

    assert_true(name_from_text(target, &name));
    put_name(owner);
    put_rest(type, CLASS_IN, ttl, name.bytes, name.length);
}

static void put_soa(const char *owner, uint32_t ttl, uint32_t minimum)
{
    uint8_t rdata[22] = {0};

    wire_put_u32(rdata + 18, minimum);
    put_name(owner);
    put_rest(TYPE_SOA, CLASS_IN, ttl, rdata, sizeof(rdata));
}

static size_t built(void)
{
    return wire_written(&builder);
}

/* Parses a copy at an odd address that ends where the memory ends, so that a sanitizer sees each octet too many. */
static enum query_verdict parse_query(struct query_message *out)
{
    size_t size = built();
    uint8_t *exact = malloc(size + 1);

    memcpy(exact + 1, message, size);
    enum query_verdict verdict = query_parse(exact + 1, size, out);
    free(exact);
    return verdict;
}

static struct answer_info info;
static uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];

static bool parse_answer(void)
{
    size_t size = built();
    uint8_t *exact = malloc(size + 1);

    memcpy(exact + 1, message, size);
    bool good = answer_parse(exact + 1, size, &info, ttl_offsets, MESSAGE_MAX_RECORDS);
    free(exact);
    return good;
}

static enum query_verdict verdict_of(void)
{
    struct query_message query;

    return parse_query(&query);
}

/* Queries. */

static void a_query_with_edns_is_read(void **state)
{
    struct query_message query;

    (void)state;
    begin(MESSAGE_RD | MESSAGE_CD, 1, 0, 0, 1);
    put_question("www.example.com", TYPE_AAAA, CLASS_IN);
    message[MESSAGE_HEADER + 1] = 'W';
    PUT("\0\0\x29\x10\x00\0\0\x80\0\0\x04\0\x0b\0\0");
    assert_int_equal(parse_query(&query), QUERY_OK);
    assert_int_equal(query.id, ID);
    assert_int_equal(query.flags, MESSAGE_RD | MESSAGE_CD);
    assert_int_equal(query.question_octets, 21);
    assert_int_equal(query.question.qtype, TYPE_AAAA);
    assert_int_equal(query.question.qclass, CLASS_IN);
    assert_memory_equal(query.question.qname.bytes, "\003www", 4);
    assert_true(query.edns.present);
    assert_true(query.edns.dnssec_ok);
    assert_true(query.edns.has_keepalive);
    assert_int_equal(query.edns.udp_size, 4096);
}

static void a_query_for_the_root_without_edns_is_read(void **state)
{
    struct query_message query;

    (void)state;
    begin(MESSAGE_RD, 1, 0, 0, 0);
    put_question(".", TYPE_NS, CLASS_IN);
    assert_int_equal(parse_query(&query), QUERY_OK);
    assert_int_equal(query.question_octets, 5);
    assert_false(query.edns.present);
}

static void less_than_a_header_and_answers_are_dropped(void **state)
{
    struct query_message query;

    (void)state;
    begin(MESSAGE_RD, 1, 0, 0, 0);
    for (size_t size = 0; size < MESSAGE_HEADER; size++)
        assert_int_equal(query_parse(message, size, &query), QUERY_DROP);
    assert_int_equal(query_parse(message, MESSAGE_HEADER, &query), QUERY_FORMERR);
    begin(MESSAGE_QR | MESSAGE_RD, 1, 0, 0, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    assert_int_equal(verdict_of(), QUERY_DROP);
    begin(MESSAGE_QR | MESSAGE_OPCODE, 1, 0, 0, 0);
    assert_int_equal(verdict_of(), QUERY_DROP);
}

static void other_opcodes_are_not_implemented_whatever_the_body(void **state)
{
    struct query_message query;

    (void)state;
    for (unsigned opcode = 1; opcode < 16; opcode++) {
        begin(opcode << 11, 1, 0, 1, 0);
        put_question("example.com", TYPE_SOA, CLASS_IN);
        PUT("junk");
        assert_int_equal(parse_query(&query), QUERY_NOTIMP);
        assert_int_equal(query.question_octets, 17);
        begin(opcode << 11, 2, 9, 9, 9);
        PUT("\377\377");
        assert_int_equal(parse_query(&query), QUERY_NOTIMP);
        assert_int_equal(query.question_octets, 0);
        assert_int_equal(query.question.qname.length, 1);
    }
}

static void any_number_of_questions_but_one_is_an_error(void **state)
{
    struct query_message query;

    (void)state;
    begin(MESSAGE_RD, 0, 0, 0, 0);
    assert_int_equal(parse_query(&query), QUERY_FORMERR);
    assert_int_equal(query.question_octets, 0);
    begin(MESSAGE_RD, 2, 0, 0, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    put_question("example.com", TYPE_A, CLASS_IN);
    assert_int_equal(verdict_of(), QUERY_FORMERR);
    begin(MESSAGE_RD, 1, 0, 0, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    put_question("example.com", TYPE_A, CLASS_IN);
    assert_int_equal(verdict_of(), QUERY_FORMERR);
    begin(MESSAGE_RD, 65535, 0, 0, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    assert_int_equal(verdict_of(), QUERY_FORMERR);
}

static void records_in_answer_or_authority_of_a_query_are_an_error(void **state)
{
    struct query_message query;

    (void)state;
    begin(MESSAGE_RD, 1, 1, 0, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    put_a("example.com", 1);
    assert_int_equal(parse_query(&query), QUERY_FORMERR);
    assert_int_equal(query.question_octets, 17);
    begin(MESSAGE_RD, 1, 0, 1, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    put_a("example.com", 1);
    assert_int_equal(verdict_of(), QUERY_FORMERR);
}

static void a_compressed_question_is_an_error(void **state)
{
    struct query_message query;

    (void)state;
    begin(MESSAGE_RD, 1, 0, 0, 0);
    PUT("\003www" QNAME_POINTER "\0\001\0\001");
    assert_int_equal(parse_query(&query), QUERY_FORMERR);
    assert_int_equal(query.question_octets, 0);
}

static void a_query_cut_at_any_octet_is_an_error(void **state)
{
    struct query_message query;

    (void)state;
    begin(MESSAGE_RD, 1, 0, 0, 1);
    put_question("example.com", TYPE_A, CLASS_IN);
    PUT("\0\0\x29\x10\x00\0\0\x80\0\0\x04\0\x0b\0\0");
    size_t whole = built();
    assert_int_equal(parse_query(&query), QUERY_OK);
    for (size_t size = MESSAGE_HEADER; size < whole; size++) {
        builder.at = message + size;
        assert_int_equal(parse_query(&query), QUERY_FORMERR);
        assert_int_equal(query.question_octets, size >= 29 ? 17 : 0);
    }
}

static void octets_behind_a_query_are_an_error(void **state)
{
    (void)state;
    begin(MESSAGE_RD, 1, 0, 0, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    PUT("\0");
    assert_int_equal(verdict_of(), QUERY_FORMERR);
    begin(MESSAGE_RD, 1, 0, 0, 1);
    put_question("example.com", TYPE_A, CLASS_IN);
    PUT(OPT_BARE "\0");
    assert_int_equal(verdict_of(), QUERY_FORMERR);
}

static void two_opts_an_opt_with_a_name_and_broken_options_are_errors(void **state)
{
    static const struct {
        unsigned count;
        const char *octets;
        size_t size;
    } cases[] = {
        {2, OPT_BARE OPT_BARE, 22},
        {1, "\003www" OPT_BARE, 15},
        {1, QNAME_POINTER "\0\x29\x04\xd0\0\0\0\0\0\0", 12},
        {1, "\0\0\x29\x04\xd0\0\0\0\0\0\x03\0\x64\0", 14},
        {1, "\0\0\x29\x04\xd0\0\0\0\0\0\x05\0\x0b\0\x01\0", 16},
        {1, "\0\0\x29\x04\xd0\0\0\0\0\0\x06\0\x0b\0\x03\0\0", 17},
    };
    struct query_message query;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin(MESSAGE_RD, 1, 0, 0, cases[i].count);
        put_question("example.com", TYPE_A, CLASS_IN);
        put(cases[i].octets, cases[i].size);
        assert_int_equal(parse_query(&query), QUERY_FORMERR);
        assert_int_equal(query.question_octets, 17);
    }
}

static void unknown_flags_and_options_are_ignored(void **state)
{
    (void)state;
    begin(MESSAGE_RD | MESSAGE_TC | MESSAGE_Z | MESSAGE_AA | MESSAGE_RA | MESSAGE_AD | 5, 1, 0, 0, 1);
    put_question("example.com", TYPE_A, CLASS_IN);
    PUT("\0\0\x29\x04\xd0\0\0\x7f\xff\0\x0c\0\x64\0\0\0\x08\0\x04\0\x01\0\0");
    assert_int_equal(verdict_of(), QUERY_OK);
}

static void a_tsig_is_passed_over_when_it_is_last_and_of_class_any(void **state)
{
    static const char tsig[] = "\003key\0\0\xfa\0\xff\0\0\0\0\0\x01z";
    static const char of_class_in[] = "\003key\0\0\xfa\0\x01\0\0\0\0\0\x01z";
    struct query_message query;

    (void)state;
    begin(MESSAGE_RD, 1, 0, 0, 2);
    put_question("example.com", TYPE_A, CLASS_IN);
    PUT(OPT_BARE);
    put(tsig, sizeof(tsig) - 1);
    assert_int_equal(parse_query(&query), QUERY_OK);
    assert_true(query.edns.present);

    begin(MESSAGE_RD, 1, 0, 0, 2);
    put_question("example.com", TYPE_A, CLASS_IN);
    put(tsig, sizeof(tsig) - 1);
    PUT(OPT_BARE);
    assert_int_equal(verdict_of(), QUERY_FORMERR);

    begin(MESSAGE_RD, 1, 0, 0, 1);
    put_question("example.com", TYPE_A, CLASS_IN);
    put(of_class_in, sizeof(of_class_in) - 1);
    assert_int_equal(verdict_of(), QUERY_FORMERR);
}

static void any_other_additional_record_in_a_query_is_an_error(void **state)
{
    (void)state;
    begin(MESSAGE_RD, 1, 0, 0, 1);
    put_question("example.com", TYPE_A, CLASS_IN);
    put_a("example.com", 1);
    assert_int_equal(verdict_of(), QUERY_FORMERR);
    begin(MESSAGE_RD, 1, 0, 0, 1);
    put_question("example.com", TYPE_A, CLASS_IN);
    PUT("\0\0\x18\0\xff\0\0\0\0\0\0"); /* SIG(0) */
    assert_int_equal(verdict_of(), QUERY_FORMERR);
}

static void verdicts_come_in_the_order_of_the_table(void **state)
{
    (void)state;
    begin(0, 1, 0, 0, 1);
    put_question("example.com", TYPE_AXFR, 3);
    PUT("\0\0\x29\x04\xd0\0\x64\0\0\0\0");
    assert_int_equal(verdict_of(), QUERY_BADVERS);
    begin(0, 1, 0, 0, 0);
    put_question("example.com", TYPE_AXFR, 3);
    assert_int_equal(verdict_of(), QUERY_REFUSED_CLASS);
    begin(0, 1, 0, 0, 0);
    put_question("example.com", TYPE_AXFR, CLASS_IN);
    assert_int_equal(verdict_of(), QUERY_REFUSED_TRANSFER);
    begin(0, 1, 0, 0, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    assert_int_equal(verdict_of(), QUERY_REFUSED_NO_RD);
}

static void meta_types_but_any_are_refused(void **state)
{
    (void)state;
    for (unsigned qtype = 0; qtype < 300; qtype++) {
        bool refused = qtype == TYPE_OPT || (qtype >= 128 && qtype <= 254);

        begin(MESSAGE_RD, 1, 0, 0, 0);
        put_question("example.com", qtype, CLASS_IN);
        assert_int_equal(verdict_of(), refused ? QUERY_REFUSED_TRANSFER : QUERY_OK);
    }
}

/* Answers. */

/* Begins an answer to A of www.example.com. */
static void begin_answer(unsigned rcode, unsigned answers, unsigned authorities, unsigned additionals)
{
    begin(MESSAGE_QR | MESSAGE_RD | MESSAGE_RA | rcode, 1, answers, authorities, additionals);
    put_question("www.example.com", TYPE_A, CLASS_IN);
}

static void an_answer_is_read(void **state)
{
    (void)state;
    begin_answer(0, 2, 0, 1);
    PUT(QNAME_POINTER);
    put_rest(TYPE_A, CLASS_IN, 300, "abcd", 4);
    PUT(QNAME_POINTER);
    put_rest(TYPE_A, CLASS_IN, 60, "abcd", 4);
    size_t without_opt = built();
    PUT("\0\0\x29\x04\xd0\0\0\x80\0\0\x06\0\x0f\0\x02\0\x03");
    assert_true(parse_answer());
    assert_int_equal(info.id, ID);
    assert_int_equal(info.rcode, RCODE_NOERROR);
    assert_int_equal(info.question_octets, 21);
    assert_int_equal(info.size_without_opt, without_opt);
    assert_int_equal(info.additional_count, 0);
    assert_int_equal(info.min_ttl, 60);
    assert_int_equal(info.ttl_count, 2);
    assert_int_equal(ttl_offsets[0], 33 + 6);
    assert_int_equal(ttl_offsets[1], 33 + 16 + 6);
    assert_false(info.negative);
    assert_false(info.has_soa);
    assert_true(info.edns.present);
    assert_true(info.has_ede);
    assert_int_equal(info.ede_code, EDE_STALE_ANSWER);
}

static void an_answer_cut_at_any_octet_is_broken(void **state)
{
    (void)state;
    begin_answer(0, 1, 1, 2);
    PUT(QNAME_POINTER);
    put_rest(TYPE_A, CLASS_IN, 300, "abcd", 4);
    put_soa("example.com", 5, 5);
    PUT(QNAME_POINTER);
    put_rest(99, CLASS_IN, 300, "", 0);
    PUT(OPT_BARE);
    size_t whole = built();
    assert_true(parse_answer());
    for (size_t size = 0; size < whole; size++) {
        builder.at = message + size;
        assert_false(parse_answer());
    }
}

static void octets_behind_an_answer_are_counted_and_left_out(void **state)
{
    (void)state;
    for (size_t behind = 0; behind <= 24; behind++) {
        begin_answer(0, 1, 0, 0);
        put_a("www.example.com", 1);
        size_t whole = built();
        memset(message + whole, 0, behind);
        builder.at = message + whole + behind;
        assert_true(parse_answer());
        assert_int_equal(info.size_without_opt, whole);
        assert_int_equal(info.octets_behind, behind);
    }
}

static void counts_that_do_not_fit_are_broken(void **state)
{
    (void)state;
    for (unsigned section = 0; section < 3; section++) {
        begin_answer(0, 1 + (section == 0), section == 1, section == 2);
        put_a("www.example.com", 1);
        assert_false(parse_answer());
    }
    begin_answer(0, 65535, 65535, 65535);
    put_a("www.example.com", 1);
    assert_false(parse_answer());
}

static void a_message_that_is_no_answer_to_one_question_is_broken(void **state)
{
    (void)state;
    begin(MESSAGE_RD, 1, 0, 0, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    assert_false(parse_answer());
    begin(MESSAGE_QR | 0x0800, 1, 0, 0, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    assert_false(parse_answer());
    begin(MESSAGE_QR, 0, 0, 0, 0);
    assert_false(parse_answer());
    begin(MESSAGE_QR, 2, 0, 0, 0);
    put_question("example.com", TYPE_A, CLASS_IN);
    put_question("example.com", TYPE_A, CLASS_IN);
    assert_false(parse_answer());
}

static void a_truncated_answer_is_read(void **state)
{
    (void)state;
    begin_answer(MESSAGE_TC, 0, 0, 0);
    assert_true(parse_answer());
    assert_true((info.flags & MESSAGE_TC) != 0);
    assert_int_equal(info.min_ttl, 0);
}

/* One record of a type with given RDATA, at www.example.com. */
static bool rdata_is_accepted(unsigned type, const void *rdata, size_t size)
{
    begin_answer(0, 1, 0, 0);
    PUT(QNAME_POINTER);
    put_rest(type, CLASS_IN, 1, rdata, size);
    return parse_answer();
}

static void names_in_rdata_of_known_types_are_checked(void **state)
{
    static const unsigned types[] = {2, 3, 4, 5, 7, 8, 9, 12, 39};

    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        assert_true(rdata_is_accepted(types[i], QNAME_POINTER, 2));
        assert_true(rdata_is_accepted(types[i], "\001a" QNAME_POINTER, 4));
        assert_false(rdata_is_accepted(types[i], "", 0));
        assert_false(rdata_is_accepted(types[i], "\300\377", 2));        /* past the end */
        assert_false(rdata_is_accepted(types[i], "\300\055", 2));        /* to itself, at 45 */
        assert_false(rdata_is_accepted(types[i], QNAME_POINTER "x", 3)); /* more than the name */
        assert_false(rdata_is_accepted(types[i], "\001a\300", 3));       /* the name is longer than RDATA */
        assert_false(rdata_is_accepted(types[i], "\100a\0", 3));         /* no such label type */
    }
}

static void rdata_of_known_types_must_have_all_its_parts(void **state)
{
    static const struct {
        unsigned type;
        unsigned before;
        unsigned names;
        unsigned after;
    } types[] = {{6, 0, 2, 20}, {14, 0, 2, 0}, {15, 2, 1, 0}, {17, 0, 2, 0}, {18, 2, 1, 0},
                 {21, 2, 1, 0}, {26, 2, 2, 0}, {33, 6, 1, 0}, {36, 2, 1, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        uint8_t rdata[64] = {0};
        size_t size = types[i].before;

        for (unsigned j = 0; j < types[i].names; j++, size += 2)
            memcpy(rdata + size, QNAME_POINTER, 2);
        size += types[i].after;
        assert_true(rdata_is_accepted(types[i].type, rdata, size));
        assert_false(rdata_is_accepted(types[i].type, rdata, size - 1));
        assert_false(rdata_is_accepted(types[i].type, rdata, size + 1));
    }
}

static void rdata_with_an_open_end_may_be_longer(void **state)
{
    uint8_t rdata[40] = {0};

    (void)state;
    memcpy(rdata + 18, QNAME_POINTER, 2);
    assert_true(rdata_is_accepted(TYPE_RRSIG, rdata, 20));
    assert_true(rdata_is_accepted(TYPE_RRSIG, rdata, 40));
    assert_false(rdata_is_accepted(TYPE_RRSIG, rdata, 18));
    assert_false(rdata_is_accepted(TYPE_RRSIG, rdata, 17));
    assert_true(rdata_is_accepted(47, "\0\0\001\100", 4));
    assert_false(rdata_is_accepted(47, "\377", 1));
}

static void addresses_have_their_length_and_unknown_types_have_any(void **state)
{
    uint8_t rdata[17] = {0};

    (void)state;
    for (size_t size = 0; size <= 17; size++) {
        assert_int_equal(rdata_is_accepted(TYPE_A, rdata, size), size == 4);
        assert_int_equal(rdata_is_accepted(TYPE_AAAA, rdata, size), size == 16);
        assert_true(rdata_is_accepted(65280, rdata, size));
        assert_true(rdata_is_accepted(42, rdata, size));
    }
}

static void a_record_of_another_class_or_a_meta_type_is_broken(void **state)
{
    (void)state;
    begin_answer(0, 1, 0, 0);
    PUT(QNAME_POINTER);
    put_rest(TYPE_A, 3, 1, "abcd", 4);
    assert_false(parse_answer());
    for (unsigned type = 128; type <= 255; type++)
        assert_false(rdata_is_accepted(type, "", 0));
    assert_true(rdata_is_accepted(127, "", 0));
    assert_true(rdata_is_accepted(256, "", 0));
}

static void an_opt_outside_additional_twice_or_with_a_name_is_broken(void **state)
{
    (void)state;
    begin_answer(0, 1, 0, 0);
    PUT(OPT_BARE);
    assert_false(parse_answer());
    begin_answer(0, 0, 1, 0);
    PUT(OPT_BARE);
    assert_false(parse_answer());
    begin_answer(0, 0, 0, 2);
    PUT(OPT_BARE OPT_BARE);
    assert_false(parse_answer());
    begin_answer(0, 0, 0, 1);
    PUT("\001a" OPT_BARE);
    assert_false(parse_answer());
    begin_answer(0, 0, 0, 1);
    PUT("\0\0\x29\x04\xd0\0\0\0\0\0\x01z");
    assert_false(parse_answer());
}

static void additional_records_behind_an_opt_are_left_out(void **state)
{
    (void)state;
    begin_answer(0, 1, 0, 3);
    put_a("www.example.com", 50);
    put_a("ns1.example.com", 40);
    size_t without_opt = built();
    PUT(OPT_BARE);
    put_a("ns2.example.com", 30);
    assert_true(parse_answer());
    assert_int_equal(info.size_without_opt, without_opt);
    assert_int_equal(info.additional_count, 1);
    assert_int_equal(info.ttl_count, 2);
    assert_true(info.edns.present);
}

static void a_tsig_is_left_out_and_must_be_last(void **state)
{
    static const char tsig[] = "\003key\0\0\xfa\0\xff\0\0\0\0\0\x01z";

    (void)state;
    begin_answer(0, 1, 0, 2);
    put_a("www.example.com", 50);
    put_a("ns1.example.com", 40);
    size_t without_tsig = built();
    put(tsig, sizeof(tsig) - 1);
    assert_true(parse_answer());
    assert_int_equal(info.size_without_opt, without_tsig);
    assert_int_equal(info.additional_count, 1);

    begin_answer(0, 0, 0, 2);
    put(tsig, sizeof(tsig) - 1);
    PUT(OPT_BARE);
    assert_false(parse_answer());
    begin_answer(0, 1, 0, 0);
    put(tsig, sizeof(tsig) - 1);
    assert_false(parse_answer());
}

static void the_rcode_has_twelve_bits(void **state)
{
    (void)state;
    begin_answer(7, 0, 0, 1);
    PUT("\0\0\x29\x04\xd0\x01\0\0\0\0\0");
    assert_true(parse_answer());
    assert_int_equal(info.rcode, 23);
    assert_false(info.negative);
    assert_false(info.has_ede);
}

static void the_smallest_ttl_is_of_answer_or_of_all_when_that_is_empty(void **state)
{
    (void)state;
    begin_answer(0, 2, 1, 1);
    put_a("www.example.com", 0x80000000);
    put_a("www.example.com", 0xffffffff);
    put_alias("example.com", TYPE_NS, 10, "ns1.example.com");
    put_a("ns1.example.com", 5);
    assert_true(parse_answer());
    assert_int_equal(info.min_ttl, 0x7fffffff);
    assert_int_equal(info.ttl_count, 4);

    begin_answer(0, 0, 1, 1);
    put_alias("example.com", TYPE_NS, 10, "ns1.example.com");
    put_a("ns1.example.com", 5);
    assert_true(parse_answer());
    assert_int_equal(info.min_ttl, 5);

    begin_answer(0, 1, 0, 0);
    put_a("www.example.com", 0);
    assert_true(parse_answer());
    assert_int_equal(info.min_ttl, 0);
}

static void more_ttls_than_fit_are_told(void **state)
{
    uint16_t two[2];

    (void)state;
    begin_answer(0, 3, 0, 0);
    for (unsigned i = 0; i < 3; i++)
        put_a("www.example.com", 1);
    assert_true(answer_parse(message, built(), &info, two, 2));
    assert_int_equal(info.ttl_count, UINT16_MAX);
    message[7] = 2;
    builder.at -= 31;
    assert_true(answer_parse(message, built(), &info, two, 2));
    assert_int_equal(info.ttl_count, 2);
}

static void nxdomain_and_no_data_are_negative_with_the_soas_ttl(void **state)
{
    (void)state;
    begin_answer(RCODE_NXDOMAIN, 0, 1, 0);
    put_soa("example.com", 3600, 300);
    assert_true(parse_answer());
    assert_true(info.negative);
    assert_true(info.has_soa);
    assert_int_equal(info.soa_ttl, 300);
    begin_answer(RCODE_NOERROR, 0, 1, 0);
    put_soa("example.com", 30, 300);
    assert_true(parse_answer());
    assert_true(info.negative);
    assert_int_equal(info.soa_ttl, 30);
    begin_answer(RCODE_NOERROR, 0, 1, 0);
    put_soa("example.com", 0xffffffff, 0xfffffffe);
    assert_true(parse_answer());
    assert_int_equal(info.soa_ttl, 0x7fffffff);
}

static void a_failure_is_not_negative(void **state)
{
    (void)state;
    begin_answer(RCODE_SERVFAIL, 0, 0, 0);
    assert_true(parse_answer());
    assert_false(info.negative);
    begin_answer(RCODE_REFUSED, 0, 0, 0);
    assert_true(parse_answer());
    assert_false(info.negative);
}

static void a_referral_is_negative_without_soa(void **state)
{
    (void)state;
    begin_answer(RCODE_NOERROR, 0, 1, 0);
    put_alias("example.com", TYPE_NS, 10, "ns1.example.com");
    assert_true(parse_answer());
    assert_true(info.negative);
    assert_false(info.has_soa);
}

static void an_soa_in_answer_is_not_one_for_a_denial(void **state)
{
    (void)state;
    begin(MESSAGE_QR, 1, 1, 0, 0);
    put_question("example.com", TYPE_SOA, CLASS_IN);
    put_soa("example.com", 30, 300);
    assert_true(parse_answer());
    assert_false(info.negative);
    assert_false(info.has_soa);
}

static void a_cname_chain_is_followed_to_its_end(void **state)
{
    (void)state;
    begin_answer(0, 3, 0, 0);
    put_alias("www.example.com", TYPE_CNAME, 9, "a.example.net");
    put_alias("A.example.net", TYPE_CNAME, 9, "b.example.org");
    put_a("b.EXAMPLE.org", 9);
    assert_true(parse_answer());
    assert_false(info.negative);

    begin_answer(0, 2, 1, 0);
    put_alias("www.example.com", TYPE_CNAME, 9, "a.example.net");
    put_alias("a.example.net", TYPE_CNAME, 9, "b.example.org");
    put_soa("example.org", 30, 20);
    assert_true(parse_answer());
    assert_true(info.negative);
    assert_int_equal(info.soa_ttl, 20);

    begin_answer(0, 2, 0, 0);
    put_alias("www.example.com", TYPE_CNAME, 9, "a.example.net");
    put_a("other.example.net", 9);
    assert_true(parse_answer());
    assert_true(info.negative);
}

static void a_chain_out_of_order_is_followed(void **state)
{
    (void)state;
    begin_answer(0, 2, 0, 0);
    put_a("a.example.net", 9);
    put_alias("www.example.com", TYPE_CNAME, 9, "a.example.net");
    assert_true(parse_answer());
    assert_false(info.negative);
}

static void a_cname_loop_ends(void **state)
{
    (void)state;
    begin_answer(0, 2, 0, 0);
    put_alias("www.example.com", TYPE_CNAME, 9, "a.example.net");
    put_alias("a.example.net", TYPE_CNAME, 9, "www.example.com");
    assert_true(parse_answer());
    assert_true(info.negative);
}

static void cname_and_any_are_answered_by_the_cname_itself(void **state)
{
    static const unsigned qtypes[] = {TYPE_CNAME, TYPE_ANY};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        begin(MESSAGE_QR, 1, 1, 0, 0);
        put_question("www.example.com", qtypes[i], CLASS_IN);
        put_alias("www.example.com", TYPE_CNAME, 9, "a.example.net");
        assert_true(parse_answer());
        assert_false(info.negative);
    }
}

static double milliseconds_of_cpu(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void a_message_full_of_the_smallest_records_is_read(void **state)
{
    unsigned count = 0;

    (void)state;
    begin_answer(0, 0, 0, 0);
    while (built() + 12 <= MESSAGE_MAX_OCTETS) {
        PUT(QNAME_POINTER);
        put_rest(65280, CLASS_IN, 7, "", 0);
        count++;
    }
    wire_put_u16(message + MESSAGE_ANCOUNT_AT, (uint16_t)count);
    assert_true(parse_answer());
    assert_int_equal(info.ttl_count, count);
    assert_true(count <= MESSAGE_MAX_RECORDS);
}

static void a_large_answer_of_reverse_names_is_read(void **state)
{
    unsigned count = 0;

    (void)state;
    begin(MESSAGE_QR, 1, 0, 0, 0);
    put_question("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", TYPE_PTR, CLASS_IN);
    while (built() + 17 <= MESSAGE_MAX_OCTETS) {
        PUT(QNAME_POINTER);
        put_rest(TYPE_PTR, CLASS_IN, 7, "\002ab\300\120", 5); /* to arpa */
        count++;
    }
    wire_put_u16(message + MESSAGE_ANCOUNT_AT, (uint16_t)count);
    assert_true(parse_answer());
    assert_false(info.negative);
}

/* A name of 127 labels, and records whose owner and RDATA lead to it or are the root. */
static void a_bomb_is_refused(const char *owner, size_t owner_size, const char *target, size_t target_size)
{
    uint8_t rdata[255];
    unsigned count = 1;

    begin(MESSAGE_QR, 1, 0, 0, 0);
    put_question(".", TYPE_NS, CLASS_IN);
    for (size_t i = 0; i < 127; i++)
        memcpy(rdata + 2 * i, "\001a", 2);
    rdata[254] = 0;
    PUT("\0");
    put_rest(TYPE_NS, CLASS_IN, 1, rdata, sizeof(rdata)); /* at 28 */
    while (built() + 14 <= MESSAGE_MAX_OCTETS) {
        put(owner, owner_size);
        put_rest(TYPE_NS, CLASS_IN, 1, target, target_size);
        count++;
    }
    wire_put_u16(message + MESSAGE_ANCOUNT_AT, (uint16_t)count);
    double start = milliseconds_of_cpu();
    assert_false(parse_answer());
    assert_true(milliseconds_of_cpu() - start < 100);
}

static void a_compression_bomb_is_refused_in_little_time(void **state)
{
    (void)state;
    a_bomb_is_refused("\300\034", 2, "\300\034", 2);
    a_bomb_is_refused("\300\034", 2, "\0", 1);
    a_bomb_is_refused("\0", 1, "\300\034", 2);
}

/* Writing answers. */

static struct query_message query_of(unsigned flags, const char *opt, size_t opt_size)
{
    struct query_message query;

    begin(flags, 1, 0, 0, opt_size != 0);
    put_question("www.example.com", TYPE_A, CLASS_IN);
    put(opt, opt_size);
    query_parse(message, built(), &query);
    return query;
}

static const uint8_t own_question[] = "\003wWw\007eXample\003cOm\0\0\001\0\001";

/* A stored answer with one TXT-like record so that it has size octets in all. */
static size_t stored_answer(unsigned flags, size_t size)
{
    static const uint8_t zeros[66000];

    begin(MESSAGE_QR | flags, 1, 1, 0, 0);
    put_question("www.example.com", TYPE_A, CLASS_IN);
    PUT(QNAME_POINTER);
    put_rest(16, CLASS_IN, 1, zeros, size - built() - 10);
    assert_int_equal(built(), size);
    return size;
}

static uint16_t message_u16(size_t at)
{
    return wire_get_u16(message + at);
}

static void a_finished_answer_has_the_clients_id_flags_and_question(void **state)
{
    struct answer_style style = {.udp = true, .ede = EDE_NONE};
    struct query_message query = query_of(MESSAGE_RD | MESSAGE_CD | MESSAGE_TC | MESSAGE_Z, NULL, 0);

    (void)state;
    query.id = 0xabcd;
    size_t size = stored_answer(MESSAGE_AA | MESSAGE_Z | MESSAGE_AD | RCODE_NXDOMAIN, 100);
    assert_int_equal(answer_finish(message, size, sizeof(message), &query, own_question, &style), 100);
    assert_int_equal(message_u16(0), 0xabcd);
    assert_int_equal(message_u16(2), MESSAGE_QR | MESSAGE_RD | MESSAGE_RA | MESSAGE_CD | RCODE_NXDOMAIN);
    assert_memory_equal(message + MESSAGE_HEADER, own_question, 21);
    assert_int_equal(message_u16(MESSAGE_ANCOUNT_AT), 1);
    assert_int_equal(message_u16(MESSAGE_ARCOUNT_AT), 0);
}

static void ad_is_for_clients_that_set_ad_or_do(void **state)
{
    static const char with_do[] = "\0\0\x29\x04\xd0\0\0\x80\0\0\0";
    struct answer_style style = {.udp = true, .ede = EDE_NONE};
    struct query_message queries[] = {query_of(0, NULL, 0), query_of(0, OPT_BARE, 11), query_of(MESSAGE_AD, NULL, 0),
                                      query_of(0, with_do, 11)};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        answer_finish(message, stored_answer(MESSAGE_AD, 100), sizeof(message), &queries[i], own_question, &style);
        assert_int_equal((message_u16(2) & MESSAGE_AD) != 0, i >= 2);
        answer_finish(message, stored_answer(0, 100), sizeof(message), &queries[i], own_question, &style);
        assert_false(message_u16(2) & MESSAGE_AD);
    }
}

static void an_opt_is_added_when_the_client_sent_one(void **state)
{
    static const char sent[] = "\0\0\x29\x04\xd0\0\0\xff\xff\0\x08\0\x64\0\0\0\x0b\0\0";
    struct answer_style style = {.udp = false, .ede = EDE_STALE_ANSWER, .keepalive_timeout = 100, .extended_rcode = 1};
    struct query_message query = query_of(0, sent, sizeof(sent) - 1);

    (void)state;
    size_t size = answer_finish(message, stored_answer(0, 100), sizeof(message), &query, own_question, &style);
    assert_int_equal(size, 123);
    assert_memory_equal(message + 100, "\0\0\x29\x04\xd0\x01\0\x80\0\0\x0c\0\x0f\0\x02\0\x03\0\x0b\0\x02\0\x64", 23);
    assert_int_equal(message_u16(MESSAGE_ARCOUNT_AT), 1);

    style.udp = true; /* RFC 7828: no keepalive over UDP */
    size = answer_finish(message, stored_answer(0, 100), sizeof(message), &query, own_question, &style);
    assert_int_equal(size, 117);
}

static void an_extended_rcode_without_opt_becomes_servfail(void **state)
{
    struct answer_style style = {.udp = true, .ede = EDE_NONE, .extended_rcode = 1};
    struct query_message query = query_of(0, NULL, 0);

    (void)state;
    answer_finish(message, stored_answer(7, 100), sizeof(message), &query, own_question, &style);
    assert_int_equal(message_u16(2) & MESSAGE_RCODE, RCODE_SERVFAIL);
}

static void an_answer_over_the_clients_udp_size_is_truncated(void **state)
{
    static const struct {
        unsigned udp_size; /* 0: no EDNS */
        size_t limit;
    } cases[] = {{0, 512},     {1, 512},     {511, 512},   {512, 512},   {513, 513},
                 {1231, 1231}, {1232, 1232}, {1233, 1232}, {65535, 1232}};
    struct answer_style style = {.udp = true, .ede = EDE_NONE};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct query_message query = query_of(MESSAGE_RD, OPT_BARE, cases[i].udp_size != 0 ? 11 : 0);
        size_t opt = cases[i].udp_size != 0 ? 11 : 0;

        query.edns.udp_size = (uint16_t)cases[i].udp_size;
        size_t size = stored_answer(0, cases[i].limit - opt);
        size = answer_finish(message, size, sizeof(message), &query, own_question, &style);
        assert_int_equal(size, cases[i].limit);
        assert_false(message_u16(2) & MESSAGE_TC);

        size = stored_answer(MESSAGE_AD, cases[i].limit - opt + 1);
        size = answer_finish(message, size, sizeof(message), &query, own_question, &style);
        assert_int_equal(size, 33 + opt);
        assert_int_equal(message_u16(2), MESSAGE_QR | MESSAGE_RD | MESSAGE_RA | MESSAGE_TC);
        assert_int_equal(message_u16(MESSAGE_QDCOUNT_AT), 1);
        assert_int_equal(message_u16(MESSAGE_ANCOUNT_AT), 0);
        assert_int_equal(message_u16(MESSAGE_ARCOUNT_AT), opt != 0);
        assert_memory_equal(message + 33, OPT_BARE, opt);
    }
}

static void options_give_way_before_the_answer_does(void **state)
{
    struct answer_style style = {.udp = true, .ede = EDE_STALE_ANSWER};
    struct query_message query = query_of(0, OPT_BARE, 11);

    (void)state;
    size_t size = answer_finish(message, stored_answer(0, 1232 - 17), sizeof(message), &query, own_question, &style);
    assert_int_equal(size, 1232);
    assert_int_equal(message_u16(1232 - 2), EDE_STALE_ANSWER);
    size = answer_finish(message, stored_answer(0, 1232 - 16), sizeof(message), &query, own_question, &style);
    assert_int_equal(size, 1227);
    assert_false(message_u16(2) & MESSAGE_TC);
    size = answer_finish(message, stored_answer(0, 1232 - 10), sizeof(message), &query, own_question, &style);
    assert_int_equal(size, 33 + 17);
    assert_true(message_u16(2) & MESSAGE_TC);
}

static void a_cookie_does_not_give_way(void **state)
{
    struct answer_style style = {.udp = true, .ede = EDE_STALE_ANSWER};
    struct query_message query = query_of(0, OPT_BARE, 11);

    (void)state;
    query.cookie.present = true;
    size_t size = answer_finish(message, stored_answer(0, 1232 - 39), sizeof(message), &query, own_question, &style);
    assert_int_equal(size, 1232);
    assert_false(message_u16(2) & MESSAGE_TC);
    size = answer_finish(message, stored_answer(0, 1232 - 38), sizeof(message), &query, own_question, &style);
    assert_int_equal(size, 33 + 17 + 28);
    assert_true(message_u16(2) & MESSAGE_TC);
}

static void no_question_but_a_cookie_asks_for_ours(void **state)
{
    static const char cookie[] = "\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08"
                                 "12345678";
    struct query_message query;

    (void)state;
    begin(0, 0, 0, 0, 1);
    put(cookie, sizeof(cookie) - 1);
    assert_int_equal(parse_query(&query), QUERY_COOKIE);
    assert_int_equal(query.question_octets, 0);
    PUT("\0");
    assert_int_equal(parse_query(&query), QUERY_FORMERR);
    begin(0, 0, 0, 0, 1);
    PUT(OPT_BARE);
    assert_int_equal(parse_query(&query), QUERY_FORMERR);
    begin(0, 2, 0, 0, 1);
    put(cookie, sizeof(cookie) - 1);
    assert_int_equal(parse_query(&query), QUERY_FORMERR);
}

static void an_answer_over_65535_octets_with_opt_fails_over_tcp(void **state)
{
    struct answer_style style = {.udp = false, .ede = EDE_NONE};
    struct query_message query = query_of(0, OPT_BARE, 11);
    struct query_message plain = query_of(0, NULL, 0);

    (void)state;
    size_t size = answer_finish(message, stored_answer(0, 65524), sizeof(message), &query, own_question, &style);
    assert_int_equal(size, 65535);
    assert_int_equal(message_u16(2) & MESSAGE_RCODE, RCODE_NOERROR);
    style.extended_rcode = 1;
    size = answer_finish(message, stored_answer(0, 65525), sizeof(message), &query, own_question, &style);
    assert_int_equal(size, 33 + 11);
    assert_memory_equal(message + 33, OPT_BARE, 11);
    style.extended_rcode = 0;
    assert_int_equal(message_u16(2), MESSAGE_QR | MESSAGE_RA | RCODE_SERVFAIL);
    size = answer_finish(message, stored_answer(0, 65535), sizeof(message), &plain, own_question, &style);
    assert_int_equal(size, 65535);
}

static void an_error_repeats_the_question_and_says_badvers_in_opt(void **state)
{
    struct answer_style style = {.udp = true, .ede = EDE_NOT_SUPPORTED};
    struct query_message query = query_of(MESSAGE_RD | MESSAGE_CD | MESSAGE_Z | MESSAGE_AD | 0x2800, OPT_BARE, 11);
    uint8_t out[MESSAGE_ERROR_MAX];

    (void)state;
    size_t size = answer_error(out, sizeof(out), &query, own_question, RCODE_BADVERS, &style);
    assert_int_equal(size, 33 + 17);
    assert_int_equal(wire_get_u16(out), ID);
    assert_int_equal(wire_get_u16(out + 2), MESSAGE_QR | 0x2800 | MESSAGE_RD | MESSAGE_RA | MESSAGE_CD);
    assert_memory_equal(out + 4, "\0\001\0\0\0\0\0\001", 8);
    assert_memory_equal(out + 12, own_question, 21);
    assert_memory_equal(out + 33, "\0\0\x29\x04\xd0\x01\0\0\0\0\x06\0\x0f\0\x02\0\x15", 17);
}

static void an_error_without_question_and_edns_is_a_header(void **state)
{
    struct answer_style style = {.udp = true, .ede = EDE_NOT_SUPPORTED};
    struct query_message query;
    uint8_t out[MESSAGE_ERROR_MAX];

    (void)state;
    begin(MESSAGE_RD, 0, 0, 0, 0);
    assert_int_equal(parse_query(&query), QUERY_FORMERR);
    assert_int_equal(answer_error(out, sizeof(out), &query, message + MESSAGE_HEADER, RCODE_FORMERR, &style), 12);
    assert_memory_equal(out, "\x12\x34\x81\x81\0\0\0\0\0\0\0\0", 12);
}

static void the_longest_error_fits(void **state)
{
    struct answer_style style = {.udp = false, .ede = EDE_OTHER};
    struct query_message query = query_of(MESSAGE_RD, "\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x0b\0\0", 15);
    uint8_t out[MESSAGE_ERROR_MAX];
    uint8_t question[QUESTION_MAX_OCTETS] = {0};

    (void)state;
    query.question_octets = QUESTION_MAX_OCTETS;
    assert_int_equal(answer_error(out, sizeof(out), &query, question, RCODE_SERVFAIL, &style),
                     MESSAGE_HEADER + QUESTION_MAX_OCTETS + 23);
}

static void an_upstream_query_is_written(void **state)
{
    struct question question = {.qtype = TYPE_A, .qclass = CLASS_IN};
    struct query_style style = {.id = 0x4321,
                                .dnssec_ok = true,
                                .checking_disabled = true,
                                .keepalive = true,
                                .padding_block = EDNS_PADDING_BLOCK,
                                .edns = true};
    struct query_message query;
    uint8_t out[MESSAGE_QUERY_MAX];

    (void)state;
    assert_true(name_from_text("www.example.com", &question.qname));
    assert_int_equal(query_write(out, sizeof(out), &question, &style), 128);
    assert_int_equal(query_parse(out, 128, &query), QUERY_OK);
    assert_int_equal(query.id, 0x4321);
    assert_int_equal(query.flags, MESSAGE_RD | MESSAGE_AD | MESSAGE_CD);
    assert_true(question_equal(&query.question, &question));
    assert_true(query.edns.dnssec_ok);
    assert_true(query.edns.has_keepalive);

    style = (struct query_style){.id = 1};
    assert_int_equal(query_write(out, sizeof(out), &question, &style), 33);
    assert_int_equal(query_parse(out, 33, &query), QUERY_OK);
    assert_false(query.edns.present);
    assert_int_equal(query.flags, MESSAGE_RD | MESSAGE_AD);
}

static void the_padding_of_an_upstream_query_is_told(void **state)
{
    struct question question = {.qtype = TYPE_A, .qclass = CLASS_IN};
    uint8_t out[MESSAGE_QUERY_MAX];
    char text[128];

    (void)state;
    for (size_t length = 1; length < 120; length++) {
        struct query_style padded = {.keepalive = true, .padding_block = EDNS_PADDING_BLOCK, .edns = true};
        struct query_style bare = {.keepalive = true, .edns = true};
        size_t header = 4; /* of the option */

        memset(text, 'a', sizeof(text));
        if (length > 61)
            text[60] = '.';
        text[length] = '\0';
        assert_true(name_from_text(text, &question.qname));
        size_t more = query_write(out, sizeof(out), &question, &padded);
        more -= query_write(out, sizeof(out), &question, &bare);
        assert_int_equal(query_padding(&question, &padded), more - header);
        assert_int_equal(query_padding(&question, &bare), 0);
        padded.edns = false;
        assert_int_equal(query_padding(&question, &padded), 0);
    }
}

static void an_upstream_query_of_the_longest_name_fits_and_less_room_is_refused(void **state)
{
    struct question question = {.qtype = TYPE_A, .qclass = CLASS_IN};
    struct query_style style = {.keepalive = true, .padding_block = EDNS_PADDING_BLOCK, .edns = true};
    uint8_t out[MESSAGE_QUERY_MAX];
    char text[254];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[63] = text[127] = text[191] = '.';
    text[253] = '\0';
    assert_true(name_from_text(text, &question.qname));
    assert_int_equal(query_write(out, sizeof(out), &question, &style), 384);
    assert_int_equal(query_write(out, sizeof(out) - 1, &question, &style), 0);
}

static void questions_are_equal_in_all_three_parts(void **state)
{
    struct question a = {.qtype = 1, .qclass = 1, .qname = {.length = 3, .bytes = "\001a"}};
    struct question b = a;

    (void)state;
    assert_true(question_equal(&a, &b));
    b.qtype = 2;
    assert_false(question_equal(&a, &b));
    b = a;
    b.qclass = 3;
    assert_false(question_equal(&a, &b));
    b = a;
    b.qname.bytes[1] = 'b';
    assert_false(question_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_query_with_edns_is_read),
        cmocka_unit_test(a_query_for_the_root_without_edns_is_read),
        cmocka_unit_test(less_than_a_header_and_answers_are_dropped),
        cmocka_unit_test(other_opcodes_are_not_implemented_whatever_the_body),
        cmocka_unit_test(any_number_of_questions_but_one_is_an_error),
        cmocka_unit_test(records_in_answer_or_authority_of_a_query_are_an_error),
        cmocka_unit_test(a_compressed_question_is_an_error),
        cmocka_unit_test(a_query_cut_at_any_octet_is_an_error),
        cmocka_unit_test(octets_behind_a_query_are_an_error),
        cmocka_unit_test(two_opts_an_opt_with_a_name_and_broken_options_are_errors),
        cmocka_unit_test(unknown_flags_and_options_are_ignored),
        cmocka_unit_test(a_tsig_is_passed_over_when_it_is_last_and_of_class_any),
        cmocka_unit_test(any_other_additional_record_in_a_query_is_an_error),
        cmocka_unit_test(verdicts_come_in_the_order_of_the_table),
        cmocka_unit_test(meta_types_but_any_are_refused),
        cmocka_unit_test(an_answer_is_read),
        cmocka_unit_test(an_answer_cut_at_any_octet_is_broken),
        cmocka_unit_test(octets_behind_an_answer_are_counted_and_left_out),
        cmocka_unit_test(counts_that_do_not_fit_are_broken),
        cmocka_unit_test(a_message_that_is_no_answer_to_one_question_is_broken),
        cmocka_unit_test(a_truncated_answer_is_read),
        cmocka_unit_test(names_in_rdata_of_known_types_are_checked),
        cmocka_unit_test(rdata_of_known_types_must_have_all_its_parts),
        cmocka_unit_test(rdata_with_an_open_end_may_be_longer),
        cmocka_unit_test(addresses_have_their_length_and_unknown_types_have_any),
        cmocka_unit_test(a_record_of_another_class_or_a_meta_type_is_broken),
        cmocka_unit_test(an_opt_outside_additional_twice_or_with_a_name_is_broken),
        cmocka_unit_test(additional_records_behind_an_opt_are_left_out),
        cmocka_unit_test(a_tsig_is_left_out_and_must_be_last),
        cmocka_unit_test(the_rcode_has_twelve_bits),
        cmocka_unit_test(the_smallest_ttl_is_of_answer_or_of_all_when_that_is_empty),
        cmocka_unit_test(more_ttls_than_fit_are_told),
        cmocka_unit_test(nxdomain_and_no_data_are_negative_with_the_soas_ttl),
        cmocka_unit_test(a_failure_is_not_negative),
        cmocka_unit_test(a_referral_is_negative_without_soa),
        cmocka_unit_test(an_soa_in_answer_is_not_one_for_a_denial),
        cmocka_unit_test(a_cname_chain_is_followed_to_its_end),
        cmocka_unit_test(a_chain_out_of_order_is_followed),
        cmocka_unit_test(a_cname_loop_ends),
        cmocka_unit_test(cname_and_any_are_answered_by_the_cname_itself),
        cmocka_unit_test(a_message_full_of_the_smallest_records_is_read),
        cmocka_unit_test(a_large_answer_of_reverse_names_is_read),
        cmocka_unit_test(a_compression_bomb_is_refused_in_little_time),
        cmocka_unit_test(a_finished_answer_has_the_clients_id_flags_and_question),
        cmocka_unit_test(ad_is_for_clients_that_set_ad_or_do),
        cmocka_unit_test(an_opt_is_added_when_the_client_sent_one),
        cmocka_unit_test(an_extended_rcode_without_opt_becomes_servfail),
        cmocka_unit_test(an_answer_over_the_clients_udp_size_is_truncated),
        cmocka_unit_test(options_give_way_before_the_answer_does),
        cmocka_unit_test(a_cookie_does_not_give_way),
        cmocka_unit_test(no_question_but_a_cookie_asks_for_ours),
        cmocka_unit_test(an_answer_over_65535_octets_with_opt_fails_over_tcp),
        cmocka_unit_test(an_error_repeats_the_question_and_says_badvers_in_opt),
        cmocka_unit_test(an_error_without_question_and_edns_is_a_header),
        cmocka_unit_test(the_longest_error_fits),
        cmocka_unit_test(an_upstream_query_is_written),
        cmocka_unit_test(the_padding_of_an_upstream_query_is_told),
        cmocka_unit_test(an_upstream_query_of_the_longest_name_fits_and_less_room_is_refused),
        cmocka_unit_test(questions_are_equal_in_all_three_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

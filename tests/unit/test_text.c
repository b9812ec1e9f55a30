#include "nodedot/dns/mnemonic.h"
#include "nodedot/dns/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Owner "a.test", then TYPE, class IN, TTL 300, RDLENGTH. */
static size_t make_record(uint8_t *out, uint16_t type, const void *rdata, size_t size)
{
    struct wire_writer w = wire_writer_of(out, 65536 + 64);

    wire_write(&w, "\1a\4test", 8);
    wire_write_u16(&w, type);
    wire_write_u16(&w, 1);
    wire_write_u32(&w, 300);
    wire_write_u16(&w, (uint16_t)size);
    wire_write(&w, rdata, size);
    return wire_written(&w);
}

static char text[TEXT_RECORD];

static const char *record_text(uint16_t type, const void *rdata, size_t size)
{
    static uint8_t message[12 + 65536 + 64]; /* a header, for pointers count from its start */
    struct wire w = wire_of(message, 12 + make_record(message + 12, type, rdata, size));
    uint16_t read;

    w.at += 12;
    assert_true(text_record(&w, &read, text, sizeof(text)));
    assert_int_equal(read, type);
    assert_int_equal(wire_left(&w), 0);
    return text;
}

#define ROW(type, rdata, expected)               \
    {                                            \
        type, rdata, sizeof(rdata) - 1, expected \
    }

static void well_known_types_are_written_as_in_a_zone_file(void **state)
{
    static const struct {
        uint16_t type;
        const char *rdata;
        size_t size;
        const char *expected;
    } rows[] = {
        ROW(1, "\xc0\0\2\1", "A\t192.0.2.1"),
        ROW(28, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", "AAAA\t2001:db8::1"),
        ROW(5, "\1b\xc0\xe", "CNAME\tb.test."),
        ROW(2, "\0", "NS\t."),
        ROW(12, "\1.\0", "PTR\t\\.."),
        ROW(6, "\2ns\0\xc0\xc\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5", "SOA\tns. a.test. 1 2 3 4 5"),
        ROW(15, "\0\xa\2mx\0", "MX\t10 mx."),
        ROW(16, "\2hi\0\3\"\\\n", "TXT\t\"hi\" \"\" \"\\\"\\\\\\010\""),
        ROW(33, "\0\1\0\2\3\x55\1s\0", "SRV\t1 2 853 s."),
        ROW(35, "\0\1\0\2\1u\0\1!\0", "NAPTR\t1 2 \"u\" \"\" \"!\" ."),
        ROW(257, "\200\5issueca;x", "CAA\t128 issue \"ca;x\""),
        ROW(43, "\0\1\xd\2\xab\xcd", "DS\t1 13 2 ABCD"),
        ROW(48, "\1\0\3\xdzzzz", "DNSKEY\t256 3 13 enp6eg=="),
        ROW(46, "\0\1\xd\2\0\0\0\7\0\0\0\2\0\0\0\1\0\3\1x\0\xff", "RRSIG\tA 13 2 7 2 1 3 x. /w=="),
        ROW(52, "\3\1\1\x0a", "TLSA\t3 1 1 0A"),
        ROW(65, "\0\1\0\0\1\0\6\2h2\2h3\0\3\0\2\1\xbb\0\4\0\4\xc0\0\2\1",
            "HTTPS\t1 . alpn=\"h2,h3\" port=443 ipv4hint=192.0.2.1"),
        ROW(64, "\0\0\1s\0", "SVCB\t0 s."),
        ROW(64, "\0\1\0\0\0\0\4\0\1\0\2\0\1\0\3\2,\\\0\2\0\0",
            "SVCB\t1 . mandatory=alpn,no-default-alpn alpn=\"\\\\,\\\\\\\\\" no-default-alpn"),
        ROW(64, "\0\1\0\0\5\0\1\xff\2\x9a\0\1\"", "SVCB\t1 . ech=/w== key666=\"\\\"\""),
        ROW(64, "\0\1\0\0\6\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", "SVCB\t1 . ipv6hint=::1"),
        ROW(65280, "\1\xab", "TYPE65280\t\\# 2 01AB"),
        ROW(65280, "", "TYPE65280\t\\# 0"),
        ROW(47, "\0\0\1\x40", "NSEC\t\\# 4 00000140"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *written = record_text(rows[i].type, rows[i].rdata, rows[i].size);

        assert_memory_equal(written, "a.test.\t300\tIN\t", 15);
        assert_string_equal(written + 15, rows[i].expected);
    }
}

/* One octet too few, one too many, and fields that run over. */
static void rdata_that_is_not_as_its_type_wants_is_written_as_unknown(void **state)
{
    static const struct {
        uint16_t type;
        const char *rdata;
        size_t size;
        const char *expected;
    } rows[] = {
        ROW(1, "\xc0\0\2", "A\t\\# 3 C00002"),
        ROW(1, "\xc0\0\2\1\1", "A\t\\# 5 C000020101"),
        ROW(16, "", "TXT\t\\# 0"),
        ROW(16, "\2h", "TXT\t\\# 2 0268"),
        ROW(5, "\xc0\xff", "CNAME\t\\# 2 C0FF"),
        ROW(257, "\0\0x", "CAA\t\\# 3 000078"),
        ROW(257, "\0\1 x", "CAA\t\\# 4 00012078"),
        ROW(65, "\0\1\0\0\4\0\3\xc0\0\2", "HTTPS\t\\# 10 00010000040003C00002"),
        ROW(65, "\0\1\0\0\3\0\3\1\xbb\0", "HTTPS\t\\# 10 0001000003000301BB00"),
        ROW(65, "\0\1\0\0\3\0", "HTTPS\t\\# 6 000100000300"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        assert_string_equal(record_text(rows[i].type, rows[i].rdata, rows[i].size) + 15, rows[i].expected);
}

static void another_class_is_named(void **state)
{
    static const uint8_t record[] = "\0\0\1\0\3\0\0\0\0\0\4\1\2\3\4";
    struct wire w = wire_of(record, sizeof(record) - 1);
    uint16_t type;

    (void)state;
    assert_true(text_record(&w, &type, text, sizeof(text)));
    assert_string_equal(text, ".\t0\tCH\tA\t1.2.3.4");
}

static void a_record_that_is_cut_off_is_refused(void **state)
{
    uint8_t message[64 + 65536];
    size_t size = make_record(message, 1, "\1\2\3\4", 4);
    uint16_t type;

    (void)state;
    for (size_t cut = 0; cut < size; cut++) {
        struct wire w = wire_of(message, cut);
        assert_false(text_record(&w, &type, text, sizeof(text)));
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    uint8_t message[64 + 65536];
    size_t size = make_record(message, 1, "\1\2\3\4", 4), full = strlen("a.test.\t300\tIN\tA\t1.2.3.4");
    uint16_t type;

    (void)state;
    for (size_t capacity = 1; capacity <= full + 1; capacity++) {
        struct wire w = wire_of(message, size);
        char *exact = malloc(capacity); /* a write past it is found */
        assert_int_equal(text_record(&w, &type, exact, capacity), capacity == full + 1);
        free(exact);
    }
}

/* Each kind of field at its most talkative. */
static void the_largest_rdata_fits(void **state)
{
    static uint8_t rdata[65535];

    (void)state;
    memset(rdata, 0, sizeof(rdata));
    assert_int_equal(strlen(record_text(65280, rdata, sizeof(rdata))),
                     15 + strlen("TYPE65280\t\\# 65535 ") + 2 * 65535);
    assert_memory_equal(record_text(16, rdata, sizeof(rdata)) + 15, "TXT\t\"\" \"\"", 9);
    rdata[0] = 0; /* priority 1, target ".", mandatory with all the rest: 65535 - 7 octets of keys "no-default-alpn" */
    rdata[1] = 1;
    rdata[5] = 0xff;
    rdata[6] = 0xf8;
    for (size_t i = 8; i < sizeof(rdata); i += 2)
        rdata[i] = 2;
    assert_memory_equal(record_text(64, rdata, sizeof(rdata)) + 15, "SVCB\t1 . mandatory=no-default-alpn,no-", 38);
}

static void types_are_read_as_they_are_written(void **state)
{
    char name[MNEMONIC_TEXT];
    uint16_t type;

    (void)state;
    for (unsigned i = 0; i <= UINT16_MAX; i++) {
        assert_true(rrtype_from_text(rrtype_to_text((uint16_t)i, name), &type));
        assert_int_equal(type, i);
    }
    assert_true(rrtype_from_text("aaaa", &type) && type == 28);
    assert_true(rrtype_from_text("type1", &type) && type == 1);
    assert_false(rrtype_from_text("TYPE65536", &type));
    assert_false(rrtype_from_text("TYPE", &type));
    assert_false(rrtype_from_text("TYPE-1", &type));
    assert_false(rrtype_from_text("TYPE1x", &type));
    assert_false(rrtype_from_text("", &type));
    assert_false(rrtype_from_text("AA", &type));
}

static void response_codes_have_names(void **state)
{
    char name[MNEMONIC_TEXT];

    (void)state;
    assert_string_equal(rcode_to_text(0, name), "NOERROR");
    assert_string_equal(rcode_to_text(10, name), "NOTZONE");
    assert_string_equal(rcode_to_text(11, name), "RCODE11");
    assert_string_equal(rcode_to_text(16, name), "BADVERS");
    assert_string_equal(rcode_to_text(4095, name), "RCODE4095");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_known_types_are_written_as_in_a_zone_file),
        cmocka_unit_test(rdata_that_is_not_as_its_type_wants_is_written_as_unknown),
        cmocka_unit_test(another_class_is_named),
        cmocka_unit_test(a_record_that_is_cut_off_is_refused),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(the_largest_rdata_fits),
        cmocka_unit_test(types_are_read_as_they_are_written),
        cmocka_unit_test(response_codes_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

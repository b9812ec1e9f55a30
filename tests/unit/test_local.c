#include "nodedot/resolver/local.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint8_t out[LOCAL_ANSWER_MAX];
static struct answer_info info;
static uint16_t ttl_offsets[8];

/* Asks, and reads the answer into info. Returns its size; 0: not answered here. */
static size_t ask(const char *qname, uint16_t qtype, enum local_zone zone)
{
    struct query_message query = {.id = 7, .flags = MESSAGE_RD, .question = {.qtype = qtype, .qclass = CLASS_IN}};
    struct answer_style style = {.udp = true, .ede = EDE_NONE};
    uint8_t question[QUESTION_MAX_OCTETS];

    assert_true(name_from_text(qname, &query.question.qname));
    size_t length = query.question.qname.length;
    memcpy(question, query.question.qname.bytes, length);
    wire_put_u16(question + length, qtype);
    wire_put_u16(question + length + 2, CLASS_IN);
    query.question_octets = (uint16_t)(length + 4);
    size_t size = local_answer(&query, question, zone, out, sizeof(out), &style);
    if (size == 0)
        return 0;
    assert_true(answer_parse(out, size, &info, ttl_offsets, 8));
    assert_true(question_equal(&info.question, &query.question));
    assert_int_equal(info.id, 7);
    assert_int_equal(info.flags & ~MESSAGE_RCODE, MESSAGE_QR | MESSAGE_RD | MESSAGE_RA);
    return size;
}

enum outcome { FORWARDED, ABSENT, NO_DATA, ANSWERED };

static enum outcome outcome_of(const char *qname, uint16_t qtype, enum local_zone zone)
{
    if (ask(qname, qtype, zone) == 0)
        return FORWARDED;
    if (!info.negative)
        return ANSWERED;
    assert_true(info.has_soa); /* or the denial could not be cached */
    return info.rcode == RCODE_NXDOMAIN ? ABSENT : NO_DATA;
}

/* Octets of the only record's RDATA, which ends the message. */
static const uint8_t *last_octets(size_t size, size_t count)
{
    return out + size - count;
}

static void ordinary_names_are_forwarded(void **state)
{
    static const char *const names[] = {".",
                                        "com",
                                        "www.example.com",
                                        "test",
                                        "a.test",
                                        "example",
                                        "localhost.example.com",
                                        "notlocalhost",
                                        "xlocal",
                                        "onion.org",
                                        "arpa",
                                        "in-addr.arpa",
                                        "ip6.arpa",
                                        "1.2.0.192.example",
                                        "invali",
                                        "salt",
                                        "al"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        for (int zone = LOCAL_ZONE_NAMED; zone <= LOCAL_ZONE_ROOT_PLAIN; zone++)
            assert_int_equal(outcome_of(names[i], TYPE_A, (enum local_zone)zone), FORWARDED);
}

static void localhost_is_the_loopback_address_in_every_zone(void **state)
{
    static const char *const names[] = {"localhost", "a.localhost", "LOCALHOST", "a.b.c.localhost"};

    (void)state;
    for (size_t i = 0; i < 4; i++)
        for (int zone = LOCAL_ZONE_NAMED; zone <= LOCAL_ZONE_ROOT_PLAIN; zone++) {
            size_t size = ask(names[i], TYPE_A, (enum local_zone)zone);
            assert_false(info.negative);
            assert_memory_equal(last_octets(size, 4), "\177\0\0\001", 4);
            size = ask(names[i], TYPE_AAAA, (enum local_zone)zone);
            assert_false(info.negative);
            assert_memory_equal(last_octets(size, 16), "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\001", 16);
            assert_int_equal(outcome_of(names[i], 15, (enum local_zone)zone), NO_DATA);
            assert_int_equal(outcome_of(names[i], TYPE_NS, (enum local_zone)zone), NO_DATA);
        }
}

static void invalid_and_onion_are_absent_in_every_zone(void **state)
{
    static const char *const names[] = {"invalid", "a.invalid", "onion", "a.b.onion"};

    (void)state;
    for (size_t i = 0; i < 4; i++)
        for (int zone = LOCAL_ZONE_NAMED; zone <= LOCAL_ZONE_ROOT_PLAIN; zone++) {
            assert_int_equal(outcome_of(names[i], TYPE_A, (enum local_zone)zone), ABSENT);
            assert_int_equal(outcome_of(names[i], TYPE_ANY, (enum local_zone)zone), ABSENT);
        }
}

static void local_and_alt_are_absent_unless_a_zone_is_named_for_them(void **state)
{
    static const char *const names[] = {"local", "printer.local", "a.alt"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(outcome_of(names[i], TYPE_A, LOCAL_ZONE_ROOT_DOT), ABSENT);
        assert_int_equal(outcome_of(names[i], TYPE_A, LOCAL_ZONE_ROOT_PLAIN), ABSENT);
        assert_int_equal(outcome_of(names[i], TYPE_A, LOCAL_ZONE_NAMED), FORWARDED);
    }
}

static void home_arpa_is_an_empty_zone_unless_one_is_named_for_it(void **state)
{
    (void)state;
    assert_int_equal(outcome_of("a.home.arpa", TYPE_A, LOCAL_ZONE_ROOT_DOT), ABSENT);
    assert_int_equal(outcome_of("a.home.arpa", TYPE_A, LOCAL_ZONE_ROOT_PLAIN), ABSENT);
    assert_int_equal(outcome_of("a.home.arpa", TYPE_A, LOCAL_ZONE_NAMED), FORWARDED);
    assert_int_equal(outcome_of("home.arpa", TYPE_A, LOCAL_ZONE_ROOT_DOT), NO_DATA);
    assert_int_equal(outcome_of("home.arpa", TYPE_SOA, LOCAL_ZONE_ROOT_DOT), ANSWERED);
    assert_int_equal(outcome_of("home.arpa", TYPE_NS, LOCAL_ZONE_ROOT_DOT), ANSWERED);
    assert_int_equal(outcome_of("a.home.arpa", TYPE_SOA, LOCAL_ZONE_ROOT_DOT), ABSENT);
}

static void resolver_arpa_has_no_data_in_every_zone(void **state)
{
    (void)state;
    for (int zone = LOCAL_ZONE_NAMED; zone <= LOCAL_ZONE_ROOT_PLAIN; zone++) {
        assert_int_equal(outcome_of("_dns.resolver.arpa", 64, (enum local_zone)zone), NO_DATA);
        assert_int_equal(outcome_of("resolver.arpa", TYPE_A, (enum local_zone)zone), NO_DATA);
    }
}

static void private_reverse_names_do_not_reach_a_dot_upstream(void **state)
{
    static const char *const names[] = {
        "10.in-addr.arpa",
        "1.2.3.10.in-addr.arpa",
        "x.y.z.1.2.3.10.in-addr.arpa",
        "foo.10.in-addr.arpa",
        "16.172.in-addr.arpa",
        "1.1.31.172.in-addr.arpa",
        "168.192.in-addr.arpa",
        "1.1.168.192.in-addr.arpa",
        "64.100.in-addr.arpa",
        "1.127.100.in-addr.arpa",
        "0.in-addr.arpa",
        "1.0.0.127.in-addr.arpa",
        "20.169.254.169.in-addr.arpa",
        "1.2.0.192.in-addr.arpa",
        "100.51.198.in-addr.arpa",
        "9.113.0.203.in-addr.arpa",
        "255.255.255.255.in-addr.arpa",
        "d.f.ip6.arpa",
        "1.0.0.d.f.ip6.arpa",
        "8.e.f.ip6.arpa",
        "b.e.f.ip6.arpa",
        "1.b.e.f.ip6.arpa",
        "8.B.D.0.1.0.0.2.ip6.arpa",
        "1.8.b.d.0.1.0.0.2.ip6.arpa",
        "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        enum outcome outcome = outcome_of(names[i], TYPE_PTR, LOCAL_ZONE_ROOT_DOT);

        assert_true(outcome == ABSENT || outcome == NO_DATA);
        assert_int_equal(info.soa_ttl, 10800);
        assert_int_equal(outcome_of(names[i], TYPE_PTR, LOCAL_ZONE_ROOT_PLAIN), FORWARDED);
        assert_int_equal(outcome_of(names[i], TYPE_PTR, LOCAL_ZONE_NAMED), FORWARDED);
    }
}

static void public_reverse_names_are_forwarded(void **state)
{
    static const char *const names[] = {
        "11.in-addr.arpa",
        "9.in-addr.arpa",
        "010.in-addr.arpa",
        "266.in-addr.arpa",
        "4294967306.in-addr.arpa",
        "15.172.in-addr.arpa",
        "32.172.in-addr.arpa",
        "172.in-addr.arpa",
        "x.172.in-addr.arpa",
        "192.in-addr.arpa",
        "169.192.in-addr.arpa",
        "63.100.in-addr.arpa",
        "128.100.in-addr.arpa",
        "1.in-addr.arpa",
        "8.8.8.8.in-addr.arpa",
        "254.255.255.255.in-addr.arpa",
        "255.255.255.in-addr.arpa",
        "3.0.192.in-addr.arpa",
        "c.f.ip6.arpa",
        "f.ip6.arpa",
        "7.e.f.ip6.arpa",
        "c.e.f.ip6.arpa",
        "9.b.d.0.1.0.0.2.ip6.arpa",
        "b.d.0.1.0.0.2.ip6.arpa",
        "df.ip6.arpa",
        "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
        "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
        "10.in-addr.arpa.example",
        "xhome.arpa",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(outcome_of(names[i], TYPE_PTR, LOCAL_ZONE_ROOT_DOT), FORWARDED);
}

static void a_denial_names_the_zone_in_its_soa(void **state)
{
    struct name owner;
    struct name zone;

    (void)state;
    size_t size = ask("4.3.16.172.in-addr.arpa", TYPE_PTR, LOCAL_ZONE_ROOT_DOT);
    struct wire w = wire_of(out, size);
    wire_take(&w, MESSAGE_HEADER + info.question_octets);
    name_expand(&w, &owner);
    assert_true(name_from_text("16.172.in-addr.arpa", &zone));
    assert_true(name_equal(&owner, &zone));
    assert_int_equal(wire_u16(&w), TYPE_SOA);
}

static void any_is_answered_with_hinfo(void **state)
{
    static const char *const names[] = {"www.example.com", ".", "localhost", "8.8.8.8.in-addr.arpa"};

    (void)state;
    for (size_t i = 0; i < 4; i++)
        for (int zone = LOCAL_ZONE_NAMED; zone <= LOCAL_ZONE_ROOT_PLAIN; zone++) {
            size_t size = ask(names[i], TYPE_ANY, (enum local_zone)zone);
            assert_int_equal(info.rcode, RCODE_NOERROR);
            assert_int_equal(info.min_ttl, 3600);
            assert_memory_equal(last_octets(size, 11), "\0\011\007RFC8482\0", 11);
        }
}

static void the_longest_name_is_answered_in_the_size_foretold(void **state)
{
    char text[254];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[63] = text[127] = text[191] = '.';
    memcpy(text + 253 - 6, ".onion", 7);
    assert_int_equal(outcome_of(text, TYPE_A, LOCAL_ZONE_ROOT_DOT), ABSENT);
    for (size_t i = 0; i < 253; i++)
        text[i] = i % 2 == 0 ? 'a' : '.';
    memcpy(text + 253 - 10, ".localhost", 11);
    assert_int_equal(outcome_of(text, TYPE_AAAA, LOCAL_ZONE_ROOT_DOT), ANSWERED);
    memcpy(text + 253 - 10, ".a.a.a.a.a", 11);
    assert_int_equal(outcome_of(text, TYPE_AAAA, LOCAL_ZONE_ROOT_DOT), FORWARDED);
}

static void the_clients_question_and_opt_are_in_the_answer(void **state)
{
    static const uint8_t octets[] = "\x12\x34\001\0\0\001\0\0\0\0\0\001\011LocalHost\0\0\001\0\001"
                                    "\0\0\x29\x10\x00\0\0\x80\0\0\0";
    struct answer_style style = {.udp = true, .ede = EDE_NONE};
    struct query_message query;

    (void)state;
    assert_int_equal(query_parse(octets, sizeof(octets) - 1, &query), QUERY_OK);
    size_t size = local_answer(&query, octets + 12, LOCAL_ZONE_ROOT_DOT, out, sizeof(out), &style);
    assert_int_equal(size, 12 + 15 + 16 + 11);
    assert_memory_equal(out + 12, octets + 12, 15);
    assert_memory_equal(last_octets(size, 11), "\0\0\x29\x04\xd0\0\0\x80\0\0\0", 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_names_are_forwarded),
        cmocka_unit_test(localhost_is_the_loopback_address_in_every_zone),
        cmocka_unit_test(invalid_and_onion_are_absent_in_every_zone),
        cmocka_unit_test(local_and_alt_are_absent_unless_a_zone_is_named_for_them),
        cmocka_unit_test(home_arpa_is_an_empty_zone_unless_one_is_named_for_it),
        cmocka_unit_test(resolver_arpa_has_no_data_in_every_zone),
        cmocka_unit_test(private_reverse_names_do_not_reach_a_dot_upstream),
        cmocka_unit_test(public_reverse_names_are_forwarded),
        cmocka_unit_test(a_denial_names_the_zone_in_its_soa),
        cmocka_unit_test(any_is_answered_with_hinfo),
        cmocka_unit_test(the_longest_name_is_answered_in_the_size_foretold),
        cmocka_unit_test(the_clients_question_and_opt_are_in_the_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

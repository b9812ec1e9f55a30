#include "nodedot/base/endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct endpoint endpoint_of(const char *text)
{
    struct endpoint endpoint;

    if (!endpoint_parse(text, 53, &endpoint))
        fail_msg("not an endpoint: %s", text);
    return endpoint;
}

static struct network network_of(const char *text)
{
    struct network network;

    if (!network_parse(text, &network))
        fail_msg("not a network: %s", text);
    return network;
}

/* ---- endpoints ---- */

static void every_form_is_read_and_written(void **state)
{
    static const struct {
        const char *text, *canonical;
    } forms[] = {
        {"127.0.0.1", "127.0.0.1:53"},
        {"127.0.0.1:5353", "127.0.0.1:5353"},
        {"0.0.0.0:1", "0.0.0.0:1"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"::1", "[::1]:53"},
        {"[::1]", "[::1]:53"},
        {"[::1]:5353", "[::1]:5353"},
        {"::", "[::]:53"},
        {"2001:db8::1:5353", "[2001:db8::1:5353]:53"}, /* without brackets the last group is no port */
        {"2001:DB8:0:0::1", "[2001:db8::1]:53"},
        {"::ffff:192.0.2.1", "[::ffff:192.0.2.1]:53"},
        {"[::ffff:192.0.2.1]:853", "[::ffff:192.0.2.1]:853"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:53"},
        {"fe80::1%lo", "[fe80::1%1]:53"}, /* the loopback interface is the first of every network namespace */
        {"[fe80::1%lo]:5353", "[fe80::1%1]:5353"},
        {"fe80::1%4294967295", "[fe80::1%4294967295]:53"},
        {"[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295]:65535",
         "[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295]:65535"},
    };
    char out[ENDPOINT_TEXT];

    (void)state;
    for (size_t i = 0; i < COUNT(forms); i++) {
        struct endpoint endpoint = endpoint_of(forms[i].text);
        struct endpoint again;

        assert_ptr_equal(endpoint_format(&endpoint, out), out);
        assert_string_equal(out, forms[i].canonical);
        assert_true(endpoint_parse(out, 0, &again));
        assert_true(endpoint_equal(&endpoint, &again));
        assert_int_equal(endpoint.size, endpoint.any.sa_family == AF_INET ? sizeof(endpoint.v4) : sizeof(endpoint.v6));
    }
}

static void what_is_no_numeric_address_with_a_good_port_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        ":53",
        "localhost",
        "127.1",
        "127.0.0.256",
        "0127.0.0.1",
        "127.0.0.1.1",
        " 127.0.0.1",
        "127.0.0.1 ",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999999999999999",
        "127.0.0.1:-1",
        "127.0.0.1:+53",
        "127.0.0.1: 53",
        "127.0.0.1:53x",
        "127.0.0.1:0x35",
        "[127.0.0.1]",
        "[127.0.0.1]:53",
        "[::1",
        "[::1]53",
        "[::1]:",
        "[::1]:0",
        "[::1]:65536",
        "[::1]]:53",
        "[[::1]]:53",
        "::1]",
        "[]",
        "[]:53",
        ":::",
        "1::2::3",
        "1:2:3:4:5:6:7:8:9",
        "12345::",
        "::g",
        "fe80::1%",
        "fe80::1%0",
        "fe80::1%4294967296",
        "fe80::1%-1",
        "fe80::1%no-such-link",
        "127.0.0.1%lo",
        "[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295aaaaaaaaaaaaaaaaaaaaaaaaa]:65535",
    };
    struct endpoint endpoint;

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        if (endpoint_parse(texts[i], 53, &endpoint))
            fail_msg("accepted: \"%s\"", texts[i]);
}

static void a_text_of_any_length_is_survived(void **state)
{
    char text[4 * ENDPOINT_TEXT];
    struct endpoint endpoint;
    struct network network;

    (void)state;
    for (size_t size = 0; size < sizeof(text); size++) {
        memset(text, '1', size);
        text[size] = '\0';
        assert_false(endpoint_parse(text, 53, &endpoint));
        assert_false(network_parse(text, &network));
    }
}

static void without_a_default_a_port_is_needed(void **state)
{
    struct endpoint endpoint;

    (void)state;
    assert_false(endpoint_parse("127.0.0.1", 0, &endpoint));
    assert_false(endpoint_parse("::1", 0, &endpoint));
    assert_false(endpoint_parse("[::1]", 0, &endpoint));
    assert_true(endpoint_parse("127.0.0.1:1", 0, &endpoint));
    assert_int_equal(endpoint_port(&endpoint), 1);
    assert_true(endpoint_parse("[::1]:65535", 0, &endpoint));
    assert_int_equal(endpoint_port(&endpoint), 65535);
}

static void the_address_is_written_without_port_and_brackets(void **state)
{
    struct endpoint v4 = endpoint_of("192.0.2.1:99");
    struct endpoint v6 = endpoint_of("[2001:db8::1]:99");
    struct endpoint zone = endpoint_of("[fe80::1%lo]:99");
    char out[ENDPOINT_TEXT];

    (void)state;
    assert_string_equal(endpoint_format_address(&v4, out), "192.0.2.1");
    assert_string_equal(endpoint_format_address(&v6, out), "2001:db8::1");
    assert_string_equal(endpoint_format_address(&zone, out), "fe80::1%1");
}

static void a_port_is_set_in_both_families(void **state)
{
    struct endpoint v4 = endpoint_of("192.0.2.1:99");
    struct endpoint v6 = endpoint_of("[2001:db8::1]:99");

    (void)state;
    endpoint_set_port(&v4, 65535);
    endpoint_set_port(&v6, 1);
    assert_int_equal(endpoint_port(&v4), 65535);
    assert_int_equal(v4.v4.sin_port, htons(65535));
    assert_int_equal(endpoint_port(&v6), 1);
    assert_int_equal(v6.v6.sin6_port, htons(1));
}

static void family_address_zone_and_port_make_endpoints_equal(void **state)
{
    static const char *const texts[] = {"192.0.2.1:53", "192.0.2.1:54", "192.0.2.2:53",   "[fe80::1]:53",
                                        "[fe80::2]:53", "[fe80::1]:54", "[fe80::1%2]:53", "[::ffff:192.0.2.1]:53"};

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        for (size_t j = 0; j < COUNT(texts); j++) {
            struct endpoint a = endpoint_of(texts[i]);
            struct endpoint b = endpoint_of(texts[j]);

            assert_int_equal(endpoint_equal(&a, &b), i == j);
        }
}

static void only_the_unspecified_address_is_a_wildcard(void **state)
{
    static const char *const others[] = {"0.0.0.1", "127.0.0.1", "::1", "::ffff:0.0.0.0", "1::"};
    struct endpoint v4 = endpoint_of("0.0.0.0");
    struct endpoint v6 = endpoint_of("::");

    (void)state;
    assert_true(endpoint_is_wildcard(&v4));
    assert_true(endpoint_is_wildcard(&v6));
    for (size_t i = 0; i < COUNT(others); i++) {
        struct endpoint endpoint = endpoint_of(others[i]);

        assert_false(endpoint_is_wildcard(&endpoint));
    }
}

/* ---- client keys ---- */

static struct client_prefix prefix = {.ipv4 = 32, .ipv6 = 64};

static bool same_client(const char *a, const char *b)
{
    struct endpoint ea = endpoint_of(a);
    struct endpoint eb = endpoint_of(b);
    uint8_t ka[ENDPOINT_CLIENT], kb[ENDPOINT_CLIENT];

    memset(ka, 0x55, sizeof(ka));
    memset(kb, 0xaa, sizeof(kb));
    endpoint_client_key(&ea, &prefix, false, ka);
    endpoint_client_key(&eb, &prefix, false, kb);
    return memcmp(ka, kb, ENDPOINT_CLIENT) == 0;
}

static void an_ipv4_address_is_one_client(void **state)
{
    (void)state;
    assert_true(same_client("192.0.2.1:1", "192.0.2.1:65535"));
    assert_false(same_client("192.0.2.1", "192.0.2.0"));
    assert_false(same_client("192.0.2.1", "64.0.2.1"));
}

static void an_ipv4_mapped_address_is_the_ipv4_client(void **state)
{
    (void)state;
    assert_true(same_client("192.0.2.1", "::ffff:192.0.2.1"));
    assert_false(same_client("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
    assert_false(same_client("::ffff:192.0.2.1", "::"));
}

static void a_64_of_ipv6_is_one_client(void **state)
{
    (void)state;
    assert_true(same_client("2001:db8:1:2::", "[2001:db8:1:2:ffff:ffff:ffff:ffff]:99"));
    assert_false(same_client("2001:db8:1:2::", "2001:db8:1:3::"));
    assert_false(same_client("2001:db8:1:2::", "a001:db8:1:2::"));
    assert_true(same_client("fe80::1%1", "fe80::2%2"));
}

static bool same_client_by(uint8_t ipv4, uint8_t ipv6, const char *a, const char *b)
{
    const struct client_prefix before = prefix;
    bool same;

    prefix = (struct client_prefix){.ipv4 = ipv4, .ipv6 = ipv6};
    same = same_client(a, b);
    prefix = before;
    return same;
}

static void prefixes_of_any_length_tell_clients_apart(void **state)
{
    (void)state;
    assert_true(same_client_by(8, 64, "10.0.0.0", "10.255.255.255"));
    assert_false(same_client_by(8, 64, "10.0.0.0", "11.0.0.0"));
    assert_true(same_client_by(31, 64, "192.0.2.0", "192.0.2.1"));
    assert_false(same_client_by(31, 64, "192.0.2.0", "192.0.2.2"));
    assert_true(same_client_by(24, 64, "192.0.2.7", "::ffff:192.0.2.9"));
    assert_true(same_client_by(32, 16, "2001:0::", "2001:ffff::"));
    assert_false(same_client_by(32, 16, "2001::", "2002::"));
    assert_true(same_client_by(32, 127, "2001:db8::", "2001:db8::1"));
    assert_false(same_client_by(32, 127, "2001:db8::", "2001:db8::2"));
    assert_true(same_client_by(32, 128, "2001:db8::1", "[2001:db8::1]:7"));
    assert_false(same_client_by(32, 128, "2001:db8::", "2001:db8::1"));
    assert_false(same_client_by(8, 128, "10.0.0.0", "::ffff:11.0.0.0"));
}

static void who_has_proved_its_address_is_told_from_those_who_have_not(void **state)
{
    struct endpoint endpoint = endpoint_of("192.0.2.1");
    uint8_t proven[ENDPOINT_CLIENT], unproven[ENDPOINT_CLIENT];

    (void)state;
    endpoint_client_key(&endpoint, &prefix, true, proven);
    endpoint_client_key(&endpoint, &prefix, false, unproven);
    assert_memory_not_equal(proven, unproven, ENDPOINT_CLIENT);
}

/* ---- networks ---- */

static void a_network_is_address_and_prefix(void **state)
{
    (void)state;
    struct network any4 = network_of("0.0.0.0/0");
    assert_int_equal(any4.bits, 0);
    assert_false(any4.v6);
    assert_int_equal(network_of("192.0.2.1").bits, 32);
    assert_int_equal(network_of("192.0.2.1/32").bits, 32);
    assert_int_equal(network_of("::1").bits, 128);
    struct network ula = network_of("fd00::/8");
    assert_int_equal(ula.bits, 8);
    assert_true(ula.v6);
    assert_int_equal(ula.bytes[0], 0xfd);
    assert_int_equal(network_of("2001:db8::1/128").bits, 128);
    assert_int_equal(network_of("128.0.0.0/1").bits, 1);
}

static void what_is_no_network_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/8x",
        "10.0.0.0/ 8",
        "10.0.0.0//8",
        "10/8",
        "10.0.0.0/8/8",
        "10.0.0.0:53/8",
        "fd00::/129",
        "[fd00::]/8",
        "example.com/8",
        "10.0.0.0/99999999999999999999",
        "fd00::/0x8",
    };
    struct network network;

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        if (network_parse(texts[i], &network))
            fail_msg("accepted: \"%s\"", texts[i]);
}

static void bits_behind_the_prefix_must_be_zero(void **state)
{
    struct network network;

    (void)state;
    assert_false(network_parse("10.0.0.1/8", &network));
    assert_false(network_parse("10.0.0.1/31", &network));
    assert_true(network_parse("10.0.0.2/31", &network));
    assert_false(network_parse("0.0.0.1/0", &network));
    assert_false(network_parse("128.0.0.0/0", &network));
    assert_false(network_parse("10.0.0.128/24", &network));
    assert_true(network_parse("10.0.0.128/25", &network));
    assert_false(network_parse("fd00::1/127", &network));
    assert_false(network_parse("fd80::/8", &network));
    assert_true(network_parse("fd80::/9", &network));
}

static bool contains(const char *network, const char *endpoint)
{
    struct network n = network_of(network);
    struct endpoint e = endpoint_of(endpoint);

    return network_contains(&n, &e);
}

static void the_first_and_last_address_are_inside_and_their_neighbours_outside(void **state)
{
    (void)state;
    assert_true(contains("10.0.0.0/8", "10.0.0.0"));
    assert_true(contains("10.0.0.0/8", "10.255.255.255:9"));
    assert_false(contains("10.0.0.0/8", "9.255.255.255"));
    assert_false(contains("10.0.0.0/8", "11.0.0.0"));
    assert_true(contains("172.16.0.0/12", "172.31.255.255"));
    assert_false(contains("172.16.0.0/12", "172.32.0.0"));
    assert_false(contains("172.16.0.0/12", "172.15.255.255"));
    assert_true(contains("192.0.2.1", "192.0.2.1"));
    assert_false(contains("192.0.2.1", "192.0.2.0"));
    assert_true(contains("fd00::/8", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    assert_false(contains("fd00::/8", "fe00::"));
    assert_true(contains("2001:db8::/127", "2001:db8::1"));
    assert_false(contains("2001:db8::/127", "2001:db8::2"));
    assert_true(contains("::1", "[::1]:53"));
}

static void every_bit_of_the_prefix_counts(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits <= 128; bits++)
        for (unsigned flipped = 0; flipped < 128; flipped++) {
            struct network network = {.v6 = true, .bits = (uint8_t)bits};
            struct endpoint endpoint = endpoint_of("::");

            endpoint.v6.sin6_addr.s6_addr[flipped / 8] = (uint8_t)(0x80 >> flipped % 8);
            assert_int_equal(network_contains(&network, &endpoint), flipped >= bits);
        }
}

static void the_families_do_not_contain_each_other(void **state)
{
    (void)state;
    assert_true(contains("0.0.0.0/0", "255.255.255.255"));
    assert_false(contains("0.0.0.0/0", "::1"));
    assert_true(contains("::/0", "ffff::"));
    assert_false(contains("::/0", "0.0.0.0"));
    assert_false(contains("a00::/8", "10.0.0.0"));
}

static void an_ipv4_mapped_address_counts_as_ipv4(void **state)
{
    (void)state;
    assert_true(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_false(contains("10.0.0.0/8", "::ffff:11.1.2.3"));
    assert_true(contains("0.0.0.0/0", "::ffff:10.1.2.3"));
    assert_false(contains("::/0", "::ffff:10.1.2.3"));
    assert_true(contains("::/0", "::fffe:10.1.2.3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_read_and_written),
        cmocka_unit_test(what_is_no_numeric_address_with_a_good_port_is_refused),
        cmocka_unit_test(a_text_of_any_length_is_survived),
        cmocka_unit_test(without_a_default_a_port_is_needed),
        cmocka_unit_test(the_address_is_written_without_port_and_brackets),
        cmocka_unit_test(a_port_is_set_in_both_families),
        cmocka_unit_test(family_address_zone_and_port_make_endpoints_equal),
        cmocka_unit_test(only_the_unspecified_address_is_a_wildcard),
        cmocka_unit_test(an_ipv4_address_is_one_client),
        cmocka_unit_test(an_ipv4_mapped_address_is_the_ipv4_client),
        cmocka_unit_test(a_64_of_ipv6_is_one_client),
        cmocka_unit_test(prefixes_of_any_length_tell_clients_apart),
        cmocka_unit_test(who_has_proved_its_address_is_told_from_those_who_have_not),
        cmocka_unit_test(a_network_is_address_and_prefix),
        cmocka_unit_test(what_is_no_network_is_refused),
        cmocka_unit_test(bits_behind_the_prefix_must_be_zero),
        cmocka_unit_test(the_first_and_last_address_are_inside_and_their_neighbours_outside),
        cmocka_unit_test(every_bit_of_the_prefix_counts),
        cmocka_unit_test(the_families_do_not_contain_each_other),
        cmocka_unit_test(an_ipv4_mapped_address_counts_as_ipv4),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

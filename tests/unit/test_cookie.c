#include "nodedot/dns/cookie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOUR 3600

static struct endpoint endpoint_of(const char *text)
{
    struct endpoint endpoint;

    assert_true(endpoint_parse(text, 1024, &endpoint));
    return endpoint;
}

static size_t octets_of(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return n;
}

static struct hash_key key_of(const char *hex)
{
    struct hash_key key = {0};
    uint8_t octets[16];

    octets_of(hex, octets);
    for (unsigned i = 0; i < 16; i++)
        key.word[i / 8] |= (uint64_t)octets[i] << (8 * (i % 8));
    return key;
}

static struct cookie judge(const struct hash_key *key, const char *client, const char *option, uint32_t now)
{
    struct endpoint endpoint = endpoint_of(client);
    uint8_t octets[COOKIE_OPTION_MAX];
    size_t size = octets_of(option, octets);
    struct cookie cookie;

    assert_true(cookie_size_is_good(size));
    cookie_judge(key, &endpoint, octets, size, now, &cookie);
    assert_true(cookie.present);
    assert_memory_equal(cookie.octets, octets, COOKIE_CLIENT);
    return cookie;
}

static void assert_octets(const struct cookie *cookie, const char *hex)
{
    uint8_t expected[COOKIE_OPTION];

    assert_int_equal(octets_of(hex, expected), COOKIE_OPTION);
    assert_memory_equal(cookie->octets, expected, COOKIE_OPTION);
}

/* ---- RFC 9018 appendix A ---- */

static void a_new_cookie_is_that_of_the_rfc(void **state)
{
    struct hash_key key = key_of("e5e973e5a6b2a43f48e7dc849e37bfcf");
    struct cookie cookie = judge(&key, "198.51.100.100", "2464c4abcf10c957", 1559731985);

    (void)state;
    assert_false(cookie.valid);
    assert_octets(&cookie, "2464c4abcf10c957010000005cf79f111f8130c3eee29480");
}

static void a_cookie_that_is_old_is_renewed_as_in_the_rfc(void **state)
{
    struct hash_key key = key_of("e5e973e5a6b2a43f48e7dc849e37bfcf");
    struct cookie cookie =
        judge(&key, "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559734385);

    (void)state;
    assert_octets(&cookie, "2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
}

static void reserved_octets_count_as_they_came_and_are_zero_in_a_renewed_one_as_in_the_rfc(void **state)
{
    const char *received = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
    struct hash_key key = key_of("e5e973e5a6b2a43f48e7dc849e37bfcf");
    struct cookie cookie = judge(&key, "203.0.113.203", received, 1559734700);

    (void)state;
    assert_octets(&cookie, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e");
    cookie = judge(&key, "203.0.113.203", received, 0x5cf78f71 + 10);
    assert_true(cookie.valid);
}

static void a_cookie_for_ipv6_is_that_of_the_rfc(void **state)
{
    struct hash_key old = key_of("dd3bdf9344b678b185a6f5cb60fca715");
    struct hash_key new = key_of("445536bcd2513298075a5d379663c962");
    const char *received = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
    struct cookie cookie = judge(&old, "2001:db8:220:1:59de:d0f4:8769:82b8", received, 0x5cf7c579);

    (void)state;
    assert_true(cookie.valid);
    assert_octets(&cookie, received);
    cookie = judge(&new, "2001:db8:220:1:59de:d0f4:8769:82b8", received, 0x5cf7c609);
    assert_false(cookie.valid);
    assert_octets(&cookie, "22681ab97d52c298010000005cf7c609a6bb79d16625507a");
}

/* ---- ours ---- */

static const uint32_t issued = 1000000;
static struct hash_key key;
static uint8_t option[COOKIE_OPTION];

static struct cookie ask_again(const char *client, uint32_t now)
{
    struct endpoint endpoint = endpoint_of(client);
    struct cookie cookie;

    cookie_judge(&key, &endpoint, option, sizeof(option), now, &cookie);
    return cookie;
}

static int set_up(void **state)
{
    struct cookie cookie;

    (void)state;
    hash_key_random(&key);
    cookie = judge(&key, "192.0.2.1", "0102030405060708", issued);
    memcpy(option, cookie.octets, sizeof(option));
    return 0;
}

static void a_cookie_is_good_for_an_hour(void **state)
{
    (void)state;
    assert_true(ask_again("192.0.2.1:9", issued).valid);
    assert_true(ask_again("192.0.2.1", issued + HOUR).valid);
    assert_false(ask_again("192.0.2.1", issued + HOUR + 1).valid);
    assert_true(ask_again("192.0.2.1", issued - 300).valid);
    assert_false(ask_again("192.0.2.1", issued - 301).valid);
    assert_false(ask_again("192.0.2.1", issued + 0x80000000u).valid);
}

static void it_is_renewed_after_half_an_hour(void **state)
{
    struct cookie cookie = ask_again("192.0.2.1", issued + HOUR / 2);

    (void)state;
    assert_memory_equal(cookie.octets, option, COOKIE_OPTION);
    cookie = ask_again("192.0.2.1", issued + HOUR / 2 + 1);
    assert_true(cookie.valid);
    assert_memory_not_equal(cookie.octets, option, COOKIE_OPTION);
    memcpy(option, cookie.octets, sizeof(option));
    assert_true(ask_again("192.0.2.1", issued + HOUR + HOUR / 2).valid);
}

static void a_cookie_of_the_first_seconds_is_as_good_as_any(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < 3; at++) {
        struct cookie cookie = judge(&key, "192.0.2.1", "0102030405060708", at);

        memcpy(option, cookie.octets, sizeof(option));
        assert_true(ask_again("192.0.2.1", at).valid);
        assert_true(ask_again("192.0.2.1", at + HOUR).valid);
        assert_true(ask_again("192.0.2.1", at - 300).valid);
        assert_false(ask_again("192.0.2.1", at + HOUR + 1).valid);
        assert_false(ask_again("192.0.2.1", at - 301).valid);
    }
}

static void its_time_may_wrap(void **state)
{
    struct cookie cookie = judge(&key, "192.0.2.1", "0102030405060708", UINT32_MAX);

    (void)state;
    memcpy(option, cookie.octets, sizeof(option));
    assert_true(ask_again("192.0.2.1", 100).valid);
    assert_false(ask_again("192.0.2.1", HOUR).valid);
}

static void it_is_good_for_one_address(void **state)
{
    (void)state;
    assert_false(ask_again("192.0.2.2", issued).valid);
    assert_false(ask_again("::ffff:192.0.2.1", issued).valid);
    assert_false(ask_again("2001:db8::1", issued).valid);
}

static void any_other_bit_makes_it_worthless(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < 8 * sizeof(option); bit++) {
        struct cookie cookie;

        option[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cookie = ask_again("192.0.2.1", issued);
        assert_false(cookie.valid);
        assert_memory_equal(cookie.octets, option, COOKIE_CLIENT);
        option[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void another_servers_cookie_is_worthless_and_replaced(void **state)
{
    struct cookie cookie = judge(&key, "192.0.2.1", "01020304050607080102030405060708", issued);

    (void)state;
    assert_false(cookie.valid);
    assert_memory_equal(cookie.octets, option, COOKIE_OPTION);
    cookie = judge(&key, "192.0.2.1",
                   "0102030405060708aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd", issued);
    assert_false(cookie.valid);
    assert_memory_equal(cookie.octets, option, COOKIE_OPTION);
}

static void good_lengths_are_8_and_16_to_40(void **state)
{
    (void)state;
    for (size_t size = 0; size < 100; size++)
        assert_int_equal(cookie_size_is_good(size), size == 8 || (size >= 16 && size <= 40));
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_cookie_is_that_of_the_rfc),
        TEST(a_cookie_that_is_old_is_renewed_as_in_the_rfc),
        TEST(reserved_octets_count_as_they_came_and_are_zero_in_a_renewed_one_as_in_the_rfc),
        TEST(a_cookie_for_ipv6_is_that_of_the_rfc),
        TEST(a_cookie_is_good_for_an_hour),
        TEST(it_is_renewed_after_half_an_hour),
        TEST(a_cookie_of_the_first_seconds_is_as_good_as_any),
        TEST(its_time_may_wrap),
        TEST(it_is_good_for_one_address),
        TEST(any_other_bit_makes_it_worthless),
        TEST(another_servers_cookie_is_worthless_and_replaced),
        TEST(good_lengths_are_8_and_16_to_40),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

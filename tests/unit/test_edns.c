#include "nodedot/dns/edns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define OCTETS(text) (const uint8_t *)(text), sizeof(text) - 1

/* Reads a body: CLASS, TTL, RDLENGTH, RDATA. */
static bool read_body(const uint8_t *body, size_t size, struct edns *out)
{
    struct wire w = wire_of(body, size);

    edns_read(&w, out);
    return !w.bad && wire_left(&w) == 0;
}

static void an_empty_opt_is_read(void **state)
{
    struct edns edns;

    (void)state;
    assert_true(read_body(OCTETS("\x10\x00\x07\x02\x80\x01\x00\x00"), &edns));
    assert_true(edns.present);
    assert_int_equal(edns.udp_size, 4096);
    assert_int_equal(edns.extended_rcode, 7);
    assert_int_equal(edns.version, 2);
    assert_true(edns.dnssec_ok);
    assert_false(edns.has_keepalive);
}

static void flags_other_than_do_are_ignored(void **state)
{
    struct edns edns;

    (void)state;
    assert_true(read_body(OCTETS("\x02\x00\x00\x00\x7f\xff\x00\x00"), &edns));
    assert_false(edns.dnssec_ok);
}

static void unknown_options_are_passed_over(void **state)
{
    struct edns edns;

    (void)state;
    assert_true(read_body(OCTETS("\x02\x00\0\0\0\0\0\x0d\0\x64\0\0\0\x03\0\x05hello"), &edns));
    assert_false(edns.has_keepalive);
}

static void options_that_do_not_fill_rdata_exactly_are_refused(void **state)
{
    struct edns edns;

    (void)state;
    assert_false(read_body(OCTETS("\x02\x00\0\0\0\0\0\x03\0\x64\0"), &edns));
    assert_true(edns.present);
    assert_false(read_body(OCTETS("\x02\x00\0\0\0\0\0\x04\0\x64\0\x01"), &edns));
    assert_false(read_body(OCTETS("\x02\x00\0\0\0\0\0\x05\0\x64\0\0\0"), &edns));
}

static void a_body_cut_at_any_octet_is_refused(void **state)
{
    static const uint8_t body[] = "\x02\x00\0\0\0\0\0\x06\0\x0b\0\x02\x01\x02";
    struct edns edns;

    (void)state;
    assert_true(read_body(body, 14, &edns));
    for (size_t size = 0; size < 14; size++) {
        uint8_t *exact = malloc(size + 1);

        memcpy(exact + 1, body, size);
        assert_false(read_body(exact + 1, size, &edns));
        assert_int_equal(edns.present, size >= 8);
        free(exact);
    }
}

static void keepalive_is_read_empty_or_with_two_octets(void **state)
{
    struct edns edns;

    (void)state;
    assert_true(read_body(OCTETS("\x02\x00\0\0\0\0\0\x04\0\x0b\0\0"), &edns));
    assert_true(edns.has_keepalive);
    assert_int_equal(edns.keepalive, 0xffff);
    assert_true(read_body(OCTETS("\x02\x00\0\0\0\0\0\x06\0\x0b\0\x02\x01\x02"), &edns));
    assert_true(edns.has_keepalive);
    assert_int_equal(edns.keepalive, 0x102);
    assert_false(read_body(OCTETS("\x02\x00\0\0\0\0\0\x05\0\x0b\0\x01\x01"), &edns));
    assert_false(read_body(OCTETS("\x02\x00\0\0\0\0\0\x07\0\x0b\0\x03\x01\x01\x01"), &edns));
}

static void an_option_list_of_64_kib_is_read(void **state)
{
    size_t size = 8 + 65532;
    uint8_t *body = calloc(1, size);
    struct edns edns;

    (void)state;
    body[6] = 0xff;
    body[7] = 0xfc;
    for (size_t at = 8; at < size; at += 4)
        body[at + 1] = EDNS_OPTION_PADDING;
    assert_true(read_body(body, size, &edns));
    body[8 + 3] = 1;
    assert_false(read_body(body, size, &edns));
    free(body);
}

static void the_first_extended_error_is_found(void **state)
{
    static const uint8_t two[] = "\x02\x00\0\0\0\0\0\x11\0\x0c\0\x01\0\0\x0f\0\x02\x01\x16\0\x0f\0\x02\0\x17";
    static const uint8_t short_one[] = "\x02\x00\0\0\0\0\0\x05\0\x0f\0\x01\x16";
    static const uint8_t none[] = "\x02\x00\0\0\0\0\0\0";
    uint16_t code = 0;

    (void)state;
    assert_true(edns_find_error(wire_of(two, sizeof(two) - 1), &code));
    assert_int_equal(code, 0x116);
    assert_false(edns_find_error(wire_of(short_one, sizeof(short_one) - 1), &code));
    assert_false(edns_find_error(wire_of(none, sizeof(none) - 1), &code));
}

static void an_answer_opt_is_written_in_the_size_foretold(void **state)
{
    uint8_t out[64];
    struct edns_answer answer = {.ede = EDE_NONE};
    struct wire_writer w = wire_writer_of(out, sizeof(out));

    (void)state;
    edns_write_answer(&w, &answer);
    assert_int_equal(wire_written(&w), 11);
    assert_int_equal(edns_answer_size(&answer), 11);
    assert_memory_equal(out, "\0\0\x29\x04\xd0\0\0\0\0\0\0", 11);

    answer = (struct edns_answer){
        .extended_rcode = 1, .dnssec_ok = true, .ede = EDE_NETWORK_ERROR, .keepalive = true, .keepalive_timeout = 100};
    w = wire_writer_of(out, sizeof(out));
    edns_write_answer(&w, &answer);
    assert_int_equal(wire_written(&w), 23);
    assert_int_equal(edns_answer_size(&answer), 23);
    assert_memory_equal(out, "\0\0\x29\x04\xd0\x01\0\x80\0\0\x0c\0\x0f\0\x02\0\x17\0\x0b\0\x02\0\x64", 23);
}

static void a_cookie_is_written_last(void **state)
{
    uint8_t out[64];
    const struct cookie cookie = {.present = true, .octets = "clientcoserver cookies!"};
    struct edns_answer answer = {.ede = EDE_NONE, .cookie = &cookie};
    struct wire_writer w = wire_writer_of(out, sizeof(out));

    (void)state;
    edns_write_answer(&w, &answer);
    assert_int_equal(wire_written(&w), 39);
    assert_int_equal(edns_answer_size(&answer), 39);
    assert_memory_equal(out + 9, "\0\x1c\0\x0a\0\x18", 6);
    assert_memory_equal(out + 15, cookie.octets, COOKIE_OPTION);
}

static void the_first_cookie_is_kept_and_a_broken_one_noted(void **state)
{
    static const char two[] = "\x04\xd0\0\0\0\0\0\x18\0\x0a\0\x08"
                              "12345678\0\x0a\0\x08"
                              "87654321";
    static const char broken[] = "\x04\xd0\0\0\0\0\0\x0b\0\x0a\0\x07"
                                 "1234567";
    struct wire w = wire_of((const uint8_t *)two, sizeof(two) - 1);
    struct edns edns;

    (void)state;
    edns_read(&w, &edns);
    assert_false(w.bad);
    assert_int_equal(edns.cookie_size, 8);
    assert_memory_equal(edns.cookie, "12345678", 8);
    assert_false(edns.cookie_is_broken);
    w = wire_of((const uint8_t *)broken, sizeof(broken) - 1);
    edns_read(&w, &edns);
    assert_false(w.bad);
    assert_int_equal(edns.cookie_size, 0);
    assert_true(edns.cookie_is_broken);
}

static void extended_error_zero_is_written(void **state)
{
    struct edns_answer answer = {.ede = EDE_OTHER};

    (void)state;
    assert_int_equal(edns_answer_size(&answer), 17);
}

static void a_query_is_padded_to_the_block_whatever_its_length(void **state)
{
    uint8_t out[600];
    struct edns edns;

    (void)state;
    for (size_t before = 17; before <= 271; before++)
        for (int keepalive = 0; keepalive <= 1; keepalive++) {
            struct wire_writer w = wire_writer_of(out, sizeof(out));

            memset(out, 0xff, sizeof(out));
            wire_make(&w, before);
            edns_write_query(&w, true, keepalive != 0, EDNS_PADDING_BLOCK);
            assert_false(w.bad);
            assert_int_equal(wire_written(&w) % EDNS_PADDING_BLOCK, 0);
            assert_true(wire_written(&w) <= before + 19 + EDNS_PADDING_BLOCK - 1);
            assert_true(read_body(out + before + 3, wire_written(&w) - before - 3, &edns));
            assert_int_equal(edns.has_keepalive, keepalive);
            assert_int_equal(edns.udp_size, EDNS_UDP_SIZE);
            assert_true(edns.dnssec_ok);
        }
}

static void padding_is_zeros(void **state)
{
    uint8_t out[128];
    struct wire_writer w = wire_writer_of(out, sizeof(out));

    (void)state;
    memset(out, 0xff, sizeof(out));
    edns_write_query(&w, false, false, EDNS_PADDING_BLOCK);
    assert_int_equal(wire_written(&w), 128);
    for (size_t i = 15; i < 128; i++)
        assert_int_equal(out[i], 0);
}

static void a_query_opt_without_options_is_bare(void **state)
{
    uint8_t out[16];
    struct wire_writer w = wire_writer_of(out, sizeof(out));

    (void)state;
    edns_write_query(&w, false, false, 0);
    assert_int_equal(wire_written(&w), 11);
    assert_memory_equal(out, "\0\0\x29\x04\xd0\0\0\0\0\0\0", 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_opt_is_read),
        cmocka_unit_test(flags_other_than_do_are_ignored),
        cmocka_unit_test(unknown_options_are_passed_over),
        cmocka_unit_test(options_that_do_not_fill_rdata_exactly_are_refused),
        cmocka_unit_test(a_body_cut_at_any_octet_is_refused),
        cmocka_unit_test(keepalive_is_read_empty_or_with_two_octets),
        cmocka_unit_test(an_option_list_of_64_kib_is_read),
        cmocka_unit_test(the_first_extended_error_is_found),
        cmocka_unit_test(an_answer_opt_is_written_in_the_size_foretold),
        cmocka_unit_test(extended_error_zero_is_written),
        cmocka_unit_test(a_cookie_is_written_last),
        cmocka_unit_test(the_first_cookie_is_kept_and_a_broken_one_noted),
        cmocka_unit_test(a_query_is_padded_to_the_block_whatever_its_length),
        cmocka_unit_test(padding_is_zeros),
        cmocka_unit_test(a_query_opt_without_options_is_bare),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

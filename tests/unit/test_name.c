#include "nodedot/dns/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define HEADER 12

/* A message: twelve octets of header, then the given ones. */
static struct wire message_of(const void *octets, size_t size, size_t at)
{
    static uint8_t message[70000];

    memcpy(message + HEADER, octets, size);
    struct wire w = wire_of(message, HEADER + size);
    wire_take(&w, at);
    return w;
}

static struct name name_of(const char *text)
{
    struct name name;

    assert_true(name_from_text(text, &name));
    return name;
}

/* Labels of the given lengths, filled with 'A', and the root's. */
static size_t labels_put(uint8_t *out, const unsigned *lengths)
{
    size_t n = 0;

    for (; *lengths != 0; lengths++) {
        out[n++] = (uint8_t)*lengths;
        memset(out + n, 'A', *lengths);
        n += *lengths;
    }
    out[n++] = 0;
    return n;
}

static void a_name_is_read_in_lower_case(void **state)
{
    static const uint8_t octets[] = "\003wWw\011EXAMPLE-@\001[\0rest";
    struct wire w = wire_of(octets, sizeof(octets));
    struct name name;

    (void)state;
    name_read(&w, &name);
    assert_false(w.bad);
    assert_int_equal(name.length, 17);
    assert_memory_equal(name.bytes, "\003www\011example-@\001[", 17);
    assert_memory_equal(w.at, "rest", 4);
}

static void every_octet_is_lowered_like_ascii_at_every_place(void **state)
{
    uint8_t octets[18];
    struct name name;

    (void)state;
    for (unsigned place = 0; place < 16; place++)
        for (unsigned c = 0; c < 256; c++) {
            memset(octets, 'q', sizeof(octets));
            octets[0] = 16;
            octets[17] = 0;
            octets[1 + place] = (uint8_t)c;
            struct wire w = wire_of(octets, sizeof(octets));
            name_read(&w, &name);
            assert_false(w.bad);
            assert_int_equal(name.bytes[1 + place], c >= 'A' && c <= 'Z' ? c + 32 : c);
            assert_int_equal(name.bytes[1 + (place + 1) % 16], 'q');
        }
}

static void a_name_of_255_octets_is_read_and_one_of_256_is_not(void **state)
{
    uint8_t octets[300];
    struct name name;

    (void)state;
    size_t size = labels_put(octets, (const unsigned[]){63, 63, 63, 61, 0});
    assert_int_equal(size, 255);
    struct wire w = wire_of(octets, sizeof(octets));
    name_read(&w, &name);
    assert_false(w.bad);
    assert_int_equal(name.length, 255);

    size = labels_put(octets, (const unsigned[]){63, 63, 63, 62, 0});
    assert_int_equal(size, 256);
    w = wire_of(octets, sizeof(octets));
    name_read(&w, &name);
    assert_true(w.bad);
    assert_int_equal(name.length, 1);
}

static void a_name_cut_at_any_octet_is_refused(void **state)
{
    static const uint8_t octets[] = "\003www\007example";
    struct name name;

    (void)state;
    for (size_t size = 0; size < sizeof(octets); size++) {
        uint8_t *exact = malloc(size + 1);

        memcpy(exact + 1, octets, size);
        struct wire w = wire_of(exact + 1, size);
        name_read(&w, &name);
        assert_true(w.bad);
        assert_int_equal(name.length, 1);
        w = wire_of(exact + 1, size);
        name_skip(&w);
        assert_true(w.bad);
        free(exact);
    }
}

static void label_types_other_than_plain_are_refused_in_a_question(void **state)
{
    struct name name;

    (void)state;
    for (unsigned first = 64; first < 256; first++) {
        uint8_t octets[300] = {(uint8_t)first};
        struct wire w = wire_of(octets, sizeof(octets));

        name_read(&w, &name);
        assert_true(w.bad);
    }
}

static void a_compressed_name_is_expanded(void **state)
{
    /* 12: example.com; 25: www and a pointer to 12; 31: a pointer to 25 */
    static const uint8_t octets[] = "\007Example\003com\0\003wWw\300\014\300\031";
    struct wire w = message_of(octets, sizeof(octets) - 1, 31);
    struct name name;

    (void)state;
    name_expand(&w, &name);
    assert_false(w.bad);
    assert_ptr_equal(w.at, w.end);
    struct name www = name_of("www.example.com");
    assert_true(name_equal(&name, &www));
}

static void a_name_pointer_that_looks_forward_is_refused(void **state)
{
    static const uint8_t octets[] = "\300\016\003www\0";
    struct wire w = message_of(octets, sizeof(octets), HEADER);

    (void)state;
    name_skip(&w);
    assert_true(w.bad);
}

static void a_name_pointer_to_itself_or_its_own_labels_is_refused(void **state)
{
    struct wire w = message_of("\300\014", 2, HEADER);

    (void)state;
    name_skip(&w);
    assert_true(w.bad);
    w = message_of("\003www\300\014", 6, HEADER);
    name_skip(&w);
    assert_true(w.bad);
    w = message_of("\001a\300\022\001b\300\014", 8, HEADER + 4); /* a loop of two */
    name_skip(&w);
    assert_true(w.bad);
}

static void a_name_pointer_into_the_header_is_refused_and_to_its_end_is_not(void **state)
{
    struct wire w = message_of("\0\300\013", 3, HEADER + 1);

    (void)state;
    name_skip(&w);
    assert_true(w.bad);
    w = message_of("\0\300\014", 3, HEADER + 1);
    name_skip(&w);
    assert_false(w.bad);
}

static void a_name_pointer_to_labels_that_run_past_it_is_refused(void **state)
{
    struct wire w = message_of("\001x\300\014\0", 5, HEADER + 2); /* the label is before the pointer, its end is not */

    (void)state;
    name_skip(&w);
    assert_true(w.bad);
    w = message_of("\003x\300\014\0", 5, HEADER + 2);
    name_skip(&w);
    assert_true(w.bad);
    w = message_of("\001x\0\300\014", 5, HEADER + 3);
    name_skip(&w);
    assert_false(w.bad);
}

static void half_a_name_pointer_is_refused(void **state)
{
    struct wire w = message_of("\0\300", 2, HEADER + 1);

    (void)state;
    name_skip(&w);
    assert_true(w.bad);
}

static void an_expanded_name_over_255_octets_is_refused(void **state)
{
    uint8_t octets[300];
    size_t size = labels_put(octets, (const unsigned[]){63, 63, 63, 59, 0});

    (void)state;
    assert_int_equal(size, 253);
    memcpy(octets + size, "\001b\300\014", 4); /* 255 octets with the two before the pointer */
    struct wire w = message_of(octets, size + 4, HEADER + size);
    name_skip(&w);
    assert_false(w.bad);
    memcpy(octets + size, "\002bb\300\014", 5);
    w = message_of(octets, size + 5, HEADER + size);
    name_skip(&w);
    assert_true(w.bad);
}

static void many_pointers_in_a_row_are_followed_but_not_without_end(void **state)
{
    uint8_t octets[16000] = {0};
    struct wire w;

    (void)state;
    for (unsigned i = 1; i + 1 < sizeof(octets); i += 2) { /* each leads to the one before */
        unsigned target = i == 1 ? HEADER : HEADER + i - 2;

        octets[i] = (uint8_t)(0xc0 | target >> 8);
        octets[i + 1] = (uint8_t)target;
    }
    w = message_of(octets, sizeof(octets), HEADER + 2001);
    name_skip(&w);
    assert_false(w.bad);
    assert_int_equal(w.steps, 1002);

    unsigned names = 0;
    for (size_t at = HEADER + 1; !w.bad; at = HEADER + 15001, names++) {
        w.at = w.start + at;
        name_skip(&w);
        assert_true(w.steps <= NAME_STEPS_MAX + 1);
    }
    assert_in_range(names, 30, 40);
}

static void names_at_two_places_are_compared_through_pointers_without_regard_to_case(void **state)
{
    /* 12: www.example.com, 29: WWW and a pointer to 16, 35: the same as 12 in full, 52: wwx and a pointer */
    static const uint8_t octets[] =
        "\003www\007example\003com\0\003WWW\300\020\003www\007eXample\003com\0\003wwx\300\020";
    struct wire w = message_of(octets, sizeof(octets) - 1, HEADER);

    (void)state;
    assert_true(name_equal_at(w.start, 12, 12));
    assert_true(name_equal_at(w.start, 12, 29));
    assert_true(name_equal_at(w.start, 35, 29));
    assert_false(name_equal_at(w.start, 12, 52));
    assert_false(name_equal_at(w.start, 12, 16));
}

static void text_is_read_with_and_without_the_final_dot(void **state)
{
    struct name a = name_of("WWW.example.com");
    struct name b = name_of("www.example.com.");
    struct name dot = name_of(".");

    (void)state;
    assert_true(name_equal(&a, &b));
    assert_memory_equal(a.bytes, "\003www\007example\003com", 17);
    assert_int_equal(dot.length, 1);
}

static void escapes_in_text_are_read(void **state)
{
    struct name name = name_of("a\\.b\\\\.\\000\\255\\065.\\x");

    (void)state;
    assert_int_equal(name.length, 12);
    assert_memory_equal(name.bytes, "\004a.b\\\003\000\377a\001x", 12);
}

static void bad_text_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      ".a",
                                      "a..b",
                                      "..",
                                      "a..",
                                      "\\",
                                      "a\\",
                                      "\\1",
                                      "\\12",
                                      "\\256",
                                      "\\12x",
                                      "\\999",
                                      "1234567890123456789012345678901234567890123456789012345678901234"};
    struct name name;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(name_from_text(bad[i], &name));
}

static void text_of_a_label_of_63_and_a_name_of_255_is_read_and_one_more_is_not(void **state)
{
    char text[300];
    struct name name;

    (void)state;
    memset(text, 'a', sizeof(text));
    text[63] = text[127] = text[191] = '.';
    text[253] = '\0';
    assert_true(name_from_text(text, &name));
    assert_int_equal(name.length, 255);
    text[253] = 'a';
    text[254] = '\0';
    assert_false(name_from_text(text, &name));
}

static void text_goes_out_as_it_came_in(void **state)
{
    static const char *const texts[] = {".",      "com", "www.example.com", "a\\.b.c\\\\d", "\\032\\010\\127\\255",
                                        "\\\"_-*"};
    char out[NAME_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct name name = name_of(texts[i]);

        assert_string_equal(name_to_text(&name, out), texts[i]);
    }
}

static void the_longest_text_fits(void **state)
{
    struct name name = {.length = 255};
    struct name again;
    char out[NAME_TEXT];

    (void)state;
    for (unsigned at = 0; at < 254; at += 1u + name.bytes[at])
        name.bytes[at] = at + 64 < 254 ? 63 : (uint8_t)(253 - at);
    assert_int_equal(strlen(name_to_text(&name, out)), 250 * 4 + 3);
    assert_true(name_from_text(out, &again));
    assert_true(name_equal(&name, &again));
}

static void zones_are_compared_by_whole_labels(void **state)
{
    struct name zone = name_of("example.com");
    struct name dot = name_of(".");
    struct name below = name_of("a.b.Example.COM");
    struct name beside = name_of("notexample.com");
    struct name above = name_of("com");
    struct name lookalike = name_of("x\\007example.com"); /* the zone's octets, but inside a label */

    (void)state;
    assert_true(name_in_zone(&zone, &zone));
    assert_true(name_in_zone(&below, &zone));
    assert_true(name_in_zone(&below, &dot));
    assert_true(name_in_zone(&dot, &dot));
    assert_false(name_in_zone(&beside, &zone));
    assert_false(name_in_zone(&above, &zone));
    assert_false(name_in_zone(&dot, &zone));
    assert_false(name_in_zone(&lookalike, &zone));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_read_in_lower_case),
        cmocka_unit_test(every_octet_is_lowered_like_ascii_at_every_place),
        cmocka_unit_test(a_name_of_255_octets_is_read_and_one_of_256_is_not),
        cmocka_unit_test(a_name_cut_at_any_octet_is_refused),
        cmocka_unit_test(label_types_other_than_plain_are_refused_in_a_question),
        cmocka_unit_test(a_compressed_name_is_expanded),
        cmocka_unit_test(a_name_pointer_that_looks_forward_is_refused),
        cmocka_unit_test(a_name_pointer_to_itself_or_its_own_labels_is_refused),
        cmocka_unit_test(a_name_pointer_into_the_header_is_refused_and_to_its_end_is_not),
        cmocka_unit_test(a_name_pointer_to_labels_that_run_past_it_is_refused),
        cmocka_unit_test(half_a_name_pointer_is_refused),
        cmocka_unit_test(an_expanded_name_over_255_octets_is_refused),
        cmocka_unit_test(many_pointers_in_a_row_are_followed_but_not_without_end),
        cmocka_unit_test(names_at_two_places_are_compared_through_pointers_without_regard_to_case),
        cmocka_unit_test(text_is_read_with_and_without_the_final_dot),
        cmocka_unit_test(escapes_in_text_are_read),
        cmocka_unit_test(bad_text_is_refused),
        cmocka_unit_test(text_of_a_label_of_63_and_a_name_of_255_is_read_and_one_more_is_not),
        cmocka_unit_test(text_goes_out_as_it_came_in),
        cmocka_unit_test(the_longest_text_fits),
        cmocka_unit_test(zones_are_compared_by_whole_labels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

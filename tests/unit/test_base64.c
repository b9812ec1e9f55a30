#include "nodedot/base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* RFC 4648 section 10. */
static const struct {
    const char *data, *text;
} vectors[] = {{"", ""},
               {"f", "Zg=="},
               {"fo", "Zm8="},
               {"foo", "Zm9v"},
               {"foob", "Zm9vYg=="},
               {"fooba", "Zm9vYmE="},
               {"foobar", "Zm9vYmFy"}};

#define VECTORS (sizeof(vectors) / sizeof(vectors[0]))

static bool decodes(const char *text, size_t size)
{
    uint8_t out[64];

    return base64_decode(text, strlen(text), out, size);
}

static void the_vectors_of_the_rfc_are_encoded(void **state)
{
    char out[16];

    (void)state;
    for (size_t i = 0; i < VECTORS; i++) {
        base64_encode((const uint8_t *)vectors[i].data, strlen(vectors[i].data), out);
        assert_string_equal(out, vectors[i].text);
        assert_int_equal(strlen(out), BASE64_LENGTH(strlen(vectors[i].data)));
    }
}

static void the_vectors_of_the_rfc_are_decoded(void **state)
{
    uint8_t out[16];

    (void)state;
    for (size_t i = 0; i < VECTORS; i++) {
        size_t size = strlen(vectors[i].data);

        memset(out, 0xaa, sizeof(out));
        assert_true(base64_decode(vectors[i].text, strlen(vectors[i].text), out, size));
        assert_memory_equal(out, vectors[i].data, size);
        assert_int_equal(out[size], 0xaa);
    }
}

static void every_octet_at_every_place_comes_back(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 32; size++)
        for (int octet = 0; octet < 256; octet++) {
            uint8_t data[32], back[32];
            char text[BASE64_LENGTH(32) + 1];

            memset(data, octet, size);
            data[size - 1] = (uint8_t)~octet;
            base64_encode(data, size, text);
            assert_true(base64_decode(text, strlen(text), back, size));
            assert_memory_equal(back, data, size);
        }
}

static void all_64_characters_stand_for_their_number(void **state)
{
    const char *text = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t out[48];

    (void)state;
    assert_true(base64_decode(text, 64, out, 48));
    for (unsigned i = 0; i < 64; i++) {
        unsigned bit = i * 6;
        unsigned pair = (unsigned)(out[bit / 8] << 8) | (bit / 8 + 1 < 48 ? out[bit / 8 + 1] : 0);

        assert_int_equal(pair >> (10 - bit % 8) & 63, i);
    }
}

static void every_foreign_character_is_refused(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char text[] = "Zm9v";
        bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';

        for (size_t at = 0; at < 4; at++) {
            memcpy(text, "Zm9v", 4);
            text[at] = (char)c;
            assert_int_equal(decodes(text, 3), good);
        }
    }
    assert_false(base64_decode("Zm9\0", 4, (uint8_t[3]){0}, 3));
}

static void missing_and_surplus_padding_is_refused(void **state)
{
    (void)state;
    assert_false(decodes("Zg", 1));
    assert_false(decodes("Zg=", 1));
    assert_false(decodes("Zg===", 1));
    assert_false(decodes("Zm8", 2));
    assert_false(decodes("Zm8==", 2));
    assert_false(decodes("Zm9v=", 3));
    assert_false(decodes("Zm9v====", 3));
    assert_false(decodes("====", 1));
    assert_false(decodes("Z===", 1));
    assert_false(decodes("Zg=A", 1));
    assert_false(decodes("Zg==Zm8=", 4));
}

static void another_size_is_refused(void **state)
{
    (void)state;
    assert_true(decodes("Zm8=", 2));
    assert_false(decodes("Zm8=", 1));
    assert_false(decodes("Zm8=", 3));
    assert_false(decodes("", 1));
    assert_false(decodes("Zm8=", 0));
    assert_false(decodes("Zm9vYmFy", 3));
}

static void bits_behind_the_end_are_refused(void **state)
{
    (void)state;
    assert_true(decodes("Zg==", 1));
    assert_false(decodes("Zh==", 1)); /* the lowest of four surplus bits */
    assert_false(decodes("Zo==", 1)); /* the highest */
    assert_true(decodes("Zm8=", 2));
    assert_false(decodes("Zm9=", 2)); /* the lower of two */
    assert_false(decodes("Zm+=", 2)); /* the higher */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc_are_encoded),
        cmocka_unit_test(the_vectors_of_the_rfc_are_decoded),
        cmocka_unit_test(every_octet_at_every_place_comes_back),
        cmocka_unit_test(all_64_characters_stand_for_their_number),
        cmocka_unit_test(every_foreign_character_is_refused),
        cmocka_unit_test(missing_and_surplus_padding_is_refused),
        cmocka_unit_test(another_size_is_refused),
        cmocka_unit_test(bits_behind_the_end_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

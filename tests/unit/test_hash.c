#include "nodedot/base/hash.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* SipHash-1-3 of the octets 00 01 02 ..., as many as the index says, under the key 00 01 ... 0f. Computed with an
 * implementation of another hand that gives the published vectors of SipHash-2-4 when its rounds are changed. */
static const uint64_t vectors[64] = {
    0xabac0158050fc4dcull, 0xc9f49bf37d57ca93ull, 0x82cb9b024dc7d44dull, 0x8bf80ab8e7ddf7fbull, 0xcf75576088d38328ull,
    0xdef9d52f49533b67ull, 0xc50d2b50c59f22a7ull, 0xd3927d989bb11140ull, 0x369095118d299a8eull, 0x25a48eb36c063de4ull,
    0x79de85ee92ff097full, 0x70c118c1f94dc352ull, 0x78a384b157b4d9a2ull, 0x306f760c1229ffa7ull, 0x605aa111c0f95d34ull,
    0xd320d86d2a519956ull, 0xcc4fdd1a7d908b66ull, 0x9cf2689063dbd80cull, 0x8ffc389cb473e63eull, 0xf21f9de58d297d1cull,
    0xc0dc2f46a6cce040ull, 0xb992abfe2b45f844ull, 0x7ffe7b9ba320872eull, 0x525a0e7fdae6c123ull, 0xf464aeb267349c8cull,
    0x45cd5928705b0979ull, 0x3a3e35e3ca9913a5ull, 0xa91dc74e4ade3b35ull, 0xfb0bed02ef6cd00dull, 0x88d93cb44ab1e1f4ull,
    0x540f11d643c5e663ull, 0x2370dd1f8c21d1bcull, 0x81157b6c16a7b60dull, 0x4d54b9e57a8ff9bfull, 0x759f12781f2a753eull,
    0xcea1a3bebf186b91ull, 0x2cf508d3ada26206ull, 0xb6101c2da3c33057ull, 0xb3f47496ae3a36a1ull, 0x626b57547b108392ull,
    0xc1d2363299e41531ull, 0x667cc1923f1ad944ull, 0x65704ffec8138825ull, 0x24f280d1c28949a6ull, 0xc2ca1cedfaf8876bull,
    0xc2164bfc9f042196ull, 0xa16e9c9368b1d623ull, 0x49fb169c8b5114fdull, 0x9f3143f8df074c46ull, 0xc6fdaf2412cc86b3ull,
    0x7eaf49d10a52098full, 0x1cf313559d292f9aull, 0xc44a30dda2f41f12ull, 0x36fae98943a71ed0ull, 0x318fb34c73f0bce6ull,
    0xa27abf3670a7e980ull, 0xb4bcc0db243c6d75ull, 0x23f8d852fdb71513ull, 0x8f035f4da67d8a08ull, 0xd89cd0e5b7e8f148ull,
    0xf6f4e6bcf7a644eeull, 0xaec59ad80f1837f2ull, 0xc3b2f6154b6694e0ull, 0x9d199062b7bbb3a8ull};

static const struct hash_key counting_key = {{0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull}};

static void fill(uint8_t *octets, size_t size)
{
    for (size_t i = 0; i < size; i++)
        octets[i] = (uint8_t)i;
}

static void every_length_to_63_octets_gives_the_reference_vector(void **state)
{
    uint8_t octets[64];

    (void)state;
    fill(octets, sizeof(octets));
    for (size_t size = 0; size < 64; size++)
        assert_true(hash_keyed(&counting_key, octets, size) == vectors[size]);
}

static void a_length_past_255_wraps_in_the_last_word(void **state)
{
    uint8_t octets[257];

    (void)state;
    fill(octets, sizeof(octets));
    assert_true(hash_keyed(&counting_key, octets, 256) == 0x75b3e64e167de370ull);
    assert_true(hash_keyed(&counting_key, octets, 257) == 0x5d8ffca6213c73b8ull);
}

static void siphash_2_4_gives_the_vector_of_its_authors(void **state)
{
    uint8_t octets[15];

    (void)state;
    fill(octets, sizeof(octets));
    assert_true(hash_siphash_2_4(&counting_key, octets, sizeof(octets)) == 0xa129ca6149be45e5ull);
    assert_true(hash_siphash_2_4(&counting_key, octets, 0) == 0x726fdb47dd0e0e31ull);
}

static void a_key_of_zero_gives_what_others_get(void **state)
{
    const struct hash_key zero = {{0, 0}};

    (void)state;
    assert_true(hash_keyed(&zero, "abc", 3) == 0xc03bc3a0042630f2ull);
}

static void where_the_octets_stand_does_not_matter(void **state)
{
    uint8_t octets[64 + 8];

    (void)state;
    for (size_t shift = 0; shift < 8; shift++) {
        fill(octets + shift, 63);
        assert_true(hash_keyed(&counting_key, octets + shift, 63) == vectors[63]);
    }
}

static void each_word_of_the_key_counts(void **state)
{
    uint64_t hash = hash_keyed(&counting_key, "name", 4);

    (void)state;
    for (int bit = 0; bit < 128; bit++) {
        struct hash_key other = counting_key;

        other.word[bit / 64] ^= 1ull << (bit % 64);
        assert_true(hash_keyed(&other, "name", 4) != hash);
    }
}

static void random_keys_differ(void **state)
{
    struct hash_key a, b;

    (void)state;
    hash_key_random(&a);
    hash_key_random(&b);
    assert_memory_not_equal(&a, &b, sizeof(a));
    assert_true(a.word[0] != a.word[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_to_63_octets_gives_the_reference_vector),
        cmocka_unit_test(a_length_past_255_wraps_in_the_last_word),
        cmocka_unit_test(siphash_2_4_gives_the_vector_of_its_authors),
        cmocka_unit_test(a_key_of_zero_gives_what_others_get),
        cmocka_unit_test(where_the_octets_stand_does_not_matter),
        cmocka_unit_test(each_word_of_the_key_counts),
        cmocka_unit_test(random_keys_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

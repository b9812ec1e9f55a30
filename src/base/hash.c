#include "nodedot/base/hash.h"

#include "nodedot/base/random.h"

#include <string.h>

static inline uint64_t rotate(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static inline void sip_absorb(uint64_t v[4], uint64_t word, unsigned rounds)
{
    v[3] ^= word;
    for (unsigned i = 0; i < rounds; i++)
        sip_round(v);
    v[0] ^= word;
}

/* Octets in little-endian order, as in the reference, so that its test vectors hold on any machine. */
static inline uint64_t load_word(const uint8_t *p, size_t n)
{
    uint64_t word = 0;

    memcpy(&word, p, n);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

void hash_key_random(struct hash_key *key)
{
    random_bytes(key, sizeof(*key));
}

/* SipHash with the given number of rounds for each word, and at the end. */
static inline uint64_t siphash(const struct hash_key *key, const void *data, size_t size, unsigned rounds,
                               unsigned last_rounds)
{
    uint64_t v[4] = {
        key->word[0] ^ 0x736f6d6570736575ull,
        key->word[1] ^ 0x646f72616e646f6dull,
        key->word[0] ^ 0x6c7967656e657261ull,
        key->word[1] ^ 0x7465646279746573ull,
    };
    const uint8_t *p = data;
    size_t left = size;

    for (; left >= 8; left -= 8, p += 8)
        sip_absorb(v, load_word(p, 8), rounds);
    sip_absorb(v, (uint64_t)size << 56 | load_word(p, left), rounds);
    v[2] ^= 0xff;
    for (unsigned i = 0; i < last_rounds; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_keyed(const struct hash_key *key, const void *data, size_t size)
{
    return siphash(key, data, size, 1, 3);
}

uint64_t hash_siphash_2_4(const struct hash_key *key, const void *data, size_t size)
{
    return siphash(key, data, size, 2, 4);
}

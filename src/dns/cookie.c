#include "nodedot/dns/cookie.h"

#include "nodedot/dns/wire.h"

#include <string.h>

enum {
    VERSION = 1,
    /* RFC 9018 section 4.3: how old or how far in the future a cookie may be, and when it is renewed. */
    AGE_MAX_S = 3600,
    FUTURE_MAX_S = 300,
    RENEW_S = 1800,
    /* Where the parts of the option stand. */
    VERSION_AT = COOKIE_CLIENT,
    TIME_AT = VERSION_AT + 4,
    HASH_AT = TIME_AT + 4
};

bool cookie_size_is_good(size_t size)
{
    return size == COOKIE_CLIENT ||
           (size >= COOKIE_CLIENT + COOKIE_SERVER_MIN && size <= COOKIE_CLIENT + COOKIE_SERVER_MAX);
}

/* The hash over everything in the option that stands before it, and the address. */
static void write_hash(const struct hash_key *key, const struct endpoint *client, const uint8_t *option, uint8_t out[8])
{
    uint8_t input[HASH_AT + 16];
    bool v4 = client->any.sa_family == AF_INET;
    const uint8_t *address = v4 ? (const uint8_t *)&client->v4.sin_addr : client->v6.sin6_addr.s6_addr;
    size_t size = v4 ? 4 : 16;
    uint64_t hash;

    memcpy(input, option, HASH_AT);
    memcpy(input + HASH_AT, address, size);
    hash = hash_siphash_2_4(key, input, HASH_AT + size);
    for (unsigned i = 0; i < 8; i++) /* the lowest octet first, as SipHash's authors print it */
        out[i] = (uint8_t)(hash >> (8 * i));
}

/* Compares without telling by the time it takes where the first difference is. */
static bool same_hash(const uint8_t a[8], const uint8_t b[8])
{
    uint8_t different = 0;

    for (unsigned i = 0; i < 8; i++)
        different |= a[i] ^ b[i];
    return different == 0;
}

void cookie_judge(const struct hash_key *key, const struct endpoint *client, const uint8_t *option, size_t size,
                  uint32_t now, struct cookie *out)
{
    int32_t age = 0; /* serial number arithmetic (RFC 1982) */
    uint8_t hash[8];

    *out = (struct cookie){.present = true};
    memcpy(out->octets, option, COOKIE_CLIENT);
    if (size == COOKIE_OPTION && option[VERSION_AT] == VERSION) {
        age = (int32_t)(now - wire_get_u32(option + TIME_AT));
        write_hash(key, client, option, hash);
        out->valid = age <= AGE_MAX_S && age >= -FUTURE_MAX_S && same_hash(hash, option + HASH_AT);
    }
    if (out->valid && age <= RENEW_S) {
        memcpy(out->octets, option, COOKIE_OPTION);
        return;
    }
    out->octets[VERSION_AT] = VERSION;
    wire_put_u32(out->octets + TIME_AT, now);
    write_hash(key, client, out->octets, out->octets + HASH_AT);
}

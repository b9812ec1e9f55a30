#include "nodedot/tls/signature.h"

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/ed25519.h>
#include <wolfssl/wolfcrypt/ed448.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/rsa.h>

#include <string.h>

#define HASH_NS_OCTET    4
#define RSA_BLOCK        (SIGNATURE_RSA_BITS / 8)
#define DIGEST_INFO_MAX  (WC_MAX_DIGEST_SIZE + 32)
#define RSA_EXPONENT_USE 17 /* bits of 65537 */

/* RSA: multiplications of the modulus' size squared, one or two for each bit of the exponent. */
static uint64_t rsa_cost_ns(const struct public_key *key)
{
    uint64_t kilobits = key->bits / 1024 + 1;
    unsigned bits = RSA_EXPONENT_USE;

    while (bits < 64 && key->exponent >> bits != 0)
        bits++;
    return kilobits * kilobits * 9000 * bits / RSA_EXPONENT_USE;
}

static uint64_t key_cost_ns(const struct public_key *key)
{
    switch (key->kind) {
    case KEY_RSA:
        return rsa_cost_ns(key);
    case KEY_EC:
        return key->bits > 384 ? 2600000 : 900000;
    case KEY_ED25519:
        return 70000;
    case KEY_ED448:
        return 220000;
    case KEY_OTHER:
        break;
    }
    return 0;
}

uint64_t signature_cost_ns(const struct signature *signature, const struct public_key *key)
{
    return key_cost_ns(key) + signature->text_size * HASH_NS_OCTET;
}

bool signature_sha256(const uint8_t *octets, size_t size, uint8_t out[32])
{
    return wc_Sha256Hash(octets, (word32)size, out) == 0;
}

struct hash {
    enum wc_HashType type;
    int mgf; /* MGF1 with this hash */
    int oid; /* wolfSSL's number, for DigestInfo */
    word32 size;
};

static struct hash hash_of(enum digest digest)
{
    switch (digest) {
    case DIGEST_SHA256:
        return (struct hash){WC_HASH_TYPE_SHA256, WC_MGF1SHA256, SHA256h, 32};
    case DIGEST_SHA384:
        return (struct hash){WC_HASH_TYPE_SHA384, WC_MGF1SHA384, SHA384h, 48};
    case DIGEST_SHA512:
        return (struct hash){WC_HASH_TYPE_SHA512, WC_MGF1SHA512, SHA512h, 64};
    case DIGEST_NONE:
        break;
    }
    return (struct hash){.type = WC_HASH_TYPE_NONE};
}

static bool pkcs1_holds(RsaKey *rsa, const struct signature *signature, const uint8_t *digest, const struct hash *hash)
{
    uint8_t shown[RSA_BLOCK], expected[DIGEST_INFO_MAX];
    word32 size = wc_EncodeSignature(expected, digest, hash->size, hash->oid);
    int n = wc_RsaSSL_Verify(signature->octets, (word32)signature->size, shown, sizeof(shown), rsa);

    return n > 0 && (word32)n == size && memcmp(shown, expected, size) == 0;
}

static bool pss_holds(RsaKey *rsa, const struct signature *signature, const uint8_t *digest, const struct hash *hash)
{
    uint8_t shown[RSA_BLOCK], octets[RSA_BLOCK];
    int mgf = hash_of(signature->mask_digest).mgf, salt = (int)signature->salt_size;

    if (signature->size > sizeof(octets))
        return false;
    memcpy(octets, signature->octets, signature->size); /* wolfSSL asks for octets that it might change */
    int n = wc_RsaPSS_Verify_ex(octets, (word32)signature->size, shown, sizeof(shown), hash->type, mgf, salt, rsa);
    return n > 0 && wc_RsaPSS_CheckPadding_ex(digest, hash->size, shown, (word32)n, hash->type, salt,
                                              wc_RsaEncryptSize(rsa) * 8) == 0;
}

static bool rsa_holds(const struct signature *signature, const struct public_key *key, const uint8_t *digest,
                      const struct hash *hash)
{
    RsaKey rsa;
    word32 at = 0;
    bool holds = false;

    if (key->bits > SIGNATURE_RSA_BITS || wc_InitRsaKey(&rsa, NULL) != 0)
        return false;
    if (wc_RsaPublicKeyDecode(key->spki, &at, &rsa, (word32)key->spki_size) == 0)
        holds = signature->kind == SIGNATURE_RSA ? pkcs1_holds(&rsa, signature, digest, hash)
                                                 : pss_holds(&rsa, signature, digest, hash);
    wc_FreeRsaKey(&rsa);
    return holds;
}

/* wolfSSL makes tables for every point of a curve that it meets twice, the base point too: 5 ms and 0.8 MB each for
 * checks that are rare here. So it is made to forget them at once. */
static bool ecdsa_holds(const struct signature *signature, const struct public_key *key, const uint8_t *digest,
                        const struct hash *hash)
{
    ecc_key ecc;
    word32 at = 0;
    int holds = 0;

    if (wc_ecc_init(&ecc) != 0)
        return false;
    if (wc_EccPublicKeyDecode(key->spki, &at, &ecc, (word32)key->spki_size) != 0 ||
        wc_ecc_verify_hash(signature->octets, (word32)signature->size, digest, hash->size, &holds, &ecc) != 0)
        holds = 0;
    wc_ecc_free(&ecc);
    wc_ecc_fp_free();
    return holds == 1;
}

static bool ed25519_holds(const struct signature *signature, const struct public_key *key)
{
    ed25519_key ed;
    int holds = 0;

    if (wc_ed25519_init(&ed) != 0)
        return false;
    if (wc_ed25519_import_public(key->raw, (word32)key->raw_size, &ed) != 0 ||
        wc_ed25519_verify_msg(signature->octets, (word32)signature->size, signature->text, (word32)signature->text_size,
                              &holds, &ed) != 0)
        holds = 0;
    wc_ed25519_free(&ed);
    return holds == 1;
}

static bool ed448_holds(const struct signature *signature, const struct public_key *key)
{
    ed448_key ed;
    int holds = 0;

    if (wc_ed448_init(&ed) != 0)
        return false;
    if (wc_ed448_import_public(key->raw, (word32)key->raw_size, &ed) != 0 ||
        wc_ed448_verify_msg(signature->octets, (word32)signature->size, signature->text, (word32)signature->text_size,
                            &holds, &ed, NULL, 0) != 0)
        holds = 0;
    wc_ed448_free(&ed);
    return holds == 1;
}

bool signature_holds(const struct signature *signature, const struct public_key *key)
{
    struct hash hash = hash_of(signature->digest);
    uint8_t digest[WC_MAX_DIGEST_SIZE];

    if (hash.type != WC_HASH_TYPE_NONE &&
        wc_Hash(hash.type, signature->text, (word32)signature->text_size, digest, hash.size) != 0)
        return false;
    switch (signature->kind) {
    case SIGNATURE_RSA:
    case SIGNATURE_RSA_PSS:
        return key->kind == KEY_RSA && hash.type != WC_HASH_TYPE_NONE && rsa_holds(signature, key, digest, &hash);
    case SIGNATURE_ECDSA:
        return key->kind == KEY_EC && hash.type != WC_HASH_TYPE_NONE && ecdsa_holds(signature, key, digest, &hash);
    case SIGNATURE_ED25519:
        return key->kind == KEY_ED25519 && ed25519_holds(signature, key);
    case SIGNATURE_ED448:
        return key->kind == KEY_ED448 && ed448_holds(signature, key);
    case SIGNATURE_OTHER:
        break;
    }
    return false;
}

/* signature.h - the arithmetic of a certificate's signature: does it hold for this text and this key?
 *
 * What is signed, how, and with which key is read by proof/; here nothing is parsed twice, so a pin's hash and the
 * signature that it vouches for belong to the same octets.
 */
#ifndef NODEDOT_TLS_SIGNATURE_H
#define NODEDOT_TLS_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGNATURE_RSA_BITS 4096 /* Debian's wolfSSL computes with no larger modulus (SP_INT_BITS) */

enum key_kind { KEY_OTHER, KEY_RSA, KEY_EC, KEY_ED25519, KEY_ED448 };

struct public_key {
    enum key_kind kind;
    unsigned bits;       /* RSA: of the modulus; EC: of the curve, 0 for one that is not supported */
    uint64_t exponent;   /* RSA; 0: none, or wider than 64 bits */
    const uint8_t *spki; /* SubjectPublicKeyInfo in DER */
    size_t spki_size;
    const uint8_t *raw; /* contents of its BIT STRING */
    size_t raw_size;
};

enum signature_kind {
    SIGNATURE_OTHER, /* not supported, or weak */
    SIGNATURE_RSA,   /* PKCS #1 v1.5 */
    SIGNATURE_RSA_PSS,
    SIGNATURE_ECDSA,
    SIGNATURE_ED25519,
    SIGNATURE_ED448
};

enum digest { DIGEST_NONE, DIGEST_SHA256, DIGEST_SHA384, DIGEST_SHA512 };

struct signature {
    enum signature_kind kind;
    enum digest digest;      /* DIGEST_NONE for EdDSA, which hashes by itself */
    enum digest mask_digest; /* RSASSA-PSS: of MGF1 */
    unsigned salt_size;      /* RSASSA-PSS: octets */
    const uint8_t *octets;
    size_t size;
    const uint8_t *text; /* what is signed */
    size_t text_size;
};

/* What checking it costs at the most. Measured with Debian's wolfSSL 5.5 on one core of a small virtual machine:
 *   RSA 2048  0.05 ms, with an exponent of 64 bits 0.23 ms      P-256    0.87 ms      Ed25519  0.07 ms
 *   RSA 4096  0.18 ms, with an exponent of 64 bits 0.68 ms      P-384    0.89 ms      Ed448    0.21 ms
 *   hashing   4 ns an octet                                     P-521    2.54 ms */
uint64_t signature_cost_ns(const struct signature *signature, const struct public_key *key);

/* Does it hold? False also where signature and key are of different kinds. */
bool signature_holds(const struct signature *signature, const struct public_key *key);

/* SHA-256, for pins. */
bool signature_sha256(const uint8_t *octets, size_t size, uint8_t out[32]);

#endif

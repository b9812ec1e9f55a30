/* certificate.h - reads X.509 certificates in DER; no cryptography, no trust, no I/O.
 *
 * Memory: a struct certificate points into the octets it was read from and owns nothing. Strict: definite and
 *         shortest lengths only, nothing behind the end, no extension twice. What is not understood and marked
 *         critical is told (unknown_critical), not skipped.
 * Rules:  RFC 5280 section 4 (profile), section 4.2.1.10 (name constraints), RFC 6125 section 6.4 (names).
 */
#ifndef NODEDOT_PROOF_CERTIFICATE_H
#define NODEDOT_PROOF_CERTIFICATE_H

#include "nodedot/proof/der.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CERTIFICATE_NO_PATH_LENGTH (-1)

enum key_kind { KEY_OTHER, KEY_RSA, KEY_EC, KEY_ED25519, KEY_ED448 };

struct certificate {
    struct octets der;
    struct octets issuer;              /* Name, with tag and length, so that equal names are equal octets */
    struct octets subject;             /* the same */
    struct octets spki;                /* SubjectPublicKeyInfo, with tag and length: what a pin hashes */
    struct octets key;                 /* contents of its BIT STRING */
    struct octets names;               /* GeneralNames of subjectAltName, contents */
    struct octets permitted, excluded; /* GeneralSubtrees of nameConstraints, contents */
    int64_t not_before, not_after;     /* seconds since 1970 */
    enum key_kind key_kind;
    unsigned key_bits;     /* RSA: of the modulus; EC: of the curve, 0 for one that we do not know */
    int path_length;       /* pathLenConstraint, or CERTIFICATE_NO_PATH_LENGTH */
    bool is_ca;            /* basicConstraints cA */
    bool may_sign;         /* keyUsage is absent or has keyCertSign */
    bool may_handshake;    /* keyUsage is absent or has digitalSignature */
    bool may_serve;        /* extKeyUsage is absent or has serverAuth or anyExtendedKeyUsage */
    bool unknown_critical; /* an extension is critical that we do not know */
    bool strong_signature; /* signed with SHA-2 and RSA, ECDSA, or EdDSA; the others can be forged or are not in use */
};

/* Reads one certificate of exactly size octets. False: not a certificate, *out is unusable. */
bool certificate_parse(const uint8_t *der, size_t size, struct certificate *out);

/* Is the key long enough to be trusted through a CA: RSA from 2048 bits, P-256, P-384, P-521, EdDSA. */
bool certificate_key_strong(const struct certificate *certificate);

/* Same issuer and subject octets: self-issued (RFC 5280 section 3.2). */
bool certificate_self_issued(const struct certificate *certificate);

/* Writes a Name for people: "CN=dns.example, O=Example", most specific first, cut where it is too long, and every octet
 * that is not printable ASCII as "?". */
void certificate_describe_name(struct octets name, char *out, size_t size);

/* "EC P-256", "RSA 2048", "Ed25519", "other". */
void certificate_describe_key(const struct certificate *certificate, char *out, size_t size);

#define CERTIFICATE_DATE 32
/* Writes "2026-12-31 23:59", UTC, to out of CERTIFICATE_DATE octets, and returns out. */
const char *certificate_describe_date(int64_t seconds, char *out);

#endif

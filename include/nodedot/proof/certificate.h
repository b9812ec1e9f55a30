/* certificate.h - what one X.509 certificate says, and how to show it; no cryptography, no trust, no I/O.
 *
 * Made by: certificate_parser.h.
 * Memory:  a struct certificate points into the octets it was read from and owns nothing.
 * Rules:   RFC 5280 section 4 (profile) and section 4.2.1 (extensions).
 */
#ifndef NODEDOT_PROOF_CERTIFICATE_H
#define NODEDOT_PROOF_CERTIFICATE_H

#include "nodedot/proof/algorithm.h"
#include "nodedot/proof/der.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CERTIFICATE_NO_PATH_LENGTH (-1)
#define CERTIFICATE_NO_SKIP        (-1)

struct certificate {
    struct octets der;
    struct octets issuer;  /* Name, with tag and length, so that equal names are equal octets */
    struct octets subject; /* the same */
    struct octets spki;    /* SubjectPublicKeyInfo, with tag and length: what a pin hashes */
    struct octets names;   /* GeneralNames of subjectAltName, contents */
    struct octets permitted,
        excluded;                  /* GeneralSubtrees of nameConstraints, contents; well-formed unless flaw is set */
    struct octets policies;        /* PolicyInformation of certificatePolicies, contents */
    struct octets policy_mappings; /* contents */
    int64_t not_before, not_after; /* seconds since 1970 */
    struct public_key key;
    struct signature signature;
    int path_length;             /* pathLenConstraint, or CERTIFICATE_NO_PATH_LENGTH */
    int require_explicit_policy; /* SkipCerts of policyConstraints, or CERTIFICATE_NO_SKIP */
    int inhibit_policy_mapping;  /* the same */
    int inhibit_any_policy;      /* SkipCerts of inhibitAnyPolicy, or CERTIFICATE_NO_SKIP */
    bool is_ca;                  /* basicConstraints cA */
    bool may_sign;               /* keyUsage is absent or has keyCertSign */
    bool may_handshake;          /* keyUsage is absent or has digitalSignature */
    bool may_serve;              /* extKeyUsage is absent or has serverAuth or anyExtendedKeyUsage */
    bool unknown_critical;       /* a critical extension that is not supported */
    const char *flaw; /* a rule of RFC 5280 that it breaks, for people ("has an empty nameConstraints"), or NULL */
};

/* Is the key strong enough to be trusted through a CA: RSA from 2048 bits with an odd exponent of 3 to 2^64 - 1, P-256,
 * P-384, P-521, EdDSA. */
bool certificate_key_strong(const struct certificate *certificate);

/* Is a signature of this key cheap enough to check: no RSA exponent above 64 bits? */
bool certificate_key_affordable(const struct certificate *certificate);
#define CERTIFICATE_KEY_UNAFFORDABLE "an RSA key with an exponent above 64 bits"

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

#include "nodedot/proof/algorithm.h"

#define PSS_SALT_MAX 1024 /* octets; no salt is longer than the modulus, and no modulus is longer than 8192 bits */

static const struct {
    uint8_t id; /* last octet of 1.2.840.113549.1.1.ID, sha*WithRSAEncryption */
    enum digest digest;
} rsa_digests[] = {{11, DIGEST_SHA256}, {12, DIGEST_SHA384}, {13, DIGEST_SHA512}};

static bool is_null_or_absent(struct der *d)
{
    if (der_is(d, DER_NULL) && der_take(d, DER_NULL).size != 0)
        return false;
    return !d->bad && der_at_end(d);
}

static enum digest digest_of(struct octets oid)
{
    if (octets_equal(oid, OID(0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01)))
        return DIGEST_SHA256;
    if (octets_equal(oid, OID(0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02)))
        return DIGEST_SHA384;
    if (octets_equal(oid, OID(0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03)))
        return DIGEST_SHA512;
    return DIGEST_NONE;
}

/* The AlgorithmIdentifier of a hash, in which the parameters are NULL or absent (RFC 4055 section 2.1). */
static enum digest read_digest(struct der *d)
{
    struct der identifier = der_enter(d, DER_SEQUENCE);
    enum digest digest = digest_of(der_take(&identifier, DER_OID));

    return is_null_or_absent(&identifier) ? digest : DIGEST_NONE;
}

/* RFC 4055 section 3.1. A field that is absent means SHA-1 or 20 octets: where a hash is absent the signature is weak. */
static struct signature read_pss(struct der *identifier)
{
    struct signature out = {.kind = SIGNATURE_RSA_PSS, .salt_size = 20};
    struct der d = der_enter(identifier, DER_SEQUENCE);

    if (der_is(&d, DER_CONTEXT_CONSTRUCTED + 0)) {
        struct der field = der_enter(&d, DER_CONTEXT_CONSTRUCTED + 0);
        out.digest = read_digest(&field);
        d.bad |= field.bad || !der_at_end(&field);
    }
    if (der_is(&d, DER_CONTEXT_CONSTRUCTED + 1)) {
        struct der field = der_enter(&d, DER_CONTEXT_CONSTRUCTED + 1);
        struct der mask = der_enter(&field, DER_SEQUENCE);
        bool mgf1 = octets_equal(der_take(&mask, DER_OID), OID(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08));
        out.mask_digest = mgf1 ? read_digest(&mask) : DIGEST_NONE;
        d.bad |= field.bad || !der_at_end(&field) || mask.bad || !der_at_end(&mask);
    }
    if (der_is(&d, DER_CONTEXT_CONSTRUCTED + 2)) {
        struct der field = der_enter(&d, DER_CONTEXT_CONSTRUCTED + 2);
        struct octets salt = der_take(&field, DER_INTEGER);
        out.salt_size = 0;
        for (size_t i = 0; i < salt.size && out.salt_size <= PSS_SALT_MAX; i++)
            out.salt_size = out.salt_size << 8 | salt.at[i];
        d.bad |= field.bad || !der_at_end(&field) || salt.size == 0 || salt.at[0] >= 0x80;
    }
    if (der_is(&d, DER_CONTEXT_CONSTRUCTED + 3)) {
        struct der field = der_enter(&d, DER_CONTEXT_CONSTRUCTED + 3);
        struct octets trailer = der_take(&field, DER_INTEGER);
        d.bad |= field.bad || !der_at_end(&field) || trailer.size != 1 || trailer.at[0] != 1;
    }
    if (d.bad || !der_at_end(&d) || !der_at_end(identifier) || out.digest == DIGEST_NONE ||
        out.mask_digest == DIGEST_NONE || out.salt_size > PSS_SALT_MAX)
        return (struct signature){0};
    return out;
}

struct signature algorithm_of_signature(struct octets identifier)
{
    static const uint8_t pkcs1[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01};
    static const uint8_t ecdsa[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03};
    struct der d = der_open(identifier);
    struct octets oid = der_take(&d, DER_OID);

    if (d.bad || oid.size < 3)
        return (struct signature){0};
    uint8_t last = oid.at[oid.size - 1];
    struct octets family = {oid.at, oid.size - 1};
    if (octets_equal(family, (struct octets){pkcs1, sizeof(pkcs1)})) {
        if (last == 10)
            return read_pss(&d);
        for (size_t i = 0; i < sizeof(rsa_digests) / sizeof(*rsa_digests); i++)
            if (rsa_digests[i].id == last && is_null_or_absent(&d))
                return (struct signature){.kind = SIGNATURE_RSA, .digest = rsa_digests[i].digest};
    }
    if (!der_at_end(&d)) /* the others have no parameters (RFC 5758 section 3.2, RFC 8410 section 3) */
        return (struct signature){0};
    if (octets_equal(family, (struct octets){ecdsa, sizeof(ecdsa)}) && last >= 2 && last <= 4)
        return (struct signature){.kind = SIGNATURE_ECDSA, .digest = DIGEST_SHA256 + (last - 2)};
    if (octets_equal(oid, OID(0x2b, 0x65, 0x70)))
        return (struct signature){.kind = SIGNATURE_ED25519};
    if (octets_equal(oid, OID(0x2b, 0x65, 0x71)))
        return (struct signature){.kind = SIGNATURE_ED448};
    return (struct signature){0};
}

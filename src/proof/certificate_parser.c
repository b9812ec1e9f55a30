#include "nodedot/proof/certificate_parser.h"

#include "nodedot/proof/extensions.h"

#include <time.h>

static bool digits(const uint8_t *at, size_t count, int *out)
{
    int value = 0;

    for (size_t i = 0; i < count; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        value = value * 10 + (at[i] - '0');
    }
    *out = value;
    return true;
}

/* UTCTime or GeneralizedTime in the forms of RFC 5280 section 4.1.2.5: seconds present, "Z", no fraction. */
static int64_t parse_time(struct der *d)
{
    bool utc = der_is(d, DER_UTC_TIME);
    struct octets text = der_take(d, utc ? DER_UTC_TIME : DER_GENERALIZED_TIME);
    size_t year_digits = utc ? 2 : 4;
    struct tm tm = {0};
    int year = 0;

    if (d->bad || text.size != year_digits + 11 || text.at[text.size - 1] != 'Z' ||
        !digits(text.at, year_digits, &year) || !digits(text.at + year_digits, 2, &tm.tm_mon) ||
        !digits(text.at + year_digits + 2, 2, &tm.tm_mday) || !digits(text.at + year_digits + 4, 2, &tm.tm_hour) ||
        !digits(text.at + year_digits + 6, 2, &tm.tm_min) || !digits(text.at + year_digits + 8, 2, &tm.tm_sec)) {
        d->bad = true;
        return 0;
    }
    if (utc)
        year += year < 50 ? 2000 : 1900;
    tm.tm_year = year - 1900;
    tm.tm_mon--;

    struct tm normal = tm;
    time_t seconds = timegm(&normal);
    if (normal.tm_mon != tm.tm_mon || normal.tm_mday != tm.tm_mday || normal.tm_hour != tm.tm_hour ||
        normal.tm_min != tm.tm_min || normal.tm_sec != tm.tm_sec)
        d->bad = true; /* the 31st of February and the like */
    return seconds;
}

/* RSAPublicKey (RFC 8017 appendix A.1.1). Exponents in use are 3, 17 and 65537; one that is wider than 64 bits makes a
 * signature so expensive to check that it is refused (exponent 0). */
static void parse_rsa(struct octets raw, struct public_key *out)
{
    struct der d = der_open(raw);
    struct der numbers = der_enter(&d, DER_SEQUENCE);
    struct octets modulus = der_take(&numbers, DER_INTEGER), exponent = der_take(&numbers, DER_INTEGER);

    if (numbers.bad || !der_at_end(&numbers) || !der_at_end(&d) || modulus.size == 0 || modulus.at[0] >= 0x80 ||
        exponent.size == 0 || exponent.at[0] >= 0x80)
        return;
    while (modulus.size > 0 && *modulus.at == 0)
        modulus.at++, modulus.size--;
    while (exponent.size > 0 && *exponent.at == 0)
        exponent.at++, exponent.size--;
    if (modulus.size == 0)
        return;
    out->bits = (unsigned)modulus.size * 8;
    for (uint8_t first = *modulus.at; (first & 0x80) == 0; first = (uint8_t)(first << 1))
        out->bits--;
    for (size_t i = 0; i < exponent.size && exponent.size <= sizeof(out->exponent); i++)
        out->exponent = out->exponent << 8 | exponent.at[i];
}

static unsigned curve_bits(struct octets oid)
{
    if (octets_equal(oid, OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07)))
        return 256;
    if (octets_equal(oid, OID(0x2b, 0x81, 0x04, 0x00, 0x22)))
        return 384;
    if (octets_equal(oid, OID(0x2b, 0x81, 0x04, 0x00, 0x23)))
        return 521;
    return 0;
}

/* SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7, RFC 3279, RFC 5480, RFC 8410). */
static void parse_key(struct der *tbs, struct certificate *out)
{
    struct der spki = der_open(der_whole(tbs, DER_SEQUENCE, &out->spki));
    struct der algorithm = der_enter(&spki, DER_SEQUENCE);
    struct octets oid = der_take(&algorithm, DER_OID);
    struct octets bits = der_take(&spki, DER_BIT_STRING);

    if (spki.bad || algorithm.bad || !der_at_end(&spki) || bits.size < 2 || bits.at[0] != 0) {
        tbs->bad = true;
        return;
    }
    out->key = (struct public_key){
        .spki = out->spki.at, .spki_size = out->spki.size, .raw = bits.at + 1, .raw_size = bits.size - 1};
    if (octets_equal(oid, OID(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01))) {
        out->key.kind = KEY_RSA;
        parse_rsa((struct octets){out->key.raw, out->key.raw_size}, &out->key);
    } else if (octets_equal(oid, OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01))) {
        out->key.kind = KEY_EC;
        out->key.bits = der_is(&algorithm, DER_OID) ? curve_bits(der_take(&algorithm, DER_OID)) : 0;
    } else if (octets_equal(oid, OID(0x2b, 0x65, 0x70))) {
        out->key.kind = KEY_ED25519;
    } else if (octets_equal(oid, OID(0x2b, 0x65, 0x71))) {
        out->key.kind = KEY_ED448;
    }
}

static void parse_tbs(struct der *tbs, struct octets *algorithm, struct certificate *out)
{
    if (der_is(tbs, DER_CONTEXT_CONSTRUCTED + 0))
        der_skip(tbs);
    der_take(tbs, DER_INTEGER); /* serial number */
    der_whole(tbs, DER_SEQUENCE, algorithm);
    der_whole(tbs, DER_SEQUENCE, &out->issuer);
    struct der validity = der_enter(tbs, DER_SEQUENCE);
    out->not_before = parse_time(&validity);
    out->not_after = parse_time(&validity);
    tbs->bad |= validity.bad || !der_at_end(&validity);
    der_whole(tbs, DER_SEQUENCE, &out->subject);
    parse_key(tbs, out);
    if (der_is(tbs, DER_CONTEXT + 1))
        der_skip(tbs);
    if (der_is(tbs, DER_CONTEXT + 2))
        der_skip(tbs);
    if (der_is(tbs, DER_CONTEXT_CONSTRUCTED + 3))
        extensions_parse(tbs, out);
    if (!der_at_end(tbs))
        tbs->bad = true;
}

bool certificate_parse(const uint8_t *der, size_t size, struct certificate *out)
{
    struct der d = der_open((struct octets){der, size});
    struct der certificate = der_enter(&d, DER_SEQUENCE);
    struct octets signed_with, named, tbs_whole;

    *out = (struct certificate){.der = {der, size},
                                .path_length = CERTIFICATE_NO_PATH_LENGTH,
                                .require_explicit_policy = CERTIFICATE_NO_SKIP,
                                .inhibit_policy_mapping = CERTIFICATE_NO_SKIP,
                                .inhibit_any_policy = CERTIFICATE_NO_SKIP,
                                .may_sign = true,
                                .may_handshake = true,
                                .may_serve = true};
    struct der tbs = der_open(der_whole(&certificate, DER_SEQUENCE, &tbs_whole));
    parse_tbs(&tbs, &signed_with, out);
    struct octets algorithm = der_whole(&certificate, DER_SEQUENCE, &named);
    struct octets bits = der_take(&certificate, DER_BIT_STRING);
    if (d.bad || !der_at_end(&d) || certificate.bad || !der_at_end(&certificate) || tbs.bad)
        return false;
    if (bits.size < 2 || bits.at[0] != 0)
        return false;
    out->signature = algorithm_of_signature(algorithm);
    out->signature.octets = bits.at + 1;
    out->signature.size = bits.size - 1;
    out->signature.text = tbs_whole.at;
    out->signature.text_size = tbs_whole.size;
    return octets_equal(signed_with, named); /* RFC 5280 section 4.1.1.2 */
}

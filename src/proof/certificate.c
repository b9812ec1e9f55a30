#include "nodedot/proof/certificate.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define RDN_MAX      16   /* attributes of a Name that we show */
#define RSA_MIN_BITS 2048 /* CA/Browser Forum baseline requirements, section 6.1.5 */

#define OID(...)                                                               \
    (struct octets)                                                            \
    {                                                                          \
        (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}) \
    }

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

static unsigned rsa_bits(struct octets key)
{
    struct der d = der_open(key);
    struct der numbers = der_enter(&d, DER_SEQUENCE);
    struct octets modulus = der_take(&numbers, DER_INTEGER);

    while (modulus.size > 0 && *modulus.at == 0)
        modulus.at++, modulus.size--;
    if (modulus.size == 0)
        return 0;
    unsigned bits = (unsigned)modulus.size * 8;
    for (uint8_t first = *modulus.at; (first & 0x80) == 0; first = (uint8_t)(first << 1))
        bits--;
    return bits;
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
    out->key = (struct octets){bits.at + 1, bits.size - 1};
    if (octets_equal(oid, OID(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01))) {
        out->key_kind = KEY_RSA;
        out->key_bits = rsa_bits(out->key);
    } else if (octets_equal(oid, OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01))) {
        out->key_kind = KEY_EC;
        out->key_bits = der_is(&algorithm, DER_OID) ? curve_bits(der_take(&algorithm, DER_OID)) : 0;
    } else if (octets_equal(oid, OID(0x2b, 0x65, 0x70))) {
        out->key_kind = KEY_ED25519;
    } else if (octets_equal(oid, OID(0x2b, 0x65, 0x71))) {
        out->key_kind = KEY_ED448;
    }
}

/* The list has no RSASSA-PSS: its hash hides in parameters, and no public CA signs with it. */
static bool signature_is_strong(struct octets algorithm)
{
    struct der d = der_open(algorithm);
    struct octets oid = der_take(&d, DER_OID);
    const struct octets strong[] = {
        OID(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b), /* sha256WithRSAEncryption */
        OID(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c), /* sha384WithRSAEncryption */
        OID(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d), /* sha512WithRSAEncryption */
        OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02),       /* ecdsa-with-SHA256 */
        OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03),       /* ecdsa-with-SHA384 */
        OID(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04),       /* ecdsa-with-SHA512 */
        OID(0x2b, 0x65, 0x70),                                     /* Ed25519 */
        OID(0x2b, 0x65, 0x71),                                     /* Ed448 */
    };

    for (size_t i = 0; i < sizeof(strong) / sizeof(*strong); i++)
        if (octets_equal(oid, strong[i]))
            return true;
    return false;
}

static void parse_basic_constraints(struct der *value, struct certificate *out)
{
    struct der d = der_enter(value, DER_SEQUENCE);

    if (der_is(&d, DER_BOOLEAN)) {
        struct octets ca = der_take(&d, DER_BOOLEAN);
        out->is_ca = ca.size == 1 && *ca.at == 0xff;
    }
    if (der_is(&d, DER_INTEGER)) {
        struct octets length = der_take(&d, DER_INTEGER);
        if (length.size != 1 || *length.at > 0x7f) /* nobody has more than 127 CAs in a row */
            value->bad = true;
        else
            out->path_length = *length.at;
    }
    if (d.bad || !der_at_end(&d))
        value->bad = true;
}

static void parse_key_usage(struct der *value, struct certificate *out)
{
    struct octets bits = der_take(value, DER_BIT_STRING);

    out->may_handshake = bits.size > 1 && (bits.at[1] & 0x80) != 0; /* bit 0, digitalSignature */
    out->may_sign = bits.size > 1 && (bits.at[1] & 0x04) != 0;      /* bit 5, keyCertSign */
}

static void parse_extended_usage(struct der *value, struct certificate *out)
{
    struct der d = der_enter(value, DER_SEQUENCE);

    out->may_serve = false;
    while (!der_at_end(&d)) {
        struct octets oid = der_take(&d, DER_OID);
        if (octets_equal(oid, OID(0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01)) ||
            octets_equal(oid, OID(0x55, 0x1d, 0x25, 0x00)))
            out->may_serve = true;
    }
    value->bad |= d.bad;
}

static void parse_name_constraints(struct der *value, struct certificate *out)
{
    struct der d = der_enter(value, DER_SEQUENCE);

    if (der_is(&d, DER_CONTEXT_CONSTRUCTED + 0))
        out->permitted = der_take(&d, DER_CONTEXT_CONSTRUCTED + 0);
    if (der_is(&d, DER_CONTEXT_CONSTRUCTED + 1))
        out->excluded = der_take(&d, DER_CONTEXT_CONSTRUCTED + 1);
    if (d.bad || !der_at_end(&d))
        value->bad = true;
}

/* Extensions below 2.5.29, by their last octet (RFC 5280 section 4.2.1). Policies never change whether a server is the
 * right one as long as nobody asks for a policy, so they are known and passed over. */
enum { EXT_KEY_USAGE = 15, EXT_ALT_NAME = 17, EXT_BASIC = 19, EXT_NAME_LIMITS = 30, EXT_POLICIES = 32, EXT_USAGE = 37 };

static bool parse_known_extension(uint8_t id, struct der *value, struct certificate *out)
{
    switch (id) {
    case EXT_KEY_USAGE:
        parse_key_usage(value, out);
        return true;
    case EXT_ALT_NAME:
        out->names = der_take(value, DER_SEQUENCE);
        return true;
    case EXT_BASIC:
        parse_basic_constraints(value, out);
        return true;
    case EXT_NAME_LIMITS:
        parse_name_constraints(value, out);
        return true;
    case EXT_POLICIES:
        der_skip(value);
        return true;
    case EXT_USAGE:
        parse_extended_usage(value, out);
        return true;
    default:
        return false;
    }
}

static void parse_extensions(struct der *tbs, struct certificate *out)
{
    struct der wrapper = der_enter(tbs, DER_CONTEXT_CONSTRUCTED + 3);
    struct der list = der_enter(&wrapper, DER_SEQUENCE);
    uint64_t seen = 0;

    while (!der_at_end(&list)) {
        struct der extension = der_enter(&list, DER_SEQUENCE);
        struct octets oid = der_take(&extension, DER_OID);
        bool critical = false;
        if (der_is(&extension, DER_BOOLEAN)) {
            struct octets flag = der_take(&extension, DER_BOOLEAN);
            critical = flag.size != 1 || *flag.at != 0;
        }
        struct der value = der_enter(&extension, DER_OCTET_STRING);
        list.bad |= extension.bad || !der_at_end(&extension);
        if (list.bad)
            break;

        bool standard = oid.size == 3 && oid.at[0] == 0x55 && oid.at[1] == 0x1d && oid.at[2] < 64;
        if (standard && (seen >> oid.at[2] & 1) != 0) /* RFC 5280 section 4.2: never twice */
            list.bad = true;
        if (standard)
            seen |= (uint64_t)1 << oid.at[2];
        if (standard && parse_known_extension(oid.at[2], &value, out))
            list.bad |= value.bad || !der_at_end(&value);
        else if (critical)
            out->unknown_critical = true;
    }
    tbs->bad |= wrapper.bad || !der_at_end(&wrapper) || list.bad;
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
        parse_extensions(tbs, out);
    if (!der_at_end(tbs))
        tbs->bad = true;
}

bool certificate_parse(const uint8_t *der, size_t size, struct certificate *out)
{
    struct der d = der_open((struct octets){der, size});
    struct der certificate = der_enter(&d, DER_SEQUENCE);
    struct der tbs = der_enter(&certificate, DER_SEQUENCE);
    struct octets signed_with, named;

    *out = (struct certificate){.der = {der, size},
                                .path_length = CERTIFICATE_NO_PATH_LENGTH,
                                .may_sign = true,
                                .may_handshake = true,
                                .may_serve = true};
    parse_tbs(&tbs, &signed_with, out);
    struct octets algorithm = der_whole(&certificate, DER_SEQUENCE, &named);
    der_take(&certificate, DER_BIT_STRING);
    if (d.bad || !der_at_end(&d) || certificate.bad || !der_at_end(&certificate) || tbs.bad)
        return false;
    out->strong_signature = signature_is_strong(algorithm);
    return octets_equal(signed_with, named); /* RFC 5280 section 4.1.1.2 */
}

bool certificate_key_strong(const struct certificate *certificate)
{
    switch (certificate->key_kind) {
    case KEY_RSA:
        return certificate->key_bits >= RSA_MIN_BITS;
    case KEY_EC:
        return certificate->key_bits != 0;
    case KEY_ED25519:
    case KEY_ED448:
        return true;
    case KEY_OTHER:
        break;
    }
    return false;
}

bool certificate_self_issued(const struct certificate *certificate)
{
    return octets_equal(certificate->issuer, certificate->subject);
}

/* The short names of RFC 4514 section 3 that are in use; the others are not shown. */
static const char *attribute_label(struct octets oid)
{
    static const struct {
        uint8_t id;
        const char *label;
    } labels[] = {{3, "CN"}, {6, "C"}, {7, "L"}, {8, "ST"}, {10, "O"}, {11, "OU"}};

    if (oid.size != 3 || oid.at[0] != 0x55 || oid.at[1] != 0x04)
        return NULL;
    for (size_t i = 0; i < sizeof(labels) / sizeof(*labels); i++)
        if (labels[i].id == oid.at[2])
            return labels[i].label;
    return NULL;
}

static size_t append_attribute(struct octets attribute, char *out, size_t used, size_t size)
{
    struct der d = der_open(attribute);
    const char *label = attribute_label(der_take(&d, DER_OID));
    uint8_t tag;
    struct octets whole, value = der_any(&d, &tag, &whole);

    if (label == NULL || d.bad)
        return used;
    int written = snprintf(out + used, size - used, "%s%s=", used > 0 ? ", " : "", label);
    used = written < 0 || (size_t)written >= size - used ? size - 1 : used + (size_t)written;
    for (size_t i = 0; i < value.size && used < size - 1; i++)
        out[used++] = value.at[i] >= ' ' && value.at[i] <= '~' ? (char)value.at[i] : '?';
    out[used] = '\0';
    return used;
}

void certificate_describe_name(struct octets name, char *out, size_t size)
{
    struct der d = der_open(name);
    struct der list = der_enter(&d, DER_SEQUENCE);
    struct octets attributes[RDN_MAX];
    size_t count = 0, used = 0;

    while (!der_at_end(&list) && count < RDN_MAX) {
        struct der set = der_enter(&list, DER_SET);
        while (!der_at_end(&set) && count < RDN_MAX)
            attributes[count++] = der_take(&set, DER_SEQUENCE);
    }
    out[0] = '\0';
    while (count > 0) /* the encoding begins with the country */
        used = append_attribute(attributes[--count], out, used, size);
}

void certificate_describe_key(const struct certificate *certificate, char *out, size_t size)
{
    switch (certificate->key_kind) {
    case KEY_RSA:
        snprintf(out, size, "RSA %u", certificate->key_bits);
        break;
    case KEY_EC:
        if (certificate->key_bits == 0)
            snprintf(out, size, "EC");
        else
            snprintf(out, size, "EC P-%u", certificate->key_bits);
        break;
    case KEY_ED25519:
        snprintf(out, size, "Ed25519");
        break;
    case KEY_ED448:
        snprintf(out, size, "Ed448");
        break;
    case KEY_OTHER:
        snprintf(out, size, "other");
        break;
    }
}

const char *certificate_describe_date(int64_t seconds, char *out)
{
    time_t t = (time_t)seconds;
    struct tm tm;

    if (gmtime_r(&t, &tm) == NULL || strftime(out, CERTIFICATE_DATE, "%Y-%m-%d %H:%M", &tm) == 0)
        snprintf(out, CERTIFICATE_DATE, "?");
    return out;
}

#include "nodedot/proof/certificate.h"

#include <stdio.h>
#include <time.h>

#define RDN_MAX      16   /* attributes of a Name that we show */
#define RSA_MIN_BITS 2048 /* CA/Browser Forum baseline requirements, section 6.1.5 */

bool certificate_key_strong(const struct certificate *certificate)
{
    switch (certificate->key.kind) {
    case KEY_RSA:
        return certificate->key.bits >= RSA_MIN_BITS && certificate->key.exponent >= 3 &&
               certificate->key.exponent % 2 != 0;
    case KEY_EC:
        return certificate->key.bits != 0;
    case KEY_ED25519:
    case KEY_ED448:
        return true;
    case KEY_OTHER:
        break;
    }
    return false;
}

bool certificate_key_affordable(const struct certificate *certificate)
{
    return certificate->key.kind != KEY_RSA || certificate->key.exponent != 0;
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
    switch (certificate->key.kind) {
    case KEY_RSA:
        snprintf(out, size, "RSA %u", certificate->key.bits);
        break;
    case KEY_EC:
        if (certificate->key.bits == 0)
            snprintf(out, size, "EC");
        else
            snprintf(out, size, "EC P-%u", certificate->key.bits);
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

#include "nodedot/proof/extensions.h"

#include "nodedot/proof/constraints.h"
#include "nodedot/proof/policy.h"

/* subjectAltName: a list that can be read to its end. A name in it that is malformed matches nothing. */
static void parse_names(struct der *value, struct certificate *out)
{
    out->names = der_take(value, DER_SEQUENCE);

    struct der list = der_open(out->names);
    while (!der_at_end(&list))
        der_skip(&list);
    value->bad |= list.bad;
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
    else if (out->permitted.at == NULL && out->excluded.at == NULL)
        out->flaw = "has an empty nameConstraints";
    else if (!constraints_well_formed(out->permitted) || !constraints_well_formed(out->excluded))
        out->flaw = "has a nameConstraints that is malformed";
}

/* certificatePolicies: at least one PolicyInformation, which begins with the policy (RFC 5280 section 4.2.1.4). */
static void parse_policies(struct der *value, struct certificate *out)
{
    out->policies = der_take(value, DER_SEQUENCE);

    struct der list = der_open(out->policies);
    if (out->policies.size == 0)
        value->bad = true;
    while (!der_at_end(&list)) {
        struct der information = der_enter(&list, DER_SEQUENCE);
        der_take(&information, DER_OID);
        list.bad |= information.bad;
    }
    value->bad |= list.bad;
}

/* Nothing is mapped to or from anyPolicy (RFC 5280 section 6.1.4 a). */
static void parse_policy_mappings(struct der *value, struct certificate *out)
{
    out->policy_mappings = der_take(value, DER_SEQUENCE);

    struct der list = der_open(out->policy_mappings);
    while (!der_at_end(&list)) {
        struct der pair = der_enter(&list, DER_SEQUENCE);
        struct octets issuer = der_take(&pair, DER_OID), subject = der_take(&pair, DER_OID);
        list.bad |= pair.bad || !der_at_end(&pair);
        if (policy_is_any(issuer) || policy_is_any(subject))
            out->flaw = "maps anyPolicy (policyMappings)";
    }
    value->bad |= list.bad || out->policy_mappings.size == 0;
}

/* SkipCerts: no more than 127, see path_length. */
static int take_skip(struct der *d, uint8_t tag)
{
    struct octets skip = der_take(d, tag);

    if (skip.size == 1 && *skip.at <= 0x7f)
        return *skip.at;
    d->bad = true;
    return CERTIFICATE_NO_SKIP;
}

static void parse_policy_constraints(struct der *value, struct certificate *out)
{
    struct der d = der_enter(value, DER_SEQUENCE);

    if (der_at_end(&d))
        value->bad = true; /* RFC 5280 section 4.2.1.11: never an empty sequence */
    if (der_is(&d, DER_CONTEXT + 0))
        out->require_explicit_policy = take_skip(&d, DER_CONTEXT + 0);
    if (der_is(&d, DER_CONTEXT + 1))
        out->inhibit_policy_mapping = take_skip(&d, DER_CONTEXT + 1);
    value->bad |= d.bad || !der_at_end(&d);
}

/* Extensions below 2.5.29, by their last octet (RFC 5280 section 4.2.1). */
enum {
    EXT_KEY_USAGE = 15,
    EXT_ALT_NAME = 17,
    EXT_BASIC = 19,
    EXT_NAME_LIMITS = 30,
    EXT_POLICIES = 32,
    EXT_MAPPINGS = 33,
    EXT_POLICY_LIMITS = 36,
    EXT_USAGE = 37,
    EXT_INHIBIT_ANY = 54
};

static bool parse_known_extension(uint8_t id, struct der *value, struct certificate *out)
{
    switch (id) {
    case EXT_KEY_USAGE:
        parse_key_usage(value, out);
        return true;
    case EXT_ALT_NAME:
        parse_names(value, out);
        return true;
    case EXT_BASIC:
        parse_basic_constraints(value, out);
        return true;
    case EXT_NAME_LIMITS:
        parse_name_constraints(value, out);
        return true;
    case EXT_POLICIES:
        parse_policies(value, out);
        return true;
    case EXT_MAPPINGS:
        parse_policy_mappings(value, out);
        return true;
    case EXT_POLICY_LIMITS:
        parse_policy_constraints(value, out);
        return true;
    case EXT_INHIBIT_ANY:
        out->inhibit_any_policy = take_skip(value, DER_INTEGER);
        return true;
    case EXT_USAGE:
        parse_extended_usage(value, out);
        return true;
    default:
        return false;
    }
}

void extensions_parse(struct der *tbs, struct certificate *out)
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

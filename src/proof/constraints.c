#include "nodedot/proof/constraints.h"

#include "nodedot/proof/san.h"

#include <string.h>
#include <strings.h>

/* Measured: reading a subtree takes 20 ns, comparing names about a nanosecond an octet. */
#define COMPARE_NS 30

#define EMPTY_NAME_OCTETS 2 /* tag and length */

static bool text_equal(struct octets a, struct octets b)
{
    return a.size == b.size && strncasecmp((const char *)a.at, (const char *)b.at, a.size) == 0;
}

static struct octets behind(struct octets text, size_t n)
{
    return (struct octets){text.at + n, text.size - n};
}

/* Is name the domain, or below it? An empty domain holds every name; a leading dot asks for at least one label more.
 * The names are well-formed, so a NUL cannot end the comparison early. */
static bool dns_name_below(struct octets name, struct octets domain)
{
    if (domain.size == 0)
        return true;
    if (name.size < domain.size || !text_equal(behind(name, name.size - domain.size), domain))
        return false;
    return name.size == domain.size || domain.at[0] == '.' || name.at[name.size - domain.size - 1] == '.';
}

/* "*.example.com" also speaks for names that lie below an excluded "www.example.com". */
static bool wildcard_covers(struct octets name, struct octets domain)
{
    return name.size > 2 && name.at[0] == '*' && dns_name_below(domain, behind(name, 2));
}

/* A subtree of addresses is an address and a mask of the same size. */
static bool address_below(struct octets address, struct octets block)
{
    if (block.size != 2 * address.size)
        return false;
    for (size_t i = 0; i < address.size; i++)
        if (((address.at[i] ^ block.at[i]) & block.at[address.size + i]) != 0)
            return false;
    return true;
}

/* A host: the domain itself, or below it where it has a leading dot. */
static bool host_below(struct octets host, struct octets domain)
{
    return domain.size > 0 && domain.at[0] == '.' ? dns_name_below(host, domain) : text_equal(host, domain);
}

/* A mailbox, a host, or with a leading dot a domain. The local part is compared octet by octet. */
static bool email_below(struct octets address, struct octets subtree)
{
    const uint8_t *at = memrchr(address.at, '@', address.size);
    const uint8_t *box = memrchr(subtree.at, '@', subtree.size);

    if (at == NULL)
        return false;
    struct octets host = behind(address, (size_t)(at - address.at) + 1);
    if (box == NULL)
        return host_below(host, subtree);
    return at - address.at == box - subtree.at && memcmp(address.at, subtree.at, (size_t)(at - address.at)) == 0 &&
           text_equal(host, behind(subtree, (size_t)(box - subtree.at) + 1));
}

/* The host of "scheme://user@host:port/path"; empty for a URI without one. */
static struct octets uri_host(struct octets uri)
{
    const uint8_t *start = memmem(uri.at, uri.size, "://", 3);
    size_t size = 0;

    if (start == NULL)
        return (struct octets){uri.at, 0};
    struct octets rest = behind(uri, (size_t)(start - uri.at) + 3);
    while (size < rest.size && memchr("/?#", rest.at[size], 3) == NULL)
        size++;
    rest.size = size;
    const uint8_t *user = memchr(rest.at, '@', rest.size);
    if (user != NULL)
        rest = behind(rest, (size_t)(user - rest.at) + 1);
    const uint8_t *port = memchr(rest.at, ':', rest.size);
    if (port != NULL)
        rest.size = (size_t)(port - rest.at);
    return rest;
}

/* Directory names. */

static bool is_text(uint8_t tag)
{
    return tag == DER_UTF8_STRING || tag == DER_PRINTABLE_STRING || tag == DER_IA5_STRING;
}

/* The next character as RFC 5280 section 7.1 compares it: lower case, one space for several; -1 at the end. */
static int next_folded(struct octets *text)
{
    if (text->size == 0)
        return -1;
    uint8_t c = *text->at;
    *text = behind(*text, 1);
    if (c == ' ') {
        while (text->size > 0 && *text->at == ' ')
            *text = behind(*text, 1);
        return text->size == 0 ? -1 : ' '; /* spaces at the end do not count */
    }
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static bool folded_equal(struct octets a, struct octets b)
{
    while (a.size > 0 && *a.at == ' ')
        a = behind(a, 1);
    while (b.size > 0 && *b.at == ' ')
        b = behind(b, 1);
    for (;;) {
        int c = next_folded(&a);
        if (c != next_folded(&b))
            return false;
        if (c < 0)
            return true;
    }
}

static bool attribute_equal(struct der *a, struct der *b)
{
    struct der x = der_enter(a, DER_SEQUENCE), y = der_enter(b, DER_SEQUENCE);
    uint8_t tag_x, tag_y;
    struct octets whole_x, whole_y;

    if (!octets_equal(der_take(&x, DER_OID), der_take(&y, DER_OID)))
        return false;
    struct octets value_x = der_any(&x, &tag_x, &whole_x), value_y = der_any(&y, &tag_y, &whole_y);
    if (x.bad || y.bad)
        return false;
    if (octets_equal(whole_x, whole_y))
        return true;
    return is_text(tag_x) && is_text(tag_y) && folded_equal(value_x, value_y);
}

/* A relative distinguished name: DER sorts its attributes, so they are compared one by one. */
static bool rdn_equal(struct octets a, struct octets b)
{
    struct der x = der_open(a), y = der_open(b);

    while (!der_at_end(&x) && !der_at_end(&y))
        if (!attribute_equal(&x, &y))
            return false;
    return !x.bad && !y.bad && der_at_end(&x) && der_at_end(&y);
}

/* Does name begin with all of base? Both are Names with tag and length. */
static bool directory_below(struct octets name, struct octets base)
{
    struct der outer_name = der_open(name), outer_base = der_open(base);
    struct der names = der_enter(&outer_name, DER_SEQUENCE), bases = der_enter(&outer_base, DER_SEQUENCE);

    while (!der_at_end(&bases)) {
        struct octets a = der_take(&names, DER_SET), b = der_take(&bases, DER_SET);
        if (names.bad || bases.bad || !rdn_equal(a, b))
            return false;
    }
    return !bases.bad && !names.bad;
}

/* Names against lists of subtrees. */

static bool address_mask_good(struct octets block)
{
    bool ended = false;

    if (block.size != 8 && block.size != 32)
        return false;
    for (size_t i = block.size / 2; i < block.size; i++)
        for (unsigned bit = 0x80; bit != 0; bit >>= 1) {
            if ((block.at[i] & bit) == 0)
                ended = true;
            else if (ended)
                return false; /* section 4.2.1.10: in the style of RFC 4632, so ones first */
        }
    return true;
}

static bool subtree_good(uint8_t kind, struct octets base)
{
    if (kind == NAME_ADDRESS)
        return address_mask_good(base);
    if (kind != NAME_DNS || base.size == 0)
        return true;
    /* A leading dot is not in the standard, but private CAs write it and OpenSSL reads it. */
    struct octets domain = base.at[0] == '.' ? behind(base, 1) : base;
    return san_dns_name_good(domain) && domain.at[0] != '*';
}

bool constraints_well_formed(struct octets subtrees)
{
    struct der list = der_open(subtrees);

    if (subtrees.at == NULL)
        return true;
    if (subtrees.size == 0)
        return false;
    while (!der_at_end(&list)) {
        struct der subtree = der_enter(&list, DER_SEQUENCE);
        uint8_t kind;
        struct octets whole, base = der_any(&subtree, &kind, &whole);
        if (subtree.bad || !der_at_end(&subtree)) /* minimum and maximum are never used */
            return false;
        if (!subtree_good(kind, base))
            return false;
    }
    return !list.bad;
}

enum name_form { FORM_MALFORMED, FORM_COMPARED, FORM_UNSUPPORTED };

static enum name_form form_of(uint8_t kind, struct octets name)
{
    switch (kind) {
    case NAME_DNS:
        return san_dns_name_good(name) ? FORM_COMPARED : FORM_MALFORMED;
    case NAME_ADDRESS:
        return name.size == 4 || name.size == 16 ? FORM_COMPARED : FORM_MALFORMED;
    case NAME_DIRECTORY:
        return FORM_COMPARED;
    case NAME_EMAIL:
    case NAME_URI:
        return memchr(name.at, '\0', name.size) == NULL ? FORM_COMPARED : FORM_MALFORMED;
    default:
        return FORM_UNSUPPORTED;
    }
}

static bool name_below(uint8_t kind, struct octets name, struct octets subtree)
{
    switch (kind) {
    case NAME_DNS:
        return dns_name_below(name, subtree);
    case NAME_ADDRESS:
        return address_below(name, subtree);
    case NAME_DIRECTORY:
        return directory_below(name, subtree);
    case NAME_EMAIL:
        return email_below(name, subtree);
    case NAME_URI:
        return host_below(uri_host(name), subtree);
    default:
        return false;
    }
}

/* Is there a subtree of this kind in the list (*any), and does one of them hold the name? */
static bool inside(struct octets subtrees, uint8_t kind, struct octets name, bool *any, struct budget *budget)
{
    struct der list = der_open(subtrees);

    *any = false;
    while (!der_at_end(&list)) {
        struct der subtree = der_enter(&list, DER_SEQUENCE);
        uint8_t base_kind;
        struct octets whole, base = der_any(&subtree, &base_kind, &whole);
        if (!budget_spend(budget, COMPARE_NS + (base_kind == kind ? base.size : 0)))
            return false;
        if (base_kind != kind)
            continue;
        *any = true;
        if (name_below(kind, name, base))
            return true;
    }
    return false;
}

static bool wildcard_reaches(struct octets excluded, struct octets name, struct budget *budget)
{
    struct der list = der_open(excluded);

    while (!der_at_end(&list)) {
        struct der subtree = der_enter(&list, DER_SEQUENCE);
        uint8_t kind;
        struct octets whole, base = der_any(&subtree, &kind, &whole);
        if (!budget_spend(budget, COMPARE_NS + base.size))
            return true;
        if (kind == NAME_DNS && wildcard_covers(name, base))
            return true;
    }
    return false;
}

static bool name_allowed(const struct certificate *ca, uint8_t kind, struct octets name, struct budget *budget)
{
    enum name_form form = form_of(kind, name);
    bool permits, excludes;

    bool in = inside(ca->permitted, kind, name, &permits, budget);
    bool out = inside(ca->excluded, kind, name, &excludes, budget);
    /* A name that cannot be compared is inside of nothing, but no rule for its form may be there either. */
    if (budget->exhausted || (form != FORM_COMPARED && (permits || excludes)))
        return false;
    if ((permits && !in) || out)
        return false;
    return kind != NAME_DNS || name.at[0] != '*' || !excludes || !wildcard_reaches(ca->excluded, name, budget);
}

bool constraints_allow(const struct certificate *ca, const struct certificate *below, struct budget *budget)
{
    struct der names = der_open(below->names);

    if (ca->permitted.at == NULL && ca->excluded.at == NULL)
        return true;
    if (below->subject.size > EMPTY_NAME_OCTETS && !name_allowed(ca, NAME_DIRECTORY, below->subject, budget))
        return false;
    while (!der_at_end(&names)) {
        uint8_t kind;
        struct octets whole, name = der_any(&names, &kind, &whole);
        if (names.bad || !name_allowed(ca, kind, name, budget))
            return false;
    }
    return !budget->exhausted;
}

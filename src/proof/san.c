#include "nodedot/proof/san.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Kinds of GeneralName (RFC 5280 section 4.2.1.6). */
enum {
    NAME_EMAIL = DER_CONTEXT + 1,
    NAME_DNS = DER_CONTEXT + 2,
    NAME_URI = DER_CONTEXT + 6,
    NAME_ADDRESS = DER_CONTEXT + 7
};

static bool text_is(struct octets text, const char *other, size_t size)
{
    return text.size == size && strncasecmp((const char *)text.at, other, size) == 0 &&
           memchr(text.at, '\0', text.size) == NULL; /* strncasecmp() would stop at a NUL */
}

/* RFC 6125 section 6.4.3. Two labels behind the star: nobody may speak for a whole top-level domain. */
static bool dns_name_matches(struct octets presented, const char *name, size_t size)
{
    if (presented.size < 2 || presented.at[0] != '*' || presented.at[1] != '.')
        return text_is(presented, name, size);

    struct octets rest = {presented.at + 1, presented.size - 1};
    const char *dot = memchr(name, '.', size);
    if (dot == NULL || dot == name || memchr(rest.at + 1, '.', rest.size - 1) == NULL)
        return false;
    return text_is(rest, dot, size - (size_t)(dot - name));
}

/* An address in text form as the octets of an iPAddress; 0 for anything else. */
static size_t address_octets(const char *text, uint8_t out[16])
{
    if (inet_pton(AF_INET, text, out) == 1)
        return 4;
    return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

bool san_has_name(const struct certificate *certificate, const char *name)
{
    struct der names = der_open(certificate->names);
    uint8_t address[16];
    size_t address_size = address_octets(name, address);
    size_t size = strlen(name);

    if (size > 0 && name[size - 1] == '.')
        size--;
    if (size == 0)
        return false;
    while (!der_at_end(&names)) {
        uint8_t tag;
        struct octets whole, presented = der_any(&names, &tag, &whole);
        if (address_size > 0 && tag == NAME_ADDRESS && octets_equal(presented, (struct octets){address, address_size}))
            return true;
        if (address_size == 0 && tag == NAME_DNS && dns_name_matches(presented, name, size))
            return true;
    }
    return false;
}

/* A DNS name or an address as text. False: another kind of name, or one that is not to be shown. */
static bool write_name(uint8_t tag, struct octets name, char *out, size_t size)
{
    if (tag == NAME_ADDRESS && (name.size == 4 || name.size == 16))
        return inet_ntop(name.size == 4 ? AF_INET : AF_INET6, name.at, out, (socklen_t)size) != NULL;
    if (tag != NAME_DNS || name.size == 0 || name.size >= size)
        return false;
    for (size_t i = 0; i < name.size; i++)
        if (!isascii(name.at[i]) || (!isalnum(name.at[i]) && (name.at[i] == '\0' || !strchr("-_.*", name.at[i]))))
            return false;
    snprintf(out, size, "%.*s", (int)name.size, (const char *)name.at);
    return true;
}

bool san_name(const struct certificate *certificate, size_t index, char *out, size_t size)
{
    struct der names = der_open(certificate->names);

    while (!der_at_end(&names)) {
        uint8_t tag;
        struct octets whole, name = der_any(&names, &tag, &whole);
        if (!names.bad && write_name(tag, name, out, size) && index-- == 0)
            return true;
    }
    return false;
}

/* Is name the domain, or below it? An empty domain holds every name; a leading dot asks for at least one label more. */
static bool dns_name_below(struct octets name, struct octets domain)
{
    if (domain.size == 0)
        return true;
    if (name.size < domain.size)
        return false;
    struct octets tail = {name.at + name.size - domain.size, domain.size};
    if (!text_is(tail, (const char *)domain.at, domain.size))
        return false;
    return name.size == domain.size || domain.at[0] == '.' || name.at[name.size - domain.size - 1] == '.';
}

/* A subtree of addresses is an address and a mask of the same size (RFC 5280 section 4.2.1.10). */
static bool address_below(struct octets address, struct octets block)
{
    if (block.size != 2 * address.size)
        return false;
    for (size_t i = 0; i < address.size; i++)
        if (((address.at[i] ^ block.at[i]) & block.at[address.size + i]) != 0)
            return false;
    return true;
}

static bool name_below(uint8_t tag, struct octets name, struct octets subtree)
{
    return tag == NAME_ADDRESS ? address_below(name, subtree) : dns_name_below(name, subtree);
}

/* "*.example.com" also speaks for names that lie below an excluded "www.example.com". */
static bool wildcard_covers(uint8_t tag, struct octets name, struct octets subtree)
{
    return tag == NAME_DNS && name.size > 2 && name.at[0] == '*' &&
           dns_name_below(subtree, (struct octets){name.at + 2, name.size - 2});
}

enum subtree_match { SUBTREES_NONE, SUBTREES_MISS, SUBTREES_HIT, SUBTREES_UNKNOWN };

/* How a name lies to a list of subtrees: none of its kind there, outside of all, inside one; or the list is not
 * understood. */
static enum subtree_match match_subtrees(struct octets subtrees, uint8_t tag, struct octets name, bool excluding)
{
    struct der list = der_open(subtrees);
    enum subtree_match match = SUBTREES_NONE;

    if (subtrees.at == NULL)
        return SUBTREES_NONE;
    while (!der_at_end(&list)) {
        struct der subtree = der_enter(&list, DER_SEQUENCE);
        uint8_t kind;
        struct octets whole, base = der_any(&subtree, &kind, &whole);
        if (list.bad || subtree.bad || !der_at_end(&subtree)) /* minimum and maximum are never used */
            return SUBTREES_UNKNOWN;
        if (kind != NAME_DNS && kind != NAME_ADDRESS && kind != NAME_EMAIL && kind != NAME_URI)
            return SUBTREES_UNKNOWN; /* mail addresses and URIs are names that we never ask for */
        if (kind != tag)
            continue;
        if (name_below(tag, name, base) || (excluding && wildcard_covers(tag, name, base)))
            match = SUBTREES_HIT;
        else if (match == SUBTREES_NONE)
            match = SUBTREES_MISS;
    }
    return list.bad ? SUBTREES_UNKNOWN : match;
}

bool san_permitted(const struct certificate *leaf, const struct certificate *ca)
{
    struct der names = der_open(leaf->names);

    if (ca->permitted.at == NULL && ca->excluded.at == NULL)
        return true;
    while (!der_at_end(&names)) {
        uint8_t tag;
        struct octets whole, name = der_any(&names, &tag, &whole);
        enum subtree_match permitted = match_subtrees(ca->permitted, tag, name, false);
        enum subtree_match excluded = match_subtrees(ca->excluded, tag, name, true);
        if (permitted == SUBTREES_MISS || permitted == SUBTREES_UNKNOWN || excluded == SUBTREES_HIT ||
            excluded == SUBTREES_UNKNOWN)
            return false;
    }
    return !names.bad;
}

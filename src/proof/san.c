#include "nodedot/proof/san.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

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

/* Octets below 0x21 and above 0x7e are in no name (RFC 5280 section 4.2.1.6: IA5String in preferred syntax); an
 * underscore is, in private networks. */
bool san_dns_name_good(struct octets name)
{
    size_t label = 0;

    if (name.size == 0 || name.size > SAN_DNS_MAX)
        return false;
    if (name.size > 2 && name.at[0] == '*' && name.at[1] == '.')
        name = (struct octets){name.at + 2, name.size - 2};
    for (size_t i = 0; i < name.size; i++) {
        if (name.at[i] <= ' ' || name.at[i] > '~' || name.at[i] == '*' || ++label > SAN_LABEL_MAX + 1)
            return false;
        if (name.at[i] != '.')
            continue;
        if (label == 1)
            return false;
        label = 0;
    }
    return label > 0 && label <= SAN_LABEL_MAX;
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
        if (address_size == 0 && tag == NAME_DNS && san_dns_name_good(presented) &&
            dns_name_matches(presented, name, size))
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

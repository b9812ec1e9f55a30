#include "nodedot/base/endpoint.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_number(const char *text, unsigned long max, unsigned long *out)
{
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return false;
    *out = strtoul(text, &end, 10);
    return *end == '\0' && *out <= max;
}

static bool parse_v6(const char *text, struct endpoint *out)
{
    char address[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    char *zone;

    if (strlen(text) >= sizeof(address))
        return false;
    strcpy(address, text);
    zone = strchr(address, '%');
    if (zone != NULL) {
        unsigned long index;

        *zone++ = '\0';
        index = if_nametoindex(zone);
        if (index == 0 && (!parse_number(zone, UINT32_MAX, &index) || index == 0))
            return false;
        out->v6.sin6_scope_id = (uint32_t)index;
    }
    if (inet_pton(AF_INET6, address, &out->v6.sin6_addr) != 1)
        return false;
    out->v6.sin6_family = AF_INET6;
    out->size = sizeof(out->v6);
    return true;
}

static bool parse_address(const char *text, struct endpoint *out)
{
    if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->size = sizeof(out->v4);
        return true;
    }
    return parse_v6(text, out);
}

/* Splits "ADDRESS:PORT" and "[ADDRESS]:PORT" in place; *port is NULL if there is none. False: unmatched brackets. */
static bool split_port(char *text, char **address, char **port)
{
    char *colon = strchr(text, ':');

    *address = text;
    *port = NULL;
    if (text[0] == '[') {
        char *close = strchr(text, ']');

        if (close == NULL || (close[1] != '\0' && close[1] != ':'))
            return false;
        *address = text + 1;
        *port = close[1] == ':' ? close + 2 : NULL;
        *close = '\0';
        return strchr(*address, ':') != NULL; /* brackets are for IPv6 */
    }
    if (colon != NULL && strchr(colon + 1, ':') == NULL) {
        *colon = '\0';
        *port = colon + 1;
    }
    return true;
}

bool endpoint_parse(const char *text, uint16_t default_port, struct endpoint *out)
{
    char copy[ENDPOINT_TEXT];
    char *address;
    char *port;
    unsigned long number = default_port;

    memset(out, 0, sizeof(*out));
    if (strlen(text) >= sizeof(copy))
        return false;
    strcpy(copy, text);
    if (!split_port(copy, &address, &port) || !parse_address(address, out))
        return false;
    if ((port != NULL && !parse_number(port, UINT16_MAX, &number)) || number == 0)
        return false;
    endpoint_set_port(out, (uint16_t)number);
    return true;
}

const char *endpoint_format_address(const struct endpoint *endpoint, char *out)
{
    if (endpoint->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &endpoint->v4.sin_addr, out, ENDPOINT_TEXT);
    } else {
        inet_ntop(AF_INET6, &endpoint->v6.sin6_addr, out, ENDPOINT_TEXT);
        if (endpoint->v6.sin6_scope_id != 0) {
            size_t n = strlen(out);

            snprintf(out + n, ENDPOINT_TEXT - n, "%%%u", endpoint->v6.sin6_scope_id);
        }
    }
    return out;
}

const char *endpoint_format(const struct endpoint *endpoint, char *out)
{
    char address[ENDPOINT_TEXT];
    const char *form = endpoint->any.sa_family == AF_INET ? "%.60s:%u" : "[%.60s]:%u";

    endpoint_format_address(endpoint, address);
    snprintf(out, ENDPOINT_TEXT, form, address, endpoint_port(endpoint));
    return out;
}

uint16_t endpoint_port(const struct endpoint *endpoint)
{
    return ntohs(endpoint->any.sa_family == AF_INET ? endpoint->v4.sin_port : endpoint->v6.sin6_port);
}

void endpoint_set_port(struct endpoint *endpoint, uint16_t port)
{
    if (endpoint->any.sa_family == AF_INET)
        endpoint->v4.sin_port = htons(port);
    else
        endpoint->v6.sin6_port = htons(port);
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
    if (a->any.sa_family != b->any.sa_family || endpoint_port(a) != endpoint_port(b))
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr)) == 0 &&
           a->v6.sin6_scope_id == b->v6.sin6_scope_id;
}

bool endpoint_is_wildcard(const struct endpoint *endpoint)
{
    if (endpoint->any.sa_family == AF_INET)
        return endpoint->v4.sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&endpoint->v6.sin6_addr);
}

/* Copies the first bits of an address; out is zero. */
static void copy_prefix(uint8_t *out, const void *address, unsigned bits)
{
    memcpy(out, address, (bits + 7) / 8);
    if (bits % 8 != 0)
        out[bits / 8] &= (uint8_t)(0xff00u >> (bits % 8));
}

void endpoint_client_key(const struct endpoint *endpoint, const struct client_prefix *prefix, bool proven, uint8_t *key)
{
    bool v4 = endpoint->any.sa_family == AF_INET;
    const uint8_t *address = v4 ? (const uint8_t *)&endpoint->v4.sin_addr : endpoint->v6.sin6_addr.s6_addr;

    memset(key, 0, ENDPOINT_CLIENT);
    key[ENDPOINT_CLIENT - 1] = proven;
    if (v4 || IN6_IS_ADDR_V4MAPPED(&endpoint->v6.sin6_addr)) {
        memset(key + 10, 0xff, 2);
        copy_prefix(key + 12, v4 ? address : address + 12, prefix->ipv4);
    } else {
        copy_prefix(key, address, prefix->ipv6);
    }
}

/* Are all bits of address after the first bits zero? */
static bool tail_is_zero(const uint8_t *address, unsigned bits, unsigned size)
{
    for (unsigned i = bits; i < size; i++) {
        if ((address[i / 8] & (0x80u >> (i % 8))) != 0)
            return false;
    }
    return true;
}

bool network_parse(const char *text, struct network *out)
{
    char copy[ENDPOINT_TEXT];
    struct endpoint endpoint = {0};
    char *slash;
    unsigned long bits;
    unsigned size;

    memset(out, 0, sizeof(*out));
    if (strlen(text) >= sizeof(copy))
        return false;
    strcpy(copy, text);
    slash = strchr(copy, '/');
    if (slash != NULL)
        *slash++ = '\0';
    if (!parse_address(copy, &endpoint))
        return false;
    out->v6 = endpoint.any.sa_family == AF_INET6;
    size = out->v6 ? 128 : 32;
    bits = size;
    if (slash != NULL && !parse_number(slash, size, &bits))
        return false;
    out->bits = (uint8_t)bits;
    if (out->v6 && out->bits >= 96 && IN6_IS_ADDR_V4MAPPED(&endpoint.v6.sin6_addr)) {
        out->v6 = false; /* as network_contains() counts it */
        out->bits = (uint8_t)(out->bits - 96);
        size = 32;
        memcpy(out->bytes, endpoint.v6.sin6_addr.s6_addr + 12, 4);
    } else if (out->v6)
        memcpy(out->bytes, &endpoint.v6.sin6_addr, 16);
    else
        memcpy(out->bytes, &endpoint.v4.sin_addr, 4);
    return tail_is_zero(out->bytes, out->bits, size);
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8;
    unsigned rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

bool network_contains(const struct network *network, const struct endpoint *endpoint)
{
    const uint8_t *address = (const uint8_t *)&endpoint->v4.sin_addr;
    bool v6 = endpoint->any.sa_family == AF_INET6;

    if (v6) {
        address = endpoint->v6.sin6_addr.s6_addr;
        if (IN6_IS_ADDR_V4MAPPED(&endpoint->v6.sin6_addr)) {
            address += 12;
            v6 = false;
        }
    }
    return network->v6 == v6 && same_prefix(network->bytes, address, network->bits);
}

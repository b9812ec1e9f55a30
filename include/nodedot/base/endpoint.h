/* endpoint.h - an IP address and a port, IPv4 or IPv6.
 *
 * Text: "127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:5353", "fe80::1%eth0". Ports 1 to 65535.
 */
#ifndef NODEDOT_BASE_ENDPOINT_H
#define NODEDOT_BASE_ENDPOINT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Longest text that endpoint_format() writes: "[", an IPv6 address with zone, "]:65535" and NUL. */
#define ENDPOINT_TEXT 80

struct endpoint {
    socklen_t size; /* of the address in use; 0: no address */
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

/* An address block, for access lists: the first bits of the address count. */
struct network {
    uint8_t bytes[16]; /* an IPv4 address is the first four */
    uint8_t bits;      /* 0 to 32, or 0 to 128 */
    bool v6;
};

/* Reads text; default_port is used if the text has no port (0: a port is required). False if text is not a numeric
 * address with a valid port. */
bool endpoint_parse(const char *text, uint16_t default_port, struct endpoint *out);

/* Writes "192.0.2.1:53" or "[2001:db8::1]:53" to out of ENDPOINT_TEXT octets, and returns out. */
const char *endpoint_format(const struct endpoint *endpoint, char *out);

/* The same without the port and brackets. */
const char *endpoint_format_address(const struct endpoint *endpoint, char *out);

uint16_t endpoint_port(const struct endpoint *endpoint);
void endpoint_set_port(struct endpoint *endpoint, uint16_t port);

/* Same family, address, zone and port. */
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

/* 0.0.0.0 or ::. */
bool endpoint_is_wildcard(const struct endpoint *endpoint);

/* Addresses that agree in this many leading bits are one client. */
struct client_prefix {
    uint8_t ipv4; /* to 32 */
    uint8_t ipv6; /* to 128; usually 64, because a host can use any address of its /64 */
};

/* Octets of a client key. */
#define ENDPOINT_CLIENT 17

/* The key of a client, for every limit: the prefix of its address (an IPv4 address as IPv4-mapped), and whether the
 * client has proved that it receives what is sent to that address. Queries with a forged address therefore count for
 * another client. Writes ENDPOINT_CLIENT octets. */
void endpoint_client_key(const struct endpoint *endpoint, const struct client_prefix *prefix, bool proven,
                         uint8_t *key);

/* Reads "10.0.0.0/8", "192.0.2.1", "fd00::/8"; bits after the prefix must be zero. */
bool network_parse(const char *text, struct network *out);

/* Is the endpoint's address inside? IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2) count as IPv4. */
bool network_contains(const struct network *network, const struct endpoint *endpoint);

#endif

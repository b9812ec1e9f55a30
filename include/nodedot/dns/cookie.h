/* cookie.h - DNS cookies (RFC 7873): distinguish a client from others that forge its address.
 *
 * Form:   server cookies are those of RFC 9018: version 1, three reserved octets, a time, and SipHash-2-4 over the
 *         client cookie, these and the client's address.
 * Time:   clock_seconds(). Only nodedot reads it; all processes with the key run on one machine.
 * Life:   a cookie is valid for an hour, and renewed after half an hour (RFC 9018 section 4.3).
 * Pure functions; no I/O, no clock, no allocation.
 */
#ifndef NODEDOT_DNS_COOKIE_H
#define NODEDOT_DNS_COOKIE_H

#include "nodedot/base/endpoint.h"
#include "nodedot/base/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COOKIE_CLIENT 8                               /* octets of a client cookie */
#define COOKIE_SERVER 16                              /* octets of our server cookies */
#define COOKIE_OPTION (COOKIE_CLIENT + COOKIE_SERVER) /* octets of the option in an answer */
/* Other servers' cookies have 8 to 32 octets. */
#define COOKIE_SERVER_MIN 8
#define COOKIE_SERVER_MAX 32
#define COOKIE_OPTION_MAX (COOKIE_CLIENT + COOKIE_SERVER_MAX)

/* The option for the answer, and the value of the option in the query. */
struct cookie {
    bool present; /* false: the query had none */
    bool valid;   /* it was a valid cookie for this address: the address is not forged */
    uint8_t octets[COOKIE_OPTION];
};

/* Has a COOKIE option a valid length? RFC 7873 section 5.2.2: otherwise FORMERR. */
bool cookie_size_is_good(size_t size);

/* Judges the option in a query from client (size octets, a valid length) and makes that of the answer. */
void cookie_judge(const struct hash_key *key, const struct endpoint *client, const uint8_t *option, size_t size,
                  uint32_t now, struct cookie *out);

#endif

/* san.h - the names that a certificate carries: subjectAltName.
 *
 * Rules: RFC 5280 section 4.2.1.6 (form), RFC 6125 section 6.4 (comparing), RFC 8310 section 8.1 (the common name does
 *        not count). A name that is malformed matches nothing.
 */
#ifndef NODEDOT_PROOF_SAN_H
#define NODEDOT_PROOF_SAN_H

#include "nodedot/proof/certificate.h"

#include <stdbool.h>

#define SAN_DNS_MAX   253 /* octets of a name in text form (RFC 1035 section 2.3.4) */
#define SAN_LABEL_MAX 63

/* Kinds of GeneralName (RFC 5280 section 4.2.1.6). */
enum general_name {
    NAME_OTHER = DER_CONTEXT_CONSTRUCTED + 0,
    NAME_EMAIL = DER_CONTEXT + 1,
    NAME_DNS = DER_CONTEXT + 2,
    NAME_DIRECTORY = DER_CONTEXT_CONSTRUCTED + 4,
    NAME_URI = DER_CONTEXT + 6,
    NAME_ADDRESS = DER_CONTEXT + 7
};

/* Does the certificate carry this DNS name, or this IP address in text form? Wildcards as the whole leftmost label
 * only, with two labels behind. */
bool san_has_name(const struct certificate *certificate, const char *name);

/* Is this a DNS name, or a wildcard above one: no empty label, no leading or trailing dot, no control character? */
bool san_dns_name_good(struct octets name);

/* Writes the index-th DNS name or IP address of the certificate for people and configuration files: a name whose octets
 * are not letters, digits, "-", "_", "." and "*" alone, or that does not fit size, is passed over. False: there are not
 * that many. */
bool san_name(const struct certificate *certificate, size_t index, char *out, size_t size);

#endif

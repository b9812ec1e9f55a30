/* san.h - the names that a certificate speaks for: subjectAltName, and what a CA's name constraints allow of it.
 *
 * Rules: RFC 6125 section 6.4 (comparing), RFC 5280 section 4.2.1.10 (constraints), RFC 8310 section 8.1 (the
 *        common name does not count).
 */
#ifndef NODEDOT_PROOF_SAN_H
#define NODEDOT_PROOF_SAN_H

#include "nodedot/proof/certificate.h"

#include <stdbool.h>

/* Does the certificate carry this DNS name, or this IP address in text form? Wildcards as the whole leftmost label
 * only, with two labels behind. */
bool san_has_name(const struct certificate *certificate, const char *name);

/* Writes the index-th DNS name or IP address of the certificate for people and configuration files: a name whose octets
 * are not letters, digits, "-", "_", "." and "*" alone, or that does not fit size, is passed over. False: there are not
 * so many. */
bool san_name(const struct certificate *certificate, size_t index, char *out, size_t size);

/* Do ca's name constraints allow every DNS name and address of leaf? A constraint on a kind of name that is not
 * compared here (a directory name) allows nothing. */
bool san_permitted(const struct certificate *leaf, const struct certificate *ca);

#endif

/* certificate_parser.h - reads X.509 certificates in DER; no cryptography, no trust, no I/O.
 *
 * Strict: definite and shortest lengths only, nothing behind the end, no extension twice. A critical extension that is
 *         not supported sets unknown_critical; it is not skipped.
 * Rules:  RFC 5280 section 4.1; extensions.h reads the extensions.
 */
#ifndef NODEDOT_PROOF_CERTIFICATE_PARSER_H
#define NODEDOT_PROOF_CERTIFICATE_PARSER_H

#include "nodedot/proof/certificate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads one certificate of exactly size octets; *out points into them. False: not a certificate, *out is unusable. */
bool certificate_parse(const uint8_t *der, size_t size, struct certificate *out);

#endif

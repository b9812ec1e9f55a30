/* path.h - is there a path of signatures from a leaf to a certificate that we believe in? RFC 5280 section 6, as far as
 *
 * servers of TLS need it.
 *
 * Order and surplus certificates in a chain do not matter. Issuers are found by equal names, octet by octet. Every
 * issuer on the path must be a CA that may sign (basicConstraints, keyUsage, pathLenConstraint), with a key and
 * with signatures that are strong, with name constraints that allow the leaf's names, without a critical extension
 * that we do not know. Work:   at most PATH_SIGNATURES signatures are checked for a verdict; a chain made to need
 * more is refused.
 */
#ifndef NODEDOT_PROOF_PATH_H
#define NODEDOT_PROOF_PATH_H

#include "nodedot/proof/certificate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATH_SIGNATURES 24 /* chains in use need 2 to 4; a signature takes up to 0.5 ms to check */
#define PATH_ERROR      160

/* Is child's signature made with issuer's key? Given by the caller, so that no cryptography is needed here. */
typedef bool (*path_signed_by)(const struct certificate *child, const struct certificate *issuer);

/* Does a path lead from chain[0] to chain[anchor]? Dates are not looked at. anchor 0: true. */
bool path_to_member(const struct certificate *chain, size_t count, size_t anchor, path_signed_by signed_by);

/* Does a path lead from chain[0] to one of roots, or is chain[0] one of them? Here every certificate on it, the root
 * included, must be within its dates at now and be good for a server (extKeyUsage). False: why in error (PATH_ERROR
 * octets). */
bool path_to_root(const struct certificate *chain, size_t count, const struct certificate *roots, size_t root_count,
                  int64_t now, path_signed_by signed_by, char *error);

#endif

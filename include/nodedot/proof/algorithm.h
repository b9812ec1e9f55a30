/* algorithm.h - the kind of a signature, as its AlgorithmIdentifier says it.
 *
 * Rules: RFC 3279 (RSA), RFC 4055 (RSA with SHA-2, RSASSA-PSS), RFC 5480 and RFC 5758 (ECDSA), RFC 8410 (EdDSA).
 *        Signatures with SHA-1 or older are SIGNATURE_OTHER: they can be forged.
 */
#ifndef NODEDOT_PROOF_ALGORITHM_H
#define NODEDOT_PROOF_ALGORITHM_H

#include "nodedot/proof/der.h"
#include "nodedot/tls/signature.h"

#include <stdbool.h>
#include <stdint.h>

/* An object identifier as octets, from the octets of its contents. */
#define OID(...)                                                               \
    (struct octets)                                                            \
    {                                                                          \
        (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}) \
    }

/* Reads the contents of an AlgorithmIdentifier of a signature; the octets of signature and text stay empty. */
struct signature algorithm_of_signature(struct octets identifier);

#endif

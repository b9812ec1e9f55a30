/* path.h - is there a path of signatures from a trusted certificate down to the leaf?
 *
 * Trusted are the roots of a CA file, and members of the chain whose key is pinned. The search goes from each of them
 * down to the leaf. Order and surplus certificates in a chain do not matter. Issuers are found by equal names, octet by
 * octet. A certificate's signature is checked before anything else is asked of it, so a chain that somebody made
 * without the key of a root or of a pinned certificate costs nothing but signatures of these keys.
 *
 * Demands: on every certificate of the path, the one at its top included: dates, extKeyUsage, strong key and signature,
 *          no critical extension that is not supported; on every issuer basicConstraints, keyUsage, pathLenConstraint;
 *          name constraints and policies of all certificates above. The leaf must be allowed to sign handshakes.
 * Work:    PATH_BUDGET_NS for a verdict, whatever it takes: one budget for signatures (costs in tls/signature.h), names
 *          times constraints, policies, and steps of the search. A chain that needs more is refused, with this reason.
 * Rules:   RFC 5280 section 6.1.
 */
#ifndef NODEDOT_PROOF_PATH_H
#define NODEDOT_PROOF_PATH_H

#include "nodedot/proof/budget.h"
#include "nodedot/proof/certificate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATH_CHAIN_MAX 10 /* certificates of a path below its root; paths in use have two to four */
#define PATH_SHOWN_MAX 64 /* maximum number of certificates that a peer may present, including useless ones */
#define PATH_ERROR     160

/* Paths in use need two to four signatures: up to 3.6 ms with P-384, 10 ms with P-521 alone. A verdict may stop a
 * worker, and all clients that it serves, for 20 ms with the handshake's own work. */
#define PATH_BUDGET_NS 12000000

struct path_question {
    const struct certificate *chain; /* leaf first */
    size_t count;                    /* more than PATH_SHOWN_MAX are refused */
    const struct certificate *roots; /* of the CA file */
    size_t root_count;
    uint64_t pinned;      /* bit i: the key of chain[i] is pinned; the leaf's needs no path, so bit 0 says nothing */
    int64_t now;          /* wall seconds */
    struct budget budget; /* left_ns: PATH_BUDGET_NS */
};

struct path_verdict {
    uint64_t proved;             /* bit i: a path leads from chain[i], one of the pinned, to the leaf */
    bool trusted;                /* a path leads from a root to the leaf, or the leaf is one */
    bool early;                  /* the reason is that now lies before the notBefore of a certificate */
    int64_t not_after;           /* of the path from a root: the earliest end on it */
    int64_t pin_not_after;       /* of the path from the pinned certificate with the lowest number */
    char root_error[PATH_ERROR]; /* why no path leads from a root: which certificate, which rule */
    char pin_error[PATH_ERROR];  /* why no path leads from the pinned certificates; "" where none is pinned */
};

void path_judge(const struct path_question *question, struct path_verdict *out);

#endif

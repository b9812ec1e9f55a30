/* policy.h - certificate policies along a path, with the counters that make them matter.
 *
 * The configuration asks for no policy (user-initial-policy-set = anyPolicy), so only one question is left: where a CA
 * requires an explicit policy, is one policy valid along the whole path? The set of policies that are valid at the
 * current certificate answers it; the tree of RFC 5280 adds nothing to the answer.
 *
 * Limit: POLICY_MAX policies are valid at the same time; more are dropped, which can refuse a path and never accept one.
 * Rules: RFC 5280 section 6.1.2 to 6.1.5, RFC 9618.
 */
#ifndef NODEDOT_PROOF_POLICY_H
#define NODEDOT_PROOF_POLICY_H

#include "nodedot/proof/budget.h"
#include "nodedot/proof/certificate.h"

#include <stdbool.h>

#define POLICY_MAX 16 /* certificates in use have one to five */

struct policies {
    struct octets valid[POLICY_MAX]; /* expected policies, after mappings */
    unsigned count;
    bool any;                                 /* anyPolicy is valid */
    unsigned explicit_in, mapping_in, any_in; /* certificates until the rule holds; 0: it holds */
};

bool policy_is_any(struct octets policy);

/* The state above the first certificate. A trust anchor that sets counters of its own is listened to
 * (RFC 5937 section 3.2). */
void policies_begin(struct policies *policies, const struct certificate *anchor);

/* Takes in the next certificate of the path. False: an explicit policy is required and there is none, or the budget is
 * exhausted. */
bool policies_enter(struct policies *policies, const struct certificate *certificate, bool leaf, struct budget *budget);

#endif

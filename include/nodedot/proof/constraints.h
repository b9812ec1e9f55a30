/* constraints.h - which names a CA's nameConstraints allow in the certificates below it.
 *
 * Forms:  DNS names, IP addresses, directory names, mail addresses and URIs are compared. A constraint on another form
 *         refuses a certificate that carries a name of this form, and no other certificate.
 * Work:   each comparison comes out of the caller's budget.
 * Rules:  RFC 5280 section 4.2.1.10, section 6.1.3 b and c, section 7.1 (comparing directory names).
 */
#ifndef NODEDOT_PROOF_CONSTRAINTS_H
#define NODEDOT_PROOF_CONSTRAINTS_H

#include "nodedot/proof/budget.h"
#include "nodedot/proof/certificate.h"

#include <stdbool.h>

/* Is this a list of at least one subtree, each of a form that its rules allow? True where there is none. */
bool constraints_well_formed(struct octets subtrees);

/* Does ca allow the subject and every alternative name of the certificate below it? False also where the budget is
 * exhausted. */
bool constraints_allow(const struct certificate *ca, const struct certificate *below, struct budget *budget);

#endif

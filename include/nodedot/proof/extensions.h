/* extensions.h - the extensions of a certificate that a verdict depends on (RFC 5280 section 4.2.1).
 *
 * Strict: no standard extension twice, nothing behind the end of a value. An extension that is not known and marked
 *         critical sets unknown_critical; one that is known and breaks its own rules is named in flaw.
 */
#ifndef NODEDOT_PROOF_EXTENSIONS_H
#define NODEDOT_PROOF_EXTENSIONS_H

#include "nodedot/proof/certificate.h"

/* Reads the extensions field of a TBSCertificate, "[3]" included, into out. Sets tbs->bad where it cannot be read. */
void extensions_parse(struct der *tbs, struct certificate *out);

#endif

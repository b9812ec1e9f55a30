/* ask.h - `nodedot query NAME [TYPE]`: asks one question the way the daemon does, without the daemon and its cache.
 *
 * The same rules as in the daemon apply: a question that nodedot refuses or answers itself is not sent; the longest
 * matching zone selects the upstream; a DoT address proves its identity before anything is written to it. The addresses
 * are asked one after the other in the order of the configuration, since nothing is known of their speed. When none
 * answers, the upstream's fallback is asked, unless it is plain and an address showed the wrong identity
 * (fallback-on-mismatch).
 */
#ifndef NODEDOT_RESOLVER_ASK_H
#define NODEDOT_RESOLVER_ASK_H

#include "nodedot/config/config.h"

#include <stdio.h>

/* Prints the question, the server that answered and what proved its identity, then the answer in the format of dig, to
 * out. type: a mnemonic or TYPEnnn; NULL: A. Returns an exit status: 0 for an answer (including NXDOMAIN), 1 for a
 * failure (including any other RCODE), 2 for an invalid name or type (one line on errors). Takes at most the configured
 * timeout for each address. */
int ask_print(const struct config *config, const char *name, const char *type, FILE *out, FILE *errors);

#endif

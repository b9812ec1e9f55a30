/* ask.h - `nodedot query NAME [TYPE]`: asks one question as the daemon would, without the daemon and its cache.
 *
 * The question goes the daemon's way: what is refused or answered here never leaves; the longest matching zone names
 * the upstream; a DoT address proves its identity before anything is written to it. The addresses are asked one after
 * the other in the order of the configuration, since nothing is known of their speed. When none answers, the upstream's
 * fallback is asked, unless it is plain and an address showed the wrong identity (fallback-on-mismatch).
 */
#ifndef NODEDOT_RESOLVER_ASK_H
#define NODEDOT_RESOLVER_ASK_H

#include "nodedot/config/config.h"

#include <stdio.h>

/* Prints what was asked, who answered and what proved it, then the answer as dig writes it, to out. type: a mnemonic or
 * TYPEnnn; NULL: A. Returns an exit status: 0 for an answer (NXDOMAIN too), 1 for a failure (any other RCODE too), 2
 * for a name or type that cannot be read (one line on errors). Takes the configured time-out for each address at
 * most. */
int ask_print(const struct config *config, const char *name, const char *type, FILE *out, FILE *errors);

#endif

/* sandbox.h - gives up all privileges that a resolver does not need after it has read its files.
 *
 * Always:    its own user and group with no other (when started by root), no capability, no_new_privs, no core dump;
 *            nobody but root can trace it or read its memory, which holds keys.
 * As far as  the kernel has it: Landlock (landlock.h), then a filter for system calls (filter.h).
 * Left out:  both of these in a build with NODEDOT_SANITIZED: sanitizers read files, start a symbolizer and make calls
 *            of their own, especially when they report an error.
 */
#ifndef NODEDOT_RESOLVER_SANDBOX_H
#define NODEDOT_RESOLVER_SANDBOX_H

#include "nodedot/config/config.h"

#include <stdbool.h>

/* Raises the limit of file descriptors to the hard limit (each plain query in flight has a socket). */
void sandbox_raise_limits(void);

/* Called before threads are started, after everything was opened: gives up all of the above, permanently. Features that
 * the kernel lacks are logged, and the resolver continues. False: logged; it must not continue. */
bool sandbox_enter(const struct config *config);

#endif

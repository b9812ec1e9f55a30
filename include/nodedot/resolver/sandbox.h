/* sandbox.h - gives up what a resolver does not need once its files are read.
 *
 * Always:    its own user and group with no other (when started by root), no capability, no_new_privs, no core dump;
 *            nobody but root can trace it or read its memory, which holds keys.
 * As far as  the kernel has it: Landlock (landlock.h), then a filter for system calls (filter.h).
 * Left out:  both of these in a build with NODEDOT_SANITIZED: sanitizers read files, start a symbolizer and make calls
 *            of their own, above all when they have something to say.
 */
#ifndef NODEDOT_RESOLVER_SANDBOX_H
#define NODEDOT_RESOLVER_SANDBOX_H

#include "nodedot/config/config.h"

#include <stdbool.h>

/* Takes as many file descriptors as the hard limit allows (each plain query in flight has a socket). */
void sandbox_raise_limits(void);

/* Before threads are started, after everything was opened: gives up all of the above, for ever. What the kernel does not
 * have is logged, and the resolver goes on. False: logged; it must not go on. */
bool sandbox_enter(const struct config *config);

#endif

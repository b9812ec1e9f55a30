/* sandbox.h - gives up what a resolver does not need once its files are read.
 *
 */
#ifndef NODEDOT_RESOLVER_SANDBOX_H
#define NODEDOT_RESOLVER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

/* Takes as many file descriptors as the hard limit allows (each plain query in flight has a socket). */
void sandbox_raise_limits(void);

/* When started by root: becomes user (uid and gid, no other groups), with no capability in any set. Always:
 * no_new_privs, and no core dump or ptrace of memory that holds keys. False: logged; the resolver must not go on. */
bool sandbox_enter(uint32_t user);

#endif

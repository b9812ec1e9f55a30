/* landlock.h - takes away a process's access to files, and to ports that it does not need.
 *
 * Files:   none can be opened, made, removed, renamed or executed; what is open stays usable.
 * TCP:     connections only to the ports given, and nothing is bound (kernel 6.7). UDP is not covered.
 * Signals: only to itself, and no abstract Unix socket but its own (kernel 6.12).
 * Threads: the calling one, and those that it starts. Permanent.
 * Needs:   no_new_privs. A kernel enforces the parts that it supports; see landlock(7).
 */
#ifndef NODEDOT_RESOLVER_LANDLOCK_H
#define NODEDOT_RESOLVER_LANDLOCK_H

#include <stddef.h>
#include <stdint.h>

/* ports: count of them, in host order; duplicates are allowed. Returns the active version of Landlock, 0 if the kernel
 * has none, or -errno. */
int landlock_enter(const uint16_t *ports, size_t count);

#endif

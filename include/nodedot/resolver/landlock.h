/* landlock.h - takes a process out of the file system, and off the ports that it has no business with.
 *
 * Files:   none can be opened, made, removed, renamed or executed; what is open stays usable.
 * TCP:     connections only to the ports given, and nothing is bound (kernel 6.7). UDP is not covered.
 * Signals: only to itself, and no abstract Unix socket but its own (kernel 6.12).
 * Threads: the calling one, and those that it starts. For ever.
 * Needs:   no_new_privs. A kernel handles what it knows of this; see landlock(7).
 */
#ifndef NODEDOT_RESOLVER_LANDLOCK_H
#define NODEDOT_RESOLVER_LANDLOCK_H

#include <stddef.h>
#include <stdint.h>

/* ports: count of them, in host order; one may come twice. Returns the version of Landlock that is at work now, 0 when
 * the kernel has none, or -errno. */
int landlock_enter(const uint16_t *ports, size_t count);

#endif

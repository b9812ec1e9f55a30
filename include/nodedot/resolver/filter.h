/* filter.h - allows a resolver only the system calls that it needs: seccomp(2).
 *
 * Allowed:  the calls that answering needs, some with checked arguments (see the tables in filter.c): only sockets
 *           of IPv4 and IPv6, no executable memory, threads but no processes, signals to itself.
 * Refused:  looking for files gives EACCES, as the C library does that by itself.
 * Other:    the kernel kills the whole process with SIGSYS and writes the call to the audit log.
 * Threads:  the calling one, and those that it starts. Permanent.
 */
#ifndef NODEDOT_RESOLVER_FILTER_H
#define NODEDOT_RESOLVER_FILTER_H

#include <stdbool.h>

/* unix_sockets: may sockets of that kind be made as well? 0, or -errno: -EINVAL from a kernel without filters. Needs
 * no_new_privs. */
int filter_enter(bool unix_sockets);

#endif

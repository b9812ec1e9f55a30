/* filter.h - the system calls that a resolver makes, and no others: seccomp(2).
 *
 * Allowed:  what answering takes; where arguments matter they are compared too (see the tables in filter.c): sockets
 *           of IPv4 and IPv6 alone, no executable memory, threads but no processes, signals to itself.
 * Refused:  looking for files gives EACCES, as the C library does that by itself.
 * Else:     the kernel kills the whole process with SIGSYS and tells the audit log which call it was.
 * Threads:  the calling one, and those that it starts. For ever.
 */
#ifndef NODEDOT_RESOLVER_FILTER_H
#define NODEDOT_RESOLVER_FILTER_H

#include <stdbool.h>

/* unix_sockets: may sockets of that kind be made as well? 0, or -errno: -EINVAL from a kernel without filters. Needs
 * no_new_privs. */
int filter_enter(bool unix_sockets);

#endif

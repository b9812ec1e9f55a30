/* capability.h - the rights of root that a process has one by one: capabilities(7).
 *
 * Sets: capabilities are bits of a number, CAPABILITY(CAP_KILL) and the like, with the names of <linux/capability.h>.
 */
#ifndef NODEDOT_BASE_CAPABILITY_H
#define NODEDOT_BASE_CAPABILITY_H

#include <linux/capability.h>
#include <stdint.h>

#define CAPABILITY(number) (UINT64_C(1) << (number))

/* Gives up every capability that is not in wanted, for ever; what was not there does not come. Nothing is left in the
 * inheritable and ambient sets, nor, with CAP_SETPCAP, in the bounding set: no other program is executed. For the
 * calling thread, and those that it starts. 0 or -errno. */
int capabilities_keep(uint64_t wanted);

#endif

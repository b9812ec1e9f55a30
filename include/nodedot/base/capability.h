/* capability.h - the privileges of root, one by one: capabilities(7).
 *
 * Sets: capabilities are bits of a number, CAPABILITY(CAP_KILL) and the like, with the names of <linux/capability.h>.
 */
#ifndef NODEDOT_BASE_CAPABILITY_H
#define NODEDOT_BASE_CAPABILITY_H

#include <linux/capability.h>
#include <stdint.h>

#define CAPABILITY(number) (UINT64_C(1) << (number))

/* Gives up every capability that is not in wanted, permanently; it adds none. The inheritable and ambient sets become
 * empty, and with CAP_SETPCAP the bounding set too, because no other program is executed. Applies to the calling thread
 * and the threads that it starts. 0 or -errno. */
int capabilities_keep(uint64_t wanted);

#endif

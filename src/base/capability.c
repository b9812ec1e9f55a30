#include "nodedot/base/capability.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The effective set has 64 bits, which the kernel takes as two words. */
#define WORDS _LINUX_CAPABILITY_U32S_3

/* The kernel rejects the first number that it does not know, and any number without CAP_SETPCAP. Then the bounding set
 * stays. It is useless to a process that cannot gain privileges by executing a program (no_new_privs). */
static void empty_bounding_set(void)
{
    unsigned long number = 0;

    while (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0)
        number++;
}

int capabilities_keep(uint64_t wanted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct words[WORDS];

    empty_bounding_set();
    if (syscall(SYS_capget, &header, words) < 0)
        return -errno;
    for (unsigned i = 0; i < WORDS; i++) {
        words[i].permitted &= (uint32_t)(wanted >> (32 * i));
        words[i].effective = words[i].permitted;
        words[i].inheritable = 0; /* and with it the ambient set */
    }
    return syscall(SYS_capset, &header, words) < 0 ? -errno : 0;
}

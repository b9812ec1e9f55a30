#include "nodedot/node/privileges.h"

#include "nodedot/base/capability.h"

#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

static uint64_t kept_to_the_end(void)
{
    uint64_t kept = CAPABILITY(CAP_NET_BIND_SERVICE);

    if (geteuid() == 0)
        kept |= CAPABILITY(CAP_SETUID) | CAPABILITY(CAP_SETGID) | CAPABILITY(CAP_KILL);
    return kept;
}

int privileges_begin(void)
{
    int result = capabilities_keep(kept_to_the_end() | CAPABILITY(CAP_NET_ADMIN));

    if (result < 0)
        return result;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

int privileges_settle(const struct config *config)
{
    return capabilities_keep(kept_to_the_end() | (config->manage_address ? CAPABILITY(CAP_NET_ADMIN) : 0));
}

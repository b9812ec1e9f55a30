#include "nodedot/resolver/sandbox.h"

#include "nodedot/observe/log.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Capabilities are numbered from 0; the kernel refuses the first number that it does not know. */
#define CAPABILITIES_MAX 64

void sandbox_raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* lowering nothing, so it cannot fail but for a racing prlimit(2) */
}

static bool fail(const char *what)
{
    log_error("cannot give up privileges", log_s("step", what), log_s("reason", strerror(errno)));
    return false;
}

/* Without CAP_SETPCAP the bounding set stays; no_new_privs keeps it from being of use. */
static void drop_bounding_set(void)
{
    for (unsigned long i = 0; i < CAPABILITIES_MAX; i++) {
        if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
            return;
    }
}

static bool become(uint32_t user)
{
    drop_bounding_set();
    if (setgroups(0, NULL) < 0)
        return fail("setgroups");
    if (setresgid(user, user, user) < 0)
        return fail("setresgid");
    /* Leaving uid 0 with all three clears the permitted, effective and ambient sets (capabilities(7)). */
    if (setresuid(user, user, user) < 0)
        return fail("setresuid");
    return true;
}

bool sandbox_enter(uint32_t user)
{
    if (geteuid() == 0 && !become(user))
        return false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail("no_new_privs");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return fail("dumpable");
    return true;
}

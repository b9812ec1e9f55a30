#include "nodedot/resolver/sandbox.h"

#include "nodedot/base/capability.h"
#include "nodedot/observe/log.h"
#include "nodedot/resolver/filter.h"
#include "nodedot/resolver/landlock.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef NODEDOT_SANITIZED
#define CONFINED false
#else
#define CONFINED true
#endif

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

static bool become(uint32_t user)
{
    if (setgroups(0, NULL) < 0)
        return fail("setgroups");
    if (setresgid(user, user, user) < 0)
        return fail("setresgid");
    if (setresuid(user, user, user) < 0)
        return fail("setresuid");
    return true;
}

/* Also for one that was not started by root: a service manager may have given it the right to low ports. */
static bool drop_capabilities(void)
{
    int result = capabilities_keep(0);

    errno = -result;
    return result == 0 || fail("capabilities");
}

static size_t upstream_ports(const struct config *config, uint16_t ports[CONFIG_UPSTREAMS * CONFIG_ADDRESSES])
{
    size_t count = 0;

    for (size_t i = 0; i < config->upstream_count; i++)
        for (size_t j = 0; j < config->upstreams[i].address_count; j++)
            ports[count++] = endpoint_port(&config->upstreams[i].addresses[j]);
    return count;
}

static void enter_landlock(const struct config *config)
{
    uint16_t ports[CONFIG_UPSTREAMS * CONFIG_ADDRESSES];
    int version = landlock_enter(ports, upstream_ports(config, ports));

    if (version > 0)
        log_debug("Landlock active: the resolver cannot open files", log_n("version", version));
    else if (version == 0)
        log_debug("this kernel has no Landlock, or it is switched off");
    else
        log_warn("Landlock cannot be used", log_s("reason", strerror(-version)));
}

static void enter_filter(const struct config *config)
{
    int result = filter_enter(config->dnstap[0] != '\0');

    if (result == 0)
        log_debug("system-call filter installed");
    else
        log_warn("no system-call filter: the resolver runs without it", log_s("reason", strerror(-result)));
}

bool sandbox_enter(const struct config *config)
{
    if (geteuid() == 0 && !become(config->user))
        return false;
    if (!drop_capabilities())
        return false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail("no_new_privs");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return fail("dumpable");
    if (CONFINED) {
        enter_landlock(config);
        enter_filter(config);
    }
    return true;
}

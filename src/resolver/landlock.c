#include "nodedot/resolver/landlock.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As in <linux/landlock.h>, which is older than the kernel on many machines that build this. */
struct ruleset {
    uint64_t files, net, scoped;
};

struct port_rule {
    uint64_t allowed, port;
} __attribute__((packed));

enum { ASK_VERSION = 1, RULE_NET_PORT = 2 };
enum { NET_BIND_TCP = 1 << 0, NET_CONNECT_TCP = 1 << 1 };
enum { SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0, SCOPE_SIGNAL = 1 << 1 };

/* Versions that brought something to forbid. */
enum { VERSION_REFER = 2, VERSION_TRUNCATE = 3, VERSION_NET = 4, VERSION_IOCTL = 5, VERSION_SCOPES = 6 };

/* Every right on files and directories that a version knows, from execute on: they are numbered as they came. */
static uint64_t file_rights(int version)
{
    unsigned rights = 13;

    rights += version >= VERSION_REFER;
    rights += version >= VERSION_TRUNCATE;
    rights += version >= VERSION_IOCTL;
    return (UINT64_C(1) << rights) - 1;
}

/* What is handled and not allowed by a rule is forbidden. A kernel takes a longer struct than it knows when the rest
 * is zero. */
static int make_ruleset(int version)
{
    struct ruleset ruleset = {.files = file_rights(version)};

    if (version >= VERSION_NET)
        ruleset.net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (version >= VERSION_SCOPES)
        ruleset.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    return (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
}

static int allow_connections(int ruleset, const uint16_t *ports, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct port_rule rule = {.allowed = NET_CONNECT_TCP, .port = ports[i]};

        if (syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) < 0)
            return -errno;
    }
    return 0;
}

int landlock_enter(const uint16_t *ports, size_t count)
{
    int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION);

    if (version <= 0) /* ENOSYS: not built in; EOPNOTSUPP: switched off; EPERM: hidden by a container's filter */
        return errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM ? 0 : -errno;
    int ruleset = make_ruleset(version);
    if (ruleset < 0)
        return -errno;
    int result = version >= VERSION_NET ? allow_connections(ruleset, ports, count) : 0;
    if (result == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        result = -errno;
    close(ruleset);
    return result < 0 ? result : version;
}

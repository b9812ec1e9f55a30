#include "nodedot/resolver/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* A type without SOCK_NONBLOCK and SOCK_CLOEXEC. */
#define SOCKET_TYPES 0xf

/* Flags of clone(2) that only a thread has all of, and those that would give it a world of its own. */
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define NAMESPACES   (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

#define CONDITIONS_MAX 2

/* By name, since numbers differ between machines, and not every machine and library has each. */
struct rule {
    const char *call;
    struct scmp_arg_cmp conditions[CONDITIONS_MAX]; /* op 0: none; all of them must hold */
};

/* The bits of an argument that are in mask are those of value. An int fills only half of a register, and nobody promises
 * what is in the other. */
#define BITS(argument, mask, value)                                                 \
    {                                                                               \
        (argument), SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask), (scmp_datum_t)(value) \
    }
#define INT(argument, value) BITS(argument, UINT32_MAX, (uint32_t)(value))

/* clang-format off */
static const char *const allowed[] = {
    /* waiting */
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "eventfd2",
    "timerfd_create", "timerfd_settime", "timerfd_gettime", "clock_nanosleep", "nanosleep", "restart_syscall",
    /* sockets and what is open */
    "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg", "connect", "accept", "accept4", "shutdown",
    "getsockname", "getpeername", "read", "readv", "write", "writev", "close",
    /* files of /proc that were opened before: a process's own figures */
    "pread64", "lseek", "_llseek", "getdents", "getdents64", "fstat", "fstat64",
    /* memory; mmap and mprotect are below */
    "brk", "munmap", "mremap", "madvise",
    /* threads */
    "futex", "futex_time64", "set_robust_list", "get_robust_list", "set_tid_address", "rseq", "membarrier",
    "sched_yield", "sched_getaffinity", "getcpu", "gettid", "getpid", "getppid", "exit", "exit_group",
    /* signals */
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "sigaltstack",
    /* time, chance and figures */
    "clock_gettime", "clock_getres", "gettimeofday", "time", "getrandom", "getrusage", "times", "sysinfo",
    "getuid", "geteuid", "getgid", "getegid",
};
/* clang-format on */

static const struct rule allowed_if[] = {
    {"socket", {INT(0, AF_INET), BITS(1, SOCKET_TYPES, SOCK_DGRAM)}},
    {"socket", {INT(0, AF_INET), BITS(1, SOCKET_TYPES, SOCK_STREAM)}},
    {"socket", {INT(0, AF_INET6), BITS(1, SOCKET_TYPES, SOCK_DGRAM)}},
    {"socket", {INT(0, AF_INET6), BITS(1, SOCKET_TYPES, SOCK_STREAM)}},
    {"getsockopt", {INT(1, SOL_SOCKET)}},
    {"getsockopt", {INT(1, IPPROTO_TCP)}},
    {"setsockopt", {INT(1, IPPROTO_IP), INT(2, IP_MTU_DISCOVER)}},
    {"setsockopt", {INT(1, IPPROTO_IPV6), INT(2, IPV6_MTU_DISCOVER)}},
    {"setsockopt", {INT(1, IPPROTO_TCP), INT(2, TCP_NODELAY)}},
    {"setsockopt", {INT(1, IPPROTO_TCP), INT(2, TCP_USER_TIMEOUT)}},
    {"fcntl", {INT(1, F_GETFL)}},
    {"fcntl", {INT(1, F_SETFL)}},
    {"fcntl", {INT(1, F_GETFD)}},
    {"fcntl", {INT(1, F_SETFD)}},
    /* How full is the pipe that takes the log? */
    {"fcntl", {INT(1, F_GETPIPE_SZ)}},
    {"ioctl", {INT(1, FIONREAD)}},
    /* What is written to is never executed. */
    {"mmap", {BITS(2, PROT_EXEC, 0)}},
    {"mmap2", {BITS(2, PROT_EXEC, 0)}},
    {"mprotect", {BITS(2, PROT_EXEC, 0)}},
    {"clone", {BITS(0, THREAD_FLAGS | NAMESPACES, THREAD_FLAGS)}},
    /* Limits can be read. */
    {"prlimit64", {INT(0, 0), {2, SCMP_CMP_EQ, 0, 0}}},
};

static const struct rule unix_socket = {"socket", {INT(0, AF_UNIX), BITS(1, SOCKET_TYPES, SOCK_STREAM)}};

/* The C library looks for files by itself (the number of CPUs when a thread first takes memory, the time zone), and
 * goes on without. */
/* clang-format off */
static const char *const no_access[] = {
    "open", "openat", "openat2", "access", "faccessat", "faccessat2", "readlink", "readlinkat",
    "stat", "stat64", "lstat", "lstat64", "statx", "newfstatat", "fstatat64",
};
/* clang-format on */

static int add(scmp_filter_ctx filter, uint32_t action, const struct rule *rule)
{
    int number = seccomp_syscall_resolve_name(rule->call);
    unsigned count = 0;

    if (number == __NR_SCMP_ERROR) /* newer than the library: nobody here calls it */
        return 0;
    while (count < CONDITIONS_MAX && rule->conditions[count].op != 0)
        count++;
    return seccomp_rule_add_array(filter, action, number, count, rule->conditions);
}

static int add_names(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t count)
{
    int result = 0;

    for (size_t i = 0; i < count && result == 0; i++)
        result = add(filter, action, &(struct rule){names[i], {{0}}});
    return result;
}

static int add_rules(scmp_filter_ctx filter)
{
    int result = 0;

    for (size_t i = 0; i < sizeof(allowed_if) / sizeof(*allowed_if) && result == 0; i++)
        result = add(filter, SCMP_ACT_ALLOW, &allowed_if[i]);
    return result;
}

/* abort(3) ends with a signal to the thread itself. */
static int add_own_signals(scmp_filter_ctx filter)
{
    struct rule own = {"tgkill", {INT(0, getpid())}};

    return add(filter, SCMP_ACT_ALLOW, &own);
}

/* The flags of clone3(2) are in memory, where a filter cannot look; without it threads are made by clone(2). */
static int add_clone3(scmp_filter_ctx filter)
{
    return add(filter, SCMP_ACT_ERRNO(ENOSYS), &(struct rule){"clone3", {{0}}});
}

static int set_attributes(scmp_filter_ctx filter)
{
    static const struct {
        enum scmp_filter_attr attribute;
        uint32_t value;
    } wanted[] = {
        {SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS},
        {SCMP_FLTATR_API_SYSRAWRC, 1}, /* errors are the kernel's own */
        /* Kernels before 5.16 slow down every process with a filter, against code in it that nobody trusts. */
        {SCMP_FLTATR_CTL_SSB, 1},
        /* A tree instead of a list, for the calls whose arguments are compared each time. */
        {SCMP_FLTATR_CTL_OPTIMIZE, 2},
    };

    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
        int result = seccomp_attr_set(filter, wanted[i].attribute, wanted[i].value);

        if (result < 0 && result != -EOPNOTSUPP) /* SSB is one that old kernels do not have */
            return result;
    }
    return 0;
}

int filter_enter(bool unix_sockets)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int result;

    if (filter == NULL)
        return -ENOMEM;
    result = set_attributes(filter);
    if (result == 0)
        result = add_names(filter, SCMP_ACT_ALLOW, allowed, sizeof(allowed) / sizeof(*allowed));
    if (result == 0)
        result = add_names(filter, SCMP_ACT_ERRNO(EACCES), no_access, sizeof(no_access) / sizeof(*no_access));
    if (result == 0)
        result = add_rules(filter);
    if (result == 0)
        result = add_own_signals(filter);
    if (result == 0)
        result = add_clone3(filter);
    if (result == 0 && unix_sockets)
        result = add(filter, SCMP_ACT_ALLOW, &unix_socket);
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result;
}

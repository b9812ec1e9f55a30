/* Each attempt is made in a process of its own that has entered the real sandbox, or the part that the test is about. */
#include "nodedot/base/capability.h"
#include "nodedot/observe/log.h"
#include "nodedot/resolver/filter.h"
#include "nodedot/resolver/landlock.h"
#include "nodedot/resolver/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define USER 65532

/* What the first versions of Landlock did not know yet. */
#define LANDLOCK_WITH_PORTS   4
#define LANDLOCK_WITH_SIGNALS 6

#ifdef NODEDOT_SANITIZED
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* The exit status of a child whose sandbox could not be entered, or whose attempt succeeded; else it is an errno. */
#define NOT_ENTERED 200
#define SUCCEEDED   0

static struct config config;

typedef int attempt(void); /* 0 or -1 with errno, as system calls do */
typedef bool entrance(void);

/* ---- ways in ---- */

static bool gain_nothing(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

static bool filter(void)
{
    return gain_nothing() && filter_enter(false) == 0;
}

static bool filter_with_unix_sockets(void)
{
    return gain_nothing() && filter_enter(true) == 0;
}

static const uint16_t ports[] = {853, 53, 853};

static bool landlock(void)
{
    return gain_nothing() && landlock_enter(ports, sizeof(ports) / sizeof(*ports)) > 0;
}

static bool sandbox(void)
{
    return sandbox_enter(&config);
}

static int landlock_version(void)
{
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
}

static void need_landlock(int version)
{
    if (landlock_version() < version)
        skip();
}

/* ---- children ---- */

static void be_the_child(entrance *enter, attempt *try)
{
    errno = 0;
    if (!enter())
        _exit(NOT_ENTERED);
    _exit(try() < 0 ? errno : SUCCEEDED);
}

static int wait_status_of(entrance *enter, attempt *try)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        be_the_child(enter, try);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void expect_exit(entrance *enter, attempt *try, int expected, const char *name)
{
    int status = wait_status_of(enter, try);

    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
        fail_msg("%s: wait status %#x, not exit status %d", name, (unsigned)status, expected);
}

static void expect_kill(entrance *enter, attempt *try, const char *name)
{
    int status = wait_status_of(enter, try);

    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
        fail_msg("%s: wait status %#x, not killed by SIGSYS", name, (unsigned)status);
}

/* ---- attempts ---- */

static int close_if_open(int fd)
{
    return fd < 0 ? -1 : close(fd);
}

static int make_socket(int family, int type, int protocol)
{
    return close_if_open(socket(family, type, protocol));
}

static int make_packet_socket(void)
{
    return make_socket(AF_PACKET, SOCK_DGRAM, 0);
}

static int make_netlink_socket(void)
{
    return make_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
}

static int make_raw_socket(void)
{
    return make_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int make_vsock_socket(void)
{
    return make_socket(AF_VSOCK, SOCK_STREAM, 0);
}

static int make_unix_socket(void)
{
    return make_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int make_unix_datagram_socket(void)
{
    return make_socket(AF_UNIX, SOCK_DGRAM, 0);
}

static int execute(void)
{
    return execl("/bin/true", "true", (char *)NULL);
}

static int trace_parent(void)
{
    return (int)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}

static int fork_child(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return pid < 0 ? -1 : 0;
}

/* As fork() does it, but not by way of the C library. */
static int clone_process(void)
{
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid == 0)
        _exit(0);
    return pid < 0 ? -1 : 0;
}

static int clone_user_namespace(void)
{
    return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL) < 0 ? -1 : 0;
}

static int clone3_anything(void)
{
    return syscall(SYS_clone3, NULL, 0) < 0 ? -1 : 0;
}

static int mount_something(void)
{
    return mount("none", "/tmp", "tmpfs", 0, NULL);
}

static int make_namespace(void)
{
    return unshare(CLONE_NEWUSER);
}

static int change_root(void)
{
    return chroot("/");
}

static int map_executable(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static int make_executable(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return page == MAP_FAILED ? -1 : mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static int signal_parent(void)
{
    return kill(getppid(), 0);
}

static int signal_parent_thread(void)
{
    return (int)syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static int read_parent_memory(void)
{
    char octet;
    struct iovec here = {&octet, 1}, there = {&config, 1};

    return process_vm_readv(getppid(), &here, 1, &there, 1, 0) < 0 ? -1 : 0;
}

static int bind_to(int type, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type, 0);

    return fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof(address));
}

static int bind_udp(void)
{
    return bind_to(SOCK_DGRAM, 0);
}

static int bind_tcp(void)
{
    return bind_to(SOCK_STREAM, 0);
}

static int listen_for_connections(void)
{
    return listen(socket(AF_INET, SOCK_STREAM, 0), 1);
}

static int attach_socket_filter(void)
{
    return setsockopt(socket(AF_INET, SOCK_DGRAM, 0), SOL_SOCKET, SO_ATTACH_FILTER, NULL, 0);
}

static int become_dumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int become_root(void)
{
    return setuid(0);
}

static int raise_limit(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    return setrlimit(RLIMIT_CORE, &limit);
}

static int make_memory_file(void)
{
    return close_if_open(memfd_create("x", 0));
}

static int push_to_terminal(void)
{
    return ioctl(STDIN_FILENO, TIOCSTI, "x");
}

static int make_ring(void)
{
    return close_if_open((int)syscall(SYS_io_uring_setup, 1, NULL));
}

static int load_bpf(void)
{
    return close_if_open((int)syscall(SYS_bpf, 0, NULL, 0));
}

static int count_events(void)
{
    return close_if_open((int)syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
}

static int remove_file(void)
{
    return unlink("/tmp/nodedot-no-such-file");
}

static int make_directory(void)
{
    return mkdir("/tmp/nodedot-no-such-directory", 0700);
}

static int rename_file(void)
{
    return rename("/tmp/nodedot-no-such-file", "/tmp/nodedot-no-such-directory");
}

static int open_file(void)
{
    return close_if_open(open("/etc/passwd", O_RDONLY));
}

static int open_random(void)
{
    return close_if_open(open("/dev/urandom", O_RDONLY));
}

static int open_directory(void)
{
    return close_if_open(open("/", O_RDONLY | O_DIRECTORY));
}

static int create_file(void)
{
    return close_if_open(open("/tmp", O_RDWR | O_TMPFILE, 0600));
}

static int look_at_file(void)
{
    struct stat found;

    return stat("/etc/passwd", &found);
}

static int look_for_access(void)
{
    return access("/etc/passwd", R_OK);
}

static int read_link(void)
{
    char text[64];

    return readlink("/proc/self/exe", text, sizeof(text)) < 0 ? -1 : 0;
}

#define NAMED(function)     \
    {                       \
#function, function \
    }

static const struct named_attempt {
    const char *name;
    attempt *try;
} forbidden[] =
    {
        NAMED(make_packet_socket),
        NAMED(make_netlink_socket),
        NAMED(make_raw_socket),
        NAMED(make_vsock_socket),
        NAMED(make_unix_socket),
        NAMED(make_unix_datagram_socket),
        NAMED(execute),
        NAMED(trace_parent),
        NAMED(fork_child),
        NAMED(clone_process),
        NAMED(clone_user_namespace),
        NAMED(mount_something),
        NAMED(make_namespace),
        NAMED(change_root),
        NAMED(map_executable),
        NAMED(make_executable),
        NAMED(signal_parent),
        NAMED(signal_parent_thread),
        NAMED(read_parent_memory),
        NAMED(bind_udp),
        NAMED(bind_tcp),
        NAMED(listen_for_connections),
        NAMED(attach_socket_filter),
        NAMED(become_dumpable),
        NAMED(become_root),
        NAMED(raise_limit),
        NAMED(make_memory_file),
        NAMED(push_to_terminal),
        NAMED(make_ring),
        NAMED(load_bpf),
        NAMED(count_events),
        NAMED(remove_file),
        NAMED(make_directory),
        NAMED(rename_file),
},
  looking_for_files[] = {
      NAMED(open_file),    NAMED(open_random),     NAMED(open_directory), NAMED(create_file),
      NAMED(look_at_file), NAMED(look_for_access), NAMED(read_link),
};

/* ---- the filter ---- */

static void a_forbidden_call_kills_the_process(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(*forbidden); i++)
        expect_kill(filter, forbidden[i].try, forbidden[i].name);
}

static void every_one_of_them_is_killed_in_the_whole_sandbox_too(void **state)
{
    (void)state;
    if (SANITIZED)
        skip(); /* sandbox_enter() leaves the filter out there */
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(*forbidden); i++)
        expect_kill(sandbox, forbidden[i].try, forbidden[i].name);
}

static void looking_for_files_is_refused_and_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(looking_for_files) / sizeof(*looking_for_files); i++)
        expect_exit(filter, looking_for_files[i].try, EACCES, looking_for_files[i].name);
}

static void clone3_sends_the_library_to_clone(void **state)
{
    (void)state;
    expect_exit(filter, clone3_anything, ENOSYS, "clone3");
}

static void unix_sockets_are_there_when_asked_for(void **state)
{
    (void)state;
    expect_exit(filter_with_unix_sockets, make_unix_socket, SUCCEEDED, "stream");
    expect_kill(filter_with_unix_sockets, make_unix_datagram_socket, "datagram");
    expect_kill(filter_with_unix_sockets, make_netlink_socket, "netlink");
}

static int use_sockets(void)
{
    struct sockaddr_in6 nowhere = {.sin6_family = AF_INET6, .sin6_port = htons(9), .sin6_addr = in6addr_loopback};
    int on = 1, omit = IPV6_PMTUDISC_OMIT;
    socklen_t size = sizeof(on);
    int udp = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (udp < 0 || tcp < 0 || setsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
        setsockopt(tcp, IPPROTO_TCP, TCP_USER_TIMEOUT, &on, sizeof(on)) < 0 ||
        setsockopt(udp, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &omit, sizeof(omit)) < 0 ||
        getsockopt(tcp, SOL_SOCKET, SO_ERROR, &on, &size) < 0 || fcntl(tcp, F_SETFL, O_NONBLOCK) < 0)
        return -1;
    (void)connect(udp, (struct sockaddr *)&nowhere, sizeof(nowhere)); /* there may be no IPv6 */
    return shutdown(udp, SHUT_RDWR) < 0 && errno != ENOTCONN ? -1 : close(udp);
}

static int use_memory(void)
{
    for (size_t size = 16; size <= 1 << 20; size *= 4) {
        char *block = malloc(size), *larger;

        if (block == NULL)
            return -1;
        memset(block, 1, size);
        larger = realloc(block, 3 * size);
        if (larger == NULL)
            return -1;
        free(larger);
    }
    return 0;
}

static void *work(void *result)
{
    char octet;
    bool bad = use_memory() < 0 || use_sockets() < 0 || syscall(SYS_getrandom, &octet, 1, 0) != 1 || usleep(1) < 0;

    *(int *)result = bad ? -1 : 0;
    return NULL;
}

/* More than there are CPUs, so that the allocator looks how many there are. */
static int use_threads(void)
{
    enum { THREADS = 40 };
    static pthread_t threads[THREADS];
    static int results[THREADS];

    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, &results[i]) != 0)
            return -1;
    for (int i = 0; i < THREADS; i++)
        if (pthread_join(threads[i], NULL) != 0 || results[i] < 0)
            return -1;
    return 0;
}

static int read_limits(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit);
}

static int wait_for_events(void)
{
    struct epoll_event event;
    int fd = epoll_create1(EPOLL_CLOEXEC);

    return fd < 0 ? -1 : epoll_wait(fd, &event, 1, 1);
}

static void what_a_resolver_does_is_allowed(void **state)
{
    static const struct named_attempt usual[] = {NAMED(use_sockets), NAMED(use_memory), NAMED(use_threads),
                                                 NAMED(read_limits), NAMED(wait_for_events)};

    (void)state;
    if (SANITIZED)
        skip(); /* threads and memory are a sanitizer's own there */
    for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++)
        expect_exit(filter, usual[i].try, SUCCEEDED, usual[i].name);
}

static int give_up(void)
{
    abort();
}

static void abort_is_still_an_abort(void **state)
{
    int status;

    (void)state;
    if (SANITIZED)
        skip();
    status = wait_status_of(filter, give_up);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void *execute_in_thread(void *unused)
{
    execute();
    return unused;
}

static int execute_in_another_thread(void)
{
    pthread_t thread;

    return pthread_create(&thread, NULL, execute_in_thread, NULL) == 0 ? pthread_join(thread, NULL) : -1;
}

static void what_one_thread_does_ends_all(void **state)
{
    (void)state;
    if (SANITIZED)
        skip();
    expect_kill(filter, execute_in_another_thread, "thread");
}

/* ---- Landlock ---- */

static int open_for_landlock(void)
{
    return close_if_open(open("/proc/self/status", O_RDONLY));
}

static void files_are_out_of_reach(void **state)
{
    static const struct named_attempt tries[] = {NAMED(open_file),      NAMED(open_random), NAMED(open_for_landlock),
                                                 NAMED(open_directory), NAMED(create_file), NAMED(make_directory),
                                                 NAMED(execute)};

    (void)state;
    need_landlock(1);
    for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++)
        expect_exit(landlock, tries[i].try, EACCES, tries[i].name);
}

static int was_open = -1;

static bool open_and_enter(void)
{
    was_open = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    return was_open >= 0 && sandbox();
}

static int read_what_was_open(void)
{
    char octet;

    return pread(was_open, &octet, 1, 0) == 1 ? 0 : -1;
}

static void what_was_open_stays_readable(void **state)
{
    (void)state;
    expect_exit(open_and_enter, read_what_was_open, SUCCEEDED, "pread");
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    return connect(fd, (struct sockaddr *)&address, sizeof(address));
}

/* Is the port forbidden? Whether anybody listens there is another matter. */
static int is_port_forbidden(uint16_t port)
{
    if (connect_to(port) == 0)
        return 0;
    return errno == EACCES ? -1 : 0;
}

static int connect_to_an_upstream_port(void)
{
    return is_port_forbidden(853);
}

static int connect_to_the_other_upstream_port(void)
{
    return is_port_forbidden(53);
}

static int connect_to_the_port_before(void)
{
    return is_port_forbidden(852);
}

static int connect_to_the_port_behind(void)
{
    return is_port_forbidden(854);
}

static void connections_go_to_upstream_ports_alone(void **state)
{
    (void)state;
    need_landlock(LANDLOCK_WITH_PORTS);
    expect_exit(landlock, connect_to_an_upstream_port, SUCCEEDED, "853");
    expect_exit(landlock, connect_to_the_other_upstream_port, SUCCEEDED, "53");
    expect_exit(landlock, connect_to_the_port_before, EACCES, "852");
    expect_exit(landlock, connect_to_the_port_behind, EACCES, "854");
}

static void no_port_is_bound(void **state)
{
    (void)state;
    need_landlock(LANDLOCK_WITH_PORTS);
    expect_exit(landlock, bind_tcp, EACCES, "bind");
}

static void others_cannot_be_signalled_or_traced(void **state)
{
    (void)state;
    need_landlock(LANDLOCK_WITH_SIGNALS);
    expect_exit(landlock, signal_parent, EPERM, "kill");
    expect_exit(landlock, trace_parent, EPERM, "ptrace");
}

/* ---- the whole ---- */

static char field[256];

/* One field of /proc/PID/status. */
static const char *status_field(pid_t pid, const char *name)
{
    char path[64], line[sizeof(field)];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    file = fopen(path, "r");
    assert_non_null(file);
    field[0] = '\0';
    while (fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            snprintf(field, sizeof(field), "%.*s", (int)strcspn(line + strlen(name) + 2, "\n"),
                     line + strlen(name) + 2);
    fclose(file);
    return field;
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip();
}

/* Enters in a child, which then waits, and hands its pid to look(). */
static void look_at_one_that(entrance *enter, void (*look)(pid_t))
{
    int ends[2];
    char octet;
    pid_t pid;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    pid = fork();
    if (pid == 0) {
        close(ends[0]);
        if (!enter() || write(ends[1], "x", 1) != 1)
            _exit(NOT_ENTERED);
        _exit(read(ends[1], &octet, 1) == 0 ? SUCCEEDED : 1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &octet, 1), 1);
    look(pid);
    close(ends[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void look_at_rights(pid_t pid)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapAmb"};

    assert_string_equal(status_field(pid, "Uid"), "65532\t65532\t65532\t65532");
    assert_string_equal(status_field(pid, "Gid"), "65532\t65532\t65532\t65532");
    assert_true(status_field(pid, "Groups")[0] == '\0' || field[0] == ' ');
    for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++)
        assert_string_equal(status_field(pid, sets[i]), "0000000000000000");
    assert_string_equal(status_field(pid, "NoNewPrivs"), "1");
    assert_string_equal(status_field(pid, "Seccomp"), SANITIZED ? "0" : "2");
}

static void root_becomes_a_user_without_rights(void **state)
{
    (void)state;
    need_root();
    look_at_one_that(sandbox, look_at_rights);
}

/* As a service manager starts a daemon that has a user of its own and answers on port 53. */
static bool sandbox_with_ambient_rights(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct words[2] = {{0}};
    uint32_t one = (uint32_t)CAPABILITY(CAP_NET_BIND_SERVICE);

    words[0].permitted = words[0].effective = words[0].inheritable = one;
    return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setresuid(USER, USER, USER) == 0 &&
           syscall(SYS_capset, &header, words) == 0 &&
           prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0 && sandbox();
}

static void look_at_capabilities(pid_t pid)
{
    assert_string_equal(status_field(pid, "CapPrm"), "0000000000000000");
    assert_string_equal(status_field(pid, "CapAmb"), "0000000000000000");
}

static void rights_that_an_ordinary_user_was_given_go_as_well(void **state)
{
    (void)state;
    need_root();
    look_at_one_that(sandbox_with_ambient_rights, look_at_capabilities);
}

static bool keep_two(void)
{
    return capabilities_keep(CAPABILITY(CAP_KILL) | CAPABILITY(CAP_CHECKPOINT_RESTORE)) == 0;
}

static void look_for_two(pid_t pid)
{
    assert_string_equal(status_field(pid, "CapPrm"), "0000010000000020"); /* one in each of the kernel's words */
    assert_string_equal(status_field(pid, "CapEff"), "0000010000000020");
    assert_string_equal(status_field(pid, "CapInh"), "0000000000000000");
    assert_string_equal(status_field(pid, "CapBnd"), "0000000000000000");
}

static void those_that_are_wanted_are_kept_and_no_others(void **state)
{
    (void)state;
    need_root();
    if (prctl(PR_CAPBSET_READ, CAP_CHECKPOINT_RESTORE, 0, 0, 0) != 1 ||
        prctl(PR_CAPBSET_READ, CAP_SETPCAP, 0, 0, 0) != 1)
        skip(); /* a container without them */
    look_at_one_that(keep_two, look_for_two);
}

static int gain_kill(void)
{
    return keep_two() && strcmp(status_field(getpid(), "CapPrm"), "0000000000000000") == 0 ? 0 : -1;
}

static bool keep_none(void)
{
    return capabilities_keep(0) == 0;
}

static void what_was_given_up_does_not_come_back(void **state)
{
    (void)state;
    expect_exit(keep_none, gain_kill, SUCCEEDED, "capabilities_keep");
}

static int crash(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_CORE, &limit) < 0 || limit.rlim_cur == 0)
        return -1;
    return raise(SIGXCPU); /* leaves a core dump, and sanitizers do not catch it */
}

static bool sandbox_with_core_dumps(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    return setrlimit(RLIMIT_CORE, &limit) == 0 && sandbox();
}

static void a_crash_leaves_no_core_dump(void **state)
{
    int status;

    (void)state;
    need_root(); /* to raise the limit */
    status = wait_status_of(sandbox_with_core_dumps, crash);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGXCPU);
    assert_false(WCOREDUMP(status));
}

/* A kernel without filters and Landlock, as far as a process can tell. */
static bool sandbox_of_an_old_kernel(void)
{
    scmp_filter_ctx old = seccomp_init(SCMP_ACT_ALLOW);

    return gain_nothing() && seccomp_rule_add(old, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(seccomp), 0) == 0 &&
           seccomp_rule_add(old, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(landlock_create_ruleset), 0) == 0 &&
           seccomp_rule_add(old, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP, 0)) ==
               0 &&
           seccomp_load(old) == 0 && sandbox();
}

static void an_old_kernel_is_no_reason_not_to_start(void **state)
{
    (void)state;
    expect_exit(sandbox_of_an_old_kernel, use_sockets, SUCCEEDED, "sockets");
}

static int set_up(void **state)
{
    (void)state;
    config.user = USER;
    config.upstream_count = 1;
    config.upstreams[0].address_count = 1;
    return endpoint_parse("192.0.2.1", 853, &config.upstreams[0].addresses[0]) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forbidden_call_kills_the_process),
        cmocka_unit_test(every_one_of_them_is_killed_in_the_whole_sandbox_too),
        cmocka_unit_test(looking_for_files_is_refused_and_harmless),
        cmocka_unit_test(clone3_sends_the_library_to_clone),
        cmocka_unit_test(unix_sockets_are_there_when_asked_for),
        cmocka_unit_test(what_a_resolver_does_is_allowed),
        cmocka_unit_test(abort_is_still_an_abort),
        cmocka_unit_test(what_one_thread_does_ends_all),
        cmocka_unit_test(files_are_out_of_reach),
        cmocka_unit_test(what_was_open_stays_readable),
        cmocka_unit_test(connections_go_to_upstream_ports_alone),
        cmocka_unit_test(no_port_is_bound),
        cmocka_unit_test(others_cannot_be_signalled_or_traced),
        cmocka_unit_test(root_becomes_a_user_without_rights),
        cmocka_unit_test(rights_that_an_ordinary_user_was_given_go_as_well),
        cmocka_unit_test(those_that_are_wanted_are_kept_and_no_others),
        cmocka_unit_test(what_was_given_up_does_not_come_back),
        cmocka_unit_test(a_crash_leaves_no_core_dump),
        cmocka_unit_test(an_old_kernel_is_no_reason_not_to_start),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}

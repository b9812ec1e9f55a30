#include "nodedot/node/status.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/tls.h"
#include "nodedot/node/supervisor.h"
#include "nodedot/observe/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* People ask, one at a time. */
#define STATUS_BACKLOG 8

/* Of the abstract socket's name; the first listen address follows. */
#define STATUS_PREFIX "nodedot/"

/* A supervisor that hangs must not make `nodedot status` hang as well. */
#define STATUS_TIMEOUT_S 3

/* A message of one octet with room for one file descriptor. */
struct fd_message {
    struct msghdr header;
    struct iovec part;
    char octet;
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
};

static void fd_message_init(struct fd_message *message)
{
    memset(message, 0, sizeof *message);
    message->part = (struct iovec){.iov_base = &message->octet, .iov_len = 1};
    message->header.msg_iov = &message->part;
    message->header.msg_iovlen = 1;
    message->header.msg_control = message->control.space;
    message->header.msg_controllen = sizeof message->control.space;
}

/* The name is abstract: it begins with a NUL, and its length says where it ends (unix(7)). */
static socklen_t abstract_name(const char *prefix, const char *rest, struct sockaddr_un *name)
{
    memset(name, 0, sizeof *name);
    name->sun_family = AF_UNIX;
    int size = snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "%s%s", prefix, rest);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
}

static socklen_t socket_name(const struct endpoint *first, struct sockaddr_un *name)
{
    char text[ENDPOINT_TEXT];

    return abstract_name(STATUS_PREFIX, endpoint_format(first, text), name);
}

/* root or the user that we are. */
static bool peer_is_trusted(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

/* ---- in the supervisor ---- */

static void send_page(int fd, int page)
{
    struct fd_message message;

    fd_message_init(&message);
    struct cmsghdr *control = CMSG_FIRSTHDR(&message.header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(control), &page, sizeof page);
    ssize_t sent = sendmsg(fd, &message.header, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent; /* who asked sees the end of the stream, and says so */
}

static void on_connection(struct ev_loop *loop, ev_io *io, int revents)
{
    struct status_server *status = io->data;
    int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)loop, (void)revents;
    if (fd < 0)
        return;
    if (peer_is_trusted(fd))
        send_page(fd, status->shared.fd);
    close(fd);
}

int status_create(struct status_server *status, struct ev_loop *loop)
{
    memset(status, 0, sizeof *status);
    status->loop = loop;
    status->accept.fd = -1;
    int result = shared_create(&status->shared, "nodedot-status", sizeof(struct status_page));
    if (result == 0)
        result = shared_seal(&status->shared);
    if (result < 0)
        return result;
    status->page = status->shared.memory;
    status->page->magic = STATUS_MAGIC;
    status->page->size = sizeof(struct status_page);
    snprintf(status->page->version, sizeof status->page->version, "%s", NODEDOT_VERSION);
    snprintf(status->page->wolfssl, sizeof status->page->wolfssl, "%s", tls_library_version());
    atomic_store(&status->page->started_ms, clock_ms());
    atomic_store(&status->page->supervisor_pid, (uint32_t)getpid());
    return 0;
}

static void stop_listening(struct status_server *status)
{
    if (status->accept.fd < 0)
        return;
    ev_io_stop(status->loop, &status->accept);
    close(status->accept.fd);
    status->accept.fd = -1;
}

void status_listen(struct status_server *status, const struct endpoint *first)
{
    struct sockaddr_un name;
    socklen_t size = socket_name(first, &name);

    if (status->accept.fd >= 0 && endpoint_equal(&status->first, first))
        return;
    stop_listening(status);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) < 0 || listen(fd, STATUS_BACKLOG) < 0) {
        log_warn("no status: cannot bind its socket", log_s("name", name.sun_path + 1),
                 log_s("reason", strerror(errno)));
        if (fd >= 0)
            close(fd);
        return;
    }
    status->first = *first;
    ev_io_init(&status->accept, on_connection, fd, EV_READ);
    status->accept.data = status;
    ev_io_start(status->loop, &status->accept);
}

void status_destroy(struct status_server *status)
{
    stop_listening(status);
    shared_destroy(&status->shared);
}

/* ---- nodedot status ---- */

static int fail(const char *what)
{
    fprintf(stderr, "nodedot: no status: %s\n", what);
    return 1;
}

/* The peer must be trusted too: any program could have taken the name. Returns a socket or -errno. */
static int connect_status(const struct sockaddr_un *name, socklen_t size)
{
    struct timeval limit = {.tv_sec = STATUS_TIMEOUT_S};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    int result = connect(fd, (const struct sockaddr *)name, size) < 0 ? -errno : 0;
    if (result == 0 && !peer_is_trusted(fd))
        result = -EPERM;
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

/* Returns the page's file descriptor or -errno: EPERM when the stream ends without one. */
static int receive_page(int fd)
{
    struct fd_message message;
    int page = -EPERM;

    fd_message_init(&message);
    if (recvmsg(fd, &message.header, MSG_CMSG_CLOEXEC) < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    struct cmsghdr *control = CMSG_FIRSTHDR(&message.header);
    if (control != NULL && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS &&
        control->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&page, CMSG_DATA(control), sizeof page);
    return page;
}

/* NULL: not a page of this version. */
static const struct status_page *map_page(int fd)
{
    struct stat s;

    if (fstat(fd, &s) < 0 || s.st_size != (off_t)sizeof(struct status_page))
        return NULL;
    const struct status_page *page = mmap(NULL, sizeof *page, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return NULL;
    return page->magic == STATUS_MAGIC && page->size == sizeof *page ? page : NULL;
}

static const char *age_format(uint64_t ms, char out[32])
{
    uint64_t s = ms / 1000;

    if (s < 60)
        snprintf(out, 32, "%" PRIu64 " s", s);
    else if (s < 3600)
        snprintf(out, 32, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, 32, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
    else
        snprintf(out, 32, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
    return out;
}

/* The age of a moment of clock_ms(), 0 meaning never. */
static const char *since_format(uint64_t moment_ms, char out[32])
{
    uint64_t now = clock_ms();

    if (moment_ms == 0)
        return "-";
    return age_format(now > moment_ms ? now - moment_ms : 0, out);
}

static const char *date_format(int64_t seconds, char out[32])
{
    time_t t = (time_t)seconds;
    struct tm parts;

    if (seconds == 0 || gmtime_r(&t, &parts) == NULL || strftime(out, 32, "%Y-%m-%d", &parts) == 0)
        return "-";
    return out;
}

static const char *rtt_format(uint32_t us, char out[32])
{
    if (us == 0)
        return "-";
    snprintf(out, 32, "%.1f ms", us / 1000.0);
    return out;
}

static const char *or_dash(const char *text)
{
    return *text == '\0' ? "-" : text;
}

static void print_address(const struct address_status *row)
{
    char address[ENDPOINT_TEXT], upstream[CONFIG_NAME], since[32], validated[32], expires[32], rtt[32];

    memcpy(upstream, row->upstream, sizeof upstream);
    upstream[sizeof upstream - 1] = '\0';
    printf("%-16s %-24s %-11s %-12s %-12s %-10s %-9s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n", or_dash(upstream),
           endpoint_format(&row->endpoint, address), identity_state_name((enum identity_state)atomic_load(&row->state)),
           since_format(atomic_load(&row->since_ms), since), since_format(atomic_load(&row->validated_ms), validated),
           date_format(atomic_load(&row->not_after), expires), rtt_format(atomic_load(&row->rtt_us), rtt),
           atomic_load(&row->queries), atomic_load(&row->answers), atomic_load(&row->failures));
}

static void print_addresses(const struct status_page *page)
{
    uint32_t which = atomic_load(&page->slot);

    if (which >= STATUS_SLOTS)
        return;
    const struct status_slot *slot = &page->slots[which];
    uint32_t count = atomic_load(&slot->address_count);
    printf("%-16s %-24s %-11s %-12s %-12s %-10s %-9s %10s %10s %10s\n", "UPSTREAM", "ADDRESS", "IDENTITY", "SINCE",
           "VALIDATED", "EXPIRES", "RTT", "QUERIES", "ANSWERS", "FAILURES");
    for (uint32_t i = 0; i < count && i < STATUS_ADDRESSES; i++)
        print_address(&slot->addresses[i]);
}

static void print_head(const struct status_page *page)
{
    char up[32];

    printf("nodedot %.*s, pid %" PRIu32 ", up %s\n", (int)sizeof page->version, page->version,
           atomic_load(&page->supervisor_pid), since_format(atomic_load(&page->started_ms), up));
    printf("generation %" PRIu64 ", pid %" PRIu32 ", %s; %" PRIu64 " lost; reloads: %" PRIu64 " done, %" PRIu64
           " failed\n\n",
           atomic_load(&page->generation), atomic_load(&page->resolver_pid),
           atomic_load(&page->ready) != 0 ? "ready" : "not ready", atomic_load(&page->generations_lost),
           atomic_load(&page->reloads_succeeded), atomic_load(&page->reloads_failed));
}

static void print_number(const char *name, uint64_t value)
{
    printf("nodedot_%s %" PRIu64 "\n", name, value);
}

static void print_supervisor_numbers(const struct status_page *page)
{
    print_number("uptime_seconds", (clock_ms() - atomic_load(&page->started_ms)) / 1000);
    print_number("supervisor_pid", atomic_load(&page->supervisor_pid));
    print_number("resolver_pid", atomic_load(&page->resolver_pid));
    print_number("generation", atomic_load(&page->generation));
    print_number("ready", atomic_load(&page->ready));
    print_number("generations_started_total", atomic_load(&page->generations_started));
    print_number("generations_lost_total", atomic_load(&page->generations_lost));
    print_number("reloads_succeeded_total", atomic_load(&page->reloads_succeeded));
    print_number("reloads_failed_total", atomic_load(&page->reloads_failed));
}

static void print_page(const struct status_page *page)
{
    print_head(page);
    print_addresses(page);
    printf("\n");
    print_supervisor_numbers(page);
    for (size_t i = 0; i < metric_table_size; i++)
        print_number(metric_table[i].name, metric_sum(page, &metric_table[i]));
}

/* Asks the daemon of this name for its page. Returns a file descriptor or -errno. */
static int ask_page(const struct sockaddr_un *name, socklen_t size)
{
    int fd = connect_status(name, size);
    int file;

    if (fd < 0)
        return fd;
    file = receive_page(fd);
    close(fd);
    return file;
}

/* Asks any daemon whose configuration cannot be read any more: abstract names are listed with an @ for the NUL, at the
 * end of a line (proc(5)). The first that answers. */
static int ask_any(void)
{
    FILE *list = fopen("/proc/net/unix", "re");
    struct sockaddr_un name;
    char line[256];
    int file = -ECONNREFUSED;

    while (list != NULL && file < 0 && fgets(line, sizeof line, list) != NULL) {
        char *found = strstr(line, " @" STATUS_PREFIX);

        line[strcspn(line, "\n")] = '\0';
        if (found != NULL)
            file = ask_page(&name, abstract_name("", found + 2, &name));
    }
    if (list != NULL)
        fclose(list);
    return file;
}

static int ask_own(const struct endpoint *first)
{
    struct sockaddr_un name;

    return ask_page(&name, socket_name(first, &name));
}

int status_print(const struct config *config)
{
    int file = config != NULL ? ask_own(&config->listens[0]) : ask_any();

    if (file == -ECONNREFUSED)
        return fail(config != NULL ? "no nodedot runs with this listen address" : "no nodedot runs here");
    if (file < 0)
        return fail(file == -EPERM ? "it is given only to root and the daemon's own user" : strerror(-file));
    const struct status_page *page = map_page(file);
    close(file);
    if (page == NULL)
        return fail("it is of another version");
    print_page(page);
    return 0;
}

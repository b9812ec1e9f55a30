#include "nodedot/node/status_command.h"

#include "nodedot/node/status_json.h"
#include "nodedot/node/status_socket.h"
#include "nodedot/node/status_table.h"
#include "nodedot/observe/metrics.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A supervisor that hangs must not make `nodedot status` hang as well. */
#define STATUS_TIMEOUT_S 3

/* Cursor to the corner, and nothing behind it: what every terminal since the VT100 knows, without asking terminfo. */
#define CLEAR_SCREEN "\033[H\033[2J"

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
    if (result == 0 && !status_peer_is_trusted(fd))
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
    if (page->magic == STATUS_MAGIC && page->size == sizeof *page &&
        strncmp(page->version, NODEDOT_VERSION, sizeof page->version - 1) == 0)
        return page;
    munmap((void *)(uintptr_t)page, sizeof *page);
    return NULL;
}

/* Asks the daemon of this name for its page. NULL: none, and why in *result: -errno, -EPROTO for another version's. */
static const struct status_page *ask_page(const struct sockaddr_un *name, socklen_t size, int *result)
{
    const struct status_page *page;
    int fd = connect_status(name, size);
    int file;

    *result = fd;
    if (fd < 0)
        return NULL;
    file = receive_page(fd);
    close(fd);
    *result = file;
    if (file < 0)
        return NULL;
    page = map_page(file);
    close(file);
    *result = page != NULL ? 0 : -EPROTO;
    return page;
}

/* Asks any daemon, if the configuration cannot be read. Abstract names are listed with an @ for the NUL, at the end of
 * a line (proc(5)). Returns the first that answers. */
static const struct status_page *ask_any(int *result)
{
    const struct status_page *page = NULL;
    FILE *list = fopen("/proc/net/unix", "re");
    struct sockaddr_un name;
    char line[256];

    *result = -ECONNREFUSED;
    while (list != NULL && page == NULL && fgets(line, sizeof line, list) != NULL) {
        char *found = strstr(line, " @" STATUS_PREFIX);

        line[strcspn(line, "\n")] = '\0';
        if (found != NULL)
            page = ask_page(&name, status_abstract_name("", found + 2, &name), result);
    }
    if (list != NULL)
        fclose(list);
    return page;
}

static const struct status_page *ask_own(const struct endpoint *first, int *result)
{
    struct sockaddr_un name;

    return ask_page(&name, status_socket_name(first, &name), result);
}

static const char *reason_for(int result, bool own)
{
    switch (result) {
    case -ECONNREFUSED:
        return own ? "no nodedot runs with this listen address" : "no nodedot runs here";
    case -EPERM:
        return "it is given only to root and the daemon's own user";
    case -EPROTO:
        return "it is of another version";
    default:
        return strerror(-result);
    }
}

/* NULL: none, which was reported; *result is the exit status. */
static const struct status_page *ask(const struct config *config, int *result)
{
    const struct status_page *page = config != NULL ? ask_own(&config->listens[0], result) : ask_any(result);

    if (page == NULL)
        *result = fail(reason_for(*result, config != NULL));
    return page;
}

/* https://no-color.org, and terminals that can do nothing. */
static bool colours_wanted(void)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    return (no_color == NULL || *no_color == '\0') && (term == NULL || strcmp(term, "dumb") != 0);
}

/* Prints the state of the daemon once. Returns an exit status. */
static int print_once(const struct config *config, const struct status_request *request)
{
    bool terminal = isatty(STDOUT_FILENO) == 1;
    struct status_style style = {.colours = terminal && colours_wanted(), .numbers = request->all};
    int result = 0;
    const struct status_page *page = ask(config, &result);

    if (page == NULL)
        return result;
    if (request->json)
        status_json_print(stdout, page);
    else
        status_table_print(stdout, page, &style);
    munmap((void *)(uintptr_t)page, sizeof *page);
    return 0;
}

/* Waits for the interval. On a terminal the next output replaces the last. False: the user interrupted it. */
static bool wait_for_next(const struct status_request *request, const sigset_t *ends)
{
    struct timespec interval = {.tv_sec = request->interval_s};

    if (fflush(stdout) != 0 || sigtimedwait(ends, NULL, &interval) >= 0)
        return false;
    if (isatty(STDOUT_FILENO) == 1)
        fputs(CLEAR_SCREEN, stdout);
    else if (!request->json)
        putchar('\n');
    return true;
}

/* The daemon may have been stopped only for a moment. */
static int watch_status(const struct config *config, const struct status_request *request)
{
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    if (isatty(STDOUT_FILENO) == 1)
        fputs(CLEAR_SCREEN, stdout);
    do
        print_once(config, request);
    while (wait_for_next(request, &ends));
    return 0;
}

int status_print(const struct config *config, const struct status_request *request)
{
    return request->watch ? watch_status(config, request) : print_once(config, request);
}

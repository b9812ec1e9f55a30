/* firstanswer.c - how long a server takes from exec to its first good answer.
 *
 *   firstanswer [-c CPU] [-t MS] PORT -- COMMAND...
 *
 * Starts the command (on that CPU, in a process group of its own, silent), asks 127.0.0.1:PORT over UDP every
 * PAUSE_US until an answer with a record comes, prints {"ms": TIME, "asked": N}, and ends the command. Nothing is
 * queued before the server has bound its port (the kernel refuses it), and from then on the first query waits for it.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PAUSE_US = 250,       /* between two queries: bounds the error of the measurement */
    STOP_MS = 3000,       /* a server may answer what is in flight before it ends */
    STOP_PAUSE_US = 5000, /* between two looks whether it has ended */
    UDP_SIZE = 1500,
};

static const char usage[] = "usage: firstanswer [-c CPU] [-t MS] PORT -- COMMAND...\n";

struct options {
    int cpu; /* -1: any */
    uint64_t timeout_ns;
    uint16_t port;
    char **command;
};

/* The child: says when it calls exec, on a pipe that exec closes. Another number after it says that exec failed. */
static void run_command(const struct options *o, int pipe_fd)
{
    cpu_set_t cpus;
    int null = open("/dev/null", O_RDWR);

    CPU_ZERO(&cpus);
    CPU_SET((size_t)(o->cpu < 0 ? 0 : o->cpu), &cpus);
    if (o->cpu >= 0 && sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
        die("sched_setaffinity");
    setsid();
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    uint64_t now = now_ns();
    if (write(pipe_fd, &now, sizeof(now)) == sizeof(now))
        execvp(o->command[0], o->command);
    int error = errno;
    if (write(pipe_fd, &error, sizeof(error)) < 0)
        _exit(126);
    _exit(127);
}

/* Returns the child's process id and the time of its exec. */
static pid_t start_command(const struct options *o, uint64_t *exec_ns)
{
    int fds[2], error;

    if (pipe2(fds, O_CLOEXEC) < 0)
        die("pipe2");
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0)
        run_command(o, fds[1]);
    close(fds[1]);
    if (read(fds[0], exec_ns, sizeof(*exec_ns)) != sizeof(*exec_ns))
        die("the command did not start");
    if (read(fds[0], &error, sizeof(error)) == sizeof(error)) {
        errno = error;
        die(o->command[0]);
    }
    close(fds[0]);
    return pid;
}

static void stop_command(pid_t pid)
{
    uint64_t start = now_ns();

    kill(pid, SIGTERM);
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        if (now_ns() - start > STOP_MS * NS_PER_MS)
            break;
        usleep(STOP_PAUSE_US);
    }
    kill(-pid, SIGKILL); /* the whole group, in case the first process left others behind */
    waitpid(pid, NULL, 0);
}

/* Waits PAUSE_US at most. */
static bool good_answer_comes(int fd)
{
    uint8_t message[UDP_SIZE];
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (ppoll(&p, 1, &(struct timespec){.tv_nsec = PAUSE_US * (long)NS_PER_US}, NULL) <= 0)
        return false;
    ssize_t n = recv(fd, message, sizeof(message), MSG_DONTWAIT);
    if (n < 0) {
        usleep(PAUSE_US); /* refused: poll has returned at once, and would again */
        return false;
    }
    return answer_judge(message, (size_t)n, 0) == VERDICT_GOOD;
}

/* Returns the time of the first good answer, or 0. */
static uint64_t ask_until_answered(const struct options *o, uint64_t exec_ns, unsigned *asked)
{
    struct sockaddr_in to = loopback(o->port);
    uint8_t query[QUERY_LEN];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        die("socket");
    while (now_ns() - exec_ns < o->timeout_ns) {
        query_write(query, (uint16_t)*asked, 0);
        if (send(fd, query, sizeof(query), 0) == sizeof(query))
            ++*asked;
        if (good_answer_comes(fd))
            return now_ns();
    }
    return 0;
}

static struct options read_options(int argc, char **argv)
{
    struct options o = {.cpu = -1, .timeout_ns = 10 * NS_PER_S};

    for (int c; (c = getopt(argc, argv, "+c:t:")) != -1;) {
        if (c == 'c') {
            o.cpu = (int)number_argument("-c", optarg, CPU_SETSIZE - 1);
        } else if (c == 't') {
            o.timeout_ns = number_argument("-t", optarg, UINT32_MAX) * NS_PER_MS;
        } else {
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (argc - optind < 3 || strcmp(argv[optind + 1], "--") != 0) {
        fputs(usage, stderr);
        exit(2);
    }
    o.port = (uint16_t)number_argument("PORT", argv[optind], UINT16_MAX);
    o.command = argv + optind + 2;
    return o;
}

int main(int argc, char **argv)
{
    struct options o = read_options(argc, argv);
    uint64_t exec_ns;
    unsigned asked = 0;
    pid_t pid = start_command(&o, &exec_ns);
    uint64_t answer_ns = ask_until_answered(&o, exec_ns, &asked);

    stop_command(pid);
    if (answer_ns == 0) {
        errno = 0;
        die("no answer within the time-out");
    }
    printf("{\"ms\": %.3f, \"asked\": %u}\n", (double)(answer_ns - exec_ns) / (double)NS_PER_MS, asked);
    return 0;
}

/* A real supervisor in a process of its own, with a resolver that does as the test says: what the name of the first upstream
 * is, is what it is like. Its configuration is a file of "KEY VALUE" lines, so that changed files are noticed as they would be. */
#include "nodedot/base/clock.h"
#include "nodedot/cache/cache.h"
#include "nodedot/config/config.h"
#include "nodedot/node/generation.h"
#include "nodedot/node/shared.h"
#include "nodedot/node/status_command.h"
#include "nodedot/node/supervisor.h"
#include "nodedot/observe/log.h"
#include "nodedot/resolver/resolver.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* More generations than this are not started by one test. */
#define GENERATIONS 64

/* What a resolver tells the test, in memory that all processes share; by the number of its generation. */
struct board {
    struct told {
        _Atomic pid_t pid;
        _Atomic bool take_over, clear_cache, warm;
        _Atomic unsigned slot, workers;
        _Atomic int strange_fds; /* open, and not its own */
        _Atomic uint64_t started_ms;
        _Atomic bool took_over, drained, stopped, orphaned;
    } told[GENERATIONS];
    _Atomic unsigned formatted;    /* caches laid out */
    _Atomic bool change_early;     /* the configuration's file, once it was read */
    _Atomic pid_t stranger;        /* a child of the supervisor that it knows nothing of */
    _Atomic int fall_silent;       /* for the resolver: stop the heartbeat of one thread */
    _Atomic uint64_t fall_unready; /* for the resolver: report that it is not ready any more */
};

static struct board *board;
static _Atomic unsigned *next_port; /* shared by all processes */
static char directory[] = "/tmp/test_supervisor.XXXXXX";
static char config_file[64], log_file[64];
static uint16_t dns_port, live_port, ready_port;
static pid_t supervisor;

/* --- the fakes ------------------------------------------------------------------------------------------------------ */

int cache_format(void *memory, size_t size)
{
    memset(memory, 0, 64);
    board->formatted++;
    return size >= CACHE_MIN_SIZE ? 0 : -EINVAL;
}

static bool fake_option(struct config *out, const char *key, const char *value)
{
    if (strcmp(key, "behaviour") == 0)
        snprintf(out->upstreams[0].name, CONFIG_NAME, "%s", value);
    else if (strcmp(key, "workers") == 0)
        out->workers = (uint32_t)atoi(value);
    else if (strcmp(key, "spread") == 0)
        out->reload_spread = (uint32_t)atoi(value);
    else if (strcmp(key, "cache") == 0)
        out->cache_size = (uint64_t)atoll(value);
    else if (strcmp(key, "listen") == 0)
        return endpoint_parse(value, 0, &out->listens[out->listen_count++]);
    else if (strcmp(key, "liveness") == 0)
        out->liveness_port = (uint16_t)atoi(value);
    else if (strcmp(key, "readiness") == 0)
        out->readiness_port = (uint16_t)atoi(value);
    else
        return false;
    return true;
}

void config_release(struct config *released)
{
    (void)released;
}

enum config_result config_load(const struct config_source *source, struct config *out, FILE *errors)
{
    char key[32], value[64];
    FILE *file = fopen(source->file, "r");
    enum config_result result = CONFIG_OK;

    memset(out, 0, sizeof *out);
    out->file_count = 1;
    out->states[0] = file_state_of(source->file);
    snprintf(out->files[0], CONFIG_PATH, "%s", source->file);
    if (file == NULL)
        return CONFIG_UNREADABLE;
    out->log_level = LOG_LEVEL_DEBUG;
    out->upstream_count = out->probe_address_count = 1;
    endpoint_parse("127.0.0.1", 1, &out->probe_addresses[0]);
    while (fscanf(file, "%31s %63s", key, value) == 2)
        if (!fake_option(out, key, value)) {
            fprintf(errors, "bad key %s\nbad value %s\n", key, value);
            result = CONFIG_INVALID;
        }
    fclose(file);
    return result;
}

static int strange_fds(const struct resolver_start *start)
{
    int open_count = 0;

    for (int fd = STDERR_FILENO + 1; fd < 1024; fd++)
        open_count += fcntl(fd, F_GETFD) >= 0;
    return open_count - 1 - 2 * (int)(start->config->workers * start->config->listen_count);
}

static void tell(const struct resolver_start *start, struct told *told)
{
    told->take_over = start->take_over;
    told->clear_cache = start->clear_cache;
    told->warm = *(const char *)start->cache != 0;
    told->slot = start->slot;
    told->workers = start->config->workers;
    told->strange_fds = strange_fds(start);
    told->started_ms = clock_ms();
    told->pid = getpid();
}

static void report(const struct resolver_start *start, enum resolver_report what)
{
    uint8_t octet = (uint8_t)what;

    assert_int_equal(send(start->channel, &octet, 1, MSG_NOSIGNAL), 1);
}

/* Answers each datagram with the number of the generation. */
static void answer(int fd, uint64_t generation)
{
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    char octets[64];

    while (recvfrom(fd, octets, sizeof octets, MSG_DONTWAIT, (struct sockaddr *)&from, &size) >= 0) {
        sendto(fd, &generation, sizeof generation, 0, (struct sockaddr *)&from, size);
        size = sizeof from;
    }
}

static void answer_all(const struct resolver_start *start)
{
    for (size_t i = 0; i < start->config->listen_count; i++)
        for (size_t worker = 0; worker < start->config->workers; worker++)
            answer(start->sockets[i].udp[worker], start->generation);
}

static void beat(const struct resolver_start *start, bool silent)
{
    struct metrics *threads = start->status->slots[start->slot].threads;

    metric_set(&threads[0], heartbeat_ms, clock_ms());
    if (!silent)
        metric_set(&threads[start->config->workers], heartbeat_ms, clock_ms());
}

/* Returns whether it has to end. */
static bool obey(const struct resolver_start *start, struct told *told, const char *behaviour, bool *serves)
{
    uint8_t order;
    ssize_t size = recv(start->channel, &order, 1, MSG_DONTWAIT);

    if (size < 0)
        return false;
    if (size == 0) {
        told->orphaned = true;
        return true;
    }
    if (order == RESOLVER_TAKE_OVER)
        told->took_over = *serves = true;
    if (order == RESOLVER_DRAIN || order == RESOLVER_STOP)
        *serves = false;
    told->drained |= order == RESOLVER_DRAIN;
    told->stopped |= order == RESOLVER_STOP;
    if (strcmp(behaviour, "stubborn") == 0)
        return false;
    if (order == RESOLVER_DRAIN && strcmp(behaviour, "lingers") == 0)
        usleep(1500 * 1000);
    return order == RESOLVER_DRAIN || order == RESOLVER_STOP;
}

static void serve(const struct resolver_start *start, struct told *told, const char *behaviour)
{
    bool serves = start->take_over;

    for (;;) {
        struct pollfd channel = {.fd = start->channel, .events = POLLIN};

        beat(start, board->fall_silent == (int)start->generation);
        if (board->fall_unready == start->generation) {
            board->fall_unready = 0;
            report(start, RESOLVER_NOT_READY);
        }
        poll(&channel, 1, 2);
        if (channel.revents != 0 && obey(start, told, behaviour, &serves))
            return;
        if (serves)
            answer_all(start);
    }
}

static void count_some(const struct resolver_start *start)
{
    struct metrics *metrics = &start->status->slots[start->slot].threads[0];

    metric_add(metrics, queries_tcp_total, 7);
    metric_add(metrics, tcp_connections, 5);
}

int resolver_run(const struct resolver_start *start)
{
    const char *behaviour = start->config->upstreams[0].name;
    struct told *told = &board->told[start->generation % GENERATIONS];

    tell(start, told);
    if (strcmp(behaviour, "crashes") == 0)
        raise(SIGKILL);
    if (strcmp(behaviour, "fails") == 0)
        return RESOLVER_EXIT_FAILED;
    *(char *)start->cache = 1;
    if (strcmp(behaviour, "counts") == 0)
        count_some(start);
    if (strcmp(behaviour, "never") != 0)
        report(start, RESOLVER_SERVING);
    if (strcmp(behaviour, "never") != 0 && strcmp(behaviour, "unready") != 0)
        report(start, RESOLVER_READY);
    serve(start, told, behaviour);
    return RESOLVER_EXIT_DONE;
}

/* --- what tests do -------------------------------------------------------------------------------------------------- */

/* Bound to nothing else on 127.0.0.1 just now; below the ephemeral ports, where connections of others would take it. */
static uint16_t free_port(void)
{
    for (;;) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
        uint16_t port = (uint16_t)(20000 + (*next_port)++ % 12000);

        address.sin_port = htons(port);
        bool both = bind(udp, (struct sockaddr *)&address, sizeof address) == 0 &&
                    bind(tcp, (struct sockaddr *)&address, sizeof address) == 0;
        close(udp);
        close(tcp);
        if (both)
            return port;
    }
}

/* Text of a file, in memory that the next call uses again. */
static const char *content(const char *path)
{
    static char text[256 * 1024];
    FILE *file = fopen(path, "r");
    size_t size = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);

    if (file != NULL)
        fclose(file);
    text[size] = '\0';
    return text;
}

static unsigned logged(const char *what)
{
    unsigned count = 0;

    for (const char *at = content(log_file); (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

struct wanted {
    const char *behaviour;
    const char *workers;
    const char *cache;
    uint16_t port, live, ready;
};

static void write_config(const char *path, struct wanted w)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "behaviour %s\nworkers %s\ncache %s\n", w.behaviour, w.workers == NULL ? "2" : w.workers,
            w.cache == NULL ? "2000000" : w.cache);
    fprintf(file, "listen 127.0.0.1:%u\nliveness %u\nreadiness %u\n", w.port == 0 ? dns_port : w.port,
            w.live == 0 ? live_port : w.live, w.ready == 0 ? ready_port : w.ready);
    fclose(file);
}

static void configure(const char *behaviour)
{
    write_config(config_file, (struct wanted){.behaviour = behaviour});
}

static _Noreturn void run_supervisor(void)
{
    static struct config config;
    struct config_source source = {.file = config_file};

    close_range(STDERR_FILENO + 1, ~0u, 0); /* ports that the test occupies stay its own */
    prctl(PR_SET_PDEATHSIG, SIGKILL);       /* a failed test leaves nothing behind */
    dup2(open(log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), STDERR_FILENO);
    if (config_load(&source, &config, stderr) != CONFIG_OK)
        _exit(2);
    pid_t stranger = fork();
    if (stranger == 0) {
        usleep(200 * 1000);
        _exit(0);
    }
    board->stranger = stranger;
    if (board->change_early)
        configure("counts");
    _exit(supervisor_run(&source, &config));
}

static pid_t start_supervisor(void)
{
    pid_t pid = fork();

    if (pid == 0)
        run_supervisor();
    assert_true(pid > 0);
    return pid;
}

static int exit_status(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int connects_to(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool done = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;

    close(fd);
    return done;
}

static int client_socket(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    connect(fd, (struct sockaddr *)&to, sizeof to);
    return fd;
}

/* The number of the generation that answers, or 0. */
static uint64_t take_answer(int fd, int timeout_ms)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    uint64_t generation = 0;

    if (poll(&readable, 1, timeout_ms) == 1 && recv(fd, &generation, sizeof generation, 0) < 0)
        return 0;
    return generation;
}

static uint64_t ask(uint16_t port)
{
    int fd = client_socket(port);

    send(fd, "?", 1, 0);
    uint64_t generation = take_answer(fd, 1000);
    close(fd);
    return generation;
}

#define wait_until(limit_ms, condition)                                                               \
    do {                                                                                              \
        uint64_t end_ms = clock_ms() + (limit_ms);                                                    \
        while (!(condition)) {                                                                        \
            if (clock_ms() > end_ms)                                                                  \
                fail_msg("not within %d ms: %s\n%s", (int)(limit_ms), #condition, content(log_file)); \
            usleep(2000);                                                                             \
        }                                                                                             \
    } while (0)

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

/* Orphans are reaped by process 1 of this machine, which may take its time. */
static bool has_ended(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    return is_gone(pid) || strstr(content(path), ") Z ") != NULL;
}

static void start(const char *behaviour)
{
    configure(behaviour);
    supervisor = start_supervisor();
    wait_until(3000, board->told[1].pid != 0 && connects_to(live_port));
    if (strcmp(behaviour, "serves") == 0)
        wait_until(3000, connects_to(ready_port));
}

static void stop(void)
{
    kill(supervisor, SIGTERM);
    assert_int_equal(exit_status(supervisor), 0);
    supervisor = 0;
}

static int set_up(void **state)
{
    (void)state;
    memset(board, 0, sizeof *board);
    unlink(log_file);
    unlink(config_file);
    dns_port = free_port();
    live_port = free_port();
    ready_port = free_port();
    supervisor = 0;
    return 0;
}

/* Resolvers that a killed supervisor leaves end by themselves, but for those that a test stopped. */
static int tear_down(void **state)
{
    (void)state;
    if (supervisor > 0) {
        kill(supervisor, SIGKILL);
        waitpid(supervisor, NULL, 0);
    }
    for (size_t i = 0; i < GENERATIONS; i++)
        if (board->told[i].pid != 0)
            kill(board->told[i].pid, SIGCONT);
    return 0;
}

/* --- start ---------------------------------------------------------------------------------------------------------- */

static void a_ready_resolver_opens_every_port_and_a_stop_closes_them(void **state)
{
    (void)state;
    start("serves");
    assert_true(connects_to(live_port));
    assert_true(connects_to(dns_port));
    assert_int_equal(ask(dns_port), 1);
    wait_until(1000, is_gone(board->stranger)); /* reaped, as process 1 must */
    assert_true(board->told[1].take_over);
    assert_false(board->told[1].clear_cache);
    pid_t resolver = board->told[1].pid;
    uint64_t began = clock_ms();
    stop();
    assert_true(clock_ms() - began < 1000);
    assert_true(board->told[1].stopped);
    assert_true(is_gone(resolver));
    assert_false(connects_to(live_port) || connects_to(ready_port) || connects_to(dns_port));
    const char *once[] = {"resolver started",       "resolver serving",        "resolver ready",
                          "resolver stopping",      "opened\" port=readiness", "closed\" port=readiness",
                          "opened\" port=liveness", "UDP receive buffers",     "stopping\"\n"};
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        assert_int_equal(logged(once[i]), 1);
}

static void a_resolver_that_is_not_ready_keeps_readiness_closed_and_liveness_open(void **state)
{
    (void)state;
    start("unready");
    wait_until(2000, ask(dns_port) == 1);
    assert_true(connects_to(live_port));
    assert_false(connects_to(ready_port));
    stop();
}

static void a_resolver_holds_nothing_but_its_channel_and_sockets(void **state)
{
    (void)state;
    start("serves");
    kill(supervisor, SIGHUP);
    wait_until(3000, board->told[2].took_over);
    kill(board->told[2].pid, SIGKILL);
    wait_until(3000, ask(dns_port) == 3);
    for (size_t i = 1; i <= 3; i++)
        assert_int_equal(board->told[i].strange_fds, 0);
    stop();
}

static int occupy(int type, uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type, 0), on = 1;

    /* As a second program of ours would. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void assert_start_is_refused(const char *with)
{
    assert_int_equal(exit_status(start_supervisor()), 1);
    if (logged(with) != 1 || logged("\n") != 1)
        fail_msg("not one line with %s:\n%s", with, content(log_file));
    assert_int_equal(board->told[1].pid, 0);
    unlink(log_file);
}

static void a_port_in_use_is_named_and_ends_the_start(void **state)
{
    char line[128];

    (void)state;
    configure("serves");
    int fd = occupy(SOCK_DGRAM, dns_port);
    snprintf(line, sizeof line, "cannot bind 127.0.0.1:%u/udp: Address already in use", dns_port);
    assert_start_is_refused(line);
    close(fd);
    fd = occupy(SOCK_STREAM, dns_port);
    snprintf(line, sizeof line, "cannot bind 127.0.0.1:%u/tcp: Address already in use", dns_port);
    assert_start_is_refused(line);
    close(fd);
    fd = occupy(SOCK_STREAM, ready_port);
    snprintf(line, sizeof line, "cannot bind 127.0.0.1:%u/tcp (readiness port): Address already in use", ready_port);
    assert_start_is_refused(line);
    close(fd);
}

static void an_address_of_another_machine_is_named_and_ends_the_start(void **state)
{
    FILE *file = fopen(config_file, "w");

    (void)state;
    fprintf(file, "behaviour serves\nworkers 1\ncache 2000000\nlisten 192.0.2.53:%u\nliveness %u\nreadiness %u\n",
            dns_port, live_port, ready_port);
    fclose(file);
    assert_start_is_refused("/udp: Cannot assign requested address");
}

static void a_cache_that_cannot_be_made_ends_the_start(void **state)
{
    (void)state;
    write_config(config_file, (struct wanted){.behaviour = "serves", .cache = "4096"});
    assert_start_is_refused("cannot make a cache of 4096 octets");
}

static void a_second_daemon_with_the_same_port_is_refused(void **state)
{
    (void)state;
    start("serves");
    pid_t second = start_supervisor();
    assert_int_equal(exit_status(second), 1);
    assert_int_equal(logged("/udp: Address already in use"), 1);
    assert_int_equal(ask(dns_port), 1);
    stop();
}

static void both_families_and_a_wildcard_are_listened_to(void **state)
{
    FILE *file = fopen(config_file, "w");

    (void)state;
    fprintf(file, "behaviour serves\nworkers 2\ncache 2000000\nlisten 0.0.0.0:%u\nlisten [::]:%u\n", dns_port,
            dns_port);
    fprintf(file, "liveness %u\nreadiness %u\n", live_port, ready_port);
    fclose(file);
    supervisor = start_supervisor();
    wait_until(3000, connects_to(ready_port));
    assert_int_equal(ask(dns_port), 1);
    /* One of the addresses that the wildcard covered. */
    configure("serves");
    kill(supervisor, SIGHUP);
    wait_until(3000, ask(dns_port) == 2);
    stop();
}

static void a_first_resolver_that_cannot_load_ends_the_start(void **state)
{
    (void)state;
    configure("fails");
    assert_int_equal(exit_status(start_supervisor()), 1);
    assert_int_equal(logged("exit-status=1"), 2);
}

/* --- loss ----------------------------------------------------------------------------------------------------------- */

static void queries_wait_while_a_killed_resolver_is_replaced(void **state)
{
    (void)state;
    start("serves");
    int fd = client_socket(dns_port);
    kill(board->told[1].pid, SIGKILL);
    usleep(1000);
    for (int i = 0; i < 20; i++)
        send(fd, "?", 1, 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(take_answer(fd, 2000), 2);
    close(fd);
    assert_true(board->told[2].take_over);
    assert_true(board->told[2].clear_cache);
    wait_until(1000, connects_to(ready_port));
    assert_true(connects_to(live_port));
    assert_int_equal(logged("level=warn msg=\"resolver lost\" generation=1"), 1);
    assert_int_equal(logged("signal=9"), 1);
    stop();
}

static void a_stopped_resolver_is_replaced_within_five_seconds(void **state)
{
    (void)state;
    start("serves");
    pid_t resolver = board->told[1].pid;
    uint64_t began = clock_ms();
    kill(resolver, SIGSTOP);
    wait_until(5000, board->told[2].pid != 0 && ask(dns_port) == 2);
    assert_true(clock_ms() - began < 5000);
    assert_true(clock_ms() - began > HEARTBEAT_LIMIT_MS - 100);
    assert_true(is_gone(resolver));
    assert_int_equal(logged("resolver killed"), 1);
    stop();
}

static void one_thread_without_heartbeat_is_enough(void **state)
{
    (void)state;
    start("serves");
    board->fall_silent = 1;
    wait_until(5000, ask(dns_port) == 2);
    stop();
}

static void a_machine_that_stood_still_costs_no_resolver(void **state)
{
    (void)state;
    start("serves");
    kill(supervisor, SIGSTOP);
    kill(board->told[1].pid, SIGSTOP);
    usleep((HEARTBEAT_LIMIT_MS + 500) * 1000);
    kill(supervisor, SIGCONT);
    usleep(300 * 1000);
    kill(board->told[1].pid, SIGCONT);
    usleep(1000 * 1000);
    assert_int_equal(ask(dns_port), 1);
    assert_int_equal(board->told[2].pid, 0);
    stop();
}

static void forking_pauses_grow_and_the_fifth_loss_closes_liveness_until_one_lives(void **state)
{
    (void)state;
    start("crashes");
    wait_until(5000, !connects_to(live_port));
    assert_int_not_equal(board->told[5].pid, 0);
    assert_int_equal(logged("level=error msg=\"too many resolvers exited unexpectedly"), 1);
    wait_until(5000, board->told[7].pid != 0);
    for (size_t i = 3; i < 7; i++)
        assert_true(board->told[i + 1].started_ms - board->told[i].started_ms >= 50u << (i - 2));
    configure("serves");
    kill(supervisor, SIGHUP);
    wait_until(5000, connects_to(ready_port));
    assert_false(connects_to(live_port));
    wait_until(12000, connects_to(live_port));
    assert_int_equal(logged("opened\" port=liveness"), 2);
    stop();
}

static void a_resolver_that_never_serves_is_replaced(void **state)
{
    (void)state;
    start("never");
    assert_true(connects_to(live_port));
    assert_false(connects_to(ready_port));
    wait_until(11000, board->told[2].pid != 0);
    assert_true(is_gone(board->told[1].pid));
    assert_true(board->told[2].started_ms - board->told[1].started_ms > 9500);
    stop();
}

static void nothing_is_left_when_the_supervisor_is_killed(void **state)
{
    (void)state;
    start("serves");
    kill(board->told[1].pid, SIGKILL);
    wait_until(3000, ask(dns_port) == 2);
    write_config(config_file, (struct wanted){.behaviour = "lingers"});
    kill(supervisor, SIGHUP);
    wait_until(3000, ask(dns_port) == 3);
    kill(supervisor, SIGHUP);
    wait_until(3000, board->told[4].took_over);
    kill(supervisor, SIGKILL); /* the third one drains, the fourth serves */
    waitpid(supervisor, NULL, 0);
    supervisor = 0;
    wait_until(3000, board->told[4].orphaned);
    wait_until(3000, has_ended(board->told[3].pid) && has_ended(board->told[4].pid));
}

/* --- reload --------------------------------------------------------------------------------------------------------- */

static void a_reload_keeps_the_cache_and_loses_no_query(void **state)
{
    uint64_t last = 1;
    unsigned asked = 0;

    (void)state;
    start("serves");
    for (unsigned round = 2; round <= 4; round++) {
        kill(supervisor, SIGHUP);
        uint64_t end_ms = clock_ms() + 150;
        while (clock_ms() < end_ms) {
            uint64_t now = ask(dns_port);

            assert_true(now != 0);
            last = now;
            asked++;
        }
        assert_int_equal(last, round);
        assert_true(board->told[round].warm && !board->told[round].take_over && !board->told[round].clear_cache);
        assert_true(board->told[round].took_over && board->told[round - 1].drained);
        assert_int_not_equal(board->told[round].slot, board->told[round - 1].slot);
    }
    assert_true(asked > 20);
    assert_int_equal(board->formatted, 1);
    assert_int_equal(logged("reload done"), 3);
    assert_int_equal(logged("closed\" port=readiness"), 0);
    stop();
}

static void a_changed_file_is_noticed_when_it_has_settled(void **state)
{
    (void)state;
    start("serves");
    usleep(20 * 1000);
    configure("serves");
    wait_until(4000, ask(dns_port) == 2);
    assert_int_equal(logged("reloading"), 1);
    stop();
}

static void a_file_that_changed_before_the_watch_began_is_noticed(void **state)
{
    (void)state;
    board->change_early = true;
    configure("serves");
    supervisor = start_supervisor();
    wait_until(5000, ask(dns_port) == 2);
    stop();
}

static void a_change_is_spread_over_time_and_a_signal_is_not(void **state)
{
    (void)state;
    write_config(config_file, (struct wanted){.behaviour = "serves", .workers = "2\nspread 3600"});
    supervisor = start_supervisor();
    wait_until(3000, connects_to(ready_port));
    write_config(config_file, (struct wanted){.behaviour = "serves", .workers = "3\nspread 3600"});
    wait_until(5000, logged("the configuration has changed") == 1);
    assert_int_equal(logged("reloading"), 0);
    kill(supervisor, SIGHUP);
    wait_until(2000, ask(dns_port) == 2);
    assert_int_equal(logged("reloading"), 1);
    stop();
}

static void a_missing_file_is_noticed_when_it_comes_back(void **state)
{
    (void)state;
    start("serves");
    unlink(config_file);
    kill(supervisor, SIGHUP);
    wait_until(2000, logged("reload failed") == 1);
    configure("serves");
    wait_until(5000, ask(dns_port) == 2);
    stop();
}

static void a_swapped_link_is_noticed(void **state)
{
    char first[80], second[80], link_name[80];

    (void)state;
    snprintf(first, sizeof first, "%s.first", config_file);
    snprintf(second, sizeof second, "%s.second", config_file);
    snprintf(link_name, sizeof link_name, "%s.link", config_file);
    write_config(first, (struct wanted){.behaviour = "serves"});
    write_config(second, (struct wanted){.behaviour = "unready"});
    assert_int_equal(symlink(first, config_file), 0);
    supervisor = start_supervisor();
    wait_until(3000, connects_to(ready_port));
    write_config(second, (struct wanted){.behaviour = "serves", .workers = "3"});
    assert_int_equal(symlink(second, link_name), 0);
    assert_int_equal(rename(link_name, config_file), 0);
    wait_until(4000, ask(dns_port) == 2);
    assert_int_equal(board->told[2].workers, 3);
    stop();
}

static void a_bad_file_leaves_the_old_generation_and_shows_every_error(void **state)
{
    FILE *file;

    (void)state;
    start("serves");
    file = fopen(config_file, "w");
    fprintf(file, "nonsense 1\nrubbish 2\n");
    fclose(file);
    kill(supervisor, SIGHUP);
    wait_until(2000, logged("reload failed") == 1);
    assert_int_equal(logged("level=error msg=\"configuration error\""), 4);
    assert_int_equal(ask(dns_port), 1);
    usleep(2500 * 1000); /* the same file is not read again for having changed */
    assert_int_equal(logged("reloading"), 1);
    unlink(config_file);
    kill(supervisor, SIGHUP);
    wait_until(2000, logged("reload failed") == 2);
    configure("serves");
    kill(supervisor, SIGHUP);
    wait_until(2000, ask(dns_port) == 2);
    stop();
}

static void a_new_generation_that_crashes_or_cannot_load_is_given_up(void **state)
{
    (void)state;
    start("serves");
    configure("crashes");
    kill(supervisor, SIGHUP);
    wait_until(2000, logged("reload failed") == 1);
    configure("fails");
    kill(supervisor, SIGHUP);
    wait_until(2000, logged("reload failed") == 2);
    assert_int_equal(ask(dns_port), 1);
    assert_true(connects_to(ready_port) && connects_to(live_port));
    /* The old one still is what a loss is replaced with. */
    kill(board->told[1].pid, SIGKILL);
    wait_until(2000, ask(dns_port) == 4);
    assert_false(board->told[4].warm && !board->told[4].clear_cache);
    stop();
}

static void a_generation_that_is_not_ready_replaces_no_ready_one(void **state)
{
    (void)state;
    start("serves");
    uint16_t other = free_port();
    write_config(config_file, (struct wanted){.behaviour = "unready", .workers = "4", .ready = other});
    kill(supervisor, SIGHUP);
    uint64_t began = clock_ms();
    wait_until(12000, logged("reload failed") == 1);
    assert_true(clock_ms() - began > 9500);
    wait_until(1000, is_gone(board->told[2].pid));
    assert_false(board->told[2].took_over);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(dns_port), 1); /* sockets of workers that never served get no query */
    assert_true(connects_to(ready_port));
    assert_false(connects_to(other));
    assert_int_equal(logged("closed\" port=readiness"), 0);
    stop();
}

static void a_refused_configuration_is_tried_again_at_once_when_the_old_generation_is_not_ready(void **state)
{
    (void)state;
    start("serves");
    configure("crashes");
    kill(supervisor, SIGHUP);
    wait_until(2000, logged("configuration waiting") == 1);
    configure("unready"); /* not settled yet for the watch, so that it is the report which matters */
    board->fall_unready = 1;
    wait_until(2000, ask(dns_port) == 3);
    assert_false(connects_to(ready_port));
    stop();
}

static void an_invalid_configuration_is_not_tried_again_before_it_changes(void **state)
{
    (void)state;
    start("serves");
    write_config(config_file, (struct wanted){.behaviour = "serves", .workers = "2\nnonsense 1"});
    kill(supervisor, SIGHUP);
    wait_until(2000, logged("reload failed") == 1);
    board->fall_unready = 1;
    wait_until(2000, !connects_to(ready_port));
    assert_int_equal(logged("configuration waiting"), 0);
    assert_int_equal(logged("reloading"), 1);
    stop();
}

static void a_generation_that_is_not_ready_replaces_one_that_is_not_either(void **state)
{
    (void)state;
    start("unready");
    wait_until(2000, ask(dns_port) == 1);
    kill(supervisor, SIGHUP);
    wait_until(2000, ask(dns_port) == 2);
    stop();
}

static void a_loss_during_a_reload_starts_the_old_setup_and_reloads_again(void **state)
{
    (void)state;
    start("serves");
    configure("never");
    kill(supervisor, SIGHUP);
    wait_until(2000, board->told[2].pid != 0);
    kill(board->told[1].pid, SIGKILL);
    wait_until(2000, ask(dns_port) == 3);
    assert_true(board->told[3].clear_cache);
    wait_until(2000, is_gone(board->told[2].pid) && board->told[4].pid != 0);
    assert_int_equal(ask(dns_port), 3);
    stop();
}

static void a_loss_while_the_old_one_drains_is_replaced_at_once(void **state)
{
    (void)state;
    start("lingers");
    wait_until(2000, connects_to(ready_port));
    kill(supervisor, SIGHUP);
    wait_until(2000, ask(dns_port) == 2);
    kill(board->told[2].pid, SIGKILL);
    wait_until(1000, ask(dns_port) == 3);
    assert_false(is_gone(board->told[1].pid));
    assert_int_not_equal(board->told[3].slot, board->told[1].slot);
    kill(supervisor, SIGHUP); /* waits for the first to end */
    usleep(50 * 1000);
    assert_int_equal(board->told[4].pid, 0);
    wait_until(4000, ask(dns_port) == 4);
    stop();
}

static void reloads_that_come_together_are_one(void **state)
{
    (void)state;
    start("lingers");
    wait_until(2000, connects_to(ready_port));
    for (int i = 0; i < 20; i++) {
        kill(supervisor, SIGHUP);
        usleep(5000);
    }
    wait_until(4000, ask(dns_port) == 3);
    usleep(2000 * 1000);
    assert_int_equal(board->told[4].pid, 0);
    stop();
}

static void an_old_generation_that_does_not_end_is_killed(void **state)
{
    (void)state;
    start("stubborn");
    wait_until(2000, connects_to(ready_port));
    configure("serves");
    kill(supervisor, SIGHUP);
    wait_until(2000, ask(dns_port) == 2);
    wait_until(RESOLVER_DRAIN_MS + 1500, is_gone(board->told[1].pid));
    assert_int_equal(ask(dns_port), 2);
    assert_int_equal(logged("did not end in time"), 1);
    stop();
}

static void more_and_fewer_workers_lose_no_query_while_the_old_ones_drain(void **state)
{
    static const char *const workers[] = {"1", "4", "1", "16", "2"};

    (void)state;
    write_config(config_file, (struct wanted){.behaviour = "lingers", .workers = workers[0]});
    supervisor = start_supervisor();
    wait_until(3000, connects_to(ready_port));
    for (uint64_t i = 1; i < sizeof workers / sizeof workers[0]; i++) {
        write_config(config_file, (struct wanted){.behaviour = "lingers", .workers = workers[i]});
        kill(supervisor, SIGHUP);
        wait_until(2000, board->told[i + 1].took_over);
        usleep(20 * 1000);
        for (int n = 0; n < 100; n++)
            assert_int_equal(ask(dns_port), i + 1);
        assert_false(is_gone(board->told[i].pid));
        wait_until(4000, is_gone(board->told[i].pid));
        assert_int_equal(board->told[i + 1].strange_fds, 0);
    }
    stop();
}

static void a_listen_address_can_be_moved(void **state)
{
    (void)state;
    start("serves");
    uint16_t other = free_port(), taken = free_port();
    int fd = occupy(SOCK_DGRAM, taken);
    write_config(config_file, (struct wanted){.behaviour = "serves", .port = taken});
    kill(supervisor, SIGHUP);
    wait_until(2000, logged("/udp: Address already in use") == 1);
    assert_int_equal(ask(dns_port), 1);
    write_config(config_file, (struct wanted){.behaviour = "serves", .port = other});
    kill(supervisor, SIGHUP);
    wait_until(2000, ask(other) == 2);
    wait_until(2000, is_gone(board->told[1].pid));
    assert_false(connects_to(dns_port));
    close(occupy(SOCK_DGRAM, dns_port));
    close(fd);
    stop();
}

static void probe_ports_can_be_moved_and_swapped(void **state)
{
    (void)state;
    start("serves");
    uint16_t other = free_port();
    write_config(config_file, (struct wanted){.behaviour = "serves", .live = other});
    kill(supervisor, SIGHUP);
    wait_until(2000, connects_to(other));
    assert_false(connects_to(live_port));
    assert_true(connects_to(ready_port));
    wait_until(2000, is_gone(board->told[1].pid));
    write_config(config_file, (struct wanted){.behaviour = "serves", .live = ready_port, .ready = other});
    kill(supervisor, SIGHUP);
    wait_until(2000, ask(dns_port) == 3);
    assert_true(connects_to(other) && connects_to(ready_port));
    kill(supervisor, SIGTERM);
    assert_int_equal(exit_status(supervisor), 0);
    supervisor = start_supervisor();
    wait_until(3000, board->told[1].pid != 0 && connects_to(other)); /* the ports are free again at once */
    stop();
}

static void another_cache_size_makes_another_cache(void **state)
{
    (void)state;
    start("serves");
    write_config(config_file, (struct wanted){.behaviour = "serves", .cache = "3000000"});
    kill(supervisor, SIGHUP);
    wait_until(2000, ask(dns_port) == 2);
    assert_false(board->told[2].warm);
    assert_int_equal(board->formatted, 2);
    assert_int_equal(logged("msg=\"cache created\" octets=3000000"), 1);
    stop();
}

/* --- stop ----------------------------------------------------------------------------------------------------------- */

static void a_resolver_that_does_not_stop_is_killed_and_the_exit_is_clean(void **state)
{
    (void)state;
    start("stubborn");
    wait_until(2000, connects_to(ready_port));
    uint64_t began = clock_ms();
    kill(supervisor, SIGTERM);
    wait_until(500, !connects_to(ready_port));
    assert_true(connects_to(live_port));
    kill(supervisor, SIGTERM);
    kill(supervisor, SIGHUP);
    assert_int_equal(exit_status(supervisor), 0);
    supervisor = 0;
    assert_true(clock_ms() - began >= RESOLVER_STOP_MS);
    assert_true(clock_ms() - began < RESOLVER_STOP_MS + 1500);
    assert_true(is_gone(board->told[1].pid));
    assert_int_equal(logged("resolver stopping"), 1);
}

static void a_stop_ends_a_crash_loop_at_once(void **state)
{
    (void)state;
    start("crashes");
    wait_until(3000, board->told[4].pid != 0);
    uint64_t began = clock_ms();
    kill(supervisor, SIGINT);
    assert_int_equal(exit_status(supervisor), 0);
    supervisor = 0;
    assert_true(clock_ms() - began < 500);
}

static void a_stop_ends_a_reload_as_well(void **state)
{
    (void)state;
    start("serves");
    configure("never");
    kill(supervisor, SIGHUP);
    wait_until(2000, board->told[2].pid != 0);
    stop();
    assert_true(is_gone(board->told[1].pid) && is_gone(board->told[2].pid));
}

/* --- status --------------------------------------------------------------------------------------------------------- */

static int print_status(char path[80])
{
    static struct config config;
    struct config_source source = {.file = config_file};

    snprintf(path, 80, "%s.status", config_file);
    pid_t pid = fork();
    if (pid == 0) {
        if (freopen(path, "w", stdout) == NULL || freopen("/dev/null", "w", stderr) == NULL ||
            config_load(&source, &config, stderr) != CONFIG_OK)
            _exit(9);
        int status = status_print(&config, &(struct status_request){.all = true});
        fflush(stdout);
        _exit(status);
    }
    return exit_status(pid);
}

static bool status_has(const char *line)
{
    char path[80];

    return print_status(path) == 0 && strstr(content(path), line) != NULL;
}

static void the_status_tells_of_generations_and_reloads(void **state)
{
    char path[80], line[64];

    (void)state;
    start("serves");
    assert_true(status_has("\nnodedot_generation 1\n"));
    assert_true(status_has("\nnodedot_ready 1\n"));
    kill(supervisor, SIGHUP);
    wait_until(2000, status_has("\nnodedot_reloads_succeeded_total 1\n"));
    configure("fails");
    kill(supervisor, SIGHUP);
    wait_until(2000, status_has("\nnodedot_reloads_failed_total 1\n"));
    kill(board->told[2].pid, SIGKILL);
    wait_until(2000, status_has("\nnodedot_generations_lost_total 1\n"));
    wait_until(2000, status_has("\nnodedot_generations_started_total 4\n"));
    wait_until(2000, board->told[4].pid != 0);
    snprintf(line, sizeof line, "\nnodedot_resolver_pid %d\n", board->told[4].pid);
    wait_until(2000, status_has(line));
    snprintf(line, sizeof line, "\nnodedot_supervisor_pid %d\n", supervisor);
    assert_true(status_has(line));
    assert_true(status_has("\nnodedot_queries_udp_total 0\n"));
    stop();
    assert_int_equal(print_status(path), 1);
    assert_string_equal(content(path), "");
}

static void the_status_page_is_read_only_for_who_is_handed_it(void **state)
{
    struct shared shared;

    (void)state;
    assert_int_equal(shared_create(&shared, "test", 8192), 0);
    assert_int_equal(shared_seal(&shared), 0);
    *(char *)shared.memory = 1; /* the mapping made before still is writable */
    assert_ptr_equal(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, shared.fd, 0), MAP_FAILED);
    assert_int_equal(write(shared.fd, "x", 1), -1);
    assert_int_equal(ftruncate(shared.fd, 0), -1);
    char *view = mmap(NULL, 8192, PROT_READ, MAP_SHARED, shared.fd, 0);
    assert_ptr_not_equal(view, MAP_FAILED);
    assert_int_equal(view[0], 1);
    assert_int_equal(mprotect(view, 8192, PROT_READ | PROT_WRITE), -1);
    munmap(view, 8192);
    shared_destroy(&shared);
}

/* Linux 6.3, and not in every C library: MFD_EXEC and F_SEAL_EXEC. Some of these kernels refuse every file that does not ask
 * for the seal itself, others only one that asks for the opposite. */
#define MFD_EXECUTABLE   0x0010U
#define SEALED_EXECUTION 0x0020

/* Exit status: 0 done, 1 refused, 77 this kernel or this user cannot tell. */
static _Noreturn void create_where_executable_memory_is_refused(void)
{
    struct shared shared;
    int fd;

    if (unshare(CLONE_NEWPID) < 0)
        _exit(77);
    pid_t pid = fork(); /* the first process of the namespace, whose setting it is */
    if (pid > 0)
        _exit(exit_status(pid));
    fd = open("/proc/sys/vm/memfd_noexec", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "2", 1) != 1 || memfd_create("refused", MFD_EXECUTABLE) >= 0)
        _exit(77);
    bool made = shared_create(&shared, "test", 8192) == 0;
    _exit(made && (fcntl(shared.fd, F_GET_SEALS) & SEALED_EXECUTION) != 0 ? 0 : 1);
}

static void memory_is_made_also_where_executable_files_in_memory_are_refused(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        create_where_executable_memory_is_refused();
    int status = exit_status(pid);
    if (status == 77)
        skip();
    assert_int_equal(status, 0);
}

static void gauges_of_an_ended_resolver_are_forgotten_and_counters_are_not(void **state)
{
    (void)state;
    start("counts");
    wait_until(2000, status_has("\nnodedot_tcp_connections 5\n"));
    kill(board->told[1].pid, SIGKILL);
    wait_until(2000, ask(dns_port) == 2);
    wait_until(2000, status_has("\nnodedot_tcp_connections 5\n") && status_has("\nnodedot_queries_tcp_total 14\n"));
    stop();
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static const struct CMUnitTest tests[] = {
    test(a_ready_resolver_opens_every_port_and_a_stop_closes_them),
    test(a_resolver_that_is_not_ready_keeps_readiness_closed_and_liveness_open),
    test(a_resolver_holds_nothing_but_its_channel_and_sockets),
    test(a_port_in_use_is_named_and_ends_the_start),
    test(an_address_of_another_machine_is_named_and_ends_the_start),
    test(a_cache_that_cannot_be_made_ends_the_start),
    test(a_second_daemon_with_the_same_port_is_refused),
    test(both_families_and_a_wildcard_are_listened_to),
    test(a_first_resolver_that_cannot_load_ends_the_start),
    test(queries_wait_while_a_killed_resolver_is_replaced),
    test(a_stopped_resolver_is_replaced_within_five_seconds),
    test(one_thread_without_heartbeat_is_enough),
    test(a_machine_that_stood_still_costs_no_resolver),
    test(forking_pauses_grow_and_the_fifth_loss_closes_liveness_until_one_lives),
    test(a_resolver_that_never_serves_is_replaced),
    test(nothing_is_left_when_the_supervisor_is_killed),
    test(a_reload_keeps_the_cache_and_loses_no_query),
    test(a_changed_file_is_noticed_when_it_has_settled),
    test(a_file_that_changed_before_the_watch_began_is_noticed),
    test(a_change_is_spread_over_time_and_a_signal_is_not),
    test(a_missing_file_is_noticed_when_it_comes_back),
    test(a_swapped_link_is_noticed),
    test(a_bad_file_leaves_the_old_generation_and_shows_every_error),
    test(a_new_generation_that_crashes_or_cannot_load_is_given_up),
    test(a_generation_that_is_not_ready_replaces_no_ready_one),
    test(a_refused_configuration_is_tried_again_at_once_when_the_old_generation_is_not_ready),
    test(an_invalid_configuration_is_not_tried_again_before_it_changes),
    test(a_generation_that_is_not_ready_replaces_one_that_is_not_either),
    test(a_loss_during_a_reload_starts_the_old_setup_and_reloads_again),
    test(a_loss_while_the_old_one_drains_is_replaced_at_once),
    test(reloads_that_come_together_are_one),
    test(an_old_generation_that_does_not_end_is_killed),
    test(more_and_fewer_workers_lose_no_query_while_the_old_ones_drain),
    test(a_listen_address_can_be_moved),
    test(probe_ports_can_be_moved_and_swapped),
    test(another_cache_size_makes_another_cache),
    test(a_resolver_that_does_not_stop_is_killed_and_the_exit_is_clean),
    test(a_stop_ends_a_crash_loop_at_once),
    test(a_stop_ends_a_reload_as_well),
    test(the_status_tells_of_generations_and_reloads),
    test(the_status_page_is_read_only_for_who_is_handed_it),
    test(memory_is_made_also_where_executable_files_in_memory_are_refused),
    test(gauges_of_an_ended_resolver_are_forgotten_and_counters_are_not),
};

#define TESTS (sizeof tests / sizeof tests[0])

/* Most of the time goes into waiting for limits to pass, so several rows of tests wait at once. */
#define ROWS 6

static void *shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        exit(1);
    return memory;
}

static FILE *output_of(int row)
{
    char path[64];

    snprintf(path, sizeof path, "%s/output-%d", directory, row);
    return fopen(path, "a+");
}

static _Noreturn void run_row(size_t row)
{
    struct CMUnitTest mine[TESTS];
    size_t count = 0;
    int output = fileno(output_of((int)row));

    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    for (size_t i = row; i < TESTS; i += ROWS)
        mine[count++] = tests[i];
    board = shared_memory(sizeof *board);
    snprintf(config_file, sizeof config_file, "%s/config-%zu", directory, row);
    snprintf(log_file, sizeof log_file, "%s/log-%zu", directory, row);
    exit(_cmocka_run_group_tests("supervisor", mine, count, NULL, NULL));
}

static void print_output(int row)
{
    FILE *output = output_of(row);

    rewind(output);
    for (int c = getc(output); c != EOF; c = getc(output))
        putchar(c);
    fclose(output);
}

static void remove_directory(void)
{
    DIR *files = opendir(directory);

    for (struct dirent *file = readdir(files); file != NULL; file = readdir(files))
        unlinkat(dirfd(files), file->d_name, 0); /* "." and ".." stay, being directories */
    closedir(files);
    rmdir(directory);
}

int main(void)
{
    pid_t rows[ROWS];
    int failed = 0;

    next_port = shared_memory(sizeof *next_port);
    *next_port = (unsigned)getpid() * 128;
    if (mkdtemp(directory) == NULL)
        return 1;
    for (size_t row = 0; row < ROWS; row++)
        if ((rows[row] = fork()) == 0)
            run_row(row);
    for (int row = 0; row < ROWS; row++) {
        failed += exit_status(rows[row]);
        print_output(row);
    }
    remove_directory();
    return failed != 0;
}

#include "nodedot/node/probes.h"

#include "nodedot/base/clock.h"
#include "nodedot/node/sockets.h"
#include "nodedot/observe/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The minimum: the kernel lets one more connection wait. */
#define PROBE_BACKLOG 0
/* During a flood: room for the connections that come while the supervisor waits for its turn on a busy processor. With 128
 * a probe among them was turned away now and then; a hung supervisor's queue is full at once either way. */
#define PROBE_BACKLOG_FLOODED 1024
/* More connections to one port in a second than this are no probes: a kubelet makes one, a person a few. */
#define PROBE_CALM 20
/* A flood is over this long after the last second with too many connections; longer than that second. */
#define PROBE_FLOOD_MS 1500

/* Maximum number of connections accepted in one turn: nobody may keep the supervisor busy by connecting. */
#define ACCEPT_MAX 16

static const char *const kind_names[PROBE_KINDS] = {"liveness", "readiness"};

static bool is_free(const struct probe *probe)
{
    return !probe->in_use && !probe->wanted;
}

static void set_flooded(struct probe *probe, bool flooded)
{
    if (probe->flooded == flooded || listen(probe->fd, flooded ? PROBE_BACKLOG_FLOODED : PROBE_BACKLOG) < 0)
        return;
    probe->flooded = flooded;
}

static void count_connection(struct probe *probe)
{
    uint64_t now_ms = clock_ms();

    if (now_ms - probe->second_ms >= 1000) {
        probe->second_ms = now_ms;
        probe->connections = 0;
    }
    if (++probe->connections <= PROBE_CALM)
        return;
    probe->flood_ms = now_ms;
    set_flooded(probe, true);
}

static void look_for_calm(struct probe *probe)
{
    if (probe->flooded && clock_ms() - probe->flood_ms >= PROBE_FLOOD_MS)
        set_flooded(probe, false);
}

static void on_connection(struct ev_loop *loop, ev_io *io, int revents)
{
    struct probe *probe = io->data;

    (void)loop, (void)revents;
    for (int i = 0; i < ACCEPT_MAX; i++) {
        int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            return;
        close(fd);
        count_connection(probe);
    }
}

/* While a socket listens, SO_REUSEADDR must be set: connections of earlier probes linger in TIME_WAIT on this port.
 * While it does not, the option must be off: with it, another program could bind the port and listen. */
static void set_reuse(const struct probe *probe, int value)
{
    setsockopt(probe->fd, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value);
}

static void log_failure_once(struct probe *probe)
{
    char text[ENDPOINT_TEXT];

    if (!probe->failed)
        log_error("cannot open a probe port", log_s("port", kind_names[probe->kind]),
                  log_s("address", endpoint_format(&probe->endpoint, text)), log_s("reason", strerror(errno)));
    probe->failed = true;
}

static void probe_open(struct probes *probes, struct probe *probe)
{
    set_reuse(probe, 1);
    if (listen(probe->fd, PROBE_BACKLOG) < 0) {
        log_failure_once(probe);
        return;
    }
    probe->failed = false;
    probe->listening = true;
    ev_io_start(probes->loop, &probe->accept);
}

static void probe_close(struct probes *probes, struct probe *probe)
{
    ev_io_stop(probes->loop, &probe->accept);
    shutdown(probe->fd, SHUT_RDWR); /* ends listening; what waits to be accepted is reset */
    set_reuse(probe, 0);
    probe->flooded = false;
    probe->listening = false;
}

static void probe_release(struct probes *probes, struct probe *probe)
{
    if (probe->listening)
        probe_close(probes, probe);
    close(probe->fd);
    memset(probe, 0, sizeof *probe);
}

static struct probe *find_probe(struct probes *probes, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < PROBES_MAX; i++)
        if (!is_free(&probes->probe[i]) && endpoint_equal(&probes->probe[i].endpoint, endpoint))
            return &probes->probe[i];
    return NULL;
}

/* There is always one: an entry serves a port in use, a wanted one, or both. */
static struct probe *free_probe(struct probes *probes)
{
    struct probe *probe = probes->probe;

    while (!is_free(probe))
        probe++;
    return probe;
}

static bool prepare_probe(struct probes *probes, const struct endpoint *address, uint16_t port, enum probe_kind kind,
                          char *error)
{
    struct endpoint endpoint = *address;

    endpoint_set_port(&endpoint, port);
    struct probe *probe = find_probe(probes, &endpoint);
    if (probe == NULL) {
        int fd = socket_bind_tcp(&endpoint);

        if (fd < 0) {
            socket_describe_failure(&endpoint, kind == PROBE_LIVENESS ? "tcp (liveness port)" : "tcp (readiness port)",
                                    fd, error);
            return false;
        }
        probe = free_probe(probes);
        probe->endpoint = endpoint;
        probe->fd = fd;
        ev_io_init(&probe->accept, on_connection, fd, EV_READ);
        probe->accept.data = probe;
    }
    probe->next_kind = kind;
    probe->wanted = true;
    return true;
}

void probes_init(struct probes *probes, struct ev_loop *loop)
{
    memset(probes, 0, sizeof *probes);
    probes->loop = loop;
}

bool probes_prepare(struct probes *probes, const struct config *config, char *error)
{
    for (size_t i = 0; i < config->probe_address_count; i++) {
        const struct endpoint *address = &config->probe_addresses[i];

        if (!prepare_probe(probes, address, config->liveness_port, PROBE_LIVENESS, error) ||
            !prepare_probe(probes, address, config->readiness_port, PROBE_READINESS, error)) {
            probes_abandon(probes);
            return false;
        }
    }
    return true;
}

void probes_commit(struct probes *probes)
{
    for (struct probe *probe = probes->probe; probe < probes->probe + PROBES_MAX; probe++) {
        if (probe->in_use && !probe->wanted)
            probe_release(probes, probe);
        if (!probe->wanted)
            continue;
        probe->in_use = true;
        probe->wanted = false;
        probe->kind = probe->next_kind;
    }
}

void probes_abandon(struct probes *probes)
{
    for (struct probe *probe = probes->probe; probe < probes->probe + PROBES_MAX; probe++) {
        if (probe->wanted && !probe->in_use)
            probe_release(probes, probe);
        probe->wanted = false;
    }
}

static void note_change(struct probes *probes, enum probe_kind kind, bool open)
{
    if (probes->open[kind] == open)
        return;
    probes->open[kind] = open;
    log_info(open ? "probe port opened" : "probe port closed", log_s("port", kind_names[kind]));
}

void probes_set(struct probes *probes, bool liveness, bool readiness)
{
    note_change(probes, PROBE_LIVENESS, liveness);
    note_change(probes, PROBE_READINESS, readiness);
    for (struct probe *probe = probes->probe; probe < probes->probe + PROBES_MAX; probe++) {
        if (!probe->in_use)
            continue;
        look_for_calm(probe);
        if (probe->listening == probes->open[probe->kind])
            continue;
        if (probe->listening)
            probe_close(probes, probe);
        else
            probe_open(probes, probe);
    }
}

void probes_close(struct probes *probes)
{
    for (struct probe *probe = probes->probe; probe < probes->probe + PROBES_MAX; probe++)
        if (!is_free(probe))
            probe_release(probes, probe);
}

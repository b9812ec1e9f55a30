#include "nodedot/node/sockets.h"

#include "nodedot/observe/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Room for the queries that arrive while no generation reads: 4 MiB hold about 7,000 small ones (the kernel counts
 * about 1.1 kB for each and doubles what is asked for), 100 ms at 70,000 a second. The default of 208 KiB holds
 * 193. */
#define RECEIVE_BUFFER (4 * 1024 * 1024)

/* Answers to one batch leave at once, and a batch may be 64 answers of 1,232 octets; 1 MiB holds several. */
#define SEND_BUFFER (1024 * 1024)

/* TCP connections that wait for accept(2): a burst of the default connection limit. The kernel cuts it to
 * net.core.somaxconn. */
#define TCP_BACKLOG 1024

/* A metrics page of a usual configuration fits, so that it leaves at once; who never reads holds no more than that of
 * the kernel's memory. Connections inherit it. */
#define METRICS_BUFFER (128 * 1024)

/* Used in error messages instead of the protocol. */
#define METRICS_PORT "tcp (metrics port)"

enum protocol { UDP, TCP };

static const char *const protocol_names[] = {"udp", "tcp"};

static bool is_v6(const struct endpoint *endpoint)
{
    return endpoint->any.sa_family == AF_INET6;
}

static int set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) < 0 ? -errno : 0;
}

static int *socket_of(struct listen_sockets *listen, enum protocol protocol, size_t worker)
{
    return protocol == UDP ? &listen->udp[worker] : &listen->tcp[worker];
}

void socket_describe_failure(const struct endpoint *endpoint, const char *protocol, int reason, char *error)
{
    char text[ENDPOINT_TEXT];

    snprintf(error, SOCKETS_ERROR, "cannot bind %s/%s: %s", endpoint_format(endpoint, text), protocol,
             strerror(-reason));
}

/* IPV6_V6ONLY, because 0.0.0.0 and :: are two addresses of one configuration, with a socket each. */
static int open_socket(const struct endpoint *endpoint, enum protocol protocol)
{
    int type = protocol == UDP ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(endpoint->any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    int result = is_v6(endpoint) ? set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) : 0;
    /* Connections of an earlier process linger in TIME_WAIT; they must not keep the port in use. */
    if (result == 0 && protocol == TCP)
        result = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

static int bind_socket(int fd, const struct endpoint *endpoint)
{
    return bind(fd, &endpoint->any, endpoint->size) < 0 ? -errno : 0;
}

int socket_bind_tcp(const struct endpoint *endpoint)
{
    int fd = open_socket(endpoint, TCP);
    int result = fd < 0 ? fd : bind_socket(fd, endpoint);

    if (fd >= 0 && result < 0)
        close(fd);
    return result < 0 ? result : fd;
}

/* SO_REUSEPORT lets a second program of the same user bind the port and take half of the queries; without it the kernel
 * reports an error. */
static int try_bind(const struct endpoint *endpoint, enum protocol protocol)
{
    int fd = open_socket(endpoint, protocol);

    if (fd < 0)
        return fd;
    int result = bind_socket(fd, endpoint);
    close(fd);
    return result;
}

/* The kernel clamps SO_RCVBUF to net.core.rmem_max; SO_RCVBUFFORCE goes past it, with CAP_NET_ADMIN. Less than wanted
 * is no error: sockets_log_buffers() says what was granted. */
static void enlarge_buffers(int fd)
{
    if (set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER) < 0)
        set_option(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
    if (set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER) < 0)
        set_option(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
}

/* An answer to a query that came to a wildcard must leave from the address that was asked. */
static int want_packet_address(int fd, const struct endpoint *endpoint)
{
    if (!endpoint_is_wildcard(endpoint))
        return 0;
    if (is_v6(endpoint))
        return set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    return set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
}

/* Answers are never fragmented, nor is a forged path MTU believed: PROBE sets DF and ignores what ICMP says. They are
 * at most EDNS_UDP_SIZE octets, which every link takes that carries IPv6 (RFC 9715 section 3.1), and a packet with DF
 * needs no identification number from the kernel. */
static int ignore_path_mtu(int fd, const struct endpoint *endpoint)
{
    if (is_v6(endpoint))
        return set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    return set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
}

static int set_udp_options(int fd, const struct endpoint *endpoint)
{
    int result = want_packet_address(fd, endpoint);

    enlarge_buffers(fd);
    return result < 0 ? result : ignore_path_mtu(fd, endpoint);
}

/* TCP keeps the kernel's own buffer sizes, which grow with the connection. No TCP_DEFER_ACCEPT: a connection that says
 * nothing must count against the limits and be closed by the idle limit, not sit where neither sees it. */
static int open_listener(const struct endpoint *endpoint, enum protocol protocol)
{
    int fd = open_socket(endpoint, protocol);

    if (fd < 0)
        return fd;
    int result = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (result == 0 && protocol == UDP)
        result = set_udp_options(fd, endpoint);
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

static struct listen_sockets *find_listen(const struct sockets *sockets, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < sockets->count; i++)
        if (endpoint_equal(&sockets->listens[i].endpoint, endpoint))
            return (struct listen_sockets *)&sockets->listens[i];
    return NULL;
}

static int find_socket(const struct sockets *sockets, const struct endpoint *endpoint, enum protocol protocol,
                       size_t worker)
{
    struct listen_sockets *listen = find_listen(sockets, endpoint);

    return listen == NULL || worker >= sockets->workers ? -1 : *socket_of(listen, protocol, worker);
}

/* A wildcard and a single address with the same port exclude each other without SO_REUSEPORT, also when both are
 * ours. */
static bool overlaps(const struct endpoint *ours, const struct endpoint *endpoint)
{
    return endpoint_port(ours) == endpoint_port(endpoint) && is_v6(ours) == is_v6(endpoint) &&
           (endpoint_is_wildcard(ours) || endpoint_is_wildcard(endpoint));
}

static bool overlaps_ours(const struct sockets *ours, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < ours->count; i++) {
        if (overlaps(&ours->listens[i].endpoint, endpoint))
            return true;
    }
    return false;
}

static bool address_is_usable(const struct endpoint *endpoint, const struct sockets *current, char *error)
{
    if (find_listen(current, endpoint) != NULL || overlaps_ours(current, endpoint))
        return true;
    for (enum protocol protocol = UDP; protocol <= TCP; protocol++) {
        int result = try_bind(endpoint, protocol);

        if (result < 0) {
            socket_describe_failure(endpoint, protocol_names[protocol], result, error);
            return false;
        }
    }
    return true;
}

static int keep_or_open(const struct sockets *current, const struct endpoint *endpoint, enum protocol protocol,
                        size_t worker)
{
    int kept = find_socket(current, endpoint, protocol, worker);

    return kept >= 0 ? kept : open_listener(endpoint, protocol);
}

static bool prepare_listen(struct listen_sockets *listen, size_t workers, const struct sockets *current, char *error)
{
    for (size_t worker = 0; worker < workers; worker++)
        for (enum protocol protocol = UDP; protocol <= TCP; protocol++) {
            int fd = keep_or_open(current, &listen->endpoint, protocol, worker);

            if (fd < 0) {
                socket_describe_failure(&listen->endpoint, protocol_names[protocol], fd, error);
                return false;
            }
            *socket_of(listen, protocol, worker) = fd;
        }
    return true;
}

static void begin_listen(struct listen_sockets *listen, const struct endpoint *endpoint)
{
    listen->endpoint = *endpoint;
    for (size_t worker = 0; worker < CONFIG_WORKERS; worker++)
        listen->udp[worker] = listen->tcp[worker] = -1;
}

static int activate_socket(int fd, const struct endpoint *endpoint, enum protocol protocol)
{
    int result = bind_socket(fd, endpoint);

    if (result == 0 && protocol == TCP && listen(fd, TCP_BACKLOG) < 0)
        result = -errno;
    return result;
}

/* A draining child holds a copy, so closing ours would leave the socket in the group of its address, with its share of
 * queries and no reader. TCP: shutdown ends listening. UDP: a connected socket (here to itself) receives no new
 * queries, and answers can still be sent from it. Errors mean that it was never bound. */
static void take_out_of_service(int fd, const struct endpoint *endpoint, enum protocol protocol)
{
    int result = protocol == TCP ? shutdown(fd, SHUT_RDWR) : connect(fd, &endpoint->any, endpoint->size);

    (void)result;
    close(fd);
}

/* ---- of the metrics port ---- */

static int find_metrics(const struct sockets *sockets, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < sockets->metrics_count; i++)
        if (endpoint_equal(&sockets->metrics[i].endpoint, endpoint))
            return sockets->metrics[i].fd;
    return -1;
}

static bool overlaps_metrics(const struct sockets *ours, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < ours->metrics_count; i++) {
        if (overlaps(&ours->metrics[i].endpoint, endpoint))
            return true;
    }
    return false;
}

/* Returns a socket that is kept or new, or -errno. */
static int prepare_metrics_socket(const struct sockets *current, const struct endpoint *endpoint)
{
    int fd = find_metrics(current, endpoint);
    int result = 0;

    if (fd >= 0)
        return fd;
    if (!overlaps_metrics(current, endpoint))
        result = try_bind(endpoint, TCP);
    fd = result < 0 ? result : open_listener(endpoint, TCP);
    if (fd >= 0)
        set_option(fd, SOL_SOCKET, SO_SNDBUF, METRICS_BUFFER); /* without it, it only uses more memory */
    return fd;
}

static bool prepare_metrics(struct sockets *next, const struct sockets *current, const struct config *config,
                            char *error)
{
    for (size_t i = 0; i < config->metrics_listen_count; i++) {
        const struct endpoint *endpoint = &config->metrics_listens[i];
        int fd = prepare_metrics_socket(current, endpoint);

        if (fd < 0) {
            socket_describe_failure(endpoint, METRICS_PORT, fd, error);
            return false;
        }
        next->metrics[next->metrics_count++] = (struct metrics_socket){.endpoint = *endpoint, .fd = fd};
    }
    return true;
}

static bool activate_metrics(struct sockets *next, const struct sockets *current, char *error)
{
    for (size_t i = 0; i < next->metrics_count; i++) {
        const struct metrics_socket *metrics = &next->metrics[i];
        bool kept = find_metrics(current, &metrics->endpoint) >= 0;
        int result = kept ? 0 : activate_socket(metrics->fd, &metrics->endpoint, TCP);

        if (result < 0) {
            socket_describe_failure(&metrics->endpoint, METRICS_PORT, result, error);
            return false;
        }
    }
    return true;
}

static void retire_metrics(struct sockets *gone, const struct sockets *kept)
{
    for (size_t i = 0; i < gone->metrics_count; i++)
        if (find_metrics(kept, &gone->metrics[i].endpoint) < 0)
            take_out_of_service(gone->metrics[i].fd, &gone->metrics[i].endpoint, TCP);
    gone->metrics_count = 0;
}

/* ---- all of them ---- */

bool sockets_prepare(struct sockets *next, const struct sockets *current, const struct config *config, char *error)
{
    next->count = 0;
    next->metrics_count = 0;
    next->workers = config->workers;
    for (size_t i = 0; i < config->listen_count; i++) {
        struct listen_sockets *listen = &next->listens[next->count++];

        begin_listen(listen, &config->listens[i]);
        if (!address_is_usable(&listen->endpoint, current, error) ||
            !prepare_listen(listen, next->workers, current, error)) {
            sockets_retire(next, current);
            return false;
        }
    }
    if (prepare_metrics(next, current, config, error))
        return true;
    sockets_retire(next, current);
    return false;
}

static bool activate_listen(struct listen_sockets *listen, size_t workers, const struct sockets *current, char *error)
{
    for (size_t worker = 0; worker < workers; worker++)
        for (enum protocol protocol = UDP; protocol <= TCP; protocol++) {
            if (find_socket(current, &listen->endpoint, protocol, worker) >= 0)
                continue;
            int result = activate_socket(*socket_of(listen, protocol, worker), &listen->endpoint, protocol);
            if (result < 0) {
                socket_describe_failure(&listen->endpoint, protocol_names[protocol], result, error);
                return false;
            }
        }
    return true;
}

bool sockets_activate(struct sockets *next, const struct sockets *current, char *error)
{
    for (size_t i = 0; i < next->count; i++)
        if (!activate_listen(&next->listens[i], next->workers, current, error))
            return false;
    return activate_metrics(next, current, error);
}

void sockets_retire(struct sockets *gone, const struct sockets *kept)
{
    for (size_t i = 0; i < gone->count; i++)
        for (size_t worker = 0; worker < gone->workers; worker++)
            for (enum protocol protocol = UDP; protocol <= TCP; protocol++) {
                struct listen_sockets *listen = &gone->listens[i];
                int fd = *socket_of(listen, protocol, worker);

                if (fd >= 0 && find_socket(kept, &listen->endpoint, protocol, worker) < 0)
                    take_out_of_service(fd, &listen->endpoint, protocol);
            }
    gone->count = 0;
    retire_metrics(gone, kept);
}

void sockets_log_buffers(const struct sockets *sockets)
{
    int granted = 0;
    socklen_t size = sizeof granted;

    if (sockets->count == 0 || getsockopt(sockets->listens[0].udp[0], SOL_SOCKET, SO_RCVBUF, &granted, &size) < 0)
        return;
    granted /= 2; /* the kernel doubles it for its own bookkeeping (socket(7)) */
    if (granted < RECEIVE_BUFFER)
        log_warn("UDP receive buffers are smaller than requested: raise net.core.rmem_max or grant CAP_NET_ADMIN",
                 log_n("octets", granted), log_n("wanted", RECEIVE_BUFFER));
    else
        log_info("UDP receive buffers granted", log_n("octets", granted));
}

#include "nodedot/listener/udp.h"

#include "nodedot/base/clock.h"

#include <errno.h>
#include <string.h>

/* Full batches read in one turn before the upstreams have theirs. */
#define UDP_BATCHES 4
/* Maximum number read at the end, when no other process will read: more than the largest socket buffer holds, so that a
 * flood cannot prolong it. */
#define UDP_REST_BATCHES 1024

static void on_io(struct ev_loop *loop, ev_io *io, int revents);

static void watch(struct udp_listener *listener)
{
    int events = listener->blocked ? EV_WRITE : (listener->reading || listener->rest ? EV_READ : 0);

    ev_io_stop(listener->loop, &listener->io);
    ev_io_set(&listener->io, listener->fd, events);
    if (events != 0)
        ev_io_start(listener->loop, &listener->io);
}

void udp_init(struct udp_listener *listener, struct ev_loop *loop, int fd, const struct endpoint *endpoint,
              struct udp_input *input, struct metrics *metrics, client_query *on_query, void *owner)
{
    memset(listener, 0, offsetof(struct udp_listener, output.out));
    listener->loop = loop;
    listener->fd = fd;
    listener->endpoint = endpoint;
    listener->wildcard = endpoint_is_wildcard(endpoint);
    listener->input = input;
    listener->metrics = metrics;
    listener->on_query = on_query;
    listener->owner = owner;
    ev_init(&listener->io, on_io);
    listener->io.data = listener;
    for (unsigned i = 0; i < UDP_BATCH; i++) {
        struct udp_output *output = &listener->output;

        output->headers[i].msg_hdr.msg_iov = &output->vectors[i];
        output->headers[i].msg_hdr.msg_iovlen = 1;
        output->headers[i].msg_hdr.msg_name = &output->endpoints[i].any;
        input->vectors[i] = (struct iovec){.iov_base = input->messages[i], .iov_len = UDP_QUERY_MAX};
        input->headers[i].msg_hdr.msg_iov = &input->vectors[i];
        input->headers[i].msg_hdr.msg_iovlen = 1;
        input->headers[i].msg_hdr.msg_name = &input->endpoints[i];
        input->headers[i].msg_hdr.msg_control = input->controls[i];
    }
}

void udp_start(struct udp_listener *listener)
{
    listener->reading = true;
    watch(listener);
}

/* The destination of the query is the source of the answer; otherwise the client would reject it. */
static void read_local(struct msghdr *header, struct endpoint *local)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            const struct in_pktinfo *info = (const void *)CMSG_DATA(c);

            local->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = info->ipi_spec_dst};
            local->size = sizeof(local->v4);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            const struct in6_pktinfo *info = (const void *)CMSG_DATA(c);

            local->v6 = (struct sockaddr_in6){
                .sin6_family = AF_INET6, .sin6_addr = info->ipi6_addr, .sin6_scope_id = info->ipi6_ifindex};
            local->size = sizeof(local->v6);
        }
    }
}

static void write_local(struct msghdr *header, uint8_t *control, const struct endpoint *local)
{
    struct cmsghdr *c = (void *)control;

    header->msg_control = NULL;
    header->msg_controllen = 0;
    if (local->size == 0)
        return;
    header->msg_control = control;
    if (local->any.sa_family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst = local->v4.sin_addr};

        *c = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(info))};
        memcpy(CMSG_DATA(c), &info, sizeof(info));
        header->msg_controllen = CMSG_SPACE(sizeof(info));
    } else {
        struct in6_pktinfo info = {.ipi6_addr = local->v6.sin6_addr, .ipi6_ifindex = local->v6.sin6_scope_id};

        *c =
            (struct cmsghdr){.cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(info))};
        memcpy(CMSG_DATA(c), &info, sizeof(info));
        header->msg_controllen = CMSG_SPACE(sizeof(info));
    }
}

uint8_t *udp_begin(struct udp_listener *listener, size_t *capacity)
{
    struct udp_output *output = &listener->output;

    if (output->count == UDP_BATCH || UDP_OUT - output->used < MESSAGE_MAX_OCTETS)
        udp_flush(listener);
    if (output->count == UDP_BATCH || UDP_OUT - output->used < MESSAGE_MAX_OCTETS) {
        metric_inc(listener->metrics, dropped_send_total); /* the kernel takes no more */
        return NULL;
    }
    *capacity = UDP_OUT - output->used;
    return output->out + output->used;
}

void udp_commit(struct udp_listener *listener, const struct client *client, size_t size)
{
    struct udp_output *output = &listener->output;
    unsigned i = output->count;
    struct msghdr *header = &output->headers[i].msg_hdr;

    if (size == 0)
        return;
    output->endpoints[i] = client->endpoint;
    header->msg_namelen = client->endpoint.size;
    output->vectors[i] = (struct iovec){.iov_base = output->out + output->used, .iov_len = size};
    if (listener->wildcard)
        write_local(header, output->controls[i], &client->local);
    output->used += (size + 7) / 8 * 8; /* word copies are quickest between aligned places */
    output->count++;
}

/* True: it was answered at once. */
static bool handle_query(struct udp_listener *listener, struct mmsghdr *message)
{
    struct msghdr *header = &message->msg_hdr;
    struct client client = {.udp = listener};
    size_t capacity;
    uint8_t *out = udp_begin(listener, &capacity);
    ssize_t size;

    client.endpoint.size = header->msg_namelen;
    memcpy(&client.endpoint.v6, header->msg_name, header->msg_namelen);
    if (listener->wildcard)
        read_local(header, &client.local);
    if (out == NULL)
        return false;
    size = listener->on_query(listener->owner, &client, header->msg_iov->iov_base, message->msg_len, out, capacity);
    if (size > 0)
        udp_commit(listener, &client, (size_t)size);
    return size > 0;
}

/* Answers a batch. The clock is read for all of them together: they came, and leave, together. */
static void handle_batch(struct udp_listener *listener, unsigned n)
{
    uint64_t began_us = clock_us();
    unsigned answered = 0;

    for (unsigned i = 0; i < n; i++)
        answered += handle_query(listener, &listener->input->headers[i]);
    udp_flush(listener);
    if (answered > 0)
        histogram_add(&listener->metrics->hit_duration, clock_us() - began_us, answered);
}

/* Takes one batch. Returns the number of queries, 0: none are left. */
static unsigned read_batch(struct udp_listener *listener, unsigned used)
{
    struct udp_input *input = listener->input;
    int n;

    for (unsigned i = 0; i < used; i++) { /* the kernel has written over these */
        input->headers[i].msg_hdr.msg_namelen = sizeof(input->endpoints[i]);
        input->headers[i].msg_hdr.msg_controllen = listener->wildcard ? UDP_CONTROL : 0;
    }
    n = recvmmsg(listener->fd, input->headers, UDP_BATCH, 0, NULL);
    if (n <= 0)
        return 0;
    handle_batch(listener, (unsigned)n);
    return (unsigned)n;
}

/* False: more may wait. */
static bool read_queries(struct udp_listener *listener, unsigned batches)
{
    unsigned n = UDP_BATCH; /* another listener of this thread may have used the input before */

    for (unsigned i = 0; i < batches && n == UDP_BATCH && !listener->blocked; i++)
        n = read_batch(listener, n);
    return n < UDP_BATCH;
}

/* In the end: what waits in the socket, as far as its answers can be sent now. */
static void read_rest(struct udp_listener *listener)
{
    listener->rest = !read_queries(listener, UDP_REST_BATCHES) && listener->blocked;
}

/* Keeps what the kernel did not take. The octets stay where they are, so only the descriptions move. */
static void keep_unsent(struct udp_output *output, unsigned sent)
{
    unsigned left = output->count - sent;

    for (unsigned i = 0; i < left && sent > 0; i++) {
        struct msghdr *to = &output->headers[i].msg_hdr;
        const struct msghdr *from = &output->headers[sent + i].msg_hdr;

        output->endpoints[i] = output->endpoints[sent + i];
        output->vectors[i] = output->vectors[sent + i];
        memcpy(output->controls[i], output->controls[sent + i], UDP_CONTROL);
        to->msg_namelen = from->msg_namelen;
        to->msg_controllen = from->msg_controllen;
        to->msg_control = from->msg_controllen > 0 ? output->controls[i] : NULL;
    }
    output->count = left;
    if (left == 0)
        output->used = 0;
}

void udp_flush(struct udp_listener *listener)
{
    struct udp_output *output = &listener->output;
    unsigned sent = 0;
    bool blocked = false;

    while (sent < output->count && !blocked) {
        int n = sendmmsg(listener->fd, output->headers + sent, output->count - sent, MSG_NOSIGNAL);

        if (n > 0) {
            sent += (unsigned)n;
            metric_add(listener->metrics, answers_total, n);
        } else if (errno == EAGAIN) {
            blocked = true;
        } else if (errno != EINTR) { /* this client cannot be reached: the others can */
            metric_inc(listener->metrics, dropped_send_total);
            sent++;
        }
    }
    keep_unsent(output, sent);
    if (listener->blocked != blocked) {
        listener->blocked = blocked;
        watch(listener);
    }
}

static void on_io(struct ev_loop *loop, ev_io *io, int revents)
{
    struct udp_listener *listener = io->data;

    (void)loop;
    if ((revents & EV_WRITE) != 0)
        udp_flush(listener);
    if ((revents & EV_READ) == 0)
        return;
    if (listener->rest) {
        read_rest(listener);
        watch(listener);
    } else {
        read_queries(listener, UDP_BATCHES);
    }
}

/* A socket that the supervisor took out of service is connected (node/sockets.c), and gets nothing more. */
static bool is_out_of_service(const struct udp_listener *listener)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);

    return getpeername(listener->fd, (struct sockaddr *)&peer, &size) == 0;
}

void udp_stop(struct udp_listener *listener, bool with_rest)
{
    if (!listener->reading)
        return;
    listener->reading = false;
    if (with_rest || is_out_of_service(listener))
        read_rest(listener);
    watch(listener);
}

bool udp_is_idle(const struct udp_listener *listener)
{
    return listener->output.count == 0 && !listener->rest;
}

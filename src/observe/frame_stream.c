#include "nodedot/observe/frame_stream.h"

#include "nodedot/base/clock.h"
#include "nodedot/observe/log.h"

#include <errno.h>
#include <fstrm.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* libfstrm puts two vectors a frame into a call. */
#define VECTORS_MAX (2 * FRAME_STREAM_BATCH)

struct frame_stream {
    struct sockaddr_un path;
    const char *content_type;
    frame_stream_wait *wait;
    void *context;
    int fd;                      /* -1: not connected */
    struct fstrm_writer *writer; /* NULL: not connected */
    uint64_t next_ms;            /* of the next try to connect */
    int failed_errno;            /* of the last try; 0: the peer spoke another protocol, or nothing */
    bool told_absent;
};

/* ---- what libfstrm reads and writes through ---- */

static fstrm_res on_open(void *object)
{
    struct frame_stream *stream = object;

    /* Without waiting: where the peer's backlog is full, connect(2) would wait until it is not. */
    stream->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (stream->fd < 0) {
        stream->failed_errno = errno;
        return fstrm_res_failure;
    }
    if (connect(stream->fd, (const struct sockaddr *)&stream->path, sizeof(stream->path)) == 0)
        return fstrm_res_success;
    stream->failed_errno = errno;
    close(stream->fd);
    stream->fd = -1;
    return fstrm_res_failure;
}

static fstrm_res on_close(void *object)
{
    struct frame_stream *stream = object;

    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
    return fstrm_res_success;
}

static bool may_try_again(struct frame_stream *stream, short events)
{
    return errno == EINTR ||
           (errno == EAGAIN && stream->wait(stream->context, stream->fd, events, FRAME_STREAM_PATIENCE_MS));
}

static fstrm_res on_read(void *object, void *octets, size_t size)
{
    struct frame_stream *stream = object;
    uint8_t *at = octets;

    while (size > 0) {
        ssize_t n = recv(stream->fd, at, size, 0);

        if (n == 0 || (n < 0 && !may_try_again(stream, POLLIN)))
            return fstrm_res_failure;
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return fstrm_res_success;
}

/* Moves past n octets that were written. */
static void advance(struct msghdr *message, size_t n)
{
    while (message->msg_iovlen > 0 && n >= message->msg_iov->iov_len) {
        n -= message->msg_iov->iov_len;
        message->msg_iov++;
        message->msg_iovlen--;
    }
    if (message->msg_iovlen > 0) {
        message->msg_iov->iov_base = (uint8_t *)message->msg_iov->iov_base + n;
        message->msg_iov->iov_len -= n;
    }
}

static fstrm_res on_write(void *object, const struct iovec *vectors, int count)
{
    struct frame_stream *stream = object;
    struct iovec rest[VECTORS_MAX];
    struct msghdr message = {.msg_iov = rest, .msg_iovlen = (size_t)count};

    if ((size_t)count > VECTORS_MAX)
        return fstrm_res_failure;
    memcpy(rest, vectors, (size_t)count * sizeof(rest[0]));
    while (message.msg_iovlen > 0) {
        ssize_t n = sendmsg(stream->fd, &message, MSG_NOSIGNAL);

        if (n < 0 && !may_try_again(stream, POLLOUT))
            return fstrm_res_failure;
        if (n > 0)
            advance(&message, (size_t)n);
    }
    return fstrm_res_success;
}

/* ---- life ---- */

struct frame_stream *frame_stream_create(const char *path, const char *content_type, frame_stream_wait *wait,
                                         void *context)
{
    struct frame_stream *stream = calloc(1, sizeof(*stream));

    if (stream == NULL)
        return NULL;
    stream->path.sun_family = AF_UNIX;
    strncpy(stream->path.sun_path, path, sizeof(stream->path.sun_path) - 1);
    stream->content_type = content_type;
    stream->wait = wait;
    stream->context = context;
    stream->fd = -1;
    return stream;
}

static void disconnect(struct frame_stream *stream)
{
    if (stream->writer != NULL)
        fstrm_writer_destroy(&stream->writer); /* says STOP and waits for FINISH where the connection is whole */
    on_close(stream);
}

void frame_stream_destroy(struct frame_stream *stream)
{
    if (stream == NULL)
        return;
    disconnect(stream);
    free(stream);
}

static struct fstrm_writer *make_writer(struct frame_stream *stream)
{
    struct fstrm_rdwr *transport = fstrm_rdwr_init(stream);
    struct fstrm_writer_options *options = fstrm_writer_options_init();
    struct fstrm_writer *writer;

    fstrm_rdwr_set_open(transport, on_open);
    fstrm_rdwr_set_close(transport, on_close);
    fstrm_rdwr_set_read(transport, on_read);
    fstrm_rdwr_set_write(transport, on_write);
    fstrm_writer_options_add_content_type(options, stream->content_type, strlen(stream->content_type));
    writer = fstrm_writer_init(options, &transport);
    fstrm_writer_options_destroy(&options);
    return writer;
}

/* A peer says nothing between ACCEPT and FINISH: something to read is its end. */
static bool peer_is_there(struct frame_stream *stream)
{
    struct pollfd peer = {.fd = stream->fd, .events = POLLIN};

    return poll(&peer, 1, 0) == 0;
}

static void connect_to_peer(struct frame_stream *stream)
{
    stream->failed_errno = 0;
    stream->writer = make_writer(stream);
    if (fstrm_writer_open(stream->writer) != fstrm_res_success)
        disconnect(stream);
}

/* Told when it changes. */
static void tell(struct frame_stream *stream, bool connected)
{
    if (connected)
        log_info("dnstap connected", log_s("socket", stream->path.sun_path));
    else if (!stream->told_absent)
        log_warn("dnstap not connected", log_s("socket", stream->path.sun_path),
                 log_s("reason", stream->failed_errno != 0 ? strerror(stream->failed_errno) : "no Frame Streams peer"));
    stream->told_absent = !connected;
}

bool frame_stream_open(struct frame_stream *stream)
{
    uint64_t now = clock_ms();

    if (stream->writer != NULL && peer_is_there(stream))
        return true;
    disconnect(stream);
    if (now < stream->next_ms)
        return false;
    connect_to_peer(stream);
    stream->next_ms = clock_ms() + FRAME_STREAM_PAUSE_MS;
    tell(stream, stream->writer != NULL);
    return stream->writer != NULL;
}

bool frame_stream_write(struct frame_stream *stream, const struct iovec *frames, size_t count)
{
    if (fstrm_writer_writev(stream->writer, frames, (int)count) == fstrm_res_success)
        return true;
    disconnect(stream);
    return false;
}

#include "nodedot/tls/tls_records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SEND_FIRST 4096        /* first size of the send buffer: some 30 padded queries */
#define SEND_KEEP  (16 * 1024) /* a larger send buffer is given back when it has run empty */

_Static_assert(RECORDS_RECEIVE >= RECORDS_HEADER + RECORDS_BODY_MAX, "a record must fit");

bool records_init(struct records *r, int fd)
{
    *r = (struct records){.fd = fd, .in = malloc(RECORDS_RECEIVE)};
    return r->in != NULL;
}

void records_reset(struct records *r)
{
    free(r->in);
    free(r->out);
    *r = (struct records){.fd = -1};
}

/* Of the record at the front, header included; 0 while the header is not there. */
static size_t record_size(const struct records *r)
{
    const uint8_t *header = r->in + r->in_at;

    return r->in_size < RECORDS_HEADER ? 0 : RECORDS_HEADER + ((size_t)header[3] << 8 | header[4]);
}

static enum records_result receive(struct records *r)
{
    memmove(r->in, r->in + r->in_at, r->in_size);
    r->in_at = 0;

    size_t room = RECORDS_RECEIVE - r->in_size;
    ssize_t n = recv(r->fd, r->in + r->in_size, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return RECORDS_AGAIN;
    if (n < 0 && errno != ECONNRESET)
        return RECORDS_FAILED;
    if (n <= 0) {
        r->ended = true;
        return RECORDS_ENDED;
    }
    r->in_size += (size_t)n;
    r->drained = (size_t)n < room;
    return RECORDS_DONE;
}

enum records_result records_fetch(struct records *r)
{
    for (;;) {
        size_t size = record_size(r);
        if (r->record_left > 0 || (size > 0 && size <= r->in_size))
            return RECORDS_DONE;
        if (size > RECORDS_HEADER + RECORDS_BODY_MAX) {
            errno = EMSGSIZE;
            return RECORDS_FAILED;
        }
        if (r->ended)
            return RECORDS_ENDED;
        if (r->drained) {
            r->drained = false;
            return RECORDS_AGAIN;
        }
        enum records_result result = receive(r);
        if (result != RECORDS_DONE)
            return result;
    }
}

uint8_t *records_next(struct records *r, size_t *size)
{
    *size = record_size(r);
    return r->record_left > 0 || *size == 0 || *size > r->in_size ? NULL : r->in + r->in_at;
}

size_t records_take(struct records *r, uint8_t *out, size_t capacity)
{
    if (r->record_left == 0)
        r->record_left = record_size(r);
    size_t size = capacity < r->record_left ? capacity : r->record_left;
    memcpy(out, r->in + r->in_at, size);
    r->in_at += size;
    r->in_size -= size;
    r->record_left -= size;
    return size;
}

enum records_result records_add(struct records *r, const uint8_t *octets, size_t size)
{
    size_t need = r->out_at + r->out_size + size;

    if (need > RECORDS_SEND_MAX) {
        errno = ENOBUFS;
        return RECORDS_FAILED;
    }
    if (need > r->out_capacity) {
        size_t capacity = r->out_capacity == 0 ? SEND_FIRST : r->out_capacity;
        while (capacity < need)
            capacity *= 2;
        uint8_t *larger = realloc(r->out, capacity);
        if (larger == NULL)
            return RECORDS_FAILED;
        r->out = larger;
        r->out_capacity = capacity;
    }
    memcpy(r->out + r->out_at + r->out_size, octets, size);
    r->out_size += size;
    return RECORDS_DONE;
}

enum records_result records_flush(struct records *r)
{
    while (r->out_size > 0) {
        ssize_t n = send(r->fd, r->out + r->out_at, r->out_size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? RECORDS_AGAIN : RECORDS_FAILED;
        r->out_at += (size_t)n;
        r->out_size -= (size_t)n;
    }
    r->out_at = 0;
    if (r->out_capacity > SEND_KEEP) {
        free(r->out);
        r->out = NULL;
        r->out_capacity = 0;
    }
    return RECORDS_DONE;
}

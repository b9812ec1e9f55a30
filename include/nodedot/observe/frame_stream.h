/* frame_stream.h - a Frame Streams connection to a Unix socket: sends frames, and reads the handshake messages.
 *
 * Protocol: https://farsightsec.github.io/fstrm/, bidirectional: READY, ACCEPT, START, frames, STOP, FINISH. libfstrm
 *           speaks it; waiting is done here, so that no peer can hold the thread for longer than
 *           FRAME_STREAM_PATIENCE_MS.
 * Life:     frame_stream_open() connects when there is no connection, and at most once in FRAME_STREAM_PAUSE_MS.
 * Shared:   by nobody: it belongs to the writer of the query log.
 */
#ifndef NODEDOT_OBSERVE_FRAME_STREAM_H
#define NODEDOT_OBSERVE_FRAME_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* A peer that accepts nothing for this long is disconnected. */
#define FRAME_STREAM_PATIENCE_MS 5000
/* Interval between tries to connect: short enough for a collector that restarts. */
#define FRAME_STREAM_PAUSE_MS 1000

/* Frames in one system call. */
#define FRAME_STREAM_BATCH 64

struct frame_stream;

/* Waits until a descriptor has one of the events (poll(2)) or milliseconds have passed. False: the time is over, or the
 * writer must stop. */
typedef bool frame_stream_wait(void *context, int fd, short events, unsigned milliseconds);

/* path: of a Unix stream socket. NULL: no memory. */
struct frame_stream *frame_stream_create(const char *path, const char *content_type, frame_stream_wait *wait,
                                         void *context);

/* Closes the connection, with STOP and FINISH if wait() allows the time. */
void frame_stream_destroy(struct frame_stream *stream);

/* Is there a connection, or can one be made now? */
bool frame_stream_open(struct frame_stream *stream);

/* Writes count frames, FRAME_STREAM_BATCH at most, to an open stream. False: the connection broke; some of them may
 * have arrived. */
bool frame_stream_write(struct frame_stream *stream, const struct iovec *frames, size_t count);

#endif

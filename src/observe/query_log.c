#include "nodedot/observe/query_log.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/random.h"
#include "nodedot/observe/dnstap.h"
#include "nodedot/observe/frame_stream.h"
#include "nodedot/observe/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Standard error that takes nothing is tried again after this; twice as long each time, up to QUERY_LOG_TICK_MS. A reader
 * that keeps up empties a pipe's quarter (16 KiB) in less. */
#define RETRY_FIRST_MS 1

/* Frames that leave together: a batch of ordinary answers, or a few of the largest. */
#define FRAMES_OCTETS (4 * DNSTAP_MAX)

/* Lines that leave together. */
struct lines {
    char text[LOG_LINE];
    size_t size;
    uint64_t count;
};

/* Frames that leave together. */
struct frames {
    uint8_t octets[FRAMES_OCTETS];
    size_t used;
    struct iovec vectors[FRAME_STREAM_BATCH];
    size_t count;
};

struct query_log {
    const struct config *config;
    struct metrics *metrics;
    struct query_ring *rings[CONFIG_WORKERS];
    unsigned ring_count;
    unsigned next_ring; /* where the next batch begins, so that no worker is always the last */
    struct lines lines;
    struct frames *frames; /* NULL: lines are written */
    struct frame_stream *stream;
    pthread_t thread;
    bool started;
    int wake; /* eventfd: it is to end */
    _Atomic bool ending;
    _Atomic uint64_t end_ms; /* when it must be over, once ending is set */
};

/* ---- workers ---- */

bool query_tap_wants(struct query_tap *tap)
{
    if (tap->skip-- > 0)
        return false;
    tap->skip = random_below(2 * tap->sample - 1);
    return true;
}

void query_tap_put(struct query_tap *tap, struct query_record *record, const uint8_t *answer)
{
    size_t size = query_record_size(record);
    size_t with_answer = size + (tap->answers ? record->answer_octets : 0);
    uint8_t *out = query_ring_begin(tap->ring, with_answer);

    if (out == NULL) {
        metric_inc(tap->metrics, query_log_dropped_total);
        return;
    }
    record->wall_ns = clock_wall_ns() - record->duration_us * 1000;
    memcpy(out, record, size);
    if (with_answer > size)
        memcpy(out + size, answer, with_answer - size);
    query_ring_commit(tap->ring);
}

/* ---- waiting ---- */

/* Is the writer to end, and its time over? */
static bool time_is_up(const struct query_log *log)
{
    return atomic_load(&log->ending) && clock_ms() >= atomic_load(&log->end_ms);
}

/* The call to end interrupts the waiting, as it counts from then on. False: nothing happened in time. */
static bool wait_once(struct query_log *log, int fd, short events, uint64_t until_ms)
{
    bool ending = atomic_load(&log->ending);
    uint64_t limit_ms = ending && atomic_load(&log->end_ms) < until_ms ? atomic_load(&log->end_ms) : until_ms;
    uint64_t now = clock_ms();
    struct pollfd polled[] = {{.fd = fd, .events = events}, {.fd = ending ? -1 : log->wake, .events = POLLIN}};

    return poll(polled, 2, now < limit_ms ? (int)(limit_ms - now) : 0) != 0;
}

/* A frame_stream_wait. */
static bool wait_for(void *context, int fd, short events, unsigned milliseconds)
{
    struct query_log *log = context;
    uint64_t until_ms = clock_ms() + milliseconds;

    while (wait_once(log, fd, events, until_ms)) {
        struct pollfd polled = {.fd = fd, .events = events};

        if (poll(&polled, 1, 0) > 0)
            return true;
    }
    return false;
}

/* Sleeps, but not beyond the call to end. */
static void pause_writer(struct query_log *log, unsigned milliseconds)
{
    wait_once(log, -1, 0, clock_ms() + milliseconds);
}

/* ---- taking records ---- */

/* The oldest record of the next tap that has one; NULL: all are empty. */
static struct query_ring *next_record(struct query_log *log, const uint8_t **octets, size_t *size)
{
    for (unsigned i = 0; i < log->ring_count; i++) {
        struct query_ring *ring = log->rings[(log->next_ring + i) % log->ring_count];

        *octets = query_ring_peek(ring, size);
        if (*octets == NULL)
            continue;
        log->next_ring = (log->next_ring + i) % log->ring_count;
        return ring;
    }
    return NULL;
}

static struct query_record copy_record(const struct query_log *log, const uint8_t *octets)
{
    struct query_record record;
    size_t head = offsetof(struct query_record, question);

    memcpy(&record, octets, head);
    memcpy(record.question, octets + head, record.question_octets);
    if (log->config->log_queries_mask)
        query_record_mask(&record);
    return record;
}

static void count_lost(struct query_log *log, uint64_t count)
{
    metric_add(log->metrics, query_log_dropped_total, count);
}

/* ---- lines ---- */

/* Hands over what is in the batch, waiting as long as it takes. False: the time is up. */
static bool flush_lines(struct query_log *log)
{
    struct lines *lines = &log->lines;
    unsigned retry_ms = RETRY_FIRST_MS;
    enum log_offer offer;

    if (lines->size == 0)
        return true;
    while ((offer = log_offer(lines->text, lines->size)) == LOG_OFFER_WAIT) {
        if (time_is_up(log))
            return false;
        pause_writer(log, retry_ms);
        retry_ms = 2 * retry_ms < QUERY_LOG_TICK_MS ? 2 * retry_ms : QUERY_LOG_TICK_MS;
    }
    if (offer == LOG_OFFER_TAKEN)
        metric_add(log->metrics, query_log_total, lines->count);
    else
        count_lost(log, lines->count);
    lines->size = 0;
    lines->count = 0;
    return true;
}

/* Writes everything that is in the taps. False: the time is up. */
static bool write_lines(struct query_log *log)
{
    struct query_ring *ring;
    const uint8_t *octets;
    size_t size;

    while ((ring = next_record(log, &octets, &size)) != NULL) {
        struct query_record record = copy_record(log, octets);
        char line[LOG_LINE];
        size_t length = query_record_line(&record, line);

        if (length > sizeof(log->lines.text) - log->lines.size && !flush_lines(log))
            return false;
        memcpy(log->lines.text + log->lines.size, line, length);
        log->lines.size += length;
        log->lines.count++;
        query_ring_release(ring);
    }
    return flush_lines(log);
}

/* ---- frames ---- */

static void add_frame(struct query_log *log, const uint8_t *octets)
{
    struct frames *frames = log->frames;
    struct query_record record = copy_record(log, octets);
    const uint8_t *answer = octets + query_record_size(&record);
    size_t size;
    const uint8_t *frame = dnstap_encode(frames->octets + frames->used, &record, answer, log->config->node_name, &size);

    frames->vectors[frames->count++] = (struct iovec){.iov_base = (void *)(uintptr_t)frame, .iov_len = size};
    frames->used = (size_t)(frame - frames->octets) + size;
}

static void flush_frames(struct query_log *log)
{
    struct frames *frames = log->frames;

    if (frames->count == 0)
        return;
    if (frame_stream_write(log->stream, frames->vectors, frames->count))
        metric_add(log->metrics, query_log_total, frames->count);
    else
        count_lost(log, frames->count);
    frames->count = 0;
    frames->used = 0;
}

/* While nobody is there, records stay in the taps. */
static void write_frames(struct query_log *log)
{
    struct frames *frames = log->frames;
    struct query_ring *ring;
    const uint8_t *octets;
    size_t size;

    while (!time_is_up(log) && frame_stream_open(log->stream) && (ring = next_record(log, &octets, &size)) != NULL) {
        do {
            add_frame(log, octets);
            query_ring_release(ring);
        } while (frames->count < FRAME_STREAM_BATCH && FRAMES_OCTETS - frames->used >= DNSTAP_MAX &&
                 (ring = next_record(log, &octets, &size)) != NULL);
        flush_frames(log);
    }
}

/* ---- the writer ---- */

static void *run(void *argument)
{
    struct query_log *log = argument;
    bool ending;

    do {
        ending = atomic_load(&log->ending); /* what is in the taps by now is all there will be */
        if (log->frames != NULL)
            write_frames(log);
        else
            write_lines(log);
        if (!ending)
            pause_writer(log, QUERY_LOG_TICK_MS);
    } while (!ending);
    frame_stream_destroy(log->stream); /* with a farewell, while there is time */
    log->stream = NULL;
    return NULL;
}

static void count_rest(struct query_log *log)
{
    const uint8_t *octets;
    struct query_ring *ring;
    size_t size;

    count_lost(log, log->lines.count);
    while ((ring = next_record(log, &octets, &size)) != NULL) {
        count_lost(log, 1);
        query_ring_release(ring);
    }
}

/* ---- life ---- */

struct query_log *query_log_create(const struct config *config, struct metrics *metrics)
{
    struct query_log *log = calloc(1, sizeof(*log));

    if (log == NULL)
        return NULL;
    log->config = config;
    log->metrics = metrics;
    log->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (config->dnstap[0] != '\0') {
        log->frames = malloc(sizeof(*log->frames));
        log->stream = frame_stream_create(config->dnstap, DNSTAP_CONTENT_TYPE, wait_for, log);
    }
    if (log->wake < 0 || (config->dnstap[0] != '\0' && (log->frames == NULL || log->stream == NULL))) {
        query_log_destroy(log);
        return NULL;
    }
    if (log->frames != NULL) {
        log->frames->count = 0;
        log->frames->used = 0;
    }
    return log;
}

void query_log_destroy(struct query_log *log)
{
    if (log == NULL)
        return;
    frame_stream_destroy(log->stream);
    free(log->frames);
    for (unsigned i = 0; i < log->ring_count; i++)
        query_ring_destroy(log->rings[i]);
    if (log->wake >= 0)
        close(log->wake);
    free(log);
}

bool query_log_tap(struct query_log *log, struct query_tap *tap, struct metrics *metrics)
{
    const struct config *config = log->config;

    *tap = (struct query_tap){.ring = query_ring_create(),
                              .metrics = metrics,
                              .sample = config->log_queries == LOG_QUERIES_SAMPLED ? config->log_queries_sample : 1,
                              .answers = log->frames != NULL};
    if (tap->ring == NULL)
        return false;
    tap->skip = random_below(tap->sample);
    log->rings[log->ring_count++] = tap->ring;
    return true;
}

bool query_log_start(struct query_log *log)
{
    sigset_t all;
    sigset_t before;

    sigfillset(&all); /* signals are the control thread's */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    log->started = pthread_create(&log->thread, NULL, run, log) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return log->started;
}

void query_log_finish(struct query_log *log)
{
    if (!log->started)
        return;
    atomic_store(&log->end_ms, clock_ms() + QUERY_LOG_END_MS);
    atomic_store(&log->ending, true);
    (void)eventfd_write(log->wake, 1); /* cannot fail: it was never written to */
    pthread_join(log->thread, NULL);
    count_rest(log);
}

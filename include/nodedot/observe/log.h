/* log.h - log lines on standard error, one for each change of state.
 *
 * Text:   2026-01-31T12:00:00.123Z level=info msg="resolver ready" generation=3 pid=17
 * JSON:   {"time":"2026-01-31T12:00:00.123Z","level":"info","msg":"resolver ready","generation":3,"pid":17}
 * Values: quoted where needed; every octet that is not printable ASCII is escaped, so a peer cannot forge a
 *         line.
 * Shared: by threads and processes; a line is one write(2), at most LOG_LINE octets. No thread ever waits for a reader:
 *         a line that does not fit into a full pipe is lost, and counted.
 */
#ifndef NODEDOT_OBSERVE_LOG_H
#define NODEDOT_OBSERVE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A line is cut here, so that it stays one atomic write to a pipe (PIPE_BUF). */
#define LOG_LINE 4096

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* One key and its value. Make them with log_s() and the others below. */
struct log_field {
    const char *key; /* NULL ends a list */
    const char *text;
    int64_t number;
    bool is_text;
};

/* Makes writing to standard error never wait, if that is a pipe, a terminal or a socket, without a change for other
 * programs that have it open as well. To be called once, before the process gives up its rights and before it forks. */
void log_open(void);

/* Lines lost in this process, and before the fork in its parent. */
uint64_t log_lost(void);

void log_configure(enum log_level level, enum log_format format);
/* Adds node=NAME to every line from now on; "": not. Copied, at most 255 octets. */
void log_set_node(const char *name);

bool log_enabled(enum log_level level);

/* Writes one line. message is fixed text without values; fields end with a NULL key. Use the macros below. */
void log_write(enum log_level level, const char *message, const struct log_field *fields);

/* Writes to out (LOG_LINE octets) the line that log_write() would, as of a moment in nanoseconds since 1970, and
 * returns its size. No NUL is written. */
size_t log_compose(char *out, enum log_level level, uint64_t wall_ns, const char *message,
                   const struct log_field *fields);

enum log_offer {
    LOG_OFFER_TAKEN,
    LOG_OFFER_WAIT, /* standard error accepts nothing now; try again */
    LOG_OFFER_LOST  /* it is closed, or its disk is full */
};

/* Writes whole lines, LOG_LINE octets at most, to standard error, for callers that write much and can wait: most of a
 * pipe is left to log_write(). Does not wait itself. */
enum log_offer log_offer(const char *lines, size_t size);

#define log_s(name, value) ((struct log_field){.key = (name), .text = (value), .is_text = true})
#define log_n(name, value) ((struct log_field){.key = (name), .number = (int64_t)(value)})

#define log_at(level, message, ...)                                                                         \
    do {                                                                                                    \
        if (log_enabled(level))                                                                             \
            log_write(level, message, (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.key = NULL}}); \
    } while (0)

/* log_warn("upstream address removed from service", log_s("upstream", u->name), log_n("failures", n)); */
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* For lines that a peer can cause: true at most once in interval_ms; *suppressed is the number of lines that were held
 * back since. One static struct per place in the code, zeroed at first. */
struct log_limit {
    uint64_t next_ms;
    uint64_t held_back;
};
bool log_limit_pass(struct log_limit *limit, uint64_t interval_ms, uint64_t *suppressed);

#endif

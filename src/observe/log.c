#include "nodedot/observe/log.h"

#include "nodedot/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Kept free for what must end every line: a closing quote, a closing brace, the new line. */
#define LINE_END_ROOM 4

/* Set before threads start and in a forked child before it has any, so it needs no lock. */
static enum log_level max_level = LOG_LEVEL_INFO;
static enum log_format line_format = LOG_FORMAT_TEXT;
static char node_name[256]; /* the longest DNS name, as Kubernetes names nodes */

static bool output_is_socket;
static _Atomic uint64_t lost;

/* Between the look whether standard error takes a line and the writing, no other thread may fill it. Held for two
 * system calls that do not wait. */
static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;

/* What log_offer() leaves free of a pipe, as a divisor: it fills a quarter. Writes of less than a page may waste half
 * of it, so half of the pipe is still free for the lines that tell what goes wrong. */
#define OFFER_SHARE 4

/* A line in the making. Once something did not fit, nothing follows it, so a cut line never skips a part. */
struct line {
    char *text; /* LOG_LINE octets */
    size_t size;
    bool full;
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static void line_put(struct line *line, const char *text, size_t size)
{
    if (line->full || size > LOG_LINE - LINE_END_ROOM - line->size) {
        line->full = true;
        return;
    }
    memcpy(line->text + line->size, text, size);
    line->size += size;
}

static void line_puts(struct line *line, const char *text)
{
    line_put(line, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void line_printf(struct line *line, const char *format, ...)
{
    char part[64]; /* numbers and the time */
    va_list arguments;

    va_start(arguments, format);
    int size = vsnprintf(part, sizeof part, format, arguments);
    va_end(arguments);
    line_put(line, part, (size_t)size);
}

/* Into the room that line_put() leaves; nothing but the end of the line may follow. */
static void line_end(struct line *line, const char *text)
{
    size_t size = strlen(text);

    memcpy(line->text + line->size, text, size);
    line->size += size;
}

static void line_put_escaped(struct line *line, unsigned char octet)
{
    if (octet == '"' || octet == '\\')
        line_printf(line, "\\%c", octet);
    else if (octet == '\n')
        line_puts(line, "\\n");
    else if (octet == '\t')
        line_puts(line, "\\t");
    else if (octet >= 0x20 && octet < 0x7f)
        line_put(line, (const char *)&octet, 1);
    else
        line_printf(line, line_format == LOG_FORMAT_JSON ? "\\u%04x" : "\\x%02x", octet);
}

/* Returns whether the value has begun. The closing quote fits even where the text was cut. */
static bool line_put_quoted(struct line *line, const char *text)
{
    line_puts(line, "\"");
    if (line->full)
        return false;
    for (; *text != '\0' && !line->full; text++)
        line_put_escaped(line, (unsigned char)*text);
    line_puts(line, "\"");
    if (line->full)
        line_end(line, "\"");
    return true;
}

static bool needs_quotes(const char *text)
{
    if (*text == '\0')
        return true;
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text >= 0x7f || *text == '"' || *text == '\\' || *text == '=')
            return true;
    return false;
}

/* Year, month and day of a count of days since 1970, by the Gregorian calendar. gmtime_r(3) may read files, which a
 * resolver is no longer allowed to. The year begins in March here, so that the leap day is its last. */
static void civil_date(int64_t days, int *year, unsigned *month, unsigned *day)
{
    int64_t since = days + 719468; /* since 1 March of year 0 */
    int64_t era = since / 146097;  /* of 400 years */
    unsigned of_era = (unsigned)(since % 146097);
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned march_month = (5 * of_year + 2) / 153;

    *day = of_year - (153 * march_month + 2) / 5 + 1;
    *month = march_month < 10 ? march_month + 3 : march_month - 9;
    *year = (int)(year_of_era + era * 400) + (*month <= 2);
}

static void line_put_time(struct line *line, uint64_t wall_ns)
{
    uint64_t seconds = wall_ns / 1000000000;
    unsigned second = (unsigned)(seconds % 86400);
    int year;
    unsigned month, day;

    civil_date((int64_t)(seconds / 86400), &year, &month, &day);
    line_printf(line, "%04d-%02u-%02uT%02u:%02u:%02u.%03uZ", year, month, day, second / 3600, second / 60 % 60,
                second % 60, (unsigned)(wall_ns / 1000000 % 1000));
}

static void line_put_key(struct line *line, const char *key)
{
    bool json = line_format == LOG_FORMAT_JSON;

    line_puts(line, json ? ",\"" : " ");
    line_puts(line, key);
    line_puts(line, json ? "\":" : "=");
}

static bool line_put_number(struct line *line, int64_t number)
{
    line_printf(line, "%" PRId64, number);
    return !line->full;
}

static bool line_put_text(struct line *line, const char *text)
{
    if (line_format == LOG_FORMAT_JSON || needs_quotes(text) || strlen(text) > LOG_LINE - LINE_END_ROOM - line->size)
        return line_put_quoted(line, text);
    line_puts(line, text);
    return !line->full;
}

/* A field is there with its key and the begin of its value, or not at all. */
static void line_put_field(struct line *line, const struct log_field *field)
{
    size_t before = line->size;
    bool begun;

    line_put_key(line, field->key);
    if (field->is_text)
        begun = line_put_text(line, field->text == NULL ? "" : field->text);
    else
        begun = line_put_number(line, field->number);
    if (!begun)
        line->size = before;
}

static void line_put_head(struct line *line, enum log_level level, uint64_t wall_ns, const char *message)
{
    bool json = line_format == LOG_FORMAT_JSON;

    line_puts(line, json ? "{\"time\":\"" : "");
    line_put_time(line, wall_ns);
    line_puts(line, json ? "\",\"level\":\"" : " level=");
    line_puts(line, level_names[level]);
    line_puts(line, json ? "\",\"msg\":" : " msg=");
    line_put_quoted(line, message);
}

/* A flag of an open file holds for every process that inherited it: a pipe is opened once more, for us alone. Where that is
 * not allowed the flag is set all the same, because DNS must not wait for the reader of a log. */
static void stop_waiting_for_pipe(void)
{
    int own = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (own >= 0) {
        dup2(own, STDERR_FILENO);
        close(own);
        return;
    }
    int flags = fcntl(STDERR_FILENO, F_GETFL);
    if (flags >= 0)
        fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
}

void log_open(void)
{
    struct stat s;

    if (fstat(STDERR_FILENO, &s) < 0)
        return;
    output_is_socket = S_ISSOCK(s.st_mode);
    if (S_ISFIFO(s.st_mode) || isatty(STDERR_FILENO))
        stop_waiting_for_pipe();
}

uint64_t log_lost(void)
{
    return atomic_load_explicit(&lost, memory_order_relaxed);
}

void log_configure(enum log_level level, enum log_format format)
{
    max_level = level;
    line_format = format;
}

void log_set_node(const char *name)
{
    snprintf(node_name, sizeof(node_name), "%s", name);
}

bool log_enabled(enum log_level level)
{
    return level <= max_level;
}

size_t log_compose(char *out, enum log_level level, uint64_t wall_ns, const char *message,
                   const struct log_field *fields)
{
    struct line line = {.text = out};

    line_put_head(&line, level, wall_ns, message);
    if (node_name[0] != '\0')
        line_put_field(&line, &log_s("node", node_name));
    for (; fields->key != NULL && !line.full; fields++)
        line_put_field(&line, fields);
    line_end(&line, line_format == LOG_FORMAT_JSON ? "}\n" : "\n");
    return line.size;
}

/* Would standard error take a line without waiting? A pipe that says so takes PIPE_BUF octets. */
static bool output_takes_more(void)
{
    struct pollfd output = {.fd = STDERR_FILENO, .events = POLLOUT};

    return poll(&output, 1, 0) != 0; /* an error is for write(2) to report */
}

/* Is a pipe so full that what is left is for others? What is no pipe has no such limit. */
static bool output_share_is_used(void)
{
    int capacity = fcntl(STDERR_FILENO, F_GETPIPE_SZ);
    int queued = 0;

    return capacity > 0 && ioctl(STDERR_FILENO, FIONREAD, &queued) == 0 && queued > capacity / OFFER_SHARE;
}

static ssize_t output(const char *text, size_t size)
{
    if (!output_takes_more()) {
        errno = EAGAIN;
        return -1;
    }
    return output_is_socket ? send(STDERR_FILENO, text, size, MSG_DONTWAIT | MSG_NOSIGNAL)
                            : write(STDERR_FILENO, text, size);
}

void log_write(enum log_level level, const char *message, const struct log_field *fields)
{
    char line[LOG_LINE];
    size_t size = log_compose(line, level, clock_wall_ns(), message, fields);

    /* A log that cannot be written must not stop DNS: a line for a full or closed pipe is lost. */
    pthread_mutex_lock(&output_lock);
    ssize_t written = output(line, size);
    pthread_mutex_unlock(&output_lock);
    if (written != (ssize_t)size)
        atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
}

enum log_offer log_offer(const char *lines, size_t size)
{
    enum log_offer result = LOG_OFFER_WAIT;

    pthread_mutex_lock(&output_lock);
    if (!output_share_is_used()) {
        ssize_t written = output(lines, size);

        if (written == (ssize_t)size)
            result = LOG_OFFER_TAKEN;
        else if (written >= 0 || errno != EAGAIN)
            result = LOG_OFFER_LOST;
    }
    pthread_mutex_unlock(&output_lock);
    return result;
}

bool log_limit_pass(struct log_limit *limit, uint64_t interval_ms, uint64_t *suppressed)
{
    uint64_t now = clock_ms();
    uint64_t next = __atomic_load_n(&limit->next_ms, __ATOMIC_RELAXED);

    /* If threads come at the same time, the one that sets next_ms writes the line. */
    if (now < next || !__atomic_compare_exchange_n(&limit->next_ms, &next, now + interval_ms, false, __ATOMIC_RELAXED,
                                                   __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&limit->held_back, 1, __ATOMIC_RELAXED);
        return false;
    }
    *suppressed = __atomic_exchange_n(&limit->held_back, 0, __ATOMIC_RELAXED);
    return true;
}

#include "nodedot/observe/request.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

/* A quality value is counted in thousandths (RFC 9110 section 12.4.2). */
#define QUALITY_MAX 1000

struct span {
    const char *at;
    size_t size;
};

/* How much a client likes a format, and how exactly it named it: 3 the format, 2 its kind, 1 anything. */
struct preference {
    unsigned quality;
    unsigned exactness; /* 0: not mentioned */
};

/* What the header lines say, as far as it matters. */
struct headers {
    bool bad;
    unsigned hosts;
    bool content;
    bool close, keep_alive;
    struct preference text, open;
};

/* ---- spans ---- */

static bool span_is(struct span span, const char *word)
{
    return span.size == strlen(word) && memcmp(span.at, word, span.size) == 0;
}

/* Without regard to case, as header names and media types are. */
static bool span_says(struct span span, const char *word)
{
    return span.size == strlen(word) && strncasecmp(span.at, word, span.size) == 0;
}

static struct span trim(struct span span)
{
    while (span.size > 0 && (*span.at == ' ' || *span.at == '\t')) {
        span.at++;
        span.size--;
    }
    while (span.size > 0 && (span.at[span.size - 1] == ' ' || span.at[span.size - 1] == '\t'))
        span.size--;
    return span;
}

/* Cuts off what is before the separator, and the separator; all that is left when there is none. */
static struct span cut(struct span *rest, char separator)
{
    const char *found = rest->size > 0 ? memchr(rest->at, separator, rest->size) : NULL;
    struct span part = {.at = rest->at, .size = found != NULL ? (size_t)(found - rest->at) : rest->size};
    size_t taken = part.size + (found != NULL ? 1 : 0);

    rest->at += taken;
    rest->size -= taken;
    return part;
}

/* A line ends with CRLF; LF alone is taken for it (RFC 9112 section 2.2). */
static struct span cut_line(struct span *rest)
{
    struct span line = cut(rest, '\n');

    if (line.size > 0 && line.at[line.size - 1] == '\r')
        line.size--;
    return line;
}

/* ---- Accept ---- */

/* "1", "0.5", "0.125"; anything else counts as 0. */
static unsigned quality_parse(struct span text)
{
    unsigned value = 0;
    unsigned unit = QUALITY_MAX;

    for (size_t i = 0; i < text.size && i < 5; i++) {
        if (i == 1 && text.at[i] == '.')
            continue;
        if (text.at[i] < '0' || text.at[i] > '9' || i == 1)
            return 0;
        value += (unsigned)(text.at[i] - '0') * unit;
        unit /= 10;
    }
    return value > QUALITY_MAX ? QUALITY_MAX : value;
}

static void prefer(struct preference *preference, unsigned quality, unsigned exactness)
{
    if (exactness < preference->exactness || (exactness == preference->exactness && quality < preference->quality))
        return;
    preference->quality = quality;
    preference->exactness = exactness;
}

/* One media range with its parameters. A version that is not ours names another format. */
static void read_media_range(struct headers *headers, struct span range)
{
    struct span type = trim(cut(&range, ';'));
    unsigned quality = QUALITY_MAX;
    bool text_version = true;
    bool open_version = true;

    while (range.size > 0) {
        struct span value = trim(cut(&range, ';'));
        struct span name = trim(cut(&value, '='));

        value = trim(value);
        if (span_says(name, "q"))
            quality = quality_parse(value);
        if (span_says(name, "version")) {
            text_version = span_is(value, "0.0.4");
            open_version = span_is(value, "1.0.0") || span_is(value, "0.0.1");
        }
    }
    if (span_says(type, "application/openmetrics-text") && open_version)
        prefer(&headers->open, quality, 3);
    else if (span_says(type, "text/plain") && text_version)
        prefer(&headers->text, quality, 3);
    else if (span_says(type, "application/*"))
        prefer(&headers->open, quality, 2);
    else if (span_says(type, "text/*"))
        prefer(&headers->text, quality, 2);
    else if (span_is(type, "*/*")) {
        prefer(&headers->open, quality, 1);
        prefer(&headers->text, quality, 1);
    }
}

/* ---- header lines ---- */

static bool is_token(struct span span)
{
    for (size_t i = 0; i < span.size; i++) {
        char c = span.at[i];
        bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');

        if (!alphanumeric && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return span.size > 0;
}

static void read_connection(struct headers *headers, struct span value)
{
    while (value.size > 0) {
        struct span option = trim(cut(&value, ','));

        headers->close = headers->close || span_says(option, "close");
        headers->keep_alive = headers->keep_alive || span_says(option, "keep-alive");
    }
}

/* A name is followed by the colon at once, and a line begins with a name: what is written otherwise two programs may
 * read in two ways (RFC 9112 section 5). */
static void read_header(struct headers *headers, struct span line)
{
    bool has_colon = memchr(line.at, ':', line.size) != NULL;
    struct span name = cut(&line, ':');
    struct span value = trim(line);

    if (!has_colon || !is_token(name)) {
        headers->bad = true;
        return;
    }
    if (span_says(name, "host"))
        headers->hosts++;
    else if (span_says(name, "transfer-encoding") || (span_says(name, "content-length") && !span_is(value, "0")))
        headers->content = true;
    else if (span_says(name, "connection"))
        read_connection(headers, value);
    else if (span_says(name, "accept")) {
        while (value.size > 0)
            read_media_range(headers, cut(&value, ','));
    }
}

/* ---- the request ---- */

/* The octets up to and with the empty line that ends the header; 0: it is not there yet. A request may begin with
 * empty lines (RFC 9112 section 2.2). False: what no request has. */
static bool find_end(const char *octets, size_t size, size_t *end)
{
    size_t line = 0; /* octets in it */
    bool begun = false;

    *end = 0;
    for (size_t i = 0; i < size && *end == 0; i++) {
        unsigned char c = (unsigned char)octets[i];

        if (c == '\n') {
            if (line == 0 && begun)
                *end = i + 1;
            line = 0;
        } else if (c != '\r') {
            if ((c < ' ' && c != '\t') || c == 0x7f)
                return false;
            begun = true;
            line++;
        } else if (i + 1 < size && octets[i + 1] != '\n') {
            return false;
        }
    }
    return true;
}

static bool read_path(struct span target, struct request *out)
{
    static const char *const paths[] = {
        [REQUEST_METRICS] = "/metrics", [REQUEST_HEALTHZ] = "/healthz", [REQUEST_READYZ] = "/readyz"};

    if (target.size > 7 && strncasecmp(target.at, "http://", 7) == 0) { /* the absolute form, as to a proxy */
        const char *slash = memchr(target.at + 7, '/', target.size - 7);

        if (slash == NULL)
            return false;
        target.size -= (size_t)(slash - target.at);
        target.at = slash;
    }
    struct span path = cut(&target, '?');
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (span_is(path, paths[i])) {
            out->path = (enum request_path)i;
            return true;
        }
    }
    return false;
}

static enum request_status read_request_line(struct span line, struct request *out, bool *is_1_0)
{
    struct span method = cut(&line, ' ');
    struct span target = cut(&line, ' ');

    *is_1_0 = span_is(line, "HTTP/1.0");
    out->head = span_is(method, "HEAD");
    if (!is_token(method) || target.size == 0 || line.size != strlen("HTTP/1.1") || memcmp(line.at, "HTTP/", 5) != 0)
        return REQUEST_BAD;
    if (!*is_1_0 && !span_is(line, "HTTP/1.1"))
        return REQUEST_BAD_VERSION;
    if (!read_path(target, out))
        return REQUEST_NOT_FOUND;
    return out->head || span_is(method, "GET") ? REQUEST_OK : REQUEST_BAD_METHOD;
}

static void fail(struct request *out, enum request_status status)
{
    out->status = status;
    out->keep_alive = false;
}

static void read_whole(struct span rest, struct request *out)
{
    struct headers headers = {0};
    struct span line;
    bool is_1_0;

    do
        line = cut_line(&rest);
    while (line.size == 0);
    out->status = read_request_line(line, out, &is_1_0);
    for (line = cut_line(&rest); line.size > 0; line = cut_line(&rest))
        read_header(&headers, line);
    out->keep_alive = is_1_0 ? headers.keep_alive && !headers.close : !headers.close;
    out->format = headers.open.quality > headers.text.quality ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT;
    if (out->status == REQUEST_BAD || out->status == REQUEST_BAD_VERSION)
        fail(out, out->status);
    else if (headers.bad || headers.hosts > 1 || (headers.hosts == 0 && !is_1_0)) /* RFC 9112 section 3.2 */
        fail(out, REQUEST_BAD);
    else if (headers.content)
        fail(out, out->status == REQUEST_OK ? REQUEST_WITH_CONTENT : out->status);
}

bool request_parse(const char *octets, size_t size, struct request *out)
{
    size_t end;
    size_t limit = size < REQUEST_MAX ? size : REQUEST_MAX;

    memset(out, 0, sizeof(*out));
    if (!find_end(octets, limit, &end)) {
        fail(out, REQUEST_BAD);
        return true;
    }
    if (end == 0 && size < REQUEST_MAX)
        return false;
    if (end == 0) {
        fail(out, REQUEST_TOO_LARGE);
        return true;
    }
    out->size = end;
    read_whole((struct span){.at = octets, .size = end}, out);
    return true;
}

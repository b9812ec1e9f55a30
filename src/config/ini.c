#include "nodedot/config/ini.h"

#include "nodedot/config/value.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Some builds of inih allow the program to choose the maximum length of a line. Others keep their built-in limit; a
 * list can still continue on the next line. */
extern int ini_max_line __attribute__((weak));

/* "FILE:LINE" */
#define ORIGIN (CONFIG_PATH + 16)

static const char byte_order_mark[] = "\xef\xbb\xbf";

/* inih cuts section names at 49 octets, treats every indented line as a continuation of the previous value, and reports
 * only the first bad line. Therefore section heads are read here, and inih gets one trimmed line at a time; it returns
 * the result through on_value(). */
struct reader {
    struct settings *settings;
    const char *file;
    const char *at;
    const char *end;
    unsigned line;
    bool headless;           /* no section head was seen yet */
    struct section *section; /* NULL: none, or a rejected one */
    struct setting *setting; /* the last one; NULL: rejected */
    bool open;               /* its value ends in a comma */
    bool joins;              /* the current line of inih continues the value */
    bool waiting;            /* on_value() has not seen the line yet */
};

static void __attribute__((format(printf, 2, 3))) fail_line(struct reader *reader, const char *format, ...)
{
    char origin[ORIGIN];
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    snprintf(origin, sizeof(origin), "%s:%u", reader->file, reader->line);
    settings_fail(reader->settings, origin, reader->section, NULL, "%s", text);
}

/* Finds or makes the section whose head, "[SECTION]", is text. */
static void open_section(struct reader *reader, char *text)
{
    char *close = strchr(text, ']');
    char origin[ORIGIN];
    const char *behind = close != NULL ? close + 1 + strspn(close + 1, " \t") : NULL;

    reader->headless = false;
    reader->section = NULL;
    if (behind == NULL || (*behind != '\0' && *behind != ';' && *behind != '#')) {
        fail_line(reader, "this line cannot be read, expected [SECTION]");
        return;
    }
    *close = '\0';
    snprintf(origin, sizeof(origin), "%s:%u", reader->file, reader->line);
    reader->section = settings_section(reader->settings, text + 1, LAYER_FILE, origin);
    if (reader->section != NULL)
        settings_mark_head(reader->settings, reader->section, origin);
}

/* Copies the next line, without blanks at its ends, to size octets at out. A line that cannot be used is reported and
 * becomes an empty line, like a comment. */
static void take_line(struct reader *reader, char *out, size_t size, bool *indented)
{
    static const char blanks[] = {' ', '\t', '\r', '\v', '\f'};
    const char *line = reader->at;
    const char *newline = memchr(line, '\n', (size_t)(reader->end - line));
    size_t length = (size_t)((newline != NULL ? newline : reader->end) - line);

    reader->at = newline != NULL ? newline + 1 : reader->end;
    reader->line++;
    *out = '\0';
    *indented = length > 0 && (*line == ' ' || *line == '\t');
    while (length > 0 && memchr(blanks, *line, sizeof(blanks)) != NULL)
        line++, length--;
    while (length > 0 && memchr(blanks, line[length - 1], sizeof(blanks)) != NULL)
        length--;
    if (length == 0 || *line == ';' || *line == '#')
        return;
    if (memchr(line, '\0', length) != NULL)
        fail_line(reader, "this line holds an octet of zero, expected text");
    else if (length >= size)
        fail_line(reader, "this line has %zu octets, expected at most %zu; a list may go on, indented, behind a comma",
                  length, size - 1);
    else
        snprintf(out, size, "%.*s", (int)length, line);
}

/* inih looks for a comment behind a value in the first line only. */
static void cut_comment(char *text)
{
    for (char *c = text + 1; *c != '\0'; c++) {
        if (*c == ';' && (c[-1] == ' ' || c[-1] == '\t')) {
            *c = '\0';
            return;
        }
    }
}

static void settle_line(struct reader *reader)
{
    if (reader->waiting)
        fail_line(reader, "this line cannot be read, expected [SECTION], KEY = VALUE or a comment");
    reader->waiting = false;
}

/* fgets() for inih: the next line, which begins with a blank only if it continues the previous value. */
static char *next_line(char *out, int size, void *stream)
{
    struct reader *reader = stream;
    bool indented;

    settle_line(reader);
    if (reader->at == reader->end)
        return NULL;
    take_line(reader, out + 1, (size_t)size - 2, &indented); /* less the blank and a line end */
    out[0] = ' ';
    if (out[1] == '\0')
        return strcpy(out, "\n");
    reader->joins = reader->open && indented;
    reader->open = false;
    if (out[1] == '[' && !reader->joins) {
        open_section(reader, out + 1);
        return strcpy(out, "[-]\n"); /* makes inih forget the value before */
    }
    reader->waiting = true;
    if (reader->joins)
        cut_comment(out + 1);
    else
        memmove(out, out + 1, strlen(out));
    return strcat(out, "\n");
}

static int on_value(void *user, const char *section, const char *key, const char *value)
{
    struct reader *reader = user;
    char origin[ORIGIN];

    (void)section;
    if (value == NULL)
        return 0; /* a line without "=", if inih was built to accept it */
    reader->waiting = false;
    reader->open = *value != '\0' && value[strlen(value) - 1] == ',';
    if (reader->joins) {
        if (reader->setting != NULL)
            settings_append(reader->settings, reader->setting, value);
        return 1;
    }
    reader->setting = NULL;
    snprintf(origin, sizeof(origin), "%s:%u", reader->file, reader->line);
    if (reader->headless)
        fail_line(reader, "%.80s stands above every section, expected [SECTION] first", key);
    else if (reader->section != NULL)
        reader->setting = settings_set(reader->settings, reader->section, key, value, LAYER_FILE, origin);
    return 1;
}

void ini_read(struct settings *settings, const char *file, const char *text, size_t size)
{
    struct reader reader = {.settings = settings, .file = file, .at = text, .end = text + size, .headless = true};
    size_t mark = strlen(byte_order_mark);

    if (&ini_max_line != NULL)
        ini_max_line = INI_LINE_OCTETS;
    if (size >= mark && memcmp(text, byte_order_mark, mark) == 0)
        reader.at += mark;
    /* Its result is the first line that it could not read; settle_line() reported that one and all others. */
    if (ini_parse_stream(next_line, &reader, on_value, &reader) == -2)
        fail_line(&reader, "no memory");
}

#include "nodedot/config/corefile.h"

#include <string.h>

struct corefile corefile_of(char *text)
{
    return (struct corefile){.at = text};
}

/* Unescapes the word in quotes at `at`, behind the opening one, in place, and returns what follows the closing one. */
static char *read_quoted(char *at)
{
    char *out = at;

    while (*at != '\0' && *at != '"') {
        if (*at == '\\' && at[1] == '"')
            at++;
        *out++ = *at++;
    }
    char *next = *at == '"' ? at + 1 : at;
    *out = '\0';
    return next;
}

/* Takes the words of one line, which ends with NUL. */
static void read_words(char *at, struct corefile_line *out)
{
    for (;;) {
        at += strspn(at, " \t\r");
        if (*at == '\0' || *at == '#')
            return;
        char *word = at;
        if (*at == '"') {
            at = read_quoted(++word);
        } else {
            at += strcspn(at, " \t\r");
            if (*at != '\0')
                *at++ = '\0';
        }
        if (out->count < COREFILE_WORDS)
            out->words[out->count++] = word;
    }
}

static bool is_word(const struct corefile_line *line, size_t index, const char *text)
{
    return index < line->count && strcmp(line->words[index], text) == 0;
}

/* Sets depth, and takes the braces away. */
static void read_braces(struct corefile *reader, struct corefile_line *line)
{
    line->closes = is_word(line, 0, "}");
    if (line->closes) {
        line->count = 0;
        reader->depth -= reader->depth > 0;
    }
    line->depth = reader->depth;
    line->opens = line->count > 0 && is_word(line, line->count - 1, "{");
    if (line->opens) {
        line->count--;
        reader->depth++;
    }
}

bool corefile_next(struct corefile *reader, struct corefile_line *line)
{
    while (*reader->at != '\0') {
        char *start = reader->at;
        size_t size = strcspn(start, "\n");
        char *next = start[size] == '\n' ? start + size + 1 : start + size;

        start[size] = '\0';
        *line = (struct corefile_line){.number = ++reader->number};
        reader->at = next;
        read_words(start, line);
        if (line->count > 0) {
            read_braces(reader, line);
            return true;
        }
    }
    return false;
}

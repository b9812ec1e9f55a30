/* corefile.h - reads a Corefile (CoreDNS's configuration) line by line.
 *
 * Form:   words between blanks, or in double quotes with \" for a quote; # begins a comment; "{" at a line's end opens a
 *         block, "}" on a line of its own ends it. Blocks of servers stand at depth 0, their directives at 1, the
 *         properties of directives at 2.
 * Memory: none: words point into the text, which is changed in place.
 */
#ifndef NODEDOT_CONFIG_COREFILE_H
#define NODEDOT_CONFIG_COREFILE_H

#include <stdbool.h>
#include <stddef.h>

#define COREFILE_WORDS 64 /* of a line; what stands behind them is left out */

struct corefile {
    char *at;
    unsigned number, depth;
};

struct corefile_line {
    unsigned number; /* from 1 */
    unsigned depth;  /* of its words */
    bool opens;      /* a block, whose lines follow at depth + 1 */
    bool closes;     /* it is the "}" that ends a block; there are no words */
    size_t count;
    char *words[COREFILE_WORDS];
};

/* text ends with NUL and outlives the lines. */
struct corefile corefile_of(char *text);

/* The next line that is not empty; false at the end. */
bool corefile_next(struct corefile *reader, struct corefile_line *line);

#endif

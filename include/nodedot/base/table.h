/* table.h - prints rows of text in columns of the necessary width, for the commands.
 *
 * Memory: grows with the cells; for a command that prints and ends, not for the daemon. Where there is no memory left,
 *         the table prints nothing and says so.
 */
#ifndef NODEDOT_BASE_TABLE_H
#define NODEDOT_BASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table {
    size_t columns;
    char **cells; /* row by row */
    size_t count, capacity;
    bool bad; /* out of memory */
};

/* An empty table. Before the first cell there is nothing to release. */
struct table table_of(size_t columns);

/* Adds the next cell, left to right, row by row; printf's format. An empty text is printed as "-". */
void table_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints the table, with two blanks between columns, and releases it. False: it ran out of memory and printed nothing. */
bool table_print(struct table *table, FILE *out);

#endif

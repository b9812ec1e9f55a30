#include "nodedot/base/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_GAP 2 /* blanks between columns */

struct table table_of(size_t columns)
{
    return (struct table){.columns = columns};
}

static bool make_room(struct table *table)
{
    if (table->count < table->capacity)
        return true;
    size_t capacity = table->capacity == 0 ? 8 * table->columns : 2 * table->capacity;
    char **cells = realloc(table->cells, capacity * sizeof(*cells));
    if (cells == NULL)
        return false;
    table->cells = cells;
    table->capacity = capacity;
    return true;
}

void table_add(struct table *table, const char *format, ...)
{
    va_list values;
    char *text = NULL;

    va_start(values, format);
    if (make_room(table) && vasprintf(&text, format, values) >= 0)
        table->cells[table->count++] = text;
    else
        table->bad = true;
    va_end(values);
}

static const char *shown(const char *cell)
{
    return cell[0] == '\0' ? "-" : cell;
}

static size_t width_of(const struct table *table, size_t column)
{
    size_t width = 0;

    for (size_t i = column; i < table->count; i += table->columns)
        if (strlen(shown(table->cells[i])) > width)
            width = strlen(shown(table->cells[i]));
    return width;
}

/* The last column is not padded, so no line ends with blanks. */
static void print_cell(const struct table *table, size_t i, FILE *out)
{
    bool last = (i + 1) % table->columns == 0 || i + 1 == table->count;

    if (last)
        fprintf(out, "%s\n", shown(table->cells[i]));
    else
        fprintf(out, "%-*s", (int)(width_of(table, i % table->columns) + TABLE_GAP), shown(table->cells[i]));
}

bool table_print(struct table *table, FILE *out)
{
    bool good = !table->bad;

    for (size_t i = 0; i < table->count && good; i++)
        print_cell(table, i, out);
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = table_of(table->columns);
    return good;
}

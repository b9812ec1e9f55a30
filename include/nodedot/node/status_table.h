/* status_table.h - prints the status page as tables for people.
 *
 * The most important lines come first. With numbers, every counter follows as a line "nodedot_NAME VALUE".
 */
#ifndef NODEDOT_NODE_STATUS_TABLE_H
#define NODEDOT_NODE_STATUS_TABLE_H

#include "nodedot/observe/metrics.h"

#include <stdbool.h>
#include <stdio.h>

struct status_style {
    bool colours;
    bool numbers;
};

void status_table_print(FILE *out, const struct status_page *page, const struct status_style *style);

#endif

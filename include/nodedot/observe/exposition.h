/* exposition.h - the status page in the formats of Prometheus, and the reference of its metrics.
 *
 * Formats: text 0.0.4, and OpenMetrics 1.0, which differs in the names of counters, in units, and in its end. Samples
 *          have the same names and labels in both.
 * Names:   "nodedot_", base units (seconds, bytes), "_total" for counters. Labels: bounded by the configuration, but
 *          for `client`, of which there are BUSIEST_SHOWN at most.
 * Counters: never decrease, whatever happens to generations; an address that a reload removes has no rows any longer.
 * Memory:  taken by exposition_create(); exposition_size() bounds a page.
 * Shared:  an exposition belongs to one thread; the page that it reads is written by many.
 */
#ifndef NODEDOT_OBSERVE_EXPOSITION_H
#define NODEDOT_OBSERVE_EXPOSITION_H

#include "nodedot/observe/metrics.h"

#include <stddef.h>
#include <stdio.h>

enum exposition_format { EXPOSITION_TEXT, EXPOSITION_OPENMETRICS };

struct exposition;

/* For the generation with this slot of the page; its rows exist already (metrics_begin_rows()). NULL: no memory. */
struct exposition *exposition_create(const struct status_page *page, unsigned slot);
void exposition_destroy(struct exposition *exposition);

/* Maximum size of a page with this many upstream addresses. */
size_t exposition_size(size_t addresses);

/* Writes a page to out. Returns its size; 0: capacity is too small. */
size_t exposition_write(struct exposition *exposition, enum exposition_format format, char *out, size_t capacity);

const char *exposition_content_type(enum exposition_format format);

/* Prints all metrics as a Markdown table, for the documentation. */
void exposition_print_reference(FILE *out);

#endif

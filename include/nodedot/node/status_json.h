/* status_json.h - the status page for programs.
 *
 * One object on one line (RFC 8259). A key keeps its name and meaning; new ones may come. What is not known is null.
 * Moments are seconds since 1970, durations seconds.
 */
#ifndef NODEDOT_NODE_STATUS_JSON_H
#define NODEDOT_NODE_STATUS_JSON_H

#include "nodedot/observe/metrics.h"

#include <stdio.h>

void status_json_print(FILE *out, const struct status_page *page);

#endif

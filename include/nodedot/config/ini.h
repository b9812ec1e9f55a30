/* ini.h - the INI file, read with inih into settings.
 *
 * Form:   [section], KEY = VALUE, comments from ";" or "#" at the start of a line and from " ;" after a value. A
 *         value that ends in a comma continues on the next line if that is indented; indentation has no other meaning.
 *         A byte order mark, CR LF and a last line without end are accepted.
 * Limits: INI_FILE_OCTETS in all, INI_LINE_OCTETS per line; anything longer is an error and never cut.
 */
#ifndef NODEDOT_CONFIG_INI_H
#define NODEDOT_CONFIG_INI_H

#include "nodedot/config/settings.h"

/* A ConfigMap cannot be larger, and reading /dev/zero must not fill the memory. */
#define INI_FILE_OCTETS (1024 * 1024)

/* An access list of CONFIG_NETWORKS IPv6 networks in one line. */
#define INI_LINE_OCTETS (16 * 1024)

/* Reads size octets of text; errors name file. */
void ini_read(struct settings *settings, const char *file, const char *text, size_t size);

#endif

/* env.h - the environment and --set, read into settings.
 *
 * Names:    NODEDOT_SECTION_KEY in upper case, with "_" for "-", dots and spaces. A section of the file is found by its
 *           mangled name. A section that only the environment defines gets its name in lower case, with "-" for "_" in
 *           an upstream and "." for "_" in a zone. The root zone is NODEDOT_ZONE_KEY (or NODEDOT_ZONE___KEY).
 * Not ours: variables that the kubelet sets for a Service whose name begins with "nodedot" are skipped. Other unknown
 *           names that begin with NODEDOT_ are errors, to detect typing errors.
 * DOT_HOST: ADDRESS[:PORT][#NAME] defines [upstream dot-host], and [zone .] for it if nothing else defines the root
 *           zone. Its syntax is checked in any case. Empty means not set.
 * ${NAME}:  in any value, replaced by that variable; an unset variable is an error. "$${" gives "${"; other dollars
 *           stay. The replacement is not expanded again.
 */
#ifndef NODEDOT_CONFIG_ENV_H
#define NODEDOT_CONFIG_ENV_H

#include "nodedot/config/settings.h"

/* Name of the upstream that DOT_HOST defines. */
#define ENV_DOT_HOST "dot-host"

/* Reads every NODEDOT_ variable; called after the file was read. */
void env_read(struct settings *settings, char *const *environment);

/* Reads "SECTION.KEY=VALUE" texts. */
void env_read_sets(struct settings *settings, const char *const *sets, size_t count);

/* Applies DOT_HOST; called last. */
void env_read_dot_host(struct settings *settings, char *const *environment);

/* The value of a variable whose name has length characters, or NULL. */
const char *env_get(char *const *environment, const char *name, size_t length);

/* Replaces each ${NAME} in text. Returns a text that the caller frees, or NULL; then why (VALUE_WHY octets) has the
 * error. */
char *env_expand(char *const *environment, const char *text, char *why);

/* Writes a section's or option's name as in a variable, at most size octets, and returns out. */
const char *env_mangle(const char *text, char *out, size_t size);

#endif

/* settings.h - the configuration as text: values by section and key, with their origin, before they are parsed.
 *
 * Life:   settings_init(), then the readers add sections and values in the order of precedence, then config.c
 *         reads them, then settings_reset().
 * Memory: everything is copied and released by settings_reset().
 * Errors: written to the stream at once and counted by kind; the caller continues to find the others.
 */
#ifndef NODEDOT_CONFIG_SETTINGS_H
#define NODEDOT_CONFIG_SETTINGS_H

#include "nodedot/config/options.h"

#define SETTINGS_SECTIONS (SECTION_KINDS + CONFIG_UPSTREAMS + CONFIG_ZONES)

/* Longest name of a section, NUL included: a domain name of 255 octets has at most 253 characters without escapes and
 * final dot. */
#define SECTION_NAME 256

/* "upstream NAME" or "zone NAME", NUL included. */
#define SECTION_TITLE (SECTION_NAME + 16)

/* Origin of a value; a later origin overrides an earlier one. */
enum layer { LAYER_FILE, LAYER_ENVIRONMENT, LAYER_COMMAND_LINE };

struct setting {
    char *value;  /* NULL: not given */
    char *origin; /* "FILE:LINE", "environment NAME", "--set TEXT" */
    enum layer layer;
    bool refused; /* a ${NAME} in it could not be replaced, and that was reported */
};

struct section {
    enum section_kind kind;
    enum layer layer;        /* that made it */
    bool in_file;            /* the file has its [head] */
    char name[SECTION_NAME]; /* "" for the kinds without; zones in lower case without the final dot, or "." */
    char *origin;
    struct setting settings[OPTIONS_PER_SECTION];
};

struct settings {
    FILE *errors;
    size_t invalid;    /* errors in the configuration */
    size_t unreadable; /* files that could not be read */
    struct section *sections[SETTINGS_SECTIONS];
    size_t section_count;
    size_t upstream_count;
    size_t zone_count;
};

/* Creates the sections without names. */
void settings_init(struct settings *settings, FILE *errors);
void settings_reset(struct settings *settings);

/* The section called title ("server", "upstream quad9", "zone ."), created if it is new. NULL: an error was reported. */
struct section *settings_section(struct settings *settings, const char *title, enum layer layer, const char *origin);

/* Notes that the file has a section's [head]; a second one is reported. */
void settings_mark_head(struct settings *settings, struct section *section, const char *origin);

/* The section of a kind with a name ("" where there is none), or NULL. */
struct section *settings_find(const struct settings *settings, enum section_kind kind, const char *name);

/* Sets key. An unknown key, or one given twice in the file or in the environment, is reported, and NULL returned. */
struct setting *settings_set(struct settings *settings, struct section *section, const char *key, const char *value,
                             enum layer layer, const char *origin);

/* Appends text to a value: a list that continues on the next line. */
void settings_append(struct settings *settings, struct setting *setting, const char *text);

/* The setting of key; its value is NULL when it was not given. */
struct setting *section_setting(struct section *section, const char *key);

/* Writes "server" or "zone ." to SECTION_TITLE octets at out, and returns out. */
const char *section_title(const struct section *section, char *out);

/* Reports "ORIGIN: [section] key: text"; section and key may be NULL. Octets that are not printable ASCII are escaped,
 * because the text may repeat input. */
void settings_fail(struct settings *settings, const char *origin, const struct section *section, const char *key,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The same for a file that cannot be read: "ORIGIN: [section] key: PATH: error". */
void settings_fail_unreadable(struct settings *settings, const char *origin, const struct section *section,
                              const char *key, const char *path, int error);

#endif

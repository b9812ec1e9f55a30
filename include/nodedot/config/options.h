/* options.h - the only table of options, one row per option.
 *
 * Reading, ranges, defaults, environment names, `nodedot check`, `nodedot options` and the reference come from
 * these rows, so an option is added in one place (and its field in config.h).
 */
#ifndef NODEDOT_CONFIG_OPTIONS_H
#define NODEDOT_CONFIG_OPTIONS_H

#include "nodedot/config/config.h"

/* In the order in which they are printed. */
enum section_kind {
    SECTION_SERVER,
    SECTION_CACHE,
    SECTION_UPSTREAM, /* [upstream NAME], one for each group */
    SECTION_ZONE,     /* [zone NAME], one for each zone */
    SECTION_LIMITS,
    SECTION_ACL,
    SECTION_PROBES,
    SECTION_METRICS,
    SECTION_LOG,
    SECTION_KINDS
};

enum option_type {
    OPTION_NUMBER,
    OPTION_SECONDS,
    OPTION_MILLISECONDS,
    OPTION_BYTES,
    OPTION_PORT,
    OPTION_WORKERS,   /* a number or "auto" */
    OPTION_CHOICE,    /* stored as the position of the word among the choices */
    OPTION_UPSTREAM,  /* stored as an index into config.upstreams; CONFIG_NO_UPSTREAM: none */
    OPTION_HOST_NAME, /* text */
    OPTION_PATH,      /* text */
    OPTION_INTERFACE, /* text */
    OPTION_ENDPOINTS, /* from here on: lists, separated by commas */
    OPTION_ADDRESSES,
    OPTION_NETWORKS,
    OPTION_PINS
};

struct option_def {
    enum section_kind section;
    enum option_type type;
    const char *key;
    size_t offset;         /* of the member, in struct config, upstream_config or zone_config */
    size_t size;           /* of the member, or of one entry of a list */
    size_t count_offset;   /* lists: of the member that counts entries */
    size_t capacity;       /* lists: maximum number of entries */
    const char *preset;    /* the default as text; "": none, and an empty value is accepted */
    const char *otherwise; /* the meaning of no value when preset is ""; NULL: the option is required */
    const char *example;   /* for `nodedot options` where there is no default; may be NULL */
    uint64_t min, max;     /* of numbers */
    const char *choices;   /* "dot|plain" */
    bool tls;              /* has no effect with transport = plain */
    const char *meaning;
    const char *reason; /* the reason for min and max; NULL if there is no range */
};

extern const struct option_def option_table[];
extern const size_t option_count;

/* Maximum number of options of one kind of section. */
#define OPTIONS_PER_SECTION 16

/* "server", "upstream" ... */
extern const char *const section_words[SECTION_KINDS];

/* Has a section of this kind a name of its own? */
bool section_is_named(enum section_kind kind);

/* The rows of a kind are consecutive: returns the first one, and their number in count. */
const struct option_def *section_options(enum section_kind kind, size_t *count);

/* The row of an option, or NULL. */
const struct option_def *option_find(enum section_kind kind, const char *key);

/* Its index among the rows of its kind, below OPTIONS_PER_SECTION. */
size_t option_index(const struct option_def *option);

#endif

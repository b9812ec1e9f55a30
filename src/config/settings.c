#include "nodedot/config/settings.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Longest line of an error before its octets are escaped. */
#define ERROR_TEXT 2048

static void put_escaped(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        unsigned char octet = (unsigned char)*text;

        if (octet >= ' ' && octet < 0x7f)
            fputc(octet, out);
        else
            fprintf(out, "\\x%02x", octet);
    }
}

static void report(struct settings *settings, const char *origin, const struct section *section, const char *key,
                   const char *text)
{
    char title[SECTION_TITLE];

    put_escaped(origin != NULL ? origin : "configuration", settings->errors); /* NULL: no memory for it */
    fputs(": ", settings->errors);
    if (section != NULL)
        fprintf(settings->errors, "[%s]%s", section_title(section, title), key != NULL ? " " : ": ");
    if (key != NULL) {
        put_escaped(key, settings->errors);
        fputs(": ", settings->errors);
    }
    put_escaped(text, settings->errors);
    fputc('\n', settings->errors);
}

void settings_fail(struct settings *settings, const char *origin, const struct section *section, const char *key,
                   const char *format, ...)
{
    char text[ERROR_TEXT];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    report(settings, origin, section, key, text);
    settings->invalid++;
}

void settings_fail_unreadable(struct settings *settings, const char *origin, const struct section *section,
                              const char *key, const char *path, int error)
{
    char text[ERROR_TEXT];

    snprintf(text, sizeof(text), "cannot read %s: %s", path, strerror(error));
    report(settings, origin, section, key, text);
    settings->unreadable++;
}

/* A copy that belongs to the settings. If there is no memory, an error is counted, so that the incomplete settings are
 * never used. */
static char *copy_text(struct settings *settings, const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL)
        settings_fail(settings, "configuration", NULL, NULL, "no memory");
    return copy;
}

const char *section_title(const struct section *section, char *out)
{
    snprintf(out, SECTION_TITLE, "%s%s%s", section_words[section->kind], section_is_named(section->kind) ? " " : "",
             section->name);
    return out;
}

struct section *settings_find(const struct settings *settings, enum section_kind kind, const char *name)
{
    for (size_t i = 0; i < settings->section_count; i++)
        if (settings->sections[i]->kind == kind && strcmp(settings->sections[i]->name, name) == 0)
            return settings->sections[i];
    return NULL;
}

static struct section *add_section(struct settings *settings, enum section_kind kind, const char *name,
                                   enum layer layer, const char *origin)
{
    struct section *section = calloc(1, sizeof(*section));

    if (section != NULL)
        section->origin = copy_text(settings, origin);
    if (section == NULL || section->origin == NULL) {
        settings->invalid++;
        free(section);
        return NULL;
    }
    section->kind = kind;
    section->layer = layer;
    snprintf(section->name, sizeof(section->name), "%s", name);
    settings->upstream_count += kind == SECTION_UPSTREAM;
    settings->zone_count += kind == SECTION_ZONE;
    settings->sections[settings->section_count++] = section;
    return section;
}

void settings_init(struct settings *settings, FILE *errors)
{
    memset(settings, 0, sizeof(*settings));
    settings->errors = errors;
    for (enum section_kind kind = 0; kind < SECTION_KINDS; kind++)
        if (!section_is_named(kind))
            add_section(settings, kind, "", LAYER_FILE, "default");
}

void settings_reset(struct settings *settings)
{
    for (size_t i = 0; i < settings->section_count; i++) {
        struct section *section = settings->sections[i];

        for (size_t k = 0; k < OPTIONS_PER_SECTION; k++) {
            free(section->settings[k].value);
            free(section->settings[k].origin);
        }
        free(section->origin);
        free(section);
    }
    memset(settings, 0, sizeof(*settings));
}

/* --- names of sections --- */

/* Splits "upstream quad9" into word and name, without the blanks around them. False: too long. */
static bool split_title(const char *title, char *word, char *name)
{
    static const char blank[] = " \t";
    size_t word_length;
    size_t name_length;

    title += strspn(title, blank);
    word_length = strcspn(title, blank);
    snprintf(word, SECTION_TITLE, "%.*s", (int)word_length, title);
    title += word_length;
    title += strspn(title, blank);
    name_length = strlen(title);
    while (name_length > 0 && strchr(blank, title[name_length - 1]) != NULL)
        name_length--;
    snprintf(name, SECTION_NAME, "%.*s", (int)name_length, title);
    return word_length < SECTION_TITLE && name_length < SECTION_NAME;
}

static bool find_kind(const char *word, enum section_kind *kind)
{
    for (*kind = 0; *kind < SECTION_KINDS; ++*kind)
        if (strcmp(section_words[*kind], word) == 0)
            return true;
    return false;
}

static bool only_holds(const char *text, const char *others)
{
    for (; *text != '\0'; text++)
        if (!isascii((unsigned char)*text) || (!isalnum((unsigned char)*text) && strchr(others, *text) == NULL))
            return false;
    return true;
}

/* Checks a name and converts it to the canonical form of a section name. Escapes are rejected: no zone for forwarding
 * needs them. Returns NULL if the name is valid, else what was expected. */
static const char *settle_name(enum section_kind kind, char *name)
{
    struct name zone;
    size_t length = strlen(name);

    if (kind == SECTION_UPSTREAM) {
        if (length < CONFIG_NAME && only_holds(name, "-_.") && isalnum((unsigned char)name[0]))
            return NULL;
        return "a NAME of at most 63 letters, digits and \"-\", \"_\", \".\"";
    }
    if (!only_holds(name, "-_./") || !name_from_text(name, &zone))
        return "a domain name, or \".\" for all names";
    for (size_t i = 0; i < length; i++)
        name[i] = (char)tolower((unsigned char)name[i]);
    if (length > 1 && name[length - 1] == '.')
        name[length - 1] = '\0';
    return NULL;
}

static bool has_room(const struct settings *settings, enum section_kind kind)
{
    return kind == SECTION_UPSTREAM ? settings->upstream_count < CONFIG_UPSTREAMS : settings->zone_count < CONFIG_ZONES;
}

struct section *settings_section(struct settings *settings, const char *title, enum layer layer, const char *origin)
{
    char word[SECTION_TITLE];
    char name[SECTION_NAME];
    enum section_kind kind;
    const char *expected;
    struct section *section;

    if (!split_title(title, word, name) || !find_kind(word, &kind) || (!section_is_named(kind) && *name != '\0')) {
        settings_fail(settings, origin, NULL, NULL,
                      "[%.80s] is no section, expected [server], [cache], [upstream NAME], [zone NAME], [limits], "
                      "[acl], [probes], [metrics] or [log]",
                      title);
        return NULL;
    }
    expected = section_is_named(kind) ? settle_name(kind, name) : NULL;
    if (expected != NULL) {
        settings_fail(settings, origin, NULL, NULL, "[%s %.80s] has no good name, expected %s", word, name, expected);
        return NULL;
    }
    section = settings_find(settings, kind, name);
    if (section != NULL)
        return section;
    if (!has_room(settings, kind)) {
        settings_fail(settings, origin, NULL, NULL, "[%s %.80s] is one too many, expected at most %d", word, name,
                      kind == SECTION_UPSTREAM ? CONFIG_UPSTREAMS : CONFIG_ZONES);
        return NULL;
    }
    return add_section(settings, kind, name, layer, origin);
}

void settings_mark_head(struct settings *settings, struct section *section, const char *origin)
{
    if (section->in_file) {
        settings_fail(settings, origin, section, NULL, "is there twice, expected once; it was at %s", section->origin);
        return;
    }
    section->in_file = true;
    free(section->origin);
    section->origin = copy_text(settings, origin);
}

/* --- values --- */

struct setting *section_setting(struct section *section, const char *key)
{
    const struct option_def *option = option_find(section->kind, key);

    return option != NULL ? &section->settings[option_index(option)] : NULL;
}

static void fail_unknown(struct settings *settings, const char *origin, const struct section *section, const char *key)
{
    char keys[ERROR_TEXT / 2] = "";
    size_t count;
    const struct option_def *rows = section_options(section->kind, &count);

    for (size_t i = 0; i < count; i++) {
        strcat(keys, i > 0 ? ", " : "");
        strcat(keys, rows[i].key);
    }
    settings_fail(settings, origin, section, key, "is no option of this section, expected one of %s", keys);
}

struct setting *settings_set(struct settings *settings, struct section *section, const char *key, const char *value,
                             enum layer layer, const char *origin)
{
    struct setting *setting = section_setting(section, key);

    if (setting == NULL) {
        fail_unknown(settings, origin, section, key);
        return NULL;
    }
    if (setting->value != NULL && setting->layer == layer && layer != LAYER_COMMAND_LINE) {
        settings_fail(settings, origin, section, key, "is given twice, expected once; it was at %s", setting->origin);
        return NULL;
    }
    free(setting->value);
    free(setting->origin);
    setting->value = copy_text(settings, value);
    setting->origin = copy_text(settings, origin);
    setting->layer = layer;
    return setting;
}

void settings_append(struct settings *settings, struct setting *setting, const char *text)
{
    char *joined;

    if (setting->value == NULL)
        return;
    if (asprintf(&joined, "%s%s", setting->value, text) < 0) {
        settings_fail(settings, setting->origin, NULL, NULL, "no memory");
        return;
    }
    free(setting->value);
    setting->value = joined;
}

#include "nodedot/config/env.h"

#include "nodedot/config/value.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX   "NODEDOT_"
#define DOT_HOST "DOT_HOST"

/* Longest name of ours, NUL included: a section's title, a key and the "_" between. */
#define VARIABLE (SECTION_TITLE + 64)

/* "environment NODEDOT_..." and "--set ..."; longer ones are cut, they only tell where. */
#define ORIGIN (VARIABLE + 32)

const char *env_mangle(const char *text, char *out, size_t size)
{
    size_t i;

    for (i = 0; text[i] != '\0' && i + 1 < size; i++)
        out[i] = isalnum((unsigned char)text[i]) ? (char)toupper((unsigned char)text[i]) : '_';
    out[i] = '\0';
    return out;
}

const char *env_get(char *const *environment, const char *name, size_t length)
{
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

/* --- ${NAME} --- */

static size_t variable_length(const char *text)
{
    size_t length = 0;

    if (isdigit((unsigned char)*text))
        return 0;
    while (isascii((unsigned char)text[length]) && (isalnum((unsigned char)text[length]) || text[length] == '_'))
        length++;
    return length;
}

/* Writes the value of the "${NAME}" at text, and returns the position after it; NULL: why has the error. */
static const char *expand_one(char *const *environment, const char *text, FILE *out, char *why)
{
    size_t length = variable_length(text + 2);
    const char *value;

    if (length == 0 || text[2 + length] != '}') {
        snprintf(why, VALUE_WHY, "\"%.80s\" cannot be read, expected ${NAME} (or $${ for a plain ${)", text);
        return NULL;
    }
    value = env_get(environment, text + 2, length);
    if (value == NULL) {
        snprintf(why, VALUE_WHY, "the environment variable %.*s is not set, expected a value for ${%.*s}",
                 (int)(length < 80 ? length : 80), text + 2, (int)(length < 80 ? length : 80), text + 2);
        return NULL;
    }
    fputs(value, out);
    return text + 2 + length + 1;
}

char *env_expand(char *const *environment, const char *text, char *why)
{
    char *result = NULL;
    size_t size;
    FILE *out = open_memstream(&result, &size);

    snprintf(why, VALUE_WHY, "no memory");
    if (out == NULL)
        return NULL;
    while (text != NULL && *text != '\0') {
        if (strncmp(text, "$${", 3) == 0) {
            fputs("${", out);
            text += 3;
        } else if (strncmp(text, "${", 2) == 0) {
            text = expand_one(environment, text, out, why);
        } else {
            fputc(*text++, out);
        }
    }
    if (fclose(out) != 0 || text == NULL) {
        free(result);
        return NULL;
    }
    return result;
}

/* --- NODEDOT_SECTION_KEY --- */

/* A variable's name, taken apart. */
struct variable {
    enum section_kind kind;
    const struct option_def *option;
    char name[VARIABLE]; /* of the section, mangled; "" where the kind has none */
};

/* Splits "NAME_KEY" where KEY is option's. "KEY" alone belongs to the root zone. */
static bool split_variable(const char *text, const struct option_def *option, struct variable *out)
{
    char key[VARIABLE];
    size_t length = strlen(text);
    size_t key_length = strlen(env_mangle(option->key, key, sizeof(key)));

    if (length < key_length || strcmp(text + length - key_length, key) != 0)
        return false;
    length -= key_length;
    out->kind = option->section;
    out->option = option;
    if (length == 0) {
        strcpy(out->name, option->section == SECTION_ZONE ? "_" : "");
        return !section_is_named(option->section) || option->section == SECTION_ZONE;
    }
    if (!section_is_named(option->section) || text[length - 1] != '_' || length == 1 || length > sizeof(out->name))
        return false;
    snprintf(out->name, sizeof(out->name), "%.*s", (int)length - 1, text);
    return true;
}

/* No key ends in "_" and another key of its section, so at most one row fits. */
static bool parse_variable(const char *text, struct variable *out)
{
    char word[VARIABLE];

    for (const struct option_def *option = option_table; option < option_table + option_count; option++) {
        size_t length = strlen(env_mangle(section_words[option->section], word, sizeof(word)));

        if (strncmp(text, word, length) == 0 && text[length] == '_' && split_variable(text + length + 1, option, out))
            return true;
    }
    return false;
}

/* The existing section that the variable means; *count is the number of matches. */
static struct section *match_section(const struct settings *settings, const struct variable *variable, size_t *count)
{
    struct section *found = NULL;
    char name[VARIABLE];

    *count = 0;
    for (size_t i = 0; i < settings->section_count; i++) {
        struct section *section = settings->sections[i];

        if (section->kind == variable->kind &&
            strcmp(env_mangle(section->name, name, sizeof(name)), variable->name) == 0) {
            found = section;
            ++*count;
        }
    }
    return found;
}

static struct section *make_section(struct settings *settings, const struct variable *variable, const char *origin)
{
    char title[2 * VARIABLE];
    char name[VARIABLE];

    strcpy(name, variable->name);
    for (char *c = name; *c != '\0'; c++)
        *c = *c != '_' ? (char)tolower((unsigned char)*c) : variable->kind == SECTION_ZONE ? '.' : '-';
    snprintf(title, sizeof(title), "%s %s", section_words[variable->kind], name);
    return settings_section(settings, title, LAYER_ENVIRONMENT, origin);
}

/* "53_TCP", "53_TCP_ADDR", as they follow "_PORT_". */
static bool is_service_port(const char *text)
{
    static const char *const protocols[] = {"_TCP", "_UDP", "_SCTP"};
    static const char *const details[] = {"", "_PROTO", "_PORT", "_ADDR"};
    size_t digits = strspn(text, "0123456789");

    for (size_t p = 0; digits > 0 && p < sizeof(protocols) / sizeof(protocols[0]); p++) {
        size_t length = strlen(protocols[p]);

        if (strncmp(text + digits, protocols[p], length) != 0)
            continue;
        for (size_t d = 0; d < sizeof(details) / sizeof(details[0]); d++)
            if (strcmp(text + digits + length, details[d]) == 0)
                return true;
    }
    return false;
}

/* Is this one of the variables that the kubelet makes for a Service called nodedot, nodedot-metrics and so on? text is
 * the name from the "_" in front of the Service's own variable on. */
static bool is_service_variable(const char *name, const char *value)
{
    for (const char *at = strchr(name, '_'); at != NULL; at = strchr(at + 1, '_')) {
        if (strcmp(at, "_SERVICE_HOST") == 0 || strcmp(at, "_SERVICE_PORT") == 0 ||
            strncmp(at, "_SERVICE_PORT_", strlen("_SERVICE_PORT_")) == 0)
            return true;
        if (strcmp(at, "_PORT") == 0 && strstr(value, "://") != NULL) /* "tcp://10.96.0.7:53"; ours are numbers */
            return true;
        if (strncmp(at, "_PORT_", strlen("_PORT_")) == 0 && is_service_port(at + strlen("_PORT_")))
            return true;
    }
    return false;
}

static void read_variable(struct settings *settings, const char *name, const char *value)
{
    char origin[ORIGIN];
    struct variable variable;
    struct section *section = NULL;
    size_t matches = 0;
    bool known = parse_variable(name + strlen(PREFIX), &variable);

    snprintf(origin, sizeof(origin), "environment %.*s", VARIABLE, name);
    if (known)
        section = match_section(settings, &variable, &matches);
    if (matches == 0 && is_service_variable(name, value))
        return;
    if (!known)
        settings_fail(settings, origin, NULL, NULL,
                      "names no option, expected " PREFIX "SECTION_KEY such as NODEDOT_SERVER_LISTEN or "
                      "NODEDOT_UPSTREAM_QUAD9_ADDRESS");
    else if (matches > 1)
        settings_fail(settings, origin, section, variable.option->key,
                      "fits %zu sections, expected one; give it as --set or in the file", matches);
    else if (section != NULL || (section = make_section(settings, &variable, origin)) != NULL)
        settings_set(settings, section, variable.option->key, value, LAYER_ENVIRONMENT, origin);
}

void env_read(struct settings *settings, char *const *environment)
{
    for (; *environment != NULL; environment++) {
        const char *equals = strchr(*environment, '=');
        char name[VARIABLE];

        if (strncmp(*environment, PREFIX, strlen(PREFIX)) != 0 || equals == NULL)
            continue;
        if (equals - *environment >= VARIABLE)
            settings_fail(settings, "environment", NULL, NULL, "the name %.80s... is too long to be an option",
                          *environment);
        else {
            snprintf(name, sizeof(name), "%.*s", (int)(equals - *environment), *environment);
            read_variable(settings, name, equals + 1);
        }
    }
}

/* --- --set --- */

static void read_set(struct settings *settings, const char *text)
{
    char origin[ORIGIN];
    char name[VARIABLE];
    const char *equals = strchr(text, '=');
    char *dot;
    char *value;
    struct section *section;

    snprintf(origin, sizeof(origin), "--set %s", text);
    snprintf(name, sizeof(name), "%.*s", equals != NULL ? (int)(equals - text) : 0, text);
    dot = strrchr(name, '.');
    if (equals == NULL || dot == NULL || equals - text >= VARIABLE) {
        settings_fail(settings, origin, NULL, NULL,
                      "cannot be read, expected SECTION.KEY=VALUE such as \"upstream quad9.address=9.9.9.9\"");
        return;
    }
    *dot = '\0';
    value = strdup(equals + 1);
    section = settings_section(settings, name, LAYER_COMMAND_LINE, origin);
    if (section != NULL && value != NULL)
        settings_set(settings, section, value_trim(dot + 1), value_trim(value), LAYER_COMMAND_LINE, origin);
    free(value);
}

void env_read_sets(struct settings *settings, const char *const *sets, size_t count)
{
    for (size_t i = 0; i < count; i++)
        read_set(settings, sets[i]);
}

/* --- DOT_HOST --- */

/* Does anything else define the upstream for the root zone? A single upstream without any zone does (see config.c). */
static bool root_is_defined(const struct settings *settings)
{
    const struct section *own = settings_find(settings, SECTION_UPSTREAM, ENV_DOT_HOST);

    return settings_find(settings, SECTION_ZONE, ".") != NULL ||
           (settings->zone_count == 0 && settings->upstream_count == 1 && own == NULL);
}

static void set_if_unset(struct settings *settings, struct section *section, const char *key, const char *value)
{
    if (section_setting(section, key)->value == NULL)
        settings_set(settings, section, key, value, LAYER_ENVIRONMENT, "environment " DOT_HOST);
}

static void apply_dot_host(struct settings *settings, const char *address, const char *name)
{
    static const char origin[] = "environment " DOT_HOST;
    struct section *upstream = settings_section(settings, "upstream " ENV_DOT_HOST, LAYER_ENVIRONMENT, origin);
    struct section *zone = settings_section(settings, "zone .", LAYER_ENVIRONMENT, origin);

    if (upstream == NULL || zone == NULL)
        return;
    set_if_unset(settings, upstream, "address", address);
    if (name != NULL)
        set_if_unset(settings, upstream, "name", name);
    set_if_unset(settings, zone, "upstream", ENV_DOT_HOST);
}

void env_read_dot_host(struct settings *settings, char *const *environment)
{
    static const char expected[] = "expected ADDRESS[:PORT][#NAME] such as 9.9.9.9#dns.quad9.net";
    static struct upstream_config trial; /* the result is discarded: only the check matters */
    static const char origin[] = "environment " DOT_HOST;
    const char *value = env_get(environment, DOT_HOST, strlen(DOT_HOST));
    struct endpoint endpoint;
    char why[VALUE_WHY];
    char *address;
    char *name;

    address = value != NULL && *value != '\0' ? env_expand(environment, value, why) : NULL;
    if (value == NULL || *value == '\0')
        return;
    if (address == NULL) {
        settings_fail(settings, origin, NULL, NULL, "%s", why);
        return;
    }
    name = strchr(address, '#');
    if (name != NULL)
        *name++ = '\0';
    if (!endpoint_parse(address, 853, &endpoint))
        settings_fail(settings, origin, NULL, NULL, "\"%.80s\" is no address, %s", address, expected);
    else if (name != NULL &&
             (*name == '\0' || !value_parse(option_find(SECTION_UPSTREAM, "name"), name, NULL, &trial, why)))
        settings_fail(settings, origin, NULL, NULL, "\"%.80s\" is no DNS name, %s", name, expected);
    else if (!root_is_defined(settings))
        apply_dot_host(settings, address, name);
    free(address);
}

/* Prints the option table: the effective configuration, a sample file, the reference. */
#include "nodedot/config/options.h"
#include "nodedot/config/value.h"

#include <stdlib.h>
#include <string.h>

/* Column at which comments begin in the sample file. */
#define COMMENT_COLUMN 40

/* --- the effective configuration --- */

static void print_option(const struct option_def *option, const struct config *config, const void *object, FILE *out)
{
    char *text = NULL;
    size_t size = 0;
    FILE *value = open_memstream(&text, &size);

    if (value == NULL)
        return;
    value_print(option, config, object, value);
    if (fclose(value) == 0)
        fprintf(out, "%s =%s%s\n", option->key, size > 0 ? " " : "", text);
    free(text);
}

static void print_section(enum section_kind kind, const char *name, const struct config *config, const void *object,
                          bool tls, FILE *out)
{
    size_t count;
    const struct option_def *options = section_options(kind, &count);

    fprintf(out, "%s[%s%s%s]\n", kind > 0 ? "\n" : "", section_words[kind], *name != '\0' ? " " : "", name);
    for (size_t i = 0; i < count; i++) {
        if (tls || !options[i].tls)
            print_option(&options[i], config, object, out);
    }
}

static void print_upstreams(const struct config *config, FILE *out)
{
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct upstream_config *upstream = &config->upstreams[i];

        print_section(SECTION_UPSTREAM, upstream->name, config, upstream, upstream->transport == TRANSPORT_DOT, out);
    }
}

static void print_zones(const struct config *config, FILE *out)
{
    char name[NAME_TEXT];

    for (size_t i = 0; i < config->zone_count; i++)
        print_section(SECTION_ZONE, name_to_text(&config->zones[i].name, name), config, &config->zones[i], false, out);
}

void config_print(const struct config *config, FILE *out)
{
    for (enum section_kind kind = 0; kind < SECTION_KINDS; kind++) {
        if (kind == SECTION_UPSTREAM)
            print_upstreams(config, out);
        else if (kind == SECTION_ZONE)
            print_zones(config, out);
        else
            print_section(kind, "", config, config, false, out);
    }
}

/* --- every option --- */

/* The values of an option, shorter than value_expected() where that has examples. */
static const char *type_text(const struct option_def *option, char *out)
{
    switch (option->type) {
    case OPTION_UPSTREAM:
        return "an upstream's name";
    case OPTION_HOST_NAME:
        return "DNS name";
    case OPTION_PATH:
        return "file name";
    case OPTION_INTERFACE:
        return "name of an interface";
    case OPTION_ENDPOINTS:
        return "list of ADDRESS or ADDRESS:PORT";
    case OPTION_ADDRESSES:
        return "list of addresses";
    case OPTION_NETWORKS:
        return "list of ADDRESS/BITS";
    case OPTION_PINS:
        return "list of sha256/BASE64";
    default:
        return value_expected(option, out);
    }
}

static const char *default_text(const struct option_def *option)
{
    if (*option->preset != '\0')
        return option->preset;
    return option->otherwise != NULL ? option->otherwise : "none, it must be given";
}

static void print_sample(const struct option_def *option, FILE *out)
{
    char type[VALUE_WHY];
    char line[COMMENT_COLUMN * 2];

    snprintf(line, sizeof(line), "%s = %s", option->key, option->example != NULL ? option->example : option->preset);
    fprintf(out, "%-*s ; %s (%s; default: %s)\n", COMMENT_COLUMN, line, option->meaning, type_text(option, type),
            default_text(option));
}

void config_print_options(FILE *out)
{
    static const char *const heads[SECTION_KINDS] = {
        [SECTION_UPSTREAM] =
            "[upstream quad9] ; one section for each group of servers with one identity; this one is an "
            "example",
        [SECTION_ZONE] = "[zone .] ; one section for each zone; \".\" is for all names without a zone of their own",
    };

    for (const struct option_def *option = option_table; option < option_table + option_count; option++) {
        if (option == option_table || option[-1].section != option->section) {
            fputs(option > option_table ? "\n" : "", out);
            if (heads[option->section] != NULL)
                fprintf(out, "%s\n", heads[option->section]);
            else
                fprintf(out, "[%s]\n", section_words[option->section]);
        }
        print_sample(option, out);
    }
}

void config_print_reference(FILE *out)
{
    char type[VALUE_WHY];

    fputs("| Section | Option | Takes | Default | Meaning |\n|---|---|---|---|---|\n", out);
    for (const struct option_def *option = option_table; option < option_table + option_count; option++) {
        const char *quote = *option->preset != '\0' ? "`" : "";

        fprintf(out, "| `[%s%s]` | `%s` | %s | %s%s%s | %s", section_words[option->section],
                section_is_named(option->section) ? " NAME" : "", option->key, type_text(option, type), quote,
                default_text(option), quote, option->meaning);
        if (option->reason != NULL)
            fprintf(out, ". Range: %s", option->reason);
        fputs(" |\n", out);
    }
}

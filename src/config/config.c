#include "nodedot/config/config.h"

#include "nodedot/config/env.h"
#include "nodedot/config/ini.h"
#include "nodedot/config/settings.h"
#include "nodedot/config/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* Ports of upstream addresses that name none: RFC 7858 section 3.1, RFC 1035 section 4.2. */
#define DOT_PORT     853
#define PLAIN_PORT   53
#define METRICS_PORT 9553

/* CONFIG_PINS pins with a long comment each. */
#define PIN_FILE_OCTETS (64 * 1024)

/* State of one load. */
struct load {
    const struct config_source *source;
    struct settings settings;
    struct config *config;
};

static bool given(struct section *section, const char *key)
{
    const struct setting *setting = section_setting(section, key);

    return setting->refused || (setting->value != NULL && *setting->value != '\0');
}

/* The place to name in an error about key: its own, or that of its section. */
static const char *origin_of(struct section *section, const char *key)
{
    const struct setting *setting = section_setting(section, key);

    return setting->value != NULL ? setting->origin : section->origin;
}

#define fail(load, section, key, ...) \
    settings_fail(&(load)->settings, origin_of(section, key), section, key, __VA_ARGS__)

/* --- files --- */

/* To be called before the file is read, so that a change in between is noticed. Returns its place in the list. */
static size_t watch_file(struct config *config, const char *path)
{
    size_t i = 0;

    while (i < config->file_count && strcmp(config->files[i], path) != 0)
        i++;
    if (i == config->file_count) {
        snprintf(config->files[config->file_count++], CONFIG_PATH, "%s", path);
        config->states[i] = file_state_of(path);
    }
    return i;
}

/* Reads a file into the configuration, once, even if several groups name it. NULL: an error was reported. */
static const struct file_text *hold_file(struct load *load, struct section *section, const char *key, const char *path)
{
    struct config *config = load->config;
    size_t i = watch_file(config, path);
    struct file_text *held = &config->held[i];
    size_t room = CONFIG_HELD_OCTETS - config->held_octets;
    int result;

    if (held->text != NULL)
        return held;
    result = file_read(path, room < CONFIG_FILE_OCTETS ? room : CONFIG_FILE_OCTETS, held);
    held->name = config->files[i];
    config->held_octets += held->size;
    if (result == 0)
        return held;
    settings_fail_unreadable(&load->settings, origin_of(section, key), section, key, path, -result);
    return NULL;
}

/* Reads the INI file, if there is one. False: it should have been there. */
static bool read_ini_file(struct load *load)
{
    const char *path = load->source->file != NULL ? load->source->file : CONFIG_DEFAULT_FILE;
    struct file_text file;
    int result = -ENAMETOOLONG;

    if (strlen(path) < CONFIG_PATH) {
        watch_file(load->config, path);
        result = file_read_any(path, INI_FILE_OCTETS, &file);
    }
    if (result == -ENOENT && load->source->file == NULL) {
        load->config->file_count = 0; /* nobody named it */
        return true;
    }
    if (result != 0) {
        settings_fail_unreadable(&load->settings, "configuration", NULL, NULL, path, -result);
        return false;
    }
    ini_read(&load->settings, path, file.text, file.size);
    file_release(&file);
    return true;
}

/* --- from settings to values --- */

static void expand_setting(struct load *load, struct section *section, size_t index)
{
    struct setting *setting = &section->settings[index];
    size_t count;
    char why[VALUE_WHY];
    char *text;

    if (setting->value == NULL)
        return;
    text = env_expand(load->source->environment, setting->value, why);
    if (text == NULL) {
        settings_fail(&load->settings, setting->origin, section, section_options(section->kind, &count)[index].key,
                      "%s", why);
        setting->refused = true;
        return;
    }
    free(setting->value);
    setting->value = text;
    text = value_trim(text);
    memmove(setting->value, text, strlen(text) + 1);
}

/* Done before values are read, so that an empty variable counts as an empty value. */
static void expand_settings(struct load *load)
{
    for (size_t i = 0; i < load->settings.section_count; i++)
        for (size_t k = 0; k < OPTIONS_PER_SECTION; k++)
            expand_setting(load, load->settings.sections[i], k);
}

/* Reads one option of a section into object: its value, or the default. */
static void read_option(struct load *load, struct section *section, const struct option_def *option, uint16_t port,
                        void *object)
{
    const struct setting *setting = &section->settings[option_index(option)];
    const char *text = setting->value != NULL && !setting->refused ? setting->value : option->preset;
    struct value_context context = {.config = load->config, .port = port};
    char why[VALUE_WHY];

    if (*text == '\0' && *option->preset == '\0' && option->otherwise == NULL && !setting->refused)
        fail(load, section, option->key, "is missing, expected %s", value_expected(option, why));
    else if (!value_parse(option, text, &context, object, why)) {
        fail(load, section, option->key, "%s", why);
        if (option->type < OPTION_ENDPOINTS) /* so that checks of several options do not fail because of this one */
            value_parse(option, option->preset, &context, object, why);
    }
}

static void read_section(struct load *load, struct section *section, uint16_t port, void *object)
{
    size_t count;
    const struct option_def *options = section_options(section->kind, &count);

    for (size_t i = 0; i < count; i++)
        read_option(load, section, &options[i], port, object);
}

/* --- upstreams --- */

static void read_pin_line(struct load *load, struct section *section, struct upstream_config *upstream, unsigned line,
                          char *text)
{
    char origin[CONFIG_PATH + 16];
    char expected[VALUE_WHY];
    struct pin pin;

    text[strcspn(text, "#")] = '\0';
    text = value_trim(text);
    if (*text == '\0')
        return;
    snprintf(origin, sizeof(origin), "%s:%u", upstream->pin_file, line);
    if (!value_parse_pin(text, &pin))
        settings_fail(&load->settings, origin, section, "pin-file", "\"%.80s\" is no pin, expected %s", text,
                      value_expected(option_find(SECTION_UPSTREAM, "pin"), expected));
    else if (!value_add_pin(upstream, &pin))
        settings_fail(&load->settings, origin, section, "pin-file", "is one pin too many, expected at most %d",
                      CONFIG_PINS);
}

static void read_pin_file(struct load *load, struct section *section, struct upstream_config *upstream)
{
    struct file_text file;
    char *rest;
    char *line;
    unsigned number = 0;
    size_t pins = upstream->pin_count;
    size_t errors = load->settings.invalid;
    int result;

    watch_file(load->config, upstream->pin_file);
    result = file_read(upstream->pin_file, PIN_FILE_OCTETS, &file);
    if (result != 0) {
        settings_fail_unreadable(&load->settings, origin_of(section, "pin-file"), section, "pin-file",
                                 upstream->pin_file, -result);
        return;
    }
    if (strlen(file.text) != file.size)
        fail(load, section, "pin-file", "%s holds an octet of zero, expected text", upstream->pin_file);
    for (rest = file.text; (line = strsep(&rest, "\n")) != NULL;)
        read_pin_line(load, section, upstream, ++number, line);
    if (pins == 0 && upstream->pin_count == 0 && errors == load->settings.invalid)
        fail(load, section, "pin-file", "%s holds no pin, expected one a line", upstream->pin_file);
    file_release(&file);
}

/* pin if there is a pin, else ca. An invalid pin counts as one: its own error is enough. pin-mode = report tolerates
 * pin mismatches, so the CA must prove the identity. */
static void settle_auth(struct load *load, struct section *section, struct upstream_config *upstream)
{
    bool pins = given(section, "pin") || given(section, "pin-file");
    bool excused = upstream->pin_mode == PIN_REPORT;

    if (!given(section, "auth"))
        upstream->auth = !pins ? AUTH_CA : excused ? AUTH_PIN_AND_CA : AUTH_PIN;
    else if (upstream->auth != AUTH_CA && !pins)
        fail(load, section, "auth", "needs a pin and there is none, expected pin or pin-file in this section");
    else if (upstream->auth == AUTH_PIN && excused)
        fail(load, section, "auth",
             "pin proves nothing with pin-mode = report, expected pin+ca, or no auth (which then means pin+ca)");
    if (given(section, "client-cert") != given(section, "client-key"))
        fail(load, section, given(section, "client-cert") ? "client-cert" : "client-key",
             "is of no use alone, expected both client-cert and client-key");
}

static void read_tls_files(struct load *load, struct section *section, struct upstream_config *upstream)
{
    if (*upstream->pin_file != '\0')
        read_pin_file(load, section, upstream);
    if (*upstream->ca_file != '\0' && (upstream->auth != AUTH_PIN || given(section, "ca-file")))
        upstream->ca = hold_file(load, section, "ca-file", upstream->ca_file);
    if (*upstream->client_cert != '\0')
        upstream->certificate = hold_file(load, section, "client-cert", upstream->client_cert);
    if (*upstream->client_key != '\0')
        upstream->key = hold_file(load, section, "client-key", upstream->client_key);
}

/* Pins with transport = plain would suggest a protection that does not exist. */
static void refuse_tls_options(struct load *load, struct section *section)
{
    size_t count;
    const struct option_def *options = section_options(SECTION_UPSTREAM, &count);

    for (size_t i = 0; i < count; i++)
        if (options[i].tls && given(section, options[i].key))
            fail(load, section, options[i].key,
                 "has no effect with transport = plain, expected transport = dot or no %s", options[i].key);
}

static void check_addresses(struct load *load, struct section *section, const struct upstream_config *upstream)
{
    char text[ENDPOINT_TEXT];

    for (size_t i = 0; i < upstream->address_count; i++) {
        endpoint_format(&upstream->addresses[i], text);
        if (endpoint_is_wildcard(&upstream->addresses[i]))
            fail(load, section, "address", "%s is nobody's address, expected that of a server", text);
        for (size_t k = 0; k < load->config->listen_count; k++)
            if (endpoint_equal(&upstream->addresses[i], &load->config->listens[k]))
                fail(load, section, "address", "%s is in server.listen, expected another: nodedot would ask itself",
                     text);
    }
}

/* Done before the others are read: each of them may be the fallback of another one. */
static void name_upstream(struct load *load, struct section *section)
{
    struct upstream_config *upstream = &load->config->upstreams[load->config->upstream_count++];

    strcpy(upstream->name, section->name);
    upstream->fallback = CONFIG_NO_UPSTREAM;
}

static struct upstream_config *find_upstream(struct config *config, const char *name)
{
    struct upstream_config *upstream = config->upstreams;

    while (strcmp(upstream->name, name) != 0)
        upstream++;
    return upstream;
}

static void read_upstream(struct load *load, struct section *section)
{
    struct upstream_config *upstream = find_upstream(load->config, section->name);
    const char *transport = section_setting(section, "transport")->value;

    read_section(load, section, transport != NULL && strcmp(transport, "plain") == 0 ? PLAIN_PORT : DOT_PORT, upstream);
    upstream->own_pin_count = upstream->pin_count;
    check_addresses(load, section, upstream);
    if (upstream->fallback != CONFIG_NO_UPSTREAM && &load->config->upstreams[upstream->fallback] == upstream)
        fail(load, section, "fallback", "%s is this upstream itself, expected another", upstream->name);
    if (upstream->transport == TRANSPORT_PLAIN) {
        refuse_tls_options(load, section);
        return;
    }
    settle_auth(load, section, upstream);
    read_tls_files(load, section, upstream);
}

/* --- zones --- */

static void read_zone(struct load *load, struct section *section)
{
    struct zone_config *zone = &load->config->zones[load->config->zone_count++];

    name_from_text(section->name, &zone->name); /* was checked when the section was made */
    zone->negative_max_ttl = CONFIG_UNSET;
    zone->stale_max = CONFIG_UNSET;
    read_section(load, section, 0, zone);
}

/* Without any zone, the only upstream is asked for everything. */
static void imply_root_zone(struct load *load)
{
    struct settings *settings = &load->settings;
    struct section *upstream = NULL;
    struct section *zone;

    if (settings->zone_count > 0 || settings->upstream_count != 1)
        return;
    for (size_t i = 0; i < settings->section_count; i++)
        if (settings->sections[i]->kind == SECTION_UPSTREAM)
            upstream = settings->sections[i];
    zone = upstream != NULL ? settings_section(settings, "zone .", LAYER_FILE, upstream->origin) : NULL;
    if (zone != NULL)
        settings_set(settings, zone, "upstream", upstream->name, LAYER_FILE, upstream->origin);
}

static void check_something_is_there(struct load *load)
{
    const char *dot_host = env_get(load->source->environment, "DOT_HOST", strlen("DOT_HOST"));
    const char *file = load->config->file_count > 0 ? load->config->files[0] : "configuration";

    if (load->settings.upstream_count == 0 && (dot_host == NULL || *dot_host == '\0'))
        settings_fail(&load->settings, file, NULL, NULL,
                      "there is no upstream, expected [upstream NAME] with address = ADDRESS in a file (-c FILE, "
                      "or " CONFIG_DEFAULT_FILE "), or the environment variable DOT_HOST=ADDRESS#NAME");
    else if (load->settings.upstream_count > 1 && load->settings.zone_count == 0)
        settings_fail(&load->settings, file, NULL, NULL,
                      "there are several upstreams and no zone, expected [zone .] with upstream = NAME");
}

/* --- checks that look at several options --- */

static struct section *the(struct load *load, enum section_kind kind)
{
    return settings_find(&load->settings, kind, "");
}

/* An open resolver can be abused for attacks (RFC 5358): listening on all addresses requires an [acl]. */
static void check_listen(struct load *load)
{
    struct section *acl = the(load, SECTION_ACL);
    char text[ENDPOINT_TEXT];

    for (size_t i = 0; i < load->config->listen_count; i++)
        if (endpoint_is_wildcard(&load->config->listens[i]) && !given(acl, "allow") && !given(acl, "deny"))
            fail(load, the(load, SECTION_SERVER), "listen",
                 "%s is every address of the node, expected allow or deny in [acl] with it",
                 endpoint_format(&load->config->listens[i], text));
}

static void check_cache(struct load *load)
{
    const struct config *config = load->config;

    if (config->min_ttl > config->max_ttl)
        fail(load, the(load, SECTION_CACHE), given(the(load, SECTION_CACHE), "min-ttl") ? "min-ttl" : "max-ttl",
             "min-ttl %u is above max-ttl %u, expected the other way round", config->min_ttl, config->max_ttl);
}

/* unix(7): a socket's path must fit into its address. */
static void check_dnstap(struct load *load)
{
    size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
    size_t length = strlen(load->config->dnstap);

    if (length > most)
        fail(load, the(load, SECTION_LOG), "dnstap",
             "%zu octets, expected the path of a Unix socket, at most %zu octets", length, most);
}

static void settle_probes(struct load *load)
{
    struct config *config = load->config;
    struct section *probes = the(load, SECTION_PROBES);

    if (config->probe_address_count == 0 && config->listen_count > 0 && !given(probes, "address")) {
        config->probe_addresses[0] = config->listens[0];
        endpoint_set_port(&config->probe_addresses[0], 0);
        config->probe_address_count = 1;
    }
    if (config->liveness_port == config->readiness_port)
        fail(load, probes, given(probes, "readiness-port") ? "readiness-port" : "liveness-port",
             "%u is both probes' port, expected two", config->liveness_port);
}

/* Would two TCP sockets with these addresses use the same port? */
static bool clash(const struct endpoint *a, const struct endpoint *b)
{
    return endpoint_port(a) == endpoint_port(b) && a->any.sa_family == b->any.sa_family &&
           (endpoint_is_wildcard(a) || endpoint_is_wildcard(b) || endpoint_equal(a, b));
}

/* Which socket already uses this port? NULL: none. */
static const char *other_use(const struct config *config, const struct endpoint *metrics)
{
    for (size_t i = 0; i < config->listen_count; i++)
        if (clash(metrics, &config->listens[i]))
            return "[server] listen";
    for (size_t i = 0; i < config->probe_address_count; i++) {
        struct endpoint probe = config->probe_addresses[i];

        endpoint_set_port(&probe, config->liveness_port);
        if (clash(metrics, &probe))
            return "[probes] liveness-port";
        endpoint_set_port(&probe, config->readiness_port);
        if (clash(metrics, &probe))
            return "[probes] readiness-port";
    }
    return NULL;
}

static void check_metrics(struct load *load)
{
    char text[ENDPOINT_TEXT];

    for (size_t i = 0; i < load->config->metrics_listen_count; i++) {
        const char *other = other_use(load->config, &load->config->metrics_listens[i]);

        if (other != NULL)
            fail(load, the(load, SECTION_METRICS), "listen", "%s is taken by %s, expected another port",
                 endpoint_format(&load->config->metrics_listens[i], text), other);
    }
}

/* --- loading --- */

static void read_each(struct load *load, enum section_kind kind, void (*read)(struct load *, struct section *))
{
    for (size_t i = 0; i < load->settings.section_count; i++)
        if (load->settings.sections[i]->kind == kind)
            read(load, load->settings.sections[i]);
}

static void read_plain_section(struct load *load, struct section *section)
{
    read_section(load, section, section->kind == SECTION_METRICS ? METRICS_PORT : PLAIN_PORT, load->config);
}

static void read_settings(struct load *load)
{
    for (enum section_kind kind = 0; kind < SECTION_KINDS; kind++)
        if (!section_is_named(kind))
            read_each(load, kind, read_plain_section);
    read_each(load, SECTION_UPSTREAM, name_upstream);
    read_each(load, SECTION_UPSTREAM, read_upstream);
    read_each(load, SECTION_ZONE, read_zone);
    check_listen(load);
    check_cache(load);
    check_dnstap(load);
    settle_probes(load);
    check_metrics(load);
}

enum config_result config_load(const struct config_source *source, struct config *out, FILE *errors)
{
    struct load load = {.source = source, .config = out};
    enum config_result result;

    memset(out, 0, sizeof(*out));
    settings_init(&load.settings, errors);
    if (read_ini_file(&load)) {
        env_read(&load.settings, source->environment);
        env_read_sets(&load.settings, source->sets, source->set_count);
        env_read_dot_host(&load.settings, source->environment);
        check_something_is_there(&load);
        imply_root_zone(&load);
        expand_settings(&load);
        read_settings(&load);
    }
    result = load.settings.invalid > 0 ? CONFIG_INVALID : load.settings.unreadable > 0 ? CONFIG_UNREADABLE : CONFIG_OK;
    settings_reset(&load.settings);
    if (result != CONFIG_OK)
        config_release(out);
    return result;
}

void config_release(struct config *config)
{
    for (size_t i = 0; i < config->file_count; i++)
        file_release(&config->held[i]);
    config->held_octets = 0;
}

/* The configuration from text to values: every reader, every kind of error, and back to text. */
#include "nodedot/config/config.h"
#include "nodedot/config/env.h"
#include "nodedot/config/options.h"
#include "nodedot/config/value.h"
#include "nodedot/observe/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h> /* wants the headers above first */

#define PIN_A "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define PIN_B "sha256/AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
#define PLAIN "[upstream u]\naddress = 192.0.2.1\ntransport = plain\n"
#define DOT   "[upstream u]\naddress = 192.0.2.1\npin = " PIN_A "\n"

static struct config config; /* of the last load */
static struct config again;  /* of a second one */
static char *errors;         /* what the last load said */
static char folder[] = "/tmp/nodedot-config-XXXXXX";
static char *empty[] = {NULL};

/* --- helpers --- */

/* The name of a file in the test's folder; good for four names at a time. */
static const char *path_of(const char *name)
{
    static char paths[4][CONFIG_PATH];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, CONFIG_PATH, "%s/%s", folder, name);
    return path;
}

static const char *write_bytes(const char *name, const void *data, size_t size)
{
    const char *path = path_of(name);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static const char *write_file(const char *name, const char *text)
{
    return write_bytes(name, text, strlen(text));
}

static enum config_result load_source(const struct config_source *source, struct config *out)
{
    enum config_result result;
    size_t size;
    FILE *stream;

    free(errors);
    errors = NULL;
    stream = open_memstream(&errors, &size);
    assert_non_null(stream);
    config_release(out);
    result = config_load(source, out, stream);
    assert_int_equal(fclose(stream), 0);
    assert_int_equal(result == CONFIG_OK, *errors == '\0');
    return result;
}

static enum config_result load_with(const char *text, char *const *environment, const char *const *sets, size_t count)
{
    struct config_source source = {.environment = environment, .sets = sets, .set_count = count};

    source.file = write_file("nodedot.ini", text);
    return load_source(&source, &config);
}

static enum config_result load_text(const char *text)
{
    return load_with(text, empty, NULL, 0);
}

/* The environment alone. CONFIG_DEFAULT_FILE must not be there, so an empty file stands in. */
static enum config_result load_environment(char *const *environment)
{
    return load_with("", environment, NULL, 0);
}

static enum config_result load_set(const char *text, const char *set)
{
    return load_with(text, empty, &set, 1);
}

static void assert_good(enum config_result result)
{
    if (result != CONFIG_OK)
        fail_msg("refused: %s", errors);
}

/* The load failed, and some line of what it said has all of the text. */
static void assert_says(const char *text)
{
    if (strstr(errors, text) == NULL)
        fail_msg("\"%s\" is not in: %s", text, errors);
}

static void assert_refused(const char *text, const char *expected)
{
    assert_int_equal(load_text(text), CONFIG_INVALID);
    assert_says(expected);
}

static unsigned error_lines(void)
{
    unsigned lines = 0;

    for (const char *c = errors; *c != '\0'; c++)
        lines += *c == '\n';
    return lines;
}

static void assert_endpoint(const struct endpoint *endpoint, const char *expected)
{
    char text[ENDPOINT_TEXT];

    assert_string_equal(endpoint_format(endpoint, text), expected);
}

static char *printed(void (*print)(FILE *))
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    assert_non_null(stream);
    print(stream);
    assert_int_equal(fclose(stream), 0);
    return text;
}

static const struct config *to_print;

static void print_config(FILE *out)
{
    config_print(to_print, out);
}

/* What lies elsewhere in every struct. */
static void forget_files(struct config *c)
{
    config_release(c);
    memset(c->files, 0, sizeof(c->files));
    memset(c->held, 0, sizeof(c->held));
    memset(c->states, 0, sizeof(c->states));
    c->file_count = 0;
    for (size_t i = 0; i < CONFIG_UPSTREAMS; i++)
        c->upstreams[i].ca = c->upstreams[i].certificate = c->upstreams[i].key = NULL;
}

/* What is printed reads back to the same, apart from the files read. */
static void assert_round_trip(void)
{
    struct config_source source = {.environment = empty};
    char *first;
    char *second;

    to_print = &config;
    first = printed(print_config);
    source.file = write_file("printed.ini", first);
    assert_good(load_source(&source, &again));
    to_print = &again;
    second = printed(print_config);
    assert_string_equal(first, second);
    forget_files(&config);
    forget_files(&again);
    assert_memory_equal(&config, &again, sizeof(config));
    free(first);
    free(second);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"nodedot.ini", "printed.ini", "pins",     "ca.pem",     "cert.pem", "key.pem",
                                        "closed",      "held-ca",     "held-key", "held-0",     "held-1",   "held-2",
                                        "held-3",      "held-4",      "large",    "large-exact"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_of(names[i]));
    free(errors);
    return rmdir(folder);
}

/* --- defaults and the table --- */

static void defaults_are_those_of_the_design(void **state)
{
    (void)state;
    assert_good(load_text(DOT));
    assert_int_equal(config.listen_count, 1);
    assert_endpoint(&config.listens[0], "169.254.20.10:53");
    assert_in_range(config.workers, 1, 4);
    assert_int_equal(config.user, 65532);
    assert_int_equal(config.cache_size, 32 << 20);
    assert_int_equal(config.min_ttl, 0);
    assert_int_equal(config.max_ttl, 86400);
    assert_int_equal(config.negative_max_ttl, 300);
    assert_int_equal(config.stale_max, 86400);
    assert_int_equal(config.client_qps, 0);
    assert_int_equal(config.client_burst, 0);
    assert_int_equal(config.client_block, 0);
    assert_int_equal(config.tcp_connections, 1024);
    assert_int_equal(config.tcp_connections_per_client, 64);
    assert_int_equal(config.tcp_idle, 10);
    assert_int_equal(config.in_flight, 4096);
    assert_int_equal(config.timeout, 4000);
    assert_int_equal(config.stale_after, 1800);
    assert_int_equal(config.allow.count, 2);
    assert_int_equal(config.deny.count, 0);
    assert_int_equal(config.probe_address_count, 1);
    assert_int_equal(endpoint_port(&config.probe_addresses[0]), 0);
    assert_int_equal(config.liveness_port, 9551);
    assert_int_equal(config.readiness_port, 9552);
    assert_int_equal(config.log_level, LOG_LEVEL_INFO);
    assert_int_equal(config.log_format, LOG_FORMAT_TEXT);
}

static void an_upstream_has_the_defaults_of_the_design(void **state)
{
    const struct upstream_config *upstream = &config.upstreams[0];

    (void)state;
    assert_good(load_text(DOT));
    assert_int_equal(config.upstream_count, 1);
    assert_string_equal(upstream->name, "u");
    assert_endpoint(&upstream->addresses[0], "192.0.2.1:853");
    assert_int_equal(upstream->transport, TRANSPORT_DOT);
    assert_string_equal(upstream->server_name, "");
    assert_int_equal(upstream->auth, AUTH_PIN);
    assert_int_equal(upstream->pin_mode, PIN_ENFORCE);
    assert_string_equal(upstream->ca_file, "/etc/ssl/certs/ca-certificates.crt");
    assert_int_equal(upstream->revalidate, 300);
}

static void every_default_and_example_of_the_table_can_be_read(void **state)
{
    static union {
        struct config config;
        struct upstream_config upstream;
        struct zone_config zone;
    } object;
    char why[VALUE_WHY];

    (void)state;
    assert_good(load_text("[upstream quad9]\naddress = 192.0.2.1\npin = " PIN_A "\n")); /* whom the example names */
    for (const struct option_def *option = option_table; option < option_table + option_count; option++) {
        struct value_context context = {.config = &config, .port = 853};

        memset(&object, 0, sizeof(object));
        assert_true(value_parse(option, option->preset, &context, &object, why));
        if (option->example != NULL)
            assert_true(value_parse(option, option->example, &context, &object, why));
        assert_int_equal(option->min != option->max, option->reason != NULL);
        assert_true(option_index(option) < OPTIONS_PER_SECTION);
        assert_ptr_equal(option_find(option->section, option->key), option);
    }
}

static void log_words_stand_in_the_order_of_their_enums(void **state)
{
    (void)state;
    assert_good(load_text(DOT "[log]\nlevel = error\nformat = json\n"));
    assert_int_equal(config.log_level, LOG_LEVEL_ERROR);
    assert_int_equal(config.log_format, LOG_FORMAT_JSON);
    assert_good(load_text(DOT "[log]\nlevel = warn\n"));
    assert_int_equal(config.log_level, LOG_LEVEL_WARN);
    assert_good(load_text(DOT "[log]\nlevel = debug\n"));
    assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
}

/* --- numbers --- */

/* Writes value to the only numeric option called key and loads. */
static enum config_result load_number(const struct option_def *option, const char *value)
{
    char text[512];
    bool tls = option->section == SECTION_UPSTREAM;

    snprintf(text, sizeof(text), "[%s%s]\n%s = %s\n%s%s", section_words[option->section],
             tls                               ? " u"
             : option->section == SECTION_ZONE ? " ."
                                               : "",
             option->key, value, tls ? "address = 192.0.2.1\npin = " PIN_A "\n" : "",
             option->section == SECTION_ZONE ? "upstream = u\n" : "");
    if (strcmp(option->key, "liveness-port") == 0) /* not the same as the other one */
        strcat(text, "readiness-port = 2\n");
    if (strcmp(option->key, "readiness-port") == 0)
        strcat(text, "liveness-port = 2\n");
    if (strcmp(option->key, "max-ttl") == 0)
        strcat(text, "min-ttl = 0\n");
    if (!tls)
        strcat(text, DOT);
    return load_text(text);
}

static void a_number_is_taken_at_both_ends_of_its_range_and_not_one_past(void **state)
{
    char value[32];

    (void)state;
    for (const struct option_def *option = option_table; option < option_table + option_count; option++) {
        if (option->type > OPTION_WORKERS)
            continue;
        snprintf(value, sizeof(value), "%llu", (unsigned long long)option->min);
        assert_good(load_number(option, value));
        snprintf(value, sizeof(value), "%llu", (unsigned long long)option->max);
        assert_good(load_number(option, value));
        snprintf(value, sizeof(value), "%llu", (unsigned long long)option->max + 1);
        assert_int_equal(load_number(option, value), CONFIG_INVALID);
        snprintf(value, sizeof(value), "%lld", (long long)option->min - 1);
        assert_int_equal(load_number(option, value), CONFIG_INVALID);
        assert_says(option->key);
        assert_says(", expected ");
    }
}

static void what_is_no_plain_decimal_number_is_refused(void **state)
{
    static const char *const values[] = {"+1", "1.5", "0x10", "1s", "ten", "1 2", "18446744073709551617", "1,2", "10k"};

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        assert_int_equal(load_number(option_find(SECTION_LIMITS, "tcp-idle"), values[i]), CONFIG_INVALID);
        assert_says(":2: [limits] tcp-idle: \"");
        assert_says("expected seconds from 1 to 6553");
    }
}

static void bytes_take_a_suffix_of_1024s(void **state)
{
    (void)state;
    assert_good(load_text(DOT "[cache]\nsize = 1024K\n"));
    assert_int_equal(config.cache_size, 1 << 20);
    assert_good(load_text(DOT "[cache]\nsize = 4G\n"));
    assert_int_equal(config.cache_size, 4ULL << 30);
    assert_good(load_text(DOT "[cache]\nsize = 1048577\n"));
    assert_int_equal(config.cache_size, (1 << 20) + 1);
    assert_refused(DOT "[cache]\nsize = 1023K\n", "from 1M to 4G");
    assert_refused(DOT "[cache]\nsize = 32m\n", "size: \"32m\"");
    assert_refused(DOT "[cache]\nsize = 32MB\n", "size: \"32MB\"");
    assert_refused(DOT "[cache]\nsize = M\n", "size: \"M\"");
    assert_refused(DOT "[cache]\nsize = 18014398509481984K\n", "size: "); /* 2^64 */
}

static void workers_are_auto_or_a_number(void **state)
{
    (void)state;
    assert_good(load_text(DOT "[server]\nworkers = 16\n"));
    assert_int_equal(config.workers, CONFIG_WORKERS);
    assert_refused(DOT "[server]\nworkers = many\n", "expected auto or a number from 1 to 16");
}

static void an_empty_value_is_taken_only_where_the_default_is_empty(void **state)
{
    (void)state;
    assert_good(load_text(DOT "pin-file =\nclient-cert =\nclient-key =\n[acl]\ndeny =\n[probes]\naddress =\n"
                              "[zone .]\nupstream = u\nstale-max =\n"));
    assert_int_equal(config.zones[0].stale_max, CONFIG_UNSET);
    assert_refused(DOT "[cache]\nsize =\n", "[cache] size: is empty, expected bytes");
    assert_refused(DOT "[acl]\nallow =\n", "[acl] allow: is empty");
    assert_refused("[upstream u]\naddress =\n", "[upstream u] address: is missing");
}

/* --- addresses --- */

static void listen_takes_both_families_with_and_without_port(void **state)
{
    (void)state;
    assert_good(load_text(DOT "[server]\nlisten = 127.0.0.1:5353, [::1]:5353,fd00::10 , 10.0.0.1\n"));
    assert_int_equal(config.listen_count, 4);
    assert_endpoint(&config.listens[0], "127.0.0.1:5353");
    assert_endpoint(&config.listens[1], "[::1]:5353");
    assert_endpoint(&config.listens[2], "[fd00::10]:53");
    assert_endpoint(&config.listens[3], "10.0.0.1:53");
    assert_int_equal(config.probe_address_count, 1);
    assert_endpoint(&config.probe_addresses[0], "127.0.0.1:0");
}

static void a_bad_listen_address_is_refused(void **state)
{
    static const char *const values[] = {
        "localhost",  "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:",    "::1:5353:", "1.2.3",
        "127.0.0.1,", ",127.0.0.1",  "127.0.0.1,,::1",  "127.0.0.1 ::1", "[::1"};

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[256];

        snprintf(text, sizeof(text), "%s[server]\nlisten = %s\n", DOT, values[i]);
        assert_refused(text, ":5: [server] listen: ");
    }
    assert_refused(DOT "[server]\nlisten = ::1, [::1]:53\n", "is there twice");
}

static void as_many_listen_addresses_as_fit_are_taken_and_not_one_more(void **state)
{
    char text[1024] = DOT "[server]\nlisten = 127.0.0.1";

    (void)state;
    for (unsigned i = 2; i <= CONFIG_LISTENS; i++)
        snprintf(text + strlen(text), 32, ", 127.0.0.%u", i);
    assert_good(load_text(text));
    assert_int_equal(config.listen_count, CONFIG_LISTENS);
    strcat(text, ", 127.0.0.99");
    assert_refused(text, "more than 16 entries");
}

static void a_wildcard_needs_an_access_list(void **state)
{
    (void)state;
    assert_refused(DOT "[server]\nlisten = 0.0.0.0\n", "expected allow or deny in [acl]");
    assert_refused(DOT "[server]\nlisten = 127.0.0.1, [::]:53\n", "[::]:53 is every address of the node");
    assert_refused(DOT "[server]\nlisten = 0.0.0.0\n[acl]\ndeny =\n", "expected allow or deny in [acl]");
    assert_good(load_text(DOT "[server]\nlisten = 0.0.0.0\n[acl]\nallow = 10.0.0.0/8\n"));
    assert_good(load_text(DOT "[server]\nlisten = ::\n[acl]\ndeny = 192.0.2.0/24\n"));
}

static void an_access_list_takes_networks(void **state)
{
    (void)state;
    assert_good(load_text(DOT "[acl]\nallow = 10.0.0.0/8, 192.0.2.7, fd00::/8\ndeny = 10.1.0.0/16\n"));
    assert_int_equal(config.allow.count, 3);
    assert_int_equal(config.allow.networks[1].bits, 32);
    assert_true(config.allow.networks[2].v6);
    assert_int_equal(config.deny.count, 1);
    assert_refused(DOT "[acl]\nallow = 10.0.0.1/8\n", "expected networks");
    assert_refused(DOT "[acl]\nallow = 10.0.0.0/33\n", "expected networks");
    assert_refused(DOT "[acl]\nallow = all\n", "expected networks");
}

static void probe_addresses_have_no_port(void **state)
{
    (void)state;
    assert_good(load_text(DOT "[probes]\naddress = 127.0.0.1, ::1\n"));
    assert_int_equal(config.probe_address_count, 2);
    assert_refused(DOT "[probes]\naddress = 127.0.0.1:9551\n", "expected addresses without port");
    assert_refused(DOT "[probes]\naddress = 127.0.0.1:1\n", "expected addresses without port");
    assert_refused(DOT "[probes]\naddress = [::1]:2\n", "expected addresses without port");
}

static void the_probes_need_two_ports(void **state)
{
    (void)state;
    assert_refused(DOT "[probes]\nliveness-port = 9552\n", "[probes] liveness-port: 9552 is both probes' port");
}

static void the_shortest_ttl_must_not_be_above_the_longest(void **state)
{
    (void)state;
    assert_good(load_text(DOT "[cache]\nmin-ttl = 60\nmax-ttl = 60\n"));
    assert_refused(DOT "[cache]\nmin-ttl = 60\nmax-ttl = 1h\n", "[cache] max-ttl: \"1h\"");
    assert_int_equal(error_lines(), 1);
    assert_refused(DOT "[cache]\nmin-ttl = 60\nmax-ttl = ${UNSET}\n", "[cache] max-ttl: the environment");
    assert_int_equal(error_lines(), 1);
    assert_refused(DOT "[cache]\nmin-ttl = 61\nmax-ttl = 60\n", "[cache] min-ttl: min-ttl 61 is above max-ttl 60");
}

/* --- upstreams --- */

static void the_default_port_follows_the_transport(void **state)
{
    (void)state;
    assert_good(load_text("[upstream u]\naddress = 192.0.2.1, 192.0.2.2:54, [2001:db8::1]:55\ntransport = plain\n"));
    assert_endpoint(&config.upstreams[0].addresses[0], "192.0.2.1:53");
    assert_endpoint(&config.upstreams[0].addresses[1], "192.0.2.2:54");
    assert_endpoint(&config.upstreams[0].addresses[2], "[2001:db8::1]:55");
    assert_good(load_text("[upstream u]\naddress = 192.0.2.1\npin=" PIN_A "\n"));
    assert_endpoint(&config.upstreams[0].addresses[0], "192.0.2.1:853");
}

static void an_upstream_without_address_is_refused(void **state)
{
    (void)state;
    assert_refused("[upstream u]\npin = " PIN_A "\n",
                   "nodedot.ini:1: [upstream u] address: is missing, expected addresses");
}

static void an_upstream_that_cannot_be_is_refused(void **state)
{
    (void)state;
    assert_refused("[upstream u]\naddress = 0.0.0.0\npin=" PIN_A "\n", "nobody's address");
    assert_refused(PLAIN "[server]\nlisten = 192.0.2.1\n", "nodedot would ask itself");
    assert_refused("[upstream u]\naddress = 192.0.2.1, 192.0.2.1:853\npin=" PIN_A "\n", "is there twice");
    assert_refused("[upstream u]\naddress = dns.example\npin=" PIN_A "\n", "\"dns.example\" cannot be used");
    assert_refused("[upstream u]\naddress = 192.0.2.1\ntransport = https\n", "expected one of dot, plain");
}

static void the_name_of_an_upstream_section_is_checked(void **state)
{
    char text[256];

    (void)state;
    assert_refused("[upstream]\naddress = 192.0.2.1\n", ":1: [upstream ] has no good name");
    assert_refused("[upstream a b]\naddress = 192.0.2.1\n", "[upstream a b] has no good name");
    assert_refused("[upstream -a]\naddress = 192.0.2.1\n", "has no good name");
    snprintf(text, sizeof(text), "[upstream %063d]\naddress = 192.0.2.1\npin = %s\n", 1, PIN_A);
    assert_good(load_text(text));
    snprintf(text, sizeof(text), "[upstream %064d]\naddress = 192.0.2.1\npin = %s\n", 1, PIN_A);
    assert_refused(text, "at most 63");
}

static void blanks_in_a_section_head_do_not_matter(void **state)
{
    (void)state;
    assert_good(load_text("[ upstream \t u ]  ; comment\naddress = 192.0.2.1\npin = " PIN_A
                          "\n[zone .] # comment\nupstream = u\n"));
    assert_string_equal(config.upstreams[0].name, "u");
}

static void the_server_name_is_a_dns_name(void **state)
{
    static const char *const bad[] = {
        "a..b",      "192.0.2.1",
        "::1",       "a b",
        "*.example", "\xc3\xbc.example",
        ".",         "1234567890123456789012345678901234567890123456789012345678901234.example"};

    (void)state;
    assert_good(load_text(DOT "name = dns.quad9.net\n"));
    assert_string_equal(config.upstreams[0].server_name, "dns.quad9.net");
    assert_good(load_text(DOT "name = dns.quad9.net.\n"));
    assert_string_equal(config.upstreams[0].server_name, "dns.quad9.net");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[512];

        snprintf(text, sizeof(text), "%sname = %s\n", DOT, bad[i]);
        assert_refused(text, ":4: [upstream u] name: ");
    }
}

static void auth_follows_the_pins_unless_it_is_given(void **state)
{
    char text[512];
    const char *ca = write_file("ca.pem", "certificates");

    (void)state;
    assert_good(load_text(DOT));
    assert_int_equal(config.upstreams[0].auth, AUTH_PIN);
    snprintf(text, sizeof(text), "[upstream u]\naddress = 192.0.2.1\nca-file = %s\n", ca);
    assert_good(load_text(text));
    assert_int_equal(config.upstreams[0].auth, AUTH_CA);
    snprintf(text, sizeof(text), DOT "auth = pin+ca\nca-file = %s\n", ca);
    assert_good(load_text(text));
    assert_int_equal(config.upstreams[0].auth, AUTH_PIN_AND_CA);
    snprintf(text, sizeof(text), DOT "auth =\nca-file = %s\n", ca);
    assert_good(load_text(text));
    assert_int_equal(config.upstreams[0].auth, AUTH_PIN);
    snprintf(text, sizeof(text), DOT "auth = ca\nca-file = %s\n", ca);
    assert_good(load_text(text));
    assert_int_equal(config.upstreams[0].auth, AUTH_CA);
}

static void pin_authentication_without_a_pin_is_refused(void **state)
{
    (void)state;
    assert_refused("[upstream u]\naddress = 192.0.2.1\nauth = pin\n", ":3: [upstream u] auth: needs a pin");
    assert_refused("[upstream u]\naddress = 192.0.2.1\nauth = pin+ca\n", "needs a pin");
    assert_refused("[upstream u]\naddress = 192.0.2.1\nauth = none\n", "expected one of pin, ca, pin+ca");
}

static void pins_are_read_and_counted_once(void **state)
{
    (void)state;
    assert_good(load_text("[upstream u]\naddress = 192.0.2.1\npin = " PIN_A ", " PIN_B "," PIN_A "\n"));
    assert_int_equal(config.upstreams[0].pin_count, 2);
    assert_int_equal(config.upstreams[0].own_pin_count, 2);
    assert_int_equal(config.upstreams[0].pins[0].sha256[31], 0);
    assert_int_equal(config.upstreams[0].pins[1].sha256[31], 1);
}

static void a_pin_in_another_form_is_refused_with_the_right_one(void **state)
{
    static const char *const bad[] = {
        "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", /* as curl writes it */
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", /* bits behind the end */
        "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", /* an octet short */
        "sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "sha256/",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[512];

        snprintf(text, sizeof(text), "[upstream u]\naddress = 192.0.2.1\npin = %s\n", bad[i]);
        assert_refused(text, ":3: [upstream u] pin: \"");
        assert_says("expected sha256/ and 44 characters of base64");
        assert_int_equal(error_lines(), 1);
    }
}

static void a_pin_file_has_one_pin_a_line(void **state)
{
    char text[512];
    const char *pins = write_file("pins", "# both keys\r\n\n  " PIN_A "  # in use\r\n" PIN_B);

    (void)state;
    snprintf(text, sizeof(text), "[upstream u]\naddress = 192.0.2.1\npin-file = %s\npin = %s\n", pins, PIN_B);
    assert_good(load_text(text));
    assert_int_equal(config.upstreams[0].pin_count, 2);
    assert_int_equal(config.upstreams[0].own_pin_count, 1);
    assert_int_equal(config.upstreams[0].auth, AUTH_PIN);
    assert_int_equal(config.file_count, 2);
    assert_string_equal(config.files[1], pins);
}

static void errors_in_a_pin_file_name_its_line(void **state)
{
    char text[512];

    (void)state;
    snprintf(text, sizeof(text), "[upstream u]\naddress = 192.0.2.1\npin-file = %s\n", path_of("pins"));
    write_file("pins", "# comment\nsha256/abc\n" PIN_A "\njunk\n");
    assert_refused(text, "/pins:2: [upstream u] pin-file: \"sha256/abc\" is no pin");
    assert_says("/pins:4: [upstream u] pin-file: \"junk\" is no pin");
    write_file("pins", "# nothing\n\n");
    assert_refused(text, "holds no pin");
    write_bytes("pins", PIN_A "\0" PIN_B, sizeof(PIN_A PIN_B));
    assert_refused(text, "holds an octet of zero");
}

static void as_many_pins_as_fit_are_taken_and_not_one_more(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQ";
    char text[2048] = "[upstream u]\naddress = 192.0.2.1\npin = ";

    (void)state;
    for (unsigned i = 0; i < CONFIG_PINS; i++)
        snprintf(text + strlen(text), 64, "%ssha256/%cAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", i > 0 ? "," : "",
                 digits[i]);
    assert_good(load_text(text)); /* and a line of 800 octets */
    assert_int_equal(config.upstreams[0].pin_count, CONFIG_PINS);
    assert_round_trip();
    strcat(text, ",sha256/QAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_refused(text, "more than 16 entries");
}

static void a_client_certificate_needs_its_key(void **state)
{
    char text[1024];
    const char *cert = write_file("cert.pem", "certificate");
    const char *key = write_file("key.pem", "key");

    (void)state;
    snprintf(text, sizeof(text), DOT "client-cert = %s\nclient-key = %s\n", cert, key);
    assert_good(load_text(text));
    assert_string_equal(config.upstreams[0].client_key, key);
    assert_int_equal(config.file_count, 3);
    snprintf(text, sizeof(text), DOT "client-cert = %s\n", cert);
    assert_refused(text, "[upstream u] client-cert: is of no use alone");
    snprintf(text, sizeof(text), DOT "client-key = %s\n", key);
    assert_refused(text, "[upstream u] client-key: is of no use alone");
}

static void protection_and_plain_transport_exclude_each_other(void **state)
{
    (void)state;
    assert_good(load_text(PLAIN));
    assert_refused(PLAIN "pin = " PIN_A "\nauth = pin\n", "[upstream u] pin: has no effect with transport = plain");
    assert_says("[upstream u] auth: has no effect");
}

static void as_many_upstreams_as_fit_are_taken_and_not_one_more(void **state)
{
    char text[8192] = "[zone .]\nupstream = u0\n";

    (void)state;
    for (unsigned i = 0; i < CONFIG_UPSTREAMS; i++)
        snprintf(text + strlen(text), 128, "[upstream u%u]\naddress = 192.0.2.%u\ntransport = plain\n", i, i + 1);
    assert_good(load_text(text));
    assert_int_equal(config.upstream_count, CONFIG_UPSTREAMS);
    strcat(text, "[upstream more]\naddress = 192.0.2.200\n");
    assert_refused(text, "[upstream more] is one too many, expected at most 32");
}

/* --- files --- */

static void a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    assert_int_equal(load_text(DOT "pin-file = /nonexistent/pins\n"), CONFIG_UNREADABLE);
    assert_says(":4: [upstream u] pin-file: cannot read /nonexistent/pins: No such file or directory");
    assert_int_equal(error_lines(), 1);
    assert_int_equal(load_text(DOT "auth = pin+ca\nca-file = /nonexistent/ca\n"), CONFIG_UNREADABLE);
    assert_int_equal(load_text(DOT "client-cert = /tmp\nclient-key = /dev/null\n"), CONFIG_UNREADABLE);
    assert_says("cannot read /tmp: Is a directory");
    assert_int_equal(load_text(DOT "pin-file = /nonexistent\n[server]\nfoo = 1\n"), CONFIG_INVALID);
}

static void contents_of_files_stay_what_they_were_when_they_were_read(void **state)
{
    char text[1024];
    const char *ca = write_file("held-ca", "one"), *key = write_file("held-key", "two");

    (void)state;
    snprintf(text, sizeof(text),
             "[upstream u]\naddress = 192.0.2.1\nca-file = %s\nclient-cert = %s\nclient-key = %s\n"
             "[upstream v]\naddress = 192.0.2.2\nca-file = %s\n[zone .]\nupstream = u\n",
             ca, ca, key, ca);
    assert_good(load_text(text));
    write_file("held-ca", "another");
    assert_string_equal(config.upstreams[0].ca->text, "one");
    assert_int_equal(config.upstreams[0].ca->size, 3);
    assert_string_equal(config.upstreams[0].ca->name, ca);
    assert_string_equal(config.upstreams[0].key->text, "two");
    assert_ptr_equal(config.upstreams[0].ca, config.upstreams[1].ca); /* one file, read once */
    assert_ptr_equal(config.upstreams[0].ca, config.upstreams[0].certificate);
    assert_int_equal(config.held_octets, 6);
}

static void a_file_that_is_too_large_to_hold_is_named(void **state)
{
    char text[512];
    char *large = calloc(1, CONFIG_FILE_OCTETS + 1);
    const char *exact = write_bytes("large-exact", large, CONFIG_FILE_OCTETS);

    (void)state;
    snprintf(text, sizeof(text), "[upstream u]\naddress = 192.0.2.1\nca-file = %s\n", exact);
    assert_good(load_text(text));
    assert_int_equal(config.held_octets, CONFIG_FILE_OCTETS);
    snprintf(text, sizeof(text), "[upstream u]\naddress = 192.0.2.1\nca-file = %s\n",
             write_bytes("large", large, CONFIG_FILE_OCTETS + 1));
    assert_int_equal(load_text(text), CONFIG_UNREADABLE);
    assert_says("File too large");
    free(large);
}

static void all_files_together_have_a_limit(void **state)
{
    char text[4096] = "";
    char *large = calloc(1, CONFIG_FILE_OCTETS);
    size_t length = 0;

    (void)state;
    for (int i = 0; i < 5; i++) {
        char name[16];

        snprintf(name, sizeof(name), "held-%d", i);
        length += (size_t)snprintf(text + length, sizeof(text) - length,
                                   "[upstream u%d]\naddress = 192.0.2.1\nca-file = %s\n", i,
                                   write_bytes(name, large, CONFIG_FILE_OCTETS));
    }
    snprintf(text + length, sizeof(text) - length, "[zone .]\nupstream = u0\n");
    assert_int_equal(load_text(text), CONFIG_UNREADABLE);
    assert_int_equal(error_lines(), 1);
    assert_says("[upstream u4] ca-file: ");
    free(large);
}

static void a_file_without_permission_is_named(void **state)
{
    struct config_source source = {.environment = empty, .file = write_file("closed", DOT)};
    uid_t user = geteuid();

    (void)state;
    chmod(source.file, 0);
    if (user == 0 && seteuid(65534) != 0)
        skip();
    assert_int_equal(load_source(&source, &config), CONFIG_UNREADABLE);
    assert_int_equal(seteuid(user), 0);
    assert_int_equal(error_lines(), 1);
}

static void a_missing_configuration_file_is_one_error(void **state)
{
    static const char *const paths[] = {"/nonexistent.ini", "/tmp", "/dev/zero", ""};

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct config_source source = {.environment = empty, .file = paths[i]};

        assert_int_equal(load_source(&source, &config), CONFIG_UNREADABLE);
        assert_says(paths[i]);
        assert_int_equal(error_lines(), 1);
    }
}

static void a_file_name_that_is_too_long_is_refused(void **state)
{
    char text[1024];

    (void)state;
    snprintf(text, sizeof(text), DOT "pin-file = /%0254d\n", 0);
    assert_int_equal(load_text(text), CONFIG_UNREADABLE); /* 255 octets: only not there */
    snprintf(text, sizeof(text), DOT "pin-file = /%0255d\n", 0);
    assert_refused(text, "at most 255 octets");
    assert_refused(DOT "pin-file = /a;b\n", "without \";\"");
}

/* --- zones --- */

static void zones_name_their_upstreams(void **state)
{
    (void)state;
    assert_good(load_text(
        "[zone cluster.local]\nupstream = k\nnegative-max-ttl = 5\nstale-max = 0\n[zone .]\nupstream = u\n" DOT
        "[upstream k]\naddress = 10.96.0.10\ntransport = plain\n"));
    assert_int_equal(config.zone_count, 2);
    assert_int_equal(config.zones[0].name.length, sizeof("\7cluster\5local"));
    assert_int_equal(config.zones[0].upstream, 1);
    assert_int_equal(config.zones[0].negative_max_ttl, 5);
    assert_int_equal(config.zones[0].stale_max, 0);
    assert_int_equal(config.zones[1].name.length, 1);
    assert_int_equal(config.zones[1].upstream, 0);
    assert_int_equal(config.zones[1].negative_max_ttl, CONFIG_UNSET);
}

static void a_zone_without_a_known_upstream_is_refused(void **state)
{
    (void)state;
    assert_refused(DOT "[zone a]\nupstream = v\n",
                   ":5: [zone a] upstream: \"v\" is no upstream, expected the NAME of an [upstream NAME] section: u");
    assert_refused(DOT "[zone a]\n", ":4: [zone a] upstream: is missing");
    assert_refused(DOT "[zone a]\nupstream = U\n", "\"U\" is no upstream");
}

static void zones_that_differ_in_writing_only_are_the_same(void **state)
{
    (void)state;
    assert_refused(DOT "[zone example.com]\nupstream = u\n[zone Example.COM.]\nnegative-max-ttl = 1\n",
                   ":6: [zone example.com]: is there twice, expected once; it was at ");
    assert_refused(DOT "[zone .]\nupstream = u\n[zone .]\n", "[zone .]: is there twice");
}

static void a_long_zone_is_not_cut(void **state)
{
    static const char name[] = "a-label-of-some-length.another-label-of-some-length.svc.cluster.example.internal";
    char text[512];
    char out[NAME_TEXT];

    (void)state;
    snprintf(text, sizeof(text), DOT "[zone %s]\nupstream = u\n", name);
    assert_good(load_text(text));
    assert_string_equal(name_to_text(&config.zones[0].name, out), name);
    assert_round_trip();
}

static void a_zone_must_be_a_domain_name(void **state)
{
    static const char *const bad[] = {
        "",    "a..b",    ".a",  "..",
        "a b", "a\\046b", "*.a", "1234567890123456789012345678901234567890123456789012345678901234"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[512];

        snprintf(text, sizeof(text), "%s[zone %s]\nupstream = u\n", DOT, bad[i]);
        assert_refused(text, ":4: [zone ");
    }
    assert_good(load_text(DOT "[zone 0/25.2.0.192.in-addr.arpa]\nupstream = u\n[zone _tcp.example]\nupstream = u\n"));
}

static void the_only_upstream_is_asked_for_everything_when_no_zone_is_there(void **state)
{
    (void)state;
    assert_good(load_text(DOT));
    assert_int_equal(config.zone_count, 1);
    assert_int_equal(config.zones[0].name.length, 1);
    assert_good(load_text(DOT "[zone a]\nupstream = u\n"));
    assert_int_equal(config.zone_count, 1);
    assert_int_equal(config.zones[0].name.length, sizeof("\1a"));
    assert_refused(DOT "[upstream v]\naddress = 192.0.2.2\ntransport=plain\n", "several upstreams and no zone");
}

static void nothing_configured_is_an_error_that_helps(void **state)
{
    (void)state;
    assert_refused("", "there is no upstream, expected [upstream NAME]");
    assert_says("DOT_HOST=ADDRESS#NAME");
    assert_int_equal(error_lines(), 1);
}

/* --- the INI file --- */

static void all_errors_are_shown_with_their_places(void **state)
{
    (void)state;
    assert_refused("key = 1\n"
                   "[server]\n"
                   "listen = nowhere\n"
                   "colour = red\n"
                   "just words\n"
                   "[metric]\n"
                   "listen = 127.0.0.1:1\n"
                   "[upstream u]\n"
                   "transport = pigeon\n"
                   "[server\n",
                   ":1: key stands above every section");
    assert_says(":3: [server] listen: \"nowhere\"");
    assert_says(":4: [server] colour: is no option of this section, expected one of listen, workers, user");
    assert_says(":5: [server]: this line cannot be read, expected [SECTION], KEY = VALUE or a comment");
    assert_says(":6: [metric] is no section, expected [server], ");
    assert_says(":8: [upstream u] address: is missing");
    assert_says(":9: [upstream u] transport: \"pigeon\"");
    assert_says(":10: this line cannot be read, expected [SECTION]");
    assert_int_equal(error_lines(), 8);
}

static void an_interface_is_a_name_that_the_kernel_takes(void **state)
{
    static const char *const bad[] = {"sixteen-letters-", "a/b", "a b", "a:1", ".", "..", "caf\xc3\xa9"};
    char text[256];

    (void)state;
    assert_good(load_text(DOT));
    assert_false(config.manage_address);
    assert_string_equal(config.interface, "nodedot0");
    assert_good(load_text(DOT "[server]\nmanage-address = yes\ninterface = fifteen-letters\n"));
    assert_true(config.manage_address);
    assert_string_equal(config.interface, "fifteen-letters");
    assert_good(load_text(DOT "[server]\nmanage-address = no\ninterface = ...\n"));
    assert_false(config.manage_address);
    assert_refused(DOT "[server]\nmanage-address = maybe\n", "expected one of no, yes");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), DOT "[server]\ninterface = %s\n", bad[i]);
        assert_refused(text, "expected the name of a network interface");
    }
}

static void a_fallback_names_another_upstream(void **state)
{
    (void)state;
    assert_good(load_text("[upstream a]\naddress = 192.0.2.1\nfallback = b\n"
                          "[upstream b]\naddress = 192.0.2.2\ntransport = plain\nfallback = a\n"
                          "[zone .]\nupstream = a\n"));
    assert_int_equal(config.upstreams[0].fallback, 1);
    assert_int_equal(config.upstreams[1].fallback, 0);
    assert_good(load_text(DOT));
    assert_true(config.upstreams[0].fallback == CONFIG_NO_UPSTREAM);
    assert_refused(DOT "fallback = nobody\n", "[upstream u] fallback: \"nobody\" is no upstream");
    assert_refused(DOT "fallback = u\n", "[upstream u] fallback: u is this upstream itself");
    assert_refused("[upstream a]\naddress = 192.0.2.1\ntransport = plain\nfallback-on-mismatch = yes\n",
                   "fallback-on-mismatch: has no effect with transport = plain");
}

static void metrics_listen_on_their_own_port_unless_one_is_given(void **state)
{
    (void)state;
    assert_good(load_text(DOT));
    assert_int_equal(config.metrics_listen_count, 0);
    assert_good(load_text(DOT "[metrics]\nlisten = 127.0.0.1, [::1]:9999\n"));
    assert_int_equal(endpoint_port(&config.metrics_listens[0]), 9553);
    assert_int_equal(endpoint_port(&config.metrics_listens[1]), 9999);
}

static void a_section_or_key_given_twice_is_refused(void **state)
{
    (void)state;
    assert_refused(DOT "[cache]\nsize = 1M\n[log]\n[cache]\nmin-ttl = 1\n",
                   ":7: [cache]: is there twice, expected once; it was at ");
    assert_says("nodedot.ini:4\n");
    assert_refused(DOT "[upstream u]\n", ":4: [upstream u]: is there twice");
    assert_refused(DOT "pin = " PIN_B "\n", ":4: [upstream u] pin: is given twice, expected once; it was at ");
}

static void words_are_case_sensitive(void **state)
{
    (void)state;
    assert_refused("[Server]\nlisten = ::1\n" DOT, "[Server] is no section");
    assert_refused("[server]\nListen = ::1\n" DOT, "Listen: is no option");
}

static void a_mark_line_ends_and_a_missing_end_are_taken(void **state)
{
    (void)state;
    assert_good(
        load_text("\xef\xbb\xbf[upstream u]\r\naddress = 192.0.2.1\r\n\r\n ; comment\r\n# another\r\npin = " PIN_A));
    assert_int_equal(config.upstreams[0].pin_count, 1);
    assert_good(load_text("\xef\xbb\xbf" DOT));
    assert_refused("\xef\xbb", "cannot be read"); /* half a mark */
}

static void comments_end_values_only_behind_a_blank(void **state)
{
    (void)state;
    assert_good(load_text(DOT "[server]\nlisten = 127.0.0.1\t; a comment; with more\nworkers=2 ;\n"));
    assert_int_equal(config.workers, 2);
    assert_refused(DOT "[server]\nlisten = 127.0.0.1;no comment\n", "127.0.0.1;no comment");
    assert_refused(DOT "[server]\nlisten = 127.0.0.1 # no comment\n", "127.0.0.1 # no comment");
}

static void indentation_does_not_join_lines(void **state)
{
    (void)state;
    assert_good(load_text("  [upstream u]\n    address = 192.0.2.1\n    pin = " PIN_A
                          "\n\t[server]\n\tlisten = ::1\n\tworkers = 2\n"));
    assert_int_equal(config.workers, 2);
    assert_refused(DOT "[server]\nlisten = ::1\n  127.0.0.1\n", ":6: [server]: this line cannot be read");
}

static void a_list_goes_on_behind_a_comma(void **state)
{
    (void)state;
    assert_good(load_text("[upstream u]\naddress = 192.0.2.1, ; one\n"
                          "  ; a comment between\n\n"
                          "    192.0.2.2,\n"
                          "    [2001:db8::1]:99 ; the last; really\n"
                          "pin =" PIN_A ",\n  " PIN_B "\n"));
    assert_int_equal(config.upstreams[0].address_count, 3);
    assert_endpoint(&config.upstreams[0].addresses[2], "[2001:db8::1]:99");
    assert_int_equal(config.upstreams[0].pin_count, 2);
    assert_refused("[upstream u]\naddress = 192.0.2.1,\ntransport = plain\n",
                   ":2: [upstream u] address: an entry of the list is empty");
    assert_refused("[upstream u]\naddress = 192.0.2.1,\n  192.0.2.2 192.0.2.3\n",
                   ":2: [upstream u] address: \"192.0.2.2 192.0.2.3\"");
    assert_refused("[upstream u]\nadress = 192.0.2.1,\n  192.0.2.2\n", ":2: [upstream u] adress: is no option");
    assert_int_equal(error_lines(), 2); /* and that the address is missing */
}

/* A line of size octets that ends in "0". */
static char *long_line(const char *head, const char *line, size_t size)
{
    char *text = calloc(1, strlen(head) + size + 2);

    assert_non_null(text);
    sprintf(text, "%s%s", head, line);
    memset(text + strlen(text), ' ', size - strlen(line) - 1);
    strcat(text, "0\n");
    return text;
}

static void a_line_is_read_whole_or_refused(void **state)
{
    char *text;

    (void)state;
    text = long_line(DOT "[limits]\n", "client-qps =", 16 * 1024 - 3);
    assert_good(load_text(text));
    free(text);
    text = long_line(DOT "[limits]\n", "client-qps =", 16 * 1024 - 2);
    assert_refused(text, ":5: [limits]: this line has 16382 octets, expected at most 16381");
    free(text);
    text = long_line(DOT, ";", 100 * 1024); /* a comment may be as long as it likes */
    assert_good(load_text(text));
    free(text);
}

static void a_zero_octet_is_refused(void **state)
{
    static const char text[] = DOT "[server]\nlisten = ::1\0, 0.0.0.0\n";
    struct config_source source = {.environment = empty, .file = write_bytes("nodedot.ini", text, sizeof(text) - 1)};

    (void)state;
    assert_int_equal(load_source(&source, &config), CONFIG_INVALID);
    assert_says(":5: [server]: this line holds an octet of zero");
}

static void what_errors_repeat_cannot_forge_a_line(void **state)
{
    (void)state;
    assert_refused(DOT "[server]\nlisten = \x1b[31m\xff\n", "\\x1b[31m\\xff");
    assert_int_equal(load_set(DOT, "server.listen=a\nb"), CONFIG_INVALID);
    assert_says("--set server.listen=a\\x0ab: [server] listen: \"a\\x0ab\"");
    assert_int_equal(error_lines(), 1);
}

/* --- the environment --- */

static void a_variable_wins_over_the_file_and_set_over_both(void **state)
{
    char *environment[] = {"NODEDOT_LIMITS_TCP_IDLE=2", "NODEDOT_LIMITS_TIMEOUT=200", NULL};
    const char *sets[] = {"limits.timeout=300", "limits.in-flight=7", "limits.in-flight=8"};

    (void)state;
    assert_good(
        load_with(DOT "[limits]\ntcp-idle = 1\ntimeout = 100\nin-flight = 1\nstale-after = 5\n", environment, sets, 3));
    assert_int_equal(config.tcp_idle, 2);
    assert_int_equal(config.timeout, 300);
    assert_int_equal(config.in_flight, 8); /* the last one */
    assert_int_equal(config.stale_after, 5);
}

static void every_option_has_a_variable(void **state)
{
    (void)state;
    for (const struct option_def *option = option_table; option < option_table + option_count; option++) {
        char key[64];
        char section[64];
        char variable[256];
        char *environment[] = {variable, NULL};

        snprintf(variable, sizeof(variable), "NODEDOT_%s_%s%s=\x01",
                 env_mangle(section_words[option->section], section, sizeof(section)),
                 option->section == SECTION_UPSTREAM ? "U_" : "", env_mangle(option->key, key, sizeof(key)));
        assert_int_equal(load_with(DOT "[zone .]\nupstream = u\n", environment, NULL, 0), CONFIG_INVALID);
        *strchr(variable, '=') = '\0';
        assert_says(variable);
        assert_says(option->key);
    }
}

static void a_variable_finds_sections_of_the_file_by_their_mangled_names(void **state)
{
    char *environment[] = {"NODEDOT_UPSTREAM_MY_QUAD_9_ADDRESS=192.0.2.9", "NODEDOT_ZONE_IN_ADDR_ARPA_STALE_MAX=7",
                           "NODEDOT_ZONE___NEGATIVE_MAX_TTL=8", NULL};

    (void)state;
    assert_good(load_with("[upstream My_quad.9]\npin = " PIN_A "\n[zone in-addr.arpa]\nupstream = My_quad.9\n"
                          "[zone .]\nupstream = My_quad.9\n",
                          environment, NULL, 0));
    assert_int_equal(config.upstream_count, 1);
    assert_endpoint(&config.upstreams[0].addresses[0], "192.0.2.9:853");
    assert_int_equal(config.zone_count, 2);
    assert_int_equal(config.zones[0].stale_max, 7);
    assert_int_equal(config.zones[1].negative_max_ttl, 8);
}

static void a_variable_that_fits_two_sections_is_refused(void **state)
{
    char *environment[] = {"NODEDOT_UPSTREAM_A_B_ADDRESS=192.0.2.9", NULL};

    (void)state;
    assert_int_equal(load_with("[upstream a-b]\naddress = 192.0.2.1\ntransport = plain\n[upstream a.b]\n"
                               "address = 192.0.2.2\ntransport = plain\n[zone .]\nupstream = a.b\n",
                               environment, NULL, 0),
                     CONFIG_INVALID);
    assert_says("environment NODEDOT_UPSTREAM_A_B_ADDRESS: [upstream a.b] address: fits 2 sections");
}

static void the_environment_alone_defines_upstreams_and_zones(void **state)
{
    char *environment[] = {"NODEDOT_UPSTREAM_QUAD9_ADDRESS=9.9.9.9",       "NODEDOT_UPSTREAM_QUAD9_PIN=" PIN_A,
                           "NODEDOT_UPSTREAM_KUBE_DNS_ADDRESS=10.96.0.10", "NODEDOT_UPSTREAM_KUBE_DNS_TRANSPORT=plain",
                           "NODEDOT_ZONE_CLUSTER_LOCAL_UPSTREAM=kube-dns", "NODEDOT_ZONE_UPSTREAM=quad9",
                           "NODEDOT_SERVER_LISTEN=127.0.0.1:5353",         NULL};
    char text[NAME_TEXT];

    (void)state;
    assert_good(load_environment(environment));
    assert_int_equal(config.upstream_count, 2);
    assert_string_equal(config.upstreams[0].name, "quad9");
    assert_string_equal(config.upstreams[1].name, "kube-dns");
    assert_int_equal(config.upstreams[1].transport, TRANSPORT_PLAIN);
    assert_string_equal(name_to_text(&config.zones[0].name, text), "cluster.local");
    assert_int_equal(config.zones[0].upstream, 1);
    assert_string_equal(name_to_text(&config.zones[1].name, text), ".");
    assert_endpoint(&config.listens[0], "127.0.0.1:5353");
    assert_round_trip();
}

static void a_variable_with_a_typing_error_is_refused(void **state)
{
    static char *const variables[] = {"NODEDOT_SERVER_LISTN=::1",
                                      "NODEDOT_=1",
                                      "NODEDOT_SERVER=1",
                                      "NODEDOT_server_listen=1",
                                      "NODEDOT_UPSTREAM_ADDRESS=192.0.2.1",
                                      "NODEDOT_PROBES_LIVENES_PORT=9551",
                                      "NODEDOT_METRICS_LISTN=::1",
                                      "NODEDOT_ZONE__UPSTREAM=u"};

    (void)state;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        char *environment[] = {variables[i], NULL};

        assert_int_equal(load_with(DOT, environment, NULL, 0), CONFIG_INVALID);
        assert_says("environment NODEDOT_");
        assert_says("names no option, expected NODEDOT_SECTION_KEY");
        assert_int_equal(error_lines(), 1);
    }
}

static void variables_of_kubernetes_services_are_skipped(void **state)
{
    char *environment[] = {"NODEDOT_SERVICE_HOST=10.96.0.7",
                           "NODEDOT_SERVICE_PORT=53",
                           "NODEDOT_SERVICE_PORT_DNS_TCP=53",
                           "NODEDOT_PORT=udp://10.96.0.7:53",
                           "NODEDOT_PORT_53_UDP=udp://10.96.0.7:53",
                           "NODEDOT_PORT_53_UDP_PROTO=udp",
                           "NODEDOT_PORT_53_TCP_PORT=53",
                           "NODEDOT_PORT_53_TCP_ADDR=10.96.0.7",
                           "NODEDOT_METRICS_SERVICE_HOST=10.96.0.8",
                           "NODEDOT_METRICS_PORT=tcp://10.96.0.8:9553",
                           "NODEDOT_METRICS_PORT_9553_TCP=tcp://10.96.0.8:9553",
                           NULL};

    (void)state;
    assert_good(load_with(DOT, environment, NULL, 0));
}

static void variables_of_others_do_not_matter(void **state)
{
    char *environment[] = {"PATH=/bin", "NODEDOT", "NODEDO=1", "nodedot_server_listen=x", "DOT_HOSTS=1", "=x", NULL};

    (void)state;
    assert_good(load_with(DOT, environment, NULL, 0));
}

static void a_bad_value_names_its_variable(void **state)
{
    char *environment[] = {"NODEDOT_CACHE_SIZE=1T", NULL};

    (void)state;
    assert_int_equal(load_with(DOT "[cache]\nsize = 1M\n", environment, NULL, 0), CONFIG_INVALID);
    assert_says("environment NODEDOT_CACHE_SIZE: [cache] size: \"1T\" cannot be used, expected bytes");
}

static void set_takes_sections_with_dots_and_blanks(void **state)
{
    const char *sets[] = {"upstream my.u.address=192.0.2.7", "upstream my.u.transport=plain",
                          "zone cluster.local.upstream = my.u", "zone ..upstream=my.u", "server.listen=::1,127.0.0.1"};
    char text[NAME_TEXT];

    (void)state;
    assert_good(load_with("", empty, sets, 5));
    assert_string_equal(config.upstreams[0].name, "my.u");
    assert_string_equal(name_to_text(&config.zones[0].name, text), "cluster.local");
    assert_int_equal(config.zones[1].name.length, 1);
    assert_int_equal(config.listen_count, 2);
}

static void a_set_that_cannot_be_read_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "=",
                                      "server",
                                      "server.listen",
                                      "listen=::1",
                                      ".=",
                                      "server.=x",
                                      ".listen=x",
                                      "upstream.address=192.0.2.1",
                                      "zone a..b.upstream=u",
                                      "nope.x=1"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(load_set(DOT, bad[i]), CONFIG_INVALID);
        assert_says("--set ");
        assert_says("expected ");
    }
}

static void a_set_of_any_length_is_survived(void **state)
{
    char *text = calloc(1, 100001);

    (void)state;
    assert_non_null(text);
    memset(text, 'a', 100000);
    assert_int_equal(load_set(DOT, text), CONFIG_INVALID);
    memcpy(text, "server.listen=", 14);
    assert_int_equal(load_set(DOT, text), CONFIG_INVALID);
    memset(text, '.', 99000);
    text[99000] = '=';
    assert_int_equal(load_set(DOT, text), CONFIG_INVALID);
    free(text);
}

/* --- ${NAME} --- */

static void variables_in_values_are_replaced(void **state)
{
    char *environment[] = {"NODE_IP=192.0.2.5", "PORT=5353", "NODEDOT_LIMITS_TIMEOUT=${MS}", "MS=77", "EMPTY=", NULL};
    const char *set = "limits.in-flight=${MS}7";

    (void)state;
    assert_good(load_with(DOT "pin-file = ${EMPTY}\n[server]\nlisten = ${NODE_IP}:${PORT}, 127.0.0.1:${PORT}\n",
                          environment, &set, 1));
    assert_endpoint(&config.listens[0], "192.0.2.5:5353");
    assert_endpoint(&config.listens[1], "127.0.0.1:5353");
    assert_int_equal(config.timeout, 77);
    assert_int_equal(config.in_flight, 777);
}

static void an_unset_variable_is_an_error(void **state)
{
    (void)state;
    assert_refused(DOT "[server]\nlisten = ${NODE_IP}\n",
                   ":5: [server] listen: the environment variable NODE_IP is not set");
    assert_int_equal(error_lines(), 1);
    assert_refused("[upstream u]\naddress = ${A}\npin = ${B}\n",
                   ":2: [upstream u] address: the environment variable A is not set");
    assert_says(":3: [upstream u] pin: the environment variable B is not set");
    assert_int_equal(error_lines(), 2);
}

static void an_empty_variable_is_an_empty_value(void **state)
{
    char *environment[] = {"EMPTY=", "BLANK=  ", NULL};

    (void)state;
    assert_int_equal(load_with(DOT "[server]\nlisten = ${EMPTY}\n", environment, NULL, 0), CONFIG_INVALID);
    assert_says("[server] listen: is empty");
    assert_int_equal(load_with("[upstream u]\naddress = 192.0.2.1\nauth = pin\npin = ${BLANK}\n", environment, NULL, 0),
                     CONFIG_INVALID);
    assert_says("auth: needs a pin");
}

static void assert_expands(const char *text, const char *expected)
{
    char *environment[] = {"A=1", "AB=two", "_x9=$${A}${A}", NULL};
    char why[VALUE_WHY];
    char *out = env_expand(environment, text, why);

    if (expected == NULL) {
        assert_null(out);
        assert_true(*why != '\0');
        return;
    }
    assert_non_null(out);
    assert_string_equal(out, expected);
    free(out);
}

static void dollars_stay_unless_they_begin_a_variable(void **state)
{
    (void)state;
    assert_expands("", "");
    assert_expands("${A}", "1");
    assert_expands("x${AB}y${A}z", "xtwoy1z");
    assert_expands("${_x9}", "$${A}${A}"); /* what was put in is not looked at again */
    assert_expands("$", "$");
    assert_expands("$A", "$A");
    assert_expands("$$", "$$");
    assert_expands("$$A", "$$A");
    assert_expands("$${A}", "${A}");
    assert_expands("$$${A}", "$${A}");
    assert_expands("${", NULL);
    assert_expands("${A", NULL);
    assert_expands("${}", NULL);
    assert_expands("${A-x}", NULL);
    assert_expands("${1A}", NULL);
    assert_expands("${B}", NULL);
}

/* --- DOT_HOST --- */

static void dot_host_alone_is_a_working_configuration(void **state)
{
    char *environment[] = {"DOT_HOST=192.0.2.53#dns.example", NULL};

    (void)state;
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) != 0)
        skip();
    assert_good(load_environment(environment));
    assert_string_equal(config.upstreams[0].name, "dot-host");
    assert_endpoint(&config.upstreams[0].addresses[0], "192.0.2.53:853");
    assert_string_equal(config.upstreams[0].server_name, "dns.example");
    assert_int_equal(config.upstreams[0].auth, AUTH_CA);
    assert_int_equal(config.zone_count, 1);
    assert_int_equal(config.zones[0].name.length, 1);
    assert_endpoint(&config.listens[0], "169.254.20.10:53");
    assert_round_trip();
}

static void dot_host_takes_a_port_and_other_options(void **state)
{
    char *environment[] = {"DOT_HOST=[2001:db8::53]:8853", "NODEDOT_UPSTREAM_DOT_HOST_PIN=" PIN_A, NULL};

    (void)state;
    assert_good(load_environment(environment));
    assert_endpoint(&config.upstreams[0].addresses[0], "[2001:db8::53]:8853");
    assert_int_equal(config.upstreams[0].auth, AUTH_PIN);
    assert_string_equal(config.upstreams[0].server_name, "");
}

static void dot_host_is_for_what_the_file_leaves_open(void **state)
{
    char *environment[] = {"DOT_HOST=192.0.2.53", "NODEDOT_UPSTREAM_DOT_HOST_PIN=" PIN_A, NULL};
    char *alone[] = {"DOT_HOST=192.0.2.53", NULL};

    (void)state;
    assert_good(load_with(PLAIN "[zone cluster.local]\nupstream = u\n", environment, NULL, 0));
    assert_int_equal(config.upstream_count, 2);
    assert_int_equal(config.zone_count, 2);
    assert_int_equal(config.zones[1].upstream, 1);
    assert_string_equal(config.upstreams[1].name, "dot-host");
    assert_good(load_with(PLAIN "[zone .]\nupstream = u\n", alone, NULL, 0));
    assert_int_equal(config.upstream_count, 1);
    assert_good(load_with(PLAIN, alone, NULL, 0)); /* which implies the root zone */
    assert_int_equal(config.upstream_count, 1);
}

static void dot_host_in_another_form_is_refused(void **state)
{
    static char *const bad[] = {"DOT_HOST=dns.example",   "DOT_HOST=192.0.2.1#",    "DOT_HOST=#dns.example",
                                "DOT_HOST=192.0.2.1:0",   "DOT_HOST=192.0.2.1#a b", "DOT_HOST=192.0.2.1,192.0.2.2",
                                "DOT_HOST=192.0.2.1#a#b", "DOT_HOST=${X}",          "DOT_HOST= "};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *environment[] = {bad[i], NULL};

        assert_int_equal(load_environment(environment), CONFIG_INVALID);
        assert_says("environment DOT_HOST: ");
        assert_int_equal(error_lines(), 1);
        assert_int_equal(load_with(DOT, environment, NULL, 0), CONFIG_INVALID); /* though it would not be used */
    }
}

static void an_empty_dot_host_is_none(void **state)
{
    char *environment[] = {"DOT_HOST=", NULL};

    (void)state;
    assert_good(load_with(DOT, environment, NULL, 0));
    assert_int_equal(load_environment(environment), CONFIG_INVALID);
    assert_says("there is no upstream");
}

/* --- printing --- */

static void what_is_printed_reads_back_to_the_same(void **state)
{
    char text[4096];
    const char *file = write_file("pins", PIN_B "\n");
    const char *ca = write_file("ca.pem", "x");

    (void)state;
    snprintf(text, sizeof(text),
             "[server]\nlisten = 0.0.0.0:5353, [::1]:53, fd00::10\nworkers = 3\nuser = 1\nmanage-address = yes\n"
             "interface = a-b_c.123456789\nreload-spread = 30\n"
             "[cache]\nsize = 1536K\nmin-ttl = 1\nmax-ttl = 2\nnegative-max-ttl = 3\nstale-max = 0\n"
             "[upstream a]\naddress = 192.0.2.1, 192.0.2.2:854, [2001:db8::1]:855\nname = a.example\npin = " PIN_A
             "\npin-file = %s\n"
             "auth = pin+ca\npin-mode = report\nca-file = %s\nclient-cert = %s\nclient-key = %s\nrevalidate = 7\n" PLAIN
             "[zone .]\nupstream = a\n[zone Cluster.Local]\nupstream = u\nnegative-max-ttl = 5\nstale-max = 0\n"
             "[limits]\nclient-qps = 1\nclient-burst = 2\nclient-block = 3\ntcp-connections = 4\n"
             "tcp-connections-per-client = 5\ntcp-idle = 6\nin-flight = 7\ntimeout = 80\nstale-after = 9\n"
             "[acl]\nallow = 10.0.0.0/8, fd00::/8\ndeny = 10.1.0.0/16\n"
             "[probes]\naddress = 127.0.0.1, ::1\nliveness-port = 1\nreadiness-port = 65535\n[log]\nlevel = "
             "debug\nformat = json\n",
             file, ca, ca, ca);
    assert_good(load_text(text));
    assert_int_equal(config.upstreams[0].pin_count, 2);
    assert_round_trip();
}

static void a_full_access_list_reads_back_to_the_same(void **state)
{
    static char text[16 * 1024] = DOT "[acl]\nallow = ::/0";

    (void)state;
    for (unsigned i = 1; i < CONFIG_NETWORKS; i++)
        snprintf(text + strlen(text), 64, ", 2001:db8:1234:5678:9abc:def0:1234:%x/128", i + 0x1000);
    assert_good(load_text(text));
    assert_int_equal(config.allow.count, CONFIG_NETWORKS);
    assert_round_trip();
    strcat(text, ", 192.0.2.1");
    assert_refused(text, "more than 256 entries");
}

static void a_path_with_dollars_reads_back_to_the_same(void **state)
{
    char *environment[] = {"DIR=/tmp", NULL};

    (void)state;
    assert_int_equal(load_with(DOT "pin-file = ${DIR}/$${x}\n", environment, NULL, 0), CONFIG_UNREADABLE);
    assert_says("cannot read /tmp/${x}: ");
    to_print = &config;
    char *text = printed(print_config);
    assert_non_null(strstr(text, "\npin-file = /tmp/$${x}\n"));
    free(text);
}

static void printed_lines_fit_an_inih_with_its_usual_limit(void **state)
{
    char *text = printed(config_print_options);
    char *rest = text;
    char *line;

    (void)state;
    while ((line = strsep(&rest, "\n")) != NULL)
        assert_true(strlen(line) <= 200 - 3);
    free(text);
}

static void the_sample_file_has_every_option_and_is_a_good_file(void **state)
{
    char *text = printed(config_print_options);
    enum config_result result;

    (void)state;
    for (const struct option_def *option = option_table; option < option_table + option_count; option++) {
        char key[64];

        snprintf(key, sizeof(key), "\n%s = ", option->key);
        assert_non_null(strstr(text, key));
        assert_non_null(strstr(text, option->meaning));
    }
    result = load_text(text);
    free(text);
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) == 0)
        assert_good(result);
    else
        assert_int_equal(result, CONFIG_UNREADABLE);
    assert_string_equal(config.upstreams[0].name, "quad9");
}

static void the_reference_has_one_row_an_option(void **state)
{
    char *text = printed(config_print_reference);
    size_t lines = 0;

    (void)state;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0'; lines++) {
        size_t bars = 0;

        for (const char *c = line; *c != '\0'; c++)
            bars += *c == '|';
        assert_int_equal(bars, 6);
    }
    assert_int_equal(lines, option_count + 2);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_design),
        cmocka_unit_test(an_upstream_has_the_defaults_of_the_design),
        cmocka_unit_test(every_default_and_example_of_the_table_can_be_read),
        cmocka_unit_test(log_words_stand_in_the_order_of_their_enums),
        cmocka_unit_test(a_number_is_taken_at_both_ends_of_its_range_and_not_one_past),
        cmocka_unit_test(what_is_no_plain_decimal_number_is_refused),
        cmocka_unit_test(bytes_take_a_suffix_of_1024s),
        cmocka_unit_test(workers_are_auto_or_a_number),
        cmocka_unit_test(an_empty_value_is_taken_only_where_the_default_is_empty),
        cmocka_unit_test(listen_takes_both_families_with_and_without_port),
        cmocka_unit_test(a_bad_listen_address_is_refused),
        cmocka_unit_test(as_many_listen_addresses_as_fit_are_taken_and_not_one_more),
        cmocka_unit_test(a_wildcard_needs_an_access_list),
        cmocka_unit_test(an_access_list_takes_networks),
        cmocka_unit_test(probe_addresses_have_no_port),
        cmocka_unit_test(the_probes_need_two_ports),
        cmocka_unit_test(the_shortest_ttl_must_not_be_above_the_longest),
        cmocka_unit_test(the_default_port_follows_the_transport),
        cmocka_unit_test(an_upstream_without_address_is_refused),
        cmocka_unit_test(an_upstream_that_cannot_be_is_refused),
        cmocka_unit_test(the_name_of_an_upstream_section_is_checked),
        cmocka_unit_test(blanks_in_a_section_head_do_not_matter),
        cmocka_unit_test(the_server_name_is_a_dns_name),
        cmocka_unit_test(auth_follows_the_pins_unless_it_is_given),
        cmocka_unit_test(pin_authentication_without_a_pin_is_refused),
        cmocka_unit_test(pins_are_read_and_counted_once),
        cmocka_unit_test(a_pin_in_another_form_is_refused_with_the_right_one),
        cmocka_unit_test(a_pin_file_has_one_pin_a_line),
        cmocka_unit_test(errors_in_a_pin_file_name_its_line),
        cmocka_unit_test(as_many_pins_as_fit_are_taken_and_not_one_more),
        cmocka_unit_test(a_client_certificate_needs_its_key),
        cmocka_unit_test(protection_and_plain_transport_exclude_each_other),
        cmocka_unit_test(as_many_upstreams_as_fit_are_taken_and_not_one_more),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
        cmocka_unit_test(contents_of_files_stay_what_they_were_when_they_were_read),
        cmocka_unit_test(a_file_that_is_too_large_to_hold_is_named),
        cmocka_unit_test(all_files_together_have_a_limit),
        cmocka_unit_test(a_file_without_permission_is_named),
        cmocka_unit_test(a_missing_configuration_file_is_one_error),
        cmocka_unit_test(a_file_name_that_is_too_long_is_refused),
        cmocka_unit_test(zones_name_their_upstreams),
        cmocka_unit_test(a_zone_without_a_known_upstream_is_refused),
        cmocka_unit_test(zones_that_differ_in_writing_only_are_the_same),
        cmocka_unit_test(a_long_zone_is_not_cut),
        cmocka_unit_test(a_zone_must_be_a_domain_name),
        cmocka_unit_test(the_only_upstream_is_asked_for_everything_when_no_zone_is_there),
        cmocka_unit_test(nothing_configured_is_an_error_that_helps),
        cmocka_unit_test(all_errors_are_shown_with_their_places),
        cmocka_unit_test(an_interface_is_a_name_that_the_kernel_takes),
        cmocka_unit_test(a_fallback_names_another_upstream),
        cmocka_unit_test(metrics_listen_on_their_own_port_unless_one_is_given),
        cmocka_unit_test(a_section_or_key_given_twice_is_refused),
        cmocka_unit_test(words_are_case_sensitive),
        cmocka_unit_test(a_mark_line_ends_and_a_missing_end_are_taken),
        cmocka_unit_test(comments_end_values_only_behind_a_blank),
        cmocka_unit_test(indentation_does_not_join_lines),
        cmocka_unit_test(a_list_goes_on_behind_a_comma),
        cmocka_unit_test(a_line_is_read_whole_or_refused),
        cmocka_unit_test(a_zero_octet_is_refused),
        cmocka_unit_test(what_errors_repeat_cannot_forge_a_line),
        cmocka_unit_test(a_variable_wins_over_the_file_and_set_over_both),
        cmocka_unit_test(every_option_has_a_variable),
        cmocka_unit_test(a_variable_finds_sections_of_the_file_by_their_mangled_names),
        cmocka_unit_test(a_variable_that_fits_two_sections_is_refused),
        cmocka_unit_test(the_environment_alone_defines_upstreams_and_zones),
        cmocka_unit_test(a_variable_with_a_typing_error_is_refused),
        cmocka_unit_test(variables_of_kubernetes_services_are_skipped),
        cmocka_unit_test(variables_of_others_do_not_matter),
        cmocka_unit_test(a_bad_value_names_its_variable),
        cmocka_unit_test(set_takes_sections_with_dots_and_blanks),
        cmocka_unit_test(a_set_that_cannot_be_read_is_refused),
        cmocka_unit_test(a_set_of_any_length_is_survived),
        cmocka_unit_test(variables_in_values_are_replaced),
        cmocka_unit_test(an_unset_variable_is_an_error),
        cmocka_unit_test(an_empty_variable_is_an_empty_value),
        cmocka_unit_test(dollars_stay_unless_they_begin_a_variable),
        cmocka_unit_test(dot_host_alone_is_a_working_configuration),
        cmocka_unit_test(dot_host_takes_a_port_and_other_options),
        cmocka_unit_test(dot_host_is_for_what_the_file_leaves_open),
        cmocka_unit_test(dot_host_in_another_form_is_refused),
        cmocka_unit_test(an_empty_dot_host_is_none),
        cmocka_unit_test(what_is_printed_reads_back_to_the_same),
        cmocka_unit_test(a_full_access_list_reads_back_to_the_same),
        cmocka_unit_test(a_path_with_dollars_reads_back_to_the_same),
        cmocka_unit_test(printed_lines_fit_an_inih_with_its_usual_limit),
        cmocka_unit_test(the_sample_file_has_every_option_and_is_a_good_file),
        cmocka_unit_test(the_reference_has_one_row_an_option),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

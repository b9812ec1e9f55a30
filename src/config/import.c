#include "nodedot/config/import.h"

#include "nodedot/base/exit.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void import_note(struct import *import, unsigned line, bool needless, const char *format, ...)
{
    va_list arguments;

    if (import->note_count == IMPORT_NOTES) {
        import->notes_lost++;
        return;
    }
    struct import_note *note = &import->notes[import->note_count++];
    note->line = line;
    note->needless = needless;
    va_start(arguments, format);
    vsnprintf(note->text, sizeof(note->text), format, arguments);
    va_end(arguments);
    for (char *at = note->text; *at != '\0'; at++)
        if (iscntrl((unsigned char)*at))
            *at = '?';
}

/* Addresses and zones. */

/* Cuts "dns://" or "tls://", and the name of tls://ADDRESS%NAME, off the word in text. False: another scheme. */
static bool take_scheme(char *text, bool *dot, char **server_name)
{
    char *scheme = strstr(text, "://");

    *dot = strncmp(text, "tls://", 6) == 0;
    *server_name = NULL;
    if (scheme == NULL)
        return true;
    if (!*dot && strncmp(text, "dns://", 6) != 0)
        return false;
    memmove(text, scheme + 3, strlen(scheme + 3) + 1);
    char *percent = *dot ? strchr(text, '%') : NULL;
    if (percent != NULL && strncmp(text, "fe80:", 5) != 0) {
        *percent = '\0';
        *server_name = percent + 1;
    }
    return true;
}

static const char *why_no_address(const char *word)
{
    if (*word == '/')
        return "the servers in a file of the node are not read: give their addresses";
    if (strstr(word, "__PILLAR__CLUSTER__DNS__") != NULL)
        return "give the address of kube-dns or, in the chart, nothing: it finds it";
    if (strstr(word, "__PILLAR__") != NULL)
        return "the node's own servers: give their addresses";
    return "is no address";
}

void import_address(struct import *import, struct import_upstream *upstream, unsigned line, const char *word)
{
    char text[CONFIG_PATH], *server_name;
    struct endpoint endpoint;
    struct name name;
    bool dot;

    snprintf(text, sizeof(text), "%s", word);
    if (!take_scheme(text, &dot, &server_name)) {
        import_note(import, line, false, "%s: upstreams are asked over DNS over TLS, UDP and TCP only", word);
    } else if (!endpoint_parse(text, dot ? 853 : 53, &endpoint)) {
        import_note(import, line, false, "%s: %s", word, why_no_address(word));
    } else if (upstream->address_count > 0 && dot != upstream->dot) {
        import_note(import, line, false, "%s: an upstream is asked over TLS at all of its addresses or at none", word);
    } else if (upstream->address_count == CONFIG_ADDRESSES) {
        import_note(import, line, false, "%s: an upstream has %d addresses at most", word, CONFIG_ADDRESSES);
    } else {
        upstream->dot = dot;
        upstream->addresses[upstream->address_count++] = endpoint;
        if (server_name != NULL && name_from_text(server_name, &name))
            name_to_text(&name, upstream->server_name);
    }
}

/* ADDRESS/BITS, which CoreDNS takes for the reverse zone. */
static bool is_network(const char *text)
{
    const char *slash = strrchr(text, '/');

    return slash != NULL && slash[1 + strspn(slash + 1, "0123456789")] == '\0';
}

struct import_zone *import_add_zone(struct import *import, unsigned line, const char *text)
{
    char shown[NAME_TEXT];
    struct name name;

    if (is_network(text) || !name_from_text(text, &name)) {
        import_note(import, line, false, "%s: is no zone (networks are written as in-addr.arpa or ip6.arpa here)",
                    text);
        return NULL;
    }
    name_to_text(&name, shown);
    for (size_t i = 0; i < import->zone_count; i++) {
        if (strcasecmp(import->zones[i].name, shown) == 0) {
            import_note(import, line, false, "zone %s stands twice: a zone has one upstream", text);
            return NULL;
        }
    }
    if (import->zone_count == CONFIG_ZONES) {
        import_note(import, line, false, "zone %s: there are too many", text);
        return NULL;
    }
    struct import_zone *zone = &import->zones[import->zone_count++];
    *zone = (struct import_zone){
        .upstream = import->upstream_count - 1, .negative_max_ttl = CONFIG_UNSET, .stale_max = CONFIG_UNSET};
    memcpy(zone->name, shown, sizeof(shown));
    return zone;
}

static struct import_upstream *add_upstream(struct import *import, unsigned line)
{
    if (import->upstream_count == CONFIG_UPSTREAMS) {
        import_note(import, line, false, "there are too many upstreams");
        return NULL;
    }
    struct import_upstream *upstream = &import->upstreams[import->upstream_count++];
    *upstream = (struct import_upstream){.line = line};
    return upstream;
}

/* The ConfigMap kube-dns: two values in JSON. */

static unsigned line_of(const char *text, const char *at)
{
    unsigned line = 1;

    for (; text < at; text++)
        line += *text == '\n';
    return line;
}

/* The next string in quotes before any of the characters in ends; NULL: there is none. *at goes behind it, or to the end. */
static char *next_string(char **at, const char *ends, char *out, size_t capacity)
{
    char *from = *at;

    while (*from != '\0' && *from != '"' && strchr(ends, *from) == NULL)
        from++;
    *at = from;
    if (*from != '"')
        return NULL;
    size_t size = strcspn(from + 1, "\"");
    snprintf(out, capacity, "%.*s", (int)(size < capacity ? size : capacity - 1), from + 1);
    *at = from + 1 + size + (from[1 + size] == '"');
    return out;
}

/* "[" strings "]": the addresses of one group, which answers a zone. */
static void read_servers(struct import *import, const char *text, char **at, const char *zone)
{
    unsigned line = line_of(text, *at);
    struct import_upstream *upstream = add_upstream(import, line);
    char word[NAME_TEXT];

    *at += strcspn(*at, "[");
    while (upstream != NULL && next_string(at, "]", word, sizeof(word)) != NULL)
        import_address(import, upstream, line, word);
    if (upstream != NULL)
        import_add_zone(import, line, zone);
    *at += strcspn(*at, "]");
    *at += **at == ']';
}

static void read_stub_domains(struct import *import, char *text)
{
    char *at = strstr(text, "stubDomains");
    char zone[NAME_TEXT];

    if (at != NULL) {
        at += strcspn(at, "{");
        while (next_string(&at, "}", zone, sizeof(zone)) != NULL)
            read_servers(import, text, &at, zone);
    }
    at = strstr(text, "upstreamNameservers");
    if (at != NULL)
        read_servers(import, text, &at, ".");
}

/* A ConfigMap that holds a Corefile: all but its lines is made blank, so that their numbers stay. */

static size_t indent_of(const char *line)
{
    return strspn(line, " ");
}

static void blank(char *from, const char *to)
{
    for (; from < to; from++)
        if (*from != '\n')
            *from = ' ';
}

static void keep_corefile(char *text, char *key)
{
    char *line = key;

    while (line > text && line[-1] != '\n')
        line--;
    size_t indent = indent_of(line);
    char *at = key + strcspn(key, "\n");
    blank(text, at);
    while (*at != '\0') {
        char *next = at + 1;
        size_t used = indent_of(next);
        if (next[used] != '\n' && next[used] != '\0' && used <= indent)
            break;
        at = next + strcspn(next, "\n");
    }
    blank(at, at + strlen(at));
}

/* resolv.conf(5) */

static void read_resolv_conf(struct import *import, char *text)
{
    struct import_upstream *upstream = add_upstream(import, 1);
    unsigned line = 0;

    for (char *at; (at = strsep(&text, "\n")) != NULL;) {
        char *word = strtok_r(at, " \t\r", &at);
        char *value = word == NULL ? NULL : strtok_r(NULL, " \t\r", &at);

        line++;
        if (word == NULL || *word == '#' || *word == ';')
            continue;
        if (strcmp(word, "nameserver") == 0 && upstream != NULL)
            import_address(import, upstream, line, value != NULL ? value : "nameserver");
        else
            import_note(import, line, true, "%s: is the clients' matter, and stays in their resolv.conf", word);
    }
    import_add_zone(import, 1, ".");
}

/* Printing. */

static void print_endpoints(FILE *out, const char *key, const struct endpoint *endpoints, size_t count)
{
    char text[ENDPOINT_TEXT];

    fprintf(out, "%s =", key);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s%s", i > 0 ? ", " : " ", endpoint_format(&endpoints[i], text));
    fprintf(out, "\n");
}

/* A file name that the INI file would read as something else is left to a person. */
static void print_path(FILE *out, const char *key, const char *path)
{
    if (*path != '\0')
        fprintf(out, "%s%s = %s\n", strpbrk(path, ";#\"'$") != NULL ? "; " : "", key, path);
}

static void print_upstream(FILE *out, const struct import_upstream *upstream, size_t number)
{
    fprintf(out, "\n[upstream up%zu]\n", number + 1);
    print_endpoints(out, "address", upstream->addresses, upstream->address_count);
    if (upstream->policy != NULL)
        fprintf(out, "policy = %s\n", upstream->policy);
    if (!upstream->dot) {
        fprintf(out, "transport = plain\n%s", upstream->force_tcp ? "force-tcp = yes\n" : "");
        return;
    }
    if (upstream->server_name[0] != '\0')
        fprintf(out, "name = %s\n", upstream->server_name);
    print_path(out, "ca-file", upstream->ca_file);
    print_path(out, "client-cert", upstream->client_cert);
    print_path(out, "client-key", upstream->client_key);
}

static void print_zone(FILE *out, const struct import_zone *zone)
{
    fprintf(out, "\n[zone %s]\nupstream = up%zu\n", zone->name, zone->upstream + 1);
    if (zone->negative_max_ttl != CONFIG_UNSET)
        fprintf(out, "negative-max-ttl = %u\n", zone->negative_max_ttl);
    if (zone->stale_max != CONFIG_UNSET)
        fprintf(out, "stale-max = %u\n", zone->stale_max);
}

static void print_rest(FILE *out, const struct import *import)
{
    if (import->max_ttl != CONFIG_UNSET)
        fprintf(out, "\n[cache]\nmax-ttl = %u\n", import->max_ttl);
    if (import->liveness_port != 0 || import->readiness_port != 0)
        fprintf(out, "\n[probes]\n");
    if (import->liveness_port != 0)
        fprintf(out, "liveness-port = %u\n", import->liveness_port);
    if (import->readiness_port != 0)
        fprintf(out, "readiness-port = %u\n", import->readiness_port);
    if (import->has_metrics) {
        fprintf(out, "\n[metrics]\n");
        print_endpoints(out, "listen", &import->metrics, 1);
    }
    if (import->log_queries)
        fprintf(out, "\n[log]\nqueries = yes\n");
}

static bool print_notes(FILE *out, const struct import *import, bool needless, const char *title)
{
    bool titled = false;

    for (size_t i = 0; i < import->note_count; i++) {
        const struct import_note *note = &import->notes[i];
        if (note->needless != needless)
            continue;
        if (!titled)
            fprintf(out, "\n; %s\n", title);
        titled = true;
        fprintf(out, "; line %u: %s\n", note->line, note->text);
    }
    return titled;
}

static int compare_lines(const void *a, const void *b)
{
    const struct import_note *left = a, *right = b;

    return (left->line > right->line) - (left->line < right->line);
}

static bool print_all(struct import *import, FILE *out)
{
    qsort(import->notes, import->note_count, sizeof(import->notes[0]), compare_lines);
    if (import->listen_count > 0) {
        fprintf(out, "[server]\n");
        print_endpoints(out, "listen", import->listens, import->listen_count);
    }
    for (size_t i = 0; i < import->upstream_count; i++)
        print_upstream(out, &import->upstreams[i], i);
    for (size_t i = 0; i < import->zone_count; i++)
        print_zone(out, &import->zones[i]);
    print_rest(out, import);
    print_notes(out, import, true, "Needs no word here:");
    bool unsaid = print_notes(out, import, false, "Not said above:");
    if (import->notes_lost > 0)
        fprintf(out, "; and %zu more\n", import->notes_lost);
    return !unsaid && import->notes_lost == 0;
}

static bool has_line(const char *text, const char *word)
{
    size_t size = strlen(word);

    for (const char *at = text; (at = strstr(at, word)) != NULL; at += size)
        if ((at == text || at[-1] == '\n') && isspace((unsigned char)at[size]))
            return true;
    return false;
}

bool import_print_text(struct import *import, char *text, FILE *out)
{
    char *corefile = strstr(text, "Corefile:");
    bool stub = strstr(text, "stubDomains") != NULL || strstr(text, "upstreamNameservers") != NULL;

    *import = (struct import){.max_ttl = CONFIG_UNSET};
    if (stub)
        read_stub_domains(import, text);
    if (corefile != NULL)
        keep_corefile(text, corefile);
    if (corefile == NULL && has_line(text, "nameserver"))
        read_resolv_conf(import, text);
    else if (corefile != NULL || !stub)
        import_corefile(import, text);
    return print_all(import, out);
}

/* All that the stream holds, NUL behind it; NULL: error says why. */
static char *read_stream(FILE *stream, const char **error)
{
    char *text = malloc(IMPORT_OCTETS + 1);
    size_t size = text == NULL ? 0 : fread(text, 1, IMPORT_OCTETS + 1, stream);

    *error = text == NULL           ? "out of memory"
             : ferror(stream)       ? strerror(errno)
             : size > IMPORT_OCTETS ? "too long"
                                    : NULL;
    if (*error != NULL) {
        free(text);
        return NULL;
    }
    text[size] = '\0';
    return text;
}

/* The same of a file. */
static char *read_file(const char *name, const char **error)
{
    FILE *file = fopen(name, "re");
    char *text;

    if (file == NULL) {
        *error = strerror(errno);
        return NULL;
    }
    text = read_stream(file, error);
    fclose(file);
    return text;
}

int import_print(const char *name, FILE *out, FILE *errors)
{
    static struct import import; /* large */
    const char *error = NULL;
    char *text = strcmp(name, "-") == 0 ? read_stream(stdin, &error) : read_file(name, &error);

    if (text == NULL) {
        fprintf(errors, "%s: %s\n", name, error);
        return EXIT_USAGE;
    }
    bool all = import_print_text(&import, text, out);
    free(text);
    return all ? EXIT_DONE : EXIT_FAILED;
}

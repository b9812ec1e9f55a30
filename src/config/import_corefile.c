#include "nodedot/config/corefile.h"
#include "nodedot/config/import.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_KEYS 64
#define DNS_PORT   53

/* The server block that is being read. */
struct block {
    unsigned line;
    char *keys[BLOCK_KEYS];
    size_t key_count;
    uint16_t port;
    bool bound;
    size_t first_zone;                    /* of those that it adds */
    uint32_t negative_max_ttl, stale_max; /* of its zones */
};

struct reader {
    struct import *import;
    struct corefile corefile;
    struct block block;
    struct import_upstream *upstream; /* of the forward directive that is being read; NULL: none */
};

/* What needs no word, and what cannot be said, with the reason. NULL: of directives that are read. */
struct reason {
    const char *word;
    bool needless;
    const char *text;
};

static const struct reason directives[] = {
    {"errors", true, "errors are always logged"},
    {"reload", true, "changed files are always loaded"},
    {"loop", true, "no server is asked that is not in the configuration"},
    {"bufsize", true, "EDNS sizes are chosen by nodedot (1232 octets over UDP)"},
    {"timeouts", true, "limits.tcp-idle and limits.timeout have good defaults"},
    {"cancel", true, "limits.timeout ends a query"},
    {"nsid", false, "there is no NSID"},
    {"pprof", false, "there is no profiling over HTTP"},
    {"trace", false, "there is no tracing; log.dnstap has every query"},
    {"dnstap", false, "give the socket as log.dnstap, and log.queries = yes"},
    {"debug", false, "give log.level = debug"},
    {"acl", false, "give networks as acl.allow and acl.deny; they hold for all zones"},
    {"loadbalance", false, "answers keep the order of their records"},
    {"hosts", false, "nodedot makes no answers of its own: keep these names in the cluster's CoreDNS"},
    {"template", false, "nodedot makes no answers of its own: keep this in the cluster's CoreDNS"},
    {"file", false, "nodedot serves no zones: keep this in the cluster's CoreDNS"},
    {"auto", false, "nodedot serves no zones: keep this in the cluster's CoreDNS"},
    {"rewrite", false, "nodedot changes no names: keep this in the cluster's CoreDNS"},
    {"dns64", false, "nodedot makes no answers of its own: keep this in the cluster's CoreDNS"},
    {"any", true, "ANY is always answered as RFC 8482 says"},
    {"autopath", false, "nodedot does not search for clients"},
    {"kubernetes", false, "these names are the cluster's: send their zone to kube-dns"},
    {"import", false, "snippets and other files are not read: put their lines in its place"},
};

static const struct reason forward_properties[] = {
    {"max_fails", true, "an address that fails is found and left by itself"},
    {"health_check", true, "an address that fails is found and left by itself"},
    {"expire", true, "connections are kept as long as the server allows"},
    {"prefer_udp", true, "a plain upstream is asked over UDP unless force-tcp is set"},
    {"failfast_all_unhealthy_upstreams", true, "without a usable address a query fails at once, or is answered stale"},
    {"max_concurrent", false, "limits.in-flight holds for all upstreams together"},
    {"except", false, "give these names a zone of their own, with another upstream"},
    {"failover", false, "which answers lead to another address cannot be chosen"},
    {"next", false, "there is no next plugin: give the upstream a fallback"},
};

static const struct reason cache_properties[] = {
    {"prefetch", true, "answers in use are always refreshed before they expire (cache.prefetch)"},
    {"servfail", true, "a failure is kept for some seconds by itself"},
    {"keepttl", false, "TTLs in answers always count down"},
    {"disable", false, "every zone is cached"},
};

#define NOTE_REASON(reader, line, reasons) note_reason(reader, line, reasons, sizeof(reasons) / sizeof((reasons)[0]))

static void note_reason(struct reader *reader, const struct corefile_line *line, const struct reason *reasons,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(line->words[0], reasons[i].word) == 0) {
            import_note(reader->import, line->number, reasons[i].needless, "%s: %s", line->words[0], reasons[i].text);
            return;
        }
    }
    import_note(reader->import, line->number, false, "%s: there is nothing like it", line->words[0]);
}

/* A number, or a duration such as 30s, 5m, 1h, in seconds. */
static bool read_seconds(const char *text, uint32_t *out)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    unsigned long unit = *end == 'm' ? 60 : *end == 'h' ? 3600 : 1;

    if (*text < '0' || *text > '9' || (*end != '\0' && (strchr("smh", *end) == NULL || end[1] != '\0')) ||
        value > 604800 / unit)
        return false;
    *out = (uint32_t)(value * unit);
    return true;
}

/* The rest of a block whose directive is dealt with. */
static void skip_block(struct reader *reader, const struct corefile_line *opening)
{
    struct corefile_line line;

    if (!opening->opens)
        return;
    while (corefile_next(&reader->corefile, &line) && !(line.closes && line.depth <= opening->depth))
        ;
}

/* forward */

static void read_tls(struct reader *reader, const struct corefile_line *line)
{
    struct import_upstream *u = reader->upstream;
    bool pair = line->count >= 3;

    if (line->count > 4)
        import_note(reader->import, line->number, false, "tls: takes CERT, KEY and CA at most");
    if (pair) {
        snprintf(u->client_cert, sizeof(u->client_cert), "%s", line->words[1]);
        snprintf(u->client_key, sizeof(u->client_key), "%s", line->words[2]);
    }
    if (line->count == 2 || line->count == 4)
        snprintf(u->ca_file, sizeof(u->ca_file), "%s", line->words[line->count - 1]);
}

static void read_policy(struct reader *reader, const struct corefile_line *line)
{
    static const char *const policies[][2] = {
        {"random", "round-robin"}, {"round_robin", "round-robin"}, {"sequential", "ordered"}};

    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
        if (line->count == 2 && strcmp(line->words[1], policies[i][0]) == 0)
            reader->upstream->policy = policies[i][1];
    if (reader->upstream->policy == NULL)
        import_note(reader->import, line->number, false, "policy: only random, round_robin and sequential are known");
}

static void read_forward_property(struct reader *reader, const struct corefile_line *line)
{
    struct import_upstream *u = reader->upstream;
    struct name name;

    if (strcmp(line->words[0], "force_tcp") == 0)
        u->force_tcp = true;
    else if (strcmp(line->words[0], "policy") == 0)
        read_policy(reader, line);
    else if (strcmp(line->words[0], "tls") == 0)
        read_tls(reader, line);
    else if (strcmp(line->words[0], "tls_servername") == 0 && line->count == 2 && name_from_text(line->words[1], &name))
        name_to_text(&name, u->server_name);
    else
        NOTE_REASON(reader, line, forward_properties);
}

static void read_properties(struct reader *reader, const struct corefile_line *opening,
                            void (*read)(struct reader *, const struct corefile_line *))
{
    struct corefile_line line;

    if (!opening->opens)
        return;
    while (corefile_next(&reader->corefile, &line) && !(line.closes && line.depth <= opening->depth)) {
        if (line.count > 0)
            read(reader, &line);
        skip_block(reader, &line);
    }
}

/* The zones of the block that a directive for names below `from` concerns. */
static void add_zones(struct reader *reader, const struct corefile_line *line, const char *from)
{
    if (strcmp(from, ".") != 0) {
        import_add_zone(reader->import, line->number, from);
        return;
    }
    for (size_t i = 0; i < reader->block.key_count; i++)
        import_add_zone(reader->import, reader->block.line, reader->block.keys[i]);
}

static void read_forward(struct reader *reader, const struct corefile_line *line)
{
    struct import *import = reader->import;

    if (line->count < 3 || import->upstream_count == CONFIG_UPSTREAMS) {
        import_note(import, line->number, false, "forward: %s",
                    line->count < 3 ? "names no server" : "there are too many upstreams");
        skip_block(reader, line);
        return;
    }
    struct import_upstream *u = &import->upstreams[import->upstream_count++];
    *u = (struct import_upstream){.line = line->number};
    for (size_t i = 2; i < line->count; i++)
        import_address(import, u, line->number, line->words[i]);
    add_zones(reader, line, line->words[1]);
    reader->upstream = u;
    read_properties(reader, line, read_forward_property);
    reader->upstream = NULL;
    if (u->dot && u->force_tcp) {
        u->force_tcp = false;
        import_note(import, line->number, true, "force_tcp: DNS over TLS runs on TCP");
    }
}

/* cache */

/* The [cache] section is one for all zones: the longest TTL of them. */
static void raise_max_ttl(struct import *import, unsigned line, uint32_t seconds)
{
    if (import->max_ttl != CONFIG_UNSET && import->max_ttl != seconds)
        import_note(import, line, false, "cache: max-ttl is one for all zones; the longest is taken");
    if (import->max_ttl == CONFIG_UNSET || seconds > import->max_ttl)
        import->max_ttl = seconds;
}

static uint32_t at_most(uint32_t value, uint32_t limit)
{
    return value < limit ? value : limit;
}

static void read_cache_property(struct reader *reader, const struct corefile_line *line)
{
    const char *word = line->words[0];
    uint32_t seconds;

    if (strcmp(word, "serve_stale") == 0) {
        reader->block.stale_max = line->count > 1 && read_seconds(line->words[1], &seconds) ? seconds : 3600;
        return;
    }
    bool denial = strcmp(word, "denial") == 0;
    if (!denial && strcmp(word, "success") != 0) {
        NOTE_REASON(reader, line, cache_properties);
        return;
    }
    import_note(reader->import, line->number, true, "%s: the number of records follows from cache.size", word);
    if (line->count > 2 && !read_seconds(line->words[2], &seconds))
        import_note(reader->import, line->number, false, "%s: %s is no TTL", word, line->words[2]);
    else if (line->count > 2 && denial)
        reader->block.negative_max_ttl = at_most(seconds, 86400);
    else if (line->count > 2)
        raise_max_ttl(reader->import, line->number, seconds);
}

static void read_cache(struct reader *reader, const struct corefile_line *line)
{
    uint32_t seconds;

    if (line->count > 1 && read_seconds(line->words[1], &seconds)) {
        raise_max_ttl(reader->import, line->number, seconds);
        reader->block.negative_max_ttl = at_most(seconds, 86400);
    }
    if (line->count > 2)
        import_note(reader->import, line->number, false, "cache: holds for all zones of the block");
    read_properties(reader, line, read_cache_property);
}

/* Ports and addresses */

static void read_bind(struct reader *reader, const struct corefile_line *line)
{
    struct import *import = reader->import;

    reader->block.bound = true;
    for (size_t i = 1; i < line->count; i++) {
        struct endpoint endpoint;
        char known[ENDPOINT_TEXT], text[ENDPOINT_TEXT];
        bool is_known = false;

        if (!endpoint_parse(line->words[i], reader->block.port, &endpoint)) {
            import_note(import, line->number, false, "bind: %s is no address; give it as server.listen",
                        line->words[i]);
            continue;
        }
        endpoint_format(&endpoint, text);
        for (size_t j = 0; j < import->listen_count; j++)
            is_known = is_known || strcmp(endpoint_format(&import->listens[j], known), text) == 0;
        if (!is_known && import->listen_count < CONFIG_LISTENS)
            import->listens[import->listen_count++] = endpoint;
    }
}

/* ":9253" or "ADDRESS:PORT". */
static bool read_port(const char *text, struct endpoint *out)
{
    char whole[ENDPOINT_TEXT];

    snprintf(whole, sizeof(whole), "%s%s", *text == ':' ? "0.0.0.0" : "", text);
    return endpoint_parse(whole, 0, out);
}

static uint16_t port_of(const struct endpoint *endpoint)
{
    char text[ENDPOINT_TEXT];

    return (uint16_t)strtoul(strrchr(endpoint_format(endpoint, text), ':') + 1, NULL, 10);
}

static void read_prometheus(struct reader *reader, const struct corefile_line *line)
{
    struct import *import = reader->import;

    import->has_metrics = read_port(line->count > 1 ? line->words[1] : "127.0.0.1:9153", &import->metrics);
    if (!import->has_metrics)
        import_note(import, line->number, false, "prometheus: %s is no address; give it as metrics.listen",
                    line->words[1]);
}

static void read_probe(struct reader *reader, const struct corefile_line *line, const char *otherwise, uint16_t *out)
{
    struct endpoint endpoint;

    if (read_port(line->count > 1 ? line->words[1] : otherwise, &endpoint))
        *out = port_of(&endpoint);
    import_note(reader->import, line->number, line->count < 2 || *out != 0,
                "%s: a probe connects to the port (tcpSocket); there is no HTTP on it", line->words[0]);
    skip_block(reader, line);
}

static void read_log(struct reader *reader, const struct corefile_line *line)
{
    reader->import->log_queries = true;
    if (line->count > 1 || line->opens)
        import_note(reader->import, line->number, false,
                    "log: all queries are logged, in a form of our own (log.format)");
    skip_block(reader, line);
}

/* Blocks */

static void read_directive(struct reader *reader, const struct corefile_line *line)
{
    const char *word = line->words[0];

    if (strcmp(word, "forward") == 0 || strcmp(word, "proxy") == 0) {
        read_forward(reader, line);
    } else if (strcmp(word, "cache") == 0) {
        read_cache(reader, line);
    } else if (strcmp(word, "bind") == 0) {
        read_bind(reader, line);
        skip_block(reader, line);
    } else if (strcmp(word, "prometheus") == 0) {
        read_prometheus(reader, line);
        skip_block(reader, line);
    } else if (strcmp(word, "health") == 0) {
        read_probe(reader, line, ":8080", &reader->import->liveness_port);
    } else if (strcmp(word, "ready") == 0) {
        read_probe(reader, line, ":8181", &reader->import->readiness_port);
    } else if (strcmp(word, "log") == 0) {
        read_log(reader, line);
    } else {
        NOTE_REASON(reader, line, directives);
        skip_block(reader, line);
    }
}

/* "dns://ZONE:PORT", "ZONE:PORT", "ZONE". The port is cut off, and is the block's. */
static void read_key(struct reader *reader, const struct corefile_line *line, char *key)
{
    struct block *block = &reader->block;
    size_t size = strlen(key);

    if (size > 0 && key[size - 1] == ',')
        key[--size] = '\0';
    if (strncmp(key, "dns://", 6) == 0)
        key += 6;
    if (strstr(key, "://") != NULL) {
        import_note(reader->import, line->number, false, "%s: clients are served over UDP and TCP only", key);
        return;
    }
    char *colon = strrchr(key, ':');
    if (colon != NULL) {
        unsigned long port = strtoul(colon + 1, NULL, 10);
        *colon = '\0';
        if (port > 0 && port <= UINT16_MAX)
            block->port = (uint16_t)port;
    }
    if (*key != '\0' && block->key_count < BLOCK_KEYS)
        block->keys[block->key_count++] = key;
}

static void end_block(struct reader *reader)
{
    struct import *import = reader->import;
    struct block *block = &reader->block;

    for (size_t i = block->first_zone; i < import->zone_count; i++) {
        import->zones[i].negative_max_ttl = block->negative_max_ttl;
        import->zones[i].stale_max = block->stale_max;
    }
    if (!block->bound)
        import_note(import, block->line, false, "no bind: give the addresses to answer on as server.listen");
}

static void read_block(struct reader *reader, const struct corefile_line *opening)
{
    struct corefile_line line;

    if (opening->count > 0 && opening->words[0][0] == '(') {
        import_note(reader->import, opening->number, false, "%s: snippets are not read", opening->words[0]);
        skip_block(reader, opening);
        return;
    }
    while (corefile_next(&reader->corefile, &line) && !(line.closes && line.depth == 0))
        if (line.count > 0)
            read_directive(reader, &line);
    end_block(reader);
}

void import_corefile(struct import *import, char *text)
{
    struct reader reader = {.import = import, .corefile = corefile_of(text)};
    const struct block empty = {.port = DNS_PORT, .negative_max_ttl = CONFIG_UNSET, .stale_max = CONFIG_UNSET};
    struct corefile_line line;

    reader.block = empty;
    while (corefile_next(&reader.corefile, &line)) {
        reader.block.line = line.number;
        reader.block.first_zone = import->zone_count;
        for (size_t i = 0; i < line.count && line.words[0][0] != '('; i++)
            read_key(&reader, &line, line.words[i]);
        if (!line.opens)
            continue; /* more keys follow on the next line */
        read_block(&reader, &line);
        reader.block = empty;
    }
}

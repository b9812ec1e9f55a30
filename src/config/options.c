#include "nodedot/config/options.h"

#include "nodedot/config/value.h"

#include <string.h>

#define FIELD(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)NULL)->member)
#define LIST(type, member, counter)                                              \
    .offset = offsetof(type, member), .size = sizeof(((type *)NULL)->member[0]), \
    .count_offset = offsetof(type, counter),                                     \
    .capacity = sizeof(((type *)NULL)->member) / sizeof(((type *)NULL)->member[0])

#define KIB  1024ULL
#define MIB  (1024 * KIB)
#define GIB  (1024 * MIB)
#define HOUR 3600ULL
#define DAY  (24 * HOUR)

const char *const section_words[SECTION_KINDS] = {"server", "cache",  "upstream", "zone", "limits",
                                                  "acl",    "probes", "metrics",  "log"};

/* The rows of a section stand together. The words of a choice stand in the order of their enum. */
const struct option_def option_table[] = {
    {SECTION_SERVER, OPTION_ENDPOINTS, "listen", LIST(struct config, listens, listen_count), .preset = "169.254.20.10",
     .meaning = "addresses to answer on over UDP and TCP, port 53 unless given; 0.0.0.0 or :: only with an [acl]"},
    {SECTION_SERVER, OPTION_WORKERS, "workers", FIELD(struct config, workers), .preset = "auto", .min = 1,
     .max = CONFIG_WORKERS, .meaning = "threads that answer; auto: one for each CPU that may be used, at most 4",
     .reason = "each has its own sockets and upstream connections; four outrun a node's pods, more only cost memory"},
    {SECTION_SERVER, OPTION_NUMBER, "user", FIELD(struct config, user), .preset = "65532", .min = 1,
     .max = UINT32_MAX - 1, .meaning = "user and group number that a resolver takes when it is started by root",
     .reason = "0 would be root, and the last number means \"no change\" to the kernel"},
    {SECTION_SERVER, OPTION_HOST_NAME, "node-name", FIELD(struct config, node_name), .preset = "", .otherwise = "none",
     .meaning = "name of the node for log lines, as in ${NODE_NAME}"},
    {SECTION_SERVER, OPTION_CHOICE, "manage-address", FIELD(struct config, manage_address), .preset = "no",
     .choices = "no|yes",
     .meaning = "yes: put the listen addresses on the node and take them away at the end; needs NET_ADMIN"},
    {SECTION_SERVER, OPTION_INTERFACE, "interface", FIELD(struct config, interface), .preset = "nodedot0",
     .meaning =
         "where manage-address puts them: a dummy interface, made if it is not there; lo, if the kernel has none"},

    {SECTION_CACHE, OPTION_BYTES, "size", FIELD(struct config, cache_size), .preset = "32M", .min = MIB, .max = 4 * GIB,
     .meaning = "memory for answers, never exceeded",
     .reason = "below 1M the shards hold too few answers; above 4G a node's memory is better spent on pods"},
    {SECTION_CACHE, OPTION_SECONDS, "min-ttl", FIELD(struct config, min_ttl), .preset = "0", .min = 0, .max = HOUR,
     .meaning = "an answer with a lower TTL is kept this long",
     .reason = "owners choose short TTLs to move services; an hour past that is the most that can be defended"},
    {SECTION_CACHE, OPTION_SECONDS, "max-ttl", FIELD(struct config, max_ttl), .preset = "86400", .min = 0,
     .max = 7 * DAY, .meaning = "an answer with a higher TTL is kept this long",
     .reason = "RFC 8767 section 4 caps TTLs at 7 days"},
    {SECTION_CACHE, OPTION_SECONDS, "negative-max-ttl", FIELD(struct config, negative_max_ttl), .preset = "300",
     .min = 0, .max = DAY, .meaning = "a denial (NXDOMAIN, no data) is kept at most this long",
     .reason = "RFC 2308 section 5 found values above a day problematic"},
    {SECTION_CACHE, OPTION_SECONDS, "stale-max", FIELD(struct config, stale_max), .preset = "86400", .min = 0,
     .max = 7 * DAY, .meaning = "past its TTL an answer may serve this long while no upstream answers; 0: never",
     .reason = "RFC 8767 section 5 suggests 1 to 3 days; a week is older than any outage worth bridging"},
    {SECTION_CACHE, OPTION_CHOICE, "prefetch", FIELD(struct config, prefetch), .preset = "yes", .choices = "no|yes",
     .meaning = "yes: an answer in use is refreshed in the last tenth of its TTL, before it expires"},
    {SECTION_CACHE, OPTION_NUMBER, "prefetch-top", FIELD(struct config, prefetch_top), .preset = "100", .min = 0,
     .max = 1000, .meaning = "so many of the most asked names are kept fresh all the time; 0: none",
     .reason = "each costs a query to the upstream once a TTL, whether anybody asks or not"},

    {SECTION_UPSTREAM, OPTION_ENDPOINTS, "address", LIST(struct upstream_config, addresses, address_count),
     .preset = "", .example = "9.9.9.9, 149.112.112.112",
     .meaning = "the group's addresses, port 853 (dot) or 53 (plain) unless given"},
    {SECTION_UPSTREAM, OPTION_CHOICE, "transport", FIELD(struct upstream_config, transport), .preset = "dot",
     .choices = "dot|plain", .meaning = "DNS over TLS, or unprotected UDP and TCP"},
    {SECTION_UPSTREAM, OPTION_CHOICE, "force-tcp", FIELD(struct upstream_config, force_tcp), .preset = "no",
     .choices = "no|yes", .meaning = "yes: a plain upstream is asked over TCP alone, on connections that are kept"},
    {SECTION_UPSTREAM, OPTION_HOST_NAME, "name", FIELD(struct upstream_config, server_name), .tls = true, .preset = "",
     .otherwise = "the address itself", .example = "dns.quad9.net",
     .meaning = "SNI, and the name that the certificate must carry"},
    {SECTION_UPSTREAM, OPTION_CHOICE, "auth", FIELD(struct upstream_config, auth), .tls = true, .preset = "",
     .otherwise = "pin if there is a pin, else ca", .choices = "pin|ca|pin+ca",
     .meaning = "what proves the upstream's identity"},
    {SECTION_UPSTREAM, OPTION_PINS, "pin", LIST(struct upstream_config, pins, pin_count), .tls = true, .preset = "",
     .otherwise = "none",
     .meaning = "hashes of public keys (RFC 7858) in order of use: one must be in the chain, others are backups"},
    {SECTION_UPSTREAM, OPTION_PATH, "pin-file", FIELD(struct upstream_config, pin_file), .tls = true, .preset = "",
     .otherwise = "none", .meaning = "file with more pins, one a line, # for comments"},
    {SECTION_UPSTREAM, OPTION_CHOICE, "pin-mode", FIELD(struct upstream_config, pin_mode), .tls = true,
     .preset = "enforce", .choices = "enforce|report",
     .meaning = "report: a mismatch is logged and counted only, to try pins out"},
    {SECTION_UPSTREAM, OPTION_PATH, "ca-file", FIELD(struct upstream_config, ca_file), .tls = true,
     .preset = "/etc/ssl/certs/ca-certificates.crt", .meaning = "PEM file of the authorities that are trusted"},
    {SECTION_UPSTREAM, OPTION_PATH, "client-cert", FIELD(struct upstream_config, client_cert), .tls = true,
     .preset = "", .otherwise = "none",
     .meaning = "PEM file of a certificate to present to the upstream, with client-key"},
    {SECTION_UPSTREAM, OPTION_PATH, "client-key", FIELD(struct upstream_config, client_key), .tls = true, .preset = "",
     .otherwise = "none", .meaning = "PEM file of its private key"},
    {SECTION_UPSTREAM, OPTION_SECONDS, "revalidate", FIELD(struct upstream_config, revalidate), .tls = true,
     .preset = "300", .min = 1, .max = DAY, .meaning = "time between full proofs of each address's identity",
     .reason = "every proof is a full handshake that the upstream pays for; a day is how long a stolen key may serve"},

    {SECTION_UPSTREAM, OPTION_CHOICE, "policy", FIELD(struct upstream_config, policy), .preset = "fastest",
     .choices = "fastest|round-robin|ordered",
     .meaning = "the address to ask: the one that answers soonest, each in turn, or the first"},
    {SECTION_UPSTREAM, OPTION_UPSTREAM, "fallback", FIELD(struct upstream_config, fallback), .preset = "",
     .otherwise = "none", .meaning = "upstream to use while no address of this one serves"},
    {SECTION_UPSTREAM, OPTION_CHOICE, "fallback-on-mismatch", FIELD(struct upstream_config, fallback_on_mismatch),
     .preset = "no", .choices = "no|yes",
     .meaning = "yes: a plain fallback is used even when this upstream did not prove its identity", .tls = true},

    {SECTION_ZONE, OPTION_UPSTREAM, "upstream", FIELD(struct zone_config, upstream), .preset = "", .example = "quad9",
     .meaning = "who is asked for names in this zone; the longest matching zone counts"},
    {SECTION_ZONE, OPTION_SECONDS, "negative-max-ttl", FIELD(struct zone_config, negative_max_ttl), .preset = "",
     .otherwise = "that of [cache]", .min = 0, .max = DAY, .meaning = "this zone's own limit",
     .reason = "as in [cache]"},
    {SECTION_ZONE, OPTION_SECONDS, "stale-max", FIELD(struct zone_config, stale_max), .preset = "",
     .otherwise = "that of [cache]", .min = 0, .max = 7 * DAY, .meaning = "this zone's own limit",
     .reason = "as in [cache]"},

    {SECTION_LIMITS, OPTION_NUMBER, "client-qps", FIELD(struct config, client_qps), .preset = "0", .min = 0,
     .max = 1000000, .meaning = "queries a second that one client may send; 0: no limit",
     .reason = "a worker does not answer more"},
    {SECTION_LIMITS, OPTION_NUMBER, "client-burst", FIELD(struct config, client_burst), .preset = "0", .min = 0,
     .max = 1000000, .meaning = "queries that a client may send at once; 0: as many as client-qps",
     .reason = "as client-qps: a second's worth at the most"},
    {SECTION_LIMITS, OPTION_SECONDS, "client-block", FIELD(struct config, client_block), .preset = "0", .min = 0,
     .max = DAY, .meaning = "how long a client far over its rate is not heard at all; 0: off",
     .reason = "nobody remembers after a day why a pod has no DNS"},
    {SECTION_LIMITS, OPTION_NUMBER, "client-prefix-ipv4", FIELD(struct config, client_prefix.ipv4), .preset = "32",
     .min = 8, .max = 32, .meaning = "addresses that agree in so many bits are one client",
     .reason = "32 is one address; a node's pods share 24 bits, and all nodes' often 8"},
    {SECTION_LIMITS, OPTION_NUMBER, "client-prefix-ipv6", FIELD(struct config, client_prefix.ipv6), .preset = "64",
     .min = 16, .max = 128, .meaning = "the same for IPv6; a host can take any address of its /64",
     .reason = "128 is one address; 16 is more than any site has"},
    {SECTION_LIMITS, OPTION_NUMBER, "tcp-connections", FIELD(struct config, tcp_connections), .preset = "1024",
     .min = 1, .max = 65535, .meaning = "open connections of all clients",
     .reason = "RFC 7766 wants TCP served; each connection takes a descriptor and a buffer"},
    {SECTION_LIMITS, OPTION_NUMBER, "tcp-connections-per-client", FIELD(struct config, tcp_connections_per_client),
     .preset = "64", .min = 1, .max = 65535, .meaning = "open connections of one client",
     .reason = "as tcp-connections"},
    {SECTION_LIMITS, OPTION_SECONDS, "tcp-idle", FIELD(struct config, tcp_idle), .preset = "10", .min = 1, .max = 6553,
     .meaning = "a client's connection without queries is closed after this",
     .reason = "edns-tcp-keepalive (RFC 7828) counts tenths of a second in 16 bits"},
    {SECTION_LIMITS, OPTION_NUMBER, "in-flight", FIELD(struct config, in_flight), .preset = "4096", .min = 1,
     .max = 65536, .meaning = "queries that wait for an upstream; past it, who has most of them waiting is refused",
     .reason = "there are 65536 message IDs, and every waiting query holds memory"},
    {SECTION_LIMITS, OPTION_MILLISECONDS, "timeout", FIELD(struct config, timeout), .preset = "4000", .min = 50,
     .max = 30000, .meaning = "a query without answer is given up after this; stub resolvers give up after 5000",
     .reason = "below 50 a handshake over a long way fails; after 30 s nobody listens"},
    {SECTION_LIMITS, OPTION_MILLISECONDS, "stale-after", FIELD(struct config, stale_after), .preset = "1800", .min = 0,
     .max = 30000, .meaning = "a client that has waited this long is given a stale answer if there is one",
     .reason = "RFC 8767 section 5 suggests 1.8 s; past the largest timeout it has no effect"},

    {SECTION_ACL, OPTION_NETWORKS, "allow", LIST(struct config, allow.networks, allow.count),
     .preset = "0.0.0.0/0, ::/0", .meaning = "networks whose queries are answered"},
    {SECTION_ACL, OPTION_NETWORKS, "deny", LIST(struct config, deny.networks, deny.count), .preset = "",
     .otherwise = "none", .meaning = "networks whose queries are not, even when allowed above"},

    {SECTION_PROBES, OPTION_ADDRESSES, "address", LIST(struct config, probe_addresses, probe_address_count),
     .preset = "", .otherwise = "the first listen address", .meaning = "addresses on which both probe ports open"},
    {SECTION_PROBES, OPTION_PORT, "liveness-port", FIELD(struct config, liveness_port), .preset = "9551", .min = 1,
     .max = UINT16_MAX, .meaning = "open while the supervisor can keep a resolver alive",
     .reason = "every TCP port; 0 would be one by chance"},
    {SECTION_PROBES, OPTION_PORT, "readiness-port", FIELD(struct config, readiness_port), .preset = "9552", .min = 1,
     .max = UINT16_MAX, .meaning = "open while queries are answered and every zone's upstream is usable",
     .reason = "every TCP port; 0 would be one by chance"},

    {SECTION_METRICS, OPTION_ENDPOINTS, "listen", LIST(struct config, metrics_listens, metrics_listen_count),
     .preset = "", .otherwise = "off", .example = "127.0.0.1:9553",
     .meaning = "addresses that serve /metrics, /healthz and /readyz over HTTP, port 9553 unless given"},

    {SECTION_LOG, OPTION_CHOICE, "level", FIELD(struct config, log_level), .preset = "info",
     .choices = "error|warn|info|debug", .meaning = "least weight of what is logged"},
    {SECTION_LOG, OPTION_CHOICE, "format", FIELD(struct config, log_format), .preset = "text", .choices = "text|json",
     .meaning = "form of the lines on standard error"},
    {SECTION_LOG, OPTION_CHOICE, "queries", FIELD(struct config, log_queries), .preset = "no",
     .choices = "no|yes|sampled", .meaning = "log queries with their answers: none, all, or one in queries-sample"},
    {SECTION_LOG, OPTION_NUMBER, "queries-sample", FIELD(struct config, log_queries_sample), .preset = "100", .min = 1,
     .max = 1000000, .meaning = "with queries = sampled, one query in so many is logged",
     .reason = "1 is every query; at a million a busy node writes a line a minute"},
    {SECTION_LOG, OPTION_CHOICE, "queries-mask", FIELD(struct config, log_queries_mask), .preset = "no",
     .choices = "no|yes", .meaning = "yes: clients are logged as their /24 or /48 network"},
    {SECTION_LOG, OPTION_PATH, "dnstap", FIELD(struct config, dnstap), .preset = "", .otherwise = "none",
     .meaning = "Unix socket that logged queries go to as dnstap frames, instead of lines on standard error"},
};

const size_t option_count = sizeof(option_table) / sizeof(option_table[0]);

bool section_is_named(enum section_kind kind)
{
    return kind == SECTION_UPSTREAM || kind == SECTION_ZONE;
}

const struct option_def *section_options(enum section_kind kind, size_t *count)
{
    size_t first = 0;
    size_t n = 0;

    while (option_table[first].section != kind)
        first++;
    while (first + n < option_count && option_table[first + n].section == kind)
        n++;
    *count = n;
    return &option_table[first];
}

const struct option_def *option_find(enum section_kind kind, const char *key)
{
    size_t count;
    const struct option_def *rows = section_options(kind, &count);

    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].key, key) == 0)
            return &rows[i];
    return NULL;
}

size_t option_index(const struct option_def *option)
{
    size_t count;

    return (size_t)(option - section_options(option->section, &count));
}

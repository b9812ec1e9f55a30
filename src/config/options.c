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

/* The rows of a section are consecutive. The words of a choice are in the order of their enum. */
const struct option_def option_table[] = {
    {SECTION_SERVER, OPTION_ENDPOINTS, "listen", LIST(struct config, listens, listen_count), .preset = "169.254.20.10",
     .meaning = "addresses to answer on over UDP and TCP, port 53 unless given; 0.0.0.0 or :: only with an [acl]"},
    {SECTION_SERVER, OPTION_WORKERS, "workers", FIELD(struct config, workers), .preset = "auto", .min = 1,
     .max = CONFIG_WORKERS, .meaning = "threads that answer queries; auto: one for each usable CPU, at most 4",
     .reason =
         "each has its own sockets and upstream connections; four are enough for a node's pods, more only cost memory"},
    {SECTION_SERVER, OPTION_NUMBER, "user", FIELD(struct config, user), .preset = "65532", .min = 1,
     .max = UINT32_MAX - 1, .meaning = "user and group ID of the resolver process when nodedot is started by root",
     .reason = "0 is root, and to the kernel the last number means \"no change\""},
    {SECTION_SERVER, OPTION_HOST_NAME, "node-name", FIELD(struct config, node_name), .preset = "", .otherwise = "none",
     .meaning = "name of the node for log lines, for example ${NODE_NAME}"},
    {SECTION_SERVER, OPTION_CHOICE, "manage-address", FIELD(struct config, manage_address), .preset = "no",
     .choices = "no|yes",
     .meaning = "yes: add the listen addresses to the node and remove them at exit; needs NET_ADMIN"},
    {SECTION_SERVER, OPTION_INTERFACE, "interface", FIELD(struct config, interface), .preset = "nodedot0",
     .meaning =
         "interface for manage-address: a dummy interface, created if missing; lo if the kernel has no dummy device"},
    {SECTION_SERVER, OPTION_SECONDS, "reload-spread", FIELD(struct config, reload_spread), .preset = "0", .min = 0,
     .max = HOUR,
     .meaning = "a changed configuration file is loaded after a random part of this time; SIGHUP loads it at once",
     .reason = "many nodes that see one change together need not connect to their upstreams in the same second"},

    {SECTION_CACHE, OPTION_BYTES, "size", FIELD(struct config, cache_size), .preset = "32M", .min = MIB, .max = 4 * GIB,
     .meaning = "memory for answers, never exceeded",
     .reason = "below 1M the shards hold too few answers; above 4G the memory is more useful to pods"},
    {SECTION_CACHE, OPTION_SECONDS, "min-ttl", FIELD(struct config, min_ttl), .preset = "0", .min = 0, .max = HOUR,
     .meaning = "lower TTLs are raised to this",
     .reason = "owners choose short TTLs to move services; more than an hour later clients would miss the move"},
    {SECTION_CACHE, OPTION_SECONDS, "max-ttl", FIELD(struct config, max_ttl), .preset = "86400", .min = 0,
     .max = 7 * DAY, .meaning = "higher TTLs are lowered to this", .reason = "RFC 8767 section 4 caps TTLs at 7 days"},
    {SECTION_CACHE, OPTION_SECONDS, "negative-max-ttl", FIELD(struct config, negative_max_ttl), .preset = "300",
     .min = 0, .max = DAY, .meaning = "maximum time to cache a negative answer (NXDOMAIN, no data)",
     .reason = "RFC 2308 section 5 found values above a day problematic"},
    {SECTION_CACHE, OPTION_SECONDS, "stale-max", FIELD(struct config, stale_max), .preset = "86400", .min = 0,
     .max = 7 * DAY, .meaning = "how long an expired answer may be served while no upstream answers; 0: never",
     .reason = "RFC 8767 section 5 suggests 1 to 3 days; no outage should last a week"},
    {SECTION_CACHE, OPTION_CHOICE, "prefetch", FIELD(struct config, prefetch), .preset = "yes", .choices = "no|yes",
     .meaning = "yes: an answer that is requested in the last tenth of its TTL is refreshed before it expires"},
    {SECTION_CACHE, OPTION_NUMBER, "prefetch-top", FIELD(struct config, prefetch_top), .preset = "100", .min = 0,
     .max = 1000, .meaning = "number of the most requested names that are always refreshed before they expire; 0: none",
     .reason = "each costs one upstream query per TTL, whether a client asks or not"},

    {SECTION_UPSTREAM, OPTION_ENDPOINTS, "address", LIST(struct upstream_config, addresses, address_count),
     .preset = "", .example = "9.9.9.9, 149.112.112.112",
     .meaning = "the group's addresses, port 853 (dot) or 53 (plain) unless given"},
    {SECTION_UPSTREAM, OPTION_CHOICE, "transport", FIELD(struct upstream_config, transport), .preset = "dot",
     .choices = "dot|plain", .meaning = "dot: DNS over TLS; plain: unprotected UDP and TCP"},
    {SECTION_UPSTREAM, OPTION_CHOICE, "force-tcp", FIELD(struct upstream_config, force_tcp), .preset = "no",
     .choices = "no|yes", .meaning = "yes: a plain upstream is asked only over TCP, on persistent connections"},
    {SECTION_UPSTREAM, OPTION_HOST_NAME, "name", FIELD(struct upstream_config, server_name), .tls = true, .preset = "",
     .otherwise = "the address itself", .example = "dns.quad9.net",
     .meaning = "SNI, and the name that the certificate must contain"},
    {SECTION_UPSTREAM, OPTION_CHOICE, "auth", FIELD(struct upstream_config, auth), .tls = true, .preset = "",
     .otherwise = "pin if there is a pin (with pin-mode = report pin+ca), else ca", .choices = "pin|ca|pin+ca",
     .meaning = "what proves the upstream's identity"},
    {SECTION_UPSTREAM, OPTION_PINS, "pin", LIST(struct upstream_config, pins, pin_count), .tls = true, .preset = "",
     .otherwise = "none",
     .meaning = "hashes of public keys (RFC 7858) in order of use: one must match a certificate of the chain, others "
                "are backups"},
    {SECTION_UPSTREAM, OPTION_PATH, "pin-file", FIELD(struct upstream_config, pin_file), .tls = true, .preset = "",
     .otherwise = "none", .meaning = "file with more pins, one a line, # for comments"},
    {SECTION_UPSTREAM, OPTION_CHOICE, "pin-mode", FIELD(struct upstream_config, pin_mode), .tls = true,
     .preset = "enforce", .choices = "enforce|report",
     .meaning =
         "report: pins that do not match are only logged and counted, to try them out; the CA must prove the identity"},
    {SECTION_UPSTREAM, OPTION_PATH, "ca-file", FIELD(struct upstream_config, ca_file), .tls = true,
     .preset = "/etc/ssl/certs/ca-certificates.crt", .meaning = "PEM file of the trusted authorities"},
    {SECTION_UPSTREAM, OPTION_PATH, "client-cert", FIELD(struct upstream_config, client_cert), .tls = true,
     .preset = "", .otherwise = "none",
     .meaning = "PEM file of the client certificate for the upstream; needs client-key"},
    {SECTION_UPSTREAM, OPTION_PATH, "client-key", FIELD(struct upstream_config, client_key), .tls = true, .preset = "",
     .otherwise = "none", .meaning = "PEM file of the private key of client-cert"},
    {SECTION_UPSTREAM, OPTION_SECONDS, "revalidate", FIELD(struct upstream_config, revalidate), .tls = true,
     .preset = "300", .min = 1, .max = DAY, .meaning = "interval between full checks of each address's identity",
     .reason = "every check costs the upstream a full handshake; a stolen key may go unnoticed for a day at most"},

    {SECTION_UPSTREAM, OPTION_CHOICE, "policy", FIELD(struct upstream_config, policy), .preset = "fastest",
     .choices = "fastest|round-robin|ordered",
     .meaning = "which address is asked: the one that answers soonest, each in turn, or the first that works"},
    {SECTION_UPSTREAM, OPTION_UPSTREAM, "fallback", FIELD(struct upstream_config, fallback), .preset = "",
     .otherwise = "none", .meaning = "upstream to use while no address of this one answers"},
    {SECTION_UPSTREAM, OPTION_CHOICE, "fallback-on-mismatch", FIELD(struct upstream_config, fallback_on_mismatch),
     .preset = "no", .choices = "no|yes",
     .meaning = "yes: a plain fallback is used even if this upstream failed to prove its identity", .tls = true},

    {SECTION_ZONE, OPTION_UPSTREAM, "upstream", FIELD(struct zone_config, upstream), .preset = "", .example = "quad9",
     .meaning = "upstream for names in this zone; the longest matching zone applies"},
    {SECTION_ZONE, OPTION_SECONDS, "negative-max-ttl", FIELD(struct zone_config, negative_max_ttl), .preset = "",
     .otherwise = "that of [cache]", .min = 0, .max = DAY, .meaning = "this zone's own limit",
     .reason = "as in [cache]"},
    {SECTION_ZONE, OPTION_SECONDS, "stale-max", FIELD(struct zone_config, stale_max), .preset = "",
     .otherwise = "that of [cache]", .min = 0, .max = 7 * DAY, .meaning = "this zone's own limit",
     .reason = "as in [cache]"},

    {SECTION_LIMITS, OPTION_NUMBER, "client-qps", FIELD(struct config, client_qps), .preset = "0", .min = 0,
     .max = 1000000, .meaning = "queries per second that one client may send; 0: no limit",
     .reason = "a worker cannot answer more"},
    {SECTION_LIMITS, OPTION_NUMBER, "client-burst", FIELD(struct config, client_burst), .preset = "0", .min = 0,
     .max = 1000000, .meaning = "queries that a client may send at once; 0: as many as client-qps",
     .reason = "as client-qps: at most the queries of one second"},
    {SECTION_LIMITS, OPTION_SECONDS, "client-block", FIELD(struct config, client_block), .preset = "0", .min = 0,
     .max = DAY, .meaning = "how long a client far above its rate is ignored; 0: off",
     .reason = "after a day nobody remembers why a pod has no DNS"},
    {SECTION_LIMITS, OPTION_NUMBER, "client-prefix-ipv4", FIELD(struct config, client_prefix.ipv4), .preset = "32",
     .min = 8, .max = 32, .meaning = "IPv4 addresses with the same prefix of this length count as one client",
     .reason = "32 is one address; the pods of a node share 24 bits, the pods of all nodes often 8"},
    {SECTION_LIMITS, OPTION_NUMBER, "client-prefix-ipv6", FIELD(struct config, client_prefix.ipv6), .preset = "64",
     .min = 16, .max = 128, .meaning = "the same for IPv6; a host can use any address of its /64",
     .reason = "128 is one address; 16 is more than any site has"},
    {SECTION_LIMITS, OPTION_NUMBER, "tcp-connections", FIELD(struct config, tcp_connections), .preset = "1024",
     .min = 1, .max = 65535, .meaning = "maximum number of open client connections",
     .reason = "RFC 7766 requires TCP; each connection uses a descriptor and a buffer"},
    {SECTION_LIMITS, OPTION_NUMBER, "tcp-connections-per-client", FIELD(struct config, tcp_connections_per_client),
     .preset = "64", .min = 1, .max = 65535, .meaning = "maximum number of open connections of one client",
     .reason = "as tcp-connections"},
    {SECTION_LIMITS, OPTION_SECONDS, "tcp-idle", FIELD(struct config, tcp_idle), .preset = "10", .min = 1, .max = 6553,
     .meaning = "a client connection without queries is closed after this time",
     .reason = "edns-tcp-keepalive (RFC 7828) has 16 bits for tenths of a second"},
    {SECTION_LIMITS, OPTION_NUMBER, "in-flight", FIELD(struct config, in_flight), .preset = "4096", .min = 1,
     .max = 65536,
     .meaning = "maximum number of queries that wait for an upstream; above it the client with the most loses one",
     .reason = "there are 65536 message IDs, and every waiting query uses memory"},
    {SECTION_LIMITS, OPTION_MILLISECONDS, "timeout", FIELD(struct config, timeout), .preset = "4000", .min = 50,
     .max = 30000, .meaning = "a query without an answer fails after this time; stub resolvers give up after 5000",
     .reason = "below 50 a handshake with a distant server fails; after 30 s no client waits"},
    {SECTION_LIMITS, OPTION_MILLISECONDS, "stale-after", FIELD(struct config, stale_after), .preset = "1800", .min = 0,
     .max = 30000, .meaning = "a client that has waited this long gets a stale answer, if there is one",
     .reason = "RFC 8767 section 5 suggests 1.8 s; above the largest timeout it has no effect"},

    {SECTION_ACL, OPTION_NETWORKS, "allow", LIST(struct config, allow.networks, allow.count),
     .preset = "0.0.0.0/0, ::/0", .meaning = "networks whose queries are answered"},
    {SECTION_ACL, OPTION_NETWORKS, "deny", LIST(struct config, deny.networks, deny.count), .preset = "",
     .otherwise = "none", .meaning = "networks whose queries are dropped, even if they are in allow"},

    {SECTION_PROBES, OPTION_ADDRESSES, "address", LIST(struct config, probe_addresses, probe_address_count),
     .preset = "", .otherwise = "the first listen address", .meaning = "addresses for both probe ports"},
    {SECTION_PROBES, OPTION_PORT, "liveness-port", FIELD(struct config, liveness_port), .preset = "9551", .min = 1,
     .max = UINT16_MAX, .meaning = "open while the supervisor can keep a resolver running",
     .reason = "any TCP port; 0 would be a random one"},
    {SECTION_PROBES, OPTION_PORT, "readiness-port", FIELD(struct config, readiness_port), .preset = "9552", .min = 1,
     .max = UINT16_MAX, .meaning = "open while queries are answered and every zone has a usable upstream",
     .reason = "any TCP port; 0 would be a random one"},

    {SECTION_METRICS, OPTION_ENDPOINTS, "listen", LIST(struct config, metrics_listens, metrics_listen_count),
     .preset = "", .otherwise = "off", .example = "127.0.0.1:9553",
     .meaning = "addresses that serve /metrics, /healthz and /readyz over HTTP, port 9553 unless given"},

    {SECTION_LOG, OPTION_CHOICE, "level", FIELD(struct config, log_level), .preset = "info",
     .choices = "error|warn|info|debug", .meaning = "least severe level that is logged"},
    {SECTION_LOG, OPTION_CHOICE, "format", FIELD(struct config, log_format), .preset = "text", .choices = "text|json",
     .meaning = "format of the lines on standard error"},
    {SECTION_LOG, OPTION_CHOICE, "queries", FIELD(struct config, log_queries), .preset = "no",
     .choices = "no|yes|sampled", .meaning = "log queries with their answers: none, all, or one in queries-sample"},
    {SECTION_LOG, OPTION_NUMBER, "queries-sample", FIELD(struct config, log_queries_sample), .preset = "100", .min = 1,
     .max = 1000000, .meaning = "with queries = sampled, one query in this many is logged",
     .reason = "1 is every query; at a million a busy node logs one line a minute"},
    {SECTION_LOG, OPTION_CHOICE, "queries-mask", FIELD(struct config, log_queries_mask), .preset = "no",
     .choices = "no|yes", .meaning = "yes: clients are logged as their /24 or /48 network"},
    {SECTION_LOG, OPTION_PATH, "dnstap", FIELD(struct config, dnstap), .preset = "", .otherwise = "none",
     .meaning = "Unix socket for logged queries as dnstap frames, instead of lines on standard error"},
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

/* config.h - the configuration, read from file, environment and command line, and checked.
 *
 * Order:  defaults, then the INI file, then NODEDOT_SECTION_KEY, then --set; the last one wins.
 * Memory: struct config is plain data with fixed limits; the texts live in fixed arrays inside. A struct is made
 *         once per (re)load and never changed after it is returned, so every process and thread may read it.
 * Files:  CA files, certificates and keys are read together with what names them, and their contents belong to the struct
 *         until config_release(): at most CONFIG_HELD_OCTETS. What becomes of a file later does not matter to a process
 *         that is forked with this configuration.
 * Errors: all of them are collected, each naming file, line, section, key and what was expected.
 */
#ifndef NODEDOT_CONFIG_CONFIG_H
#define NODEDOT_CONFIG_CONFIG_H

#include "nodedot/base/endpoint.h"
#include "nodedot/base/file.h"
#include "nodedot/dns/name.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_DEFAULT_FILE "/etc/nodedot/nodedot.ini"

#define CONFIG_LISTENS     16  /* listen addresses */
#define CONFIG_UPSTREAMS   32  /* upstream groups */
#define CONFIG_ADDRESSES   16  /* addresses of one group */
#define CONFIG_PINS        16  /* pins of one group, including those of its pin-file */
#define CONFIG_ZONES       256 /* zones */
#define CONFIG_NETWORKS    256 /* entries of one access list */
#define CONFIG_NAME        64  /* a section's own name, NUL included: [upstream NAME] */
#define CONFIG_PATH        256 /* a file name, NUL included */
#define CONFIG_INTERFACE   16  /* the name of a network interface, NUL included (IFNAMSIZ) */
#define CONFIG_WORKERS     16  /* worker threads */
#define CONFIG_PIN_OCTETS  32  /* SHA-256 of a SubjectPublicKeyInfo (RFC 7858 section 4.2) */
#define CONFIG_FILES       (2 + 4 * CONFIG_UPSTREAMS)
#define CONFIG_FILE_OCTETS (4 * 1024 * 1024)  /* of one file that is held; Mozilla's bundle of CAs has 0.25 MiB */
#define CONFIG_HELD_OCTETS (16 * 1024 * 1024) /* of all files that are held; one that several groups name counts once */
#define CONFIG_UNSET       UINT32_MAX         /* the zone has no limit of its own: that of [cache] applies */
#define CONFIG_NO_UPSTREAM SIZE_MAX           /* an upstream without fallback */

enum transport { TRANSPORT_DOT, TRANSPORT_PLAIN };
enum auth { AUTH_PIN, AUTH_CA, AUTH_PIN_AND_CA };
enum pin_mode { PIN_ENFORCE, PIN_REPORT };
enum policy { POLICY_FASTEST, POLICY_ROUND_ROBIN, POLICY_ORDERED };
enum log_queries { LOG_QUERIES_NO, LOG_QUERIES_ALL, LOG_QUERIES_SAMPLED };

struct pin {
    uint8_t sha256[CONFIG_PIN_OCTETS];
};

struct upstream_config {
    char name[CONFIG_NAME]; /* of the section */
    struct endpoint addresses[CONFIG_ADDRESSES];
    size_t address_count;
    enum transport transport;
    bool force_tcp;        /* plain: never over UDP */
    char server_name[256]; /* SNI and the name that the certificate must contain; "": none */
    enum auth auth;
    struct pin pins[CONFIG_PINS];
    size_t pin_count;
    size_t own_pin_count; /* the first ones are from "pin", the others from pin_file */
    enum pin_mode pin_mode;
    char pin_file[CONFIG_PATH];
    char ca_file[CONFIG_PATH];
    char client_cert[CONFIG_PATH];
    char client_key[CONFIG_PATH];
    /* the contents of the last three, among the held ones of struct config; NULL: not needed */
    const struct file_text *ca, *certificate, *key;
    uint32_t revalidate; /* seconds */
    enum policy policy;
    size_t fallback;           /* index into upstreams; CONFIG_NO_UPSTREAM */
    bool fallback_on_mismatch; /* a plain fallback may be used while an address presents the wrong identity */
};

/* Is every question asked over a connection? */
static inline bool upstream_uses_streams(const struct upstream_config *upstream)
{
    return upstream->transport == TRANSPORT_DOT || upstream->force_tcp;
}

struct zone_config {
    struct name name;          /* lower case */
    size_t upstream;           /* index into upstreams */
    uint32_t negative_max_ttl; /* seconds; CONFIG_UNSET */
    uint32_t stale_max;        /* seconds; CONFIG_UNSET */
};

struct access_list {
    struct network networks[CONFIG_NETWORKS];
    size_t count;
};

struct config {
    /* [server] */
    struct endpoint listens[CONFIG_LISTENS];
    size_t listen_count;
    uint32_t workers;                 /* 1 to CONFIG_WORKERS; "auto" is already resolved */
    uint32_t user;                    /* uid and gid of a resolver */
    bool manage_address;              /* add the listen addresses to the node, and remove them at exit */
    char interface[CONFIG_INTERFACE]; /* where they are put */
    uint32_t reload_spread;           /* seconds; a changed file is loaded after a random part of them; 0: at once */
    char node_name[256];              /* for log lines; "": none */
    /* [cache] */
    uint64_t cache_size;                                    /* octets */
    uint32_t min_ttl, max_ttl, negative_max_ttl, stale_max; /* seconds */
    bool prefetch;
    uint32_t prefetch_top; /* names that are always refreshed; 0: none */
    /* [upstream NAME], [zone NAME] */
    struct upstream_config upstreams[CONFIG_UPSTREAMS];
    size_t upstream_count;
    struct zone_config zones[CONFIG_ZONES];
    size_t zone_count;
    /* [limits] */
    uint32_t client_qps, client_burst, client_block; /* queries a second, queries, seconds; 0: off */
    struct client_prefix client_prefix;
    uint32_t tcp_connections, tcp_connections_per_client;
    uint32_t tcp_idle;             /* seconds */
    uint32_t in_flight;            /* queries waiting for an upstream, in the whole resolver */
    uint32_t timeout, stale_after; /* milliseconds */
    /* [acl] */
    struct access_list allow, deny;
    /* [probes] */
    struct endpoint probe_addresses[CONFIG_LISTENS]; /* addresses of both probe ports; the port is not set in these */
    size_t probe_address_count;
    uint16_t liveness_port, readiness_port;
    /* [metrics] */
    struct endpoint metrics_listens[CONFIG_LISTENS];
    size_t metrics_listen_count;
    /* [log] */
    uint8_t log_level;  /* enum log_level */
    uint8_t log_format; /* enum log_format */
    enum log_queries log_queries;
    uint32_t log_queries_sample; /* one query in this many is logged */
    bool log_queries_mask;       /* log only the network of a client */
    char dnstap[CONFIG_PATH];    /* Unix socket; "": none */
    /* every file that was read: the INI file, pin files, CA files, keys; watched for changes */
    char files[CONFIG_FILES][CONFIG_PATH];
    size_t file_count;
    struct file_state states[CONFIG_FILES]; /* just before each was read */
    struct file_text held[CONFIG_FILES];    /* contents, in the same order; none of the INI file and of pin files */
    size_t held_octets;
};

/* The sources of a configuration, from the command line. */
struct config_source {
    const char *file;        /* NULL: CONFIG_DEFAULT_FILE if it exists */
    const char *const *sets; /* "SECTION.KEY=VALUE"; the last dot before "=" separates section and key */
    size_t set_count;
    char *const *environment; /* "NAME=VALUE" ..., NULL at the end; usually environ */
};

/* Why config_load() failed. */
enum config_result {
    CONFIG_OK = 0,
    CONFIG_INVALID,   /* the configuration is wrong: exit 2 */
    CONFIG_UNREADABLE /* a named file is missing or must not be read: exit 1 */
};

/* Reads everything into *out (large: keep it static or on the heap). Every error is written to errors, one line each,
 * as "FILE:LINE: [section] key: what is wrong, what was expected". After anything but CONFIG_OK *out is unusable,
 * but for the list of files and their states: a change of one of them is a reason to load again. */
enum config_result config_load(const struct config_source *source, struct config *out, FILE *errors);

/* Releases the contents of files that config holds. Call it before loading into a struct again. It is allowed for a
 * struct that is all zero, or whose load failed. */
void config_release(struct config *config);

/* Prints the effective configuration as an INI file that config_load() reads back to the same. */
void config_print(const struct config *config, FILE *out);

/* Prints every option with type, default and meaning as a commented INI file. */
void config_print_options(FILE *out);

/* The same as a Markdown table, for README. */
void config_print_reference(FILE *out);

#endif

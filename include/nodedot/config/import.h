/* import.h - `nodedot import FILE`: the configuration of another resolver as one of ours.
 *
 * Reads a Corefile (of CoreDNS, kube-dns or NodeLocal DNSCache), a ConfigMap that holds one, the old kube-dns ConfigMap with
 * stubDomains and upstreamNameservers, or a resolv.conf. Prints an INI file, and as comments behind it each line that
 * it does not say, with the reason. What is printed is for review: `nodedot check -c FILE` tells what is missing.
 * Memory: bounded by IMPORT_OCTETS and the limits of the configuration; what exceeds them is told as well.
 */
#ifndef NODEDOT_CONFIG_IMPORT_H
#define NODEDOT_CONFIG_IMPORT_H

#include "nodedot/base/endpoint.h"
#include "nodedot/config/config.h"

#include <stdbool.h>
#include <stdio.h>

#define IMPORT_OCTETS (1024 * 1024) /* of a file, as large as a ConfigMap may be */
#define IMPORT_NOTES  512
#define IMPORT_NOTE   256 /* octets of one, NUL included */

/* A group of servers. */
struct import_upstream {
    unsigned line;
    struct endpoint addresses[CONFIG_ADDRESSES];
    size_t address_count;
    bool dot, force_tcp;
    const char *policy; /* NULL: ours */
    char server_name[NAME_TEXT];
    char client_cert[CONFIG_PATH], client_key[CONFIG_PATH], ca_file[CONFIG_PATH];
};

struct import_zone {
    char name[NAME_TEXT];
    size_t upstream;           /* number of its group */
    uint32_t negative_max_ttl; /* CONFIG_UNSET: not given */
    uint32_t stale_max;
};

/* A line that is not said. */
struct import_note {
    unsigned line;
    bool needless; /* nothing is lost: nodedot does it without being told */
    char text[IMPORT_NOTE];
};

struct import {
    struct import_upstream upstreams[CONFIG_UPSTREAMS];
    size_t upstream_count;
    struct import_zone zones[CONFIG_ZONES];
    size_t zone_count;
    struct endpoint listens[CONFIG_LISTENS];
    size_t listen_count;
    struct endpoint metrics;
    bool has_metrics, log_queries;
    uint32_t max_ttl; /* CONFIG_UNSET: not given */
    uint16_t liveness_port, readiness_port;
    struct import_note notes[IMPORT_NOTES];
    size_t note_count, notes_lost;
};

/* Adds a note; what is printed of others' words has no control characters. */
void import_note(struct import *import, unsigned line, bool needless, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Reads server blocks into import. text is changed. */
void import_corefile(struct import *import, char *text);

/* Adds an address to the group; says why not. word: ADDRESS, ADDRESS:PORT or one of them behind dns:// or tls://. */
void import_address(struct import *import, struct import_upstream *upstream, unsigned line, const char *word);

/* Adds a zone that the newest group answers; says why not. NULL then. */
struct import_zone *import_add_zone(struct import *import, unsigned line, const char *text);

/* Reads text (changed in place, ends with NUL) of any of the kinds and prints the INI file. False: a line of it could not be
 * said. import is for its use, and large. */
bool import_print_text(struct import *import, char *text, FILE *out);

/* The same for a file; "-": standard input. Returns an exit status: 0 all is said, 1 something is not, 2 the file cannot
 * be read (one line on errors). */
int import_print(const char *file, FILE *out, FILE *errors);

#endif

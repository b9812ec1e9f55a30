/* query_record.h - one query as the query log shows it, and its line.
 *
 * Text: 2026-01-31T12:00:00.123Z level=info msg="query" client=10.0.3.7:41234 transport=udp name=example.com type=A
 *       flags=rd,do from=upstream rcode=NOERROR size=56 duration_us=8123 upstream=quad9 server=9.9.9.9:853
 * JSON: an object with the same keys, see log.h.
 * Time: that of the query's arrival.
 */
#ifndef NODEDOT_OBSERVE_QUERY_RECORD_H
#define NODEDOT_OBSERVE_QUERY_RECORD_H

#include "nodedot/base/endpoint.h"
#include "nodedot/dns/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The source of an answer, or the reason why there is none. */
enum query_source {
    QUERY_FROM_CACHE,
    QUERY_FROM_STALE,    /* past its TTL */
    QUERY_FROM_LOCAL,    /* a special-use name or ANY, answered by nodedot itself */
    QUERY_FROM_UPSTREAM, /* as it came in for this query */
    QUERY_FAILED,        /* SERVFAIL: no upstream answered */
    QUERY_REFUSED,       /* an error by policy: REFUSED, NOTIMP, FORMERR, BADVERS */
    QUERY_DROPPED_SHORT, /* from here on: no answer */
    QUERY_DROPPED_ACL,
    QUERY_DROPPED_BLOCKED,
    QUERY_DROPPED_RATE,
    QUERY_DROPPED_GONE /* the client's connection closed meanwhile, or it takes no answers */
};

struct query_record {
    uint64_t wall_ns; /* of the query's arrival, since 1970 */
    uint64_t duration_us;
    struct endpoint client;
    struct endpoint local;  /* the address that was asked; size 0: not known */
    struct endpoint server; /* that answered, for QUERY_FROM_UPSTREAM; else size 0 */
    const char *upstream;   /* its group; lives as long as the configuration */
    enum query_source source;
    uint16_t id;
    uint16_t flags; /* of the query's header */
    uint16_t rcode; /* all twelve bits */
    bool udp;
    bool dnssec_ok;
    bool truncated; /* TC in the answer */
    bool masked;    /* client is a network: query_record_mask() */
    uint16_t question_octets;
    uint32_t answer_octets;                /* 0: none */
    uint8_t question[QUESTION_MAX_OCTETS]; /* as the client wrote it */
};

/* Octets of a record in use; the rest of its question may be left out. */
size_t query_record_size(const struct query_record *record);

bool query_was_dropped(const struct query_record *record);

/* "cache", "stale", "local", "upstream", "failure", "policy"; for a dropped query the cause, as in the metric:
 * "acl". */
const char *query_source_name(enum query_source source);

/* Keeps only the client's network: /24 of IPv4 (also IPv4-mapped), /48 of IPv6; no port. */
void query_record_mask(struct query_record *record);

/* Writes the line to out (LOG_LINE octets, see log.h), and returns its size. */
size_t query_record_line(const struct query_record *record, char *out);

#endif

/* edns.h - the OPT record (RFC 6891) and the supported options.
 *
 * We advertise EDNS_UDP_SIZE to clients and upstreams (RFC 9715 and DNS flag day 2020: no fragments).
 */
#ifndef NODEDOT_DNS_EDNS_H
#define NODEDOT_DNS_EDNS_H

#include "nodedot/dns/cookie.h"
#include "nodedot/dns/wire.h"

#include <stdbool.h>
#include <stdint.h>

#define EDNS_UDP_SIZE      1232
#define EDNS_UDP_SIZE_MIN  512 /* smaller values count as this (RFC 6891 section 6.2.3) */
#define EDNS_PADDING_BLOCK 128 /* of queries over TLS (RFC 8467 section 4.1) */

enum edns_option {
    EDNS_OPTION_CLIENT_SUBNET = 8, /* RFC 7871: never forwarded */
    EDNS_OPTION_COOKIE = 10,
    EDNS_OPTION_TCP_KEEPALIVE = 11, /* RFC 7828 */
    EDNS_OPTION_PADDING = 12,
    EDNS_OPTION_EXTENDED_ERROR = 15 /* RFC 8914 */
};

/* INFO-CODEs of RFC 8914. EDE_NONE is ours: no option is sent. */
enum ede {
    EDE_NONE = -1,
    EDE_OTHER = 0,
    EDE_STALE_ANSWER = 3,
    EDE_CACHED_ERROR = 13,
    EDE_NOT_READY = 14,
    EDE_PROHIBITED = 18,
    EDE_STALE_NXDOMAIN = 19,
    EDE_NOT_AUTHORITATIVE = 20,
    EDE_NOT_SUPPORTED = 21,
    EDE_NO_REACHABLE_AUTHORITY = 22,
    EDE_NETWORK_ERROR = 23,
    EDE_INVALID_DATA = 24
};

/* What an OPT record said. */
struct edns {
    bool present;
    uint8_t version;
    uint8_t extended_rcode; /* upper eight bits of the RCODE */
    bool dnssec_ok;
    uint16_t udp_size; /* as sent, not clamped */
    bool has_keepalive;
    uint16_t keepalive;    /* units of 100 ms; 0xffff when the option was empty */
    bool cookie_is_broken; /* a COOKIE of a wrong length (RFC 7873 section 5.2.2) */
    uint8_t cookie_size;   /* of the first COOKIE; 0: none */
    uint8_t cookie[COOKIE_OPTION_MAX];
};

/* Reads the body of an OPT record after its TYPE field: CLASS, TTL, RDLENGTH, RDATA. Sets w->bad for options that do
 * not fill RDATA exactly or a keepalive of the wrong length. Unknown options are skipped. A malformed COOKIE is only
 * noted: in an answer, where we did not send one, it is ignored. */
void edns_read(struct wire *w, struct edns *out);

/* Looks for an Extended DNS Error in a body that edns_read() has accepted; *code is the INFO-CODE of the first. */
bool edns_find_error(struct wire body, uint16_t *code);

/* What our own OPT record in an answer to a client says. */
struct edns_answer {
    uint8_t extended_rcode;
    bool dnssec_ok;              /* the client's bit, copied (RFC 3225 section 3) */
    enum ede ede;                /* EDE_NONE: no option */
    bool keepalive;              /* send edns-tcp-keepalive: only over TCP, only when the client sent it */
    uint16_t keepalive_timeout;  /* units of 100 ms */
    const struct cookie *cookie; /* NULL: none */
};

/* Octets that edns_write_answer() takes. */
size_t edns_answer_size(const struct edns_answer *answer);
void edns_write_answer(struct wire_writer *w, const struct edns_answer *answer);

/* Octets of padding that edns_write_query() adds to a message that has size octets so far. */
size_t edns_query_padding(size_t size, bool keepalive, size_t block);

/* Writes the OPT record of a query to an upstream. keepalive: add an empty edns-tcp-keepalive. block: when not 0, add
 * padding so that the whole message from w->start is a multiple of block octets. */
void edns_write_query(struct wire_writer *w, bool dnssec_ok, bool keepalive, size_t block);

#endif

/* message.h - DNS messages: parses queries of clients and answers of upstreams, and writes messages to both.
 *
 * Pure functions on octets; no I/O, no clock, no allocation.
 * Rules: RFC 1035 section 4, RFC 2181 section 8 (TTLs), RFC 2308 (negative answers), RFC 6840 sections 5.7 to 5.9
 *        (AD, CD, DO), RFC 6891 (EDNS), RFC 8482 (ANY), RFC 9619 (QDCOUNT).
 */
#ifndef NODEDOT_DNS_MESSAGE_H
#define NODEDOT_DNS_MESSAGE_H

#include "nodedot/dns/edns.h"
#include "nodedot/dns/name.h"
#include "nodedot/dns/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_HEADER     12
#define MESSAGE_MAX_OCTETS 65535
/* Longest question: a name, TYPE and CLASS. */
#define QUESTION_MAX_OCTETS (NAME_MAX_OCTETS + 4)
/* Maximum number of records of an answer whose TTLs are tracked; an answer with more is passed on and not cached. A
 * full 64 KiB message of the smallest records (12 octets: pointer, TYPE, CLASS, TTL, RDLENGTH) has 5,461. */
#define MESSAGE_MAX_RECORDS 5461
/* A query to an upstream: header, question, OPT with keepalive and padding to a block. */
#define MESSAGE_QUERY_MAX (MESSAGE_HEADER + QUESTION_MAX_OCTETS + 2 * EDNS_PADDING_BLOCK)
/* An error answer: header, question, OPT with an Extended DNS Error, a keepalive and a cookie. */
#define MESSAGE_ERROR_MAX (MESSAGE_HEADER + QUESTION_MAX_OCTETS + 64)

enum {
    MESSAGE_QR = 0x8000,
    MESSAGE_OPCODE = 0x7800,
    MESSAGE_AA = 0x0400,
    MESSAGE_TC = 0x0200,
    MESSAGE_RD = 0x0100,
    MESSAGE_RA = 0x0080,
    MESSAGE_Z = 0x0040,
    MESSAGE_AD = 0x0020,
    MESSAGE_CD = 0x0010,
    MESSAGE_RCODE = 0x000f
};

/* Offsets of the header's fields, two octets each; the ID is first. */
enum {
    MESSAGE_FLAGS_AT = 2,
    MESSAGE_QDCOUNT_AT = 4,
    MESSAGE_ANCOUNT_AT = 6,
    MESSAGE_NSCOUNT_AT = 8,
    MESSAGE_ARCOUNT_AT = 10
};

enum { CLASS_IN = 1 };

struct question {
    uint16_t qtype;
    uint16_t qclass;
    struct name qname; /* lower case */
};

/* A client's query. Refers to nothing outside. */
struct query_message {
    uint16_t id;
    uint16_t flags;           /* as received */
    uint16_t question_octets; /* as the client wrote it, at MESSAGE_HEADER; 0: there is none to repeat */
    struct question question;
    struct edns edns;
    struct cookie cookie; /* for the answer; the owner fills it in, see cookie_judge() */
};

/* The verdict on a query, in the order of the checks. */
enum query_verdict {
    QUERY_OK,
    QUERY_DROP,    /* shorter than a header, or QR set: no answer */
    QUERY_NOTIMP,  /* opcode other than QUERY */
    QUERY_FORMERR, /* QDCOUNT not 1 (but see QUERY_COOKIE), records in ANSWER or AUTHORITY, trailing octets, bad name, compression, two OPTs,
                      OPT with a name, a broken option or cookie, an additional record other than OPT and TSIG (SIG(0) too), a
                      TSIG that is not the last record or not of class ANY. A good TSIG is passed over: we share no
                      keys */
    QUERY_BADVERS, /* EDNS version above 0 */
    QUERY_COOKIE,  /* no question, but a cookie: it wants ours (RFC 7873 section 5.4) */
    QUERY_REFUSED_CLASS,    /* class other than IN: EDE 21 */
    QUERY_REFUSED_TRANSFER, /* AXFR, IXFR, MAILA, MAILB or another meta type but ANY: EDE 21 */
    QUERY_REFUSED_NO_RD     /* RD clear: EDE 20 */
};

/* Parses octets from a client. *out is filled as far as the message could be read: for any verdict but QUERY_DROP id
 * and flags are good, and question_octets is not 0 where the question could be read (else its type and class are 0).
 * edns.present is set where an OPT was seen, be its options broken: the answer carries one
 * then too. TC, Z, unknown EDNS flags and unknown options are ignored. The hot path: well below 100 ns. */
enum query_verdict query_parse(const uint8_t *message, size_t size, struct query_message *out);

/* Everything known about an upstream's answer. */
struct answer_info {
    uint16_t id;
    uint16_t flags;
    uint16_t rcode;           /* all twelve bits */
    struct question question; /* of the answer */
    uint16_t question_octets;
    struct edns edns;
    bool has_ede;
    uint16_t ede_code;         /* first Extended DNS Error of the upstream */
    size_t size_without_opt;   /* octets up to the OPT record; what stands behind an OPT is left out, see below */
    size_t octets_behind;      /* octets after the last record, which are ignored */
    uint16_t additional_count; /* ARCOUNT after that */
    bool negative;    /* NXDOMAIN, or NOERROR without a record of the type asked for at the CNAME chain's end */
    bool has_soa;     /* in AUTHORITY: without one a negative answer is not cached (RFC 2308 section 5) */
    uint32_t soa_ttl; /* min(TTL of SOA, MINIMUM) */
    uint32_t min_ttl; /* smallest TTL in ANSWER, or in all sections if ANSWER is empty; top bit set counts as 0x7fffffff
                         (RFC 8767 section 4); 0 when there is no record */
    uint16_t ttl_count; /* positions in ttl_offsets; UINT16_MAX: more than fit, so the answer must not be cached */
};

/* The beginning of an upstream's message. */
enum answer_head {
    ANSWER_HEAD_BROKEN, /* no answer: shorter than a header, without QR, of another opcode, or no readable question */
    ANSWER_HEAD_ALONE,  /* an answer that repeats no question (QDCOUNT 0) */
    ANSWER_HEAD_WHOLE   /* an answer that repeats one question */
};

/* Reads header and question alone, and looks at nothing behind them: the rest of a truncated answer may end anywhere.
 * Fills id, flags, question and the lower four bits of rcode, as far as they could be read. */
enum answer_head answer_parse_head(const uint8_t *message, size_t size, struct answer_info *out);

/* Parses the whole of an upstream's answer: header, one question, every record's frame, names and compression inside
 * the well-known types, an A of 4 octets and an AAAA of 16. Broken are also: a record of another class than the
 * question's, a meta type (OPT outside ADDITIONAL, two OPTs, an OPT with a name, a TSIG that is not last), and names
 * that lead through more than NAME_STEPS_MAX labels and pointers. Octets behind the last record are counted and left
 * out, as other resolvers do: some servers send a whole buffer. The time taken is linear in size. Fills ttl_offsets
 * (capacity entries) with each TTL's distance from the message's start, OPT left out. False for a message that is
 * broken in any way, without QR, with another opcode, or whose QDCOUNT is not 1.
 * An OPT is by custom the last record. Where it is not, additional records behind it are left out (pointers into them
 * would have to be rewritten; additional data are a hint, RFC 2181 section 9), as is a TSIG. */
bool answer_parse(const uint8_t *message, size_t size, struct answer_info *out, uint16_t *ttl_offsets, size_t capacity);

/* Style of an answer for a client. */
struct answer_style {
    bool udp;                   /* hold to the client's UDP size, else 65,535 */
    enum ede ede;               /* EDE_NONE: none */
    uint16_t keepalive_timeout; /* for edns-tcp-keepalive over TCP, units of 100 ms */
    uint16_t extended_rcode;    /* upper eight bits of the RCODE of the answer, 0 as a rule */
};

/* Makes the stored message at message (size octets of capacity, without OPT, with a question of equal length) the
 * answer to query, in place: ID, QR, RA, RD and CD as asked, AA clear, AD only when the client set AD or DO (RFC 6840
 * section 5.8), the client's own question octets (question points at them), our OPT when the client sent one. When it
 * does not fit the client's size, the options in our OPT but for the cookie go first (a client that has a cookie of
 * ours throws away an answer without: RFC 7873 section 5.3); when that is not enough, only header, question and
 * OPT stay, and TC is set (RFC 2181 section 9). Over TCP, whose limit is 65,535 octets, it then is a SERVFAIL without
 * TC. An extended RCODE becomes SERVFAIL when there is no OPT to carry it. capacity is at least MESSAGE_ERROR_MAX.
 * Returns the new size. */
size_t answer_finish(uint8_t *message, size_t size, size_t capacity, const struct query_message *query,
                     const uint8_t *question, const struct answer_style *style);

/* Writes an answer without records: header, question (when query has one), OPT. Returns its size; capacity is at least
 * MESSAGE_ERROR_MAX. rcode may be any of enum rcode; BADVERS goes into OPT. */
size_t answer_error(uint8_t *out, size_t capacity, const struct query_message *query, const uint8_t *question,
                    enum rcode rcode, const struct answer_style *style);

/* A query to an upstream. */
struct query_style {
    uint16_t id;
    bool dnssec_ok;
    bool checking_disabled;
    bool keepalive;       /* ask for edns-tcp-keepalive: TCP and TLS alone */
    size_t padding_block; /* 0: none */
    bool edns;            /* false: no OPT, for a server that answers FORMERR to it */
};

/* Writes it: RD and AD set (RFC 6840 section 5.7: we want to know), CD and DO as given. No client subnet or any other
 * of the client's options goes along. Returns its size, 0 when capacity is below MESSAGE_QUERY_MAX. */
size_t query_write(uint8_t *out, size_t capacity, const struct question *question, const struct query_style *style);

/* Octets of padding that query_write() adds. */
size_t query_padding(const struct question *question, const struct query_style *style);

/* Same QNAME, QTYPE and QCLASS. */
bool question_equal(const struct question *a, const struct question *b);

#endif

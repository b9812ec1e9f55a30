/* exchange.h - one query on the wire: how it is written, and what the message that comes back says.
 *
 * An exchange is one query sent to one server address. The transports (pipeline.h, datagram.h) carry it and match the
 * ID; this module writes the query and judges the answer, the same for the daemon and for commands (inquiry.h). It
 * knows neither flights nor addresses: what goes up goes through struct exchange_events.
 *
 * Memory: an exchange belongs to its owner (a flight, or an address that probes); a list links exchanges and owns none.
 * Rules:  RFC 5452 section 9.1 (ID and question must match), RFC 7766 section 7, RFC 6891 section 7 (servers without
 *         EDNS), RFC 2181 section 9 (TC).
 */
#ifndef NODEDOT_FORWARD_EXCHANGE_H
#define NODEDOT_FORWARD_EXCHANGE_H

#include "nodedot/dns/message.h"
#include "nodedot/observe/metrics.h"

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct address;
struct relay;
struct relay_entry;
struct stream;
struct exchange;

/* The probe: every resolver has the NS records of the root. */
extern const struct question exchange_probe_question;

/* How a query is put. */
struct exchange_form {
    const struct question *question; /* must outlive the exchange */
    bool dnssec_ok;
    bool checking_disabled;
    bool stream;        /* over TCP or TLS: asks for a keepalive time-out (RFC 7828) */
    bool padded;        /* over TLS: padded to EDNS_PADDING_BLOCK octets (RFC 8467) */
    bool authenticated; /* the server has proved its identity: its AD bit means something */
    bool edns;
    bool without_options; /* no EDNS option except padding: the server does not accept options */
    bool edns_known;      /* the server has answered queries of this form, so NOTIMP and SERVFAIL are not about EDNS */
};

/* The meaning of a message with the right ID. */
enum exchange_verdict {
    EXCHANGE_ANSWERED,
    EXCHANGE_TRUNCATED,     /* a datagram that is cut, with TC or without: ask over TCP */
    EXCHANGE_DISLIKES_EDNS, /* the server does not accept the options or EDNS: ask again, see exchange_make_plainer() */
    EXCHANGE_ELSEWHERE, /* the server cannot give the answer this way: ask another one; after a datagram: or over TCP */
    EXCHANGE_FOREIGN,   /* the answer to another question */
    EXCHANGE_BROKEN     /* not an answer at all */
};

/* A parsed answer. */
struct exchange_answer {
    const uint8_t *message; /* the message that info describes: received, or made */
    size_t size;            /* of message */
    struct answer_info info;
    uint16_t ttl_offsets[MESSAGE_MAX_RECORDS]; /* see answer_parse() */
    uint8_t
        made[MESSAGE_HEADER + QUESTION_MAX_OCTETS]; /* an error that came without a question; the question is added */
};

/* Writes the query without a length prefix. Returns its size, 0 when capacity is below MESSAGE_QUERY_MAX. */
size_t exchange_write(const struct exchange_form *form, uint16_t id, uint8_t *out, size_t capacity);

/* Octets of padding that exchange_write() adds. */
size_t exchange_padding(const struct exchange_form *form);

/* The next plainer form for a server that does not accept this one: without options, then without EDNS. False: there is
 * none. A query over TLS keeps its padding as long as it has EDNS. */
bool exchange_make_plainer(struct exchange_form *form);

/* Judges a message whose ID has matched; exchange.c has the rules in their order. Lenient in form (what other resolvers
 * take is taken), never in the question: only a message that repeats it, or an error without any question, is listened
 * to. answer is filled for EXCHANGE_ANSWERED; for other verdicts but EXCHANGE_BROKEN answer->info has flags and
 * RCODE. */
enum exchange_verdict exchange_judge(const struct exchange_form *form, const uint8_t *message, size_t size,
                                     struct exchange_answer *answer);

enum exchange_state {
    EXCHANGE_FREE,
    EXCHANGE_WAITING,  /* in its address's queue until a connection is ready */
    EXCHANGE_STREAM,   /* written, or about to be, to a connection */
    EXCHANGE_DATAGRAM, /* sent from a socket of its own */
    EXCHANGE_RELAYED,  /* out over another thread's connection */
    EXCHANGE_LOST      /* its connection closed; asked again before the loop sleeps */
};

/* Events for the owner of an exchange. */
struct exchange_events {
    /* It was written. */
    void (*sent)(struct exchange *exchange);
    /* An answer came, or a message that asks for another form or another server: any verdict but EXCHANGE_FOREIGN and
     * EXCHANGE_BROKEN. The exchange is still out; the owner ends it. The answer is in exchanges->answer, good until the
     * call returns. */
    void (*answered)(struct exchange *exchange, enum exchange_verdict verdict);
    /* The network refused the datagram. The exchange is still out; the owner ends it. */
    void (*failed)(struct exchange *exchange);
    /* Called instead of answered(), unless NULL: the message itself, not judged further. */
    void (*received)(struct exchange *exchange, const uint8_t *message, size_t size);
    /* Its connection closed; the exchange is EXCHANGE_FREE. NULL: it is added to the list of lost ones. */
    void (*lost)(struct exchange *exchange);
};

struct exchange {
    const struct exchange_events *events;
    void *owner; /* of the events */
    struct exchange_form form;
    struct exchanges *exchanges;
    struct address *address;          /* where it is asked */
    struct stream *stream;            /* EXCHANGE_STREAM */
    struct relay_entry *relayed;      /* EXCHANGE_RELAYED; NULL while its answer is handed over */
    struct exchange *previous, *next; /* in the address's queue, or the list of the lost */
    ev_io io;                         /* EXCHANGE_DATAGRAM: of its socket */
    uint64_t sent_us;
    uint16_t id;
    enum exchange_state state;
    bool hedge;   /* asked because another one is late */
    bool is_try;  /* it counts towards the tries of its question */
    bool plainer; /* asked in a plainer form, because the server did not accept another one or did not answer */
    bool late;    /* counted as unanswered */
    bool excused; /* EXCHANGE_LOST: its connection had answered other queries, so this one was not refused */
};

/* Exchanges in the order in which they came. */
struct exchange_list {
    struct exchange *first, *last;
};

/* Puts an exchange at the end; the caller sets its state. */
void exchange_list_push(struct exchange_list *list, struct exchange *exchange);

/* Removes it from its list; it is EXCHANGE_FREE then. */
void exchange_list_remove(struct exchange_list *list, struct exchange *exchange);

/* Common to all exchanges of one thread. */
struct exchanges {
    struct ev_loop *loop;
    struct metrics *metrics;
    struct relay *relay;           /* to the connections of other threads; NULL: there are none */
    unsigned thread;               /* number of this one */
    struct exchange_answer answer; /* of the message that is being read; one at a time */
    struct stream *dirty;          /* connections that have queries to write */
    struct exchange_list lost;     /* to be asked again */
    bool unsettled;                /* an address has exchanges to move, or a group may have become unusable */
    bool closing;
};

/* Hands a message whose ID has matched to the exchange's owner, without AD if the form is not authenticated: whoever is
 * on the path could have set it (RFC 6840 section 5.8). False: it is no answer to the question (it was counted);
 * the exchange goes on waiting. */
bool exchange_receive(struct exchange *exchange, uint8_t *message, size_t size);

/* Is one of these exchanges (count of them) out, or waiting, at this address? At any address? */
bool exchange_is_at(const struct exchange *exchanges, size_t count, const struct address *address);
size_t exchange_count_out(const struct exchange *exchanges, size_t count);

#endif

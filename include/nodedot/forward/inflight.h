/* inflight.h - questions that wait for an upstream's answer: one entry a question, however many clients wait for it.
 *
 * Key:    as in the cache: QNAME, QTYPE, QCLASS, DO and CD.
 * Memory: a fixed number of entries, taken at start. The limit `in-flight` counts waiting queries over all threads;
 *         an entry stands for at least one of them, or is one of a bounded number that no client waits for, so a
 *         table of that many entries never runs dry before the limit.
 * Shared: a table belongs to one thread.
 */
#ifndef NODEDOT_FORWARD_INFLIGHT_H
#define NODEDOT_FORWARD_INFLIGHT_H

#include "nodedot/base/pool.h"
#include "nodedot/dns/message.h"

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct address;
struct stream;
struct upstream;
struct flight;

/* Askings of one question that may be left without an answer. RFC 9520 section 3.1 allows three at a server. */
#define FLIGHT_TRIES 3
/* Askings that may be out at the same time: the tries, and one hedge. */
#define FLIGHT_ATTEMPTS (FLIGHT_TRIES + 1)
/* Askings in all, hedges, those after a connection that closed, those over TCP or without EDNS, and those of a fallback
 * included: whatever the servers do, one question never causes more upstream queries than these. */
#define FLIGHT_ASKS 8

enum attempt_state {
    ATTEMPT_FREE,
    ATTEMPT_WAITING,  /* in its address's queue until a connection is ready */
    ATTEMPT_STREAM,   /* written, or about to be, to a stream */
    ATTEMPT_DATAGRAM, /* sent from a socket of its own */
    ATTEMPT_LOST      /* its connection closed; asked again before the loop sleeps */
};

/* One asking of one question at one address. */
struct attempt {
    struct flight *flight; /* NULL: a probe of the address itself */
    struct address *address;
    struct stream *stream;
    struct attempt *previous, *next; /* in the address's queue, or the list of the lost */
    ev_io io;                        /* of a datagram's socket */
    uint64_t sent_us;
    uint16_t id;
    enum attempt_state state;
    bool hedge; /* asked because another one was late */
    bool late;  /* counted as unanswered */
};

/* Attempts in the order in which they came. */
struct attempt_list {
    struct attempt *first, *last;
};

struct flight {
    struct question question;
    bool dnssec_ok;
    bool checking_disabled;
    uint64_t hash;
    struct flight *next; /* in its bucket */
    void *waiting;       /* list of the owner's queries */
    const void *zone;    /* the owner's */
    struct upstream *upstream;
    const struct address *server; /* whose answer ended it */
    struct attempt attempts[FLIGHT_ATTEMPTS];
    ev_timer timer; /* next of: hedge, ask again, serve stale, give up */
    uint64_t started_us;
    uint64_t hedge_ms; /* clock_ms() when a second address is asked as well; 0: not any more */
    uint32_t hedge_wait_ms;
    uint64_t ask_again_ms; /* when it is asked elsewhere as well, whatever that costs; 0: not any more */
    uint64_t stale_ms;     /* when a stale answer is served meanwhile; 0: done */
    uint64_t deadline_ms;  /* when it is given up */
    uint8_t tries;         /* askings that were left without an answer or are out, but for a hedge */
    uint8_t asks;          /* all askings */
    bool without_edns;     /* a server answered FORMERR to OPT */
    bool over_tcp;         /* a plain answer was truncated */
    bool fell_back;        /* upstream is the fallback of the one that it was for */
    uint16_t failed_rcode; /* an upstream's own failure, kept while another address is asked */
};

struct inflight {
    struct pool flights;
    struct flight **buckets;
    size_t bucket_mask;
    size_t count;
};

/* Takes memory for capacity entries. False: no memory. */
bool inflight_init(struct inflight *table, size_t capacity);
void inflight_reset(struct inflight *table);

/* The entry of a question, or NULL. hash is that of the cache key. */
struct flight *inflight_find(const struct inflight *table, uint64_t hash, const struct question *question,
                             bool dnssec_ok, bool checking_disabled);

/* A new entry with everything zero but the key; NULL: the table is full. */
struct flight *inflight_take(struct inflight *table, uint64_t hash, const struct question *question, bool dnssec_ok,
                             bool checking_disabled);

/* Gives an entry back. Its attempts must be free and its timer stopped. */
void inflight_release(struct inflight *table, struct flight *flight);

/* Puts an attempt at the end; the caller sets its state. */
void attempt_list_push(struct attempt_list *list, struct attempt *attempt);

/* Takes it out, wherever it stands; it is free then. */
void attempt_list_remove(struct attempt_list *list, struct attempt *attempt);

#endif

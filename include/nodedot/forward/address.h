/* address.h - one server address of a group, as one thread sees it: its connections, its queue, its probes.
 *
 * Health:      health.h decides from what happens here; what all threads know together is in reachability.h.
 * Connections: one is opened at the start and whenever one closes while queries come; another when the least loaded
 *              one is busy, up to the limit.
 * Memory:      the connections (ADDRESS_STREAMS and their buffers), taken at start.
 * Shared:      by nobody; one thread has one struct address for each address.
 */
#ifndef NODEDOT_FORWARD_ADDRESS_H
#define NODEDOT_FORWARD_ADDRESS_H

#include "nodedot/config/config.h"
#include "nodedot/forward/dialect.h"
#include "nodedot/forward/exchange.h"
#include "nodedot/forward/health.h"
#include "nodedot/forward/latency.h"
#include "nodedot/forward/stream.h"

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Connections to one address, over all threads; a thread has at least two, so that one can be replaced in peace. */
#define ADDRESS_STREAMS     4
#define ADDRESS_STREAMS_MIN 2
/* More of them that are silent: they take no new queries, but an answer that is late may still come. */
#define ADDRESS_STREAMS_SUSPECT 2

/* What an address knows of its group. */
struct address_peers {
    const struct upstream_status *status;
    bool has_fallback;
    bool silent;                                  /* no address of the group answers, as far as this thread knows */
    size_t count;                                 /* addresses of the group */
    uint64_t asked_ms;                            /* last question to the group */
    void (*changed)(struct address_peers *peers); /* an address failed, answered or changed its identity */
};

struct address {
    struct exchanges *exchanges;
    struct address_peers *peers;
    const struct upstream_config *config;
    struct stream_peer peer;
    struct stream *streams; /* stream_count of them */
    unsigned stream_count;
    unsigned open_max;            /* connections that are not suspect */
    struct exchange_list waiting; /* for a connection */
    struct exchange probe;        /* shows whether it answers */
    struct health health;
    struct latency latency;
    struct dialect dialect;
    ev_timer timer;     /* next connect or probe */
    unsigned datagrams; /* exchanges that are out, each in a datagram */
    size_t row;         /* number of its row in the status page */
    bool lacking;       /* this node had nothing for one more connection: what waits fails when the loop settles */
    bool lacked;        /* the same; one is to be opened when the timer runs */
    bool capped;        /* other threads have connections and this one gets none: it tries rarely */
    bool move_waiting;  /* no connection is to be had: its queue goes elsewhere when the loop settles */
    bool move_asked;    /* it is stalled: what only it was asked is asked elsewhere when the loop settles */
};

struct address_setup {
    struct exchanges *exchanges;
    struct address_peers *peers;
    const struct upstream_config *config;
    struct tls_trust *trust;        /* NULL: plain */
    struct address_status *status;  /* its row of the status page */
    size_t row;                     /* the number of that row */
    void (*changed)(void *context); /* see reachability.h */
    void *context;
    unsigned open_max; /* connections of this thread to one address */
};

/* Prepares the index-th address of config. False: no memory. */
bool address_init(struct address *address, size_t index, const struct address_setup *setup);

/* Closes everything and releases the memory. Exchanges must be over. */
void address_close(struct address *address);

/* The connection with the fewest queries out that can take one more, or NULL. */
struct stream *address_stream(const struct address *address);

/* Queries that are out there. */
unsigned address_outstanding(const struct address *address);

/* Opens one more connection, unless one is on its way or none may be opened. */
void address_open_stream(struct address *address);

/* Sends the exchange, or lets it wait for a connection. form says what is asked; over_tcp: not in a datagram. False:
 * the network refuses a datagram at once (errno is set); nothing is out then. */
bool address_ask(struct address *address, struct exchange *exchange, bool over_tcp);

/* How would an exchange be put here now? Completes form. */
void address_complete_form(const struct address *address, struct exchange_form *form, bool over_tcp);

/* Takes an exchange that waits for a connection to another thread's. False: it goes on waiting. */
bool address_relay(struct exchange *exchange);

/* Asks over a connection that is ready now. False: there is none. */
bool address_ask_now(struct address *address, struct exchange *exchange);

/* Ends one exchange, whatever its state; an answer to it will be dropped. */
void address_forget(struct exchange *exchange);

/* Sends a query of our own to see whether it answers. */
void address_probe(struct address *address);

/* This node is short of what a socket needs. The address has no part in it: nothing is said of its health. reason: for
 * the log. */
void address_lacking(struct address *address, const char *reason);

enum address_failure {
    ADDRESS_NO_CONNECTION, /* other threads may have one */
    ADDRESS_NO_ANSWER      /* to what this thread asked */
};

/* Something went wrong there: counts it and tries again later. What is said of the address in the name of all threads
 * is said only when none of them has a working connection or an answer since. reason: for the log. */
void address_failed(struct address *address, enum address_failure failure, const char *reason);

/* A valid answer came to the exchange. */
void address_answered(struct exchange *exchange);

/* The same, as far as it shows that the address works; it is counted elsewhere. */
void address_credit(struct address *address);

/* What the answer to the exchange says of the server and EDNS. silent: see dialect_answered(). */
void address_note_edns(const struct exchange *exchange, enum exchange_verdict verdict, bool silent);

/* Another address answered within took_us what the exchange, still unanswered, asks here. */
void address_outrun(const struct exchange *exchange, uint64_t took_us);

/* The exchange was not answered for as long as any query waits: counts it, and judges its connection and address. */
void address_late(struct exchange *exchange);

/* Counts an exchange that is out without an answer, once. */
void address_count_timeout(struct exchange *exchange);

/* Sets the timer of a working address anew: how often it is probed depends on whether its group's fallback serves. */
void address_rewatch(struct address *address);

/* Does it look as if it would answer now? */
bool address_is_good(const struct address *address);

/* Has it been of no use to this thread for at least this long, and no other thread has a connection or an answer? */
bool address_is_dead(const struct address *address, uint64_t long_ms);

/* Closes connections and tickets of an identity that no longer holds; opens a connection where there is none. */
void address_recheck(struct address *address);

#endif

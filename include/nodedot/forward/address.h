/* address.h - one server address of a group, as one thread sees it: its connections, its queue, its probes.
 *
 * Health:      health.h decides from the events here; reachability.h has the knowledge of all threads.
 * Connections: one is opened at the start, and again whenever it closes while there are queries; another one when
 *              the least loaded one is busy, up to the limit.
 * Memory:      the connections (ADDRESS_STREAMS and their buffers), taken at start.
 * Shared:      no; each thread has one struct address for each address.
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

/* Connections to one address, over all threads; a thread has at least two, so that one can be replaced without a
 * gap. */
#define ADDRESS_STREAMS     4
#define ADDRESS_STREAMS_MIN 2
/* Additional connections that are silent: they take no new queries, but a late answer may still arrive. */
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
    struct exchange probe;        /* query that shows whether it answers */
    struct health health;
    struct latency latency;
    struct dialect dialect;
    ev_timer timer;     /* next connect or probe */
    unsigned datagrams; /* exchanges that are out, each in a datagram */
    size_t row;         /* number of its row in the status page */
    bool lacking; /* this node lacked resources for one more connection: waiting exchanges fail when the loop settles */
    bool lacked;  /* the same; a connection is opened when the timer runs */
    bool capped;  /* other threads have connections and this one gets none: it tries rarely */
    bool move_waiting; /* no connection is available: its queue moves to other addresses when the loop settles */
    bool move_asked;   /* it is stalled: its questions are asked elsewhere when the loop settles */
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

/* Queries in flight to it. */
unsigned address_outstanding(const struct address *address);

/* Opens one more connection, unless one is being opened or none may be opened. */
void address_open_stream(struct address *address);

/* Sends the exchange, or queues it for a connection. form says what is asked; over_tcp: not in a datagram. False: the
 * network refuses the datagram at once (errno is set); nothing is in flight then. */
bool address_ask(struct address *address, struct exchange *exchange, bool over_tcp);

/* Completes form for an exchange that is sent now. */
void address_complete_form(const struct address *address, struct exchange_form *form, bool over_tcp);

/* Moves an exchange that waits for a connection to another thread's connection. False: it continues to wait. */
bool address_relay(struct exchange *exchange);

/* Asks over a connection that is ready now. False: there is none. */
bool address_ask_now(struct address *address, struct exchange *exchange);

/* Ends one exchange, whatever its state; an answer to it will be dropped. */
void address_forget(struct exchange *exchange);

/* Sends a probe to see whether it answers. */
void address_probe(struct address *address);

/* This node lacks resources for a socket. The address is not at fault: its health does not change. reason: for the
 * log. */
void address_lacking(struct address *address, const char *reason);

enum address_failure {
    ADDRESS_NO_CONNECTION, /* other threads may have one */
    ADDRESS_NO_ANSWER      /* to what this thread asked */
};

/* A failure: counts it and tries again later. The shared state changes only if no thread has a working connection or an
 * answer since. reason: for the log. */
void address_failed(struct address *address, enum address_failure failure, const char *reason);

/* A valid answer came to the exchange. */
void address_answered(struct exchange *exchange);

/* The same without counting: it shows that the address works. */
void address_credit(struct address *address);

/* Notes what the answer says about the server and EDNS. silent: see dialect_answered(). */
void address_note_edns(const struct exchange *exchange, enum exchange_verdict verdict, bool silent);

/* Another address answered the question of this exchange, which is still unanswered, within took_us. */
void address_outrun(const struct exchange *exchange, uint64_t took_us);

/* The exchange was not answered within the time limit of a query: counts it, and judges its connection and address. */
void address_late(struct exchange *exchange);

/* Counts an exchange without an answer, once. */
void address_count_timeout(struct exchange *exchange);

/* Sets the timer of a working address again: the probe interval depends on whether the group's fallback is in use. */
void address_rewatch(struct address *address);

/* Is it likely to answer now? */
bool address_is_good(const struct address *address);

/* Has this thread failed to use it for at least this long, and no other thread has a connection or an answer? */
bool address_is_dead(const struct address *address, uint64_t long_ms);

/* Closes connections and drops tickets of an old identity; opens a connection if there is none. */
void address_recheck(struct address *address);

#endif

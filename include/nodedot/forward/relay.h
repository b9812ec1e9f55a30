/* relay.h - lets a thread without a connection ask over the connection of another thread.
 *
 * An upstream may allow fewer connections a client than there are threads. A thread that has none, and cannot get one
 * while others have, would fail its clients for ever: the kernel, not we, chooses the thread that a client is served
 * by. Waiting does not help it, because connections in use stay open. So it hands the exchange to a thread that has a
 * connection, and gets back the octets of the answer; it judges them as if they had come over a connection of its own.
 *
 * Life:   relay_ask() by the asking thread; relay_serve() by the other, which asks and calls relay_answer() or
 *         relay_fail(); relay_collect() by the first. relay_forget() ends it from the asking side at any time.
 * Memory: RELAY_ENTRIES, taken once; an answer is copied to memory of its size until it is collected, so at most
 *         RELAY_ENTRIES times 64 KiB.
 * Shared: by all threads of a generation, with one lock. Nothing here is used as long as each thread has connections.
 */
#ifndef NODEDOT_FORWARD_RELAY_H
#define NODEDOT_FORWARD_RELAY_H

#include "nodedot/forward/exchange.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exchanges of all threads that are out over another thread's connection. One connection carries PIPELINE_SLOTS; what
 * does not fit waits for a connection as before. */
#define RELAY_ENTRIES 512

enum relay_state {
    RELAY_FREE,
    RELAY_ASKED,    /* waits for the thread with the connection */
    RELAY_SERVED,   /* out over its connection */
    RELAY_ANSWERED, /* waits to be collected */
    RELAY_FAILED    /* the same, without an answer */
};

struct relay_entry {
    struct relay *relay;
    enum relay_state state;
    unsigned asking, serving; /* threads */
    bool forgotten;           /* nobody waits for it any more */
    size_t address;           /* number of the row of the status page */
    struct question question;
    struct exchange *asker;   /* of the asking thread */
    struct exchange exchange; /* of the serving thread */
    uint8_t *answer;
    size_t size;
};

struct relay {
    pthread_mutex_t lock;
    uint32_t left; /* bit t: thread t serves no more */
    unsigned turn; /* so that threads with connections take turns */
    /* Makes the thread call relay_serve() and relay_collect() soon; may be called by any thread. */
    void (*wake)(void *context, unsigned thread);
    void *context;
    struct relay_entry entries[RELAY_ENTRIES];
};

/* NULL: no memory. */
struct relay *relay_create(void (*wake)(void *context, unsigned thread), void *context);
void relay_destroy(struct relay *relay);

/* Hands the exchange, whose form is complete, to one of the threads in holders (bit t: thread t), to be asked at the
 * address of this row; it is EXCHANGE_RELAYED then. False: there is no room, or no thread to ask. */
bool relay_ask(struct relay *relay, struct exchange *exchange, size_t address, uint32_t holders);

/* The asking side gives up; the exchange is EXCHANGE_FREE then. */
void relay_forget(struct exchange *exchange);

/* Calls ask() for each entry that is to be asked by this thread, with its exchange prepared but for events and owner,
 * and forget() for each one that is out and was given up. ask() returns false when it cannot be asked. */
void relay_serve(struct relay *relay, unsigned thread, void *context,
                 bool (*ask)(void *context, struct relay_entry *entry), void (*forget)(struct relay_entry *entry));

/* The serving side has the answer, or none. Its exchange is over then. */
void relay_answer(struct relay_entry *entry, const uint8_t *message, size_t size);
void relay_fail(struct relay_entry *entry);

/* Calls answered() for each exchange of this thread that has its answer, and failed() for the others that are over. The
 * exchange is still EXCHANGE_RELAYED; address_forget() ends it. */
void relay_collect(struct relay *relay, unsigned thread,
                   void (*answered)(struct exchange *exchange, uint8_t *message, size_t size),
                   void (*failed)(struct exchange *exchange));

/* This thread serves no more: calls forget() for what is out over its connections, and fails that and what waits. */
void relay_leave(struct relay *relay, unsigned thread, void (*forget)(struct relay_entry *entry));

#endif

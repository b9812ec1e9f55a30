/* busiest.h - which clients ask most right now: a sketch of fixed size, however many clients there are.
 *
 * Sketch:  Space-Saving (Metwally, Agrawal and El Abbadi, 2005) in sets: a client's set follows from its key, and a
 *          newcomer in a full set takes the place of who counted least, with that count to defend the place. So a
 *          client that sends more than one in BUSIEST_WAYS of its set's queries is always found, whatever a million
 *          sources do that ask once each. What was taken over is not reported: a rate may be too low, never too high.
 * Time:    queries of the last BUSIEST_WINDOW_MS. Who stopped is forgotten after it, which a counter could not do:
 *          the list changes all the time, and a counter that appears with its whole past would look like a flood.
 * Memory:  8 KiB a thread, in shared memory.
 * Shared:  a sketch has one writer, its worker; anybody reads at any time. All sketches of a generation put a client
 *          into the same set, so that they can be added up set by set.
 */
#ifndef NODEDOT_OBSERVE_BUSIEST_H
#define NODEDOT_OBSERVE_BUSIEST_H

#include "nodedot/base/endpoint.h"
#include "nodedot/config/config.h"

#include <stdatomic.h>
#include <stdint.h>

#define BUSIEST_SETS 32
#define BUSIEST_WAYS 8
/* Long enough that a burst of one search path is no flood, short enough to see one while it lasts. */
#define BUSIEST_WINDOW_MS 10000
/* Clients that are reported. */
#define BUSIEST_SHOWN 10

/* The keys fill two cache lines; of the counts only one is written for a query. */
struct busiest_set {
    _Alignas(64) _Atomic uint64_t keys[BUSIEST_WAYS][2];
    _Atomic uint32_t now[BUSIEST_WAYS];       /* queries in this window */
    _Atomic uint32_t before[BUSIEST_WAYS];    /* in the window before */
    _Atomic uint32_t inherited[BUSIEST_WAYS]; /* of who had the place */
    _Atomic uint32_t version;                 /* odd while a place changes hands or the window ends */
};

/* An address as a number, the rest of its client's prefix cut off; an IPv4 one as IPv4-mapped. */
struct busiest_key {
    uint64_t high, low;
};

/* One worker's. */
struct busiest_sketch {
    uint64_t seed[2];
    struct busiest_key v4_mask, v6_mask; /* bits that tell clients apart */
    _Atomic uint64_t window_ms;          /* clock_ms() when this window began */
    _Atomic uint32_t before_ms;          /* how long the one before lasted; 0: there was none */
    struct busiest_set sets[BUSIEST_SETS];
};

/* Those of a generation. */
struct busiest {
    struct client_prefix prefix;
    struct busiest_sketch sketches[CONFIG_WORKERS];
};

/* Empties all sketches, and gives them a common secret. For the first thread of a generation, before the others. */
void busiest_begin(struct busiest *busiest, const struct client_prefix *prefix, uint64_t now_ms);

/* Counts a query from there. Clients are told apart as by endpoint_client_key(), but in a few nanoseconds. */
void busiest_count(struct busiest_sketch *sketch, const struct endpoint *endpoint);

/* Ends a window that is over. The sketch's own thread calls it about once a second. */
void busiest_turn(struct busiest_sketch *sketch, uint64_t now_ms);

struct busy_client {
    struct busiest_key key;
    uint64_t millihertz; /* queries in a thousand seconds */
};

/* Fills out with those that ask most, the busiest first. Returns how many. */
size_t busiest_list(const struct busiest *busiest, uint64_t now_ms, struct busy_client out[BUSIEST_SHOWN]);

/* Writes "192.0.2.1", or for a prefix "2001:db8::/64", to out of ENDPOINT_TEXT octets, and returns out. */
const char *busiest_format(const struct busiest *busiest, const struct busy_client *client, char *out);

#endif

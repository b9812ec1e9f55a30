/* busiest.h - finds the clients that ask most at the moment, with a sketch of fixed size.
 *
 * Sketch:  Space-Saving (Metwally, Agrawal and El Abbadi, 2005) in sets: a client's key determines its set, and a new
 *          client in a full set replaces the one with the lowest count and inherits that count. So a client that sends
 *          more than one in BUSIEST_WAYS of its set's queries is always found, even among a million sources that ask
 *          once each. Inherited counts are not reported: a rate may be too low, never too high.
 * Time:    queries of the last BUSIEST_WINDOW_MS. A client that has stopped is forgotten. A counter would not work: the
 *          list changes all the time, and a counter that appears with its whole past would look like a flood.
 * Memory:  8 KiB per thread, in shared memory.
 * Shared:  a sketch has one writer, its worker; any process may read at any time. All sketches of a generation put a
 *          client into the same set, so that they can be added set by set.
 */
#ifndef NODEDOT_OBSERVE_BUSIEST_H
#define NODEDOT_OBSERVE_BUSIEST_H

#include "nodedot/base/endpoint.h"
#include "nodedot/config/config.h"

#include <stdatomic.h>
#include <stdint.h>

#define BUSIEST_SETS 32
#define BUSIEST_WAYS 8
/* Long enough that a burst of one search path is no flood, short enough to show a flood while it lasts. */
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

/* An address as a number, without the bits after the client's prefix; an IPv4 address as IPv4-mapped. */
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

/* Empties all sketches, and gives them a common secret. Called by the first thread of a generation, before it starts
 * others. */
void busiest_begin(struct busiest *busiest, const struct client_prefix *prefix, uint64_t now_ms);

/* Counts a query from this address. Clients are defined as in endpoint_client_key(), but computed in a few
 * nanoseconds. */
void busiest_count(struct busiest_sketch *sketch, const struct endpoint *endpoint);

/* Ends a window that is over. The sketch's own thread calls it about once a second. */
void busiest_turn(struct busiest_sketch *sketch, uint64_t now_ms);

struct busy_client {
    struct busiest_key key;
    uint64_t millihertz; /* queries in a thousand seconds */
};

/* Fills out with the busiest clients, in order. Returns their number. */
size_t busiest_list(const struct busiest *busiest, uint64_t now_ms, struct busy_client out[BUSIEST_SHOWN]);

/* Writes "192.0.2.1", or for a prefix "2001:db8::/64", to out of ENDPOINT_TEXT octets, and returns out. */
const char *busiest_format(const struct busiest *busiest, const struct busy_client *client, char *out);

#endif

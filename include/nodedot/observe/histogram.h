/* histogram.h - durations, counted in buckets whose bounds grow by the square root of two.
 *
 * Bounds: 2^(k/2) seconds, from 2^-14.5 (43 us) to 2^2.5 (5.7 s). They are those of a Prometheus native histogram of
 *         schema 1, so what is scraped can be turned into one without loss. Anything longer is in the last bucket.
 * Memory: one number per bucket and a sum.
 * Shared: in shared memory, read by anybody at any time. histogram_add() is for one writer, histogram_add_shared() for
 *         many.
 */
#ifndef NODEDOT_OBSERVE_HISTOGRAM_H
#define NODEDOT_OBSERVE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_BOUNDS  35
#define HISTOGRAM_BUCKETS (HISTOGRAM_BOUNDS + 1) /* the last one has no bound */

struct histogram {
    _Atomic uint64_t buckets[HISTOGRAM_BUCKETS]; /* each counts only its own range, not the ranges below */
    _Atomic uint64_t sum_us;
};

/* Upper bounds of the buckets, inclusive, in nanoseconds. */
extern const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS];

/* The bucket that a duration belongs to. */
unsigned histogram_bucket(uint64_t us);

/* Counts `count` events that took us microseconds each. For a histogram with one writer: no bus lock. */
void histogram_add(struct histogram *histogram, uint64_t us, uint64_t count);

/* Counts one event, for a histogram with several writers. */
void histogram_add_shared(struct histogram *histogram, uint64_t us);

#endif

/* latency.h - the response time of one address, as one thread sees it.
 *
 * Two views of the same samples: a smoothed round-trip time with its variance, which follows changes (RFC 6298 section
 * 2, but that its first samples weigh the same), and a distribution, which knows what is usual: its buckets are a
 * quarter of an octave wide (64 us to 8.4 s), and all are halved when LATENCY_SAMPLES_MAX are in, so that old samples
 * fade.
 * Units:  microseconds.
 * Memory: fixed; zero bytes are a good start. Shared: by nobody.
 */
#ifndef NODEDOT_FORWARD_LATENCY_H
#define NODEDOT_FORWARD_LATENCY_H

#include <stdint.h>

/* One bucket below 64 us and four for each of the 17 octaves above. */
#define LATENCY_BUCKETS 69
/* The distribution covers the last 512 to 1024 answers: some seconds under load, an hour on an idle node. */
#define LATENCY_SAMPLES_MAX 1024
/* With fewer samples than this there is no estimate. */
#define LATENCY_SAMPLES_FEW 4
/* Below this many samples a 95th percentile is just the largest of them. */
#define LATENCY_SAMPLES_MIN 20
/* Assumed for an address without samples: the time of a recursive resolver for a name that it does not know. */
#define LATENCY_UNKNOWN_US 250000

struct latency {
    uint32_t smoothed_us; /* 0: never measured */
    uint32_t variance_us;
    uint32_t usual_us; /* the 95th percentile when it was last looked up */
    uint16_t count;    /* of samples in the buckets */
    uint16_t buckets[LATENCY_BUCKETS];
};

void latency_add(struct latency *latency, uint64_t us);

/* The 95th percentile (the upper bound of the bucket): a question that waits longer is late. With few samples it is
 * estimated like the timeout of RFC 6298. */
uint32_t latency_usual_us(const struct latency *latency);

/* The expected time of the next answer, to compare addresses by; 0: fewer than LATENCY_SAMPLES_FEW samples. */
uint32_t latency_expected_us(const struct latency *latency);

#endif

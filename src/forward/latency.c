#include "nodedot/forward/latency.h"

#include <string.h>

/* Octave of the first bucket's upper bound, and of the last bucket's lower one. */
#define OCTAVE_MIN 6
#define OCTAVE_MAX 22
/* The percentile is computed again after this many samples: it changes slowly, and each computation reads all
 * buckets. */
#define REFRESH_SAMPLES 16
/* RFC 6298 section 2: the weight of a sample in SRTT is one in this many. */
#define SMOOTH_SAMPLES 8
/* RFC 6298 section 2: K in "RTO = SRTT + K * RTTVAR". */
#define VARIANCES 4

static unsigned bucket_of(uint32_t us)
{
    unsigned octave;

    if (us < 1u << OCTAVE_MIN)
        return 0;
    octave = 31u - (unsigned)__builtin_clz(us);
    if (octave > OCTAVE_MAX)
        return LATENCY_BUCKETS - 1;
    return (octave - OCTAVE_MIN) * 4 + ((us >> (octave - 2)) & 3) + 1;
}

static uint32_t bucket_bound_us(unsigned bucket)
{
    if (bucket == 0)
        return 1u << OCTAVE_MIN;
    return (5 + (bucket - 1) % 4) << (OCTAVE_MIN + (bucket - 1) / 4 - 2);
}

/* The bound that 95 of 100 samples do not pass. */
static uint32_t percentile_us(const struct latency *latency)
{
    uint32_t wanted = ((uint32_t)latency->count * 95 + 99) / 100;
    uint32_t seen = 0;
    unsigned bucket = 0;

    while (bucket < LATENCY_BUCKETS - 1) {
        seen += latency->buckets[bucket];
        if (seen >= wanted)
            break;
        bucket++;
    }
    return bucket_bound_us(bucket);
}

static void halve(struct latency *latency)
{
    latency->count = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        latency->buckets[i] /= 2;
        latency->count = (uint16_t)(latency->count + latency->buckets[i]);
    }
}

/* The first samples weigh the same, or the very first, which often falls into the rush of a start, would keep an
 * address out of use for long. */
static void smooth(struct latency *latency, uint32_t us)
{
    uint64_t weight = latency->count < SMOOTH_SAMPLES ? latency->count + 1 : SMOOTH_SAMPLES;
    uint32_t apart;

    if (latency->smoothed_us == 0) {
        latency->smoothed_us = us;
        latency->variance_us = us / 2;
        return;
    }
    apart = us > latency->smoothed_us ? us - latency->smoothed_us : latency->smoothed_us - us;
    latency->variance_us = latency->variance_us / 4 * 3 + apart / 4;
    latency->smoothed_us = (uint32_t)((latency->smoothed_us * (weight - 1) + us) / weight);
}

void latency_add(struct latency *latency, uint64_t us)
{
    uint32_t bound = bucket_bound_us(LATENCY_BUCKETS - 1);
    uint32_t sample = us == 0 ? 1 : us < bound ? (uint32_t)us : bound;

    smooth(latency, sample);
    latency->buckets[bucket_of(sample)]++;
    if (++latency->count >= LATENCY_SAMPLES_MAX)
        halve(latency);
    if (latency->count == LATENCY_SAMPLES_MIN || latency->count % REFRESH_SAMPLES == 0)
        latency->usual_us = percentile_us(latency);
}

uint32_t latency_usual_us(const struct latency *latency)
{
    if (latency->smoothed_us == 0)
        return LATENCY_UNKNOWN_US;
    if (latency->count < LATENCY_SAMPLES_MIN || latency->usual_us == 0)
        return latency->smoothed_us + VARIANCES * latency->variance_us;
    return latency->usual_us;
}

uint32_t latency_expected_us(const struct latency *latency)
{
    if (latency->count < LATENCY_SAMPLES_FEW)
        return 0;
    return latency->smoothed_us + latency->variance_us;
}

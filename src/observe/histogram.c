#include "nodedot/observe/histogram.h"

const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS] = {
    43158,     61035,     86317,      122070,     172633,     244141,     345267,     488281,     690534,
    976562,    1381068,   1953125,    2762136,    3906250,    5524272,    7812500,    11048543,   15625000,
    22097087,  31250000,  44194174,   62500000,   88388348,   125000000,  176776695,  250000000,  353553391,
    500000000, 707106781, 1000000000, 1414213562, 2000000000, 2828427125, 4000000000, 5656854249,
};

unsigned histogram_bucket(uint64_t us)
{
    uint64_t ns = us < UINT64_MAX / 1000 ? us * 1000 : UINT64_MAX;
    unsigned low = 0;
    unsigned high = HISTOGRAM_BOUNDS;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (histogram_bounds_ns[middle] < ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add(_Atomic uint64_t *number, uint64_t n)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + n, memory_order_relaxed);
}

void histogram_add(struct histogram *histogram, uint64_t us, uint64_t count)
{
    add(&histogram->buckets[histogram_bucket(us)], count);
    add(&histogram->sum_us, us * count);
}

void histogram_add_shared(struct histogram *histogram, uint64_t us)
{
    atomic_fetch_add_explicit(&histogram->buckets[histogram_bucket(us)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_us, us, memory_order_relaxed);
}

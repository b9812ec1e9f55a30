#include "nodedot/observe/metrics.h"

#define COUNTER true
#define GAUGE   false

#define METRIC_ROW(metric, kind, in, with, text) \
    {.name = #metric,                            \
     .family = (in),                             \
     .labels = (with),                           \
     .help = (text),                             \
     .counter = (kind),                          \
     .offset = offsetof(struct metrics, metric)},
const struct metric_info metric_table[] = {METRICS(METRIC_ROW)};
#undef METRIC_ROW

const size_t metric_table_size = sizeof metric_table / sizeof metric_table[0];

static _Atomic uint64_t *metric_in(const struct metrics *block, const struct metric_info *info)
{
    return (_Atomic uint64_t *)(uintptr_t)((const char *)block + info->offset);
}

uint64_t metric_sum(const struct status_page *page, const struct metric_info *info)
{
    uint32_t current = atomic_load(&page->slot) % STATUS_SLOTS;
    uint64_t sum = 0;

    for (uint32_t slot = 0; slot < STATUS_SLOTS; slot++) {
        if (!info->counter && slot != current)
            continue; /* what a generation that is gone had open is not open any more */
        for (size_t thread = 0; thread < STATUS_THREADS; thread++)
            sum += atomic_load_explicit(metric_in(&page->slots[slot].threads[thread], info), memory_order_relaxed);
    }
    return sum;
}

void metrics_reset_gauges(struct status_slot *slot)
{
    for (size_t i = 0; i < metric_table_size; i++) {
        for (size_t thread = 0; thread < STATUS_THREADS && !metric_table[i].counter; thread++)
            atomic_store_explicit(metric_in(&slot->threads[thread], &metric_table[i]), 0, memory_order_relaxed);
    }
}

const char *identity_state_name(enum identity_state state)
{
    switch (state) {
    case IDENTITY_UNVERIFIED:
        return "unverified";
    case IDENTITY_VALID:
        return "valid";
    case IDENTITY_MISMATCH:
        return "mismatch";
    case IDENTITY_UNREACHABLE:
        return "unreachable";
    }
    return "unknown"; /* the page may be of another version */
}

#include "nodedot/observe/metrics.h"

#include "nodedot/base/clock.h"

#include <stdlib.h>
#include <string.h>

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
            continue; /* nothing of an earlier generation is open any longer */
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

/* ---- rows of addresses ---- */

static bool same_row(const struct address_status *a, const struct address_status *b)
{
    return endpoint_equal(&a->endpoint, &b->endpoint) && strncmp(a->upstream, b->upstream, sizeof a->upstream) == 0;
}

static const struct address_status *find_row(const struct address_status *rows, uint32_t count,
                                             const struct address_status *like, uint32_t index)
{
    if (index < count && same_row(&rows[index], like))
        return &rows[index];
    for (uint32_t i = 0; i < count; i++) {
        if (same_row(&rows[i], like))
            return &rows[i];
    }
    return NULL;
}

const struct address_status *metrics_find_row(const struct status_slot *slot, const struct address_status *like,
                                              uint32_t index)
{
    uint32_t count = atomic_load(&slot->address_count);

    return find_row(slot->addresses, count < STATUS_ADDRESSES ? count : STATUS_ADDRESSES, like, index);
}

static uint64_t row_number(const struct address_status *row, size_t offset)
{
    const _Atomic uint64_t *number = (const void *)((const char *)row + offset);

    return atomic_load_explicit(number, memory_order_relaxed);
}

uint64_t metrics_row_sum(const struct address_status *row, const struct address_status *other, size_t offset)
{
    return row_number(row, offset) + (other != NULL ? row_number(other, offset) : 0);
}

/* Each generation starts without knowledge of an address; counters continue. */
static void begin_row(struct address_status *row, const struct address_status *before)
{
    size_t counted = offsetof(struct address_status, queries);

    memset((char *)row + offsetof(struct address_status, state), 0, counted - offsetof(struct address_status, state));
    atomic_store(&row->since_ms, clock_ms());
    if (before == NULL)
        memset((char *)row + counted, 0, sizeof *row - counted);
    else if (before != row)
        memcpy((char *)row + counted, (const char *)before + counted, sizeof *row - counted);
}

static void begin_upstream(struct upstream_status *status, const struct upstream_config *config)
{
    memset(status, 0, sizeof *status);
    memcpy(status->name, config->name, sizeof status->name);
    status->pin_count = (uint32_t)config->pin_count;
}

/* The old rows are a copy: a new row may lie where an old one was. */
static void place_rows(struct status_slot *slot, const struct config *config, const struct address_status *before,
                       uint32_t before_count)
{
    uint32_t count = 0;

    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct upstream_config *upstream = &config->upstreams[i];

        begin_upstream(&slot->upstreams[i], upstream);
        for (size_t j = 0; j < upstream->address_count; j++) {
            struct address_status *row = &slot->addresses[count];

            memcpy(row->upstream, upstream->name, sizeof row->upstream);
            row->endpoint = upstream->addresses[j];
            begin_row(row, find_row(before, before_count, row, count));
            count++;
        }
    }
    atomic_store(&slot->upstream_count, (uint32_t)config->upstream_count);
    atomic_store(&slot->address_count, count);
}

bool metrics_begin_rows(struct status_slot *slot, const struct config *config)
{
    uint32_t count = atomic_load(&slot->address_count) % (STATUS_ADDRESSES + 1);
    struct address_status *before = malloc((count + 1) * sizeof *before);
    uint32_t version = atomic_load(&slot->rows_version) | 1; /* it may be odd: the last writer may have been killed */

    if (before == NULL)
        return false;
    atomic_store(&slot->rows_version, version);
    memcpy(before, slot->addresses, count * sizeof *before);
    place_rows(slot, config, before, count);
    atomic_store(&slot->rows_version, version + 1);
    free(before);
    return true;
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
    case IDENTITY_CLOCK:
        return "clock";
    case IDENTITY_STATES:
        break;
    }
    return "unknown"; /* the page may be of another version */
}

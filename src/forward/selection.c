#include "nodedot/forward/selection.h"

static uint8_t best_rank(const struct candidate *candidates, size_t count)
{
    uint8_t best = SELECTION_NEVER;

    for (size_t i = 0; i < count; i++) {
        if (candidates[i].rank < best)
            best = candidates[i].rank;
    }
    return best;
}

/* The longest expected time that still counts as equal to the shortest. */
static uint32_t limit_us(const struct candidate *candidates, size_t count, uint8_t rank)
{
    uint32_t best = UINT32_MAX;

    for (size_t i = 0; i < count; i++) {
        if (candidates[i].rank == rank && candidates[i].expected_us != 0 && candidates[i].expected_us < best)
            best = candidates[i].expected_us;
    }
    if (best > UINT32_MAX / 2)
        return UINT32_MAX;
    return best + (best / 4 > SELECTION_BAND_US ? best / 4 : SELECTION_BAND_US);
}

static bool is_better(const struct candidate *a, const struct candidate *b)
{
    if (a->outstanding != b->outstanding)
        return a->outstanding < b->outstanding;
    return a->expected_us < b->expected_us;
}

static size_t choose_fastest(const struct candidate *candidates, size_t count, uint8_t rank)
{
    uint32_t limit = limit_us(candidates, count, rank);
    size_t best = SELECTION_NONE;

    for (size_t i = 0; i < count; i++) {
        if (candidates[i].rank != rank || candidates[i].expected_us > limit)
            continue;
        if (best == SELECTION_NONE || is_better(&candidates[i], &candidates[best]))
            best = i;
    }
    return best;
}

size_t selection_make(enum policy policy, const struct candidate *candidates, size_t count, size_t turn)
{
    uint8_t rank = best_rank(candidates, count);
    size_t at = policy == POLICY_ROUND_ROBIN ? turn : 0;

    if (rank == SELECTION_NEVER)
        return SELECTION_NONE;
    if (policy == POLICY_FASTEST)
        return choose_fastest(candidates, count, rank);
    while (candidates[at % count].rank != rank)
        at++;
    return at % count;
}

/* selection.h - which address of a group is asked next: the policies, apart from everything that they are applied to.
 *
 * Rank goes before policy: an address that failed comes after all that work, whatever the operator prefers. Among those
 * of the best rank,
 *   fastest      takes the one whose answer is expected first. Those within a band above it are its equals, and the one
 *                with the fewest queries out wins: two addresses of one resolver differ by noise, and share the load.
 *                One that was hardly measured is an equal, so that it is;
 *   round-robin  takes the next in turn;
 *   ordered      takes the first.
 */
#ifndef NODEDOT_FORWARD_SELECTION_H
#define NODEDOT_FORWARD_SELECTION_H

#include "nodedot/config/config.h"

#include <stddef.h>
#include <stdint.h>

/* Equals are those that are slower than the fastest by no more than a quarter or this. */
#define SELECTION_BAND_US 1000

#define SELECTION_NEVER UINT8_MAX /* rank of what must not be chosen */
#define SELECTION_NONE  SIZE_MAX

struct candidate {
    uint8_t rank;         /* lower is better; SELECTION_NEVER */
    uint32_t expected_us; /* 0: hardly measured */
    unsigned outstanding; /* queries out there */
};

/* The index of the candidate to take, or SELECTION_NONE. turn: where round-robin begins to look. */
size_t selection_make(enum policy policy, const struct candidate *candidates, size_t count, size_t turn);

#endif

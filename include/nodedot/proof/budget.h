/* budget.h - the work that one verdict on a certificate chain may cost.
 *
 * Unit:   nanoseconds as they were measured on a small machine (see path.h), not a clock: the same chain gets the same
 *         verdict on an idle and on a busy node.
 * Shared: by everything that a verdict does: signatures, names compared with constraints, steps of the search.
 */
#ifndef NODEDOT_PROOF_BUDGET_H
#define NODEDOT_PROOF_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct budget {
    uint32_t left_ns;
    bool exhausted; /* some work was refused: nothing more may be proved */
};

/* May this work be done? Once the answer was no it stays no. */
static inline bool budget_spend(struct budget *budget, uint64_t ns)
{
    if (budget->exhausted || ns > budget->left_ns) {
        budget->exhausted = true;
        return false;
    }
    budget->left_ns -= (uint32_t)ns;
    return true;
}

#endif

#include "nodedot/forward/hedge.h"

void hedge_init(struct hedge_budget *budget)
{
    budget->earned = HEDGE_BURST * HEDGE_QUESTIONS;
}

void hedge_earn(struct hedge_budget *budget)
{
    if (budget->earned < HEDGE_BURST * HEDGE_QUESTIONS)
        budget->earned++;
}

bool hedge_spend(struct hedge_budget *budget)
{
    if (budget->earned < HEDGE_QUESTIONS)
        return false;
    budget->earned -= HEDGE_QUESTIONS;
    return true;
}

uint32_t hedge_after_ms(uint32_t usual_us)
{
    uint32_t ms = (usual_us + 999) / 1000;

    return ms > HEDGE_MIN_MS ? ms : HEDGE_MIN_MS;
}

uint32_t hedge_same_after_ms(uint32_t usual_us)
{
    uint32_t ms = (usual_us + 999) / 1000 * 2;

    return ms > HEDGE_SAME_MIN_MS ? ms : HEDGE_SAME_MIN_MS;
}

/* Half as long again: the hedge starts later by what the address usually needs, so a second address that answers in its
 * usual time is outdone by far; for a name that takes long at both, the head start is a small part. */
bool hedge_outran(uint64_t waited_us, uint64_t took_us)
{
    return waited_us > took_us + took_us / 2;
}

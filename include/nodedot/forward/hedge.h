/* hedge.h - when a question is sent to a second address too, and what its answer shows about the first one.
 *
 * Time:   what is usual in the group, at its quickest address: an address that is slow is not waited for as long as it
 *         usually takes. Where there is no second address, a datagram may have been lost, so another one is sent to the
 *         same address after twice that time.
 * Budget: each question earns a twentieth of a hedge, so hedges are 5 % of the questions at most; a group that was
 *         quiet has HEDGE_BURST saved up. An upstream that is slow as a whole is not asked twice for everything.
 * Stall:  an address hangs if it answers nothing while HEDGE_OUTRUN of its questions are answered elsewhere, in much
 *         less time than they had waited there. A name that is slow everywhere proves nothing: both waited about as
 *         long.
 */
#ifndef NODEDOT_FORWARD_HEDGE_H
#define NODEDOT_FORWARD_HEDGE_H

#include <stdbool.h>
#include <stdint.h>

/* No question is late before this: a thread that was not scheduled for a moment must not cause hedges. */
#define HEDGE_MIN_MS 10
/* No question that is out in a datagram is asked of the same address again before this: another datagram finds the same
 * server as slow as the first one did, or, behind a Service address, perhaps another server. */
#define HEDGE_SAME_MIN_MS 100
/* Questions that earn one hedge. */
#define HEDGE_QUESTIONS 20
/* Maximum number of saved hedges: enough to detect three times that an address of a group hangs. */
#define HEDGE_BURST 10
/* Distinct questions answered elsewhere that make a silent address stalled. */
#define HEDGE_OUTRUN 3

struct hedge_budget {
    uint32_t earned; /* in twentieths */
};

/* A full purse. */
void hedge_init(struct hedge_budget *budget);

/* A question was asked. */
void hedge_earn(struct hedge_budget *budget);

/* Takes the price of one hedge. False: the budget is used up. */
bool hedge_spend(struct hedge_budget *budget);

/* How long a question waits in a group with this 95th percentile before it is late. */
uint32_t hedge_after_ms(uint32_t usual_us);

/* The same before the address that has it is asked again, in another datagram. */
uint32_t hedge_same_after_ms(uint32_t usual_us);

/* A question waited for waited_us at one address, and another one answered it within took_us: is the first address slow
 * (true), or the name? */
bool hedge_outran(uint64_t waited_us, uint64_t took_us);

#endif

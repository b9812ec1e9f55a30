/* retry.h - when is a reload that was refused for a passing reason tried again?
 *
 * After RETRY_FIRST_MS, then twice as long each time, up to RETRY_MAX_MS; each time with up to a quarter more, at random,
 * so that a fleet which was refused together does not try again together.
 */
#ifndef NODEDOT_NODE_RETRY_H
#define NODEDOT_NODE_RETRY_H

#include <stdint.h>

#define RETRY_FIRST_MS 30000u
#define RETRY_MAX_MS   300000u

struct retry {
    uint32_t pause_ms; /* the last one, without its random part; 0: none yet */
};

/* The time until the next try. random: any 32 random bits. */
uint32_t retry_next_ms(struct retry *retry, uint32_t random);

/* The next pause is the first one again: the configuration has changed, or is in use. */
void retry_reset(struct retry *retry);

#endif

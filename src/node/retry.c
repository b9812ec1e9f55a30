#include "nodedot/node/retry.h"

uint32_t retry_next_ms(struct retry *retry, uint32_t random)
{
    uint32_t longer = retry->pause_ms == 0 ? RETRY_FIRST_MS : 2 * retry->pause_ms;

    retry->pause_ms = longer < RETRY_MAX_MS ? longer : RETRY_MAX_MS;
    return retry->pause_ms + random % (retry->pause_ms / 4 + 1);
}

void retry_reset(struct retry *retry)
{
    retry->pause_ms = 0;
}

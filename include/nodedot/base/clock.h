/* clock.h - monotonic time for timers and TTLs, wall time for certificate dates and logs.
 *
 * Time:   CLOCK_MONOTONIC does not jump when somebody sets the clock, and is the same in every process of a
 *         machine, so seconds written to shared memory by one generation are read by the next.
 * Shared: by everything; there is no state.
 */
#ifndef NODEDOT_BASE_CLOCK_H
#define NODEDOT_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t clock_ms(void);

/* Microseconds of CLOCK_MONOTONIC. */
uint64_t clock_us(void);

/* Whole seconds of CLOCK_MONOTONIC; 32 bits last 136 years of uptime. */
uint32_t clock_seconds(void);

/* Seconds since 1970 (CLOCK_REALTIME). Only for certificate dates, log lines, and timestamps that others read. */
int64_t clock_wall_seconds(void);

/* Milliseconds of the same. */
int64_t clock_wall_ms(void);

/* Nanoseconds of the same. */
uint64_t clock_wall_ns(void);

#endif

/* clock.h - monotonic time for timers and TTLs, wall time for certificate dates and logs.
 *
 * Time:   CLOCK_MONOTONIC does not jump when somebody sets the clock, and is the same in every process of a
 *         machine, so seconds written to shared memory by one generation are read by the next. The functions below
 *         add CLOCK_HEAD_START_S to it.
 * Shared: by everything; there is no state.
 */
#ifndef NODEDOT_BASE_CLOCK_H
#define NODEDOT_BASE_CLOCK_H

#include <stdint.h>

/* Many structs use the time 0 for "never", so `now - 0` must be longer than any period that is compared with it.
 * CLOCK_MONOTONIC starts near 0 when the machine boots. Without a head start, "never" would look like "just now" during
 * the first minutes or days of every node. The longest period that an option allows is a week; 100 days leave room. */
#define CLOCK_HEAD_START_S (100 * 24 * 3600)

/* Milliseconds of CLOCK_MONOTONIC, plus the head start. Never 0. */
uint64_t clock_ms(void);

/* Microseconds of the same. */
uint64_t clock_us(void);

/* Whole seconds of the same; 32 bits last for 135 years of uptime. */
uint32_t clock_seconds(void);

/* Seconds since 1970 (CLOCK_REALTIME). Only for certificate dates, log lines, and timestamps for other programs. */
int64_t clock_wall_seconds(void);

/* Milliseconds of the same. */
int64_t clock_wall_ms(void);

/* Nanoseconds of the same. */
uint64_t clock_wall_ns(void);

#endif

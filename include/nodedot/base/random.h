/* random.h - unpredictable numbers for message IDs, jitter and keys (RFC 5452 section 9.2).
 *
 * The kernel's CSPRNG, read in blocks so that an ID costs no system call. Each thread has a block of its own, and a
 * fork discards it.
 */
#ifndef NODEDOT_BASE_RANDOM_H
#define NODEDOT_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fills size bytes. Never fails: without randomness the process ends with a message. */
void random_bytes(void *out, size_t size);

uint16_t random_u16(void);
uint32_t random_u32(void);

/* A number in [0, bound), with negligible modulo bias. bound > 0. */
uint32_t random_below(uint32_t bound);

#endif

/* loop.h - libev, the clock and the random numbers of a simulated thread.
 *
 * Time stands still while callbacks run, moves a little from turn to turn, and jumps to the next timer when the script
 * lets it pass. Nothing here reads a real clock or a real source of randomness, so a script always plays in the same
 * way.
 * Takes the place of libev, base/clock.c and base/random.c when it is linked before them.
 */
#ifndef NODEDOT_TESTS_SIMULATION_LOOP_H
#define NODEDOT_TESTS_SIMULATION_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/* Forgets everything, and begins a new life with these random numbers. */
void loop_reset(uint64_t seed);

/* Lets ms pass. Timers that become due meanwhile run at their time, and no step of the script is played before it is
 * over. */
void loop_advance(uint64_t ms);

uint64_t loop_now_us(void);

/* Watchers and timers that are still active. */
unsigned loop_watchers(void);

/* Given by the script: plays one step. False: turn the loop before the next. */
bool script_step(void);

/* Given by the network: which of these events would a descriptor report now? It must be open. */
int network_ready(int fd, int events);

#endif

/* loop.h - libev, the clock and the random numbers of simulated threads.
 *
 * Time stands still while callbacks run, moves a little from turn to turn, and jumps to the next timer when the script
 * lets it pass. Nothing here reads a real clock or a real source of randomness, so a script always plays in the same
 * way.
 * Each call of ev_loop_new() makes a thread. They take turns in a random order, and each turn is whole: what one thread
 * does is never cut in two by another one. ev_run() turns all of them until the one it was called with is broken.
 * Takes the place of libev, base/clock.c and base/random.c when it is linked before them.
 */
#ifndef NODEDOT_TESTS_SIMULATION_LOOP_H
#define NODEDOT_TESTS_SIMULATION_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;

/* Forgets everything, and begins a new life with these random numbers. */
void loop_reset(uint64_t seed);

/* Lets ms pass. Timers that become due meanwhile run at their time, and no step of the script is played before it is
 * over. */
void loop_advance(uint64_t ms);

uint64_t loop_now_us(void);

/* Says whose turn it is; for what a thread does before and after its loop. */
void loop_enter(const struct ev_loop *loop);
/* Number of the thread whose turn it is. */
unsigned loop_thread(void);

/* Watchers and timers of all threads that are still active. */
unsigned loop_watchers(void);

/* Given by the script: plays one step. False: turn the loop before the next. */
bool script_step(void);

/* Given by the network: which of these events would a descriptor report now? It must be open. */
int network_ready(int fd, int events);

#endif

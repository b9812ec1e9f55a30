/* run.h - everything that one simulation holds; between simulation.c, which plays it, and setup.c, which makes and ends it.
 */
#ifndef NODEDOT_TESTS_SIMULATION_RUN_H
#define NODEDOT_TESTS_SIMULATION_RUN_H

#include "nodedot/forward/relay.h"
#include "nodedot/resolver/worker.h"
#include "simulation/simulation.h"

struct simulation_run {
    struct wire script;
    bool (*scene)(unsigned step); /* takes the script's place; NULL: there is none */
    unsigned scene_step;
    const struct config *config;
    enum simulation_variant variant;
    struct status_page page;
    struct zone_table zones;
    struct origins origins;
    struct trusts trusts;
    struct worker workers[SIMULATION_THREADS];
    unsigned threads;
    unsigned open; /* threads that have not ended */
    struct listen_sockets sockets;
    struct resolver_start start;
    struct admission *admission;
    struct quota *quota;
    struct relay *relay; /* NULL: there is one thread */
    _Atomic uint32_t in_flight;
    uint32_t impostors; /* bit i: 192.0.2.i shows another identity */
    struct hash_key truth_key;
    bool trust_nothing, noted_plain, automatic;
    enum { PLAYING, SETTLING, DRAINING } phase;
    uint64_t drain_us;
};
extern struct simulation_run run;

/* Every thread looks anew at what all threads know. */
void run_recheck(void);

/* Account of the whole run: what came in is what went out and what was dropped. */
void run_check_account(void);

#endif

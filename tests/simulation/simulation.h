/* simulation.h - the threads of a resolver, whole, in one process without a network or a clock: workers, listeners,
 * engines, flights, connections; and what they share: cache, quotas, relay, reachability of each address. A script of octets plays everybody else: clients, upstreams, the passing of time,
 * failures of the network, other identities, the order to drain.
 *
 * Script: each step is an octet that names it and a few octets of its own; any octets are a script (simulation.c, steps).
 *         The first octet chooses the configuration and the number of threads.
 * Scene:  or a function of a test decides what happens, step by step (simulation_play()).
 * Must hold, or the process ends with SIGABRT:
 *  - A query that was read is answered once, within its time, or dropped and counted by cause; never answered twice.
 *  - The answer has the client's ID and question, octet by octet, can be parsed, keeps to the client's size, and tells
 *    what an upstream said to that very question, with its DO and CD; never what came with another ID or question.
 *  - What goes to an upstream is a good query, on a connection that proved its identity, with an ID that no other query
 *    on that connection has.
 *  - In the end nothing is left: no query in flight, every pool whole, no socket open, queries = answers + drops.
 *  - The loop sleeps when there is nothing to do, and a drain ends in its time.
 */
#ifndef NODEDOT_TESTS_SIMULATION_SIMULATION_H
#define NODEDOT_TESTS_SIMULATION_SIMULATION_H

#include "nodedot/dns/message.h"
#include "nodedot/observe/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What happened in all simulations of this process: a test that asserts on it knows that it tested something. */
struct simulation_account {
    uint64_t steps;
    uint64_t queries, answers; /* of clients */
    uint64_t late;             /* answers that had to wait for an upstream */
    uint64_t asked, told;      /* messages from and to the resolver on the upstreams' side */
    uint64_t dropped;          /* by the resolver's own counters */
    uint64_t connections;      /* that the resolver opened to upstreams */
    uint64_t relayed;          /* questions that a thread asked over another one's connection */
};
extern struct simulation_account simulation_account;

#define SIMULATION_THREADS 2

enum simulation_variant { VARIANT_TLS, VARIANT_PLAIN, VARIANT_TCP, VARIANT_LIMITED, SIMULATION_VARIANTS };

void simulation_run(const uint8_t *script, size_t size);

/* Calls scene() for each step, with 0, 1, 2, ... until it returns false; then everything ends as after a script. In a
 * scene, script_octet() and its like return what scene_script() gave them. */
void simulation_play(enum simulation_variant variant, unsigned threads, bool (*scene)(unsigned step));
void scene_script(const uint8_t *octets, size_t size);

/* What the status page says: its rows, and a metric of one thread by the name of its field. */
struct status_slot *simulation_status(void);
uint64_t simulation_counted(const char *name, unsigned thread);

/* ---- between the parts of a simulation ---- */

struct client;
struct endpoint;

/* The next octet or number of the script; 0 when it is over. */
uint8_t script_octet(void);
uint16_t script_number(void);
/* Takes up to size octets; *taken says how many. */
const uint8_t *script_octets(size_t size, size_t *taken);

/* Longest that a query may wait, in microseconds, with all that timers and turns may add. */
uint64_t simulation_patience_us(void);

/* Does this upstream show another identity than it should? Is it known to, so that nothing may be written to it? */
bool simulation_is_impostor(const struct endpoint *address);
bool simulation_may_write(const struct endpoint *address);

/* The data that an honest upstream gives for a question, and what one tells who lies. */
uint32_t simulation_truth(const struct question *question, bool dnssec_ok, bool checking_disabled);
/* From now on upstreams may say anything, so answers are not held to the truth any more. */
void simulation_trust_nothing(void);
bool simulation_trusts_nothing(void);
/* An upstream was asked without EDNS, because it does not know it: such a question has no DO. */
void simulation_note_plain(void);
bool simulation_noted_plain(void);

/* memory.c: large tables that were taken and not given back */
unsigned memory_tables(void);

/* clients.c */
void clients_reset(void);
void clients_ask(void);         /* a datagram with a query */
void clients_send_octets(void); /* a datagram with anything */
void clients_connect(void);
void clients_ask_stream(void);
void clients_send_frame(void);  /* any message in a frame */
void clients_send_stream(void); /* any octets */
void clients_disturb(void);     /* FIN, RST, slow reading, small segments */
void clients_calm(void);        /* everybody reads again */
void clients_check_patience(void);
uint64_t clients_datagrams(void);  /* that the resolver read */
uint64_t clients_unanswered(void); /* that it read and did not answer, though it should have */

/* upstreams.c */
void upstreams_reset(void);
void upstreams_answer(void);     /* one question, in one of many ways */
void upstreams_answer_all(void); /* all of them, well */
void upstreams_proceed(void);    /* a connection or a handshake goes on, well or not */
void upstreams_proceed_all(void);
void upstreams_disturb(void); /* FIN, RST, slow reading, octets that are no message */
void upstreams_calm(void);

#endif

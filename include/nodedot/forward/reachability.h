/* reachability.h - what all threads of a generation know of an upstream address: its identity, and whether it answers.
 *
 * One row of the status page, shared by all threads of the generation. The identity is judged after every full
 * handshake, whoever made it (a worker's new connection or a revalidation), by reachability_judge() alone.
 * States: unverified -> valid | mismatch | unreachable, and between these three. Whoever enters or leaves mismatch
 *         makes the epoch grow and wakes all threads: connections and tickets of an older epoch are thrown away at
 *         once.
 */
#ifndef NODEDOT_FORWARD_REACHABILITY_H
#define NODEDOT_FORWARD_REACHABILITY_H

#include "nodedot/config/config.h"
#include "nodedot/observe/metrics.h"
#include "nodedot/proof/identity.h"

#include <stdbool.h>
#include <stdint.h>

struct reachability {
    const struct upstream_config *config;
    struct address_status *status;
    unsigned thread;                /* number of the thread that speaks */
    void (*changed)(void *context); /* wakes every thread; may be called by any of them */
    void *context;
};

/* Judges the full handshake that tls has just finished, records and logs the outcome. True: queries may be written. */
bool reachability_judge(const struct reachability *reachability, struct tls_trust *trust, struct tls *tls,
                        struct metrics *metrics);

/* A plain upstream answered, or a DoT upstream that was unreachable did so over a resumed session. */
void reachability_answered(const struct reachability *reachability);

/* It does not answer. Does not change a mismatch. reason: for the log. */
void reachability_unreachable(const struct reachability *reachability, const char *reason);

/* Do other threads have a connection to it? Bit t: thread t does. */
uint32_t reachability_others(const struct reachability *reachability);

/* This thread has a ready connection, or has none any longer. */
void reachability_hold(const struct reachability *reachability, bool held);

/* A valid answer came to this thread. */
void reachability_note_answer(const struct reachability *reachability, uint64_t now_ms);

/* Did another thread get an answer recently, and later than this one (answered_ms)? Then a failure of this thread says
 * nothing about the address. */
bool reachability_heard_by_others(const struct reachability *reachability, uint64_t answered_ms, uint64_t now_ms);

/* This thread cannot get a connection, others have one: asks them to check whether theirs still work. */
void reachability_doubt(const struct reachability *reachability, uint64_t now_ms);

/* Was it doubted since this thread's last answer? */
bool reachability_is_doubted(const struct reachability *reachability, uint64_t answered_ms);

/* The identity check is due and no connection for it was available: asks the threads that have one to replace it, with
 * a full handshake. */
void reachability_ask_renewal(const struct reachability *reachability);

/* Must this thread do so? */
bool reachability_must_renew(const struct reachability *reachability);

/* No thread gets an answer: the fallback may be used. */
void reachability_silent(const struct reachability *reachability);

/* It answers nothing while others of its group do: logs it. Its state stays, because its identity has not changed. */
void reachability_stalled(const struct reachability *reachability);

enum identity_state reachability_state(const struct reachability *reachability);
uint32_t reachability_epoch(const struct reachability *reachability);

/* May queries be sent to the address of config with this row, according to all threads? DoT: proved within the
 * revalidation period; plain: it answers. */
bool reachability_row_usable(const struct upstream_config *config, const struct address_status *row, uint64_t now_ms);

#endif

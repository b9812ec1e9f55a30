/* process.h - what this process uses: CPU, memory, file descriptors.
 *
 * Files: two of /proc, opened before a sandbox closes it, and read again and again. Without /proc only the CPU is
 *        known.
 */
#ifndef NODEDOT_OBSERVE_PROCESS_H
#define NODEDOT_OBSERVE_PROCESS_H

#include "nodedot/observe/metrics.h"

struct process {
    int statm;          /* -1: none */
    int fds;            /* the directory; -1: none */
    uint64_t before_us; /* CPU time that others have written there before */
};

/* CPU time is counted on from before_us. */
void process_open(struct process *process, uint64_t before_us);
void process_close(struct process *process);

/* Writes the figures of this moment. */
void process_write(const struct process *process, struct process_status *status);

#endif

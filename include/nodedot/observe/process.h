/* process.h - resource usage of this process: CPU, memory, file descriptors, and the log lines that it lost.
 *
 * Files: two of /proc, opened before a sandbox closes it, and read repeatedly. Without /proc only the CPU is
 *        known.
 */
#ifndef NODEDOT_OBSERVE_PROCESS_H
#define NODEDOT_OBSERVE_PROCESS_H

#include "nodedot/observe/metrics.h"

struct process {
    int statm;            /* -1: none */
    int fds;              /* the directory; -1: none */
    uint64_t before_us;   /* CPU time that earlier processes have counted there */
    uint64_t before_lost; /* the same for lines, less what this one had lost as its parent */
};

/* CPU time and lost lines continue from before, that of the last process in its place. */
void process_open(struct process *process, const struct process_status *before);
void process_close(struct process *process);

/* Writes the current figures. */
void process_write(const struct process *process, struct process_status *status);

#endif

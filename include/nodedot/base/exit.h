/* exit.h - the exit status of every command. */
#ifndef NODEDOT_BASE_EXIT_H
#define NODEDOT_BASE_EXIT_H

enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1, /* while running */
    EXIT_USAGE = 2   /* the command line or the configuration is wrong */
};

#endif

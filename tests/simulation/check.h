/* check.h - what must hold in a simulation: when it does not, the process says so and ends with SIGABRT. */
#ifndef NODEDOT_TESTS_SIMULATION_CHECK_H
#define NODEDOT_TESTS_SIMULATION_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define check(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                       \
        }                                                                                  \
    } while (0)

#endif

/* survey.h - `nodedot check --online`: proves every address of every upstream as the daemon would, once.
 *
 * Each address is connected to, proved and asked ". NS", which is the daemon's own probe: with TLS 1.3 a server that
 * does not like our client certificate says so only then. Any answer will do.
 */
#ifndef NODEDOT_FORWARD_SURVEY_H
#define NODEDOT_FORWARD_SURVEY_H

#include "nodedot/config/config.h"

#include <stdio.h>

/* Prints a table, one line an address, to out. Returns an exit status: 0 every address is as it should be, 1 one is not
 * (a pin that pin-mode = report lets pass, too: who asks wants to know), 2 a file of the configuration cannot be used
 * (one line on errors for each). Takes 5 s for each 64 addresses at most. */
int survey_print(const struct config *config, FILE *out, FILE *errors);

#endif

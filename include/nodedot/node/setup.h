/* setup.h - what a configuration brings into being: sockets, cache, probe ports, addresses on the node.
 *
 * Two of them: the held one is in use, the tried one is that of a reload. setups_load() and setups_prepare() make the
 *              tried one beside the held one; then setups_adopt() or setups_abandon(). The first setup is made like any
 *              other: as a change, from one that has nothing.
 * Memory:      must not move once prepared; libev holds pointers into it.
 */
#ifndef NODEDOT_NODE_SETUP_H
#define NODEDOT_NODE_SETUP_H

#include "nodedot/config/config.h"
#include "nodedot/node/addresses.h"
#include "nodedot/node/probes.h"
#include "nodedot/node/shared.h"
#include "nodedot/node/sockets.h"

#include <stdbool.h>

struct setup {
    struct config *config;
    struct sockets sockets;
    struct shared cache;
};

struct setups {
    struct setup held;  /* in use */
    struct setup tried; /* the next generation is started with it */
    struct addresses addresses;
    struct probes probes;
};

/* Reads the configuration into the tried setup, and logs every error. */
enum config_result setups_load(struct setups *s, const struct config_source *source);

/* Sets up everything that the tried configuration needs and that can exist beside what is in use. False, and why in
 * error (SOCKETS_ERROR octets), with nothing changed. */
bool setups_prepare(struct setups *s, char *error);

/* Takes back what setups_prepare() did. */
void setups_abandon(struct setups *s);

/* The tried setup becomes the held one. To be called before the old generation is told to drain: sockets without a
 * reader are taken out of service here, and it then reads what they still hold. */
void setups_adopt(struct setups *s);

/* Takes everything away. */
void setups_close(struct setups *s);

#endif

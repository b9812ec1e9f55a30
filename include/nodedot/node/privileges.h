/* privileges.h - what the supervisor may do beyond an ordinary process.
 *
 * Kept:  NET_BIND_SERVICE   ports below 1024, at start and for addresses that a reload brings
 *        SETUID, SETGID     a forked resolver changes its user          (only when started by root)
 *        KILL               a resolver that hangs has another user      (only when started by root)
 *        NET_ADMIN          until everything is set up for the first time: receive buffers above net.core.rmem_max;
 *                           to the end with manage-address, to renew the addresses and to remove them
 * Else:  nothing, from the first step of `nodedot run` on: not even root's right to read files of others, so that a
 *        file which cannot be read at a reload could not be read at start either.
 */
#ifndef NODEDOT_NODE_PRIVILEGES_H
#define NODEDOT_NODE_PRIVILEGES_H

#include "nodedot/config/config.h"

/* Gives up what the supervisor never needs, and any way to gain more: no_new_privs. Other processes of the same user,
 * including resolvers, can no longer read or trace this one, and it leaves no core dump. 0 or -errno. */
int privileges_begin(void);

/* Gives up what was needed to set up config and is not needed to run it. 0 or -errno. */
int privileges_settle(const struct config *config);

#endif

/* trusts.h - the trust anchors and the client certificate of each DoT upstream, parsed once for all threads.
 *
 * Source: what the configuration holds (config.h); no file is opened.
 * Shared: read-only once made. Each connection takes its reference under a lock of the TLS library.
 */
#ifndef NODEDOT_FORWARD_TRUSTS_H
#define NODEDOT_FORWARD_TRUSTS_H

#include "nodedot/config/config.h"
#include "nodedot/tls/tls.h"

#include <stdbool.h>

struct trusts {
    struct tls_trust *of[CONFIG_UPSTREAMS]; /* in the order of the configuration; NULL: plain */
};

/* False, and why in error (TLS_ERROR octets); trusts_close() releases what was made in both cases. */
bool trusts_open(struct trusts *trusts, const struct config *config, char *error);

/* No connection may be open. */
void trusts_close(struct trusts *trusts);

#endif

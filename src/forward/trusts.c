#include "nodedot/forward/trusts.h"

#include "nodedot/proof/identity.h"

#include <string.h>

bool trusts_open(struct trusts *trusts, const struct config *config, char *error)
{
    memset(trusts, 0, sizeof(*trusts));
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct upstream_config *upstream = &config->upstreams[i];

        if (upstream->transport == TRANSPORT_DOT && (trusts->of[i] = identity_trust(upstream, error)) == NULL)
            return false;
    }
    return true;
}

void trusts_close(struct trusts *trusts)
{
    for (size_t i = 0; i < CONFIG_UPSTREAMS; i++)
        tls_trust_destroy(trusts->of[i]);
}

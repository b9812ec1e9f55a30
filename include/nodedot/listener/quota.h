/* quota.h - how many connections there are, in all and of each client; shared by all threads of a resolver.
 *
 * Clients are told apart as everywhere: endpoint_client_key().
 * Memory: a table of fixed size, twice as many places as there may be connections; it cannot run full.
 * Shared: a mutex; it is taken when a connection begins or ends, not for a query.
 */
#ifndef NODEDOT_LISTENER_QUOTA_H
#define NODEDOT_LISTENER_QUOTA_H

#include "nodedot/base/endpoint.h"

#include <stdbool.h>
#include <stdint.h>

struct quota;

/* NULL: no memory. */
struct quota *quota_create(uint32_t total, uint32_t per_client, const struct client_prefix *prefix);
void quota_destroy(struct quota *quota);

enum quota_verdict { QUOTA_GRANTED, QUOTA_CLIENT_FULL, QUOTA_TOTAL_FULL };

/* Counts a connection of this client, if both limits allow. */
enum quota_verdict quota_take(struct quota *quota, const struct endpoint *client);

/* How many connections this client has. */
uint32_t quota_held(struct quota *quota, const struct endpoint *client);

/* It ended. */
void quota_release(struct quota *quota, const struct endpoint *client);

#endif

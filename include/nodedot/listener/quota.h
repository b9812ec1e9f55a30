/* quota.h - counts and limits connections, in total and for each client; shared by all threads of a resolver.
 *
 * endpoint_client_key() defines a client.
 * Memory: a table of fixed size, with twice as many places as there may be connections, so it cannot become full.
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

/* Counts a connection of this client, if both limits allow it. */
enum quota_verdict quota_take(struct quota *quota, const struct endpoint *client);

/* Number of this client's connections. */
uint32_t quota_held(struct quota *quota, const struct endpoint *client);

/* It ended. */
void quota_release(struct quota *quota, const struct endpoint *client);

#endif

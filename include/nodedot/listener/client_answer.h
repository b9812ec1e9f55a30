/* client_answer.h - answers that come later than the call that brought the query, and what is known of the way there.
 *
 * Stands above both listeners, so that whoever answers need not know over which of them a client came.
 */
#ifndef NODEDOT_LISTENER_CLIENT_ANSWER_H
#define NODEDOT_LISTENER_CLIENT_ANSWER_H

#include "nodedot/listener/client.h"

#include <stddef.h>
#include <stdint.h>

/* A buffer for a late answer, at least MESSAGE_MAX_OCTETS; NULL if the client is gone or cannot be served any longer.
 * Then client_commit() must not be called. */
uint8_t *client_begin(const struct client *client, size_t *capacity);

/* Passes on the size octets written to the buffer. They are sent at the next flush. */
void client_commit(const struct client *client, size_t size);

/* The address that was asked, if it is known without a system call; size 0: it is not. */
void client_local(const struct client *client, struct endpoint *out);

#endif

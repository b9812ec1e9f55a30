/* admission.h - may this client ask, and is it within its rate?
 *
 * ACL:    deny before allow; a client in neither is refused.
 * Rate:   two token buckets a client (endpoint_client_key()), of client-burst tokens each and client-qps new ones a
 *         second. A query takes a token of the first; when there is none, of the second, and is answered REFUSED; when
 *         there is none either, it is dropped, and its client blocked for client-block seconds, if that is not 0. So
 *         a client that stays over its rate gets its rate, and one that stays over twice its rate is blocked.
 * Memory: a table of ADMISSION_SETS times ADMISSION_WAYS clients, taken only when a rate is set; it never grows. Which
 *         set a client belongs to is a secret. In a full set the client that used least of its rate makes room, but
 *         never one that is blocked or has used more than half of its burst: so however many strangers come, each with
 *         a query or two, they replace each other, and heavy users are still known when they are gone.
 * No room: clients that find no room in a set share the rate of a whole set of clients, and are never blocked. This
 *         happens only when a set is full of blocked and heavy clients: a new client is still served, and no client
 *         is without a limit.
 * Shared: by all threads of a resolver; a mutex for a group of sets.
 */
#ifndef NODEDOT_RESOLVER_ADMISSION_H
#define NODEDOT_RESOLVER_ADMISSION_H

#include "nodedot/base/endpoint.h"
#include "nodedot/config/config.h"

#include <stdbool.h>
#include <stdint.h>

/* 16,384 clients in 1 MiB: a node runs a few hundred pods. */
#define ADMISSION_SETS 2048
#define ADMISSION_WAYS 8

struct admission;

enum admission_verdict {
    ADMISSION_GRANTED,
    ADMISSION_OUTSIDE, /* not in the ACL: no answer */
    ADMISSION_BLOCKED, /* no answer */
    ADMISSION_REFUSED, /* above its rate: REFUSED */
    ADMISSION_DROPPED  /* far above its rate: no answer */
};

/* config must outlive it. NULL: no memory. */
struct admission *admission_create(const struct config *config);
void admission_destroy(struct admission *admission);

/* Does the ACL allow this client? */
bool admission_allows(const struct admission *admission, const struct endpoint *client);

/* Judges one query of an allowed client, and takes its token. proven: the client has shown a valid cookie, so it is
 * counted apart from others that may forge its address. now_ms: clock_ms(). */
enum admission_verdict admission_check(struct admission *admission, const struct endpoint *client, bool proven,
                                       uint64_t now_ms);

/* Judges a connection: granted, outside or blocked. Takes no token. */
enum admission_verdict admission_check_connection(struct admission *admission, const struct endpoint *client,
                                                  uint64_t now_ms);

/* Number of blocked clients. Reads the whole table: call it about once a second. */
uint32_t admission_blocked(struct admission *admission, uint64_t now_ms);

/* Are all clients allowed without a limit? Then the caller need not read the clock. */
bool admission_is_open(const struct admission *admission);

#endif

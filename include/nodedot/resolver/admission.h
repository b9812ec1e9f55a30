/* admission.h - may this client ask, and how much?
 *
 * ACL:    deny before allow; who is in neither is refused.
 * Rate:   two token buckets a client (endpoint_client_key()), of client-burst tokens each and client-qps new ones a
 *         second. A query takes a token of the first; when there is none, of the second, and is answered REFUSED; when
 *         there is none either, it is dropped, and its client blocked for client-block seconds, if that is not 0. So
 *         a client that stays over its rate gets its rate, and one that stays over twice its rate is blocked.
 * Memory: a table of ADMISSION_SETS times ADMISSION_WAYS clients, taken only when a rate is set; it never grows. Which
 *         set a client belongs to is a secret. In a full set the client that used least of its rate makes room, but
 *         never one that is blocked or has used more than half of its burst: so however many strangers come, each with
 *         a query or two, they replace each other, and heavy users are still known when they are gone.
 * Strangers: who finds no room in a set shares with all others in its place what a whole set of clients may ask, and
 *         is never blocked. It takes a table full of blocked and heavy clients to come to that; a newcomer is served
 *         then, and nobody is without a limit.
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
    ADMISSION_REFUSED, /* over its rate: REFUSED */
    ADMISSION_DROPPED  /* far over its rate: no answer */
};

/* config must outlive it. NULL: no memory. */
struct admission *admission_create(const struct config *config);
void admission_destroy(struct admission *admission);

/* Does the ACL let this client in? */
bool admission_allows(const struct admission *admission, const struct endpoint *client);

/* Judges one query of a client that is let in, and takes its token. proven: it showed a cookie of ours, so it is judged
 * apart from those who may have forged its address, and what they do is not held against it. now_ms: clock_ms(). */
enum admission_verdict admission_check(struct admission *admission, const struct endpoint *client, bool proven,
                                       uint64_t now_ms);

/* Judges a connection: granted, outside or blocked. Takes no token. */
enum admission_verdict admission_check_connection(struct admission *admission, const struct endpoint *client,
                                                  uint64_t now_ms);

/* How many clients are blocked now. Looks through the whole table: about once a second. */
uint32_t admission_blocked(struct admission *admission, uint64_t now_ms);

/* Is everybody let in and everything granted? Then the caller need not read the clock for it. */
bool admission_is_open(const struct admission *admission);

#endif

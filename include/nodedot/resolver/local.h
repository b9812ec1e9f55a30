/* local.h - names that nodedot answers itself and never forwards.
 *
 * Rules: RFC 6761 and 7686 (localhost, invalid, onion), RFC 6762 (local), RFC 8375 (home.arpa), RFC 9476 (alt), RFC
 *        9462 section 8.2 (resolver.arpa), RFC 6303 and 7793 (private reverse zones), RFC 8482 (ANY). `test` and
 *        `example` are ordinary names.
 */
#ifndef NODEDOT_RESOLVER_LOCAL_H
#define NODEDOT_RESOLVER_LOCAL_H

#include "nodedot/config/config.h"
#include "nodedot/dns/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the longest matching zone treats a name. */
enum local_zone {
    LOCAL_ZONE_NAMED,    /* a zone other than "." covers it: local, alt, home.arpa and private reverse names go there */
    LOCAL_ZONE_ROOT_DOT, /* only "." or nothing does, and its upstream is DoT */
    LOCAL_ZONE_ROOT_PLAIN /* only "." does, and its upstream is plain: private reverse names go there */
};

/* How zone, the longest match, treats names; NULL: no zone matches. */
enum local_zone local_zone_of(const struct config *config, const struct zone_config *zone);

/* Maximum size of such an answer: header, question, a CNAME-less record or an SOA, OPT. */
#define LOCAL_ANSWER_MAX (MESSAGE_ERROR_MAX + 512)

/* Writes the answer if nodedot answers the question itself, and returns its size; 0: ask the cache and the upstream.
 * localhost, invalid, onion and resolver.arpa are always answered here, and so is ANY for any other name; local, alt
 * and home.arpa unless a zone of that name is configured. capacity is at least LOCAL_ANSWER_MAX. Fast for ordinary
 * names. */
size_t local_answer(const struct query_message *query, const uint8_t *question, enum local_zone zone, uint8_t *out,
                    size_t capacity, const struct answer_style *style);

#endif

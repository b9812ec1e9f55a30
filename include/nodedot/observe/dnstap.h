/* dnstap.h - a query and its answer as a dnstap payload (https://dnstap.info/, protobuf message dnstap.Dnstap).
 *
 * An answered query is a CLIENT_RESPONSE with the answer's octets, whole. A dropped one is a CLIENT_QUERY, whose message
 * is the query's header and question; the records behind it (EDNS options may name a client) are left out. What dnstap
 * has no field for is in `extra`, as key=value with blanks between: from=upstream upstream=quad9 server=9.9.9.9:853, or
 * dropped=acl.
 */
#ifndef NODEDOT_OBSERVE_DNSTAP_H
#define NODEDOT_OBSERVE_DNSTAP_H

#include "nodedot/observe/query_record.h"

#include <stddef.h>
#include <stdint.h>

#define DNSTAP_CONTENT_TYPE "protobuf:dnstap.Dnstap"

/* Everything but the message: identity, version, extra, addresses, times, and the tags of all. */
#define DNSTAP_HEAD 1024
#define DNSTAP_MAX  (DNSTAP_HEAD + MESSAGE_MAX_OCTETS)

/* Writes the payload into buffer (DNSTAP_MAX octets). answer: record->answer_octets octets. identity: at most 255
 * characters, "": none. Returns where in the buffer it begins, and its size. */
const uint8_t *dnstap_encode(uint8_t *buffer, const struct query_record *record, const uint8_t *answer,
                             const char *identity, size_t *size);

#endif

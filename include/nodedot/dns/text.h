/* text.h - resource records in presentation format, for people.
 *
 * Pure functions on octets. Well-known types are written as a zone file has them, all others, and RDATA that is not as
 * its type wants it, as "\# LENGTH HEX". The output is printable ASCII, whatever the server sent.
 * Rules: RFC 1035 section 5.1, RFC 3597 section 5 (unknown types), RFC 4034 sections 2.2, 3.2 and 5.3 (DNSSEC), RFC
 *        8659 section 4.1.1 (CAA), RFC 9460 section 2.1 and appendix A (SVCB, HTTPS).
 */
#ifndef NODEDOT_DNS_TEXT_H
#define NODEDOT_DNS_TEXT_H

#include "nodedot/dns/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for a record whatever it holds: a list of SVCB keys takes up to 8 characters an octet, all else less. */
#define TEXT_RECORD (8 * 65536 + 2048)

/* Writes the record at w, a cursor on its message, as "OWNER TTL CLASS TYPE RDATA" with tabs between, and moves behind
 * it. *type is the record's. False: the record runs past the message's end or has a broken owner, or capacity
 * (TEXT_RECORD suffices always) is too small; out is then not to be used. */
bool text_record(struct wire *w, uint16_t *type, char *out, size_t capacity);

#endif

/* mnemonic.h - the names of types and RCODEs, for people.
 *
 * Rules: the IANA registry "Domain Name System (DNS) Parameters"; RFC 3597 section 5 for what has no name here.
 */
#ifndef NODEDOT_DNS_MNEMONIC_H
#define NODEDOT_DNS_MNEMONIC_H

#include <stdbool.h>
#include <stdint.h>

/* "RCODE65535", "CLASS65535" and NUL. */
#define MNEMONIC_TEXT 16

/* "A", "HTTPS", "TYPE1234". Returns a constant, or out (MNEMONIC_TEXT octets), as the others do. */
const char *rrtype_to_text(uint16_t type, char *out);

/* Reads a type's name or "TYPE1234", in any case. False for anything else. */
bool rrtype_from_text(const char *text, uint16_t *type);

/* "IN", "CH", "CLASS1234". */
const char *rrclass_to_text(uint16_t class, char *out);

/* "NOERROR", "BADVERS", "RCODE1234". */
const char *rcode_to_text(uint16_t rcode, char *out);

#endif

/* bailiwick.h - removes records of an upstream's answer that do not belong to the question.
 *
 * The cache stores whole answers under their question, so a forged record never becomes the answer to another question
 * here. But it would be passed on to clients that cache single records (a pod's own resolver, a library). These records
 * are kept:
 *
 *   ANSWER      records owned by QNAME or by a name that the chain of CNAMEs and DNAMEs leads to from there, at most
 *               BAILIWICK_CHAIN names, and the DNAMEs of that chain with their signatures;
 *   AUTHORITY   SOA, NS and DS owned at or above a name of the chain: the zone it is in, or a delegation; NSEC and
 *               NSEC3 owned within such a zone, or within that of a signer (RRSIG) at or above a name of the chain; and
 *               the RRSIGs of all of these;
 *   ADDITIONAL  A, AAAA, SVCB and HTTPS, with their RRSIGs, owned by a name of the chain or one that a kept NS, MX,
 *               SRV, SVCB, HTTPS, AFSDB or KX names.
 *
 * Rules:  RFC 1034 section 3.6.2, RFC 2181 section 5.4.1, RFC 5452 section 6, RFC 6672 (DNAME), RFC 9460 section 4.
 * Memory: a workspace, taken once. Pages that ordinary answers do not need are not touched.
 */
#ifndef NODEDOT_DNS_BAILIWICK_H
#define NODEDOT_DNS_BAILIWICK_H

#include "nodedot/dns/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Maximum number of names in a chain; resolvers stop at 8 to 16. */
#define BAILIWICK_CHAIN 32

struct bailiwick;

/* NULL: no memory. */
struct bailiwick *bailiwick_create(void);
void bailiwick_destroy(struct bailiwick *b);

/* An answer and what answer_parse() said about it. */
struct bailiwick_answer {
    const uint8_t *message;
    const struct answer_info *info;
    const uint16_t *ttl_offsets;
};

/* Removes the records that do not belong. If there are none, as with honest servers, *answer is unchanged, to the
 * octet. Otherwise it is replaced by one in the workspace, valid until the next call, which is not longer, has no OPT
 * (info keeps its contents), and parses. An answer that cannot be written without growing (its names refer to data that
 * is no name) becomes a SERVFAIL without records. Returns the number of removed records. */
unsigned bailiwick_keep(struct bailiwick *b, struct bailiwick_answer *answer);

#endif

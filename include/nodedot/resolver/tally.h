/* tally.h - which counter belongs to an RCODE and to a QTYPE.
 *
 * Tables, no decisions: codes and types without a counter of their own count as "other".
 */
#ifndef NODEDOT_RESOLVER_TALLY_H
#define NODEDOT_RESOLVER_TALLY_H

#include "nodedot/observe/metrics.h"

#include <stdint.h>

/* An answer with this RCODE (all twelve bits) leaves. Only the block's own thread may call these. */
void tally_rcode(struct metrics *metrics, unsigned rcode);

/* A query for this type came. */
void tally_type(struct metrics *metrics, uint16_t qtype);

#endif

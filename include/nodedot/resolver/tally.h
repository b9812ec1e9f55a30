/* tally.h - the counters of RCODEs and QTYPEs.
 *
 * Tables, no decisions: codes and types without a counter of their own count as "other".
 */
#ifndef NODEDOT_RESOLVER_TALLY_H
#define NODEDOT_RESOLVER_TALLY_H

#include "nodedot/observe/metrics.h"

#include <stdint.h>

/* Counts an answer with this RCODE (all twelve bits). Only the block's own thread may call these. */
void tally_rcode(struct metrics *metrics, unsigned rcode);

/* Counts a query for this type. */
void tally_type(struct metrics *metrics, uint16_t qtype);

#endif

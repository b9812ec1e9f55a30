/* online.h - asks addresses one question once, from a command: as the daemon asks, but without it.
 *
 * A DoT address proves its identity with a full handshake (identity.h) before anything else is written to it; the query
 * is padded like the daemon's. A plain one is asked over UDP, again each second, and over TCP where the answer is
 * truncated or force-tcp is set. The answer must match in ID and question and be well-formed.
 * Life:   fill in the first members; online_ask() asks all of them at the same time and returns when each has its
 *         outcome.
 * Memory: ONLINE_IN octets for each, which the caller gives and the answer stays in, and a TLS connection's (tls.h) while
 *         it is asked.
 */
#ifndef NODEDOT_FORWARD_ONLINE_H
#define NODEDOT_FORWARD_ONLINE_H

#include "nodedot/config/config.h"
#include "nodedot/dns/message.h"
#include "nodedot/forward/handshake.h"
#include "nodedot/proof/identity.h"

#include <stddef.h>
#include <stdint.h>

/* A message of full length with its length prefix. */
#define ONLINE_IN (2 + MESSAGE_MAX_OCTETS)

enum online_outcome {
    ONLINE_UNREACHABLE, /* no connection, no handshake, or nobody answers datagrams */
    ONLINE_MISMATCH,    /* it did not prove its identity, and was not asked */
    ONLINE_SILENT,      /* it proved its identity where it had to, was asked, and gave no answer */
    ONLINE_ANSWERED
};

enum online_state { ONLINE_CONNECTING, ONLINE_READING, ONLINE_DATAGRAM, ONLINE_DONE };

struct online {
    /* Given. They must outlive it. */
    const struct upstream_config *upstream;
    const struct endpoint *address;
    struct tls_trust *trust; /* of identity_trust(); NULL for a plain upstream */
    uint8_t *in;             /* ONLINE_IN octets */
    /* What came of it. */
    enum online_outcome outcome;
    char reason[TLS_ERROR];          /* why there is no answer, or what is doubtful: "" */
    struct identity_result identity; /* of a handshake that was done */
    char version[16], cipher[48];    /* "" for plain */
    const char *over;                /* "TLS", "UDP", "TCP" */
    uint32_t connected_us;           /* from the beginning until the connection, and its handshake, were done */
    uint32_t answered_us;            /* from the asking until the answer */
    const uint8_t *answer;           /* the message, in "in"; NULL: none */
    size_t answer_size;
    struct answer_info info;
    /* Its own. */
    enum online_state state;
    const struct question *question;
    struct handshake handshake; /* its socket is the datagram's, too */
    short events;               /* to poll for */
    uint64_t began_us, asked_us, deadline_ms, again_ms;
    uint16_t id;
    bool without_edns;
    size_t in_used;
};

/* Asks. Each has its outcome timeout_ms from now at the latest. The others' members are set here. */
void online_ask(struct online *asks, size_t count, const struct question *question, uint32_t timeout_ms);

#endif

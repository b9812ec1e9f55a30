/* inquiry.h - asks addresses one question once, from a command: the daemon's exchange (exchange.h, pipeline.h), driven by
 * poll(2).
 *
 * A DoT address proves its identity with a full handshake (identity.h) before anything else is written to it. A plain one
 * is asked over UDP, again each second, and over TCP where the answer does not fit or force-tcp is set. How the query is
 * written, which message answers it and what that message means is decided as in the daemon; a server that dislikes EDNS
 * is asked in plainer forms.
 * Life:   fill in the first members; inquiry_ask() asks all of them at the same time and returns when each has its
 *         outcome.
 * Memory: INQUIRY_OUT octets for each, which the caller gives and the answer stays in; while it is asked, a pipeline and a
 *         TLS connection (tls.h).
 */
#ifndef NODEDOT_FORWARD_INQUIRY_H
#define NODEDOT_FORWARD_INQUIRY_H

#include "nodedot/config/config.h"
#include "nodedot/dns/message.h"
#include "nodedot/forward/handshake.h"
#include "nodedot/forward/pipeline.h"
#include "nodedot/proof/identity.h"

#include <stddef.h>
#include <stdint.h>

#define INQUIRY_OUT MESSAGE_MAX_OCTETS

enum inquiry_outcome {
    INQUIRY_UNREACHABLE, /* no connection, no handshake, or nobody answers datagrams */
    INQUIRY_MISMATCH,    /* it did not prove its identity, and was not asked */
    INQUIRY_SILENT,      /* it proved its identity where it had to, was asked, and gave no answer */
    INQUIRY_ANSWERED
};

enum inquiry_state { INQUIRY_CONNECTING, INQUIRY_READING, INQUIRY_DATAGRAM, INQUIRY_DONE };

struct inquiry {
    /* Given. They must outlive it. */
    const struct upstream_config *upstream;
    const struct endpoint *address;
    struct tls_trust *trust; /* of identity_trust(); NULL for a plain upstream */
    uint8_t *out;            /* INQUIRY_OUT octets */
    /* What came of it. */
    enum inquiry_outcome outcome;
    char reason[TLS_ERROR];          /* why there is no answer, or what is doubtful: "" */
    struct identity_result identity; /* of a handshake that was done */
    char version[16], cipher[48];    /* "" for plain */
    const char *over;                /* "TLS", "UDP", "TCP" */
    uint32_t connected_us;           /* from the beginning until the connection, and its handshake, were done */
    uint32_t answered_us;            /* from the asking until the answer */
    const uint8_t *answer;           /* the message, in "out"; NULL: none */
    size_t answer_size;
    struct answer_info info;
    /* Its own. */
    enum inquiry_state state;
    struct exchange exchange;
    struct pipeline *pipeline;  /* of its connection */
    struct handshake handshake; /* its socket is the datagram's, too */
    short events;               /* to poll for */
    uint64_t began_us, deadline_ms, again_ms;
};

/* Asks. Each has its outcome timeout_ms from now at the latest. The others' members are set here. */
void inquiry_ask(struct inquiry *asks, size_t count, const struct question *question, uint32_t timeout_ms);

#endif

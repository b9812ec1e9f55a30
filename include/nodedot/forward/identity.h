/* identity.h - is the peer who it should be?
 *
 * Strict profile of RFC 8310: a connection carries no query before identity_check() said IDENTITY_PROVED for it, or
 * it resumed a session that a proof of the same epoch earned.
 * Rules: pin: SHA-256 of a SubjectPublicKeyInfo of the leaf, or of a certificate of the presented chain that really
 *        signs it (RFC 7858 section 4.2, RFC 8310 section 6). ca: path to a CA of ca-file with dates in order, and
 *        the name. A name that is configured must be carried by the leaf in every mode; without one, `ca` asks for
 *        the upstream's IP address.
 */
#ifndef NODEDOT_FORWARD_IDENTITY_H
#define NODEDOT_FORWARD_IDENTITY_H

#include "nodedot/config/config.h"
#include "nodedot/forward/tls.h"

#include <stdbool.h>
#include <stdint.h>

struct identity_result {
    bool proved;            /* may be used (in pin-mode report also when no pin matched, if nothing else is wrong) */
    bool pin_missed;        /* no pin matched; with pin-mode enforce not proved */
    uint32_t pins_matched;  /* bit i: pin i of the upstream matched */
    bool only_ca_pin;       /* the only matches are of CA certificates and no name is configured: worth a warning */
    bool outside_dates;     /* leaf expired or not yet valid; decides in ca modes, is a warning in pin mode */
    int64_t not_after;      /* earliest end of the leaf and of the certificates up to the one that matched */
    char reason[TLS_ERROR]; /* why it is not proved, for people; "" */
};

/* Judges the finished full handshake of tls against the upstream's settings. now: wall seconds. */
void identity_check(const struct upstream_config *upstream, const struct endpoint *address, struct tls_trust *trust,
                    struct tls *tls, int64_t now, struct identity_result *out);

#endif

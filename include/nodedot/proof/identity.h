/* identity.h - did the peer prove the configured identity?
 *
 * Strict profile of RFC 8310: a connection carries no query before identity_check() has proved its peer, or before it
 * has resumed a session of a proof of the same epoch.
 * Rules: pin: SHA-256 of a SubjectPublicKeyInfo (RFC 7858 section 4.2, RFC 8310 section 6). A pin of the leaf's key
 *        needs nothing else. A pin of a certificate above the leaf vouches for all that this CA signs, so it needs a
 *        path from there to the leaf that keeps all rules of path.h, and a name. ca: a path from a CA of ca-file, and
 *        the name. A configured name must be carried by the leaf in every mode; without one, `ca` asks for the
 *        upstream's IP address. pin-mode = report excuses the pins and nothing else, so it goes with pin+ca only.
 */
#ifndef NODEDOT_PROOF_IDENTITY_H
#define NODEDOT_PROOF_IDENTITY_H

#include "nodedot/config/config.h"
#include "nodedot/tls/tls.h"

#include <stdbool.h>
#include <stdint.h>

struct identity_result {
    bool proved;            /* may be used (with pin-mode = report also if no pin matched and nothing else is wrong) */
    bool pin_missed;        /* no pin matched; with pin-mode enforce not proved */
    uint32_t pins_matched;  /* bit i: pin i of the upstream matched */
    size_t pin_certificate; /* number, in the chain, of the certificate that the first of them matched */
    bool early;             /* refused because a certificate is not valid yet: check the clock of the node */
    bool outside_dates;     /* leaf expired or not yet valid; decides in ca modes, is a warning in pin mode */
    int64_t not_after;      /* earliest end of the certificates that the proof rests on */
    char reason[TLS_ERROR]; /* reason of a refusal, for people; "" */
};

/* Judges the finished full handshake of tls against the upstream's settings. now: wall seconds. */
void identity_check(const struct upstream_config *upstream, const struct endpoint *address, struct tls_trust *trust,
                    struct tls *tls, int64_t now, struct identity_result *out);

/* Was child signed with the key of issuer, and does it name it? */
bool identity_signed_by(const struct tls_certificate *child, const struct tls_certificate *issuer);

/* Would a pin of chain[anchor] prove the leaf (beside a name, above the leaf)? False: why in reason (TLS_ERROR octets).
 * */
bool identity_pin_counts(const struct tls_certificate *chain, size_t count, size_t anchor, int64_t now, char *reason);

/* Warnings for the operator although the identity is proved; the most urgent first among those that exclude each other.
 * */
enum identity_doubt {
    DOUBT_REPORTED,     /* no pin matches, accepted because of pin-mode = report */
    DOUBT_DATES,        /* outside its dates, accepted because of its pin */
    DOUBT_ENDS_AT_ONCE, /* within 3 days */
    DOUBT_ENDS_SOON,    /* within 14 days */
    DOUBT_LAST_PIN,     /* only the last of several pins matches: no backup is left */
    DOUBT_BACKUP_PIN    /* the first pin of the list does not match, a later one does: the backup is in use */
};
#define IDENTITY_DOUBTS 6

/* Bit i: doubt i is in order for a proved result. The order of the pins is that of their use: the first is of the key
 * in service, those behind it are of keys to come or of CAs, so a backup that matches nothing yet is as it should be.
 * */
uint32_t identity_doubts(const struct upstream_config *upstream, const struct identity_result *result, int64_t now);
const char *identity_doubt_text(enum identity_doubt doubt);

/* Is exactly one pin configured? Then the next change of the key makes the upstream unusable. */
bool identity_lacks_backup(const struct upstream_config *upstream);
#define IDENTITY_LACKS_BACKUP "only one pin: the next change of key takes this upstream out; give a backup pin"

#define IDENTITY_PROOF 400
/* Writes what proved the identity, for people ("pin 1 of 2 (certificate 0), CA, name dns.example"), to out of
 * IDENTITY_PROOF octets, and returns out. */
const char *identity_proof(const struct upstream_config *upstream, const struct identity_result *result, char *out);

/* What identity_check() and connections to an upstream need: reads its files. NULL: why in error (TLS_ERROR octets). */
struct tls_trust *identity_trust(const struct upstream_config *upstream, char *error);

#endif

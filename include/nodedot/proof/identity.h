/* identity.h - is the peer who it should be?
 *
 * Strict profile of RFC 8310: a connection carries no query before identity_check() said IDENTITY_PROVED for it, or
 * it resumed a session that a proof of the same epoch earned.
 * Rules: pin: SHA-256 of a SubjectPublicKeyInfo of the leaf, or of a certificate of the presented chain that really
 *        signs it (RFC 7858 section 4.2, RFC 8310 section 6). ca: path to a CA of ca-file with dates in order, and
 *        the name. A name that is configured must be carried by the leaf in every mode; without one, `ca` asks for
 *        the upstream's IP address.
 */
#ifndef NODEDOT_PROOF_IDENTITY_H
#define NODEDOT_PROOF_IDENTITY_H

#include "nodedot/config/config.h"
#include "nodedot/tls/tls.h"

#include <stdbool.h>
#include <stdint.h>

struct identity_result {
    bool proved;            /* may be used (in pin-mode report also when no pin matched, if nothing else is wrong) */
    bool pin_missed;        /* no pin matched; with pin-mode enforce not proved */
    uint32_t pins_matched;  /* bit i: pin i of the upstream matched */
    size_t pin_certificate; /* number in the chain of the certificate that the first of them matched */
    bool only_ca_pin;       /* the only matches are of CA certificates and no name is configured: worth a warning */
    bool outside_dates;     /* leaf expired or not yet valid; decides in ca modes, is a warning in pin mode */
    int64_t not_after;      /* earliest end of the leaf and of the certificates up to the one that matched */
    char reason[TLS_ERROR]; /* why it is not proved, for people; "" */
};

/* Judges the finished full handshake of tls against the upstream's settings. now: wall seconds. */
void identity_check(const struct upstream_config *upstream, const struct endpoint *address, struct tls_trust *trust,
                    struct tls *tls, int64_t now, struct identity_result *out);

/* What an operator should hear of although the identity is proved, most urgent first among those that exclude each
 * other. */
enum identity_doubt {
    DOUBT_REPORTED,     /* no pin matches, accepted because of pin-mode = report */
    DOUBT_CA_PIN,       /* only_ca_pin */
    DOUBT_DATES,        /* outside its dates, accepted because of its pin */
    DOUBT_ENDS_AT_ONCE, /* within 3 days */
    DOUBT_ENDS_SOON,    /* within 14 days */
    DOUBT_LAST_PIN,     /* of several pins the last of the list alone matches: no backup is left */
    DOUBT_BACKUP_PIN    /* the first pin of the list does not match, a later one does: the backup is in use */
};
#define IDENTITY_DOUBTS 7

/* Bit i: doubt i is in order for a proved result. The order of the pins is that of their use: the first is of the key
 * in service, those behind it are of keys to come or of CAs, so a backup that matches nothing yet is as it should be. */
uint32_t identity_doubts(const struct upstream_config *upstream, const struct identity_result *result, int64_t now);
const char *identity_doubt_text(enum identity_doubt doubt);

/* Are pins asked for, and is there only one? Then the next change of key takes the upstream out. */
bool identity_lacks_backup(const struct upstream_config *upstream);
#define IDENTITY_LACKS_BACKUP "only one pin: the next change of key takes this upstream out; give a backup pin"

#define IDENTITY_PROOF 400
/* Writes what a proof rests on, for people ("pin 1 of 2 (certificate 0), CA, name dns.example"), to out of
 * IDENTITY_PROOF octets, and returns out. */
const char *identity_proof(const struct upstream_config *upstream, const struct identity_result *result, char *out);

/* What identity_check() and connections to an upstream need: reads its files. NULL: why in error (TLS_ERROR octets). */
struct tls_trust *identity_trust(const struct upstream_config *upstream, char *error);

#endif

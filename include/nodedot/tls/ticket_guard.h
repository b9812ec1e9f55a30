/* ticket_guard.h - keeps from the TLS library the session tickets that would end a connection.
 *
 * What:   wolfSSL breaks a TLS 1.3 connection whose server sends a ticket with a nonce above 8 octets (before 5.7), a
 *         lifetime above 7 days, or a message that spans several records. A ticket is an offer, and no reason to lose
 *         answers. So each record that comes after the handshake is looked at before the library sees it: one that
 *         holds such a ticket is opened, the ticket taken out, and the record sealed again with the same key, number
 *         and length (RFC 8446 sections 4.6.1 and 5.2). All else passes as it came.
 * Cost:   for a record without a ticket, one block of key stream: the type stands in its last octet.
 * Trust:  a record that was not made with the key is no better afterwards: it fails in the library, as it must.
 * Memory: 16 octets a connection.
 */
#ifndef NODEDOT_TLS_TICKET_GUARD_H
#define NODEDOT_TLS_TICKET_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TICKET_OCTETS_MAX 1536 /* wolfSSL fails a handshake that offers a larger ticket (its MAX_PSK_ID_LEN) */

enum guard_cipher { GUARD_CHACHA20_POLY1305, GUARD_AES_GCM };

/* What the peer sealed a record with. */
struct record_key {
    enum guard_cipher cipher;
    const uint8_t *key;
    size_t key_size;
    const uint8_t *iv; /* 12 octets */
    uint64_t number;   /* of the record, since the key changed */
};

/* Where the stream of handshake messages stands between two records. All zero at the beginning. */
struct ticket_guard {
    uint32_t left;     /* octets of a message that are still to come */
    uint8_t header[4]; /* of a message of which less than its header came */
    uint8_t header_size;
    bool dropping; /* what is still to come is of a ticket that was taken out */
};

/* Looks at a whole record, header included, and changes it in place where it holds a ticket that the library cannot
 * take. nonce_max: octets of a nonce that it has room for. Returns the number of tickets that were taken out. */
unsigned int ticket_guard_screen(struct ticket_guard *guard, const struct record_key *key, size_t nonce_max,
                                 uint8_t *record, size_t size);

#endif

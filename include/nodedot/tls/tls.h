/* tls.h - TLS to upstreams; the only module, with ticket_guard.h, that knows wolfSSL.
 *
 * Life:   tls_trust_create() once per upstream group and thread; tls_open() on a connected socket; tls_handshake()
 *         until it is done; identity_check() (identity.h) before a single query is written; tls_read() and
 *         tls_write(); tls_close().
 * I/O:    non-blocking; the wolfSSL I/O callbacks read and write through buffers of whole records, so one recv(2)
 *         may serve several records, and what one tls_write() makes leaves in one send(2).
 * Trust:  the handshake proves that the peer holds the key of the leaf certificate it showed, and nothing else.
 *         Whether this certificate is the right one is judged by identity.h on the chain that tls_peer_chain()
 *         returns.
 * Crypto: TLS 1.3 and 1.2 with forward-secret AEAD suites, ChaCha20-Poly1305 first (Debian's wolfSSL has no AES
 *         instructions: 350 MB/s against 130 MB/s), X25519 first; ALPN "dot"; no renegotiation, no early data.
 * Offers: no session ticket ends a connection, whatever its shape (ticket_guard.h). Those that wolfSSL can take are kept:
 *         before 5.7 it has no room for nonces above 8 octets.
 * Memory: about 115 KiB a connection (the session of Debian's wolfSSL alone takes 37, the receive buffer 32), and
 *         what waits for a peer that does not read, 256 KiB at most. A ticket takes some 350 octets. A trust takes
 *         1.3 KiB a CA.
 * Files:  with wolfSSL 5.5 nothing is opened behind tls_global_init() and tls_trust_create(); from 5.7 on, wolfSSL
 *         opens /dev/urandom in every handshake, which a sandbox must allow then.
 * Shared: a trust and what was opened on it belong to one thread.
 */
#ifndef NODEDOT_TLS_TLS_H
#define NODEDOT_TLS_TLS_H

#include "nodedot/base/file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_CHAIN_MAX 10 /* certificates of a chain that we look at; a longer chain is refused */
#define TLS_ERROR     160

struct tls_trust;  /* CA certificates, client certificate, protocol settings */
struct tls;        /* one connection */
struct tls_ticket; /* a session that may be resumed once */

enum tls_result {
    TLS_DONE = 0,
    TLS_WANT_READ,
    TLS_WANT_WRITE,
    TLS_CLOSED, /* the peer ended the stream: close_notify, or FIN without one */
    TLS_FAILED  /* protocol error or socket error: see tls_error() */
};

/* Contents of files (PEM), needed until tls_trust_create() returns. */
struct tls_settings {
    const struct file_text *ca;          /* NULL: no CA trust */
    const struct file_text *certificate; /* of the client: a chain; NULL: none */
    const struct file_text *key;
};

/* Prepares a trust. NULL, and why in error (TLS_ERROR octets), naming the file. Read-only from then on, so threads may
 * share it. */
struct tls_trust *tls_trust_create(const struct tls_settings *settings, char *error);
void tls_trust_destroy(struct tls_trust *trust);

/* Begins a connection on a connected or connecting socket, which stays the caller's. server_name: SNI, NULL or "" for
 * none. ticket: resume with it; taken over and released whatever happens; NULL for a full handshake. NULL: out of
 * memory. */
struct tls *tls_open(struct tls_trust *trust, int fd, const char *server_name, struct tls_ticket *ticket);

/* Sends close_notify if the handshake was done (best effort, never blocks) and releases everything but the socket. */
void tls_close(struct tls *tls);

/* TLS_DONE when finished. Call again after the socket became readable or writable as asked. */
enum tls_result tls_handshake(struct tls *tls);

/* Was an earlier session resumed? Then the peer showed no certificate. */
bool tls_resumed(const struct tls *tls);

/* "TLSv1.3", "TLS13-CHACHA20-POLY1305-SHA256" and so on, for logs and `nodedot pin`. */
const char *tls_version(const struct tls *tls);
const char *tls_cipher(const struct tls *tls);

/* Reads up to capacity octets; *size says how many. Call until TLS_WANT_READ: octets may wait inside, where no event of
 * the socket tells of them. */
enum tls_result tls_read(struct tls *tls, uint8_t *out, size_t capacity, size_t *size);

/* Writes all octets as one record (several where size is over 16 KiB), which may stay buffered inside: TLS_WANT_WRITE
 * means taken, but call tls_flush() when the socket is writable. Not to be called while that is so. TLS_FAILED: nothing
 * more. */
enum tls_result tls_write(struct tls *tls, const uint8_t *data, size_t size);
enum tls_result tls_flush(struct tls *tls);

/* What went wrong last, for people. Never NULL. */
const char *tls_error(const struct tls *tls);

/* A ticket of this connection for a later one, or NULL. Each is given once; call after reads (tickets of TLS 1.3 come
 * behind the handshake). */
struct tls_ticket *tls_take_ticket(struct tls *tls);
void tls_ticket_release(struct tls_ticket *ticket);

/* One certificate of the chain that the peer showed, leaf first. Points into the connection. */
struct tls_certificate {
    const uint8_t *der;
    size_t der_size;
    uint8_t spki_sha256[32]; /* of its SubjectPublicKeyInfo in DER (RFC 7858 section 4.2) */
    int64_t not_before;      /* seconds since 1970 */
    int64_t not_after;
    bool is_ca;        /* basicConstraints cA (RFC 5280 section 4.2.1.9) */
    char subject[128]; /* for people: "CN=dns.quad9.net, O=Quad9, ..." cut where it is too long */
    char issuer[128];
    char key[32]; /* "EC P-256", "RSA 2048", "Ed25519" */
};

/* Fills chain (TLS_CHAIN_MAX entries) and returns how many; 0 after a resumed handshake, or for a chain that is too
 * long or cannot be parsed. */
size_t tls_peer_chain(struct tls *tls, struct tls_certificate *chain);

/* Parses the certificates of a PEM file for `nodedot pin --cert`. *count entries at chain; false and error text
 * otherwise. The octets that der points at are released with free(*storage). */
bool tls_read_certificates(const char *file, struct tls_certificate *chain, size_t capacity, size_t *count,
                           void **storage, char *error);

/* The CAs of the trust's ca_file. */
struct pem;
const struct pem *tls_trust_roots(const struct tls_trust *trust);

/* Does the leaf carry this DNS name, or this IP address in text form, in subjectAltName? Wildcards only as the whole
 * leftmost label (RFC 6125 section 6.4.3); the common name does not count (RFC 8310 section 8.1). */
bool tls_certificate_has_name(const struct tls_certificate *leaf, const char *name);

/* The index-th name that the leaf speaks for, see san_name(). */
bool tls_certificate_name(const struct tls_certificate *leaf, size_t index, char *out, size_t size);

/* Once per process, before anything else here. False: wolfSSL did not start. */
bool tls_global_init(void);

/* The version of wolfSSL. */
const char *tls_library_version(void);

#endif

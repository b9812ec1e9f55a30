/* handshake.h - connects to an address and makes a full TLS handshake there, or connects only.
 *
 * For callers that only inspect the server: revalidation, `nodedot pin`, `nodedot check --online`, `nodedot query`. No
 * ticket is used and only the handshake is written; a caller that writes more must ask identity.h first.
 * Life:   handshake_begin(); then handshake_continue() whenever the socket is ready as it asked, on whatever loop the
 *         caller has, or handshake_wait() instead; handshake_end() in any case.
 * Memory: that of a TLS connection (tls.h). trust and server_name stay the caller's and must outlive it.
 */
#ifndef NODEDOT_FORWARD_HANDSHAKE_H
#define NODEDOT_FORWARD_HANDSHAKE_H

#include "nodedot/base/endpoint.h"
#include "nodedot/tls/tls.h"

#include <stdbool.h>
#include <stdint.h>

struct handshake {
    int fd;                  /* -1: none */
    struct tls *tls;         /* NULL: not connected yet, or bare TCP */
    struct tls_trust *trust; /* NULL: bare TCP */
    const char *server_name;
    char error[TLS_ERROR]; /* reason of a failure, for people */
};

/* Begins to connect. trust NULL: bare TCP, which is done once connected. server_name: SNI, NULL or "" for none. The
 * first thing to wait for is that the socket becomes writable. False: error says why; handshake_end() is not needed. */
bool handshake_begin(struct handshake *handshake, struct tls_trust *trust, const struct endpoint *address,
                     const char *server_name);

/* Continues: TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, or TLS_FAILED; then error has the reason. */
enum tls_result handshake_continue(struct handshake *handshake);

/* Continues until it is done (TLS_DONE), fails, or clock_ms() reaches deadline_ms (also TLS_FAILED). */
enum tls_result handshake_wait(struct handshake *handshake, uint64_t deadline_ms);

/* Closes what is open. May be called twice. */
void handshake_end(struct handshake *handshake);

#endif

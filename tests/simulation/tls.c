/* Takes the place of tls/tls.c and proof/identity.c: a TLS that passes octets on as they are, whose handshake ends
 * as the script says, and an identity that is good or bad as the script says. */
#include "nodedot/tls/tls.h"

#include "nodedot/base/random.h"
#include "nodedot/proof/identity.h"
#include "simulation/check.h"
#include "simulation/network.h"
#include "simulation/simulation.h"

#include <errno.h>
#include <string.h>

#define KEPT_MAX (256 * 1024) /* as the real one */

struct tls_trust {
    int nothing;
};

struct tls_ticket {
    int nothing;
};

struct tls {
    int fd;
    bool done, resumed, proved, ticket_taken;
    size_t kept; /* octets that the socket did not take */
    uint8_t *keep;
};

struct tls_trust *tls_trust_create(const struct tls_settings *settings, char *error)
{
    (void)settings, (void)error;
    return calloc(1, sizeof(struct tls_trust));
}

void tls_trust_destroy(struct tls_trust *trust)
{
    free(trust);
}

struct tls *tls_open(struct tls_trust *trust, int fd, const char *server_name, struct tls_ticket *ticket)
{
    struct tls *tls = calloc(1, sizeof(*tls));

    (void)trust, (void)server_name;
    check(tls != NULL);
    tls->fd = fd;
    network_socket(fd)->has_tls = true;
    tls->resumed = ticket != NULL && random_below(4) != 0; /* a server may not know it any more */
    tls_ticket_release(ticket);
    return tls;
}

void tls_close(struct tls *tls)
{
    free(tls->keep);
    free(tls);
}

enum tls_result tls_handshake(struct tls *tls)
{
    struct simulated_socket *s = network_socket(tls->fd);

    check(!tls->done);
    s->handshake_told = s->handshake != PROGRESS_NONE;
    if (s->handshake == PROGRESS_NONE && s->in.end > s->in.begin)
        return TLS_FAILED; /* octets that are no handshake */
    if (s->reset || s->handshake == PROGRESS_BAD)
        return TLS_FAILED;
    if (s->ended || s->handshake == PROGRESS_CLOSED)
        return TLS_CLOSED;
    if (s->handshake == PROGRESS_NONE)
        return TLS_WANT_READ;
    tls->done = true;
    return TLS_DONE;
}

bool tls_resumed(const struct tls *tls)
{
    check(tls->done);
    return tls->resumed;
}

enum tls_result tls_read(struct tls *tls, uint8_t *out, size_t capacity, size_t *size)
{
    ssize_t n = recv(tls->fd, out, capacity, 0);

    check(tls->done && (tls->resumed || tls->proved));
    *size = n > 0 ? (size_t)n : 0;
    if (n > 0)
        return TLS_DONE;
    if (n == 0)
        return TLS_CLOSED;
    return errno == EAGAIN ? TLS_WANT_READ : TLS_FAILED;
}

enum tls_result tls_flush(struct tls *tls)
{
    while (tls->kept > 0) {
        ssize_t n = send(tls->fd, tls->keep, tls->kept, MSG_NOSIGNAL);

        if (n < 0)
            return errno == EAGAIN ? TLS_WANT_WRITE : TLS_FAILED;
        tls->kept -= (size_t)n;
        memmove(tls->keep, tls->keep + n, tls->kept);
    }
    return TLS_DONE;
}

enum tls_result tls_write(struct tls *tls, const uint8_t *data, size_t size)
{
    /* No query leaves the node unauthenticated. */
    check(tls->done && (tls->resumed || tls->proved) && simulation_may_write(&network_socket(tls->fd)->peer));
    check(tls->kept == 0 && size > 0 && size <= KEPT_MAX);
    tls->keep = realloc(tls->keep, size);
    check(tls->keep != NULL);
    memcpy(tls->keep, data, size);
    tls->kept = size;
    return tls_flush(tls);
}

const char *tls_error(const struct tls *tls)
{
    (void)tls;
    return "as the script says";
}

struct tls_ticket *tls_take_ticket(struct tls *tls)
{
    if (tls->ticket_taken)
        return NULL;
    tls->ticket_taken = true;
    return calloc(1, sizeof(struct tls_ticket));
}

void tls_ticket_release(struct tls_ticket *ticket)
{
    free(ticket);
}

void identity_check(const struct upstream_config *upstream, const struct endpoint *address, struct tls_trust *trust,
                    struct tls *tls, int64_t now, struct identity_result *out)
{
    (void)upstream, (void)trust;
    check(tls->done && !tls->resumed);
    tls->proved = !simulation_is_impostor(address);
    *out = (struct identity_result){.proved = tls->proved, .not_after = now + 90 * 86400, .pins_matched = tls->proved};
    strcpy(out->reason, tls->proved ? "" : "another key");
}

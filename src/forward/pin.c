#include "nodedot/forward/pin.h"

#include "nodedot/base/base64.h"
#include "nodedot/base/clock.h"
#include "nodedot/base/endpoint.h"
#include "nodedot/forward/tls.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PIN_PORT       "853" /* RFC 7858 section 3.1 */
#define PIN_TIMEOUT_MS 5000  /* for connecting, and again for the handshake: a person waits */
#define PIN_FILE_MAX   256   /* certificates of a PEM file that are shown */
#define PIN_HOST_MAX   256   /* a host name and NUL */

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct target {
    char host[PIN_HOST_MAX];
    char port[8];
    bool is_address;
};

/* HOST, HOST:PORT, ADDRESS, [V6]:PORT, [V6]. More than one colon without brackets is an IPv6 address. */
static bool target_parse(const char *text, struct target *out)
{
    const char *host = text, *end = text + strlen(text), *port = NULL;
    struct endpoint endpoint;

    if (*text == '[') {
        host = text + 1;
        end = strchr(text, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return false;
        port = end[1] == ':' ? end + 2 : NULL;
    } else if (strchr(text, ':') != NULL && strchr(text, ':') == strrchr(text, ':')) {
        end = strchr(text, ':');
        port = end + 1;
    }
    if (end == host || (size_t)(end - host) >= sizeof(out->host))
        return false;
    memcpy(out->host, host, (size_t)(end - host));
    out->host[end - host] = '\0';

    char *rest;
    unsigned long number = port == NULL ? 0 : strtoul(port, &rest, 10);
    if (port != NULL && (*port < '0' || *port > '9' || *rest != '\0' || number == 0 || number > 65535))
        return false;
    if (port == NULL)
        snprintf(out->port, sizeof(out->port), PIN_PORT);
    else
        snprintf(out->port, sizeof(out->port), "%lu", number);
    out->is_address = endpoint_parse(out->host, 853, &endpoint);
    return *text != '[' || out->is_address;
}

static bool wait_for(int fd, short events, uint64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = clock_ms();
        if (now >= deadline)
            return false;
        int n = poll(&p, 1, (int)(deadline - now));
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

/* A connected socket, or -1 with errno. */
static int connect_to(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error = 0;
    socklen_t size = sizeof(error);

    if (fd < 0)
        return -1;
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return fd;
    if (errno != EINPROGRESS)
        error = errno;
    else if (!wait_for(fd, POLLOUT, clock_ms() + PIN_TIMEOUT_MS))
        error = ETIMEDOUT;
    else
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

/* The first address of the target that can be connected to; -1 and one line on errors. The C library's resolver answers
 * for names: /etc/hosts and /etc/resolv.conf, in a static executable too. */
static int connect_target(const struct target *target, FILE *errors)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int fd = -1, code = getaddrinfo(target->host, target->port, &hints, &list);

    if (code != 0) {
        fprintf(errors, "%s: %s\n", target->host, gai_strerror(code));
        return -1;
    }
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next)
        fd = connect_to(a);
    if (fd < 0)
        fprintf(errors, "%s port %s: %s\n", target->host, target->port, strerror(errno));
    freeaddrinfo(list);
    return fd;
}

static bool finish_handshake(struct tls *tls, int fd, const struct target *target, FILE *errors)
{
    uint64_t deadline = clock_ms() + PIN_TIMEOUT_MS;

    for (;;) {
        switch (tls_handshake(tls)) {
        case TLS_DONE:
            return true;
        case TLS_WANT_READ:
            if (wait_for(fd, POLLIN, deadline))
                continue;
            break;
        case TLS_WANT_WRITE:
            if (wait_for(fd, POLLOUT, deadline))
                continue;
            break;
        case TLS_CLOSED:
        case TLS_FAILED:
            fprintf(errors, "%s port %s: TLS: %s\n", target->host, target->port, tls_error(tls));
            return false;
        }
        fprintf(errors, "%s port %s: no TLS handshake within %d s\n", target->host, target->port,
                PIN_TIMEOUT_MS / 1000);
        return false;
    }
}

static void print_date(const char *label, int64_t seconds, FILE *out)
{
    char text[32] = "?";
    time_t t = (time_t)seconds;
    struct tm tm;

    if (gmtime_r(&t, &tm) != NULL)
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm);
    fprintf(out, "%s%s", label, text);
}

static void pin_text(const struct tls_certificate *certificate, char out[BASE64_LENGTH(32) + 1])
{
    base64_encode(certificate->spki_sha256, sizeof(certificate->spki_sha256), out);
}

static void print_table(const struct tls_certificate *chain, size_t count, FILE *out)
{
    char pin[BASE64_LENGTH(32) + 1];
    int64_t now = clock_wall_seconds();

    for (size_t i = 0; i < count; i++) {
        const struct tls_certificate *c = &chain[i];
        pin_text(c, pin);
        fprintf(out, "%zu  subject  %s\n", i, c->subject[0] == '\0' ? "(none)" : c->subject);
        fprintf(out, "   issuer   %s\n", c->issuer);
        print_date("   valid    ", c->not_before, out);
        print_date(" to ", c->not_after, out);
        fprintf(out, "%s\n", now > c->not_after ? " (expired)" : now < c->not_before ? " (not yet valid)" : "");
        fprintf(out, "   key      %s%s\n", c->key, c->is_ca ? ", CA" : "");
        fprintf(out, "   pin      sha256/%s\n", pin);
    }
}

/* Lines for an [upstream] section. The first is the one that would be used, the others wait behind a comment sign. */
static void print_ini(const struct tls_certificate *chain, size_t count, FILE *out)
{
    char pin[BASE64_LENGTH(32) + 1];

    fprintf(out,
            "\n; Nothing here is proved. Compare the pins with what the server's owner publishes before you use one,\n"
            "; and give a second one as a backup. A pin of a CA (number 1 and up) needs a name beside it.\n");
    for (size_t i = 0; i < count; i++) {
        pin_text(&chain[i], pin);
        fprintf(out, "%spin = sha256/%s\n", i == 0 ? "" : "; ", pin);
    }
}

static int print_connected(int fd, struct tls_trust *trust, const struct target *target, const char *server_name,
                           FILE *out, FILE *errors)
{
    struct tls_certificate chain[TLS_CHAIN_MAX];
    struct tls *tls = tls_open(trust, fd, server_name, NULL);
    int status = EXIT_FAILED;

    if (tls == NULL) {
        fprintf(errors, "out of memory\n");
    } else if (finish_handshake(tls, fd, target, errors)) {
        size_t count = tls_peer_chain(tls, chain);
        if (count == 0) {
            fprintf(errors, "%s port %s: no certificate chain that can be read\n", target->host, target->port);
        } else {
            fprintf(out, "%s port %s, %s %s\n\n", target->host, target->port, tls_version(tls), tls_cipher(tls));
            print_table(chain, count, out);
            print_ini(chain, count, out);
            if (server_name != NULL)
                fprintf(
                    out, "%sname = %s\n",
                    tls_certificate_has_name(&chain[0], server_name) ? "" : "; not in the certificate: ", server_name);
            status = EXIT_DONE;
        }
    }
    tls_close(tls);
    return status;
}

int pin_print_host(const char *target_text, const char *server_name, FILE *out, FILE *errors)
{
    struct target target;
    char error[TLS_ERROR];

    if (!target_parse(target_text, &target)) {
        fprintf(errors, "%s: expected HOST, HOST:PORT or [IPV6]:PORT\n", target_text);
        return EXIT_USAGE;
    }
    struct tls_trust *trust = tls_trust_create(&(struct tls_settings){0}, error);
    if (trust == NULL) {
        fprintf(errors, "TLS: %s\n", error);
        return EXIT_FAILED;
    }
    if (server_name == NULL && !target.is_address)
        server_name = target.host;

    int status = EXIT_FAILED, fd = connect_target(&target, errors);
    if (fd >= 0) {
        status = print_connected(fd, trust, &target, server_name, out, errors);
        close(fd);
    }
    tls_trust_destroy(trust);
    return status;
}

int pin_print_file(const char *file, FILE *out, FILE *errors)
{
    struct tls_certificate *chain = calloc(PIN_FILE_MAX, sizeof(*chain));
    char error[TLS_ERROR] = "out of memory";
    void *storage = NULL;
    size_t count = 0;
    int status = EXIT_FAILED;

    if (chain != NULL && tls_read_certificates(file, chain, PIN_FILE_MAX, &count, &storage, error)) {
        print_table(chain, count, out);
        print_ini(chain, count, out);
        status = EXIT_DONE;
    } else {
        fprintf(errors, "%s\n", error);
    }
    free(storage);
    free(chain);
    return status;
}

#include "nodedot/forward/pin.h"

#include "nodedot/base/base64.h"
#include "nodedot/base/clock.h"
#include "nodedot/base/endpoint.h"
#include "nodedot/base/exit.h"
#include "nodedot/base/table.h"
#include "nodedot/config/config.h"
#include "nodedot/forward/handshake.h"
#include "nodedot/proof/certificate.h"
#include "nodedot/proof/identity.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#define PIN_PORT       "853" /* RFC 7858 section 3.1 */
#define PIN_TIMEOUT_MS 5000  /* for each address, to connect and shake hands: a person waits */
#define PIN_ADDRESSES  4     /* of a name, tried one after the other: a person waits */
#define PIN_FILE_MAX   256   /* certificates of a PEM file that are shown */
#define PIN_HOST_MAX   256   /* a host name and NUL */
#define PIN_NAMES      16    /* names of a leaf that are shown */

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

/* What is shown: the chain, and where it comes from. */
struct shown {
    const struct tls_certificate *chain;
    size_t count;
    const char *address;     /* as for the option; NULL: from a file */
    const char *server_name; /* that was asked for; NULL: none */
};

static void pin_text(const struct tls_certificate *certificate, char out[BASE64_LENGTH(32) + 1])
{
    base64_encode(certificate->spki_sha256, sizeof(certificate->spki_sha256), out);
}

/* Did the certificate really sign the one before it? */
static bool signs_the_one_before(const struct shown *shown, size_t i)
{
    return identity_signed_by(&shown->chain[i - 1], &shown->chain[i]);
}

static bool print_table(const struct shown *shown, FILE *out)
{
    static const char *const heads[] = {"NO",    "PIN",     "KEY",   "NOT BEFORE (UTC)", "NOT AFTER (UTC)",
                                        "SIGNS", "SUBJECT", "ISSUER"};
    struct table table = table_of(sizeof(heads) / sizeof(*heads));
    char pin[BASE64_LENGTH(32) + 1], date[CERTIFICATE_DATE];

    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, "%s", heads[i]);
    for (size_t i = 0; i < shown->count; i++) {
        const struct tls_certificate *c = &shown->chain[i];

        pin_text(c, pin);
        table_add(&table, "%zu", i);
        table_add(&table, "sha256/%s", pin);
        table_add(&table, "%s%s", c->key, c->is_ca ? ", CA" : "");
        table_add(&table, "%s", certificate_describe_date(c->not_before, date));
        table_add(&table, "%s", certificate_describe_date(c->not_after, date));
        if (i > 0 && signs_the_one_before(shown, i))
            table_add(&table, "number %zu", i - 1);
        else
            table_add(&table, "%s", i == 0 ? "" : "NOT THE ONE BEFORE");
        table_add(&table, "%s", c->subject);
        table_add(&table, "%s", c->issuer);
    }
    return table_print(&table, out);
}

static void print_doubts(const struct shown *shown, FILE *out)
{
    int64_t now = clock_wall_seconds();
    char reason[TLS_ERROR];

    for (size_t i = 0; i < shown->count; i++) {
        const struct tls_certificate *c = &shown->chain[i];

        if (now > c->not_after)
            fprintf(out, "Number %zu has expired.\n", i);
        if (now < c->not_before)
            fprintf(out, "Number %zu is not valid yet.\n", i);
        if (i == 0 && !c->is_ca && strcmp(c->subject, c->issuer) == 0)
            fprintf(out, "Number 0 is its own issuer (self-signed): no authority vouches for it.\n");
        if (i > 0 && shown->address != NULL && !signs_the_one_before(shown, i))
            fprintf(out, "Number %zu did not sign number %zu.\n", i, i - 1);
        if (i > 0 && shown->address != NULL && !identity_pin_counts(shown->chain, shown->count, i, now, reason))
            fprintf(out, "A pin of number %zu proves nothing: %s.\n", i, reason);
    }
}

/* The name for the configuration: the one asked for, or the first that the leaf carries and no wildcard. */
static bool find_name(const struct shown *shown, char out[PIN_HOST_MAX])
{
    if (shown->server_name != NULL) {
        snprintf(out, PIN_HOST_MAX, "%s", shown->server_name);
        return true;
    }
    for (size_t i = 0; i < PIN_NAMES && tls_certificate_name(&shown->chain[0], i, out, PIN_HOST_MAX); i++) {
        struct in6_addr address;

        if (strchr(out, '*') == NULL && inet_pton(AF_INET, out, &address) != 1 &&
            inet_pton(AF_INET6, out, &address) != 1)
            return true;
    }
    return false;
}

/* A section's name that the configuration takes. */
static void print_section(const char *name, FILE *out)
{
    fprintf(out, "[upstream ");
    for (size_t i = 0; name[i] != '\0' && i < CONFIG_NAME - 1; i++)
        fputc(isalnum((unsigned char)name[i]) || (i > 0 && strchr("-.", name[i]) != NULL) ? name[i]
              : i > 0                                                                     ? '-'
                                                                                          : 'u',
              out);
    fprintf(out, "]\n");
}

static void print_names(const struct shown *shown, FILE *out)
{
    char name[PIN_HOST_MAX];

    fprintf(out, "; The leaf carries:");
    for (size_t i = 0; i < PIN_NAMES && tls_certificate_name(&shown->chain[0], i, name, sizeof(name)); i++)
        fprintf(out, "%s %s", i > 0 ? "," : "", name);
    if (!tls_certificate_name(&shown->chain[0], 0, name, sizeof(name)))
        fprintf(out, " no name, which only auth = pin without a name accepts");
    fputc('\n', out);
}

static void print_pin_line(const struct shown *shown, size_t i, FILE *out)
{
    const struct tls_certificate *c = &shown->chain[i];
    char pin[BASE64_LENGTH(32) + 1], date[CERTIFICATE_DATE], reason[TLS_ERROR];

    pin_text(c, pin);
    fprintf(out, "; Number %zu, %s: %s, until %s, %s\n", i,
            c->is_ca ? "a CA"
            : i == 0 ? "the leaf"
                     : "no CA",
            c->key, certificate_describe_date(c->not_after, date), c->subject);
    if (i == 0 || identity_pin_counts(shown->chain, shown->count, i, clock_wall_seconds(), reason))
        fprintf(out, "%spin = sha256/%s\n", i == 0 ? "" : "; ", pin);
    else
        fprintf(out, "; (a pin of it would prove nothing: %s)\n", reason);
}

/* An [upstream] section. The leaf's pin is the one that would be used, the others wait behind a comment sign. */
static void print_ini(const struct shown *shown, FILE *out)
{
    char name[PIN_HOST_MAX] = "";
    bool named = find_name(shown, name);

    fprintf(
        out,
        "\n; Nothing here is proved. Compare the pins with what the server's owner publishes before you use them.\n"
        "; Give a second pin as backup, of the key that comes next: pin = sha256/THIS, sha256/NEXT. The leaf's key\n"
        "; of a public resolver changes without notice: pin the CA above it instead, together with the name.\n");
    print_section(named ? name : shown->address != NULL ? shown->address : "NAME", out);
    if (shown->address != NULL)
        fprintf(out, "address = %s\n", shown->address);
    else
        fprintf(out, "; address = (that of the server)\n");
    if (!shown->chain[0].is_ca)
        print_names(shown, out);
    if (named)
        fprintf(out, "%sname = %s\n",
                tls_certificate_has_name(&shown->chain[0], name) ? "" : "; not in the certificate: ", name);
    fprintf(out, "auth = pin\n");
    for (size_t i = 0; i < shown->count; i++)
        print_pin_line(shown, i, out);
}

static int print_shown(const struct shown *shown, FILE *out, FILE *errors)
{
    if (!print_table(shown, out)) {
        fprintf(errors, "out of memory\n");
        return EXIT_FAILED;
    }
    print_doubts(shown, out);
    print_ini(shown, out);
    return EXIT_DONE;
}

static int print_connected(const struct handshake *handshake, const struct target *target,
                           const struct endpoint *address, FILE *out, FILE *errors)
{
    struct tls_certificate chain[TLS_CHAIN_MAX];
    char text[ENDPOINT_TEXT];
    struct shown shown = {.chain = chain,
                          .count = tls_peer_chain(handshake->tls, chain),
                          .address = endpoint_format(address, text),
                          .server_name = handshake->server_name};

    if (shown.count == 0) {
        fprintf(errors, "%s port %s: no certificate chain that can be read\n", target->host, target->port);
        return EXIT_FAILED;
    }
    fprintf(out, "%s (%s), %s %s\n\n", target->host, text, tls_version(handshake->tls), tls_cipher(handshake->tls));
    return print_shown(&shown, out, errors);
}

/* The addresses of the target, PIN_ADDRESSES at most; 0 and one line on errors: none. The C library's resolver answers
 * for names: /etc/hosts and /etc/resolv.conf, in a static executable too. */
static size_t find_addresses(const struct target *target, struct endpoint *out, FILE *errors)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int code = getaddrinfo(target->host, target->port, &hints, &list);
    size_t count = 0;

    if (code != 0) {
        fprintf(errors, "%s: %s\n", target->host, gai_strerror(code));
        return 0;
    }
    for (const struct addrinfo *a = list; a != NULL && count < PIN_ADDRESSES; a = a->ai_next) {
        out[count] = (struct endpoint){.size = a->ai_addrlen};
        memcpy(&out[count++].any, a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(list);
    return count;
}

/* The first address that shakes hands. */
static int print_target(const struct target *target, struct tls_trust *trust, const char *server_name, FILE *out,
                        FILE *errors)
{
    struct endpoint addresses[PIN_ADDRESSES];
    size_t count = find_addresses(target, addresses, errors);
    struct handshake handshake = {.fd = -1};

    for (size_t i = 0; i < count; i++) {
        if (handshake_begin(&handshake, trust, &addresses[i], server_name) &&
            handshake_wait(&handshake, clock_ms() + PIN_TIMEOUT_MS) == TLS_DONE) {
            int status = print_connected(&handshake, target, &addresses[i], out, errors);
            handshake_end(&handshake);
            return status;
        }
        handshake_end(&handshake);
    }
    if (count > 0)
        fprintf(errors, "%s port %s: %s\n", target->host, target->port, handshake.error);
    return EXIT_FAILED;
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
    int status = print_target(&target, trust, server_name, out, errors);
    tls_trust_destroy(trust);
    return status;
}

int pin_print_file(const char *file, FILE *out, FILE *errors)
{
    struct tls_certificate *chain = calloc(PIN_FILE_MAX, sizeof(*chain));
    struct shown shown = {.chain = chain};
    char error[TLS_ERROR] = "out of memory";
    void *storage = NULL;
    int status = EXIT_FAILED;

    if (chain != NULL && tls_read_certificates(file, chain, PIN_FILE_MAX, &shown.count, &storage, error))
        status = print_shown(&shown, out, errors);
    else
        fprintf(errors, "%s\n", error);
    free(storage);
    free(chain);
    return status;
}

/* Identity, TLS and chains of certificates against real servers: openssl s_server on loopback, with certificates of
 * certificates.py in a folder that is removed at the end. Run from the top of the tree. */
#include "nodedot/base/base64.h"
#include "nodedot/base/clock.h"
#include "nodedot/base/file.h"
#include "nodedot/forward/pin.h"
#include "nodedot/proof/certificate_parser.h"
#include "nodedot/proof/identity.h"
#include "nodedot/proof/path.h"
#include "nodedot/proof/pem.h"
#include "nodedot/tls/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS  10000 /* for a loaded machine; nothing here waits that long when it works */
#define ARGUMENTS    24
#define FLOOD_LINE   8000
#define CONNECTIONS  150 /* of the test for memory that is not given back */
#define MEMORY_SLACK (64 * 1024)

static char folder[] = "/tmp/nodedot-identity-XXXXXX";

struct server {
    pid_t pid;
    struct endpoint address;
};

static const char *in_folder(const char *name, const char *suffix)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s%s", folder, name, suffix);
    return path;
}

/* Servers. */

static uint16_t port_in_log(const char *file)
{
    char text[4096] = "";
    int port = 0;
    FILE *stream = fopen(file, "r");

    if (stream != NULL) {
        size_t n = fread(text, 1, sizeof(text) - 1, stream);
        text[n] = '\0';
        fclose(stream);
    }
    const char *line = strstr(text, "ACCEPT 127.0.0.1:");
    if (line != NULL && strchr(line, '\n') != NULL)
        sscanf(line, "ACCEPT 127.0.0.1:%d", &port);
    return (uint16_t)port;
}

static off_t file_size(const char *file)
{
    struct stat status;

    return stat(file, &status) == 0 ? status.st_size : 0;
}

/* Starts an echo server (every line comes back reversed) that shows the chain NAME.pem; options: more arguments of
 * openssl s_server, parted by blanks. */
static struct server server_start(const char *name, const char *options)
{
    char words[512], log[64], *arguments[ARGUMENTS] = {"openssl", "s_server", "-accept", "127.0.0.1:0", "-rev"};
    static int number;
    size_t count = 5;
    struct server server;
    char chain[512], rest[512], key[512];

    snprintf(chain, sizeof(chain), "%s/%s.pem", folder, name);
    snprintf(rest, sizeof(rest), "%s/%s.rest", folder, name);
    snprintf(key, sizeof(key), "%s/%s.key", folder, name);
    arguments[count++] = "-cert";
    arguments[count++] = chain;
    arguments[count++] = "-key";
    arguments[count++] = key;
    if (file_size(rest) > 0) {
        arguments[count++] = "-cert_chain";
        arguments[count++] = rest;
    }
    snprintf(words, sizeof(words), "%s", options);
    for (char *word = strtok(words, " "); word != NULL && count < ARGUMENTS - 1; word = strtok(NULL, " "))
        arguments[count++] = word;
    snprintf(log, sizeof(log), "server-%d.log", ++number);

    server.pid = fork();
    assert_true(server.pid >= 0);
    if (server.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves its server behind */
        int out = open(in_folder(log, ""), O_WRONLY | O_CREAT | O_TRUNC, 0600), in = open("/dev/null", O_RDONLY);
        dup2(in, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    uint16_t port = 0;
    for (uint64_t end = clock_ms() + PATIENCE_MS; port == 0 && clock_ms() < end; usleep(2000))
        port = port_in_log(in_folder(log, ""));
    assert_int_not_equal(port, 0);
    assert_true(endpoint_parse("127.0.0.1", port, &server.address));
    return server;
}

static void server_stop(struct server *server)
{
    kill(server->pid, SIGCONT);
    kill(server->pid, SIGTERM);
    waitpid(server->pid, NULL, 0);
}

/* A server that is no TLS server: sends octets to whoever connects, then closes. */
static struct server talker_start(const void *octets, size_t size)
{
    struct server server;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(endpoint_parse("127.0.0.1", 1, &server.address));
    endpoint_set_port(&server.address, 0);
    assert_int_equal(bind(fd, &server.address.any, server.address.size), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, &server.address.any, &server.address.size), 0);
    server.pid = fork();
    if (server.pid == 0) {
        int client = accept(fd, NULL, NULL);
        char hello[1024];
        if (read(client, hello, sizeof(hello)) < 0 || write(client, octets, size) < 0)
            _exit(1);
        _exit(0);
    }
    close(fd);
    return server;
}

/* Clients. */

struct client {
    int fd;
    struct tls_trust *trust;
    struct tls *tls;
};

/* A file of the folder, read; NULL for no name. */
static const struct file_text *text_of(struct file_text *out, const char *name, const char *suffix)
{
    if (name == NULL)
        return NULL;
    assert_int_equal(file_read(in_folder(name, suffix), PEM_FILE_MAX, out), 0);
    return out;
}

static struct tls_trust *trust_of(const char *ca, const char *client)
{
    char error[TLS_ERROR];
    struct file_text files[3] = {{0}};
    struct tls_settings settings = {.ca = text_of(&files[0], ca, ".pem"),
                                    .certificate = text_of(&files[1], client, ".pem"),
                                    .key = text_of(&files[2], client, ".key")};
    struct tls_trust *trust = tls_trust_create(&settings, error);

    for (size_t i = 0; i < 3; i++)
        file_release(&files[i]);
    if (trust == NULL)
        fail_msg("%s", error);
    return trust;
}

static void wait_socket(int fd, enum tls_result result)
{
    struct pollfd p = {.fd = fd, .events = result == TLS_WANT_READ ? POLLIN : POLLOUT};

    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

static struct client client_open(const struct server *server, struct tls_trust *trust, const char *name,
                                 struct tls_ticket *ticket)
{
    struct client c = {.trust = trust, .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};

    if (connect(c.fd, &server->address.any, server->address.size) != 0)
        assert_int_equal(errno, EINPROGRESS);
    c.tls = tls_open(trust, c.fd, name, ticket);
    assert_non_null(c.tls);
    return c;
}

static enum tls_result client_handshake(struct client *c)
{
    enum tls_result result;

    while ((result = tls_handshake(c->tls)) == TLS_WANT_READ || result == TLS_WANT_WRITE)
        wait_socket(c->fd, result);
    return result;
}

static void client_close(struct client *c)
{
    tls_close(c->tls);
    close(c->fd);
}

static struct client client_connect(const struct server *server, struct tls_trust *trust, struct tls_ticket *ticket)
{
    struct client c = client_open(server, trust, "dns.example", ticket);

    if (client_handshake(&c) != TLS_DONE)
        fail_msg("handshake: %s", tls_error(c.tls));
    return c;
}

static void client_send(struct client *c, const void *data, size_t size)
{
    enum tls_result result = tls_write(c->tls, data, size);

    while (result == TLS_WANT_WRITE) {
        wait_socket(c->fd, result);
        result = tls_flush(c->tls);
    }
    assert_int_equal(result, TLS_DONE);
}

static size_t client_receive(struct client *c, uint8_t *out, size_t size)
{
    size_t used = 0, n;

    while (used < size) {
        enum tls_result result = tls_read(c->tls, out + used, size - used, &n);
        if (result == TLS_WANT_READ)
            wait_socket(c->fd, result);
        else if (result != TLS_DONE)
            break;
        used += n;
    }
    return used;
}

static void assert_echo(struct client *c)
{
    uint8_t back[6];

    client_send(c, "stab!\n", 6);
    assert_int_equal(client_receive(c, back, 6), 6);
    assert_memory_equal(back, "!bats\n", 6);
}

/* Verdicts on one handshake with a server that shows a chain. */

static struct upstream_config upstream_of(enum auth auth, const char *name)
{
    struct upstream_config upstream = {.auth = auth, .pin_mode = PIN_ENFORCE};

    snprintf(upstream.name, sizeof(upstream.name), "test");
    snprintf(upstream.server_name, sizeof(upstream.server_name), "%s", name);
    return upstream;
}

/* Adds the pin of certificate number index of NAME.pem. */
static void add_pin(struct upstream_config *upstream, const char *name, size_t index)
{
    struct tls_certificate chain[16];
    char error[TLS_ERROR];
    void *storage;
    size_t count;

    assert_true(tls_read_certificates(in_folder(name, ".pem"), chain, 16, &count, &storage, error));
    assert_true(index < count);
    memcpy(upstream->pins[upstream->pin_count++].sha256, chain[index].spki_sha256, 32);
    free(storage);
}

static struct identity_result judge(const char *shown, const char *ca, const struct upstream_config *upstream)
{
    struct server server = server_start(shown, "-cipher DEFAULT@SECLEVEL=0"); /* it shows weak certificates, too */
    struct tls_trust *trust = trust_of(ca, NULL);
    struct client c = client_connect(&server, trust, NULL);
    struct identity_result result;

    identity_check(upstream, &server.address, trust, c.tls, clock_wall_seconds(), &result);
    client_close(&c);
    tls_trust_destroy(trust);
    server_stop(&server);
    return result;
}

static void a_leaf_pin_proves_the_peer(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_PIN, "dns.example");

    (void)state;
    add_pin(&upstream, "root", 0); /* a backup that is not in use */
    add_pin(&upstream, "leaf", 0);
    struct identity_result result = judge("leaf", NULL, &upstream);
    assert_true(result.proved);
    assert_int_equal(result.pins_matched, 2);
    assert_false(result.pin_missed || result.outside_dates || result.early);
    assert_string_equal(result.reason, "");
    assert_true(result.not_after > clock_wall_seconds() + 299 * 86400);
}

static void a_wrong_pin_is_refused(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_PIN, "dns.example");

    (void)state;
    add_pin(&upstream, "other-root", 0);
    struct identity_result result = judge("leaf", NULL, &upstream);
    assert_false(result.proved);
    assert_true(result.pin_missed);
    assert_string_equal(result.reason, "no pin matches");
}

static void a_wrong_pin_passes_in_report_mode_and_is_told(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_PIN_AND_CA, "dns.example");

    (void)state;
    upstream.pin_mode = PIN_REPORT;
    add_pin(&upstream, "other-root", 0);
    struct identity_result result = judge("leaf", "root", &upstream);
    assert_true(result.proved);
    assert_true(result.pin_missed);
    assert_false(judge("self", "root", &upstream).proved); /* report excuses the pin, and nothing else */

    snprintf(upstream.server_name, sizeof(upstream.server_name), "other.name.test");
    result = judge("leaf", "root", &upstream);
    assert_false(result.proved); /* the name still counts */
    assert_true(result.pin_missed);
}

static void a_ca_pin_proves_what_the_ca_signed(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_PIN, "dns.example");

    (void)state;
    add_pin(&upstream, "leaf", 1);
    assert_true(judge("leaf", NULL, &upstream).proved);

    upstream.server_name[0] = '\0'; /* whoever has a certificate of that CA would do */
    struct identity_result result = judge("leaf", NULL, &upstream);
    assert_false(result.proved);
    assert_non_null(strstr(result.reason, "a name is needed"));
}

/* A pin above the leaf says no more than a CA file with this certificate does. */
static void a_ca_pin_demands_what_a_ca_demands(void **state)
{
    static const struct {
        const char *shown;
        size_t pinned;
        const char *reason;
    } rows[] = {
        {"expired", 1, "has expired"},
        {"future", 1, "is not valid yet"},
        {"old-middle", 1, "has expired"},
        {"client", 1, "is not for servers"},
        {"no-ca", 1, "is not a CA"},
        {"usage", 1, "is not a CA that may sign"},
        {"too-deep", 2, "allows no further CA"},
        {"limited-name", 1, "does not allow the names"},
        {"weak-leaf", 1, "weak or unknown kind of key"},
        {"sha1", 1, "weak or unknown algorithm"},
        {"forged", 1, "its issuer did not make"},
        {"stranger", 1, "did not sign the leaf"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct upstream_config upstream = upstream_of(AUTH_PIN, "dns.example");

        add_pin(&upstream, rows[i].shown, rows[i].pinned);
        struct identity_result result = judge(rows[i].shown, NULL, &upstream);
        if (result.proved || strstr(result.reason, rows[i].reason) == NULL)
            fail_msg("%s: %s", rows[i].shown, result.proved ? "proved" : result.reason);
        assert_int_equal(result.early, strcmp(rows[i].shown, "future") == 0);
    }
}

static void the_order_of_a_chain_and_surplus_certificates_do_not_matter(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_PIN, "dns.example");

    (void)state;
    add_pin(&upstream, "root", 0);
    assert_true(judge("shuffled", NULL, &upstream).proved);
}

static void a_pinned_certificate_that_did_not_sign_the_leaf_proves_nothing(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_PIN, "");

    (void)state;
    add_pin(&upstream, "other-root", 0);
    assert_false(judge("shuffled", NULL, &upstream).proved); /* it is shown, and signed nothing here */

    struct upstream_config copied = upstream_of(AUTH_PIN, "");
    add_pin(&copied, "leaf", 1);
    add_pin(&copied, "root", 0);
    assert_false(judge("stranger", NULL, &copied).proved); /* somebody's own leaf before the true chain */
    assert_false(judge("forged", NULL, &copied).proved);   /* the right names, the wrong signature */
}

static void a_leaf_of_more_than_two_kilobytes_is_still_the_leaf(void **state)
{
    struct upstream_config leaf = upstream_of(AUTH_PIN, "host-109.example"),
                           second = upstream_of(AUTH_PIN, "host-109.example");

    (void)state;
    add_pin(&leaf, "large", 0);
    assert_true(judge("large", NULL, &leaf).proved);
    add_pin(&second, "large", 1);
    assert_true(judge("large", NULL, &second).proved);
    assert_false(judge("nameless", NULL, &second).proved); /* it is not signed by what stands behind it */
}

static void a_leaf_pin_does_not_care_for_dates_but_tells(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_PIN, "dns.example");

    (void)state;
    add_pin(&upstream, "expired", 0);
    add_pin(&upstream, "future", 0);
    assert_true(judge("expired", NULL, &upstream).proved);
    assert_true(judge("expired", NULL, &upstream).outside_dates);
    assert_true(judge("future", NULL, &upstream).proved);
    assert_true(judge("future", NULL, &upstream).outside_dates);
}

static void a_proof_ends_with_the_first_certificate_that_it_rests_on(void **state)
{
    struct upstream_config by_leaf = upstream_of(AUTH_PIN, "dns.example"), by_ca = upstream_of(AUTH_PIN, "dns.example");

    (void)state;
    add_pin(&by_leaf, "short-middle", 0);
    add_pin(&by_ca, "short-middle", 1);
    assert_true(judge("short-middle", NULL, &by_leaf).not_after > clock_wall_seconds() + 299 * 86400);
    assert_true(judge("short-middle", NULL, &by_ca).not_after < clock_wall_seconds() + 10 * 86400);
}

static void a_self_signed_certificate_with_the_right_pin_is_proved(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_PIN, "");

    (void)state;
    add_pin(&upstream, "self", 0);
    assert_true(judge("self", NULL, &upstream).proved);
}

static void every_kind_of_key_can_be_pinned_and_checked(void **state)
{
    const char *const names[] = {"rsa", "ed25519-leaf", "p384"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct upstream_config upstream = upstream_of(AUTH_PIN_AND_CA, "dns.example");
        add_pin(&upstream, names[i], 1);
        struct identity_result result = judge(names[i], names[i], &upstream);
        if (!result.proved)
            fail_msg("%s: %s", names[i], result.reason);
    }
}

/* There the curves on offer are those of certificates as well (RFC 8422 section 5.1.1). */
static void a_certificate_with_p521_is_taken_with_both_versions(void **state)
{
    const char *const options[] = {"-tls1_2", "-tls1_3"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct upstream_config upstream = upstream_of(AUTH_CA, "dns.example");
        struct server server = server_start("p521", options[i]);
        struct tls_trust *trust = trust_of("p521", NULL);
        struct client c = client_connect(&server, trust, NULL);
        struct identity_result result;

        identity_check(&upstream, &server.address, trust, c.tls, clock_wall_seconds(), &result);
        if (!result.proved)
            fail_msg("%s: %s", options[i], result.reason);
        client_close(&c);
        tls_trust_destroy(trust);
        server_stop(&server);
    }
}

static void a_name_must_be_in_the_certificate_in_every_mode(void **state)
{
    struct upstream_config pin = upstream_of(AUTH_PIN, "dns.other.test");
    struct upstream_config ca = upstream_of(AUTH_CA, "dns.other.test");

    (void)state;
    add_pin(&pin, "leaf", 0);
    struct identity_result result = judge("leaf", "root", &pin);
    assert_false(result.proved);
    assert_false(result.pin_missed);
    assert_string_equal(result.reason, "the certificate does not contain the name dns.other.test");
    assert_false(judge("leaf", "root", &ca).proved);
}

static void a_ca_without_a_name_asks_for_the_address(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_CA, "");

    (void)state;
    assert_true(judge("leaf", "root", &upstream).proved);
    assert_false(judge("large", "other-root", &upstream).proved);
    assert_false(judge("no-san", "root", &upstream).proved);
}

static void a_ca_refuses_what_is_outside_its_dates(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_CA, "dns.example");

    (void)state;
    assert_true(judge("leaf", "roots", &upstream).proved);
    struct identity_result result = judge("expired", "root", &upstream);
    assert_false(result.proved);
    assert_true(result.outside_dates);
    assert_string_equal(result.reason, "certificate \"CN=expired, O=Tests, C=DE\" has expired");
}

static void pin_and_ca_ask_for_both(void **state)
{
    struct upstream_config right = upstream_of(AUTH_PIN_AND_CA, "dns.example");
    struct upstream_config wrong = upstream_of(AUTH_PIN_AND_CA, "dns.example");

    (void)state;
    add_pin(&right, "leaf", 0);
    add_pin(&wrong, "other-root", 0);
    assert_true(judge("leaf", "root", &right).proved);
    assert_false(judge("leaf", "other-root", &right).proved);
    assert_false(judge("leaf", "root", &wrong).proved);
    wrong.pin_mode = PIN_REPORT;
    assert_true(judge("leaf", "root", &wrong).proved);
    assert_false(judge("leaf", "other-root", &wrong).proved);
}

static void assert_no_handshake(const char *shown, const char *options)
{
    struct server server = server_start(shown, options);
    struct tls_trust *trust = trust_of(NULL, NULL);
    struct client c = client_open(&server, trust, "dns.example", NULL);

    assert_int_equal(client_handshake(&c), TLS_FAILED);
    assert_string_not_equal(tls_error(c.tls), "");
    client_close(&c);
    tls_trust_destroy(trust);
    server_stop(&server);
}

static void a_chain_of_nine_is_looked_at_and_a_longer_one_refused(void **state)
{
    struct upstream_config upstream = upstream_of(AUTH_CA, "dns.example");

    (void)state;
    assert_true(judge("long-9", "long-9", &upstream).proved); /* ten are more than Debian 12's wolfSSL takes */
    assert_no_handshake("long-11", "");
    assert_no_handshake("long-11", "-tls1_2");
    assert_no_handshake("bulk", "");
    assert_no_handshake("bulk", "-tls1_2");
}

/* Verdicts on chains in files. */

static bool path_to_root(struct tls_trust *trust, const struct tls_certificate *shown, size_t count, char *error)
{
    static struct certificate chain[PATH_CHAIN_MAX + 1];
    const struct pem *roots = tls_trust_roots(trust);
    struct path_question question = {.chain = chain,
                                     .count = count < PATH_CHAIN_MAX + 1 ? count : PATH_CHAIN_MAX + 1,
                                     .roots = roots->certificates,
                                     .root_count = roots->count,
                                     .now = clock_wall_seconds(),
                                     .budget = {.left_ns = PATH_BUDGET_NS}};
    struct path_verdict verdict;

    for (size_t i = 0; i < question.count; i++)
        assert_true(certificate_parse(shown[i].der, shown[i].der_size, &chain[i]));
    path_judge(&question, &verdict);
    snprintf(error, TLS_ERROR, "%s", verdict.trusted ? "" : verdict.root_error);
    return verdict.trusted;
}

static bool trusted(const char *shown, const char *ca, char *error)
{
    struct tls_trust *trust = trust_of(ca, NULL);
    struct tls_certificate chain[16];
    void *storage;
    size_t count;

    assert_true(tls_read_certificates(in_folder(shown, ".pem"), chain, 16, &count, &storage, error));
    error[0] = '\0';
    bool verdict = path_to_root(trust, chain, count, error);
    free(storage);
    tls_trust_destroy(trust);
    return verdict;
}

static void chains_lead_to_a_ca_or_not(void **state)
{
    static const struct {
        const char *shown, *ca, *reason; /* reason: part of why not; NULL: trusted */
    } rows[] = {
        {"leaf", "root", NULL},
        {"leaf", "roots", NULL},
        {"full", "root", NULL},
        {"shuffled", "root", NULL},
        {"full", "leaf", NULL}, /* an intermediate or the leaf itself may be the trust anchor */
        {"weak", "weak", NULL}, /* the leaf is strong, and an anchor itself */
        {"alone", "leaf", NULL},
        {"self", "self", NULL},
        {"rsa", "rsa", NULL},
        {"ed25519", "ed25519", NULL},
        {"p384", "p384", NULL},
        {"long-10", "long-10", NULL},
        {"limited-good", "root", NULL},
        {"denied-good", "root", NULL},
        {"alone", "root", "leads to no trusted CA"},
        {"self", "root", "leads to no trusted CA"},
        {"leaf", "other-root", "leads to no trusted CA"},
        {"expired", "root", "has expired"},
        {"future", "root", "is not valid yet"},
        {"old-middle", "root", "has expired"},
        {"client", "root", "is not for servers"},
        {"no-ca", "root", "is not a CA"},
        {"usage", "root", "is not a CA that may sign"},
        {"too-deep", "root", "allows no further CA"},
        {"forged", "root", "signature that its issuer did not make"},
        {"stranger", "root", "leads to no trusted CA"},
        {"critical", "root", "critical extension"},
        {"limited-name", "root", "does not allow the names"},
        {"limited-address", "root", "does not allow the names"},
        {"denied-wildcard", "root", "does not allow the names"},
        {"directory", "root", "does not allow the names"},
        {"weak", "weak-root", "weak or unknown kind of key"},
        {"sha1", "rsa-root", "weak or unknown algorithm"},
        {"maze", "root", "leads to no trusted CA"},
    };
    char error[TLS_ERROR];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        bool verdict = trusted(rows[i].shown, rows[i].ca, error);
        if (verdict != (rows[i].reason == NULL) || (rows[i].reason != NULL && strstr(error, rows[i].reason) == NULL))
            fail_msg("%s under %s: %s \"%s\"", rows[i].shown, rows[i].ca, verdict ? "trusted" : "refused", error);
    }
}

static void without_a_ca_file_nothing_is_trusted(void **state)
{
    char error[TLS_ERROR];

    (void)state;
    assert_false(trusted("full", NULL, error));
    assert_string_not_equal(error, "");
}

static void names_match_as_whole_labels_only(void **state)
{
    static const struct {
        const char *name;
        bool carried;
    } rows[] = {
        {"dns.example", true},
        {"DNS.Example", true},
        {"dns.example.", true},
        {"dns.exampl", false},
        {"a.wild.example", true},
        {"wild.example", false},
        {"a.b.wild.example", false},
        {".wild.example", false},
        {"a.example", false}, /* "*.example" would speak for a top-level domain */
        {"127.0.0.1", true},
        {"127.0.0.2", false},
        {"2001:db8::1", true},
        {"2001:DB8:0::1", true},
        {"2001:db8::2", false},
        {"", false},
        {".", false},
        {"*.wild.example", true},
        {"leaf", false}, /* the common name */
    };
    struct tls_certificate chain[16];
    char error[TLS_ERROR];
    void *storage;
    size_t count;

    (void)state;
    assert_true(tls_read_certificates(in_folder("leaf", ".pem"), chain, 16, &count, &storage, error));
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (tls_certificate_has_name(&chain[0], rows[i].name) != rows[i].carried)
            fail_msg("%s", rows[i].name);
    free(storage);
}

static void a_nul_in_a_name_matches_nothing(void **state)
{
    struct tls_certificate chain[16];
    char error[TLS_ERROR];
    void *storage;
    size_t count;

    (void)state;
    assert_true(tls_read_certificates(in_folder("nul", ".pem"), chain, 16, &count, &storage, error));
    assert_false(tls_certificate_has_name(&chain[0], "dns.example"));
    assert_false(tls_certificate_has_name(&chain[0], "dns.exampl"));
    free(storage);
}

/* TLS itself. */

static void a_server_without_the_key_of_its_certificate_gets_no_connection(void **state)
{
    const char *const versions[] = {"-tls1_3", "-tls1_2"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct server server = server_start("stolen", versions[i]);
        struct tls_trust *trust = trust_of(NULL, NULL);
        struct client c = client_open(&server, trust, "dns.example", NULL);
        assert_int_equal(client_handshake(&c), TLS_FAILED);
        assert_false(tls_resumed(c.tls));
        assert_string_not_equal(tls_error(c.tls), "");
        uint8_t octet;
        size_t n;
        assert_int_equal(tls_write(c.tls, (const uint8_t *)"x", 1), TLS_FAILED);
        assert_int_equal(tls_read(c.tls, &octet, 1, &n), TLS_FAILED);
        client_close(&c);
        tls_trust_destroy(trust);
        server_stop(&server);
    }
}

static void assert_speaks(const char *options, const char *version, const char *cipher)
{
    struct server server = server_start("rsa", options);
    struct tls_trust *trust = trust_of(NULL, NULL);
    struct client c = client_connect(&server, trust, NULL);

    assert_string_equal(tls_version(c.tls), version);
    if (strcmp(tls_cipher(c.tls), cipher) != 0)
        fail_msg("%s: %s", options, tls_cipher(c.tls));
    assert_echo(&c);
    client_close(&c);
    tls_trust_destroy(trust);
    server_stop(&server);
}

static void good_versions_and_suites_are_spoken_and_bad_ones_refused(void **state)
{
    const char *const refused[] = {"-tls1_1 -cipher ALL:@SECLEVEL=0", "-tls1_2 -cipher AES128-GCM-SHA256",
                                   "-tls1_2 -cipher ECDHE-RSA-AES128-SHA256",
                                   "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256"};

    (void)state;
    assert_speaks("", "TLSv1.3", "TLS13-CHACHA20-POLY1305-SHA256");
    assert_speaks("-alpn dot", "TLSv1.3", "TLS13-CHACHA20-POLY1305-SHA256");
    assert_speaks("-groups P-256", "TLSv1.3", "TLS13-CHACHA20-POLY1305-SHA256"); /* by a HelloRetryRequest */
    assert_speaks("-tls1_2", "TLSv1.2", "ECDHE-RSA-CHACHA20-POLY1305");
    assert_speaks("-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384", "TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384");
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        struct server server = server_start("rsa", refused[i]);
        struct tls_trust *trust = trust_of(NULL, NULL);
        struct client c = client_open(&server, trust, NULL, NULL);
        if (client_handshake(&c) != TLS_FAILED)
            fail_msg("%s was spoken", refused[i]);
        client_close(&c);
        tls_trust_destroy(trust);
        server_stop(&server);
    }
}

static void assert_resumes_five_times(const char *options)
{
    struct upstream_config upstream = upstream_of(AUTH_PIN, "dns.example");
    struct server server = server_start("leaf", options);
    struct tls_trust *trust = trust_of(NULL, NULL);
    struct tls_ticket *ticket = NULL;
    struct identity_result result;

    add_pin(&upstream, "leaf", 0);
    for (int i = 0; i <= 5; i++) {
        struct client c = client_connect(&server, trust, ticket);
        assert_int_equal(tls_resumed(c.tls), i > 0);
        assert_echo(&c);
        identity_check(&upstream, &server.address, trust, c.tls, clock_wall_seconds(), &result);
        assert_int_equal(result.proved, i == 0); /* nothing is shown, so nothing is proved again */
        ticket = tls_take_ticket(c.tls);
        assert_non_null(ticket);
        assert_null(tls_take_ticket(c.tls)); /* each is given once */
        client_close(&c);
    }
    tls_ticket_release(ticket);
    tls_trust_destroy(trust);
    server_stop(&server);
}

static void a_session_resumes_five_times_in_a_row(void **state)
{
    (void)state;
    assert_resumes_five_times("-tls1_3");
    assert_resumes_five_times("-tls1_3 -num_tickets 1");
    assert_resumes_five_times("-tls1_2");
}

static void a_ticket_that_the_server_does_not_know_leads_to_a_full_handshake(void **state)
{
    struct server server = server_start("leaf", "");
    struct tls_trust *trust = trust_of(NULL, NULL);
    struct client c = client_connect(&server, trust, NULL);

    (void)state;
    assert_echo(&c);
    struct tls_ticket *ticket = tls_take_ticket(c.tls);
    client_close(&c);
    server_stop(&server);

    struct tls_certificate chain[TLS_CHAIN_MAX];
    server = server_start("leaf", "");
    c = client_connect(&server, trust, ticket);
    assert_false(tls_resumed(c.tls));
    assert_int_equal(tls_peer_chain(c.tls, chain), 2);
    assert_echo(&c);
    client_close(&c);
    server_stop(&server);
    tls_trust_destroy(trust);
}

static void a_client_certificate_is_shown_when_asked_for(void **state)
{
    char options[600];

    (void)state;
    snprintf(options, sizeof(options), "-Verify 2 -verify_return_error -CAfile %s", in_folder("root", ".pem"));
    struct server server = server_start("leaf", options);
    struct tls_trust *trust = trust_of(NULL, "mutual"), *without = trust_of(NULL, NULL);
    struct client c = client_connect(&server, trust, NULL);
    assert_echo(&c);
    client_close(&c);

    c = client_open(&server, without, NULL, NULL);
    uint8_t octet;
    if (client_handshake(&c) == TLS_DONE) /* in TLS 1.3 the refusal comes behind it */
        assert_int_equal(client_receive(&c, &octet, 1), 0);
    client_close(&c);
    tls_trust_destroy(trust);
    tls_trust_destroy(without);
    server_stop(&server);
}

static void assert_named(const struct file_text *ca, const struct file_text *certificate, const struct file_text *key,
                         const struct file_text *named)
{
    char error[TLS_ERROR];

    struct tls_trust *trust = tls_trust_create(&(struct tls_settings){ca, certificate, key}, error);
    if (trust != NULL)
        fail_msg("%s was used", named->name);
    if (strncmp(error, named->name, strlen(named->name)) != 0)
        fail_msg("%s does not name %s", error, named->name);
}

static void files_that_cannot_be_used_are_named(void **state)
{
    struct file_text files[3];
    const struct file_text *certificate = text_of(&files[0], "rsa", ".pem");
    const struct file_text *key = text_of(&files[1], "rsa-root", ".key");
    const struct file_text *empty = text_of(&files[2], "empty", ".pem");

    (void)state;
    files[0].name = "rsa.pem";
    files[1].name = "rsa-root.key";
    files[2].name = "empty.pem";
    assert_named(empty, NULL, NULL, empty);
    assert_named(NULL, empty, key, empty);
    assert_named(NULL, certificate, NULL, certificate);
    assert_named(NULL, certificate, empty, empty);
    assert_named(NULL, certificate, key, key);
    for (size_t i = 0; i < 3; i++)
        file_release(&files[i]);
    tls_trust_destroy(trust_of("mixed", NULL)); /* one broken certificate in a bundle spoils nothing */
}

static void a_peer_that_does_not_speak_tls_is_an_error_and_not_a_wait(void **state)
{
    const struct {
        const char *octets;
        size_t size;
    } rows[] = {
        {"", 0}, {"HTTP/1.1 400 Bad Request\r\n\r\n", 28}, {"\x16\x03\x03\xff\xff", 5}, {"\x16\x03\x03\x00\x02", 5}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct server server = talker_start(rows[i].octets, rows[i].size);
        struct tls_trust *trust = trust_of(NULL, NULL);
        struct client c = client_open(&server, trust, "dns.example", NULL);
        assert_int_equal(client_handshake(&c), TLS_FAILED);
        assert_string_not_equal(tls_error(c.tls), "");
        client_close(&c);
        tls_trust_destroy(trust);
        waitpid(server.pid, NULL, 0);
    }
}

static void the_end_of_the_stream_is_told_with_and_without_a_farewell(void **state)
{
    const int signals[] = {SIGKILL, SIGTERM};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct server server = server_start("leaf", "");
        struct tls_trust *trust = trust_of(NULL, NULL);
        struct client c = client_connect(&server, trust, NULL);
        uint8_t octet;
        size_t n;
        assert_echo(&c);
        kill(server.pid, signals[i]);
        enum tls_result result;
        while ((result = tls_read(c.tls, &octet, 1, &n)) == TLS_WANT_READ)
            wait_socket(c.fd, result);
        assert_int_equal(result, TLS_CLOSED);
        client_close(&c);
        tls_trust_destroy(trust);
        waitpid(server.pid, NULL, 0);
    }
}

static void a_peer_that_does_not_read_loses_nothing(void **state)
{
    static uint8_t line[FLOOD_LINE], back[FLOOD_LINE];
    struct server server = server_start("leaf", "");
    struct tls_trust *trust = trust_of(NULL, NULL);
    struct client c = client_connect(&server, trust, NULL);
    size_t lines = 0, returned = 0;
    enum tls_result result = TLS_DONE;

    (void)state;
    memset(line, 'a', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    kill(server.pid, SIGSTOP);
    for (; result == TLS_DONE; lines++)
        result = tls_write(c.tls, line, sizeof(line));
    assert_int_equal(result, TLS_WANT_WRITE);
    kill(server.pid, SIGCONT);
    while (result == TLS_WANT_WRITE || returned < lines * sizeof(line)) {
        struct pollfd p = {.fd = c.fd, .events = (short)(POLLIN | (result == TLS_WANT_WRITE ? POLLOUT : 0))};
        size_t n = 0;
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        if (result == TLS_WANT_WRITE)
            result = tls_flush(c.tls);
        while (tls_read(c.tls, back, sizeof(back), &n) == TLS_DONE)
            returned += n;
    }
    assert_int_equal(result, TLS_DONE);
    assert_int_equal(returned, lines * sizeof(line));
    client_close(&c);
    tls_trust_destroy(trust);
    server_stop(&server);
}

static void more_than_a_record_is_written_and_read_back(void **state)
{
    static uint8_t line[16 * FLOOD_LINE], back[16 * FLOOD_LINE];
    struct server server = server_start("leaf", "");
    struct tls_trust *trust = trust_of(NULL, NULL);
    struct client c = client_connect(&server, trust, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(line); i++)
        line[i] = i % FLOOD_LINE == FLOOD_LINE - 1 ? '\n' : (uint8_t)('a' + i % 26);
    client_send(&c, line, sizeof(line));
    assert_int_equal(client_receive(&c, back, sizeof(back)), sizeof(back));
    assert_int_equal(back[0], line[FLOOD_LINE - 2]);
    assert_int_equal(back[FLOOD_LINE - 2], line[0]);
    client_close(&c);
    tls_trust_destroy(trust);
    server_stop(&server);
}

/* Judges a handshake during which nothing can be opened, as in a sandbox. Not proved: why is in reason. */
static bool proved_without_files(const struct upstream_config *upstream, const char *shown, const char *options,
                                 char *reason)
{
    struct server server = server_start(shown, options);
    struct tls_trust *trust = trust_of(NULL, NULL);
    struct client c = client_open(&server, trust, "dns.example", NULL);
    struct identity_result result;
    struct rlimit usual;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_max = usual.rlim_max}), 0);
    while (tls_handshake(c.tls) == TLS_WANT_READ)
        usleep(1000); /* poll() has the same limit */
    identity_check(upstream, &server.address, trust, c.tls, clock_wall_seconds(), &result);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    snprintf(reason, TLS_ERROR, "%s", tls_error(c.tls)[0] != '\0' ? tls_error(c.tls) : result.reason);
    client_close(&c);
    tls_trust_destroy(trust);
    server_stop(&server);
    return result.proved;
}

static void a_handshake_opens_no_file(void **state)
{
    const char *const rows[][2] = {{"full", "-tls1_3"}, {"full", "-tls1_2"}, {"rsa", "-tls1_3"}};
    char reason[TLS_ERROR];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct upstream_config upstream = upstream_of(AUTH_PIN, "dns.example");
        add_pin(&upstream, rows[i][0], 1);
        if (proved_without_files(&upstream, rows[i][0], rows[i][1], reason))
            continue;
        if (strstr(reason, "Random Number Generator") != NULL)
            skip(); /* from wolfSSL 5.7 on, a handshake opens /dev/urandom whatever it is told */
        fail_msg("%s %s: %s", rows[i][0], rows[i][1], reason);
    }
}

static void connections_give_all_their_memory_back(void **state)
{
    struct server server = server_start("leaf", "");
    struct tls_trust *trust = trust_of("root", NULL);
    struct upstream_config upstream = upstream_of(AUTH_PIN_AND_CA, "dns.example");
    struct identity_result result;
    size_t after_warm_up = 0;

    (void)state;
    add_pin(&upstream, "leaf", 1);
    for (int i = 0; i < CONNECTIONS; i++) {
        struct client c = client_connect(&server, trust, NULL);
        identity_check(&upstream, &server.address, trust, c.tls, clock_wall_seconds(), &result);
        assert_true(result.proved);
        client_close(&c);
        if (i == CONNECTIONS / 10)
            after_warm_up = mallinfo2().uordblks;
    }
    assert_true(mallinfo2().uordblks <= after_warm_up + MEMORY_SLACK);
    tls_trust_destroy(trust);
    server_stop(&server);
}

/* nodedot pin. */

static void pin_shows_the_chain_of_a_server(void **state)
{
    struct server server = server_start("leaf", "");
    struct upstream_config upstream = upstream_of(AUTH_PIN, "");
    char target[ENDPOINT_TEXT], pin[BASE64_LENGTH(32) + 1], line[80], *text = NULL, *error_text = NULL;
    size_t size, error_size;
    FILE *out = open_memstream(&text, &size), *errors = open_memstream(&error_text, &error_size);

    (void)state;
    add_pin(&upstream, "leaf", 0);
    base64_encode(upstream.pins[0].sha256, 32, pin);
    snprintf(line, sizeof(line), "\npin = sha256/%s\n", pin);
    assert_int_equal(pin_print_host(endpoint_format(&server.address, target), "dns.example", out, errors), 0);
    fflush(out);
    assert_non_null(strstr(text, line));
    assert_non_null(strstr(text, "CN=Middle, O=Tests, C=DE"));
    assert_non_null(strstr(text, "EC P-256, CA"));
    assert_non_null(strstr(text, "\n[upstream dns.example]\naddress = 127.0.0.1:"));
    assert_non_null(strstr(text, "\nname = dns.example\n"));
    assert_non_null(strstr(text, "number 0"));
    assert_null(strstr(text, "did not sign"));
    assert_non_null(strstr(text, "Nothing here is proved"));
    fflush(errors);
    assert_int_equal(error_size, 0);
    fclose(out);
    fclose(errors);
    free(text);
    free(error_text);
    server_stop(&server);
}

/* The leaf, then a root that has nothing to do with it, then the root and the CA between, in the wrong order. */
static void pin_says_which_certificates_really_sign(void **state)
{
    struct server server = server_start("shuffled", "");
    char target[ENDPOINT_TEXT], *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    assert_int_equal(pin_print_host(endpoint_format(&server.address, target), "dns.other", out, stderr), 0);
    fclose(out);
    assert_non_null(strstr(text, "\nA pin of number 1 proves nothing: "));
    assert_non_null(strstr(text, "\nNumber 3 did not sign number 2.\n"));
    assert_non_null(strstr(text, "\n; (a pin of it would prove nothing: "));
    assert_non_null(strstr(text, "\n; not in the certificate: name = dns.other\n"));
    assert_non_null(strstr(text, "\n; The leaf carries: dns.example, "));
    free(text);
    server_stop(&server);
}

static void names_are_listed_for_people_and_nothing_else(void **state)
{
    static const struct {
        const char *file;
        size_t index;
        const char *name; /* NULL: there is none */
    } rows[] = {
        {"leaf", 0, "dns.example"}, {"no-san", 0, NULL}, {"leaf", 1000, NULL}, {"nul", 0, NULL}, {"nul", 1, NULL}};
    struct tls_certificate chain[TLS_CHAIN_MAX];
    char name[256], error[TLS_ERROR];
    void *storage;
    size_t count;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        assert_true(
            tls_read_certificates(in_folder(rows[i].file, ".pem"), chain, TLS_CHAIN_MAX, &count, &storage, error));
        assert_int_equal(tls_certificate_name(chain, rows[i].index, name, sizeof(name)), rows[i].name != NULL);
        if (rows[i].name != NULL) {
            assert_string_equal(name, rows[i].name);
            assert_true(tls_certificate_name(chain, 0, name, strlen(rows[i].name) + 1));
            assert_false(tls_certificate_name(chain, 0, name, strlen(rows[i].name)) && strcmp(name, rows[i].name) == 0);
        }
        free(storage);
    }
}

static void pin_says_what_went_wrong_in_one_line(void **state)
{
    static const struct {
        const char *target;
        int status;
    } rows[] = {{"", 2},     {":853", 2},   {"host:", 2},      {"host:0", 2},      {"host:65536", 2},  {"host:8x", 2},
                {"[::1", 2}, {"[::1]x", 2}, {"[name]:853", 2}, {"127.0.0.1:1", 1}, {"name.invalid", 1}};
    FILE *out = fopen("/dev/null", "w");

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char *text = NULL;
        size_t size;
        FILE *errors = open_memstream(&text, &size);
        assert_int_equal(pin_print_host(rows[i].target, NULL, out, errors), rows[i].status);
        fclose(errors);
        assert_ptr_equal(strchr(text, '\n'), text + size - 1);
        free(text);
    }
    fclose(out);
}

static void pin_shows_the_certificates_of_a_file(void **state)
{
    char *text = NULL, *error_text = NULL;
    size_t size, error_size;
    FILE *out = open_memstream(&text, &size), *errors = open_memstream(&error_text, &error_size);

    (void)state;
    assert_int_equal(pin_print_file(in_folder("rsa", ".pem"), out, errors), 0);
    fflush(out);
    assert_non_null(strstr(text, "RSA 2048"));
    assert_int_equal(pin_print_file(in_folder("empty", ".pem"), out, errors), 1);
    assert_int_equal(pin_print_file("/nowhere/x.pem", out, errors), 1);
    fclose(out);
    fclose(errors);
    free(text);
    free(error_text);
}

static int make_certificates(void **state)
{
    char command[600];

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof(command), "python3 tests/unit/certificates.py %s", folder);
    return system(command) == 0 && tls_global_init() ? 0 : -1;
}

static int remove_certificates(void **state)
{
    char command[600];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leaf_pin_proves_the_peer),
        cmocka_unit_test(a_wrong_pin_is_refused),
        cmocka_unit_test(a_wrong_pin_passes_in_report_mode_and_is_told),
        cmocka_unit_test(a_ca_pin_proves_what_the_ca_signed),
        cmocka_unit_test(a_ca_pin_demands_what_a_ca_demands),
        cmocka_unit_test(the_order_of_a_chain_and_surplus_certificates_do_not_matter),
        cmocka_unit_test(a_pinned_certificate_that_did_not_sign_the_leaf_proves_nothing),
        cmocka_unit_test(a_leaf_of_more_than_two_kilobytes_is_still_the_leaf),
        cmocka_unit_test(a_leaf_pin_does_not_care_for_dates_but_tells),
        cmocka_unit_test(a_proof_ends_with_the_first_certificate_that_it_rests_on),
        cmocka_unit_test(a_self_signed_certificate_with_the_right_pin_is_proved),
        cmocka_unit_test(every_kind_of_key_can_be_pinned_and_checked),
        cmocka_unit_test(a_certificate_with_p521_is_taken_with_both_versions),
        cmocka_unit_test(a_name_must_be_in_the_certificate_in_every_mode),
        cmocka_unit_test(a_ca_without_a_name_asks_for_the_address),
        cmocka_unit_test(a_ca_refuses_what_is_outside_its_dates),
        cmocka_unit_test(pin_and_ca_ask_for_both),
        cmocka_unit_test(a_chain_of_nine_is_looked_at_and_a_longer_one_refused),
        cmocka_unit_test(chains_lead_to_a_ca_or_not),
        cmocka_unit_test(without_a_ca_file_nothing_is_trusted),
        cmocka_unit_test(names_match_as_whole_labels_only),
        cmocka_unit_test(a_nul_in_a_name_matches_nothing),
        cmocka_unit_test(a_server_without_the_key_of_its_certificate_gets_no_connection),
        cmocka_unit_test(good_versions_and_suites_are_spoken_and_bad_ones_refused),
        cmocka_unit_test(a_session_resumes_five_times_in_a_row),
        cmocka_unit_test(a_ticket_that_the_server_does_not_know_leads_to_a_full_handshake),
        cmocka_unit_test(a_client_certificate_is_shown_when_asked_for),
        cmocka_unit_test(files_that_cannot_be_used_are_named),
        cmocka_unit_test(a_peer_that_does_not_speak_tls_is_an_error_and_not_a_wait),
        cmocka_unit_test(the_end_of_the_stream_is_told_with_and_without_a_farewell),
        cmocka_unit_test(a_peer_that_does_not_read_loses_nothing),
        cmocka_unit_test(more_than_a_record_is_written_and_read_back),
        cmocka_unit_test(a_handshake_opens_no_file),
        cmocka_unit_test(connections_give_all_their_memory_back),
        cmocka_unit_test(pin_shows_the_chain_of_a_server),
        cmocka_unit_test(pin_says_which_certificates_really_sign),
        cmocka_unit_test(names_are_listed_for_people_and_nothing_else),
        cmocka_unit_test(pin_says_what_went_wrong_in_one_line),
        cmocka_unit_test(pin_shows_the_certificates_of_a_file),
    };

    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}

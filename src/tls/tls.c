#include "nodedot/tls/tls.h"

#include "nodedot/base/random.h"
#include "nodedot/proof/certificate_parser.h"
#include "nodedot/proof/pem.h"
#include "nodedot/proof/san.h"
#include "nodedot/tls/ticket_guard.h"
#include "nodedot/tls/tls_records.h"

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/cryptocb.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/random.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The chain is taken in the verify callback, which only these builds run for a chain that is in order as well. Without
 * the call tls_peer_chain() finds nothing and nobody is ever proved: it fails closed, but it would never work. */
#if !defined(WOLFSSL_ALWAYS_VERIFY_CB) || !defined(OPENSSL_EXTRA) || !defined(HAVE_EXT_CACHE)
#error "wolfSSL must be built with WOLFSSL_ALWAYS_VERIFY_CB, OPENSSL_EXTRA and HAVE_EXT_CACHE, as Debian's is"
#endif

#define SEED_DEVICE 0x6e64 /* number of our entropy "device"; any that wolfSSL does not use */
#define SHA256_SIZE 32

/* Where a server of TLS 1.2 leaves it to the client how long a ticket serves (RFC 5077 section 3.3), as Go's does, which
 * wolfSSL takes for "not at all". Tickets of TLS 1.3 that say 0 do not get here. */
#define UNTOLD_LIFETIME_S 7200

#ifdef WOLFSSL_TICKET_NONCE_MALLOC
#define TICKET_NONCE_MAX 255 /* any that RFC 8446 section 4.6.1 allows */
#else
#define TICKET_NONCE_MAX 8 /* its MAX_TICKET_NONCE_STATIC_SZ */
#endif

#define CIPHERS                                                                                \
    "TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:"          \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256:" \
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#define SIGNATURES                                                                                 \
    "ECDSA+SHA256:ED25519:RSA-PSS+SHA256:ECDSA+SHA384:RSA-PSS+SHA384:ECDSA+SHA512:RSA-PSS+SHA512:" \
    "RSA+SHA256:RSA+SHA384:RSA+SHA512"

_Static_assert(PEM_ERROR == TLS_ERROR, "pem writes into texts of TLS_ERROR octets");

struct tls_trust {
    WOLFSSL_CTX *context;
    struct pem roots;
};

struct tls_ticket {
    size_t size;
    unsigned char octets[];
};

enum tls_state {
    TLS_OPENING, /* handshake under way */
    TLS_OPEN,
    TLS_BROKEN /* nothing more may be read or written */
};

struct tls {
    WOLFSSL *ssl;
    enum tls_state state;
    bool guarded; /* records that come are looked at for tickets that wolfSSL cannot take */
    struct ticket_guard guard;
    struct records records;
    /* The chain as it came, certificates one behind the other. */
    uint8_t *chain;
    size_t chain_sizes[TLS_CHAIN_MAX];
    size_t chain_count;
    uint8_t spent_ticket[SHA256_SIZE]; /* of the ticket that this connection began with, or gave last */
    char error[TLS_ERROR];
};

static int give_seed(int device, wc_CryptoInfo *info, void *context)
{
    (void)device, (void)context;
    if (info->algo_type != WC_ALGO_TYPE_SEED)
        return CRYPTOCB_UNAVAILABLE;
    random_bytes(info->seed.seed, info->seed.sz);
    return 0;
}

const char *tls_library_version(void)
{
    return wolfSSL_lib_version();
}

/* wolfSSL also makes generators for a moment (for every certificate, and 5.7 for every ClientHello) that are not of the
 * connection's device; here they get it all the same. The linker's option --wrap leads a static library to these names,
 * and a shared one finds its own names in the program first. */
int init_generator_ex(WC_RNG *rng, void *heap, int device) __asm__("__wrap_wc_InitRng_ex");
int init_generator(WC_RNG *rng) __asm__("__wrap_wc_InitRng");
int wc_InitRng_ex(WC_RNG *rng, void *heap, int device) __attribute__((weak, alias("__wrap_wc_InitRng_ex")));
int wc_InitRng(WC_RNG *rng) __attribute__((weak, alias("__wrap_wc_InitRng")));

int init_generator_ex(WC_RNG *rng, void *heap, int device)
{
    return wc_InitRngNonce_ex(rng, NULL, 0, heap, device == INVALID_DEVID ? SEED_DEVICE : device);
}

int init_generator(WC_RNG *rng)
{
    return init_generator_ex(rng, NULL, INVALID_DEVID);
}

bool tls_global_init(void)
{
    /* Debian's wolfSSL opens /dev/urandom for every connection, where a sandboxed process can open nothing. */
    return wolfSSL_Init() == WOLFSSL_SUCCESS && wc_CryptoCb_RegisterDevice(SEED_DEVICE, give_seed, NULL) == 0;
}

/* Certificates as others see them. */

static bool sha256(struct octets octets, uint8_t out[SHA256_SIZE])
{
    return wc_Sha256Hash(octets.at, (word32)octets.size, out) == 0;
}

static bool describe(const struct certificate *certificate, struct tls_certificate *out)
{
    *out = (struct tls_certificate){.der = certificate->der.at,
                                    .der_size = certificate->der.size,
                                    .not_before = certificate->not_before,
                                    .not_after = certificate->not_after,
                                    .is_ca = certificate->is_ca};
    certificate_describe_name(certificate->subject, out->subject, sizeof(out->subject));
    certificate_describe_name(certificate->issuer, out->issuer, sizeof(out->issuer));
    certificate_describe_key(certificate, out->key, sizeof(out->key));
    return sha256(certificate->spki, out->spki_sha256);
}

bool tls_read_certificates(const char *file, struct tls_certificate *chain, size_t capacity, size_t *count,
                           void **storage, char *error)
{
    struct pem pem;

    *count = 0;
    *storage = NULL;
    if (!pem_read(file, false, &pem, error))
        return false;
    while (*count < pem.count && *count < capacity && describe(&pem.certificates[*count], &chain[*count]))
        (*count)++;
    *storage = pem.storage;
    free(pem.certificates);
    return true;
}

const struct pem *tls_trust_roots(const struct tls_trust *trust)
{
    return &trust->roots;
}

bool tls_certificate_has_name(const struct tls_certificate *leaf, const char *name)
{
    struct certificate certificate;

    return certificate_parse(leaf->der, leaf->der_size, &certificate) && san_has_name(&certificate, name);
}

bool tls_certificate_name(const struct tls_certificate *leaf, size_t index, char *out, size_t size)
{
    struct certificate certificate;

    return certificate_parse(leaf->der, leaf->der_size, &certificate) && san_name(&certificate, index, out, size);
}

size_t tls_peer_chain(struct tls *tls, struct tls_certificate *chain)
{
    const uint8_t *at = tls->chain;

    for (size_t i = 0; i < tls->chain_count; i++) {
        struct certificate certificate;
        if (!certificate_parse(at, tls->chain_sizes[i], &certificate) || !describe(&certificate, &chain[i]))
            return 0;
        at += tls->chain_sizes[i];
    }
    return tls->chain_count;
}

/* Does wolfSSL read the same key from the leaf as we do? It checks the handshake with its own reading and pins are
 * compared with ours, so a certificate that can be read in two ways must not pass. */
static bool same_key(WOLFSSL_X509 *leaf, const WOLFSSL_BUFFER_INFO *der)
{
    struct certificate certificate;
    int size = 0;

    if (!certificate_parse(der->buffer, der->length, &certificate) ||
        wolfSSL_X509_get_pubkey_buffer(leaf, NULL, &size) != WOLFSSL_SUCCESS || size <= 0)
        return false;
    uint8_t key[4096 / 8 + 64]; /* RSA up to 4096 bits, which is as much as Debian's wolfSSL computes with */
    size_t spki_size = certificate.spki.size;
    if ((size_t)size > sizeof(key) || (size_t)size > spki_size || (size_t)size + 1 < certificate.key.raw_size ||
        wolfSSL_X509_get_pubkey_buffer(leaf, key, &size) != WOLFSSL_SUCCESS)
        return false;
    return memcmp(certificate.spki.at + spki_size - (size_t)size, key, (size_t)size) == 0;
}

/* Runs for every certificate of a handshake, the leaf last: keeps a copy of the chain and decides nothing else.
 * wolfSSL's own copy (SESSION_CERTS) silently leaves out certificates above 2 KiB, the leaf too, and goes into
 * tickets. */
static int keep_chain(int good, WOLFSSL_X509_STORE_CTX *store)
{
    struct tls *tls = store->userCtx;
    size_t total = 0;

    store->discardSessionCerts = 1;
    if (store->error_depth != 0 || !good)
        return good;
    if (tls->chain != NULL || store->totalCerts < 1 || store->totalCerts > TLS_CHAIN_MAX ||
        !same_key(store->current_cert, &store->certs[0])) {
        snprintf(tls->error, TLS_ERROR, "the certificate chain is too long or cannot be read");
        return 0;
    }
    for (int i = 0; i < store->totalCerts; i++)
        total += store->certs[i].length;
    tls->chain = malloc(total);
    if (tls->chain == NULL)
        return 0;
    tls->chain_count = (size_t)store->totalCerts;
    total = 0;
    for (size_t i = 0; i < tls->chain_count; i++) {
        tls->chain_sizes[i] = store->certs[i].length;
        memcpy(tls->chain + total, store->certs[i].buffer, tls->chain_sizes[i]);
        total += tls->chain_sizes[i];
    }
    return good;
}

/* Buffers between wolfSSL and the socket. */

static enum tls_result fail(struct tls *tls, const char *what)
{
    tls->state = TLS_BROKEN;
    if (tls->error[0] == '\0')
        snprintf(tls->error, TLS_ERROR, "%s", what);
    return TLS_FAILED;
}

/* Looks at the next record before wolfSSL does. wolfSSL has opened all that came before it: it reads no further than one
 * record, so the number of the last one and the key are up to date, also behind a key update. */
static void guard_next_record(struct tls *tls)
{
    size_t size;
    uint8_t *record = records_next(&tls->records, &size);
    int cipher = wolfSSL_GetBulkCipher(tls->ssl);
    word64 number = 0;

    if (record == NULL || (cipher != wolfssl_chacha && cipher != wolfssl_aes_gcm))
        return;
    wolfSSL_GetPeerSequenceNumber(tls->ssl, &number);
    struct record_key key = {.cipher = cipher == wolfssl_chacha ? GUARD_CHACHA20_POLY1305 : GUARD_AES_GCM,
                             .key = wolfSSL_GetServerWriteKey(tls->ssl),
                             .key_size = (size_t)wolfSSL_GetKeySize(tls->ssl),
                             .iv = wolfSSL_GetServerWriteIV(tls->ssl),
                             .number = number};
    ticket_guard_screen(&tls->guard, &key, TICKET_NONCE_MAX, record, size);
}

/* wolfSSL reads: at most what is left of one record. */
static int give_received(WOLFSSL *ssl, char *out, int capacity, void *context)
{
    struct tls *tls = context;

    (void)ssl;
    switch (records_fetch(&tls->records)) {
    case RECORDS_DONE:
        if (tls->guarded)
            guard_next_record(tls);
        return (int)records_take(&tls->records, (uint8_t *)out, (size_t)capacity);
    case RECORDS_AGAIN:
        return WOLFSSL_CBIO_ERR_WANT_READ;
    case RECORDS_ENDED:
        return WOLFSSL_CBIO_ERR_CONN_CLOSE;
    case RECORDS_FAILED:
        break;
    }
    fail(tls, strerror(errno));
    return WOLFSSL_CBIO_ERR_GENERAL;
}

/* wolfSSL writes: everything is taken, and leaves with the next flush, so that a flight of messages is one segment. */
static int take_made(WOLFSSL *ssl, char *octets, int size, void *context)
{
    struct tls *tls = context;

    (void)ssl;
    if (records_add(&tls->records, (const uint8_t *)octets, (size_t)size) == RECORDS_DONE)
        return size;
    fail(tls, strerror(errno));
    return WOLFSSL_CBIO_ERR_GENERAL;
}

enum tls_result tls_flush(struct tls *tls)
{
    switch (records_flush(&tls->records)) {
    case RECORDS_DONE:
        return tls->state == TLS_BROKEN ? TLS_FAILED : TLS_DONE;
    case RECORDS_AGAIN:
        return TLS_WANT_WRITE;
    case RECORDS_ENDED:
    case RECORDS_FAILED:
        break;
    }
    return fail(tls, strerror(errno));
}

/* Trust. */

static bool set_up_context(WOLFSSL_CTX *context)
{
    /* The first group has the key share of the first flight. P-384 and P-521 are for TLS 1.2 servers with a certificate on
     * that curve. */
    int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1, WOLFSSL_ECC_SECP521R1};

    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, keep_chain);
    wolfSSL_CTX_set_session_cache_mode(context, WOLFSSL_SESS_CACHE_OFF);
    wolfSSL_CTX_SetIORecv(context, give_received);
    wolfSSL_CTX_SetIOSend(context, take_made);
    return wolfSSL_CTX_SetMinVersion(context, WOLFSSL_TLSV1_2) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_set_cipher_list(context, CIPHERS) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_set1_sigalgs_list(context, SIGNATURES) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_set_groups(context, groups, sizeof(groups) / sizeof(*groups)) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_UseSessionTicket(context) == WOLFSSL_SUCCESS;
}

static bool set_client_certificate(WOLFSSL_CTX *context, const struct tls_settings *settings, char *error)
{
    const struct file_text *certificate = settings->certificate, *key = settings->key;

    if (certificate == NULL)
        return true;
    if (key == NULL) {
        snprintf(error, TLS_ERROR, "%s: a client certificate needs a key", certificate->name);
        return false;
    }
    if (wolfSSL_CTX_use_certificate_chain_buffer(context, (const unsigned char *)certificate->text,
                                                 (long)certificate->size) != WOLFSSL_SUCCESS) {
        snprintf(error, TLS_ERROR, "%s: holds no certificate chain (PEM)", certificate->name);
        return false;
    }
    /* wolfSSL 5.5 notices a foreign RSA key, but not a foreign EC key: there the server will refuse us. */
    if (wolfSSL_CTX_use_PrivateKey_buffer(context, (const unsigned char *)key->text, (long)key->size,
                                          WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_check_private_key(context) != WOLFSSL_SUCCESS) {
        snprintf(error, TLS_ERROR, "%s: holds no key (PEM), or is not the key of %s", key->name, certificate->name);
        return false;
    }
    return true;
}

struct tls_trust *tls_trust_create(const struct tls_settings *settings, char *error)
{
    struct tls_trust *trust = calloc(1, sizeof(*trust));

    snprintf(error, TLS_ERROR, "out of memory");
    if (trust == NULL)
        return NULL;
    trust->context = wolfSSL_CTX_new(wolfSSLv23_client_method());
    if (trust->context == NULL)
        goto fail;
    if (!set_up_context(trust->context)) {
        snprintf(error, TLS_ERROR, "this wolfSSL does not offer the protocol settings that are needed");
        goto fail;
    }
    if (!set_client_certificate(trust->context, settings, error))
        goto fail;
    wolfSSL_CTX_SetDevId(trust->context, SEED_DEVICE); /* behind the key, which is none of that device */
    if (settings->ca != NULL && !pem_parse(settings->ca, true, &trust->roots, error))
        goto fail;
    error[0] = '\0';
    return trust;
fail:
    wolfSSL_ERR_clear_error();
    tls_trust_destroy(trust);
    return NULL;
}

void tls_trust_destroy(struct tls_trust *trust)
{
    if (trust == NULL)
        return;
    wolfSSL_CTX_free(trust->context);
    pem_release(&trust->roots);
    free(trust);
}

/* Tickets. */

/* The ticket that wolfSSL holds for this connection, as a hash; false: none. */
static bool ticket_hash(struct tls *tls, uint8_t out[SHA256_SIZE])
{
    uint8_t ticket[TICKET_OCTETS_MAX];
    word32 size = sizeof(ticket);

    return wolfSSL_get_SessionTicket(tls->ssl, ticket, &size) == WOLFSSL_SUCCESS && size > 0 &&
           sha256((struct octets){ticket, size}, out);
}

static bool resume_with(struct tls *tls, struct tls_ticket *ticket)
{
    const unsigned char *at = ticket->octets;
    WOLFSSL_SESSION *session = wolfSSL_d2i_SSL_SESSION(NULL, &at, (long)ticket->size);

    if (session == NULL)
        return false;
    int set = wolfSSL_set_session(tls->ssl, session); /* where it is too old, the handshake is a full one */
    wolfSSL_SESSION_free(session);
    return set != WOLFSSL_SUCCESS || ticket_hash(tls, tls->spent_ticket);
}

struct tls_ticket *tls_take_ticket(struct tls *tls)
{
    uint8_t hash[SHA256_SIZE];
    struct tls_ticket *ticket = NULL;

    if (tls->state != TLS_OPEN || !ticket_hash(tls, hash) || memcmp(hash, tls->spent_ticket, sizeof(hash)) == 0)
        return NULL;
    WOLFSSL_SESSION *session = wolfSSL_get1_session(tls->ssl);
    if (session != NULL && wolfSSL_SESSION_get_timeout(session) == 0)
        wolfSSL_SSL_SESSION_set_timeout(session, UNTOLD_LIFETIME_S);
    int size = session == NULL ? 0 : wolfSSL_i2d_SSL_SESSION(session, NULL);
    if (size > 0)
        ticket = malloc(sizeof(*ticket) + (size_t)size);
    if (ticket != NULL) {
        unsigned char *at = ticket->octets;
        ticket->size = (size_t)wolfSSL_i2d_SSL_SESSION(session, &at);
        memcpy(tls->spent_ticket, hash, sizeof(hash));
    }
    wolfSSL_SESSION_free(session);
    return ticket;
}

void tls_ticket_release(struct tls_ticket *ticket)
{
    if (ticket == NULL)
        return;
    explicit_bzero(ticket->octets, ticket->size); /* it holds the secret of the next connection */
    free(ticket);
}

/* Connections. */

static bool set_server_name(WOLFSSL *ssl, const char *name)
{
    uint8_t address[16];
    size_t size = name == NULL ? 0 : strlen(name);

    if (size > 0 && name[size - 1] == '.')
        size--; /* RFC 6066 section 3 */
    if (size == 0 || inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
        return true;
    return wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, name, (unsigned short)size) == WOLFSSL_SUCCESS;
}

struct tls *tls_open(struct tls_trust *trust, int fd, const char *server_name, struct tls_ticket *ticket)
{
    char alpn[] = "dot"; /* RFC 7858, registered for RFC 7301; a server that does not know ALPN is fine */
    struct tls *tls = calloc(1, sizeof(*tls));

    if (tls == NULL)
        goto fail;
    tls->ssl = wolfSSL_new(trust->context);
    if (!records_init(&tls->records, fd) || tls->ssl == NULL)
        goto fail;
    wolfSSL_SetIOReadCtx(tls->ssl, tls);
    wolfSSL_SetIOWriteCtx(tls->ssl, tls);
    wolfSSL_SetCertCbCtx(tls->ssl, tls);
    if (!set_server_name(tls->ssl, server_name) ||
        wolfSSL_UseALPN(tls->ssl, alpn, sizeof(alpn) - 1, WOLFSSL_ALPN_CONTINUE_ON_MISMATCH) != WOLFSSL_SUCCESS ||
        (ticket != NULL && !resume_with(tls, ticket)))
        goto fail;
    tls_ticket_release(ticket);
    return tls;
fail:
    tls_ticket_release(ticket);
    tls_close(tls);
    return NULL;
}

void tls_close(struct tls *tls)
{
    if (tls == NULL)
        return;
    if (tls->state == TLS_OPEN) {
        wolfSSL_shutdown(tls->ssl);
        tls_flush(tls);
    }
    wolfSSL_free(tls->ssl);
    wolfSSL_ERR_clear_error();
    records_reset(&tls->records);
    free(tls->chain);
    free(tls);
}

/* Why wolfSSL stopped: result is what its function returned. */
static enum tls_result stopped(struct tls *tls, int result)
{
    int code = wolfSSL_get_error(tls->ssl, result);
    WOLFSSL_ALERT_HISTORY alerts;
    char reason[WOLFSSL_MAX_ERROR_SZ];

    if (code == WOLFSSL_ERROR_WANT_READ)
        return TLS_WANT_READ;
    if (code == WOLFSSL_ERROR_WANT_WRITE)
        return TLS_WANT_WRITE;
    if (tls->state == TLS_OPEN && (code == WOLFSSL_ERROR_ZERO_RETURN || tls->records.ended))
        return TLS_CLOSED;
    if (tls->records.ended)
        return fail(tls, "the peer closed the connection during the handshake");
    wolfSSL_ERR_error_string_n((unsigned long)code, reason, sizeof(reason));
    if (tls->error[0] == '\0' && wolfSSL_get_alert_history(tls->ssl, &alerts) == WOLFSSL_SUCCESS &&
        alerts.last_rx.level == alert_fatal)
        snprintf(tls->error, TLS_ERROR, "the peer sent alert %d", alerts.last_rx.code);
    return fail(tls, reason);
}

static void finish_handshake(struct tls *tls)
{
    tls->state = TLS_OPEN;
    tls->guarded = strcmp(tls_version(tls), "TLSv1.3") == 0;
    if (!tls->guarded) /* before it, a ticket may serve again: there is often no other */
        memset(tls->spent_ticket, 0, sizeof(tls->spent_ticket));
    wc_ecc_fp_free(); /* see signature.c */
    wolfSSL_ERR_clear_error();
}

enum tls_result tls_handshake(struct tls *tls)
{
    enum tls_result result = TLS_DONE;

    if (tls->state == TLS_OPENING) {
        int connected = wolfSSL_connect(tls->ssl);
        if (connected == WOLFSSL_SUCCESS)
            finish_handshake(tls);
        else
            result = stopped(tls, connected);
    }
    enum tls_result sent = tls_flush(tls); /* the alert of a failure too */
    return sent == TLS_DONE ? result : sent;
}

bool tls_resumed(const struct tls *tls)
{
    return tls->state != TLS_OPENING && wolfSSL_session_reused(tls->ssl) == 1;
}

const char *tls_version(const struct tls *tls)
{
    return wolfSSL_get_version(tls->ssl);
}

const char *tls_cipher(const struct tls *tls)
{
    const char *name = wolfSSL_get_cipher_name(tls->ssl);

    return name == NULL ? "" : name;
}

const char *tls_error(const struct tls *tls)
{
    return tls->error;
}

enum tls_result tls_read(struct tls *tls, uint8_t *out, size_t capacity, size_t *size)
{
    *size = 0;
    if (tls->state != TLS_OPEN)
        return fail(tls, "not connected");
    if (wolfSSL_pending(tls->ssl) == 0) { /* without a record at hand wolfSSL need not be asked */
        enum records_result ready = records_fetch(&tls->records);
        if (ready == RECORDS_AGAIN || ready == RECORDS_ENDED)
            return ready == RECORDS_AGAIN ? TLS_WANT_READ : TLS_CLOSED;
        if (ready != RECORDS_DONE)
            return fail(tls, strerror(errno));
    }
    int n = wolfSSL_read(tls->ssl, out, (int)(capacity < INT32_MAX ? capacity : INT32_MAX));
    if (tls->records.out_size > 0)
        tls_flush(tls); /* an answer to a key update; what does not fit now leaves with the next write */
    if (n <= 0)
        return stopped(tls, n);
    *size = (size_t)n;
    return TLS_DONE;
}

enum tls_result tls_write(struct tls *tls, const uint8_t *data, size_t size)
{
    if (tls->state != TLS_OPEN)
        return fail(tls, "not connected");
    if (size > RECORDS_SEND_MAX)
        return fail(tls, "more to write than the send buffer holds");
    if (size == 0)
        return tls_flush(tls);
    int n = wolfSSL_write(tls->ssl, data, (int)size);
    if (n != (int)size) {
        stopped(tls, n);
        return fail(tls, "the record could not be made");
    }
    return tls_flush(tls);
}

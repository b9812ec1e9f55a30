#include "nodedot/tls/ticket_guard.h"

#include "nodedot/tls/tls_records.h"

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/chacha.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>

#include <string.h>

/* RFC 8446 sections 4, 4.6.1 and 5.1. */
#define TYPE_HANDSHAKE     22
#define TYPE_APPLICATION   23
#define NEW_SESSION_TICKET 4
#define MESSAGE_HEADER     4
#define LIFETIME_MAX       604800U /* seconds: 7 days */

/* RFC 8446 section 5.3, RFC 8439, RFC 5116. */
#define NONCE_SIZE   12
#define TAG_SIZE     16
#define CHACHA_BLOCK 64U
#define AES_BLOCK    16U

static void make_nonce(const struct record_key *key, uint8_t nonce[NONCE_SIZE])
{
    memcpy(nonce, key->iv, NONCE_SIZE);
    for (size_t i = 0; i < sizeof(key->number); i++)
        nonce[NONCE_SIZE - 1 - i] ^= (uint8_t)(key->number >> (8 * i));
}

/* The octets of the key stream that hide the octet at an offset, as a block; its place within is returned. Both ciphers
 * take block 0 or 1 for the tag. SIZE_MAX: the library does not do it. */
static size_t chacha_block(const struct record_key *key, const uint8_t *nonce, size_t offset, uint8_t *block)
{
    static const uint8_t zeros[CHACHA_BLOCK];
    ChaCha state;

    if (wc_Chacha_SetKey(&state, key->key, (word32)key->key_size) != 0 ||
        wc_Chacha_SetIV(&state, nonce, (word32)(1 + offset / CHACHA_BLOCK)) != 0 ||
        wc_Chacha_Process(&state, block, zeros, CHACHA_BLOCK) != 0)
        return SIZE_MAX;
    return offset % CHACHA_BLOCK;
}

static size_t aes_block(const struct record_key *key, const uint8_t *nonce, size_t offset, uint8_t *block)
{
    uint8_t counter[AES_BLOCK];
    uint32_t number = (uint32_t)(2 + offset / AES_BLOCK);
    Aes state;

    memcpy(counter, nonce, NONCE_SIZE);
    for (size_t i = 0; i < 4; i++)
        counter[NONCE_SIZE + i] = (uint8_t)(number >> (24 - 8 * i));
    memset(block, 0, AES_BLOCK);
    if (wc_AesInit(&state, NULL, INVALID_DEVID) != 0 ||
        wc_AesSetKeyDirect(&state, key->key, (word32)key->key_size, counter, AES_ENCRYPTION) != 0 ||
        wc_AesCtrEncrypt(&state, block, block, AES_BLOCK) != 0)
        return SIZE_MAX;
    wc_AesFree(&state);
    return offset % AES_BLOCK;
}

/* May the record hold handshake messages? Its type is the last octet that is not zero (RFC 8446 section 5.4). */
static bool may_be_handshake(const struct record_key *key, const uint8_t *nonce, const uint8_t *sealed, size_t size)
{
    uint8_t block[CHACHA_BLOCK];
    size_t at = key->cipher == GUARD_AES_GCM ? aes_block(key, nonce, size - 1, block)
                                             : chacha_block(key, nonce, size - 1, block);

    if (at == SIZE_MAX)
        return true;
    uint8_t last = sealed[size - 1] ^ block[at];
    return last == TYPE_HANDSHAKE || last == 0;
}

/* Opens or seals, in place. The record's header is authenticated with it. */
static bool open_record(const struct record_key *key, const uint8_t *nonce, uint8_t *record, size_t inner)
{
    uint8_t *at = record + RECORDS_HEADER;

    if (key->cipher == GUARD_CHACHA20_POLY1305)
        return wc_ChaCha20Poly1305_Decrypt(key->key, nonce, record, RECORDS_HEADER, at, (word32)inner, at + inner,
                                           at) == 0;
    Aes state;
    bool opened = wc_AesInit(&state, NULL, INVALID_DEVID) == 0 &&
                  wc_AesGcmSetKey(&state, key->key, (word32)key->key_size) == 0 &&
                  wc_AesGcmDecrypt(&state, at, at, (word32)inner, nonce, NONCE_SIZE, at + inner, TAG_SIZE, record,
                                   RECORDS_HEADER) == 0;
    wc_AesFree(&state);
    return opened;
}

static void seal_record(const struct record_key *key, const uint8_t *nonce, uint8_t *record, size_t inner)
{
    uint8_t *at = record + RECORDS_HEADER;

    if (key->cipher == GUARD_CHACHA20_POLY1305) {
        wc_ChaCha20Poly1305_Encrypt(key->key, nonce, record, RECORDS_HEADER, at, (word32)inner, at, at + inner);
        return;
    }
    Aes state;
    if (wc_AesInit(&state, NULL, INVALID_DEVID) == 0 && wc_AesGcmSetKey(&state, key->key, (word32)key->key_size) == 0)
        wc_AesGcmEncrypt(&state, at, at, (word32)inner, nonce, NONCE_SIZE, at + inner, TAG_SIZE, record,
                         RECORDS_HEADER);
    wc_AesFree(&state);
}

static uint32_t read_u16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* Can the library take this ticket, and is it worth being kept? A lifetime of 0 says that it is not. */
static bool fits(const uint8_t *body, size_t size, size_t nonce_max)
{
    if (size < 9)
        return false;
    uint32_t lifetime = read_u16(body) << 16 | read_u16(body + 2);
    size_t nonce = body[8];
    size_t at = 9 + nonce;
    if (lifetime == 0 || lifetime > LIFETIME_MAX || nonce > nonce_max || at + 2 > size)
        return false;
    size_t ticket = read_u16(body + at);
    at += 2 + ticket;
    if (ticket == 0 || ticket > TICKET_OCTETS_MAX || at + 2 > size)
        return false;
    return at + 2 + read_u16(body + at) == size;
}

/* The octets of one record's handshake messages, read at `in` and kept at `out`, in one buffer. */
struct walk {
    uint8_t *octets;
    size_t size, in, out;
    unsigned int dropped;
};

static void keep(struct walk *w, const uint8_t *from, size_t count)
{
    memmove(w->octets + w->out, from, count);
    w->out += count;
}

/* What is left of a message that began in an earlier record, or the rest of one that does not end in this one. */
static void pass_rest(struct ticket_guard *guard, struct walk *w)
{
    size_t here = w->size - w->in < guard->left ? w->size - w->in : guard->left;

    if (!guard->dropping)
        keep(w, w->octets + w->in, here);
    w->in += here;
    guard->left -= (uint32_t)here;
}

/* A message's header came in pieces: only tickets are taken out, and of others the pieces were kept. */
static void continue_header(struct ticket_guard *guard, struct walk *w)
{
    while (guard->header_size < MESSAGE_HEADER && w->in < w->size) {
        guard->header[guard->header_size++] = w->octets[w->in++];
        if (!guard->dropping)
            w->out++; /* nothing was taken out before it in this record */
    }
    if (guard->header_size == MESSAGE_HEADER) {
        guard->left = (uint32_t)guard->header[1] << 16 | read_u16(guard->header + 2);
        guard->header_size = 0;
    }
}

/* The messages of a record are cut short: what follows comes in the next one. */
static void begin_unfinished(struct ticket_guard *guard, struct walk *w)
{
    const uint8_t *message = w->octets + w->in;
    size_t here = w->size - w->in;

    guard->dropping = message[0] == NEW_SESSION_TICKET;
    if (guard->dropping)
        w->dropped++;
    if (here < MESSAGE_HEADER) {
        memcpy(guard->header, message, here);
        guard->header_size = (uint8_t)here;
    } else {
        guard->left = ((uint32_t)message[1] << 16 | read_u16(message + 2)) - (uint32_t)(here - MESSAGE_HEADER);
    }
    if (!guard->dropping)
        keep(w, message, here);
    w->in = w->size;
}

static void screen_messages(struct ticket_guard *guard, size_t nonce_max, struct walk *w)
{
    if (guard->header_size > 0)
        continue_header(guard, w);
    pass_rest(guard, w);
    while (w->in < w->size) {
        const uint8_t *message = w->octets + w->in;
        size_t here = w->size - w->in;
        size_t body = here < MESSAGE_HEADER ? SIZE_MAX : (size_t)message[1] << 16 | read_u16(message + 2);
        if (here < MESSAGE_HEADER || body > here - MESSAGE_HEADER) {
            begin_unfinished(guard, w);
            return;
        }
        if (message[0] == NEW_SESSION_TICKET && !fits(message + MESSAGE_HEADER, body, nonce_max))
            w->dropped++;
        else
            keep(w, message, MESSAGE_HEADER + body);
        w->in += MESSAGE_HEADER + body;
    }
}

/* The rest becomes padding; with nothing left the record is one of no application data (RFC 8446 section 5.1). */
static void pad(uint8_t *plain, size_t inner, size_t kept)
{
    memset(plain + kept, 0, inner - kept);
    plain[kept] = kept > 0 ? TYPE_HANDSHAKE : TYPE_APPLICATION;
}

unsigned int ticket_guard_screen(struct ticket_guard *guard, const struct record_key *key, size_t nonce_max,
                                 uint8_t *record, size_t size)
{
    uint8_t nonce[NONCE_SIZE];
    uint8_t *plain = record + RECORDS_HEADER;

    if (size <= RECORDS_HEADER + TAG_SIZE || record[0] != TYPE_APPLICATION)
        return 0;
    size_t inner = size - RECORDS_HEADER - TAG_SIZE;
    make_nonce(key, nonce);
    if (!may_be_handshake(key, nonce, plain, inner) || !open_record(key, nonce, record, inner))
        return 0;
    size_t end = inner;
    while (end > 0 && plain[end - 1] == 0)
        end--;
    struct walk w = {.octets = plain, .size = end > 0 ? end - 1 : 0};
    if (end > 0 && plain[end - 1] == TYPE_HANDSHAKE) {
        screen_messages(guard, nonce_max, &w);
        if (w.out < w.size)
            pad(plain, inner, w.out);
    }
    seal_record(key, nonce, record, inner);
    return w.dropped;
}

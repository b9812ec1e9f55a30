#include "nodedot/tls/ticket_guard.h"

#include "nodedot/tls/tls_records.h"

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/chacha20_poly1305.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { HANDSHAKE = 22, APPLICATION = 23, TAG = 16, NONCE_MAX = 8, DAY = 86400 };

static const uint8_t secret[32] = "thirty-two octets of secret key", iv[12] = "eleven oct.";

struct record {
    uint8_t octets[4096];
    size_t size;
};

static struct record_key key_of(uint64_t number)
{
    return (struct record_key){GUARD_CHACHA20_POLY1305, secret, sizeof(secret), iv, number};
}

/* Record 0 only, whose nonce is the IV. */
static struct record sealed(uint8_t type, const uint8_t *content, size_t size, size_t padding)
{
    struct record r = {.octets = {APPLICATION, 3, 3}};
    uint8_t inner[4096] = {0};
    size_t total = size + 1 + padding;

    memcpy(inner, content, size);
    inner[size] = type;
    r.octets[3] = (uint8_t)((total + TAG) >> 8);
    r.octets[4] = (uint8_t)(total + TAG);
    r.size = RECORDS_HEADER + total + TAG;
    wc_ChaCha20Poly1305_Encrypt(secret, iv, r.octets, RECORDS_HEADER, inner, (word32)total, r.octets + RECORDS_HEADER,
                                r.octets + RECORDS_HEADER + total);
    return r;
}

/* Opens a record; returns the size of its content and gives its type. */
static size_t opened(const struct record *r, uint8_t *out, uint8_t *type)
{
    size_t inner = r->size - RECORDS_HEADER - TAG;

    assert_int_equal(wc_ChaCha20Poly1305_Decrypt(secret, iv, r->octets, RECORDS_HEADER, r->octets + RECORDS_HEADER,
                                                 (word32)inner, r->octets + RECORDS_HEADER + inner, out),
                     0);
    while (out[inner - 1] == 0)
        inner--;
    *type = out[inner - 1];
    return inner - 1;
}

static unsigned int screen(struct ticket_guard *guard, struct record *r)
{
    struct record_key key = key_of(0);

    return ticket_guard_screen(guard, &key, NONCE_MAX, r->octets, r->size);
}

/* A NewSessionTicket message. */
static size_t ticket(uint8_t *out, uint32_t lifetime, size_t nonce, size_t size)
{
    size_t body = 4 + 4 + 1 + nonce + 2 + size + 2;
    uint8_t *at = out;

    memset(out, 7, 4 + body);
    *at++ = 4;
    *at++ = 0;
    *at++ = (uint8_t)(body >> 8);
    *at++ = (uint8_t)body;
    for (int shift = 24; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(lifetime >> shift);
    at += 4;
    *at++ = (uint8_t)nonce;
    at += nonce;
    *at++ = (uint8_t)(size >> 8);
    *at++ = (uint8_t)size;
    at += size;
    at[0] = at[1] = 0;
    return 4 + body;
}

static void what_fits_passes_and_what_does_not_is_taken_out(void **state)
{
    static const struct {
        uint32_t lifetime;
        size_t nonce, size;
        bool fits;
    } cases[] = {{DAY, 8, 200, true},
                 {DAY, 0, 1, true},
                 {7 * DAY, 8, TICKET_OCTETS_MAX, true},
                 {DAY, 9, 200, false},
                 {DAY, 255, 200, false},
                 {0, 8, 200, false},
                 {7 * DAY + 1, 8, 1, false},
                 {UINT32_MAX, 8, 1, false},
                 {DAY, 8, 0, false},
                 {DAY, 8, TICKET_OCTETS_MAX + 1, false}};
    uint8_t message[4096], out[4096], type;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ticket_guard guard = {0};
        size_t size = ticket(message, cases[i].lifetime, cases[i].nonce, cases[i].size);
        struct record r = sealed(HANDSHAKE, message, size, 0);
        assert_int_equal(screen(&guard, &r), cases[i].fits ? 0 : 1);
        assert_int_equal(opened(&r, out, &type), cases[i].fits ? size : 0);
        assert_int_equal(type, cases[i].fits ? HANDSHAKE : APPLICATION);
    }
}

static void other_messages_of_the_record_stay(void **state)
{
    static const uint8_t key_update[] = {24, 0, 0, 1, 0};
    struct ticket_guard guard = {0};
    uint8_t messages[1024], expected[1024], out[4096], type;
    size_t good = ticket(expected, DAY, 8, 50);
    size_t bad = ticket(messages, DAY, 200, 50);

    (void)state;
    memcpy(expected + good, key_update, sizeof(key_update));
    memcpy(messages + bad, expected, good + sizeof(key_update));
    struct record r = sealed(HANDSHAKE, messages, bad + good + sizeof(key_update), 5);
    assert_int_equal(screen(&guard, &r), 1);
    assert_int_equal(opened(&r, out, &type), good + sizeof(key_update));
    assert_int_equal(type, HANDSHAKE);
    assert_memory_equal(out, expected, good + sizeof(key_update));
}

static void a_ticket_over_several_records_is_taken_out_wherever_it_is_cut(void **state)
{
    uint8_t message[1024], out[4096], type;
    size_t bad = ticket(message, DAY, 8, 50);
    size_t good = ticket(message + bad, DAY, 8, 50);

    (void)state;
    for (size_t cut = 1; cut < bad; cut++) {
        struct ticket_guard guard = {0};
        struct record first = sealed(HANDSHAKE, message, cut, 0);
        struct record second = sealed(HANDSHAKE, message + cut, bad + good - cut, 0);
        assert_int_equal(screen(&guard, &first), 1);
        assert_int_equal(opened(&first, out, &type), 0);
        assert_int_equal(screen(&guard, &second), 0);
        assert_int_equal(opened(&second, out, &type), good);
        assert_memory_equal(out, message + bad, good);
    }
}

static void answers_pass_unread(void **state)
{
    uint8_t answer[100] = {0, 98};

    (void)state;
    for (size_t padding = 0; padding < 200; padding += 50) {
        struct ticket_guard guard = {0};
        struct record r = sealed(APPLICATION, answer, sizeof(answer), padding);
        struct record before = r;
        assert_int_equal(screen(&guard, &r), 0);
        assert_memory_equal(r.octets, before.octets, r.size);
    }
}

static void a_forged_record_stays_forged(void **state)
{
    uint8_t message[1024], out[4096];
    struct ticket_guard guard = {0};
    struct record r = sealed(HANDSHAKE, message, ticket(message, 0, 8, 50), 0);
    size_t inner = r.size - RECORDS_HEADER - TAG;

    (void)state;
    r.octets[RECORDS_HEADER + 3] ^= 1;
    assert_int_equal(screen(&guard, &r), 0);
    assert_int_not_equal(wc_ChaCha20Poly1305_Decrypt(secret, iv, r.octets, RECORDS_HEADER, r.octets + RECORDS_HEADER,
                                                     (word32)inner, r.octets + RECORDS_HEADER + inner, out),
                         0);
}

static void short_and_clear_records_pass(void **state)
{
    struct ticket_guard guard = {0};

    (void)state;
    for (size_t size = 0; size <= RECORDS_HEADER + TAG; size++) {
        struct record r = {.octets = {APPLICATION, 3, 3}, .size = size};
        struct record before = r;
        assert_int_equal(screen(&guard, &r), 0);
        assert_memory_equal(r.octets, before.octets, sizeof(r.octets));
    }
    struct record clear = sealed(HANDSHAKE, secret, sizeof(secret), 0);
    clear.octets[0] = 21;
    assert_int_equal(screen(&guard, &clear), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_passes_and_what_does_not_is_taken_out),
        cmocka_unit_test(other_messages_of_the_record_stay),
        cmocka_unit_test(a_ticket_over_several_records_is_taken_out_wherever_it_is_cut),
        cmocka_unit_test(answers_pass_unread),
        cmocka_unit_test(a_forged_record_stays_forged),
        cmocka_unit_test(short_and_clear_records_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Records behind a handshake: whatever stands in them, each opens with its key again, as long as it was, and what is kept is
 * what came, in order. An answer is not touched.
 *
 * Input: records, each a length octet (times four), a type and its content. */
#include "nodedot/tls/ticket_guard.h"

#include "nodedot/tls/tls_records.h"

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/chacha20_poly1305.h>

#include <stdlib.h>
#include <string.h>

#define TAG       16
#define NONCE_MAX 8
#define CONTENT   (4 * UINT8_MAX)

static const uint8_t secret[32] = "thirty-two octets of secret key", iv[12] = "eleven oct.";

static void check(bool holds)
{
    if (!holds)
        abort();
}

static size_t seal(const uint8_t *inner, size_t size, uint8_t *record)
{
    record[0] = 23;
    record[1] = record[2] = 3;
    record[3] = (uint8_t)((size + TAG) >> 8);
    record[4] = (uint8_t)(size + TAG);
    check(wc_ChaCha20Poly1305_Encrypt(secret, iv, record, RECORDS_HEADER, inner, (word32)size, record + RECORDS_HEADER,
                                      record + RECORDS_HEADER + size) == 0);
    return RECORDS_HEADER + size + TAG;
}

/* Is what was kept a subsequence of what came? */
static bool is_part(const uint8_t *kept, size_t kept_size, const uint8_t *came, size_t size)
{
    size_t at = 0;

    for (size_t i = 0; i < size && at < kept_size; i++)
        at += came[i] == kept[at];
    return at == kept_size;
}

static void check_record(struct ticket_guard *guard, const uint8_t *inner, size_t size)
{
    struct record_key key = {GUARD_CHACHA20_POLY1305, secret, sizeof(secret), iv, 0};
    uint8_t record[RECORDS_HEADER + CONTENT + 1 + TAG], out[CONTENT + 1];
    size_t whole = seal(inner, size, record), end = size;

    unsigned int dropped = ticket_guard_screen(guard, &key, NONCE_MAX, record, whole);
    check(wc_ChaCha20Poly1305_Decrypt(secret, iv, record, RECORDS_HEADER, record + RECORDS_HEADER, (word32)size,
                                      record + RECORDS_HEADER + size, out) == 0);
    while (end > 0 && out[end - 1] == 0)
        end--;
    if (memcmp(out, inner, size) == 0)
        return;
    check(end > 0 && (out[end - 1] == 22 || (out[end - 1] == 23 && end == 1)));
    check(out[end - 1] == 23 || is_part(out, end - 1, inner, size));
    check(dropped <= size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ticket_guard guard = {0};
    uint8_t inner[CONTENT + 1];

    while (size >= 2) {
        size_t content = 4U * data[0] < size - 2 ? 4U * data[0] : size - 2;
        memcpy(inner, data + 2, content);
        inner[content] = data[1];
        check_record(&guard, inner, content + 1);
        data += 2 + content;
        size -= 2 + content;
    }
    return 0;
}

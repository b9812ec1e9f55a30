#include "nodedot/base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const uint8_t *data, size_t size, char *out)
{
    for (; size > 0; out += 4) {
        size_t n = size < 3 ? size : 3;
        uint32_t bits = (uint32_t)data[0] << 16 | (uint32_t)(n > 1 ? data[1] : 0) << 8 | (n > 2 ? data[2] : 0);

        out[0] = alphabet[bits >> 18];
        out[1] = alphabet[bits >> 12 & 63];
        out[2] = '=';
        out[3] = '=';
        if (n > 1)
            out[2] = alphabet[bits >> 6 & 63];
        if (n > 2)
            out[3] = alphabet[bits & 63];
        data += n;
        size -= n;
    }
    *out = '\0';
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

bool base64_decode(const char *text, size_t length, uint8_t *out, size_t size)
{
    size_t padding = (3 - size % 3) % 3;
    uint32_t bits = 0;
    size_t at = 0;

    if (length != BASE64_LENGTH(size))
        return false;
    for (size_t i = 0; i < length; i++) {
        int value = i >= length - padding ? (text[i] == '=' ? 0 : -1) : value_of(text[i]);

        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 != 3)
            continue;
        for (int shift = 16; shift >= 0; shift -= 8) {
            uint8_t octet = (uint8_t)(bits >> shift);

            if (at < size)
                out[at++] = octet;
            else if (octet != 0)
                return false; /* two texts must not mean the same octets */
        }
        bits = 0;
    }
    return true;
}

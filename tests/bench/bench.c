/* bench.c - see bench.h. */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    FLAG_QR = 0x80, /* in octet 2 */
    FLAG_TC = 0x02, /* in octet 2 */
    FLAG_RD = 0x01, /* in octet 2 */
    RCODE_MASK = 0x0f,
    DIGITS_AT = 2, /* of the number inside the QNAME: after the length octet and "n" */
    DIGITS = 8,
};

static const uint8_t question_template[QUESTION_LEN] = "\x09n00000000\x07"
                                                       "example\x03"
                                                       "com\0\0\1\0\1";

void die(const char *what)
{
    if (errno != 0)
        fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    else
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dull;
}

uint64_t number_argument(const char *what, const char *text, uint64_t most)
{
    char *end;

    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || n > most) {
        fprintf(stderr, "%s: %s: a number from 0 to %llu expected, not \"%s\"\n", program_invocation_short_name, what,
                (unsigned long long)most, text);
        exit(2);
    }
    return n;
}

struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

void put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void question_write(uint8_t *out, uint32_t number)
{
    memcpy(out, question_template, QUESTION_LEN);
    for (int i = DIGITS - 1; i >= 0; i--, number >>= 4)
        out[DIGITS_AT + i] = (uint8_t) "0123456789abcdef"[number & 0xf];
}

void query_write(uint8_t *out, uint16_t id, uint32_t number)
{
    memset(out, 0, DNS_HEADER);
    put_u16(out, id);
    out[2] = FLAG_RD;
    out[5] = 1; /* QDCOUNT */
    question_write(out + DNS_HEADER, number);
}

enum verdict answer_judge(const uint8_t *message, size_t len, uint32_t number)
{
    uint8_t expected[QUESTION_LEN];

    if (len < QUERY_LEN || (message[2] & FLAG_QR) == 0)
        return VERDICT_WRONG;
    question_write(expected, number);
    if (memcmp(message + DNS_HEADER, expected, QUESTION_LEN) != 0)
        return VERDICT_WRONG;
    if ((message[3] & RCODE_MASK) != 0)
        return VERDICT_RCODE;
    if ((message[2] & FLAG_TC) != 0)
        return VERDICT_TRUNCATED;
    return get_u16(message + 6) > 0 ? VERDICT_GOOD : VERDICT_EMPTY;
}

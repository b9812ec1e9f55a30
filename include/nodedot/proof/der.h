/* der.h - a cursor over DER (X.690), for certificates.
 *
 * A read that fails is remembered in bad, and later reads give nothing, so that a parser goes straight down and
 * asks once. Strict: definite and shortest lengths only (section 10.1), tags of one octet.
 */
#ifndef NODEDOT_PROOF_DER_H
#define NODEDOT_PROOF_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct octets {
    const uint8_t *at; /* NULL: not there */
    size_t size;
};

bool octets_equal(struct octets a, struct octets b); /* false where one is not there */

enum der_tag {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_NULL = 0x05,
    DER_OID = 0x06,
    DER_UTF8_STRING = 0x0c,
    DER_PRINTABLE_STRING = 0x13,
    DER_IA5_STRING = 0x16,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
    DER_CONTEXT = 0x80,            /* plus the number of a primitive context tag */
    DER_CONTEXT_CONSTRUCTED = 0xa0 /* plus the number of a constructed one */
};

struct der {
    const uint8_t *at, *end;
    bool bad;
};

struct der der_open(struct octets octets);

/* Nothing left, or nothing good. */
bool der_at_end(const struct der *d);

/* Is this the tag of the next element? */
bool der_is(const struct der *d, uint8_t tag);

/* The next element, whatever it is: returns its contents, its tag in *tag, and all of it with tag and length in *whole.
 * Where there is none that is whole, d becomes bad, *tag 0, and both are empty (at: NULL). */
struct octets der_any(struct der *d, uint8_t *tag, struct octets *whole);

/* The contents of the next element, which must have this tag; der_whole() gives all of it as well. */
struct octets der_take(struct der *d, uint8_t tag);
struct octets der_whole(struct der *d, uint8_t tag, struct octets *whole);

/* The same, opened for reading. */
struct der der_enter(struct der *d, uint8_t tag);

void der_skip(struct der *d);

#endif

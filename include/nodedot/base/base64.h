/* base64.h - base64 with padding (RFC 4648 section 4), for pins.
 *
 */
#ifndef NODEDOT_BASE_BASE64_H
#define NODEDOT_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Octets of text, without the ending NUL, that size octets of data take. */
#define BASE64_LENGTH(size) (((size) + 2) / 3 * 4)

/* Writes BASE64_LENGTH(size) characters and a NUL to out. */
void base64_encode(const uint8_t *data, size_t size, char *out);

/* Decodes text of length characters to exactly size octets at out. False if the text is not valid: a foreign character,
 * missing or extra padding, another size, or bits set after the end. */
bool base64_decode(const char *text, size_t length, uint8_t *out, size_t size);

#endif

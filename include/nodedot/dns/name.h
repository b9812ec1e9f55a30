/* name.h - domain names in wire form (RFC 1035 section 3.1), without compression, in lower case.
 *
 * Form: length octets and labels, the root's empty label at the end; 1 to 255 octets.
 * Case: ASCII letters compare without regard to case (RFC 4343); a struct name is always lower case.
 */
#ifndef NODEDOT_DNS_NAME_H
#define NODEDOT_DNS_NAME_H

#include "nodedot/dns/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_MAX_OCTETS 255
/* Each octet may become "\ddd" in text, and a NUL ends it. */
#define NAME_TEXT (NAME_MAX_OCTETS * 4 + 1)
/* Labels of the longest name, the root's not counted. */
#define NAME_MAX_LABELS 127
/* Labels and pointers that one cursor follows in compressed names: four for each octet of the largest message. A full
 * message of PTR records under ip6.arpa (34 labels) needs 2.5; one of names that all lead into one long chain would
 * take 35, and is refused (the work of unbound CVE-2024-8508). */
#define NAME_STEPS_MAX (4 * 65536)

struct name {
    uint8_t length; /* octets in use, 1 to 255 */
    uint8_t bytes[NAME_MAX_OCTETS];
};

/* Reads a name that must not be compressed (as in a question) and lowers its letters. Sets w->bad for a pointer, a
 * reserved label type, a name over 255 octets, or one that runs past the end; *out is then the root. */
void name_read(struct wire *w, struct name *out);

/* Moves past a name in a message, which may be compressed. A pointer must lead backwards, to an octet at or behind the
 * header's end, and what it leads to must end before the octets that led there: a prior occurrence (RFC 1035 section
 * 4.1.4). The expanded name must be at most 255 octets (RFC 9267), and the cursor's steps at most NAME_STEPS_MAX. */
void name_skip(struct wire *w);

/* Reads a name that may be compressed and lowers its letters; rules as for name_skip(). */
void name_expand(struct wire *w, struct name *out);

/* Are the names at two offsets of a message the same? Both must have been passed by name_skip() before. */
bool name_equal_at(const uint8_t *message, size_t a, size_t b);

/* Reads "example.com", "example.com.", "." with escapes \. and \ddd (RFC 1035 section 5.1). False for an empty label, a
 * label over 63 octets or a name over 255. */
bool name_from_text(const char *text, struct name *out);

/* Writes the name without the final dot ("." for the root) to out of NAME_TEXT octets, and returns out. */
const char *name_to_text(const struct name *name, char *out);

bool name_equal(const struct name *a, const struct name *b);

/* Is name equal to zone or below it? Labels are compared whole: "notexample.com" is not below "example.com". */
bool name_in_zone(const struct name *name, const struct name *zone);

#endif

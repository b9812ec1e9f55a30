/* Names: what is skipped, read and expanded agree with each other, and text leads back to the same name. */
#include "nodedot/dns/name.h"

#include <stdlib.h>

#define HEADER 12

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_text(const struct name *name)
{
    char text[NAME_TEXT];
    struct name again;

    check(name_from_text(name_to_text(name, text), &again));
    check(name_equal(name, &again));
    check(name_in_zone(name, &again));
}

static void check_place(const uint8_t *data, size_t size, size_t at)
{
    struct wire skipped = wire_of(data, size);
    struct wire expanded;
    struct wire plain;
    struct name name;
    struct name literal;

    wire_take(&skipped, at);
    expanded = plain = skipped;
    name_skip(&skipped);
    name_expand(&expanded, &name);
    name_read(&plain, &literal);
    check(skipped.bad == expanded.bad);
    check(skipped.bad || skipped.at == expanded.at);
    check(name.length >= 1 && literal.length >= 1);
    check(plain.bad || (!skipped.bad && skipped.at == plain.at && name_equal(&name, &literal)));
    if (!skipped.bad)
        check(name_equal_at(data, at, at));
    check_text(&name);
}

/* Text of any kind, which may not be NUL-terminated in data. */
static void check_any_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct name name;

    if (text == NULL)
        return;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (name_from_text(text, &name))
        check_text(&name);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_any_text(data, size);
    for (size_t at = 0; at <= size; at += at < 64 ? 1 : 61)
        check_place(data, size, at);
    if (size > HEADER)
        check_place(data, size, HEADER);
    return 0;
}

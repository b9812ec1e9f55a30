/* The status page as a resolver that was taken over may leave it: what is printed of it are printable lines.
 *
 * Input: pieces that are written to an empty page: where (one octet for a place, two behind it), how long (one), and the
 * octets. */
#include "nodedot/dns/wire.h"
#include "nodedot/node/status_json.h"
#include "nodedot/node/status_table.h"
#include <stddef.h>
#include <stdlib.h>

static struct status_page page;

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Places that are worth writing to, wherever a version has them. */
static size_t place(uint8_t which)
{
    static const size_t places[] = {
        offsetof(struct status_page, magic),
        offsetof(struct status_page, version),
        offsetof(struct status_page, slot),
        offsetof(struct status_page, slots[0].address_count),
        offsetof(struct status_page, slots[0].addresses[0]),
        offsetof(struct status_page, slots[0].addresses[0].endpoint),
        offsetof(struct status_page, slots[0].addresses[0].state),
        offsetof(struct status_page, slots[0].addresses[0].validated_ms),
        offsetof(struct status_page, slots[0].upstream_count),
        offsetof(struct status_page, slots[0].upstreams[0]),
        offsetof(struct status_page, slots[0].upstreams[0].pin_count),
        offsetof(struct status_page, slots[0].busiest),
        offsetof(struct status_page, slots[0].threads[0]),
        offsetof(struct status_page, slots[1].address_count),
        offsetof(struct status_page, slots[1].addresses[0]),
    };

    return places[which % (sizeof(places) / sizeof(places[0]))];
}

static void write_pieces(const uint8_t *data, size_t size)
{
    struct wire w = wire_of(data, size);

    while (wire_left(&w) > 4) {
        size_t at = place(wire_u8(&w));
        size_t length;
        const uint8_t *octets;

        at = (at + wire_u16(&w)) % sizeof(page);
        length = wire_u8(&w);
        length = length < wire_left(&w) ? length : wire_left(&w);
        octets = wire_take(&w, length);
        memcpy((uint8_t *)&page + at, octets, length < sizeof(page) - at ? length : sizeof(page) - at);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct status_style style = {.numbers = true};
    char *text = NULL;
    size_t written = 0;
    FILE *out = open_memstream(&text, &written);

    check(out != NULL);
    memset(&page, 0, sizeof(page));
    write_pieces(data, size);
    status_table_print(out, &page, &style);
    status_json_print(out, &page);
    fclose(out);
    check(written > 0 && text[written - 1] == '\n');
    for (size_t i = 0; i < written; i++)
        check(text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~'));
    free(text);
    return 0;
}

/* Records in presentation format: whatever a server sends, what is written is one line of printable ASCII that fits. */
#include "nodedot/dns/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[TEXT_RECORD];
    struct wire w = wire_of(data, size);
    uint16_t type;

    wire_take(&w, 12); /* the header */
    while (wire_left(&w) > 0 && text_record(&w, &type, text, sizeof(text))) {
        for (const char *c = text; *c != '\0'; c++)
            if (*c != '\t' && (*c < ' ' || *c > '~'))
                abort();
    }
    return 0;
}

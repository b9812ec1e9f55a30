/* Other resolvers' configuration: whatever is read, what is printed has the form of an INI file, one statement a line.
 *
 * Input: a Corefile, a ConfigMap or a resolv.conf. */
#include "nodedot/config/import.h"

#include <stdlib.h>
#include <string.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_lines(const char *out)
{
    while (*out != '\0') {
        size_t size = strcspn(out, "\n");
        const char *equals = memchr(out, '=', size);

        check(out[size] == '\n');
        check(size == 0 || *out == ';' || (*out == '[' && out[size - 1] == ']') ||
              (equals != NULL && equals > out && equals[-1] == ' '));
        out += size + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct import import;
    char *text = malloc(size + 1), *out = NULL;
    size_t out_size;
    FILE *file = open_memstream(&out, &out_size);

    check(text != NULL && file != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    import_print_text(&import, text, file);
    fclose(file);
    check(strlen(out) == out_size);
    check_lines(out);
    free(out);
    free(text);
    return 0;
}

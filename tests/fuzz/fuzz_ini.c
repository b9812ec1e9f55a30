/* Any file, any --set and any NODEDOT_ variable: the load ends, says what is wrong in printable lines, and what it
 * accepts is printed so that it reads back to the same.
 *
 * Input: a file; or "!" and a --set up to the line's end, a variable up to the next line's end, then the file. */
#include "nodedot/config/config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TEXT 512 /* octets of a --set or a variable, NUL included */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    enum config_result code;
    char *errors;
    size_t errors_size;
};

static void load_bytes(const void *data, size_t size, struct config_source source, struct config *out,
                       struct result *result)
{
    char path[64];
    int fd = memfd_create("nodedot.ini", MFD_CLOEXEC);
    FILE *errors = open_memstream(&result->errors, &result->errors_size);

    if (fd < 0 || errors == NULL || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    source.file = path;
    result->code = config_load(&source, out, errors);
    fclose(errors);
    close(fd);
}

static void check_errors(const struct result *result)
{
    assert((result->code == CONFIG_OK) == (result->errors_size == 0));
    assert(result->errors_size == 0 || result->errors[result->errors_size - 1] == '\n');
    for (size_t i = 0; i < result->errors_size; i++)
        assert(result->errors[i] == '\n' || (result->errors[i] >= ' ' && result->errors[i] < 0x7f));
}

static char *print(const struct config *config, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);

    assert(out != NULL);
    config_print(config, out);
    fclose(out);
    return text;
}

static void check_round_trip(const struct config *config)
{
    static struct config again;
    static char *no_environment[] = {NULL};
    struct config_source source = {.environment = no_environment};
    struct result result = {0};
    size_t first_size;
    size_t second_size;
    char *first = print(config, &first_size);
    char *second;

    load_bytes(first, first_size, source, &again, &result);
    assert(result.code == CONFIG_OK);
    second = print(&again, &second_size);
    assert(first_size == second_size && memcmp(first, second, first_size) == 0);
    config_release(&again);
    free(first);
    free(second);
    free(result.errors);
}

/* Copies a line's text to out, and returns what is behind the line. */
static const uint8_t *take_line(const uint8_t *at, const uint8_t *end, char *out)
{
    size_t length = 0;

    while (at < end && *at != '\n') {
        if (length + 1 < TEXT && *at != '\0')
            out[length++] = (char)*at;
        at++;
    }
    out[length] = '\0';
    return at < end ? at + 1 : at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    char set[TEXT] = "";
    char variable[TEXT] = "";
    const char *sets[] = {set};
    char *environment[] = {variable, "A=1", "EMPTY=", NULL};
    struct config_source source = {.sets = sets, .environment = environment};
    const uint8_t *at = data;
    struct result result = {0};

    if (size > 0 && *at == '!') {
        at = take_line(at + 1, data + size, set);
        at = take_line(at, data + size, variable);
        source.set_count = 1;
    }
    load_bytes(at, size - (size_t)(at - data), source, &config, &result);
    check_errors(&result);
    if (result.code == CONFIG_OK) {
        check_round_trip(&config);
        config_release(&config);
    }
    free(result.errors);
    return 0;
}

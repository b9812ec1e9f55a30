/* Requests to the metrics port: whatever is sent, the parser reads no octet too many, takes at least one for every
 * answer that leaves the connection open, and says the same of a request that comes in pieces as of one that comes at
 * once. */
#include "nodedot/observe/request.h"

#include <stdlib.h>
#include <string.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* A whole request stays what it is when more octets follow. */
static void check_pieces(const char *octets, size_t size, const struct request *whole)
{
    struct request again;

    for (size_t i = 0; i < whole->size; i += 1 + i / 8)
        check(!request_parse(octets, i, &again));
    check(request_parse(octets, whole->size, &again) && memcmp(&again, whole, sizeof again) == 0);
    check(whole->size <= size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *octets = malloc(size); /* of its own, so that the sanitizer sees its end */
    size_t at = 0;
    struct request request;

    memcpy(octets, data, size);
    while (at < size && request_parse(octets + at, size - at, &request)) {
        check(request.status >= REQUEST_OK && request.status <= REQUEST_BAD_VERSION);
        check(request.path <= REQUEST_READYZ && request.format <= EXPOSITION_OPENMETRICS);
        check(request.size <= REQUEST_MAX);
        if (request.size > 0)
            check_pieces(octets + at, size - at, &request);
        if (!request.keep_alive)
            break;
        check(request.size > 0 && request.status != REQUEST_BAD);
        at += request.size;
    }
    free(octets);
    return 0;
}

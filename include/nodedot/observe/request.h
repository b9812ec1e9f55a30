/* request.h - parses an HTTP request to the metrics port.
 *
 * Takes:  HTTP/1.0 and 1.1 (RFC 9112), GET and HEAD of three paths, without content. Everything else is an error with
 *         a specific status.
 * Limits: REQUEST_MAX octets up to the empty line.
 * Memory: none; a pure function over untrusted octets.
 */
#ifndef NODEDOT_OBSERVE_REQUEST_H
#define NODEDOT_OBSERVE_REQUEST_H

#include "nodedot/observe/exposition.h"

#include <stdbool.h>
#include <stddef.h>

/* Prometheus sends about 400 octets; a browser with its cookies some thousand. */
#define REQUEST_MAX 8192

enum request_path { REQUEST_METRICS, REQUEST_HEALTHZ, REQUEST_READYZ };

/* Status codes (RFC 9110 section 15, RFC 6585 section 5). */
enum request_status {
    REQUEST_OK = 200,
    REQUEST_BAD = 400,
    REQUEST_NOT_FOUND = 404,
    REQUEST_BAD_METHOD = 405,
    REQUEST_WITH_CONTENT = 413,
    REQUEST_TOO_LARGE = 431,
    REQUEST_BAD_VERSION = 505
};

struct request {
    enum request_status status; /* of the answer, as far as the request alone decides */
    size_t size;                /* octets that it took */
    bool head;                  /* HEAD: the answer has no content */
    bool keep_alive;            /* may another request follow? Never after an error that leaves its end unclear */
    enum request_path path;
    enum exposition_format format; /* by the Accept header; text when it does not say */
};

/* Reads one request from the start of size octets. False: it is not whole yet, and may still become one. */
bool request_parse(const char *octets, size_t size, struct request *out);

#endif

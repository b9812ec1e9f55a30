#include "nodedot/proof/pem.h"
#include "nodedot/proof/certificate_parser.h"

#include "nodedot/base/base64.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decodes the text from body to stop in place, to out, which may be body itself or before it. Returns the size, 0 for
 * no base64. */
static size_t decode(char *body, const char *stop, uint8_t *out)
{
    size_t length = 0;

    for (const char *c = body; c < stop; c++)
        if (*c != '\n' && *c != '\r' && *c != ' ' && *c != '\t')
            body[length++] = *c;
    size_t size = length / 4 * 3;
    for (size_t i = length; i > 0 && body[i - 1] == '=' && size > 0; i--)
        size--;
    return base64_decode(body, length, out, size) ? size : 0;
}

static bool grow(struct pem *pem, size_t *capacity)
{
    if (pem->count < *capacity)
        return true;
    size_t larger = *capacity == 0 ? 4 : *capacity * 2;
    struct certificate *certificates = realloc(pem->certificates, larger * sizeof(*certificates));
    if (certificates == NULL)
        return false;
    pem->certificates = certificates;
    *capacity = larger;
    return true;
}

/* DER is shorter than its text, so the certificates are laid one behind the other over the text that they came from. */
static bool read_all(char *text, bool lenient, struct pem *out)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----", end[] = "-----END CERTIFICATE-----";
    size_t used = 0, capacity = 0;

    for (char *body = text; (body = strstr(body, begin)) != NULL;) {
        body += sizeof(begin) - 1;
        char *stop = strstr(body, end);
        if (stop == NULL || !grow(out, &capacity))
            return false;
        size_t size = decode(body, stop, out->storage + used);
        if (size > 0 && certificate_parse(out->storage + used, size, &out->certificates[out->count])) {
            used += size;
            out->count++;
        } else if (!lenient) {
            return false;
        }
        body = stop + sizeof(end) - 1;
    }
    return true;
}

bool pem_parse(const struct file_text *file, bool lenient, struct pem *out, char *error)
{
    char *text = malloc(file->size + 1);

    *out = (struct pem){.storage = (uint8_t *)text};
    if (text == NULL) {
        snprintf(error, PEM_ERROR, "%s: out of memory", file->name);
        return false;
    }
    memcpy(text, file->text, file->size);
    text[file->size] = '\0';
    bool good = read_all(text, lenient, out);
    if (good && out->count > 0)
        return true;
    snprintf(error, PEM_ERROR, "%s: %s", file->name,
             good ? "holds no certificate (PEM)" : "holds a certificate that is broken");
    pem_release(out);
    return false;
}

bool pem_read(const char *path, bool lenient, struct pem *out, char *error)
{
    struct file_text file;
    int result = file_read(path, PEM_FILE_MAX, &file);

    *out = (struct pem){0};
    if (result == -EFBIG)
        snprintf(error, PEM_ERROR, "%s: larger than %d octets", path, PEM_FILE_MAX);
    else if (result != 0)
        snprintf(error, PEM_ERROR, "%s: %s", path, strerror(-result));
    if (result != 0)
        return false;
    bool good = pem_parse(&file, lenient, out, error);
    file_release(&file);
    return good;
}

void pem_release(struct pem *pem)
{
    free(pem->certificates);
    free(pem->storage);
    *pem = (struct pem){0};
}

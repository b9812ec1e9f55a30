/* pem.h - the certificates in the text of a PEM file (RFC 7468).
 *
 * Memory: the struct owns the octets that its certificates point into; pem_release() frees both.
 */
#ifndef NODEDOT_PROOF_PEM_H
#define NODEDOT_PROOF_PEM_H

#include "nodedot/base/file.h"
#include "nodedot/proof/certificate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEM_ERROR    160
#define PEM_FILE_MAX (4 * 1024 * 1024) /* Mozilla's bundle of CAs has 0.25 MiB */

struct pem {
    struct certificate *certificates;
    size_t count;
    uint8_t *storage;
};

/* Reads every certificate of file; what stands between them is passed over. One that is no certificate is left out if
 * lenient (a bundle of CAs may hold oddities), and an error if not. False: why in error (PEM_ERROR octets), naming the
 * file, and *out is empty; a file without any certificate is an error. */
bool pem_parse(const struct file_text *file, bool lenient, struct pem *out, char *error);

/* The same for the file at path, of PEM_FILE_MAX octets at most, which is read now. */
bool pem_read(const char *path, bool lenient, struct pem *out, char *error);

void pem_release(struct pem *pem);

#endif

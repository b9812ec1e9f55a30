/* file.h - a file's contents, read at one moment and held in memory.
 *
 * Memory: of the caller, released by file_release(), which overwrites it: the file may be a private key.
 */
#ifndef NODEDOT_BASE_FILE_H
#define NODEDOT_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

struct file_text {
    const char *name; /* for messages; the caller's */
    char *text;       /* followed by a NUL; NULL: none */
    size_t size;
};

/* Reads all of path, which must be a regular file: opening a device or a pipe may do something, or wait. 0 or -errno
 * (-EFBIG: more than limit octets; -EISDIR, -EINVAL: no regular file). */
int file_read(const char *path, size_t limit, struct file_text *out);

/* The same for a file of any kind: a pipe that the operator named on the command line. */
int file_read_any(const char *path, size_t limit, struct file_text *out);

/* Changes when a file is written, replaced, or its link points elsewhere. All zero: no file. */
struct file_state {
    uint64_t device, inode, size;
    int64_t modified_s, modified_ns, changed_s, changed_ns;
};

/* The state of the file behind all links of path. */
struct file_state file_state_of(const char *path);

/* Does nothing if there are no contents. */
void file_release(struct file_text *file);

#endif

#include "nodedot/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Octets of the first block, doubled until the file fits. */
#define FILE_FIRST 4096

static int grow(struct file_text *file, size_t *capacity, size_t limit)
{
    size_t larger = *capacity == 0 ? FILE_FIRST : 2 * *capacity;
    char *text;

    if (file->size > limit)
        return -EFBIG;
    if (file->size + 1 < *capacity)
        return 0;
    text = malloc(larger); /* not realloc(), which would leave a copy of a key behind */
    if (text == NULL)
        return -ENOMEM;
    if (file->text != NULL) {
        memcpy(text, file->text, file->size);
        explicit_bzero(file->text, file->size);
        free(file->text);
    }
    file->text = text;
    *capacity = larger;
    return 0;
}

static int read_all(int fd, size_t limit, struct file_text *out)
{
    size_t capacity = 0;
    ssize_t n;

    do {
        int result = grow(out, &capacity, limit);

        if (result != 0)
            return result;
        n = read(fd, out->text + out->size, capacity - 1 - out->size);
        if (n < 0 && errno != EINTR)
            return -errno;
        out->size += n > 0 ? (size_t)n : 0;
    } while (n != 0);
    out->text[out->size] = '\0';
    return 0;
}

int file_read_any(const char *path, size_t limit, struct file_text *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int result;

    *out = (struct file_text){.name = path};
    if (fd < 0)
        return -errno;
    result = read_all(fd, limit, out);
    close(fd);
    if (result != 0)
        file_release(out);
    return result;
}

int file_read(const char *path, size_t limit, struct file_text *out)
{
    struct stat status;

    *out = (struct file_text){.name = path};
    if (stat(path, &status) < 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    return S_ISREG(status.st_mode) ? file_read_any(path, limit, out) : -EINVAL;
}

struct file_state file_state_of(const char *path)
{
    struct stat s;

    if (stat(path, &s) < 0)
        return (struct file_state){0};
    return (struct file_state){
        .device = s.st_dev,
        .inode = s.st_ino,
        .size = (uint64_t)s.st_size,
        .modified_s = s.st_mtim.tv_sec,
        .modified_ns = s.st_mtim.tv_nsec,
        .changed_s = s.st_ctim.tv_sec,
        .changed_ns = s.st_ctim.tv_nsec,
    };
}

void file_release(struct file_text *file)
{
    if (file->text == NULL)
        return;
    explicit_bzero(file->text, file->size);
    free(file->text);
    file->text = NULL;
    file->size = 0;
}

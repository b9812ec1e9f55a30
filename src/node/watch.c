#include "nodedot/node/watch.h"

#include "nodedot/base/hash.h"

#include <string.h>
#include <sys/stat.h>

/* State of a file that changes when the file is written, replaced, or its link points elsewhere. All zero: no file. */
struct file_state {
    uint64_t device, inode, size;
    int64_t modified_s, modified_ns, changed_s, changed_ns;
};

static struct file_state file_state_of(const char *path)
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

/* Each file's hash is part of the key of the next: no table, no secret. */
static uint64_t chain(uint64_t before, const void *data, size_t size)
{
    struct hash_key key = {{before, 0}};

    return hash_keyed(&key, data, size);
}

uint64_t watch_stamp(const struct config *config)
{
    uint64_t stamp = 0;

    for (size_t i = 0; i < config->file_count; i++) {
        struct file_state state = file_state_of(config->files[i]);

        stamp = chain(stamp, &state, sizeof state);
    }
    return stamp;
}

static uint64_t names_of(const struct config *config)
{
    uint64_t names = 0;

    for (size_t i = 0; i < config->file_count; i++)
        names = chain(names, config->files[i], strlen(config->files[i]));
    return names;
}

void watch_begin(struct watch *watch, const struct config *config, uint64_t before)
{
    uint64_t names = names_of(config);
    bool same_files = watch->config != NULL && names == watch->names;

    watch->loaded = watch->seen = same_files ? before : watch_stamp(config);
    watch->config = config;
    watch->names = names;
}

bool watch_poll(struct watch *watch)
{
    uint64_t now = watch_stamp(watch->config);
    bool settled = now == watch->seen && now != watch->loaded;

    watch->seen = now;
    if (settled)
        watch->loaded = now;
    return settled;
}

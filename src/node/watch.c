#include "nodedot/node/watch.h"

#include "nodedot/base/file.h"
#include "nodedot/base/hash.h"

/* Each file's hash is part of the key of the next: no table, no secret. */
static uint64_t chain(uint64_t before, const void *data, size_t size)
{
    struct hash_key key = {{before, 0}};

    return hash_keyed(&key, data, size);
}

static uint64_t stamp_of(const struct config *config)
{
    uint64_t stamp = 0;

    for (size_t i = 0; i < config->file_count; i++) {
        struct file_state state = file_state_of(config->files[i]);

        stamp = chain(stamp, &state, sizeof state);
    }
    return stamp;
}

void watch_begin(struct watch *watch, const struct config *config)
{
    uint64_t stamp = 0;

    for (size_t i = 0; i < config->file_count; i++)
        stamp = chain(stamp, &config->states[i], sizeof config->states[i]);
    watch->config = config;
    watch->loaded = watch->seen = stamp;
}

bool watch_poll(struct watch *watch)
{
    uint64_t now = stamp_of(watch->config);
    bool settled = now == watch->seen && now != watch->loaded;

    watch->seen = now;
    if (settled)
        watch->loaded = now;
    return settled;
}

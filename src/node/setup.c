#include "nodedot/node/setup.h"

#include "nodedot/cache/cache.h"
#include "nodedot/observe/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void log_lines(char *text)
{
    char *rest;

    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        log_error("configuration error", log_s("reason", line));
}

enum config_result setups_load(struct setups *s, const struct config_source *source)
{
    char *text = NULL;
    size_t size = 0;
    FILE *errors = open_memstream(&text, &size);

    if (errors == NULL)
        return CONFIG_UNREADABLE;
    config_release(s->tried.config); /* of one that was given up */
    enum config_result result = config_load(source, s->tried.config, errors);
    fclose(errors);
    if (result != CONFIG_OK && text != NULL)
        log_lines(text);
    free(text);
    return result;
}

static int make_cache(struct shared *cache, size_t size)
{
    int result = shared_create(cache, "nodedot-cache", size);

    if (result < 0)
        return result;
    result = cache_format(cache->memory, size);
    if (result < 0)
        shared_destroy(cache);
    return result;
}

/* An equal size keeps the cache, and so every answer in it. */
static bool prepare_cache(struct setups *s, char *error)
{
    size_t size = s->tried.config->cache_size;

    s->tried.cache = s->held.cache;
    if (size == s->held.cache.size)
        return true;
    int result = make_cache(&s->tried.cache, size);
    if (result < 0) {
        s->tried.cache.memory = NULL;
        snprintf(error, SOCKETS_ERROR, "cannot make a cache of %zu octets: %s", size, strerror(-result));
        return false;
    }
    return true;
}

void setups_abandon(struct setups *s)
{
    sockets_retire(&s->tried.sockets, &s->held.sockets);
    probes_abandon(&s->probes);
    addresses_abandon(&s->addresses);
    if (s->tried.cache.memory != s->held.cache.memory)
        shared_destroy(&s->tried.cache);
}

bool setups_prepare(struct setups *s, char *error)
{
    s->tried.sockets.count = s->tried.sockets.metrics_count = 0;
    if (prepare_cache(s, error) && addresses_prepare(&s->addresses, s->tried.config, error) &&
        sockets_prepare(&s->tried.sockets, &s->held.sockets, s->tried.config, error) &&
        probes_prepare(&s->probes, s->tried.config, error))
        return true;
    setups_abandon(s);
    return false;
}

void setups_adopt(struct setups *s)
{
    struct config *old = s->held.config;

    sockets_retire(&s->held.sockets, &s->tried.sockets);
    probes_commit(&s->probes);
    addresses_commit(&s->addresses);
    if (s->tried.cache.memory != s->held.cache.memory) {
        shared_destroy(&s->held.cache);
        log_info("cache created", log_n("octets", s->tried.cache.size));
    }
    s->held = s->tried;
    config_release(old);
    s->tried = (struct setup){.config = old};
    log_configure(s->held.config->log_level, s->held.config->log_format);
    log_set_node(s->held.config->node_name);
}

void setups_close(struct setups *s)
{
    static const struct sockets none;

    probes_close(&s->probes);
    sockets_retire(&s->held.sockets, &none);
    addresses_close(&s->addresses);
    shared_destroy(&s->held.cache);
}

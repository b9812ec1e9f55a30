#include "nodedot/resolver/origin.h"

#include <string.h>

/* An odd number far from a power of two (the golden ratio): no two beginnings of a fallback look alike. */
#define SPREAD 0x9e3779b97f4a7c15u

/* What makes a group's answers that group's. Hashed as it lies in memory: all of it is set to 0 first. */
struct group_identity {
    uint64_t addresses, pins; /* sums of hashes: the order does not matter */
    uint64_t ca;
    uint32_t transport, auth, pin_mode;
    char server_name[sizeof(((struct upstream_config *)NULL)->server_name)];
};

struct zone_identity {
    uint64_t group;
    uint32_t fell_back;
    struct cache_limits limits;
    struct name name;
};

static uint64_t hash_endpoint(const struct cache *cache, const struct endpoint *endpoint)
{
    char text[ENDPOINT_TEXT];

    endpoint_format(endpoint, text);
    return cache_hash(cache, text, strlen(text));
}

static uint64_t hash_group(const struct cache *cache, const struct upstream_config *config)
{
    struct group_identity identity;

    memset(&identity, 0, sizeof(identity));
    for (size_t i = 0; i < config->address_count; i++)
        identity.addresses += hash_endpoint(cache, &config->addresses[i]);
    identity.transport = config->transport;
    if (config->transport == TRANSPORT_DOT) {
        for (size_t i = 0; i < config->pin_count; i++)
            identity.pins += cache_hash(cache, &config->pins[i], sizeof(config->pins[i]));
        if (config->auth != AUTH_PIN && config->ca != NULL)
            identity.ca = cache_hash(cache, config->ca->text, config->ca->size);
        identity.auth = config->auth;
        identity.pin_mode = config->pin_mode;
        memcpy(identity.server_name, config->server_name, strlen(config->server_name));
    }
    return cache_hash(cache, &identity, sizeof(identity));
}

struct cache_limits origins_limits(const struct config *config, const struct zone_config *zone)
{
    return (struct cache_limits){
        .min_ttl = config->min_ttl,
        .max_ttl = config->max_ttl,
        .negative_max_ttl = zone->negative_max_ttl != CONFIG_UNSET ? zone->negative_max_ttl : config->negative_max_ttl,
        .stale_max = zone->stale_max != CONFIG_UNSET ? zone->stale_max : config->stale_max,
    };
}

static uint32_t hash_zone(const struct cache *cache, const struct config *config, const struct zone_config *zone,
                          uint64_t group, bool fell_back)
{
    struct zone_identity identity;

    memset(&identity, 0, sizeof(identity));
    identity.group = group;
    identity.fell_back = fell_back;
    identity.limits = origins_limits(config, zone);
    identity.name.length = zone->name.length;
    memcpy(identity.name.bytes, zone->name.bytes, zone->name.length);
    return (uint32_t)cache_hash(cache, &identity, sizeof(identity));
}

void origins_init(struct origins *origins, const struct config *config, const struct upstream_status *upstreams,
                  const struct cache *cache)
{
    uint64_t groups[CONFIG_UPSTREAMS];

    memset(origins, 0, sizeof(*origins));
    origins->config = config;
    origins->upstreams = upstreams;
    for (size_t i = 0; i < config->upstream_count; i++)
        groups[i] = hash_group(cache, &config->upstreams[i]);
    for (size_t i = 0; i < config->zone_count; i++) {
        const struct zone_config *zone = &config->zones[i];
        size_t fallback = config->upstreams[zone->upstream].fallback;

        origins->own[i] = hash_zone(cache, config, zone, groups[zone->upstream], false);
        origins->fallback[i] = origins->own[i];
        if (fallback != CONFIG_NO_UPSTREAM)
            origins->fallback[i] = hash_zone(cache, config, zone, groups[fallback], true);
    }
}

static bool falls_back_to_plain(const struct origins *origins, const struct upstream_config *group)
{
    return group->fallback != CONFIG_NO_UPSTREAM &&
           origins->config->upstreams[group->fallback].transport == TRANSPORT_PLAIN;
}

/* The origin of what the fallback of a zone's group answers. */
static uint32_t fallback_of(const struct origins *origins, const struct zone_config *zone)
{
    uint32_t origin = origins->fallback[zone - origins->config->zones];
    uint64_t since_ms;

    if (!falls_back_to_plain(origins, &origins->config->upstreams[zone->upstream]))
        return origin;
    since_ms = atomic_load_explicit(&origins->upstreams[zone->upstream].fallback_since_ms, memory_order_relaxed);
    return origin ^ (uint32_t)(since_ms * SPREAD >> 32);
}

void origins_accept(const struct origins *origins, const struct zone_config *zone, struct cache_key *key)
{
    const struct upstream_config *group = &origins->config->upstreams[zone->upstream];

    key->origin = origins->own[zone - origins->config->zones];
    key->origin_also = key->origin;
    if (group->fallback == CONFIG_NO_UPSTREAM)
        return;
    if (!falls_back_to_plain(origins, group) ||
        atomic_load_explicit(&origins->upstreams[zone->upstream].fallback, memory_order_acquire) != 0)
        key->origin_also = fallback_of(origins, zone);
}

void origins_choose(const struct origins *origins, const struct zone_config *zone, bool fell_back,
                    struct cache_key *key)
{
    key->origin = fell_back ? fallback_of(origins, zone) : origins->own[zone - origins->config->zones];
    key->origin_also = key->origin;
}

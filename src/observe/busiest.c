#include "nodedot/observe/busiest.h"

#include "nodedot/base/random.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>

/* A rate right after the start is one over this at least: the first queries of a node are no flood. */
#define SPAN_MIN_MS 1000

/* A set is read again when it changed meanwhile, but not for ever. */
#define TRIES 3

/* Every place of a set, over all sketches. */
#define CANDIDATES (BUSIEST_WAYS * CONFIG_WORKERS)

static uint64_t get64(const _Atomic uint64_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

static uint32_t get(const _Atomic uint32_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

static void set(_Atomic uint32_t *number, uint32_t value)
{
    atomic_store_explicit(number, value, memory_order_relaxed);
}

/* ---- counting ---- */

/* Cheap, and with a secret: a client that aims at another's set gains little, so SipHash would be too much. */
static struct busiest_set *set_of(struct busiest_sketch *sketch, struct busiest_key key)
{
    unsigned __int128 product = (unsigned __int128)(key.high ^ sketch->seed[0]) * (key.low ^ sketch->seed[1]);
    uint64_t hash = (uint64_t)product ^ (uint64_t)(product >> 64);

    return &sketch->sets[hash % BUSIEST_SETS];
}

static uint64_t weight(const struct busiest_set *of, unsigned way)
{
    return (uint64_t)get(&of->now[way]) + get(&of->before[way]) + get(&of->inherited[way]);
}

/* What is set between these two is read all or not at all (read_set()). */
static void begin_change(struct busiest_set *in)
{
    set(&in->version, get(&in->version) + 1);
    atomic_thread_fence(memory_order_release);
}

static void end_change(struct busiest_set *in)
{
    atomic_store_explicit(&in->version, get(&in->version) + 1, memory_order_release);
}

/* Takes the place of who weighs least. */
static void replace(struct busiest_set *in, struct busiest_key key)
{
    unsigned least = 0;
    uint64_t inherited;

    for (unsigned way = 1; way < BUSIEST_WAYS; way++) {
        if (weight(in, way) < weight(in, least))
            least = way;
    }
    inherited = weight(in, least);
    begin_change(in);
    atomic_store_explicit(&in->keys[least][0], key.high, memory_order_relaxed);
    atomic_store_explicit(&in->keys[least][1], key.low, memory_order_relaxed);
    set(&in->now[least], 1);
    set(&in->before[least], 0);
    set(&in->inherited[least], inherited < UINT32_MAX ? (uint32_t)inherited : UINT32_MAX);
    end_change(in);
}

static bool is_mapped(struct busiest_key key)
{
    return key.high == 0 && key.low >> 32 == 0xffff; /* RFC 4291 section 2.5.5.2 */
}

static struct busiest_key key_of(const struct busiest_sketch *sketch, const struct endpoint *endpoint)
{
    struct busiest_key key = {.low = 0xffffULL << 32 | ntohl(endpoint->v4.sin_addr.s_addr)};
    const struct busiest_key *mask = &sketch->v4_mask;

    if (endpoint->any.sa_family == AF_INET6) {
        memcpy(&key.high, endpoint->v6.sin6_addr.s6_addr, sizeof key.high);
        memcpy(&key.low, endpoint->v6.sin6_addr.s6_addr + sizeof key.high, sizeof key.low);
        key = (struct busiest_key){.high = be64toh(key.high), .low = be64toh(key.low)};
        mask = is_mapped(key) ? mask : &sketch->v6_mask;
    }
    return (struct busiest_key){.high = key.high & mask->high, .low = key.low & mask->low};
}

void busiest_count(struct busiest_sketch *sketch, const struct endpoint *endpoint)
{
    struct busiest_key key = key_of(sketch, endpoint);
    struct busiest_set *in = set_of(sketch, key);

    for (unsigned way = 0; way < BUSIEST_WAYS; way++) {
        if (get64(&in->keys[way][0]) == key.high && get64(&in->keys[way][1]) == key.low) {
            set(&in->now[way], get(&in->now[way]) + 1);
            return;
        }
    }
    replace(in, key);
}

/* ---- time ---- */

void busiest_turn(struct busiest_sketch *sketch, uint64_t now_ms)
{
    uint64_t length = now_ms - get64(&sketch->window_ms);

    if (length < BUSIEST_WINDOW_MS)
        return;
    for (struct busiest_set *of = sketch->sets; of < sketch->sets + BUSIEST_SETS; of++) {
        begin_change(of); /* nobody may count the same queries in both windows */
        for (unsigned way = 0; way < BUSIEST_WAYS; way++) {
            set(&of->before[way], get(&of->now[way]));
            set(&of->now[way], 0);
            set(&of->inherited[way], 0);
        }
        end_change(of);
    }
    set(&sketch->before_ms, length < UINT32_MAX ? (uint32_t)length : UINT32_MAX);
    atomic_store_explicit(&sketch->window_ms, now_ms, memory_order_relaxed);
}

/* The first bits of 128. */
static struct busiest_key mask_of(unsigned bits)
{
    return (struct busiest_key){.high = bits >= 64 ? UINT64_MAX : UINT64_MAX << 1 << (63 - bits),
                                .low = bits <= 64 ? 0 : UINT64_MAX << (128 - bits)};
}

void busiest_begin(struct busiest *busiest, const struct client_prefix *prefix, uint64_t now_ms)
{
    uint64_t seed[2];

    random_bytes(seed, sizeof seed);
    memset(busiest, 0, sizeof *busiest);
    busiest->prefix = *prefix;
    for (unsigned i = 0; i < CONFIG_WORKERS; i++) {
        struct busiest_sketch *sketch = &busiest->sketches[i];

        sketch->seed[0] = seed[0] | 1;
        sketch->seed[1] = seed[1] | 1;
        sketch->v4_mask = mask_of(96U + prefix->ipv4);
        sketch->v6_mask = mask_of(prefix->ipv6);
        atomic_store_explicit(&sketch->window_ms, now_ms, memory_order_relaxed);
    }
}

/* ---- reading ---- */

/* The queries of the window before count as far as it reaches into the last BUSIEST_WINDOW_MS, as if they had come
 * evenly. */
static uint64_t rate(const struct busiest_sketch *sketch, uint64_t now_ms, uint64_t now, uint64_t before)
{
    uint64_t window_ms = get64(&sketch->window_ms);
    uint64_t passed = now_ms > window_ms ? now_ms - window_ms : 0;
    uint64_t before_ms = get(&sketch->before_ms);
    uint64_t reach = passed < BUSIEST_WINDOW_MS ? BUSIEST_WINDOW_MS - passed : 0;
    uint64_t span;

    if (reach > before_ms)
        reach = before_ms;
    span = passed + reach > SPAN_MIN_MS ? passed + reach : SPAN_MIN_MS;
    return (now * 1000000 + (before_ms > 0 ? before * 1000000 / before_ms * reach : 0)) / span;
}

/* Adds a client to the candidates, or what it asked to what is known of it. */
static void collect(struct busy_client *candidates, size_t *count, const struct busy_client *client)
{
    for (size_t i = 0; i < *count; i++) {
        if (candidates[i].key.high == client->key.high && candidates[i].key.low == client->key.low) {
            candidates[i].millihertz += client->millihertz;
            return;
        }
    }
    candidates[(*count)++] = *client;
}

/* The places of one set of one sketch as they were at one moment. */
static void read_set(const struct busiest_sketch *sketch, unsigned index, uint64_t now_ms,
                     struct busy_client out[BUSIEST_WAYS])
{
    const struct busiest_set *of = &sketch->sets[index];

    for (int i = 0; i < TRIES; i++) {
        uint32_t version = atomic_load_explicit(&of->version, memory_order_acquire);

        for (unsigned way = 0; way < BUSIEST_WAYS; way++) {
            out[way].key.high = get64(&of->keys[way][0]);
            out[way].key.low = get64(&of->keys[way][1]);
            out[way].millihertz = rate(sketch, now_ms, get(&of->now[way]), get(&of->before[way]));
        }
        atomic_thread_fence(memory_order_acquire);
        if (version % 2 == 0 && get(&of->version) == version)
            return;
    }
    memset(out, 0, BUSIEST_WAYS * sizeof *out); /* it changes all the time: nobody there asks much */
}

static void offer(struct busy_client *list, size_t *count, const struct busy_client *client)
{
    size_t at = *count;

    while (at > 0 && list[at - 1].millihertz < client->millihertz)
        at--;
    if (client->millihertz == 0 || at == BUSIEST_SHOWN)
        return;
    if (*count < BUSIEST_SHOWN)
        (*count)++;
    memmove(list + at + 1, list + at, (*count - at - 1) * sizeof *list);
    list[at] = *client;
}

size_t busiest_list(const struct busiest *busiest, uint64_t now_ms, struct busy_client out[BUSIEST_SHOWN])
{
    size_t shown = 0;

    for (unsigned index = 0; index < BUSIEST_SETS; index++) {
        struct busy_client candidates[CANDIDATES];
        size_t count = 0;

        for (unsigned i = 0; i < CONFIG_WORKERS; i++) {
            struct busy_client places[BUSIEST_WAYS];

            read_set(&busiest->sketches[i], index, now_ms, places);
            for (unsigned way = 0; way < BUSIEST_WAYS; way++) {
                if (places[way].millihertz > 0)
                    collect(candidates, &count, &places[way]);
            }
        }
        for (size_t i = 0; i < count; i++)
            offer(out, &shown, &candidates[i]);
    }
    return shown;
}

const char *busiest_format(const struct busiest *busiest, const struct busy_client *client, char *out)
{
    struct endpoint endpoint = {.size = sizeof endpoint.v6, .v6.sin6_family = AF_INET6};
    uint64_t high = htobe64(client->key.high);
    uint64_t low = htobe64(client->key.low);
    bool v4 = is_mapped(client->key);
    unsigned bits = v4 ? busiest->prefix.ipv4 : busiest->prefix.ipv6;

    memcpy(endpoint.v6.sin6_addr.s6_addr, &high, sizeof high);
    memcpy(endpoint.v6.sin6_addr.s6_addr + sizeof high, &low, sizeof low);
    if (v4) {
        endpoint = (struct endpoint){.size = sizeof endpoint.v4, .v4.sin_family = AF_INET};
        endpoint.v4.sin_addr.s_addr = htonl((uint32_t)client->key.low);
    }
    endpoint_format_address(&endpoint, out);
    if (bits < (v4 ? 32 : 128))
        snprintf(out + strlen(out), ENDPOINT_TEXT - strlen(out), "/%u", bits);
    return out;
}

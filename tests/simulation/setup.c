/* How a simulation begins and ends. */
#include "nodedot/observe/log.h"
#include "simulation/check.h"
#include "simulation/loop.h"
#include "simulation/network.h"
#include "simulation/run.h"

#include <string.h>

#define CACHE_SIZE CACHE_MIN_SIZE
#define PIN        "upstream up.pin=sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static const char *const variants[SIMULATION_VARIANTS][16] = {
    /* TLS to two addresses, and a plain one for the cluster. */
    [VARIANT_TLS] = {"upstream up.address=192.0.2.1, 192.0.2.2", PIN, "upstream dns.address=192.0.2.3",
                     "upstream dns.transport=plain", "zone ..upstream=up", "zone cluster.local.upstream=dns",
                     "limits.in-flight=48"},
    /* Plain alone; few places, short times. */
    [VARIANT_PLAIN] = {"upstream up.address=192.0.2.1, 192.0.2.2", "upstream up.transport=plain", "zone ..upstream=up",
                       "limits.in-flight=6", "limits.timeout=1500", "limits.stale-after=300",
                       "limits.tcp-connections=3", "limits.tcp-idle=1"},
    /* Bare TCP, one address. */
    [VARIANT_TCP] = {"upstream up.address=192.0.2.1", "upstream up.transport=plain", "upstream up.force-tcp=yes",
                     "zone ..upstream=up", "limits.in-flight=300", "cache.negative-max-ttl=5", "cache.stale-max=0",
                     "limits.tcp-connections-per-client=2"},
    /* TLS with a plain fallback, and clients that may not ask as much as they like. */
    [VARIANT_LIMITED] = {"upstream up.address=192.0.2.1", PIN, "upstream up.fallback=spare",
                         "upstream spare.address=192.0.2.9", "upstream spare.transport=plain", "zone ..upstream=up",
                         "limits.in-flight=48", "limits.client-qps=20", "limits.client-burst=40",
                         "limits.client-block=2"},
};
static struct config configs[SIMULATION_VARIANTS];
static bool configs_loaded;
static _Alignas(4096) uint8_t cache_memory[CACHE_SIZE];

static void load_config(unsigned variant)
{
    static char *no_environment[] = {NULL};
    struct config_source source = {.file = "/dev/null", .sets = variants[variant], .environment = no_environment};

    while (variants[variant][source.set_count] != NULL)
        source.set_count++;
    check(config_load(&source, &configs[variant], stderr) == CONFIG_OK);
}

void run_recheck(void)
{
    for (unsigned i = 0; i < run.threads; i++)
        worker_recheck(&run.workers[i]);
}

static void on_changed(void *context)
{
    (void)context;
    run_recheck();
}

static void on_relayed(void *context, unsigned thread)
{
    (void)context;
    worker_relay(&run.workers[thread]);
}

static void on_finished(void *context)
{
    (void)context;
    run.open--;
}

static void init_status(void)
{
    struct status_slot *slot = &run.page.slots[0];
    uint32_t count = 0;

    memset(slot->threads, 0, SIMULATION_THREADS * sizeof(slot->threads[0]));
    memset(slot->upstreams, 0, sizeof(slot->upstreams));
    for (size_t i = 0; i < run.config->upstream_count; i++) {
        for (size_t j = 0; j < run.config->upstreams[i].address_count; j++) {
            memset(&slot->addresses[count], 0, sizeof(slot->addresses[count]));
            slot->addresses[count++].endpoint = run.config->upstreams[i].addresses[j];
        }
    }
    atomic_store(&slot->address_count, count);
}

static void init_origins(void)
{
    struct cache *cache = cache_open(cache_memory);

    check(cache != NULL);
    origins_init(&run.origins, run.config, run.page.slots[0].upstreams, cache);
    cache_close(cache);
}

static void init_world(uint64_t seed)
{
    loop_reset(seed);
    network_reset();
    clients_reset();
    upstreams_reset();
    run.impostors = 0;
    run.trust_nothing = run.noted_plain = run.automatic = false;
    run.phase = PLAYING;
    run.scene = NULL;
    run.scene_step = 0;
    atomic_store(&run.in_flight, 0);
    hash_key_random(&run.truth_key);
}

/* What all threads share. */
static void init_shared(void)
{
    char error[TLS_ERROR];

    init_status();
    zone_table_init(&run.zones, run.config);
    check(cache_format(cache_memory, CACHE_SIZE) == 0);
    init_origins();
    check(trusts_open(&run.trusts, run.config, error));
    run.admission = admission_create(run.config);
    run.quota =
        quota_create(run.config->tcp_connections, run.config->tcp_connections_per_client, &run.config->client_prefix);
    run.relay = run.threads > 1 ? relay_create(on_relayed, NULL) : NULL;
    check(run.admission != NULL && run.quota != NULL && (run.relay != NULL || run.threads == 1));
}

/* Each thread listens with sockets of its own. The kernel gives a client's query to any of them; so does network.c. */
static void init_worker(unsigned i)
{
    struct worker_setup setup = {.index = i,
                                 .start = &run.start,
                                 .query = {.config = run.config,
                                           .zones = &run.zones,
                                           .origins = &run.origins,
                                           .admission = run.admission,
                                           .cookie_key = &run.truth_key,
                                           .in_flight = &run.in_flight,
                                           .cache = cache_memory,
                                           .busiest = &run.page.slots[0].busiest.sketches[i],
                                           .forward = {.metrics = &run.page.slots[0].threads[i],
                                                       .addresses = run.page.slots[0].addresses,
                                                       .groups = run.page.slots[0].upstreams,
                                                       .trusts = &run.trusts,
                                                       .relay = run.relay,
                                                       .thread = i,
                                                       .changed = on_changed}},
                                 .quota = run.quota,
                                 .on_finished = on_finished};
    char error[TLS_ERROR];

    run.sockets.udp[i] = network_listen(SOCKET_LISTEN_UDP);
    run.sockets.tcp[i] = network_listen(SOCKET_LISTEN_TCP);
    check(worker_init(&run.workers[i], &setup, error));
}

static void init_workers(void)
{
    run.sockets.endpoint = run.config->listens[0];
    run.start = (struct resolver_start){.config = run.config, .sockets = &run.sockets};
    run.open = run.threads;
    for (unsigned i = 0; i < run.threads; i++)
        init_worker(i);
}

static void choose(enum simulation_variant variant, unsigned threads)
{
    for (unsigned i = 0; i < SIMULATION_VARIANTS && !configs_loaded; i++)
        load_config(i);
    configs_loaded = true;
    run.variant = variant;
    run.threads = threads;
    configs[variant].workers = threads;
    run.config = &configs[variant];
}

static void run_threads(void)
{
    for (unsigned i = 0; i < run.threads; i++) {
        loop_enter(run.workers[i].loop);
        worker_open(&run.workers[i]);
        worker_order(&run.workers[i], RESOLVER_TAKE_OVER);
    }
    for (unsigned i = 0; i < run.threads; i++) {
        ev_run(run.workers[i].loop, 0);
        worker_close(&run.workers[i]);
    }
}

static void play(void)
{
    init_shared();
    init_workers();
    run_threads();
    check(run.open == 0 && atomic_load(&run.in_flight) == 0);
    run_check_account();
    check(network_count(SOCKET_CLIENT) == 0 && network_count(SOCKET_UPSTREAM_DATAGRAM) == 0 &&
          network_count(SOCKET_UPSTREAM_STREAM) == 0);
    for (unsigned i = 0; i < run.threads; i++)
        worker_join(&run.workers[i]);
    relay_destroy(run.relay);
    trusts_close(&run.trusts);
    quota_destroy(run.quota);
    admission_destroy(run.admission);
    check(memory_tables() == 0);
}

void simulation_run(const uint8_t *script, size_t size)
{
    static const struct hash_key seed_key = {{1, 2}};
    uint8_t first;

    init_world(hash_keyed(&seed_key, script, size));
    run.script = wire_of(script, size);
    first = script_octet();
    choose(first % SIMULATION_VARIANTS, 1 + first / SIMULATION_VARIANTS % SIMULATION_THREADS);
    play();
}

void simulation_play(enum simulation_variant variant, unsigned threads, bool (*scene)(unsigned step))
{
    init_world(1);
    choose(variant, threads);
    run.scene = scene;
    play();
}

#include "simulation/simulation.h"

#include "nodedot/base/random.h"
#include "nodedot/observe/log.h"
#include "nodedot/resolver/worker.h"
#include "simulation/check.h"
#include "simulation/loop.h"
#include "simulation/network.h"

#include <string.h>
#include <sys/mman.h>

#define VARIANTS   4
#define CACHE_SIZE CACHE_MIN_SIZE
#define PIN        "upstream up.pin=sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
/* What timers and turns may add to a time. */
#define SLACK_MS 60

struct simulation_account simulation_account;

static const char *const variants[VARIANTS][16] = {
    /* TLS to two addresses, and a plain one for the cluster. */
    {"upstream up.address=192.0.2.1, 192.0.2.2", PIN, "upstream dns.address=192.0.2.3", "upstream dns.transport=plain",
     "zone ..upstream=up", "zone cluster.local.upstream=dns", "limits.in-flight=48"},
    /* Plain alone; few places, short times. */
    {"upstream up.address=192.0.2.1, 192.0.2.2", "upstream up.transport=plain", "zone ..upstream=up",
     "limits.in-flight=6", "limits.timeout=1500", "limits.stale-after=300", "limits.tcp-connections=3",
     "limits.tcp-idle=1"},
    /* Bare TCP, one address. */
    {"upstream up.address=192.0.2.1", "upstream up.transport=plain", "upstream up.force-tcp=yes", "zone ..upstream=up",
     "limits.in-flight=300", "cache.negative-max-ttl=5", "cache.stale-max=0", "limits.tcp-connections-per-client=2"},
    /* TLS with a plain fallback, and clients that may not ask as much as they like. */
    {"upstream up.address=192.0.2.1", PIN, "upstream up.fallback=spare", "upstream spare.address=192.0.2.9",
     "upstream spare.transport=plain", "zone ..upstream=up", "limits.in-flight=48", "limits.client-qps=20",
     "limits.client-burst=40", "limits.client-block=2"},
};
#define LIMITED 3 /* the variant that drops queries of its own will */

static struct config configs[VARIANTS];
static bool configs_loaded;

/* One run. */
static struct {
    struct wire script;
    const struct config *config;
    unsigned variant;
    struct status_page page;
    struct zone_table zones;
    struct origins origins;
    struct worker worker;
    struct listen_sockets sockets;
    struct resolver_start start;
    struct admission *admission;
    struct quota *quota;
    _Atomic uint32_t in_flight;
    uint32_t impostors; /* bit i: 192.0.2.i shows another identity */
    struct hash_key truth_key;
    bool trust_nothing, noted_plain, automatic, finished;
    enum { PLAYING, SETTLING, DRAINING } phase;
    uint64_t drain_us;
} run;

static _Alignas(4096) uint8_t cache_memory[CACHE_SIZE];

/* ---- the script ---- */

uint8_t script_octet(void)
{
    return wire_u8(&run.script);
}

uint16_t script_number(void)
{
    return wire_u16(&run.script);
}

const uint8_t *script_octets(size_t size, size_t *taken)
{
    *taken = size < wire_left(&run.script) ? size : wire_left(&run.script);
    return wire_take(&run.script, *taken);
}

/* ---- what the parts ask ---- */

uint64_t simulation_patience_us(void)
{
    return (run.config->timeout + SLACK_MS) * 1000ull;
}

void simulation_trust_nothing(void)
{
    run.trust_nothing = true;
}

bool simulation_trusts_nothing(void)
{
    return run.trust_nothing;
}

void simulation_note_plain(void)
{
    run.noted_plain = true;
}

bool simulation_noted_plain(void)
{
    return run.noted_plain;
}

uint32_t simulation_truth(const struct question *question, bool dnssec_ok, bool checking_disabled)
{
    uint8_t key[NAME_MAX_OCTETS + 3];
    size_t size = question->qname.length;

    memcpy(key, question->qname.bytes, size);
    wire_put_u16(key + size, question->qtype);
    key[size + 2] = (uint8_t)(dnssec_ok * 2 + checking_disabled);
    return (uint32_t)hash_keyed(&run.truth_key, key, size + 3);
}

static unsigned last_octet(const struct endpoint *address)
{
    return ntohl(address->v4.sin_addr.s_addr) & 31;
}

bool simulation_is_impostor(const struct endpoint *address)
{
    return (run.impostors >> last_octet(address) & 1) != 0;
}

bool simulation_may_write(const struct endpoint *address)
{
    const struct status_slot *slot = &run.page.slots[0];

    for (unsigned i = 0; i < atomic_load(&slot->address_count); i++) {
        if (endpoint_equal(&slot->addresses[i].endpoint, address) &&
            atomic_load(&slot->addresses[i].state) == IDENTITY_MISMATCH)
            return atomic_load(&run.worker.recheck); /* it will be told in this turn */
    }
    return true;
}

/* The texts of a log line are read, so that one that is gone is noticed. */
void __wrap_log_write(enum log_level level, const char *message, const struct log_field *fields);
void __wrap_log_write(enum log_level level, const char *message, const struct log_field *fields)
{
    size_t size = strlen(message);

    (void)level;
    for (; fields->key != NULL; fields++)
        size += strlen(fields->key) + (fields->is_text ? strlen(fields->text) : 0);
    check(size > 0);
}

/* ---- steps ---- */

/* What the control thread finds out of a group: its fallback has to serve, or not any more. */
static void change_fallback(void)
{
    struct upstream_status *status = &run.page.slots[0].upstreams[script_octet() % run.config->upstream_count];

    atomic_store(&status->fallback, !atomic_load(&status->fallback));
    worker_recheck(&run.worker);
}

static void change_identity(void)
{
    unsigned i = script_octet();

    struct address_status *status = &run.page.slots[0].addresses[i % atomic_load(&run.page.slots[0].address_count)];
    bool bad = (i & 0x40) != 0;
    uint32_t bit = 1u << last_octet(&status->endpoint);

    run.impostors = bad ? run.impostors | bit : run.impostors & ~bit;
    if ((i & 0x80) == 0) /* found out by nobody yet */
        return;
    atomic_store(&status->state, bad ? IDENTITY_MISMATCH : IDENTITY_VALID);
    atomic_store(&status->validated_ms, loop_now_us() / 1000);
    atomic_fetch_add(&status->epoch, 1);
    worker_recheck(&run.worker);
}

static void let_time_pass(void)
{
    static const uint16_t times_ms[] = {1, 10, 50, 250, 300, 1000, 1000, 1800, 2500, 4000, 9500, 31000};

    loop_advance(times_ms[script_octet() % (sizeof(times_ms) / sizeof(times_ms[0]))]);
}

static void break_something(void)
{
    switch (script_octet() % 8) {
    case 0:
        faults.no_sockets = true;
        break;
    case 1:
        faults.no_route = true;
        break;
    case 2:
        faults.refused = true;
        break;
    case 3:
        faults.udp_blocked = true;
        break;
    case 4:
        faults.udp_denied = true;
        break;
    case 5:
        change_fallback();
        break;
    default:
        change_identity();
    }
}

static void drain(void)
{
    enum resolver_order order = random_below(2) == 0 ? RESOLVER_STOP : RESOLVER_DRAIN;

    worker_order(&run.worker, order);
    run.phase = DRAINING;
    run.drain_us = loop_now_us();
}

static void play_step(uint8_t step)
{
    simulation_account.steps++;
    switch (step % 32) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        clients_ask();
        break;
    case 5:
        clients_send_octets();
        break;
    case 6:
        clients_connect();
        break;
    case 7:
    case 8:
    case 9:
    case 10:
        clients_ask_stream();
        break;
    case 11:
        clients_send_frame();
        break;
    case 12:
        clients_send_stream();
        break;
    case 13:
        clients_disturb();
        break;
    case 14:
    case 15:
    case 16:
    case 17:
    case 18:
        upstreams_answer();
        break;
    case 19:
    case 20:
        upstreams_answer_all();
        break;
    case 21:
    case 22:
        upstreams_proceed();
        break;
    case 23:
        upstreams_proceed_all();
        break;
    case 24:
        upstreams_disturb();
        break;
    case 25:
    case 26:
    case 27:
        let_time_pass();
        break;
    case 28:
        break_something();
        break;
    case 29:
        network_mend();
        run.impostors = 0;
        clients_calm();
        upstreams_calm();
        break;
    case 30:
        run.automatic = !run.automatic;
        break;
    default:
        cache_clear(run.worker.engine.cache);
    }
}

/* ---- the end ---- */

/* Objects that were taken and not released. */
static size_t pool_taken(const struct pool *pool)
{
    size_t count = pool->fresh;

    for (const void *object = pool->free; object != NULL; count--)
        memcpy(&object, object, sizeof(object));
    return count;
}

/* Everybody had the time that the longest query takes: nothing waits any more. */
static void check_settled(void)
{
    const struct worker *worker = &run.worker;

    check(atomic_load(&run.in_flight) == 0 && atomic_load(&worker->metrics->in_flight) == 0);
    check(worker->engine.forward.flights.table.count == worker->engine.refresh.unattended); /* what nobody waits for */
    check(pool_taken(&worker->engine.forward.flights.table.entries) == worker->engine.refresh.unattended);
    check(pool_taken(&worker->engine.waiting.queries) == 0 && worker->engine.waiting.fairness.held == 0);
    check(pool_taken(&worker->tcp.outputs) == 0 && pool_taken(&worker->tcp.connections) == worker->tcp.open);
    check(worker->tcp.open == network_count(SOCKET_CLIENT));
    check(atomic_load(&worker->metrics->tcp_connections) == worker->tcp.open);
    check(udp_is_idle(&worker->udp[0]));
}

static uint64_t sum_of_family(const char *family)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < metric_table_size; i++) {
        if (strcmp(metric_table[i].family, family) == 0)
            sum += metric_sum(&run.page, &metric_table[i]);
    }
    return sum;
}

/* The resolver's own account: what came in is what went out and what was dropped. */
static void check_account(void)
{
    const struct metrics *metrics = run.worker.metrics;
    uint64_t dropped = sum_of_family("dropped_total");
    uint64_t turned_away = network_accepted() - atomic_load(&metrics->tcp_accepted_total) -
                           atomic_load(&metrics->tcp_refused_total); /* connections, counted as dropped too */
    uint64_t received = clients_datagrams() + atomic_load(&metrics->queries_tcp_total);

    simulation_account.dropped += dropped;
    check(received + turned_away == atomic_load(&metrics->answers_total) + dropped);
    check(run.variant == LIMITED || turned_away == 0);
    check(clients_unanswered() <= dropped);
    check(atomic_load(&metrics->queries_udp_total) <= clients_datagrams());
}

/* ---- the loop asks for the next step ---- */

static bool settle(void)
{
    network_mend();
    clients_calm();
    upstreams_calm();
    run.phase = SETTLING;
    if (random_below(2) == 0) {
        drain();
        return false;
    }
    loop_advance(run.config->timeout + SLACK_MS);
    return false;
}

static bool wait_for_end(void)
{
    check(loop_now_us() - run.drain_us < (RESOLVER_DRAIN_MS + SLACK_MS) * 1000ull);
    loop_advance(20);
    return false;
}

bool script_step(void)
{
    uint8_t step;

    clients_check_patience();
    if (run.automatic && run.phase == PLAYING) {
        upstreams_proceed_all();
        upstreams_answer_all();
    }
    if (run.phase == DRAINING)
        return wait_for_end();
    if (run.phase == SETTLING) {
        check_settled();
        drain();
        return false;
    }
    if (wire_left(&run.script) == 0)
        return settle();
    step = script_octet();
    play_step(step);
    return (step & 0x80) != 0;
}

/* ---- a run ---- */

static void load_config(unsigned variant)
{
    static char *no_environment[] = {NULL};
    struct config_source source = {.file = "/dev/null", .sets = variants[variant], .environment = no_environment};

    while (variants[variant][source.set_count] != NULL)
        source.set_count++;
    check(config_load(&source, &configs[variant], stderr) == CONFIG_OK);
    configs[variant].workers = 1;
}

static void on_changed(void *context)
{
    (void)context;
    worker_recheck(&run.worker);
}

static void on_finished(void *context)
{
    (void)context;
    run.finished = true;
}

static void init_status(void)
{
    struct status_slot *slot = &run.page.slots[0];
    uint32_t count = 0;

    memset(&slot->threads[0], 0, sizeof(slot->threads[0]));
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

static void init_run(const uint8_t *script, size_t size)
{
    static const struct hash_key seed_key = {{1, 2}};

    loop_reset(hash_keyed(&seed_key, script, size));
    network_reset();
    clients_reset();
    upstreams_reset();
    run.script = wire_of(script, size);
    run.variant = script_octet() % VARIANTS;
    run.config = &configs[run.variant];
    run.impostors = 0;
    run.trust_nothing = run.noted_plain = run.automatic = run.finished = false;
    run.phase = PLAYING;
    atomic_store(&run.in_flight, 0);
    hash_key_random(&run.truth_key);
    init_status();
    zone_table_init(&run.zones, run.config);
    check(cache_format(cache_memory, CACHE_SIZE) == 0);
    init_origins();
    run.admission = admission_create(run.config);
    run.quota =
        quota_create(run.config->tcp_connections, run.config->tcp_connections_per_client, &run.config->client_prefix);
    check(run.admission != NULL && run.quota != NULL);
    run.sockets.endpoint = run.config->listens[0];
    run.sockets.udp[0] = network_listen(SOCKET_LISTEN_UDP);
    run.sockets.tcp[0] = network_listen(SOCKET_LISTEN_TCP);
    run.start = (struct resolver_start){.config = run.config, .sockets = &run.sockets};
}

static void init_worker(void)
{
    struct worker_setup setup = {.start = &run.start,
                                 .query = {.config = run.config,
                                           .zones = &run.zones,
                                           .origins = &run.origins,
                                           .admission = run.admission,
                                           .cookie_key = &run.truth_key,
                                           .in_flight = &run.in_flight,
                                           .cache = cache_memory,
                                           .busiest = &run.page.slots[0].busiest.sketches[0],
                                           .forward = {.metrics = &run.page.slots[0].threads[0],
                                                       .addresses = run.page.slots[0].addresses,
                                                       .groups = run.page.slots[0].upstreams,
                                                       .changed = on_changed}},
                                 .quota = run.quota,
                                 .on_finished = on_finished};
    char error[TLS_ERROR];

    check(worker_init(&run.worker, &setup, error));
}

void simulation_run(const uint8_t *script, size_t size)
{
    for (unsigned i = 0; i < VARIANTS && !configs_loaded; i++)
        load_config(i);
    configs_loaded = true;
    init_run(script, size);
    init_worker();
    worker_order(&run.worker, RESOLVER_TAKE_OVER);
    worker_run(&run.worker);
    check(run.finished && atomic_load(&run.in_flight) == 0);
    check_account();
    check(network_count(SOCKET_CLIENT) == 0 && network_count(SOCKET_UPSTREAM_DATAGRAM) == 0 &&
          network_count(SOCKET_UPSTREAM_STREAM) == 0);
    worker_join(&run.worker);
    quota_destroy(run.quota);
    admission_destroy(run.admission);
    check(memory_tables() == 0);
}

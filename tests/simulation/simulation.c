#include "simulation/simulation.h"

#include "nodedot/base/random.h"
#include "nodedot/observe/log.h"
#include "simulation/check.h"
#include "simulation/loop.h"
#include "simulation/network.h"
#include "simulation/run.h"

#include <string.h>

/* What timers and turns may add to a time. */
#define SLACK_MS 60

struct simulation_account simulation_account;
struct simulation_run run;

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

void scene_script(const uint8_t *octets, size_t size)
{
    run.script = wire_of(octets, size);
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
            return atomic_load(&run.workers[loop_thread()].recheck); /* it will be told in this turn */
    }
    return true;
}

struct status_slot *simulation_status(void)
{
    return &run.page.slots[0];
}

uint64_t simulation_counted(const char *name, unsigned thread)
{
    for (size_t i = 0; i < metric_table_size; i++) {
        if (strcmp(metric_table[i].name, name) == 0)
            return atomic_load(
                (_Atomic uint64_t *)((char *)&run.page.slots[0].threads[thread] + metric_table[i].offset));
    }
    check(false); /* there is no metric of this name */
    return 0;
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
    run_recheck();
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
    run_recheck();
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

    for (unsigned i = 0; i < run.threads; i++)
        worker_order(&run.workers[i], order);
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
        cache_clear(run.workers[0].engine.cache);
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

static void check_worker_settled(const struct worker *worker)
{
    check(atomic_load(&worker->metrics->in_flight) == 0);
    check(worker->engine.forward.flights.table.count == worker->engine.refresh.unattended); /* what nobody waits for */
    check(pool_taken(&worker->engine.forward.flights.table.entries) == worker->engine.refresh.unattended);
    check(pool_taken(&worker->engine.waiting.queries) == 0 && worker->engine.waiting.fairness.held == 0);
    check(pool_taken(&worker->tcp.outputs) == 0 && pool_taken(&worker->tcp.connections) == worker->tcp.open);
    check(atomic_load(&worker->metrics->tcp_connections) == worker->tcp.open);
    check(udp_is_idle(&worker->udp[0]));
}

/* Everybody had the time that the longest query takes: nothing waits any more. */
static void check_settled(void)
{
    size_t connections = 0;

    check(atomic_load(&run.in_flight) == 0);
    for (unsigned i = 0; i < run.threads; i++) {
        check_worker_settled(&run.workers[i]);
        connections += run.workers[i].tcp.open;
    }
    check(connections == network_count(SOCKET_CLIENT));
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

/* By name, over all threads. */
static uint64_t counted(const char *name)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < run.threads; i++)
        sum += simulation_counted(name, i);
    return sum;
}

void run_check_account(void)
{
    uint64_t dropped = sum_of_family("dropped_total");
    uint64_t turned_away = network_accepted() - counted("tcp_accepted_total") -
                           counted("tcp_refused_total"); /* connections, counted as dropped too */
    uint64_t received = clients_datagrams() + counted("queries_tcp_total");

    simulation_account.dropped += dropped;
    simulation_account.relayed += counted("upstream_relayed_total");
    check(received + turned_away == counted("answers_total") + dropped);
    check(run.variant == VARIANT_LIMITED || turned_away == 0);
    check(clients_unanswered() <= dropped);
    check(counted("queries_udp_total") <= clients_datagrams());
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

static bool play_scene(void)
{
    return run.scene(run.scene_step++) ? false : settle();
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
    if (run.scene != NULL)
        return play_scene();
    if (wire_left(&run.script) == 0)
        return settle();
    step = script_octet();
    play_step(step);
    return (step & 0x80) != 0;
}

#include "nodedot/node/status_json.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/dialect.h"

#include <inttypes.h>
#include <string.h>

struct json {
    FILE *out;
    const struct status_page *page;
    const struct status_slot *slot;  /* of the current generation */
    const struct status_slot *other; /* counts as well */
    uint64_t now_ms;
    int64_t wall_ms; /* at the same moment */
    bool begun;      /* the object or list in hand has a member */
};

/* ---- members ---- */

static void put_string(FILE *out, const char *text, size_t size)
{
    fputc('"', out);
    for (size_t i = 0; i < size && text[i] != '\0'; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < ' ' || c >= 0x7f) /* names are ASCII; what is not could be half a character */
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

/* What stands before a member: a comma behind another one, and its key; NULL in a list. */
static void begin_member(struct json *j, const char *key)
{
    if (j->begun)
        fputc(',', j->out);
    j->begun = true;
    if (key != NULL)
        fprintf(j->out, "\"%s\":", key);
}

static void open_member(struct json *j, const char *key, char bracket)
{
    begin_member(j, key);
    fputc(bracket, j->out);
    j->begun = false;
}

static void close_member(struct json *j, char bracket)
{
    fputc(bracket, j->out);
    j->begun = true;
}

static void put_text(struct json *j, const char *key, const char *text, size_t size)
{
    begin_member(j, key);
    put_string(j->out, text, size);
}

static void put_number(struct json *j, const char *key, uint64_t number)
{
    begin_member(j, key);
    fprintf(j->out, "%" PRIu64, number);
}

/* number / 10^places. */
static void put_fixed(struct json *j, const char *key, uint64_t number, unsigned places)
{
    uint64_t unit = places == 6 ? 1000000 : 1000;

    begin_member(j, key);
    fprintf(j->out, "%" PRIu64 ".%0*" PRIu64, number / unit, (int)places, number % unit);
}

static void put_bool(struct json *j, const char *key, bool value)
{
    begin_member(j, key);
    fputs(value ? "true" : "false", j->out);
}

static void put_null(struct json *j, const char *key)
{
    begin_member(j, key);
    fputs("null", j->out);
}

/* Seconds since 1970; 0: not known. */
static void put_time(struct json *j, const char *key, int64_t seconds)
{
    if (seconds <= 0) {
        put_null(j, key);
        return;
    }
    begin_member(j, key);
    fprintf(j->out, "%" PRId64, seconds);
}

/* A moment of clock_ms(), 0: never. */
static void put_moment(struct json *j, const char *key, uint64_t moment_ms)
{
    uint64_t wall_ms = (uint64_t)j->wall_ms - (j->now_ms - moment_ms); /* any number may stand there: it wraps around */

    put_time(j, key, moment_ms != 0 ? (int64_t)wall_ms / 1000 : 0);
}

/* ---- the daemon ---- */

static void put_process(struct json *j, const char *key, const struct process_status *process)
{
    open_member(j, key, '{');
    put_fixed(j, "cpu_seconds", atomic_load(&process->cpu_us), 6);
    put_number(j, "resident_bytes", atomic_load(&process->resident_bytes));
    put_number(j, "open_fds", atomic_load(&process->open_fds));
    put_number(j, "log_lines_lost", atomic_load(&process->log_lost));
    close_member(j, '}');
}

static void put_daemon(struct json *j)
{
    const struct status_page *page = j->page;

    put_text(j, "version", page->version, sizeof page->version);
    put_text(j, "wolfssl", page->wolfssl, sizeof page->wolfssl);
    put_moment(j, "started_at", atomic_load(&page->started_ms));
    put_number(j, "uptime_seconds", (j->now_ms - atomic_load(&page->started_ms)) / 1000);
    put_bool(j, "ready", atomic_load(&page->ready) != 0);
    put_number(j, "supervisor_pid", atomic_load(&page->supervisor_pid));
    put_number(j, "resolver_pid", atomic_load(&page->resolver_pid));
    put_number(j, "generation", atomic_load(&page->generation));
    put_number(j, "generations_started", atomic_load(&page->generations_started));
    put_number(j, "generations_lost", atomic_load(&page->generations_lost));
    open_member(j, "reloads", '{');
    put_number(j, "succeeded", atomic_load(&page->reloads_succeeded));
    put_number(j, "failed", atomic_load(&page->reloads_failed));
    put_bool(j, "last_failed", atomic_load(&page->reload_is_bad) != 0);
    put_bool(j, "waiting", atomic_load(&page->reload_waits) != 0);
    put_text(j, "reason", page->reload_reason, sizeof page->reload_reason);
    put_time(j, "last_success_at", atomic_load(&page->reload_succeeded_at));
    close_member(j, '}');
    open_member(j, "processes", '{');
    put_process(j, "supervisor", &page->process);
    put_process(j, "resolver", &j->slot->process);
    close_member(j, '}');
}

/* ---- counters and clients ---- */

static void put_metrics(struct json *j)
{
    open_member(j, "metrics", '{');
    for (size_t i = 0; i < metric_table_size; i++)
        put_number(j, metric_table[i].name, metric_sum(j->page, &metric_table[i]));
    close_member(j, '}');
}

static void put_busiest(struct json *j)
{
    struct busy_client clients[BUSIEST_SHOWN];
    size_t count = busiest_list(&j->slot->busiest, j->now_ms, clients);
    char text[ENDPOINT_TEXT];

    open_member(j, "busiest_clients", '[');
    for (size_t i = 0; i < count; i++) {
        open_member(j, NULL, '{');
        put_text(j, "client", busiest_format(&j->slot->busiest, &clients[i], text), sizeof text);
        put_fixed(j, "queries_per_second", clients[i].millihertz, 3);
        close_member(j, '}');
    }
    close_member(j, ']');
}

/* ---- upstreams ---- */

static void put_identity(struct json *j, const struct address_status *row, uint32_t pin_count)
{
    uint32_t matched = atomic_load(&row->pins_matched);
    bool proved = atomic_load(&row->validated_ms) != 0;

    put_text(j, "state", identity_state_name((enum identity_state)atomic_load(&row->state)), CONFIG_NAME);
    put_moment(j, "since", atomic_load(&row->since_ms));
    put_moment(j, "last_validation_at", atomic_load(&row->validated_ms));
    put_time(j, "certificate_expires_at", atomic_load(&row->not_after));
    open_member(j, "pins_matched", '['); /* numbers of pins, in the order of the configuration, from 1 */
    for (uint32_t i = 0; i < pin_count && i < CONFIG_PINS && proved; i++) {
        if ((matched >> i & 1) != 0)
            put_number(j, NULL, i + 1);
    }
    close_member(j, ']');
}

static void put_counted(struct json *j, const struct address_status *row, const struct address_status *twin)
{
    static const struct {
        const char *key;
        size_t offset;
    } counters[] = {
        {"queries", offsetof(struct address_status, queries)},
        {"answers", offsetof(struct address_status, answers)},
        {"failures", offsetof(struct address_status, failures)},
        {"timeouts", offsetof(struct address_status, timeouts)},
        {"connects", offsetof(struct address_status, connects)},
        {"connect_failures", offsetof(struct address_status, connect_failures)},
        {"local_shortages", offsetof(struct address_status, local)},
        {"handshakes_full", offsetof(struct address_status, handshakes_full)},
        {"handshakes_resumed", offsetof(struct address_status, handshakes_resumed)},
        {"identity_mismatches", offsetof(struct address_status, mismatches)},
        {"hedges", offsetof(struct address_status, hedges)},
        {"padding_bytes", offsetof(struct address_status, padding_octets)},
    };

    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        put_number(j, counters[i].key, metrics_row_sum(row, twin, counters[i].offset));
}

static void put_address(struct json *j, uint32_t index, uint32_t pin_count)
{
    const struct address_status *row = &j->slot->addresses[index];
    uint32_t rtt_us = atomic_load(&row->rtt_us);
    char address[ENDPOINT_TEXT];

    open_member(j, NULL, '{');
    put_text(j, "address", endpoint_format(&row->endpoint, address), sizeof address);
    put_identity(j, row, pin_count);
    if (rtt_us != 0)
        put_fixed(j, "rtt_seconds", rtt_us, 6);
    else
        put_null(j, "rtt_seconds");
    put_number(j, "connections", atomic_load(&row->connections));
    put_text(j, "edns", dialect_describe(row, clock_ms()), CONFIG_NAME); /* the form that it takes */
    put_counted(j, row, metrics_find_row(j->other, row, index));
    close_member(j, '}');
}

static void put_upstream(struct json *j, const struct upstream_status *upstream)
{
    uint32_t count = atomic_load(&j->slot->address_count);

    open_member(j, NULL, '{');
    put_text(j, "name", upstream->name, sizeof upstream->name);
    put_number(j, "pins_configured", upstream->pin_count);
    put_bool(j, "fallback_active", atomic_load(&upstream->fallback) != 0);
    open_member(j, "addresses", '[');
    for (uint32_t i = 0; i < count && i < STATUS_ADDRESSES; i++) {
        if (strncmp(j->slot->addresses[i].upstream, upstream->name, CONFIG_NAME) == 0)
            put_address(j, i, upstream->pin_count);
    }
    close_member(j, ']');
    close_member(j, '}');
}

static void put_upstreams(struct json *j)
{
    uint32_t count = atomic_load(&j->slot->upstream_count);

    open_member(j, "upstreams", '[');
    for (uint32_t i = 0; i < count && i < CONFIG_UPSTREAMS; i++)
        put_upstream(j, &j->slot->upstreams[i]);
    close_member(j, ']');
}

void status_json_print(FILE *out, const struct status_page *page)
{
    uint32_t slot = atomic_load(&page->slot) % STATUS_SLOTS;
    struct json j = {.out = out,
                     .page = page,
                     .slot = &page->slots[slot],
                     .other = &page->slots[(slot + 1) % STATUS_SLOTS],
                     .now_ms = clock_ms(),
                     .wall_ms = clock_wall_ms()};

    open_member(&j, NULL, '{');
    put_daemon(&j);
    put_metrics(&j);
    put_busiest(&j);
    put_upstreams(&j);
    close_member(&j, '}');
    fputc('\n', out);
}

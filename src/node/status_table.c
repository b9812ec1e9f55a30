#include "nodedot/node/status_table.h"

#include "nodedot/base/clock.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* A cell of a table. */
#define CELL 64

enum colour { PLAIN, GREEN, YELLOW, RED, BOLD };

struct table {
    FILE *out;
    const struct status_page *page;
    const struct status_slot *slot;  /* of the current generation */
    const struct status_slot *other; /* counts as well */
    const struct status_style *style;
    uint64_t now_ms;
    int address_width, queries_width; /* of the columns, as the longest entry wants */
};

/* ---- cells ---- */

static const char *colour_code(const struct table *t, enum colour colour)
{
    static const char *const codes[] = {
        [PLAIN] = "", [GREEN] = "\033[32m", [YELLOW] = "\033[33m", [RED] = "\033[1;31m", [BOLD] = "\033[1m"};

    return t->style->colours ? codes[colour] : "";
}

/* width counts what is seen: a code that is printed takes no room. */
static void put(const struct table *t, enum colour colour, int width, const char *text)
{
    const char *code = colour_code(t, colour);

    fprintf(t->out, "%s%-*s%s", code, width, text, *code != '\0' ? "\033[0m" : "");
}

/* A text of the page. Resolvers, which strangers talk to, can write to the page: nothing in it may move the cursor of a
 * terminal. out has size octets, as text has. */
static const char *printable(const char *text, char *out, size_t size)
{
    memcpy(out, text, size); /* it may change at any time */
    out[size - 1] = '\0';
    for (char *c = out; *c != '\0'; c++)
        *c = *c >= ' ' && *c <= '~' ? *c : '?';
    return out;
}

/* The age of a moment of clock_ms(), 0 meaning never. */
static const char *age(const struct table *t, uint64_t moment_ms, char out[CELL])
{
    uint64_t s = t->now_ms > moment_ms ? (t->now_ms - moment_ms) / 1000 : 0;

    if (moment_ms == 0)
        snprintf(out, CELL, "-");
    else if (s < 60)
        snprintf(out, CELL, "%" PRIu64 " s", s);
    else if (s < 3600)
        snprintf(out, CELL, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, CELL, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
    else
        snprintf(out, CELL, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
    return out;
}

/* The same where there is little room. */
static const char *short_age(const struct table *t, uint64_t moment_ms, char out[CELL])
{
    uint64_t s = t->now_ms > moment_ms ? (t->now_ms - moment_ms) / 1000 : 0;

    if (moment_ms == 0)
        snprintf(out, CELL, "-");
    else if (s < 60)
        snprintf(out, CELL, "%" PRIu64 "s", s);
    else if (s < 3600)
        snprintf(out, CELL, "%" PRIu64 "m%" PRIu64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, CELL, "%" PRIu64 "h%" PRIu64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(out, CELL, "%" PRIu64 "d%" PRIu64 "h", s / 86400, s / 3600 % 24);
    return out;
}

static const char *date(int64_t seconds, const char *format, char out[CELL])
{
    time_t t = (time_t)seconds;
    struct tm parts;

    if (seconds == 0 || gmtime_r(&t, &parts) == NULL || strftime(out, CELL, format, &parts) == 0)
        return "-";
    return out;
}

static const char *bytes(uint64_t n, char out[CELL])
{
    snprintf(out, CELL, n < 1024 * 1024 ? "%.0f KiB" : "%.1f MiB",
             n < 1024 * 1024 ? (double)n / 1024 : (double)n / (1024 * 1024));
    return out;
}

/* part of whole in per cent. */
static const char *share(uint64_t part, uint64_t whole, char out[CELL])
{
    if (whole == 0)
        return "-";
    snprintf(out, CELL, "%.1f %%", 100. * (double)part / (double)whole);
    return out;
}

static uint64_t sum(const struct table *t, const char *name)
{
    size_t i = 0;

    while (strcmp(metric_table[i].name, name) != 0)
        i++;
    return metric_sum(t->page, &metric_table[i]);
}

/* ---- the head ---- */

static void print_reloads(const struct table *t)
{
    char when[CELL], reason[STATUS_REASON];

    fprintf(t->out, "reloads: %" PRIu64 " done, %" PRIu64 " failed; configuration of %s",
            atomic_load(&t->page->reloads_succeeded), atomic_load(&t->page->reloads_failed),
            date(atomic_load(&t->page->reload_succeeded_at), "%Y-%m-%d %H:%M:%S UTC", when));
    if (atomic_load(&t->page->reload_is_bad) != 0) {
        fprintf(t->out, ", ");
        put(t, RED, 0, "the last reload failed");
    }
    fprintf(t->out, "\n");
    if (atomic_load(&t->page->reload_waits) != 0) {
        put(t, RED, 0, "configuration waiting");
        fprintf(t->out, ": %s\n", printable(t->page->reload_reason, reason, sizeof reason));
    }
}

static void print_head(const struct table *t)
{
    bool ready = atomic_load(&t->page->ready) != 0;
    char up[CELL], version[sizeof t->page->version];

    fprintf(t->out, "nodedot %s, pid %" PRIu32 ", up %s\n", printable(t->page->version, version, sizeof version),
            atomic_load(&t->page->supervisor_pid), age(t, atomic_load(&t->page->started_ms), up));
    fprintf(t->out, "generation %" PRIu64 ", pid %" PRIu32 ", ", atomic_load(&t->page->generation),
            atomic_load(&t->page->resolver_pid));
    put(t, ready ? GREEN : RED, 0, ready ? "ready" : "not ready");
    fprintf(t->out, "; %" PRIu64 " started, %" PRIu64 " lost\n", atomic_load(&t->page->generations_started),
            atomic_load(&t->page->generations_lost));
    print_reloads(t);
}

/* ---- clients and cache ---- */

static void print_clients(const struct table *t)
{
    uint64_t udp = sum(t, "queries_udp_total");
    uint64_t tcp = sum(t, "queries_tcp_total");
    uint64_t answers = sum(t, "answers_total");
    char servfail[CELL];

    put(t, BOLD, 10, "clients");
    fprintf(t->out, "%" PRIu64 " queries (%" PRIu64 " UDP, %" PRIu64 " TCP), %" PRIu64 " answers, SERVFAIL %s\n",
            udp + tcp, udp, tcp, answers, share(sum(t, "answers_servfail_total"), answers, servfail));
    fprintf(t->out, "          %" PRIu64 " waiting for an upstream, %" PRIu64 " refused: in-flight full\n",
            sum(t, "in_flight"), sum(t, "in_flight_refused_total"));
    fprintf(t->out, "          %" PRIu64 " TCP connections, %" PRIu64 " clients blocked\n", sum(t, "tcp_connections"),
            sum(t, "clients_blocked"));
}

static void print_cache(const struct table *t)
{
    uint64_t hits = sum(t, "cache_hits_total");
    uint64_t misses = sum(t, "cache_misses_total");
    char of_all[CELL], memory[CELL];

    put(t, BOLD, 10, "cache");
    fprintf(t->out, "hits %s, stale %" PRIu64 ", %" PRIu64 " entries in %s, %" PRIu64 " evicted unexpired\n",
            share(hits, hits + misses, of_all), sum(t, "cache_stale_total"), sum(t, "cache_entries"),
            bytes(sum(t, "cache_bytes"), memory), sum(t, "cache_evictions_total"));
}

static void print_busiest(const struct table *t)
{
    struct busy_client clients[BUSIEST_SHOWN];
    size_t count = busiest_list(&t->slot->busiest, t->now_ms, clients);
    char client[ENDPOINT_TEXT];

    if (count == 0)
        return;
    fprintf(t->out, "\n");
    put(t, BOLD, 0, "BUSIEST CLIENTS                 QUERIES/S");
    fprintf(t->out, "\n");
    for (size_t i = 0; i < count; i++)
        fprintf(t->out, "%-28s %12.1f\n", busiest_format(&t->slot->busiest, &clients[i], client),
                (double)clients[i].millihertz / 1000);
}

/* ---- upstreams ---- */

static uint64_t counted(const struct table *t, uint32_t i, size_t offset)
{
    const struct address_status *row = &t->slot->addresses[i];

    return metrics_row_sum(row, metrics_find_row(t->other, row, i), offset);
}

static uint32_t address_count(const struct table *t)
{
    uint32_t count = atomic_load(&t->slot->address_count);

    return count < STATUS_ADDRESSES ? count : STATUS_ADDRESSES;
}

/* The queries to all addresses of this one's upstream. */
static uint64_t group_queries(const struct table *t, uint32_t index)
{
    uint64_t queries = 0;

    for (uint32_t i = 0; i < address_count(t); i++) {
        if (strncmp(t->slot->addresses[i].upstream, t->slot->addresses[index].upstream, CONFIG_NAME) == 0)
            queries += counted(t, i, offsetof(struct address_status, queries));
    }
    return queries;
}

static void put_state(const struct table *t, const struct address_status *row)
{
    enum identity_state state = (enum identity_state)atomic_load(&row->state);
    enum colour colour = state == IDENTITY_VALID ? GREEN : identity_state_refused(state) ? RED : YELLOW;

    put(t, colour, 12, identity_state_name(state));
}

/* Pins that matched at the last proof, of those configured. */
static void put_pins(const struct table *t, const struct upstream_status *group, const struct address_status *row)
{
    int matched = __builtin_popcount(atomic_load(&row->pins_matched));
    char text[CELL] = "-";

    if (group->pin_count > 0 && atomic_load(&row->validated_ms) != 0)
        snprintf(text, sizeof text, "%d of %" PRIu32, matched, group->pin_count);
    else if (group->pin_count > 0)
        snprintf(text, sizeof text, "? of %" PRIu32, group->pin_count);
    fprintf(t->out, "%-7s", text);
}

static void print_address(const struct table *t, const struct upstream_status *group, uint32_t i)
{
    const struct address_status *row = &t->slot->addresses[i];
    char address[ENDPOINT_TEXT], cell[CELL];
    uint32_t rtt_us = atomic_load(&row->rtt_us);
    uint64_t queries = counted(t, i, offsetof(struct address_status, queries));

    fprintf(t->out, "  %-*s ", t->address_width, endpoint_format(&row->endpoint, address));
    put_state(t, row);
    fprintf(t->out, "%-6s ", short_age(t, atomic_load(&row->since_ms), cell));
    fprintf(t->out, "%-6s ", short_age(t, atomic_load(&row->validated_ms), cell));
    put_pins(t, group, row);
    fprintf(t->out, "%-10s ", date(atomic_load(&row->not_after), "%Y-%m-%d", cell));
    snprintf(cell, sizeof cell, rtt_us != 0 ? "%.1f ms" : "-", rtt_us / 1000.);
    fprintf(t->out, "%9s ", cell);
    fprintf(t->out, "%7s %*" PRIu64 " %6" PRIu64 "\n", share(queries, group_queries(t, i), cell), t->queries_width,
            queries, counted(t, i, offsetof(struct address_status, failures)));
}

/* The widths of what differs most from node to node. */
static void measure(struct table *t)
{
    char cell[ENDPOINT_TEXT];

    t->address_width = sizeof "UPSTREAM" - 1;
    t->queries_width = sizeof "QUERIES" - 1;
    for (uint32_t i = 0; i < address_count(t); i++) {
        int address = (int)strlen(endpoint_format(&t->slot->addresses[i].endpoint, cell));
        int queries = snprintf(cell, sizeof cell, "%" PRIu64, counted(t, i, offsetof(struct address_status, queries)));

        t->address_width = address > t->address_width ? address : t->address_width;
        t->queries_width = queries > t->queries_width ? queries : t->queries_width;
    }
}

/* A line of its own for the name, which may be long, and below it its addresses. */
static void print_group(const struct table *t, const struct upstream_status *group)
{
    char since[CELL], name[CONFIG_NAME];

    fprintf(t->out, "%s", printable(group->name, name, sizeof name));
    if (atomic_load(&group->fallback) != 0) {
        fprintf(t->out, ": ");
        put(t, YELLOW, 0, "its fallback is in use");
        fprintf(t->out, ", since %s", age(t, atomic_load(&group->fallback_since_ms), since));
    }
    fprintf(t->out, "\n");
    for (uint32_t i = 0; i < address_count(t); i++) {
        if (strncmp(group->name, t->slot->addresses[i].upstream, CONFIG_NAME) == 0)
            print_address(t, group, i);
    }
}

/* With addresses of IPv4 it fits into 100 columns. */
static void print_upstreams(struct table *t)
{
    uint32_t count = atomic_load(&t->slot->upstream_count);
    char head[2 * ENDPOINT_TEXT + 64];

    measure(t);
    snprintf(head, sizeof head, "%-*s %-11s %-6s %-6s %-6s %-10s %9s %7s %*s %6s", t->address_width + 2, "UPSTREAM",
             "STATE", "SINCE", "PROVED", "PINS", "EXPIRES", "RTT", "SHARE", t->queries_width, "QUERIES", "FAILED");
    fprintf(t->out, "\n");
    put(t, BOLD, 0, head);
    fprintf(t->out, "\n");
    for (uint32_t i = 0; i < count && i < CONFIG_UPSTREAMS; i++)
        print_group(t, &t->slot->upstreams[i]);
}

/* ---- every number ---- */

static void print_number(const struct table *t, const char *name, uint64_t value)
{
    fprintf(t->out, "nodedot_%s %" PRIu64 "\n", name, value);
}

static void print_numbers(const struct table *t)
{
    const struct status_page *page = t->page;

    fprintf(t->out, "\n");
    print_number(t, "uptime_seconds", (t->now_ms - atomic_load(&page->started_ms)) / 1000);
    print_number(t, "supervisor_pid", atomic_load(&page->supervisor_pid));
    print_number(t, "resolver_pid", atomic_load(&page->resolver_pid));
    print_number(t, "generation", atomic_load(&page->generation));
    print_number(t, "ready", atomic_load(&page->ready));
    print_number(t, "generations_started_total", atomic_load(&page->generations_started));
    print_number(t, "generations_lost_total", atomic_load(&page->generations_lost));
    print_number(t, "reloads_succeeded_total", atomic_load(&page->reloads_succeeded));
    print_number(t, "reloads_failed_total", atomic_load(&page->reloads_failed));
    for (size_t i = 0; i < metric_table_size; i++)
        print_number(t, metric_table[i].name, metric_sum(page, &metric_table[i]));
}

void status_table_print(FILE *out, const struct status_page *page, const struct status_style *style)
{
    uint32_t slot = atomic_load(&page->slot) % STATUS_SLOTS;
    struct table t = {.out = out,
                      .page = page,
                      .slot = &page->slots[slot],
                      .other = &page->slots[(slot + 1) % STATUS_SLOTS],
                      .style = style,
                      .now_ms = clock_ms()};

    print_head(&t);
    fprintf(out, "\n");
    print_clients(&t);
    print_cache(&t);
    print_busiest(&t);
    print_upstreams(&t);
    if (style->numbers)
        print_numbers(&t);
}

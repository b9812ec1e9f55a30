#include "nodedot/observe/exposition.h"

#include "nodedot/base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "nodedot_"

/* Longest pages. What every page has: about 90 families with help and some samples each, two histograms, the busiest
 * clients. Of an address: about 75 lines of at most 270 octets, with names of full length and every octet of them
 * escaped. A test fills the largest page. */
#define SIZE_OF_PAGE    49152
#define SIZE_OF_ADDRESS 21504

/* upstream="...",address="...": a name whose octets may all need a backslash, an address, and the words around. */
#define LABELS_MAX (2 * CONFIG_NAME + ENDPOINT_TEXT + 32)

/* A clock that was set moves all timestamps; one that was only slewed must not change them repeatedly. */
#define CLOCK_STEP_MS 1000

/* Rows are moved within microseconds. A page is made again if that happened meanwhile, but not for ever: the process
 * that moves them may have been killed. */
#define TRIES 3

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM, KIND_INFO };

static const char *const kind_names[] = {
    [KIND_COUNTER] = "counter", [KIND_GAUGE] = "gauge", [KIND_HISTOGRAM] = "histogram", [KIND_INFO] = "info"};

/* One address: its own row, and in the other slot that of the same address, which counted or counts as well. */
struct view {
    const struct address_status *row, *twin; /* twin NULL: there is none */
    const struct upstream_status *upstream;
    char labels[LABELS_MAX];
};

struct exposition {
    const struct status_page *page;
    const struct status_slot *slot, *other;
    int64_t wall_offset_ms; /* wall time less clock_ms() */
    char bounds[HISTOGRAM_BOUNDS][16];
    uint32_t view_count;
    struct view views[];
};

/* Text that grows to a limit. */
struct writer {
    const struct exposition *from;
    enum exposition_format format;
    char *out;
    size_t size, capacity; /* size above capacity: it did not fit */
};

/* A family of samples. */
struct family {
    const char *name; /* behind the prefix */
    const char *labels;
    const char *help;
    enum kind kind;
    void (*write)(struct writer *writer, const struct family *family);
    size_t offset; /* of what write needs */
};

/* ---- text ---- */

static void put_octets(struct writer *w, const char *octets, size_t size)
{
    if (w->size <= w->capacity && size <= w->capacity - w->size)
        memcpy(w->out + w->size, octets, size);
    w->size += size;
}

static void put(struct writer *w, const char *text)
{
    put_octets(w, text, strlen(text));
}

static void put_number(struct writer *w, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put_octets(w, digits + at, sizeof digits - at);
}

/* number / 10^places, in full. */
static void put_fixed(struct writer *w, uint64_t number, unsigned places)
{
    char digits[20];
    uint64_t unit = 1;

    for (unsigned i = 0; i < places; i++)
        unit *= 10;
    put_number(w, number / unit);
    number %= unit;
    for (unsigned i = places; i > 0; i--) {
        digits[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
    put(w, ".");
    put_octets(w, digits, places);
}

/* A label's value as both formats want it: backslash, quote and line feed escaped. Returns the end. */
static char *escape(char *out, const char *end, const char *value, size_t size)
{
    for (size_t i = 0; i < size && value[i] != '\0' && end - out > 2; i++) {
        if (value[i] == '\\' || value[i] == '"' || value[i] == '\n')
            *out++ = '\\';
        *out++ = value[i];
        if (value[i] == '\n')
            out[-1] = 'n';
    }
    *out = '\0';
    return out;
}

/* ---- samples ---- */

/* nodedot_NAME{LABELS,MORE} up to the blank before the value. */
static void begin_sample(struct writer *w, const char *name, const char *suffix, const char *labels, const char *more)
{
    put(w, PREFIX);
    put(w, name);
    put(w, suffix);
    if (*labels != '\0' || *more != '\0') {
        put(w, "{");
        put(w, labels);
        if (*labels != '\0' && *more != '\0')
            put(w, ",");
        put(w, more);
        put(w, "}");
    }
    put(w, " ");
}

static void put_sample(struct writer *w, const char *name, const char *labels, const char *more, uint64_t value)
{
    begin_sample(w, name, "", labels, more);
    put_number(w, value);
    put(w, "\n");
}

static void put_microseconds(struct writer *w, const char *name, const char *labels, uint64_t us)
{
    begin_sample(w, name, "", labels, "");
    put_fixed(w, us, 6);
    put(w, "\n");
}

/* A moment of clock_ms() as seconds since 1970. */
static void put_moment(struct writer *w, const char *name, const char *labels, uint64_t moment_ms)
{
    put_sample(w, name, labels, "", (uint64_t)((int64_t)moment_ms + w->from->wall_offset_ms) / 1000);
}

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);

    return size > end_size && strcmp(name + size - end_size, end) == 0;
}

/* The name that HELP and TYPE tell: OpenMetrics leaves out what only samples have. */
static size_t family_name_size(const struct writer *w, const char *name, enum kind kind)
{
    const char *suffix = kind == KIND_COUNTER ? "_total" : kind == KIND_INFO ? "_info" : "";

    return strlen(name) - (w->format == EXPOSITION_OPENMETRICS && *suffix != '\0' ? strlen(suffix) : 0);
}

static void put_meta(struct writer *w, const char *what, const char *name, enum kind kind, const char *text)
{
    put(w, what);
    put(w, PREFIX);
    put_octets(w, name, family_name_size(w, name, kind));
    put(w, " ");
    put(w, text);
    put(w, "\n");
}

static void put_header(struct writer *w, const char *name, enum kind kind, const char *help)
{
    bool open = w->format == EXPOSITION_OPENMETRICS;

    put_meta(w, "# HELP ", name, kind, help);
    put_meta(w, "# TYPE ", name, kind, kind == KIND_INFO && !open ? "gauge" : kind_names[kind]);
    if (open && (ends_with(name, "_seconds") || ends_with(name, "_seconds_total")))
        put_meta(w, "# UNIT ", name, kind, "seconds");
    if (open && (ends_with(name, "_bytes") || ends_with(name, "_bytes_total")))
        put_meta(w, "# UNIT ", name, kind, "bytes");
}

/* ---- histograms ---- */

/* What several threads and generations counted, added up. */
struct totals {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t sum_us;
};

static void totals_add(struct totals *totals, const struct histogram *histogram)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        totals->buckets[i] += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
    totals->sum_us += atomic_load_explicit(&histogram->sum_us, memory_order_relaxed);
}

/* The count is that of the buckets, so the two agree whatever is counted meanwhile. */
static void put_histogram(struct writer *w, const char *name, const char *labels, const struct totals *totals)
{
    uint64_t count = 0;
    char bound[32];

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += totals->buckets[i];
        snprintf(bound, sizeof bound, "le=\"%s\"", i < HISTOGRAM_BOUNDS ? w->from->bounds[i] : "+Inf");
        begin_sample(w, name, "_bucket", labels, bound);
        put_number(w, count);
        put(w, "\n");
    }
    begin_sample(w, name, "_sum", labels, "");
    put_fixed(w, totals->sum_us, 6);
    put(w, "\n");
    begin_sample(w, name, "_count", labels, "");
    put_number(w, count);
    put(w, "\n");
}

static void write_thread_histogram(struct writer *w, const struct family *family)
{
    const struct status_page *page = w->from->page;
    struct totals totals = {0};

    for (size_t slot = 0; slot < STATUS_SLOTS; slot++)
        for (size_t thread = 0; thread < STATUS_THREADS; thread++)
            totals_add(&totals, (const void *)((const char *)&page->slots[slot].threads[thread] + family->offset));
    put_histogram(w, family->name, "", &totals);
}

/* ---- families of the page ---- */

static void write_build(struct writer *w, const struct family *family)
{
    const struct status_page *page = w->from->page;
    char labels[2 * sizeof page->version + 2 * sizeof page->wolfssl + 32] = "version=\"";
    const char *end = labels + sizeof labels - 16;
    char *at = escape(labels + strlen(labels), end, page->version, sizeof page->version);

    at = stpcpy(at, "\",wolfssl=\"");
    at = escape(at, end, page->wolfssl, sizeof page->wolfssl);
    strcpy(at, "\"");
    put_sample(w, family->name, labels, "", 1);
}

static void write_page_64(struct writer *w, const struct family *family)
{
    const _Atomic uint64_t *number = (const void *)((const char *)w->from->page + family->offset);

    put_sample(w, family->name, "", "", atomic_load(number));
}

static void write_page_32(struct writer *w, const struct family *family)
{
    const _Atomic uint32_t *number = (const void *)((const char *)w->from->page + family->offset);

    put_sample(w, family->name, "", "", atomic_load(number));
}

static void write_start(struct writer *w, const struct family *family)
{
    put_moment(w, family->name, "", atomic_load(&w->from->page->started_ms));
}

static void write_reloads(struct writer *w, const struct family *family)
{
    put_sample(w, family->name, "result=\"success\"", "", atomic_load(&w->from->page->reloads_succeeded));
    put_sample(w, family->name, "result=\"failure\"", "", atomic_load(&w->from->page->reloads_failed));
}

static void write_reload_result(struct writer *w, const struct family *family)
{
    put_sample(w, family->name, "", "", atomic_load(&w->from->page->reload_is_bad) == 0);
}

static void write_reload_moment(struct writer *w, const struct family *family)
{
    put_sample(w, family->name, "", "", (uint64_t)atomic_load(&w->from->page->reload_succeeded_at));
}

#define SUPERVISOR "process=\"supervisor\""
#define RESOLVER   "process=\"resolver\""

/* A resolver continues the counters of the last one in its slot. */
static void write_log_lost(struct writer *w, const struct family *family)
{
    const struct status_page *page = w->from->page;
    uint64_t resolvers = 0;

    for (size_t slot = 0; slot < STATUS_SLOTS; slot++)
        resolvers += atomic_load(&page->slots[slot].process.log_lost);
    put_sample(w, family->name, SUPERVISOR, "", atomic_load(&page->process.log_lost));
    put_sample(w, family->name, RESOLVER, "", resolvers);
}

static void write_process_cpu(struct writer *w, const struct family *family)
{
    const struct status_page *page = w->from->page;
    uint64_t resolvers = 0;

    for (size_t slot = 0; slot < STATUS_SLOTS; slot++)
        resolvers += atomic_load(&page->slots[slot].process.cpu_us);
    put_microseconds(w, family->name, SUPERVISOR, atomic_load(&page->process.cpu_us));
    put_microseconds(w, family->name, RESOLVER, resolvers);
}

static void write_process_64(struct writer *w, const struct family *family)
{
    const _Atomic uint64_t *supervisor = (const void *)((const char *)&w->from->page->process + family->offset);
    const _Atomic uint64_t *resolver = (const void *)((const char *)&w->from->slot->process + family->offset);

    put_sample(w, family->name, SUPERVISOR, "", atomic_load(supervisor));
    put_sample(w, family->name, RESOLVER, "", atomic_load(resolver));
}

/* ---- clients ---- */

static void write_busiest(struct writer *w, const struct family *family)
{
    struct busy_client clients[BUSIEST_SHOWN];
    size_t count = busiest_list(&w->from->slot->busiest, clock_ms(), clients);

    for (size_t i = 0; i < count; i++) {
        char client[ENDPOINT_TEXT], label[ENDPOINT_TEXT + 16];

        snprintf(label, sizeof label, "client=\"%s\"", busiest_format(&w->from->slot->busiest, &clients[i], client));
        begin_sample(w, family->name, "", label, "");
        put_fixed(w, clients[i].millihertz, 3);
        put(w, "\n");
    }
}

/* ---- families of addresses ---- */

static uint64_t counted(const struct view *view, size_t offset)
{
    return metrics_row_sum(view->row, view->twin, offset);
}

static void write_counted(struct writer *w, const struct family *family)
{
    for (uint32_t i = 0; i < w->from->view_count; i++) {
        const struct view *view = &w->from->views[i];

        put_sample(w, family->name, view->labels, "", counted(view, family->offset));
    }
}

/* One family of several counters, told apart by a label. */
struct part {
    const char *label;
    size_t offset;
};

static void write_parts(struct writer *w, const struct family *family, const struct part *parts, size_t count)
{
    for (uint32_t i = 0; i < w->from->view_count; i++)
        for (size_t j = 0; j < count; j++)
            put_sample(w, family->name, w->from->views[i].labels, parts[j].label,
                       counted(&w->from->views[i], parts[j].offset));
}

static void write_errors(struct writer *w, const struct family *family)
{
    static const struct part parts[] = {
        {"cause=\"timeout\"", offsetof(struct address_status, timeouts)},
        {"cause=\"connect\"", offsetof(struct address_status, connect_failures)},
        {"cause=\"local\"", offsetof(struct address_status, local)},
        {"cause=\"identity\"", offsetof(struct address_status, mismatches)},
    };

    write_parts(w, family, parts, sizeof parts / sizeof parts[0]);
}

static void write_handshakes(struct writer *w, const struct family *family)
{
    static const struct part parts[] = {
        {"type=\"full\"", offsetof(struct address_status, handshakes_full)},
        {"type=\"resumed\"", offsetof(struct address_status, handshakes_resumed)},
    };

    write_parts(w, family, parts, sizeof parts / sizeof parts[0]);
}

static void write_connections(struct writer *w, const struct family *family)
{
    for (uint32_t i = 0; i < w->from->view_count; i++) {
        const struct view *view = &w->from->views[i];

        put_sample(w, family->name, view->labels, "", atomic_load(&view->row->connections));
    }
}

/* Not measured: no sample, because 0 would mean "at once". */
static void write_rtt(struct writer *w, const struct family *family)
{
    for (uint32_t i = 0; i < w->from->view_count; i++) {
        const struct view *view = &w->from->views[i];
        uint32_t rtt_us = atomic_load(&view->row->rtt_us);

        if (rtt_us != 0)
            put_microseconds(w, family->name, view->labels, rtt_us);
    }
}

static void write_duration(struct writer *w, const struct family *family)
{
    for (uint32_t i = 0; i < w->from->view_count; i++) {
        const struct view *view = &w->from->views[i];
        struct totals totals = {0};

        totals_add(&totals, &view->row->duration);
        if (view->twin != NULL)
            totals_add(&totals, &view->twin->duration);
        put_histogram(w, family->name, view->labels, &totals);
    }
}

static void write_identity(struct writer *w, const struct family *family)
{
    static const char *const labels[] = {[IDENTITY_UNVERIFIED] = "state=\"unverified\"",
                                         [IDENTITY_VALID] = "state=\"valid\"",
                                         [IDENTITY_MISMATCH] = "state=\"mismatch\"",
                                         [IDENTITY_UNREACHABLE] = "state=\"unreachable\"",
                                         [IDENTITY_CLOCK] = "state=\"clock\""};

    for (uint32_t i = 0; i < w->from->view_count; i++) {
        const struct view *view = &w->from->views[i];
        uint32_t state = atomic_load(&view->row->state);

        for (uint32_t j = 0; j < sizeof labels / sizeof labels[0]; j++)
            put_sample(w, family->name, view->labels, labels[j], state == j);
    }
}

/* Moments of clock_ms(), 0 meaning never: no sample. */
static void write_address_moment(struct writer *w, const struct family *family)
{
    for (uint32_t i = 0; i < w->from->view_count; i++) {
        const struct view *view = &w->from->views[i];
        const _Atomic uint64_t *moment = (const void *)((const char *)view->row + family->offset);
        uint64_t at_ms = atomic_load(moment);

        if (at_ms != 0)
            put_moment(w, family->name, view->labels, at_ms);
    }
}

static void write_expiry(struct writer *w, const struct family *family)
{
    for (uint32_t i = 0; i < w->from->view_count; i++) {
        const struct view *view = &w->from->views[i];
        int64_t not_after = atomic_load(&view->row->not_after);

        if (not_after > 0)
            put_sample(w, family->name, view->labels, "", (uint64_t)not_after);
    }
}

/* Only once there was a proof: before, no pin had a chance to match. */
static void write_pins(struct writer *w, const struct family *family)
{
    char pin[24];

    for (uint32_t i = 0; i < w->from->view_count; i++) {
        const struct view *view = &w->from->views[i];
        uint32_t matched = atomic_load(&view->row->pins_matched);
        uint32_t count = view->upstream->pin_count;

        for (uint32_t j = 0; j < count && j < CONFIG_PINS && atomic_load(&view->row->validated_ms) != 0; j++) {
            snprintf(pin, sizeof pin, "pin=\"%" PRIu32 "\"", j + 1);
            put_sample(w, family->name, view->labels, pin, matched >> j & 1);
        }
    }
}

/* ---- families of upstreams ---- */

static void upstream_labels(const struct upstream_status *upstream, char out[LABELS_MAX])
{
    char *at = stpcpy(out, "upstream=\"");

    strcpy(escape(at, at + 2 * CONFIG_NAME, upstream->name, sizeof upstream->name), "\"");
}

static void write_pins_configured(struct writer *w, const struct family *family)
{
    char labels[LABELS_MAX];

    for (uint32_t i = 0; i < atomic_load(&w->from->slot->upstream_count); i++) {
        upstream_labels(&w->from->slot->upstreams[i], labels);
        put_sample(w, family->name, labels, "", w->from->slot->upstreams[i].pin_count);
    }
}

static void write_fallback(struct writer *w, const struct family *family)
{
    char labels[LABELS_MAX];

    for (uint32_t i = 0; i < atomic_load(&w->from->slot->upstream_count); i++) {
        upstream_labels(&w->from->slot->upstreams[i], labels);
        put_sample(w, family->name, labels, "", atomic_load(&w->from->slot->upstreams[i].fallback));
    }
}

/* ---- the tables ---- */

#define OF_ADDRESS      "upstream, address"
#define PAGE(member)    offsetof(struct status_page, member)
#define ADDRESS(member) offsetof(struct address_status, member)
#define PROCESS(member) offsetof(struct process_status, member)

static const struct family families[] = {
    {"build_info", "version, wolfssl", "Versions of nodedot and its TLS library; always 1", KIND_INFO, write_build, 0},
    {"start_time_seconds", "", "When the supervisor started, in seconds since 1970", KIND_GAUGE, write_start, 0},
    {"ready", "", "1: queries are answered, and every zone has a usable upstream", KIND_GAUGE, write_page_32,
     PAGE(ready)},
    {"generation", "", "Number of the current resolver process, from 1", KIND_GAUGE, write_page_64, PAGE(generation)},
    {"generations_started_total", "", "Resolver processes started", KIND_COUNTER, write_page_64,
     PAGE(generations_started)},
    {"generations_lost_total", "", "Resolver processes that exited unexpectedly: crashed, hung or killed", KIND_COUNTER,
     write_page_64, PAGE(generations_lost)},
    {"reloads_total", "result", "Reloads of the configuration, by result", KIND_COUNTER, write_reloads, 0},
    {"config_last_reload_successful", "", "0: the last reload failed, and the previous configuration is in use",
     KIND_GAUGE, write_reload_result, 0},
    {"config_waiting", "", "1: a new configuration was refused for a reason that may pass, and is tried again",
     KIND_GAUGE, write_page_32, PAGE(reload_waits)},
    {"config_last_reload_success_timestamp_seconds", "",
     "When the current configuration was loaded, in seconds since 1970", KIND_GAUGE, write_reload_moment, 0},
    {"log_lines_lost_total", "process", "Log lines lost because the reader of standard error was too slow or gone",
     KIND_COUNTER, write_log_lost, 0},
    {"process_cpu_seconds_total", "process", "CPU time, user and system", KIND_COUNTER, write_process_cpu, 0},
    {"process_resident_memory_bytes", "process", "Resident memory, including shared memory", KIND_GAUGE,
     write_process_64, PROCESS(resident_bytes)},
    {"process_open_fds", "process", "Open file descriptors", KIND_GAUGE, write_process_64, PROCESS(open_fds)},
    {"busiest_client_queries_per_second", "client",
     "Queries per second of the ten busiest clients of the last ten seconds, answered or not", KIND_GAUGE,
     write_busiest, 0},
#define THREAD_HISTOGRAM(field, family, help) \
    {family, "le", help, KIND_HISTOGRAM, write_thread_histogram, offsetof(struct metrics, field)},
    HISTOGRAMS(THREAD_HISTOGRAM)
#undef THREAD_HISTOGRAM
        {"upstream_queries_total", OF_ADDRESS, "Queries sent to the address", KIND_COUNTER, write_counted,
         ADDRESS(queries)},
    {"upstream_answers_total", OF_ADDRESS, "Valid answers from the address", KIND_COUNTER, write_counted,
     ADDRESS(answers)},
    {"upstream_errors_total", OF_ADDRESS ", cause",
     "Queries without an answer in time, connections that did not become ready, local shortages (descriptors, "
     "buffers, memory, ports), handshakes without a valid identity",
     KIND_COUNTER, write_errors, 0},
    {"upstream_failures_total", OF_ADDRESS, "Number of times that the address was marked down", KIND_COUNTER,
     write_counted, ADDRESS(failures)},
    {"upstream_connections", OF_ADDRESS, "Ready connections to the address", KIND_GAUGE, write_connections, 0},
    {"upstream_connects_total", OF_ADDRESS, "Connections to the address started", KIND_COUNTER, write_counted,
     ADDRESS(connects)},
    {"upstream_handshakes_total", OF_ADDRESS ", type", "TLS handshakes completed, full or resumed", KIND_COUNTER,
     write_handshakes, 0},
    {"upstream_rtt_seconds", OF_ADDRESS, "Smoothed time from a query to its answer", KIND_GAUGE, write_rtt, 0},
    {"upstream_request_duration_seconds", OF_ADDRESS ", le", "Time from a query to its valid answer", KIND_HISTOGRAM,
     write_duration, 0},
    {"upstream_hedges_total", OF_ADDRESS, "Questions sent to the address because another one was late", KIND_COUNTER,
     write_counted, ADDRESS(hedges)},
    {"upstream_padding_bytes_total", OF_ADDRESS, "Padding sent (RFC 8467)", KIND_COUNTER, write_counted,
     ADDRESS(padding_octets)},
    {"upstream_identity_state", OF_ADDRESS ", state",
     "1 for the current state of the address, 0 for the others; for a plain upstream, valid means that it answers",
     KIND_GAUGE, write_identity, 0},
    {"upstream_identity_since_timestamp_seconds", OF_ADDRESS, "When that state began, in seconds since 1970",
     KIND_GAUGE, write_address_moment, ADDRESS(since_ms)},
    {"upstream_last_validation_timestamp_seconds", OF_ADDRESS,
     "When the address last proved its identity, in seconds since 1970; absent before", KIND_GAUGE,
     write_address_moment, ADDRESS(validated_ms)},
    {"upstream_identity_mismatches_total", OF_ADDRESS, "Handshakes whose peer did not prove its identity", KIND_COUNTER,
     write_counted, ADDRESS(mismatches)},
    {"upstream_certificate_expiry_timestamp_seconds", OF_ADDRESS,
     "Earliest expiry date of a certificate in the verified chain, in seconds since 1970; absent before a proof",
     KIND_GAUGE, write_expiry, 0},
    {"upstream_pin_matched", OF_ADDRESS ", pin",
     "1: the pin with this number, in configuration order, matched at the last proof; absent before", KIND_GAUGE,
     write_pins, 0},
    {"upstream_pins_configured", "upstream", "Number of configured pins", KIND_GAUGE, write_pins_configured, 0},
    {"upstream_fallback_active", "upstream", "1: the fallback of the upstream is in use", KIND_GAUGE, write_fallback,
     0},
};

#define FAMILIES (sizeof families / sizeof families[0])

static enum kind kind_of(const struct metric_info *info)
{
    return info->counter ? KIND_COUNTER : KIND_GAUGE;
}

/* Does a family begin with this row of metric_table? Its rows stand together. */
static bool begins_family(size_t i)
{
    return *metric_table[i].family != '\0' &&
           (i == 0 || strcmp(metric_table[i].family, metric_table[i - 1].family) != 0);
}

static void write_metric_table(struct writer *w)
{
    for (size_t i = 0; i < metric_table_size; i++) {
        const struct metric_info *info = &metric_table[i];

        if (*info->family == '\0')
            continue;
        if (begins_family(i))
            put_header(w, info->family, kind_of(info), info->help);
        put_sample(w, info->family, info->labels, "", metric_sum(w->from->page, info));
    }
}

/* ---- life ---- */

static void format_bounds(struct exposition *exposition)
{
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        uint64_t ns = histogram_bounds_ns[i];
        char *text = exposition->bounds[i];
        int size = snprintf(text, sizeof exposition->bounds[i], "%u.%09u", (unsigned)(ns / 1000000000),
                            (unsigned)(ns % 1000000000));

        while (text[size - 1] == '0' && text[size - 2] != '.') /* OpenMetrics wants 1 as "1.0" */
            text[--size] = '\0';
    }
}

static void begin_view(struct exposition *exposition, uint32_t index)
{
    struct view *view = &exposition->views[index];
    char address[ENDPOINT_TEXT];
    char *at = stpcpy(view->labels, "upstream=\"");

    view->row = &exposition->slot->addresses[index];
    for (uint32_t i = 0; i < atomic_load(&exposition->slot->upstream_count); i++) {
        if (strncmp(exposition->slot->upstreams[i].name, view->row->upstream, CONFIG_NAME) == 0)
            view->upstream = &exposition->slot->upstreams[i];
    }
    at = escape(at, at + 2 * CONFIG_NAME, view->row->upstream, sizeof view->row->upstream);
    at = stpcpy(at, "\",address=\"");
    at = stpcpy(at, endpoint_format(&view->row->endpoint, address));
    strcpy(at, "\"");
}

struct exposition *exposition_create(const struct status_page *page, unsigned slot)
{
    uint32_t count = atomic_load(&page->slots[slot].address_count);
    struct exposition *exposition = calloc(1, sizeof *exposition + count * sizeof(struct view));

    if (exposition == NULL)
        return NULL;
    exposition->page = page;
    exposition->slot = &page->slots[slot];
    exposition->other = &page->slots[(slot + 1) % STATUS_SLOTS];
    exposition->view_count = count;
    format_bounds(exposition);
    for (uint32_t i = 0; i < count; i++)
        begin_view(exposition, i);
    return exposition;
}

void exposition_destroy(struct exposition *exposition)
{
    free(exposition);
}

size_t exposition_size(size_t addresses)
{
    return SIZE_OF_PAGE + addresses * SIZE_OF_ADDRESS;
}

static void follow_clock(struct exposition *exposition)
{
    int64_t offset = clock_wall_ms() - (int64_t)clock_ms();
    int64_t change = offset - exposition->wall_offset_ms;

    if (change > CLOCK_STEP_MS || change < -CLOCK_STEP_MS)
        exposition->wall_offset_ms = offset;
}

static void write_page(struct writer *w)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        put_header(w, families[i].name, families[i].kind, families[i].help);
        families[i].write(w, &families[i]);
    }
    write_metric_table(w);
    if (w->format == EXPOSITION_OPENMETRICS)
        put(w, "# EOF\n");
}

size_t exposition_write(struct exposition *exposition, enum exposition_format format, char *out, size_t capacity)
{
    struct writer writer;

    follow_clock(exposition);
    for (int i = 0; i < TRIES; i++) {
        uint32_t version = atomic_load(&exposition->other->rows_version);

        for (uint32_t j = 0; j < exposition->view_count; j++)
            exposition->views[j].twin = metrics_find_row(exposition->other, exposition->views[j].row, j);
        writer = (struct writer){.from = exposition, .format = format, .out = out, .capacity = capacity};
        write_page(&writer);
        if (version % 2 == 0 && version == atomic_load(&exposition->other->rows_version))
            break;
    }
    return writer.size <= capacity ? writer.size : 0;
}

const char *exposition_content_type(enum exposition_format format)
{
    return format == EXPOSITION_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                            : "text/plain; version=0.0.4; charset=utf-8";
}

/* ---- the reference ---- */

static void print_name(FILE *out, const char *name, enum kind kind)
{
    fprintf(out, "| `" PREFIX "%s` | %s | ", name, kind_names[kind]);
}

/* The label of a family's rows and all its values, as in "transport: udp, tcp". */
static void print_labels(FILE *out, size_t first)
{
    const char *family = metric_table[first].family;

    for (size_t i = first; i < metric_table_size && strcmp(metric_table[i].family, family) == 0; i++) {
        const char *labels = metric_table[i].labels;
        size_t name = strcspn(labels, "=");
        size_t value = strcspn(labels, "\"") + 1;

        if (*labels == '\0')
            continue;
        if (i == first)
            fprintf(out, "%.*s: ", (int)name, labels);
        fprintf(out, "%s%.*s", i == first ? "" : ", ", (int)strcspn(labels + value, "\""), labels + value);
    }
}

void exposition_print_reference(FILE *out)
{
    fputs("| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n", out);
    for (size_t i = 0; i < FAMILIES; i++) {
        print_name(out, families[i].name, families[i].kind);
        fprintf(out, "%s | %s |\n", families[i].labels, families[i].help);
    }
    for (size_t i = 0; i < metric_table_size; i++) {
        if (!begins_family(i))
            continue;
        print_name(out, metric_table[i].family, kind_of(&metric_table[i]));
        print_labels(out, i);
        fprintf(out, " | %s |\n", metric_table[i].help);
    }
}

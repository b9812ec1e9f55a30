#include "nodedot/resolver/query.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/flight.h"
#include "nodedot/resolver/local.h"

#include <string.h>

/* Served for a stale record (RFC 8767 section 4). */
#define STALE_TTL_S 30

/* Queries that may be pushed out in one turn of the loop: as many as a listener reads in one. Past that it is as if
 * nobody gave way. */
#define DISPLACED_MAX 256

/* A client that waits for an answer. */
struct query {
    struct query *next, *previous; /* that wait for the same flight; next also among the displaced */
    struct flight *flight;
    struct share_place place;
    uint64_t received_us; /* trace.h */
    uint64_t asked_us;    /* clock_us() when it began to wait */
    struct client client;
    struct query_message message;
    uint8_t question[QUESTION_MAX_OCTETS]; /* as the client wrote it */
};

/* ---- answers ---- */

static void count_rcode(struct metrics *metrics, unsigned rcode)
{
    switch (rcode) {
    case RCODE_NOERROR:
        metric_inc(metrics, answers_noerror_total);
        break;
    case RCODE_NXDOMAIN:
        metric_inc(metrics, answers_nxdomain_total);
        break;
    case RCODE_SERVFAIL:
        metric_inc(metrics, answers_servfail_total);
        break;
    case RCODE_REFUSED:
        metric_inc(metrics, answers_refused_total);
        break;
    case RCODE_FORMERR:
        metric_inc(metrics, answers_formerr_total);
        break;
    case RCODE_NOTIMP:
        metric_inc(metrics, answers_notimp_total);
        break;
    default:
        metric_inc(metrics, answers_other_total);
    }
}

static void count_type(struct metrics *metrics, uint16_t qtype)
{
    switch (qtype) {
    case TYPE_A:
        metric_inc(metrics, type_a_total);
        break;
    case TYPE_AAAA:
        metric_inc(metrics, type_aaaa_total);
        break;
    case TYPE_CNAME:
        metric_inc(metrics, type_cname_total);
        break;
    case TYPE_HTTPS:
        metric_inc(metrics, type_https_total);
        break;
    case TYPE_MX:
        metric_inc(metrics, type_mx_total);
        break;
    case TYPE_NS:
        metric_inc(metrics, type_ns_total);
        break;
    case TYPE_PTR:
        metric_inc(metrics, type_ptr_total);
        break;
    case TYPE_SOA:
        metric_inc(metrics, type_soa_total);
        break;
    case TYPE_SRV:
        metric_inc(metrics, type_srv_total);
        break;
    case TYPE_TXT:
        metric_inc(metrics, type_txt_total);
        break;
    default:
        metric_inc(metrics, type_other_total);
    }
}

/* Before anything else: who floods is to be seen, whether it is answered or not. */
static void count_client(struct query_engine *engine, const struct client *client)
{
    if (client->udp != NULL)
        metric_inc(engine->metrics, queries_udp_total);
    else
        metric_inc(engine->metrics, queries_tcp_total);
    busiest_count(engine->busiest, &client->endpoint);
}

/* extended: the upper bits of its RCODE, which stand in its OPT. */
static ssize_t count_answer(const struct query_engine *engine, const uint8_t *answer, size_t size, unsigned extended)
{
    uint16_t flags;

    if (size < MESSAGE_HEADER)
        return 0;
    flags = wire_get_u16(answer + MESSAGE_FLAGS_AT);
    if ((flags & MESSAGE_TC) != 0)
        metric_inc(engine->metrics, answers_truncated_total);
    count_rcode(engine->metrics, extended << 4 | (flags & MESSAGE_RCODE));
    return (ssize_t)size;
}

static struct answer_style style_for(const struct query_engine *engine, const struct client *client, enum ede ede)
{
    return (struct answer_style){.udp = client->udp != NULL,
                                 .ede = ede,
                                 .keepalive_timeout = engine->draining ? 0 : (uint16_t)(engine->config->tcp_idle * 10)};
}

static ssize_t error_answer(struct query_engine *engine, const struct client *client,
                            const struct query_message *message, const uint8_t *question, enum rcode rcode,
                            enum ede ede, uint8_t *out, size_t capacity)
{
    struct answer_style style = style_for(engine, client, ede);

    trace_note(&engine->trace, rcode == RCODE_SERVFAIL ? QUERY_FAILED : QUERY_REFUSED, (uint16_t)(rcode >> 4));
    return count_answer(engine, out, answer_error(out, capacity, message, question, rcode, &style), rcode >> 4);
}

static enum ede ede_of_hit(const struct cache_hit *hit, const uint8_t *answer)
{
    if (hit->kind == CACHE_FAILURE)
        return EDE_CACHED_ERROR;
    if (!hit->stale)
        return EDE_NONE;
    return (answer[3] & MESSAGE_RCODE) == RCODE_NXDOMAIN ? EDE_STALE_NXDOMAIN : EDE_STALE_ANSWER;
}

/* Makes the stored message in out an answer. source: where it came from, unless it is stale. */
static ssize_t stored_answer(struct query_engine *engine, const struct client *client,
                             const struct query_message *message, const uint8_t *question, uint8_t *out,
                             size_t capacity, const struct cache_hit *hit, enum query_source source)
{
    struct answer_style style = style_for(engine, client, ede_of_hit(hit, out));

    if (hit->stale)
        metric_inc(engine->metrics, cache_stale_total);
    trace_note(&engine->trace, hit->stale ? QUERY_FROM_STALE : source, 0);
    return count_answer(engine, out, answer_finish(out, hit->size, capacity, message, question, &style), 0);
}

/* Answers from the cache, with what is fresh, stale, or a failure. Returns 0 for a miss. */
static ssize_t cached_answer(struct query_engine *engine, const struct cache_key *key, const struct client *client,
                             const struct query_message *message, const uint8_t *question, uint8_t *out,
                             size_t capacity)
{
    struct cache_hit hit;

    if (!cache_lookup(engine->cache, key, clock_seconds(), STALE_TTL_S, out, capacity, &hit))
        return 0;
    return stored_answer(engine, client, message, question, out, capacity, &hit, QUERY_FROM_CACHE);
}

/* ---- flights ---- */

static struct cache_key key_of_flight(const struct query_engine *engine, const struct flight *flight)
{
    return cache_key_of(engine->cache, &flight->key.question, flight->key.dnssec_ok, flight->key.checking_disabled);
}

static void give_place_back(struct query_engine *engine, struct query *query)
{
    share_release(&engine->share, &query->place);
    atomic_fetch_sub_explicit(engine->in_flight, 1, memory_order_relaxed);
    metric_add(engine->metrics, in_flight, -1);
}

/* Sends the size octets that were written for a query. out NULL: its client is gone. */
static void send_answer(struct query_engine *engine, struct query *query, const uint8_t *out, ssize_t size)
{
    size_t octets = size > 0 ? (size_t)size : 0;

    if (octets == 0)
        trace_note(&engine->trace, QUERY_DROPPED_GONE, 0);
    if (query->received_us != 0)
        trace_put(&engine->trace, &query->client, &query->message, query->question, query->received_us, out, octets);
    if (out != NULL)
        client_commit(&query->client, octets);
    if (octets > 0)
        histogram_add(&engine->metrics->miss_duration, clock_us() - query->asked_us, 1);
}

static void release_query(struct query_engine *engine, struct query *query)
{
    give_place_back(engine, query);
    pool_release(&engine->queries, query);
}

static void finish_query(struct query_engine *engine, struct query *query, const uint8_t *out, ssize_t size)
{
    send_answer(engine, query, out, size);
    release_query(engine, query);
}

static void wait_for(struct flight *flight, struct query *query)
{
    struct query *others = flight->waiting;

    query->flight = flight;
    query->previous = NULL;
    query->next = others;
    if (others != NULL)
        others->previous = query;
    flight->waiting = query;
}

static void stop_waiting(struct query *query)
{
    if (query->previous != NULL)
        query->previous->next = query->next;
    else
        query->flight->waiting = query->next;
    if (query->next != NULL)
        query->next->previous = query->previous;
}

/* The flight ends. */
static void end_flight(struct query_engine *engine, const struct flight *flight)
{
    if (flight->waiting == NULL)
        engine->refresh.unattended--;
}

/* Remembers that the flight's question failed, or in a stale answer that its refresh did. */
static void note_failure(struct query_engine *engine, const struct flight *flight, const struct cache_key *key)
{
    const struct zone_config *zone = flight->zone; /* whose upstream counts, though its fallback may have been asked */

    cache_store_failure(engine->cache, key, group_recovered_s(&engine->forward.groups[zone->upstream]),
                        clock_seconds());
}

static struct query *take_waiting(struct flight *flight)
{
    struct query *query = flight->waiting;

    if (query != NULL)
        stop_waiting(query);
    return query;
}

static void on_failed(void *owner, struct flight *flight, enum ede why)
{
    struct query_engine *engine = owner;
    struct cache_key key = key_of_flight(engine, flight);
    struct query *query;

    end_flight(engine, flight);
    while ((query = take_waiting(flight)) != NULL) {
        size_t capacity;
        uint8_t *out = client_begin(&query->client, &capacity);
        ssize_t size = 0;

        if (why == EDE_NOT_READY)
            metric_inc(engine->metrics, interrupted_total);
        if (out != NULL)
            size = cached_answer(engine, &key, &query->client, &query->message, query->question, out, capacity);
        if (out != NULL && size == 0)
            size = error_answer(engine, &query->client, &query->message, query->question, RCODE_SERVFAIL, why, out,
                                capacity);
        finish_query(engine, query, out, size);
    }
    /* What was never asked did not fail: when the upstream is back it must not find the name remembered as bad. */
    if (why == EDE_NETWORK_ERROR && flight->asks > 0)
        note_failure(engine, flight, &key);
}

/* Answers are stale or none; so that others need not wait as long, that is noted. The flight goes on, and brings an
 * answer yet or fails. */
static void on_late(void *owner, struct flight *flight)
{
    struct query_engine *engine = owner;
    struct cache_key key = key_of_flight(engine, flight);
    bool attended = flight->waiting != NULL;
    struct cache_hit hit;

    if (cache_peek(engine->cache, &key, clock_seconds(), &hit) && hit.kind != CACHE_FAILURE)
        note_failure(engine, flight, &key);
    for (struct query *query = flight->waiting, *next; query != NULL; query = next) {
        size_t capacity;
        uint8_t *out = client_begin(&query->client, &capacity);
        ssize_t size = 0;

        if (out != NULL)
            size = cached_answer(engine, &key, &query->client, &query->message, query->question, out, capacity);
        next = query->next;
        if (out == NULL || size > 0) { /* else nothing is stale: it goes on waiting, and nothing is committed */
            stop_waiting(query);
            finish_query(engine, query, out, size);
        }
    }
    if (attended && flight->waiting == NULL && !refresh_adopt(engine))
        flight->deadline_ms = 0; /* too many go on without a client: it ends as soon as this returns */
}

static struct cache_limits limits_of(const struct query_engine *engine, const struct zone_config *zone)
{
    const struct config *config = engine->config;

    return (struct cache_limits){
        .min_ttl = config->min_ttl,
        .max_ttl = config->max_ttl,
        .negative_max_ttl = zone->negative_max_ttl != CONFIG_UNSET ? zone->negative_max_ttl : config->negative_max_ttl,
        .stale_max = zone->stale_max != CONFIG_UNSET ? zone->stale_max : config->stale_max,
    };
}

static void store_answer(struct query_engine *engine, struct flight *flight, const struct cache_key *key,
                         const struct bailiwick_answer *answer)
{
    const struct answer_info *info = answer->info;
    struct cache_limits limits = limits_of(engine, flight->zone);
    uint32_t now = clock_seconds();

    if (info->rcode != RCODE_NOERROR && info->rcode != RCODE_NXDOMAIN)
        note_failure(engine, flight, key);
    else if (cache_store(engine->cache, key, answer->message, info, answer->ttl_offsets, &limits, now))
        metric_inc(engine->metrics, cache_stores_total);
    else
        cache_forgive(engine->cache, key);
}

/* Leaves out of an upstream's answer what does not belong to the question. */
static void keep_bailiwick(struct query_engine *engine, struct bailiwick_answer *answer)
{
    unsigned dropped = bailiwick_keep(engine->bailiwick, answer);

    if (dropped > 0)
        metric_add(engine->metrics, upstream_foreign_total, dropped);
}

/* The upstream's own message, for an answer that the cache did not take. */
static ssize_t direct_answer(struct query_engine *engine, const struct query *query, const uint8_t *message,
                             const struct answer_info *info, uint8_t *out, size_t capacity)
{
    enum ede ede = info->has_ede ? (enum ede)info->ede_code : EDE_NONE;
    struct answer_style style = style_for(engine, &query->client, ede);
    uint16_t shown; /* of the extended RCODE: a client without EDNS gets SERVFAIL instead */

    if (info->size_without_opt > capacity)
        return error_answer(engine, &query->client, &query->message, query->question, RCODE_SERVFAIL, EDE_INVALID_DATA,
                            out, capacity);
    memcpy(out, message, info->size_without_opt);
    wire_put_u16(out + MESSAGE_ARCOUNT_AT, info->additional_count);
    style.extended_rcode = (uint16_t)(info->rcode >> 4);
    shown = query->message.edns.present ? style.extended_rcode : 0;
    trace_note(&engine->trace, QUERY_FROM_UPSTREAM, shown);
    return count_answer(engine, out,
                        answer_finish(out, info->size_without_opt, capacity, &query->message, query->question, &style),
                        shown);
}

/* All who wait get the answer as it lies in the cache, with the limits on TTLs applied, or as the upstream sent it.
 * When the upstream failed, a stale answer is better (RFC 8767 section 5). */
static void on_answered(void *owner, struct flight *flight, const uint8_t *message, const struct answer_info *info,
                        const uint16_t *ttl_offsets)
{
    struct query_engine *engine = owner;
    struct cache_key key = key_of_flight(engine, flight);
    struct bailiwick_answer answer = {.message = message, .info = info, .ttl_offsets = ttl_offsets};
    struct query *query;
    bool good;

    engine->trace.server = flight->server;
    end_flight(engine, flight);
    keep_bailiwick(engine, &answer);
    good = answer.info->rcode == RCODE_NOERROR || answer.info->rcode == RCODE_NXDOMAIN;
    store_answer(engine, flight, &key, &answer);
    while ((query = take_waiting(flight)) != NULL) {
        const struct client *client = &query->client;
        size_t capacity;
        uint8_t *out = client_begin(client, &capacity);
        uint32_t now = clock_seconds();
        struct cache_hit hit;
        ssize_t size = 0;

        if (out != NULL && (good ? cache_read_back(engine->cache, &key, now, out, capacity, &hit)
                                 : cache_lookup(engine->cache, &key, now, STALE_TTL_S, out, capacity, &hit) &&
                                       hit.kind != CACHE_FAILURE))
            size = stored_answer(engine, client, &query->message, query->question, out, capacity, &hit,
                                 QUERY_FROM_UPSTREAM);
        else if (out != NULL)
            size = direct_answer(engine, query, answer.message, answer.info, out, capacity);
        finish_query(engine, query, out, size);
    }
}

static const struct flight_events events = {.answered = on_answered, .failed = on_failed, .late = on_late};

/* ---- who gives way ---- */

static bool is_over_limit(const struct query_engine *engine)
{
    return atomic_load_explicit(engine->in_flight, memory_order_relaxed) > engine->config->in_flight;
}

/* Does this thread hold its equal part of the places? */
static bool holds_its_part(const struct query_engine *engine)
{
    return engine->share.held >= engine->config->in_flight / engine->config->workers;
}

/* Takes a query's place away. It is answered later: another answer may be half written now. */
static void displace(struct query_engine *engine, struct share_place *place)
{
    struct query *query = (struct query *)((char *)place - offsetof(struct query, place));

    stop_waiting(query);
    if (query->flight->waiting == NULL)
        flight_abandon(query->flight);
    give_place_back(engine, query);
    metric_inc(engine->metrics, in_flight_displaced_total);
    query->next = engine->displaced;
    engine->displaced = query;
}

static void answer_displaced(struct query_engine *engine, struct query *query)
{
    const struct question *question = &query->message.question;
    struct cache_key key =
        cache_key_of(engine->cache, question, query->message.edns.dnssec_ok, (query->message.flags & MESSAGE_CD) != 0);
    size_t capacity;
    uint8_t *out = client_begin(&query->client, &capacity);
    ssize_t size = 0;

    if (out != NULL)
        size = cached_answer(engine, &key, &query->client, &query->message, query->question, out, capacity);
    if (out != NULL && size == 0)
        size = error_answer(engine, &query->client, &query->message, query->question, RCODE_SERVFAIL, EDE_NOT_READY,
                            out, capacity);
    send_answer(engine, query, out, size);
    pool_release(&engine->queries, query);
}

void query_engine_flush(struct query_engine *engine)
{
    while (is_over_limit(engine) && holds_its_part(engine) && share_first_to_go(&engine->share) != NULL)
        displace(engine, share_first_to_go(&engine->share));
    while (engine->displaced != NULL) {
        struct query *query = engine->displaced;

        engine->displaced = query->next;
        answer_displaced(engine, query);
    }
}

/* ---- queries ---- */

/* Makes room for one more query, if there is none. False: in-flight is reached, and this client holds enough of it. */
static bool make_room(struct query_engine *engine, const struct client *client, const struct query_message *message,
                      size_t group)
{
    struct share_place *place;

    if (atomic_load_explicit(engine->in_flight, memory_order_relaxed) < engine->config->in_flight ||
        !holds_its_part(engine))
        return true;
    place = share_claim(&engine->share, &client->endpoint, message->cookie.valid, group);
    if (place != NULL)
        displace(engine, place);
    return place != NULL;
}

/* Takes a place among those that wait. NULL: there is none to be had. */
static struct query *keep_query(struct query_engine *engine, const struct client *client,
                                const struct query_message *message, const uint8_t *question, size_t group)
{
    struct query *query = make_room(engine, client, message, group) ? pool_take(&engine->queries) : NULL;

    if (query == NULL) {
        metric_inc(engine->metrics, in_flight_refused_total);
        return NULL;
    }
    share_take(&engine->share, &query->place, &client->endpoint, message->cookie.valid, group);
    atomic_fetch_add_explicit(engine->in_flight, 1, memory_order_relaxed);
    metric_inc(engine->metrics, in_flight);
    query->received_us = engine->trace.received_us;
    query->asked_us = clock_us();
    query->client = *client;
    query->message = *message;
    memcpy(query->question, question, message->question_octets);
    return query;
}

/* Joins an equal question that is on its way, or asks. False: nobody can be asked. */
static bool join_or_ask(struct query_engine *engine, struct query *query, const struct cache_key *key,
                        const struct zone_config *zone)
{
    struct flights *flights = &engine->forward.flights;
    struct flight *flight = flight_find(flights, key->hash, key->question, key->dnssec_ok, key->checking_disabled);

    if (flight != NULL) {
        metric_inc(engine->metrics, joined_total);
        if (flight->waiting == NULL)
            engine->refresh.unattended--;
        wait_for(flight, query);
        return true;
    }
    flight = flight_take(flights, key->hash, key->question, key->dnssec_ok, key->checking_disabled);
    if (flight == NULL)
        return false;
    wait_for(flight, query);
    flight->zone = zone;
    if (flight_begin(flight, &engine->forward.groups[zone->upstream]))
        return true;
    flight_release(flight);
    return false;
}

static ssize_t ask_upstream(struct query_engine *engine, const struct client *client,
                            const struct query_message *message, const uint8_t *question, const struct cache_key *key,
                            const struct zone_config *zone, uint8_t *out, size_t capacity)
{
    struct query *query = keep_query(engine, client, message, question, zone->upstream);
    ssize_t size;

    if (query != NULL && join_or_ask(engine, query, key, zone))
        return CLIENT_LATER;
    if (query != NULL)
        release_query(engine, query);
    size = cached_answer(engine, key, client, message, question, out, capacity);
    if (size > 0)
        return size;
    return error_answer(engine, client, message, question, RCODE_SERVFAIL,
                        query != NULL ? EDE_NO_REACHABLE_AUTHORITY : EDE_NOT_READY, out, capacity);
}

/* May a stale answer, or a failure, that was found be the answer at once? If not, the upstream is asked first. What is
 * served stale for a long time is refreshed behind the client's back, so that nobody waits for an upstream that was out
 * a moment ago. */
static bool serve_at_once(struct query_engine *engine, const struct cache_key *key, const struct cache_hit *hit)
{
    const struct zone_config *zone = zone_find(engine->zones, &key->question->qname);
    struct group *group;
    const struct flight *flight;

    if (zone == NULL)
        return false;
    group = &engine->forward.groups[zone->upstream];
    if (hit->kind == CACHE_FAILURE)
        return hit->failed_at > group_recovered_s(group);
    if (refresh_failed_within(engine, hit, zone, REFRESH_RECHECK_S))
        return true;
    flight = flight_find(&engine->forward.flights, key->hash, key->question, key->dnssec_ok, key->checking_disabled);
    if (flight != NULL && flight->stale_ms == 0 && engine->config->stale_after != 0)
        return true; /* it was late already: others have had the stale answer */
    if (!group_is_hopeless(group_in_use(group)) && !refresh_failed_within(engine, hit, zone, REFRESH_BEHIND_S))
        return false;
    if (!hit->claimed)
        refresh_ask(engine, key, zone);
    return true;
}

/* A fresh answer, or a failure, was asked for once more. */
static void note_use(struct query_engine *engine, const struct cache_key *key, const struct cache_hit *hit)
{
    const struct zone_config *zone;

    if (hit->kind == CACHE_FAILURE)
        return;
    popular_use(&engine->refresh.popular, key);
    if (!hit->prefetch_due || !engine->config->prefetch)
        return;
    zone = zone_find(engine->zones, &key->question->qname);
    if (zone != NULL)
        refresh_ask(engine, key, zone);
}

/* Answers from the cache if that is right without asking the upstream. Returns 0 for a miss. */
static ssize_t answer_hit(struct query_engine *engine, const struct client *client, const struct query_message *message,
                          const uint8_t *question, const struct cache_key *key, uint8_t *out, size_t capacity)
{
    struct cache_hit hit;

    if (!cache_lookup(engine->cache, key, clock_seconds(), STALE_TTL_S, out, capacity, &hit))
        return 0;
    if ((hit.stale || hit.kind == CACHE_FAILURE) && !serve_at_once(engine, key, &hit))
        return 0;
    if (hit.stale) {
        metric_inc(engine->metrics, cache_misses_total);
    } else {
        metric_inc(engine->metrics, cache_hits_total);
        note_use(engine, key, &hit);
    }
    return stored_answer(engine, client, message, question, out, capacity, &hit, QUERY_FROM_CACHE);
}

/* The cache had nothing fresh. */
static ssize_t answer_miss(struct query_engine *engine, const struct client *client,
                           const struct query_message *message, const uint8_t *question, const struct cache_key *key,
                           uint8_t *out, size_t capacity)
{
    const struct zone_config *zone = zone_find(engine->zones, &message->question.qname);
    struct answer_style style = style_for(engine, client, EDE_NONE);
    size_t size = local_answer(message, question, local_zone_of(engine->config, zone), out, capacity, &style);

    if (size > 0) {
        metric_inc(engine->metrics, answers_local_total);
        trace_note(&engine->trace, QUERY_FROM_LOCAL, 0);
        return count_answer(engine, out, size, 0);
    }
    if (zone == NULL) /* no zone of the configuration covers the name */
        return error_answer(engine, client, message, question, RCODE_REFUSED, EDE_NOT_AUTHORITATIVE, out, capacity);
    metric_inc(engine->metrics, cache_misses_total);
    return ask_upstream(engine, client, message, question, key, zone, out, capacity);
}

/* DESIGN, "What is refused, and how". */
static ssize_t refuse(struct query_engine *engine, const struct client *client, enum query_verdict verdict,
                      const struct query_message *message, const uint8_t *question, uint8_t *out, size_t capacity)
{
    static const struct {
        enum rcode rcode;
        enum ede ede;
    } answers[] = {
        [QUERY_NOTIMP] = {RCODE_NOTIMP, EDE_NONE},
        [QUERY_FORMERR] = {RCODE_FORMERR, EDE_NONE},
        [QUERY_BADVERS] = {RCODE_BADVERS, EDE_NONE},
        [QUERY_COOKIE] = {RCODE_NOERROR, EDE_NONE},
        [QUERY_REFUSED_CLASS] = {RCODE_REFUSED, EDE_NOT_SUPPORTED},
        [QUERY_REFUSED_TRANSFER] = {RCODE_REFUSED, EDE_NOT_SUPPORTED},
        [QUERY_REFUSED_NO_RD] = {RCODE_REFUSED, EDE_NOT_AUTHORITATIVE},
    };

    if (verdict == QUERY_DROP) {
        metric_inc(engine->metrics, dropped_short_total);
        trace_note(&engine->trace, QUERY_DROPPED_SHORT, 0);
        return 0;
    }
    if (verdict == QUERY_COOKIE && message->edns.cookie_size > COOKIE_CLIENT && !message->cookie.valid)
        return error_answer(engine, client, message, question, RCODE_BADCOOKIE, EDE_NONE, out, capacity);
    return error_answer(engine, client, message, question, answers[verdict].rcode, answers[verdict].ede, out, capacity);
}

/* False: no answer. */
static bool count_refusal(struct query_engine *engine, enum admission_verdict verdict)
{
    switch (verdict) {
    case ADMISSION_OUTSIDE:
        metric_inc(engine->metrics, dropped_acl_total);
        trace_note(&engine->trace, QUERY_DROPPED_ACL, 0);
        return false;
    case ADMISSION_BLOCKED:
        metric_inc(engine->metrics, dropped_blocked_total);
        trace_note(&engine->trace, QUERY_DROPPED_BLOCKED, 0);
        return false;
    case ADMISSION_DROPPED:
        metric_inc(engine->metrics, dropped_rate_total);
        trace_note(&engine->trace, QUERY_DROPPED_RATE, 0);
        if (engine->config->client_block != 0) /* and is not heard from now on */
            metric_inc(engine->metrics, client_blocks_total);
        return false;
    case ADMISSION_REFUSED:
        metric_inc(engine->metrics, rate_limited_total);
        return true;
    case ADMISSION_GRANTED:
        break;
    }
    return true;
}

bool query_connection_allowed(void *owner, const struct endpoint *endpoint)
{
    struct query_engine *engine = owner;

    return admission_is_open(engine->admission) ||
           count_refusal(engine, admission_check_connection(engine->admission, endpoint, clock_ms()));
}

/* Has the client shown by a cookie that its address is its own? */
static bool take_cookie(struct query_engine *engine, const struct client *client, struct query_message *message)
{
    if (message->edns.cookie_size == 0)
        return false;
    cookie_judge(engine->cookie_key, &client->endpoint, message->edns.cookie, message->edns.cookie_size,
                 clock_seconds(), &message->cookie);
    if (message->cookie.valid)
        metric_inc(engine->metrics, cookies_valid_total);
    else
        metric_inc(engine->metrics, cookies_other_total);
    return message->cookie.valid;
}

static ssize_t answer_received(struct query_engine *engine, const struct client *client, const uint8_t *octets,
                               size_t size, uint8_t *out, size_t capacity)
{
    enum admission_verdict admission = ADMISSION_GRANTED;
    const uint8_t *question = octets + MESSAGE_HEADER;
    struct query_message message;
    enum query_verdict verdict;
    struct cache_key key;
    ssize_t answer;
    bool proven;

    count_client(engine, client);
    if (!admission_allows(engine->admission, &client->endpoint)) {
        count_refusal(engine, ADMISSION_OUTSIDE);
        return CLIENT_CLOSE;
    }
    verdict = query_parse(octets, size, &message);
    proven = verdict != QUERY_DROP && take_cookie(engine, client, &message);
    if (!admission_is_open(engine->admission)) {
        admission = admission_check(engine->admission, &client->endpoint, proven, clock_ms());
        if (!count_refusal(engine, admission))
            return admission == ADMISSION_DROPPED ? 0 : CLIENT_CLOSE;
    }
    if (verdict != QUERY_OK)
        return refuse(engine, client, verdict, &message, question, out, capacity);
    count_type(engine->metrics, message.question.qtype);
    if (admission == ADMISSION_REFUSED)
        return error_answer(engine, client, &message, question, RCODE_REFUSED, EDE_PROHIBITED, out, capacity);
    key = cache_key_of(engine->cache, &message.question, message.edns.dnssec_ok, (message.flags & MESSAGE_CD) != 0);
    answer = answer_hit(engine, client, &message, question, &key, out, capacity);
    return answer > 0 ? answer : answer_miss(engine, client, &message, question, &key, out, capacity);
}

ssize_t query_receive(void *owner, const struct client *client, const uint8_t *octets, size_t size, uint8_t *out,
                      size_t capacity)
{
    struct query_engine *engine = owner;
    ssize_t answer;

    trace_begin(&engine->trace);
    answer = answer_received(engine, client, octets, size, out, capacity);
    if (engine->trace.received_us != 0 && answer != CLIENT_LATER)
        trace_put_received(&engine->trace, client, octets, size, out, answer > 0 ? (size_t)answer : 0);
    return answer;
}

/* ---- life ---- */

bool query_engine_init(struct query_engine *engine, const struct query_setup *setup, char *error)
{
    struct engine_setup forward = setup->forward;

    memset(engine, 0, offsetof(struct query_engine, forward));
    engine->config = setup->config;
    engine->zones = setup->zones;
    engine->admission = setup->admission;
    engine->cookie_key = setup->cookie_key;
    engine->in_flight = setup->in_flight;
    engine->metrics = forward.metrics;
    engine->trace.tap = setup->tap;
    engine->busiest = setup->busiest;
    engine->cache = cache_open(setup->cache);
    strcpy(error, "out of memory");
    engine->bailiwick = bailiwick_create();
    if (engine->cache == NULL || engine->bailiwick == NULL ||
        !pool_init(&engine->queries, (size_t)setup->config->in_flight + DISPLACED_MAX, sizeof(struct query)) ||
        !share_init(&engine->share, setup->config->in_flight, &setup->config->client_prefix))
        return false;
    forward.events = &events;
    forward.owner = engine;
    return engine_init(&engine->forward, setup->config, &forward, error) && refresh_init(engine);
}

void query_engine_close(struct query_engine *engine)
{
    refresh_close(engine);
    engine_close(&engine->forward);
    pool_reset(&engine->queries);
    share_reset(&engine->share);
    bailiwick_destroy(engine->bailiwick);
    cache_close(engine->cache);
}

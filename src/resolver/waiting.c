#include "nodedot/resolver/waiting.h"

#include "nodedot/base/clock.h"
#include "nodedot/listener/client_answer.h"

#include <string.h>

/* Queries that may be displaced in one turn of the loop: as many as a listener reads in one. A query past that is
 * refused. */
#define DISPLACED_MAX 256

/* A client that waits for an answer. */
struct waiting_query {
    struct waiting_query *next, *previous; /* that wait for the same flight; next also among the displaced */
    struct flight *flight;
    struct fairness_place place;
    uint64_t received_us; /* trace.h */
    uint64_t asked_us;    /* clock_us() when it began to wait */
    struct client client;
    struct query_message message;
    uint8_t question[QUESTION_MAX_OCTETS]; /* as the client wrote it */
};

/* ---- who is told ---- */

/* Room for the answer of a query. reply->out is NULL when its client is gone. */
static struct reply begin_reply(const struct waiting_query *query)
{
    struct reply reply = {.client = &query->client, .message = &query->message, .question = query->question};

    reply.out = client_begin(&query->client, &reply.capacity);
    return reply;
}

/* Sends the answer of size octets that was written for a query. */
static void send_answer(struct waiting *waiting, struct waiting_query *query, const struct reply *reply, ssize_t size)
{
    struct trace *trace = &waiting->answers->trace;
    size_t octets = size > 0 ? (size_t)size : 0;

    if (octets == 0)
        trace_note(trace, QUERY_DROPPED_GONE, 0);
    if (query->received_us != 0)
        trace_put(trace, &query->client, &query->message, query->question, query->received_us, reply->out, octets);
    if (reply->out != NULL)
        client_commit(&query->client, octets);
    if (octets > 0)
        histogram_add(&waiting->metrics->miss_duration, clock_us() - query->asked_us, 1);
}

static void give_place_back(struct waiting *waiting, struct waiting_query *query)
{
    fairness_release(&waiting->fairness, &query->place);
    atomic_fetch_sub_explicit(waiting->in_flight, 1, memory_order_relaxed);
    metric_add(waiting->metrics, in_flight, -1);
}

static void release_query(struct waiting *waiting, struct waiting_query *query)
{
    give_place_back(waiting, query);
    pool_release(&waiting->queries, query);
}

static void finish_query(struct waiting *waiting, struct waiting_query *query, const struct reply *reply, ssize_t size)
{
    send_answer(waiting, query, reply, size);
    release_query(waiting, query);
}

/* What the cache has, or else SERVFAIL. */
static ssize_t failed_answer(struct waiting *waiting, const struct reply *reply, const struct cache_key *key,
                             enum ede why)
{
    ssize_t size = reply->out != NULL ? answers_cached(waiting->answers, reply, key) : 0;

    if (reply->out != NULL && size == 0)
        size = answers_error(waiting->answers, reply, RCODE_SERVFAIL, why);
    return size;
}

/* ---- who waits for which flight ---- */

static void wait_for(struct flight *flight, struct waiting_query *query)
{
    struct waiting_query *others = flight->waiting;

    query->flight = flight;
    query->previous = NULL;
    query->next = others;
    if (others != NULL)
        others->previous = query;
    flight->waiting = query;
}

static void stop_waiting(struct waiting_query *query)
{
    if (query->previous != NULL)
        query->previous->next = query->next;
    else
        query->flight->waiting = query->next;
    if (query->next != NULL)
        query->next->previous = query->previous;
}

static struct waiting_query *take_waiting(struct flight *flight)
{
    struct waiting_query *query = flight->waiting;

    if (query != NULL)
        stop_waiting(query);
    return query;
}

static void on_failed(void *owner, struct flight *flight, enum ede why)
{
    struct waiting *waiting = owner;
    struct cache_key key = outcome_key(&waiting->outcome, flight);
    struct waiting_query *query;

    if (flight->waiting == NULL)
        refresh_ended(waiting->refresh);
    while ((query = take_waiting(flight)) != NULL) {
        struct reply reply = begin_reply(query);

        if (why == EDE_NOT_READY)
            metric_inc(waiting->metrics, interrupted_total);
        finish_query(waiting, query, &reply, failed_answer(waiting, &reply, &key, why));
    }
    /* A question that was never asked did not fail: when the upstream is back it must not find the name remembered as
     * bad. */
    if (why == EDE_NETWORK_ERROR && flight->asks > 0)
        outcome_failed(&waiting->outcome, flight, &key, RCODE_SERVFAIL);
}

/* A remembered failure is none: the fresh answer is on its way. */
static ssize_t stale_answer(struct waiting *waiting, const struct reply *reply, const struct cache_key *key)
{
    struct cache_hit hit;

    if (!answers_look_up(waiting->answers, reply, key, &hit) || hit.kind == CACHE_FAILURE)
        return 0;
    return answers_stored(waiting->answers, reply, &hit, QUERY_FROM_CACHE);
}

/* Serves stale answers where there are any, and notes the delay so that later clients get them at once. The flight goes
 * on: it will bring an answer, or fail. */
static void on_late(void *owner, struct flight *flight)
{
    struct waiting *waiting = owner;
    struct cache_key key = outcome_key(&waiting->outcome, flight);
    bool attended = flight->waiting != NULL;
    struct cache_hit hit;

    if (cache_peek(waiting->answers->cache, &key, clock_seconds(), &hit) && hit.kind != CACHE_FAILURE)
        outcome_failed(&waiting->outcome, flight, &key, RCODE_SERVFAIL);
    for (struct waiting_query *query = flight->waiting, *next; query != NULL; query = next) {
        struct reply reply = begin_reply(query);
        ssize_t size = reply.out != NULL ? stale_answer(waiting, &reply, &key) : 0;

        next = query->next;
        if (reply.out == NULL || size > 0) { /* else nothing is stale: it goes on waiting, and nothing is committed */
            stop_waiting(query);
            finish_query(waiting, query, &reply, size);
        }
    }
    if (attended && flight->waiting == NULL && !refresh_adopt(waiting->refresh))
        flight->deadline_ms = 0; /* too many go on without a client: it ends as soon as this returns */
}

/* The answer as it lies in the cache, with the limits on TTLs applied, or as the upstream sent it. When the upstream
 * failed, a stale answer is better (RFC 8767 section 5). */
static ssize_t answer_of_flight(struct waiting *waiting, const struct reply *reply, const struct flight *flight,
                                const struct cache_key *key, const struct bailiwick_answer *answer)
{
    struct cache_limits limits = origins_limits(waiting->config, flight->zone);
    struct cache_hit hit;
    bool found;

    if (outcome_is_good(answer))
        found = cache_read_back(waiting->answers->cache, key, clock_seconds(), reply->out, reply->capacity, &hit);
    else
        found = answer->info->rcode != RCODE_YXDOMAIN && answers_look_up(waiting->answers, reply, key, &hit) &&
                hit.kind != CACHE_FAILURE;
    return found ? answers_stored(waiting->answers, reply, &hit, QUERY_FROM_UPSTREAM)
                 : answers_upstream(waiting->answers, reply, answer, &limits);
}

static void on_answered(void *owner, struct flight *flight, const uint8_t *message, const struct answer_info *info,
                        const uint16_t *ttl_offsets)
{
    struct waiting *waiting = owner;
    struct cache_key key = outcome_key(&waiting->outcome, flight);
    struct bailiwick_answer answer = {.message = message, .info = info, .ttl_offsets = ttl_offsets};
    struct waiting_query *query;

    waiting->answers->trace.server = flight->server;
    if (flight->waiting == NULL)
        refresh_ended(waiting->refresh);
    outcome_take(&waiting->outcome, flight, &key, &answer);
    while ((query = take_waiting(flight)) != NULL) {
        struct reply reply = begin_reply(query);
        ssize_t size = reply.out != NULL ? answer_of_flight(waiting, &reply, flight, &key, &answer) : 0;

        finish_query(waiting, query, &reply, size);
    }
}

const struct flight_events waiting_events = {.answered = on_answered, .failed = on_failed, .late = on_late};

/* ---- who gives way ---- */

static bool is_over_limit(const struct waiting *waiting)
{
    return atomic_load_explicit(waiting->in_flight, memory_order_relaxed) > waiting->config->in_flight;
}

/* Does this thread hold its equal part of the places? */
static bool holds_its_part(const struct waiting *waiting)
{
    return waiting->fairness.held >= waiting->config->in_flight / waiting->config->workers;
}

/* Takes a query's place away. It is answered later: another answer may be half written now. */
static void displace(struct waiting *waiting, struct fairness_place *place)
{
    struct waiting_query *query = (struct waiting_query *)((char *)place - offsetof(struct waiting_query, place));

    stop_waiting(query);
    if (query->flight->waiting == NULL)
        flight_abandon(query->flight);
    give_place_back(waiting, query);
    metric_inc(waiting->metrics, in_flight_displaced_total);
    query->next = waiting->displaced;
    waiting->displaced = query;
}

static void answer_displaced(struct waiting *waiting, struct waiting_query *query)
{
    struct reply reply = begin_reply(query);
    struct cache_key key;

    answers_zone(waiting->answers, &query->message, &key); /* it has one, or it would not have waited */
    send_answer(waiting, query, &reply, failed_answer(waiting, &reply, &key, EDE_NOT_READY));
    pool_release(&waiting->queries, query);
}

void waiting_flush(struct waiting *waiting)
{
    while (is_over_limit(waiting) && holds_its_part(waiting) && fairness_first_to_go(&waiting->fairness) != NULL)
        displace(waiting, fairness_first_to_go(&waiting->fairness));
    while (waiting->displaced != NULL) {
        struct waiting_query *query = waiting->displaced;

        waiting->displaced = query->next;
        answer_displaced(waiting, query);
    }
}

/* Makes room for one more query, if there is none. False: in-flight is reached, and this client holds enough of it. */
static bool make_room(struct waiting *waiting, const struct reply *reply, size_t group)
{
    struct fairness_place *place;

    if (atomic_load_explicit(waiting->in_flight, memory_order_relaxed) < waiting->config->in_flight ||
        !holds_its_part(waiting))
        return true;
    place = fairness_claim(&waiting->fairness, &reply->client->endpoint, reply->message->cookie.valid, group);
    if (place != NULL)
        displace(waiting, place);
    return place != NULL;
}

/* ---- who begins to wait ---- */

/* Takes a place among the waiting queries. NULL: there is none. */
static struct waiting_query *keep_query(struct waiting *waiting, const struct reply *reply, size_t group)
{
    struct waiting_query *query = make_room(waiting, reply, group) ? pool_take(&waiting->queries) : NULL;

    if (query == NULL) {
        metric_inc(waiting->metrics, in_flight_refused_total);
        return NULL;
    }
    fairness_take(&waiting->fairness, &query->place, &reply->client->endpoint, reply->message->cookie.valid, group);
    atomic_fetch_add_explicit(waiting->in_flight, 1, memory_order_relaxed);
    metric_inc(waiting->metrics, in_flight);
    query->received_us = waiting->answers->trace.received_us;
    query->asked_us = clock_us();
    query->client = *reply->client;
    query->message = *reply->message;
    memcpy(query->question, reply->question, reply->message->question_octets);
    return query;
}

/* Joins an equal question that is on its way, or asks. False: nobody can be asked. */
static bool join_or_ask(struct waiting *waiting, struct waiting_query *query, const struct cache_key *key,
                        const struct zone_config *zone)
{
    struct flights *flights = &waiting->forward->flights;
    struct flight *flight = flight_find(flights, key->hash, key->question, key->dnssec_ok, key->checking_disabled);

    if (flight != NULL) {
        metric_inc(waiting->metrics, joined_total);
        if (flight->waiting == NULL)
            refresh_ended(waiting->refresh);
        wait_for(flight, query);
        return true;
    }
    flight = flight_take(flights, key->hash, key->question, key->dnssec_ok, key->checking_disabled);
    if (flight == NULL)
        return false;
    wait_for(flight, query);
    flight->zone = zone;
    if (flight_begin(flight, &waiting->forward->groups[zone->upstream]))
        return true;
    flight_release(flight);
    return false;
}

ssize_t waiting_ask(struct waiting *waiting, const struct reply *reply, const struct cache_key *key,
                    const struct zone_config *zone)
{
    struct waiting_query *query = keep_query(waiting, reply, zone->upstream);

    if (query != NULL && join_or_ask(waiting, query, key, zone))
        return CLIENT_LATER;
    if (query != NULL)
        release_query(waiting, query);
    return failed_answer(waiting, reply, key, query != NULL ? EDE_NO_REACHABLE_AUTHORITY : EDE_NOT_READY);
}

bool waiting_init(struct waiting *waiting)
{
    const struct config *config = waiting->config;

    waiting->outcome.bailiwick = bailiwick_create();
    return waiting->outcome.bailiwick != NULL &&
           pool_init(&waiting->queries, (size_t)config->in_flight + DISPLACED_MAX, sizeof(struct waiting_query)) &&
           fairness_init(&waiting->fairness, config->in_flight, &config->client_prefix);
}

void waiting_reset(struct waiting *waiting)
{
    pool_reset(&waiting->queries);
    fairness_reset(&waiting->fairness);
    bailiwick_destroy(waiting->outcome.bailiwick);
}

#include "nodedot/resolver/query.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/flight.h"
#include "nodedot/resolver/tally.h"

#include <string.h>

/* Before anything else: a client that floods is to be seen, whether it is answered or not. */
static void count_client(struct query_engine *engine, const struct client *client)
{
    if (client->udp != NULL)
        metric_inc(engine->metrics, queries_udp_total);
    else
        metric_inc(engine->metrics, queries_tcp_total);
    busiest_count(engine->busiest, &client->endpoint);
}

/* May a stale answer, or a failure, that was found be the answer at once? If not, the upstream is asked first. What is
 * served stale for a long time is refreshed behind the client's back, so that nobody waits for an upstream that was out
 * a moment ago. */
static bool serve_at_once(struct query_engine *engine, const struct cache_key *key, const struct zone_config *zone,
                          const struct cache_hit *hit)
{
    struct group *group = &engine->forward.groups[zone->upstream];
    const struct flight *flight;

    if (hit->kind == CACHE_FAILURE)
        return hit->failed_at > group_recovered_s(group);
    if (refresh_failed_within(&engine->refresh, hit, zone, REFRESH_RECHECK_S))
        return true;
    flight = flight_find(&engine->forward.flights, key->hash, key->question, key->dnssec_ok, key->checking_disabled);
    if (flight != NULL && flight->stale_ms == 0 && engine->config->stale_after != 0)
        return true; /* it was late already: others have had the stale answer */
    if (!group_is_hopeless(group_in_use(group)) &&
        !refresh_failed_within(&engine->refresh, hit, zone, REFRESH_BEHIND_S))
        return false;
    if (!hit->claimed)
        refresh_ask(&engine->refresh, key, zone);
    return true;
}

/* A fresh answer, or a failure, was asked for once more. */
static void note_use(struct query_engine *engine, const struct cache_key *key, const struct zone_config *zone,
                     const struct cache_hit *hit)
{
    if (hit->kind == CACHE_FAILURE)
        return;
    hot_names_use(&engine->refresh.hot_names, key);
    if (hit->prefetch_due && engine->config->prefetch)
        refresh_ask(&engine->refresh, key, zone);
}

/* Answers from the cache if that is right without asking the upstream. Returns 0 for a miss. */
static ssize_t answer_hit(struct query_engine *engine, const struct reply *reply, const struct cache_key *key,
                          const struct zone_config *zone)
{
    struct cache_hit hit;

    if (!answers_look_up(&engine->answers, reply, key, &hit))
        return 0;
    if ((hit.stale || hit.kind == CACHE_FAILURE) && !serve_at_once(engine, key, zone, &hit))
        return 0;
    if (hit.stale) {
        metric_inc(engine->metrics, cache_misses_total);
    } else {
        metric_inc(engine->metrics, cache_hits_total);
        note_use(engine, key, zone, &hit);
    }
    return answers_stored(&engine->answers, reply, &hit, QUERY_FROM_CACHE);
}

static ssize_t answer_question(struct query_engine *engine, const struct reply *reply)
{
    struct cache_key key;
    const struct zone_config *zone = answers_zone(&engine->answers, reply->message, &key);
    ssize_t size = zone != NULL ? answer_hit(engine, reply, &key, zone) : 0;

    if (size == 0)
        size = answers_local(&engine->answers, reply, zone);
    if (size > 0)
        return size;
    if (zone == NULL) /* no zone of the configuration covers the name */
        return answers_error(&engine->answers, reply, RCODE_REFUSED, EDE_NOT_AUTHORITATIVE);
    metric_inc(engine->metrics, cache_misses_total);
    return waiting_ask(&engine->waiting, reply, &key, zone);
}

/* DESIGN, "What is refused, and how". */
static ssize_t refuse(struct query_engine *engine, const struct reply *reply, enum query_verdict verdict)
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
        trace_note(&engine->answers.trace, QUERY_DROPPED_SHORT, 0);
        return 0;
    }
    if (verdict == QUERY_COOKIE && reply->message->edns.cookie_size > COOKIE_CLIENT && !reply->message->cookie.valid)
        return answers_error(&engine->answers, reply, RCODE_BADCOOKIE, EDE_NONE);
    return answers_error(&engine->answers, reply, answers[verdict].rcode, answers[verdict].ede);
}

/* False: no answer. */
static bool count_refusal(struct query_engine *engine, enum admission_verdict verdict)
{
    switch (verdict) {
    case ADMISSION_OUTSIDE:
        metric_inc(engine->metrics, dropped_acl_total);
        trace_note(&engine->answers.trace, QUERY_DROPPED_ACL, 0);
        return false;
    case ADMISSION_BLOCKED:
        metric_inc(engine->metrics, dropped_blocked_total);
        trace_note(&engine->answers.trace, QUERY_DROPPED_BLOCKED, 0);
        return false;
    case ADMISSION_DROPPED:
        metric_inc(engine->metrics, dropped_rate_total);
        trace_note(&engine->answers.trace, QUERY_DROPPED_RATE, 0);
        if (engine->config->client_block != 0) /* and is ignored from now on */
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
    struct query_message message;
    struct reply reply = {
        .client = client, .message = &message, .question = octets + MESSAGE_HEADER, .out = out, .capacity = capacity};
    enum query_verdict verdict;
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
        return refuse(engine, &reply, verdict);
    tally_type(engine->metrics, message.question.qtype);
    if (admission == ADMISSION_REFUSED)
        return answers_error(&engine->answers, &reply, RCODE_REFUSED, EDE_PROHIBITED);
    return answer_question(engine, &reply);
}

ssize_t query_receive(void *owner, const struct client *client, const uint8_t *octets, size_t size, uint8_t *out,
                      size_t capacity)
{
    struct query_engine *engine = owner;
    ssize_t answer;

    trace_begin(&engine->answers.trace);
    answer = answer_received(engine, client, octets, size, out, capacity);
    if (engine->answers.trace.received_us != 0 && answer != CLIENT_LATER)
        trace_put_received(&engine->answers.trace, client, octets, size, out, answer > 0 ? (size_t)answer : 0);
    return answer;
}

/* ---- life ---- */

static void init_parts(struct query_engine *engine, const struct query_setup *setup)
{
    const struct config *config = setup->config;
    struct metrics *metrics = setup->forward.metrics;

    engine->config = config;
    engine->admission = setup->admission;
    engine->cookie_key = setup->cookie_key;
    engine->metrics = metrics;
    engine->busiest = setup->busiest;
    engine->answers = (struct answers){.config = config,
                                       .zones = setup->zones,
                                       .origins = setup->origins,
                                       .cache = engine->cache,
                                       .metrics = metrics,
                                       .trace.tap = setup->tap};
    engine->refresh = (struct refresh){.config = config,
                                       .zones = setup->zones,
                                       .origins = setup->origins,
                                       .cache = engine->cache,
                                       .metrics = metrics,
                                       .forward = &engine->forward};
    engine->waiting = (struct waiting){.config = config,
                                       .metrics = metrics,
                                       .forward = &engine->forward,
                                       .answers = &engine->answers,
                                       .refresh = &engine->refresh,
                                       .in_flight = setup->in_flight};
    engine->waiting.outcome = (struct outcome){.config = config,
                                               .origins = setup->origins,
                                               .forward = &engine->forward,
                                               .cache = engine->cache,
                                               .metrics = metrics};
}

bool query_engine_init(struct query_engine *engine, const struct query_setup *setup, char *error)
{
    struct engine_setup forward = setup->forward;

    engine->cache = cache_open(setup->cache);
    init_parts(engine, setup);
    strcpy(error, "out of memory");
    if (engine->cache == NULL || !waiting_init(&engine->waiting))
        return false;
    forward.events = &waiting_events;
    forward.owner = &engine->waiting;
    return engine_init(&engine->forward, setup->config, &forward, error) && refresh_init(&engine->refresh);
}

void query_engine_drain(struct query_engine *engine)
{
    engine->answers.draining = true;
    engine->refresh.stopped = true;
}

bool query_engine_is_idle(const struct query_engine *engine)
{
    return engine->forward.flights.table.count == engine->refresh.unattended;
}

void query_engine_close(struct query_engine *engine)
{
    refresh_close(&engine->refresh);
    engine_close(&engine->forward);
    waiting_reset(&engine->waiting);
    cache_close(engine->cache);
}

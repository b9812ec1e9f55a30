#include "nodedot/forward/flight.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/socket.h"

#include <errno.h>
#include <string.h>

/* A question without an answer is asked elsewhere as well after this: twice what a recursive resolver usually needs for
 * a name that it does not have, and short enough for three tries within a stub resolver's 5 s. */
#define ASK_AGAIN_MS 1000
/* A group without hope is asked one client's query in this time: it may be well, and only not answer our probes. */
#define TRIAL_MS 1000

static const struct exchange_events events;

/* The flight of an entry of the table. */
static struct flight *flight_of(struct inflight_entry *entry)
{
    return (struct flight *)((char *)entry - offsetof(struct flight, key));
}

bool flights_init(struct flights *flights, struct exchanges *exchanges, const struct config *config,
                  const struct flight_events *flight_events, void *owner)
{
    *flights = (struct flights){.exchanges = exchanges, .config = config, .events = flight_events, .owner = owner};
    return inflight_init(&flights->table, config->in_flight + flights_unattended_max(config), sizeof(struct flight));
}

void flights_reset(struct flights *flights)
{
    inflight_reset(&flights->table);
}

struct flight *flight_find(const struct flights *flights, uint64_t hash, const struct question *question,
                           bool dnssec_ok, bool checking_disabled)
{
    struct inflight_entry *entry = inflight_find(&flights->table, hash, question, dnssec_ok, checking_disabled);

    return entry != NULL ? flight_of(entry) : NULL;
}

struct flight *flight_take(struct flights *flights, uint64_t hash, const struct question *question, bool dnssec_ok,
                           bool checking_disabled)
{
    struct inflight_entry *entry = inflight_take(&flights->table, hash, question, dnssec_ok, checking_disabled);

    if (entry == NULL)
        return NULL;
    flight_of(entry)->flights = flights;
    return flight_of(entry);
}

void flight_release(struct flight *flight)
{
    inflight_release(&flight->flights->table, &flight->key);
}

static void stop(struct flight *flight)
{
    for (int i = 0; i < FLIGHT_EXCHANGES; i++)
        address_forget(&flight->exchanges[i]);
    ev_timer_stop(flight->flights->exchanges->loop, &flight->timer);
}

void flight_abandon(struct flight *flight)
{
    stop(flight);
    flight_release(flight);
}

void flight_fail(struct flight *flight, enum ede why)
{
    struct flights *flights = flight->flights;

    flights->events->failed(flights->owner, flight, why);
    flight_abandon(flight);
}

static bool is_out(const struct flight *flight)
{
    return exchange_count_out(flight->exchanges, FLIGHT_EXCHANGES) > 0;
}

static bool is_at(const struct flight *flight, const struct address *address)
{
    return exchange_is_at(flight->exchanges, FLIGHT_EXCHANGES, address);
}

static struct address *choose(const struct flight *flight)
{
    struct group_question question = {.exchanges = flight->exchanges,
                                      .count = FLIGHT_EXCHANGES,
                                      .unable = flight->unable,
                                      .first = flight->asks == 0};

    return group_choose(flight->group, &question);
}

/* Why a flight without an answer fails. */
static enum ede reason_of(const struct flight *flight)
{
    if (flight->lacking)
        return EDE_NOT_READY;
    if (group_is_hopeless(flight->group) || group_is_refused(flight->group))
        return EDE_NO_REACHABLE_AUTHORITY;
    return EDE_NETWORK_ERROR;
}

static struct metrics *metrics_of(const struct flight *flight)
{
    return flight->flights->exchanges->metrics;
}

/* The exchange of this flight that is out at the address without an answer, or NULL. */
static const struct exchange *unanswered_at(const struct flight *flight, const struct address *address)
{
    for (int i = 0; i < FLIGHT_EXCHANGES; i++) {
        const struct exchange *exchange = &flight->exchanges[i];

        if (exchange->address == address &&
            (exchange->state == EXCHANGE_STREAM || exchange->state == EXCHANGE_DATAGRAM))
            return exchange;
    }
    return NULL;
}

/* How the question is put to the address. One that is silent, and was never seen to answer a query with EDNS, may be silent
 * because of it. Returns whether the form is plainer than the last. */
static bool make_form(const struct flight *flight, const struct address *address, bool hedge,
                      struct exchange_form *form)
{
    const struct exchange *silent = hedge ? NULL : unanswered_at(flight, address); /* it is late, not silent */

    *form = (struct exchange_form){.question = &flight->key.question,
                                   .dnssec_ok = flight->key.dnssec_ok,
                                   .checking_disabled = flight->key.checking_disabled,
                                   .edns = true};
    address_complete_form(address, form, flight->over_tcp);
    return silent != NULL && silent->form.stream == form->stream && !form->edns_known && exchange_make_plainer(form);
}

/* Asks with this exchange, which is free and has its form. False: the network refuses at once. */
static bool ask_with(struct flight *flight, struct exchange *exchange, struct address *address)
{
    exchange->events = &events;
    exchange->owner = flight;
    return address_ask(address, exchange, flight->over_tcp);
}

/* We had no socket for it, nor will there be one elsewhere: what is not out fails as soon as the loop turns. */
static void note_lacking(struct flight *flight, struct address *address, int error)
{
    address_lacking(address, strerror(error));
    flight->lacking = true;
    if (!is_out(flight))
        flight->deadline_ms = clock_ms();
}

/* Asks once more, at this address. False: it was asked often enough, or the network refuses. */
static bool ask_at(struct flight *flight, struct address *address, bool hedge)
{
    struct exchange *exchange = NULL;

    if (flight->asks >= FLIGHT_ASKS)
        return false;
    for (int i = 0; i < FLIGHT_EXCHANGES && exchange == NULL; i++) {
        if (flight->exchanges[i].state == EXCHANGE_FREE)
            exchange = &flight->exchanges[i];
    }
    if (exchange == NULL)
        return false;
    exchange->hedge = hedge;
    exchange->is_try = !hedge || is_at(flight, address);
    exchange->plainer = make_form(flight, address, hedge, &exchange->form);
    if (ask_with(flight, exchange, address))
        return true;
    int error = errno;
    if (exchange->is_try)
        flight->tries++;
    if (socket_error_is_local(error))
        note_lacking(flight, address, error);
    else
        address_failed(address, ADDRESS_NO_ANSWER, "the network refuses");
    return false;
}

/* Asks once more at the best address. False: there is none, or it was asked often enough. */
static bool ask(struct flight *flight)
{
    struct address *address = choose(flight);

    return address != NULL && flight->tries < FLIGHT_TRIES && ask_at(flight, address, false);
}

/* The first asking: sets when it is late. */
static void ask_first(struct flight *flight)
{
    struct group *group = flight->group;
    const struct exchange *first = &flight->exchanges[0];

    hedge_earn(&group->hedges);
    group->peers.asked_ms = clock_ms();
    flight->ask_again_ms = group->peers.asked_ms + ASK_AGAIN_MS;
    flight->hedge_ms = 0;
    if (!ask(flight)) /* when the network refused, the timer asks again */
        return;
    group->turn = (size_t)(first->address - group->addresses) + 1;
    if (group->address_count < 2 && first->form.stream) /* a connection loses nothing */
        return;
    flight->hedge_wait_ms =
        group->address_count < 2 ? hedge_same_after_ms(group_usual_us(group)) : hedge_after_ms(group_usual_us(group));
    flight->hedge_ms = group->peers.asked_ms + flight->hedge_wait_ms;
}

static void set_timer(struct flight *flight)
{
    uint64_t now = clock_ms();
    uint64_t next = flight->deadline_ms;

    if (flight->stale_ms != 0 && flight->stale_ms < next)
        next = flight->stale_ms;
    if (flight->ask_again_ms != 0 && flight->ask_again_ms < next)
        next = flight->ask_again_ms;
    if (flight->hedge_ms != 0 && flight->hedge_ms < next)
        next = flight->hedge_ms;
    ev_timer_stop(flight->flights->exchanges->loop, &flight->timer);
    ev_timer_set(&flight->timer, next > now ? (double)(next - now) / 1000. : 0., 0.);
    ev_timer_start(flight->flights->exchanges->loop, &flight->timer);
}

/* Would another asking go to a place that does not have the question yet? */
static bool has_elsewhere(const struct flight *flight)
{
    struct address *address = choose(flight);

    if (address == NULL)
        return false;
    if (!address->health.streams && !flight->over_tcp)
        return true; /* a datagram may have been lost */
    for (int i = 0; i < FLIGHT_EXCHANGES; i++) {
        const struct exchange *exchange = &flight->exchanges[i];

        if (exchange->state == EXCHANGE_LOST)
            return false; /* it is asked again before the loop sleeps */
        if (exchange->address != address)
            continue;
        if (exchange->state == EXCHANGE_WAITING || (exchange->state == EXCHANGE_STREAM && !exchange->stream->suspect))
            return false;
    }
    return true;
}

static void ask_again(struct flight *flight)
{
    struct metrics *metrics = metrics_of(flight);

    flight->ask_again_ms = flight->tries + 1 < FLIGHT_TRIES ? clock_ms() + ASK_AGAIN_MS : 0;
    for (int i = 0; i < FLIGHT_EXCHANGES; i++) {
        address_late(&flight->exchanges[i]);
        address_relay(&flight->exchanges[i]);
    }
    if (has_elsewhere(flight) && ask(flight))
        metric_inc(metrics, upstream_retries_total);
}

/* May the address that has the question be asked again, although it works? A datagram may have been lost. */
static bool may_ask_same(const struct flight *flight, const struct address *address)
{
    uint64_t waited_ms = (clock_us() - flight->started_us) / 1000;

    return flight->tries < FLIGHT_TRIES && !address->health.streams && !flight->over_tcp &&
           waited_ms >= hedge_same_after_ms(group_usual_us(flight->group));
}

/* Asks a second address that works, or sends another datagram, if the budget has it. */
static bool try_hedge(struct flight *flight)
{
    struct group *group = flight->group;
    struct address *address = choose(flight);

    if (address == NULL || !address_is_good(address) || (is_at(flight, address) && !may_ask_same(flight, address)) ||
        flight->asks >= FLIGHT_ASKS || !hedge_spend(&group->hedges) || !ask_at(flight, address, true))
        return false;
    metric_inc(metrics_of(flight), hedges_total);
    atomic_fetch_add_explicit(&address->peer.reachability.status->hedges, 1, memory_order_relaxed);
    return true;
}

/* The answer is late. Where no hedge can be had, one may be a little later. */
static void hedge(struct flight *flight)
{
    flight->hedge_ms = 0;
    if (exchange_count_out(flight->exchanges, FLIGHT_EXCHANGES) != 1 || try_hedge(flight))
        return;
    flight->hedge_wait_ms *= 2;
    flight->hedge_ms = clock_ms() + flight->hedge_wait_ms;
    if (flight->ask_again_ms == 0 || flight->hedge_ms >= flight->ask_again_ms)
        flight->hedge_ms = 0;
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct flight *flight = timer->data;
    struct flights *flights = flight->flights;
    uint64_t now = clock_ms();

    (void)loop, (void)revents;
    if (now >= flight->deadline_ms) {
        if (!flight->lacking)
            metric_inc(metrics_of(flight), upstream_timeouts_total);
        for (int i = 0; i < FLIGHT_EXCHANGES; i++)
            address_count_timeout(&flight->exchanges[i]);
        flight_fail(flight, reason_of(flight));
        return;
    }
    if (flight->stale_ms != 0 && now >= flight->stale_ms) {
        flight->stale_ms = 0;
        flights->events->late(flights->owner, flight);
    }
    if (flight->ask_again_ms != 0 && now >= flight->ask_again_ms)
        ask_again(flight);
    else if (flight->hedge_ms != 0 && now >= flight->hedge_ms)
        hedge(flight);
    set_timer(flight);
}

bool flight_begin(struct flight *flight, struct group *group)
{
    const struct config *config = flight->flights->config;
    uint64_t now = clock_ms();

    flight->group = group_in_use(group);
    flight->fell_back = flight->group != group;
    group = flight->group;
    flight->started_us = clock_us();
    flight->deadline_ms = now + config->timeout;
    flight->stale_ms = config->stale_after != 0 ? now + config->stale_after : 0;
    ev_init(&flight->timer, on_timer);
    flight->timer.data = flight;
    if (group_is_hopeless(group) && (now - group->trial_ms < TRIAL_MS || choose(flight) == NULL)) /* nothing to try */
        return false;
    group->trial_ms = now;
    if (flight->fell_back)
        metric_inc(metrics_of(flight), fallback_queries_total);
    ask_first(flight);
    set_timer(flight);
    return true;
}

void flight_leave(struct flight *flight, const struct address *address)
{
    for (int i = 0; i < FLIGHT_EXCHANGES; i++) {
        const struct exchange *exchange = &flight->exchanges[i];

        if (exchange->state != EXCHANGE_FREE && exchange->address != address)
            return;
    }
    if (!is_at(flight, address) || !has_elsewhere(flight) || !ask(flight))
        return;
    metric_inc(metrics_of(flight), upstream_retries_total);
    flight->hedge_ms = 0;
}

void flight_fall_back(struct flight *flight)
{
    for (int i = 0; i < FLIGHT_EXCHANGES; i++)
        address_forget(&flight->exchanges[i]);
    flight->group = flight->group->fallback;
    flight->fell_back = true;
    flight->tries = 0;
    flight->unable = 0;
    flight->over_tcp = false;
    flight->failed_rcode = 0;
    metric_inc(metrics_of(flight), fallback_queries_total);
    ask_first(flight);
    set_timer(flight);
}

/* The asking is over without an answer, through no fault of the question. */
static void retry(struct flight *flight)
{
    struct metrics *metrics = metrics_of(flight);

    if (ask(flight))
        metric_inc(metrics, upstream_retries_total);
    else if (!is_out(flight) && !group_awaits_fallback(flight->group))
        flight_fail(flight, reason_of(flight));
}

static void on_sent(struct exchange *exchange)
{
    struct flight *flight = exchange->owner;

    flight->asks++;
    if (exchange->is_try)
        flight->tries++;
}

static void on_refused(struct exchange *exchange)
{
    struct flight *flight = exchange->owner;
    struct address *address = exchange->address;

    address_forget(exchange);
    address_failed(address, ADDRESS_NO_ANSWER, "the network refuses");
    /* With nobody listening on the only address, three tries would be over in a millisecond: the timer asks again. */
    if (flight->group->address_count > 1)
        retry(flight);
    else if (flight->tries >= FLIGHT_TRIES && !is_out(flight) && !group_awaits_fallback(flight->group))
        flight_fail(flight, EDE_NETWORK_ERROR);
}

/* Asks the same address again, in this form. */
static void ask_same(struct flight *flight, struct exchange *exchange, const struct exchange_form *form, bool plainer)
{
    struct address *address = exchange->address;

    address_forget(exchange);
    if (exchange->is_try)
        flight->tries--;
    exchange->form = *form;
    exchange->plainer = plainer;
    if (flight->asks >= FLIGHT_ASKS || !ask_with(flight, exchange, address))
        retry(flight);
}

static void ask_over_tcp(struct flight *flight, struct exchange *exchange)
{
    struct exchange_form form;

    flight->over_tcp = true;
    address_forget(exchange); /* it is no silent one */
    make_form(flight, exchange->address, false, &form);
    ask_same(flight, exchange, &form, false);
}

static void ask_plainer(struct flight *flight, struct exchange *exchange)
{
    struct exchange_form form = exchange->form;

    metric_inc(metrics_of(flight), upstream_plainer_total);
    exchange_make_plainer(&form);
    ask_same(flight, exchange, &form, true);
}

/* The server could not or would not: somebody else may, who has the question already or is asked now. True: the exchange is
 * over. */
static bool ask_other_server(struct flight *flight, struct exchange *exchange)
{
    struct group *group = flight->group;

    flight->unable |= UINT32_C(1) << (exchange->address - group->addresses);
    for (size_t i = 0; i < group->address_count; i++) {
        struct address *other = &group->addresses[i];

        if ((flight->unable >> i & 1) != 0 || !address_is_good(other))
            continue;
        if (is_at(flight, other) || ask(flight)) {
            address_forget(exchange);
            return true;
        }
    }
    return false;
}

/* What came is an answer that says no more than that this server cannot give one, or none that can be passed on. */
static void ask_elsewhere(struct flight *flight, struct exchange *exchange)
{
    if (ask_other_server(flight, exchange))
        return;
    if (!exchange->form.stream) {
        ask_over_tcp(flight, exchange);
        return;
    }
    address_forget(exchange);
    if (!is_out(flight))
        flight_fail(flight, EDE_NETWORK_ERROR);
}

/* Is the answer a failure that another server may not have? One other is asked. */
static bool is_failure(const struct flight *flight, const struct answer_info *info)
{
    return info->rcode != RCODE_NOERROR && info->rcode != RCODE_NXDOMAIN && info->rcode != RCODE_YXDOMAIN &&
           flight->failed_rcode == 0 && flight->group->address_count > 1;
}

/* What an answer says of those who were asked the same and did not answer. */
static void judge_others(struct flight *flight, const struct exchange *winner)
{
    uint64_t took_us = clock_us() - winner->sent_us;

    if (winner->hedge)
        metric_inc(metrics_of(flight), hedges_won_total);
    for (int i = 0; i < FLIGHT_EXCHANGES; i++) {
        const struct exchange *other = &flight->exchanges[i];

        if (other->address != winner->address && (other->state == EXCHANGE_STREAM || other->state == EXCHANGE_DATAGRAM))
            address_outrun(other, took_us);
    }
}

static void take_answer(struct flight *flight, struct exchange *exchange)
{
    struct flights *flights = flight->flights;
    const struct exchange_answer *answer = &flights->exchanges->answer;

    if (is_failure(flight, &answer->info) && ask_other_server(flight, exchange)) {
        flight->failed_rcode = answer->info.rcode;
        return;
    }
    judge_others(flight, exchange);
    flight->server = exchange->address;
    flights->events->answered(flights->owner, flight, answer->message, &answer->info, answer->ttl_offsets);
    flight_abandon(flight);
}

static void take_keepalive(const struct exchange *exchange)
{
    const struct edns *edns = &exchange->exchanges->answer.info.edns;

    if (exchange->stream != NULL && edns->has_keepalive && edns->keepalive != UINT16_MAX)
        stream_take_keepalive(exchange->stream, edns->keepalive);
}

/* Is something that was asked at the same address before still without an answer? */
static bool has_silent_twin(const struct flight *flight, const struct exchange *exchange)
{
    for (int i = 0; i < FLIGHT_EXCHANGES; i++) {
        const struct exchange *other = &flight->exchanges[i];

        if (other != exchange && other->address == exchange->address && other->state == exchange->state)
            return true;
    }
    return false;
}

static void on_answered(struct exchange *exchange, enum exchange_verdict verdict)
{
    struct flight *flight = exchange->owner;
    struct metrics *metrics = metrics_of(flight);

    metric_inc(metrics, upstream_answers_total);
    address_answered(exchange);
    address_note_edns(exchange, verdict, has_silent_twin(flight, exchange));
    switch (verdict) {
    case EXCHANGE_TRUNCATED:
        metric_inc(metrics, upstream_truncated_total);
        ask_over_tcp(flight, exchange);
        break;
    case EXCHANGE_DISLIKES_EDNS:
        ask_plainer(flight, exchange);
        break;
    case EXCHANGE_ELSEWHERE:
        ask_elsewhere(flight, exchange);
        break;
    default:
        take_keepalive(exchange);
        take_answer(flight, exchange);
    }
}

static const struct exchange_events events = {.sent = on_sent, .answered = on_answered, .failed = on_refused};

void flights_move_waiting(struct address *address)
{
    size_t count = 0;

    for (const struct exchange *exchange = address->waiting.first; exchange != NULL; exchange = exchange->next)
        count++;
    while (count-- > 0 && address->waiting.first != NULL) {
        struct exchange *exchange = address->waiting.first;
        struct flight *flight = exchange->owner;

        exchange_list_remove(&address->waiting, exchange);
        if (ask(flight) || is_out(flight) || group_awaits_fallback(flight->group))
            continue;
        flight_fail(flight, choose(flight) == NULL ? EDE_NO_REACHABLE_AUTHORITY : reason_of(flight));
    }
}

/* Can the flight be asked there without a new connection? */
static bool can_ask_now(const struct flight *flight, const struct address *address)
{
    return address_stream(address) != NULL || (!address->health.streams && !flight->over_tcp);
}

void flights_end_lacking(struct address *address)
{
    size_t count = 0;

    for (const struct exchange *exchange = address->waiting.first; exchange != NULL; exchange = exchange->next)
        count++;
    while (count-- > 0 && address->waiting.first != NULL) {
        struct exchange *exchange = address->waiting.first;
        struct flight *flight = exchange->owner;

        exchange_list_remove(&address->waiting, exchange);
        struct address *other = choose(flight);
        if (other != NULL && can_ask_now(flight, other) && ask_at(flight, other, false))
            continue;
        flight->lacking = true;
        if (!is_out(flight))
            flight_fail(flight, EDE_NOT_READY);
    }
}

void flights_fail_waiting(struct group *group)
{
    if (!group_is_hopeless(group))
        return;
    for (size_t i = 0; i < group->address_count; i++) {
        while (group->addresses[i].waiting.first != NULL)
            flight_fail(group->addresses[i].waiting.first->owner, EDE_NO_REACHABLE_AUTHORITY);
    }
}

void flights_retry_lost(struct exchanges *exchanges)
{
    while (exchanges->lost.first != NULL) {
        struct exchange *exchange = exchanges->lost.first;
        struct flight *flight = exchange->owner;

        exchange_list_remove(&exchanges->lost, exchange);
        /* A connection that answered other queries did not refuse this one, so it does not count as a try. */
        if (exchange->excused && flight->tries > 0)
            flight->tries--;
        retry(flight);
    }
}

void flights_each(struct flights *flights, void (*step)(struct flight *flight, void *context), void *context)
{
    const struct inflight *table = &flights->table;

    for (size_t i = 0; i <= table->bucket_mask; i++) {
        for (struct inflight_entry *entry = table->buckets[i]; entry != NULL; entry = entry->next)
            step(flight_of(entry), context);
    }
}

void flights_give_up(struct flights *flights)
{
    const struct inflight *table = &flights->table;

    for (size_t i = 0; i <= table->bucket_mask; i++) {
        while (table->buckets[i] != NULL)
            flight_fail(flight_of(table->buckets[i]), EDE_NOT_READY);
    }
}

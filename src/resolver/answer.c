#include "nodedot/resolver/answer.h"

#include "nodedot/base/clock.h"
#include "nodedot/resolver/local.h"
#include "nodedot/resolver/tally.h"

#include <string.h>

/* TTL of the records of a stale answer (RFC 8767 section 4). */
#define STALE_TTL_S 30

const struct zone_config *answers_zone(const struct answers *answers, const struct query_message *message,
                                       struct cache_key *key)
{
    const struct zone_config *zone = zone_of_question(answers->zones, &message->question);

    if (zone == NULL)
        return NULL;
    *key =
        cache_key_of(answers->cache, &message->question, message->edns.dnssec_ok, (message->flags & MESSAGE_CD) != 0);
    origins_accept(answers->origins, zone, key);
    return zone;
}

/* extended: the upper bits of its RCODE, which stand in its OPT. */
static ssize_t count(const struct answers *answers, const struct reply *reply, size_t size, unsigned extended)
{
    uint16_t flags;

    if (size < MESSAGE_HEADER)
        return 0;
    flags = wire_get_u16(reply->out + MESSAGE_FLAGS_AT);
    if ((flags & MESSAGE_TC) != 0)
        metric_inc(answers->metrics, answers_truncated_total);
    tally_rcode(answers->metrics, extended << 4 | (flags & MESSAGE_RCODE));
    return (ssize_t)size;
}

static struct answer_style style_of(const struct answers *answers, const struct reply *reply, enum ede ede)
{
    return (struct answer_style){.udp = reply->client->udp != NULL,
                                 .ede = ede,
                                 .keepalive_timeout =
                                     answers->draining ? 0 : (uint16_t)(answers->config->tcp_idle * 10)};
}

static size_t finish(const struct reply *reply, size_t size, const struct answer_style *style)
{
    return answer_finish(reply->out, size, reply->capacity, reply->message, reply->question, style);
}

ssize_t answers_error(struct answers *answers, const struct reply *reply, enum rcode rcode, enum ede ede)
{
    struct answer_style style = style_of(answers, reply, ede);
    size_t size = answer_error(reply->out, reply->capacity, reply->message, reply->question, rcode, &style);

    trace_note(&answers->trace, rcode == RCODE_SERVFAIL ? QUERY_FAILED : QUERY_REFUSED, (uint16_t)(rcode >> 4));
    return count(answers, reply, size, rcode >> 4);
}

ssize_t answers_local(struct answers *answers, const struct reply *reply, const struct zone_config *zone)
{
    struct answer_style style = style_of(answers, reply, EDE_NONE);
    size_t size = local_answer(reply->message, reply->question, local_zone_of(answers->config, zone), reply->out,
                               reply->capacity, &style);

    if (size == 0)
        return 0;
    metric_inc(answers->metrics, answers_local_total);
    trace_note(&answers->trace, QUERY_FROM_LOCAL, 0);
    return count(answers, reply, size, 0);
}

bool answers_look_up(struct answers *answers, const struct reply *reply, const struct cache_key *key,
                     struct cache_hit *hit)
{
    return cache_lookup(answers->cache, key, clock_seconds(), STALE_TTL_S, reply->out, reply->capacity, hit);
}

static enum ede ede_of_hit(const struct cache_hit *hit, const uint8_t *answer)
{
    if (hit->kind == CACHE_FAILURE)
        return EDE_CACHED_ERROR;
    if (!hit->stale)
        return EDE_NONE;
    return (wire_get_u16(answer + MESSAGE_FLAGS_AT) & MESSAGE_RCODE) == RCODE_NXDOMAIN ? EDE_STALE_NXDOMAIN
                                                                                       : EDE_STALE_ANSWER;
}

ssize_t answers_stored(struct answers *answers, const struct reply *reply, const struct cache_hit *hit,
                       enum query_source source)
{
    struct answer_style style = style_of(answers, reply, ede_of_hit(hit, reply->out));

    if (hit->stale)
        metric_inc(answers->metrics, cache_stale_total);
    trace_note(&answers->trace, hit->stale ? QUERY_FROM_STALE : source, 0);
    return count(answers, reply, finish(reply, hit->size, &style), 0);
}

ssize_t answers_cached(struct answers *answers, const struct reply *reply, const struct cache_key *key)
{
    struct cache_hit hit;

    if (!answers_look_up(answers, reply, key, &hit))
        return 0;
    return answers_stored(answers, reply, &hit, QUERY_FROM_CACHE);
}

ssize_t answers_upstream(struct answers *answers, const struct reply *reply, const struct bailiwick_answer *answer,
                         const struct cache_limits *limits)
{
    const struct answer_info *info = answer->info;
    struct answer_style style = style_of(answers, reply, info->has_ede ? (enum ede)info->ede_code : EDE_NONE);
    uint16_t shown; /* of the extended RCODE: a client without EDNS gets SERVFAIL instead */

    if (info->size_without_opt > reply->capacity)
        return answers_error(answers, reply, RCODE_SERVFAIL, EDE_INVALID_DATA);
    memcpy(reply->out, answer->message, info->size_without_opt);
    cache_limit_ttls(reply->out, info, answer->ttl_offsets, limits);
    wire_put_u16(reply->out + MESSAGE_ARCOUNT_AT, info->additional_count);
    style.extended_rcode = (uint16_t)(info->rcode >> 4);
    shown = reply->message->edns.present ? style.extended_rcode : 0;
    trace_note(&answers->trace, QUERY_FROM_UPSTREAM, shown);
    return count(answers, reply, finish(reply, info->size_without_opt, &style), shown);
}

#include "nodedot/forward/exchange.h"

#include <string.h>

const struct question exchange_probe_question = {
    .qtype = TYPE_NS, .qclass = CLASS_IN, .qname = {.length = 1, .bytes = {0}}};

static struct query_style style_of(const struct exchange_form *form, uint16_t id)
{
    return (struct query_style){.id = id,
                                .dnssec_ok = form->dnssec_ok,
                                .checking_disabled = form->checking_disabled,
                                .keepalive = form->stream && !form->without_options,
                                .padding_block = form->padded ? EDNS_PADDING_BLOCK : 0,
                                .edns = form->edns};
}

size_t exchange_write(const struct exchange_form *form, uint16_t id, uint8_t *out, size_t capacity)
{
    struct query_style style = style_of(form, id);

    return query_write(out, capacity, form->question, &style);
}

size_t exchange_padding(const struct exchange_form *form)
{
    struct query_style style = style_of(form, 0);

    return form->padded ? query_padding(form->question, &style) : 0;
}

bool exchange_make_plainer(struct exchange_form *form)
{
    if (!form->edns)
        return false;
    if (form->stream && !form->without_options) /* a datagram has no options */
        form->without_options = true;
    else
        form->edns = false;
    return true;
}

static bool is_error(const struct answer_info *info)
{
    return info->rcode != RCODE_NOERROR && info->rcode != RCODE_NXDOMAIN;
}

/* Does an error mean the form of the query? (RFC 6891 section 7, and what servers do beside it.) A server that knows EDNS
 * tells a FORMERR of its own by an OPT record. SERVFAIL is what each server says of a broken domain: one with an OPT record
 * is no dislike, or the first of these at each server would be asked three times. */
static bool means_edns(const struct exchange_form *form, const struct answer_info *info)
{
    if (!form->edns)
        return false;
    switch (info->rcode) {
    case RCODE_BADVERS: /* to version 0 */
        return true;
    case RCODE_FORMERR:
        return !form->edns_known || !info->edns.present;
    case RCODE_NOTIMP:
        return !form->edns_known && !info->has_ede;
    case RCODE_SERVFAIL:
        return !form->edns_known && !info->edns.present;
    default:
        return false;
    }
}

/* An error that repeats no question. On a connection the ID says what it belongs to, so it is taken as that error. */
static enum exchange_verdict judge_bare(const struct exchange_form *form, struct exchange_answer *answer)
{
    uint16_t flags = answer->info.flags & (uint16_t)~MESSAGE_TC;
    struct query_style style = {.id = answer->info.id};
    uint8_t query[MESSAGE_QUERY_MAX];

    if (!is_error(&answer->info))
        return EXCHANGE_BROKEN;
    if (means_edns(form, &answer->info))
        return EXCHANGE_DISLIKES_EDNS;
    if (!form->stream)
        return EXCHANGE_ELSEWHERE;
    size_t size = query_write(query, sizeof(query), form->question, &style);
    memcpy(answer->made, query, size);
    wire_put_u16(answer->made + MESSAGE_FLAGS_AT, flags);
    answer->message = answer->made;
    answer->size = size;
    return answer_parse(answer->made, size, &answer->info, answer->ttl_offsets, MESSAGE_MAX_RECORDS) ? EXCHANGE_ANSWERED
                                                                                                     : EXCHANGE_BROKEN;
}

/* A message that repeats the question. */
static enum exchange_verdict judge_whole(const struct exchange_form *form, const uint8_t *message, size_t size,
                                         struct exchange_answer *answer)
{
    enum exchange_verdict incomplete = form->stream ? EXCHANGE_ELSEWHERE : EXCHANGE_TRUNCATED;

    if (!question_equal(&answer->info.question, form->question))
        return EXCHANGE_FOREIGN;
    if ((answer->info.flags & MESSAGE_TC) != 0)
        return incomplete; /* what stands behind is not looked at (RFC 2181 section 9); over TCP there is no more */
    if (!answer_parse(message, size, &answer->info, answer->ttl_offsets, MESSAGE_MAX_RECORDS))
        return incomplete;
    return means_edns(form, &answer->info) ? EXCHANGE_DISLIKES_EDNS : EXCHANGE_ANSWERED;
}

enum exchange_verdict exchange_judge(const struct exchange_form *form, const uint8_t *message, size_t size,
                                     struct exchange_answer *answer)
{
    answer->message = message;
    answer->size = size;
    switch (answer_parse_head(message, size, &answer->info)) {
    case ANSWER_HEAD_ALONE:
        return judge_bare(form, answer);
    case ANSWER_HEAD_WHOLE:
        return judge_whole(form, message, size, answer);
    case ANSWER_HEAD_BROKEN:
        break;
    }
    return EXCHANGE_BROKEN;
}

/* Can the message not be read, where TC does not say why? */
static bool is_malformed(const struct exchange *exchange, enum exchange_verdict verdict)
{
    bool has_tc = (exchange->exchanges->answer.info.flags & MESSAGE_TC) != 0;

    return verdict == EXCHANGE_BROKEN || (verdict == EXCHANGE_ELSEWHERE && exchange->form.stream) ||
           (verdict == EXCHANGE_TRUNCATED && !has_tc);
}

static void count(struct exchange *exchange, enum exchange_verdict verdict)
{
    struct metrics *metrics = exchange->exchanges->metrics;
    const struct answer_info *info = &exchange->exchanges->answer.info;

    if (verdict == EXCHANGE_FOREIGN)
        metric_inc(metrics, upstream_mismatched_total);
    else if (is_malformed(exchange, verdict))
        metric_inc(metrics, upstream_broken_total);
    else if (verdict == EXCHANGE_ANSWERED && info->octets_behind > 0)
        metric_inc(metrics, upstream_octets_behind_total);
}

static void clear_ad(uint8_t *message)
{
    uint16_t flags = wire_get_u16(message + MESSAGE_FLAGS_AT);

    wire_put_u16(message + MESSAGE_FLAGS_AT, (uint16_t)(flags & ~MESSAGE_AD));
}

bool exchange_receive(struct exchange *exchange, uint8_t *message, size_t size)
{
    enum exchange_verdict verdict;

    if (!exchange->form.authenticated && size >= MESSAGE_HEADER)
        clear_ad(message);
    verdict = exchange_judge(&exchange->form, message, size, &exchange->exchanges->answer);

    if (verdict == EXCHANGE_FOREIGN || verdict == EXCHANGE_BROKEN || exchange->events->received == NULL)
        count(exchange, verdict);
    if (verdict == EXCHANGE_FOREIGN || verdict == EXCHANGE_BROKEN)
        return false;
    if (exchange->events->received != NULL)
        exchange->events->received(exchange, message, size);
    else
        exchange->events->answered(exchange, verdict);
    return true;
}

void exchange_list_push(struct exchange_list *list, struct exchange *exchange)
{
    exchange->next = NULL;
    exchange->previous = list->last;
    if (list->last != NULL)
        list->last->next = exchange;
    else
        list->first = exchange;
    list->last = exchange;
}

void exchange_list_remove(struct exchange_list *list, struct exchange *exchange)
{
    if (exchange->previous != NULL)
        exchange->previous->next = exchange->next;
    else
        list->first = exchange->next;
    if (exchange->next != NULL)
        exchange->next->previous = exchange->previous;
    else
        list->last = exchange->previous;
    exchange->state = EXCHANGE_FREE;
}

bool exchange_is_at(const struct exchange *exchanges, size_t count, const struct address *address)
{
    for (size_t i = 0; i < count; i++) {
        if (exchanges[i].state != EXCHANGE_FREE && exchanges[i].address == address)
            return true;
    }
    return false;
}

size_t exchange_count_out(const struct exchange *exchanges, size_t count)
{
    size_t out = 0;

    for (size_t i = 0; i < count; i++)
        out += exchanges[i].state != EXCHANGE_FREE;
    return out;
}

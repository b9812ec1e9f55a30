#include "nodedot/forward/exchange.h"

const struct question exchange_probe_question = {
    .qtype = TYPE_NS, .qclass = CLASS_IN, .qname = {.length = 1, .bytes = {0}}};

static struct query_style style_of(const struct exchange_form *form, uint16_t id)
{
    return (struct query_style){.id = id,
                                .dnssec_ok = form->dnssec_ok,
                                .checking_disabled = form->checking_disabled,
                                .keepalive = form->stream,
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

/* A server that does not know EDNS at all may send back nothing but a header with FORMERR. */
static bool is_bare_formerr(const uint8_t *message, size_t size)
{
    uint16_t flags = size == MESSAGE_HEADER ? wire_get_u16(message + MESSAGE_FLAGS_AT) : 0;

    return (flags & MESSAGE_QR) != 0 && (flags & MESSAGE_RCODE) == RCODE_FORMERR;
}

/* A server from before EDNS answers a query that has an OPT record with FORMERR and none (RFC 6891 section 7). */
static bool is_formerr_without_opt(const struct answer_info *info)
{
    return info->rcode == RCODE_FORMERR && !info->edns.present;
}

enum exchange_verdict exchange_judge(const struct exchange_form *form, const uint8_t *message, size_t size,
                                     struct exchange_answer *answer)
{
    if (form->edns && is_bare_formerr(message, size))
        return EXCHANGE_DISLIKES_EDNS;
    if (!answer_parse(message, size, &answer->info, answer->ttl_offsets, MESSAGE_MAX_RECORDS))
        return EXCHANGE_BROKEN;
    if (!question_equal(&answer->info.question, form->question))
        return EXCHANGE_FOREIGN;
    if ((answer->info.flags & MESSAGE_TC) != 0 && !form->stream)
        return EXCHANGE_TRUNCATED;
    if (form->edns && is_formerr_without_opt(&answer->info))
        return EXCHANGE_DISLIKES_EDNS;
    return EXCHANGE_ANSWERED;
}

bool exchange_receive(struct exchange *exchange, const uint8_t *message, size_t size)
{
    struct metrics *metrics = exchange->exchanges->metrics;
    enum exchange_verdict verdict = exchange_judge(&exchange->form, message, size, &exchange->exchanges->answer);

    switch (verdict) {
    case EXCHANGE_BROKEN:
        metric_inc(metrics, upstream_broken_total);
        return false;
    case EXCHANGE_FOREIGN:
        metric_inc(metrics, upstream_mismatched_total);
        return false;
    case EXCHANGE_ANSWERED:
    case EXCHANGE_TRUNCATED:
    case EXCHANGE_DISLIKES_EDNS:
        break;
    }
    exchange->events->answered(exchange, verdict, message);
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

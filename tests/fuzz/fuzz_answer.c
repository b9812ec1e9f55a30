/* Answers of an upstream: what is accepted can be cut, finished for a client, and parsed again. */
#include "nodedot/dns/message.h"

#include <stdlib.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_ttl_offsets(const struct answer_info *info, const uint16_t *ttl_offsets)
{
    size_t behind = MESSAGE_HEADER + info->question_octets; /* what came before */

    if (info->ttl_count == UINT16_MAX)
        return;
    for (size_t i = 0; i < info->ttl_count; i++) {
        check(ttl_offsets[i] >= behind && ttl_offsets[i] + 6u <= info->size_without_opt);
        behind = ttl_offsets[i] + 6u;
    }
}

static void check_finished(const uint8_t *data, const struct answer_info *info, const struct query_message *query,
                           bool udp)
{
    static uint8_t out[MESSAGE_MAX_OCTETS];
    static uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];
    struct answer_style style = {.udp = udp, .ede = EDE_STALE_ANSWER, .extended_rcode = info->rcode >> 4};
    struct answer_info again;

    memcpy(out, data, info->size_without_opt);
    wire_put_u16(out + MESSAGE_ARCOUNT_AT, info->additional_count);
    size_t size = answer_finish(out, info->size_without_opt, sizeof(out), query, data + MESSAGE_HEADER, &style);
    check(answer_parse(out, size, &again, ttl_offsets, MESSAGE_MAX_RECORDS));
    check(question_equal(&info->question, &again.question));
    check(again.edns.present == query->edns.present);
    check(!udp || size <= (query->edns.present ? EDNS_UDP_SIZE : EDNS_UDP_SIZE_MIN));
    if (size < info->size_without_opt)
        return; /* it did not fit */
    check(again.ttl_count == info->ttl_count && again.min_ttl == info->min_ttl);
    check(again.negative == info->negative && again.has_soa == info->has_soa && again.soa_ttl == info->soa_ttl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];
    struct query_message query = {.id = 1, .flags = MESSAGE_RD};
    struct answer_info info;

    if (!answer_parse(data, size, &info, ttl_offsets, MESSAGE_MAX_RECORDS))
        return 0;
    check(info.size_without_opt <= size && info.question_octets == info.question.qname.length + 4);
    check(info.has_soa || info.soa_ttl == 0);
    check_ttl_offsets(&info, ttl_offsets);
    query.question = info.question;
    query.question_octets = info.question_octets;
    for (int udp = 0; udp <= 1; udp++)
        for (int edns = 0; edns <= 1; edns++) {
            query.edns = (struct edns){.present = edns != 0, .udp_size = 4096, .has_keepalive = true};
            check_finished(data, &info, &query, udp != 0);
        }
    return 0;
}

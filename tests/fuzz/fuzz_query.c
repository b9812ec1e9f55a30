/* Queries: whatever comes in, what goes out is a message that can be parsed. */
#include "nodedot/resolver/local.h"

#include <stdlib.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* An answer to query that we wrote: well-formed, with the client's question and ID, within its size. */
static void check_answer(const uint8_t *answer, size_t size, const struct query_message *query)
{
    static uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];
    struct answer_info info;

    check(size >= MESSAGE_HEADER && wire_get_u16(answer) == query->id);
    check((wire_get_u16(answer + MESSAGE_FLAGS_AT) & (MESSAGE_QR | MESSAGE_RA | MESSAGE_Z)) ==
          (MESSAGE_QR | MESSAGE_RA));
    if (query->question_octets == 0 || (query->flags & MESSAGE_OPCODE) != 0)
        return;
    check(answer_parse(answer, size, &info, ttl_offsets, MESSAGE_MAX_RECORDS));
    check(question_equal(&info.question, &query->question));
    check(info.edns.present == query->edns.present);
}

static void check_error(const struct query_message *query, const uint8_t *question, bool udp)
{
    static const enum rcode rcodes[] = {RCODE_FORMERR, RCODE_BADVERS};
    struct answer_style style = {.udp = udp, .ede = EDE_NOT_SUPPORTED};
    uint8_t out[MESSAGE_ERROR_MAX];

    for (size_t i = 0; i < sizeof(rcodes) / sizeof(rcodes[0]); i++)
        check_answer(out, answer_error(out, sizeof(out), query, question, rcodes[i], &style), query);
}

static void check_local(const struct query_message *query, const uint8_t *question, bool udp)
{
    struct answer_style style = {.udp = udp, .ede = EDE_NONE};
    uint8_t out[LOCAL_ANSWER_MAX];

    for (int zone = LOCAL_ZONE_NAMED; zone <= LOCAL_ZONE_ROOT_PLAIN; zone++) {
        size_t size = local_answer(query, question, (enum local_zone)zone, out, sizeof(out), &style);

        check(size != 0 || query->question.qtype != TYPE_ANY);
        if (size != 0)
            check_answer(out, size, query);
    }
}

/* The question goes on to an upstream in lower case, and comes back as the same question. */
static void check_forwarded(const struct query_message *query)
{
    struct query_style style = {.keepalive = true, .padding_block = EDNS_PADDING_BLOCK, .edns = true};
    struct query_message again;
    uint8_t out[MESSAGE_QUERY_MAX];
    size_t size = query_write(out, sizeof(out), &query->question, &style);

    check(size % EDNS_PADDING_BLOCK == 0 && size != 0);
    check(query_parse(out, size, &again) == QUERY_OK);
    check(question_equal(&query->question, &again.question));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct query_message query;

    if (size > MESSAGE_MAX_OCTETS)
        return 0;
    enum query_verdict verdict = query_parse(data, size, &query);
    if (verdict == QUERY_DROP)
        return 0;
    check(query.question_octets <= QUESTION_MAX_OCTETS);
    check(query.question_octets == 0 || query.question_octets == query.question.qname.length + 4);
    for (int udp = 0; udp <= 1; udp++) {
        check_error(&query, data + MESSAGE_HEADER, udp != 0);
        if (verdict == QUERY_OK)
            check_local(&query, data + MESSAGE_HEADER, udp != 0);
    }
    if (verdict == QUERY_OK)
        check_forwarded(&query);
    return 0;
}

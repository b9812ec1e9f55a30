/* Answers of an upstream: what is left of them parses, is not longer, asks the same, and would be left as it is. */
#include "nodedot/dns/bailiwick.h"

#include <stdlib.h>
#include <string.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

static unsigned count(const uint8_t *message, const struct answer_info *info)
{
    return (unsigned)wire_get_u16(message + MESSAGE_ANCOUNT_AT) + wire_get_u16(message + MESSAGE_NSCOUNT_AT) +
           info->additional_count;
}

/* What replaced an answer. */
static void check_replaced(struct bailiwick *b, const struct bailiwick_answer *left, const struct answer_info *before,
                           unsigned records)
{
    static uint8_t copy[MESSAGE_MAX_OCTETS];
    static uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];
    size_t size = left->info->size_without_opt;
    struct answer_info again;
    struct bailiwick_answer kept = {.message = copy, .info = &again, .ttl_offsets = ttl_offsets};

    check(size <= before->size_without_opt);
    memcpy(copy, left->message, size);
    check(answer_parse(copy, size, &again, ttl_offsets, MESSAGE_MAX_RECORDS));
    check(question_equal(&again.question, &before->question) && again.size_without_opt == size);
    check(again.ttl_count == left->info->ttl_count && again.ttl_count <= records);
    check(count(copy, &again) == again.ttl_count || again.ttl_count == UINT16_MAX);
    check(bailiwick_keep(b, &kept) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bailiwick *bailiwick;
    static uint16_t ttl_offsets[MESSAGE_MAX_RECORDS];
    struct answer_info info;
    struct bailiwick_answer answer = {.message = data, .info = &info, .ttl_offsets = ttl_offsets};
    unsigned records, dropped;

    if (bailiwick == NULL)
        bailiwick = bailiwick_create();
    if (!answer_parse(data, size, &info, ttl_offsets, MESSAGE_MAX_RECORDS))
        return 0;
    records = count(data, &info);
    dropped = bailiwick_keep(bailiwick, &answer);
    check(dropped <= records);
    if (dropped == 0)
        check(answer.message == data && answer.info == &info);
    else
        check_replaced(bailiwick, &answer, &info, records - dropped);
    return 0;
}

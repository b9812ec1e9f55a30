#include "nodedot/resolver/trace.h"

#include "nodedot/listener/client_answer.h"

#include <string.h>

static void put_answer(struct query_record *record, const struct trace *trace, const struct query_message *message,
                       const uint8_t *answer, size_t size)
{
    uint16_t flags = wire_get_u16(answer + MESSAGE_FLAGS_AT);

    record->answer_octets = (uint32_t)size;
    record->truncated = (flags & MESSAGE_TC) != 0;
    record->rcode = (uint16_t)((flags & MESSAGE_RCODE) | (message->edns.present ? trace->rcode_high << 4 : 0));
    if (trace->source == QUERY_FROM_UPSTREAM && trace->server != NULL) {
        record->upstream = trace->server->config->name;
        record->server = trace->server->peer.endpoint;
    }
}

void trace_put(const struct trace *trace, const struct client *client, const struct query_message *message,
               const uint8_t *question, uint64_t received_us, const uint8_t *answer, size_t size)
{
    bool answered = answer != NULL && size >= MESSAGE_HEADER;
    struct query_record record;

    memset(&record, 0, offsetof(struct query_record, question));
    record.duration_us = clock_us() - received_us;
    record.client = client->endpoint;
    client_local(client, &record.local);
    record.source = trace->source;
    record.id = message->id;
    record.flags = message->flags;
    record.udp = client->udp != NULL;
    record.dnssec_ok = message->edns.dnssec_ok;
    record.question_octets = message->question_octets;
    memcpy(record.question, question, message->question_octets);
    if (answered)
        put_answer(&record, trace, message, answer, size);
    else if (!query_was_dropped(&record))
        record.source = QUERY_DROPPED_GONE;
    query_tap_put(trace->tap, &record, answer);
}

void trace_put_received(const struct trace *trace, const struct client *client, const uint8_t *octets,
                        size_t octets_size, const uint8_t *answer, size_t size)
{
    struct query_message message;

    memset(&message, 0, sizeof(message)); /* of less than a header nothing is read */
    query_parse(octets, octets_size, &message);
    trace_put(trace, client, &message, octets + MESSAGE_HEADER, trace->received_us, answer, size);
}

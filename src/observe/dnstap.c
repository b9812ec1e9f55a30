#include "nodedot/observe/dnstap.h"

#include <stdio.h>
#include <string.h>

/* Field numbers and values of dnstap.proto. */
enum { DNSTAP_IDENTITY = 1, DNSTAP_VERSION = 2, DNSTAP_EXTRA = 3, DNSTAP_MESSAGE = 14, DNSTAP_TYPE = 15 };
enum { TYPE_MESSAGE = 1 };
enum {
    MESSAGE_TYPE = 1,
    MESSAGE_SOCKET_FAMILY = 2,
    MESSAGE_SOCKET_PROTOCOL = 3,
    MESSAGE_QUERY_ADDRESS = 4,
    MESSAGE_RESPONSE_ADDRESS = 5,
    MESSAGE_QUERY_PORT = 6,
    MESSAGE_RESPONSE_PORT = 7,
    MESSAGE_QUERY_TIME_SEC = 8,
    MESSAGE_QUERY_TIME_NSEC = 9,
    MESSAGE_QUERY_MESSAGE = 10,
    MESSAGE_RESPONSE_TIME_SEC = 12,
    MESSAGE_RESPONSE_TIME_NSEC = 13,
    MESSAGE_RESPONSE_MESSAGE = 14
};
enum { CLIENT_QUERY = 5, CLIENT_RESPONSE = 6 };
enum { FAMILY_INET = 1, FAMILY_INET6 = 2 };
enum { PROTOCOL_UDP = 1, PROTOCOL_TCP = 2 };

/* Wire types of protobuf. */
enum { WIRE_VARINT = 0, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };

/* What stands before the Message field: identity, version, extra, type, tag and length. */
#define PREFIX_MAX (DNSTAP_HEAD / 2 + 256)

#define NS_PER_S 1000000000u

/* ---- protobuf ---- */

static void write_varint(struct wire_writer *w, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        wire_write_u8(w, (uint8_t)(value | 0x80));
    wire_write_u8(w, (uint8_t)value);
}

static void write_tag(struct wire_writer *w, unsigned field, unsigned type)
{
    write_varint(w, field << 3 | type);
}

static void write_number(struct wire_writer *w, unsigned field, uint64_t value)
{
    write_tag(w, field, WIRE_VARINT);
    write_varint(w, value);
}

static void write_fixed32(struct wire_writer *w, unsigned field, uint32_t value)
{
    write_tag(w, field, WIRE_FIXED32);
    for (unsigned i = 0; i < 4; i++)
        wire_write_u8(w, (uint8_t)(value >> (8 * i)));
}

static void write_octets(struct wire_writer *w, unsigned field, const void *octets, size_t size)
{
    write_tag(w, field, WIRE_LENGTH);
    write_varint(w, size);
    wire_write(w, octets, size);
}

static void write_time(struct wire_writer *w, unsigned seconds_field, unsigned ns_field, uint64_t wall_ns)
{
    write_number(w, seconds_field, wall_ns / NS_PER_S);
    write_fixed32(w, ns_field, (uint32_t)(wall_ns % NS_PER_S));
}

/* ---- Message ---- */

/* The address in the form of the client's family: a wildcard socket may serve both. */
static void write_address(struct wire_writer *w, unsigned field, const struct endpoint *endpoint)
{
    if (endpoint->any.sa_family == AF_INET)
        write_octets(w, field, &endpoint->v4.sin_addr, 4);
    else
        write_octets(w, field, &endpoint->v6.sin6_addr, 16);
}

static void write_peers(struct wire_writer *w, const struct query_record *record)
{
    bool v4 = record->client.any.sa_family == AF_INET;
    bool local_known = record->local.size != 0;

    write_number(w, MESSAGE_SOCKET_FAMILY, v4 ? FAMILY_INET : FAMILY_INET6);
    write_number(w, MESSAGE_SOCKET_PROTOCOL, record->udp ? PROTOCOL_UDP : PROTOCOL_TCP);
    write_address(w, MESSAGE_QUERY_ADDRESS, &record->client);
    if (local_known)
        write_address(w, MESSAGE_RESPONSE_ADDRESS, &record->local);
    if (!record->masked)
        write_number(w, MESSAGE_QUERY_PORT, endpoint_port(&record->client));
    if (local_known)
        write_number(w, MESSAGE_RESPONSE_PORT, endpoint_port(&record->local));
}

/* The query as far as it was kept. */
static void write_query(struct wire_writer *w, const struct query_record *record)
{
    uint8_t message[MESSAGE_HEADER + QUESTION_MAX_OCTETS] = {0};

    wire_put_u16(message, record->id);
    wire_put_u16(message + MESSAGE_FLAGS_AT, record->flags);
    wire_put_u16(message + MESSAGE_QDCOUNT_AT, record->question_octets > 0);
    memcpy(message + MESSAGE_HEADER, record->question, record->question_octets);
    write_octets(w, MESSAGE_QUERY_MESSAGE, message, MESSAGE_HEADER + (size_t)record->question_octets);
}

static void write_message(struct wire_writer *w, const struct query_record *record, const uint8_t *answer)
{
    bool answered = !query_was_dropped(record);

    write_number(w, MESSAGE_TYPE, answered ? CLIENT_RESPONSE : CLIENT_QUERY);
    write_peers(w, record);
    write_time(w, MESSAGE_QUERY_TIME_SEC, MESSAGE_QUERY_TIME_NSEC, record->wall_ns);
    if (!answered) {
        write_query(w, record);
        return;
    }
    write_time(w, MESSAGE_RESPONSE_TIME_SEC, MESSAGE_RESPONSE_TIME_NSEC, record->wall_ns + record->duration_us * 1000);
    write_octets(w, MESSAGE_RESPONSE_MESSAGE, answer, record->answer_octets);
}

/* ---- Dnstap ---- */

static void write_text(struct wire_writer *w, unsigned field, const char *text)
{
    if (text[0] != '\0')
        write_octets(w, field, text, strlen(text));
}

static void write_extra(struct wire_writer *w, const struct query_record *record)
{
    char server[ENDPOINT_TEXT];
    char extra[256];
    int size = snprintf(extra, sizeof(extra), "%s=%s", query_was_dropped(record) ? "dropped" : "from",
                        query_source_name(record->source));

    if (record->upstream != NULL)
        size += snprintf(extra + size, sizeof(extra) - (size_t)size, " upstream=%.64s", record->upstream);
    if (record->server.size != 0)
        snprintf(extra + size, sizeof(extra) - (size_t)size, " server=%s", endpoint_format(&record->server, server));
    write_text(w, DNSTAP_EXTRA, extra);
}

/* The length of the Message stands before it, in as many octets as it needs: so the Message is written first, and what
 * comes before it is then put in front. */
const uint8_t *dnstap_encode(uint8_t *buffer, const struct query_record *record, const uint8_t *answer,
                             const char *identity, size_t *size)
{
    struct wire_writer message = wire_writer_of(buffer + PREFIX_MAX, DNSTAP_MAX - PREFIX_MAX);
    uint8_t octets[PREFIX_MAX];
    struct wire_writer prefix = wire_writer_of(octets, sizeof(octets));

    write_message(&message, record, answer);
    write_text(&prefix, DNSTAP_IDENTITY, identity);
    write_text(&prefix, DNSTAP_VERSION, "nodedot " NODEDOT_VERSION);
    write_extra(&prefix, record);
    write_number(&prefix, DNSTAP_TYPE, TYPE_MESSAGE);
    write_tag(&prefix, DNSTAP_MESSAGE, WIRE_LENGTH);
    write_varint(&prefix, wire_written(&message));
    *size = wire_written(&prefix) + wire_written(&message);
    return memcpy(message.start - wire_written(&prefix), octets, wire_written(&prefix));
}

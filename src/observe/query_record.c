#include "nodedot/observe/query_record.h"

#include "nodedot/dns/mnemonic.h"
#include "nodedot/observe/log.h"

#include <stdio.h>
#include <string.h>

/* Bits of a masked client's network: what is usual where addresses count as personal data, and in a cluster more or less
 * "a node". */
#define MASK_IPV4 24
#define MASK_IPV6 48
/* Octets before the IPv4 address in an IPv4-mapped one (RFC 4291 section 2.5.5.2). */
#define MAPPED_PREFIX 12

#define FIELDS_MAX 16

size_t query_record_size(const struct query_record *record)
{
    return offsetof(struct query_record, question) + record->question_octets;
}

bool query_was_dropped(const struct query_record *record)
{
    return record->source >= QUERY_DROPPED_SHORT;
}

const char *query_source_name(enum query_source source)
{
    static const char *const names[] = {
        [QUERY_FROM_CACHE] = "cache",       [QUERY_FROM_STALE] = "stale",         [QUERY_FROM_LOCAL] = "local",
        [QUERY_FROM_UPSTREAM] = "upstream", [QUERY_FAILED] = "failure",           [QUERY_REFUSED] = "policy",
        [QUERY_DROPPED_SHORT] = "short",    [QUERY_DROPPED_ACL] = "acl",          [QUERY_DROPPED_BLOCKED] = "blocked",
        [QUERY_DROPPED_RATE] = "rate",      [QUERY_DROPPED_GONE] = "client_gone",
    };

    return names[source];
}

void query_record_mask(struct query_record *record)
{
    struct endpoint *client = &record->client;

    record->masked = true;
    endpoint_set_port(client, 0);
    if (client->any.sa_family == AF_INET) {
        memset((uint8_t *)&client->v4.sin_addr + MASK_IPV4 / 8, 0, 4 - MASK_IPV4 / 8);
        return;
    }
    size_t kept = IN6_IS_ADDR_V4MAPPED(&client->v6.sin6_addr) ? MAPPED_PREFIX + MASK_IPV4 / 8 : MASK_IPV6 / 8;

    memset(client->v6.sin6_addr.s6_addr + kept, 0, 16 - kept);
}

/* ---- the line ---- */

/* The fields of a line, and room for their texts. */
struct fields {
    struct log_field list[FIELDS_MAX];
    unsigned count;
    char client[ENDPOINT_TEXT + 4];
    char local[ENDPOINT_TEXT];
    char server[ENDPOINT_TEXT];
    char name[NAME_TEXT];
    char type[MNEMONIC_TEXT];
    char class[MNEMONIC_TEXT];
    char rcode[MNEMONIC_TEXT];
    char flags[16];
};

static void add(struct fields *fields, struct log_field field)
{
    fields->list[fields->count++] = field;
}

static void add_client(struct fields *fields, const struct query_record *record)
{
    endpoint_format(&record->client, fields->client);
    if (record->masked) {
        bool v4 = record->client.any.sa_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&record->client.v6.sin6_addr);

        endpoint_format_address(&record->client, fields->client);
        sprintf(fields->client + strlen(fields->client), "/%d",
                !v4                                       ? MASK_IPV6
                : record->client.any.sa_family == AF_INET ? MASK_IPV4
                                                          : 8 * MAPPED_PREFIX + MASK_IPV4);
    }
    add(fields, log_s("client", fields->client));
    if (record->local.size != 0)
        add(fields, log_s("local", endpoint_format(&record->local, fields->local)));
    add(fields, log_s("transport", record->udp ? "udp" : "tcp"));
}

/* A question is well-formed: query_parse() has read it. */
static void add_question(struct fields *fields, const struct query_record *record)
{
    struct wire w = wire_of(record->question, record->question_octets);
    struct name name;
    uint16_t type;
    uint16_t class;

    if (record->question_octets == 0)
        return;
    name_read(&w, &name);
    type = wire_u16(&w);
    class = wire_u16(&w);
    add(fields, log_s("name", name_to_text(&name, fields->name)));
    add(fields, log_s("type", rrtype_to_text(type, fields->type)));
    if (class != CLASS_IN)
        add(fields, log_s("class", rrclass_to_text(class, fields->class)));
}

static void add_flags(struct fields *fields, const struct query_record *record)
{
    snprintf(fields->flags, sizeof(fields->flags), "%s%s%s%s", (record->flags & MESSAGE_RD) != 0 ? ",rd" : "",
             (record->flags & MESSAGE_AD) != 0 ? ",ad" : "", (record->flags & MESSAGE_CD) != 0 ? ",cd" : "",
             record->dnssec_ok ? ",do" : "");
    add(fields, log_s("flags", fields->flags[0] != '\0' ? fields->flags + 1 : ""));
}

static void add_answer(struct fields *fields, const struct query_record *record)
{
    add(fields, log_s(query_was_dropped(record) ? "dropped" : "from", query_source_name(record->source)));
    if (!query_was_dropped(record)) {
        add(fields, log_s("rcode", rcode_to_text(record->rcode, fields->rcode)));
        add(fields, log_n("size", record->answer_octets));
    }
    if (record->truncated)
        add(fields, log_s("truncated", "yes"));
    add(fields, log_n("duration_us", record->duration_us));
    if (record->upstream != NULL)
        add(fields, log_s("upstream", record->upstream));
    if (record->server.size != 0)
        add(fields, log_s("server", endpoint_format(&record->server, fields->server)));
}

size_t query_record_line(const struct query_record *record, char *out)
{
    struct fields fields;

    fields.count = 0;
    add_client(&fields, record);
    add_question(&fields, record);
    add_flags(&fields, record);
    add_answer(&fields, record);
    add(&fields, (struct log_field){.key = NULL});
    return log_compose(out, LOG_LEVEL_INFO, record->wall_ns, "query", fields.list);
}

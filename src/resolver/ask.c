#include "nodedot/resolver/ask.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/exit.h"
#include "nodedot/dns/mnemonic.h"
#include "nodedot/dns/text.h"
#include "nodedot/forward/fallback.h"
#include "nodedot/forward/inquiry.h"
#include "nodedot/forward/zone.h"
#include "nodedot/proof/certificate.h"
#include "nodedot/resolver/local.h"

#include <stdlib.h>

struct ask {
    const struct config *config;
    FILE *out;
    uint8_t query[MESSAGE_QUERY_MAX]; /* as a client would send it */
    struct query_message message;
    bool mismatch;              /* an address showed the wrong identity */
    struct inquiry inquiry;     /* the address that is being asked */
    uint8_t in[2][INQUIRY_OUT]; /* its answer, and a failure before it */
    char record[TEXT_RECORD];
};

/* The answer, as dig writes it. */

static void print_header(struct ask *ask, const uint8_t *message, uint16_t rcode)
{
    static const struct {
        uint16_t bit;
        const char *name;
    } flags[] = {{MESSAGE_QR, "qr"}, {MESSAGE_AA, "aa"}, {MESSAGE_TC, "tc"}, {MESSAGE_RD, "rd"},
                 {MESSAGE_RA, "ra"}, {MESSAGE_AD, "ad"}, {MESSAGE_CD, "cd"}};
    uint16_t set = wire_get_u16(message + MESSAGE_FLAGS_AT);
    char name[MNEMONIC_TEXT];

    fprintf(ask->out, ";; ->>HEADER<<- opcode: QUERY, status: %s, id: %u\n;; flags:", rcode_to_text(rcode, name),
            wire_get_u16(message));
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
        if ((set & flags[i].bit) != 0)
            fprintf(ask->out, " %s", flags[i].name);
    fprintf(ask->out, "; QUERY: %u, ANSWER: %u, AUTHORITY: %u, ADDITIONAL: %u\n",
            wire_get_u16(message + MESSAGE_QDCOUNT_AT), wire_get_u16(message + MESSAGE_ANCOUNT_AT),
            wire_get_u16(message + MESSAGE_NSCOUNT_AT), wire_get_u16(message + MESSAGE_ARCOUNT_AT));
}

static void print_section(struct ask *ask, struct wire *w, const char *title, unsigned count)
{
    bool titled = false;
    uint16_t type;

    while (count-- > 0 && text_record(w, &type, ask->record, sizeof(ask->record))) {
        if (type == TYPE_OPT)
            continue;
        if (!titled)
            fprintf(ask->out, "\n;; %s SECTION:\n", title);
        titled = true;
        fprintf(ask->out, "%s\n", ask->record);
    }
}

static void print_edns(struct ask *ask, const struct answer_info *info)
{
    if (info->edns.present)
        fprintf(ask->out, ";; EDNS: version: %u, flags:%s; udp: %u\n", info->edns.version,
                info->edns.dnssec_ok ? " do" : "", info->edns.udp_size);
    if (info->has_ede)
        fprintf(ask->out, ";; EDE: %u (RFC 8914)\n", info->ede_code);
}

/* message is well-formed. Returns an exit status. */
static int print_answer(struct ask *ask, const uint8_t *message, size_t size, const struct answer_info *info)
{
    struct wire w = wire_of(message, size);
    char name[NAME_TEXT], type[MNEMONIC_TEXT];
    struct name qname;

    fprintf(ask->out, "\n");
    print_header(ask, message, info->rcode);
    print_edns(ask, info);
    wire_take(&w, MESSAGE_HEADER);
    name_read(&w, &qname);
    wire_take(&w, 4);
    fprintf(ask->out, "\n;; QUESTION SECTION:\n;%s%s\tIN\t%s\n", name_to_text(&qname, name),
            qname.length > 1 ? "." : "", rrtype_to_text(info->question.qtype, type));
    print_section(ask, &w, "ANSWER", wire_get_u16(message + MESSAGE_ANCOUNT_AT));
    print_section(ask, &w, "AUTHORITY", wire_get_u16(message + MESSAGE_NSCOUNT_AT));
    print_section(ask, &w, "ADDITIONAL", wire_get_u16(message + MESSAGE_ARCOUNT_AT));
    if (info->rcode == RCODE_NXDOMAIN)
        fprintf(ask->out, "\n;; NXDOMAIN: there is no such name.\n");
    else if (info->rcode == RCODE_NOERROR && info->negative)
        fprintf(ask->out, "\n;; No data: the name has no record of this type.\n");
    return info->rcode == RCODE_NOERROR || info->rcode == RCODE_NXDOMAIN ? EXIT_DONE : EXIT_FAILED;
}

/* What does not leave the node. */

static int print_local(struct ask *ask, const uint8_t *message, size_t size)
{
    static uint16_t ttl_offsets[MESSAGE_MAX_RECORDS]; /* of no interest here */
    struct answer_info info;

    fprintf(ask->out, ";; answered by nodedot itself: such a question is never forwarded\n");
    return answer_parse(message, size, &info, ttl_offsets, MESSAGE_MAX_RECORDS)
               ? print_answer(ask, message, size, &info)
               : EXIT_FAILED;
}

/* Asking. */

static void print_proof(struct ask *ask)
{
    const struct inquiry *inquiry = &ask->inquiry;
    uint32_t doubts = identity_doubts(inquiry->upstream, &inquiry->identity, clock_wall_seconds());
    char proof[IDENTITY_PROOF], date[CERTIFICATE_DATE];

    identity_proof(inquiry->upstream, &inquiry->identity, proof);
    fprintf(ask->out, ";; identity proved by %s; certificate until %s; %s %s\n", proof[0] != '\0' ? proof : "nothing",
            certificate_describe_date(inquiry->identity.not_after, date), inquiry->version, inquiry->cipher);
    for (unsigned i = 0; i < IDENTITY_DOUBTS; i++)
        if ((doubts >> i & 1) != 0)
            fprintf(ask->out, ";; warning: %s\n", identity_doubt_text(i));
}

/* What came of asking one address. */
static void print_outcome(struct ask *ask)
{
    const struct inquiry *inquiry = &ask->inquiry;
    char address[ENDPOINT_TEXT], rcode[MNEMONIC_TEXT];

    fprintf(ask->out, ";; address %s, over %s: ", endpoint_format(inquiry->address, address), inquiry->over);
    switch (inquiry->outcome) {
    case INQUIRY_UNREACHABLE:
        fprintf(ask->out, "unreachable: %s\n", inquiry->reason);
        return;
    case INQUIRY_MISMATCH:
        ask->mismatch = true;
        fprintf(ask->out, "identity mismatch, nothing was asked: %s\n", inquiry->reason);
        return;
    case INQUIRY_SILENT:
        fprintf(ask->out, "no answer: %s\n", inquiry->reason);
        break;
    case INQUIRY_ANSWERED:
        fprintf(ask->out, "%s, %zu octets; ", rcode_to_text(inquiry->info.rcode, rcode), inquiry->answer_size);
        if (inquiry->connected_us > 0)
            fprintf(ask->out, "connected%s after %.1f ms, ", inquiry->trust != NULL ? " and proved" : "",
                    inquiry->connected_us / 1000.);
        fprintf(ask->out, "answered after %.1f ms\n", (inquiry->connected_us + inquiry->answered_us) / 1000.);
        break;
    }
    if (inquiry->trust != NULL)
        print_proof(ask);
}

static bool is_good(const struct inquiry *inquiry)
{
    return inquiry->outcome == INQUIRY_ANSWERED &&
           (inquiry->info.rcode == RCODE_NOERROR || inquiry->info.rcode == RCODE_NXDOMAIN);
}

/* Asks its addresses one after the other. As the daemon does, the next one is asked when one could not or would not
 * answer, and the last failure is passed on. True: there was an answer, and it was printed, *status being its. */
static bool ask_upstream(struct ask *ask, const struct upstream_config *upstream, struct tls_trust *trust, int *status)
{
    struct inquiry last = {.answer = NULL};
    unsigned in = 0;

    fprintf(ask->out, ";; upstream %s\n", upstream->name);
    for (size_t i = 0; i < upstream->address_count && !is_good(&last); i++) {
        ask->inquiry = (struct inquiry){
            .upstream = upstream, .address = &upstream->addresses[i], .trust = trust, .out = ask->in[in]};
        inquiry_ask(&ask->inquiry, 1, &ask->message.question, ask->config->timeout);
        print_outcome(ask);
        if (ask->inquiry.outcome != INQUIRY_ANSWERED)
            continue;
        last = ask->inquiry;
        in = !in;
    }
    if (last.answer == NULL)
        return false;
    *status = print_answer(ask, last.answer, last.answer_size, &last.info);
    return true;
}

static const struct upstream_config *fallback_of(struct ask *ask, const struct upstream_config *upstream)
{
    const struct upstream_config *fallback;

    if (upstream->fallback == CONFIG_NO_UPSTREAM)
        return NULL;
    fallback = &ask->config->upstreams[upstream->fallback];
    if (fallback_permitted(upstream, fallback, ask->mismatch))
        return fallback;
    fprintf(ask->out, ";; the fallback %s is plain and not asked: identity mismatch\n", fallback->name);
    return NULL;
}

static int ask_group(struct ask *ask, const struct upstream_config *upstream, bool is_fallback, FILE *errors)
{
    struct tls_trust *trust = NULL;
    char error[TLS_ERROR];
    int status = EXIT_FAILED;

    if (upstream->transport == TRANSPORT_DOT && (trust = identity_trust(upstream, error)) == NULL) {
        fprintf(errors, "[upstream %s] %s\n", upstream->name, error);
        return EXIT_USAGE;
    }
    bool answered = ask_upstream(ask, upstream, trust, &status);
    tls_trust_destroy(trust);
    if (answered)
        return status;
    const struct upstream_config *fallback = is_fallback ? NULL : fallback_of(ask, upstream);
    if (fallback != NULL)
        return ask_group(ask, fallback, true, errors);
    fprintf(ask->out, ";; no answer\n");
    return EXIT_FAILED;
}

/* The way of a client's query through the daemon. */
static int ask_question(struct ask *ask, enum query_verdict verdict, FILE *errors)
{
    static struct zone_table zones;
    static uint8_t local[LOCAL_ANSWER_MAX];
    const uint8_t *question = ask->query + MESSAGE_HEADER;
    struct answer_style style = {.ede = EDE_NONE};
    char name[NAME_TEXT];

    if (verdict != QUERY_OK) {
        fprintf(ask->out, ";; refused by nodedot itself: such a question is never forwarded\n");
        return EXIT_FAILED;
    }
    zone_table_init(&zones, ask->config);
    const struct zone_config *zone = zone_find(&zones, &ask->message.question.qname);
    size_t size = local_answer(&ask->message, question, local_zone_of(ask->config, zone), local, sizeof(local), &style);
    if (size > 0)
        return print_local(ask, local, size);
    if (zone == NULL) {
        fprintf(ask->out, ";; refused by nodedot itself: no zone of the configuration covers the name\n");
        return EXIT_FAILED;
    }
    fprintf(ask->out, ";; zone %s\n", name_to_text(&zone->name, name));
    return ask_group(ask, &ask->config->upstreams[zone->upstream], false, errors);
}

int ask_print(const struct config *config, const char *name, const char *type, FILE *out, FILE *errors)
{
    static struct ask ask; /* large */
    struct question question = {.qtype = TYPE_A, .qclass = CLASS_IN};
    struct query_style style = {.edns = true};

    if (*name == '\0' || !name_from_text(name, &question.qname)) {
        fprintf(errors, "%s: expected a domain name\n", name);
        return EXIT_USAGE;
    }
    if (type != NULL && !rrtype_from_text(type, &question.qtype)) {
        fprintf(errors, "%s: expected a type such as A, AAAA, TXT or TYPE65\n", type);
        return EXIT_USAGE;
    }
    ask.config = config;
    ask.out = out;
    size_t size = query_write(ask.query, sizeof(ask.query), &question, &style);
    return ask_question(&ask, query_parse(ask.query, size, &ask.message), errors);
}

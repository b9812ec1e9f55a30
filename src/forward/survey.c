#include "nodedot/forward/survey.h"

#include "nodedot/base/clock.h"
#include "nodedot/base/exit.h"
#include "nodedot/base/table.h"
#include "nodedot/forward/inquiry.h"
#include "nodedot/proof/certificate.h"

#include <stdlib.h>
#include <string.h>

#define SURVEY_TIMEOUT_MS 5000 /* as a revalidation; an upstream that needs longer is of no use for queries either */
#define SURVEY_AT_ONCE    64   /* addresses; each takes some 180 KiB meanwhile */
#define SURVEY_DOUBTS     400  /* octets of text: all that can come together */

struct survey {
    const struct config *config;
    struct tls_trust *trusts[CONFIG_UPSTREAMS];
    struct inquiry *asks;
    size_t count;
    uint8_t *out; /* of those that are asked at once */
    int status;
};

static void read_files(struct survey *survey, FILE *errors)
{
    char error[TLS_ERROR];

    for (size_t i = 0; i < survey->config->upstream_count; i++) {
        const struct upstream_config *upstream = &survey->config->upstreams[i];

        if (upstream->transport == TRANSPORT_PLAIN)
            continue;
        survey->trusts[i] = identity_trust(upstream, error);
        if (survey->trusts[i] == NULL) {
            fprintf(errors, "[upstream %s] %s\n", upstream->name, error);
            survey->status = EXIT_USAGE;
        }
    }
}

/* Every address of the upstreams whose files can be used. */
static bool list_addresses(struct survey *survey)
{
    const struct config *config = survey->config;
    size_t count = 0;

    for (size_t i = 0; i < config->upstream_count; i++)
        count += config->upstreams[i].address_count;
    survey->asks = calloc(count + 1, sizeof(*survey->asks));
    survey->out = malloc((size_t)SURVEY_AT_ONCE * INQUIRY_OUT);
    if (survey->asks == NULL || survey->out == NULL)
        return false;
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct upstream_config *upstream = &config->upstreams[i];

        if (upstream->transport == TRANSPORT_DOT && survey->trusts[i] == NULL)
            continue;
        for (size_t j = 0; j < upstream->address_count; j++)
            survey->asks[survey->count++] =
                (struct inquiry){.upstream = upstream, .address = &upstream->addresses[j], .trust = survey->trusts[i]};
    }
    return true;
}

static void ask_all(struct survey *survey)
{
    for (size_t i = 0; i < survey->count; i += SURVEY_AT_ONCE) {
        size_t count = survey->count - i < SURVEY_AT_ONCE ? survey->count - i : SURVEY_AT_ONCE;

        for (size_t j = 0; j < count; j++)
            survey->asks[i + j].out = survey->out + j * INQUIRY_OUT;
        inquiry_ask(survey->asks + i, count, &exchange_probe_question, SURVEY_TIMEOUT_MS);
    }
}

static const char *result_of(const struct inquiry *ask)
{
    switch (ask->outcome) {
    case INQUIRY_UNREACHABLE:
        return "UNREACHABLE";
    case INQUIRY_MISMATCH:
        return ask->identity.early ? "CLOCK" : "MISMATCH";
    case INQUIRY_SILENT:
        return "NO ANSWER";
    case INQUIRY_ANSWERED:
        break;
    }
    return ask->identity.pin_missed ? "MISMATCH" : "ok";
}

/* The reason of a failure, or the doubts about a proof. */
static const char *notes_of(const struct inquiry *ask, char out[SURVEY_DOUBTS])
{
    uint32_t doubts = 0;
    size_t size = 0;

    if (ask->trust != NULL && ask->identity.proved)
        doubts = identity_doubts(ask->upstream, &ask->identity, clock_wall_seconds());
    size = (size_t)snprintf(out, SURVEY_DOUBTS, "%s", ask->reason);
    for (unsigned i = 0; i < IDENTITY_DOUBTS; i++)
        if ((doubts >> i & 1) != 0 && size < SURVEY_DOUBTS)
            size += (size_t)snprintf(out + size, SURVEY_DOUBTS - size, "%s%s", size > 0 ? "; " : "",
                                     identity_doubt_text(i));
    return out;
}

static void add_expiry(struct table *table, const struct identity_result *identity)
{
    char date[CERTIFICATE_DATE];

    if (identity->not_after == 0)
        table_add(table, "%s", "");
    else
        table_add(table, "%.10s (%lld days)", certificate_describe_date(identity->not_after, date),
                  (long long)((identity->not_after - clock_wall_seconds()) / (24 * 3600)));
}

static void add_row(struct table *table, const struct inquiry *ask)
{
    bool proved = ask->trust != NULL && ask->identity.proved;
    char address[ENDPOINT_TEXT], proof[IDENTITY_PROOF], notes[SURVEY_DOUBTS];

    table_add(table, "%s", ask->upstream->name);
    table_add(table, "%s", endpoint_format(ask->address, address));
    table_add(table, "%s", result_of(ask));
    table_add(table, "%s", proved ? identity_proof(ask->upstream, &ask->identity, proof) : "");
    table_add(table, "%s", ask->trust != NULL ? ask->version : ask->over);
    add_expiry(table, &ask->identity);
    table_add(table, "%u ms", (ask->connected_us + ask->answered_us) / 1000);
    table_add(table, "%s", notes_of(ask, notes));
}

static void print(struct survey *survey, FILE *out)
{
    static const char *const heads[] = {"UPSTREAM", "ADDRESS", "RESULT", "PROVED BY",
                                        "OVER",     "EXPIRES", "TIME",   "NOTES"};
    struct table table = table_of(sizeof(heads) / sizeof(*heads));

    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, "%s", heads[i]);
    for (size_t i = 0; i < survey->count; i++) {
        add_row(&table, &survey->asks[i]);
        if (strcmp(result_of(&survey->asks[i]), "ok") != 0 && survey->status == EXIT_DONE)
            survey->status = EXIT_FAILED;
    }
    if (!table_print(&table, out))
        survey->status = EXIT_FAILED;
    for (size_t i = 0; i < survey->config->upstream_count; i++)
        if (identity_lacks_backup(&survey->config->upstreams[i]))
            fprintf(out, "%s: %s\n", survey->config->upstreams[i].name, IDENTITY_LACKS_BACKUP);
}

int survey_print(const struct config *config, FILE *out, FILE *errors)
{
    struct survey survey = {.config = config, .status = EXIT_DONE};

    read_files(&survey, errors);
    if (list_addresses(&survey)) {
        ask_all(&survey);
        print(&survey, out);
    } else {
        fprintf(errors, "out of memory\n");
        survey.status = EXIT_FAILED;
    }
    for (size_t i = 0; i < config->upstream_count; i++)
        tls_trust_destroy(survey.trusts[i]);
    free(survey.asks);
    free(survey.out);
    return survey.status;
}

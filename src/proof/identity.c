#include "nodedot/proof/identity.h"

#include <stdio.h>
#include <string.h>

/* Warned of so long before a certificate ends: as soon as a renewal by machine is overdue, and when people must act. */
#define ENDS_SOON_S    (14 * 24 * 3600)
#define ENDS_AT_ONCE_S (3 * 24 * 3600)

struct chain {
    struct tls_certificate certificates[TLS_CHAIN_MAX];
    size_t count;
};

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Is the pin that of the leaf, or of a certificate that really signs it? Returns which, or the count for none. */
static size_t find_pin(const struct pin *pin, const struct chain *chain)
{
    for (size_t i = 0; i < chain->count; i++)
        if (memcmp(pin->sha256, chain->certificates[i].spki_sha256, sizeof(pin->sha256)) == 0 &&
            tls_chain_signed_by(chain->certificates, chain->count, i))
            return i;
    return chain->count;
}

static void check_pins(const struct upstream_config *upstream, const struct chain *chain, struct identity_result *out)
{
    size_t nearest = chain->count;

    for (size_t i = 0; i < upstream->pin_count; i++) {
        size_t found = find_pin(&upstream->pins[i], chain);
        if (found == chain->count)
            continue;
        if (out->pins_matched == 0)
            out->pin_certificate = found;
        out->pins_matched |= (uint32_t)1 << i;
        nearest = found < nearest ? found : nearest;
    }
    out->pin_missed = out->pins_matched == 0;
    if (out->pin_missed)
        return;
    out->only_ca_pin = nearest > 0 && upstream->server_name[0] == '\0';
    for (size_t i = 1; i <= nearest; i++)
        out->not_after = earlier(out->not_after, chain->certificates[i].not_after);
}

static bool name_is_right(const struct upstream_config *upstream, const struct endpoint *address,
                          const struct tls_certificate *leaf, char *reason)
{
    char text[ENDPOINT_TEXT];
    const char *name = upstream->server_name;

    if (name[0] == '\0' && upstream->auth == AUTH_PIN)
        return true;
    if (name[0] == '\0') {
        name = endpoint_format_address(address, text);
        text[strcspn(text, "%")] = '\0'; /* a certificate knows no zones of ours */
    }
    if (tls_certificate_has_name(leaf, name))
        return true;
    snprintf(reason, TLS_ERROR, "the certificate does not carry the name %.100s", name);
    return false;
}

void identity_check(const struct upstream_config *upstream, const struct endpoint *address, struct tls_trust *trust,
                    struct tls *tls, int64_t now, struct identity_result *out)
{
    struct chain chain;
    const struct tls_certificate *leaf = &chain.certificates[0];

    *out = (struct identity_result){0};
    chain.count = tls_peer_chain(tls, chain.certificates);
    if (chain.count == 0) {
        snprintf(out->reason, sizeof(out->reason), "the peer showed no certificate chain that can be read");
        return;
    }
    out->not_after = leaf->not_after;
    out->outside_dates = now < leaf->not_before || now > leaf->not_after;
    if (upstream->auth != AUTH_CA)
        check_pins(upstream, &chain, out);

    if (!name_is_right(upstream, address, leaf, out->reason))
        return;
    if (upstream->auth != AUTH_PIN && !tls_chain_trusted(trust, chain.certificates, chain.count, out->reason))
        return;
    if (out->pin_missed && upstream->pin_mode == PIN_ENFORCE) {
        snprintf(out->reason, sizeof(out->reason), "no pin matches");
        return;
    }
    out->proved = true;
}

static uint32_t bit(enum identity_doubt doubt)
{
    return (uint32_t)1 << doubt;
}

static uint32_t doubts_of_dates(const struct identity_result *result, int64_t now)
{
    if (result->outside_dates || now > result->not_after)
        return bit(DOUBT_DATES);
    if (result->not_after - now < ENDS_AT_ONCE_S)
        return bit(DOUBT_ENDS_AT_ONCE);
    return result->not_after - now < ENDS_SOON_S ? bit(DOUBT_ENDS_SOON) : 0;
}

static uint32_t doubts_of_pins(const struct upstream_config *upstream, const struct identity_result *result)
{
    if (result->pin_missed)
        return bit(DOUBT_REPORTED);
    if (upstream->auth == AUTH_CA || (result->pins_matched & 1) != 0)
        return 0;
    if (result->pins_matched == (uint32_t)1 << (upstream->pin_count - 1))
        return bit(DOUBT_LAST_PIN);
    return bit(DOUBT_BACKUP_PIN);
}

uint32_t identity_doubts(const struct upstream_config *upstream, const struct identity_result *result, int64_t now)
{
    return doubts_of_dates(result, now) | doubts_of_pins(upstream, result) |
           (result->only_ca_pin ? bit(DOUBT_CA_PIN) : 0);
}

const char *identity_doubt_text(enum identity_doubt doubt)
{
    switch (doubt) {
    case DOUBT_REPORTED:
        return "no pin matches, accepted because of pin-mode = report";
    case DOUBT_CA_PIN:
        return "pin of a CA without a name: any certificate of that CA is accepted";
    case DOUBT_DATES:
        return "certificate is expired or not yet valid, accepted because of its pin";
    case DOUBT_ENDS_AT_ONCE:
        return "certificate ends within 3 days";
    case DOUBT_ENDS_SOON:
        return "certificate ends within 14 days";
    case DOUBT_LAST_PIN:
        return "only the last pin of the list matches: no backup is left, add the pin of the next key";
    case DOUBT_BACKUP_PIN:
        return "the first pin of the list does not match any more, a backup does: add a new backup";
    }
    return "";
}

bool identity_lacks_backup(const struct upstream_config *upstream)
{
    if (upstream->transport != TRANSPORT_DOT || upstream->auth == AUTH_CA)
        return false;
    for (size_t i = 1; i < upstream->pin_count; i++)
        if (memcmp(upstream->pins[i].sha256, upstream->pins[0].sha256, sizeof(upstream->pins[0].sha256)) != 0)
            return false;
    return true;
}

const char *identity_proof(const struct upstream_config *upstream, const struct identity_result *result, char *out)
{
    size_t first = 0;
    int size = 0;

    out[0] = '\0';
    if (upstream->auth != AUTH_CA && result->pins_matched != 0) {
        while ((result->pins_matched >> first & 1) == 0)
            first++;
        size = snprintf(out, IDENTITY_PROOF, "pin %zu of %zu (certificate %zu)", first + 1, upstream->pin_count,
                        result->pin_certificate);
    }
    if (upstream->auth != AUTH_PIN)
        size += snprintf(out + size, IDENTITY_PROOF - (size_t)size, "%sCA", size > 0 ? ", " : "");
    if (upstream->server_name[0] != '\0')
        snprintf(out + size, IDENTITY_PROOF - (size_t)size, "%sname %s", size > 0 ? ", " : "", upstream->server_name);
    else if (upstream->auth != AUTH_PIN)
        snprintf(out + size, IDENTITY_PROOF - (size_t)size, ", its address");
    return out;
}

struct tls_trust *identity_trust(const struct upstream_config *upstream, char *error)
{
    struct tls_settings settings = {.ca_file = upstream->auth != AUTH_PIN ? upstream->ca_file : NULL,
                                    .client_cert = upstream->client_cert,
                                    .client_key = upstream->client_key};

    return tls_trust_create(&settings, error);
}

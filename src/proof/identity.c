#include "nodedot/proof/identity.h"

#include "nodedot/proof/certificate_parser.h"
#include "nodedot/proof/path.h"
#include "nodedot/proof/pem.h"
#include "nodedot/proof/san.h"

#include <stdio.h>
#include <string.h>

_Static_assert(PATH_ERROR == TLS_ERROR && PATH_CHAIN_MAX == TLS_CHAIN_MAX,
               "a chain from tls/ fits a question to path.h");

/* Warned of this long before a certificate expires: when a renewal by machine is overdue, and when people must act. */
#define ENDS_SOON_S    (14 * 24 * 3600)
#define ENDS_AT_ONCE_S (3 * 24 * 3600)

struct chain {
    struct tls_certificate shown[TLS_CHAIN_MAX];
    struct certificate certificates[PATH_CHAIN_MAX];
    size_t count;
};

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool read_chain(const struct tls_certificate *shown, size_t count, struct certificate *out)
{
    for (size_t i = 0; i < count; i++)
        if (!certificate_parse(shown[i].der, shown[i].der_size, &out[i]))
            return false;
    return count > 0;
}

static bool is_key_of(const struct pin *pin, const struct chain *chain, size_t i)
{
    return memcmp(pin->sha256, chain->shown[i].spki_sha256, sizeof(pin->sha256)) == 0;
}

/* Bit i: the key of certificate i is pinned. */
static uint64_t pinned_members(const struct upstream_config *upstream, const struct chain *chain)
{
    uint64_t pinned = 0;

    for (size_t i = 0; i < chain->count && upstream->auth != AUTH_CA; i++)
        for (size_t j = 0; j < upstream->pin_count; j++)
            if (is_key_of(&upstream->pins[j], chain, i))
                pinned |= (uint64_t)1 << i;
    return pinned;
}

/* Notes which pins are of the certificates in proved (bit i: number i), and returns the lowest number. */
static size_t match_pins(const struct upstream_config *upstream, const struct chain *chain, uint64_t proved,
                         struct identity_result *out)
{
    size_t nearest = chain->count;

    for (size_t j = 0; j < upstream->pin_count; j++)
        for (size_t i = 0; i < chain->count; i++) {
            if ((proved >> i & 1) == 0 || !is_key_of(&upstream->pins[j], chain, i))
                continue;
            if (out->pins_matched == 0)
                out->pin_certificate = i;
            out->pins_matched |= (uint32_t)1 << j;
            nearest = i < nearest ? i : nearest;
            break;
        }
    return nearest;
}

/* False: no pin proves anything, and why in reason. */
static bool pins_hold(const struct upstream_config *upstream, const struct chain *chain, uint64_t pinned,
                      const struct path_verdict *verdict, struct identity_result *out, char *reason)
{
    uint64_t proved = verdict->proved | (pinned & 1);
    bool named = upstream->server_name[0] != '\0' || upstream->auth != AUTH_PIN;

    if (proved != 0 && (proved & 1) == 0 && !named) {
        snprintf(reason, TLS_ERROR, "the pin is of a CA, which vouches for many servers: a name is needed");
        return false;
    }
    if (proved == 0) {
        snprintf(reason, TLS_ERROR, "%s", verdict->pin_error[0] == '\0' ? "no pin matches" : verdict->pin_error);
        out->early |= verdict->early;
        return false;
    }
    if (match_pins(upstream, chain, proved, out) > 0)
        out->not_after = earlier(out->not_after, verdict->pin_not_after);
    return true;
}

static bool name_is_right(const struct upstream_config *upstream, const struct endpoint *address,
                          const struct certificate *leaf, char *reason)
{
    char text[ENDPOINT_TEXT];
    const char *name = upstream->server_name;

    if (name[0] == '\0' && upstream->auth == AUTH_PIN)
        return true;
    if (name[0] == '\0') {
        name = endpoint_format_address(address, text);
        text[strcspn(text, "%")] = '\0'; /* a certificate knows no zones of ours */
    }
    if (san_has_name(leaf, name))
        return true;
    snprintf(reason, TLS_ERROR, "the certificate does not contain the name %.100s", name);
    return false;
}

static bool ca_is_right(const struct upstream_config *upstream, const struct path_verdict *verdict,
                        struct identity_result *out)
{
    if (upstream->auth == AUTH_PIN)
        return true;
    out->not_after = earlier(out->not_after, verdict->not_after);
    if (verdict->trusted)
        return true;
    snprintf(out->reason, sizeof(out->reason), "%s", verdict->root_error);
    out->early |= verdict->early;
    return false;
}

static void judge(const struct upstream_config *upstream, const struct endpoint *address, const struct pem *roots,
                  const struct chain *chain, int64_t now, struct identity_result *out)
{
    uint64_t pinned = pinned_members(upstream, chain);
    const struct certificate *leaf = &chain->certificates[0];
    char reason[TLS_ERROR];
    struct path_question question = {.chain = chain->certificates,
                                     .count = chain->count,
                                     .roots = upstream->auth == AUTH_PIN ? NULL : roots->certificates,
                                     .root_count = upstream->auth == AUTH_PIN ? 0 : roots->count,
                                     .pinned = pinned & ~(uint64_t)1,
                                     .now = now,
                                     .budget = {.left_ns = PATH_BUDGET_NS}};
    struct path_verdict verdict;

    out->not_after = leaf->not_after;
    out->outside_dates = now < leaf->not_before || now > leaf->not_after;
    if (!certificate_key_affordable(leaf)) {
        snprintf(out->reason, sizeof(out->reason), "the certificate has " CERTIFICATE_KEY_UNAFFORDABLE);
        return;
    }
    path_judge(&question, &verdict);
    out->pin_missed = upstream->auth != AUTH_CA && !pins_hold(upstream, chain, pinned, &verdict, out, reason);
    if (!name_is_right(upstream, address, leaf, out->reason) || !ca_is_right(upstream, &verdict, out))
        return;
    if (out->pin_missed && upstream->pin_mode == PIN_ENFORCE)
        snprintf(out->reason, sizeof(out->reason), "%s", reason);
    else
        out->proved = true;
}

void identity_check(const struct upstream_config *upstream, const struct endpoint *address, struct tls_trust *trust,
                    struct tls *tls, int64_t now, struct identity_result *out)
{
    struct chain chain;

    *out = (struct identity_result){0};
    chain.count = tls_peer_chain(tls, chain.shown);
    if (read_chain(chain.shown, chain.count, chain.certificates))
        judge(upstream, address, tls_trust_roots(trust), &chain, now, out);
    else
        snprintf(out->reason, sizeof(out->reason), "the server presented no readable certificate chain");
}

bool identity_signed_by(const struct tls_certificate *child, const struct tls_certificate *issuer)
{
    struct certificate below, above;

    return certificate_parse(child->der, child->der_size, &below) &&
           certificate_parse(issuer->der, issuer->der_size, &above) && octets_equal(below.issuer, above.subject) &&
           signature_holds(&below.signature, &above.key);
}

bool identity_pin_counts(const struct tls_certificate *chain, size_t count, size_t anchor, int64_t now, char *reason)
{
    struct certificate certificates[PATH_CHAIN_MAX];
    struct path_question question = {.chain = certificates,
                                     .count = count < PATH_CHAIN_MAX ? count : PATH_CHAIN_MAX,
                                     .pinned = (uint64_t)1 << anchor,
                                     .now = now,
                                     .budget = {.left_ns = PATH_BUDGET_NS}};
    struct path_verdict verdict;

    reason[0] = '\0';
    if (anchor == 0)
        return true;
    if (anchor >= question.count || !read_chain(chain, question.count, certificates)) {
        snprintf(reason, TLS_ERROR, "only the first %d certificates are looked at", PATH_CHAIN_MAX);
        return false;
    }
    path_judge(&question, &verdict);
    snprintf(reason, TLS_ERROR, "%s", verdict.pin_error);
    return verdict.proved != 0;
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
    return doubts_of_dates(result, now) | doubts_of_pins(upstream, result);
}

const char *identity_doubt_text(enum identity_doubt doubt)
{
    switch (doubt) {
    case DOUBT_REPORTED:
        return "no pin matches, accepted because of pin-mode = report";
    case DOUBT_DATES:
        return "certificate is expired or not yet valid, accepted because of its pin";
    case DOUBT_ENDS_AT_ONCE:
        return "certificate expires within 3 days";
    case DOUBT_ENDS_SOON:
        return "certificate expires within 14 days";
    case DOUBT_LAST_PIN:
        return "only the last pin of the list matches: no backup is left, add the pin of the next key";
    case DOUBT_BACKUP_PIN:
        return "the first pin of the list no longer matches, a backup does: add a new backup";
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
    struct tls_settings settings = {.ca = upstream->auth != AUTH_PIN ? upstream->ca : NULL,
                                    .certificate = upstream->certificate,
                                    .key = upstream->key};

    return tls_trust_create(&settings, error);
}

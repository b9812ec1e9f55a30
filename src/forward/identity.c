#include "nodedot/forward/identity.h"

#include <stdio.h>
#include <string.h>

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

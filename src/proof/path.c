#include "nodedot/proof/path.h"

#include "nodedot/proof/san.h"

#include <stdio.h>

struct search {
    const struct certificate *chain, *roots;
    size_t count, root_count;
    const struct certificate *goal; /* NULL: any root */
    path_signed_by signed_by;
    bool for_server; /* dates and extended key usage count */
    int64_t now;
    unsigned signatures_left;
    char *error; /* the first reason found for not going on; NULL: nobody asks */
};

static bool refuse(struct search *s, const struct certificate *certificate, const char *reason)
{
    char name[80];

    if (s->error != NULL && s->error[0] == '\0') {
        certificate_describe_name(certificate->subject, name, sizeof(name));
        snprintf(s->error, PATH_ERROR, "certificate \"%s\" %s", name, reason);
    }
    return false;
}

/* What holds for every certificate on a path. */
static bool acceptable(struct search *s, const struct certificate *c)
{
    if (c->unknown_critical)
        return refuse(s, c, "has a critical extension that is not supported");
    if (!s->for_server)
        return true;
    if (!certificate_key_strong(c))
        return refuse(s, c, "has a weak or unknown kind of key");
    if (!c->may_serve)
        return refuse(s, c, "is not for servers (extKeyUsage)");
    if (s->now < c->not_before)
        return refuse(s, c, "is not valid yet");
    return s->now <= c->not_after || refuse(s, c, "has expired");
}

/* Did issuer sign child? below: CA certificates between issuer and the leaf that count for pathLenConstraint. */
static bool may_issue(struct search *s, const struct certificate *issuer, const struct certificate *child, int below)
{
    if (!octets_equal(child->issuer, issuer->subject))
        return false;
    if (!issuer->is_ca || !issuer->may_sign)
        return refuse(s, issuer, "is not a CA that may sign");
    if (issuer->path_length != CERTIFICATE_NO_PATH_LENGTH && below > issuer->path_length)
        return refuse(s, issuer, "allows no further CA below it (pathLenConstraint)");
    if (!certificate_key_strong(issuer))
        return refuse(s, issuer, "has a weak or unknown kind of key");
    if (!acceptable(s, issuer))
        return false;
    if (!san_permitted(&s->chain[0], issuer))
        return refuse(s, issuer, "does not allow the names of the leaf (nameConstraints)");
    if (!child->strong_signature)
        return refuse(s, child, "is signed with a weak or unknown algorithm");
    if (s->signatures_left == 0)
        return refuse(s, child, "has too many possible issuers");
    s->signatures_left--;
    return s->signed_by(child, issuer) || refuse(s, child, "has a signature that its issuer did not make");
}

/* Goes on from child, which a path of depth certificates leads to. seen: bit i for chain[i] on this path. */
static bool climb(struct search *s, const struct certificate *child, uint32_t seen, int below)
{
    for (size_t i = 0; i < s->root_count; i++)
        if (may_issue(s, &s->roots[i], child, below))
            return true;
    for (size_t i = 1; i < s->count; i++) {
        const struct certificate *issuer = &s->chain[i];
        if ((seen >> i & 1) != 0 || !may_issue(s, issuer, child, below))
            continue;
        if (issuer == s->goal)
            return true;
        if (climb(s, issuer, seen | (uint32_t)1 << i, below + !certificate_self_issued(issuer)))
            return true;
    }
    return false;
}

bool path_to_member(const struct certificate *chain, size_t count, size_t anchor, path_signed_by signed_by)
{
    struct search s = {.chain = chain,
                       .count = count,
                       .goal = &chain[anchor],
                       .signed_by = signed_by,
                       .signatures_left = PATH_SIGNATURES};

    if (anchor == 0)
        return count > 0;
    return anchor < count && climb(&s, &chain[0], 1, 0);
}

bool path_to_root(const struct certificate *chain, size_t count, const struct certificate *roots, size_t root_count,
                  int64_t now, path_signed_by signed_by, char *error)
{
    struct search s = {.chain = chain,
                       .count = count,
                       .roots = roots,
                       .root_count = root_count,
                       .signed_by = signed_by,
                       .for_server = true,
                       .now = now,
                       .signatures_left = PATH_SIGNATURES,
                       .error = error};

    error[0] = '\0';
    if (count == 0) {
        snprintf(error, PATH_ERROR, "no certificate was shown");
        return false;
    }
    if (!acceptable(&s, &chain[0]))
        return false;
    if (!chain[0].may_handshake)
        return refuse(&s, &chain[0], "may not sign handshakes (keyUsage)");
    for (size_t i = 0; i < root_count; i++)
        if (octets_equal(chain[0].der, roots[i].der))
            return true;
    if (climb(&s, &chain[0], 1, 0))
        return true;
    if (error[0] == '\0')
        refuse(&s, &chain[0], "leads to no trusted CA");
    return false;
}

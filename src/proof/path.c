#include "nodedot/proof/path.h"

#include "nodedot/proof/constraints.h"
#include "nodedot/proof/policy.h"

#include <stdio.h>

#define STEP_NS     200 /* measured: one pair of certificates looked at, and the state copied */
#define NO_LIMIT    INT32_MAX
#define BEHIND_ROOT (PATH_CHAIN_MAX + 1) /* certificates on the longest path: a root and the whole chain */

enum signature_memo { NOT_CHECKED, HOLDS, FAILS };

struct search {
    const struct path_question *question;
    struct budget budget;
    uint8_t memo[PATH_SHOWN_MAX][PATH_SHOWN_MAX]; /* enum signature_memo by child and issuer */
    uint64_t useful;                              /* bit i: by its names chain[i] may be the leaf or stand above it */
    int64_t not_after;                            /* of the path that was found */
    bool early;                                   /* the first reason is a notBefore to come */
    char *error;                                  /* the first reason for not going on: PATH_ERROR octets */
};

/* What RFC 5280 section 6.1.2 carries down from certificate to certificate. */
struct state {
    const struct certificate *path[BEHIND_ROOT]; /* from the top */
    unsigned length;
    uint64_t members; /* bit i: chain[i] is on the path */
    int cas_left;     /* max_path_length */
    int64_t not_after;
    struct policies policies;
};

static bool refuse(struct search *s, const struct certificate *certificate, const char *reason)
{
    char name[80];

    if (s->error[0] == '\0') {
        certificate_describe_name(certificate->subject, name, sizeof(name));
        snprintf(s->error, PATH_ERROR, "certificate \"%s\" %s", name, reason);
    }
    return false;
}

static bool refuse_work(struct search *s)
{
    snprintf(s->error, PATH_ERROR, "the certificate chain takes too much work to verify");
    return false;
}

static bool within_dates(struct search *s, const struct certificate *c)
{
    if (s->question->now < c->not_before) {
        s->early |= s->error[0] == '\0';
        return refuse(s, c, "is not valid yet");
    }
    return s->question->now <= c->not_after || refuse(s, c, "has expired");
}

/* What holds for every certificate on a path. */
static bool acceptable(struct search *s, const struct certificate *c)
{
    if (c->unknown_critical)
        return refuse(s, c, "has a critical extension that is not supported");
    if (c->flaw != NULL)
        return refuse(s, c, c->flaw);
    if (!certificate_key_affordable(c))
        return refuse(s, c, "has " CERTIFICATE_KEY_UNAFFORDABLE);
    if (!certificate_key_strong(c))
        return refuse(s, c, "has a weak or unknown kind of key");
    if (!c->may_serve)
        return refuse(s, c, "is not for servers (extKeyUsage)");
    return within_dates(s, c);
}

static bool may_issue(struct search *s, const struct certificate *c)
{
    if (!c->is_ca || !c->may_sign)
        return refuse(s, c, "is not a CA that may sign");
    if (c->key.kind == KEY_RSA && c->key.bits > SIGNATURE_RSA_BITS)
        return refuse(s, c, "has an RSA key of more bits than wolfSSL computes with");
    return acceptable(s, c);
}

static bool check_signature(struct search *s, const struct certificate *child, const struct certificate *issuer)
{
    if (child->signature.kind == SIGNATURE_OTHER)
        return refuse(s, child, "is signed with a weak or unknown algorithm");
    if (!budget_spend(&s->budget, signature_cost_ns(&child->signature, &issuer->key)))
        return refuse_work(s);
    return signature_holds(&child->signature, &issuer->key) ||
           refuse(s, child, "has a signature that its issuer did not make");
}

/* issuer: a member of the chain, or the root at the top, which is asked once only. */
static bool is_signed(struct search *s, size_t child, const struct certificate *issuer)
{
    const struct certificate *chain = s->question->chain;

    if (issuer < chain || issuer >= chain + s->question->count)
        return check_signature(s, &chain[child], issuer);
    uint8_t *memo = &s->memo[child][issuer - chain];
    if (*memo == NOT_CHECKED)
        *memo = check_signature(s, &chain[child], issuer) ? HOLDS : FAILS;
    return *memo == HOLDS;
}

/* RFC 5280 section 6.1.3 b and c: every certificate above has its say. Not about a CA that is self-issued. */
static bool names_allowed(struct search *s, const struct state *state, const struct certificate *c, bool leaf)
{
    for (unsigned i = 0; i < state->length && (leaf || !certificate_self_issued(c)); i++) {
        if (constraints_allow(state->path[i], c, &s->budget))
            continue;
        if (s->budget.exhausted)
            return refuse_work(s);
        return refuse(s, state->path[i],
                      leaf ? "does not allow the names of the leaf (nameConstraints)"
                           : "does not allow the names of a CA below it (nameConstraints)");
    }
    return true;
}

static void add_to_path(struct state *state, const struct certificate *c)
{
    state->path[state->length++] = c;
    if (c->not_after < state->not_after)
        state->not_after = c->not_after;
    if (c->path_length != CERTIFICATE_NO_PATH_LENGTH && c->path_length < state->cas_left)
        state->cas_left = c->path_length;
}

/* RFC 5280 section 6.1.3 and 6.1.4 for the next certificate of a path. */
static bool enter(struct search *s, struct state *state, size_t i)
{
    const struct certificate *c = &s->question->chain[i];
    bool leaf = i == 0;

    if (!leaf && !may_issue(s, c))
        return false;
    if (!leaf && !certificate_self_issued(c) && state->cas_left-- <= 0)
        return refuse(s, state->path[state->length - 1], "allows no further CA below it (pathLenConstraint)");
    if (!names_allowed(s, state, c, leaf))
        return false;
    if (!policies_enter(&state->policies, c, leaf, &s->budget))
        return s->budget.exhausted ? refuse_work(s)
                                   : refuse(s, c, "is under no policy that its CAs require (policyConstraints)");
    state->members |= (uint64_t)1 << i;
    add_to_path(state, c);
    return true;
}

/* Another certificate of the same name and key signs nothing more, so a path through both of them is no better. */
static bool is_twin(const struct certificate *a, const struct certificate *b)
{
    return octets_equal(a->subject, b->subject) && octets_equal(a->spki, b->spki);
}

/* Goes on from the last certificate of a path. True: the leaf is reached. */
static bool descend(struct search *s, const struct state *above)
{
    const struct certificate *issuer = above->path[above->length - 1];
    const struct certificate *chain = s->question->chain;

    if (above->length == BEHIND_ROOT)
        return refuse(s, issuer, "has too many certificates above it");
    for (size_t i = 0; i < s->question->count; i++) {
        if (!budget_spend(&s->budget, STEP_NS))
            return refuse_work(s);
        if (((s->useful & ~above->members) >> i & 1) == 0 || !octets_equal(chain[i].issuer, issuer->subject) ||
            (i > 0 && is_twin(&chain[i], issuer)) || !is_signed(s, i, issuer))
            continue;
        struct state state = *above;
        if (!enter(s, &state, i))
            continue;
        if (i == 0) {
            s->not_after = state.not_after;
            return true;
        }
        if (descend(s, &state))
            return true;
    }
    return false;
}

/* Is there a path down from this certificate, of the chain (members: its bit) or a root? */
static bool leads_down(struct search *s, const struct certificate *top, uint64_t members)
{
    struct state state = {.members = members, .cas_left = NO_LIMIT, .not_after = INT64_MAX};

    if (!may_issue(s, top))
        return false;
    policies_begin(&state.policies, top);
    add_to_path(&state, top);
    return descend(s, &state);
}

/* What is above the leaf by names alone; a search goes nowhere else. */
static uint64_t find_useful(const struct path_question *q)
{
    uint64_t useful = 1, before = 0;

    while (useful != before) {
        before = useful;
        for (size_t child = 0; child < q->count; child++)
            for (size_t i = 1; i < q->count && (useful >> child & 1) != 0; i++)
                if (octets_equal(q->chain[child].issuer, q->chain[i].subject))
                    useful |= (uint64_t)1 << i;
    }
    return useful;
}

static bool names_a_child(const struct search *s, const struct certificate *issuer)
{
    for (size_t i = 0; i < s->question->count; i++)
        if ((s->useful >> i & 1) != 0 && octets_equal(s->question->chain[i].issuer, issuer->subject))
            return true;
    return false;
}

static void judge_pinned(struct search *s, struct path_verdict *out)
{
    const struct path_question *q = s->question;

    s->error = out->pin_error;
    for (size_t i = 1; i < q->count; i++) {
        if ((q->pinned >> i & 1) == 0)
            continue;
        if ((s->useful >> i & 1) == 0) {
            refuse(s, &q->chain[i], "did not sign the leaf, so its pin proves nothing");
        } else if (leads_down(s, &q->chain[i], (uint64_t)1 << i)) {
            if (out->proved == 0)
                out->pin_not_after = s->not_after;
            out->proved |= (uint64_t)1 << i;
        }
    }
}

static bool is_root(const struct path_question *q)
{
    for (size_t i = 0; i < q->root_count; i++)
        if (octets_equal(q->chain[0].der, q->roots[i].der))
            return true;
    return false;
}

static void judge_roots(struct search *s, struct path_verdict *out)
{
    const struct path_question *q = s->question;

    s->error = out->root_error;
    out->not_after = q->chain[0].not_after;
    out->trusted = is_root(q);
    for (size_t i = 0; i < q->root_count && !out->trusted; i++) {
        if (!names_a_child(s, &q->roots[i]) || !leads_down(s, &q->roots[i], 0))
            continue;
        out->trusted = true;
        out->not_after = s->not_after;
    }
    if (!out->trusted)
        refuse(s, &q->chain[0], "leads to no trusted CA");
}

void path_judge(const struct path_question *q, struct path_verdict *out)
{
    struct search s = {.question = q, .budget = q->budget, .error = out->root_error};

    *out = (struct path_verdict){0};
    if (q->count == 0 || q->count > PATH_SHOWN_MAX) {
        snprintf(out->root_error, PATH_ERROR, "%s",
                 q->count == 0 ? "no certificate was shown" : "the chain is too long");
    } else if (acceptable(&s, &q->chain[0]) &&
               (q->chain[0].may_handshake || refuse(&s, &q->chain[0], "may not sign handshakes (keyUsage)"))) {
        s.useful = find_useful(q);
        judge_pinned(&s, out);
        judge_roots(&s, out);
        out->early = s.early && !out->trusted && out->proved == 0;
        return;
    }
    snprintf(out->pin_error, PATH_ERROR, "%s", out->root_error);
    out->early = s.early;
}

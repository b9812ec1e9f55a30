#include "nodedot/proof/policy.h"

#define NEVER      255 /* larger than a path is long: a rule that does not begin to hold */
#define COMPARE_NS 20
#define POLICY_ANY OID(0x55, 0x1d, 0x20, 0x00)

bool policy_is_any(struct octets policy)
{
    return octets_equal(policy, POLICY_ANY);
}

static void lower(unsigned *counter, int skip)
{
    if (skip != CERTIFICATE_NO_SKIP && (unsigned)skip < *counter)
        *counter = (unsigned)skip;
}

static void apply_counters(struct policies *policies, const struct certificate *c)
{
    lower(&policies->explicit_in, c->require_explicit_policy);
    lower(&policies->mapping_in, c->inhibit_policy_mapping);
    lower(&policies->any_in, c->inhibit_any_policy);
}

void policies_begin(struct policies *policies, const struct certificate *anchor)
{
    *policies = (struct policies){.any = true, .explicit_in = NEVER, .mapping_in = NEVER, .any_in = NEVER};
    apply_counters(policies, anchor);
}

static bool holds(const struct policies *policies, struct octets policy)
{
    for (unsigned i = 0; i < policies->count; i++)
        if (octets_equal(policies->valid[i], policy))
            return true;
    return false;
}

static void add(struct policies *policies, struct octets policy)
{
    if (policies->count < POLICY_MAX && !holds(policies, policy))
        policies->valid[policies->count++] = policy;
}

/* RFC 5280 section 6.1.3 d and e. */
static bool intersect(struct policies *policies, const struct certificate *c, bool leaf, struct budget *budget)
{
    struct policies above = *policies;
    struct der list = der_open(c->policies);
    bool any = false;

    policies->count = 0;
    policies->any = false;
    while (!der_at_end(&list)) {
        struct der information = der_enter(&list, DER_SEQUENCE);
        struct octets policy = der_take(&information, DER_OID);
        if (!budget_spend(budget, COMPARE_NS * (1 + above.count + policies->count)))
            return false;
        if (policy_is_any(policy))
            any = true;
        else if (above.any || holds(&above, policy))
            add(policies, policy);
    }
    if (any && (above.any_in > 0 || (!leaf && certificate_self_issued(c)))) {
        for (unsigned i = 0; i < above.count; i++)
            add(policies, above.valid[i]);
        policies->any = above.any;
    }
    return true;
}

/* RFC 5280 section 6.1.4 b. A policy is replaced by what it is mapped to, or goes where mapping is inhibited. */
static bool map(struct policies *policies, const struct certificate *c, struct budget *budget)
{
    struct policies before = *policies;
    struct der list = der_open(c->policy_mappings);

    if (c->policy_mappings.at == NULL)
        return true;
    policies->count = 0;
    for (unsigned i = 0; i < before.count; i++) {
        bool mapped = false;
        for (struct der pairs = list; !der_at_end(&pairs);) {
            struct der pair = der_enter(&pairs, DER_SEQUENCE);
            if (!budget_spend(budget, COMPARE_NS * (1 + policies->count)))
                return false;
            if (!octets_equal(der_take(&pair, DER_OID), before.valid[i]))
                continue;
            mapped = true;
            if (policies->mapping_in > 0)
                add(policies, der_take(&pair, DER_OID));
        }
        if (!mapped)
            add(policies, before.valid[i]);
    }
    return true;
}

static void count_down(unsigned *counter)
{
    if (*counter > 0 && *counter != NEVER)
        (*counter)--;
}

bool policies_enter(struct policies *policies, const struct certificate *c, bool leaf, struct budget *budget)
{
    if (!intersect(policies, c, leaf, budget))
        return false;
    bool none = policies->count == 0 && !policies->any;
    if (policies->explicit_in == 0 && none)
        return false;
    if (leaf) { /* RFC 5280 section 6.1.5 a and b */
        count_down(&policies->explicit_in);
        return !none || (policies->explicit_in > 0 && c->require_explicit_policy != 0);
    }
    if (!map(policies, c, budget))
        return false;
    if (!certificate_self_issued(c)) {
        count_down(&policies->explicit_in);
        count_down(&policies->mapping_in);
        count_down(&policies->any_in);
    }
    apply_counters(policies, c);
    return true;
}

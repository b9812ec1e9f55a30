#include "nodedot/resolver/popular.h"

#include <stdlib.h>
#include <string.h>

bool popular_init(struct popular *popular, size_t wanted)
{
    size_t names;

    memset(popular, 0, sizeof(*popular));
    if (wanted == 0)
        return true;
    popular->set_count = (wanted * POPULAR_SHARE + POPULAR_WAYS - 1) / POPULAR_WAYS;
    names = popular->set_count * POPULAR_WAYS;
    popular->sets = aligned_alloc(_Alignof(struct popular_set), popular->set_count * sizeof(struct popular_set));
    popular->names = calloc(names, sizeof(struct popular_name)); /* pages of names that never come are never touched */
    popular->picks = calloc(names, sizeof(struct popular_pick));
    if (popular->sets == NULL || popular->names == NULL || popular->picks == NULL) {
        popular_reset(popular);
        return false;
    }
    memset(popular->sets, 0, popular->set_count * sizeof(struct popular_set));
    return true;
}

void popular_reset(struct popular *popular)
{
    free(popular->sets);
    free(popular->names);
    free(popular->picks);
    memset(popular, 0, sizeof(*popular));
}

static bool is_name_of(const struct popular_name *name, const struct cache_key *key)
{
    return name->uses != 0 && name->dnssec_ok == key->dnssec_ok && name->checking_disabled == key->checking_disabled &&
           question_equal(&name->question, key->question);
}

static void name_take_over(struct popular_name *name, const struct cache_key *key)
{
    name->question = *key->question;
    name->hash = key->hash;
    name->dnssec_ok = key->dnssec_ok;
    name->checking_disabled = key->checking_disabled;
    name->error = name->uses;
}

static void name_add(struct popular_name *name, uint32_t weight)
{
    name->uses = name->uses < UINT32_MAX - weight ? name->uses + weight : UINT32_MAX;
}

void popular_count(struct popular *popular, const struct cache_key *key, uint32_t weight)
{
    size_t number = (size_t)((key->hash >> 32) * popular->set_count >> 32);
    struct popular_set *set = &popular->sets[number];
    struct popular_name *names = &popular->names[number * POPULAR_WAYS];
    size_t least = 0;

    for (size_t i = 0; i < POPULAR_WAYS; i++) {
        if (set->hash[i] == key->hash && is_name_of(&names[i], key)) {
            name_add(&names[i], weight);
            return;
        }
    }
    for (size_t i = 1; i < POPULAR_WAYS; i++) {
        if (names[i].uses < names[least].uses)
            least = i;
    }
    name_take_over(&names[least], key);
    name_add(&names[least], weight);
    set->hash[least] = key->hash;
}

void popular_tick(struct popular *popular)
{
    popular->skip = 0;
    while (popular->seen / (popular->skip + 1) > POPULAR_COUNTED)
        popular->skip = popular->skip * 2 + 1;
    popular->seen = 0;
    if (popular->sets == NULL || ++popular->ticks < POPULAR_HALF_LIFE)
        return;
    popular->ticks = 0;
    for (size_t i = 0; i < popular->set_count * POPULAR_WAYS; i++) {
        popular->names[i].uses /= 2;
        popular->names[i].error /= 2;
    }
}

static int by_use(const void *a, const void *b)
{
    const struct popular_pick *first = a;
    const struct popular_pick *second = b;

    return (first->uses < second->uses) - (first->uses > second->uses);
}

size_t popular_most(struct popular *popular, uint32_t least, size_t most, const struct popular_pick **out)
{
    size_t count = 0;

    for (size_t i = 0; i < popular->set_count * POPULAR_WAYS; i++) {
        const struct popular_name *name = &popular->names[i];

        if (name->uses - name->error >= least)
            popular->picks[count++] = (struct popular_pick){.name = name, .uses = name->uses - name->error};
    }
    if (count > 1)
        qsort(popular->picks, count, sizeof(struct popular_pick), by_use);
    *out = popular->picks;
    return count < most ? count : most;
}

#include "nodedot/resolver/hot_names.h"

#include <stdlib.h>
#include <string.h>

bool hot_names_init(struct hot_names *hot, size_t wanted)
{
    size_t names;

    memset(hot, 0, sizeof(*hot));
    if (wanted == 0)
        return true;
    hot->set_count = (wanted * HOT_NAMES_WATCHED + HOT_NAMES_WAYS - 1) / HOT_NAMES_WAYS;
    names = hot->set_count * HOT_NAMES_WAYS;
    hot->sets = aligned_alloc(_Alignof(struct hot_set), hot->set_count * sizeof(struct hot_set));
    hot->names = calloc(names, sizeof(struct hot_name)); /* pages of names that never come are never touched */
    hot->picks = calloc(names, sizeof(struct hot_pick));
    if (hot->sets == NULL || hot->names == NULL || hot->picks == NULL) {
        hot_names_reset(hot);
        return false;
    }
    memset(hot->sets, 0, hot->set_count * sizeof(struct hot_set));
    return true;
}

void hot_names_reset(struct hot_names *hot)
{
    free(hot->sets);
    free(hot->names);
    free(hot->picks);
    memset(hot, 0, sizeof(*hot));
}

static bool is_name_of(const struct hot_name *name, const struct cache_key *key)
{
    return name->uses != 0 && name->dnssec_ok == key->dnssec_ok && name->checking_disabled == key->checking_disabled &&
           question_equal(&name->question, key->question);
}

static void name_take_over(struct hot_name *name, const struct cache_key *key)
{
    name->question = *key->question;
    name->hash = key->hash;
    name->dnssec_ok = key->dnssec_ok;
    name->checking_disabled = key->checking_disabled;
    name->error = name->uses;
}

static void name_add(struct hot_name *name, uint32_t weight)
{
    name->uses = name->uses < UINT32_MAX - weight ? name->uses + weight : UINT32_MAX;
}

void hot_names_count(struct hot_names *hot, const struct cache_key *key, uint32_t weight)
{
    size_t number = (size_t)((key->hash >> 32) * hot->set_count >> 32);
    struct hot_set *set = &hot->sets[number];
    struct hot_name *names = &hot->names[number * HOT_NAMES_WAYS];
    size_t least = 0;

    for (size_t i = 0; i < HOT_NAMES_WAYS; i++) {
        if (set->hash[i] == key->hash && is_name_of(&names[i], key)) {
            name_add(&names[i], weight);
            return;
        }
    }
    for (size_t i = 1; i < HOT_NAMES_WAYS; i++) {
        if (names[i].uses < names[least].uses)
            least = i;
    }
    name_take_over(&names[least], key);
    name_add(&names[least], weight);
    set->hash[least] = key->hash;
}

void hot_names_tick(struct hot_names *hot)
{
    hot->skip = 0;
    while (hot->seen / (hot->skip + 1) > HOT_NAMES_COUNTED)
        hot->skip = hot->skip * 2 + 1;
    hot->seen = 0;
    if (hot->sets == NULL || ++hot->ticks < HOT_NAMES_HALF_LIFE)
        return;
    hot->ticks = 0;
    for (size_t i = 0; i < hot->set_count * HOT_NAMES_WAYS; i++) {
        hot->names[i].uses /= 2;
        hot->names[i].error /= 2;
    }
}

static int by_use(const void *a, const void *b)
{
    const struct hot_pick *first = a;
    const struct hot_pick *second = b;

    return (first->uses < second->uses) - (first->uses > second->uses);
}

size_t hot_names_most(struct hot_names *hot, uint32_t least, size_t most, const struct hot_pick **out)
{
    size_t count = 0;

    for (size_t i = 0; i < hot->set_count * HOT_NAMES_WAYS; i++) {
        const struct hot_name *name = &hot->names[i];

        if (name->uses - name->error >= least)
            hot->picks[count++] = (struct hot_pick){.name = name, .uses = name->uses - name->error};
    }
    if (count > 1)
        qsort(hot->picks, count, sizeof(struct hot_pick), by_use);
    *out = hot->picks;
    return count < most ? count : most;
}

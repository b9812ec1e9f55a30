#include "nodedot/forward/dialect.h"

static bool holds(const _Atomic uint64_t *learnt_ms, uint64_t now_ms)
{
    uint64_t at_ms = atomic_load_explicit(learnt_ms, memory_order_relaxed);

    return at_ms != 0 && now_ms < at_ms + DIALECT_MS;
}

static bool is_known(const struct dialect *dialect, bool stream, uint64_t now_ms)
{
    uint64_t at_ms = dialect->known_ms[stream];

    if (at_ms != 0 && now_ms < at_ms + DIALECT_MS)
        return true;
    return dialect->trials >= DIALECT_TRIALS && now_ms < dialect->trial_ms + DIALECT_MS;
}

void dialect_apply(const struct dialect *dialect, struct exchange_form *form, uint64_t now_ms)
{
    if (!form->edns)
        return;
    form->edns_known = is_known(dialect, form->stream, now_ms);
    if (form->stream && holds(&dialect->status->dislikes_options_ms, now_ms))
        form->without_options = true;
    if (!form->padded && holds(&dialect->status->dislikes_edns_ms, now_ms))
        form->edns = false;
}

void dialect_disliked(struct dialect *dialect, uint64_t now_ms)
{
    if (dialect->trials == 0 || now_ms >= dialect->trial_ms + DIALECT_MS) {
        dialect->trials = 0;
        dialect->trial_ms = now_ms;
    }
    dialect->trials++;
}

static void learn(struct dialect *dialect, const struct exchange_form *form, uint64_t now_ms)
{
    dialect->silences = 0;
    dialect->known_ms[form->stream] = 0;
    if (form->edns)
        atomic_store_explicit(&dialect->status->dislikes_options_ms, now_ms, memory_order_relaxed);
    else if (!form->padded)
        atomic_store_explicit(&dialect->status->dislikes_edns_ms, now_ms, memory_order_relaxed);
}

void dialect_answered(struct dialect *dialect, const struct exchange *exchange, bool silent, uint64_t now_ms)
{
    const struct exchange_form *form = &exchange->form;

    dialect->trials = 0;
    if (exchange->plainer && (!silent || ++dialect->silences >= DIALECT_SILENCES)) {
        learn(dialect, form, now_ms);
    } else if (form->edns && !form->without_options) {
        dialect->silences = 0;
        dialect->known_ms[form->stream] = now_ms;
    }
}

const char *dialect_describe(const struct address_status *row, uint64_t now_ms)
{
    if (holds(&row->dislikes_edns_ms, now_ms))
        return "none";
    return holds(&row->dislikes_options_ms, now_ms) ? "no options" : "full";
}

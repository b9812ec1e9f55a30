#include "nodedot/forward/tickets.h"

#include "nodedot/base/clock.h"

struct tls_ticket *tickets_take(struct tickets *tickets, uint32_t epoch, uint64_t life_ms, uint64_t *proved_ms)
{
    for (unsigned i = 0; i < TICKETS_MAX; i++) {
        struct kept_ticket kept = tickets->kept[i];

        if (kept.ticket == NULL)
            continue;
        tickets->kept[i].ticket = NULL;
        if (kept.epoch == epoch && clock_ms() - kept.proved_ms < life_ms) {
            *proved_ms = kept.proved_ms;
            return kept.ticket;
        }
        tls_ticket_release(kept.ticket);
    }
    return NULL;
}

void tickets_keep(struct tickets *tickets, struct tls_ticket *ticket, uint32_t epoch, uint64_t proved_ms)
{
    struct kept_ticket *oldest = &tickets->kept[0];

    if (ticket == NULL)
        return;
    for (unsigned i = 0; i < TICKETS_MAX; i++) {
        struct kept_ticket *slot = &tickets->kept[i];

        if (slot->ticket == NULL || (oldest->ticket != NULL && slot->proved_ms < oldest->proved_ms))
            oldest = slot;
    }
    tls_ticket_release(oldest->ticket);
    *oldest = (struct kept_ticket){.ticket = ticket, .epoch = epoch, .proved_ms = proved_ms};
}

void tickets_drop(struct tickets *tickets)
{
    for (unsigned i = 0; i < TICKETS_MAX; i++) {
        tls_ticket_release(tickets->kept[i].ticket);
        tickets->kept[i].ticket = NULL;
    }
}

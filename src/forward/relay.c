#include "nodedot/forward/relay.h"

#include <stdlib.h>
#include <string.h>

struct relay *relay_create(void (*wake)(void *context, unsigned thread), void *context)
{
    struct relay *relay = calloc(1, sizeof(*relay));

    if (relay == NULL)
        return NULL;
    pthread_mutex_init(&relay->lock, NULL);
    relay->wake = wake;
    relay->context = context;
    for (size_t i = 0; i < RELAY_ENTRIES; i++)
        relay->entries[i].relay = relay;
    return relay;
}

void relay_destroy(struct relay *relay)
{
    if (relay == NULL)
        return;
    for (size_t i = 0; i < RELAY_ENTRIES; i++)
        free(relay->entries[i].answer);
    pthread_mutex_destroy(&relay->lock);
    free(relay);
}

/* With the lock held, as all that follow until relay_ask(). */
static void release(struct relay_entry *entry)
{
    free(entry->answer);
    entry->answer = NULL;
    entry->asker = NULL;
    entry->forgotten = false;
    entry->state = RELAY_FREE;
}

static struct relay_entry *free_entry(struct relay *relay)
{
    for (size_t i = 0; i < RELAY_ENTRIES; i++) {
        if (relay->entries[i].state == RELAY_FREE)
            return &relay->entries[i];
    }
    return NULL;
}

/* The next thread of those in holders, in turn. There is one. */
static unsigned next_thread(struct relay *relay, uint32_t holders)
{
    do
        relay->turn = (relay->turn + 1) % 32;
    while ((holders >> relay->turn & 1) == 0);
    return relay->turn;
}

static void fill(struct relay_entry *entry, struct exchange *exchange, size_t address, unsigned serving)
{
    entry->state = RELAY_ASKED;
    entry->asking = exchange->exchanges->thread;
    entry->serving = serving;
    entry->address = address;
    entry->question = *exchange->form.question;
    entry->asker = exchange;
    memset(&entry->exchange, 0, sizeof(entry->exchange));
    entry->exchange.form = exchange->form;
    entry->exchange.form.question = &entry->question;
}

bool relay_ask(struct relay *relay, struct exchange *exchange, size_t address, uint32_t holders)
{
    struct relay_entry *entry = NULL;

    pthread_mutex_lock(&relay->lock);
    holders &= ~relay->left & ~(UINT32_C(1) << exchange->exchanges->thread);
    if (holders != 0)
        entry = free_entry(relay);
    if (entry != NULL)
        fill(entry, exchange, address, next_thread(relay, holders));
    pthread_mutex_unlock(&relay->lock);
    if (entry == NULL)
        return false;
    exchange->relayed = entry;
    exchange->state = EXCHANGE_RELAYED;
    relay->wake(relay->context, entry->serving);
    return true;
}

void relay_forget(struct exchange *exchange)
{
    struct relay_entry *entry = exchange->relayed;

    exchange->state = EXCHANGE_FREE;
    exchange->relayed = NULL;
    if (entry == NULL) /* collected */
        return;
    struct relay *relay = entry->relay;
    pthread_mutex_lock(&relay->lock);
    bool out = entry->state == RELAY_SERVED;
    if (out)
        entry->forgotten = true;
    else
        release(entry);
    unsigned serving = entry->serving;
    pthread_mutex_unlock(&relay->lock);
    if (out)
        relay->wake(relay->context, serving);
}

void relay_serve(struct relay *relay, unsigned thread, void *context,
                 bool (*ask)(void *context, struct relay_entry *entry), void (*forget)(struct relay_entry *entry))
{
    for (size_t i = 0; i < RELAY_ENTRIES; i++) {
        struct relay_entry *entry = &relay->entries[i];

        pthread_mutex_lock(&relay->lock);
        bool mine = entry->serving == thread;
        bool asked = mine && entry->state == RELAY_ASKED;
        bool forgotten = mine && entry->state == RELAY_SERVED && entry->forgotten;
        if (asked)
            entry->state = RELAY_SERVED; /* the asking thread touches it no more, but to forget it */
        pthread_mutex_unlock(&relay->lock);
        if (asked && !ask(context, entry)) {
            relay_fail(entry);
        } else if (forgotten) {
            forget(entry);
            relay_fail(entry);
        }
    }
}

static void finish(struct relay_entry *entry, uint8_t *answer, size_t size)
{
    struct relay *relay = entry->relay;
    unsigned asking = entry->asking;

    pthread_mutex_lock(&relay->lock);
    bool wanted = !entry->forgotten;
    entry->state = answer != NULL ? RELAY_ANSWERED : RELAY_FAILED;
    entry->answer = answer;
    entry->size = size;
    if (!wanted)
        release(entry);
    pthread_mutex_unlock(&relay->lock);
    if (wanted)
        relay->wake(relay->context, asking);
}

void relay_answer(struct relay_entry *entry, const uint8_t *message, size_t size)
{
    uint8_t *copy = malloc(size);

    if (copy != NULL)
        memcpy(copy, message, size);
    finish(entry, copy, size);
}

void relay_fail(struct relay_entry *entry)
{
    finish(entry, NULL, 0);
}

/* Takes the entry's answer out, and frees the entry. False: it is not this thread's, or not over. */
static bool collect(struct relay_entry *entry, unsigned thread, struct exchange **asker, uint8_t **answer, size_t *size)
{
    pthread_mutex_lock(&entry->relay->lock);
    bool over = entry->asking == thread && (entry->state == RELAY_ANSWERED || entry->state == RELAY_FAILED);
    if (over) {
        *asker = entry->asker;
        *answer = entry->answer;
        *size = entry->size;
        entry->answer = NULL;
        release(entry);
    }
    pthread_mutex_unlock(&entry->relay->lock);
    return over;
}

void relay_collect(struct relay *relay, unsigned thread,
                   void (*answered)(struct exchange *exchange, uint8_t *message, size_t size),
                   void (*failed)(struct exchange *exchange))
{
    for (size_t i = 0; i < RELAY_ENTRIES; i++) {
        struct exchange *asker;
        uint8_t *answer;
        size_t size;

        if (!collect(&relay->entries[i], thread, &asker, &answer, &size))
            continue;
        asker->relayed = NULL;
        if (answer != NULL)
            answered(asker, answer, size);
        else
            failed(asker);
        free(answer);
    }
}

void relay_leave(struct relay *relay, unsigned thread, void (*forget)(struct relay_entry *entry))
{
    pthread_mutex_lock(&relay->lock);
    relay->left |= UINT32_C(1) << thread;
    pthread_mutex_unlock(&relay->lock);
    for (size_t i = 0; i < RELAY_ENTRIES; i++) {
        struct relay_entry *entry = &relay->entries[i];

        pthread_mutex_lock(&relay->lock);
        bool mine = entry->serving == thread && (entry->state == RELAY_ASKED || entry->state == RELAY_SERVED);
        bool out = mine && entry->state == RELAY_SERVED;
        if (mine)
            entry->state = RELAY_SERVED;
        pthread_mutex_unlock(&relay->lock);
        if (out)
            forget(entry);
        if (mine)
            relay_fail(entry);
    }
}

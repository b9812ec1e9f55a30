#include "nodedot/forward/engine.h"

#include "nodedot/forward/relay.h"

#include <string.h>

static void leave_address(struct flight *flight, void *context)
{
    flight_leave(flight, context);
}

static void settle_address(struct engine *engine, struct address *address)
{
    if (address->move_asked)
        flights_each(&engine->flights, leave_address, address);
    address->move_asked = false;
    if (address->lacking) {
        address->lacking = false;
        flights_end_lacking(address);
    }
    if (address->move_waiting) {
        address->move_waiting = false;
        flights_move_waiting(address);
    }
}

static void settle(struct engine *engine)
{
    engine->exchanges.unsettled = false;
    for (size_t i = 0; i < engine->config->upstream_count; i++) {
        struct group *group = &engine->groups[i];

        for (size_t j = 0; j < group->address_count; j++)
            settle_address(engine, &group->addresses[j]);
        flights_fail_waiting(group);
    }
}

void engine_flush(struct engine *engine)
{
    struct exchanges *exchanges = &engine->exchanges;

    while (exchanges->dirty != NULL || exchanges->lost.first != NULL || exchanges->unsettled) {
        flights_retry_lost(exchanges);
        if (exchanges->unsettled)
            settle(engine);
        struct stream *stream = exchanges->dirty; /* only now: what was asked again may stand before it */
        if (stream == NULL)
            continue;
        exchanges->dirty = stream->next_dirty;
        stream->dirty = false;
        stream_flush(stream);
    }
}

/* ---- for other threads ---- */

static void relay_sent(struct exchange *exchange)
{
    (void)exchange;
}

static void relay_received(struct exchange *exchange, const uint8_t *message, size_t size)
{
    address_credit(exchange->address);
    address_forget(exchange);
    relay_answer(exchange->owner, message, size);
}

static void relay_lost(struct exchange *exchange)
{
    relay_fail(exchange->owner);
}

static const struct exchange_events relay_events = {.sent = relay_sent, .received = relay_received, .lost = relay_lost};

static struct address *address_in_row(struct engine *engine, size_t row)
{
    for (size_t i = 0; i < engine->config->upstream_count; i++) {
        struct group *group = &engine->groups[i];

        if (row < group->address_count)
            return &group->addresses[row];
        row -= group->address_count;
    }
    return NULL;
}

static bool serve(void *context, struct relay_entry *entry)
{
    struct address *address = address_in_row(context, entry->address);

    entry->exchange.events = &relay_events;
    entry->exchange.owner = entry;
    return address != NULL && address_ask_now(address, &entry->exchange);
}

static void forget(struct relay_entry *entry)
{
    address_forget(&entry->exchange);
}

static void put_lost(struct exchange *exchange)
{
    address_forget(exchange);
    exchange->excused = false;
    exchange_list_push(&exchange->exchanges->lost, exchange);
    exchange->state = EXCHANGE_LOST;
}

static void take_relayed(struct exchange *exchange, uint8_t *message, size_t size)
{
    if (!exchange_receive(exchange, message, size))
        put_lost(exchange);
}

void engine_take_relayed(struct engine *engine)
{
    struct exchanges *exchanges = &engine->exchanges;

    relay_serve(exchanges->relay, exchanges->thread, engine, serve, forget);
    relay_collect(exchanges->relay, exchanges->thread, take_relayed, put_lost);
}

/* ---- what is known changed ---- */

static void fall_back(struct flight *flight, void *context)
{
    const struct group *group = context;

    if (flight->group == group && !flight->fell_back)
        flight_fall_back(flight);
}

/* The fallback began to serve, or ended: what waits for the group goes there at once. What was asked of the fallback
 * stays there. */
static void follow(struct engine *engine, struct group *group)
{
    bool falls_back = group_in_use(group) != group;

    if (falls_back && !group->fell_back)
        flights_each(&engine->flights, fall_back, group);
    group->fell_back = falls_back;
    for (size_t i = 0; i < group->address_count; i++)
        address_rewatch(&group->addresses[i]);
}

void engine_recheck(struct engine *engine)
{
    for (size_t i = 0; i < engine->config->upstream_count; i++) {
        struct group *group = &engine->groups[i];

        for (size_t j = 0; j < group->address_count && group->config->transport == TRANSPORT_DOT; j++)
            address_recheck(&group->addresses[j]);
        if (group->fallback != NULL)
            follow(engine, group);
    }
}

static unsigned streams_of_thread(const struct config *config)
{
    unsigned streams = ADDRESS_STREAMS / config->workers;

    return streams < ADDRESS_STREAMS_MIN ? ADDRESS_STREAMS_MIN : streams;
}

static bool init_groups(struct engine *engine, const struct engine_setup *setup, char *error)
{
    struct group_setup group = {.exchanges = &engine->exchanges,
                                .status = setup->groups,
                                .addresses = setup->addresses,
                                .changed = setup->changed,
                                .context = setup->context,
                                .streams = streams_of_thread(engine->config)};

    for (size_t i = 0; i < engine->config->upstream_count; i++) {
        const struct upstream_config *config = &engine->config->upstreams[i];

        group.config = config;
        group.trust = setup->trusts->of[i];
        if (config->fallback != CONFIG_NO_UPSTREAM)
            engine->groups[i].fallback = &engine->groups[config->fallback];
        if (!group_init(&engine->groups[i], &group, error))
            return false;
        group.addresses += config->address_count;
        group.first_row += config->address_count;
        group.status++;
    }
    return true;
}

bool engine_init(struct engine *engine, const struct config *config, const struct engine_setup *setup, char *error)
{
    memset(engine, 0, sizeof(*engine));
    engine->config = config;
    engine->exchanges.loop = setup->loop;
    engine->exchanges.metrics = setup->metrics;
    engine->exchanges.relay = setup->relay;
    engine->exchanges.thread = setup->thread;
    if (!init_groups(engine, setup, error))
        return false;
    strcpy(error, "out of memory");
    return flights_init(&engine->flights, &engine->exchanges, config, setup->events, setup->owner);
}

void engine_open(struct engine *engine)
{
    for (size_t i = 0; i < engine->config->upstream_count; i++)
        group_open(&engine->groups[i]);
}

void engine_close(struct engine *engine)
{
    engine->exchanges.closing = true;
    if (engine->exchanges.relay != NULL)
        relay_leave(engine->exchanges.relay, engine->exchanges.thread, forget);
    for (size_t i = 0; i < engine->config->upstream_count; i++)
        group_close(&engine->groups[i]);
    flights_reset(&engine->flights);
}

void engine_give_up(struct engine *engine)
{
    flights_give_up(&engine->flights);
}

#include "nodedot/forward/relay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ASKING  0
#define SERVING 3
#define HOLDERS (1u << SERVING | 1u << ASKING)

static struct relay *relay;
static struct exchanges exchanges = {.thread = ASKING};
static struct question question;
static struct exchange asker;
static unsigned woken; /* bit t: thread t */

static struct {
    struct relay_entry *entry; /* asked last */
    bool refuse;
    unsigned forgotten, answered, failed;
} seen;

static void wake(void *context, unsigned thread)
{
    (void)context;
    woken |= 1u << thread;
}

static int begin(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    woken = 0;
    name_from_text("example.com", &question.qname);
    question.qtype = TYPE_A;
    question.qclass = CLASS_IN;
    asker = (struct exchange){.exchanges = &exchanges, .form = {.question = &question, .edns = true, .stream = true}};
    relay = relay_create(wake, NULL);
    return relay == NULL;
}

static int end(void **state)
{
    (void)state;
    relay_destroy(relay);
    return 0;
}

static bool ask(void *context, struct relay_entry *entry)
{
    (void)context;
    seen.entry = entry;
    return !seen.refuse;
}

static void forget(struct relay_entry *entry)
{
    (void)entry;
    seen.forgotten++;
}

static void answered(struct exchange *exchange, uint8_t *message, size_t size)
{
    assert_ptr_equal(exchange, &asker);
    assert_memory_equal(message, "answer", size);
    assert_int_equal(exchange->state, EXCHANGE_RELAYED);
    assert_null(exchange->relayed);
    seen.answered++;
}

static void failed(struct exchange *exchange)
{
    assert_ptr_equal(exchange, &asker);
    seen.failed++;
}

static void serve(void)
{
    relay_serve(relay, SERVING, NULL, ask, forget);
}

static void collect(void)
{
    relay_collect(relay, ASKING, answered, failed);
}

static unsigned used(void)
{
    unsigned count = 0;

    for (size_t i = 0; i < RELAY_ENTRIES; i++)
        count += relay->entries[i].state != RELAY_FREE;
    return count;
}

static void an_answer_comes_back_to_the_thread_that_asked(void **state)
{
    (void)state;
    assert_true(relay_ask(relay, &asker, 7, HOLDERS));
    assert_int_equal(woken, 1u << SERVING);
    relay_serve(relay, SERVING - 1, NULL, ask, forget);
    assert_null(seen.entry);
    serve();
    assert_int_equal(seen.entry->address, 7);
    assert_true(question_equal(seen.entry->exchange.form.question, &question));
    assert_ptr_not_equal(seen.entry->exchange.form.question, &question);
    collect();
    assert_int_equal(seen.answered, 0);
    relay_answer(seen.entry, (const uint8_t *)"answer", 6);
    assert_int_equal(woken, HOLDERS);
    collect();
    assert_int_equal(seen.answered, 1);
    assert_int_equal(used(), 0);
}

static void a_thread_that_has_none_is_not_asked_nor_is_oneself(void **state)
{
    (void)state;
    assert_false(relay_ask(relay, &asker, 0, 0));
    assert_false(relay_ask(relay, &asker, 0, 1u << ASKING));
    relay_leave(relay, SERVING, forget);
    assert_false(relay_ask(relay, &asker, 0, HOLDERS));
    assert_int_equal(used(), 0);
}

static void what_cannot_be_asked_fails(void **state)
{
    (void)state;
    seen.refuse = true;
    assert_true(relay_ask(relay, &asker, 0, HOLDERS));
    serve();
    collect();
    assert_int_equal(seen.failed, 1);
    assert_int_equal(used(), 0);
}

static void an_exchange_may_be_forgotten_at_any_time(void **state)
{
    (void)state;
    assert_true(relay_ask(relay, &asker, 0, HOLDERS)); /* before it was seen */
    relay_forget(&asker);
    serve();
    assert_null(seen.entry);
    assert_true(relay_ask(relay, &asker, 0, HOLDERS)); /* while it is out */
    serve();
    relay_forget(&asker);
    serve();
    assert_int_equal(seen.forgotten, 1);
    assert_true(relay_ask(relay, &asker, 0, HOLDERS)); /* while it is out, and its answer comes first */
    serve();
    relay_forget(&asker);
    relay_answer(seen.entry, (const uint8_t *)"answer", 6);
    serve();
    assert_int_equal(seen.forgotten, 1);
    assert_true(relay_ask(relay, &asker, 0, HOLDERS)); /* when it is answered */
    serve();
    relay_answer(seen.entry, (const uint8_t *)"answer", 6);
    relay_forget(&asker);
    collect();
    assert_int_equal(seen.answered + seen.failed, 0);
    assert_int_equal(used(), 0);
}

static void a_thread_that_leaves_fails_what_it_was_asked(void **state)
{
    struct exchange other = asker;

    (void)state;
    assert_true(relay_ask(relay, &asker, 0, HOLDERS));
    serve();
    assert_true(relay_ask(relay, &other, 0, HOLDERS));
    relay_leave(relay, SERVING, forget);
    assert_int_equal(seen.forgotten, 1);
    relay_forget(&other);
    collect();
    assert_int_equal(seen.failed, 1);
    assert_int_equal(used(), 0);
}

static void there_is_room_for_so_many_and_no_more(void **state)
{
    static struct exchange many[RELAY_ENTRIES];

    (void)state;
    for (size_t i = 0; i < RELAY_ENTRIES; i++) {
        many[i] = asker;
        assert_true(relay_ask(relay, &many[i], 0, HOLDERS));
    }
    assert_false(relay_ask(relay, &asker, 0, HOLDERS));
    assert_int_equal(asker.state, EXCHANGE_FREE);
    relay_forget(&many[3]);
    assert_true(relay_ask(relay, &asker, 0, HOLDERS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer_comes_back_to_the_thread_that_asked, begin, end),
        cmocka_unit_test_setup_teardown(a_thread_that_has_none_is_not_asked_nor_is_oneself, begin, end),
        cmocka_unit_test_setup_teardown(what_cannot_be_asked_fails, begin, end),
        cmocka_unit_test_setup_teardown(an_exchange_may_be_forgotten_at_any_time, begin, end),
        cmocka_unit_test_setup_teardown(a_thread_that_leaves_fails_what_it_was_asked, begin, end),
        cmocka_unit_test_setup_teardown(there_is_room_for_so_many_and_no_more, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "nodedot/forward/fallback.h"
#include "nodedot/observe/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Group 0 has two addresses and falls back to group 1, which has one. */
enum { MAIN, RESERVE, GROUPS };

static struct config config;
static struct address_status rows[3];
static struct upstream_status groups[GROUPS];
static struct fallback_watch watch;
static uint64_t now;

static void set_state(size_t row, enum identity_state state)
{
    atomic_store(&rows[row].state, (uint32_t)state);
    atomic_store(&rows[row].validated_ms, now);
}

static int set_up(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    memset(&config, 0, sizeof(config));
    memset(rows, 0, sizeof(rows));
    memset(groups, 0, sizeof(groups));
    now = 1000000;
    config.upstream_count = GROUPS;
    for (size_t i = 0; i < GROUPS; i++)
        config.upstreams[i] = (struct upstream_config){
            .transport = TRANSPORT_DOT, .revalidate = 300, .fallback = CONFIG_NO_UPSTREAM, .address_count = 1};
    config.upstreams[MAIN].address_count = 2;
    config.upstreams[MAIN].fallback = RESERVE;
    for (size_t i = 0; i < 3; i++)
        set_state(i, IDENTITY_VALID);
    fallback_init(&watch, &config, rows, groups);
    return 0;
}

static bool serves(void)
{
    return atomic_load(&groups[MAIN].fallback) != 0;
}

/* Time passes in ticks. Returns whether something changed meanwhile. */
static bool pass(uint64_t ms)
{
    bool changed = false;

    for (uint64_t end = now + ms; now < end;) {
        now += 100;
        changed |= fallback_update(&watch, now);
    }
    return changed;
}

static void lose_main(void)
{
    set_state(0, IDENTITY_UNREACHABLE);
    set_state(1, IDENTITY_UNREACHABLE);
    pass(FALLBACK_BEGIN_MS + 100);
    assert_true(serves());
}

static void while_one_address_answers_the_fallback_does_not_serve(void **state)
{
    (void)state;
    set_state(0, IDENTITY_UNREACHABLE);
    assert_false(pass(60000));
    assert_false(serves());
}

static void it_serves_when_nobody_answers_for_a_second(void **state)
{
    (void)state;
    set_state(0, IDENTITY_UNREACHABLE);
    set_state(1, IDENTITY_UNREACHABLE);
    assert_false(pass(FALLBACK_BEGIN_MS));
    assert_true(pass(100));
    assert_true(serves());
    assert_int_equal(atomic_load(&groups[MAIN].fallback_since_ms), now);
    assert_false(pass(10000));
}

static void an_address_that_proves_itself_and_answers_nothing_is_not_usable(void **state)
{
    (void)state;
    atomic_store(&rows[0].silent, 1);
    atomic_store(&rows[1].silent, 1);
    assert_true(pass(FALLBACK_BEGIN_MS + 100));
    assert_true(serves());
}

static void a_short_interruption_is_waited_out(void **state)
{
    (void)state;
    set_state(0, IDENTITY_UNREACHABLE);
    set_state(1, IDENTITY_UNREACHABLE);
    assert_false(pass(FALLBACK_BEGIN_MS - 100));
    set_state(1, IDENTITY_VALID);
    assert_false(pass(100));
    set_state(1, IDENTITY_UNREACHABLE);
    assert_false(pass(FALLBACK_BEGIN_MS));
}

static void it_ends_only_when_the_group_was_usable_for_some_seconds(void **state)
{
    (void)state;
    lose_main();
    set_state(1, IDENTITY_VALID);
    assert_false(pass(FALLBACK_END_MS - 100));
    set_state(1, IDENTITY_UNREACHABLE); /* it is gone again: the time begins anew */
    assert_false(pass(100));
    set_state(1, IDENTITY_VALID);
    assert_false(pass(FALLBACK_END_MS));
    assert_true(serves());
    assert_true(pass(100));
    assert_false(serves());
    assert_int_equal(atomic_load(&groups[MAIN].fallback_since_ms), now);
}

static void it_ends_at_once_when_the_fallback_is_gone_and_the_group_is_back(void **state)
{
    (void)state;
    lose_main();
    set_state(2, IDENTITY_UNREACHABLE);
    assert_false(pass(3000)); /* both are gone: nothing is gained by a change */
    set_state(0, IDENTITY_VALID);
    assert_true(pass(100));
    assert_false(serves());
}

static void a_fallback_that_is_known_to_be_gone_does_not_begin(void **state)
{
    (void)state;
    set_state(2, IDENTITY_UNREACHABLE);
    set_state(0, IDENTITY_UNREACHABLE);
    set_state(1, IDENTITY_UNREACHABLE);
    assert_false(pass(10000));
    set_state(2, IDENTITY_VALID);
    assert_true(pass(100));
    assert_true(serves());
}

static void one_that_nothing_is_known_of_may_begin(void **state)
{
    (void)state;
    set_state(2, IDENTITY_UNVERIFIED);
    lose_main();
}

static void a_fallback_that_proves_itself_serves_after_a_mismatch(void **state)
{
    (void)state;
    set_state(0, IDENTITY_MISMATCH);
    set_state(1, IDENTITY_MISMATCH);
    assert_true(pass(FALLBACK_BEGIN_MS + 100));
    assert_true(serves());
}

static void a_plain_fallback_does_not_serve_after_a_mismatch(void **state)
{
    (void)state;
    config.upstreams[RESERVE].transport = TRANSPORT_PLAIN;
    set_state(0, IDENTITY_UNREACHABLE);
    set_state(1, IDENTITY_MISMATCH);
    assert_false(pass(10000));
    assert_false(serves());
    config.upstreams[MAIN].fallback_on_mismatch = true;
    assert_true(pass(100));
    assert_true(serves());
}

static void a_plain_fallback_that_serves_ends_at_a_mismatch(void **state)
{
    (void)state;
    config.upstreams[RESERVE].transport = TRANSPORT_PLAIN;
    lose_main();
    set_state(0, IDENTITY_MISMATCH);
    assert_true(pass(100));
    assert_false(serves());
}

static void groups_that_are_each_others_fallback_are_two_decisions(void **state)
{
    (void)state;
    config.upstreams[RESERVE].fallback = MAIN;
    lose_main();
    assert_int_equal(atomic_load(&groups[RESERVE].fallback), 0);
}

static void a_group_without_fallback_is_left_alone(void **state)
{
    (void)state;
    set_state(2, IDENTITY_UNREACHABLE);
    assert_false(pass(10000));
    assert_int_equal(atomic_load(&groups[RESERVE].fallback), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(while_one_address_answers_the_fallback_does_not_serve, set_up),
        cmocka_unit_test_setup(it_serves_when_nobody_answers_for_a_second, set_up),
        cmocka_unit_test_setup(an_address_that_proves_itself_and_answers_nothing_is_not_usable, set_up),
        cmocka_unit_test_setup(a_short_interruption_is_waited_out, set_up),
        cmocka_unit_test_setup(it_ends_only_when_the_group_was_usable_for_some_seconds, set_up),
        cmocka_unit_test_setup(it_ends_at_once_when_the_fallback_is_gone_and_the_group_is_back, set_up),
        cmocka_unit_test_setup(a_fallback_that_is_known_to_be_gone_does_not_begin, set_up),
        cmocka_unit_test_setup(one_that_nothing_is_known_of_may_begin, set_up),
        cmocka_unit_test_setup(a_fallback_that_proves_itself_serves_after_a_mismatch, set_up),
        cmocka_unit_test_setup(a_plain_fallback_does_not_serve_after_a_mismatch, set_up),
        cmocka_unit_test_setup(a_plain_fallback_that_serves_ends_at_a_mismatch, set_up),
        cmocka_unit_test_setup(groups_that_are_each_others_fallback_are_two_decisions, set_up),
        cmocka_unit_test_setup(a_group_without_fallback_is_left_alone, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

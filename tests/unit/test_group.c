/* Which address a group asks, and when it is hopeless: with plain addresses, whose state is set here and not by I/O. */
#include "nodedot/forward/group.h"

#include "nodedot/base/clock.h"
#include "nodedot/forward/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ADDRESSES 3

struct fixture {
    struct upstream_config config;
    struct upstream_status status;
    struct address_status rows[ADDRESSES];
    struct address addresses[ADDRESSES];
    struct group group;
};

static struct fixture main_group, spare;

static void init(struct fixture *f, enum policy policy)
{
    memset(f, 0, sizeof(*f));
    f->config.transport = TRANSPORT_PLAIN;
    f->config.policy = policy;
    f->config.address_count = ADDRESSES;
    f->config.fallback = CONFIG_NO_UPSTREAM;
    f->group.config = &f->config;
    f->group.status = &f->status;
    f->group.addresses = f->addresses;
    f->group.address_count = ADDRESSES;
    for (unsigned i = 0; i < ADDRESSES; i++) {
        f->addresses[i].config = &f->config;
        f->addresses[i].peers = &f->group.peers;
        f->addresses[i].peer.reachability = (struct reachability){.config = &f->config, .status = &f->rows[i]};
        atomic_store(&f->rows[i].state, IDENTITY_VALID);
    }
}

static int set_up(void **state)
{
    (void)state;
    init(&main_group, POLICY_ORDERED);
    init(&spare, POLICY_ORDERED);
    return 0;
}

static void let_fail(struct fixture *f, unsigned i, uint64_t ago_ms)
{
    health_failed(&f->addresses[i].health, clock_ms() - ago_ms);
}

/* The number of the address that a question goes to; ADDRESSES: none. */
static size_t choose(struct fixture *f, const struct group_question *question)
{
    const struct address *address = group_choose(&f->group, question);

    return address != NULL ? (size_t)(address - f->addresses) : ADDRESSES;
}

static size_t choose_first(struct fixture *f)
{
    return choose(f, &(struct group_question){.first = true});
}

static void the_first_address_that_works_is_asked(void **state)
{
    (void)state;
    assert_int_equal(choose_first(&main_group), 0);
    let_fail(&main_group, 0, 0);
    assert_int_equal(choose_first(&main_group), 1);
    health_answered(&main_group.addresses[0].health, clock_us());
    assert_int_equal(choose_first(&main_group), 0);
}

static void an_address_that_failed_is_better_than_none(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ADDRESSES; i++)
        let_fail(&main_group, i, 60000);
    assert_int_equal(choose_first(&main_group), 0);
}

static void an_address_with_the_wrong_identity_is_never_asked(void **state)
{
    (void)state;
    atomic_store(&main_group.rows[0].state, IDENTITY_MISMATCH);
    let_fail(&main_group, 1, 0);
    let_fail(&main_group, 2, 0);
    assert_int_equal(choose_first(&main_group), 1);
    for (unsigned i = 0; i < ADDRESSES; i++)
        atomic_store(&main_group.rows[i].state, IDENTITY_MISMATCH);
    assert_int_equal(choose_first(&main_group), ADDRESSES);
}

static void an_address_that_has_the_question_comes_after_the_others(void **state)
{
    const struct exchange asked[] = {{.state = EXCHANGE_DATAGRAM, .address = &main_group.addresses[0]}};
    const struct group_question again = {.exchanges = asked, .count = 1};

    (void)state;
    assert_int_equal(choose(&main_group, &again), 1);
    let_fail(&main_group, 1, 0); /* which is still better than to ask the same one again */
    let_fail(&main_group, 2, 0);
    assert_int_equal(choose(&main_group, &again), 1);
}

static void an_address_that_cannot_answer_comes_last(void **state)
{
    const struct exchange asked[] = {{.state = EXCHANGE_DATAGRAM, .address = &main_group.addresses[1]}};

    (void)state;
    let_fail(&main_group, 2, 0);
    assert_int_equal(choose(&main_group, &(struct group_question){.exchanges = asked, .count = 1, .unable = 1}), 2);
    assert_int_equal(choose(&main_group, &(struct group_question){.exchanges = asked, .count = 1, .unable = 5}), 1);
}

static void a_group_is_hopeless_when_every_address_failed_for_long(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ADDRESSES; i++) {
        assert_false(group_is_hopeless(&main_group.group));
        let_fail(&main_group, i, 60000);
    }
    assert_true(group_is_hopeless(&main_group.group));
    health_answered(&main_group.addresses[1].health, clock_us());
    assert_false(group_is_hopeless(&main_group.group));
}

static void a_restart_of_the_upstream_is_waited_for(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ADDRESSES; i++)
        let_fail(&main_group, i, 1000);
    assert_false(group_is_hopeless(&main_group.group));
}

static void another_threads_connection_is_hope(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ADDRESSES; i++)
        let_fail(&main_group, i, 60000);
    atomic_store(&main_group.rows[2].holders, 2); /* thread 1 has one; this is thread 0 */
    assert_false(group_is_hopeless(&main_group.group));
    atomic_store(&main_group.rows[2].holders, 1);
    assert_true(group_is_hopeless(&main_group.group));
}

static void a_group_is_refused_when_nothing_works_and_an_identity_is_why(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ADDRESSES; i++)
        let_fail(&main_group, i, 0);
    assert_false(group_is_refused(&main_group.group));
    atomic_store(&main_group.rows[1].state, IDENTITY_MISMATCH);
    assert_true(group_is_refused(&main_group.group));
    health_answered(&main_group.addresses[0].health, clock_us());
    assert_false(group_is_refused(&main_group.group));
}

static void questions_wait_for_a_fallback_that_may_be_used(void **state)
{
    (void)state;
    main_group.config.fallback = 1;
    main_group.group.fallback = &spare.group;
    for (unsigned i = 0; i < ADDRESSES; i++)
        let_fail(&main_group, i, 60000);
    assert_true(group_awaits_fallback(&main_group.group));
    assert_false(group_is_hopeless(&main_group.group));
    assert_ptr_equal(group_in_use(&main_group.group), &main_group.group);
    atomic_store(&main_group.status.fallback, 1);
    assert_false(group_awaits_fallback(&main_group.group));
    assert_ptr_equal(group_in_use(&main_group.group), &spare.group);
}

static void nobody_waits_for_a_fallback_that_is_down_itself(void **state)
{
    (void)state;
    main_group.config.fallback = 1;
    main_group.group.fallback = &spare.group;
    for (unsigned i = 0; i < ADDRESSES; i++) {
        let_fail(&main_group, i, 60000);
        let_fail(&spare, i, 60000);
    }
    assert_true(group_is_hopeless(&main_group.group));
}

static void what_is_usual_is_that_of_the_quickest_address_that_works(void **state)
{
    (void)state;
    assert_int_equal(group_usual_us(&main_group.group), LATENCY_UNKNOWN_US);
    for (unsigned n = 0; n < 200; n++) {
        latency_add(&main_group.addresses[0].latency, 1000);
        latency_add(&main_group.addresses[1].latency, 20000);
    }
    assert_in_range(group_usual_us(&main_group.group), 1000, 1500);
    let_fail(&main_group, 0, 0);
    assert_in_range(group_usual_us(&main_group.group), 20000, 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_first_address_that_works_is_asked, set_up),
        cmocka_unit_test_setup(an_address_that_failed_is_better_than_none, set_up),
        cmocka_unit_test_setup(an_address_with_the_wrong_identity_is_never_asked, set_up),
        cmocka_unit_test_setup(an_address_that_has_the_question_comes_after_the_others, set_up),
        cmocka_unit_test_setup(an_address_that_cannot_answer_comes_last, set_up),
        cmocka_unit_test_setup(a_group_is_hopeless_when_every_address_failed_for_long, set_up),
        cmocka_unit_test_setup(a_restart_of_the_upstream_is_waited_for, set_up),
        cmocka_unit_test_setup(another_threads_connection_is_hope, set_up),
        cmocka_unit_test_setup(a_group_is_refused_when_nothing_works_and_an_identity_is_why, set_up),
        cmocka_unit_test_setup(questions_wait_for_a_fallback_that_may_be_used, set_up),
        cmocka_unit_test_setup(nobody_waits_for_a_fallback_that_is_down_itself, set_up),
        cmocka_unit_test_setup(what_is_usual_is_that_of_the_quickest_address_that_works, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

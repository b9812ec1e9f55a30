#include "nodedot/forward/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NOW UINT64_C(1) /* of a machine that was booted just now */

static struct address_status status;
static struct dialect dialect;

static int begin(void **state)
{
    (void)state;
    memset(&status, 0, sizeof(status));
    dialect = (struct dialect){.status = &status};
    return 0;
}

static struct exchange_form form_of(bool stream, bool padded)
{
    return (struct exchange_form){.edns = true, .stream = stream, .padded = padded};
}

/* The form of a query now. */
static struct exchange_form applied(bool stream, bool padded, uint64_t now_ms)
{
    struct exchange_form form = form_of(stream, padded);

    dialect_apply(&dialect, &form, now_ms);
    return form;
}

static void answer_plainer(struct exchange_form form, unsigned steps, bool silent, uint64_t now_ms)
{
    struct exchange exchange = {.form = form, .plainer = true};

    while (steps-- > 0)
        assert_true(exchange_make_plainer(&exchange.form));
    dialect_answered(&dialect, &exchange, silent, now_ms);
}

static void a_server_is_asked_in_full_until_it_is_known(void **state)
{
    struct exchange exchange = {.form = form_of(false, false)};

    (void)state;
    assert_true(applied(false, false, NOW).edns);
    assert_false(applied(false, false, NOW).edns_known);
    dialect_answered(&dialect, &exchange, false, NOW);
    assert_true(applied(false, false, NOW).edns_known);
    assert_false(applied(true, false, NOW).edns_known); /* over a stream there are options */
    assert_true(applied(false, false, NOW + DIALECT_MS - 1).edns_known);
    assert_false(applied(false, false, NOW + DIALECT_MS).edns_known);
}

static void what_helped_is_used_at_once_for_a_while(void **state)
{
    (void)state;
    answer_plainer(form_of(false, false), 1, false, NOW);
    assert_false(applied(false, false, NOW).edns);
    assert_false(applied(false, false, NOW + DIALECT_MS - 1).edns);
    assert_string_equal(dialect_describe(&status, NOW), "none");
    assert_true(applied(false, false, NOW + DIALECT_MS).edns);
    assert_string_equal(dialect_describe(&status, NOW + DIALECT_MS), "full");
}

static void over_tls_padding_is_never_given_up_for_good(void **state)
{
    struct exchange_form form;

    (void)state;
    answer_plainer(form_of(true, true), 2, false, NOW);
    assert_true(applied(true, true, NOW).edns);
    answer_plainer(form_of(true, true), 1, false, NOW);
    form = applied(true, true, NOW);
    assert_true(form.edns && form.without_options);
    assert_string_equal(dialect_describe(&status, NOW), "no options");
}

static void one_silence_proves_nothing(void **state)
{
    struct exchange exchange = {.form = form_of(false, false)};

    (void)state;
    answer_plainer(form_of(false, false), 1, true, NOW);
    assert_true(applied(false, false, NOW).edns);
    dialect_answered(&dialect, &exchange, false, NOW);
    answer_plainer(form_of(false, false), 1, true, NOW);
    assert_true(applied(false, false, NOW).edns);
    answer_plainer(form_of(false, false), 1, true, NOW);
    assert_false(applied(false, false, NOW).edns);
}

static void failures_are_blamed_on_edns_a_few_times(void **state)
{
    struct exchange exchange = {.form = form_of(false, false)};

    (void)state;
    for (int i = 0; i < DIALECT_TRIALS; i++) {
        assert_false(applied(false, false, NOW).edns_known);
        dialect_disliked(&dialect, NOW);
    }
    assert_true(applied(false, false, NOW).edns_known);
    assert_false(applied(false, false, NOW + DIALECT_MS).edns_known);
    exchange.form.edns = false;
    dialect_answered(&dialect, &exchange, false, NOW);
    assert_false(applied(false, false, NOW).edns_known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_server_is_asked_in_full_until_it_is_known, begin),
        cmocka_unit_test_setup(what_helped_is_used_at_once_for_a_while, begin),
        cmocka_unit_test_setup(over_tls_padding_is_never_given_up_for_good, begin),
        cmocka_unit_test_setup(one_silence_proves_nothing, begin),
        cmocka_unit_test_setup(failures_are_blamed_on_edns_a_few_times, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "nodedot/node/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void pauses_double_up_to_five_minutes(void **state)
{
    static const uint32_t wanted_ms[] = {30000, 60000, 120000, 240000, 300000, 300000};
    struct retry retry = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(wanted_ms) / sizeof(wanted_ms[0]); i++)
        assert_int_equal(retry_next_ms(&retry, 0), wanted_ms[i]);
}

static void a_random_part_adds_up_to_a_quarter(void **state)
{
    static const uint32_t random[] = {1, 7500, 7501, UINT32_MAX};
    static const uint32_t wanted_ms[] = {30001, 37500, 30000};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct retry retry = {0};
        uint32_t pause_ms = retry_next_ms(&retry, random[i]);

        assert_in_range(pause_ms, 30000, 37500);
        if (i < 3)
            assert_int_equal(pause_ms, wanted_ms[i]);
    }
}

static void a_changed_configuration_begins_with_the_first_pause(void **state)
{
    struct retry retry = {0};

    (void)state;
    retry_next_ms(&retry, 0);
    retry_next_ms(&retry, 0);
    retry_reset(&retry);
    assert_int_equal(retry_next_ms(&retry, 0), RETRY_FIRST_MS);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_double_up_to_five_minutes),
        cmocka_unit_test(a_random_part_adds_up_to_a_quarter),
        cmocka_unit_test(a_changed_configuration_begins_with_the_first_pause),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "nodedot/base/clock.h"
#include "nodedot/forward/standing.h"
#include "nodedot/observe/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct identity_result next_result;
static struct upstream_config config;
static struct address_status status;
static struct metrics metrics;
static unsigned changes;
static struct standing standing;

/* In place of the real one: the handshake proved what the test says. */
void identity_check(const struct upstream_config *upstream, const struct endpoint *address, struct tls_trust *trust,
                    struct tls *tls, int64_t now, struct identity_result *out)
{
    assert_ptr_equal(upstream, &config);
    assert_ptr_equal(address, &status.endpoint);
    assert_true(now > 1600000000);
    (void)trust, (void)tls;
    *out = next_result;
}

static void count_change(void *context)
{
    assert_ptr_equal(context, &changes);
    changes++;
}

static int set_up(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT); /* what is logged is no concern of these tests */
    memset(&config, 0, sizeof(config));
    memset(&status, 0, sizeof(status));
    memset(&metrics, 0, sizeof(metrics));
    changes = 0;
    config.transport = TRANSPORT_DOT;
    config.revalidate = 300;
    (void)endpoint_parse("192.0.2.1", 853, &status.endpoint);
    standing = (struct standing){.config = &config, .status = &status, .changed = count_change, .context = &changes};
    return 0;
}

static bool prove(void)
{
    next_result = (struct identity_result){.proved = true, .pins_matched = 5, .not_after = INT64_MAX / 2};
    return standing_judge(&standing, NULL, NULL, &metrics);
}

static bool miss(void)
{
    next_result = (struct identity_result){.pin_missed = true, .reason = "no pin matches"};
    return standing_judge(&standing, NULL, NULL, &metrics);
}

static void assert_standing(enum identity_state expected, uint32_t epoch, unsigned changed)
{
    assert_int_equal(standing_state(&standing), expected);
    assert_int_equal(standing_epoch(&standing), epoch);
    assert_int_equal(changes, changed);
}

static void a_proof_makes_an_address_usable(void **state)
{
    uint64_t before = clock_ms();

    (void)state;
    assert_standing(IDENTITY_UNVERIFIED, 0, 0);
    assert_false(standing_usable(&standing, before));
    assert_true(prove());
    assert_standing(IDENTITY_VALID, 0, 1);
    assert_true(standing_usable(&standing, clock_ms()));
    assert_true(status.validated_ms >= before && status.since_ms >= before);
    assert_int_equal(status.pins_matched, 5);
    assert_true(status.not_after == INT64_MAX / 2);
    assert_true(metrics.identity_mismatches_total == 0);
}

static void a_proof_repeated_changes_nothing(void **state)
{
    (void)state;
    assert_true(prove());
    assert_true(prove());
    assert_standing(IDENTITY_VALID, 0, 1);
}

static void who_enters_or_leaves_mismatch_makes_the_epoch_grow(void **state)
{
    (void)state;
    assert_false(miss());
    assert_standing(IDENTITY_MISMATCH, 1, 1);
    assert_false(miss());
    assert_standing(IDENTITY_MISMATCH, 1, 1);
    assert_false(standing_usable(&standing, clock_ms()));
    assert_true(prove());
    assert_standing(IDENTITY_VALID, 2, 2);
    assert_false(miss());
    assert_standing(IDENTITY_MISMATCH, 3, 3);
    assert_true(metrics.identity_mismatches_total == 3);
}

static void an_unreachable_address_keeps_its_epoch(void **state)
{
    (void)state;
    assert_true(prove());
    standing_unreachable(&standing, "time-out");
    assert_standing(IDENTITY_UNREACHABLE, 0, 2);
    assert_false(standing_usable(&standing, clock_ms()));
    standing_unreachable(&standing, "time-out");
    assert_standing(IDENTITY_UNREACHABLE, 0, 2);
    assert_true(prove());
    assert_standing(IDENTITY_VALID, 0, 3);
}

static void a_time_out_does_not_touch_a_mismatch(void **state)
{
    (void)state;
    assert_false(miss());
    standing_unreachable(&standing, "time-out");
    standing_answered(&standing);
    assert_standing(IDENTITY_MISMATCH, 1, 1);
}

static void an_answer_makes_only_a_proved_address_valid_again(void **state)
{
    (void)state;
    standing_answered(&standing);
    assert_standing(IDENTITY_UNVERIFIED, 0, 0);
    standing_unreachable(&standing, "refused");
    standing_answered(&standing);
    assert_standing(IDENTITY_UNREACHABLE, 0, 1);
    assert_true(prove());
    standing_unreachable(&standing, "refused");
    standing_answered(&standing);
    assert_standing(IDENTITY_VALID, 0, 4);
}

static void a_plain_upstream_is_usable_when_it_answers(void **state)
{
    (void)state;
    config.transport = TRANSPORT_PLAIN;
    assert_false(standing_usable(&standing, clock_ms()));
    standing_answered(&standing);
    assert_standing(IDENTITY_VALID, 0, 1);
    assert_true(standing_usable(&standing, clock_ms() + 1000000000));
    standing_unreachable(&standing, "time-out");
    assert_false(standing_usable(&standing, clock_ms()));
}

static void a_proof_is_good_for_the_revalidation_period(void **state)
{
    (void)state;
    assert_true(prove());
    assert_true(standing_usable(&standing, status.validated_ms));
    assert_true(standing_usable(&standing, status.validated_ms + 300 * 1000));
    assert_false(standing_usable(&standing, status.validated_ms + 2 * 300 * 1000));
}

/* A thread may have read its clock just before another one had the proof. */
static void a_proof_newer_than_the_askers_clock_counts(void **state)
{
    (void)state;
    assert_true(prove());
    assert_true(standing_usable(&standing, status.validated_ms - 1));
}

static void a_missed_pin_in_report_mode_is_counted_and_accepted(void **state)
{
    (void)state;
    next_result = (struct identity_result){.proved = true, .pin_missed = true, .reason = "no pin matches"};
    assert_true(standing_judge(&standing, NULL, NULL, &metrics));
    assert_standing(IDENTITY_VALID, 0, 1);
    assert_true(metrics.identity_mismatches_total == 1);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_proof_makes_an_address_usable),
        TEST(a_proof_repeated_changes_nothing),
        TEST(who_enters_or_leaves_mismatch_makes_the_epoch_grow),
        TEST(an_unreachable_address_keeps_its_epoch),
        TEST(a_time_out_does_not_touch_a_mismatch),
        TEST(an_answer_makes_only_a_proved_address_valid_again),
        TEST(a_plain_upstream_is_usable_when_it_answers),
        TEST(a_proof_is_good_for_the_revalidation_period),
        TEST(a_proof_newer_than_the_askers_clock_counts),
        TEST(a_missed_pin_in_report_mode_is_counted_and_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

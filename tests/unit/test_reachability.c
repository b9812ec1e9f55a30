#include "nodedot/base/clock.h"
#include "nodedot/forward/reachability.h"
#include "nodedot/observe/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WALL_SECONDS 1800000000
#define DAY          (24 * 3600)

/* The wall clock of the test: certificates are judged by it, everything else by the monotonic one. */
static int64_t wall_seconds;

static struct identity_result next_result;
static struct upstream_config config;
static struct address_status status;
static struct metrics metrics;
static unsigned changes;
static struct reachability reachability;

/* In place of the real one: the handshake proved what the test says. */
void __wrap_identity_check(const struct upstream_config *upstream, const struct endpoint *address,
                           struct tls_trust *trust, struct tls *tls, int64_t now, struct identity_result *out);

void __wrap_identity_check(const struct upstream_config *upstream, const struct endpoint *address,
                           struct tls_trust *trust, struct tls *tls, int64_t now, struct identity_result *out)
{
    assert_ptr_equal(upstream, &config);
    assert_ptr_equal(address, &status.endpoint);
    assert_true(now == wall_seconds);
    (void)trust, (void)tls;
    *out = next_result;
}

/* Lines that were logged, instead of standard error. */
static unsigned lines[LOG_LEVEL_DEBUG + 1];
static char last_line[200];

void __wrap_log_write(enum log_level level, const char *message, const struct log_field *fields);

void __wrap_log_write(enum log_level level, const char *message, const struct log_field *fields)
{
    (void)fields;
    lines[level]++;
    snprintf(last_line, sizeof(last_line), "%s", message);
}

int64_t __wrap_clock_wall_seconds(void);

int64_t __wrap_clock_wall_seconds(void)
{
    return wall_seconds;
}

static void count_change(void *context)
{
    assert_ptr_equal(context, &changes);
    changes++;
}

static int set_up(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    memset(lines, 0, sizeof(lines));
    wall_seconds = WALL_SECONDS;
    memset(&config, 0, sizeof(config));
    memset(&status, 0, sizeof(status));
    memset(&metrics, 0, sizeof(metrics));
    changes = 0;
    config.transport = TRANSPORT_DOT;
    config.revalidate = 300;
    (void)endpoint_parse("192.0.2.1", 853, &status.endpoint);
    reachability =
        (struct reachability){.config = &config, .status = &status, .changed = count_change, .context = &changes};
    return 0;
}

static bool prove(void)
{
    next_result = (struct identity_result){.proved = true, .pins_matched = 5, .not_after = INT64_MAX / 2};
    return reachability_judge(&reachability, NULL, NULL, &metrics);
}

static bool miss(void)
{
    next_result = (struct identity_result){.pin_missed = true, .reason = "no pin matches"};
    return reachability_judge(&reachability, NULL, NULL, &metrics);
}

static void assert_standing(enum identity_state expected, uint32_t epoch, unsigned changed)
{
    assert_int_equal(reachability_state(&reachability), expected);
    assert_int_equal(reachability_epoch(&reachability), epoch);
    assert_int_equal(changes, changed);
}

static void a_proof_makes_an_address_usable(void **state)
{
    uint64_t before = clock_ms();

    (void)state;
    assert_standing(IDENTITY_UNVERIFIED, 0, 0);
    assert_false(reachability_row_usable(&config, &status, before));
    assert_true(prove());
    assert_standing(IDENTITY_VALID, 0, 1);
    assert_true(reachability_row_usable(&config, &status, clock_ms()));
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
    assert_false(reachability_row_usable(&config, &status, clock_ms()));
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
    reachability_unreachable(&reachability, "time-out");
    assert_standing(IDENTITY_UNREACHABLE, 0, 2);
    assert_false(reachability_row_usable(&config, &status, clock_ms()));
    reachability_unreachable(&reachability, "time-out");
    assert_standing(IDENTITY_UNREACHABLE, 0, 2);
    assert_true(prove());
    assert_standing(IDENTITY_VALID, 0, 3);
}

static void a_time_out_does_not_touch_a_mismatch(void **state)
{
    (void)state;
    assert_false(miss());
    reachability_unreachable(&reachability, "time-out");
    reachability_answered(&reachability);
    assert_standing(IDENTITY_MISMATCH, 1, 1);
}

static void an_answer_makes_only_a_proved_address_valid_again(void **state)
{
    (void)state;
    reachability_answered(&reachability);
    assert_standing(IDENTITY_UNVERIFIED, 0, 0);
    reachability_unreachable(&reachability, "refused");
    reachability_answered(&reachability);
    assert_standing(IDENTITY_UNREACHABLE, 0, 1);
    assert_true(prove());
    reachability_unreachable(&reachability, "refused");
    reachability_answered(&reachability);
    assert_standing(IDENTITY_VALID, 0, 4);
}

static void a_plain_upstream_is_usable_when_it_answers(void **state)
{
    (void)state;
    config.transport = TRANSPORT_PLAIN;
    assert_false(reachability_row_usable(&config, &status, clock_ms()));
    reachability_answered(&reachability);
    assert_standing(IDENTITY_VALID, 0, 1);
    assert_true(reachability_row_usable(&config, &status, clock_ms() + 1000000000));
    reachability_unreachable(&reachability, "time-out");
    assert_false(reachability_row_usable(&config, &status, clock_ms()));
}

static void a_proof_is_good_for_the_revalidation_period(void **state)
{
    (void)state;
    assert_true(prove());
    assert_true(reachability_row_usable(&config, &status, status.validated_ms));
    assert_true(reachability_row_usable(&config, &status, status.validated_ms + 300 * 1000));
    assert_false(reachability_row_usable(&config, &status, status.validated_ms + 2 * 300 * 1000));
}

/* A thread may have read its clock just before another one had the proof. */
static void a_proof_newer_than_the_askers_clock_counts(void **state)
{
    (void)state;
    assert_true(prove());
    assert_true(reachability_row_usable(&config, &status, status.validated_ms - 1));
}

static void a_missed_pin_in_report_mode_is_counted_and_accepted(void **state)
{
    (void)state;
    next_result = (struct identity_result){.proved = true, .pin_missed = true, .reason = "no pin matches"};
    assert_true(reachability_judge(&reachability, NULL, NULL, &metrics));
    assert_standing(IDENTITY_VALID, 0, 1);
    assert_true(metrics.identity_mismatches_total == 1);
}

static void prove_until(int64_t not_after, uint32_t pins_matched)
{
    next_result = (struct identity_result){.proved = true, .not_after = not_after, .pins_matched = pins_matched};
    assert_true(reachability_judge(&reachability, NULL, NULL, &metrics));
}

static void assert_lines(unsigned errors, unsigned warnings)
{
    assert_int_equal(lines[LOG_LEVEL_ERROR], errors);
    assert_int_equal(lines[LOG_LEVEL_WARN], warnings);
}

static void the_end_of_a_certificate_is_told_at_14_days_and_again_louder_at_3(void **state)
{
    (void)state;
    prove_until(WALL_SECONDS + 14 * DAY, 1);
    assert_lines(0, 0);
    prove_until(WALL_SECONDS + 14 * DAY - 1, 1);
    assert_lines(0, 1);
    assert_string_equal(last_line, "certificate expires within 14 days");
    prove_until(WALL_SECONDS + 3 * DAY, 1);
    assert_lines(0, 1); /* said already */
    prove_until(WALL_SECONDS + 3 * DAY - 1, 1);
    assert_lines(1, 1);
    assert_string_equal(last_line, "certificate expires within 3 days");
    prove_until(WALL_SECONDS, 1);
    assert_lines(1, 1);
    prove_until(WALL_SECONDS - 1, 1);
    assert_lines(1, 2);
    assert_string_equal(last_line, "certificate is expired or not yet valid, accepted because of its pin");
}

static void each_address_has_warnings_of_its_own(void **state)
{
    struct address_status other = {.upstream = "other"};

    (void)state;
    prove_until(WALL_SECONDS + DAY, 1);
    prove_until(WALL_SECONDS + DAY, 1);
    assert_lines(1, 0);
    status = other; /* as another address, or another generation, begins */
    prove_until(WALL_SECONDS + DAY, 1);
    assert_lines(2, 0);
}

static void a_warning_is_repeated_after_six_hours(void **state)
{
    (void)state;
    prove_until(WALL_SECONDS + DAY, 1);
    for (size_t i = 0; i < STATUS_WARNINGS; i++)
        if (status.warned_ms[i] != 0)
            status.warned_ms[i] = status.warned_ms[i] - 6 * 3600 * 1000 + 60000;
    prove_until(WALL_SECONDS + DAY, 1);
    assert_lines(1, 0);
    for (size_t i = 0; i < STATUS_WARNINGS; i++)
        if (status.warned_ms[i] != 0)
            status.warned_ms[i] = status.warned_ms[i] - 60000;
    prove_until(WALL_SECONDS + DAY, 1);
    assert_lines(2, 0);
}

/* The order of the list is that of use: what stands behind the matching pin is still to come. */
static void a_backup_in_use_and_the_last_pin_are_told(void **state)
{
    static const struct {
        size_t pins;
        uint32_t matched;
        unsigned warnings;
    } rows[] = {{1, 1, 0}, {2, 1, 0}, {2, 3, 0}, {2, 2, 1},        {3, 2, 1},
                {3, 4, 1}, {3, 6, 1}, {3, 5, 0}, {16, 1u << 15, 1}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        set_up(state);
        config.pin_count = rows[i].pins;
        prove_until(INT64_MAX / 2, rows[i].matched);
        assert_lines(0, rows[i].warnings);
        if (rows[i].warnings > 0 && rows[i].matched == 1u << (rows[i].pins - 1))
            assert_non_null(strstr(last_line, "only the last pin"));
        else if (rows[i].warnings > 0)
            assert_non_null(strstr(last_line, "a backup does"));
    }
}

static void pins_that_are_not_asked_for_are_no_concern(void **state)
{
    (void)state;
    config.auth = AUTH_CA;
    config.pin_count = 2;
    prove_until(INT64_MAX / 2, 0);
    assert_lines(0, 0);
    assert_false(identity_lacks_backup(&config));
}

static void one_pin_is_no_backup_and_neither_is_the_same_twice(void **state)
{
    (void)state;
    config.pin_count = 1;
    assert_true(identity_lacks_backup(&config));
    config.pin_count = 2;
    assert_true(identity_lacks_backup(&config));
    config.pins[1].sha256[31] = 1;
    assert_false(identity_lacks_backup(&config));
    config.pin_count = 1;
    config.transport = TRANSPORT_PLAIN;
    assert_false(identity_lacks_backup(&config));
}

/* The clock is set back and forward by a year: what was proved stays proved, for its period and no longer. */
static void the_wall_clock_decides_on_certificates_alone(void **state)
{
    (void)state;
    prove_until(WALL_SECONDS + 30 * DAY, 1);
    uint64_t validated_ms = status.validated_ms;
    wall_seconds -= 365 * DAY;
    assert_true(reachability_row_usable(&config, &status, validated_ms + 300 * 1000));
    wall_seconds += 2 * 365 * DAY;
    assert_true(reachability_row_usable(&config, &status, validated_ms + 300 * 1000));
    assert_false(reachability_row_usable(&config, &status, validated_ms + 2 * 300 * 1000));
    assert_lines(0, 0);
    prove_until(WALL_SECONDS + 30 * DAY, 1);
    assert_lines(0, 1);
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
        TEST(the_end_of_a_certificate_is_told_at_14_days_and_again_louder_at_3),
        TEST(each_address_has_warnings_of_its_own),
        TEST(a_warning_is_repeated_after_six_hours),
        TEST(a_backup_in_use_and_the_last_pin_are_told),
        TEST(pins_that_are_not_asked_for_are_no_concern),
        TEST(one_pin_is_no_backup_and_neither_is_the_same_twice),
        TEST(the_wall_clock_decides_on_certificates_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "nodedot/observe/log.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define TIME_SIZE 24 /* 2026-01-31T12:00:00.123Z */

static int pipe_ends[2];
static int real_stderr;
static char line[2 * LOG_LINE];

static bool poll_lies; /* it says that everything can be written to */

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    struct timespec limit = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000L};

    if (!poll_lies)
        return ppoll(fds, count, timeout < 0 ? NULL : &limit, NULL);
    fds->revents = POLLOUT;
    return 1;
}

static int begin(void **state)
{
    (void)state;
    real_stderr = dup(STDERR_FILENO);
    return pipe(pipe_ends) < 0 || dup2(pipe_ends[1], STDERR_FILENO) < 0;
}

static int end(void **state)
{
    (void)state;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return 0;
}

/* One read(2) is what one write(2) put there. */
static size_t take_line(void)
{
    ssize_t size = read(pipe_ends[0], line, sizeof line - 1);

    assert_true(size > 0);
    line[size] = '\0';
    return (size_t)size;
}

static void assert_text(const char *behind_time)
{
    take_line();
    assert_string_equal(line + TIME_SIZE, behind_time);
}

static void assert_json(const char *behind_time)
{
    const char *begin_text = "{\"time\":\"";

    take_line();
    assert_memory_equal(line, begin_text, strlen(begin_text));
    assert_string_equal(line + strlen(begin_text) + TIME_SIZE, behind_time);
}

static void a_text_line_has_time_level_message_and_fields(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("resolver ready", log_n("generation", 3), log_s("upstream", "quad9"));
    assert_text(" level=info msg=\"resolver ready\" generation=3 upstream=quad9\n");
}

static void a_json_line_has_the_same(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_warn("resolver lost", log_n("generation", -3), log_s("how", "signal"));
    assert_json("\",\"level\":\"warn\",\"msg\":\"resolver lost\",\"generation\":-3,\"how\":\"signal\"}\n");
}

static void a_line_without_fields_is_whole(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_error("stopping");
    assert_text(" level=error msg=\"stopping\"\n");
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_error("stopping");
    assert_json("\",\"level\":\"error\",\"msg\":\"stopping\"}\n");
}

static void the_time_is_that_of_the_calendar(void **state)
{
    time_t now = time(NULL);
    struct tm parts;
    char expected[32];

    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("now");
    take_line();
    gmtime_r(&now, &parts);
    strftime(expected, sizeof expected, "%Y-%m-%dT%H:", &parts);
    assert_memory_equal(line, expected, strlen(expected));
    assert_int_equal(line[TIME_SIZE - 5], '.');
    assert_int_equal(line[TIME_SIZE - 1], 'Z');
}

static void levels_above_the_configured_one_are_silent(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    assert_true(log_enabled(LOG_LEVEL_ERROR));
    assert_true(log_enabled(LOG_LEVEL_WARN));
    assert_false(log_enabled(LOG_LEVEL_INFO));
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
    log_info("not to be seen");
    log_warn("seen");
    assert_text(" level=warn msg=\"seen\"\n");
}

static void a_value_is_quoted_where_needed(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("m", log_s("a", "x:y/z"), log_s("b", ""), log_s("c", "a b"), log_s("d", "a=b"), log_s("e", "a\"b\\c"),
             log_s("f", NULL));
    assert_text(" level=info msg=\"m\" a=x:y/z b=\"\" c=\"a b\" d=\"a=b\" e=\"a\\\"b\\\\c\" f=\"\"\n");
}

static void what_a_peer_sends_forges_no_line(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("m", log_s("a", "x\nlevel=error\r\t\x1b[31m\x7f\xc3\xa9"));
    assert_text(" level=info msg=\"m\" a=\"x\\nlevel=error\\x0d\\t\\x1b[31m\\x7f\\xc3\\xa9\"\n");
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_info("m", log_s("a", "x\n\r\"\\\x01\x7f\xc3\xa9"));
    assert_json("\",\"level\":\"info\",\"msg\":\"m\",\"a\":\"x\\n\\u000d\\\"\\\\\\u0001\\u007f\\u00c3\\u00a9\"}\n");
}

static void the_largest_numbers_are_whole(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("m", log_n("a", INT64_MIN), log_n("b", INT64_MAX));
    assert_text(" level=info msg=\"m\" a=-9223372036854775808 b=9223372036854775807\n");
}

static char *filled(size_t size, char with)
{
    static char text[2 * LOG_LINE];

    memset(text, with, size);
    text[size] = '\0';
    return text;
}

/* Every length around the limit, so that each part is once the one that does not fit. */
static void a_long_line_is_cut_and_stays_one_well_formed_write(void **state)
{
    (void)state;
    for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++)
        for (size_t size = LOG_LINE - 140; size < LOG_LINE + 40; size++) {
            log_configure(LOG_LEVEL_INFO, (enum log_format)format);
            log_info("m", log_s("first", filled(size, 'x')), log_s("second", "a b"), log_n("third", 12345));
            size_t got = take_line();
            assert_true(got <= LOG_LINE);
            assert_int_equal(line[got - 1], '\n');
            assert_null(memchr(line, '\n', got - 1));
            size_t quotes = 0;
            for (size_t i = 0; i < got; i++)
                quotes += line[i] == '"';
            assert_int_equal(quotes % 2, 0);
            if (format == LOG_FORMAT_JSON)
                assert_int_equal(line[got - 2], '}');
        }
}

static void a_cut_never_splits_an_escape(void **state)
{
    (void)state;
    for (size_t size = LOG_LINE / 6 - 60; size < LOG_LINE / 6 + 20; size++) {
        log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
        log_info("m", log_s(filled(size % 7 + 1, 'k'), "v"), log_s("a", filled(size, '\x01')));
        size_t got = take_line();
        for (size_t i = 0; i < got; i++)
            if (line[i] == '\\')
                assert_memory_equal(line + i, "\\u0001", 6);
    }
}

static void nothing_follows_what_was_cut(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("m", log_s("first", filled(LOG_LINE, 'x')), log_n("second", 1));
    size_t got = take_line();
    assert_null(strstr(line, "second"));
    assert_int_equal(got, LOG_LINE - 2); /* its end had room for a brace more, and no escape went in between */
}

static void a_limit_lets_one_line_pass_and_counts_the_rest(void **state)
{
    struct log_limit limit = {0};
    uint64_t suppressed = 99;

    (void)state;
    assert_true(log_limit_pass(&limit, 50, &suppressed));
    assert_int_equal(suppressed, 0);
    assert_false(log_limit_pass(&limit, 50, &suppressed));
    assert_false(log_limit_pass(&limit, 50, &suppressed));
    usleep(60 * 1000);
    assert_true(log_limit_pass(&limit, 50, &suppressed));
    assert_int_equal(suppressed, 2);
    assert_false(log_limit_pass(&limit, 50, &suppressed));
}

#define test(name) cmocka_unit_test_setup_teardown(name, begin, end)

static char much[LOG_LINE];

static size_t fill_by_offering(void)
{
    size_t taken = 0;

    while (log_offer(much, sizeof much) == LOG_OFFER_TAKEN)
        taken += sizeof much;
    return taken;
}

static void who_offers_lines_leaves_most_of_a_pipe_to_others(void **state)
{
    int capacity = fcntl(pipe_ends[1], F_GETPIPE_SZ);
    size_t taken = fill_by_offering();

    (void)state;
    assert_true(taken >= (size_t)capacity / 4 && taken <= (size_t)capacity / 2);
    log_info("still there");
    assert_int_equal(log_offer(much, sizeof much), LOG_OFFER_WAIT);
    for (int i = 0; i < 2; i++)
        assert_int_equal(read(pipe_ends[0], much, sizeof much), sizeof much);
    assert_int_equal(log_offer(much, sizeof much), LOG_OFFER_TAKEN);
}

/* It would be for ever: this test would never end. */
static void a_full_pipe_loses_a_line_and_nobody_waits(void **state)
{
    int flags = fcntl(pipe_ends[1], F_GETFL);

    (void)state;
    fcntl(pipe_ends[1], F_SETFL, flags | O_NONBLOCK);
    while (write(pipe_ends[1], much, sizeof much) > 0)
        continue;
    fcntl(pipe_ends[1], F_SETFL, flags);
    log_error("lost");
    assert_int_equal(log_offer(much, 1), LOG_OFFER_WAIT);
}

/* Another process fills the pipe between our look and our writing. */
static void a_pipe_that_another_process_fills_at_the_last_moment_keeps_nobody_waiting(void **state)
{
    uint64_t before = log_lost();
    int flags = fcntl(pipe_ends[1], F_GETFL);

    (void)state;
    log_open();
    assert_int_equal(fcntl(pipe_ends[1], F_GETFL), flags); /* of those who inherited it */
    fcntl(pipe_ends[1], F_SETFL, flags | O_NONBLOCK);
    while (write(pipe_ends[1], much, sizeof much) > 0)
        continue;
    fcntl(pipe_ends[1], F_SETFL, flags);
    poll_lies = true;
    log_error("lost");
    log_error("lost");
    poll_lies = false;
    assert_int_equal(log_lost(), before + 2);
}

static void a_closed_pipe_loses_lines(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    close(pipe_ends[0]);
    assert_int_equal(log_offer(much, 1), LOG_OFFER_LOST);
    log_error("lost");
    pipe_ends[0] = open("/dev/null", O_RDONLY);
}

static void a_file_takes_every_line(void **state)
{
    char path[] = "/tmp/test_log.XXXXXX";
    int file = mkstemp(path);
    int before = dup(STDERR_FILENO);

    (void)state;
    unlink(path);
    dup2(file, STDERR_FILENO);
    for (int i = 0; i < 100; i++)
        assert_int_equal(log_offer(much, sizeof much), LOG_OFFER_TAKEN);
    dup2(before, STDERR_FILENO);
    assert_int_equal(lseek(file, 0, SEEK_END), 100 * sizeof much);
    close(before);
    close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_text_line_has_time_level_message_and_fields),
        test(a_json_line_has_the_same),
        test(a_line_without_fields_is_whole),
        test(the_time_is_that_of_the_calendar),
        test(levels_above_the_configured_one_are_silent),
        test(a_value_is_quoted_where_needed),
        test(what_a_peer_sends_forges_no_line),
        test(the_largest_numbers_are_whole),
        test(a_long_line_is_cut_and_stays_one_well_formed_write),
        test(a_cut_never_splits_an_escape),
        test(nothing_follows_what_was_cut),
        test(a_limit_lets_one_line_pass_and_counts_the_rest),
        test(who_offers_lines_leaves_most_of_a_pipe_to_others),
        test(a_full_pipe_loses_a_line_and_nobody_waits),
        test(a_pipe_that_another_process_fills_at_the_last_moment_keeps_nobody_waiting),
        test(a_closed_pipe_loses_lines),
        test(a_file_takes_every_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

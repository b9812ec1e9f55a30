/* The log as a whole: workers that put records while the writer empties their taps, which is the part to build with
 * -fsanitize=thread. Standard error is a pipe. */
#include "nodedot/observe/query_log.h"

#include "nodedot/observe/log.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WORKERS 3
#define RECORDS 20000 /* of each worker */

struct bench {
    struct config config;
    struct metrics metrics[WORKERS + 1]; /* the last is the writer's */
    struct query_log *log;
    struct query_tap taps[WORKERS];
    int ends[2]; /* of the pipe */
    int real_stderr;
};

static struct bench bench;

static int begin(void **state)
{
    (void)state;
    memset(&bench, 0, sizeof(bench));
    bench.real_stderr = dup(STDERR_FILENO);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    return pipe(bench.ends) < 0 || dup2(bench.ends[1], STDERR_FILENO) < 0 || close(bench.ends[1]) < 0;
}

static int end(void **state)
{
    (void)state;
    query_log_destroy(bench.log);
    dup2(bench.real_stderr, STDERR_FILENO);
    close(bench.real_stderr);
    close(bench.ends[0]);
    return 0;
}

static void make_log(enum log_queries queries, uint32_t sample)
{
    bench.config.log_queries = queries;
    bench.config.log_queries_sample = sample;
    bench.log = query_log_create(&bench.config, &bench.metrics[WORKERS]);
    assert_non_null(bench.log);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_true(query_log_tap(bench.log, &bench.taps[i], &bench.metrics[i]));
}

/* duration_us tells whose record it is, and which. */
static void put(struct query_tap *tap, uint64_t number)
{
    struct query_record record = {.duration_us = number, .udp = true, .source = QUERY_FROM_CACHE};

    assert_true(endpoint_parse("192.0.2.1:1025", 0, &record.client));
    query_tap_put(tap, &record, NULL);
}

static uint64_t written(void)
{
    return bench.metrics[WORKERS].query_log_total;
}

static uint64_t dropped(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i <= WORKERS; i++)
        sum += bench.metrics[i].query_log_dropped_total;
    return sum;
}

static void *put_all(void *context)
{
    struct query_tap *tap = context;
    uint64_t first = (uint64_t)(tap - bench.taps) * RECORDS;

    for (uint64_t i = 0; i < RECORDS; i++) {
        put(tap, first + i);
        if (i % 64 == 0)
            sched_yield();
    }
    return NULL;
}

/* Reads to the end of the pipe. Returns how many lines came; each worker's must come in the order of their writing. */
static void *read_all(void *context)
{
    FILE *stream = fdopen(dup(bench.ends[0]), "r");
    uint64_t last[WORKERS] = {0};
    uintptr_t count = 0;
    char line[LOG_LINE];

    (void)context;
    while (fgets(line, sizeof(line), stream) != NULL) {
        const char *number = strstr(line, " duration_us=");

        assert_non_null(number);
        assert_int_equal(line[strlen(line) - 1], '\n');
        uint64_t n = strtoull(number + strlen(" duration_us="), NULL, 10);
        assert_true(n < (uint64_t)WORKERS * RECORDS);
        assert_true(n >= last[n / RECORDS]);
        last[n / RECORDS] = n + 1;
        count++;
    }
    fclose(stream);
    return (void *)count;
}

static void every_record_is_a_line_or_counted_as_dropped(void **state)
{
    pthread_t workers[WORKERS];
    pthread_t reader;
    void *count;

    (void)state;
    make_log(LOG_QUERIES_ALL, 1);
    assert_true(query_log_start(bench.log));
    assert_int_equal(pthread_create(&reader, NULL, read_all, NULL), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&workers[i], NULL, put_all, &bench.taps[i]), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    query_log_finish(bench.log);
    dup2(bench.real_stderr, STDERR_FILENO); /* the pipe's end */
    pthread_join(reader, &count);
    assert_int_equal((uintptr_t)count, written());
    assert_int_equal(written() + dropped(), (uint64_t)WORKERS * RECORDS);
    assert_true(written() > 1000);
}

static void a_pipe_that_nobody_reads_holds_up_neither_worker_nor_end(void **state)
{
    (void)state;
    make_log(LOG_QUERIES_ALL, 1);
    assert_true(query_log_start(bench.log));
    for (uint64_t i = 0; i < RECORDS; i++)
        put(&bench.taps[0], i);
    query_log_finish(bench.log);
    assert_int_equal(written() + dropped(), RECORDS);
    assert_true(written() > 0 && dropped() > 0);
}

static void what_was_put_before_the_end_is_written(void **state)
{
    (void)state;
    make_log(LOG_QUERIES_ALL, 1);
    assert_true(query_log_start(bench.log));
    put(&bench.taps[WORKERS - 1], 0);
    query_log_finish(bench.log);
    assert_int_equal(written(), 1);
}

static void a_log_that_never_started_can_be_given_back(void **state)
{
    (void)state;
    make_log(LOG_QUERIES_ALL, 1);
    put(&bench.taps[0], 0);
    query_log_finish(bench.log);
    assert_int_equal(written(), 0);
}

static void without_sampling_every_query_is_wanted(void **state)
{
    (void)state;
    make_log(LOG_QUERIES_ALL, 100);
    for (int i = 0; i < 1000; i++)
        assert_true(query_tap_wants(&bench.taps[0]));
}

static void a_sample_keeps_the_rate_and_no_rhythm(void **state)
{
    unsigned odd = 0, even = 0;

    (void)state;
    make_log(LOG_QUERIES_SAMPLED, 10);
    for (unsigned i = 0; i < 100000; i++) {
        if (!query_tap_wants(&bench.taps[0]))
            continue;
        odd += i % 2;
        even += (i + 1) % 2;
    }
    assert_in_range(odd, 4500, 5500);
    assert_in_range(even, 4500, 5500);
}

static void a_sample_of_one_in_one_is_everything(void **state)
{
    (void)state;
    make_log(LOG_QUERIES_SAMPLED, 1);
    for (int i = 0; i < 1000; i++)
        assert_true(query_tap_wants(&bench.taps[0]));
}

#define test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(every_record_is_a_line_or_counted_as_dropped),
        test(a_pipe_that_nobody_reads_holds_up_neither_worker_nor_end),
        test(what_was_put_before_the_end_is_written),
        test(a_log_that_never_started_can_be_given_back),
        test(without_sampling_every_query_is_wanted),
        test(a_sample_keeps_the_rate_and_no_rhythm),
        test(a_sample_of_one_in_one_is_everything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

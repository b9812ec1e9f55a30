#include "nodedot/base/random.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Enough octets that two equal draws mean a fault, not chance. */
#define DRAW 32

static void every_size_is_filled_and_no_octet_behind_it(void **state)
{
    (void)state;
    for (size_t size = 0; size <= 1024; size += size < 270 ? 1 : 97) {
        uint8_t seen[1024 + 1] = {0};
        uint8_t out[1024 + 1];

        for (int round = 0; round < 8; round++) { /* an octet that is 0 eight times in a row was not written */
            memset(out, 0, sizeof(out));
            out[size] = 0xa5;
            random_bytes(out, size);
            assert_int_equal(out[size], 0xa5);
            for (size_t i = 0; i < size; i++)
                seen[i] |= out[i];
        }
        for (size_t i = 0; i < size; i++)
            assert_int_not_equal(seen[i], 0);
    }
}

static void draws_do_not_repeat(void **state)
{
    static uint8_t draws[256][DRAW];

    (void)state;
    for (size_t i = 0; i < 256; i++) {
        random_bytes(draws[i], DRAW);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(draws[i], draws[j], DRAW);
    }
}

static void every_id_can_come(void **state)
{
    static bool seen[65536];
    size_t missing = 65536;

    (void)state;
    /* After n draws an ID is missing with probability e^(-n/65536): 2 million leave 10^-9 of all. */
    for (int i = 0; i < 2000000 && missing > 0; i++) {
        bool *at = &seen[random_u16()];

        missing -= !*at;
        *at = true;
    }
    assert_int_equal(missing, 0);
}

static void a_bounded_number_is_below_and_every_value_comes(void **state)
{
    unsigned counts[10] = {0};
    uint32_t high = 0;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint32_t n = random_below(10);

        assert_true(n < 10);
        counts[n]++;
        assert_int_equal(random_below(1), 0);
        high |= random_below(UINT32_MAX);
    }
    for (int i = 0; i < 10; i++) /* 10,000 expected, standard deviation 95 */
        assert_in_range(counts[i], 9000, 11000);
    assert_int_equal(high, UINT32_MAX);
}

static void each_bit_of_32_is_set_half_the_time(void **state)
{
    unsigned counts[32] = {0};

    (void)state;
    for (int i = 0; i < 10000; i++) {
        uint32_t v = random_u32();

        for (int bit = 0; bit < 32; bit++)
            counts[bit] += v >> bit & 1;
    }
    for (int bit = 0; bit < 32; bit++) /* standard deviation 50 */
        assert_in_range(counts[bit], 4600, 5400);
}

/* What a child of this process draws next. */
static void draw_in_child(uint8_t *out)
{
    int pipes[2];
    int status;

    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        uint8_t mine[DRAW];

        random_bytes(mine, DRAW);
        _exit(write(pipes[1], mine, DRAW) == DRAW ? 0 : 1);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], out, DRAW), DRAW);
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void parent_and_children_draw_different_numbers(void **state)
{
    uint8_t parent[DRAW], first[DRAW], second[DRAW];

    (void)state;
    random_bytes(parent, 1); /* so that there is a block which a child could inherit */
    draw_in_child(first);
    draw_in_child(second);
    random_bytes(parent, DRAW);
    assert_memory_not_equal(first, second, DRAW);
    assert_memory_not_equal(parent, first, DRAW);
    assert_memory_not_equal(parent, second, DRAW);
}

static void *fork_in_thread(void *out)
{
    uint8_t parent[DRAW];

    random_bytes(parent, 1);
    draw_in_child(out);
    random_bytes((uint8_t *)out + DRAW, DRAW);
    return NULL;
}

static void a_fork_in_a_thread_is_noticed_too(void **state)
{
    uint8_t draws[2 * DRAW];
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, fork_in_thread, draws), 0);
    pthread_join(thread, NULL);
    assert_memory_not_equal(draws, draws + DRAW, DRAW);
}

static void *draw_in_thread(void *out)
{
    random_bytes(out, DRAW);
    return NULL;
}

static void threads_draw_different_numbers(void **state)
{
    uint8_t draws[8][DRAW];
    pthread_t threads[8];

    (void)state;
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, draw_in_thread, draws[i]), 0);
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(draws[i], draws[j], DRAW);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_is_filled_and_no_octet_behind_it),
        cmocka_unit_test(draws_do_not_repeat),
        cmocka_unit_test(every_id_can_come),
        cmocka_unit_test(a_bounded_number_is_below_and_every_value_comes),
        cmocka_unit_test(each_bit_of_32_is_set_half_the_time),
        cmocka_unit_test(parent_and_children_draw_different_numbers),
        cmocka_unit_test(a_fork_in_a_thread_is_noticed_too),
        cmocka_unit_test(threads_draw_different_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

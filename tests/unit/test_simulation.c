/* Long random scripts: what must hold is in simulation/simulation.h. A seed that fails is played again with
 * NODEDOT_SIMULATION_SEED=N. */
#include "simulation/simulation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SCRIPT_OCTETS 24000
#define STEPS         1000000

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void play(uint64_t seed)
{
    static uint8_t script[SCRIPT_OCTETS];
    uint64_t state = seed;

    for (size_t i = 0; i < sizeof(script); i++)
        script[i] = (uint8_t)(draw(&state) >> 56);
    script[0] = (uint8_t)seed; /* every configuration in turn */
    if (getenv("NODEDOT_SIMULATION_VERBOSE") != NULL)
        fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
    simulation_run(script, 1 + draw(&state) % (sizeof(script) - 1));
}

static void a_million_random_steps_lose_nothing_and_answer_nothing_twice(void **state)
{
    const struct simulation_account *account = &simulation_account;
    const char *only = getenv("NODEDOT_SIMULATION_SEED");

    (void)state;
    for (uint64_t seed = 0; account->steps < STEPS && only == NULL; seed++)
        play(seed);
    if (only != NULL)
        play(strtoull(only, NULL, 10));
    printf(
        "%llu steps: %llu queries, %llu answers, %llu of them late, %llu dropped; upstreams: %llu connections, asked "
        "%llu, told %llu\n",
        (unsigned long long)account->steps, (unsigned long long)account->queries, (unsigned long long)account->answers,
        (unsigned long long)account->late, (unsigned long long)account->dropped,
        (unsigned long long)account->connections, (unsigned long long)account->asked,
        (unsigned long long)account->told);
    if (only != NULL)
        return;
    /* All of it happened, and often. */
    assert_true(account->queries > STEPS / 10 && account->answers > STEPS / 20 && account->late > STEPS / 100);
    assert_true(account->asked > STEPS / 100 && account->told > STEPS / 100 && account->connections > STEPS / 1000);
    assert_true(account->dropped > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_random_steps_lose_nothing_and_answer_nothing_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

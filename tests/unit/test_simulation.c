/* Long random scripts: what must hold is in simulation/simulation.h. A seed that fails is played again with
 * NODEDOT_SIMULATION_SEED=N. */
#include "simulation/loop.h"
#include "simulation/network.h"
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
        "%llu, told %llu; %llu asked for another thread\n",
        (unsigned long long)account->steps, (unsigned long long)account->queries, (unsigned long long)account->answers,
        (unsigned long long)account->late, (unsigned long long)account->dropped,
        (unsigned long long)account->connections, (unsigned long long)account->asked, (unsigned long long)account->told,
        (unsigned long long)account->relayed);
    if (only != NULL)
        return;
    /* All of it happened, and often. */
    assert_true(account->queries > STEPS / 10 && account->answers > STEPS / 20 && account->late > STEPS / 100);
    assert_true(account->asked > STEPS / 100 && account->told > STEPS / 100 && account->connections > STEPS / 1000);
    assert_true(account->dropped > 0 && account->relayed > 0);
}

/* ---- Two threads, and what they tell each other of one address ---- */

#define SCENE_MS    100
#define SETTLED     10  /* steps until connections are there */
#define SCENE_STEPS 600 /* one minute: longer than a thread without a connection waits before it tries again */

static bool thread_is_refused[SIMULATION_THREADS];

/* The upstream takes the connections of some threads, and answers whatever comes over these at once. Others wait until
 * there is one, and are refused then. */
static void serve_some_threads(void)
{
    uint32_t holders = atomic_load(&simulation_status()->addresses[0].holders);
    struct simulated_socket *s;

    for (unsigned i = 0; (s = network_pick(SOCKET_UPSTREAM_STREAM, i)) != NULL && i < network_count(s->kind); i++) {
        if (s->connect == PROGRESS_NONE && thread_is_refused[s->thread])
            s->connect = holders != 0 || thread_is_refused[0] ? PROGRESS_BAD : PROGRESS_NONE;
        else if (s->connect == PROGRESS_NONE)
            s->connect = PROGRESS_GOOD;
        else
            s->handshake = PROGRESS_GOOD;
    }
    upstreams_answer_all();
}

/* A client asks, over UDP, for one name of many. */
static void ask(unsigned number)
{
    static uint8_t octets[] = {0, 0, 32 /* one of many names */, 0, 0, 0, 0, 0}; /* is read on after the call */

    octets[3] = (uint8_t)number;
    scene_script(octets, sizeof(octets));
    clients_ask();
}

static bool play_minute(unsigned step)
{
    serve_some_threads();
    if (step < SCENE_STEPS)
        ask(step);
    loop_advance(SCENE_MS);
    return step < SCENE_STEPS;
}

static bool play_minute_that_one_thread_has(unsigned step)
{
    const struct address_status *address = &simulation_status()->addresses[0];
    static uint64_t since_ms; /* an answer to the other thread would set the state right before the next step */

    if (step <= SETTLED)
        since_ms = atomic_load(&address->since_ms);
    else
        assert_int_equal(atomic_load(&address->since_ms), since_ms);
    assert_int_equal(atomic_load(&address->silent), 0);
    assert_true(step < SETTLED || atomic_load(&address->state) == IDENTITY_VALID);
    return play_minute(step);
}

static bool play_minute_that_nobody_has(unsigned step)
{
    const struct address_status *address = &simulation_status()->addresses[0];

    if (step > SETTLED) {
        assert_int_equal(atomic_load(&address->state), IDENTITY_UNREACHABLE);
        assert_int_equal(atomic_load(&address->silent), 1);
    }
    return play_minute(step);
}

static void one_threads_failure_is_not_everybodys_verdict(void **state)
{
    (void)state;
    thread_is_refused[0] = false;
    thread_is_refused[1] = true;
    simulation_play(VARIANT_LIMITED, 2, play_minute_that_one_thread_has);
    /* It failed, and served its clients nevertheless: over the connection of the other one. */
    assert_true(atomic_load(&simulation_status()->addresses[0].failures) > 0);
    assert_true(simulation_counted("queries_udp_total", 1) > 0);
    assert_true(simulation_counted("upstream_relayed_total", 1) > 0);
    for (unsigned i = 0; i < SIMULATION_THREADS; i++)
        assert_int_equal(simulation_counted("answers_servfail_total", i), 0);
}

static void what_every_thread_fails_at_is_everybodys_verdict(void **state)
{
    (void)state;
    thread_is_refused[0] = thread_is_refused[1] = true;
    simulation_play(VARIANT_LIMITED, 2, play_minute_that_nobody_has);
    assert_int_equal(simulation_counted("upstream_relayed_total", 0) + simulation_counted("upstream_relayed_total", 1),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_random_steps_lose_nothing_and_answer_nothing_twice),
        cmocka_unit_test(one_threads_failure_is_not_everybodys_verdict),
        cmocka_unit_test(what_every_thread_fails_at_is_everybodys_verdict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

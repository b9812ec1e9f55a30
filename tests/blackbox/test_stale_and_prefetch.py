"""What is answered when the upstream is late, failing or gone, and how answers are kept from ending at all.

| promise                                                          | test                                                   |
|------------------------------------------------------------------|--------------------------------------------------------|
| an answer in use is refreshed in the last tenth of its TTL       | an_answer_in_use_is_refreshed_before_it_ends           |
| ... not when it was asked for once, nor with prefetch = no       | an_answer_that_is_hardly_used_is_not_refreshed,        |
|                                                                  | without_prefetch_answers_end                           |
| ... a refresh that fails leaves the old answer alone             | a_refresh_that_fails_leaves_the_answer_and_no_failure  |
| ... once, however many threads see it                            | two_workers_refresh_an_answer_once                     |
| the most asked names are kept fresh (prefetch-top)               | the_most_asked_names_never_miss                        |
| ... not those with a TTL of a few seconds                        | answers_that_live_for_moments_are_left_to_clients      |
| ... as many as configured                                        | no_more_names_are_kept_fresh_than_configured           |
| prefetching takes no room from clients                           | refreshing_takes_no_room_from_clients                  |
| stale after 1.8 s (RFC 8767), then at once; fresh within 2 s     | the_upstream_dies_and_comes_back                       |
| failure recheck: no query upstream for 30 s, then behind         | a_stale_answer_is_rechecked_after_30_seconds           |
| a late answer is taken when it comes                             | test_cache: ..._lets_the_stale_answer_out_after_1800_ms|
| TTL 30, EDE 3 and 19, stale-max, a zone without stale answers    | test_cache: Stale answers                              |
| flights that go on without clients take no room from others      | late_refreshes_take_no_room_from_clients               |
| ... void as soon as a fallback serves                            | a_fallback_that_serves_ends_stale_answers              |
| a stop does not wait for a refresh                               | a_stop_does_not_wait_for_a_refresh                     |
| failures: 5 s, then longer (RFC 9520)                            | a_question_that_goes_on_failing_is_asked_less_often    |
| ... at most three askings of one question in a window            | no_question_is_asked_a_fourth_time_while_it_fails      |
| ... forgotten when the upstream is back                          | a_failure_is_forgotten_when_the_upstream_is_back       |
| ... reset by an answer                                           | an_answer_resets_the_memory_of_failures                |
"""

import threading
import time

import pytest

from harness import behaviours, client, wire
from harness.waiting import stays, wait_until

SHORTEST_S = 10  # the shortest TTL whose last tenth is a second


def times_asked(program, name):
    return len(program.upstream.asked(name))


def ask_until(program, names, condition, timeout, every=0.1):
    """Asks for the names again and again until the condition holds; every answer must be a good one, not a stale one."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "the condition was never met"
        for name in names:
            answer = program.ask(name, edns=True)
            assert client.addresses(answer) == [wire.address_of(name)] and not client.ede_codes(answer)
        time.sleep(every)


def ask_at_once(program, names, timeout=6):
    """Asks for all names at the same time. Returns {name: (answer, seconds)}."""
    answers = {}

    def ask(name):
        began = time.monotonic()
        with program.udp() as udp:
            octets = udp.ask(wire.query(name, edns=wire.opt()), timeout)
        answers[name] = (client.parse(octets), time.monotonic() - began)

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(names), "a query was not answered"
    return answers


@pytest.fixture
def run(start, upstream):
    """A function that starts the program with one fake upstream and sections of the configuration."""

    def make(**settings):
        program = start(upstream, **settings)
        program.upstream = upstream
        return program

    return make


def expire(program, names, ttl=1):
    """Puts answers into the cache and lets them end."""
    for name in names:
        program.upstream.behave(name, behaviours.proper(ttl=ttl))
        program.ask(name)
    time.sleep(ttl + 1.1)


# Prefetch -------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_answer_in_use_is_refreshed_before_it_ends(run):
    program = run(cache={"prefetch-top": 0})
    program.upstream.behave("used.test", behaviours.proper(ttl=SHORTEST_S))
    program.ask("used.test")
    time.sleep(2)
    program.ask("used.test")
    program.upstream.behave("used.test", behaviours.delay(0.5, behaviours.proper(ttl=300)))
    began = time.monotonic()
    ask_until(program, ["used.test"], lambda: times_asked(program, "used.test") == 2, SHORTEST_S)
    assert time.monotonic() - began > SHORTEST_S - 4, "too early"
    ask_until(program, ["used.test"], lambda: program.ask("used.test").answer[0].ttl > SHORTEST_S, 3)
    assert times_asked(program, "used.test") == 2
    assert program.counter("cache_misses_total") == 1 and program.counter("prefetches_total") == 1


@pytest.mark.slow
def test_an_answer_that_is_hardly_used_is_not_refreshed(run):
    program = run()
    program.upstream.behave("once.test", behaviours.proper(ttl=2 * SHORTEST_S))
    program.ask("once.test")
    time.sleep(2 * SHORTEST_S - 1.7)
    assert program.ask("once.test").answer[0].ttl <= 2
    time.sleep(0.2)
    assert times_asked(program, "once.test") == 1 and program.counter("prefetches_total") == 0


@pytest.mark.slow
def test_without_prefetch_answers_end(run):
    program = run(cache={"prefetch": "no", "prefetch-top": 0})
    program.upstream.behave("used.test", behaviours.proper(ttl=SHORTEST_S))
    ask_until(program, ["used.test"], lambda: times_asked(program, "used.test") == 2, SHORTEST_S + 3)
    assert program.counter("cache_misses_total") == 2 and program.counter("prefetches_total") == 0


@pytest.mark.slow
@pytest.mark.parametrize("failing", [behaviours.failure(), behaviours.drop()], ids=["servfail", "mute"])
def test_a_refresh_that_fails_leaves_the_answer_and_no_failure(run, failing):
    program = run(cache={"prefetch-top": 0}, limits={"timeout": 500})
    program.upstream.behave("used.test", behaviours.proper(ttl=2 * SHORTEST_S))
    program.ask("used.test")
    program.upstream.behave("used.test", failing)
    ask_until(program, ["used.test"], lambda: times_asked(program, "used.test") >= 2, 2 * SHORTEST_S)
    program.upstream.behave("used.test", behaviours.proper(ttl=300))
    asked = times_asked(program, "used.test")
    ask_until(program, ["used.test"], lambda: times_asked(program, "used.test") > asked, 5)
    assert program.ask("used.test").rcode() == wire.NOERROR


@pytest.mark.slow
def test_two_workers_refresh_an_answer_once(run):
    program = run(server={"workers": 2})
    names = [f"shared{i}.test" for i in range(5)]
    for name in names:
        program.upstream.behave(name, behaviours.proper(ttl=SHORTEST_S))
        program.ask(name)
        program.upstream.behave(name, behaviours.delay(0.3))

    def asked():
        return [times_asked(program, name) for name in names]

    ask_until(program, names, lambda: min(asked()) == 2, SHORTEST_S, every=0.02)
    ask_until(program, names, lambda: min(program.ask(n).answer[0].ttl for n in names) > SHORTEST_S, 3)
    counters = program.counters()
    assert 0 < counters["prefetches_total"] <= len(names)
    # On a busy machine a name may end before its refresh is back: then clients ask for it, of each worker.
    assert sum(asked()) <= counters["prefetches_total"] + counters["cache_misses_total"]


# The most asked names --------------------------------------------------------------------------------------------------------


def make_popular(program, names, ttl, uses=12):
    for name in names:
        program.upstream.behave(name, behaviours.proper(ttl=ttl))
        for _ in range(uses):
            program.ask(name)


@pytest.mark.slow
def test_the_most_asked_names_never_miss(run):
    program = run(cache={"prefetch": "no"})
    make_popular(program, ["hot.test"], ttl=5)
    make_popular(program, ["warm.test"], ttl=5, uses=9)
    began = time.monotonic()
    wait_until(lambda: times_asked(program, "hot.test") == 4, 17, "three refreshes without a client")
    assert time.monotonic() - began > 3 * 2, "too often"
    assert times_asked(program, "warm.test") == 1
    misses = program.counter("cache_misses_total")
    assert program.ask("hot.test").answer[0].ttl > 1
    assert program.counter("cache_misses_total") == misses and program.counter("prefetches_total") == 3


@pytest.mark.slow
def test_answers_that_live_for_moments_are_left_to_clients(run):
    program = run()
    make_popular(program, ["one.test"], ttl=1, uses=50)
    make_popular(program, ["four.test"], ttl=4, uses=50)
    make_popular(program, ["zero.test"], ttl=0, uses=20)
    asked = len(program.upstream.queries)
    stays(lambda: len([q for q in program.upstream.queries[asked:] if q.name]) == 0, 5, "nobody asks")
    assert program.counter("prefetches_total") == 0


@pytest.mark.slow
def test_no_more_names_are_kept_fresh_than_configured(run):
    program = run(cache={"prefetch-top": 2})
    make_popular(program, ["most.test"], ttl=5, uses=60)
    make_popular(program, ["more.test"], ttl=5, uses=40)
    make_popular(program, ["much.test"], ttl=5, uses=20)
    wait_until(lambda: times_asked(program, "most.test") >= 3 and times_asked(program, "more.test") >= 3, 12, "refreshes")
    assert times_asked(program, "much.test") <= 2  # before the others were known


@pytest.mark.slow
def test_refreshing_takes_no_room_from_clients(run):
    """Twenty names fall due at the same time, and the upstream is mute for them; few flights are spent on that."""
    names = [f"due{i}.test" for i in range(20)]
    program = run(limits={"in-flight": 16, "timeout": 3000})
    make_popular(program, names, ttl=6)
    asked = len(program.upstream.queries)
    for name in names:
        program.upstream.behave(name, behaviours.drop())
    wait_until(lambda: program.counter("prefetches_total") >= 1, 8, "a refresh")
    time.sleep(0.5)
    assert program.counter("prefetches_total") <= 2  # a sixteenth of in-flight, and one
    assert program.counter("in_flight") == 0
    clients = [f"client{i}.test" for i in range(16)]
    for name in clients:
        program.upstream.behave(name, behaviours.delay(0.3))
    answers = ask_at_once(program, clients)
    assert all(answer.rcode() == wire.NOERROR for answer, _ in answers.values())
    assert len({q.name for q in program.upstream.queries[asked:]} & set(names)) <= 4


# Stale answers --------------------------------------------------------------------------------------------------------------


def die(upstream, how):
    if how == "hung":
        upstream.mode = "stall-answers"
    elif how == "killed":
        upstream.stop_listening()
        upstream.close_connections()
    else:
        upstream.go_dark()


def revive(upstream, how):
    if how == "hung":
        upstream.mode = "serve"
    elif how == "killed":
        upstream.listen_again()
    else:
        upstream.light_up()


@pytest.mark.slow
@pytest.mark.quiet
@pytest.mark.parametrize("how", ["hung", "killed", "dark"])
def test_the_upstream_dies_and_comes_back(run, how):
    """With the limits that are the default. Fifty names: a stale answer in 1.9 s for each, then at once; and when the upstream
    is back, a fresh one within 2 s."""
    program = run()
    names = [f"n{i}.test" for i in range(50)]
    expire(program, names)
    die(program.upstream, how)
    first = ask_at_once(program, names)
    assert all(client.ede_codes(answer) == [3] and answer.answer[0].ttl == 30 for answer, _ in first.values())
    assert max(took for _, took in first.values()) < 1.9 + 0.4
    end = time.monotonic() + 6
    while time.monotonic() < end:
        for name in names[::7]:
            began = time.monotonic()
            answer = program.ask(name, edns=True)
            assert client.ede_codes(answer) == [3]
            assert time.monotonic() - began < 0.4, "not at once"
        time.sleep(0.1)
    asked = len(program.upstream.queries)
    ask_at_once(program, names)
    assert len(program.upstream.queries) - asked < 10, "each query is asked upstream again"
    revive(program.upstream, how)
    began = time.monotonic()
    wait_until(lambda: not client.ede_codes(program.ask("n0.test", edns=True)), 5, "a fresh answer")
    assert time.monotonic() - began < 2 + 1
    answers = ask_at_once(program, names)
    assert not any(client.ede_codes(answer) for answer, _ in answers.values())


def test_a_fallback_that_serves_ends_stale_answers(start, upstream, make_upstream):
    other = make_upstream()
    program = start(upstream, up={"fallback": "other"}, sections={"upstream other": other.options()})
    program.upstream = upstream
    names = [f"n{i}.test" for i in range(10)]
    expire(program, names)
    die(upstream, "killed")
    answers = ask_at_once(program, names[:5])
    assert all(client.addresses(answer) for answer, _ in answers.values())
    program.wait_log("fallback in use")
    for name in names:
        wait_until(lambda name=name: not client.ede_codes(program.ask(name, edns=True)), 1.5, "a fresh answer")
    assert {q.name for q in other.queries} >= set(names)


@pytest.mark.slow
def test_a_stale_answer_is_rechecked_after_30_seconds(run):
    """The upstream fails one name alone. For 30 s it is not asked for it; then once, while the client has its answer."""
    program = run(cache={"prefetch-top": 0})
    expire(program, ["bad.test"])
    program.upstream.behave("bad.test", behaviours.failure())
    assert client.ede_codes(program.ask("bad.test", edns=True)) == [3]
    failed = time.monotonic()
    asked = times_asked(program, "bad.test")
    while time.monotonic() < failed + 28.5:
        assert client.ede_codes(program.ask("bad.test", edns=True)) == [3]
        assert times_asked(program, "bad.test") == asked
        time.sleep(0.25)
    program.upstream.behave("bad.test", behaviours.delay(0.6))  # below the second after which it is asked again

    def asked_again():
        began = time.monotonic()
        assert client.ede_codes(program.ask("bad.test", edns=True)) == [3] and time.monotonic() - began < 0.5
        return times_asked(program, "bad.test") > asked

    wait_until(asked_again, 4, "the recheck")
    wait_until(lambda: not client.ede_codes(program.ask("bad.test", edns=True)), 3, "the fresh answer")
    assert times_asked(program, "bad.test") == asked + 1


@pytest.mark.slow
def test_late_refreshes_take_no_room_from_clients(run):
    """Flights whose clients had a stale answer go on, but others get their places."""
    names = [f"late{i}.test" for i in range(24)]
    program = run(limits={"in-flight": 8, "stale-after": 200, "timeout": 4000}, cache={"prefetch-top": 0})
    expire(program, names)
    for name in names:
        program.upstream.behave(name, behaviours.drop())
    for i in range(0, len(names), 8):
        answers = ask_at_once(program, names[i : i + 8])
        assert all(client.ede_codes(answer) == [3] for answer, _ in answers.values())
    clients = [f"client{i}.test" for i in range(8)]
    for name in clients:
        program.upstream.behave(name, behaviours.delay(0.1))
    answers = ask_at_once(program, clients)
    assert all(answer.rcode() == wire.NOERROR for answer, _ in answers.values())
    wait_until(lambda: program.counter("in_flight") == 0, 5, "no query to be left in flight")


def test_a_stop_does_not_wait_for_a_refresh(run):
    program = run(limits={"stale-after": 200, "timeout": 20000})
    expire(program, ["late.test"])
    program.upstream.behave("late.test", behaviours.drop())
    assert client.ede_codes(program.ask("late.test", edns=True)) == [3]
    began = time.monotonic()
    program.stop()
    assert time.monotonic() - began < 2


# Failures -------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_question_that_goes_on_failing_is_asked_less_often(run):
    """At once, after 5 s, and after 10 s more."""
    program = run()
    program.upstream.behave("bad.test", behaviours.failure())
    began = time.monotonic()
    while time.monotonic() < began + 17.5:
        assert program.ask("bad.test").rcode() == wire.SERVFAIL
        time.sleep(0.1)
    moments = [q.time - program.upstream.asked("bad.test")[0].time for q in program.upstream.asked("bad.test")]
    assert len(moments) == 3, moments
    assert 3.9 < moments[1] < 7 and 8.9 < moments[2] - moments[1] < 12


@pytest.mark.slow
@pytest.mark.parametrize("auth", ["pin", "plain"])
@pytest.mark.parametrize("failing", [behaviours.failure(), behaviours.drop()], ids=["servfail", "mute"])
def test_no_question_is_asked_a_fourth_time_while_it_fails(start, upstream, auth, failing):
    program = start(upstream, auth=auth, limits={"timeout": 3500})
    upstream.behave("bad.test", failing)
    began = time.monotonic()
    while time.monotonic() < began + 7:
        assert program.ask("bad.test").rcode() == wire.SERVFAIL
        time.sleep(0.05)
    asked = [q.time for q in upstream.asked("bad.test")]
    first_window = [t for t in asked if t < asked[0] + 4.9]
    assert 1 <= len(first_window) <= 3


def test_a_failure_is_forgotten_when_the_upstream_is_back(run):
    program = run(limits={"timeout": 2500})
    program.upstream.mode = "stall-answers"
    assert program.ask("name.test").rcode() == wire.SERVFAIL
    assert program.ask("name.test").rcode() == wire.SERVFAIL
    program.upstream.mode = "serve"
    began = time.monotonic()
    wait_until(lambda: program.ask("name.test").rcode() == wire.NOERROR, 5, "an answer")
    assert time.monotonic() - began < 3


@pytest.mark.slow
def test_an_answer_resets_the_memory_of_failures(run):
    """It fails twice, is answered (with TTL 0, so nothing is kept), and the next failure is the first again."""
    program = run()
    program.upstream.behave("bad.test", behaviours.failure())
    wait_until(lambda: program.ask("bad.test") and times_asked(program, "bad.test") == 2, 8, "the second failure")
    program.upstream.behave("bad.test", behaviours.proper(ttl=0))
    wait_until(lambda: program.ask("bad.test").rcode() == wire.NOERROR, 13, "an answer")
    program.upstream.behave("bad.test", behaviours.failure())
    assert program.ask("bad.test").rcode() == wire.SERVFAIL
    program.upstream.behave("bad.test", behaviours.proper())
    began = time.monotonic()
    wait_until(lambda: program.ask("bad.test").rcode() == wire.NOERROR, 9, "the failure to be forgotten")
    assert time.monotonic() - began < 7

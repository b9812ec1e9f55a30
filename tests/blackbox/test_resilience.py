"""Resilience: what happens when addresses of an upstream are slow, hang, die, lie, come back, or are all gone.

Each line of what is promised, and where it is shown ("f:" test_forwarding.py, "i:" test_identity.py, "s:"
test_stale_and_prefetch.py; the sums themselves are in tests/unit: test_latency.c, test_selection.c, test_fallback.c):

smoothed RTT, least loaded among equals    test_the_nearer_address_is_preferred (f:), test_equal_addresses_share_the_load
a recovered address is found               test_an_address_that_became_the_faster_one_is_found
policy fastest, round-robin, ordered       test_round_robin_asks_each_in_turn, test_ordered_asks_the_first_that_serves
failing comes last under each policy       test_an_address_that_hangs_is_left_under_each_policy
health: traffic, and probes when idle      test_a_plain_upstream_that_comes_back_is_found_without_a_client,
                                           test_an_upstream_that_comes_back_serves_within_two_seconds
... tried often enough for that            test_an_upstream_that_swallows_everything_is_tried_often_enough
... and after a mismatch                   test_a_mended_certificate_is_seen_long_before_the_next_revalidation
... nothing waits for a group without proof test_a_group_that_nobody_can_prove_fails_at_once
the last address is never given up         test_after_a_black_hole_service_is_back_within_five_seconds (f:)
hedging at the 95th percentile             test_a_late_answer_is_asked_of_a_second_address, test_a_late_datagram_is_hedged_too
... after what is usual in the group       test_an_address_that_is_slow_is_hedged_after_the_time_of_the_other
... alone: another datagram                test_a_lost_datagram_of_the_only_address_is_asked_again
... but no second time on a connection     test_one_address_alone_is_never_hedged_on_a_connection
... the budget is 5 %                      test_hedges_stay_within_their_budget
... counted where it happens               test_what_happens_at_an_address_is_counted_there
... the first valid answer wins            test_a_failure_does_not_win_over_an_answer_that_is_on_its_way
a hung upstream is left within 1 s         test_an_address_that_hangs_is_left_under_each_policy, test_real_servers_...[hung]
... a slow name is no hung upstream        test_a_name_that_is_slow_everywhere_takes_no_address_out
half-open connections                      test_a_network_that_changes_heals[source], test_a_connection_that_leads_nowhere_is_replaced
FIN, RST, close_notify lose nothing        test_a_close_in_the_middle_of_a_burst_loses_nothing (f:)
one question, so many attempts             test_one_question_never_causes_more_than_eight_upstream_queries
fallback, with hysteresis, loud, counted   test_a_fallback_serves_while_nobody_else_does
... of an upstream that hangs              test_what_waits_for_a_hung_upstream_goes_to_the_fallback
... not while one address serves           test_a_fallback_is_not_asked_while_one_address_serves
... one step only                          test_two_upstreams_may_be_each_others_fallback
plain text never by itself                 test_plain_text_is_never_used_by_itself
... not after an identity mismatch         test_a_plain_fallback_is_not_used_after_an_identity_mismatch,
                                           test_a_plain_fallback_is_used_after_a_mismatch_if_the_operator_says_so
... a DoT fallback proves itself           test_a_fallback_that_proves_itself_serves_after_a_mismatch
split horizon                              test_names_of_a_zone_whose_upstream_is_down_stay_there
two addresses, one killed, hung, changed   test_real_servers_one_of_two_fails_in_use
all dead, warm cache                       s:
back: fresh within 2 s                     test_an_upstream_that_comes_back_serves_within_two_seconds
a network change heals                     test_a_network_that_changes_heals
"""

import contextlib
import itertools
import json
import os
import re
import signal
import time
import urllib.request

import pytest

from harness import behaviours, client, wire
from harness.fake import FakeServer
from harness.network import TwoNetworks, own_network
from harness.program import run
from harness.servers import ADDRESS, ZONE, Server
from harness.waiting import stays, wait_until

WORST_S = 1.2  # what a client may wait at most when one of two addresses fails
QUESTION_ASKS = 8  # upstream queries that one question may cause
FALLBACK_BEGINS_S = 1.0
AT_ONCE_S = 1.0  # an answer that waits for nobody, on a busy machine
STALE, NO_REACHABLE_AUTHORITY = 3, 22  # RFC 8914


def right(answer, name):
    return answer.rcode() == wire.NOERROR and client.addresses(answer) == [wire.address_of(name)]


def names_of(server):
    return [q.name for q in list(server.queries) if q.name]


def shares(servers):
    counts = [len(names_of(s)) for s in servers]
    return [count / max(1, sum(counts)) for count in counts]


def rows(program):
    """What `nodedot status --json` tells of each address, by "ADDRESS:PORT"."""
    shown = json.loads(run("status", "-c", program.file, "--json").stdout)
    return {row["address"]: row for group in shown["upstreams"] for row in group["addresses"]}


def warm_up(program, count=60):
    """Enough answers for every address to know what is usual."""
    for i in range(count):
        assert right(program.ask(f"warm{i}.test"), f"warm{i}.test")


def answered(program, prefix):
    """A condition: a name that was never asked is answered."""
    numbers = itertools.count()

    def ask():
        name = f"{prefix}{next(numbers)}.test"
        return right(program.ask(name), name)

    return ask


@pytest.fixture
def pair(make_upstream, authority):
    """Two servers with one certificate."""
    certificate = authority.issue("dot.test")
    return [make_upstream(certificate), make_upstream(certificate)]


# Selection --------------------------------------------------------------------------------------------------------------------


def test_equal_addresses_share_the_load(start, pair):
    for server in pair:
        server.default = behaviours.delay(0.02)
    program = start(*pair)
    with program.load(200) as load:
        wait_until(lambda: min(len(names_of(s)) for s in pair) > 100, 8, "both to have a good part of the questions")
    assert not load.lost and not load.wrong
    assert min(shares(pair)) > 0.1


def test_an_address_that_became_the_faster_one_is_found(start, pair):
    far, near = pair
    far.default, near.default = behaviours.delay(0.06), behaviours.delay(0.03)
    program = start(far, near)
    with program.load(400) as load:
        time.sleep(1)
        assert shares(pair)[1] > 0.6
        far.default = behaviours.delay(0.005)

        def found():
            before = [len(names_of(s)) for s in pair]
            time.sleep(0.25)
            asked = [len(names_of(s)) - count for s, count in zip(pair, before)]
            return asked[0] > 2 * asked[1]

        wait_until(found, 20, "the faster address to get most queries")
    assert not load.lost and not load.wrong


def test_round_robin_asks_each_in_turn(start, pair):
    pair[0].default = behaviours.delay(0.004)
    program = start(*pair, up={"policy": "round-robin"})
    program.wait_counter("handshakes_full_total", 2)  # ready is it with one of them
    for i in range(40):
        assert right(program.ask(f"turn{i}.test"), f"turn{i}.test")
    asked = [sum(name.startswith("turn") for name in names_of(s)) for s in pair]
    assert abs(asked[0] - asked[1]) <= 1 + 2 * program.counter("hedges_total")  # each asks one twice, and may shift the turn


def test_ordered_asks_the_first_that_serves(start, pair):
    first, second = pair
    first.default = behaviours.delay(0.03)  # so that what a busy machine adds is seldom late enough for a hedge
    program = start(first, second, up={"policy": "ordered"})
    for i in range(20):
        assert right(program.ask(f"one{i}.test"), f"one{i}.test")
    assert len(names_of(second)) <= program.counter("hedges_total") < 10
    first.stop_listening()
    first.close_connections("fin")
    for i in range(20):
        assert right(program.ask(f"two{i}.test"), f"two{i}.test")
    assert len(names_of(second)) >= 19
    first.listen_again()

    def used_again():
        before = len(names_of(first))
        return answered(program, f"back{time.monotonic()}")() and len(names_of(first)) > before

    wait_until(used_again, 5, "the first address to be asked again")
    before = len(names_of(second)) - program.counter("hedges_total")
    for i in range(20):
        assert right(program.ask(f"three{i}.test"), f"three{i}.test")
    assert len(names_of(second)) - program.counter("hedges_total") <= before


@pytest.mark.parametrize("policy, workers", [("fastest", 1), ("fastest", 2), ("round-robin", 1), ("ordered", 1)])
def test_an_address_that_hangs_is_left_under_each_policy(start, pair, policy, workers):
    """It accepts, shakes hands, takes queries and answers none. Then it goes on, and is asked again."""
    program = start(*pair, up={"policy": policy}, server={"workers": workers})
    with program.load(200) as load:
        time.sleep(0.7)
        pair[0].mode = "stall-answers"
        time.sleep(1.5)
        asked = len(names_of(pair[0]))
        time.sleep(0.5)
        left = len(names_of(pair[0])) - asked
        pair[0].mode = "serve"
        wait_until(lambda: len(names_of(pair[0])) > asked + 3, 15, "the address to be asked again")
    assert not load.lost and not load.wrong
    assert left <= 5 * workers, "nothing but a probe is sent to an address that hangs"
    assert max(load.latencies) < WORST_S and load.percentile(0.99) < 0.5
    counters = program.counters()
    assert counters["upstream_queries_total"] < load.sent * 1.08 + 30


# Hedging ----------------------------------------------------------------------------------------------------------------------


def test_a_late_answer_is_asked_of_a_second_address(start, pair):
    program = start(*pair, up={"policy": "ordered"})
    warm_up(program)
    pair[0].behave("late.test", behaviours.delay(0.8))
    began = time.monotonic()
    assert right(program.ask("late.test"), "late.test")
    assert time.monotonic() - began < 0.5
    assert len(pair[0].asked("late.test")) == len(pair[1].asked("late.test")) == 1
    counters = program.counters()
    assert counters["hedges_total"] >= 1 and counters["hedges_won_total"] >= 1


def test_a_late_datagram_is_hedged_too(start, pair):
    program = start(*pair, auth="plain", up={"policy": "ordered"})
    warm_up(program)
    pair[0].behave("late.test", behaviours.drop())
    began = time.monotonic()
    assert right(program.ask("late.test"), "late.test")
    assert time.monotonic() - began < 0.5
    assert len(pair[0].asked("late.test")) == len(pair[1].asked("late.test")) == 1
    assert program.counter("hedges_won_total") >= 1


def test_an_address_that_is_slow_is_hedged_after_the_time_of_the_other(start, pair):
    """What is usual there would be no reason to ask anybody else."""
    pair[0].default = behaviours.delay(0.4)
    program = start(*pair, up={"policy": "ordered"})
    names = [f"slow{i}.test" for i in range(8)]  # fewer than the hedges saved up
    for name in names:
        assert right(program.ask(name), name)
    assert all(len(pair[1].asked(name)) == 1 for name in names)
    assert program.counter("hedges_won_total") >= len(names) - 1


def test_a_late_answer_is_counted_as_late_and_to_its_credit(start, pair):
    """The first address answers each question after the second one did: it is slow, it does not hang."""
    pair[0].default = behaviours.delay(0.3)  # longer than what is taken for usual while nothing is known
    program = start(*pair, up={"policy": "ordered"})
    for i in range(8):
        assert right(program.ask(f"slow{i}.test"), f"slow{i}.test")
    wait_until(lambda: program.counter("upstream_late_total") >= 4, 5, "late answers")
    assert program.counter("upstream_mismatched_total") == 0
    assert "others answer, it does not" not in program.log()
    assert len(pair[0].asked("slow7.test")) == 1


def test_a_lost_datagram_of_the_only_address_is_asked_again(start, upstream):
    """From another port with another ID, long before the second try after a second."""
    program = start(upstream, auth="plain")
    warm_up(program)
    turns = itertools.cycle([behaviours.drop(), behaviours.proper()])
    upstream.behave("lost.test", lambda q: next(turns)(q))
    assert right(program.ask("lost.test"), "lost.test")
    first, second = upstream.asked("lost.test")
    assert first.peer != second.peer and first.id != second.id
    counters = program.counters()
    assert counters["hedges_won_total"] == 1 and counters["upstream_retries_total"] == 0
    assert counters["upstream_mismatched_total"] == 0


def test_one_address_alone_is_never_hedged_on_a_connection(nodedot):
    warm_up(nodedot)
    nodedot.upstream.behave("late.test", behaviours.delay(0.6))
    assert right(nodedot.ask("late.test"), "late.test")
    assert len(nodedot.upstream.asked("late.test")) == 1
    assert nodedot.counter("hedges_total") == 0


def test_hedges_stay_within_their_budget(start, pair):
    """Half of all answers are much later than the other half: every other question is late at some moment."""
    for server in pair:
        turns = itertools.cycle([behaviours.delay(0.001), behaviours.delay(0.15)])
        server.default = lambda q, turns=turns: next(turns)(q)
    program = start(*pair)
    with program.load(250) as load:
        time.sleep(3)
    assert not load.lost and not load.wrong
    counters = program.counters()
    assert counters["hedges_total"] <= load.sent * 0.05 + 11
    assert counters["upstream_queries_total"] <= load.sent * 1.08 + 20


def test_a_failure_does_not_win_over_an_answer_that_is_on_its_way(start, pair):
    program = start(*pair, up={"policy": "ordered"})
    warm_up(program)
    pair[0].behave("fails.test", behaviours.delay(0.15, behaviours.failure()))
    pair[1].behave("fails.test", behaviours.delay(0.4))
    assert right(program.ask("fails.test"), "fails.test")
    assert len(pair[0].asked("fails.test")) == len(pair[1].asked("fails.test")) == 1


def test_a_name_that_is_slow_everywhere_takes_no_address_out(start, pair):
    for server in pair:
        for i in range(40):
            server.behave(f"slow{i}.test", behaviours.delay(0.4))
    program = start(*pair, up={"policy": "ordered"})
    warm_up(program)
    before, failures = program.counters(), {a: row["failures"] for a, row in rows(program).items()}
    with program.udp() as udp:
        for i in range(40):
            udp.send(wire.query(f"slow{i}.test", id=i))
            time.sleep(0.01)
        for _ in range(40):
            assert udp.receive()[3] & 15 == wire.NOERROR
    after = program.counters()
    assert failures and {a: row["failures"] for a, row in rows(program).items()} == failures
    assert after["upstream_connects_total"] == before["upstream_connects_total"]
    assert after["hedges_total"] - before["hedges_total"] <= 12


def test_what_happens_at_an_address_is_counted_there(start, pair, make_config):
    config = make_config(*pair, up={"policy": "ordered"})
    host = config["server"]["listen"].rpartition(":")[0]
    config["metrics"] = {"listen": f"{host}:9553"}
    program = start(config=config)
    warm_up(program)
    pair[0].behave("late.test", behaviours.drop())
    assert right(program.ask("late.test"), "late.test")
    with urllib.request.urlopen(f"http://{host}:9553/metrics", timeout=5) as answer:
        text = answer.read().decode()

    def value(name, server, more=""):
        where = re.escape(server.options()["address"])
        found = re.search(rf'(?m)^nodedot_{name}{{[^}}]*address="{where}"[^}}]*{more}[^}}]*}} (\S+)$', text)
        return float(found[1]) if found else None

    first, second = pair
    assert value("upstream_hedges_total", second) >= 1 and value("upstream_hedges_total", first) == 0
    assert value("upstream_queries_total", first) >= 61
    assert value("upstream_request_duration_seconds_count", first) >= 60
    assert value("upstream_connections", first) >= 1 and value("upstream_connects_total", first) >= 1
    assert value("upstream_handshakes_total", first, 'type="full"') >= 1
    padded = [q for q in list(first.queries) if q.name]
    assert value("upstream_padding_bytes_total", first) >= sum(len(q.options[wire.PADDING]) for q in padded) > 0


# Half-open connections --------------------------------------------------------------------------------------------------------


def test_a_connection_that_leads_nowhere_is_replaced(start, upstream):
    """Octets are taken and nobody reads them, as behind a middlebox that forgot the connection; a new one is well."""
    program = start(upstream)
    assert right(program.ask("before.test"), "before.test")
    for connection in upstream.open_connections():
        upstream.call(lambda c=connection: upstream.ignore(c))
    began = time.monotonic()
    assert right(program.ask("first.test"), "first.test")
    assert time.monotonic() - began < 2.5
    began = time.monotonic()
    for i in range(20):
        assert right(program.ask(f"then{i}.test"), f"then{i}.test")
    assert time.monotonic() - began < 1


# One question -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["silent", "closes", "resets", "fails", "without-edns", "truncates"])
def test_one_question_never_causes_more_than_eight_upstream_queries(start, pair, how):
    behaviour = {
        "silent": behaviours.drop(),
        "closes": lambda q: [behaviours.Close("fin")],
        "resets": lambda q: [behaviours.Close("rst")],
        "fails": behaviours.failure(),
        "without-edns": behaviours.failure(wire.FORMERR, edns=False),
        "truncates": lambda q: [behaviours.Reply(wire.answer(q, flags=wire.RD | wire.RA | wire.TC))]
        if q.transport == "udp"
        else [],
    }[how]
    for server in pair:
        server.behave("bad.test", behaviour)
    program = start(*pair, auth="plain" if how == "truncates" else "pin", limits={"timeout": 3500})
    assert program.ask("bad.test").rcode() in (wire.SERVFAIL, wire.FORMERR)
    assert right(program.ask("good.test"), "good.test")
    assert sum(len(s.asked("bad.test")) for s in pair) <= QUESTION_ASKS


# Fallback ---------------------------------------------------------------------------------------------------------------------


def fall_back(start, upstream, other, other_auth="pin", up=None, sections=None, **more):
    return start(
        upstream,
        up={"fallback": "other", **(up or {})},
        sections={"upstream other": other.options(other_auth), **(sections or {})},
        **more,
    )


def die(server):
    server.stop_listening()
    server.close_connections("rst")


def test_a_fallback_serves_while_nobody_else_does(start, upstream, make_upstream):
    other = make_upstream()
    program = fall_back(start, upstream, other)
    assert right(program.ask("before.test"), "before.test")
    assert not names_of(other)
    die(upstream)
    began = time.monotonic()
    assert right(program.ask("waits.test"), "waits.test"), "what waits goes there as soon as it serves"
    assert FALLBACK_BEGINS_S - 0.2 < time.monotonic() - began < FALLBACK_BEGINS_S + 1.5
    program.wait_log(r"level=warn .*fallback in use.*upstream=up fallback=other")
    for i in range(10):
        assert right(program.ask(f"during{i}.test"), f"during{i}.test")
    assert len(names_of(other)) == 11 and program.counter("fallback_queries_total") == 11
    wait_until(program.is_ready, 3, "readiness: the fallback serves")
    upstream.listen_again()
    back = time.monotonic()
    time.sleep(2)
    assert right(program.ask("still.test"), "still.test")
    assert other.asked("still.test") and not upstream.asked("still.test"), "it must last before it counts"
    program.wait_log(r"level=warn .*fallback no longer used", 15)
    assert time.monotonic() - back > 4
    assert right(program.ask("after.test"), "after.test")
    assert upstream.asked("after.test") and not other.asked("after.test")
    assert len(re.findall("fallback in use", program.log())) == 1


def test_what_failed_before_the_fallback_served_is_asked_of_it(start, upstream, make_upstream):
    other = make_upstream()
    upstream.behave("failed.test", behaviours.drop())
    program = fall_back(start, upstream, other, limits={"timeout": 2500})
    assert program.ask("failed.test").rcode() == wire.SERVFAIL
    die(upstream)
    assert right(program.ask("waits.test"), "waits.test")
    assert right(program.ask("failed.test"), "failed.test"), "the failure is remembered for 5 s, but void"


def test_a_plain_upstream_may_have_a_fallback_too(start, upstream, make_upstream):
    other = make_upstream()
    program = fall_back(start, upstream, other, auth="plain")
    warm_up(program, 3)
    upstream.mode = "stall-answers"
    assert right(program.ask("waits.test"), "waits.test") and other.asked("waits.test")
    upstream.mode = "serve"
    program.wait_log("fallback no longer used", 15)
    assert right(program.ask("after.test"), "after.test") and upstream.asked("after.test")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_waits_for_a_hung_upstream_goes_to_the_fallback(start, upstream, make_upstream, workers):
    other = make_upstream()
    program = fall_back(start, upstream, other, server={"workers": workers})
    warm_up(program, 5)
    upstream.mode = "stall-answers"
    with contextlib.ExitStack() as stack:  # from many ports, so that each worker has its part
        clients = [stack.enter_context(program.udp()) for _ in range(20)]
        for i, udp in enumerate(clients):
            udp.send(wire.query(f"wait{i}.test"))
        for udp in clients:
            assert udp.receive(3.8)[3] & 15 == wire.NOERROR
    assert len(names_of(other)) == 20
    began = time.monotonic()
    assert right(program.ask("then.test"), "then.test")
    assert time.monotonic() - began < 0.5


def test_a_fallback_is_not_asked_while_one_address_serves(start, pair, make_upstream):
    other = make_upstream()
    program = start(*pair, up={"fallback": "other"}, sections={"upstream other": other.options()})
    die(pair[0])
    end = time.monotonic() + 2.5
    for i in itertools.count():
        assert right(program.ask(f"one{i}.test"), f"one{i}.test")
        if time.monotonic() > end:
            break
    assert not names_of(other) and program.counter("fallback_queries_total") == 0


def test_two_upstreams_may_be_each_others_fallback(start, upstream, make_upstream):
    other = make_upstream()
    sections = {
        "upstream other": {**other.options(), "fallback": "up"},
        "zone other.test": {"upstream": "other"},
    }
    program = start(upstream, up={"fallback": "other"}, sections=sections)
    assert right(program.ask("a.other.test"), "a.other.test") and other.asked("a.other.test")
    die(upstream)
    assert right(program.ask("a.test"), "a.test") and other.asked("a.test")
    die(other)
    began = time.monotonic()
    assert program.ask("b.test").rcode() == wire.SERVFAIL
    assert time.monotonic() - began < 4.8
    other.listen_again()
    wait_until(answered(program, "c"), 6, "the fallback to be back")
    assert other.asked("a.other.test") and names_of(other)


def test_plain_text_is_never_used_by_itself(start, upstream):
    """The same server would answer over UDP and TCP."""
    program = start(upstream)
    upstream.mode = "reset"
    upstream.close_connections("rst")
    assert program.ask("secret.test").rcode() == wire.SERVFAIL
    time.sleep(2)
    assert program.ask("secret2.test").rcode() == wire.SERVFAIL
    assert {q.transport for q in list(upstream.queries)} <= {"dot"}


def mismatch(program, upstream, authority):
    upstream.use_certificate(authority.issue("dot.test"))
    upstream.close_connections("rst")
    with program.udp() as udp:
        udp.send(wire.query("poke.test"))
        program.wait_log("removed from service")


def test_a_plain_fallback_serves_and_is_named_so(start, upstream, make_upstream):
    other = make_upstream()
    program = fall_back(start, upstream, other, "plain")
    die(upstream)
    assert right(program.ask("waits.test"), "waits.test")
    assert other.asked("waits.test")[0].transport == "udp"
    program.wait_log(r"level=warn .*UNENCRYPTED.*upstream=up fallback=other")


def test_a_plain_fallback_is_not_used_after_an_identity_mismatch(start, upstream, make_upstream, authority):
    other = make_upstream()
    program = fall_back(start, upstream, other, "plain")
    mismatch(program, upstream, authority)
    end = time.monotonic() + FALLBACK_BEGINS_S + 1.5
    for i in itertools.count():
        began = time.monotonic()
        assert program.ask(f"secret{i}.test").rcode() == wire.SERVFAIL
        assert time.monotonic() - began < 1
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    assert not names_of(other)
    program.wait_log(r"level=warn .*plain fallback is not used.*identity mismatch")
    assert program.counter("fallback_queries_total") == 0


def test_a_plain_fallback_is_used_after_a_mismatch_if_the_operator_says_so(start, upstream, make_upstream, authority):
    other = make_upstream()
    program = fall_back(start, upstream, other, "plain", up={"fallback-on-mismatch": "yes"})
    mismatch(program, upstream, authority)
    assert right(program.ask("a.test"), "a.test") and other.asked("a.test")


def test_a_fallback_that_proves_itself_serves_after_a_mismatch(start, upstream, make_upstream, authority):
    other = make_upstream()
    program = fall_back(start, upstream, other)
    mismatch(program, upstream, authority)
    assert right(program.ask("a.test"), "a.test") and other.asked("a.test")


def test_names_of_a_zone_whose_upstream_is_down_stay_there(start, upstream, make_upstream):
    """Neither the zone above nor its fallback ever sees them."""
    inner, other = make_upstream(), make_upstream()
    sections = {
        "upstream other": other.options(),
        "upstream inner": inner.options(),
        "zone inner.test": {"upstream": "inner"},
    }
    program = start(upstream, up={"fallback": "other"}, sections=sections)
    assert right(program.ask("a.inner.test"), "a.inner.test")
    die(inner)
    for i in range(3):
        assert program.ask(f"secret{i}.inner.test").rcode() == wire.SERVFAIL
    die(upstream)
    assert right(program.ask("public.test"), "public.test")  # by the fallback
    for i in range(3, 6):
        assert program.ask(f"secret{i}.inner.test").rcode() == wire.SERVFAIL
    assert not [name for s in (upstream, other) for name in names_of(s) if name.endswith("inner.test")]


# Coming back ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", ["pin", "plain"])
def test_an_upstream_that_comes_back_serves_within_two_seconds(start, upstream, auth):
    program = start(upstream, auth=auth)
    die(upstream)
    end = time.monotonic() + 4  # the pauses between tries have grown to their longest by then
    for i in itertools.count():
        program.ask(f"during{i}.test")
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    upstream.listen_again()
    began = time.monotonic()
    wait_until(answered(program, "back"), 10, "service to be back")
    assert time.monotonic() - began < 2.5
    wait_until(program.is_ready, 2, "readiness to be back")


@pytest.mark.slow
def test_an_upstream_that_swallows_everything_is_tried_often_enough(start, upstream):
    """What it was asked while it hung, it will never answer. A try takes a second, and the pause after it is the shorter."""
    program = start(upstream)
    upstream.mode = "stall-answers"
    program.ask("lost.test")

    def probes():
        return len([q for q in list(upstream.queries) if not q.name])

    wait_until(lambda: probes() >= 5, 20, "the pauses to have grown")
    times = []
    while len(times) < 4:
        seen = probes()
        wait_until(lambda: probes() > seen, 5, "another try")
        times.append(time.monotonic())
    gaps = sorted(after - before for before, after in zip(times, times[1:]))
    assert 1.2 < gaps[1] < 1.9, gaps  # two of three


def test_a_plain_upstream_that_comes_back_is_found_without_a_client(start, upstream):
    program = start(upstream, auth="plain")
    upstream.stop_listening()
    program.ask("during.test")
    program.wait_not_ready(10)
    upstream.listen_again()
    program.wait_ready(4)


@pytest.mark.parametrize("others", [0, 1])
def test_a_mended_certificate_is_seen_long_before_the_next_revalidation(start, make_upstream, authority, others):
    certificate = authority.issue("dot.test")
    servers = [make_upstream(certificate) for _ in range(1 + others)]
    program = start(*servers, up={"revalidate": 3600, "policy": "ordered"})
    mismatch(program, servers[0], authority)
    where = servers[0].options()["address"]
    assert rows(program)[where]["state"] == "mismatch"
    servers[0].use_certificate(certificate)
    wait_until(lambda: rows(program)[where]["state"] == "valid", 7 if others else 3, "the address to be valid again")
    wait_until(answered(program, "after"), 2, "service to be back")


# Nobody to ask ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noticed", ["connection", "revalidation"])
@pytest.mark.parametrize("others", [0, 1])
def test_a_group_that_nobody_can_prove_fails_at_once(start, make_upstream, authority, others, noticed):
    """Every address shows a wrong certificate. What was out, and what comes then, has its stale answer or SERVFAIL at once,
    though the time-out is long; whether a worker's connection found it or a revalidation."""
    certificate = authority.issue("dot.test")
    servers = [make_upstream(certificate) for _ in range(1 + others)]
    program = start(
        *servers,
        up={"revalidate": 1 if noticed == "revalidation" else 3600},
        limits={"timeout": 20000, "stale-after": 15000},
        server={"workers": 2},
    )
    for server in servers:
        server.behave("old.test", behaviours.proper(ttl=1))
    assert right(program.ask("old.test"), "old.test")
    time.sleep(2.1)
    for server in servers:
        server.default = behaviours.drop()
        server.behave("old.test", behaviours.drop())
    with program.udp() as new, program.udp() as old:
        new.send(wire.query("out.test", edns=wire.opt()))
        old.send(wire.query("old.test", edns=wire.opt()))
        wait_until(lambda: all(any(s.asked(n) for s in servers) for n in ("out.test", "old.test")), 5, "both to be out")
        for server in servers:
            server.use_certificate(authority.issue("dot.test"))
            if noticed == "connection":
                server.close_connections("rst")
        program.wait_not_ready(10)
        fails, stale = (client.parse(udp.receive(AT_ONCE_S)) for udp in (new, old))
    assert fails.rcode() == wire.SERVFAIL and client.ede_codes(fails) == [NO_REACHABLE_AUTHORITY]
    assert right(stale, "old.test") and client.ede_codes(stale) == [STALE]
    asked = [len(s.queries) for s in servers]
    for i in range(10):
        began = time.monotonic()
        answer = program.ask(f"later{i}.test", edns=True)
        assert answer.rcode() == wire.SERVFAIL and client.ede_codes(answer) == [NO_REACHABLE_AUTHORITY]
        assert right(program.ask("old.test"), "old.test")
        assert time.monotonic() - began < AT_ONCE_S
    assert [len(s.queries) for s in servers] == asked


# Real servers -----------------------------------------------------------------------------------------------------------------


class Steady(client.Load):
    """A load whose right answer is the one address that the real servers give."""

    def _account(self, number, data):
        super()._account(number, data)
        if self.wrong and self.wrong[-1][1] is data and not data[3] & 15 and data.endswith(ADDRESS_OCTETS):
            self.wrong.pop()


ADDRESS_OCTETS = bytes(map(int, ADDRESS.split(".")))


@pytest.mark.needs_server("unbound")
@pytest.mark.quiet
@pytest.mark.parametrize("loss", ["killed", "hung", "wrong-certificate"])
def test_real_servers_one_of_two_fails_in_use(start, make_config, tmp_path, address, authority, loss):
    certificate = authority.issue("dot.test")
    servers = [Server("unbound", tmp_path / f"unbound{i}", address(), certificate) for i in range(2)]
    config = make_config()
    config["upstream up"] = {
        **servers[0].options(),
        "address": ", ".join(s.options()["address"] for s in servers),
        "revalidate": 10,
    }
    config["zone ."] = {"upstream": "up"}
    program = start(config=config)
    try:
        with Steady(program.address, program.port, 250, client.distinct_names(suffix=ZONE)) as load:
            time.sleep(1)
            used = rows(program)
            lost = max(servers, key=lambda s: used[s.options()["address"]]["queries"])
            os.kill(lost.process.pid, signal.SIGSTOP if loss == "hung" else signal.SIGKILL)
            if loss == "wrong-certificate":
                lost.process.wait()
                servers.append(
                    Server("unbound", tmp_path / "changed", lost.address, authority.issue("dot.test"))
                )
            time.sleep(2.5)
            if loss == "hung":
                os.kill(lost.process.pid, signal.SIGCONT)
            time.sleep(1)
        assert not load.lost and not load.wrong
        assert max(load.latencies) < WORST_S
        assert program.counter("upstream_queries_total") < load.sent * 1.05 + 60
        if loss == "wrong-certificate":
            program.wait_log("removed from service")
        if loss == "hung":
            address_of_lost = lost.options()["address"]
            wait_until(lambda: rows(program)[address_of_lost]["state"] == "valid", 10, "it to be well again")
    finally:
        for server in servers:
            if server.process.poll() is None:
                os.kill(server.process.pid, signal.SIGCONT)
                server.stop()


# A network change -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def networks():
    with own_network(), TwoNetworks() as networks:
        yield networks


@pytest.mark.needs_root
@pytest.mark.parametrize("change", ["route", "source", "interface"])
@pytest.mark.parametrize("auth", ["pin", "plain"])
def test_a_network_that_changes_heals(start, networks, authority, auth, change):
    """The upstream is on another network; the way there is lost, our address there changes, the interface goes down and up.
    Nothing is restarted, and service is back about as soon as the network is."""
    certificate = authority.issue("dot.test")
    with networks.outside():
        upstream = FakeServer(networks.SERVER, certificate)
    try:
        program = start(upstream, auth=auth)
        assert right(program.ask("before.test"), "before.test")
        if change == "route":
            networks.remove_route()
        elif change == "source":
            networks.change_source()
        else:
            networks.set_interface("down")
        if change != "source":
            end = time.monotonic() + 2
            for i in itertools.count():
                program.ask(f"during{i}.test")
                if time.monotonic() > end:
                    break
                time.sleep(0.05)
            if change == "interface":
                networks.set_interface("up")
            networks.add_route()
        began = time.monotonic()
        wait_until(answered(program, "after"), 8, "service to be back")
        assert time.monotonic() - began < 5
        began = time.monotonic()
        for i in range(20):
            assert right(program.ask(f"then{i}.test"), f"then{i}.test")
        assert time.monotonic() - began < 1
        wait_until(program.is_ready, 5, "readiness to be back")
        wait_until(lambda: program.counter("in_flight") == 0, 5, "nothing to be stuck")
        if auth == "pin" and change == "source":
            gone = networks.former_source()
            wait_until(
                lambda: not [c for c in networks.connections() if gone in c], 8, "the old connections to be given up"
            )
    finally:
        upstream.stop()


def test_nothing_is_asked_of_an_idle_group(nodedot):
    """Probes are for addresses that failed or that others of their group outdo; nobody is called without need."""
    nodedot.ask("a.test")
    count = len(nodedot.upstream.queries)
    stays(lambda: len(nodedot.upstream.queries) == count, 2, "the number of queries")

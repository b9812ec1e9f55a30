"""The cache: what is kept, for how long, and for whom."""

import struct
import time

import pytest

from harness import behaviours, client, wire
from harness.waiting import wait_until


def ttl_of(answer):
    return answer.answer[0].ttl


def times_asked(program, name):
    return len(program.upstream.asked(name))


@pytest.fixture
def with_cache(start, upstream):
    """A function that starts the program with keys for [cache] and more."""

    def make(**keys):
        more = {key: keys.pop(key) for key in ("limits", "sections", "up", "wait") if key in keys}
        program = start(upstream, cache={key.replace("_", "-"): value for key, value in keys.items()}, **more)
        program.upstream = upstream
        return program

    return make


# Hits and misses ------------------------------------------------------------------------------------------------------------


def test_the_second_answer_comes_from_the_cache(nodedot):
    first, second = nodedot.ask("a.test"), nodedot.ask("a.test", transport="tcp")
    assert client.addresses(first) == client.addresses(second) == [wire.address_of("a.test")]
    assert times_asked(nodedot, "a.test") == 1


def test_letter_case_does_not_matter(nodedot):
    nodedot.ask("CaSe.test")
    nodedot.ask("cAsE.TEST")
    assert times_asked(nodedot, "case.test") == 1


def test_type_do_and_cd_make_another_question(nodedot):
    for _ in range(2):
        nodedot.ask("key.test")
        nodedot.ask("key.test", "AAAA")
        nodedot.ask("key.test", do=True)
        nodedot.ask("key.test", cd=True)
        nodedot.ask("key.test", do=True, cd=True)
    assert times_asked(nodedot, "key.test") == 5


def test_names_that_differ_in_one_octet_are_kept_apart(nodedot):
    names = [f"{c}x.test" for c in "abcdefgh"] + ["x.test", "x.x.test", "xx.test"]
    for _ in range(2):
        for name in names:
            assert client.addresses(nodedot.ask(name)) == [wire.address_of(name)]
    assert all(times_asked(nodedot, name) == 1 for name in names)


def test_both_workers_share_it(start, upstream):
    program = start(upstream, server={"workers": 2})
    for _ in range(30):  # from ever other ports, so both workers are asked
        program.ask("shared.test")
    assert len(upstream.asked("shared.test")) == 1


def test_a_hit_needs_no_upstream(nodedot):
    nodedot.ask("a.test")
    nodedot.upstream.stop_listening()
    nodedot.upstream.close_connections()
    assert client.addresses(nodedot.ask("a.test")) == [wire.address_of("a.test")]


# TTL ------------------------------------------------------------------------------------------------------------------------


def test_the_ttl_counts_down(nodedot):
    assert ttl_of(nodedot.ask("a.test")) == 300
    time.sleep(2.2)
    assert ttl_of(nodedot.ask("a.test")) in (297, 298)


def test_all_ttls_of_an_answer_count_down_together(nodedot):
    nodedot.upstream.behave(
        "chain.test",
        behaviours.records(
            lambda q: [
                wire.record(wire.CNAME, 50, wire.name_octets("target.test")),
                wire.record(wire.A, 300, b"\1\2\3\4", owner=wire.name_octets("target.test")),
            ]
        ),
    )
    nodedot.ask("chain.test")
    time.sleep(2.2)
    cname, a = nodedot.ask("chain.test").answer
    assert cname.ttl in (47, 48) and a.ttl == cname.ttl + 250


def test_an_expired_answer_is_asked_again(nodedot):
    nodedot.upstream.behave("short.test", behaviours.proper(ttl=1))
    nodedot.ask("short.test")
    time.sleep(2.1)
    assert ttl_of(nodedot.ask("short.test")) == 1
    assert times_asked(nodedot, "short.test") >= 2


def test_the_smallest_ttl_of_an_answer_counts(nodedot):
    nodedot.upstream.behave(
        "mixed.test",
        behaviours.records(
            lambda q: [
                wire.record(wire.CNAME, 1, wire.name_octets("target.test")),
                wire.record(wire.A, 300, b"\1\2\3\4", owner=wire.name_octets("target.test")),
            ]
        ),
    )
    nodedot.ask("mixed.test")
    time.sleep(2.1)
    nodedot.ask("mixed.test")
    assert times_asked(nodedot, "mixed.test") >= 2


def test_a_ttl_of_0_is_passed_on_and_not_kept(nodedot):
    nodedot.upstream.behave("zero.test", behaviours.proper(ttl=0))
    for _ in range(2):
        assert ttl_of(nodedot.ask("zero.test")) == 0
    assert times_asked(nodedot, "zero.test") == 2


def test_min_ttl_keeps_short_lived_answers(with_cache):
    program = with_cache(min_ttl=30)
    program.upstream.behave("short.test", behaviours.proper(ttl=1))
    program.ask("short.test")
    time.sleep(2.1)
    assert ttl_of(program.ask("short.test")) in (27, 28, 29)
    assert times_asked(program, "short.test") == 1


def test_max_ttl_bounds_what_is_kept_and_shown(with_cache):
    program = with_cache(max_ttl=1)
    program.ask("long.test")
    assert ttl_of(program.ask("long.test")) <= 1
    time.sleep(2.1)
    program.ask("long.test")
    assert times_asked(program, "long.test") == 2


@pytest.mark.parametrize("ttl", [86401, 604801, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_absurd_ttls_are_capped_not_taken_for_zero(nodedot, ttl):
    nodedot.upstream.behave("absurd.test", behaviours.proper(ttl=ttl))
    nodedot.ask("absurd.test")
    assert 86390 <= ttl_of(nodedot.ask("absurd.test")) <= 86400
    assert times_asked(nodedot, "absurd.test") == 1


# Negative answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [behaviours.nxdomain, behaviours.nodata], ids=["nxdomain", "nodata"])
@pytest.mark.parametrize("ttl,minimum,expected", [(100, 50, 50), (50, 100, 50), (100000, 100000, 300)])
def test_a_denial_is_kept_for_the_smaller_of_soa_ttl_and_minimum(nodedot, make, ttl, minimum, expected):
    nodedot.upstream.behave("no.test", make(ttl, minimum))
    rcode = nodedot.ask("no.test").rcode()
    again = nodedot.ask("no.test")
    assert again.rcode() == rcode and not again.answer
    assert again.authority[0].rdtype == wire.SOA and expected - 2 <= again.authority[0].ttl <= expected
    assert times_asked(nodedot, "no.test") == 1


def test_nodata_without_soa_is_not_kept(nodedot):
    nodedot.upstream.behave("nosoa.test", behaviours.nodata(with_soa=False))
    for _ in range(2):
        assert nodedot.ask("nosoa.test").rcode() == wire.NOERROR
    assert times_asked(nodedot, "nosoa.test") == 2


def test_a_zone_forgets_a_denial_within_its_own_limit(with_cache, make_upstream):
    cluster = make_upstream()
    program = with_cache(
        sections={
            "upstream cluster": cluster.options("plain"),
            "zone cluster.local": {"upstream": "cluster", "negative-max-ttl": 1},
        }
    )
    for server, name in ((cluster, "svc.cluster.local"), (program.upstream, "svc.test")):
        server.behave(name, behaviours.nxdomain())
        program.ask(name)
    time.sleep(2.1)
    cluster.behave("svc.cluster.local", behaviours.proper())
    assert client.addresses(program.ask("svc.cluster.local")) == [wire.address_of("svc.cluster.local")]
    program.ask("svc.test")
    assert len(program.upstream.asked("svc.test")) == 1


def test_an_nxdomain_for_one_type_is_kept_for_that_question_alone(nodedot):
    nodedot.upstream.behave(
        "half.test", lambda q: (behaviours.nodata() if q.qtype == wire.AAAA else behaviours.proper())(q)
    )
    assert not nodedot.ask("half.test", "AAAA").answer
    assert client.addresses(nodedot.ask("half.test", "A"))


# Failures -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rcode", [wire.SERVFAIL, wire.REFUSED, wire.NOTIMP])
def test_a_failure_is_remembered_for_a_second_or_more(nodedot, rcode):
    """RFC 9520: at most three tries at a server, and then none for at least a second."""
    nodedot.upstream.behave("fail.test", behaviours.failure(rcode))
    first = nodedot.ask("fail.test", edns=True)
    assert first.rcode() in (wire.SERVFAIL, rcode)
    tries = times_asked(nodedot, "fail.test")
    assert 1 <= tries <= 3
    for _ in range(10):
        assert nodedot.ask("fail.test").rcode() in (wire.SERVFAIL, rcode)
    assert times_asked(nodedot, "fail.test") <= 3


def test_a_remembered_failure_says_so_and_ends(nodedot):
    nodedot.upstream.behave("fail.test", behaviours.failure())
    nodedot.ask("fail.test")
    assert 13 in client.ede_codes(nodedot.ask("fail.test", edns=True))
    nodedot.upstream.behave("fail.test", behaviours.proper())
    wait_until(lambda: nodedot.ask("fail.test").rcode() == wire.NOERROR, 7, "the failure to be forgotten (5 s)")


def test_a_timeout_is_a_failure_too(start, upstream):
    upstream.behave("mute.test", behaviours.drop())
    program = start(upstream, limits={"timeout": 500})
    assert program.ask("mute.test").rcode() == wire.SERVFAIL
    asked = len(upstream.asked("mute.test"))
    began = time.monotonic()
    assert program.ask("mute.test").rcode() == wire.SERVFAIL
    assert time.monotonic() - began < 0.3 and len(upstream.asked("mute.test")) == asked <= 3


# Equal questions in flight ---------------------------------------------------------------------------------------------------


def test_equal_questions_in_flight_are_asked_once(nodedot):
    nodedot.upstream.behave("join.test", behaviours.delay(0.3))
    sockets = [nodedot.udp() for _ in range(30)]
    with nodedot.tcp() as tcp:
        for i, udp in enumerate(sockets):
            udp.send(wire.query("Join.test" if i % 2 else "jOIN.test", id=i))
        tcp.send(*(wire.query("join.test", id=100 + i) for i in range(30)))
        for i, udp in enumerate(sockets):
            octets = udp.receive()
            assert octets[:2] == struct.pack("!H", i)
            assert octets[13:17] == (b"Join" if i % 2 else b"jOIN")
            assert client.addresses(client.parse(octets)) == [wire.address_of("join.test")]
            udp.socket.close()
        assert sorted(struct.unpack_from("!H", tcp.receive())[0] for _ in range(30)) == list(range(100, 130))
    assert times_asked(nodedot, "join.test") == 1
    assert nodedot.counter("joined_total") == 59


def test_joined_questions_get_what_each_asked_for(nodedot):
    """With and without EDNS, with sizes that fit and that do not."""
    nodedot.upstream.behave("wide.test", lambda q: behaviours.delay(0.3, behaviours.addresses(60))(q))
    with nodedot.udp() as small, nodedot.udp() as large, nodedot.tcp() as tcp:
        small.send(wire.query("wide.test"))
        large.send(wire.query("wide.test", edns=wire.opt(1232)))
        tcp.send(wire.query("wide.test"))
        cut, whole, streamed = (client.parse(c.receive()) for c in (small, large, tcp))
    assert cut.flags & wire.TC and not cut.answer and cut.edns == -1
    assert len(client.addresses(whole)) == 60 and whole.edns == 0
    assert len(client.addresses(streamed)) == 60
    assert times_asked(nodedot, "wide.test") == 1


# Stale answers --------------------------------------------------------------------------------------------------------------


def expire(program, name, **behaviour):
    program.upstream.behave(name, behaviours.proper(ttl=1, **behaviour))
    program.ask(name)
    time.sleep(2.1)


def lose_upstream(program):
    program.upstream.stop_listening()
    program.upstream.close_connections()


def test_without_upstream_a_stale_answer_is_served_with_ttl_30_and_ede_3(nodedot):
    expire(nodedot, "stale.test")
    lose_upstream(nodedot)
    answer = nodedot.ask("stale.test", edns=True)
    assert client.addresses(answer) == [wire.address_of("stale.test")]
    assert ttl_of(answer) == 30 and client.ede_codes(answer) == [3]
    assert nodedot.counter("cache_stale_total") >= 1


def test_a_stale_denial_says_ede_19(nodedot):
    nodedot.upstream.behave("gone.test", behaviours.nxdomain(1, 1))
    nodedot.ask("gone.test")
    time.sleep(2.1)
    lose_upstream(nodedot)
    answer = nodedot.ask("gone.test", edns=True)
    assert answer.rcode() == wire.NXDOMAIN and client.ede_codes(answer) == [19]


@pytest.mark.quiet
def test_a_slow_upstream_lets_the_stale_answer_out_after_1800_ms(nodedot):
    expire(nodedot, "slow.test")
    nodedot.upstream.behave("slow.test", behaviours.delay(3.0))
    began = time.monotonic()
    answer = nodedot.ask("slow.test", edns=True)
    took = time.monotonic() - began
    assert client.ede_codes(answer) == [3] and ttl_of(answer) == 30
    assert 1.7 <= took <= 2.3
    # The fresh answer is still awaited, and kept when it comes.
    wait_until(lambda: not client.ede_codes(nodedot.ask("slow.test", edns=True)), 4, "the fresh answer")


@pytest.mark.slow
def test_a_stale_answer_is_the_only_answer_when_the_question_fails_later(start, upstream):
    """The stale answer goes out first, then the upstream fails or time is up: the client hears nothing more."""
    program = start(upstream, limits={"stale-after": 300, "timeout": 1200})
    program.upstream = upstream
    for late in (behaviours.drop(), behaviours.delay(0.8, behaviours.failure()), behaviours.delay(0.8)):
        name = f"once{id(late)}.test"
        expire(program, name)
        upstream.behave(name, late)
        with program.udp() as udp:
            answer = client.parse(udp.ask(wire.query(name, edns=wire.opt())))
            assert client.ede_codes(answer) == [3]
            assert udp.receive(1.5) is None
    wait_until(lambda: program.counter("in_flight") == 0, 3, "no query to be left in flight")


def test_a_failing_upstream_does_not_wipe_out_a_stale_answer(nodedot):
    expire(nodedot, "keep.test")
    nodedot.upstream.behave("keep.test", behaviours.failure())
    for _ in range(3):
        answer = nodedot.ask("keep.test", edns=True)
        assert client.addresses(answer) == [wire.address_of("keep.test")] and 3 in client.ede_codes(answer)


def test_stale_max_0_serves_nothing_stale(with_cache):
    program = with_cache(stale_max=0)
    expire(program, "stale.test")
    lose_upstream(program)
    assert program.ask("stale.test").rcode() == wire.SERVFAIL


def test_past_stale_max_an_answer_is_gone(with_cache):
    program = with_cache(stale_max=1)
    expire(program, "stale.test")
    time.sleep(1.5)
    lose_upstream(program)
    assert program.ask("stale.test").rcode() == wire.SERVFAIL


def test_a_zone_may_forbid_stale_answers(with_cache, make_upstream):
    cluster = make_upstream()
    program = with_cache(
        sections={
            "upstream cluster": cluster.options("plain"),
            "zone cluster.local": {"upstream": "cluster", "stale-max": 0},
        }
    )
    cluster.behave("svc.cluster.local", behaviours.proper(ttl=1))
    assert program.ask("svc.cluster.local").rcode() == wire.NOERROR
    time.sleep(2.1)
    cluster.stop_listening()
    assert program.ask("svc.cluster.local").rcode() == wire.SERVFAIL


def test_a_stale_answer_for_one_question_is_none_for_another(nodedot):
    expire(nodedot, "stale.test")
    lose_upstream(nodedot)
    assert nodedot.ask("stale.test", "AAAA").rcode() == wire.SERVFAIL
    assert nodedot.ask("other.test").rcode() == wire.SERVFAIL


# Memory ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_used_survives_a_flood_of_other_names(with_cache):
    """The smallest cache, filled twice over; a name in use is not evicted, and memory stays within its budget."""
    program = with_cache(size="1M")
    program.ask("used.test")
    before = program.memory_kib()
    with program.load(3000, window=256) as load:
        end = time.monotonic() + 60
        while load.sent < 16000 and time.monotonic() < end:
            time.sleep(0.2)
            program.ask("used.test")
    assert load.sent >= 16000 and not load.lost and not load.wrong
    assert times_asked(program, "used.test") == 1
    assert program.counter("cache_evictions_total") > 0
    # The cache; 257 flights with a query each, 1.6 KiB; six connections, 88 KiB each with room for TLS; 400 names of which the
    # most asked are looked for, 0.3 KiB each. That makes 2.2 MiB; the rest is the allocator's and libraries' pages.
    program.assert_grew_less(before, 3 * 1024)


def test_large_answers_share_the_cache_with_small_ones(with_cache):
    program = with_cache(size="1M")
    program.upstream.default = behaviours.addresses(1000)
    for i in range(150):  # 16 kB each
        assert len(program.exchange(wire.query(f"large{i}.test"), "tcp")) > 16000
    program.upstream.default = behaviours.proper()
    for _ in range(2):
        assert client.addresses(program.ask("small.test")) == [wire.address_of("small.test")]
    assert times_asked(program, "small.test") == 1


def test_a_message_that_does_not_match_leaves_nothing_behind(nodedot):
    nodedot.upstream.behave("poison.test", behaviours.wrong_first(behaviours.MISMATCHES["other_name"]))
    nodedot.ask("poison.test")
    assert client.addresses(nodedot.ask("other.test")) == [wire.address_of("other.test")]
    assert client.addresses(nodedot.ask("poison.test")) == [wire.address_of("poison.test")]


def test_records_for_other_names_in_an_answer_do_not_become_answers(nodedot):
    """Nothing is cached but the answer to the question itself."""
    nodedot.upstream.behave(
        "bait.test",
        lambda q: [
            behaviours.Reply(
                wire.answer(
                    q,
                    wire.proper_records(q, 300),
                    additional=[wire.record(wire.A, 300, b"\6\6\6\6", wire.name_octets("bank.test"))],
                    authority=[wire.record(wire.NS, 300, wire.name_octets("bank.test"), wire.name_octets("test"))],
                )
            )
        ],
    )
    nodedot.ask("bait.test")
    assert client.addresses(nodedot.ask("bank.test")) == [wire.address_of("bank.test")]


def test_a_referral_is_not_followed(nodedot):
    nodedot.upstream.behave(
        "refer.test",
        lambda q: [
            behaviours.Reply(
                wire.answer(
                    q,
                    authority=[wire.record(wire.NS, 300, wire.name_octets("ns.refer.test"))],
                    additional=[wire.record(wire.A, 300, bytes([127, 0, 0, 1]), wire.name_octets("ns.refer.test"))],
                )
            )
        ],
    )
    nodedot.ask("refer.test")
    assert {q.name for q in nodedot.upstream.queries} <= {"refer.test", ""}


def test_a_fresh_answer_does_not_live_longer_by_being_used(nodedot):
    nodedot.upstream.behave("ghost.test", behaviours.proper(ttl=3))
    nodedot.ask("ghost.test")
    end = time.monotonic() + 4.2
    while time.monotonic() < end:
        nodedot.ask("ghost.test")
        time.sleep(0.05)
    assert times_asked(nodedot, "ghost.test") >= 2


def test_readers_and_writers_at_full_tilt_never_mix_answers(start, upstream):
    """Two workers, a small cache that is always overwritten: every answer is that of its own name."""
    program = start(upstream, server={"workers": 2}, cache={"size": "1M"})
    names = [f"tilt{i}.test" for i in range(4000)]
    with program.load(1500, client.same_names(names)) as load, program.load(1000) as other:
        time.sleep(4)
    assert not load.lost and not load.wrong and not other.lost and not other.wrong


def test_a_name_that_a_dname_makes_too_long_is_asked_for_each_time(nodedot):
    """YXDOMAIN is an answer, not a failure, and its DNAME says why (RFC 6672 section 2.2)."""
    nodedot.upstream.default = behaviours.failure(6)
    for i in range(3):
        assert nodedot.ask("long.test").rcode() == 6
        assert len(nodedot.upstream.asked("long.test")) == i + 1


@pytest.mark.parametrize("limit", [{"max-ttl": 0}, {"max-ttl": 100}], ids=["nothing is stored", "stored"])
def test_limits_on_ttls_hold_whether_an_answer_is_stored_or_not(start, upstream, limit):
    upstream.default = behaviours.addresses(3, ttl=5000)
    program = start(upstream, cache=limit)
    answer = program.ask("a.test", transport="tcp")
    assert answer.answer[0].ttl == limit["max-ttl"]

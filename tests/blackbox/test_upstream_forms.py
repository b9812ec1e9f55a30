"""Upstreams whose answers are odd in form: cut, without a question, with octets behind, or that dislike EDNS.

What other resolvers can use, this one can use. Each kind is tried over each transport where it can occur.
"""

import json
import struct
import time

import pytest

from harness import behaviours, client, wire
from harness.program import run

TRANSPORTS = {"udp": {"auth": "plain"}, "tcp": {"auth": "plain", "up": {"force-tcp": "yes"}}, "dot": {}}
STREAMS = ["tcp", "dot"]


def right(answer, name):
    return answer.rcode() == wire.NOERROR and client.addresses(answer) == [wire.address_of(name)]


def reply(octets):
    return [behaviours.Reply(octets)]


def header(q, rcode):
    """An error of 12 octets, without the question."""
    return struct.pack("!HHHHHH", q.id, wire.QR | wire.RD | wire.RA | rcode, 0, 0, 0, 0)


def over_udp(odd):
    """What a server does that is odd over UDP alone."""
    return lambda q: odd(q) if q.transport == "udp" else behaviours.proper()(q)


# Cut ------------------------------------------------------------------------------------------------------------------------


def many(q, count=30):
    return wire.answer(q, [wire.record(wire.A, 300, struct.pack("!I", 0x0A000000 + i)) for i in range(count)], edns=False)


CUTS = {
    "with TC, in the last record": lambda q: many(q)[:2] + b"\x83\x80" + many(q)[4:500],
    "with TC, in the middle of a record's head": lambda q: many(q)[:2] + b"\x83\x80" + many(q)[4 : 12 + len(q.question) + 5],
    "with TC, behind the question, counts left": lambda q: many(q)[:2] + b"\x83\x80" + many(q)[4 : 12 + len(q.question)],
    "without TC, in the last record": lambda q: many(q)[:500],
    "without TC, behind a record, counts left": lambda q: many(q)[: 12 + len(q.question) + 16],
    "without TC, behind the question": lambda q: many(q)[: 12 + len(q.question)],
}


@pytest.mark.parametrize("kind", CUTS)
def test_a_datagram_that_is_cut_is_asked_over_tcp_at_once(start, upstream, kind):
    upstream.default = over_udp(lambda q: reply(CUTS[kind](q)))
    program = start(upstream, auth="plain")
    for number in range(3):
        began = time.monotonic()
        assert right(program.ask(f"cut{number}.test"), f"cut{number}.test")
        assert time.monotonic() - began < 0.5
    assert program.counter("upstream_truncated_total") == 3


@pytest.mark.parametrize("transport", STREAMS)
def test_tc_over_a_stream_goes_to_another_address(start, make_upstream, transport):
    good, bad = make_upstream(), make_upstream()
    bad.default = lambda q: reply(wire.answer(q, flags=wire.RD | wire.RA | wire.TC))
    program = start(bad, good, **{**TRANSPORTS[transport], "up": {**TRANSPORTS[transport].get("up", {}), "policy": "ordered"}})
    for number in range(3):
        assert right(program.ask(f"tc{number}.test", transport="tcp"), f"tc{number}.test")


@pytest.mark.parametrize("transport", STREAMS)
def test_tc_over_the_only_stream_is_a_failure_and_is_never_kept(start, upstream, transport):
    upstream.behave("tc.test", lambda q: reply(wire.answer(q, wire.proper_records(q, 300), flags=wire.RD | wire.RA | wire.TC)))
    program = start(upstream, **TRANSPORTS[transport])
    for asked_over in ("tcp", "udp"):
        began = time.monotonic()
        answer = program.ask("tc.test", transport=asked_over, edns=True)
        assert answer.rcode() == wire.SERVFAIL and not answer.flags & wire.TC
        assert client.ede_codes(answer) and time.monotonic() - began < 0.5
    upstream.behave("tc.test", behaviours.proper())
    assert right(program.ask("good.test"), "good.test")


# Errors without a question --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("rcode", [wire.SERVFAIL, wire.REFUSED, wire.NOTIMP, wire.FORMERR])
def test_an_error_without_a_question_goes_to_another_address_at_once(start, make_upstream, transport, rcode):
    good, bad = make_upstream(), make_upstream()
    bad.default = lambda q: reply(header(q, rcode))
    program = start(bad, good, **{**TRANSPORTS[transport], "up": {**TRANSPORTS[transport].get("up", {}), "policy": "ordered"}})
    for number in range(3):
        began = time.monotonic()
        assert right(program.ask(f"bare{number}.test"), f"bare{number}.test")
        assert time.monotonic() - began < 0.5
    assert any(bad.asked(f"bare{number}.test") for number in range(3))


@pytest.mark.parametrize("transport", STREAMS)
def test_an_error_without_a_question_of_the_only_stream_is_that_error(start, upstream, transport):
    upstream.behave("bare.test", lambda q: reply(header(q, wire.REFUSED)))
    program = start(upstream, **TRANSPORTS[transport])
    began = time.monotonic()
    assert program.ask("bare.test").rcode() == wire.REFUSED
    assert time.monotonic() - began < 0.5


def test_an_error_without_a_question_of_the_only_datagram_is_asked_over_tcp(start, upstream):
    upstream.default = over_udp(lambda q: reply(header(q, wire.REFUSED)))
    program = start(upstream, auth="plain")
    began = time.monotonic()
    assert right(program.ask("bare.test"), "bare.test")
    assert time.monotonic() - began < 0.5


# Octets behind --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("behind", [b"\0", b"\0" * 24, b"junk", b"\0" * 400], ids=["1", "24", "junk", "400"])
def test_octets_behind_an_answer_are_ignored_and_counted(start, upstream, transport, behind):
    upstream.behave("behind.test", lambda q: reply(wire.answer(q, wire.proper_records(q, 300)) + behind))
    upstream.behave("bare-behind.test", lambda q: reply(wire.answer(q, wire.proper_records(q, 300), edns=False) + behind))
    program = start(upstream, **TRANSPORTS[transport])
    whole = {name: wire.query(name) for name in ("behind.test", "bare-behind.test")}
    for name, query in whole.items():
        for _ in range(2):
            octets = program.exchange(query)
            assert right(client.parse(octets), name) and len(octets) == len(query) + 16
    assert program.counter("upstream_octets_behind_total") == 2


# EDNS ------------------------------------------------------------------------------------------------------------------------


def dislike(how, options_only=False):
    """A server that answers every query with EDNS (or with an option other than padding) in this way."""

    def behave(q):
        disliked = q.has_edns and (not options_only or set(q.options) - {wire.PADDING})
        return how(q) if disliked else behaviours.proper()(q)

    return behave


def error(rcode, edns):
    return behaviours.failure(rcode, edns=edns)


DISLIKES = {
    "FORMERR": error(wire.FORMERR, False),
    "FORMERR with OPT": error(wire.FORMERR, True),
    "FORMERR without a question": lambda q: reply(header(q, wire.FORMERR)),
    "NOTIMP": error(wire.NOTIMP, False),
    "NOTIMP with OPT": error(wire.NOTIMP, True),
    "NOTIMP without a question": lambda q: reply(header(q, wire.NOTIMP)),
    "SERVFAIL": error(wire.SERVFAIL, False),
    "SERVFAIL without a question": lambda q: reply(header(q, wire.SERVFAIL)),
    "BADVERS": error(wire.BADVERS, True),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", DISLIKES)
def test_a_server_that_dislikes_edns_is_asked_without(start, upstream, transport, kind):
    upstream.default = dislike(DISLIKES[kind])
    program = start(upstream, **TRANSPORTS[transport])
    for number in range(5):
        began = time.monotonic()
        assert right(program.ask(f"old{number}.test", edns=True), f"old{number}.test")
        assert time.monotonic() - began < 0.5
    assert program.counter("upstream_plainer_total") >= 1
    first, last = upstream.asked("old0.test"), upstream.asked("old4.test")
    assert len(first) == (2 if transport == "udp" else 3)
    if transport == "dot":  # a query without EDNS has no padding, so each begins with it
        assert last[0].has_edns and len(last[0].wire) % 128 == 0
    else:
        assert len(last) == 1 and not last[0].has_edns
    shown = json.loads(run("status", "-c", program.file, "--json").stdout)
    assert shown["upstreams"][0]["addresses"][0]["edns"] == ("full" if transport == "dot" else "none")


@pytest.mark.parametrize("transport", STREAMS)
@pytest.mark.parametrize("kind", DISLIKES)
def test_a_server_that_dislikes_options_is_asked_without_them(start, upstream, transport, kind):
    upstream.default = dislike(DISLIKES[kind], options_only=True)
    program = start(upstream, **TRANSPORTS[transport])
    for number in range(5):
        assert right(program.ask(f"old{number}.test", edns=True), f"old{number}.test")
    last = upstream.asked("old4.test")
    assert len(last) == 1 and last[0].has_edns
    assert set(last[0].options) == ({wire.PADDING} if transport == "dot" else set())
    assert transport != "dot" or len(last[0].wire) % 128 == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("rcode", [wire.SERVFAIL, wire.NOTIMP])
def test_a_failure_of_a_server_that_knows_edns_is_no_dislike(start, upstream, transport, rcode):
    program = start(upstream, **TRANSPORTS[transport])
    assert right(program.ask("good.test"), "good.test")
    upstream.behave("fail.test", behaviours.failure(rcode))
    assert program.ask("fail.test").rcode() == rcode
    assert len(upstream.asked("fail.test")) == 1


def test_a_server_that_fails_always_is_soon_not_asked_in_other_forms(start, upstream):
    """One whose own upstream is dead says SERVFAIL to everything; it must not be asked three times for each query."""
    upstream.default = behaviours.failure(edns=False)
    program = start(upstream)
    for number in range(20):
        assert program.ask(f"fail{number}.test").rcode() == wire.SERVFAIL
    assert len(upstream.asked("fail19.test")) == 1


def test_a_server_that_is_silent_to_edns_is_asked_without(start, upstream):
    upstream.default = dislike(behaviours.drop())
    program = start(upstream, auth="plain", wait="serving")
    for number in range(4):
        assert right(program.ask(f"old{number}.test"), f"old{number}.test")
    last = upstream.asked("old3.test")
    assert len(last) == 1 and not last[0].has_edns

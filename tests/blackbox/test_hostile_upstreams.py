"""Every length, count, pointer and record from an upstream is hostile. Which test covers which line:

| line                                                       | test                                                                  |
|------------------------------------------------------------|-----------------------------------------------------------------------|
| ID one more or less, other name, type, class, no question, | test_forwarding: an_answer_that_does_not_match_is_dropped_and_...,    |
| two questions, a query, another opcode; the true one taken | a_plain_answer_that_does_not_match_is_dropped_and_...                 |
| from another address; unasked; twice; after the deadline   | test_forwarding: a_plain_answer_from_another_address_is_not_believed, |
|                                                            | unasked_messages_..., the_same_answer_twice_..., an_answer_after_...  |
| cut at every place, counts too large, empty                | test_forwarding: a_broken_answer_is_never_passed_on, also over UDP;   |
|                                                            | unit: test_message, fuzz_answer                                       |
| zero-length frames; a frame without end; no TLS            | test_forwarding: zero_length_frames_..., a_frame_that_never_ends_..., |
|                                                            | junk_on_the_connection_..., junk_that_is_no_tls_...                   |
| pointers: loop, forward, into the header, to themselves    | test_forwarding: a_broken_answer_is_never_passed_on                   |
| 1,000 jumps                                                | test_forwarding: a_chain_of_a_thousand_pointers_costs_no_time         |
| names that each lead into one long chain (a bomb)          | a_compression_bomb_costs_others_nothing; unit: test_message           |
| 65,535 octets, and one that is too large with our OPT      | the_largest_message_is_passed_on_or_refused                           |
| 10,000 records, claimed or as many as fit                  | an_answer_may_claim_any_number_of_records                             |
| long chains of CNAMEs, loops                               | chains_of_cnames_are_bounded, a_loop_of_cnames_ends                   |
| TTL with the top bit, above a week                         | test_cache: absurd_ttls_are_capped_not_taken_for_zero,                |
|                                                            | no_ttl_lasts_longer_than_a_week                                       |
| ghost names: use and refresh keep no entry for ever        | a_name_that_is_gone_does_not_live_on_by_being_used                    |
| records that do not belong to the question                 | foreign_records_reach_nobody, a_foreign_answer_is_no_answer;          |
|                                                            | unit: test_bailiwick, fuzz_bailiwick                                  |
| honest answers stay as they are                            | test_honest_answers, test_upstream_servers                            |
| more than 65,535 queries on one connection                 | test_forwarding: more_than_65535_queries_on_one_connection_...        |
| EDNS: two OPTs, options of 60 kB, options repeated         | test_forwarding: an_answer_with_two_opts_..., test_edns               |
| never reads, reads slowly, hangs, resets                   | test_forwarding: an_upstream_that_never_reads_..., one_bad_address_...|
"""

import struct
import time

import pytest

from harness import behaviours, client, wire
from harness.waiting import wait_until

EVIL = b"\6\6\6\6"


def name_record(rtype, target, owner, ttl=300):
    return wire.record(rtype, ttl, wire.name_octets(target), wire.name_octets(owner))


def address_record(name, octets=EVIL, ttl=300):
    return wire.record(wire.A, ttl, octets, wire.name_octets(name))


# Size and number ------------------------------------------------------------------------------------------------------------


def filled(q, size):
    """An answer of exactly so many octets, without OPT."""
    head = wire.answer(q, [], edns=False)
    count, octets = 0, b""
    while len(head) + len(octets) + 12 < size:
        n = min(size - len(head) - len(octets) - 12, 60000)
        if 0 < size - len(head) - len(octets) - 12 - n < 12:
            n -= 12
        octets += wire.record(65280, 300, bytes(n))
        count += 1
    message = head[:6] + struct.pack("!H", count) + head[8:] + octets
    assert len(message) == size
    return message


def test_the_largest_message_is_passed_on_or_refused(nodedot):
    for size in (65535, 65524):
        name = f"large{size}.test"
        nodedot.upstream.behave(name, behaviours.raw(lambda q, size=size: filled(q, size)))
        plain = nodedot.exchange(wire.query(name), "tcp")
        assert len(plain) == size and plain[3] & 15 == wire.NOERROR
        again = nodedot.exchange(wire.query(name, edns=wire.opt()), "tcp")
        fits = size + 11 <= 65535
        assert client.parse(again).rcode() == (wire.NOERROR if fits else wire.SERVFAIL)
        assert len(again) == size + 11 if fits else len(again) < 100
        assert nodedot.ask(name).flags & wire.TC
    assert nodedot.ask("good.test").rcode() == wire.NOERROR


@pytest.mark.parametrize("claimed", [5457, 10000, 65535], ids=["as many as fit", "10,000", "65,535"])
def test_an_answer_may_claim_any_number_of_records(start, upstream, claimed):
    def behave(q):
        octets = wire.answer(q, [], edns=False)
        records = wire.record(65280, 300, b"") * 5457
        return [behaviours.Reply(octets[:6] + struct.pack("!H", claimed) + octets[8:] + records)]

    upstream.behave("n.test", behave)
    program = start(upstream, limits={"timeout": 1000})
    answer = program.exchange(wire.query("n.test"), "tcp")
    if claimed == 5457:
        assert struct.unpack_from("!H", answer, 6)[0] == claimed and len(answer) > 65000
    else:
        assert answer[3] & 15 == wire.SERVFAIL and len(answer) < 100
    assert client.addresses(program.ask("good.test")) == [wire.address_of("good.test")]


def test_a_compression_bomb_costs_others_nothing(start, upstream):
    """Each record's owner leads through a chain of pointers that is as long as the rules allow."""

    def bomb(q):
        start_at = 12 + len(q.question)
        links, at = b"", 12
        for _ in range(120):  # a name of 120 labels, each behind a pointer: 240 steps to read it
            here = start_at + 11 + len(links)
            links += b"\1a" + struct.pack("!H", 0xC000 | at)
            at = here
        first = b"\0" + struct.pack("!HHIH", 65280, 1, 300, len(links)) + links
        owner = struct.pack("!H", 0xC000 | at)
        records = [first] + [wire.record(65280, 300, b"", owner=owner)] * 5000
        return wire.answer(q, records, edns=False)

    upstream.behave("bomb.test", behaviours.raw(bomb))
    program = start(upstream, limits={"timeout": 1000})
    program.ask("warm.test")
    with program.udp() as udp:
        for i in range(20):
            udp.send(wire.query("bomb.test", 16 + i, id=i))
        began = time.monotonic()
        assert client.addresses(program.ask("good.test")) == [wire.address_of("good.test")]
        assert time.monotonic() - began < 0.5
        assert udp.receive() is not None


# Chains ---------------------------------------------------------------------------------------------------------------------


def chain_of(length):
    def make(q):
        names = [q.name, *(f"c{i}.test" for i in range(1, length + 1))]
        links = [name_record(wire.CNAME, b, a) for a, b in zip(names, names[1:])]
        return [*links, address_record(names[-1], b"\x0a\1\2\3")]

    return behaviours.records(make)


@pytest.mark.parametrize("length,whole", [(1, True), (31, True), (32, False), (1000, False)])
def test_chains_of_cnames_are_bounded(nodedot, length, whole):
    nodedot.upstream.behave("start.test", chain_of(length))
    for _ in range(2):
        answer = nodedot.ask("start.test", transport="tcp")
        assert answer.rcode() == wire.NOERROR
        assert client.addresses(answer) == (["10.1.2.3"] if whole else [])
        assert sum(len(rrset) for rrset in answer.answer) <= 33
    assert len(nodedot.upstream.asked("start.test")) == (1 if whole else 2)


def test_a_loop_of_cnames_ends(nodedot):
    loop = [name_record(wire.CNAME, "b.test", "a.test"), name_record(wire.CNAME, "a.test", "b.test")]
    nodedot.upstream.behave("a.test", behaviours.records(lambda q: loop))
    assert not client.addresses(nodedot.ask("a.test"))
    assert client.addresses(nodedot.ask("good.test")) == [wire.address_of("good.test")]


# Records that do not belong to the question ----------------------------------------------------------------------------------


def test_foreign_records_reach_nobody(nodedot):
    """From the cache and past it (TTL 0), to those who waited and those who come later."""

    def behave(q):
        ttl = 0 if q.name.startswith("zero") else 300
        return [
            behaviours.Reply(
                wire.answer(
                    q,
                    [
                        address_record("bank.example", ttl=ttl),
                        name_record(wire.CNAME, "target.shared.test", q.name, ttl),
                        address_record("target.shared.test", b"\x0a\1\2\3", ttl),
                        address_record("other.shared.test", ttl=ttl),
                    ],
                    authority=[name_record(wire.NS, "ns.evil.example", "example", ttl), wire.soa(owner=b"\0")],
                    additional=[address_record("ns.evil.example", ttl=ttl), address_record("www.bank.example", ttl=ttl)],
                )
            )
        ]

    nodedot.upstream.default = behave
    for name in ("some.test", "zero.test"):
        for _ in range(2):
            answer = nodedot.ask(name, edns=True)
            assert [r.name.to_text() for r in answer.answer] == [f"{name}.", "target.shared.test."]
            assert client.addresses(answer) == ["10.1.2.3"]
            assert [r.name.to_text() for r in answer.authority] == ["."] and not answer.additional
    assert nodedot.counter("upstream_foreign_total") == 5 * 3


def test_a_foreign_answer_is_no_answer(nodedot):
    nodedot.upstream.behave("some.test", behaviours.records(lambda q: [address_record("other.test")]))
    for _ in range(2):
        answer = nodedot.ask("some.test")
        assert answer.rcode() == wire.NOERROR and not answer.answer
    assert len(nodedot.upstream.asked("some.test")) == 2  # and is not kept
    assert client.addresses(nodedot.ask("other.test")) == [wire.address_of("other.test")]


# Time -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", [604800, 604801, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_no_ttl_lasts_longer_than_a_week(start, upstream, ttl):
    upstream.behave("long.test", behaviours.proper(ttl=ttl))
    program = start(upstream, cache={"max-ttl": 604800})
    program.ask("long.test")
    assert 604790 <= program.ask("long.test").answer[0].ttl <= 604800


@pytest.mark.slow
def test_a_name_that_is_gone_does_not_live_on_by_being_used(start, upstream):
    """It is asked for all the time, and refreshed all the time; when it is taken away it goes with its TTL."""
    upstream.behave("ghost.test", behaviours.proper(ttl=5))
    program = start(upstream)
    for _ in range(50):
        program.ask("ghost.test")
    wait_until(lambda: program.counter("prefetches_total") >= 1, 8, "a refresh")
    upstream.behave("ghost.test", behaviours.nxdomain())
    wait_until(lambda: program.ask("ghost.test").rcode() == wire.NXDOMAIN, 7, "the end of the name")
    for _ in range(20):
        assert program.ask("ghost.test").rcode() == wire.NXDOMAIN

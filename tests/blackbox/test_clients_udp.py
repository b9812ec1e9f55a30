"""Clients over UDP."""

import os
import random
import signal
import struct
import time

import pytest

from harness import behaviours, client, wire
from harness.waiting import wait_until


def collect(udp, count, timeout=client.TIMEOUT_S):
    """Up to count datagrams by their ID."""
    found, deadline = {}, time.monotonic() + timeout
    while len(found) < count and time.monotonic() < deadline:
        octets = udp.receive(max(0.01, deadline - time.monotonic()))
        if octets is not None:
            found[struct.unpack_from("!H", octets)[0]] = octets
    return found


def test_ipv4_and_ipv6_are_served_by_one_process(start, upstream, address, network):
    port = network.port()
    program = start(upstream, server={"listen": f"{address()}:{port}, [::1]:{port}"})
    for where in (program.address, "::1"):
        with client.Udp(where, port) as udp:
            assert client.addresses(client.parse(udp.ask(wire.query("a.test")))) == [wire.address_of("a.test")]


def test_the_clients_own_letter_case_comes_back(nodedot):
    for name in ("MiXeD.TeSt", "mixed.test", "MIXED.TEST"):  # the first from upstream, the others from the cache
        query = wire.query(name)
        answer = nodedot.exchange(query)
        assert answer[12 : 12 + len(query) - 12] == query[12:]
        assert client.addresses(client.parse(answer)) == [wire.address_of("mixed.test")]
    assert len(nodedot.upstream.asked("mixed.test")) == 1


def test_names_with_any_octet_are_passed_on(nodedot):
    label = bytes(range(33)) + b'\x7f\x80\xff\\"'
    query = wire.query("x")[:12] + bytes([len(label)]) + label + b"\4test\0\0\1\0\1"
    answer = nodedot.exchange(query)
    assert answer[3] & 15 == 0 and answer[12 : len(query)] == query[12:]


def test_the_root_can_be_asked(nodedot):
    answer = nodedot.ask(".", "TXT")
    assert answer.rcode() == wire.NOERROR


def test_header_bits_of_an_answer(nodedot):
    nodedot.upstream.behave("aa.test", behaviours.proper(flags=wire.AA | wire.RD | wire.RA))
    for _ in range(2):
        answer = nodedot.ask("aa.test")
        assert answer.flags & wire.RA and answer.flags & wire.RD and answer.flags & wire.QR
        assert not answer.flags & (wire.AA | wire.TC)


def test_a_burst_of_a_thousand_waits_in_the_socket_buffer(start, upstream):
    """The kernel's default holds 193 small queries. The worker is held back while the burst arrives."""
    if os.geteuid() != 0:
        pytest.skip("needs root: others may not raise a socket buffer above net.core.rmem_max")
    program = start(upstream)
    program.ask("burst.test")
    resolver = program.resolver()
    with program.udp() as udp:
        os.kill(resolver, signal.SIGSTOP)
        try:
            for i in range(1000):
                udp.send(wire.query("burst.test", id=i))
        finally:
            os.kill(resolver, signal.SIGCONT)
        assert len(collect(udp, 1000)) == 1000


def test_a_burst_of_misses_is_answered_in_full(nodedot):
    with nodedot.udp() as udp:
        for i in range(500):
            udp.send(wire.query(f"b{i}.test", id=i))
        answers = collect(udp, 500)
    assert len(answers) == 500
    for i, octets in answers.items():
        assert client.addresses(client.parse(octets)) == [wire.address_of(f"b{i}.test")]


@pytest.mark.quiet
def test_pairs_of_a_and_aaaa_at_a_thousand_a_second_lose_nothing(nodedot):
    """As stub resolvers ask: both from one socket at once."""
    pairs = 1000
    sockets = [nodedot.udp() for _ in range(20)]
    missing, start = {}, time.monotonic()
    for i in range(pairs):
        udp = sockets[i % len(sockets)]
        name = f"pair{i % 200}.test"
        udp.send(wire.query(name, wire.A, id=2 * i))
        udp.send(wire.query(name, wire.AAAA, id=2 * i + 1))
        missing[2 * i] = missing[2 * i + 1] = udp
        time.sleep(max(0, start + i / 500 - time.monotonic()))
    for udp in sockets:
        mine = [i for i, u in missing.items() if u is udp]
        assert sorted(collect(udp, len(mine))) == sorted(mine)
        udp.socket.close()


def test_equal_ids_of_different_clients_do_not_mix(nodedot):
    sockets = [nodedot.udp() for _ in range(50)]
    nodedot.upstream.default = behaviours.delay(0.05)
    for i, udp in enumerate(sockets):
        udp.send(wire.query(f"c{i}.test", id=7))
    for i, udp in enumerate(sockets):
        assert client.addresses(client.parse(udp.receive())) == [wire.address_of(f"c{i}.test")]
        udp.socket.close()


def test_garbage_is_survived(nodedot):
    rng = random.Random(1)
    pid = nodedot.resolver()
    with nodedot.udp() as udp:
        for _ in range(3000):
            octets = bytearray(rng.randbytes(rng.choice((1, 11, 12, 17, 40, 512, 1400))))
            if len(octets) > 12 and rng.random() < 0.7:
                octets[2:12] = b"\x01\0\0\1\0\0\0\0\0\1"  # get further into the parser
            udp.send(bytes(octets))
    assert nodedot.ask("alive.test")
    assert nodedot.resolver() == pid


def test_datagrams_of_the_greatest_size_are_survived(nodedot):
    pid = nodedot.resolver()
    with nodedot.udp() as udp:
        for octets in (
            b"\0" * 65507,
            wire.query(tail=b"a" * 60000),
            wire.query(edns=wire.opt(options=wire.option(100, b"a" * 60000))),
        ):
            udp.send(octets)
    assert nodedot.ask("alive.test")
    assert nodedot.resolver() == pid


def test_answers_come_from_the_address_that_was_asked(start, upstream, address, network):
    """On a wildcard too: a connected client socket takes answers from nowhere else."""
    port = network.port()
    program = start(upstream, server={"listen": f"{address()}:5353, 0.0.0.0:{port}"}, acl={"allow": "127.0.0.0/8"})
    for _ in range(3):
        with client.Udp(address(), port) as udp:
            assert udp.ask(wire.query("a.test"), timeout=2)
    assert program.ask("a.test")


def test_a_client_that_went_away_harms_no_other(nodedot):
    nodedot.upstream.behave("slow.test", behaviours.delay(0.2))
    for _ in range(100):
        with nodedot.udp() as udp:
            udp.send(wire.query("slow.test"))
    wait_until(lambda: nodedot.upstream.asked("slow.test"), 5, "the question to reach the upstream")
    assert nodedot.ask("slow.test")
    assert nodedot.ask("other.test")


def test_every_query_and_answer_is_counted(nodedot):
    before = nodedot.counters()
    for i in range(20):
        nodedot.ask(f"count{i % 10}.test")
    nodedot.upstream.behave("no.test", behaviours.nxdomain())
    nodedot.ask("no.test")
    after = nodedot.counters()
    grown = {name: after[name] - before[name] for name in after if name in before}
    assert grown["queries_udp_total"] == grown["answers_total"] == 21
    assert grown["answers_noerror_total"] == 20 and grown["answers_nxdomain_total"] == 1
    assert grown["cache_hits_total"] == 10 and grown["cache_misses_total"] == 11
    assert grown["upstream_queries_total"] == grown["upstream_answers_total"] == 11

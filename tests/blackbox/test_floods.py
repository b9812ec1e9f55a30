"""Floods, and the bystander whom they must not reach.

What peers suffered from, and the numbers they test with, as far as clients, parsing, limits and the process go; and where it is
tested. What upstreams do is in the tables of test_hostile_upstreams.py, test_resilience.py and test_identity_matrix.py. Names
without a file are here; U: is the unit tests. test_tables.py looks that they exist.

| fault of a peer, or number | test |
|---|---|
| one TCP client, a million queries: memory flat | clients_tcp: one_connection_with_a_million_queries_keeps_memory_flat; bystander[pipelined] |
| AXFR, IXFR, NOTIFY, UPDATE over UDP and TCP | refused_table: zone_transfers..., notify_and_update..., ixfr...; bystander[refused_kinds] |
| a rewritten answer would pass 65,535 octets | clients_tcp: an_answer_that_would_outgrow_a_frame...; U:message: an_answer_over_65535_octets... |
| names with quotes, newlines, braces: metrics still parse | names_with_quotes_and_newlines_leave_the_metrics_page_whole |
| metrics port: huge headers, slow clients, many of them | metrics: a_client_that_floods_the_port..., slow_and_many_clients..., a_request_that_is_not_finished...; U:request |
| probe ports: many connections, none that ends | probes: a_flood_of_connections_fails_no_probe, probes_that_never_close... |
| several OPT, lists of 64 KB, repeated options | refused_table: FORMERR; edns: 64_kib_of_options...; cookies: of_several_cookies...; bystander[options_of_64_kib] |
| compression: loops, forward pointers, jumps | refused_table: FORMERR; U:name, U:message |
| in-flight table full: no use after free | limits: everything under "In flight" and "Shares", in `make sanitize` |
| a 65,533-octet request over TCP | clients_tcp: a_request_of_65533_octets_costs_little_memory; bystander[frames_of_65533] |
| a cached answer must pass the ACL | refused_table: a_denied_client_gets_nothing_from_the_cache_either |
| QCLASS, DO and CD are in the key | refused_table: a_class_other_than_in...; edns: an_answer_for_do...; U:cache |
| two names with one hash | U:cache: questions_with_the_same_hash_do_not_get_each_others_answers |
| stale answers and the in-flight limit together | limits: stale_answers_are_served_past_the_limit_too, who_gives_way_is_given_a_stale... |
| an extended error's text longer than a buffer | edns: an_extended_error_text_of_60_kb_is_survived |
| referrals are never followed (NRDelegation) | cache: a_referral_is_not_followed |
| IDs and ports, new for each try; one question once | forwarding: plain_uses_a_random_port_and_id..., a_retry_over_plain_udp...; cache: equal_questions_in_flight_are_asked_once |
| ICMP and fragments (SAD DNS, RFC 9715) | U:socket: a_datagram_may_be_fragmented_and_no_icmp_is_believed |
| the clock is set by a year | U:clock: time_to_live_and_deadlines_go_on_as_before, a_timer_is_neither_early_nor_late |
| DNSBomb: many queries held, then answered at once | a_pulse_is_no_larger_than_the_table_in_flight |
| answers to the unasked (RFC 5358) | refused_table: qr_set..., shorter_than_a_header...; no_answer_to_an_answer; test_limits: allow_and_deny |
| answer or close within 16 s | clients_tcp: an_idle_connection..., slow_loris_is_closed; U:tcp_listener |
| a connection kept alive by a query each 0.1, 3, 7 s | clients_tcp: a_connection_in_use_stays_open, with_the_default_limit... |
| garbage frames, 1024 and 65,533, one to three | clients_tcp: garbage_frames_harm_nobody_else |
| a length prefix too short or too long | clients_tcp: a_wrong_length_prefix_harms_nobody_else |
| reordering: 1,500 ms first, 1 ms second | clients_tcp: a_quick_answer_overtakes_a_slow_one |
| slow loris: an octet a second | clients_tcp: slow_loris_is_closed; bystander[slow_loris] |
| SYN and nothing | clients_tcp: an_idle_connection...; bystander[silent_connections] |
| 10,000 queries, nothing read: closed | clients_tcp: a_client_that_floods_and_never_reads_is_closed; bystander[never_reading] |
| ... by clients who hold every buffer | readers_who_take_no_answers_leave_tcp_to_others; U:tcp_listener |
| 10,000 queries, then closed | clients_tcp: a_client_that_floods_and_closes_is_survived; bystander[ask_and_close] |
| 65,533 x 100, 0 x 100,000, 1,024 x 1,000 | clients_tcp: floods_of_garbage_are_survived; bystander[frames_..., zero_lengths] |
| 10,000 connections, 10 rounds | clients_tcp: a_flood_of_connections_is_survived; bystander[connections_by_the_thousand] |
| connections per client, in all | limits: everything under "Connections"; half_queries_of_many_clients_keep_nobody_out |
| waiting queries per client | limits: everything under "Shares"; bystander[random_subdomains] |
| a million sources | U:admission: a_million_sources...; bystander[many_sources] |
| BIND's malformed queries | refused_table: FORMERR |
"""

import contextlib
import re
import socket
import time
import urllib.request

import pytest

from harness import behaviours, client, flood, wire
from harness.waiting import wait_until

NAMES = [f"cached{i}.test" for i in range(50)]
RATE = 100  # of the bystander, a second
IDLE_S, FLOOD_S = 0.6, 1.8
# Allowed is three times what an idle server takes, or this, since the machine that runs the tests runs others as
# well: p99 and median. One in a hundred of these few hundred queries is what a machine with other work delays by some
# tenths of a second; a second is when stub resolvers begin to notice. `tests/bench/run --cases bystander` measures
# without allowance.
FLOOR_S, MEDIAN_FLOOR_S = 1.0, 0.02


def silent_below_mute(q):
    return [] if q.name.endswith("mute.test") else behaviours.proper()(q)


def calm(program, source):
    """Fills the cache, and returns how long the bystander waits while nothing happens: a load that has ended."""
    for name in NAMES:
        program.ask(name)
    with program.load(RATE, client.same_names(NAMES), source=source) as load:
        time.sleep(IDLE_S)
    assert not load.lost and not load.wrong
    return load


@contextlib.contextmanager
def bystander(program, source):
    """A client at 100 queries a second of cached names, who must lose nothing and notice little meanwhile."""
    idle = calm(program, source)
    with program.load(RATE, client.same_names(NAMES), source=source) as load:
        yield
    assert not load.lost, f"{len(load.lost)} of {load.sent} lost"
    assert not load.wrong
    for share, floor in ((0.5, MEDIAN_FLOOR_S), (0.99, FLOOR_S)):
        before, now = idle.percentile(share), load.percentile(share)
        assert now <= max(3 * before, floor), f"{share}: {now} s, idle {before} s"


@pytest.mark.parametrize("kind", flood.KINDS)
def test_a_bystander_loses_nothing_while_another_client_floods(start, upstream, address, kind):
    upstream.default = silent_below_mute
    program = start(upstream, limits={"in-flight": 500, "tcp-idle": 2})
    pid = program.resolver()
    with bystander(program, address()):
        bad = flood.start(kind, program, address(), FLOOD_S)
        done = flood.wait(bad)
    assert done > 0
    assert program.resolver() == pid
    assert client.addresses(program.ask("afterwards.test")) == [wire.address_of("afterwards.test")]
    assert program.ask("cached1.test", transport="tcp")


def test_a_bystander_loses_nothing_while_a_client_is_blocked(start, upstream, address):
    """With a rate that the bystander keeps to and the flood does not."""
    program = start(upstream, limits={"client-qps": 200, "client-burst": 400, "client-block": 60})
    with bystander(program, address()):
        flood.wait(flood.start("cookies", program, address(), FLOOD_S))
    counters = program.counters()
    assert counters["dropped_blocked_total"] > 1000
    assert counters["rate_limited_total"] >= 400


def test_half_queries_of_many_clients_keep_nobody_out(start, upstream, address):
    """Eight clients hold every connection with the first octets of a query: from a second on they give way."""
    program = start(upstream, limits={"tcp-connections": 16, "tcp-connections-per-client": 2})
    held = [program.tcp(source) for source in (address() for _ in range(8)) for _ in range(2)]
    for tcp in held:
        tcp.send_raw(b"\0\x20\1")
    wait_until(lambda: program.counter("tcp_connections") == 16, 3, "all connections to be held")

    def served():
        with program.tcp(address()) as tcp, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            return tcp.ask(wire.query("localhost"))

    wait_until(served, 4, "a connection for a newcomer")
    for tcp in held:
        tcp.socket.close()


def test_a_client_with_every_connection_gives_way_to_others(start, upstream, address):
    program = start(upstream, limits={"tcp-connections": 8, "tcp-connections-per-client": 8})
    modest = program.tcp(address())
    assert modest.ask(wire.query("localhost"))
    greedy = address()
    held = [program.tcp(greedy) for _ in range(7)]
    assert held[-1].ask(wire.query("localhost"))
    newcomers = [program.tcp(address()) for _ in range(3)]
    for tcp in (modest, *newcomers):
        assert tcp.ask(wire.query("localhost"))
    assert program.counter("tcp_connections") == 8
    for tcp in (modest, *newcomers, *held):
        tcp.socket.close()


@pytest.mark.slow
def test_readers_who_take_no_answers_leave_tcp_to_others(start, upstream, address):
    """Enough connections of a few clients to hold every buffer for answers that wait to be written."""
    upstream.default = behaviours.addresses(2000)
    program = start(upstream)
    query = flood.framed(wire.query("large.test", edns=wire.opt(4096))) * 100
    assert program.ask("large.test", transport="tcp")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(program.tcp(source)).socket for source in (address() for _ in range(5)) for _ in range(64)]
        for s in held:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.setblocking(False)

        def closed_for_others():
            for s in held:
                with contextlib.suppress(OSError):
                    s.send(query)
            return program.counter("tcp_idle_closed_total") > 0

        wait_until(closed_for_others, 60, "readers to be cut off for others")
        for _ in range(10):
            with program.tcp(address()) as tcp:
                assert tcp.ask(wire.query("localhost"))


@pytest.mark.parametrize("name", [None, "same.test"], ids=["many_names", "one_name"])
def test_a_pulse_is_no_larger_than_the_table_in_flight(start, upstream, address, name):
    """DNSBomb: queries are held by a slow upstream and answered all at once. What a pulse can hold is bounded by in-flight, the
    rest was refused when it came; and each answer by 1,232 octets."""
    upstream.default = behaviours.delay(1.0, behaviours.addresses(60))
    limit, count = 300, 3000
    program = start(upstream, limits={"in-flight": limit})
    sizes, refused = [], 0
    with program.udp(address()) as udp:
        for i in range(count):
            udp.send(wire.query(name or f"b{i}.test", id=i, edns=wire.opt(4096)))
        while (octets := udp.receive(2)) is not None:
            if octets[3] & 15 == wire.SERVFAIL:
                refused += 1
            else:
                sizes.append(len(octets))
    assert 0 < len(sizes) <= limit and max(sizes) <= 1232
    assert refused == count - len(sizes)


def test_no_answer_to_an_answer(nodedot):
    """Two servers must never talk to each other for ever, and nobody is sent what he did not ask for (RFC 5358)."""
    answer = nodedot.exchange(wire.query("a.test"))
    error = nodedot.exchange(wire.query("a.test", flags=0))
    before = nodedot.counter("answers_total")
    with nodedot.udp() as udp:
        for octets in (answer, error, error[:12], answer[:3] + b"\x81" + answer[4:], b"\x80" * 64):
            udp.send(octets)
        assert udp.receive(0.4) is None
    assert nodedot.counter("answers_total") == before


def test_an_answer_is_never_longer_than_a_client_allows(nodedot):
    """What a forged source address would receive: at most 512 octets to a query without EDNS, 1,232 with."""
    nodedot.upstream.default = behaviours.addresses(4000)
    for transport_size, limit in ((None, 512), (1232, 1232), (65535, 1232)):
        edns = None if transport_size is None else wire.opt(transport_size)
        for qtype in (wire.A, wire.TXT, wire.ANY, 46, 48):
            octets = nodedot.exchange(wire.query("large.test", qtype, edns=edns))
            assert len(octets) <= limit
            if octets[2] & 2:
                assert len(octets) < 100  # a truncated answer carries no records at all


def test_names_with_quotes_and_newlines_leave_the_metrics_page_whole(start, upstream, address, network):
    port = network.port()
    where = address()
    program = start(upstream, metrics={"listen": f"{where}:{port}"})
    for label in (b'"', b"\n", b"}", b"{", b"\\", b'a"} 1\nevil_total{x="', b"\0\xff", b"# TYPE"):
        query = wire.query("x")[:12] + bytes([len(label)]) + label + b"\4test\0\0\1\0\1"
        answer = program.exchange(query)
        assert answer[12 : len(query)] == query[12:]
    with urllib.request.urlopen(f"http://{where}:{port}/metrics", timeout=5) as response:
        page = response.read().decode()
    lines = page.splitlines()
    sample = re.compile(r'[a-z_][a-z0-9_]*(\{([a-z_]+="[^"\\\n{}]*",?)*\})? [0-9.e+-]+|# (HELP|TYPE) .*|# EOF')
    assert len(lines) > 50 and all(sample.fullmatch(line) for line in lines)
    assert "evil" not in page and len(lines) < 2000


def test_many_families_of_bad_clients_at_once(start, upstream, address):
    """Everything together, and the bystander still loses nothing."""
    upstream.default = silent_below_mute
    program = start(upstream, server={"workers": 2}, limits={"in-flight": 500, "tcp-idle": 2})
    kinds = ("random_subdomains", "slow_loris", "never_reading", "udp_garbage")
    with bystander(program, address()):
        bad = [flood.start(kind, program, address(), FLOOD_S) for kind in kinds]
        assert all(flood.wait(process) > 0 for process in bad)
    assert client.addresses(program.ask("afterwards.test"))


def test_after_a_flood_of_connections_everything_is_given_back(start, upstream, address):
    program = start(upstream, limits={"tcp-idle": 1})
    program.ask("a.test")
    files = program.open_files()
    flood.wait(flood.start("connections_by_the_thousand", program, address(), 1.0))
    wait_until(lambda: program.counter("tcp_connections") == 0, 15, "all connections to be forgotten")
    program.wait_files_closed(files, 4)
    with socket.create_connection((program.address, program.port), 2):
        pass

"""The liveness and readiness ports."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from harness import behaviours, client, wire
from harness.program import LIVENESS_PORT, READINESS_PORT, port_open
from harness.waiting import stays, wait_until


def test_both_are_open_when_all_is_well(nodedot):
    assert nodedot.is_alive() and nodedot.is_ready()


@pytest.mark.parametrize("port", [LIVENESS_PORT, READINESS_PORT])
def test_a_probe_is_accepted_and_closed_without_a_word(nodedot, port):
    for _ in range(20):
        with socket.create_connection((nodedot.address, port), timeout=2) as s:
            s.settimeout(2)
            try:
                assert s.recv(1) == b""
            except ConnectionResetError:
                pass


def test_a_probe_that_talks_is_not_listened_to(nodedot):
    for _ in range(10):
        with socket.create_connection((nodedot.address, LIVENESS_PORT), timeout=2) as s:
            try:
                s.sendall(b"GET / HTTP/1.1\r\n\r\n" * 1000)
            except OSError:
                pass
    assert nodedot.is_alive() and nodedot.ask("a.test")


def test_probes_that_never_close_harm_nothing(nodedot):
    held = [socket.create_connection((nodedot.address, LIVENESS_PORT), timeout=2) for _ in range(100)]
    stays(nodedot.is_alive, 0.5, "liveness")
    assert nodedot.is_ready()
    for s in held:
        s.close()


def test_without_upstream_it_lives_and_is_not_ready(start, make_upstream):
    dead = make_upstream()
    dead.stop_listening()
    program = start(dead, wait="serving")
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert program.is_alive() and not program.is_ready()
        time.sleep(0.05)


def test_readiness_follows_the_upstream(start, make_upstream):
    server = make_upstream()
    server.stop_listening()
    program = start(server, wait="serving")
    assert not program.is_ready()
    server.listen_again()
    program.wait_ready(8)
    server.stop_listening()
    server.close_connections("rst")
    program.wait_not_ready(15)
    assert program.is_alive()
    server.listen_again()
    program.wait_ready(8)


def test_one_good_address_of_a_group_is_enough(start, make_upstream, authority):
    certificate = authority.issue("dot.test")
    good, dead = make_upstream(certificate), make_upstream(certificate)
    dead.stop_listening()
    program = start(dead, good)
    stays(program.is_ready, 2, "readiness")


def test_every_zone_needs_a_usable_upstream(start, upstream, make_upstream):
    other = make_upstream()
    other.stop_listening()
    program = start(
        upstream, sections={"upstream other": other.options(), "zone other.test": {"upstream": "other"}}, wait="serving"
    )
    program.ask("a.test")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert not program.is_ready() and program.is_alive()
        time.sleep(0.05)
    other.listen_again()
    program.wait_ready(8)


def test_a_plain_upstream_is_usable_when_it_answers(start, make_upstream):
    server = make_upstream()
    server.mode = "stall-answers"
    program = start(server, auth="plain", wait="serving")
    time.sleep(0.5)
    assert not program.is_ready()
    server.mode = "serve"
    program.wait_ready(8)


def test_a_plain_upstream_that_went_away_is_noticed(start, upstream):
    program = start(upstream, auth="plain")
    upstream.mode = "stall-answers"
    for i in range(3):
        program.exchange(wire.query(f"lost{i}.test"), timeout=1)
    program.wait_not_ready(20)
    upstream.mode = "serve"
    program.wait_ready(8)


def test_failures_of_single_questions_do_not_touch_readiness(nodedot):
    nodedot.upstream.behave("fail.test", behaviours.failure())
    for _ in range(20):
        nodedot.ask("fail.test")
    stays(nodedot.is_ready, 0.5, "readiness")


FLOOD = """
import socket, sys, time
end, held = time.monotonic() + float(sys.argv[4]), []
while time.monotonic() < end:
    s = socket.socket()
    s.setblocking(False)
    s.bind((sys.argv[3], 0))
    s.connect_ex((sys.argv[1], int(sys.argv[2])))
    held.append(s)
    if len(held) == 400:
        for s in held[:200]:
            s.close()
        del held[:200]
"""


@contextlib.contextmanager
def flooded(program, port, source, seconds):
    flood = subprocess.Popen([sys.executable, "-c", FLOOD, program.address, str(port), source, str(seconds)])
    try:
        yield flood
    finally:
        flood.kill()
        flood.wait()


@pytest.mark.quiet
@pytest.mark.parametrize("port", [LIVENESS_PORT, READINESS_PORT])
def test_a_flood_of_connections_fails_no_probe(nodedot, address, port):
    """A probe that found no room would be let in after a second, when the kubelet's time-out has passed."""
    results = []
    with flooded(nodedot, port, address(), 3) as flood:
        while flood.poll() is None:
            results.append(port_open(nodedot.address, port, timeout=0.9))
            time.sleep(0.03)
        assert flood.wait() == 0
    assert len(results) > 10
    # The first may come before the flood was noticed.
    assert results.count(False) <= 1


@pytest.mark.quiet
def test_after_a_flood_a_hung_supervisor_is_noticed_as_before(nodedot, address):
    with flooded(nodedot, LIVENESS_PORT, address(), 0.5) as flood:
        assert flood.wait() == 0
    time.sleep(2.5)  # nothing tells when the backlog is the short one again
    test_a_hung_supervisor_stops_answering_within_three_probes(nodedot, LIVENESS_PORT)


@pytest.mark.quiet
@pytest.mark.parametrize("port", [LIVENESS_PORT, READINESS_PORT])
def test_a_hung_supervisor_stops_answering_within_three_probes(nodedot, port):
    """The kernel answers for it as long as there is room in the backlog."""
    os.kill(nodedot.supervisor(), signal.SIGSTOP)
    try:
        results = [port_open(nodedot.address, port, timeout=0.5) for _ in range(4)]
        assert results[3] is False
        # The resolver goes on: a hung supervisor costs no answer.
        assert client.addresses(nodedot.ask("a.test")) == [wire.address_of("a.test")]
    finally:
        os.kill(nodedot.supervisor(), signal.SIGCONT)
    wait_until(lambda: port_open(nodedot.address, port, timeout=0.2), 5, "the port to answer again")


def test_liveness_closes_when_new_generations_do_not_help(nodedot):
    """Five lost within 30 s."""
    killed = set()
    deadline = time.monotonic() + 25
    while nodedot.is_alive():
        assert time.monotonic() < deadline, f"{len(killed)} resolvers were lost and it still claims to live"
        for pid in nodedot.resolvers():
            if pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.02)
    assert len(killed) >= 5
    nodedot.wait_log(r"level=error ")


def test_four_lost_generations_are_lived_with(nodedot):
    for _ in range(4):
        first = nodedot.resolver()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: nodedot.resolvers() not in ([first], []), 10, "another resolver")
    stays(nodedot.is_alive, 1, "liveness")


def test_a_crashed_resolver_costs_readiness_a_moment_at_most(nodedot):
    os.kill(nodedot.resolver(), signal.SIGKILL)
    stays(nodedot.is_alive, 1, "liveness")
    nodedot.wait_ready(3)


def test_readiness_closes_first_at_a_stop(nodedot):
    nodedot.upstream.behave("slow.test", behaviours.delay(1.2))
    with nodedot.udp() as udp:
        udp.send(wire.query("slow.test"))
        wait_until(lambda: nodedot.upstream.asked("slow.test"), 5, "the question to reach the upstream")
        nodedot.signal(signal.SIGTERM)
        wait_until(lambda: not nodedot.is_ready(), 0.8, "readiness to close")
        assert udp.receive()[3] & 15 == wire.NOERROR
    assert nodedot.process.wait(4) == 0


def test_ports_and_addresses_are_configurable(start, upstream, address):
    first, second = address(), address()
    program = start(
        upstream,
        probes={"address": f"{first}, {second}", "liveness-port": 19551, "readiness-port": 19552},
        wait="serving",
    )
    for where in (first, second):
        wait_until(lambda: port_open(where, 19551) and port_open(where, 19552), 10, "both ports")
    assert not port_open(program.address, LIVENESS_PORT) and not port_open(program.address, 19551)


def test_probes_are_open_on_the_first_listen_address_alone(start, upstream, address):
    second = address()
    program = start(upstream, server={"listen": f"{address()}:5353, {second}:5353"})
    assert program.is_alive() and not port_open(second, LIVENESS_PORT)


def test_the_listening_ports_are_open_from_the_first_start_on(start, make_upstream):
    dead = make_upstream()
    dead.stop_listening()
    program = start(dead, wait="serving")
    assert port_open(program.address, program.port)
    assert client.addresses(program.ask("localhost", transport="tcp")) == ["127.0.0.1"]


def test_probing_leaves_no_file_open(nodedot):
    before = nodedot.open_files()
    for _ in range(50):
        assert nodedot.is_alive()
    nodedot.wait_files_closed(before, 1)

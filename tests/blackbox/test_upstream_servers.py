"""Real servers as upstreams: Unbound, Knot Resolver and dnsdist, as the distribution ships them."""

import time

import pytest

from harness import client, wire
from harness.fake import DOT_PORT
from harness.relay import Relay
from harness.servers import ADDRESS, RESOLVERS, ZONE, Server
from harness.waiting import wait_until

SERVERS = [pytest.param(name, marks=pytest.mark.needs_server(name)) for name in RESOLVERS]
QUERIES = 3000
RATE = 600


@pytest.fixture(params=SERVERS)
def server(request, tmp_path, address, authority):
    where = address()
    running = Server(request.param, tmp_path / request.param, where, authority.issue("dot.test", where))
    yield running
    running.stop()


class Flood(client.Load):
    """A load whose right answer is the one address that the real servers give."""

    def _account(self, number, data):
        super()._account(number, data)
        if (
            self.wrong
            and self.wrong[-1][1] is data
            and not data[3] & 15
            and data.endswith(bytes(map(int, ADDRESS.split("."))))
        ):
            self.wrong.pop()


def flood(program, seconds):
    names = client.distinct_names(suffix=ZONE)
    with Flood(program.address, program.port, RATE, names) as load:
        time.sleep(seconds)
    return load


@pytest.mark.slow
def test_thousands_of_queries_lose_nothing_over_few_connections(start, server):
    program = start(server)
    load = flood(program, QUERIES / RATE)
    assert load.sent >= QUERIES * 0.9
    assert not load.lost and not load.wrong
    counters = program.counters()
    handshakes = counters["handshakes_full_total"] + counters["handshakes_resumed_total"]
    assert server.connections() <= 4
    # A server may close a connection after so many queries (Unbound does after a time); one revalidates.
    assert handshakes <= 4 + load.sent / 200
    assert counters["upstream_mismatched_total"] == counters["upstream_broken_total"] == 0
    assert counters["upstream_foreign_total"] == 0


def test_answers_come_over_udp_and_tcp_in_both_families(start, server, network):
    address = network.address()
    port = network.port()
    start(server, server={"listen": f"{address}:{port}, [::1]:{port}"})
    for where, kind in ((address, client.Udp), (address, client.Tcp), ("::1", client.Udp), ("::1", client.Tcp)):
        with kind(where, port) as c:
            answer = client.parse(c.ask(wire.query(f"both.{ZONE}")))
            assert client.addresses(answer) == [ADDRESS]


def test_a_name_without_records_is_passed_on(start, server):
    program = start(server)
    answer = program.ask(f"nothing.{ZONE}", "AAAA")
    assert not client.addresses(answer)


def test_new_connections_resume_the_session(start, server, address):
    """Connections are cut in the way again and again: new ones need no new proof."""
    where = address()
    relay = Relay(where, DOT_PORT, (server.address, DOT_PORT))
    program = start(server, up={"address": f"{where}:{DOT_PORT}"})
    for number in range(8):
        assert client.addresses(program.ask(f"n{number}.{ZONE}")) == [ADDRESS]
        relay.cut()
    assert program.counter("handshakes_resumed_total") >= 4
    program.stop()
    relay.stop()


@pytest.mark.slow
def test_a_restarted_server_is_used_again_within_five_seconds(start, server, tmp_path):
    program = start(server)
    program.ask(f"before.{ZONE}")
    server.stop()
    wait_until(lambda: not program.is_ready() or server.connections() == 0, 10, "the loss to be noticed")
    again = Server(server.name, tmp_path / "again", server.address, server.certificate)
    try:
        began = time.monotonic()

        def answers():
            a = program.exchange(wire.query(f"after{time.monotonic()}.{ZONE}"), timeout=5)
            return a is not None and not a[3] & 15

        wait_until(answers, 8, "an answer after the restart")
        assert time.monotonic() - began < 5.5
    finally:
        again.stop()

"""Servers on other TLS libraries than ours: OpenSSL, GnuTLS and Go's crypto/tls, with the tickets that they send."""

import pytest

from harness import client, wire
from harness.fake import DOT_PORT
from harness.relay import Relay
from harness.stacks import STACKS, VERSIONS
from harness.waiting import wait_until

QUERIES = 20
CUTS = 5


def ask_many(program, prefix):
    for i in range(QUERIES):
        name = f"{prefix}{i}.test"
        assert client.addresses(program.ask(name)) == [wire.address_of(name)]


def check_resumption(program, relay):
    """Connections are cut in the way; those that follow resume, and answer."""
    for i in range(CUTS):
        connected = program.counter("handshakes_resumed_total") + program.counter("handshakes_full_total")
        relay.cut()
        ask_many(program, f"cut{i}-")
        wait_until(
            lambda: program.counter("handshakes_resumed_total") + program.counter("handshakes_full_total") > connected,
            10,
            "a new connection",
        )
    assert program.counter("handshakes_resumed_total") > 0


@pytest.fixture
def through(address):
    """A function that puts a relay before a server's DoT port; it gives the relay and its address."""
    made = []

    def through(target):
        where = address()
        made.append(Relay(where, DOT_PORT, (target, DOT_PORT)))
        return made[-1], f"{where}:{DOT_PORT}"

    yield through
    for relay in made:
        relay.stop()


def check(start, upstream, relay, where):
    program = start(upstream, up={"address": where})
    ask_many(program, "first")
    assert program.counter("upstream_broken_total") == 0
    check_resumption(program, relay)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tickets", [1, 2, 10])
def test_openssl(make_upstream, through, start, version, tickets):
    server = make_upstream(tls12_only=version == "1.2", tls13_only=version == "1.3", tickets=tickets)
    check(start, server, *through(server.address))


@pytest.fixture
def make_stack(tmp_path, address, make_upstream):
    """A function that starts a server on another library, and gives the fake server behind it and its own address."""
    made = []

    def make(stack, version):
        if not STACKS[stack].is_there():
            pytest.skip(f"{stack} is not installed")
        behind, where = make_upstream(), address()
        made.append(STACKS[stack](tmp_path, where, behind.certificate, (behind.address, behind.plain_port), version))
        return behind, where

    yield make
    for server in made:
        server.stop()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stack", STACKS)
def test_other_stacks(make_stack, through, start, stack, version):
    behind, where = make_stack(stack, version)
    check(start, behind, *through(where))

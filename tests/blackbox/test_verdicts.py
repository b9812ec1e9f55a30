"""Whose failure it is: what one thread, or this node itself, cannot do is never said of the upstream."""

import contextlib
import itertools
import json
import os
import time

import pytest

from harness import behaviours, client, wire
from harness.program import run
from harness.waiting import wait_until


def right(answer, name):
    return answer.rcode() == wire.NOERROR and client.addresses(answer) == [wire.address_of(name)]


def row_of(program):
    shown = json.loads(run("status", "-c", program.file, "--json").stdout)
    return shown["upstreams"][0]["addresses"][0]


def plain_fallback(make_upstream):
    """A plain server, and the sections that make it the fallback of "up"."""
    plain = make_upstream()
    return plain, {"up": {"fallback": "plain"}, "sections": {"upstream plain": plain.options("plain")}}


def names_of(server):
    return [q.name for q in list(server.queries) if q.name]


@pytest.mark.parametrize("workers", [1, 4, 16])
@pytest.mark.parametrize("force_tcp", [False, True], ids=["dot", "tcp"])
def test_an_upstream_that_allows_two_connections_serves_all_threads(start, upstream, make_upstream, workers, force_tcp):
    """Threads without a connection of their own ask over those of others, and nothing leaves in clear text."""
    upstream.max_connections = 2
    plain, settings = plain_fallback(make_upstream)
    if force_tcp:
        settings["up"]["force-tcp"] = "yes"
    program = start(upstream, auth="plain" if force_tcp else "pin", server={"workers": workers}, **settings)
    end = time.monotonic() + 5
    number = 0
    while time.monotonic() < end:
        name = f"capped{number}.test"
        assert right(program.ask(name), name)  # each from a socket of its own, so that all threads are asked
        number += 1
        time.sleep(0.005)
    assert names_of(plain) == []
    assert program.is_ready() and row_of(program)["state"] == "valid"
    if workers > 2:
        assert program.counter("upstream_relayed_total") > 0
    assert len(upstream.queries) <= 1.05 * number + 50  # what is asked twice at the start, and probes


def test_an_upstream_that_stops_answering_over_its_two_connections_is_replaced(start, upstream, make_upstream):
    """The threads without a connection do not take those of others for a sign of life for ever."""
    upstream.max_connections = 2
    plain, settings = plain_fallback(make_upstream)
    program = start(upstream, server={"workers": 4}, **settings)
    assert right(program.ask("before.test"), "before.test")
    upstream.mode = "stall-answers"
    wait_until(lambda: right(program.ask("after.test"), "after.test"), 12, "the fallback")
    assert names_of(plain)
    upstream.mode = "serve"
    numbers = itertools.count()

    def is_back():
        name = f"back{next(numbers)}.test"
        return right(program.ask(name), name) and upstream.asked(name)

    wait_until(is_back, 20, "the upstream")


def test_a_proof_is_renewed_where_no_connection_is_to_be_had_for_it(start, upstream, make_upstream):
    upstream.max_connections = 2
    plain, settings = plain_fallback(make_upstream)
    settings["up"]["revalidate"] = 10
    program = start(upstream, server={"workers": 4}, **settings)
    first = row_of(program)["last_validation_at"]
    end = time.monotonic() + 28  # past the period and its grace
    number = 0
    while time.monotonic() < end:
        name = f"renewed{number}.test"
        assert right(program.ask(name), name)
        number += 1
        time.sleep(0.05)
    assert row_of(program)["last_validation_at"] != first
    assert program.is_ready() and names_of(plain) == []


# Shortages of this node --------------------------------------------------------------------------------------------------------

NOT_READY = 14  # RFC 8914


FILES = 64


def files_of(program):
    return len(os.listdir(f"/proc/{program.resolver()}/fd"))


@contextlib.contextmanager
def without_descriptors(program):
    """Clients that connect take all that the resolver may have; they are gone afterwards."""
    with contextlib.ExitStack() as stack:
        for _ in range(FILES):
            stack.enter_context(program.tcp())
        wait_until(lambda: files_of(program) >= FILES, 10, "the descriptors to be used up")
        yield
    wait_until(lambda: files_of(program) < FILES / 2, 10, "the descriptors to be free")


def answer_in_time(program, name, ede):
    began = time.monotonic()
    answer = program.ask(name, edns=True)
    assert time.monotonic() - began < 1
    return answer.rcode() == wire.SERVFAIL and ede in client.ede_codes(answer)


def start_short(start, upstream, auth, settings):
    return start(
        upstream,
        auth=auth,
        under=["prlimit", f"--nofile={FILES}:{FILES}"],
        limits={"tcp-connections-per-client": 1024, "tcp-idle": 60},
        **settings,
    )


def assert_well_but_short(program, shortages):
    row = row_of(program)
    assert row["state"] == "valid" and row["failures"] == 0 and row["local_shortages"] >= shortages
    assert program.is_ready()
    program.wait_log("this node is out of resources")


@pytest.mark.needs_root
def test_no_descriptor_for_a_datagram_is_a_shortage_of_this_node(start, upstream, make_upstream):
    plain, settings = plain_fallback(make_upstream)
    program = start_short(start, upstream, "plain", settings)
    assert right(program.ask("before.test"), "before.test")
    with without_descriptors(program):
        for number in range(30):
            assert answer_in_time(program, f"short{number}.test", NOT_READY)
            time.sleep(0.1)
        assert_well_but_short(program, 30)
    assert names_of(plain) == []
    assert right(program.ask("after.test"), "after.test")


@pytest.mark.needs_root
def test_no_descriptor_for_one_more_connection_is_a_shortage_of_this_node(start, upstream, make_upstream):
    plain, settings = plain_fallback(make_upstream)
    upstream.default = behaviours.delay(0.3)
    program = start_short(start, upstream, "pin", settings)
    assert right(program.ask("before.test"), "before.test")
    with without_descriptors(program), program.udp() as udp:
        for number in range(200):  # more than one connection is to carry
            udp.send(wire.query(f"many{number}.test", id=number))
        answers = [client.parse(udp.receive()) for _ in range(200)]
        assert all(answer.rcode() == wire.NOERROR for answer in answers)
        assert_well_but_short(program, 1)
    assert names_of(plain) == []

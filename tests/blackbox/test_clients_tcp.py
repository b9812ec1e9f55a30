"""Clients over TCP: proper ones (RFC 7766) and the numbers that others have suffered from."""

import random
import socket
import struct
import time

import pytest

from harness import behaviours, client, wire
from harness.waiting import wait_until

IDLE_S = 2  # as these tests configure tcp-idle; the default of 10 s takes too long
SLACK_S = 1.5


def serves_others(program, name="others.test"):
    began = time.monotonic()
    assert client.addresses(program.ask(name, transport="tcp")) == [wire.address_of(name)]
    assert client.addresses(program.ask(name)) == [wire.address_of(name)]
    assert time.monotonic() - began < 2


@pytest.fixture
def impatient(start, upstream):
    program = start(upstream, limits={"tcp-idle": IDLE_S})
    program.upstream = upstream
    return program


# Proper clients -----------------------------------------------------------------------------------------------------------


def test_many_queries_share_one_connection(nodedot):
    with nodedot.tcp() as tcp:
        for i in range(100):
            answer = client.parse(tcp.ask(wire.query(f"t{i}.test", id=i)))
            assert answer.id == i and client.addresses(answer) == [wire.address_of(f"t{i}.test")]
    assert nodedot.counter("tcp_accepted_total") == 1


@pytest.mark.parametrize("count", [2, 100, 2000])
def test_pipelined_queries_are_all_answered(nodedot, count):
    with nodedot.tcp() as tcp:
        tcp.send(*(wire.query(f"p{i}.test", id=i) for i in range(count)))
        answers = [client.parse(tcp.receive()) for _ in range(count)]
    assert sorted(a.id for a in answers) == list(range(count))
    for a in answers:
        assert client.addresses(a) == [wire.address_of(f"p{a.id}.test")]


def test_a_quick_answer_overtakes_a_slow_one(nodedot):
    nodedot.upstream.behave("slow.test", behaviours.delay(1.5))
    nodedot.upstream.behave("quick.test", behaviours.delay(0.001))
    with nodedot.tcp() as tcp:
        began = time.monotonic()
        tcp.send(wire.query("slow.test", id=1), wire.query("quick.test", id=2))
        assert tcp.receive()[:2] == b"\0\2"
        assert time.monotonic() - began < 1.0
        assert tcp.receive()[:2] == b"\0\1"


def test_a_and_aaaa_on_one_connection_are_both_answered(nodedot):
    """As glibc does with use-vc."""
    with nodedot.tcp() as tcp:
        tcp.send(wire.query("both.test", wire.A, id=1), wire.query("both.test", wire.AAAA, id=2))
        assert {tcp.receive()[:2], tcp.receive()[:2]} == {b"\0\1", b"\0\2"}


def test_a_query_may_come_octet_by_octet(nodedot):
    query = wire.query("bytes.test")
    with nodedot.tcp() as tcp:
        for octet in struct.pack("!H", len(query)) + query:
            tcp.send_raw(bytes([octet]))
            time.sleep(0.002)
        assert client.addresses(client.parse(tcp.receive())) == [wire.address_of("bytes.test")]


def test_frames_may_be_cut_anywhere(nodedot):
    stream = b"".join(struct.pack("!H", len(q)) + q for q in (wire.query(f"cut{i}.test", id=i) for i in range(20)))
    for size in (1, 2, 3, 33, 34, 35, 100):
        with nodedot.tcp() as tcp:
            for at in range(0, len(stream), size):
                tcp.send_raw(stream[at : at + size])
            assert sorted(tcp.receive()[1] for _ in range(20)) == list(range(20))


def test_a_half_closed_client_gets_all_its_answers(nodedot):
    nodedot.upstream.default = behaviours.delay(0.2)
    with nodedot.tcp() as tcp:
        tcp.send(*(wire.query(f"half{i}.test", id=i) for i in range(50)))
        tcp.finish_sending()
        assert sorted(struct.unpack_from("!H", tcp.receive())[0] for _ in range(50)) == list(range(50))
        assert tcp.receive() is None


def test_a_client_that_sends_nothing_and_closes_is_closed(nodedot):
    with nodedot.tcp() as tcp:
        tcp.finish_sending()
        assert tcp.receive() is None
    wait_until(lambda: nodedot.counter("tcp_connections") == 0, 5, "the connection to be forgotten")


def test_answers_for_a_client_that_left_are_dropped_and_counted(nodedot):
    nodedot.upstream.behave("late.test", behaviours.delay(0.3))
    with nodedot.tcp() as tcp:
        tcp.send(wire.query("late.test"))
        wait_until(lambda: nodedot.upstream.asked("late.test"), 5, "the question to reach the upstream")
        tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    nodedot.wait_counter("dropped_client_gone_total", 1)
    serves_others(nodedot)


def test_the_largest_answer_comes_whole(nodedot):
    """65,535 octets: the greatest length that a frame can have."""
    per_record = 16
    room = 65535 - len(wire.query("huge.test", edns=wire.opt()))  # the upstream's answer has an OPT
    nodedot.upstream.behave("huge.test", behaviours.addresses(room // per_record))
    octets = nodedot.exchange(wire.query("huge.test"), "tcp")
    assert len(client.addresses(client.parse(octets))) == room // per_record


def test_an_answer_that_would_outgrow_a_frame_is_truncated_or_refused_and_nothing_else(nodedot):
    """From upstream 65,535 octets without OPT; with the client's OPT it would be more."""

    def fill(q):
        head = len(wire.answer(q, edns=False))
        count, rest = divmod(65535 - head, 16)
        return wire.answer(
            q,
            [wire.record(wire.A, 300, b"\1\2\3\4")] * (count - 2)
            + [wire.record(wire.TXT, 300, b"\0" * (16 * 2 + rest - 12))],
            edns=False,
        )

    nodedot.upstream.behave("full.test", behaviours.raw(fill))
    octets = nodedot.exchange(wire.query("full.test", edns=wire.opt()), "tcp")
    assert octets is not None and len(octets) <= 65535
    answer = client.parse(octets)
    assert answer.edns == 0 and (answer.flags & wire.TC or answer.rcode() == wire.SERVFAIL)
    serves_others(nodedot)


@pytest.mark.slow
def test_one_connection_with_a_million_queries_keeps_memory_flat(nodedot):
    nodedot.ask("million.test")
    batch = 2000
    frames = b"".join(struct.pack("!H", len(q)) + q for q in (wire.query("million.test", id=i) for i in range(batch)))
    answer_size = len(nodedot.exchange(wire.query("million.test"))) + 2
    with nodedot.tcp() as tcp:

        def one_batch():
            tcp.send_raw(frames)
            left = batch * answer_size
            while left:
                data = tcp.socket.recv(min(left, 1 << 20))
                assert data, "closed in the middle"
                left -= len(data)

        one_batch()
        before = nodedot.memory_kib()
        for _ in range(1_000_000 // batch):
            one_batch()
        nodedot.assert_grew_less(before, 512)


# Time ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.quiet
def test_an_idle_connection_is_closed_after_the_limit_and_not_before(impatient):
    with impatient.tcp() as never, impatient.tcp() as once:
        once.ask(wire.query())
        took = once.wait_closed(IDLE_S + 4)
        assert IDLE_S - 0.2 <= took <= IDLE_S + SLACK_S
        assert never.wait_closed(SLACK_S) <= SLACK_S
    assert impatient.counter("tcp_idle_closed_total") == 2


@pytest.mark.slow
def test_a_connection_in_use_stays_open(impatient):
    """One query each 0.1 s, then each 1.2 s, for longer than the idle limit."""
    with impatient.tcp() as tcp:
        for pause, times in ((0.1, 30), (1.2, 5)):
            for _ in range(times):
                time.sleep(pause)
                assert tcp.ask(wire.query())


@pytest.mark.slow
def test_with_the_default_limit_a_query_each_seven_seconds_keeps_it_open(nodedot):
    with nodedot.tcp() as tcp:
        for pause in (0.1, 3, 7, 7):
            time.sleep(pause)
            assert tcp.ask(wire.query())


def test_a_connection_is_not_idle_while_an_answer_is_due(impatient):
    impatient.upstream.behave("slow.test", behaviours.delay(IDLE_S + 1.0))
    with impatient.tcp() as tcp:
        assert client.addresses(client.parse(tcp.ask(wire.query("slow.test")))) == [wire.address_of("slow.test")]


def test_slow_loris_is_closed(impatient):
    """One octet a second: only a full message restarts the clock (RFC 7766 section 6.2.3)."""
    query = wire.query("loris.test")
    stream = struct.pack("!H", len(query)) + query
    with impatient.tcp() as tcp:
        began = time.monotonic()
        with pytest.raises((ConnectionResetError, BrokenPipeError, ConnectionAbortedError)):
            for octet in stream:
                tcp.send_raw(bytes([octet]))
                tcp.socket.settimeout(0.5)
                try:
                    if not tcp.socket.recv(100):
                        raise ConnectionResetError
                except TimeoutError:
                    pass
        assert time.monotonic() - began < IDLE_S + 3
    serves_others(impatient)


# Bad clients ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1024, 65533])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_garbage_frames_harm_nobody_else(nodedot, size, count):
    rng = random.Random(size + count)
    pid = nodedot.resolver()
    with nodedot.tcp() as tcp, nodedot.tcp() as neighbour:
        tcp.send(*(b"\0\1\1" + rng.randbytes(size - 3) for _ in range(count)))
        assert neighbour.ask(wire.query("neighbour.test"))
    serves_others(nodedot)
    assert nodedot.resolver() == pid


@pytest.mark.parametrize("error", [-1, 1, -12, 100, 7680])
def test_a_wrong_length_prefix_harms_nobody_else(impatient, error):
    query = wire.query("prefix.test")
    with impatient.tcp() as tcp, impatient.tcp() as neighbour:
        tcp.send_raw(struct.pack("!H", len(query) + error) + query)
        assert neighbour.ask(wire.query("neighbour.test"))
        try:
            tcp.wait_closed(16)  # answered with FORMERR or not at all; closed in the end
        except ConnectionResetError:
            pass
    serves_others(impatient)


@pytest.mark.parametrize("size,count", [(0, 100_000), (1024, 1000), (65533, 100), (1, 1000), (11, 1000), (12, 1000)])
def test_floods_of_garbage_are_survived(impatient, size, count):
    pid = impatient.resolver()
    frame = struct.pack("!H", size) + random.Random(size).randbytes(size)
    with impatient.tcp() as tcp:
        try:
            for _ in range(0, count, 100):
                tcp.send_raw(frame * 100)
        except (ConnectionResetError, BrokenPipeError, TimeoutError):
            pass
    serves_others(impatient)
    assert impatient.resolver() == pid


def test_a_client_that_floods_and_never_reads_is_closed(impatient):
    """10,000 queries for a large answer: the kernel's buffers and ours fill, then the clock runs."""
    impatient.upstream.behave("big.test", behaviours.addresses(1000))
    impatient.ask("big.test", transport="tcp")
    before = impatient.memory_kib()
    with impatient.tcp() as tcp:
        query = wire.query("big.test")
        tcp.socket.settimeout(0.5)
        try:
            tcp.send_raw((struct.pack("!H", len(query)) + query) * 10_000)
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
        impatient.assert_grew_less(before, 2048)
        serves_others(impatient)
        wait_until(lambda: impatient.counter("tcp_connections") == 0, IDLE_S + 10, "the connection to be closed")
    serves_others(impatient)


def test_a_client_that_floods_and_closes_is_survived(nodedot):
    pid = nodedot.resolver()
    for name in ("flood.test", "localhost"):
        query = wire.query(name)
        for _ in range(3):
            with nodedot.tcp() as tcp:
                tcp.socket.settimeout(2)
                try:
                    tcp.send_raw((struct.pack("!H", len(query)) + query) * 10_000)
                except TimeoutError:
                    pass
    serves_others(nodedot)
    assert nodedot.resolver() == pid
    wait_until(lambda: nodedot.counter("in_flight") == 0, 5, "no query to be left in flight")


@pytest.mark.slow
def test_a_flood_of_connections_is_survived(start, upstream, address):
    program = start(upstream, limits={"tcp-connections": 300, "tcp-connections-per-client": 300})
    files = program.open_files()
    for _ in range(10):
        sockets = []
        for _ in range(1000):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex((program.address, program.port))
            sockets.append(s)
        assert program.ask("others.test")  # over UDP, at once
        for s in sockets:
            s.close()
    wait_until(lambda: program.counter("tcp_connections") == 0, 15, "all connections to be forgotten")
    serves_others(program)
    program.wait_files_closed(files, 2)


def test_a_request_of_65533_octets_costs_little_memory(impatient):
    """Twenty clients at once, all but the last octet sent: less than four times the octets."""
    before = impatient.memory_kib()
    clients = [impatient.tcp() for _ in range(20)]
    query = wire.query(edns=wire.opt(options=wire.option(65001, b"a" * (65533 - 44))))
    assert len(query) == 65533
    for tcp in clients:
        tcp.send_raw(struct.pack("!H", len(query)) + query[:-1])
    time.sleep(0.3)
    impatient.assert_grew_less(before, 20 * 4 * 64)
    for tcp in clients:
        tcp.send_raw(query[-1:])
        assert tcp.receive() is not None
        tcp.socket.close()


def test_a_reset_in_the_middle_of_everything_is_survived(nodedot):
    nodedot.upstream.default = behaviours.delay(0.05)
    pid = nodedot.resolver()
    for i in range(100):
        with nodedot.tcp() as tcp:
            tcp.send(*(wire.query(f"reset{i}-{j}.test", id=j) for j in range(5)))
            tcp.send_raw(b"\0")
            tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    serves_others(nodedot)
    assert nodedot.resolver() == pid
    wait_until(lambda: nodedot.counter("tcp_connections") == 0, 5, "all connections to be forgotten")


def test_ipv6_clients_over_tcp(start, upstream, address, network):
    port = network.port()
    start(upstream, server={"listen": f"{address()}:{port}, [::1]:{port}"})
    with client.Tcp("::1", port) as tcp:
        assert client.addresses(client.parse(tcp.ask(wire.query("six.test")))) == [wire.address_of("six.test")]

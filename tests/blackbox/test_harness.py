"""The tests' own tools: does the fake server do what the other tests say it did?"""

import socket
import ssl
import struct
import time

import pytest

from harness import behaviours, client, wire


class DotClient:
    """A minimal DoT client that believes everything."""

    def __init__(self, server, version=None, session=None, sni="dot.test"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["dot"])
        if version:
            context.maximum_version = version
        raw = socket.create_connection((server.address, server.dot_port), timeout=5)
        self.tls = context.wrap_socket(raw, server_hostname=sni, session=session)
        self.buffer = b""

    def send(self, *messages):
        self.tls.sendall(b"".join(struct.pack("!H", len(m)) + m for m in messages))

    def receive(self):
        while len(self.buffer) < 2 or len(self.buffer) < 2 + struct.unpack_from("!H", self.buffer)[0]:
            data = self.tls.recv(65536)
            if not data:
                return None
            self.buffer += data
        length = struct.unpack_from("!H", self.buffer)[0]
        message, self.buffer = self.buffer[2 : 2 + length], self.buffer[2 + length :]
        return message

    def ask(self, octets):
        self.send(octets)
        return self.receive()


def test_a_proper_answer_carries_the_address_of_its_name(upstream):
    answer = client.parse(DotClient(upstream).ask(wire.query("a.test", edns=wire.opt())))
    assert client.addresses(answer) == [wire.address_of("a.test")]
    assert answer.edns == 0


def test_queries_and_connections_are_recorded(upstream):
    dot = DotClient(upstream)
    dot.ask(wire.query("a.test", edns=wire.opt(options=wire.option(wire.PADDING, b"\0" * 20))))
    dot.ask(wire.query("b.test"))
    connection = upstream.connections[0]
    assert [q.name for q in upstream.queries] == ["a.test", "b.test"]
    assert upstream.queries[0].options == {wire.PADDING: b"\0" * 20}
    assert (connection.sni, connection.alpn, connection.version) == ("dot.test", "dot", "TLSv1.3")
    assert connection.records == 2 and not connection.resumed


@pytest.mark.parametrize("how", ["notify", "fin", "rst"])
def test_connections_end_as_told(upstream, how):
    """close_notify is one more record; an end without it is a bare FIN or a reset."""

    def end_of(sock):
        octets = 0
        try:
            while data := sock.recv(65536):
                octets += len(data)
        except ConnectionResetError:
            return octets, "rst"
        return octets, "fin"

    upstream.close_after_queries = (1, how)
    upstream.default = behaviours.drop()
    dot = DotClient(upstream)
    dot.tls.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):  # the session tickets
        while True:
            time.sleep(0.05)
            dot.tls.read()
    dot.tls.setblocking(True)
    dot.send(wire.query("a.test"))
    octets, end = end_of(socket.socket(fileno=dot.tls.detach()))
    assert (octets > 0, end) == {"notify": (True, "fin"), "fin": (False, "fin"), "rst": (False, "rst")}[how]


def test_answers_come_in_reverse_order(upstream):
    upstream.reverse = 0.1
    dot = DotClient(upstream)
    dot.send(*(wire.query("a.test", id=i) for i in range(5)))
    assert [struct.unpack_from("!H", dot.receive())[0] for _ in range(5)] == [4, 3, 2, 1, 0]


def test_answers_come_octet_by_octet(upstream):
    upstream.split = True
    assert DotClient(upstream).ask(wire.query("a.test"))[:2] == b"\x12\x34"


def test_delays_do_not_hold_up_others(upstream):
    upstream.behave("slow.test", behaviours.delay(0.2))
    dot = DotClient(upstream)
    dot.send(wire.query("slow.test", id=1), wire.query("fast.test", id=2))
    assert [dot.receive()[:2], dot.receive()[:2]] == [b"\0\2", b"\0\1"]


def test_tls_1_2_and_session_tickets(make_upstream):
    old = make_upstream(tls12_only=True)
    DotClient(old).ask(wire.query())
    assert old.connections[0].version == "TLSv1.2"
    new = make_upstream()
    first = DotClient(new)
    first.ask(wire.query())
    again = DotClient.__new__(DotClient)
    context = first.tls.context
    raw = socket.create_connection((new.address, new.dot_port), timeout=5)
    again.tls, again.buffer = context.wrap_socket(raw, server_hostname="dot.test", session=first.tls.session), b""
    again.ask(wire.query())
    assert [c.resumed for c in new.connections] == [False, True]


def test_stalls(make_upstream):
    for mode in ("stall-accept", "stall-handshake"):
        server = make_upstream()
        server.mode = mode
        with socket.create_connection((server.address, server.dot_port), timeout=5) as s:
            s.sendall(b"\x16\x03\x01\x00\x05hello")
            s.settimeout(0.2)
            with pytest.raises(TimeoutError):
                s.recv(1)


def test_a_dark_server_neither_accepts_nor_refuses(upstream):
    upstream.go_dark()
    with socket.socket() as s:
        s.settimeout(0.3)
        with pytest.raises(TimeoutError):
            s.connect((upstream.address, upstream.dot_port))
    upstream.light_up()
    assert DotClient(upstream).ask(wire.query())


def test_keepalive_is_added_to_answers_of_those_who_asked(upstream):
    upstream.keepalive = 50
    dot = DotClient(upstream)
    with_option = client.parse(dot.ask(wire.query(edns=wire.opt(options=wire.option(wire.KEEPALIVE)))))
    without = client.parse(dot.ask(wire.query(edns=wire.opt())))
    assert [o.to_wire() for o in with_option.options] == [b"\0\x32"]
    assert not without.options


def test_plain_udp_and_tcp(upstream):
    with client.Udp(upstream.address, upstream.plain_port) as udp, client.Tcp(
        upstream.address, upstream.plain_port
    ) as tcp:
        for c in (udp, tcp):
            assert client.addresses(client.parse(c.ask(wire.query("a.test")))) == [wire.address_of("a.test")]
    assert [q.transport for q in upstream.queries] == ["udp", "tcp"]


@pytest.mark.parametrize("kind", behaviours.MISMATCHES)
def test_mismatches_differ_from_the_true_answer(upstream, kind):
    upstream.default = behaviours.wrong_first(behaviours.MISMATCHES[kind])
    dot = DotClient(upstream)
    wrong, true = dot.ask(wire.query("a.test")), dot.receive()
    assert wrong != true and true.endswith(socket.inet_aton(wire.address_of("a.test")))


def test_a_load_keeps_account(upstream):
    upstream.behave("lost.test", behaviours.drop())
    upstream.behave("wrong.test", behaviours.failure())
    names = iter(["a.test", "lost.test", "wrong.test"] + ["a.test"] * 10000)
    with client.Load(upstream.address, upstream.plain_port, 300, names) as load:
        time.sleep(0.3)
        load.finish(grace=0.3)
    assert [name for name, _ in load.lost] == ["lost.test"]
    assert [name for name, _ in load.wrong] == ["wrong.test"]
    assert load.sent > 50 and load.answered == load.sent - 1

"""Clients: stub resolvers that ask properly, streams that do not, and a load that counts what it lost."""

import random
import selectors
import socket
import struct
import threading
import time

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from . import wire

TIMEOUT_S = 6.0  # a stub resolver gives up after 5


def _family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def parse(octets):
    return dns.message.from_wire(octets, ignore_trailing=False)


def addresses(answer):
    """The A and AAAA data of an answer."""
    return [r.address for rrset in answer.answer for r in rrset if r.rdtype in (wire.A, wire.AAAA)]


def ede_codes(answer):
    return [int(struct.unpack("!H", o.to_wire()[:2])[0]) for o in answer.options if int(o.otype) == wire.EDE]


class Udp:
    """One UDP socket of a client."""

    def __init__(self, address, port, source=None):
        self.socket = socket.socket(_family(address), socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((address, port))  # so an answer from anywhere else never arrives here

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, octets):
        self.socket.send(octets)

    def receive(self, timeout=TIMEOUT_S):
        """The next datagram, or None."""
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(65535)
        except (TimeoutError, ConnectionRefusedError):
            return None

    def ask(self, octets, timeout=TIMEOUT_S):
        self.send(octets)
        return self.receive(timeout)


class Tcp:
    """One TCP connection of a client."""

    def __init__(self, address, port, source=None, timeout=TIMEOUT_S):
        self.socket = socket.socket(_family(address), socket.SOCK_STREAM)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((address, port))
        self._buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *messages):
        self.socket.sendall(b"".join(struct.pack("!H", len(m)) + m for m in messages))

    def send_raw(self, octets):
        self.socket.sendall(octets)

    def receive(self, timeout=TIMEOUT_S):
        """The next message, or None when the server ended the stream. TimeoutError when nothing comes."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self._buffer) >= 2:
                length = struct.unpack_from("!H", self._buffer)[0]
                if len(self._buffer) >= 2 + length:
                    message, self._buffer = self._buffer[2 : 2 + length], self._buffer[2 + length :]
                    return message
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._buffer += data

    def ask(self, octets, timeout=TIMEOUT_S):
        self.send(octets)
        return self.receive(timeout)

    def wait_closed(self, timeout):
        """Reads until the server ends the stream; returns the seconds it took. TimeoutError when it does not."""
        start = time.monotonic()
        while self.receive(timeout - (time.monotonic() - start)) is not None:
            pass
        return time.monotonic() - start

    def finish_sending(self):
        self.socket.shutdown(socket.SHUT_WR)


def make_query(name, qtype="A", *, edns=None, do=False, ad=False, cd=False, payload=1232, options=()):
    """A proper query as dnspython makes it; edns None: only where something asks for it."""
    use = edns if edns is not None else bool(do or options)
    q = dns.message.make_query(
        name, qtype, use_edns=0 if use else -1, want_dnssec=do, payload=payload, options=list(options) or None
    )
    if ad:
        q.flags |= dns.flags.AD
    if cd:
        q.flags |= dns.flags.CD
    return q


class Load(threading.Thread):
    """Asks over UDP at a steady rate, from several ports, and keeps account of every answer. window: it asks more slowly when so
    many queries wait."""

    def __init__(self, address, port, rate, names, sockets=8, qtype=wire.A, source=None, window=None):
        super().__init__(daemon=True)
        self._names, self._rate, self._qtype = names, rate, qtype
        self._sockets = [Udp(address, port, source).socket for _ in range(sockets)]
        self._selector = selectors.DefaultSelector()
        for number, s in enumerate(self._sockets):
            s.setblocking(False)
            self._selector.register(s, selectors.EVENT_READ, number)
        self._waiting = {}  # (socket, id) -> (name, time)
        self._window = window or float("inf")
        self._end = threading.Event()
        self.sent = self.answered = 0
        self.latencies = []
        self.wrong = []  # answers that are not NOERROR with the name's own address
        self.lost = []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.finish()

    def finish(self, grace=TIMEOUT_S):
        """Stops asking, waits for what is outstanding. self.lost then names what never came."""
        if not self._end.is_set():
            self._grace = grace
            self._end.set()
        self.join()

    def run(self):
        start = time.monotonic()
        while not self._end.is_set():
            due = int((time.monotonic() - start) * self._rate) + 1
            while self.sent < due and len(self._waiting) < self._window:
                self._send_one()
            self._receive(0.5 / self._rate)
        deadline = time.monotonic() + self._grace
        while self._waiting and time.monotonic() < deadline:
            self._receive(0.05)
        self.lost = [(name, round(when - start, 3)) for name, when in self._waiting.values()]
        for s in self._sockets:
            s.close()
        self._selector.close()

    def _send_one(self):
        number = self.sent % len(self._sockets)
        qid = (self.sent // len(self._sockets)) & 0xFFFF
        name = next(self._names)
        self.sent += 1
        self._waiting[number, qid] = (name, time.monotonic())
        try:
            self._sockets[number].send(wire.query(name, self._qtype, id=qid))
        except (ConnectionRefusedError, BlockingIOError):
            pass  # it stays in the account as lost

    def _receive(self, timeout):
        for key, _ in self._selector.select(timeout):
            for _ in range(64):
                try:
                    data = key.fileobj.recv(65535)
                except (BlockingIOError, ConnectionRefusedError):
                    break
                self._account(key.data, data)

    def _account(self, number, data):
        waiting = self._waiting.pop((number, struct.unpack_from("!H", data)[0]), None)
        if waiting is None:
            self.wrong.append(("unasked", data))
            return
        name, when = waiting
        self.answered += 1
        self.latencies.append(time.monotonic() - when)
        expected = socket.inet_aton(wire.address_of(name)) if self._qtype == wire.A else None
        if data[3] & 15 or expected is not None and not data_ends_with(data, expected):
            self.wrong.append((name, data))

    def percentile(self, share):
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def data_ends_with(data, address):
    """Is this address the last record's data? (The load's queries have no EDNS, so no OPT follows.)"""
    return data[-4:] == address


def distinct_names(prefix="n", suffix="load.test", start=0):
    """Names that were never asked before."""
    tag = f"{random.getrandbits(32):08x}"
    number = start
    while True:
        yield f"{prefix}{number}.{tag}.{suffix}"
        number += 1


def same_names(names):
    while True:
        yield from names

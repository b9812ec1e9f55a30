"""A DNS server that misbehaves on request: DNS over TLS, plain UDP and plain TCP, in one thread of the test process.

TLS runs over memory buffers, so that the test decides about every octet and every close on the socket. Settings are plain
attributes, read when they matter; a test may change them while the server runs. Everything received is recorded.
"""

import heapq
import itertools
import queue
import select
import selectors
import socket
import ssl
import struct
import threading
import time
import traceback

from .behaviours import Close, Reply, proper
from .waiting import wait_until
from .wire import KEEPALIVE, Query, option

DOT_PORT = 8853
PLAIN_PORT = 5300
READ_OCTETS = 65536
PRE_SHARED_KEY, EARLY_DATA, SUPPORTED_VERSIONS = 41, 42, 43  # extensions of a ClientHello (RFC 8446 section 4.2)
APPLICATION_DATA = 23  # content type of a TLS record (RFC 8446 section 5.1)


class Connection:
    """One stream, and what was seen on it."""

    def __init__(self, server, sock, peer, number, encrypted):
        self.server, self.sock, self.peer, self.number = server, sock, peer, number
        self.opened = time.monotonic()
        self.last_query = self.opened
        self.closed = None  # who ended it: "ours", "peer-notify", "peer-fin", "peer-rst", "error"
        self.closed_at = None
        self.error = None
        self.sni = None
        self.alpn = self.version = self.cipher = None
        self.resumed = False
        self.established = not encrypted
        self.queries = []
        self.hello = b""  # what came before the handshake was done
        self.application_octets = 0
        self.records = 0  # TLS records with application data, once the handshake is done
        self._ciphertext = b""
        self._plaintext = b""
        self._out = b""
        self._held = []  # replies gathered for server.reverse
        self.incoming = self.outgoing = self.tls = None
        if encrypted:
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = server.context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    @property
    def open(self):
        return self.closed is None

    def extensions(self):
        """The extensions of the ClientHello: where their data begins, by type (RFC 8446 section 4.1.2)."""
        at = 5 + 4 + 2 + 32  # record, handshake, version, random
        at += 1 + self.hello[at]
        at += 2 + struct.unpack_from("!H", self.hello, at)[0]
        at += 1 + self.hello[at]
        end = at + 2 + struct.unpack_from("!H", self.hello, at)[0]
        at += 2
        found = {}
        while at < end:
            kind, length = struct.unpack_from("!HH", self.hello, at)
            found[kind] = at + 4
            at += 4 + length
        return found

    def offered_suites(self):
        """The numbers of the cipher suites in the ClientHello."""
        at = 5 + 4 + 2 + 32
        at += 1 + self.hello[at]
        return set(struct.unpack_from(f"!{struct.unpack_from('!H', self.hello, at)[0] // 2}H", self.hello, at + 2))

    def offered_versions(self):
        """TLS versions, the best first (RFC 8446 section 4.2.1)."""
        at = self.extensions()[SUPPORTED_VERSIONS]
        return list(struct.unpack_from(f"!{self.hello[at] // 2}H", self.hello, at + 1))

    def offered_ticket(self):
        """The first PSK identity in the ClientHello (RFC 8446 section 4.2.11), or None for a full handshake."""
        at = self.extensions().get(PRE_SHARED_KEY)
        return self.hello[at + 4 : at + 4 + struct.unpack_from("!H", self.hello, at + 2)[0]] if at else None

    # Reading ------------------------------------------------------------------------------------------------------------

    def on_readable(self):
        if self.server.mode == "never-read" and self.established:
            self.server.ignore(self)
            return
        try:
            data = self.sock.recv(READ_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            self.finish("peer-rst")
            return
        if not data:
            self.finish("peer-fin")
            return
        if self.server.mode == "stall-handshake" and not self.established:
            return
        if self.tls is None:
            self._on_plaintext(data)
            return
        if self.established:
            self._count_records(data)
        else:
            self.hello += data
        self.incoming.write(data)
        self._turn()

    def _count_records(self, data):
        self._ciphertext += data
        while len(self._ciphertext) >= 5:
            kind, _, length = struct.unpack_from("!BHH", self._ciphertext)
            if len(self._ciphertext) < 5 + length:
                return
            self.records += kind == APPLICATION_DATA
            self._ciphertext = self._ciphertext[5 + length :]

    def _turn(self):
        try:
            if not self.established:
                self.tls.do_handshake()
                self._on_established()
            while True:
                data = self.tls.read(READ_OCTETS)
                if not data:
                    self.finish("peer-notify")
                    return
                self.application_octets += len(data)
                self._on_plaintext(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.finish("peer-notify")
            return
        except ssl.SSLError as error:
            self.error = str(error)
            self.flush()
            self.finish("error")
            return
        self.flush()

    def _on_established(self):
        self.established = True
        self.version, self.alpn = self.tls.version(), self.tls.selected_alpn_protocol()
        self.cipher, self.resumed = self.tls.cipher()[0], self.tls.session_reused
        if self.server.close_after_seconds is not None:
            seconds, how = self.server.close_after_seconds
            self.server.later(seconds, lambda: self.close(how))
        self._watch_idle()

    def _watch_idle(self):
        if self.server.idle_close is None or not self.open:
            return
        seconds, how = self.server.idle_close
        left = self.last_query + seconds - time.monotonic()
        if left <= 0:
            self.close(how)
        else:
            self.server.later(left, self._watch_idle)

    def _on_plaintext(self, data):
        self._plaintext += data
        while len(self._plaintext) >= 2 and self.open:
            length = struct.unpack_from("!H", self._plaintext)[0]
            if len(self._plaintext) < 2 + length:
                return
            message, self._plaintext = self._plaintext[2 : 2 + length], self._plaintext[2 + length :]
            self._on_query(message)

    def _on_query(self, message):
        self.last_query = time.monotonic()
        q = self.server.read_query(message, "dot" if self.tls else "tcp", self, self.peer)
        if q is None:
            self.close("fin")
            return
        self.queries.append(q)
        self.server.queries.append(q)
        if self.server.mode == "stall-answers":
            return
        for action in self.server.behaviour_of(q)(q):
            if isinstance(action, Close):
                self.server.later(action.delay, lambda how=action.how: self.close(how))
            elif action.delay > 0:
                self.server.later(action.delay, lambda reply=action, q=q: self._reply(reply, q))
            elif self.server.reverse:
                self._hold(action, q)
            else:
                self._reply(action, q)
        if self.server.close_after_queries is not None:
            count, how = self.server.close_after_queries
            if len(self.queries) >= count:
                self.close(how)

    # Writing ------------------------------------------------------------------------------------------------------------

    def _hold(self, reply, q):
        self._held.append((reply, q))
        if len(self._held) == 1:
            self.server.later(self.server.reverse, self._release)

    def _release(self):
        held, self._held = self._held, []
        for reply, q in reversed(held):
            self._reply(reply, q)
        self.flush()

    def _reply(self, reply, q):
        if not self.open:
            return
        octets = reply.octets
        if self.server.keepalive is not None and KEEPALIVE in q.options:
            octets = with_option(octets, option(KEEPALIVE, struct.pack("!H", self.server.keepalive)))
        if reply.framed:
            octets = struct.pack("!H", len(octets)) + octets
        pieces = [octets[i : i + 1] for i in range(len(octets))] if self.server.split else [octets]
        for piece in pieces:
            self.send(piece)

    def send(self, octets):
        if not self.open:
            return
        if self.tls is None:
            self._out += octets
        elif octets:
            self.tls.write(octets)
            self._out += self.outgoing.read()
        self.flush()

    def flush(self):
        if self.outgoing is not None:
            self._out += self.outgoing.read()
        if not self._out or not self.open:
            return
        try:
            sent = self.sock.send(self._out)
            self._out = self._out[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.finish("peer-rst")
            return
        self.server.watch(self, writing=bool(self._out))

    # Ending -------------------------------------------------------------------------------------------------------------

    def close(self, how="notify"):
        if not self.open:
            return
        if how == "rst":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "notify" and self.tls is not None and self.established:
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                pass
            self.flush()
        self.finish("ours")

    def finish(self, why):
        if not self.open:
            return
        if why == "peer-notify" and self._out:
            self.flush()
        self.closed, self.closed_at = why, time.monotonic()
        self.server.forget(self)
        self.sock.close()


def with_option(message, extra):
    """The message with one more option in its OPT record, which must be the last and end the message."""
    at = message.rindex(b"\0\0\x29\x04\xd0")  # root, OPT, 1232
    length = struct.unpack_from("!H", message, at + 9)[0]
    return message[: at + 9] + struct.pack("!H", length + len(extra)) + message[at + 11 :] + extra


class FakeServer(threading.Thread):
    def __init__(
        self,
        address,
        certificate=None,
        name="dot.test",
        tls12_only=False,
        tls13_only=False,
        tickets=2,
        client_ca=None,
        alpn=("dot",),
        dot_port=DOT_PORT,
        plain_port=PLAIN_PORT,
    ):
        super().__init__(daemon=True)
        self.address, self.dot_port, self.plain_port, self.server_name = address, dot_port, plain_port, name
        self.default = proper()
        self.behaviours = {}  # QNAME in lower case -> behaviour
        self.mode = "serve"  # stall-accept, stall-handshake, stall-answers, never-read, reset
        self.reverse = 0.0  # gather answers this long and send them in reverse order
        self.split = False  # one octet a record
        self.keepalive = None  # value of edns-tcp-keepalive in answers, in 100 ms
        self.idle_close = None  # (seconds, how)
        self.max_connections = None  # more are closed as soon as they are accepted
        self.close_after_seconds = None
        self.close_after_queries = None
        self.queries, self.connections = [], []
        self.faults = []  # what must not happen in any test
        self.by_tls = {}
        self.receive_buffer = None  # octets; for listeners opened from now on
        self._tls_options = (tls12_only, tls13_only, tickets, client_ca, alpn)
        self.certificate = certificate
        self.context = self._make_context() if certificate else None
        self._selector = selectors.DefaultSelector()
        self._timers, self._order = [], itertools.count()
        self._tasks = queue.SimpleQueue()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_out.setblocking(False)
        self._stopping = False
        self._listeners = {}
        self._fillers = []
        self._selector.register(self._wake_out, selectors.EVENT_READ, self._on_wake)
        self._open_listeners()
        self.start()

    # What tests call ------------------------------------------------------------------------------------------------------

    def behave(self, name, behaviour):
        self.behaviours[name.lower().rstrip(".")] = behaviour

    def asked(self, name, qtype=None):
        """The queries for a name that came in."""
        name = name.lower().rstrip(".")
        return [q for q in list(self.queries) if q.name == name and qtype in (None, q.qtype)]

    def open_connections(self):
        return [c for c in list(self.connections) if c.open and c.established]

    def use_certificate(self, certificate, keep_tickets=False):
        """New connections see this one. The tickets of the old one are worth nothing, unless kept: then the server goes on to
        resume sessions that were made under the old one."""

        def change():
            self.certificate = certificate
            if keep_tickets:
                self.context.load_cert_chain(certificate.chain_file, certificate.key_file)
            else:
                self.context = self._make_context()

        self.call(change)

    def close_connections(self, how="rst"):
        self.call(lambda: [c.close(how) for c in list(self.connections) if c.open])

    def stop_listening(self):
        """Connections are refused from now on, and datagrams too."""
        self.call(self._close_listeners)

    def listen_again(self):
        self.call(self._open_listeners)

    def go_dark(self):
        """Connections are neither accepted nor refused: SYNs go unanswered, as behind a broken path."""

        def change():
            self._close_listeners()
            s = self._socket(socket.SOCK_STREAM, self.dot_port)
            s.listen(0)
            self._listeners["dark"] = s

        self.call(change)
        for _ in range(4):  # fill the backlog
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.address, self.dot_port))
            self._fillers.append(filler)
        select.select([], self._fillers[:1], [], 1)
        self.close_connections("rst")

    def light_up(self):
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self.call(lambda: (self._close_listeners(), self._open_listeners()))

    def wait_for_connection(self, timeout=5):
        return wait_until(self.open_connections, timeout, "a connection to the upstream")[0]

    def options(self, auth="pin"):
        """The keys of an [upstream] section that name and prove this server."""
        if auth == "plain":
            return {"address": f"{self.address}:{self.plain_port}", "transport": "plain"}
        keys = {"address": f"{self.address}:{self.dot_port}", "name": self.server_name}
        if auth == "pin":
            keys["pin"] = self.certificate.pin
        return keys

    def call(self, function):
        """Runs a function in the server's thread and waits for it."""
        done = threading.Event()

        def run():
            try:
                function()
            finally:
                done.set()

        self._tasks.put(run)
        self._wake_in.send(b"x")
        assert done.wait(10)

    def stop(self):
        if self.is_alive():
            self._tasks.put(self._end)  # in its own thread, so that nothing is closed while it is still woken up
            self._wake_in.send(b"x")
            self.join(10)
        assert not self.faults, self.faults

    def _end(self):
        self._stopping = True

    # The loop -------------------------------------------------------------------------------------------------------------

    def run(self):
        try:
            self._serve()
        except Exception:
            self.faults.append(traceback.format_exc())
            raise

    def _serve(self):
        while not self._stopping:
            timeout = max(0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, events in self._selector.select(timeout):
                if events & selectors.EVENT_WRITE and isinstance(key.data, Connection):
                    key.data.flush()
                if events & selectors.EVENT_READ:
                    self._dispatch(key.data)
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
        for connection in list(self.connections):
            if connection.open:
                connection.close("fin")
        self._close_listeners()
        for s in [*self._fillers, self._wake_in, self._wake_out]:
            s.close()
        self._selector.close()

    def _dispatch(self, what):
        if isinstance(what, Connection):
            if what.open:
                what.on_readable()
        else:
            what()

    def _on_wake(self):
        self._wake_out.recv(4096)
        while not self._tasks.empty():
            self._tasks.get()()

    def later(self, seconds, function):
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), function))

    def watch(self, connection, writing=False):
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
        key = self._selector.get_map().get(connection.sock)
        if key is not None and key.events != events:
            self._selector.modify(connection.sock, events, connection)

    def ignore(self, connection):
        """No more events of this connection."""
        if self._selector.get_map().get(connection.sock) is not None:
            self._selector.unregister(connection.sock)

    def forget(self, connection):
        self.by_tls.pop(id(connection.tls), None)
        self.ignore(connection)

    def read_query(self, message, transport, connection, peer):
        """The query, or None for what is none: a fault of the program, which stop() reports."""
        try:
            return Query(message, transport, connection, peer, time.monotonic())
        except (IndexError, struct.error):
            self.faults.append(f"no query: {message[:100].hex()} over {transport}")
            return None

    def behaviour_of(self, q):
        return self.behaviours.get(q.name, self.default)

    # Sockets --------------------------------------------------------------------------------------------------------------

    def _make_context(self):
        tls12_only, tls13_only, tickets, client_ca, alpn = self._tls_options
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.chain_file, self.certificate.key_file)
        if tls12_only:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if tls13_only:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # so the client's first choice shows
        context.num_tickets = tickets
        context.sni_callback = self._on_sni
        if not tickets:
            context.options |= ssl.OP_NO_TICKET
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _on_sni(self, tls, name, _context):
        self.by_tls[id(tls)].sni = name

    def _socket(self, kind, port):
        s = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET, kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setblocking(False)
        s.bind((self.address, port))
        return s

    def _open_listeners(self):
        wanted = {"tcp": self.plain_port, "udp": self.plain_port}
        if self.context:
            wanted["dot"] = self.dot_port
        for name, port in wanted.items():
            s = self._socket(socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM, port)
            if name == "udp":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
                handler = self._on_datagram
            else:
                if self.receive_buffer:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
                s.listen(1024)
                handler = lambda name=name: self._on_connection(name)
            self._listeners[name] = s
            self._selector.register(s, selectors.EVENT_READ, handler)

    def _close_listeners(self):
        for s in self._listeners.values():
            try:
                self._selector.unregister(s)
            except KeyError:
                pass
            s.close()
        self._listeners.clear()

    def _on_connection(self, name):
        sock, peer = self._listeners[name].accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, sock, peer, len(self.connections), encrypted=name == "dot")
        self.connections.append(connection)
        full = self.max_connections is not None and sum(c.open for c in self.connections) > self.max_connections
        if self.mode == "reset" or full:
            connection.close("rst")
            return
        if connection.tls:
            self.by_tls[id(connection.tls)] = connection
        if self.mode != "stall-accept":
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _on_datagram(self):
        s = self._listeners["udp"]
        for _ in range(64):
            try:
                data, peer = s.recvfrom(65535)
            except OSError:
                return
            q = self.read_query(data, "udp", None, peer)
            if q is None:
                continue
            self.queries.append(q)
            if self.mode == "stall-answers":
                continue
            for action in self.behaviour_of(q)(q):
                if isinstance(action, Reply):
                    sender = action.source or s
                    self.later(action.delay, lambda a=action, peer=peer, sender=sender: self._send_to(sender, a, peer))

    @staticmethod
    def _send_to(sender, action, peer):
        try:
            sender.sendto(action.octets, peer)
        except OSError:
            pass  # the asker has closed its socket, or the answer is larger than a datagram

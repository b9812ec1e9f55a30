"""A DNS server over TLS 1.3 (RFC 8446) that sends session tickets of any shape: what no TLS library lets a server do.

It knows X25519, ECDSA on P-256, no HelloRetryRequest and no client certificates. Each connection has a thread of its own.
"""

import dataclasses
import hashlib
import hmac
import os
import socket
import struct
import threading

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from . import wire
from .fake import DOT_PORT

HANDSHAKE, APPLICATION_DATA, ALERT = 22, 23, 21  # content types
CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, ENCRYPTED_EXTENSIONS = 1, 2, 4, 8
CERTIFICATE, CERTIFICATE_VERIFY, FINISHED, KEY_UPDATE = 11, 15, 20, 24
ALPN, PRE_SHARED_KEY, VERSIONS, KEY_SHARE = 16, 41, 43, 51  # extensions
X25519, ECDSA_P256_SHA256, TLS_1_3 = 29, 0x0403, 0x0304
RECORD_MAX = 16384
WEEK = 7 * 24 * 3600

SUITES = {
    "CHACHA20-POLY1305": (0x1303, hashlib.sha256, ChaCha20Poly1305, 32),
    "AES-128-GCM": (0x1301, hashlib.sha256, AESGCM, 16),
    "AES-256-GCM": (0x1302, hashlib.sha384, AESGCM, 32),
}


@dataclasses.dataclass
class Ticket:
    nonce: int = 8  # octets
    size: int = 200
    lifetime: int = 7200
    malformed: bool = False  # its lengths say more than there is


def vector(octets, width):
    return len(octets).to_bytes(width, "big") + octets


def message(kind, body):
    return bytes([kind]) + vector(body, 3)


def take(data, at, width):
    """A vector in data, and where it ends."""
    size = int.from_bytes(data[at : at + width], "big")
    return data[at + width : at + width + size], at + width + size


class Schedule:
    """The key schedule (section 7.1)."""

    def __init__(self, hash_function, psk=None):
        self.hash = hash_function
        self.size = hash_function().digest_size
        self.secret = self.extract(b"", psk or bytes(self.size))
        self.transcript = b""

    def extract(self, salt, key):
        return hmac.digest(salt or bytes(self.size), key, self.hash)

    def expand(self, secret, label, context, size=None):
        info = struct.pack("!H", size or self.size) + vector(b"tls13 " + label, 1) + vector(context, 1)
        out, block, n = b"", b"", 1
        while len(out) < (size or self.size):
            block = hmac.digest(secret, block + info + bytes([n]), self.hash)
            out, n = out + block, n + 1
        return out[: size or self.size]

    def digest(self):
        return self.hash(self.transcript).digest()

    def derive(self, label):
        return self.expand(self.secret, label, self.digest())

    def next_stage(self, key):
        derived = self.expand(self.secret, b"derived", self.hash(b"").digest())
        self.secret = self.extract(derived, key)

    def finished(self, traffic_secret):
        return hmac.digest(self.expand(traffic_secret, b"finished", b""), self.digest(), self.hash)


class Protection:
    """One direction of the record layer."""

    def __init__(self, schedule, suite, secret):
        self.schedule, self.suite, self.secret = schedule, suite, secret
        _, _, cipher, key_size = SUITES[suite]
        self.cipher = cipher(schedule.expand(secret, b"key", b"", key_size))
        self.iv, self.number = schedule.expand(secret, b"iv", b"", 12), 0

    def updated(self):
        return Protection(self.schedule, self.suite, self.schedule.expand(self.secret, b"traffic upd", b""))

    def _nonce(self):
        nonce = int.from_bytes(self.iv, "big") ^ self.number
        self.number += 1
        return nonce.to_bytes(12, "big")

    def seal(self, kind, content, padding=0):
        inner = content + bytes([kind]) + bytes(padding)
        head = struct.pack("!BHH", APPLICATION_DATA, 0x0303, len(inner) + 16)
        return head + self.cipher.encrypt(self._nonce(), inner, head)

    def open(self, head, body):
        inner = self.cipher.decrypt(self._nonce(), body, head).rstrip(b"\0")
        return inner[-1], inner[:-1]


class Connection:
    """One connection, and what was seen on it."""

    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.resumed = False
        self.offered = None  # the ticket that the client began with
        self.queries = []
        self.end = None  # "closed" by the client in order, or why it ended

    def run(self):
        try:
            self._handshake()
            self._serve()
            self.end = "closed"
        except Exception as error:  # a test reads it
            self.end = repr(error)
        finally:
            self.sock.close()

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise EOFError("the client ended the stream")
            data += more
        return data

    def _record(self):
        head = self._exactly(5)
        return head, self._exactly(struct.unpack("!H", head[3:])[0])

    def _read_hello(self):
        _, hello = self._record()
        at = 4 + 2 + 32
        self.session_id, at = take(hello, at, 1)
        _, at = take(hello, at, 2)
        _, at = take(hello, at, 1)
        block, _ = take(hello, at, 2)
        extensions, at = {}, 0
        while at < len(block):
            kind = struct.unpack_from("!H", block, at)[0]
            extensions[kind], at = take(block, at + 2, 2)
        return hello, extensions

    @staticmethod
    def _share(extension):
        shares, at = take(extension, 0, 2)[0], 0
        while at < len(shares):
            group = struct.unpack_from("!H", shares, at)[0]
            key, at = take(shares, at + 2, 2)
            if group == X25519:
                return key
        raise ValueError("no key share for X25519")

    def _handshake(self):
        hello, extensions = self._read_hello()
        number, hash_function, _, _ = SUITES[self.server.suite]
        psk = None
        if PRE_SHARED_KEY in extensions:
            self.offered = take(take(extensions[PRE_SHARED_KEY], 0, 2)[0], 0, 2)[0]
            psk = self.server.sessions.get(self.offered)
        self.resumed = psk is not None
        self.schedule = s = Schedule(hash_function, psk)
        key = X25519PrivateKey.generate()
        public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        ours = struct.pack("!HHH", VERSIONS, 2, TLS_1_3)
        ours += struct.pack("!H", KEY_SHARE) + vector(struct.pack("!H", X25519) + vector(public, 2), 2)
        if psk:
            ours += struct.pack("!HHH", PRE_SHARED_KEY, 2, 0)
        answer = b"\x03\x03" + os.urandom(32) + vector(self.session_id, 1) + struct.pack("!HB", number, 0) + vector(ours, 2)
        answer = message(SERVER_HELLO, answer)
        s.transcript = hello + answer
        self.sock.sendall(struct.pack("!BHH", HANDSHAKE, 0x0303, len(answer)) + answer)
        s.next_stage(key.exchange(X25519PublicKey.from_public_bytes(self._share(extensions[KEY_SHARE]))))
        theirs, mine = s.derive(b"c hs traffic"), s.derive(b"s hs traffic")
        self._send_flight(mine, psk is None)
        handshake_reader = Protection(s, self.server.suite, theirs)
        s.next_stage(bytes(s.size))
        self.writer = Protection(s, self.server.suite, s.derive(b"s ap traffic"))
        self.reader = Protection(s, self.server.suite, s.derive(b"c ap traffic"))
        self._expect_finished(handshake_reader, theirs)

    def _send_flight(self, secret, full):
        s = self.schedule
        flight = message(ENCRYPTED_EXTENSIONS, vector(b"", 2))
        s.transcript += flight
        if full:
            flight += self._prove()
        last = message(FINISHED, s.finished(secret))
        s.transcript += last
        self.sock.sendall(Protection(s, self.server.suite, secret).seal(HANDSHAKE, flight + last))

    def _prove(self):
        s, certificate = self.schedule, self.server.certificate
        der = certificate.certificate.public_bytes(serialization.Encoding.DER)
        shown = message(CERTIFICATE, b"\0" + vector(vector(der, 3) + vector(b"", 2), 3))
        s.transcript += shown
        signed = b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + s.digest()
        signature = certificate.key.sign(signed, ec.ECDSA(hashes.SHA256()))
        proof = message(CERTIFICATE_VERIFY, struct.pack("!H", ECDSA_P256_SHA256) + vector(signature, 2))
        s.transcript += proof
        return shown + proof

    def _expect_finished(self, reader, secret):
        head, body = self._record()
        while head[0] != APPLICATION_DATA:  # change_cipher_spec
            head, body = self._record()
        kind, content = reader.open(head, body)
        assert kind == HANDSHAKE and content == message(FINISHED, self.schedule.finished(secret)), "Finished is wrong"
        self.schedule.transcript += content

    def _tickets(self):
        """The tickets as messages; each that is in order can be resumed with."""
        s = self.schedule
        master, out = s.derive(b"res master"), []
        for shape in self.server.tickets:
            nonce, ticket = os.urandom(shape.nonce), os.urandom(shape.size)
            self.server.sessions[ticket] = s.expand(master, b"resumption", nonce)
            body = struct.pack("!I", shape.lifetime) + os.urandom(4) + vector(nonce, 1) + vector(ticket, 2) + vector(b"", 2)
            out.append(message(NEW_SESSION_TICKET, body[:-3] if shape.malformed else body))
        return b"".join(out)

    def _send_tickets(self):
        out = b""
        if self.server.key_update:
            out = self.writer.seal(HANDSHAKE, message(KEY_UPDATE, b"\0"))
            self.writer = self.writer.updated()
        messages, size = self._tickets(), self.server.record_size
        for at in range(0, len(messages), size):
            out += self.writer.seal(HANDSHAKE, messages[at : at + size], self.server.padding)
        return out

    def _serve(self):
        tickets = self._send_tickets()
        if not self.server.tickets_with_answers:
            self.sock.sendall(tickets)
            tickets = b""
        stream = b""
        while True:
            kind, content = self.reader.open(*self._record())
            if kind == ALERT:
                assert content[1] == 0, f"the client sent alert {content[1]}"
                return
            stream += content
            while len(stream) >= 2 and len(stream) >= 2 + int.from_bytes(stream[:2], "big"):
                query, end = take(stream, 0, 2)
                stream = stream[end:]
                q = wire.Query(query, "dot", self)
                self.queries.append(q)
                answer = vector(wire.answer(q, wire.proper_records(q, 300)), 2)
                self.sock.sendall(tickets + self.writer.seal(APPLICATION_DATA, answer))
                tickets = b""


class TicketServer:
    server_name = "dot.test"

    def __init__(self, address, certificate, tickets, suite="CHACHA20-POLY1305"):
        self.address, self.certificate, self.tickets, self.suite = address, certificate, list(tickets), suite
        self.record_size = RECORD_MAX  # of the records that carry tickets
        self.padding = 0  # octets behind them, inside
        self.tickets_with_answers = False  # they go out with the first answer, in one segment
        self.key_update = False  # the server's keys change before its tickets
        self.sessions = {}  # ticket -> pre-shared key
        self.connections = []
        self.listener = socket.create_server((address, DOT_PORT))
        threading.Thread(target=self._accept, daemon=True).start()

    def options(self, auth="pin"):
        return {"address": f"{self.address}:{DOT_PORT}", "name": self.server_name, "pin": self.certificate.pin}

    def ends(self):
        """How connections ended that did not end in order."""
        return [c.end for c in list(self.connections) if c.end not in (None, "closed")]

    def cut(self):
        """Ends all connections, so that new ones begin."""
        for connection in list(self.connections):
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended

    def stop(self):
        self.listener.close()
        self.cut()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(Connection(self, sock))
            threading.Thread(target=self.connections[-1].run, daemon=True).start()

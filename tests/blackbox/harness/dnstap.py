"""A collector of dnstap frames on a Unix socket, and what is in them. Frame Streams, bidirectional, as a receiver sees it."""

import os
import socket
import struct
import threading

from .waiting import wait_until

CONTENT_TYPE = b"protobuf:dnstap.Dnstap"
ACCEPT, START, STOP, READY, FINISH = 1, 2, 3, 4, 5

FIELDS = {1: "identity", 2: "version", 3: "extra", 14: "message", 15: "type"}
MESSAGE_FIELDS = {
    1: "type",
    2: "family",
    3: "protocol",
    4: "query_address",
    5: "response_address",
    6: "query_port",
    7: "response_port",
    8: "query_sec",
    9: "query_nsec",
    10: "query_message",
    12: "response_sec",
    13: "response_nsec",
    14: "response_message",
}
CLIENT_QUERY, CLIENT_RESPONSE = 5, 6


def control(kind, content_type=CONTENT_TYPE):
    payload = struct.pack("!I", kind)
    if content_type:
        payload += struct.pack("!II", 1, len(content_type)) + content_type
    return struct.pack("!II", 0, len(payload)) + payload


def _varint(octets, at):
    value = shift = 0
    while True:
        octet = octets[at]
        value |= (octet & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not octet & 0x80:
            return value, at


def _fields(octets, names):
    found, at = {}, 0
    while at < len(octets):
        tag, at = _varint(octets, at)
        if tag & 7 == 0:
            value, at = _varint(octets, at)
        elif tag & 7 == 5:
            value, at = struct.unpack_from("<I", octets, at)[0], at + 4
        else:
            assert tag & 7 == 2
            size, at = _varint(octets, at)
            value, at = octets[at : at + size], at + size
            assert len(value) == size
        found[names[tag >> 3]] = value
    return found


def decode(frame):
    """Its fields by name; those of the message beside the others."""
    outer = _fields(frame, FIELDS)
    assert outer.pop("type") == 1
    return {**outer, **_fields(outer.pop("message"), MESSAGE_FIELDS)}


class Collector:
    """Takes connections one after the other. reads=False: it takes nothing after the handshake."""

    def __init__(self, path, reads=True, accepts=CONTENT_TYPE):
        self.path, self.reads, self.accepts = path, reads, accepts
        self.frames, self.controls, self.connections = [], [], 0
        self.ended = False
        self._open = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        os.chmod(path, 0o666)
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self):
        self.ended = True
        for s in (self._listener, self._open):
            if s is not None:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self._thread.join(5)
        self._listener.close()
        self.path.unlink()

    def wait(self, count, timeout=10):
        """The first count frames, decoded."""
        wait_until(lambda: len(self.frames) >= count, timeout, f"{count} dnstap frames, there are {len(self.frames)}")
        return [decode(frame) for frame in self.frames[:count]]

    def _run(self):
        while not self.ended:
            try:
                self._open, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._open as connection, connection.makefile("rb") as stream:
                try:
                    self._serve(connection, stream)
                except (OSError, EOFError):
                    pass

    def _serve(self, connection, stream):
        while True:
            (size,) = struct.unpack("!I", self._take(stream, 4))
            if size != 0:
                self.frames.append(self._take(stream, size))
                continue
            (size,) = struct.unpack("!I", self._take(stream, 4))
            payload = self._take(stream, size)
            self.controls.append(struct.unpack_from("!I", payload)[0])
            if self.controls[-1] == READY:
                assert CONTENT_TYPE in payload
                connection.sendall(control(ACCEPT, self.accepts))
            elif self.controls[-1] == STOP:
                connection.sendall(control(FINISH, None))
                return
            elif not self.reads:
                wait_until(lambda: self.ended, 60, "the end")
                return

    def _take(self, stream, size):
        octets = stream.read(size)
        if len(octets) < size:
            raise EOFError
        return octets

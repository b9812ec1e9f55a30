"""A bad client, in a process of its own so that it does not slow down those who measure.

    python3 -m harness.flood KIND ADDRESS PORT SOURCE SECONDS

It goes on for so many seconds and prints how much it did: queries, frames or connections.
"""

import contextlib
import itertools
import os
import random
import socket
import struct
import subprocess
import sys
import time

from . import wire

UDP_RATE = 8000  # what a busy machine with two processors still reads from one socket buffer without loss
SLOW_CONNECTIONS = 60  # just below what one client may have


class Bad:
    def __init__(self, address, port, source, seconds):
        self.address, self.port, self.source = address, port, source
        self.end = time.monotonic() + seconds
        self.done = 0
        self.random = random.Random(1)

    def over(self):
        return time.monotonic() >= self.end

    def tcp(self, timeout=0.5):
        s = socket.socket()
        s.bind((self.source, 0))
        s.settimeout(timeout)
        s.connect((self.address, self.port))
        return s

    def datagrams(self, make):
        """Sends make(number) at a steady rate; reads and forgets what comes back."""
        with socket.socket(type=socket.SOCK_DGRAM) as s:
            s.bind((self.source, 0))
            s.connect((self.address, self.port))
            s.setblocking(False)
            began = time.monotonic()
            while not self.over():
                while self.done < (time.monotonic() - began) * UDP_RATE:
                    with contextlib.suppress(OSError):
                        s.send(make(self.done))
                    self.done += 1
                with contextlib.suppress(OSError):
                    while s.recv(65535):
                        pass
                time.sleep(0.001)

    def stream(self, octets, read=False):
        """Writes the same octets again and again to one connection after the other, reading answers or not."""
        while not self.over():
            with contextlib.suppress(OSError), self.tcp() as s:
                s.setblocking(False)
                left = b""
                while not self.over():
                    with contextlib.suppress(BlockingIOError):
                        left = left or octets
                        left = left[s.send(left) :]
                        self.done += not left
                    with contextlib.suppress(BlockingIOError):
                        if read and not s.recv(1 << 20):
                            break
                    if left:
                        time.sleep(0.0005)

    def connections(self, count, use):
        """Holds so many connections, opening others for those that end; use(connection) every now and then."""
        held = []
        while not self.over():
            with contextlib.suppress(OSError):
                while len(held) < count and not self.over():
                    held.append(self.tcp())
                    self.done += 1
            for s in list(held):
                try:
                    s.setblocking(False)
                    use(s)
                except BlockingIOError:
                    pass
                except OSError:
                    held.remove(s)
                    s.close()
            time.sleep(0.05)
        for s in held:
            s.close()


def framed(message):
    return struct.pack("!H", len(message)) + message


def random_subdomains(bad):
    bad.datagrams(lambda i: wire.query(f"{i}x{bad.random.getrandbits(48):x}.mute.test", id=i & 0xFFFF))


def udp_garbage(bad):
    def make(i):
        octets = bytearray(bad.random.randbytes(bad.random.choice((1, 11, 12, 17, 40, 512, 1400))))
        if len(octets) > 12 and i % 2:
            octets[2:12] = b"\x01\0\0\1\0\0\0\0\0\1"
        return bytes(octets)

    bad.datagrams(make)


def refused_kinds(bad):
    """AXFR, IXFR, NOTIFY, UPDATE."""
    soa = wire.soa()
    messages = (
        wire.query("zone.test", 252),
        wire.query("zone.test", 251, counts=(1, 0, 1, 0), tail=soa),
        wire.query("zone.test", wire.SOA, flags=4 << 11, counts=(1, 1, 0, 0), tail=soa),
        wire.query("zone.test", wire.SOA, flags=5 << 11, counts=(1, 0, 1, 0), tail=soa),
    )
    bad.datagrams(lambda i: messages[i % len(messages)])


def cookies(bad):
    """Every query has another cookie that is not ours."""
    bad.datagrams(
        lambda i: wire.query(
            "cached0.test", id=i & 0xFFFF, edns=wire.opt(options=wire.option(wire.COOKIE, bad.random.randbytes(24)))
        )
    )


def many_sources(bad):
    """Another address of 127.0.0.0/8 for every few queries."""
    addresses = (f"127.250.{a}.{b}" for a, b in itertools.product(range(250), range(1, 250)))
    while not bad.over():
        with socket.socket(type=socket.SOCK_DGRAM) as s:
            s.bind((next(addresses), 0))
            for i in range(20):
                with contextlib.suppress(OSError):
                    s.sendto(wire.query("cached0.test", id=i), (bad.address, bad.port))
                bad.done += 1
        time.sleep(0.001)


def zero_lengths(bad):
    bad.stream(b"\0\0" * 20000)


def frames_of_1024(bad):
    bad.stream(framed(bad.random.randbytes(1024)) * 100)


def frames_of_65533(bad):
    bad.stream(framed(bad.random.randbytes(65533)) * 4)


def options_of_64_kib(bad):
    bad.stream(framed(wire.query(edns=wire.opt(options=wire.option(3) * 16000))) * 4)


def pipelined(bad):
    """One connection with as many queries as it takes, all answers read."""
    bad.stream(framed(wire.query("cached0.test")) * 2000, read=True)


def never_reading(bad):
    bad.stream(framed(wire.query("cached0.test")) * 2000)


def ask_and_close(bad):
    """10,000 queries for names that are not cached, then it is gone."""
    while not bad.over():
        tag = f"{bad.random.getrandbits(48):x}"
        with contextlib.suppress(OSError), bad.tcp() as s:
            for i in range(0, 10000, 500):
                s.sendall(b"".join(framed(wire.query(f"{j}.{tag}.mute.test", id=j)) for j in range(i, i + 500)))
                bad.done += 500


def slow_loris(bad):
    query = itertools.cycle(framed(wire.query("loris.test")))
    bad.connections(SLOW_CONNECTIONS, lambda s: s.send(bytes([next(query)])))


def silent_connections(bad):
    bad.connections(SLOW_CONNECTIONS, lambda s: None)


def connections_in_flight(bad):
    """Each waits for an answer that never comes."""
    query = framed(wire.query("held.mute.test"))
    bad.connections(SLOW_CONNECTIONS, lambda s: s.send(query))


def connections_by_the_thousand(bad):
    """Rounds of connections that are not even waited for; the number of descriptors bounds a round."""
    while not bad.over():
        sockets = []
        for _ in range(500):
            s = socket.socket()
            s.bind((bad.source, 0))
            s.setblocking(False)
            s.connect_ex((bad.address, bad.port))
            sockets.append(s)
            bad.done += 1
        for s in sockets:
            s.close()


KINDS = {
    kind.__name__: kind
    for kind in (
        random_subdomains,
        udp_garbage,
        refused_kinds,
        cookies,
        many_sources,
        zero_lengths,
        frames_of_1024,
        frames_of_65533,
        options_of_64_kib,
        pipelined,
        never_reading,
        ask_and_close,
        slow_loris,
        silent_connections,
        connections_in_flight,
        connections_by_the_thousand,
    )
}


def start(kind, program, source, seconds):
    """Starts the bad client; its process is returned, and wait() ends it and tells what it did."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return subprocess.Popen(
        [sys.executable, "-m", "harness.flood", kind, program.address, str(program.port), source, str(seconds)],
        cwd=here,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait(process):
    try:
        done = int(process.communicate(timeout=20)[0])
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    return done


def main(kind, address, port, source, seconds):
    bad = Bad(address, int(port), source, float(seconds))
    KINDS[kind](bad)
    print(bad.done)


if __name__ == "__main__":
    main(*sys.argv[1:])

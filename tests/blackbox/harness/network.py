"""Loopback addresses and ports that no other test, worker or run on this machine uses.

Each worker process owns one block 127.B.0.0/16 for as long as it lives: it holds a socket on the block's last address. A test
takes fresh addresses from its worker's block, so it may use the same ports as every other test.
"""

import errno
import itertools
import socket

FIRST_BLOCK, LAST_BLOCK = 64, 249
LOCK_PORT = 20053
# For ::1 and wildcards, where addresses cannot tell tests apart. Below the ports that the kernel gives out by itself (32768).
FIRST_PORT, PORTS_PER_BLOCK = 10000, 100


class Network:
    def __init__(self):
        self._lock = socket.socket()
        self.block = self._take_block()
        self._hosts = itertools.count(1)
        self._ports = itertools.cycle(range(PORTS_PER_BLOCK))

    def _take_block(self):
        for block in range(FIRST_BLOCK, LAST_BLOCK + 1):
            try:
                self._lock.bind((f"127.{block}.255.254", LOCK_PORT))
                return block
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise RuntimeError("every block of loopback addresses is taken")

    def address(self):
        """A fresh IPv4 loopback address, on which nobody has left anything behind."""
        while True:
            host = next(self._hosts)
            address = f"127.{self.block}.{host // 250}.{host % 250 + 1}"
            if not open_sockets(address):
                return address

    def port(self):
        """A port that is free on every address, UDP and TCP."""
        for _ in range(PORTS_PER_BLOCK):
            port = FIRST_PORT + (self.block - FIRST_BLOCK) * PORTS_PER_BLOCK + next(self._ports)
            if is_free("::", port):
                return port
        raise RuntimeError("no port is free")


def is_free(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as s:
            try:
                s.bind((address, port))
            except OSError:
                return False
    return True


def open_sockets(address):
    """The listening TCP sockets and the UDP sockets of an IPv4 address, as (protocol, port)."""
    text = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    found = []
    for protocol, listening in (("tcp", "0A"), ("udp", None)):
        with open(f"/proc/net/{protocol}", encoding="ascii") as table:
            for row in list(table)[1:]:
                local, state = row.split()[1], row.split()[3]
                host, port = local.split(":")
                if host == text and listening in (None, state):
                    found.append((protocol, int(port, 16)))
    return found

"""Loopback addresses and ports that no other test, worker or run on this machine uses.

Each worker process owns one block 127.B.0.0/16 for as long as it lives: it holds a socket on the block's last address. A test
takes fresh addresses from its worker's block, so it may use the same ports as every other test.
"""

import contextlib
import ctypes
import errno
import itertools
import os
import socket
import subprocess

import pytest

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


# Network namespaces -----------------------------------------------------------------------------------------------------------

CLONE_NEWNET = 0x40000000


def system_call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def ip(*arguments, check=True, **options):
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True, **options)


@contextlib.contextmanager
def own_network():
    """A network of its own, with lo up and nothing else: what this thread starts meanwhile is in there. It ends with them."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            system_call("unshare", CLONE_NEWNET)
        except PermissionError:
            pytest.skip("this machine does not let root make a network namespace")
        ip("link", "set", "lo", "up")
        yield
    finally:
        system_call("setns", before, CLONE_NEWNET)
        os.close(before)


class TwoNetworks:
    """The network that we are in, and another one outside, with a cable between them. SERVER is an address out there, and a
    route leads to it."""

    SERVER, GATEWAY, SOURCES = "198.51.100.1", "192.0.2.1", ("192.0.2.2", "192.0.2.3")
    INTERFACE = "cable0"

    def __enter__(self):
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with own_network():
            self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            ip("link", "add", "cable1", "type", "veth", "peer", "name", self.INTERFACE)
            ip("link", "set", self.INTERFACE, "netns", self._hold(here))
            self._release()
            ip("address", "add", f"{self.GATEWAY}/24", "dev", "cable1")
            ip("address", "add", f"{self.SERVER}/32", "dev", "lo")
            ip("link", "set", "cable1", "up")
        os.close(here)
        self._source = 0
        ip("address", "add", f"{self.SOURCES[0]}/24", "dev", self.INTERFACE)
        ip("link", "set", self.INTERFACE, "up")
        self.add_route()
        return self

    def __exit__(self, *_):
        os.close(self._outside)

    def _hold(self, network):
        """The number of a process in the network: that is how ip wants it to be named."""
        self._holder = subprocess.Popen(
            ["sleep", "60"], preexec_fn=lambda: system_call("setns", network, CLONE_NEWNET), pass_fds=[network]
        )
        return str(self._holder.pid)

    def _release(self):
        self._holder.kill()
        self._holder.wait()

    @contextlib.contextmanager
    def outside(self):
        """What this thread opens meanwhile is out there."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        system_call("setns", self._outside, CLONE_NEWNET)
        try:
            yield
        finally:
            system_call("setns", here, CLONE_NEWNET)
            os.close(here)

    def add_route(self):
        ip("route", "replace", f"{self.SERVER}/32", "via", self.GATEWAY)

    def remove_route(self):
        ip("route", "delete", f"{self.SERVER}/32")

    def set_interface(self, state):
        ip("link", "set", self.INTERFACE, state)

    def change_source(self):
        """The interface gets another address in place of the one that it had."""
        ip("address", "delete", f"{self.SOURCES[0]}/24", "dev", self.INTERFACE)
        ip("address", "add", f"{self.SOURCES[1]}/24", "dev", self.INTERFACE)
        self.add_route()

    def former_source(self):
        return self.SOURCES[0]

    @staticmethod
    def connections():
        """The local addresses of all TCP connections here that are established."""
        with open("/proc/thread-self/net/tcp", encoding="ascii") as table:
            rows = [row.split() for row in list(table)[1:]]
        return [
            socket.inet_ntoa(int(row[1].split(":")[0], 16).to_bytes(4, "little")) for row in rows if row[3] == "01"
        ]

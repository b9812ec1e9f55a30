#!/usr/bin/env python3
"""Random faults against random load: nodedot between clients that ask steadily and upstreams that break all the time.

Two DoT upstreams of one group and a plain one for a cluster zone run in this process and are hung, stopped, slowed down,
reset, given a wrong certificate or made to answer nonsense, one or both at a time, while the configuration is reloaded now
and then and clients ask over UDP and TCP: names asked before, new names, cluster names, garbage. At the end:

  - every proper query was answered within 5 s: its own answer, or SERVFAIL;
  - the counters add up: queries = answers + drops by cause, and nothing is in flight;
  - memory and descriptors are where they were after the first third. Memory is heap and stacks: the cache and the status page
    are mappings of a fixed size whose pages fill up as they are used, for as long as the run lasts;
  - once the faults are over, a new name is answered within 2 s.
"""

import argparse
import contextlib
import os
import pathlib
import random
import selectors
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "blackbox"))

from harness import behaviours, client, wire  # noqa: E402
from harness.certificates import Authority  # noqa: E402
from harness.fake import FakeServer  # noqa: E402
from harness.network import Network  # noqa: E402
from harness.program import DNS_PORT, Nodedot  # noqa: E402
from harness.waiting import wait_until  # noqa: E402

ANSWER_S = 5.0  # a stub resolver gives up then
BACK_S = 2.0
UDP_RATE = 200  # queries a second; what leaves room for this process's other work on one core
TCP_CLIENTS = 3
HOT_NAMES = 150
CLUSTER = "cluster.test"
CACHE_SIZE = "1M"
FILL_NAMES, FILL_WINDOW = 10000, 50  # 105 octets each: more than the cache holds
FAULT_S = (0.3, 4.0)  # how long one lasts
PAUSE_S = (0.2, 2.0)  # before the next
RELOAD_EVERY_S = 15.0
NEVER_S = float("inf")
# The buffers of connections to upstreams (two workers, three addresses, six each, 97 KiB) are taken at the start and touched
# when one more of them is open for the first time. A leak of 30 octets a query would be more after two minutes.
MEMORY_SLACK_KIB = 2048
FILES_SLACK = 16  # connections to upstreams come and go


class Account:
    """What became of the queries."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sent = self.good = self.servfail = 0
        self.lost, self.wrong, self.slowest = [], [], 0.0

    def answered(self, name, data, seconds):
        with self.lock:
            self.slowest = max(self.slowest, seconds)
            rcode = data[3] & 15
            if rcode == wire.SERVFAIL:
                self.servfail += 1
            elif rcode == wire.NOERROR and data[-4:] == socket.inet_aton(wire.address_of(name)):
                self.good += 1
            else:
                self.wrong.append((name, data.hex()))

    def lose(self, name, transport):
        with self.lock:
            self.lost.append((round(time.monotonic(), 1), transport, name))


class Names:
    """What a node's pods ask: half of it again and again, some of it in the cluster, the rest for the first time."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.number = 0

    def next(self):
        kind = self.random.random()
        if kind < 0.5:
            return f"hot{int(HOT_NAMES * self.random.random() ** 3)}.soak.test"
        self.number += 1
        zone = CLUSTER if kind < 0.65 else "soak.test"
        return f"n{self.number}-{self.random.getrandbits(24):06x}.{zone}"


class UdpLoad(threading.Thread):
    """Asks at a steady rate from several ports; what has no answer after ANSWER_S is lost."""

    def __init__(self, program, account, seed, end):
        super().__init__(daemon=True)
        self.account, self.end, self.names = account, end, Names(seed)
        self.sockets = [client.Udp(program.address, program.port).socket for _ in range(8)]
        self.selector = selectors.DefaultSelector()
        self.waiting = {}  # in the order of asking
        for number, s in enumerate(self.sockets):
            s.setblocking(False)
            self.selector.register(s, selectors.EVENT_READ, number)

    def run(self):
        start, count = time.monotonic(), 0
        while not self.end.is_set():
            while count < (time.monotonic() - start) * UDP_RATE:
                self._ask(count)
                count += 1
            self._receive(0.5 / UDP_RATE)
        while self.waiting:
            self._receive(0.05)

    def _ask(self, count):
        number, qid = count % len(self.sockets), count // len(self.sockets) & 0xFFFF
        name = self.names.next()
        if self.names.random.random() < 0.01:  # no answer is due to this
            with contextlib.suppress(OSError):
                self.sockets[number].send(os.urandom(self.names.random.randrange(12)))
        self.account.sent += 1
        self.waiting[number, qid] = (name, time.monotonic())
        self.sockets[number].send(wire.query(name, id=qid))

    def _receive(self, timeout):
        for key, _ in self.selector.select(timeout):
            with contextlib.suppress(BlockingIOError):
                while True:
                    data = key.fileobj.recv(65535)
                    name, when = self.waiting.pop((key.data, struct.unpack_from("!H", data)[0]), (None, None))
                    if name:
                        self.account.answered(name, data, time.monotonic() - when)
        while self.waiting and time.monotonic() - next(iter(self.waiting.values()))[1] > ANSWER_S:
            self.account.lose(self.waiting.pop(next(iter(self.waiting)))[0], "udp")


class TcpLoad(threading.Thread):
    """Opens connections one after the other, asks a few questions at once on each, and sometimes leaves before the answers."""

    def __init__(self, program, account, seed, end):
        super().__init__(daemon=True)
        self.program, self.account, self.end, self.names = program, account, end, Names(seed)

    def run(self):
        while not self.end.is_set():
            with self.program.tcp() as c:
                for _ in range(self.names.random.randrange(1, 8)):
                    if not self._ask_some(c):
                        break
            self.end.wait(self.names.random.random() / 4)

    def _ask_some(self, c):
        names = {number: self.names.next() for number in range(self.names.random.randrange(1, 10))}
        asked = time.monotonic()
        c.send(*(wire.query(name, id=number) for number, name in names.items()))
        if self.names.random.random() < 0.1:
            return False  # gone without the answers: they are drops
        self.account.sent += len(names)
        while names:
            try:
                data = c.receive(max(0.01, asked + ANSWER_S - time.monotonic()))
            except TimeoutError:
                data = None
            if data is None:
                for name in names.values():
                    self.account.lose(name, "tcp")
                return False
            self.account.answered(names.pop(struct.unpack_from("!H", data)[0]), data, time.monotonic() - asked)
        return not self.end.is_set()


class Faults:
    """What may happen to an upstream: each breaks it, and returns what mends it."""

    def __init__(self, seed, wrong_certificates):
        self.random = random.Random(seed)
        self.wrong = wrong_certificates
        self.kinds = [
            self.hang, self.hang_handshakes, self.refuse, self.slow, self.fail, self.close_often, self.close_all,
            self.certificate, self.nonsense, self.lose_some, self.one_octet_a_record,
        ]

    def hang(self, server):
        server.mode = "stall-answers"
        return lambda: setattr(server, "mode", "serve")

    def hang_handshakes(self, server):
        server.mode = "stall-handshake"
        server.close_connections("rst")
        return lambda: setattr(server, "mode", "serve")

    def refuse(self, server):
        server.stop_listening()
        server.close_connections(self.random.choice(["rst", "fin"]))
        return server.listen_again

    def _behave(self, server, behaviour):
        before, server.default = server.default, behaviour
        return lambda: setattr(server, "default", before)

    def slow(self, server):
        return self._behave(server, behaviours.delay(self.random.uniform(0.05, 1.5), server.default))

    def fail(self, server):
        return self._behave(server, behaviours.failure())

    def nonsense(self, server):
        kind = self.random.choice(list(behaviours.MISMATCHES.values()))
        return self._behave(server, behaviours.wrong_first(kind, server.default))

    def lose_some(self, server):
        proper = server.default
        return self._behave(server, lambda q: proper(q) if self.random.random() < 0.5 else [])

    def one_octet_a_record(self, server):
        server.split = True
        return lambda: setattr(server, "split", False)

    def close_often(self, server):
        server.close_after_queries = (self.random.randrange(1, 30), self.random.choice(["notify", "fin", "rst"]))
        return lambda: setattr(server, "close_after_queries", None)

    def close_all(self, server):
        server.close_connections(self.random.choice(["notify", "fin", "rst"]))
        return lambda: None

    def certificate(self, server):
        if server not in self.wrong:
            return lambda: None
        right = server.certificate
        server.use_certificate(self.wrong[server])
        server.close_connections("rst")
        return lambda: server.use_certificate(right)


def forget_history(servers):
    """The fake servers remember everything for their tests; here that would be the growth."""
    for server in servers:
        server.queries.clear()
        for connection in list(server.connections):
            connection.queries.clear()
        server.connections[:] = [c for c in server.connections if c.open]


def torment(seconds, servers, faults, program, reload_every):
    """Breaks and mends until the time is over."""
    end = time.monotonic() + seconds
    reload_at = time.monotonic() + reload_every
    while time.monotonic() < end:
        victims = faults.random.sample(servers, faults.random.choice([1, 1, 1, 2]))
        mend = [faults.random.choice(faults.kinds)(server) for server in victims]
        time.sleep(min(faults.random.uniform(*FAULT_S), max(0, end - time.monotonic())))
        for undo in mend:
            undo()
        time.sleep(faults.random.uniform(*PAUSE_S))
        if time.monotonic() > reload_at:
            os.kill(program.supervisor(), signal.SIGHUP)
            reload_at = time.monotonic() + reload_every
        forget_history(servers)


def fill_cache(program):
    """Fills the cache before the load begins, so that it overwrites its oldest records during the whole run."""
    with program.tcp() as c:
        for first in range(0, FILL_NAMES, FILL_WINDOW):
            names = [f"fill{number}.soak.test" for number in range(first, first + FILL_WINDOW)]
            c.send(*(wire.query(name, id=number) for number, name in enumerate(names)))
            for _ in names:
                assert c.receive(ANSWER_S) is not None, "the connection that fills the cache was closed"


def measure(program):
    """Memory and descriptors at a quiet moment: one generation, nothing in flight."""
    wait_until(lambda: len(program.resolvers()) == 1, 15, "one generation")
    wait_until(lambda: program.counter("in_flight") == 0, 10, "nothing in flight")
    wait_until(lambda: program.counter("tcp_connections") == 0, 15, "no client connected")
    return program.memory_kib("Pss_Anon"), program.open_files()


def check_counters(counters):
    """Every query that came in went out as an answer, or is counted as dropped."""
    came = counters["queries_udp_total"] + counters["queries_tcp_total"]
    causes = {name: value for name, value in counters.items() if name.startswith("dropped_") and value}
    gone = counters["answers_total"] + sum(causes.values())
    print(f"counters: {came} queries = {counters['answers_total']} answers + {causes or 'no drops'}")
    return [] if came == gone else [f"counters do not add up: {came} queries, {gone} answers and drops"]


def run_load(seconds, seed, program, account, break_things):
    """Load from all clients for a time, with or without faults."""
    end = threading.Event()
    load = [UdpLoad(program, account, seed, end)]
    load += [TcpLoad(program, account, seed + 1 + i, end) for i in range(TCP_CLIENTS)]
    for thread in load:
        thread.start()
    try:
        break_things(seconds)
    finally:
        end.set()
        for thread in load:
            thread.join(2 * ANSWER_S)


def serve_again(program):
    """A new name after the faults: how long until it has its answer?"""
    start = time.monotonic()
    name = f"after{random.getrandbits(32):08x}.soak.test"
    wait_until(lambda: client.addresses(program.ask(name)) == [wire.address_of(name)], 10, "service after the faults")
    took = time.monotonic() - start
    print(f"after the faults: a new name was answered in {took * 1000:.0f} ms")
    return [] if took < BACK_S else [f"service came back after {took:.1f} s only"]


def problems_of(account, program, before, after):
    print(f"queries: {account.sent} sent, {account.good} answered, {account.servfail} SERVFAIL, {len(account.lost)} lost, "
          f"{len(account.wrong)} wrong; slowest {account.slowest * 1000:.0f} ms")
    print(f"heap and stacks: {before[0]} KiB after the first third, {after[0]} KiB at the end; descriptors: {before[1]}, {after[1]}")
    problems = [f"lost: {one}" for one in account.lost[:20]] + [f"wrong: {one}" for one in account.wrong[:20]]
    if account.good < account.sent / 2:
        problems.append("less than half of the queries had their answer")
    if None not in before and not program.sanitized() and after[0] > before[0] + MEMORY_SLACK_KIB:
        problems.append(f"heap and stacks grew by {after[0] - before[0]} KiB")
    if None not in before and after[1] > before[1] + FILES_SLACK:
        problems.append(f"{after[1] - before[1]} descriptors more than before")
    return problems


def soak(minutes, seed, directory):
    network = Network()
    authority = Authority(directory, "Soak Root")
    addresses = [network.address() for _ in range(3)]
    right = [authority.issue("dot.test", a) for a in addresses[:2]]
    servers = [FakeServer(a, c) for a, c in zip(addresses, right)] + [FakeServer(addresses[2])]
    for server in servers:
        server.default = behaviours.proper(ttl=3)
    wrong = {server: authority.issue("dot.test", server.address) for server in servers[:2]}
    config = {
        "server": {"listen": f"{network.address()}:{DNS_PORT}", "workers": 2},
        "cache": {"size": CACHE_SIZE},
        "upstream up": {**servers[0].options(), "address": [s.options()["address"] for s in servers[:2]],
                        "pin": [c.pin for c in right], "revalidate": 5},
        "upstream cluster": servers[2].options("plain"),
        "zone .": {"upstream": "up"},
        f"zone {CLUSTER}": {"upstream": "cluster"},
    }
    program = Nodedot(directory, config["server"]["listen"].rpartition(":")[0], config)
    account, faults = Account(), Faults(seed, wrong)
    try:
        program.start()
        seconds = minutes * 60
        fill_cache(program)
        run_load(seconds / 3, seed, program, account, lambda s: torment(s, servers, faults, program, RELOAD_EVERY_S))
        before = measure(program)
        # One generation from here on: a new one would start with fresh memory and hide what the old one leaked.
        run_load(seconds * 2 / 3, seed + 100, program, account, lambda s: torment(s, servers, faults, program, NEVER_S))
        problems = serve_again(program)
        after = measure(program)
        problems += check_counters(program.counters())
        problems += problems_of(account, program, before, after)
        program.stop()
    finally:
        program.kill()
        for server in servers:
            server.stop()
    if problems:
        print(program.log())
    return problems


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("minutes", type=float, nargs="?", default=2.0)
    arguments.add_argument("--seed", type=int, default=random.getrandbits(32), help="repeats the faults of another run")
    args = arguments.parse_args()
    print(f"soak: {args.minutes:g} minutes, --seed {args.seed}")
    with tempfile.TemporaryDirectory(prefix="nodedot-soak-") as directory:
        problems = soak(args.minutes, args.seed, pathlib.Path(directory))
    for problem in problems:
        print(f"soak: {problem}", file=sys.stderr)
    print("soak: failed" if problems else "soak: passed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

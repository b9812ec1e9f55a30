"""The program under test: starting, watching and stopping it."""

import os
import re
import signal
import socket
import subprocess
import time
import uuid

from . import client, wire
from .network import open_sockets
from .waiting import wait_until

DNS_PORT, LIVENESS_PORT, READINESS_PORT = 5353, 9551, 9552
START_S = 15  # under sanitizers, on a busy machine
STOP_S = 2.0  # what is promised after SIGTERM
STOP_SLACK_S = 1.5  # for the machine's other work
MARK = "BLACKBOX_MARK"  # in the environment of everything that is started here


def binary():
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.abspath(os.environ.get("NODEDOT", os.path.join(here, "../../../build/nodedot")))


def render(sections):
    """INI text of {section: {key: value}}; a list becomes a comma-separated value."""
    lines = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        for key, value in keys.items():
            text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            lines.append(f"{key} = {text}")
    return "\n".join(lines) + "\n"


def run(*arguments, env=None, cwd=None, timeout=20, config=None):
    """Runs a command of the program to its end. The environment has no NODEDOT_ variables but those of env."""
    command = [binary(), *map(str, arguments)]
    return subprocess.run(
        command,
        env=clean_environment(env),
        cwd=cwd,
        timeout=timeout,
        input=config,
        capture_output=True,
        text=True,
        check=False,
    )


def clean_environment(extra=None):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NODEDOT") and k != "DOT_HOST"}
    return {**kept, **(extra or {})}


def port_open(address, port, timeout=2.5):
    """Does a TCP probe pass? A connection within the time, then closed.

    Probe ports have the smallest backlog: a probe that comes before the last one was accepted finds no room and is let in when
    its SYN is sent again, a second later. The kubelet asks at most once a second; tests ask more often, hence the time.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(timeout)
        return s.connect_ex((address, port)) == 0


class Nodedot:
    """One running program with its configuration file. Queries go to its first listen address."""

    def __init__(self, directory, address, config, args=(), env=None, port=DNS_PORT, file=None, user=None, under=()):
        self.directory, self.address, self.port = directory, address, port
        self.file = file or directory / "nodedot.ini"
        self.user = user  # number of the user that starts it, None: whoever runs the tests
        self.under = list(under)  # a command that starts it
        self.config = config
        self.args, self.env = list(args), dict(env or {})
        self.mark = uuid.uuid4().hex
        self.process = None
        self.log_file = directory / "log"
        self.faults_expected = False  # a test that provokes crashes may leave traces in the log
        if config is not None and file is None:
            self.write_config(config)

    # Life ---------------------------------------------------------------------------------------------------------------

    def write_config(self, config):
        """Replaces the file as an editor or a ConfigMap does: another file takes its name."""
        self.config = config
        new = self.file.with_suffix(".new")
        new.write_text(config if isinstance(config, str) else render(config))
        new.rename(self.file)

    def start(self, wait="ready"):
        command = [*self.under, binary(), "run"]
        if self.config:
            command += ["-c", str(self.file)]
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                command + self.args,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=clean_environment({**self.env, MARK: self.mark}),
                start_new_session=True,
                user=self.user,
                group=self.user,
            )
        if wait == "ready":
            self.wait_ready()
        elif wait == "serving":
            self.wait_serving()
        return self

    def wait_ready(self, timeout=START_S):
        self._wait(self.is_ready, timeout, "the readiness port to open")

    def wait_not_ready(self, timeout=START_S):
        self._wait(lambda: not self.is_ready(), timeout, "the readiness port to close")

    def wait_serving(self, timeout=START_S):
        """Until it answers a question that needs no upstream."""

        def answers():
            with client.Udp(self.address, self.port) as udp:
                return udp.ask(wire.query("localhost"), timeout=0.2)

        self._wait(answers, timeout, "an answer for localhost")

    def _wait(self, condition, timeout, what):
        def alive_and_true():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log()}"
            return condition()

        try:
            wait_until(alive_and_true, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def is_alive(self):
        return port_open(self.address, LIVENESS_PORT)

    def is_ready(self):
        return port_open(self.address, READINESS_PORT)

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """Ends it as a kubelet does, and proves that it kept its promises: in time, with 0, with nothing left behind."""
        if self.process is None or self.process.returncode is not None:
            return
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_S + STOP_SLACK_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running {STOP_S + STOP_SLACK_S} s after SIGTERM\n{self.log()}") from None
        took = time.monotonic() - began
        assert status == 0, f"exit status {status} after SIGTERM\n{self.log()}"
        assert not self.processes(), f"left behind: {self.processes()}\n{self.log()}"
        left = [port for _, port in open_sockets(self.address) if port in (self.port, LIVENESS_PORT, READINESS_PORT)]
        assert not left, f"sockets left behind: {left}"
        self.check_log()
        return took

    def kill(self):
        """Ends everything without ceremony."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process is not None:
            self.process.wait(5)

    def check_log(self):
        if not self.faults_expected:
            found = re.search(r"(?m)^.*(Sanitizer|runtime error:|system-call filter\b(?! installed)).*$", self.log())
            assert not found, f"{found.group(0)}\n{self.log()}"

    # Looking inside -----------------------------------------------------------------------------------------------------

    def processes(self):
        """All processes that descend from this start, the supervisor first."""
        mark = f"{MARK}={self.mark}".encode()
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as stat:
                        if stat.read().rpartition(")")[2].split()[0] in "ZX":
                            continue
                    if self._is_ours(int(entry), mark):
                        found.append(int(entry))
                except (FileNotFoundError, ProcessLookupError):
                    pass
        return sorted(found, key=lambda pid: (self.process is None or pid != self.process.pid, pid))

    def _is_ours(self, pid, mark):
        if self.process is not None and os.getsid(pid) == self.process.pid:
            return True
        try:
            with open(f"/proc/{pid}/environ", "rb") as environment:
                return mark in environment.read().split(b"\0")
        except PermissionError:
            return False

    def supervisor(self):
        return self.process.pid

    def resolvers(self):
        return self.processes()[1:] if self.process.poll() is None else self.processes()

    def resolver(self):
        """The pid of the only resolver."""
        return wait_until(lambda: (lambda r: r[0] if len(r) == 1 else 0)(self.resolvers()), START_S, "one resolver")

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def wait_log(self, pattern, timeout=10, start=0):
        """Waits for a line that matches, in the log behind offset start, and returns the match."""
        return wait_until(
            lambda: re.search(pattern, self.log()[start:]), timeout, f"log line /{pattern}/\n{self.log()}"
        )

    def counters(self):
        """What `nodedot status --all` prints, as numbers by name."""
        shown = run("status", "--all", "-c", self.file, *self.args, env=self.env)
        assert shown.returncode == 0, shown.stderr
        return {m[1]: int(m[2]) for m in re.finditer(r"(?m)^nodedot_(\w+) (\d+)$", shown.stdout)}

    def counter(self, name):
        return self.counters()[name]

    def wait_counter(self, name, at_least, timeout=10):
        wait_until(lambda: self.counter(name) >= at_least, timeout, f"{name} >= {at_least}")

    def sanitized(self):
        """Is it a build with sanitizers? They take memory and time of their own."""
        with open(binary(), "rb") as program:
            return b"__asan_init" in program.read()

    def memory_kib(self, kind="Pss"):
        """Proportional set size of all its processes (memory that they share counts once). None: not for an ordinary user to see,
        since a resolver is not dumpable. kind: a line of smaps_rollup; Pss_Anon is heap and stacks without the shared mappings."""
        total = 0
        try:
            for pid in self.processes():
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as smaps:
                    total += int(re.search(rf"(?m)^{kind}:\s+(\d+)", smaps.read())[1])
        except PermissionError:
            return None
        return total

    def assert_grew_less(self, before_kib, limit_kib):
        """Memory grew by less than limit_kib since memory_kib() returned before_kib."""
        if before_kib is not None and not self.sanitized():
            grown = self.memory_kib() - before_kib
            assert grown < limit_kib, f"{grown} KiB more than before"

    def open_files(self):
        """Descriptors of all its processes. None: not for an ordinary user to see."""
        try:
            return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.processes())
        except PermissionError:
            return None

    def wait_files_closed(self, before, slack):
        """Waits until there are no more descriptors than when open_files() returned before."""
        if before is not None:
            wait_until(lambda: self.open_files() <= before + slack, 5, "descriptors to be closed")

    # Asking -------------------------------------------------------------------------------------------------------------

    def udp(self, source=None):
        return client.Udp(self.address, self.port, source)

    def tcp(self, source=None):
        return client.Tcp(self.address, self.port, source)

    def exchange(self, octets, transport="udp", timeout=client.TIMEOUT_S, source=None):
        """Sends octets, returns the answer's, or None when there is none."""
        with (self.udp if transport == "udp" else self.tcp)(source) as c:
            try:
                return c.ask(octets, timeout)
            except TimeoutError:
                return None

    def ask(self, name, qtype="A", transport="udp", timeout=client.TIMEOUT_S, source=None, **flags):
        """Asks properly, returns the parsed answer, which must belong to the question."""
        q = client.make_query(name, qtype, **flags)
        octets = self.exchange(q.to_wire(), transport, timeout, source)
        assert octets is not None, f"no answer for {name} {qtype}\n{self.log()}"
        answer = client.parse(octets)
        assert q.is_response(answer), f"not an answer to {q}:\n{answer}"
        return answer

    def load(self, rate, names=None, **more):
        return client.Load(self.address, self.port, rate, names or client.distinct_names(), **more)

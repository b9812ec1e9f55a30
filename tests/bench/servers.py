"""The servers that a bench compares: their configuration, their start and end, and what they use.

Each one runs with one worker or thread, a cache in memory, no log and no DNSSEC validation, pinned to the server's
core, and forwards everything over DNS-over-TLS to an upstream that it authenticates.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

READY_S = 15  # from the start of a server to its first answer
STOP_S = 3  # from SIGTERM to SIGKILL
CERT_NAME = "bench.example.com"

CPUCLOCK_SCHED = 2  # linux/posix-timers.h: a process's clock, nanoseconds on a CPU, ended threads included


class ServerFailed(Exception):
    """A server did not start, or did not answer."""


def free_port():
    """A port that is free for UDP and TCP on 127.0.0.1."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            return tcp.getsockname()[1]


def stat_field(pid, index):
    """Field of /proc/PID/stat, counted from the state (0)."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        return f.read().rpartition(")")[2].split()[index]


def session_pids(session):
    """Every process of a session: whatever a server has started."""
    pids = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(stat_field(entry, 3)) == session and stat_field(entry, 0) != "Z":
                pids.append(int(entry))
        except OSError:
            pass  # it has just ended
    return pids


class Process:
    """A child in a session of its own, on one core."""

    def __init__(self, command, cpu, log, **kwargs):
        with open(log, "wb") as out:
            self.popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=out, start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {cpu}), **({"stdout": out} | kwargs))

    def pids(self):
        return session_pids(self.popen.pid)

    def cpu_ns(self):
        """CPU time, user and system, of all processes and threads since they started."""
        return sum(time.clock_gettime_ns(~pid << 3 | CPUCLOCK_SCHED) for pid in self.pids())

    def pss_bytes(self):
        """Memory, shared pages counted by their share. None where the kernel does not let us read it."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
                    total += 1024 * int(re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M).group(1))
            except PermissionError:
                return None
        return total

    def stop(self):
        self.popen.terminate()
        try:
            self.popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()


class Identity:
    """The upstream's certificate, self-signed, and its pin."""

    def __init__(self, folder, name="upstream"):
        self.cert = os.path.join(folder, f"{name}-cert.pem")
        self.key = os.path.join(folder, f"{name}-key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-keyout", self.key, "-out", self.cert, "-subj", f"/CN={CERT_NAME}", "-addext",
             f"subjectAltName=DNS:{CERT_NAME},IP:127.0.0.1"], check=True, capture_output=True)
        public = subprocess.run(["openssl", "x509", "-in", self.cert, "-noout", "-pubkey"], check=True,
                                capture_output=True).stdout
        spki = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, check=True,
                              capture_output=True).stdout
        self.pin = base64.b64encode(hashlib.sha256(spki).digest()).decode()


class Upstream(Process):
    """A dotserver. Options are its own: -p, -j, -d, -D, -b."""

    def __init__(self, bench, options=(), identity=None):
        self.identity = identity or bench.identity
        super().__init__([bench.tool("dotserver"), *options, self.identity.cert, self.identity.key], bench.load_cpu,
                         os.path.join(bench.work, "dotserver.log"), stdout=subprocess.PIPE, text=True)
        self.port = json.loads(self.popen.stdout.readline())["port"]

    def counters(self):
        """What it has seen since it started. most_open counts from the call before."""
        self.popen.send_signal(signal.SIGUSR1)
        return json.loads(self.popen.stdout.readline())


class Server:
    """Base of the servers. A subclass names its executable and renders its configuration."""

    name = ""
    executable = ""
    version_option = "--version"
    answers_records = True  # an echo does not
    million_mib = 1024  # a cache that holds a million A answers with room to spare

    def __init__(self, bench, upstream=None, cache_mib=256, tag="", others=()):
        self.bench, self.upstream, self.cache_mib = bench, upstream, cache_mib
        self.upstreams = [upstream, *others]  # all with the identity of the first
        self.label = f"{self.name}{', ' + tag if tag else ''}"
        self.port = free_port()
        self.folder = os.path.join(bench.work, f"{self.name}-{self.port}")
        self.process = None
        os.makedirs(self.folder)

    @classmethod
    def path(cls, _bench):
        return shutil.which(cls.executable, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

    @classmethod
    def version(cls, bench):
        out = subprocess.run([cls.path(bench), cls.version_option], capture_output=True, text=True, check=False)
        found = re.search(r"\d+(\.\d+)+\S*", out.stdout + out.stderr)
        return found.group(0).rstrip(",") if found else "unknown"

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def command(self):
        """Writes the configuration and returns the command line."""
        raise NotImplementedError

    def start(self):
        log = os.path.join(self.folder, "log")
        self.process = Process(self.command(), self.bench.server_cpu, log)
        if not self.answers():
            self.stop()
            raise ServerFailed(f"no answer within {READY_S} s, see {log}")
        return self

    def answers(self):
        """Asks until an answer comes: the server's socket is bound, and its upstream usable."""
        query = b"\0\1\1\0\0\1\0\0\0\0\0\0\5ready\7example\3com\0\0\1\0\1"
        end = time.monotonic() + READY_S
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect(("127.0.0.1", self.port))
            s.settimeout(0.1)
            while time.monotonic() < end and self.process.popen.poll() is None:
                try:
                    s.send(query)
                    answer = s.recv(1500)
                    if answer[3] & 15 == 0 and (answer[7] > 0 or not self.answers_records):
                        return True
                except OSError:
                    pass
                time.sleep(0.02)
        return False

    def stop(self):
        if self.process is not None:
            self.process.stop()
        self.process = None


class Nodedot(Server):
    name = "nodedot"
    million_mib = 256

    @classmethod
    def path(cls, bench):
        return bench.nodedot if os.access(bench.nodedot, os.X_OK) else None

    def command(self):
        addresses = ", ".join(f"127.0.0.1:{u.port}" for u in self.upstreams)
        config = self.write("nodedot.ini", f"""[server]
listen = 127.0.0.1:{self.port}
workers = 1
[cache]
size = {self.cache_mib}M
[upstream bench]
address = {addresses}
pin = sha256/{self.upstream.identity.pin}
[zone .]
upstream = bench
[limits]
tcp-connections-per-client = 1024
[probes]
liveness-port = {free_port()}
readiness-port = {free_port()}
[log]
level = warn
""")
        return [self.path(self.bench), "run", "-c", config]


class Unbound(Server):
    name = "unbound"
    executable = "unbound"
    version_option = "-V"

    def command(self):
        half = self.cache_mib // 2
        addresses = "\n".join(f"    forward-addr: 127.0.0.1@{u.port}#{CERT_NAME}" for u in self.upstreams)
        config = self.write("unbound.conf", f"""server:
    interface: 127.0.0.1@{self.port}
    num-threads: 1
    username: ""
    chroot: ""
    directory: "{self.folder}"
    pidfile: ""
    use-syslog: no
    logfile: ""
    verbosity: 0
    module-config: "iterator"
    msg-cache-size: {half}m
    rrset-cache-size: {half}m
    incoming-num-tcp: 1000
    num-queries-per-thread: 4096
    outgoing-range: 8192
    so-rcvbuf: 4m
    do-not-query-localhost: no
    tls-cert-bundle: "{self.upstream.identity.cert}"
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-tls-upstream: yes
{addresses}
""")
        return [self.path(self.bench), "-d", "-c", config]


class Dnsdist(Server):
    name = "dnsdist"
    executable = "dnsdist"
    entry_bytes = 200  # of its packet cache, about: it is sized in entries

    def command(self):
        entries = self.cache_mib * 2**20 // self.entry_bytes
        forced = ":setUp()" if len(self.upstreams) == 1 else ""  # with two it has to notice when one is gone
        backends = "\n".join(f"""newServer({{address='127.0.0.1:{u.port}', tls='openssl', subjectName='{CERT_NAME}',
  caStore='{u.identity.cert}', validateCertificates=true, maxInFlight=1000}}){forced}""" for u in self.upstreams)
        config = self.write("dnsdist.conf", f"""addLocal('127.0.0.1:{self.port}')
setSecurityPollSuffix('')
setMaxTCPClientThreads(1)
setMaxTCPQueuedConnections(1000)
setUDPSocketBufferSizes(4194304, 4194304)
{backends}
getPool(''):setCache(newPacketCache({entries}, {{maxTTL=86400}}))
""")
        return [self.path(self.bench), "--supervised", "--disable-syslog", "-C", config]


class Knot(Server):
    name = "knot-resolver"
    executable = "kresd"

    def command(self):
        # The cache is a mapped file; on a disk the kernel would write it out all the time.
        cache = f"/dev/shm/nodedot-bench-{self.port}"
        self.bench.scratch.append(cache)
        addresses = ",\n".join(f"  {{'127.0.0.1@{u.port}', pin_sha256 = '{u.identity.pin}'}}" for u in self.upstreams)
        # A connection that has more than tcp_pipeline queries in flight refuses the next: 100 unless told otherwise.
        config = self.write("kresd.conf", f"""net.ipv6 = false
net.listen('127.0.0.1', {self.port}, {{kind = 'dns'}})
net.tcp_pipeline(10000)
log_level('crit')
cache.open({self.cache_mib} * MB, 'lmdb://{cache}')
trust_anchors.remove('.')
for _, module in ipairs({{'priming', 'ta_update', 'ta_signal_query'}}) do
  if modules.list()[module] ~= nil then modules.unload(module) end
end
policy.add(policy.all(policy.TLS_FORWARD({{
{addresses}}})))
""")
        return [self.path(self.bench), "-n", "-c", config, self.folder]


class Echo(Server):
    """The limit."""

    answers_records = False

    @classmethod
    def path(cls, bench):
        return bench.tool("echo")

    @classmethod
    def version(cls, _bench):
        return "-"


class UdpEcho(Echo):
    name = "echo-udp"

    def command(self):
        return [self.path(self.bench), "udp", str(self.port)]


class TcpEcho(Echo):
    name = "echo-tcp"

    def command(self):
        return [self.path(self.bench), "tcp", str(self.port)]

    def answers(self):
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=0.1):
                    return True
            except OSError:
                time.sleep(0.02)
        return False


RESOLVERS = [Nodedot, Unbound, Dnsdist, Knot]

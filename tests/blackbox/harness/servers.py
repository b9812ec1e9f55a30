"""Real servers as DoT upstreams. Each answers A 192.0.2.7 with TTL 300 for every name below many.test."""

import os
import shutil
import subprocess

from .fake import DOT_PORT
from .program import port_open
from .waiting import wait_until

ZONE, ADDRESS = "many.test", "192.0.2.7"
START_S = 20
RESOLVERS = {"unbound": "unbound", "kresd": "knot-resolver", "dnsdist": "dnsdist"}
PACKAGES = {**RESOLVERS, "knotd": "knot"}


def program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def obtainable(name):
    """Is the server installed, or could it be? What the distribution has must be there, or its tests fail."""
    if program(name):
        return True
    try:
        policy = subprocess.run(["apt-cache", "policy", PACKAGES[name]], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return True
    candidate = [line for line in policy.stdout.splitlines() if "Candidate:" in line]
    return bool(candidate) and "(none)" not in candidate[0]


class Server:
    """One running server. server_name and pin are what nodedot needs to know of it."""

    server_name = "dot.test"

    def __init__(self, name, directory, address, certificate):
        self.name, self.directory, self.address, self.certificate = name, directory, address, certificate
        directory.mkdir()
        command = getattr(self, "_" + name)()
        self.log_file = directory / "log"
        assert program(name), f"{name} is not installed: its package is {PACKAGES[name]}"
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                [program(name), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                start_new_session=True,
            )
        wait_until(self._is_up, START_S, f"{name} to listen")

    def _is_up(self):
        assert self.process.poll() is None, f"{self.name} ended:\n{self.log()}"
        return port_open(self.address, DOT_PORT)

    def log(self):
        return self.log_file.read_text(errors="replace")

    def options(self, auth="pin"):
        return {"address": f"{self.address}:{DOT_PORT}", "name": self.server_name, "pin": self.certificate.pin}

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def connections(self):
        """How many connections to its DoT port are established now."""
        text = "".join(f"{int(part):02X}" for part in reversed(self.address.split("."))) + f":{DOT_PORT:04X}"
        with open("/proc/net/tcp", encoding="ascii") as table:
            return sum(row.split()[1] == text and row.split()[3] == "01" for row in table)

    def _write(self, name, text):
        (self.directory / name).write_text(text)
        return str(self.directory / name)

    def _unbound(self):
        return [
            "-d",
            "-p",
            "-c",
            self._write(
                "unbound.conf",
                f"""
server:
    interface: {self.address}@{DOT_PORT}
    tls-port: {DOT_PORT}
    tls-service-key: "{self.certificate.key_file}"
    tls-service-pem: "{self.certificate.chain_file}"
    directory: "{self.directory}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    do-udp: no
    access-control: 127.0.0.0/8 allow
    module-config: "iterator"
    incoming-num-tcp: 100
    local-zone: "{ZONE}." redirect
    local-data: "{ZONE}. 300 IN A {ADDRESS}"
remote-control:
    control-enable: no
""",
            ),
        ]

    def _kresd(self):
        return [
            "-n",
            "-q",
            "-c",
            self._write(
                "kresd.conf",
                f"""
net.listen('{self.address}', {DOT_PORT}, {{ kind = 'tls' }})
net.tls('{self.certificate.chain_file}', '{self.certificate.key_file}')
net.tls_sticket_secret('a secret of at least thirty-two octets')
modules.unload('ta_update')
modules.unload('ta_signal_query')
modules.unload('priming')
modules.unload('detect_time_skew')
trust_anchors.remove('.')
cache.size = 10 * MB
policy.add(policy.suffix(policy.ANSWER({{ [kres.type.A] = {{ rdata = kres.str2ip('{ADDRESS}'), ttl = 300 }} }}, true),
    policy.todnames({{'{ZONE}'}})))
""",
            ),
            str(self.directory),
        ]

    def _dnsdist(self):
        return [
            "--supervised",
            "--disable-syslog",
            "-C",
            self._write(
                "dnsdist.conf",
                f"""
addTLSLocal('{self.address}:{DOT_PORT}', '{self.certificate.chain_file}', '{self.certificate.key_file}',
    {{ maxInFlight = 100 }})
setACL('127.0.0.0/8')
setSecurityPollSuffix('')
addAction(AndRule({{ makeRule('{ZONE}.'), QTypeRule(DNSQType.A) }}), SpoofAction('{ADDRESS}', {{ ttl = 300 }}))
addAction(AllRule(), RCodeAction(DNSRCode.NXDOMAIN))
""",
            ),
        ]


class Stunnel:
    """stunnel in front of a plain server, as sites put it there that want client certificates: only who shows one of client_ca
    gets through."""

    def __init__(self, directory, address, certificate, client_ca, target):
        self.address, self.log_file = address, directory / "stunnel.log"
        file = directory / "stunnel.conf"
        file.write_text(
            f"foreground = yes\npid =\nsyslog = no\n[dot]\naccept = {address}:{DOT_PORT}\nconnect = {target}\n"
            f"cert = {certificate.chain_file}\nkey = {certificate.key_file}\n"
            f"CAfile = {client_ca}\nverifyChain = yes\nrequireCert = yes\n"
        )
        assert program("stunnel4"), "stunnel is not installed: its package is stunnel4"
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([program("stunnel4"), file], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: self.process.poll() is not None or port_open(address, DOT_PORT), START_S, "stunnel to listen")
        assert self.process.poll() is None, self.log()

    def log(self):
        return self.log_file.read_text(errors="replace")

    def stop(self):
        self.process.terminate()
        self.process.wait(5)

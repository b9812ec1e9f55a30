"""Unbound in the place of the program under test, to measure what others can."""

import subprocess

from . import client
from .program import DNS_PORT, Nodedot
from .servers import program
from .waiting import wait_until

START_S = 20


class Unbound(Nodedot):
    """A forwarder that asks the same fake servers. Only what a client sees can be asked of it: it has no counters."""

    def __init__(self, directory, address, zones, transport, authority):
        super().__init__(directory, address, None)
        self.config_file = directory / "unbound.conf"
        self.config_file.write_text(self._text(zones, transport, authority))

    def start(self, wait=None):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [program("unbound"), "-d", "-p", "-c", self.config_file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )
        wait_until(self._answers, START_S, "Unbound to answer for localhost")
        return self

    def _answers(self):
        assert self.process.poll() is None, self.log()
        with self.udp() as udp:
            return udp.ask(client.make_query("localhost").to_wire(), timeout=0.5)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    def _text(self, zones, transport, authority):
        return f"""
server:
    interface: {self.address}@{DNS_PORT}
    directory: "{self.directory}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    num-threads: 1
    do-not-query-localhost: no
    module-config: "iterator"
    access-control: 127.0.0.0/8 allow
    tls-cert-bundle: "{authority.file}"
    tcp-upstream: {"yes" if transport == "tcp" else "no"}
    ede: yes
    rrset-roundrobin: yes
    edns-tcp-keepalive: yes
    local-zone: "test." nodefault
{"".join(self._zone(name, servers, transport) for name, servers in zones.items())}
remote-control:
    control-enable: no
"""

    @staticmethod
    def _zone(name, servers, transport):
        port = {"dot": "dot_port"}.get(transport, "plain_port")
        proof = "#dot.test" if transport == "dot" else ""
        lines = [f"    forward-addr: {s.address}@{getattr(s, port)}{proof}" for s in servers]
        tls = "yes" if transport == "dot" else "no"
        return "\n".join(["forward-zone:", f'    name: "{name}"', f"    forward-tls-upstream: {tls}", *lines, ""])

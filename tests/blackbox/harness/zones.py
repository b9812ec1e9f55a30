"""Zones with everything that a name can be and have, an authoritative server and a validating resolver that know them, and
questions about them. All of it comes from a seed."""

import bisect
import random
import subprocess

import dns.dnssec
import dns.message
import dns.name
import dns.query
import dns.rdatatype

from .servers import program
from .waiting import wait_until

START_S = 30
KNOT_PORT, DNS_PORT, TLS_PORT = 5300, 5301, 5302
SIGNED, NSEC, PLAIN, BOGUS, CHILD = "nsec3.example", "nsec.example", "plain.example", "bogus.example", "child.nsec.example"
ZONES = (SIGNED, NSEC, PLAIN, BOGUS, CHILD)

RDATA = {
    "A": "192.0.2.{n}",
    "AAAA": "2001:db8::{n:x}",
    "NS": "ns{n}.plain.example.",
    "MX": "{n} mail{n}.{zone}.",
    "TXT": '"text {n}" "" "{long}"',
    "SRV": "{n} 5 5060 Host{n}.{zone}.",
    "PTR": "Host{n}.{zone}.",
    "CAA": '0 issue "ca{n}.example"',
    "TLSA": "3 1 1 {hash}",
    "SSHFP": "4 2 {hash}",
    "NAPTR": '{n} 50 "s" "SIP+D2U" "" _sip._udp.{zone}.',
    "HINFO": '"cpu {n}" "os"',
    "LOC": "52 22 {n} N 4 53 32 E 10m 20m 100m 10m",
    "RP": "who{n}.{zone}. why.{zone}.",
    "AFSDB": "{n} afs.{zone}.",
    "URI": '{n} 1 "https://{zone}/{n}"',
    "KX": "{n} kx.{zone}.",
    "CERT": "1 {n} 5 AQIDBAUG",
    "DHCID": "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
    "SMIMEA": "3 1 1 {hash}",
    "OPENPGPKEY": "AQIDBAUG",
    "SVCB": "{n} svc.{zone}. alpn=h2,h3 port=84{n}",
    "HTTPS": "1 . alpn=h2 ipv4hint=192.0.2.{n} ipv6hint=2001:db8::{n:x}",
    "EUI48": "00-00-5e-00-53-2a",
    "TYPE65280": "\\# 4 0a0000{n:02x}",
}
TTL, NEGATIVE_TTL, NO_TTL, LONG_TTL = 3600, 300, 0, 86400
HOSTS = 60
# Of the hosts, by number: so far apart that one which a resolver counts down for a while is not taken for another.
HOST_TTLS = [600 + 100 * number for number in range(HOSTS)]
TTLS = sorted({TTL, NEGATIVE_TTL, NO_TTL, LONG_TTL, *HOST_TTLS})
# Labels as in a master file.
ODD_LABELS = [
    "_sip._tcp", "a\\.b", "back\\\\slash", "sp\\032ace", "nul\\000l", "\\255\\254", "quo\\\"te", "semi\\;colon", "at\\@",
    "dollar\\$", "x" * 63, "-", "--", "1", "0.0", "xn--nxasmq6b", "under_score", "CamelCase", "par\\(en\\)", "\\*", "\\010",
]  # fmt: skip
LONGEST = ".".join(["l" * 63, "m" * 63, "n" * 63])  # and as much as fits before a zone


def _longest(zone):
    left = 255 - (len(zone) + 2) - 3 * 64
    return f"{'k' * (left - 1)}.{LONGEST}" if left > 1 else LONGEST


def _rdata(rtype, zone, n, dice):
    digest = "".join(f"{dice.getrandbits(8):02x}" for _ in range(32))
    return RDATA[rtype].format(n=n, zone=zone, hash=digest, long="z" * dice.choice((0, 1, 200, 255)))


def zone_text(zone, dice):
    """A zone file, and the names that have something."""
    lines = [f"$ORIGIN {zone}.", f"$TTL {TTL}", f"@ SOA ns mail 1 3600 600 86400 {NEGATIVE_TTL}", "@ NS ns", "ns A 192.0.2.53"]
    owners = []

    def add(owner, rtype, rdata, ttl=TTL):
        lines.append(f"{owner} {ttl} {rtype} {rdata}")
        if owner not in owners:
            owners.append(owner)

    for number in range(HOSTS):  # ordinary names, some of them below empty non-terminals
        owner = f"host{number}" if number % 3 else f"host{number}.deep.er"
        for rtype in dice.sample([t for t in RDATA if t != "NS"], 3):
            for n in range(dice.choice((1, 1, 2, 5))):
                add(owner, rtype, _rdata(rtype, zone, n + 1, dice), HOST_TTLS[number])
    for owner in [*ODD_LABELS, _longest(zone)]:
        for rtype in ("A", "TXT"):
            add(owner, rtype, _rdata(rtype, zone, 7, dice))
    for rtype in RDATA:
        if rtype != "NS":
            add("all", rtype, _rdata(rtype, zone, 9, dice))
    for number, count in enumerate((20, 40, 80, 250, 1000)):  # over a datagram, and far over
        for n in range(count):
            add(f"many{number}", "AAAA", f"2001:db8:1::{n:x}")
    for n in range(200):
        add("huge", "TXT", f'"{n}" "{"h" * 250}"')
    add("nul", "TYPE65281", "\\# 0")
    add("*.wild", "A", "192.0.2.99")
    add("*.wild", "TXT", '"wild"')
    add("host.wild", "A", "192.0.2.98")
    add("*.walias", "CNAME", "host1")
    for n in range(1, 8):
        add(f"chain{n}", "CNAME", f"chain{n - 1}" if n > 1 else "host1")
    add("away", "CNAME", "host2.plain.example.")
    add("nowhere", "CNAME", "not.there")
    add("empty", "CNAME", "er")  # an empty non-terminal
    add("loop1", "CNAME", "loop2")
    add("loop2", "CNAME", "loop1")
    add("tree", "DNAME", "deep.er")
    add("abroad", "DNAME", "wild.plain.example.")
    add("volatile", "A", "192.0.2.5", NO_TTL)
    add("old", "A", "192.0.2.6", LONG_TTL)
    if zone == NSEC:
        lines += ["child NS ns.child", "ns.child A 192.0.2.54"]
    return "\n".join(lines) + "\n", owners


def original_ttl(seen):
    """The TTL in the zone file of a record that a resolver shows with this one: it counts down, and may have asked anew."""
    at = bisect.bisect_left(TTLS, seen)
    return TTLS[at] if at < len(TTLS) else seen


class Servers:
    """Knot DNS with the zones, signed but for PLAIN and CHILD, and Unbound that asks it and validates: over UDP and TCP at
    DNS_PORT, over TLS at TLS_PORT. BOGUS has a trust anchor that is not its own."""

    def __init__(self, directory, address, certificate, seed=1):
        dice = random.Random(seed)
        self.address, self.certificate, self.directory = address, certificate, directory
        self.owners, self.processes = {}, []
        for zone in ZONES:
            text, self.owners[zone] = zone_text(zone, dice)
            (directory / f"{zone}.zone").write_text(text)
        self._start("knotd", ["-c", self._knot()], lambda: self._knows(KNOT_PORT))
        anchors = [f'trust-anchor: "{line}"' for zone in (SIGNED, NSEC) for line in self._keys(zone)]
        anchors += [f'trust-anchor: "{line.replace(NSEC, BOGUS)}"' for line in self._keys(NSEC)]
        self._start("unbound", ["-d", "-p", "-c", self._unbound(anchors)], lambda: self._knows(DNS_PORT))

    def _start(self, name, arguments, is_up):
        log = self.directory / f"{name}.log"
        with open(log, "wb") as out:
            process = subprocess.Popen([program(name), *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.processes.append(process)
        try:
            wait_until(lambda: process.poll() is not None or is_up(), START_S, f"{name} to answer")
            assert process.poll() is None
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{log.read_text(errors='replace')}") from None

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _ask(self, port, name, rtype):
        query = dns.message.make_query(name, rtype, want_dnssec=True)
        return dns.query.tcp(query, self.address, timeout=2, port=port)

    def _knows(self, port):
        """Is every zone there, with its signatures?"""
        try:
            for zone in ZONES:
                answer = self._ask(port, f"host1.{zone}" if zone != BOGUS else f"host1.{PLAIN}", "TXT")
                if answer.rcode() != 0 or not (answer.answer or answer.authority):
                    return False
                if port == KNOT_PORT and zone in (SIGNED, NSEC) and not self._keys(zone):
                    return False
        except (OSError, dns.exception.DNSException):
            return False
        return True

    def _keys(self, zone):
        """The DNSKEY records with the SEP bit."""
        found = self._ask(KNOT_PORT, zone, "DNSKEY").get_rrset(
            dns.message.ANSWER, dns.name.from_text(zone), 1, dns.rdatatype.DNSKEY
        )
        return [f"{zone}. DNSKEY {key}" for key in found or [] if key.flags & 1]

    def _write(self, name, text):
        (self.directory / name).write_text(text)
        return str(self.directory / name)

    def _knot(self):
        zones = "".join(
            f"  - domain: {zone}\n    file: {self.directory}/{zone}.zone\n    zonefile-sync: -1\n"
            f"    journal-content: none\n"
            + (f"    dnssec-signing: on\n    dnssec-policy: {'three' if zone == SIGNED else 'one'}\n" if signed else "")
            for zone, signed in ((zone, zone not in (PLAIN, CHILD)) for zone in ZONES)
        )
        return self._write(
            "knot.conf",
            f"""
server:
    listen: {self.address}@{KNOT_PORT}
    rundir: {self.directory}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {self.directory}
    kasp-db-max-size: 50M
    journal-db-max-size: 50M
    timer-db-max-size: 10M
policy:
  - id: one
    algorithm: ecdsap256sha256
  - id: three
    algorithm: ecdsap256sha256
    nsec3: on
    nsec3-iterations: 0
log:
  - target: stderr
    any: warning
zone:
{zones}""",
        )

    def _unbound(self, anchors):
        lines = "\n    ".join(anchors)
        stubs = "".join(f'stub-zone:\n    name: "{zone}"\n    stub-addr: {self.address}@{KNOT_PORT}\n' for zone in ZONES)
        return self._write(
            "unbound.conf",
            f"""
server:
    interface: {self.address}@{DNS_PORT}
    interface: {self.address}@{TLS_PORT}
    tls-port: {TLS_PORT}
    tls-service-key: "{self.certificate.key_file}"
    tls-service-pem: "{self.certificate.chain_file}"
    outgoing-interface: {self.address}
    directory: "{self.directory}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    access-control: 127.0.0.0/8 allow
    do-not-query-localhost: no
    module-config: "validator iterator"
    incoming-num-tcp: 100
    num-threads: 1
    so-reuseport: no
    minimal-responses: no
    qname-minimisation: no
    aggressive-nsec: no
    harden-below-nxdomain: no
    prefetch: no
    msg-cache-size: 64m
    rrset-cache-size: 128m
    {lines}
{stubs}
remote-control:
    control-enable: no
""",
        )


def mixed_case(octets, dice):
    """A name in wire form with some of its letters turned."""
    return bytes(b ^ 0x20 if 65 <= b & 0xDF <= 90 and dice.getrandbits(1) else b for b in octets)


TYPES = [dns.rdatatype.from_text(t) for t in RDATA] + [
    dns.rdatatype.from_text(t) for t in ("CNAME", "SOA", "DNAME", "DNSKEY", "DS", "NSEC", "NSEC3PARAM", "TYPE65281", "SPF")
]


BIG = [*((f"many{number}", "AAAA") for number in range(5)), ("huge", "TXT")]


def _random_owner(zone, owners, dice):
    kind = dice.random()
    if kind < 0.55:
        return dice.choice(owners)
    if kind < 0.65:
        return f"{dice.choice(('a', 'x.y', 'host', _label(dice)))}.{dice.choice(('wild', 'walias', 'host.wild'))}"
    if kind < 0.75:
        return f"{dice.choice(('host3', 'host6', 'none', _label(dice)))}.{dice.choice(('tree', 'abroad', 'deep.er', 'er'))}"
    if kind < 0.8:
        return dice.choice(("@", "er", "deep.er", "tree", "child", "x.child"))
    if kind < 0.9:
        return f"{_label(dice)}.{dice.choice(owners)}"
    return ".".join(_label(dice) for _ in range(dice.randint(1, 3)))


def _label(dice):
    """Any octets, of any length that a label can have."""
    size = dice.choice((1, 2, 7, 30, 62, 63))
    return "".join(f"\\{dice.getrandbits(8):03d}" for _ in range(size))


def question_stream(owners, dice):
    """Endless (name in wire form, type)."""
    while True:
        zone = dice.choice(ZONES)
        owner, rtype = _random_owner(zone, owners[zone], dice), dice.choice(TYPES if dice.random() < 0.6 else TYPES[:5])
        if dice.random() < 0.03:
            owner, text = dice.choice(BIG)
            rtype = dns.rdatatype.from_text(text)
        try:
            name = dns.name.from_text(owner, dns.name.from_text(zone))
        except (dns.name.NameTooLong, dns.name.LabelTooLong):
            continue
        yield name.canonicalize().to_wire(), rtype



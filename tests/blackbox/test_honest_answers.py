"""What an honest authoritative server answers comes through to the last record: signed zones with NSEC and NSEC3, wildcards,
DNAMEs, delegations, services with their addresses. The server is Knot DNS; each answer is compared with its own."""

import subprocess

import dns.message
import dns.query
import dns.rdatatype
import pytest

from harness import servers
from harness.fake import PLAIN_PORT
from harness.waiting import wait_until

RECORDS = """
$TTL 300
@ SOA ns1 hostmaster 1 3600 600 86400 60
@ NS ns1
@ NS ns2.elsewhere.test.
ns1 A 192.0.2.1
ns1 AAAA 2001:db8::1
@ MX 10 mail
@ MX 20 mail.elsewhere.test.
mail A 192.0.2.2
www A 192.0.2.3
www AAAA 2001:db8::3
@ HTTPS 0 www
www HTTPS 1 . alpn=h2
alias CNAME alias2
alias2 CNAME www
dangling CNAME nothing
out CNAME www.elsewhere.test.
*.wild A 192.0.2.4
*.wild TXT "wild"
old DNAME new
host.new A 192.0.2.5
_http._tcp SRV 0 0 80 www
_http._tcp SRV 0 0 80 mail
_http._tcp PTR web._http._tcp
web._http._tcp SRV 0 0 80 www
text TXT "a" "b"
empty.non.terminal A 192.0.2.6
sub NS ns.sub
ns.sub A 192.0.2.7
signed NS ns.signed
ns.signed A 192.0.2.8
signed DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
"""
NAMES = (
    "@ www ns1 mail alias alias2 dangling out wild any.wild a.b.wild old host.old no.old old2 new host.new _http._tcp "
    "web._http._tcp text empty non.terminal empty.non.terminal nothing no.such.name sub host.sub ns.sub signed host.signed zzz"
).split()
TYPES = "A AAAA MX NS SOA SRV HTTPS TXT CNAME DNAME DS NSEC PTR DNSKEY".split()

CONFIGURATION = """
server:
    listen: {address}@{port}
    rundir: "{directory}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stdout
    any: notice
database:
    storage: "{directory}"
policy:
  - id: nsec
    single-type-signing: on
    nsec3: off
  - id: nsec3
    single-type-signing: on
    nsec3: on
template:
  - id: default
    storage: "{directory}"
    zonefile-sync: -1
    dnssec-signing: on
zone:
  - domain: nsec.test
    file: zone
    dnssec-policy: nsec
  - domain: nsec3.test
    file: zone
    dnssec-policy: nsec3
"""

pytestmark = pytest.mark.needs_server("knotd")


@pytest.fixture
def knot(tmp_path, address):
    """The address of a running Knot DNS with both zones."""
    where, directory = address(), tmp_path / "knot"
    directory.mkdir()
    (directory / "zone").write_text(RECORDS)
    (directory / "conf").write_text(CONFIGURATION.format(address=where, port=PLAIN_PORT, directory=directory))
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            [servers.program("knotd"), "-c", str(directory / "conf")], stdout=log, stderr=log, start_new_session=True
        )

    def is_signed(zone):
        assert process.poll() is None, (directory / "log").read_text()
        try:
            return dns.query.udp(dns.message.make_query(zone, "DNSKEY"), where, 1, PLAIN_PORT).answer
        except (OSError, dns.exception.Timeout):
            return False

    try:
        wait_until(lambda: is_signed("nsec.test") and is_signed("nsec3.test"), 20, "the zones to be signed")
        yield where
    finally:
        process.terminate()
        process.wait(10)


def sections_of(answer):
    """ANSWER, AUTHORITY and ADDITIONAL without TTLs, which a denial has lowered (RFC 2308)."""
    return [
        sorted(f"{rrset.name} {dns.rdatatype.to_text(r.rdtype)} {r}" for rrset in section for r in rrset)
        for section in answer.sections[1:]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["nsec.test", "nsec3.test"])
def test_every_record_of_an_honest_answer_comes_through(start, make_config, knot, zone):
    config = make_config()
    config["upstream up"] = {"address": f"{knot}:{PLAIN_PORT}", "transport": "plain"}
    config["zone ."] = {"upstream": "up"}
    program = start(config=config)
    records = 0
    for name in NAMES:
        for qtype in TYPES:
            for do in (False, True):
                qname = f"{name}.{zone}" if name != "@" else zone
                query = dns.message.make_query(qname, qtype, want_dnssec=do, use_edns=0, payload=4096)
                expected = dns.query.tcp(query, knot, 5, PLAIN_PORT)
                given = dns.query.tcp(query, program.address, 5, program.port)
                assert given.rcode() == expected.rcode(), (qname, qtype, do)
                assert sections_of(given) == sections_of(expected), (qname, qtype, do)
                records += sum(len(section) for section in given.sections[1:])
    assert records > len(NAMES) * len(TYPES)
    assert program.counter("upstream_foreign_total") == 0

"""Names that are answered here: they never leave the node, or only where a zone says so."""

import dns.reversename
import pytest

from harness import client, wire

BOTH = pytest.mark.parametrize("transport", ["udp", "tcp"])


def never_forwarded(nodedot):
    return [q for q in nodedot.upstream.queries if q.name]


@BOTH
@pytest.mark.parametrize("name", ["localhost", "a.localhost", "b.a.localhost", "LocalHost"])
def test_localhost_is_the_loopback_address(nodedot, transport, name):
    assert client.addresses(nodedot.ask(name, "A", transport)) == ["127.0.0.1"]
    assert client.addresses(nodedot.ask(name, "AAAA", transport)) == ["::1"]
    other = nodedot.ask(name, "MX", transport)
    assert other.rcode() == wire.NOERROR and not other.answer
    assert not never_forwarded(nodedot)
    assert nodedot.counter("answers_local_total") == 3


@BOTH
@pytest.mark.parametrize(
    "name", ["invalid", "a.invalid", "onion", "abc.onion", "a.b.ONION", "local", "printer.local", "x.alt"]
)
def test_names_that_do_not_exist_in_the_dns_are_nxdomain(nodedot, transport, name):
    for qtype in ("A", "AAAA", "TXT"):
        answer = nodedot.ask(name, qtype, transport)
        assert answer.rcode() == wire.NXDOMAIN and not answer.answer
        assert [rrset.rdtype for rrset in answer.authority] == [wire.SOA]  # so that it can be cached (RFC 2308)
    assert not never_forwarded(nodedot)


@pytest.mark.parametrize(
    "name",
    [
        "notlocalhost",
        "localhost.test",
        "xinvalid",
        "invalid.test",
        "onion.test",
        "xonion",
        "mylocal",
        "local.test",
        "test",
        "a.test",
        "example",
        "a.example",
        "example.com",
        "internal",
    ],
)
def test_names_that_only_look_special_are_forwarded(nodedot, name):
    assert client.addresses(nodedot.ask(name)) == [wire.address_of(name)]
    assert len(nodedot.upstream.asked(name)) == 1


PRIVATE = [
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.2",
    "169.254.1.1",
    "0.1.2.3",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "255.255.255.255",
    "::",
    "::1",
    "fd00::1",
    "fe80::1",
    "febf::1",
    "2001:db8::1",
]
PUBLIC = [
    "9.255.255.255",
    "11.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "8.8.8.8",
    "169.253.1.1",
    "169.255.0.1",
    "192.0.3.1",
    "255.255.255.254",
    "2001:db7::1",
    "2001:db9::1",
    "fe00::1",
    "2620:fe::fe",
]


@pytest.mark.parametrize("ip", PRIVATE)
def test_private_reverse_names_never_reach_a_dot_upstream(nodedot, ip):
    name = dns.reversename.from_address(ip).to_text()
    answer = nodedot.ask(name, "PTR")
    assert answer.rcode() in (wire.NXDOMAIN, wire.NOERROR)
    assert answer.rcode() == wire.NXDOMAIN or ip in ("127.0.0.1", "::", "::1", "255.255.255.255")
    assert not never_forwarded(nodedot)


@pytest.mark.parametrize("ip", PUBLIC)
def test_public_reverse_names_are_forwarded(nodedot, ip):
    name = dns.reversename.from_address(ip).to_text()
    nodedot.ask(name, "PTR")
    assert len(nodedot.upstream.asked(name)) == 1


@pytest.mark.parametrize(
    "zone,name",
    [
        ("10.in-addr.arpa", "1.0.0.10.in-addr.arpa"),
        ("168.192.in-addr.arpa", "1.1.168.192.in-addr.arpa"),
        ("d.f.ip6.arpa", dns.reversename.from_address("fd00::1").to_text()),
        ("in-addr.arpa", "1.0.0.10.in-addr.arpa"),
        ("local", "printer.local"),
        ("corp.local", "a.corp.local"),
        ("home.arpa", "a.home.arpa"),
        ("alt", "a.alt"),
    ],
)
def test_a_zone_of_the_configuration_takes_them_over(start, upstream, make_upstream, zone, name):
    own = make_upstream()
    program = start(upstream, sections={"upstream own": own.options("plain"), f"zone {zone}": {"upstream": "own"}})
    program.ask(name, "TXT")
    assert len(own.asked(name)) == 1 and not upstream.asked(name)


def test_a_zone_does_not_take_over_its_neighbours(start, upstream, make_upstream):
    own = make_upstream()
    program = start(upstream, sections={"upstream own": own.options("plain"), "zone corp.local": {"upstream": "own"}})
    assert program.ask("other.local").rcode() == wire.NXDOMAIN
    assert not own.asked("other.local") and not upstream.asked("other.local")


@pytest.mark.parametrize("name", ["localhost", "a.invalid", "a.onion"])
def test_no_zone_takes_over_what_is_never_forwarded(start, upstream, make_upstream, name):
    own = make_upstream()
    zone = name.split(".")[-1]
    program = start(upstream, sections={"upstream own": own.options("plain"), f"zone {zone}": {"upstream": "own"}})
    program.ask(name)
    assert not own.asked(name) and not upstream.asked(name)


def test_a_plain_upstream_for_everything_gets_private_reverse_names(start, upstream):
    """A resolver of one's own network knows them."""
    program = start(upstream, auth="plain")
    name = "1.0.0.10.in-addr.arpa"
    program.ask(name, "PTR")
    assert len(upstream.asked(name)) == 1
    assert program.ask("a.invalid").rcode() == wire.NXDOMAIN and not upstream.asked("a.invalid")


@pytest.mark.parametrize("name", ["home.arpa", "a.home.arpa", "resolver.arpa", "_dns.resolver.arpa"])
def test_names_of_the_site_stay_on_the_site(nodedot, name):
    answer = nodedot.ask(name, "TXT")
    assert answer.rcode() in (wire.NXDOMAIN, wire.NOERROR) and not answer.answer
    assert not never_forwarded(nodedot)


def test_local_answers_need_no_upstream(start, make_upstream):
    dead = make_upstream()
    dead.stop_listening()
    program = start(dead, wait="serving")
    assert client.addresses(program.ask("localhost")) == ["127.0.0.1"]
    assert program.ask("a.invalid").rcode() == wire.NXDOMAIN
    assert program.ask("a.test", "ANY").answer[0].rdtype == wire.HINFO


def test_local_answers_return_the_clients_letters_and_opt(nodedot):
    query = wire.query("FOO.LocalHost", edns=wire.opt(do=True))
    octets = nodedot.exchange(query)
    answer = client.parse(octets)
    assert octets[12 : 12 + 19] == query[12 : 12 + 19]
    assert answer.edns == 0 and answer.ednsflags & 0x8000 and answer.flags & wire.RA

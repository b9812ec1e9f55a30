"""DNS messages by hand: fast enough for the fake server, and free to be wrong where dnspython would not let us."""

import functools
import ipaddress
import struct
import zlib

import dns.message
import dns.rdatatype

A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, OPT, ANY = 1, 2, 5, 6, 12, 13, 15, 16, 28, 41, 255
QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
CLIENT_SUBNET, COOKIE, KEEPALIVE, PADDING, EDE = 8, 10, 11, 12, 15


def name_octets(name):
    """A name in wire form; the labels of bytes are taken as they are."""
    labels = [label for label in (name if isinstance(name, bytes) else name.encode()).split(b".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def address_of(name):
    """The IPv4 address that the fake server gives to a name: tells whether an answer is the answer to one's question."""
    return str(ipaddress.IPv4Address(0x0A000000 | zlib.crc32(name.lower().rstrip(".").encode()) & 0xFFFFFF))


def address6_of(name):
    return str(ipaddress.IPv6Address((0x20010DB8 << 96) | zlib.crc32(name.lower().rstrip(".").encode())))


def option(code, data=b""):
    return struct.pack("!HH", code, len(data)) + data


def opt(size=1232, options=b"", do=False, version=0, rcode=0, z=0):
    """An OPT record (RFC 6891 section 6.1)."""
    flags = rcode << 24 | version << 16 | (0x8000 if do else 0) | z
    return b"\0" + struct.pack("!HHIH", OPT, size, flags, len(options)) + options


def query(name="example.com", qtype=A, *, id=0x1234, flags=RD, qclass=1, edns=None, count=1, tail=b"", counts=None):
    """A query; edns: the octets of opt(), tail: octets behind everything, counts: all four of the header."""
    counts = counts or (count, 0, 0, 0 if edns is None else 1)
    head = struct.pack("!HHHHHH", id, flags, *counts)
    return head + name_octets(name) + struct.pack("!HH", qtype, qclass) + (edns or b"") + tail


def record(rtype, ttl, rdata, owner=b"\xc0\x0c", rclass=1):
    return owner + struct.pack("!HHIH", rtype, rclass, ttl, len(rdata)) + rdata


def soa(ttl=300, minimum=300, owner=b"\xc0\x0c"):
    return record(
        SOA,
        ttl,
        name_octets("ns.test") + name_octets("mail.test") + struct.pack("!IIIII", 1, 3600, 600, 86400, minimum),
        owner,
    )


class Query:
    """A query as the fake server received it."""

    def __init__(self, wire, transport, connection=None, peer=None, time=0.0):
        self.wire = wire
        self.transport = transport
        self.connection = connection
        self.peer = peer
        self.time = time
        self.id, self.flags = struct.unpack_from("!HH", wire)
        at, labels = 12, []
        while wire[at]:
            labels.append(wire[at + 1 : at + 1 + wire[at]])
            at += 1 + wire[at]
        self.name = b".".join(labels).decode("latin-1").lower()
        self.qtype, self.qclass = struct.unpack_from("!HH", wire, at + 1)
        self.question = wire[12 : at + 5]
        self.has_edns = len(wire) > at + 5

    @functools.cached_property
    def message(self):
        return dns.message.from_wire(self.wire)

    @property
    def options(self):
        """EDNS options as {code: octets}."""
        return {int(o.otype): o.to_wire() for o in self.message.options}

    def __repr__(self):
        return f"<{self.name} {dns.rdatatype.to_text(self.qtype)} over {self.transport}>"


def answer(
    q,
    records=(),
    authority=(),
    additional=(),
    rcode=0,
    flags=RD | RA,
    id=None,
    question=None,
    options=b"",
    edns=None,
    z=0,
    do=False,
):
    """An answer to q; edns: whether there is an OPT, by default when the query has one."""
    edns = q.has_edns if edns is None else edns
    extra = [opt(1232, options, rcode=rcode >> 4, do=do)] if edns else []
    counts = (1 if question != b"" else 0, len(records), len(authority), len(additional) + len(extra))
    head = struct.pack("!HHHHHH", q.id if id is None else id, QR | flags | z | rcode & 15, *counts)
    body = q.question if question is None else question
    return head + body + b"".join([*records, *authority, *additional, *extra])


def proper_records(q, ttl):
    """What the fake server's zone holds: A, AAAA and TXT for every name."""
    if q.qtype == A:
        return [record(A, ttl, ipaddress.IPv4Address(address_of(q.name)).packed)]
    if q.qtype == AAAA:
        return [record(AAAA, ttl, ipaddress.IPv6Address(address6_of(q.name)).packed)]
    if q.qtype == TXT:
        text = q.name.encode("latin-1")[:255]
        return [record(TXT, ttl, bytes([len(text)]) + text)]
    return []

"""Ways in which real servers are imperfect. Each is a behaviour (behaviours.py) of the fake server."""

import struct

from . import wire
from .behaviours import Reply, proper

FIRST_ADDRESS = 0x0A010100


def owned(owner, rtype, rdata, ttl=300):
    """A record whose owner is written in full."""
    return wire.record(rtype, ttl, rdata, wire.name_octets(owner))


def numbered(count, owner=b"\xc0\x0c", ttl=300):
    """A records that are told apart by their number, 16 octets each."""
    return [wire.record(wire.A, ttl, struct.pack("!I", FIRST_ADDRESS + i), owner) for i in range(count)]


def over(transports, then, otherwise=None):
    """One behaviour for queries over some transports, another for the rest."""
    otherwise = otherwise or proper()
    return lambda q: (then if q.transport in transports else otherwise)(q)


# Messages that are cut --------------------------------------------------------------------------------------------------------

# Where a message is cut: a function of the whole message and of where its records begin.
CUTS = {
    "in the header's last octet": lambda message, start: 11,
    "behind the header": lambda message, start: 12,
    "in the question": lambda message, start: start - 3,
    "behind the question": lambda message, start: start,
    "in an owner": lambda message, start: start + 1,
    "in a record's fixed part": lambda message, start: start + 7,
    "in the first RDATA": lambda message, start: start + 14,
    "between two records": lambda message, start: start + 16,
    "in the last record": lambda message, start: len(message) - 2,
}


def cut(where, tc):
    """An answer of eight records and an OPT of which the end is missing; the counts in the header stay."""

    def behave(q):
        flags = wire.RD | wire.RA | (wire.TC if tc else 0)
        message = wire.answer(q, numbered(8), flags=flags)
        return [Reply(message[: CUTS[where](message, 12 + len(q.question))])]

    return behave


def truncated(count=0):
    """TC, and some whole records."""
    return lambda q: [Reply(wire.answer(q, numbered(count), flags=wire.RD | wire.RA | wire.TC))]


def followed_by(octets, then=None):
    """The answer, and octets behind it in the same datagram or frame."""
    then = then or proper()

    def behave(q):
        actions = then(q)
        for action in actions:
            action.octets += octets
        return actions

    return behave


def without_question(rcode):
    """A header alone."""
    return lambda q: [Reply(struct.pack("!HHHHHH", q.id, wire.QR | wire.RD | wire.RA | rcode, 0, 0, 0, 0))]


# Dislike of EDNS --------------------------------------------------------------------------------------------------------------


def error_with_opt_echoed(rcode):
    """The query comes back whole, its OPT record included, with QR and an RCODE set."""

    def behave(q):
        flags = struct.unpack_from("!H", q.wire, 2)[0] | wire.QR | wire.RA | rcode
        return [Reply(q.wire[:2] + struct.pack("!H", flags) + q.wire[4:])]

    return behave


def error(rcode, edns):
    return lambda q: [Reply(wire.answer(q, rcode=rcode, edns=edns))]


# What a server says to what it dislikes.
DISLIKES = {
    "FORMERR without OPT": error(wire.FORMERR, False),
    "FORMERR with OPT": error(wire.FORMERR, True),
    "FORMERR with the OPT echoed": error_with_opt_echoed(wire.FORMERR),
    "FORMERR in a header alone": without_question(wire.FORMERR),
    "NOTIMP without OPT": error(wire.NOTIMP, False),
    "NOTIMP with OPT": error(wire.NOTIMP, True),
    "SERVFAIL without OPT": error(wire.SERVFAIL, False),
    "BADVERS to version 0": error(wire.BADVERS, True),
    "silence": lambda q: [],
}


def dislikes_edns(how, then=None):
    then = then or proper()
    return lambda q: (DISLIKES[how] if q.has_edns else then)(q)


def dislikes_options(how, allowed=(), then=None):
    """EDNS is known, options other than the allowed ones are not."""
    then = then or proper()
    return lambda q: (DISLIKES[how] if q.has_edns and set(q.options) - set(allowed) else then)(q)


# Answers with a content of their own ------------------------------------------------------------------------------------------


def chain_in_full(links, name):
    """CNAME records that lead from a name to its last link, and that link's own address. Each name is written in full: large, and
    small once compressed. Questions for a link are answered with the rest of the chain."""
    names = [name, *(f"link{i}.{'x' * 40}.{name}" for i in range(1, links + 1))]

    def behave(q):
        rest = names[names.index(q.name) :]
        records = [owned(a, wire.CNAME, wire.name_octets(b)) for a, b in zip(rest, rest[1:])]
        return [Reply(wire.answer(q, [*records, owned(rest[-1], wire.A, address_octets(rest[-1]))]))]

    return {link: behave for link in names}


def address_octets(name):
    return bytes(map(int, wire.address_of(name).split(".")))


def extended_error(code, rcode, text=b"a text of the upstream", records=()):
    """A negative or failing answer that says why (RFC 8914)."""

    def behave(q):
        options = wire.option(wire.EDE, struct.pack("!H", code) + text) if q.has_edns else b""
        authority = [wire.soa()] if rcode in (wire.NOERROR, wire.NXDOMAIN) and not records else []
        return [Reply(wire.answer(q, records, authority, rcode=rcode, options=options))]

    return behave

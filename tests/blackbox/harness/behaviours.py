"""What the fake server may do with one query. A behaviour is a function from a Query to a list of actions."""

import dataclasses
import struct

from . import wire


@dataclasses.dataclass
class Reply:
    octets: bytes
    delay: float = 0.0
    framed: bool = True  # over a stream: put the length in front
    source: object = None  # over UDP: another socket to send from


@dataclasses.dataclass
class Close:
    how: str = "notify"  # notify: close_notify and FIN; fin: FIN alone; rst
    delay: float = 0.0


def proper(ttl=300, **more):
    """The answer that the zone holds, or NODATA."""

    def behave(q):
        records = wire.proper_records(q, ttl)
        return [Reply(wire.answer(q, records, () if records else [wire.soa()], **more))]

    return behave


def records(make, **more):
    """The records that make(q) returns."""
    return lambda q: [Reply(wire.answer(q, make(q), **more))]


def addresses(count, ttl=300):
    """So many A records, 16 octets each."""
    return records(lambda q: [wire.record(wire.A, ttl, struct.pack("!I", 0x0A000000 + i)) for i in range(count)])


def nxdomain(ttl=300, minimum=300):
    return lambda q: [Reply(wire.answer(q, authority=[wire.soa(ttl, minimum)], rcode=wire.NXDOMAIN))]


def nodata(ttl=300, minimum=300, with_soa=True):
    return lambda q: [Reply(wire.answer(q, authority=[wire.soa(ttl, minimum)] if with_soa else []))]


def failure(rcode=wire.SERVFAIL, **more):
    return lambda q: [Reply(wire.answer(q, rcode=rcode, **more))]


def drop():
    return lambda q: []


def delay(seconds, then=None):
    then = then or proper()

    def behave(q):
        actions = then(q)
        for action in actions:
            action.delay += seconds
        return actions

    return behave


def raw(make, framed=True):
    """Whatever octets make(q) returns: one message or several."""

    def behave(q):
        made = make(q)
        return [Reply(m, framed=framed) for m in (made if isinstance(made, list) else [made])]

    return behave


def wrong_first(wrong, then=None):
    """A message that must not be believed, and the true answer right behind it."""
    then = then or proper()
    return lambda q: [Reply(wrong(q)), *then(q)]


def poisoned(q, **changes):
    """An answer with a false address, changed so that it does not belong to q."""
    return wire.answer(q, [wire.record(wire.A, 300, b"\x06\x06\x06\x06")], **changes)


# Ways for an answer not to belong to the question: name, and a function that makes it.
MISMATCHES = {
    "id_plus_one": lambda q: poisoned(q, id=(q.id + 1) & 0xFFFF),
    "id_minus_one": lambda q: poisoned(q, id=(q.id - 1) & 0xFFFF),
    "other_name": lambda q: poisoned(q, question=wire.name_octets("other.test") + q.question[-4:]),
    "other_type": lambda q: poisoned(q, question=q.question[:-4] + struct.pack("!HH", wire.TXT, 1)),
    "other_class": lambda q: poisoned(q, question=q.question[:-4] + struct.pack("!HH", q.qtype, 3)),
    "no_question": lambda q: wire.answer(
        q, [wire.record(wire.A, 300, b"\x06\x06\x06\x06", owner=q.question[:-4])], question=b""
    ),
    "two_questions": lambda q: struct.pack("!H", q.id) + b"\x81\x80\0\2\0\0\0\0\0\0" + q.question * 2,
    "query_not_answer": lambda q: q.wire,
    "other_opcode": lambda q: q.wire[:2] + struct.pack("!H", 0x2800 | wire.QR) + poisoned(q)[4:],
}


def broken_messages():
    """Messages that no parser may believe: name, and a function of a Query that makes one."""
    a = b"\x06\x06\x06\x06"

    def good(q):
        return wire.answer(q, [wire.record(wire.A, 300, a)], edns=False)

    def with_owner(owner):
        return lambda q: wire.answer(q, [wire.record(wire.A, 300, a, owner=owner)], edns=False)

    return {
        "header_alone": lambda q: good(q)[:12],
        "cut_in_the_record": lambda q: good(q)[:-2],
        "one_octet": lambda q: b"\0",
        "empty": lambda q: b"",
        "pointer_to_itself": lambda q: with_owner(struct.pack("!H", 0xC000 | 12 + len(q.question)))(q),
        "pointer_forward": lambda q: with_owner(struct.pack("!H", 0xC000 | 12 + len(q.question) + 4))(q),
        "pointer_loop": lambda q: with_owner(b"\1a" + struct.pack("!H", 0xC000 | 12 + len(q.question)))(q),
        "pointer_into_the_header": with_owner(b"\xc0\x02"),
        "reserved_label_type": with_owner(b"\x80\x01"),
        "name_too_long": with_owner((b"\x3f" + b"a" * 63) * 4 + b"\0"),
        "rdlength_past_the_end": lambda q: good(q)[:-6] + b"\xff\xff" + a,
        "count_too_large": lambda q: good(q)[:6] + b"\0\x09" + good(q)[8:],
    }


def pointer_chain(q):
    """A thousand names, each a pointer to the one before: legal in form, and costly for those who follow each anew."""
    start, size, at = 12 + len(q.question), 14, 12
    chain = []
    for i in range(1000):
        chain.append(wire.record(wire.CNAME, 300, struct.pack("!H", 0xC000 | at)))
        at = start + size * (i + 1) - 2
    return wire.answer(q, chain, edns=False)

"""Ten thousand questions, put to nodedot and straight to its upstream: what comes back must be the same, but for what is
explained here. The judge is Unbound, which validates what Knot DNS signs (zones.py).

Not asked are questions that nodedot answers itself by policy: special-use names (test_special_names.py), ANY, transfers,
other classes, no RD (test_refused_table.py). OPT is compared in its being there and in DO; its size and options are each
server's own.
"""

import collections
import copy
import random
import struct
import time

import pytest

from harness import client, wire, zones
from harness.compare import Answer

QUESTIONS = 10000
PLAIN_QUESTIONS = 2000
WINDOW = 64  # queries out at a time
PATIENCE_S = 10
SEED = 20260131
EDNS_SIZE = 1232  # that nodedot keeps to, whatever a client takes
COMPARED = wire.QR | 0x7800 | wire.RD | wire.RA | wire.AD | wire.CD
CNAME, DNAME, RRSIG = 5, 39, 46
DIFFERENT = "it differs"
CUT = "over UDP, what is longer than 1232 octets or the client's limit is cut, and TC set"
CHANGED = "asked once more, the upstream gives the other answer too: Unbound 1.17 fails to validate some chains from its cache"
AD_WITH_CD = "asked with CD, Unbound sets AD when it happens to have validated the same records before"
ROUNDS = (b"\5loop1", b"\5loop2")  # names that lead to each other (zones.py)
ROUND = "a CNAME chain that leads back to itself: Unbound 1.22 says SERVFAIL, with none, one or two of the records"

pytestmark = pytest.mark.xdist_group("differential")  # the servers and their answers are made once


class Question:
    """One question with its flags, as it is sent. The ID is put in later."""

    def __init__(self, name, rtype, dice):
        self.name, self.rtype = name, rtype
        self.edns = dice.choice((None, None, 0, 512, 1232, 4096))
        self.do = self.edns is not None and dice.random() < 0.5
        self.flags = wire.RD | dice.choice((0, 0, wire.CD)) | dice.choice((0, wire.AD))
        octets = zones.mixed_case(name, dice) if dice.random() < 0.5 else name
        self.question = octets + struct.pack("!HH", rtype, 1)
        opt = wire.opt(self.edns, do=self.do) if self.edns is not None else b""
        self.octets = struct.pack("!HHHHH", self.flags, 1, 0, 0, len(opt) > 0) + self.question + opt

    def udp_limit(self):
        return min(max(self.edns or 512, 512), EDNS_SIZE)

    def __repr__(self):
        return f"{self.name!r} type {self.rtype} flags {self.flags:04x} edns {self.edns} do {self.do}"


def questions(owners, count):
    dice = random.Random(SEED)
    stream = zones.question_stream(owners, dice)
    made = [Question(*next(stream), dice) for _ in range(count)]
    return made


def windows(items):
    for first in range(0, len(items), WINDOW):
        yield first, items[first : first + WINDOW]


def ask_tcp(address, port, asked):
    """All answers, in the order of the questions."""
    answers = []
    with client.Tcp(address, port, timeout=PATIENCE_S) as tcp:
        for first, some in windows(asked):
            tcp.send(*(struct.pack("!H", first + i & 0xFFFF) + q.octets for i, q in enumerate(some)))
            got = {}
            while len(got) < len(some):
                message = tcp.receive(PATIENCE_S)
                assert message is not None, f"closed while {len(some) - len(got)} answers were out"
                got[struct.unpack_from("!H", message)[0]] = message
            answers += [Answer(got[first + i & 0xFFFF]) for i in range(len(some))]
    return answers


def ask_udp(address, port, asked):
    answers = []
    with client.Udp(address, port) as udp:
        for first, some in windows(asked):
            got, deadline = {}, time.monotonic() + PATIENCE_S
            for i, q in enumerate(some):
                udp.send(struct.pack("!H", first + i & 0xFFFF) + q.octets)
            while len(got) < len(some):
                message = udp.receive(deadline - time.monotonic())
                assert message is not None, f"no answer to {[some[i] for i in range(len(some)) if first + i not in got]}"
                got[struct.unpack_from("!H", message)[0]] = message
            answers += [Answer(got[first + i & 0xFFFF]) for i in range(len(some))]
    return answers


def original_ttls(answers):
    """What the zone says of each record, which no answer may exceed: the upstream counts down what it keeps, and asks anew."""
    originals = {}
    for answer in answers:
        for section in answer.sections:
            for record, ttl in section.items():
                originals[record] = max(zones.original_ttl(ttl), originals.get(record, 0))
    return originals


def original_of(record, answer, originals):
    """Unbound gives a CNAME that it makes of a DNAME the TTL 0 when it had to ask, and the DNAME's when it had not."""
    if record[1] == CNAME:
        made_of = [ttl for owner_and_type, ttl in answer.sections[0].items() if owner_and_type[1] == DNAME]
        return max([originals[record], *made_of])
    return originals[record]


def compare_sections(straight, through, originals):
    """None, or what is the matter."""
    for number in (0, 1):
        if straight.sections[number].keys() != through.sections[number].keys():
            return f"section {number}"
    # Additional records are a hint (RFC 2181 section 9): some may be left out, none may be added.
    if not straight.sections[2].keys() >= through.sections[2].keys():
        return "additional records"
    for section in through.sections:
        for record, ttl in section.items():
            if ttl > original_of(record, straight, originals):
                return f"TTL {ttl} of {record}, upstream {originals[record]}"
    return None


def without_ad(answer):
    """The same answer as it may be passed on when nobody has proved who sent it."""
    plain = copy.copy(answer)
    plain.flags &= ~wire.AD
    return plain


def is_round(answer):
    """Is it part of a chain of CNAME records, and no more?"""
    return {record[1] for record in answer.sections[0]} <= {CNAME, RRSIG}


def judge(question, straight, through, originals, udp):
    """None when both are the same; else why they may differ, or DIFFERENT and what does."""
    if through.question != question.question:
        return f"{DIFFERENT}: question {through.question!r}"
    if (through.opt is None) != (question.edns is None):
        return f"{DIFFERENT}: OPT"
    if through.opt and bool(through.opt[1] & 0x8000) != question.do:
        return f"{DIFFERENT}: DO"
    if through.flags & wire.TC:
        if not udp:
            return f"{DIFFERENT}: TC over TCP"
        if through.records or straight.size <= question.udp_limit() - 64:
            return f"{DIFFERENT}: TC for an answer of {straight.size} octets"
        return CUT
    if udp and through.size > question.udp_limit():
        return f"{DIFFERENT}: {through.size} octets over UDP"
    unlike = (straight.flags ^ through.flags) & COMPARED
    if unlike & ~(wire.AD if question.flags & wire.CD else 0) or straight.rcode != through.rcode:
        theirs, ours = (f"{a.flags:04x} rcode {a.rcode} options {a.options.hex()}" for a in (straight, through))
        return f"{DIFFERENT}: flags {theirs}, {ours}"
    if through.flags & wire.AA:
        return f"{DIFFERENT}: AA"
    wrong = compare_sections(straight, through, originals)
    failed = through.rcode == wire.SERVFAIL and is_round(straight) and is_round(through)
    if wrong == "section 0" and failed and question.name.startswith(ROUNDS):
        return ROUND
    return f"{DIFFERENT}: {wrong}" if wrong else unlike and AD_WITH_CD


def compare(servers, asked, straight, through, udp):
    """How often each explanation was needed. Fails for a difference without one."""
    reasons, differences, originals = collections.Counter(), [], original_ttls(straight)
    for question, before, after in zip(asked, straight, through):
        reason = judge(question, before, after, originals, udp)
        if reason and reason.startswith(DIFFERENT):
            now = ask_tcp(servers.address, zones.DNS_PORT, [question])[0]
            if not (judge(question, now, after, {**original_ttls([now]), **originals}, udp) or "").startswith(DIFFERENT):
                reason = CHANGED
        if reason and reason.startswith(DIFFERENT):
            differences.append((reason, question))
        elif reason:
            reasons[reason] += 1
    for reason, question in differences[:20]:
        print(f"{reason}: {question}")
    assert not differences, f"{len(differences)} of {len(asked)} answers are different"
    return reasons


@pytest.fixture(scope="module")
def servers(tmp_path_factory, network, authority):
    where = network.address()
    running = zones.Servers(tmp_path_factory.mktemp("zones"), where, authority.issue("dot.test", where))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def asked(servers):
    return questions(servers.owners, QUESTIONS)


@pytest.fixture(scope="module")
def straight(servers, asked):
    """The upstream's own answers."""
    return ask_tcp(servers.address, zones.DNS_PORT, asked)


def upstream_of(servers, **more):
    return {"upstream up": {"address": f"{servers.address}:{zones.TLS_PORT}", "name": "dot.test",
                            "pin": servers.certificate.pin, **more},
            "zone .": {"upstream": "up"}}  # fmt: skip


def test_the_questions_have_all_kinds_of_answers(asked, straight):
    """So that what follows compares something."""
    seen = collections.Counter(answer.rcode for answer in straight)
    assert seen[0] > QUESTIONS / 3 and seen[3] > QUESTIONS / 20 and seen[2] > QUESTIONS / 100
    assert sum(answer.rcode == 0 and not answer.sections[0] for answer in straight) > QUESTIONS / 50  # NODATA
    assert sum(bool(answer.flags & wire.AD) for answer in straight) > QUESTIONS / 20
    assert sum(answer.size > EDNS_SIZE for answer in straight) > QUESTIONS / 100
    assert max(answer.size for answer in straight) > 50000
    assert max(len(question.name) for question in asked) == 255
    assert {question.rtype for question in asked} >= set(zones.TYPES)
    assert len({(question.name, question.rtype) for question in asked}) > QUESTIONS / 3


@pytest.mark.slow
def test_answers_over_tls_are_those_of_the_upstream(start, servers, asked, straight):
    program = start(sections=upstream_of(servers), cache={"size": "64M"})
    cold = compare(servers, asked, straight, ask_udp(program.address, program.port, asked), udp=True)
    warm = compare(servers, asked, straight, ask_tcp(program.address, program.port, asked), udp=False)
    assert 0 < cold.pop(CUT) < QUESTIONS / 5
    assert cold.pop(CHANGED, 0) + warm.pop(CHANGED, 0) < QUESTIONS / 500
    assert sum(cold.values()) + sum(warm.values()) < QUESTIONS / 50


def test_answers_over_plain_transport_are_those_of_the_upstream(start, servers, asked, straight):
    """Those too that come over TCP because a datagram had no room. AD is never there: nobody vouches for it."""
    upstream = {"address": f"{servers.address}:{zones.DNS_PORT}", "transport": "plain"}
    program = start(sections={"upstream up": upstream, "zone .": {"upstream": "up"}})
    some, theirs = asked[:PLAIN_QUESTIONS], [without_ad(answer) for answer in straight[:PLAIN_QUESTIONS]]
    compare(servers, some, theirs, ask_tcp(program.address, program.port, some), udp=False)
    compare(servers, some, theirs, ask_udp(program.address, program.port, some), udp=True)
    assert program.counter("upstream_truncated_total") > 0

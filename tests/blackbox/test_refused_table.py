"""What is refused, and how: every line of the table, over UDP and over TCP."""

import pytest

from harness import behaviours, client, wire

BOTH = pytest.mark.parametrize("transport", ["udp", "tcp"])
QUICK_S = 0.4  # long enough for an answer that must not come


def rcode_of(octets):
    assert octets is not None, "no answer"
    return octets[3] & 15


def silence(program, octets, transport):
    """Nothing comes back, and a proper query on the same socket is answered all the same (or the connection was closed)."""
    with (program.udp if transport == "udp" else program.tcp)() as c:
        c.send(octets)
        try:
            assert c.receive(QUICK_S) is None  # None of a stream: closed, which is no answer either
        except TimeoutError:
            pass
    assert program.ask("still.test")


@BOTH
@pytest.mark.parametrize("size", [0, 1, 2, 11])
def test_shorter_than_a_header_is_not_answered(nodedot, transport, size):
    before = nodedot.counter("dropped_short_total")
    silence(nodedot, wire.query()[:size], transport)
    if size:  # an empty datagram or frame is not much of a message
        nodedot.wait_counter("dropped_short_total", before + 1)


@BOTH
def test_qr_set_is_not_answered(nodedot, transport):
    before = nodedot.counter("dropped_short_total")
    silence(nodedot, wire.query(flags=wire.QR | wire.RD), transport)
    nodedot.wait_counter("dropped_short_total", before + 1)


@BOTH
@pytest.mark.parametrize("opcode", [1, 2, 3, 4, 5, 6, 15])
def test_an_opcode_other_than_query_is_notimp(nodedot, transport, opcode):
    answer = nodedot.exchange(wire.query(flags=opcode << 11 | wire.RD), transport)
    assert rcode_of(answer) == wire.NOTIMP
    assert answer[:2] == b"\x12\x34" and answer[2] & 0x80
    assert (answer[2] >> 3) & 15 == opcode
    assert not nodedot.upstream.asked("example.com")


@BOTH
def test_notify_and_update_with_their_records_are_notimp(nodedot, transport):
    soa = wire.soa()
    notify = wire.query("zone.test", wire.SOA, flags=4 << 11, counts=(1, 1, 0, 0), tail=soa)
    update = wire.query("zone.test", wire.SOA, flags=5 << 11, counts=(1, 0, 1, 0), tail=soa)
    for message in (notify, update):
        assert rcode_of(nodedot.exchange(message, transport)) == wire.NOTIMP
    assert not nodedot.upstream.asked("zone.test")


FORMERR = {
    "no_question": wire.query(counts=(0, 0, 0, 0))[:12],
    "question_counted_as_none": wire.query(counts=(0, 0, 0, 0)),
    "two_questions": wire.query(counts=(2, 0, 0, 0), tail=wire.query("b.test")[12:]),
    "two_questions_the_same": wire.query(counts=(2, 0, 0, 0), tail=wire.query()[12:]),
    "second_question_missing": wire.query(counts=(2, 0, 0, 0)),
    "all_questions_counted": wire.query(counts=(0xFFFF, 0, 0, 0)),
    "one_trailing_octet": wire.query(tail=b"\0"),
    "many_trailing_octets": wire.query(tail=b"\xff" * 400),
    "trailing_octet_behind_edns": wire.query(edns=wire.opt(), tail=b"\0"),
    "header_alone": wire.query()[:12],
    "name_cut": wire.query()[:15],
    "type_cut": wire.query()[:-3],
    "class_cut": wire.query()[:-1],
    "label_of_64": wire.query()[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
    "reserved_label_type": wire.query()[:12] + b"\x80a\0\0\1\0\1",
    "name_of_256": wire.query()[:12] + (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\1a\0" + b"\0\1\0\1",
    "endless_name": wire.query()[:12] + b"\1a" * 250,
    "pointer_in_the_question": wire.query()[:12] + b"\xc0\x0c\0\1\0\1",
    "pointer_to_the_header": wire.query()[:12] + b"\xc0\x00\0\1\0\1",
    "label_then_pointer": wire.query()[:12] + b"\1a\xc0\x0c\0\1\0\1",
    "pointer_forward": wire.query()[:12] + b"\xc0\x20\0\1\0\1",
    "two_opts": wire.query(counts=(1, 0, 0, 2), tail=wire.opt() * 2),
    "three_opts": wire.query(counts=(1, 0, 0, 3), tail=wire.opt() * 3),
    "opt_with_a_name": wire.query(edns=b"\1a" + wire.opt()),
    "opt_counted_but_missing": wire.query(counts=(1, 0, 0, 1)),
    "opt_in_answer": wire.query(counts=(1, 1, 0, 0), tail=wire.opt()),
    "opt_in_authority": wire.query(counts=(1, 0, 1, 0), tail=wire.opt()),
    "record_in_answer": wire.query(counts=(1, 1, 0, 0), tail=wire.record(wire.A, 1, b"\1\2\3\4")),
    "record_in_authority": wire.query(counts=(1, 0, 1, 0), tail=wire.soa()),
    "opt_cut": wire.query(edns=wire.opt()[:-1]),
    "opt_longer_than_the_message": wire.query(edns=wire.opt()[:-2] + b"\0\4"),
    "option_longer_than_opt": wire.query(edns=wire.opt(options=b"\0\x64\0\5abc")),
    "option_header_cut": wire.query(edns=wire.opt(options=b"\0\x64\0")),
    "record_in_additional": wire.query(counts=(1, 0, 0, 1), tail=wire.record(wire.A, 1, b"\1\2\3\4")),
    "record_without_its_rdata": wire.query(counts=(1, 0, 0, 1), tail=wire.record(wire.A, 1, b"\1\2\3\4")[:-4]),
    "record_cut_in_its_header": wire.query(counts=(1, 0, 0, 1), tail=wire.record(wire.A, 1, b"\1\2\3\4")[:7]),
    "record_with_a_bad_name": wire.query(counts=(1, 0, 0, 1), tail=wire.record(wire.A, 1, b"\1\2\3\4", b"\x41a\0")),
    "record_of_another_class": wire.query(counts=(1, 1, 0, 0), tail=wire.record(wire.A, 1, b"\1\2\3\4", rclass=3)),
    "the_same_record_twice": wire.query(counts=(1, 2, 0, 0), tail=wire.record(wire.A, 1, b"\1\2\3\4") * 2),
    "a_key_of_class_any": wire.query(counts=(1, 0, 1, 0), tail=wire.record(25, 0, b"\0\0\3\5k", rclass=255)),
    "a_question_type_as_answer": wire.query(counts=(1, 1, 0, 0), tail=wire.record(wire.ANY, 0, b"")),
    "an_rrsig_cut_short": wire.query(counts=(1, 1, 0, 0), tail=wire.record(46, 0, b"\0\1\5")),
    "an_nsec3_of_a_bad_owner": wire.query(counts=(1, 0, 1, 0), tail=wire.record(50, 0, b"\1\0\0\1\0\0", b"\x85abc\0")),
    "a_delete_with_rdata": wire.query(counts=(1, 0, 1, 0), tail=wire.record(wire.A, 0, b"\1\2\3\4", rclass=254)),
    "tsig_of_class_in": wire.query(counts=(1, 0, 0, 1), tail=wire.record(250, 0, b"t" * 30, b"\3key\0")),
    "tsig_not_last": wire.query(counts=(1, 0, 0, 2), tail=wire.record(250, 0, b"t", b"\3key\0", 255) + wire.opt()),
    "sig_0": wire.query(counts=(1, 0, 0, 1), tail=wire.record(24, 0, b"s" * 30, b"\0", 255)),
    "keepalive_of_one_octet": wire.query(edns=wire.opt(options=wire.option(wire.KEEPALIVE, b"a"))),
    "keepalive_of_three_octets": wire.query(edns=wire.opt(options=wire.option(wire.KEEPALIVE, b"abc"))),
}


@BOTH
@pytest.mark.parametrize("kind", FORMERR)
def test_a_malformed_query_is_formerr(nodedot, transport, kind):
    answer = nodedot.exchange(FORMERR[kind], transport)
    assert rcode_of(answer) == wire.FORMERR
    assert answer[:2] == b"\x12\x34" and answer[2] & 0x80
    client.parse(answer)  # well-formed itself, whatever it repeats
    assert not nodedot.upstream.asked("example.com")
    assert nodedot.counter("answers_formerr_total") >= 1


@BOTH
def test_names_of_the_greatest_length_are_accepted(nodedot, transport):
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])  # 255 octets on the wire
    assert client.addresses(nodedot.ask(longest, transport=transport)) == [wire.address_of(longest)]


@BOTH
@pytest.mark.parametrize("version", [1, 100, 255])
def test_an_edns_version_above_0_is_badvers(nodedot, transport, version):
    answer = client.parse(nodedot.exchange(wire.query(edns=wire.opt(version=version)), transport))
    assert answer.rcode() == wire.BADVERS
    assert answer.edns == 0 and not answer.answer and not answer.authority
    assert not nodedot.upstream.asked("example.com")


@BOTH
@pytest.mark.parametrize("qclass", [0, 2, 3, 4, 254, 255, 0xFFFF])
def test_a_class_other_than_in_is_refused(nodedot, transport, qclass):
    answer = client.parse(nodedot.exchange(wire.query(qclass=qclass, edns=wire.opt()), transport))
    assert answer.rcode() == wire.REFUSED
    assert client.ede_codes(answer) == [21]
    assert not nodedot.upstream.asked("example.com")


@BOTH
@pytest.mark.parametrize("qtype", [251, 252], ids=["ixfr", "axfr"])
def test_zone_transfers_are_refused_and_block_nothing(nodedot, transport, qtype):
    with (nodedot.udp if transport == "udp" else nodedot.tcp)() as c:
        answer = client.parse(c.ask(wire.query("zone.test", qtype, edns=wire.opt())))
        assert answer.rcode() == wire.REFUSED
        assert client.ede_codes(answer) == [21]
        assert client.addresses(client.parse(c.ask(wire.query("next.test")))) == [wire.address_of("next.test")]
    assert not nodedot.upstream.asked("zone.test")


@BOTH
def test_ixfr_with_its_soa_is_refused_or_formerr(nodedot, transport):
    """An IXFR carries a record in AUTHORITY (RFC 1995 section 3), which makes any other query a FORMERR."""
    answer = nodedot.exchange(wire.query("zone.test", 251, counts=(1, 0, 1, 0), tail=wire.soa()), transport)
    assert rcode_of(answer) in (wire.REFUSED, wire.FORMERR)
    assert not nodedot.upstream.asked("zone.test")


@BOTH
def test_rd_clear_is_refused(nodedot, transport):
    answer = client.parse(nodedot.exchange(wire.query(flags=0, edns=wire.opt()), transport))
    assert answer.rcode() == wire.REFUSED
    assert client.ede_codes(answer) == [20]
    assert not nodedot.upstream.asked("example.com")


@BOTH
def test_rd_clear_is_refused_even_when_the_answer_is_cached(nodedot, transport):
    nodedot.ask("example.com")
    assert rcode_of(nodedot.exchange(wire.query(flags=0), transport)) == wire.REFUSED


@BOTH
def test_any_is_answered_with_hinfo(nodedot, transport):
    answer = nodedot.ask("example.com", "ANY", transport)
    assert answer.rcode() == wire.NOERROR
    assert [(rrset.rdtype, len(rrset)) for rrset in answer.answer] == [(wire.HINFO, 1)]
    assert answer.answer[0][0].cpu == b"RFC8482"
    assert not nodedot.upstream.asked("example.com")
    assert len(answer.to_wire()) < 100


@BOTH
def test_a_client_outside_the_acl_gets_nothing_or_is_closed(start, upstream, address, transport):
    inside, outside = address(), address()
    program = start(upstream, acl={"allow": f"{inside}/32"})
    assert program.ask("a.test", transport=transport, source=inside)
    if transport == "udp":
        assert program.exchange(wire.query("a.test"), timeout=QUICK_S, source=outside) is None
    else:
        with program.tcp(outside) as c:
            try:
                c.send(wire.query("a.test"))
            except (ConnectionResetError, BrokenPipeError):
                pass
            assert c.receive(2) is None
    program.wait_counter("dropped_acl_total", 1)


@BOTH
def test_a_denied_client_gets_nothing_from_the_cache_either(start, upstream, address, transport):
    denied = address()
    program = start(upstream, acl={"deny": denied})
    assert program.ask("a.test")
    answer = None
    try:
        answer = program.exchange(wire.query("a.test"), transport, QUICK_S, denied)
    except (ConnectionResetError, BrokenPipeError):
        pass
    assert answer is None


@BOTH
def test_over_its_rate_a_client_is_refused_without_tc(start, upstream, address, transport):
    source = address()
    program = start(upstream, limits={"client-qps": 1, "client-burst": 5})
    program.ask("a.test")
    with (program.udp if transport == "udp" else program.tcp)(source) as c:
        answers = [c.ask(wire.query("a.test", id=i)) for i in range(9)]
    assert [rcode_of(a) for a in answers[:5]] == [0] * 5
    assert rcode_of(answers[8]) == wire.REFUSED
    assert not any(a[2] & 2 for a in answers)
    assert program.counter("rate_limited_total") >= 1


@BOTH
def test_without_a_usable_upstream_it_is_servfail_with_a_reason(start, make_upstream, transport):
    dead = make_upstream()
    dead.stop_listening()
    program = start(dead, wait="serving")
    answer = program.ask("a.test", transport=transport, edns=True)
    assert answer.rcode() == wire.SERVFAIL
    assert set(client.ede_codes(answer)) & {22, 23}


@pytest.mark.parametrize(
    "size,expected",
    [
        (None, 512),
        (0, 512),
        (511, 512),
        (512, 512),
        (800, 800),
        (1232, 1232),
        (1233, 1232),
        (4096, 1232),
        (65535, 1232),
    ],
)
def test_an_answer_larger_than_the_clients_size_is_truncated_and_whole_over_tcp(nodedot, size, expected):
    """Answers of 16-octet records around the limit: the largest that fits comes whole, one record more does not."""
    edns = None if size is None else wire.opt(size)
    overhead = len(wire.query("r00.test")) + (len(wire.opt()) if edns else 0)
    fits = (expected - overhead) // 16
    for count, truncated in ((fits, False), (fits + 1, True)):
        name = f"r{count:02}.test"
        nodedot.upstream.behave(name, behaviours.addresses(count))
        octets = nodedot.exchange(wire.query(name, edns=edns))
        answer = client.parse(octets)
        assert bool(octets[2] & 2) == truncated
        assert len(octets) <= expected
        assert len(client.addresses(answer)) == (0 if truncated else count)
        whole = client.parse(nodedot.exchange(wire.query(name, edns=edns), "tcp"))
        assert len(client.addresses(whole)) == count and not whole.flags & wire.TC
    assert nodedot.counter("answers_truncated_total") == 1

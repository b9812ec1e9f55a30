"""EDNS(0) (RFC 6891), and the bits DO, CD and AD that a forwarder must handle with care (RFC 6840)."""

import struct

import pytest

from harness import behaviours, client, wire

BOTH = pytest.mark.parametrize("transport", ["udp", "tcp"])


def asked(nodedot, name):
    return nodedot.upstream.asked(name)[-1]


# Towards the client -------------------------------------------------------------------------------------------------------


@BOTH
def test_a_query_without_opt_gets_an_answer_without_opt(nodedot, transport):
    for _ in range(2):
        assert nodedot.ask("a.test", transport=transport).edns == -1


@BOTH
def test_a_query_with_opt_gets_one_opt_with_our_size(nodedot, transport):
    for size in (512, 1232, 4096):
        answer = nodedot.ask("a.test", transport=transport, edns=True, payload=size)
        assert answer.edns == 0 and answer.payload == 1232 and not answer.options


@BOTH
def test_an_unknown_option_is_ignored_and_not_echoed(nodedot, transport):
    options = wire.option(100, b"x" * 50) + wire.option(65001) + wire.option(3) * 20
    answer = client.parse(nodedot.exchange(wire.query(edns=wire.opt(options=options)), transport))
    assert answer.rcode() == wire.NOERROR and client.addresses(answer) and not answer.options


@BOTH
def test_an_unknown_edns_flag_is_not_echoed(nodedot, transport):
    answer = client.parse(nodedot.exchange(wire.query(edns=wire.opt(z=0x0080)), transport))
    assert answer.rcode() == wire.NOERROR and answer.ednsflags & 0xFFFF == 0


@BOTH
def test_the_reserved_header_bit_is_not_echoed(nodedot, transport):
    answer = nodedot.exchange(wire.query(flags=wire.RD | 0x40), transport)
    assert answer[3] & 0x40 == 0 and answer[3] & 15 == 0


@BOTH
@pytest.mark.parametrize("do", [False, True])
def test_the_do_bit_is_copied(nodedot, transport, do):
    answer = nodedot.ask("a.test", transport=transport, edns=True, do=do)
    assert bool(answer.ednsflags & 0x8000) == do


@BOTH
def test_badvers_without_a_usable_question_is_still_well_formed(nodedot, transport):
    octets = nodedot.exchange(wire.query(edns=wire.opt(version=100, options=wire.option(100, b"a"), z=0x80)), transport)
    answer = client.parse(octets)
    assert answer.rcode() == wire.BADVERS and answer.ednsflags & 0x00FF0000 == 0
    assert not answer.options


def test_64_kib_of_options_are_taken_over_tcp(nodedot):
    for options in (
        wire.option(3) * 16000,
        wire.option(wire.COOKIE, b"12345678") * 5000,
        wire.option(wire.PADDING, b"\0" * 65000),
        wire.option(65001, b"") * 16000,
    ):
        answer = client.parse(nodedot.exchange(wire.query(edns=wire.opt(options=options)), "tcp"))
        assert answer.rcode() in (wire.NOERROR, wire.FORMERR)
    assert client.addresses(nodedot.ask("after.test"))


def test_keepalive_is_answered_over_tcp_alone_and_only_when_asked(nodedot):
    asking = wire.opt(options=wire.option(wire.KEEPALIVE))
    over_tcp = client.parse(nodedot.exchange(wire.query(edns=asking), "tcp"))
    assert [(int(o.otype), len(o.to_wire())) for o in over_tcp.options] == [(wire.KEEPALIVE, 2)]
    assert struct.unpack("!H", over_tcp.options[0].to_wire())[0] == 100  # tcp-idle 10 s, in 100 ms
    over_udp = client.parse(nodedot.exchange(wire.query(edns=asking)))
    assert over_udp.rcode() == wire.NOERROR and not over_udp.options
    assert not client.parse(nodedot.exchange(wire.query(edns=wire.opt()), "tcp")).options


def test_ad_is_shown_only_to_those_who_understand_it(nodedot):
    """RFC 6840 section 5.8: AD or DO in the query says so."""
    nodedot.upstream.default = behaviours.proper(flags=wire.RD | wire.RA | wire.AD)
    for name in ("a.test", "a.test"):  # from upstream, then from the cache
        assert not nodedot.ask(name).flags & wire.AD
        assert nodedot.ask(name, ad=True).flags & wire.AD
        assert nodedot.ask(name, edns=True, do=True).flags & wire.AD
        assert not nodedot.ask(name, edns=True).flags & wire.AD


@pytest.mark.parametrize("keys", [{}, {"force-tcp": "yes"}], ids=["udp", "tcp"])
def test_ad_of_an_unauthenticated_upstream_means_nothing(start, upstream, make_upstream, keys):
    """Whoever is on the path could have set it."""
    plain = make_upstream()
    plain.default = behaviours.proper(flags=wire.RD | wire.RA | wire.AD)
    sections = {"upstream plain": {**plain.options("plain"), **keys}, "zone plain.test": {"upstream": "plain"}}
    program = start(upstream, sections=sections)
    for _ in ("from upstream", "from the cache"):
        for question in ({"ad": True}, {"edns": True, "do": True}, {"transport": "tcp", "ad": True}):
            answer = program.ask("a.plain.test", **question)
            assert answer.rcode() == wire.NOERROR and answer.answer and not answer.flags & wire.AD


def test_ad_is_not_made_up(nodedot):
    assert not nodedot.ask("a.test", ad=True).flags & wire.AD
    assert not nodedot.ask("a.test", do=True).flags & wire.AD


def test_cd_is_copied_into_the_answer(nodedot):
    for _ in range(2):
        assert nodedot.ask("a.test", cd=True).flags & wire.CD
        assert not nodedot.ask("a.test").flags & wire.CD


# Towards the upstream -----------------------------------------------------------------------------------------------------


def test_queries_upstream_have_rd_and_ad_and_their_own_opt(nodedot):
    nodedot.ask("a.test")
    q = asked(nodedot, "a.test")
    assert q.flags & wire.RD and q.flags & wire.AD
    assert q.message.edns == 0 and q.message.payload == 1232


def test_do_and_cd_go_upstream_as_the_client_set_them(nodedot):
    for number, (do, cd) in enumerate(((False, False), (True, False), (False, True), (True, True))):
        nodedot.ask(f"bits{number}.test", do=do, cd=cd)
        q = asked(nodedot, f"bits{number}.test")
        assert bool(q.message.ednsflags & 0x8000) == do
        assert bool(q.flags & wire.CD) == cd


def test_no_option_of_the_client_goes_upstream(nodedot):
    """Client subnet above all (RFC 7871 section 11.1): where a pod lives is nobody's business."""
    options = (
        wire.option(wire.CLIENT_SUBNET, b"\0\1\x18\0\x0a\1\2")
        + wire.option(wire.COOKIE, b"12345678")
        + wire.option(3)
        + wire.option(65001, b"private")
    )
    answer = client.parse(nodedot.exchange(wire.query("ecs.test", edns=wire.opt(options=options))))
    assert answer.rcode() == wire.NOERROR and {int(o.otype) for o in answer.options} == {wire.COOKIE}
    assert set(asked(nodedot, "ecs.test").options) <= {wire.PADDING, wire.KEEPALIVE}


def test_queries_over_tls_are_padded_to_128_octets(nodedot):
    """RFC 8467 section 4.1, with zeroes (RFC 7830 section 3)."""
    for length in range(1, 64, 7):
        name = "a" * length + ".padding.test"
        nodedot.ask(name)
        q = asked(nodedot, name)
        assert len(q.wire) % 128 == 0
        assert not any(q.options[wire.PADDING])
    longest = ".".join(["p" * 63] * 3 + ["p" * 61])
    nodedot.ask(longest)
    assert len(asked(nodedot, longest).wire) % 128 == 0


def test_plain_queries_are_not_padded(start, upstream):
    program = start(upstream, auth="plain")
    program.ask("a.test")
    q = upstream.asked("a.test")[-1]
    assert q.transport == "udp" and not q.options
    assert q.message.payload == 1232


def test_an_answer_for_do_is_not_given_to_those_who_did_not_ask(nodedot):
    """Another question in every respect: RRSIGs would be a surprise."""
    rrsig = struct.pack("!HBBIIIH", wire.A, 8, 2, 300, 2000000000, 1700000000, 1) + wire.name_octets("test") + b"s" * 64

    def behave(q):
        signed = q.message.ednsflags & 0x8000
        records = wire.proper_records(q, 300) + ([wire.record(46, 300, rrsig)] if signed else [])
        return [behaviours.Reply(wire.answer(q, records, do=bool(signed)))]

    nodedot.upstream.behave("signed.test", behave)
    for _ in range(2):
        assert len(nodedot.ask("signed.test", do=True).answer) == 2
        assert len(nodedot.ask("signed.test").answer) == 1
    assert len(nodedot.upstream.asked("signed.test")) == 2


def test_an_upstreams_options_do_not_reach_the_client(nodedot):
    nodedot.upstream.default = behaviours.proper(
        options=wire.option(wire.COOKIE, b"12345678abcdefgh")
        + wire.option(3, b"ns1")
        + wire.option(wire.PADDING, b"\0" * 300)
    )
    for _ in range(2):
        answer = nodedot.ask("a.test", edns=True)
        assert client.addresses(answer) and not answer.options


def test_an_extended_error_text_of_60_kb_is_survived(nodedot):
    nodedot.upstream.behave("long.test", behaviours.failure(options=wire.option(wire.EDE, b"\0\x16" + b"x" * 60000)))
    answer = nodedot.ask("long.test", edns=True)
    assert answer.rcode() == wire.SERVFAIL and len(answer.to_wire()) < 1232
    assert client.addresses(nodedot.ask("after.test"))


def test_an_extended_rcode_is_shown_with_edns_and_is_a_failure_without(nodedot):
    badcookie = 23
    for number, (edns, rcode, counted) in enumerate([(True, badcookie, "other"), (False, wire.SERVFAIL, "servfail")]):
        name = f"extended{number}.test"
        nodedot.upstream.behave(name, behaviours.failure(rcode=badcookie))
        before = nodedot.counter(f"answers_{counted}_total")
        assert nodedot.ask(name, edns=edns).rcode() == rcode
        assert nodedot.counter(f"answers_{counted}_total") == before + 1

"""Upstreams as they are: what Unbound and CoreDNS can use, nodedot can use. The kinds, where each was seen, and its tests:

| no | kind                                          | seen in                                          | test                                     |
|----|-----------------------------------------------|--------------------------------------------------|------------------------------------------|
|  1 | TLS 1.3 tickets of any shape                  | wolfSSL/wolfssl#5593 #7360, curl/curl#13156      | test_tickets (a TLS server of its own)   |
|  2 | answers that are cut, with and without TC     | coredns/coredns#6370 #6277, miekg/dns#181 #391   | a_datagram_that_is_cut_..., a_frame_...  |
|  3 | errors without a question                     | PowerDNS/pdns#4812 #12250                        | an_error_without_a_question_...          |
|  4 | dislike of EDNS or of an option               | c-ares/c-ares#911,                               | a_server_that_dislikes_edns_...,         |
|    |                                               | dns-violations/dns-violations#58                 | ..._dislikes_options_..., padding_...    |
|  5 | TC over TCP or TLS                            | DNSCrypt/doh-server#62                           | tc_on_a_stream_...                       |
|  6 | octets behind the message                     | rthalley/dnspython#324                           | octets_behind_a_message_...              |
|  7 | answers that fit only when compressed         | coredns/coredns#6149                             | what_fits_when_compressed_...            |
|  8 | partial answers beside TC                     | NLnetLabs/unbound#621, coredns/coredns#3391      | a_truncated_answer_holds_...             |
|  9 | Extended DNS Errors of filtering upstreams    | NLnetLabs/unbound#1491, systemd/systemd#43345    | an_extended_error_...                    |
| 10 | order of addresses                            | kubernetes/dns#167, systemd/systemd#16297,       | addresses_take_turns_...,                |
|    |                                               | AdguardTeam/AdGuardHome#5049                     | rotation_...                             |
| 11 | CNAME that leads out of the zone's upstream   | 0xERR0R/blocky#312,                              | a_cname_into_another_zone_...,           |
|    |                                               | TechnitiumSoftware/DnsServer#383                 | a_loop_over_two_zones_...                |
| 12 | an upstream that never answers `. NS`         | coredns/coredns#5121 #5281                       | silence_to_the_probe_...                 |
| 13 | private PKI                                   | openssl/openssl#2878, wolfSSL/wolfssl#3690,      | test_identity, test_x509                 |
|    |                                               | rustls/webpki#489                                |                                          |
| 14 | NAPTR and PTR with additional records;        | miekg/dns#522                                    | additional_records_of_..., names_in_...  |
|    | compressed names inside NAPTR                 |                                                  |                                          |
| 15 | a code that changes                           | TechnitiumSoftware/DnsServer#569                 | a_failing_code_stays_the_same            |
| 16 | caps on packets and connections               | kubernetes/kubernetes#111975,                    | a_cap_on_connections_...,                |
|    |                                               | aws/containers-roadmap#2530                      | a_cap_on_packets_...                     |
| 17 | a connection that stays at one server         | coredns/coredns#7903 #8376                       | a_connection_has_an_age                  |

`compare-unbound`, beside this file, runs the same tests through Unbound and prints both columns. Tests whose behaviour is not
built yet stand in NOT_YET.

A query is given up after TIMEOUT_S here, so "at once" leaves a busy machine five seconds.
"""

import collections
import os
import struct
import time

import dns.flags
import pytest

from harness import behaviours, client, imperfect, wire
from harness.program import DNS_PORT
from harness.unbound import Unbound
from harness.waiting import wait_until

TIMEOUT_S = 10
AT_ONCE_S = 5
STREAMS = ["tcp", "dot"]
TRANSPORTS = ["udp", *STREAMS]
NAPTR, SRV, SVCB, HTTPS, RRSIG = 35, 33, 64, 65, 46

# Test functions, or single cases of them, whose behaviour is not built yet. One that passes is reported as XPASS and leaves
# the list.
NOT_YET = [
    *[
        f"a_datagram_that_is_cut_is_asked_for_over_tcp[{where}-{tc}]"
        for where in ("in the header's last octet", "behind the header", "in the question")
        for tc in ("TC", "no TC")
    ],
    "what_fits_when_compressed_is_given_whole",
    "a_truncated_answer_holds_what_fits",
    "an_extended_error_comes_first_and_from_the_cache",
    "an_extended_error_stays_with_records_and_others_do_not_pass",
    "addresses_take_turns_in_being_the_first",
    "rotation_keeps_owners_and_signatures_together",
    "rotation_can_be_turned_off",
    "a_cname_into_another_zone_is_followed_there",
    "steps_over_zones_are_counted",
    "a_loop_over_two_zones_ends_at_once",
    "another_name_may_be_the_probe",
    *[
        f"additional_records_of_an_answer_are_kept[{transport}-{kind}]"
        for transport in ("udp", "tcp", "dot")
        for kind in ("NAPTR", "PTR")
    ],
    "names_in_naptr_are_readable_in_a_message_that_is_rewritten",
    "silence_to_edns_is_learnt",
    "silence_to_the_probe_is_no_verdict[udp]",
    "silence_to_the_probe_is_no_verdict[tcp]",
    "a_cap_on_packets_meets_no_storm",
    "a_connection_has_an_age",
]

through_unbound = os.environ.get("SUBJECT") == "unbound"
nodedot_alone = pytest.mark.skipif(through_unbound, reason="looks at what only nodedot has")


@pytest.fixture(autouse=True)
def not_yet(request):
    name = request.node.name.removeprefix("test_")
    if not through_unbound and any(name == entry or name.startswith(entry + "[") for entry in NOT_YET):
        request.applymarker(pytest.mark.xfail(strict=False, reason="not built yet"))


@pytest.fixture
def serve(start, make_config, address, authority, tmp_path):
    """A function that starts the program, or Unbound in its place, in front of fake servers: those of zone "." for a transport,
    and of more zones by name."""
    made = []

    def serve(transport, *servers, zones=None, up=None, workers=1, wait="ready", **sections):
        if through_unbound:
            program = Unbound(tmp_path, address(), {".": servers, **(zones or {})}, transport, authority)
            made.append(program)
            return program.start()
        auth = "pin" if transport == "dot" else "plain"
        forced = {"force-tcp": "yes"} if transport == "tcp" else {}
        config = make_config(*servers, auth=auth, up={**forced, **(up or {})})
        config["server"] = {"listen": f"{address()}:{DNS_PORT}", "workers": workers}
        config["limits"] = {"timeout": TIMEOUT_S * 1000}
        for number, (zone, group) in enumerate((zones or {}).items()):
            config[f"upstream of{number}"] = {**make_config(*group, auth=auth)["upstream up"], **forced}
            config[f"zone {zone}"] = {"upstream": f"of{number}"}
        for section, keys in sections.items():
            config[section] = {**config.get(section, {}), **keys}
        return start(config=config, wait=wait)

    yield serve
    for program in made:
        program.stop()


def ask(program, name, qtype="A", at_once=True, **more):
    """Asks; the answer must come at once."""
    began = time.monotonic()
    answer = program.ask(name, qtype, timeout=TIMEOUT_S + 5, **more)
    took = time.monotonic() - began
    assert not at_once or took < AT_ONCE_S, f"{name} took {took:.1f} s:\n{answer}"
    return answer


def assert_good(program, *names):
    """Each name's own address comes: first, from the cache, over UDP and TCP, with EDNS and without."""
    for name in names:
        for more in ({}, {}, {"transport": "tcp"}, {"edns": True}):
            answer = ask(program, name, **more)
            assert answer.rcode() == wire.NOERROR, answer
            assert client.addresses(answer) == [wire.address_of(name)], answer


def assert_fails(program, name, codes=(wire.SERVFAIL,), **more):
    answer = ask(program, name, **more)
    assert answer.rcode() in codes and not answer.flags & dns.flags.TC and not answer.answer, answer
    return answer


# 2: answers that are cut ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tc", [True, False], ids=["TC", "no TC"])
@pytest.mark.parametrize("where", imperfect.CUTS)
def test_a_datagram_that_is_cut_is_asked_for_over_tcp(serve, upstream, where, tc):
    upstream.default = imperfect.over(["udp"], imperfect.cut(where, tc))
    upstream.behave("", behaviours.proper())
    program = serve("udp", upstream)
    assert_good(program, "first.test", "later.test")


@pytest.mark.parametrize("where", imperfect.CUTS)
@pytest.mark.parametrize("transport", STREAMS)
def test_a_frame_that_holds_half_a_message_is_asked_for_elsewhere(serve, make_upstream, transport, where):
    bad, good = make_upstream(), make_upstream()
    bad.default = imperfect.cut(where, tc=False)
    bad.behave("", behaviours.proper())
    program = serve(transport, bad, good)
    assert_good(program, *(f"n{i}.test" for i in range(6)))


# 3: errors without a question -------------------------------------------------------------------------------------------------

ERRORS = {"SERVFAIL": wire.SERVFAIL, "NOTIMP": wire.NOTIMP, "REFUSED": wire.REFUSED}


@pytest.mark.parametrize("rcode", ERRORS)
@pytest.mark.parametrize("transport", STREAMS)
def test_an_error_without_a_question_is_that_error_on_a_stream(serve, upstream, transport, rcode):
    for name in ("first.test", "later.test"):
        upstream.behave(name, imperfect.without_question(ERRORS[rcode]))
    program = serve(transport, upstream)
    for name in ("first.test", "later.test", "first.test"):
        assert_fails(program, name, (ERRORS[rcode], wire.SERVFAIL))
    assert_good(program, "good.test")


@pytest.mark.parametrize("rcode", ERRORS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_error_without_a_question_is_asked_elsewhere(serve, make_upstream, transport, rcode):
    bad, good = make_upstream(), make_upstream()
    bad.default = imperfect.without_question(ERRORS[rcode])
    bad.behave("", behaviours.proper())
    program = serve(transport, bad, good)
    assert_good(program, *(f"n{i}.test" for i in range(6)))


@pytest.mark.parametrize("rcode", [*ERRORS, "FORMERR"])
def test_an_error_without_a_question_in_a_datagram_is_asked_over_tcp(serve, upstream, rcode):
    upstream.default = imperfect.over(["udp"], imperfect.without_question({**ERRORS, "FORMERR": wire.FORMERR}[rcode]))
    upstream.behave("", behaviours.proper())
    assert_good(serve("udp", upstream), "first.test", "later.test")


# 4: dislike of EDNS -----------------------------------------------------------------------------------------------------------

SPOKEN_DISLIKES = [how for how in imperfect.DISLIKES if how != "silence"]


def assert_learnt(program, server):
    """What was learnt is kept: a later question is asked once."""
    for number in range(3):
        assert_good(program, f"learnt{number}.test")
    assert len(server.asked("learnt2.test")) == 1


@pytest.mark.parametrize("how", SPOKEN_DISLIKES)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_dislikes_edns_is_asked_without(serve, upstream, transport, how):
    upstream.default = imperfect.dislikes_edns(how)
    program = serve(transport, upstream)
    assert_good(program, "first.test", "later.test")
    if transport != "dot" and not through_unbound:
        assert_learnt(program, upstream)


@pytest.mark.parametrize("how", SPOKEN_DISLIKES)
@pytest.mark.parametrize("transport", STREAMS)
def test_a_server_that_dislikes_options_is_asked_without(serve, upstream, transport, how):
    """Over DoT it goes on getting EDNS with padding and nothing else; see the next test."""
    allowed = [wire.PADDING] if transport == "dot" else []
    upstream.default = imperfect.dislikes_options(how, allowed)
    program = serve(transport, upstream)
    assert_good(program, "first.test", "later.test")
    if not through_unbound:
        assert_learnt(program, upstream)
        assert all(q.has_edns for q in upstream.asked("learnt2.test"))


@nodedot_alone
@pytest.mark.parametrize("how", SPOKEN_DISLIKES)
def test_padding_is_never_given_up(serve, upstream, how):
    """A server that dislikes every option is asked without EDNS for this question only: the next one is padded again."""
    upstream.default = imperfect.dislikes_options(how)
    program = serve("dot", upstream)
    for number in range(4):
        assert_good(program, f"n{number}.test")
        first = upstream.asked(f"n{number}.test")[0]
        assert wire.PADDING in first.options and len(first.wire) % 128 == 0


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_silence_to_edns_is_learnt(serve, upstream, transport):
    upstream.default = imperfect.dislikes_edns("silence")
    upstream.behave("", behaviours.proper())
    program = serve(transport, upstream)

    def answered():
        name = f"n{time.monotonic()}.test"
        return client.addresses(ask(program, name, at_once=False)) == [wire.address_of(name)]

    wait_until(answered, 60, "a question without EDNS")
    assert_good(program, "first.test", "later.test")


# 5: TC over TCP or TLS --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 5], ids=["empty", "in part"])
@pytest.mark.parametrize("transport", STREAMS)
def test_tc_on_a_stream_is_asked_elsewhere(serve, make_upstream, transport, count):
    bad, good = make_upstream(), make_upstream()
    bad.default = imperfect.truncated(count)
    bad.behave("", behaviours.proper())
    program = serve(transport, bad, good)
    assert_good(program, *(f"n{i}.test" for i in range(6)))


@pytest.mark.parametrize("count", [0, 5], ids=["empty", "in part"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tc_on_the_only_stream_is_a_failure_and_is_not_kept(serve, upstream, transport, count):
    upstream.behave("cut.test", imperfect.truncated(count))
    program = serve(transport, upstream)
    for client_transport in ("udp", "tcp"):
        answer = assert_fails(program, "cut.test", transport=client_transport, edns=True)
        assert through_unbound or client.ede_codes(answer)
    upstream.behave("cut.test", behaviours.proper())
    wait_until(lambda: client.addresses(ask(program, "cut.test")), 30, "the whole answer")
    assert_good(program, "cut.test")


# 6: octets behind a message ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [b"\0", bytes(24), b"junk" * 250], ids=["one", "24 zeros", "1000"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_octets_behind_a_message_are_ignored(serve, upstream, transport, octets):
    upstream.default = imperfect.followed_by(octets)
    upstream.behave("", behaviours.proper())
    upstream.behave("none.test", imperfect.followed_by(octets, behaviours.nxdomain()))
    upstream.behave("no.edns.test", imperfect.followed_by(octets, behaviours.proper(edns=False)))
    program = serve(transport, upstream)
    assert_good(program, "first.test", "later.test", "no.edns.test")
    assert ask(program, "none.test").rcode() == wire.NXDOMAIN


# 7 and 8: size ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("links,more", [(5, {}), (12, {"edns": True}), (12, {"edns": True, "payload": 1232})])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_fits_when_compressed_is_given_whole(serve, upstream, transport, links, more):
    chain = imperfect.chain_in_full(links, "chain.test")
    upstream.behaviours.update(chain)
    program = serve(transport, upstream)
    for _ in range(3):  # first and from the cache
        answer = ask(program, "chain.test", **more)
        assert not answer.flags & dns.flags.TC
        assert client.addresses(answer) == [wire.address_of(list(chain)[-1])]
        assert [rrset.name.to_text() for rrset in answer.answer] == [f"{name}." for name in chain]


@pytest.mark.parametrize("records,more,limit", [(40, {}, 512), (100, {"edns": True}, 1232), (50, {"edns": True, "payload": 600}, 600)])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_truncated_answer_holds_what_fits(serve, upstream, transport, records, more, limit):
    def behave(q):
        made = imperfect.numbered(records)
        extra = imperfect.owned("ns.test", wire.A, b"\x0a\0\0\1")
        return [behaviours.Reply(wire.answer(q, made, [wire.record(wire.NS, 300, wire.name_octets("ns.test"))], [extra]))]

    upstream.behave("large.test", behave)
    program = serve(transport, upstream)
    for _ in range(3):
        q = client.make_query("large.test", **more)
        octets = program.exchange(q.to_wire(), timeout=TIMEOUT_S)
        answer = client.parse(octets)
        assert answer.flags & dns.flags.TC and len(octets) <= limit
        count = len(client.addresses(answer))
        room = limit - 12 - len("large.test") - 6 - (11 if more else 0)
        assert room // 16 - 3 <= count <= room // 16 + 1, f"{count} of {room // 16}"
        assert not answer.authority and not answer.additional
        assert bool(more) == (answer.edns >= 0)
    assert len(client.addresses(ask(program, "large.test", transport="tcp"))) == records


# 9: Extended DNS Errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rcode", [wire.NXDOMAIN, wire.NOERROR, wire.SERVFAIL], ids=["NXDOMAIN", "NODATA", "SERVFAIL"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_extended_error_comes_first_and_from_the_cache(serve, upstream, transport, rcode):
    codes = [4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17, 18]
    for code in codes:
        upstream.behave(f"ede{code}.test", imperfect.extended_error(code, rcode))
    program = serve(transport, upstream)
    for code in codes:
        for client_transport in ("udp", "udp", "tcp"):
            answer = ask(program, f"ede{code}.test", transport=client_transport, edns=True)
            assert answer.rcode() == rcode and code in client.ede_codes(answer), answer
            assert through_unbound or b"a text of the upstream" not in answer.to_wire()
        assert ask(program, f"ede{code}.test").edns == -1


def test_an_extended_error_stays_with_records_and_others_do_not_pass(serve, upstream):
    upstream.behave("forged.test", imperfect.extended_error(4, wire.NOERROR, records=imperfect.numbered(1)))
    upstream.behave("stale.test", imperfect.extended_error(3, wire.NXDOMAIN))
    program = serve("dot", upstream)
    for _ in range(2):
        assert client.ede_codes(ask(program, "forged.test", edns=True)) == [4]
        assert through_unbound or not client.ede_codes(ask(program, "stale.test", edns=True))


# 10: order of addresses -------------------------------------------------------------------------------------------------------

TURNS = 800


def firsts(program, name, qtype="A", **more):
    """Which address came first how often, in TURNS answers."""
    found = collections.Counter()
    sizes = set()
    octets = client.make_query(name, qtype, **more).to_wire()
    with program.udp() as udp:
        for _ in range(TURNS):
            raw = udp.ask(octets, TIMEOUT_S)
            sizes.add(len(raw))
            found[client.addresses(client.parse(raw))[0]] += 1
    assert len(sizes) == 1
    return found


def assert_even(found, count):
    assert len(found) == count and all(60 <= n <= 140 for n in found.values()), found


@pytest.mark.parametrize("chain", [False, True], ids=["alone", "behind a CNAME"])
def test_addresses_take_turns_in_being_the_first(serve, upstream, chain):
    def behave(q):
        owner = wire.name_octets("target.test" if chain else q.name)
        links = [wire.record(wire.CNAME, 300, wire.name_octets("target.test"))] if chain and q.name != "target.test" else []
        made = imperfect.numbered(8, owner)
        if q.qtype == wire.AAAA:
            made = [wire.record(wire.AAAA, 300, bytes(15) + bytes([i]), owner) for i in range(8)]
        return [behaviours.Reply(wire.answer(q, [*links, *made]))]

    upstream.behave("many.test", behave)
    upstream.behave("target.test", behave)
    program = serve("dot", upstream)
    for qtype in ("A", "AAAA"):
        assert_even(firsts(program, "many.test", qtype), 8)
    answer = ask(program, "many.test", edns=True)
    assert len(client.addresses(answer)) == 8
    if chain:
        assert [r.name.to_text() for r in answer.answer] == ["many.test.", "target.test."]


@nodedot_alone
def test_rotation_keeps_owners_and_signatures_together(serve, upstream):
    """Records of two owners stay apart, and with DO nothing moves when RRSIGs stand there."""
    signature = struct.pack("!HBBIIIH", wire.A, 13, 2, 300, 2**31 - 1, 0, 1) + wire.name_octets("test") + bytes(64)

    def behave(q):
        link = wire.record(wire.CNAME, 300, wire.name_octets("target.test"))
        made = imperfect.numbered(8, wire.name_octets("target.test"))
        signed = [wire.record(RRSIG, 300, signature, wire.name_octets("target.test"))]
        return [behaviours.Reply(wire.answer(q, [link, *made, *(signed if q.message.ednsflags & dns.flags.DO else [])]))]

    upstream.behave("signed.test", behave)
    program = serve("dot", upstream)
    order = [client.addresses(ask(program, "signed.test", do=True)) for _ in range(20)]
    assert all(o == order[0] for o in order) and len(order[0]) == 8
    turns = {tuple(client.addresses(ask(program, "signed.test"))) for _ in range(60)}
    assert len(turns) == 8
    doubled = order[0] * 2
    assert all(list(t) in [doubled[i : i + 8] for i in range(8)] for t in turns)


@nodedot_alone
def test_rotation_can_be_turned_off(serve, upstream):
    upstream.behave("many.test", lambda q: [behaviours.Reply(wire.answer(q, imperfect.numbered(8)))])
    program = serve("dot", upstream, cache={"rotate": "no"})
    assert len(firsts(program, "many.test")) == 1


# 11: CNAME into another zone --------------------------------------------------------------------------------------------------


def alias(target, ttl=300):
    return lambda q: [behaviours.Reply(wire.answer(q, [wire.record(wire.CNAME, ttl, wire.name_octets(target))]))]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_cname_into_another_zone_is_followed_there(serve, make_upstream, transport):
    public, corp = make_upstream(), make_upstream()
    corp.behave("www.corp.test", alias("www.public.test"))
    corp.behave("gone.corp.test", alias("gone.public.test"))
    public.behave("gone.public.test", behaviours.nxdomain())
    program = serve(transport, public, zones={"corp.test": [corp]})
    for _ in range(2):
        answer = ask(program, "www.corp.test")
        assert [r.name.to_text() for r in answer.answer] == ["www.corp.test.", "www.public.test."]
        assert client.addresses(answer) == [wire.address_of("www.public.test")]
        answer = ask(program, "gone.corp.test")
        assert answer.rcode() == wire.NXDOMAIN and len(answer.answer) == 1
    assert not corp.asked("www.public.test") and not public.asked("www.corp.test")


@pytest.mark.parametrize("steps", [8, 9])
def test_steps_over_zones_are_counted(serve, make_upstream, steps):
    """Eight steps are followed, nine are not."""
    public, corp = make_upstream(), make_upstream()
    names = [f"n{i}.{'corp.test' if i % 2 == 0 else 'public.test'}" for i in range(steps + 1)]
    for name, target in zip(names, names[1:]):
        (corp if name.endswith("corp.test") else public).behave(name, alias(target))
    program = serve("udp", public, zones={"corp.test": [corp]})
    answer = ask(program, names[0])
    if steps == 8 or through_unbound:
        assert client.addresses(answer) == [wire.address_of(names[-1])]
    else:
        assert answer.rcode() == wire.SERVFAIL


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_loop_over_two_zones_ends_at_once(serve, make_upstream, transport):
    public, corp = make_upstream(), make_upstream()
    corp.behave("www.corp.test", alias("www.public.test"))
    public.behave("www.public.test", alias("www.corp.test"))
    program = serve(transport, public, zones={"corp.test": [corp]})
    for _ in range(2):
        assert ask(program, "www.corp.test").rcode() == wire.SERVFAIL
    assert len(corp.queries) + len(public.queries) < 40


# 12: silence to the probe question --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_silence_to_the_probe_is_no_verdict(serve, upstream, transport):
    """After quiet minutes, too: a burst is answered whole."""
    upstream.behave("", behaviours.drop())
    upstream.behave(".", behaviours.drop())
    program = serve(transport, upstream, wait="serving")
    assert_good(program, "first.test")
    time.sleep(20)  # of quiet; nothing to wait for
    with program.udp() as udp:
        names = [f"burst{i}.test" for i in range(50)]
        for number, name in enumerate(names):
            udp.send(wire.query(name, id=number))
        found = {}
        while len(found) < len(names):
            raw = udp.receive(TIMEOUT_S)
            assert raw is not None, f"{len(found)} of {len(names)} answers"
            found[struct.unpack_from("!H", raw)[0]] = client.addresses(client.parse(raw))
    assert all(found[number] == [wire.address_of(name)] for number, name in enumerate(names))


@nodedot_alone
def test_another_name_may_be_the_probe(serve, upstream):
    program = serve("udp", upstream, up={"probe-name": "alive.test"})
    upstream.behave("alive.test", behaviours.proper())
    program.ask("first.test")
    upstream.mode = "stall-answers"
    assert ask(program, "lost.test", at_once=False).rcode() == wire.SERVFAIL
    wait_until(lambda: upstream.asked("alive.test"), 30, "a probe for the name of the option")
    assert not upstream.asked("")


# 14: additional records, and names inside NAPTR -------------------------------------------------------------------------------


def naptr(replacement, service=b"SIP+D2U"):
    return struct.pack("!HH", 10, 20) + b"\1S" + bytes([len(service)]) + service + b"\0" + replacement


def kept(answer):
    return sorted(f"{rrset.name} {r.to_text()}" for rrset in answer.additional for r in rrset)


@pytest.mark.parametrize("kind", ["NAPTR", "PTR", "SRV", "MX"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_additional_records_of_an_answer_are_kept(serve, upstream, transport, kind):
    target = wire.name_octets("host.test")
    rdata = {
        "NAPTR": naptr(target),
        "PTR": target,
        "SRV": struct.pack("!HHH", 1, 2, 53) + target,
        "MX": struct.pack("!H", 10) + target,
    }[kind]
    number = {"NAPTR": NAPTR, "PTR": wire.PTR, "SRV": SRV, "MX": wire.MX}[kind]
    extra = imperfect.owned("host.test", SRV if kind == "PTR" else wire.A, struct.pack("!HHH", 1, 2, 53) + wire.name_octets("host.test") if kind == "PTR" else b"\x0a\0\0\1")
    upstream.behave("some.test", lambda q: [behaviours.Reply(wire.answer(q, [wire.record(number, 300, rdata)], (), [extra]))])
    program = serve(transport, upstream)
    for _ in range(2):
        answer = ask(program, "some.test", kind, edns=True)
        assert len(answer.answer) == 1
        assert through_unbound or len(kept(answer)) == 1, answer


def test_names_in_naptr_are_readable_in_a_message_that_is_rewritten(serve, upstream):
    """A foreign record is dropped, so what stands behind it moves: a pointer in NAPTR's RDATA (forbidden and seen) must not."""

    def behave(q):
        foreign = imperfect.owned("foreign.example", wire.A, b"\6\6\6\6")
        start = 12 + len(q.question) + len(foreign)
        # The second record's replacement points at the name in the first one's RDATA.
        first = wire.record(NAPTR, 300, naptr(wire.name_octets("sip.host.test")))
        inner = start + len(first) - len(wire.name_octets("sip.host.test"))
        second = wire.record(NAPTR, 300, naptr(struct.pack("!H", 0xC000 | inner), b"SIP+D2T"))
        extra = imperfect.owned("sip.host.test", wire.A, b"\x0a\0\0\1")
        return [behaviours.Reply(wire.answer(q, [foreign, first, second], (), [extra]))]

    upstream.behave("some.test", behave)
    program = serve("udp", upstream)
    for _ in range(2):
        answer = ask(program, "some.test", "NAPTR", edns=True)
        assert [r.name.to_text() for r in answer.answer] == ["some.test."]
        assert sorted(r.replacement.to_text() for r in answer.answer[0]) == ["sip.host.test."] * 2
        assert through_unbound or len(kept(answer)) == 1


# 15: a code that changes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rcode", [4, 5, 6, 9], ids=["NOTIMP", "REFUSED", "YXDOMAIN", "NOTAUTH"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_failing_code_stays_the_same(serve, upstream, transport, rcode):
    upstream.default = lambda q: (behaviours.failure(rcode) if q.qtype == HTTPS else behaviours.proper())(q)
    program = serve(transport, upstream)
    seen = [ask(program, "some.test", "HTTPS").rcode() for _ in range(4)]
    assert seen == [rcode] * 4 or through_unbound and len(set(seen)) == 1
    assert_good(program, "some.test")


# 16: caps ---------------------------------------------------------------------------------------------------------------------


class Capped:
    """Lets a number of connections at once through to a behaviour; closes the rest."""

    def __init__(self, server, limit):
        self.server, self.limit = server, limit
        original = server._on_connection

        def on_connection(name):
            original(name)
            open_now = [c for c in server.connections if c.open]
            if len(open_now) > limit:
                open_now[-1].close("rst")

        server._on_connection = on_connection


@nodedot_alone
@pytest.mark.slow
def test_a_cap_on_connections_takes_no_query_to_the_fallback(serve, make_upstream):
    """Two connections a client, four workers: those without one have another way, and nothing leaves in clear text."""
    capped, plain = make_upstream(), make_upstream()
    Capped(capped, 2)
    program = serve(
        "dot",
        capped,
        workers=4,
        up={"fallback": "clear"},
        **{"upstream clear": plain.options("plain")},
    )
    for number in range(100):
        assert client.addresses(ask(program, f"n{number}.test")) == [wire.address_of(f"n{number}.test")]
    assert not [q for q in plain.queries if q.name.startswith("n")]


@pytest.mark.slow
@pytest.mark.quiet
def test_a_cap_on_packets_meets_no_storm(serve, upstream):
    """Half of what comes is dropped: what is asked stays close to what was offered, and the cache answers as ever."""
    program = serve("udp", upstream)
    assert_good(program, "kept.test")
    counted = collections.Counter()

    def behave(q):
        counted["seen"] += 1
        return behaviours.proper()(q) if counted["seen"] % 2 else []

    upstream.default = behave
    before = len(upstream.queries)
    with program.load(100) as load:
        for _ in range(20):
            assert_good(program, "kept.test")
            time.sleep(0.2)
    asked = len([q for q in upstream.queries[before:] if q.name])
    assert asked <= 1.05 * load.sent + 5, f"{asked} asked for {load.sent} offered"


# 17: connections have an age --------------------------------------------------------------------------------------------------


@nodedot_alone
@pytest.mark.slow
def test_a_connection_has_an_age(serve, upstream):
    program = serve("tcp", upstream, up={"connection-max-age": 5})

    def renewed():
        assert_good(program, f"n{time.monotonic()}.test")
        return len(upstream.connections) >= 3

    wait_until(renewed, 60, "two more connections")

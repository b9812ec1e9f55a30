"""`nodedot check --online` and `nodedot query`: the upstreams as a person sees them, without the daemon."""

import datetime
import re
import time

import pytest

from harness import behaviours, imperfect, wire
from harness.certificates import Authority
from harness.program import render, run

DAY = datetime.timedelta(days=1)
OTHER_PIN = "sha256/" + "A" * 43 + "="
PADDING = 12  # EDNS option (RFC 7830)


@pytest.fixture
def command(make_config, tmp_path):
    """A function that runs a command with a configuration as make_config() makes it, or with the given one."""

    def run_command(*words, servers=(), config=None, args=(), **settings):
        file = tmp_path / "nodedot.ini"
        file.write_text(render(config or make_config(*servers, **settings)))
        return run(*words, "-c", file, *args)

    return run_command


def rows(result):
    """The table of check --online: a dict of its columns for each line."""
    lines = result.stdout.splitlines()
    starts = [m.start() for m in re.finditer(r"\S+(?: \S+)*", lines[0])]
    names = [lines[0][a:b].strip() for a, b in zip(starts, [*starts[1:], None])]
    table = []
    for line in lines[1:]:
        if len(line) > starts[-1]:
            table.append({n: line[a:b].strip() for n, a, b in zip(names, starts, [*starts[1:], None])})
    return table


def not_asked(*servers):
    return all(c.application_octets == 0 for s in servers for c in s.connections) and not any(s.queries for s in servers)


# check --online ---------------------------------------------------------------------------------------------------------------


def test_all_addresses_that_prove_themselves_are_exit_0(command, make_upstream, authority):
    certificate = authority.issue("dot.test")
    servers = [make_upstream(certificate), make_upstream(certificate)]
    result = command("check", "--online", servers=servers, up={"pin": [certificate.pin, OTHER_PIN]})
    assert result.returncode == 0 and not result.stderr
    table = rows(result)
    assert [row["ADDRESS"] for row in table] == [f"{s.address}:{s.dot_port}" for s in servers]
    for row in table:
        assert row["UPSTREAM"] == "up" and row["RESULT"] == "ok" and row["OVER"] == "TLSv1.3"
        assert row["PROVED BY"] == "pin 1 of 2 (certificate 0), name dot.test"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \((29|30) days\)", row["EXPIRES"])
        assert re.fullmatch(r"\d+ ms", row["TIME"]) and row["NOTES"] == "-"
    for server in servers:
        assert [(q.name, q.qtype) for q in server.queries] == [("", wire.NS)]
        assert len(server.queries[0].wire) % 128 == 0 and PADDING in server.queries[0].options
        assert (server.connections[0].sni, server.connections[0].alpn) == ("dot.test", "dot")


def test_one_address_that_fails_is_exit_1_and_the_others_are_shown(command, make_upstream, authority, address):
    certificate = authority.issue("dot.test")
    good, wrong, silent = make_upstream(certificate), make_upstream(), make_upstream(certificate)
    silent.mode = "stall-handshake"
    nobody = f"{address()}:8853"
    began = time.monotonic()
    where = [f"{s.address}:{s.dot_port}" for s in (good, wrong, silent)] + [nobody]
    result = command("check", "--online", servers=[good], up={"address": where, "pin": certificate.pin})
    assert time.monotonic() - began < 9  # all at the same time, 5 s each
    assert result.returncode == 1
    assert [row["RESULT"] for row in rows(result)] == ["ok", "MISMATCH", "UNREACHABLE", "UNREACHABLE"]
    notes = [row["NOTES"] for row in rows(result)]
    assert "no pin matches" in notes[1] and "timed out" in notes[2] and "refused" in notes[3]
    assert not_asked(wrong, silent)
    assert "only one pin" in result.stdout


def test_every_upstream_is_proved_by_its_own_rules(command, make_upstream, authority, tmp_path):
    plain, strange = make_upstream(), make_upstream(Authority(tmp_path, "Strange").issue("dot.test"))
    named = make_upstream(authority.intermediate("Middle").issue("dot.test"), tls12_only=True)
    config = {
        "server": {"listen": f"{plain.address}:5353"},
        "upstream udp": plain.options("plain"),
        "upstream tcp": {**plain.options("plain"), "force-tcp": "yes"},
        "upstream ca": {**named.options("ca"), "auth": "ca", "ca-file": authority.file},
        "upstream strange": {**strange.options("ca"), "auth": "ca", "ca-file": authority.file},
        "zone .": {"upstream": "ca"},
    }
    result = command("check", "--online", config=config)
    table = {row["UPSTREAM"]: row for row in rows(result)}
    assert {name: row["RESULT"] for name, row in table.items()} == {
        "udp": "ok",
        "tcp": "ok",
        "ca": "ok",
        "strange": "MISMATCH",
    }
    assert [table[name]["OVER"] for name in ("udp", "tcp", "ca")] == ["UDP", "TCP", "TLSv1.2"]
    assert table["ca"]["PROVED BY"] == "CA, name dot.test"
    assert sorted(q.transport for q in plain.queries) == ["tcp", "udp"]
    assert result.returncode == 1 and not_asked(strange)


def test_a_pin_that_report_lets_pass_is_shown_and_is_exit_1(command, upstream, authority):
    result = command("check", "--online", servers=[upstream],
                     up={"pin": OTHER_PIN, "pin-mode": "report", "ca-file": authority.file})
    (row,) = rows(result)
    assert result.returncode == 1 and row["RESULT"] == "MISMATCH" and "pin-mode = report" in row["NOTES"]
    assert [q.name for q in upstream.queries] == [""]  # as the daemon would, which accepts it


def test_doubts_about_a_proof_are_shown(command, make_upstream, authority):
    server = make_upstream(authority.issue("dot.test", start=-3 * DAY, end=2 * DAY))
    result = command("check", "--online", servers=[server], up={"pin": [OTHER_PIN, server.certificate.pin]})
    (row,) = rows(result)
    assert result.returncode == 0 and row["RESULT"] == "ok"
    assert "within 3 days" in row["NOTES"] and "only the last pin" in row["NOTES"]


def test_a_server_that_does_not_like_our_certificate_is_found(command, make_upstream, authority):
    """With TLS 1.3 the handshake is over for us before the server has looked."""
    server = make_upstream(client_ca=authority.file)
    result = command("check", "--online", servers=[server])
    (row,) = rows(result)
    assert result.returncode == 1 and row["RESULT"] == "NO ANSWER" and row["NOTES"] != "-"
    mine = authority.issue("node.test")
    result = command("check", "--online", servers=[server], up={"client-cert": mine.chain_file, "client-key": mine.key_file})
    assert result.returncode == 0, result.stdout


def test_a_datagram_that_is_lost_is_sent_again(command, upstream):
    upstream.behave("", lambda q: [] if len(upstream.queries) == 1 else behaviours.proper()(q))
    result = command("check", "--online", servers=[upstream], auth="plain")
    assert result.returncode == 0
    first, second = upstream.queries
    assert first.peer != second.peer and first.id != second.id


def test_a_configuration_error_is_exit_2(command, upstream, tmp_path):
    result = command("check", "--online", servers=[upstream], up={"pin": "sha256/short"})
    assert result.returncode == 2 and "pin" in result.stderr and not result.stdout
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    result = command("check", "--online", servers=[upstream], up={"auth": "ca", "pin": "", "ca-file": empty})
    assert result.returncode == 2 and "empty.pem" in result.stderr
    assert not upstream.connections
    assert run("pin", "--online", "a.test").returncode == 2


# query ------------------------------------------------------------------------------------------------------------------------


def test_query_shows_who_answered_what_and_what_proved_it(command, upstream):
    result = command("query", "a.test", servers=[upstream])
    assert result.returncode == 0, result.stderr
    assert f"address {upstream.address}:{upstream.dot_port}, over TLS: NOERROR" in result.stdout
    assert "identity proved by pin 1 of 1 (certificate 0), name dot.test" in result.stdout
    assert "upstream up" in result.stdout and re.search(r"(?m)^;; zone \.$", result.stdout)
    assert f"\na.test.\t300\tIN\tA\t{wire.address_of('a.test')}\n" in result.stdout
    (asked,) = upstream.queries
    assert (asked.name, asked.qtype) == ("a.test", wire.A)
    assert len(asked.wire) % 128 == 0 and PADDING in asked.options


def test_query_takes_a_type_and_writes_what_it_does_not_know_by_rfc_3597(command, upstream):
    upstream.behave("x.test", behaviours.records(lambda q: [wire.record(65280, 7, b"\1\xab")]))
    result = command("query", "X.test.", "type65280", servers=[upstream])
    assert result.returncode == 0 and "\nx.test.\t7\tIN\tTYPE65280\t\\# 2 01AB\n" in result.stdout
    assert command("query", "a.test", "txt", servers=[upstream]).stdout.count('"a.test"') == 1


def test_a_name_that_does_not_exist_is_an_answer(command, upstream):
    upstream.behave("nx.test", behaviours.nxdomain())
    upstream.behave("empty.test", behaviours.nodata())
    result = command("query", "nx.test", servers=[upstream])
    assert result.returncode == 0 and "status: NXDOMAIN" in result.stdout and "no such name" in result.stdout
    result = command("query", "empty.test", servers=[upstream])
    assert result.returncode == 0 and "No data" in result.stdout


def test_query_writes_nothing_before_the_proof(command, make_upstream, authority):
    server = make_upstream()
    result = command("query", "secret.test", servers=[server], up={"pin": OTHER_PIN})
    assert result.returncode == 1 and "identity mismatch, nothing was asked: no pin matches" in result.stdout
    result = command("query", "secret.test", servers=[server], auth="ca", up={"ca-file": authority.file, "name": "other.test"})
    assert result.returncode == 1 and "other.test" in result.stdout
    assert len(server.connections) == 2 and not_asked(server)


def test_query_goes_the_way_of_the_longest_zone(command, make_upstream):
    outside, inside = make_upstream(), make_upstream()
    result = command(
        "query",
        "a.inner.test",
        servers=[outside],
        sections={"upstream in": inside.options("plain"), "zone inner.test": {"upstream": "in"}},
    )
    assert result.returncode == 0 and ";; zone inner.test\n;; upstream in\n" in result.stdout
    assert "over UDP" in result.stdout and not outside.connections and len(inside.queries) == 1


@pytest.mark.parametrize("words", [["localhost"], ["x.onion"], ["printer.local"], ["a.test", "ANY"], ["a.test", "AXFR"]])
def test_what_the_daemon_never_forwards_is_not_forwarded(command, upstream, words):
    result = command("query", *words, servers=[upstream])
    assert "by nodedot itself" in result.stdout and not upstream.connections
    assert result.returncode == (1 if words[-1] == "AXFR" else 0)


def test_a_truncated_datagram_is_asked_again_over_tcp(command, upstream):
    def behave(q):
        if q.transport == "udp":
            return [behaviours.Reply(wire.answer(q, flags=wire.QR | wire.TC))]
        return behaviours.addresses(100)(q)

    upstream.behave("big.test", behave)
    result = command("query", "big.test", servers=[upstream], auth="plain")
    assert result.returncode == 0 and "over TCP" in result.stdout and result.stdout.count("\tA\t") == 100


def test_an_answer_that_does_not_match_is_passed_over(command, make_upstream):
    server = make_upstream()
    for kind, wrong in behaviours.MISMATCHES.items():
        server.behave(f"{kind.replace('_', '-')}.test", behaviours.wrong_first(wrong))
    for kind in behaviours.MISMATCHES:
        name = f"{kind.replace('_', '-')}.test"
        for auth in ("pin", "plain"):
            result = command("query", name, servers=[server], auth=auth)
            assert result.returncode == 0, (kind, auth, result.stdout)
            assert wire.address_of(name) in result.stdout and "6.6.6.6" not in result.stdout


def test_the_next_address_is_asked_when_one_could_not(command, make_upstream, authority):
    certificate = authority.issue("dot.test")
    refusing, failing, good = (make_upstream(certificate) for _ in range(3))
    refusing.stop_listening()
    failing.default = behaviours.failure()
    result = command("query", "a.test", servers=[refusing, failing, good])
    assert result.returncode == 0 and "unreachable" in result.stdout and "SERVFAIL" in result.stdout
    assert wire.address_of("a.test") in result.stdout
    good.default = behaviours.failure(wire.REFUSED)
    result = command("query", "a.test", servers=[failing, good])
    assert result.returncode == 1 and "status: REFUSED" in result.stdout


def test_a_server_that_is_silent_is_given_up_at_the_time_out(command, upstream):
    upstream.mode = "stall-answers"
    began = time.monotonic()
    result = command("query", "a.test", servers=[upstream], limits={"timeout": 700})
    assert 0.6 < time.monotonic() - began < 5
    assert result.returncode == 1 and "no answer in time" in result.stdout and "identity proved by" in result.stdout


def test_a_server_before_edns_is_asked_without_it(command, upstream):
    def behave(q):
        return behaviours.failure(wire.FORMERR, edns=False)(q) if q.has_edns else behaviours.proper(edns=False)(q)

    upstream.behave("old.test", behave)
    for auth in ("pin", "plain"):
        result = command("query", "old.test", servers=[upstream], auth=auth)
        assert result.returncode == 0 and wire.address_of("old.test") in result.stdout


@pytest.mark.parametrize("auth", ["pin", "plain"])
@pytest.mark.parametrize("how", sorted(set(imperfect.DISLIKES) - {"silence"}))
def test_a_server_that_dislikes_edns_is_asked_without_it(command, upstream, how, auth):
    upstream.default = imperfect.dislikes_edns(how)
    result = command("query", "a.test", servers=[upstream], auth=auth)
    assert result.returncode == 0 and wire.address_of("a.test") in result.stdout
    assert [q.has_edns for q in upstream.queries][-1] is False


def test_a_server_that_is_silent_to_edns_is_asked_without_it(command, upstream):
    upstream.default = imperfect.dislikes_edns("silence")
    result = command("query", "a.test", servers=[upstream], auth="plain")
    assert result.returncode == 0 and wire.address_of("a.test") in result.stdout


def test_an_error_without_a_question_is_that_error(command, upstream):
    upstream.default = imperfect.without_question(wire.REFUSED)
    result = command("query", "a.test", servers=[upstream])
    assert result.returncode == 1 and "over TLS: REFUSED" in result.stdout


@pytest.mark.parametrize("tc", [True, False])
@pytest.mark.parametrize("where", ["behind the question", "in an owner", "in the first RDATA", "in the last record"])
def test_an_answer_that_is_cut_is_asked_for_over_tcp(command, upstream, where, tc):
    upstream.default = imperfect.over(["udp"], imperfect.cut(where, tc))
    result = command("query", "a.test", servers=[upstream], auth="plain")
    assert result.returncode == 0 and wire.address_of("a.test") in result.stdout


def test_an_answer_that_is_cut_on_a_stream_is_no_answer(command, upstream):
    upstream.default = imperfect.truncated(1)
    result = command("query", "a.test", servers=[upstream])
    assert result.returncode == 1 and "no answer: its answer is cut" in result.stdout


@pytest.mark.parametrize("allowed", ["no", "yes"])
def test_a_plain_fallback_is_not_asked_because_of_a_mismatch(command, make_upstream, allowed):
    server, fallback = make_upstream(), make_upstream()
    group = {"pin": OTHER_PIN, "fallback": "plain", "fallback-on-mismatch": allowed}
    sections = {"upstream plain": fallback.options("plain")}
    result = command("query", "a.test", servers=[server], up=group, sections=sections)
    assert result.returncode == (0 if allowed == "yes" else 1) and len(fallback.queries) == (allowed == "yes")
    server.stop_listening()
    result = command("query", "a.test", servers=[server], up={**group, "pin": server.certificate.pin}, sections=sections)
    assert result.returncode == 0 and len(fallback.queries) >= 1 and "upstream plain" in result.stdout


@pytest.mark.parametrize("words", [[], ["a..b"], ["a.test", "NOTYPE"], ["a.test", "A", "b"], ["a.test", "TYPE65536"]])
def test_wrong_words_are_exit_2(command, upstream, words):
    result = command("query", *words, servers=[upstream])
    assert result.returncode == 2 and result.stderr and not result.stdout and not upstream.connections

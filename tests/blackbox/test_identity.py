"""Identity: no query is written before the peer has proved who it is, and the proof is asked for again and again."""

import datetime
import re
import time

import pytest

from harness import behaviours, client, wire
from harness.certificates import Authority, new_key, pin_of, self_signed
from harness.fake import EARLY_DATA
from harness.program import run
from harness.servers import Stunnel
from harness.waiting import stays, wait_until

DAY = datetime.timedelta(days=1)
OTHER_PIN = "sha256/" + "A" * 43 + "="
REVALIDATE_S = 1  # as these tests configure it
TLS12, TLS13 = 0x0303, 0x0304
SUITES = {
    *(0x1301, 0x1302, 0x1303),  # TLS 1.3 (RFC 8446 appendix B.4)
    *(0xC02B, 0xC02C, 0xC02F, 0xC030),  # ECDHE with AES-GCM (RFC 5289)
    *(0xCCA8, 0xCCA9),  # ECDHE with ChaCha20-Poly1305 (RFC 7905)
    0x00FF,  # no suite: renegotiation only in the safe way (RFC 5746)
}


def right(answer, name):
    return answer.rcode() == wire.NOERROR and client.addresses(answer) == [wire.address_of(name)]


def accepted(program, server):
    assert right(program.ask("accepted.test"), "accepted.test")
    assert len(server.asked("accepted.test")) == 1
    assert program.counter("identity_mismatches_total") == 0


def refused(program, *servers):
    """The handshake was tried, the client has its answer, and not one octet of a query was written."""
    began = time.monotonic()
    answer = program.ask("secret.test", edns=True)
    assert answer.rcode() == wire.SERVFAIL and set(client.ede_codes(answer)) & {22, 23}
    assert time.monotonic() - began < 4.8
    program.ask("secret2.test", transport="tcp")
    program.wait_counter("identity_mismatches_total", 1)
    for server in servers:
        assert server.connections and not server.queries
        assert all(c.application_octets == 0 for c in server.connections)
    assert not program.is_ready() and program.is_alive()
    program.wait_log(r"level=error .*mismatch")


@pytest.fixture
def ca(authority):
    """Keys of an [upstream] that trust this run's authority."""
    return {"auth": "ca", "ca-file": authority.file}


# Pins -----------------------------------------------------------------------------------------------------------------------


def test_the_right_pin_is_accepted(start, upstream):
    accepted(start(upstream), upstream)


def test_a_wrong_pin_is_refused_before_any_query(start, upstream):
    refused(start(upstream, up={"pin": OTHER_PIN}, wait="serving"), upstream)


def test_a_backup_pin_is_as_good(start, upstream):
    accepted(start(upstream, up={"pin": [OTHER_PIN, upstream.certificate.pin]}), upstream)


def test_pins_may_stand_in_a_file(start, upstream, tmp_path):
    pins = tmp_path / "pins"
    pins.write_text(f"# the server's\n{OTHER_PIN}\n\n{upstream.certificate.pin}\n")
    accepted(start(upstream, up={"pin": "", "pin-file": pins}), upstream)


def test_a_self_signed_certificate_with_the_right_pin_is_accepted(start, make_upstream, tmp_path):
    server = make_upstream(self_signed(tmp_path, "dot.test"))
    accepted(start(server), server)


def test_a_self_signed_certificate_needs_no_name_where_none_is_configured(start, make_upstream, tmp_path):
    server = make_upstream(self_signed(tmp_path))
    accepted(start(server, up={"name": ""}), server)


def test_with_pin_an_expired_certificate_is_accepted_with_a_warning(start, make_upstream, authority):
    server = make_upstream(authority.issue("dot.test", start=-3 * DAY, end=-DAY))
    program = start(server)
    accepted(program, server)
    program.wait_log(r"level=warn .*expired")


def test_with_pin_a_certificate_for_another_name_is_refused(start, make_upstream, authority):
    """A configured name must be carried in every mode."""
    server = make_upstream(authority.issue("other.test"))
    refused(start(server, wait="serving"), server)


def test_a_pin_of_the_issuing_authority_is_accepted(start, make_upstream, authority):
    middle = authority.intermediate("Middle")
    server = make_upstream(middle.issue("dot.test"))
    accepted(start(server, up={"pin": middle.pin}), server)


def test_a_pin_of_the_root_is_accepted_when_the_server_presents_it(start, make_upstream, authority):
    server = make_upstream(authority.intermediate("Middle").intermediate("Lower").issue("dot.test", send_root=True))
    accepted(start(server, up={"pin": authority.pin}), server)


def test_a_pinned_authority_that_did_not_sign_the_leaf_is_worth_nothing(start, make_upstream, authority, tmp_path):
    """Anyone can send along the certificate of an authority."""
    pinned = Authority(tmp_path, "Pinned Root")
    server = make_upstream(authority.issue("dot.test", surplus=[pinned.certificate]))
    refused(start(server, up={"pin": pinned.pin}, wait="serving"), server)


def test_a_namesake_of_the_pinned_authority_is_worth_nothing(start, make_upstream, tmp_path):
    """The same subject and issuer names, another key: the names chain, the signature does not."""
    pinned, namesake = Authority(tmp_path, "Root"), Authority(tmp_path, "Root")
    server = make_upstream(namesake.issue("dot.test", surplus=[pinned.certificate]))
    refused(start(server, up={"pin": pinned.pin}, wait="serving"), server)


def test_a_leaf_may_not_act_as_an_authority(start, make_upstream, authority):
    """The pinned certificate signed the leaf, but it is no authority."""

    class Leaf(Authority):
        def __init__(self, certificate):
            self.directory, self.key, self.certificate = authority.directory, certificate.key, certificate.certificate
            self.issuer, self.name = authority, certificate.certificate.subject

    real = authority.issue("real.test", common_name="real")
    server = make_upstream(Leaf(real).issue("dot.test"))
    refused(start(server, up={"pin": real.pin}, wait="serving"), server)


def test_rsa_keys_work_too(start, make_upstream, authority):
    server = make_upstream(authority.issue("dot.test", key=new_key("rsa")))
    accepted(start(server), server)


def test_a_certificate_with_the_old_key_keeps_its_pin(start, make_upstream, authority):
    key = new_key()
    server = make_upstream(authority.issue("dot.test", key=key))
    program = start(server, up={"pin": pin_of(key.public_key()), "revalidate": REVALIDATE_S})
    server.use_certificate(authority.issue("dot.test", key=key))
    time.sleep(2.5 * REVALIDATE_S)
    accepted(program, server)


# Pins of a CA: everything that a CA's path is asked for ------------------------------------------------------------------------


@pytest.fixture
def middle(authority):
    return authority.intermediate("Pinned Middle")


def ca_pin(middle):
    return {"pin": pin_of(middle.certificate.public_key())}


def test_a_ca_pin_and_the_name_are_accepted(start, make_upstream, middle):
    server = make_upstream(middle.issue("dot.test"))
    accepted(start(server, up=ca_pin(middle)), server)


@pytest.mark.parametrize(
    "leaf",
    [
        {"start": -30 * DAY, "end": -DAY},
        {"start": DAY, "end": 30 * DAY},
        {"only_clients": True},
        {"names": ["other.test"]},
    ],
    ids=["expired", "not_yet_valid", "for_clients", "another_name"],
)
def test_a_ca_pin_excuses_nothing(start, make_upstream, middle, leaf):
    names = leaf.get("names", ["dot.test"])
    server = make_upstream(middle.issue(*names, **{key: value for key, value in leaf.items() if key != "names"}))
    program = start(server, up=ca_pin(middle), wait="serving")
    assert program.ask("secret.test").rcode() == wire.SERVFAIL
    wait_until(lambda: server.connections, 10, "a connection")
    assert all(c.application_octets == 0 for c in server.connections) and not program.is_ready()


def test_a_ca_pin_without_a_name_proves_nothing(start, make_upstream, middle):
    server = make_upstream(middle.issue("dot.test"))
    refused(start(server, up={**ca_pin(middle), "name": ""}, wait="serving"), server)


# Report ---------------------------------------------------------------------------------------------------------------------


def test_pin_mode_report_logs_and_counts_and_lets_pass(start, upstream, ca):
    program = start(upstream, up={"ca-file": ca["ca-file"], "pin": OTHER_PIN, "pin-mode": "report"})
    assert right(program.ask("a.test"), "a.test")
    assert program.counter("identity_mismatches_total") >= 1
    program.wait_log(r"level=warn .*pin")


@pytest.mark.parametrize("pin", ["right", "wrong"])
def test_pin_mode_report_lets_no_stranger_pass(start, make_upstream, tmp_path, ca, pin):
    """Without auth it means pin+ca: a self-signed certificate with the right name proves nothing."""
    stranger = self_signed(tmp_path, "dot.test")
    server = make_upstream(stranger)
    pins = {"pin": OTHER_PIN} if pin == "wrong" else {}
    refused(start(server, up={"ca-file": ca["ca-file"], **pins, "pin-mode": "report"}, wait="serving"), server)


def test_pin_mode_report_excuses_nothing_but_the_pin(start, make_upstream, authority, ca):
    server = make_upstream(authority.issue("other.test"))
    refused(start(server, up={**ca, "auth": "pin+ca", "pin": OTHER_PIN, "pin-mode": "report"}, wait="serving"), server)


# Authority and name -----------------------------------------------------------------------------------------------------------


def test_ca_and_name_are_accepted(start, upstream, ca):
    accepted(start(upstream, up={**ca, "pin": ""}), upstream)


@pytest.mark.parametrize(
    "names",
    [["other.test"], ["x.dot.test"], ["dot.test.evil.test"], ["*.test.test"], ["*"], ["*.dot.test"], []],
    ids=lambda names: "-".join(names).replace("*", "star") or "none",
)
def test_ca_with_a_wrong_name_is_refused(start, make_upstream, authority, ca, names):
    """The common name says dot.test, which does not count (RFC 8310 section 8.1)."""
    server = make_upstream(authority.issue(*names, common_name="dot.test"))
    refused(start(server, up={**ca, "pin": ""}, wait="serving"), server)


def test_a_wildcard_covers_one_label(start, make_upstream, authority, ca):
    good = make_upstream(authority.issue("*.dot.test"), name="a.dot.test")
    accepted(start(good, up={**ca, "pin": ""}), good)
    bad = make_upstream(authority.issue("*.dot.test"), name="a.b.dot.test")
    refused(start(bad, up={**ca, "pin": ""}, wait="serving"), bad)


def test_without_a_name_the_address_must_be_certified(start, make_upstream, authority, ca, address):
    where = address()
    good = make_upstream(authority.issue(where), address=where)
    accepted(start(good, up={**ca, "pin": "", "name": ""}), good)
    assert good.connections[0].sni is None
    bad = make_upstream(authority.issue("dot.test", where))
    refused(start(bad, up={**ca, "pin": "", "name": ""}, wait="serving"), bad)


def test_an_expired_certificate_of_a_ca_is_refused(start, make_upstream, authority, ca):
    server = make_upstream(authority.issue("dot.test", start=-30 * DAY, end=-DAY))
    refused(start(server, up={**ca, "pin": ""}, wait="serving"), server)


def test_a_certificate_of_the_future_is_refused_and_the_clock_named(start, make_upstream, authority, ca):
    """A node without a battery for its clock starts in 1970: no mismatch, but a clock to set."""
    server = make_upstream(authority.issue("dot.test", start=DAY, end=30 * DAY))
    program = start(server, up={**ca, "pin": ""}, wait="serving")
    program.wait_log(r"level=error .*clock is before the dates of its certificate")
    assert program.ask("secret.test").rcode() == wire.SERVFAIL
    assert all(c.application_octets == 0 for c in server.connections) and not program.is_ready()
    assert program.counter("identity_mismatches_total") == 0
    assert "mismatch" not in program.log()


def test_an_unknown_authority_is_refused(start, make_upstream, tmp_path, ca):
    server = make_upstream(Authority(tmp_path, "Test Root").issue("dot.test"))
    refused(start(server, up={**ca, "pin": ""}, wait="serving"), server)


def test_a_self_signed_certificate_is_no_ca(start, make_upstream, tmp_path, ca):
    server = make_upstream(self_signed(tmp_path, "dot.test"))
    refused(start(server, up={**ca, "pin": ""}, wait="serving"), server)


def test_an_intermediate_authority_is_followed(start, make_upstream, authority, ca):
    server = make_upstream(authority.intermediate("Middle").issue("dot.test"))
    accepted(start(server, up={**ca, "pin": ""}), server)


# Both -----------------------------------------------------------------------------------------------------------------------


def test_pin_and_ca_together_are_accepted(start, upstream, ca):
    accepted(start(upstream, up={**ca, "auth": "pin+ca"}), upstream)


def test_right_ca_and_wrong_pin_are_refused(start, upstream, ca):
    refused(start(upstream, up={**ca, "auth": "pin+ca", "pin": OTHER_PIN}, wait="serving"), upstream)


def test_right_pin_and_wrong_ca_are_refused(start, make_upstream, tmp_path, ca):
    server = make_upstream(self_signed(tmp_path, "dot.test"))
    refused(start(server, up={**ca, "auth": "pin+ca"}, wait="serving"), server)


def test_with_both_an_expired_certificate_is_refused(start, make_upstream, authority, ca):
    server = make_upstream(authority.issue("dot.test", start=-3 * DAY, end=-DAY))
    refused(start(server, up={**ca, "auth": "pin+ca"}, wait="serving"), server)


# TLS ------------------------------------------------------------------------------------------------------------------------


def test_the_server_name_and_alpn_are_sent(start, upstream):
    start(upstream)
    connection = upstream.wait_for_connection()
    assert (connection.sni, connection.alpn) == ("dot.test", "dot")


def test_tls_1_3_is_used_where_there_is_a_choice_with_the_cheaper_cipher(start, upstream):
    start(upstream)
    connection = upstream.wait_for_connection()
    assert connection.version == "TLSv1.3" and "CHACHA20" in connection.cipher


def test_nothing_but_forward_secret_aead_suites_is_offered(start, upstream):
    start(upstream)
    connection = upstream.wait_for_connection()
    offered, versions = connection.offered_suites(), connection.offered_versions()
    assert offered and offered <= SUITES, [hex(suite) for suite in offered - SUITES]
    assert versions == [TLS13, TLS12]


@pytest.mark.parametrize("only", ["tls12_only", "tls13_only"])
def test_servers_of_one_version_work(start, make_upstream, only):
    server = make_upstream(**{only: True})
    accepted(start(server), server)
    assert {c.version for c in server.connections} == {"TLSv1.2" if only == "tls12_only" else "TLSv1.3"}


def test_with_tls_1_2_a_wrong_pin_is_refused_too(start, make_upstream):
    server = make_upstream(tls12_only=True)
    refused(start(server, up={"pin": OTHER_PIN}, wait="serving"), server)


def test_a_server_without_alpn_works(start, make_upstream):
    server = make_upstream(alpn=())
    accepted(start(server), server)


def test_a_client_certificate_is_presented(start, make_upstream, authority):
    server = make_upstream(client_ca=authority.file)
    mine = authority.issue("node.test")
    accepted(start(server, up={"client-cert": mine.chain_file, "client-key": mine.key_file}), server)


def test_a_chain_of_a_hundred_certificates_is_refused_and_survived(start, make_upstream, authority):
    surplus = [authority.intermediate(f"Surplus {i}").certificate for i in range(100)]
    server = make_upstream(authority.issue("dot.test", surplus=surplus))
    program = start(server, wait="serving")
    program.ask("a.test")
    assert program.is_alive() and all(c.application_octets == 0 for c in server.connections)


def test_a_server_that_speaks_no_tls_never_sees_a_query(start, make_upstream):
    """Its plain port where TLS is expected: the handshake's octets are all it gets."""
    server = make_upstream()
    program = start(server, up={"address": f"{server.address}:{server.plain_port}"}, wait="serving")
    assert program.ask("secret.test").rcode() == wire.SERVFAIL
    assert not server.asked("secret.test")
    assert not any(b"secret" in q.wire for q in server.queries)


def test_a_timeout_is_not_a_mismatch(start, upstream):
    upstream.mode = "stall-handshake"
    program = start(upstream, wait="serving")
    assert program.ask("a.test").rcode() == wire.SERVFAIL
    assert program.counter("identity_mismatches_total") == 0
    assert "mismatch" not in program.log()


# Files ----------------------------------------------------------------------------------------------------------------------


class Secret:
    """A directory as Kubernetes mounts a Secret: names are links through ..data, which is swapped for all of them at once."""

    def __init__(self, directory, **files):
        self.directory, self.version = directory, 0
        directory.mkdir()
        self.write(**files)
        for name in files:
            (directory / name).symlink_to(f"..data/{name}")

    def write(self, **files):
        self.version += 1
        content = self.directory / f"..{self.version}"
        content.mkdir()
        for name, octets in files.items():
            (content / name).write_bytes(octets)
        new = self.directory / "..new"
        new.symlink_to(content.name)
        new.rename(self.directory / "..data")

    def __truediv__(self, name):
        return self.directory / name


def test_pins_of_a_rotated_secret_are_taken_up(start, upstream, tmp_path):
    secret = Secret(tmp_path / "secret", pins=OTHER_PIN.encode())
    program = start(upstream, up={"pin": "", "pin-file": secret / "pins"}, wait="serving")
    program.wait_log("removed from service")
    secret.write(pins=f"{OTHER_PIN}\n{upstream.certificate.pin}\n".encode())
    program.wait_ready()
    accepted_now = program.ask("after.test")
    assert right(accepted_now, "after.test")
    program.wait_log(r"level=warn .*only the last pin")


def test_the_authority_of_a_rotated_secret_is_taken_up(start, make_upstream, authority, tmp_path):
    renewed = Authority(tmp_path, "Test Root")
    server = make_upstream(authority.issue("dot.test"))
    secret = Secret(tmp_path / "secret", ca=authority.file.read_bytes())
    program = start(server, up={"pin": "", "auth": "ca", "ca-file": secret / "ca", "revalidate": REVALIDATE_S})
    assert right(program.ask("before.test"), "before.test")
    server.use_certificate(renewed.issue("dot.test"))
    program.wait_not_ready()
    secret.write(ca=renewed.file.read_bytes())
    program.wait_ready()
    assert right(program.ask("after.test"), "after.test")


def test_a_server_that_demands_a_client_certificate_is_served_before_and_after_a_rotation(
    start, make_upstream, authority, tmp_path, address
):
    """stunnel lets nobody through who shows no certificate of its authority, which is another one from some time on."""
    where, renewed = address(), Authority(tmp_path, "Renewed Root")
    plain, certificate = make_upstream(address=where), authority.issue("dot.test", where)
    first, second = authority.issue("node.test"), renewed.issue("node.test")
    secret = Secret(tmp_path / "secret", crt=first.chain_file.read_bytes(), key=first.key_file.read_bytes())
    plain.stop_listening()
    plain.context = None  # stunnel has its port
    plain.listen_again()
    target = f"{where}:{plain.plain_port}"
    mine = {"client-cert": secret / "crt", "client-key": secret / "key"}
    server = Stunnel(tmp_path, where, certificate, authority.file, target)
    try:
        config = {"pin": certificate.pin, "revalidate": REVALIDATE_S}
        program = start(plain, up={**config, **mine}, limits={"timeout": 1000})
        assert right(program.ask("first.test"), "first.test")
        assert run("check", "--online", "-c", program.file).returncode == 0
        server.stop()
        server = Stunnel(tmp_path, where, certificate, renewed.file, target)
        assert program.ask("between.test").rcode() == wire.SERVFAIL and not plain.asked("between.test")
        assert run("check", "--online", "-c", program.file).returncode == 1
        secret.write(crt=second.chain_file.read_bytes(), key=second.key_file.read_bytes())
        wait_until(lambda: program.ask("second.test").rcode() == wire.NOERROR, 15, "the new certificate to be shown")
        assert run("check", "--online", "-c", program.file).returncode == 0
        assert "certificate verify failed" in server.log() or "unknown ca" in server.log().lower()
    finally:
        server.stop()


# Warnings -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "days,line",
    [(13, r"level=warn .*within 14 days.*days_left=1[23]"), (2, r"level=error .*within 3 days.*days_left=[12]\b"), (30, None)],
)
def test_a_certificate_that_ends_soon_is_told_for_each_address(start, make_upstream, authority, days, line):
    certificate = authority.issue("dot.test", end=days * DAY)
    servers = [make_upstream(certificate), make_upstream(certificate)]
    program = start(*servers, up={"revalidate": REVALIDATE_S})
    program.wait_counter("revalidations_total", 2)  # behind the proofs of the worker's own connections
    ends = [row for row in program.log().splitlines() if "certificate expires" in row]
    assert len(ends) == (2 if line else 0)  # and not at each revalidation
    for server in servers if line else []:
        assert any(re.search(line, row) and f"address={server.address}:" in row for row in ends), ends


def test_the_state_of_the_pins_is_told(start, upstream):
    pin, another = upstream.certificate.pin, pin_of(new_key().public_key())
    texts = {"only one pin", "a backup does", "only the last pin"}
    for pins, told in (
        ([pin], "only one pin"),
        ([pin, OTHER_PIN], None),
        ([OTHER_PIN, pin, another], "a backup does"),
        ([OTHER_PIN, pin], "only the last pin"),
    ):
        program = start(upstream, up={"pin": pins})
        if told:
            program.wait_log(f"level=warn .*{told}")
        assert {text for text in texts if text in program.log()} == ({told} if told else set())
        program.stop()


# Resumption -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("only", [None, "tls12_only"])
def test_new_connections_resume_the_session(start, make_upstream, only):
    server = make_upstream(**({only: True} if only else {}))
    program = start(server)
    for i in range(12):
        assert right(program.ask(f"r{i}.test"), f"r{i}.test")
        server.close_connections("notify")
    used = [c for c in server.connections if c.queries]
    assert sum(c.resumed for c in used) >= 5
    assert program.counter("handshakes_resumed_total") >= 5


def test_a_ticket_is_used_once(start, upstream):
    program = start(upstream)
    for i in range(10):
        program.ask(f"t{i}.test")
        upstream.close_connections("notify")
    tickets = [ticket for c in list(upstream.connections) if (ticket := c.hello and c.offered_ticket())]
    assert len(tickets) >= 5 and len(set(tickets)) == len(tickets)


def test_no_query_is_early_data(start, upstream):
    """0-RTT could be replayed, and would be written before the server has said anything (RFC 8446 appendix E.5)."""
    program = start(upstream)
    for i in range(6):
        program.ask(f"t{i}.test")
        upstream.close_connections("notify")
    hellos = [c for c in list(upstream.connections) if c.hello and c.established]
    assert sum(c.resumed for c in hellos) >= 3
    assert not any(EARLY_DATA in c.extensions() for c in hellos)


def test_a_new_generation_proves_everything_itself(start, upstream):
    """The pins have changed: no ticket of the generation before, which was proved by other pins, is used."""
    program = start(upstream)
    program.ask("before.test")
    upstream.close_connections("notify")
    program.ask("resumed.test")
    assert any(c.resumed for c in upstream.connections)
    seen = len(upstream.connections)
    group = {**program.config["upstream up"], "pin": [upstream.certificate.pin, OTHER_PIN]}
    program.write_config({**program.config, "upstream up": group})
    wait_until(lambda: upstream.connections[seen:] and upstream.connections[seen].hello, 10, "the new generation's connection")
    assert upstream.connections[seen].offered_ticket() is None and not upstream.connections[seen].resumed
    assert right(program.ask("after.test"), "after.test")


def test_a_server_without_tickets_works(start, make_upstream):
    server = make_upstream(tickets=0)
    program = start(server)
    for i in range(5):
        assert right(program.ask(f"r{i}.test"), f"r{i}.test")
        server.close_connections("fin")


def test_a_resumed_session_does_not_outlive_its_proof(start, upstream, authority):
    """The server changes its certificate and goes on to resume old sessions. After the next full proof failed, none is used."""
    program = start(upstream, up={"revalidate": REVALIDATE_S})
    program.ask("before.test")
    upstream.use_certificate(authority.issue("dot.test"), keep_tickets=True)
    program.wait_not_ready(5 * REVALIDATE_S + 5)
    asked = len(upstream.queries)
    for i in range(5):
        assert program.ask(f"after{i}.test").rcode() == wire.SERVFAIL
        upstream.close_connections("notify")
    assert len(upstream.queries) == asked


# Revalidation -----------------------------------------------------------------------------------------------------------------


def test_each_address_is_proved_again_by_a_full_handshake(start, make_upstream, authority):
    certificate = authority.issue("dot.test")
    servers = [make_upstream(certificate), make_upstream(certificate)]
    program = start(*servers, up={"revalidate": REVALIDATE_S})
    before = [sum(not c.resumed for c in s.connections) for s in servers]
    for server, count in zip(servers, before):
        wait_until(lambda: sum(not c.resumed for c in server.connections) - count >= 2, 10, "two full handshakes")
    # Among these may be handshakes of the workers' own connections; the daemon counts those that were made to prove.
    wait_until(lambda: program.counter("revalidations_total") >= 4, 10, "two revalidations of each address")
    assert program.is_ready()


def test_a_swapped_certificate_takes_the_address_out_and_back_in(start, upstream, authority):
    program = start(upstream, up={"revalidate": REVALIDATE_S})
    program.ask("before.test")
    old = upstream.certificate
    upstream.use_certificate(authority.issue("dot.test"))
    program.wait_not_ready(REVALIDATE_S + 4)
    asked = len(upstream.queries)
    answer = program.ask("during.test", edns=True)
    assert answer.rcode() == wire.SERVFAIL and set(client.ede_codes(answer)) & {22, 23}
    assert right(program.ask("before.test"), "before.test")  # the cache is as good as ever
    assert len(upstream.queries) == asked
    wait_until(lambda: not [c for c in upstream.open_connections() if c.queries], 2, "the old connections to be closed")
    assert program.counter("identity_mismatches_total") >= 1
    program.wait_log(r"level=error .*removed from service")
    upstream.use_certificate(old)
    program.wait_ready(REVALIDATE_S + 6)
    assert right(program.ask("again.test"), "again.test")
    program.wait_log(r"level=info .*proved")


def test_a_mismatch_on_a_connection_of_a_worker_counts_for_all_at_once(start, upstream, authority):
    """No revalidation is due: one worker's connection is cut, it opens another and finds a stranger."""
    program = start(upstream, up={"revalidate": 3600}, server={"workers": 2}, limits={"timeout": 1000})
    wait_until(lambda: len(upstream.open_connections()) >= 2, 5, "a connection of each worker")
    upstream.use_certificate(authority.issue("dot.test"))
    cut, *others = upstream.open_connections()
    upstream.call(lambda: cut.close("rst"))
    names = client.distinct_names()

    def ask_until_noticed():  # from another port each time, so of either worker
        program.exchange(wire.query(next(names)), timeout=0.05)
        return "removed from service" in program.log()

    wait_until(ask_until_noticed, 10, "the mismatch")
    wait_until(lambda: not upstream.open_connections(), 2, "the other worker's connection to be closed")
    assert others
    program.wait_not_ready()
    asked = len(upstream.queries)
    assert program.ask("secret.test").rcode() == wire.SERVFAIL
    assert len(upstream.queries) == asked


def test_a_mismatch_of_one_address_loses_no_query_where_there_is_another(start, make_upstream, authority):
    certificate = authority.issue("dot.test")
    servers = [make_upstream(certificate), make_upstream(certificate)]
    program = start(*servers, up={"revalidate": REVALIDATE_S})
    for server in servers:
        server.default = behaviours.delay(0.03)
    with program.load(200) as load:
        time.sleep(1)
        servers[0].use_certificate(authority.issue("dot.test"))
        program.wait_log(r"removed from service", 10)
        time.sleep(0.3)
        asked = len(servers[0].queries)
        time.sleep(1.5)
        assert len(servers[0].queries) == asked
    assert not load.lost and not load.wrong
    assert program.is_ready()


def test_a_certificate_that_expires_in_use_is_noticed(start, make_upstream, authority, ca):
    server = make_upstream(authority.issue("dot.test", end=datetime.timedelta(seconds=6)))
    program = start(server, up={**ca, "pin": "", "revalidate": REVALIDATE_S})
    assert right(program.ask("a.test"), "a.test")
    program.wait_not_ready(15)
    program.wait_log(r"level=error .*removed from service")


def test_an_unreachable_server_is_no_mismatch_at_revalidation(start, upstream):
    program = start(upstream, up={"revalidate": REVALIDATE_S})
    upstream.mode = "stall-accept"
    time.sleep(3 * REVALIDATE_S)
    assert program.counter("identity_mismatches_total") == 0
    upstream.mode = "serve"
    upstream.close_connections("rst")
    program.wait_ready(10)


def test_without_revalidation_due_no_handshake_is_made(start, upstream):
    start(upstream, up={"revalidate": 3600})
    count = len(upstream.connections)
    stays(lambda: len(upstream.connections) == count, 2, "the number of connections")

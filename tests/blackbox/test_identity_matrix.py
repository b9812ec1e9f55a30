"""Each certificate that a server may show, in each `auth` mode. The group's name is always dot.test.

    what the server shows                   pin             ca              pin+ca          pin of the CA
    --------------------------------------  --------------  --------------  --------------  --------------
    the right certificate                   used            used            used            used
    one for another name                    taken out       taken out       taken out       taken out
    one without any name (common name only) taken out       taken out       taken out       taken out
    an expired one                          used, warned    taken out       taken out       taken out
    one that is not valid yet               used, warned    taken out       taken out       taken out
    one of another key, of the right CA     taken out       used            taken out       taken out
    the right CA's, but the pin is no key's taken out       used            taken out       taken out
    a self-signed one, with the right pin   used            taken out       taken out       taken out
    the right one over TLS 1.2 alone        used            used            used            used
    the right one, then a renegotiation     not followed    not followed    not followed    not followed
    the right one without its key           no handshake    no handshake    no handshake    no handshake
    the right one in a chain of 1 MB        no handshake    no handshake    no handshake    no handshake

The last column has auth = pin. "Taken out": an identity mismatch (not valid yet: the node's clock is named instead), and
not one octet of a query was written. "No handshake": the same for the queries, but nothing was proved either way, so the
address counts as unreachable. A server and a group for each field; one program for each
mode has them all.
"""

import base64
import datetime
import re
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization

from harness import client, wire
from harness.certificates import Certificate, new_key, pin_of, self_signed
from harness.fake import DOT_PORT, FakeServer
from harness.program import DNS_PORT, Nodedot
from harness.waiting import wait_until

pytestmark = pytest.mark.xdist_group("identity-matrix")  # the servers and programs are made once

DAY = datetime.timedelta(days=1)
OTHER_PIN = "sha256/" + "A" * 43 + "="
CA_PIN = "ca-pin"  # auth = pin, with the pin of the intermediate CA that signed the leaf
MODES = ("pin", "ca", "pin+ca", CA_PIN)
BULK_CERTIFICATES, BULK_NAMES = 400, 110  # about 2.5 KB each

USED, WARNED, NOT_FOLLOWED = "used", "warned", "not followed"
NO_HANDSHAKE = "no handshake"
NAME, NO_PIN, NO_CA = "does not contain the name", "no pin matches", "leads to no trusted CA"
EXPIRED, EARLY = "has expired", "is not valid yet"

# What becomes of it in each mode; where it is taken out, the reason that is logged.
MATRIX = {
    "right": (USED, USED, USED, USED),
    "wrong-name": (NAME, NAME, NAME, NAME),
    "no-san": (NAME, NAME, NAME, NAME),
    "expired": (WARNED, EXPIRED, EXPIRED, EXPIRED),
    "not-yet-valid": (WARNED, EARLY, EARLY, EARLY),
    "other-key": (NO_PIN, USED, NO_PIN, NO_PIN),
    "right-ca-wrong-pin": (NO_PIN, USED, NO_PIN, NO_PIN),
    "self-signed-right-pin": (USED, NO_CA, NO_CA, NO_PIN),
    "tls12-only": (USED, USED, USED, USED),
    "renegotiation": (NOT_FOLLOWED, NOT_FOLLOWED, NOT_FOLLOWED, NOT_FOLLOWED),
    "key-of-somebody-else": (NO_HANDSHAKE, NO_HANDSHAKE, NO_HANDSHAKE, NO_HANDSHAKE),
    "huge-chain": (NO_HANDSHAKE, NO_HANDSHAKE, NO_HANDSHAKE, NO_HANDSHAKE),
}


class Renegotiator:
    """openssl s_server with TLS 1.2, which asks for a renegotiation when told to. It answers no query."""

    def __init__(self, address, certificate, directory):
        self.address, self.log_file = address, directory / f"{address}.log"
        command = ["openssl", "s_server", "-accept", f"{address}:{DOT_PORT}", "-tls1_2", "-msg"]
        command += ["-cert", certificate.chain_file, "-cert_chain", certificate.chain_file, "-key", certificate.key_file]
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        wait_until(lambda: "ACCEPT" in self.log(), 10, "openssl s_server")

    def log(self):
        return self.log_file.read_text(errors="replace")

    def renegotiate(self):
        self.process.stdin.write(b"r\n")
        self.process.stdin.flush()

    def stop(self):
        self.process.terminate()
        self.process.wait(5)
        self.process.stdin.close()


def with_foreign_key(certificate, directory):
    """The certificate with a private key that is not its own, though the file says so: what a thief of certificates has."""
    plain = (serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    der, other = bytearray(certificate.key.private_bytes(*plain)), new_key().private_bytes(*plain)
    assert der[5:7] == other[5:7] == b"\x04\x20"  # ECPrivateKey of RFC 5915: version, then the private key
    der[7:39] = other[7:39]
    stolen = Certificate(directory, certificate.key, certificate.certificate, [])
    text = base64.encodebytes(bytes(der)).decode()
    stolen.key_file.write_text(f"-----BEGIN EC PRIVATE KEY-----\n{text}-----END EC PRIVATE KEY-----\n")
    return stolen


def shown(authority, directory, mode):
    """What each server shows: its certificate, and the pin of the configuration."""
    if mode == CA_PIN:
        authority = authority.intermediate("Pinned")
    right = authority.issue("dot.test")
    alone = self_signed(directory, "dot.test")
    bulk = authority.issue(*(f"host-{i}.example" for i in range(BULK_NAMES))).certificate
    certificates = {
        "wrong-name": authority.issue("other.test"),
        "no-san": authority.issue(common_name="dot.test"),
        "expired": authority.issue("dot.test", start=-3 * DAY, end=-DAY),
        "not-yet-valid": authority.issue("dot.test", start=DAY, end=3 * DAY),
        "self-signed-right-pin": alone,
        "key-of-somebody-else": with_foreign_key(right, directory),
        "huge-chain": authority.issue("dot.test", surplus=[bulk] * BULK_CERTIFICATES),
    }
    assert certificates["huge-chain"].chain_file.stat().st_size > 1_000_000
    pins = {"other-key": pin_of(new_key().public_key()), "right-ca-wrong-pin": OTHER_PIN}
    return {
        case: (
            certificates.get(case, right),
            pins.get(case, authority.pin if mode == CA_PIN else certificates.get(case, right).pin),
        )
        for case in MATRIX
    }


class Field:
    """The servers of one mode, by case, and the program that knows them."""

    def __init__(self, mode, network, authority, directory):
        self.servers = {}
        address = network.address()
        config = {"server": {"listen": f"{address}:{DNS_PORT}", "workers": 1}, "cache": {"size": "4M"}}
        config["limits"] = {"timeout": 1000, "stale-after": 0}
        for case, (certificate, pin) in shown(authority, directory, mode).items():
            where = network.address()
            if case == "renegotiation":
                self.servers[case] = Renegotiator(where, certificate, directory)
            else:
                self.servers[case] = FakeServer(where, certificate, tls12_only=case == "tls12-only")
            keys = {"address": f"{where}:{DOT_PORT}", "name": "dot.test", "auth": "pin" if mode == CA_PIN else mode, "ca-file": authority.file}
            config[f"upstream {case}"] = {**keys, "pin": pin}
            config[f"zone {case}.test"] = {"upstream": case}
        self.program = Nodedot(directory, address, config)
        self.program.start("serving")

    def stop(self):
        try:
            self.program.stop()
        finally:
            self.program.kill()
            for server in self.servers.values():
                server.stop()

    def wait_log(self, case, pattern):
        return self.program.wait_log(rf"(?m)^.*\bupstream={case} .*{pattern}.*$|^.*{pattern}.*\bupstream={case} .*$")


@pytest.fixture(scope="module")
def fields(network, authority, tmp_path_factory):
    made = {}

    def field(mode):
        if mode not in made:
            made[mode] = Field(mode, network, authority, tmp_path_factory.mktemp("mode"))
        return made[mode]

    yield field
    for one in made.values():
        one.stop()


def check_used(field, case):
    answer = field.program.ask(f"a.{case}.test")
    assert client.addresses(answer) == [wire.address_of(f"a.{case}.test")]
    assert len(field.servers[case].asked(f"a.{case}.test")) == 1


def check_not_asked(field, case):
    answer = field.program.ask(f"secret.{case}.test", edns=True)
    assert answer.rcode() == wire.SERVFAIL and set(client.ede_codes(answer)) & {22, 23}
    server = field.servers[case]
    wait_until(lambda: server.connections, 5, "the handshake to be tried")
    assert not server.queries and all(c.application_octets == 0 for c in server.connections)


def check_no_renegotiation(field, case):
    server = field.servers[case]
    field.program.exchange(wire.query("now.renegotiation.test"), timeout=0.05)
    wait_until(lambda: "renegotiation\4test" in server.log(), 5, "a query on a connection that is open")
    server.renegotiate()
    wait_until(lambda: "no_renegotiation" in server.log(), 5, "the request to be turned down")
    told = server.log().index("no_renegotiation")
    assert "HelloRequest" in server.log()[:told]
    assert "ClientHello" not in server.log()[server.log().index("HelloRequest") : told]
    field.wait_log(case, "proved its identity")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", MATRIX)
def test_certificate_and_mode(fields, case, mode):
    field, expected = fields(mode), MATRIX[case][MODES.index(mode)]
    cause = "this node's clock is before the dates of its certificate" if expected == EARLY else "identity mismatch"
    mismatch = rf"upstream address removed from service: {cause}\" upstream={case} "
    if expected in (USED, WARNED):
        check_used(field, case)
        assert not re.search(mismatch, field.program.log())
        warned = f'accepted because of its pin" upstream={case} '
        assert (warned in field.program.log()) == (expected == WARNED)
    elif expected == NOT_FOLLOWED:
        check_no_renegotiation(field, case)
    else:
        check_not_asked(field, case)
        if expected == NO_HANDSHAKE:
            field.wait_log(case, "address is unreachable")
            assert not re.search(mismatch, field.program.log())
        else:
            reason = field.program.wait_log(rf"level=error .*{mismatch}.*reason=(.*)")[1]
            assert expected in reason
    assert field.program.is_alive()


def test_the_table_above_says_what_is_tested():
    rows = [line for line in __doc__.splitlines() if re.search(r"  (used|taken out|no handshake|not followed)", line)]
    words = {USED: "used", WARNED: "used, warned", NOT_FOLLOWED: "not followed", NO_HANDSHAKE: "no handshake"}
    expected = sorted(tuple(words.get(field, "taken out") for field in row) for row in MATRIX.values())
    assert sorted(tuple(re.split(r"\s{2,}", row[44:].strip())) for row in rows) == expected

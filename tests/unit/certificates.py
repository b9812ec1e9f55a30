#!/usr/bin/env python3
"""Makes the certificates and keys that test_identity.c and test_certificate.c need, in the folder given as argument."""

import base64
import datetime
import ipaddress
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0, tzinfo=None)
FOLDER = Path(sys.argv[1])


def subject(common_name):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


class Identity:
    """A certificate with its key, signed by issuer (None: by itself)."""

    def __init__(self, name, issuer=None, key=None, ca=False, path_length=None, sans=(), start=-30, end=300,
                 may_sign=True, server=True, client=False, limits=None, extra=None, issuer_key=None, hash_with=None,
                 common_name=None, nameless=False):
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([]) if nameless else subject(common_name or name)
        signer = issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + start * DAY)
            .not_valid_after(NOW + end * DAY)
            .add_extension(x509.BasicConstraints(ca, path_length), True)
        )
        usage = dict.fromkeys(
            "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign "
            "crl_sign encipher_only decipher_only".split(), False)
        usage["key_cert_sign" if ca and may_sign else "digital_signature"] = True
        builder = builder.add_extension(x509.KeyUsage(**usage), True)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] * server + [ExtendedKeyUsageOID.CLIENT_AUTH] * client
        if usages and not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), False)
        if limits:
            builder = builder.add_extension(limits, True)
        if extra:
            builder = builder.add_extension(extra, True)
        signing_key = issuer_key or signer.key
        algorithm = None if isinstance(signing_key, ed25519.Ed25519PrivateKey) else hash_with or hashes.SHA256()
        self.certificate = builder.sign(signing_key, algorithm)

    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self):
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
                                      if not isinstance(self.key, ed25519.Ed25519PrivateKey)
                                      else serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def write(name, *identities):
    """The chain of the identities as NAME.pem, all but the first as NAME.rest, and the key of the first as NAME.key."""
    (FOLDER / f"{name}.pem").write_bytes(b"".join(i.pem() for i in identities))
    (FOLDER / f"{name}.rest").write_bytes(b"".join(i.pem() for i in identities[1:]))
    (FOLDER / f"{name}.key").write_bytes(identities[0].key_pem())


def dns(*names):
    return [x509.DNSName(n) for n in names]


def run(arguments):
    subprocess.run(["openssl", *arguments.split()], cwd=FOLDER, check=True, stderr=subprocess.DEVNULL)


def stolen(victim):
    """A key file with victim's public key and another private one: what somebody has who shows a certificate not his own."""
    der = bytearray(victim.key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL,
                                             serialization.NoEncryption()))
    other = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")
    assert der[5:7] == b"\x04\x20"  # ECPrivateKey of RFC 5915: version, then the private key
    der[7:39] = other
    return b"-----BEGIN EC PRIVATE KEY-----\n" + base64.encodebytes(bytes(der)) + b"-----END EC PRIVATE KEY-----\n"


def main():
    names = dns("dns.example", "*.wild.example", "*.example") + [
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
    ]
    root = Identity("Root", ca=True)
    other_root = Identity("Other Root", ca=True)
    middle = Identity("Middle", root, ca=True, path_length=0)
    leaf = Identity("leaf", middle, sans=names)
    write("root", root)
    write("other-root", other_root)
    write("roots", other_root, root)
    write("leaf", leaf, middle)
    write("full", leaf, middle, root)
    write("shuffled", leaf, other_root, root, middle)
    write("alone", leaf)
    write("stolen", leaf, middle)
    (FOLDER / "stolen.key").write_bytes(stolen(leaf))
    (FOLDER / "mixed.pem").write_bytes(b"a comment\n" + root.pem() + b"-----BEGIN CERTIFICATE-----\nAAAA\n"
                                       b"-----END CERTIFICATE-----\n" + other_root.pem())
    (FOLDER / "empty.pem").write_bytes(b"nothing here\n")

    rsa_root = Identity("RSA Root", ca=True, key=rsa.generate_private_key(65537, 2048))
    write("rsa", Identity("rsa", rsa_root, key=rsa.generate_private_key(65537, 2048), sans=names), rsa_root)
    ed_root = Identity("Ed Root", ca=True, key=ed25519.Ed25519PrivateKey.generate())
    write("ed25519-leaf", Identity("ed", root, key=ed25519.Ed25519PrivateKey.generate(), sans=names), root)
    write("ed25519", Identity("ed", ed_root, key=ed25519.Ed25519PrivateKey.generate(), sans=names), ed_root)
    p384_root = Identity("P-384 Root", ca=True, key=ec.generate_private_key(ec.SECP384R1()))
    write("p384", Identity("p384", p384_root, key=ec.generate_private_key(ec.SECP384R1()), sans=names,
                           hash_with=hashes.SHA384()), p384_root)
    p521_root = Identity("P-521 Root", ca=True, key=ec.generate_private_key(ec.SECP521R1()))
    write("p521", Identity("p521", p521_root, key=ec.generate_private_key(ec.SECP521R1()), sans=names,
                           hash_with=hashes.SHA512()), p521_root)
    weak_root = Identity("Weak Root", ca=True, key=rsa.generate_private_key(65537, 1024))
    write("weak-root", weak_root)
    write("weak", Identity("weak", weak_root, sans=names), weak_root)
    write("rsa-root", rsa_root)
    run("req -new -newkey rsa:2048 -nodes -subj /CN=sha1 -keyout sha1.key -out sha1.req")
    (FOLDER / "sha1.ext").write_text("subjectAltName = DNS:dns.example\n")
    run("x509 -req -sha1 -in sha1.req -CA rsa-root.pem -CAkey rsa-root.key -out sha1.leaf -days 9 -extfile sha1.ext")
    (FOLDER / "sha1.rest").write_bytes(rsa_root.pem())
    (FOLDER / "sha1.pem").write_bytes((FOLDER / "sha1.leaf").read_bytes() + rsa_root.pem())

    # Dates, names, usage.
    write("expired", Identity("expired", middle, sans=names, start=-60, end=-1), middle)
    write("future", Identity("future", middle, sans=names, start=1, end=60), middle)
    old_middle = Identity("Old Middle", root, ca=True, start=-60, end=-1)
    write("old-middle", Identity("old", old_middle, sans=names), old_middle)
    short_middle = Identity("Short Middle", root, ca=True, end=9)
    write("short-middle", Identity("short", short_middle, sans=names), short_middle)
    write("weak-leaf", Identity("weak leaf", middle, key=rsa.generate_private_key(65537, 1024), sans=names), middle)
    write("no-san", Identity("dns.example", middle), middle)
    write("nul", Identity("nul", middle, sans=dns("dns.example\x00.evil.example", "dns.exampl\x00")), middle)
    write("client", Identity("client", middle, sans=names, server=False, client=True), middle)
    self_signed = Identity("self", sans=names)
    write("self", self_signed)
    nameless = Identity("nameless", sans=names + dns(*(f"host-{i}.example" for i in range(110))), nameless=True)
    write("nameless", nameless, middle, root)
    write("large", Identity("large", middle, sans=names + dns(*(f"host-{i}.example" for i in range(110)))), middle)

    # Chains that do not hold.
    no_ca = Identity("No CA", root)
    write("no-ca", Identity("below", no_ca, sans=names), no_ca)
    no_sign = Identity("No Sign", root, ca=True, may_sign=False)
    write("usage", Identity("usage", no_sign, sans=names), no_sign)
    lower = Identity("Lower", middle, ca=True)
    write("too-deep", Identity("deep", lower, sans=names), lower, middle)
    fake_middle = Identity("Middle", root, ca=True, common_name="Middle")
    write("forged", Identity("forged", fake_middle, sans=names, issuer_key=ec.generate_private_key(ec.SECP256R1())), middle,
          root)
    write("stranger", Identity("stranger", sans=names), middle, root)
    critical = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    write("critical", Identity("critical", middle, sans=names, extra=critical), middle)
    allow = x509.NameConstraints([x509.DNSName("example"), x509.IPAddress(ipaddress.ip_network("127.0.0.0/8"))], None)
    limited = Identity("Limited", root, ca=True, limits=allow)
    write("limited-good", Identity("g", limited, sans=dns("dns.example") + names[3:4]), limited)
    write("limited-name", Identity("n", limited, sans=dns("dns.example", "dns.other")), limited)
    write("limited-address", Identity("a", limited, sans=dns("dns.example") + names[4:]), limited)
    deny = x509.NameConstraints(None, [x509.DNSName("www.wild.example")])
    denied = Identity("Denied", root, ca=True, limits=deny)
    write("denied-wildcard", Identity("w", denied, sans=dns("*.wild.example")), denied)
    write("denied-good", Identity("w", denied, sans=dns("dns.example")), denied)
    directory = x509.NameConstraints([x509.DirectoryName(subject("x"))], None)
    write("directory", Identity("d", d := Identity("Directory", root, ca=True, limits=directory), sans=names), d)

    # Long chains: ten certificates are looked at, eleven are not.
    for count in (9, 10, 11):
        chain = [Identity("Long Root", ca=True)]
        while len(chain) < count:
            chain.insert(0, Identity(f"long {len(chain)}", chain[0], ca=len(chain) < count - 1, sans=names))
        write(f"long-{count}", *chain)
    # CAs that all sign each other: a search that tries every way would not end for a long time.
    key = ec.generate_private_key(ec.SECP256R1())
    twins = [Identity("Twin", ca=True, key=key) for _ in range(7)]
    write("maze", Identity("maze", twins[0], sans=names), *twins)
    bulk = Identity("bulk", middle, sans=names + dns(*(f"host-{i}.example" for i in range(110))))
    write("bulk", *[bulk] * 400)  # about a megabyte
    write("mutual", Identity("mutual", middle, client=True), middle)


main()

"""Certificate authorities, certificates and their pins, made fresh for every run."""

import base64
import datetime
import hashlib
import ipaddress
import itertools

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
_serial = itertools.count(1)


def now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


def new_key(kind="ec"):
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def pin_of(public_key):
    """sha256/BASE64 of the SubjectPublicKeyInfo (RFC 7858 section 4.2)."""
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "sha256/" + base64.b64encode(hashlib.sha256(der).digest()).decode()


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative_names(names):
    entries = []
    for name in names:
        try:
            entries.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            entries.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(entries)


class Certificate:
    """A leaf certificate with its key and chain in files."""

    def __init__(self, directory, key, certificate, chain):
        number = next(_serial)
        self.key = key
        self.certificate = certificate
        self.pin = pin_of(certificate.public_key())
        self.chain_file = directory / f"{number}.pem"
        self.key_file = directory / f"{number}.key"
        self.chain_file.write_bytes(b"".join(pem(c) for c in [certificate] + chain))
        self.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


class Authority:
    """A certificate authority: a root, or, with an issuer, an intermediate one."""

    def __init__(self, directory, name, issuer=None, path_length=None):
        self.directory = directory
        self.key = new_key()
        self.issuer = issuer
        signer = issuer or self
        self.name = _name(name)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() - DAY)
            .not_valid_after(now() + 365 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(signer.key, hashes.SHA256())
        )
        self.pin = pin_of(self.key.public_key())
        self.file = directory / f"ca-{next(_serial)}.pem"
        self.file.write_bytes(pem(self.certificate))

    def chain(self):
        """This authority and those above it, the root left out."""
        return [self.certificate] + self.issuer.chain() if self.issuer else []

    def intermediate(self, name):
        return Authority(self.directory, name, issuer=self)

    def issue(self, *names, key=None, start=-DAY, end=30 * DAY, send_root=False, surplus=(), common_name="server",
              only_clients=False):
        """A leaf certificate for DNS names and IP addresses, valid from now + start to now + end."""
        key = key or new_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() + start)
            .not_valid_after(now() + end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(_alternative_names(names), critical=False)
        if only_clients:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        chain = self.chain()
        if send_root:
            chain = chain + [self.root().certificate]
        return Certificate(self.directory, key, builder.sign(self.key, hashes.SHA256()), chain + list(surplus))

    def root(self):
        return self.issuer.root() if self.issuer else self


def self_signed(directory, *names, start=-DAY, end=30 * DAY):
    key = new_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name("self"))
        .issuer_name(_name("self"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() + start)
        .not_valid_after(now() + end)
    )
    if names:
        builder = builder.add_extension(_alternative_names(names), critical=False)
    return Certificate(directory, key, builder.sign(key, hashes.SHA256()), [])

"""A DNS-over-TLS server in the cluster that plays the public resolver: an Unbound, with a certificate made
here. It answers NAME.example.test with 192.0.2.1, 2001:db8::1 and a text, and logs every query."""

import base64
import datetime
import hashlib
import os
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from . import kube

NAME = "dns.example.test"

IMAGE = os.environ.get("UPSTREAM_IMAGE", "localhost/unbound:test")

UNBOUND = """
server:
    do-daemonize: no
    use-syslog: no
    logfile: ""
    pidfile: ""
    chroot: ""
    directory: "/"
    username: ""
    num-threads: 1
    module-config: "iterator"
    access-control: 0.0.0.0/0 allow
    access-control: ::/0 allow
    interface: 0.0.0.0@853
    tls-port: 853
    tls-service-key: /tls/tls.key
    tls-service-pem: /tls/tls.crt
    log-queries: yes
    local-zone: "." static
    local-zone: "example.test." redirect
    local-data: "example.test. 60 IN A 192.0.2.1"
    local-data: "example.test. 60 IN AAAA 2001:db8::1"
    local-data: 'example.test. 60 IN TXT "outside"'
remote-control:
    control-enable: no
"""


class Certificate:
    def __init__(self):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
        now = datetime.datetime.utcnow()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.pin = pin_of(key.public_key())


def pin_of(public_key):
    info = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "sha256/" + base64.b64encode(hashlib.sha256(info).digest()).decode()


def unused_pin():
    """A pin that no certificate has."""
    return pin_of(ec.generate_private_key(ec.SECP256R1()).public_key())


class Upstream:
    def __init__(self, namespace):
        self.namespace = namespace
        self.certificate = Certificate()
        self.pins = [self.certificate.pin, unused_pin()]
        labels = {"app": "upstream"}
        container = {
            "name": "upstream",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "args": ["-c", "/unbound/unbound.conf"],
            "volumeMounts": [
                {"name": "config", "mountPath": "/unbound"},
                {"name": "tls", "mountPath": "/tls"},
            ],
            "readinessProbe": {"tcpSocket": {"port": 853}, "periodSeconds": 1},
        }
        pod = {
            "dnsPolicy": "Default",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [
                {"name": "config", "configMap": {"name": "upstream"}},
                {"name": "tls", "secret": {"secretName": "upstream"}},
            ],
        }
        place = {"name": "upstream", "namespace": namespace}
        kube.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "data": {"unbound.conf": UNBOUND}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": place,
                "stringData": {"tls.crt": self.certificate.pem.decode(), "tls.key": self.certificate.key.decode()},
            },
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": place,
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": place,
                "spec": {"selector": labels, "ports": [{"port": 853}]},
            },
        )
        kube.kubectl("-n", namespace, "rollout", "status", "deployment/upstream", "--timeout=30s")
        self.address = kube.get("service", "upstream", "-n", namespace)["spec"]["clusterIP"]

    def config(self, pins=None):
        """Sections that send every public name here."""
        upstream = {"address": self.address, "name": NAME, "pin": pins or self.pins, "revalidate": 5}
        return {"upstream public": upstream, "zone .": {"upstream": "public"}}

    def config_without_pins(self):
        """The same, for pins that come from a file."""
        config = self.config()
        del config["upstream public"]["pin"]
        return config

    def write_secret(self, name, namespace):
        """A Secret with the pins, and a certificate to present with its key."""
        data = {
            "pins": "".join(f"{pin}\n" for pin in self.pins),
            "tls.crt": self.certificate.pem.decode(),
            "tls.key": self.certificate.key.decode(),
        }
        place = {"name": name, "namespace": namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
        kube.apply({**secret, "metadata": place, "stringData": data})

    def asked(self):
        """The queries that came, as "NAME TYPE" lines."""
        log = kube.kubectl("-n", self.namespace, "logs", "deployment/upstream", "--tail=-1")
        return re.findall(r"info: \S+ (\S+ \S+) IN", log)

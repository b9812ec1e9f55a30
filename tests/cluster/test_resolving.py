"""Pods resolve through the address of their node."""

import os

import pytest

from conftest import ADDRESS, ADDRESS_V6
from harness import kube, pods
from harness.pods import fresh

API = f"kubernetes.default.svc.{pods.DOMAIN}"


@pytest.fixture(scope="module")
def api_address():
    return kube.get("service", "kubernetes", "-n", "default")["spec"]["clusterIP"]


def test_the_daemon_is_available_on_every_node(release, nodes):
    status = release.daemonset()["status"]
    assert status["numberAvailable"] == status["desiredNumberScheduled"] == len(nodes)
    assert sorted(release.pods()) == nodes


@pytest.mark.parametrize("port", [9551, 9552])
def test_a_probe_port_answers_on_the_link_local_address(release, agent, port):
    assert agent.connects(ADDRESS, port)


@pytest.mark.parametrize("port", [9551, 9552, 53])
def test_no_port_is_open_on_the_address_of_the_node(release, agent, node, port):
    own = release.pod(node)["status"]["podIP"]
    assert not agent.connects(own, port)


def test_the_kubelet_probes_the_link_local_address(release, node):
    container = release.pod(node)["spec"]["containers"][0]
    assert [container[probe]["tcpSocket"] for probe in ("livenessProbe", "readinessProbe")] == [
        {"host": ADDRESS, "port": 9551},
        {"host": ADDRESS, "port": 9552},
    ]
    assert release.restarts(node) == 0


def test_a_service_of_the_cluster_is_found(client, api_address):
    assert client.answers(API) == [api_address]


def test_a_service_of_the_cluster_is_found_over_tcp(client, api_address):
    assert client.answers(API, "A", "+tcp") == [api_address]


def test_a_headless_service_gives_the_addresses_of_its_pods(client, headless):
    name, address = headless
    assert kube.until(15, lambda: client.answers(name) == [address])


def test_a_headless_service_gives_srv_records(client, headless):
    name, address = headless
    target = f"{address.replace('.', '-')}.{name}."
    assert kube.until(15, lambda: client.answers(f"_web._tcp.{name}", "SRV") == [f"0 100 80 {target}"])


def test_the_address_of_a_service_has_a_ptr_record(client, api_address):
    name = ".".join(reversed(api_address.split("."))) + ".in-addr.arpa"
    assert client.answers(name, "PTR") == [f"{API}."]


def test_a_name_that_the_cluster_does_not_have_is_denied(client):
    assert client.answers(f"nosuch.default.svc.{pods.DOMAIN}") == "NXDOMAIN"


@pytest.mark.parametrize("kind, data", [("A", "192.0.2.1"), ("AAAA", "2001:db8::1"), ("TXT", '"outside"')])
def test_a_public_name_comes_over_the_pinned_upstream(client, upstream, kind, data):
    name = fresh()
    assert client.answers(name, kind) == [data]
    assert f"{name}. {kind}" in upstream.asked()


def test_a_cluster_name_is_never_asked_of_the_public_upstream(client, upstream):
    name = fresh(f"default.svc.{pods.DOMAIN}")
    assert client.answers(name) == "NXDOMAIN"
    assert not [line for line in upstream.asked() if name in line]


def test_the_unique_local_address_answers_in_the_network_of_the_node(agent, release, api_address):
    assert agent.answers(API, "A", f"@{ADDRESS_V6}") == [api_address]
    assert agent.answers(API, "A", f"@{ADDRESS_V6}", "+tcp") == [api_address]


def test_glibc_finds_a_short_name_by_the_search_path(client, api_address):
    assert client("getent", "ahostsv4", "kubernetes.default").split()[0] == api_address


def test_glibc_finds_both_families_of_a_public_name(client):
    found = client("getent", "ahosts", "www.example.test")
    assert "192.0.2.1" in found and "2001:db8::1" in found


@pytest.fixture(scope="module")
def lookup_musl(client):
    program = os.environ.get("LOOKUP_MUSL")
    if not program:
        pytest.skip("no program linked with musl: LOOKUP_MUSL is not set")
    with open(program, "rb") as file:
        client("sh", "-c", "cat >/tmp/lookup && chmod 755 /tmp/lookup", stdin=file.read())
    return lambda name: client("/tmp/lookup", name).split()


def test_musl_finds_a_short_name_by_the_search_path(lookup_musl, api_address):
    assert api_address in lookup_musl("kubernetes.default")


def test_musl_finds_both_families_of_a_public_name(lookup_musl):
    assert {"192.0.2.1", "2001:db8::1"} <= set(lookup_musl("www.example.test"))


def test_a_pod_with_the_kubelets_dns_resolves_through_the_daemon(plain_client, release, node, api_address):
    if f"nameserver {ADDRESS}" not in plain_client("cat", "/etc/resolv.conf"):
        pytest.skip("the kubelet's clusterDNS is another address")
    before = release.counter(node, "queries_udp_total")
    assert plain_client("getent", "ahostsv4", "kubernetes.default").split()[0] == api_address
    assert "192.0.2.1" in plain_client("getent", "ahostsv4", "plain.example.test")
    assert release.counter(node, "queries_udp_total") > before


def test_the_pods_of_every_node_are_answered_on_their_own_node(clients, release):
    for asking, client in clients.items():
        before = {node: release.counter(node, "queries_udp_total") for node in clients}
        for _ in range(5):
            client.answers(API)
        after = {node: release.counter(node, "queries_udp_total") for node in clients}
        assert {node: after[node] - before[node] >= 5 for node in clients} == {node: node == asking for node in clients}


def test_helm_test_passes(release):
    assert "Phase:          Succeeded" in kube.helm("test", release.name, "-n", release.namespace, "--timeout", "60s")

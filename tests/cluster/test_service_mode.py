"""mode: service, in a namespace that enforces the restricted Pod Security Standard."""

import os

import pytest

from conftest import end_namespace, make_namespace, more_values
from harness import kube, pods
from harness.pods import fresh
from harness.release import Release, merged

NAMESPACE = "nodedot-restricted"
API = f"kubernetes.default.svc.{pods.DOMAIN}"


@pytest.fixture(scope="module")
def service(image, upstream):
    end_namespace(NAMESPACE)
    make_namespace(NAMESPACE, {"pod-security.kubernetes.io/enforce": "restricted"})
    # Files of a Secret must be readable for a user without any privilege.
    upstream.write_secret("own-files", NAMESPACE)
    files = {"pins": {"secret": "own-files", "key": "pins"}, "clientCertificate": {"secret": "own-files"}}
    values = {"mode": "service", "config": upstream.config_without_pins(), "upstreamFiles": {"public": files}}
    release = Release("nodedot", NAMESPACE, merged(values, more_values()))
    release.install()
    release.wait_ready()
    yield release
    release.uninstall()
    end_namespace(NAMESPACE)


@pytest.fixture(scope="module")
def address(service):
    return kube.get("service", "nodedot", "-n", NAMESPACE)["spec"]["clusterIP"]


@pytest.fixture(scope="module")
def service_clients(namespace, nodes, address):
    dns = pods.resolver(address, namespace)
    pods.start(*(pods.manifest(namespace, f"service-client-{name}", name, **dns) for name in nodes))
    return {name: pods.Pod(namespace, f"service-client-{name}") for name in nodes}


def test_pods_resolve_through_the_address_of_the_service(service_clients):
    for client in service_clients.values():
        assert client.answers(API)[0].count(".") == 3
        assert client.answers(API, "A", "+tcp")[0].count(".") == 3
        assert client.answers(fresh()) == ["192.0.2.1"]
        assert client("getent", "ahostsv4", "kubernetes.default")


def test_pods_are_answered_on_their_own_node(service_clients, service):
    for asking, client in service_clients.items():
        before = {node: service.counter(node, "queries_udp_total") for node in service_clients}
        for _ in range(5):
            client.answers(API)
        after = {node: service.counter(node, "queries_udp_total") for node in service_clients}
        assert {n: after[n] - before[n] >= 5 for n in before} == {n: n == asking for n in before}


def test_both_processes_have_no_privilege_at_all(service, agent, node):
    found = agent.processes(service.container(node))
    assert len(found) == 2
    for status in found.values():
        for which in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"):
            assert int(status[which][0], 16) == 0
        assert status["Uid"] == status["Gid"] == ["65532"] * 4
        assert status["Seccomp"] == ["2"]
        assert status["NoNewPrivs"] == ["1"]


def test_the_pods_are_not_in_the_network_of_the_node(service, node):
    pod = service.pod(node)
    assert pod["status"]["podIP"] != pod["status"]["hostIP"]


def test_an_update_has_the_new_pod_ready_before_the_old_one_goes(service, nodes):
    before = {name: pod["metadata"]["uid"] for name, pod in service.pods().items()}
    service.upgrade(podAnnotations={"update": os.urandom(4).hex()})
    unavailable = []

    def updated():
        status = service.daemonset()["status"]
        unavailable.append(status.get("numberUnavailable", 0))
        return status.get("updatedNumberScheduled") == len(nodes) and status.get("numberAvailable") == len(nodes)

    kube.until(90, updated)
    assert max(unavailable) == 0
    after = {name: pod["metadata"]["uid"] for name, pod in service.pods().items()}
    assert not set(before.values()) & set(after.values())


def test_helm_test_passes(service):
    assert "Phase:          Succeeded" in kube.helm("test", service.name, "-n", NAMESPACE, "--timeout", "60s")

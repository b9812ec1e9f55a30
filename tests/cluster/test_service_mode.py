"""mode: service, in a namespace that enforces the restricted Pod Security Standard."""

import concurrent.futures
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


def update(release, nodes, **values):
    """Replaces all pods, until the last old one is gone; returns how many were unavailable at the worst moment."""
    before = {name: pod["metadata"]["uid"] for name, pod in release.pods().items()}
    release.upgrade(podAnnotations={"update": os.urandom(4).hex()}, **values)
    unavailable = []

    def updated():
        status = release.daemonset()["status"]
        unavailable.append(status.get("numberUnavailable", 0))
        return status.get("updatedNumberScheduled") == len(nodes) and status.get("numberAvailable") == len(nodes)

    kube.until(90, updated)
    kube.until(30, lambda: len(kube.get("pods", "-n", NAMESPACE, "-l", release.selector)["items"]) == len(nodes))
    after = {name: pod["metadata"]["uid"] for name, pod in release.pods().items()}
    assert not set(before.values()) & set(after.values())
    return max(unavailable)


class Asker:
    """Asks one question after the other from a pod, each once. Each from a port of its own: what comes from one that was
    just used is sent to the same pod as before, by the kernel's connection tracking, even when that is gone."""

    SCRIPT = """
        asked=0
        rm -f /tmp/enough /tmp/lost
        until [ -e /tmp/enough ]; do
            asked=$((asked + 1))
            begun=$(date +%T)
            said=$(kdig -b "0.0.0.0#$((20000 + asked))" +retry=0 +timeout=3 "$1" A 2>&1) || true
            case $said in
            *"status: NOERROR"*) ;;
            *) echo "$begun $said" >>/tmp/lost ;;
            esac
        done
        echo "$asked"
        [ ! -e /tmp/lost ] || cat /tmp/lost
    """

    def __init__(self, pod, name):
        self.pod = pod
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.result = self.pool.submit(pod, "sh", "-c", self.SCRIPT, "sh", name)

    def finish(self):
        """How many questions were asked, and when and how some were not answered."""
        self.pod("touch", "/tmp/enough")
        asked, _, lost = self.result.result().partition("\n")
        self.pool.shutdown()
        return int(asked), lost


def test_an_update_has_the_new_pod_ready_before_the_old_one_goes(service, nodes):
    assert update(service, nodes) == 0


def test_an_update_loses_no_query_and_serves_metrics_from_old_and_new_pod(service, nodes, service_clients, node, agent):
    values = {"metrics": {"enabled": True}, "service": {"publishNotReadyAddresses": False}}
    update(service, nodes, **values)  # from now on pods wait until nobody is sent to them
    askers = [Asker(client, API) for client in service_clients.values()]
    assert update(service, nodes, **values) == 0
    for asker in askers:
        asked, lost = asker.finish()
        assert asked > 50
        assert lost == ""
    assert agent.connects(service.pod(node)["status"]["podIP"], 9553)


def test_helm_test_passes(service):
    assert "Phase:          Succeeded" in kube.helm("test", service.name, "-n", NAMESPACE, "--timeout", "60s")

"""Changed configurations, lost processes, lost upstreams."""

import pytest

from conftest import ADDRESS
from harness import kube, pods
from harness.pods import fresh
from harness.release import merged
from harness.upstream import unused_pin

API = f"kubernetes.default.svc.{pods.DOMAIN}"


def identity(release, node):
    """What changes when a pod is replaced, or its container restarted."""
    return release.pod(node)["metadata"]["uid"], release.restarts(node)


def generation(release, node):
    return release.status(node)["generation"]


def with_pins(upstream, *pins):
    return {"config": upstream.config(list(pins))}


def test_a_changed_configuration_is_taken_up_without_a_restart(healthy, node):
    release, before, number = healthy, identity(healthy, node), generation(healthy, node)
    log = release.log(node)
    release.upgrade(config=merged(release.values["config"], {"log": {"level": "debug"}}))
    release.wait_for_log(node, "reload done", log)
    assert identity(release, node) == before
    assert generation(release, node) == number + 1


def test_a_broken_configuration_is_refused_and_the_old_one_goes_on(healthy, node, client):
    release, before = healthy, identity(healthy, node)
    log = release.log(node)
    release.upgrade(config=merged(release.values["config"], {"limits": {"timeout": "soon"}}))
    assert "[limits] timeout" in release.wait_for_log(node, "reload failed", log)
    assert identity(release, node) == before
    assert client.answers(fresh()) == ["192.0.2.1"]
    assert release.is_ready(node)


def test_a_wrong_pin_in_an_edit_leaves_the_running_generation(healthy, node, client, upstream):
    release, before, number = healthy, identity(healthy, node), generation(healthy, node)
    log = release.log(node)
    release.upgrade(**with_pins(upstream, unused_pin(), unused_pin()))
    assert "not ready in time" in release.wait_for_log(node, "reload failed", log)
    assert release.status(node)["reloads"]["failed"] >= 1
    assert (identity(release, node), generation(release, node)) == (before, number)
    assert client.answers(fresh()) == ["192.0.2.1"]
    assert release.is_ready(node)


def test_a_wrong_pin_in_an_update_stops_the_rollout_at_the_first_node(healthy, nodes, clients, upstream):
    release = healthy
    before = {name: identity(release, name) for name in nodes}
    # Another cache size is a new pod.
    wrong = with_pins(upstream, unused_pin(), unused_pin())
    wrong["config"]["cache"] = {"size": "16M"}
    release.upgrade(**wrong)

    def replaced():
        return [name for name, pod in release.pods().items() if pod["metadata"]["uid"] != before[name][0]]

    (first,) = kube.until(60, replaced)
    kube.until(30, lambda: "identity mismatch" in release.log(first))
    asked = len(upstream.asked())
    with pytest.raises(kube.Failed):  # three periods of the readiness probe, and the liveness probe's patience
        kube.kubectl("-n", release.namespace, "rollout", "status", f"daemonset/{release.name}", "--timeout=35s")
    assert release.restarts(first) == 0, "it is live"
    assert not release.is_ready(first)
    assert replaced() == [first], "other nodes keep theirs"

    assert clients[first].answers(fresh()) == "SERVFAIL"
    assert clients[first].answers(fresh(f"default.svc.{pods.DOMAIN}")) == "NXDOMAIN", "the cluster's names go on"
    assert len(upstream.asked()) == asked, "no query left"
    for other in set(nodes) - {first}:
        assert clients[other].answers(fresh()) == ["192.0.2.1"]

    uid = release.pod(first)["metadata"]["uid"]
    right = with_pins(upstream, *upstream.pins)
    right["config"]["cache"] = {"size": "16M"}
    release.upgrade(**right)
    release.wait_ready(120)
    assert release.pod(first)["metadata"]["uid"] == uid, "the right pin heals it by a reload"
    assert clients[first].answers(fresh()) == ["192.0.2.1"]


def test_pins_and_a_certificate_of_the_users_are_taken_up_when_they_change(healthy, node, client, upstream):
    release = healthy
    place = {"name": "own-pins", "namespace": release.namespace}

    def write(*pins):
        data = {"pins": "".join(f"{pin}\n" for pin in pins)}
        kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "data": data})

    write(*upstream.pins)
    upstream.write_secret("own-certificate", release.namespace)
    files = {"pins": {"configMap": "own-pins", "key": "pins"}, "clientCertificate": {"secret": "own-certificate"}}
    # The other pins go: Release.upgrade() would merge them in.
    values = {**release.values, "config": upstream.config_without_pins(), "upstreamFiles": {"public": files}}
    kube.helm("upgrade", release.name, kube.CHART, "-n", release.namespace, values=values)
    release.wait_ready(120)
    assert client.answers(fresh()) == ["192.0.2.1"]
    before, log = identity(release, node), release.log(node)
    write(unused_pin(), *upstream.pins)
    release.wait_for_log(node, "reload done", log)
    assert identity(release, node) == before
    assert client.answers(fresh()) == ["192.0.2.1"]


def test_a_killed_resolver_is_not_noticed_by_the_kubelet(healthy, node, agent, client):
    release, before = healthy, identity(healthy, node)
    _, (resolver,) = agent.daemon(release.container(node))
    agent.kill("KILL", resolver)
    assert client.answers(fresh()) == ["192.0.2.1"]
    assert resolver not in agent.daemon(release.container(node))[1]
    for _ in range(5):
        assert release.is_ready(node)
        assert agent.connects(ADDRESS, 9551)
    assert identity(release, node) == before


def test_a_resolver_that_hangs_is_replaced_by_the_supervisor(healthy, node, agent, client):
    """The supervisor has another user than the resolver: this is what CAP_KILL is for."""
    release, before = healthy, identity(healthy, node)
    _, (resolver,) = agent.daemon(release.container(node))
    agent.kill("STOP", resolver)
    kube.until(20, lambda: resolver not in agent.daemon(release.container(node))[1])
    assert client.answers(fresh()) == ["192.0.2.1"]
    assert identity(release, node) == before


def test_a_supervisor_that_hangs_is_restarted_by_the_kubelet(healthy, node, agent, client):
    release, (uid, restarts) = healthy, identity(healthy, node)
    supervisor, _ = agent.daemon(release.container(node))
    agent.kill("STOP", supervisor)
    assert client.answers(fresh()) == ["192.0.2.1"], "the resolver goes on meanwhile"
    kube.until(90, lambda: identity(release, node) == (uid, restarts + 1))
    release.wait_ready()
    assert client.answers(fresh()) == ["192.0.2.1"]


@pytest.fixture
def kube_dns():
    """A function that sets how many kube-dns pods there are."""
    deployments = [
        item
        for item in kube.get("deployments", "-n", "kube-system")["items"]
        if item["spec"]["template"]["metadata"]["labels"].get("k8s-app") == "kube-dns"
    ]
    name, usual = deployments[0]["metadata"]["name"], deployments[0]["spec"]["replicas"]

    def scale(count):
        kube.kubectl("-n", "kube-system", "scale", f"deployment/{name}", f"--replicas={count}")
        if count > 0:
            kube.kubectl("-n", "kube-system", "rollout", "status", f"deployment/{name}", "--timeout=60s")
        else:
            kube.kubectl("-n", "kube-system", "wait", "--for=delete", "pod", "-l", "k8s-app=kube-dns", "--timeout=60s")

    yield lambda there: scale(usual if there else 0)
    scale(usual)


def test_without_kube_dns_public_names_go_on_and_cluster_names_come_back(healthy, node, client, kube_dns):
    release, before = healthy, identity(healthy, node)
    kube_dns(False)
    assert client.answers(fresh(f"default.svc.{pods.DOMAIN}")) == "SERVFAIL"
    assert client.answers(fresh()) == ["192.0.2.1"]
    kube.until(60, lambda: not release.is_ready(node))
    assert client.answers(fresh()) == ["192.0.2.1"]
    assert identity(release, node) == before, "it is live"
    kube_dns(True)
    kube.until(30, lambda: client.answers(fresh(f"default.svc.{pods.DOMAIN}")) == "NXDOMAIN")
    assert client.answers(API)[0].count(".") == 3
    release.wait_ready()
    assert identity(release, node) == before

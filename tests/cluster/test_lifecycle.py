"""What nodedot puts on a node, and takes away again."""

import json

import pytest

from conftest import ADDRESS, ADDRESS_V6
from harness import kube
from harness.pods import fresh

INTERFACE = "nodedot0"


def test_each_address_is_on_the_node_once_and_ends_without_the_daemon(release, agents):
    for agent in agents.values():
        text = agent("ip", "address")
        for address in (ADDRESS, ADDRESS_V6):
            assert text.count(f" {address}/") == 1
        assert agent.addresses()[ADDRESS] in (INTERFACE, "lo")


@pytest.mark.parametrize("address", [f"{ADDRESS}/32", f"{ADDRESS_V6}/128"])
def test_an_address_that_somebody_removes_comes_back(release, agent, client, address):
    plain = address.split("/")[0]
    agent("ip", "address", "del", address, "dev", agent.addresses()[plain])
    kube.until(5, lambda: plain in agent.addresses())
    assert agent.answers(fresh(), "A", f"@{plain}") == ["192.0.2.1"]
    assert client.answers(fresh()) == ["192.0.2.1"]


def test_the_addresses_outlive_a_crash_of_the_supervisor(release, node, agent, client):
    """The kernel keeps them for the rest of their time; the next supervisor takes them over."""
    restarts = release.restarts(node)
    supervisor, _ = agent.daemon(release.container(node))
    agent.kill("KILL", supervisor)
    kube.until(60, lambda: release.restarts(node) == restarts + 1)
    release.wait_ready()
    assert client.answers(fresh()) == ["192.0.2.1"]
    assert agent("ip", "address").count(f" {ADDRESS}/") == 1


def test_a_rollback_brings_back_what_was(healthy, clients, upstream):
    """The update fails on purpose: its image is not to be had."""
    release = healthy
    good = max(int(entry["revision"]) for entry in history(release))
    image = {**release.values["image"], "tag": "nosuch"}
    release.upgrade(image={**image, "pullPolicy": "Never"})
    kube.until(30, lambda: release.daemonset()["status"].get("numberUnavailable", 0) == 1)
    kube.helm("rollback", release.name, str(good), "-n", release.namespace)
    release.wait_ready(120)
    for client in clients.values():
        assert client.answers(fresh()) == ["192.0.2.1"]


def history(release):
    return json.loads(kube.helm("history", release.name, "-n", release.namespace, "-o", "json"))


def lasting(links):
    """Without those of the pod network, which come and go."""
    return {name for name in links if not name.startswith(("cni", "veth", "cali", "lxc"))}


def assert_nothing_is_left(agent, links):
    assert lasting(agent.links()) == lasting(links) - {INTERFACE}
    assert not {ADDRESS, ADDRESS_V6} & set(agent.addresses())
    assert agent.processes() == {}
    assert "nodedot" not in agent("cat", "/proc/net/unix")


def test_an_uninstall_leaves_nothing_on_the_node_and_a_reinstall_works(release, agents, clients, untouched):
    release.wait_ready()
    release.uninstall()
    try:
        for name, agent in agents.items():
            assert_nothing_is_left(agent, untouched[name])
        kinds = "all,configmaps,serviceaccounts"
        assert kube.kubectl("get", kinds, "-A", "-l", "app.kubernetes.io/instance=nodedot", "-o", "name") == ""
    finally:
        release.install()
        release.wait_ready()
    for client in clients.values():
        assert client.answers(fresh()) == ["192.0.2.1"]

"""Tests of the chart and the daemon on a real cluster. They install releases into kube-system, scale kube-dns to zero
and kill processes on the nodes: give them a cluster that is for tests.

Environment:
    KUBECONFIG      the cluster, with kubectl and helm on the PATH; or
    CLUSTER         a command whose `exec COMMAND...` runs kubectl and helm on a cluster, and whose `load-image ARCHIVE`
                    gives its nodes an image
    IMAGE           the image under test (localhost/nodedot:dev), which the nodes have or can pull
    IMAGE_ARCHIVE   with CLUSTER: its archive, which is loaded first (build/image.tar)
    CLIENT_IMAGE    an image with busybox, getent and kdig (localhost/dns-client:test)
    UPSTREAM_IMAGE  an image whose program is Unbound (localhost/unbound:test)
    UPSTREAM_ARCHIVE  with CLUSTER: its archive (build/cluster/unbound.tar; see pack-unbound)
    HELM_VALUES     a YAML file with more values for the chart, over those of the tests
    LOOKUP_MUSL     a static program, linked with musl, that prints what getaddrinfo() finds (tests/cluster/lookup.c)
"""

import os
import pathlib
import subprocess

import pytest
import yaml

pytest.register_assert_rewrite("harness")

from harness import kube, pods, upstream as upstreams  # noqa: E402 (the line above must come first)
from harness.release import Release, merged  # noqa: E402

NAMESPACE = "nodedot-test"
ADDRESS = "169.254.20.10"
ADDRESS_V6 = "fd00::10"


def pytest_configure(config):
    if not os.environ.get("KUBECONFIG") and not os.environ.get("CLUSTER"):
        raise pytest.UsageError("no cluster: set KUBECONFIG, or CLUSTER to a command that has one")


def more_values():
    path = os.environ.get("HELM_VALUES")
    return yaml.safe_load(pathlib.Path(path).read_text()) if path else {}


def make_namespace(name, labels):
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    kube.until(30, kube.get, "serviceaccount", "default", "-n", name)


def end_namespace(name):
    kube.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true", "--timeout=100s")


def load_image(archive):
    assert os.path.exists(archive), f"{archive} is not there"
    subprocess.run([os.environ["CLUSTER"], "load-image", archive], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def image():
    """The image under test is on the nodes."""
    if os.environ.get("CLUSTER"):
        load_image(os.environ.get("IMAGE_ARCHIVE", kube.ROOT / "build" / "image.tar"))


@pytest.fixture(scope="session")
def namespace():
    end_namespace(NAMESPACE)
    make_namespace(NAMESPACE, {"pod-security.kubernetes.io/enforce": "privileged"})
    yield NAMESPACE
    end_namespace(NAMESPACE)


@pytest.fixture(scope="session")
def nodes():
    return kube.nodes()


@pytest.fixture(scope="session")
def node(nodes):
    return nodes[0]


@pytest.fixture(scope="session")
def upstream(namespace):
    if os.environ.get("CLUSTER"):
        load_image(os.environ.get("UPSTREAM_ARCHIVE", kube.ROOT / "build" / "cluster" / "unbound.tar"))
    return upstreams.Upstream(namespace)


@pytest.fixture(scope="session")
def agents(namespace, nodes):
    """A look at every node from inside."""
    pods.start(*(pods.agent_manifest(namespace, f"agent-{name}", name) for name in nodes))
    return {name: pods.Agent(namespace, f"agent-{name}") for name in nodes}


@pytest.fixture(scope="session")
def agent(agents, node):
    return agents[node]


@pytest.fixture(scope="session")
def untouched(agents):
    """The interfaces that each node had before nodedot came."""
    return {name: agent.links() for name, agent in agents.items()}


@pytest.fixture(scope="session")
def release(image, untouched, upstream):
    """nodedot in link-local mode, on every node."""
    values = {"localDns": [ADDRESS, ADDRESS_V6], "config": upstream.config()}
    release = Release("nodedot", "kube-system", merged(values, more_values()))
    release.install()
    release.wait_ready()
    yield release
    release.uninstall()


@pytest.fixture(scope="session")
def clients(namespace, nodes, release):
    """A pod on every node that asks the link-local address."""
    dns = pods.resolver(ADDRESS, namespace)
    pods.start(*(pods.manifest(namespace, f"client-{name}", name, **dns) for name in nodes))
    return {name: pods.Pod(namespace, f"client-{name}") for name in nodes}


@pytest.fixture(scope="session")
def client(clients, node):
    return clients[node]


@pytest.fixture(scope="session")
def plain_client(namespace, node, release):
    """A pod with the DNS that the kubelet gives to all."""
    pods.start(pods.manifest(namespace, "plain", node))
    return pods.Pod(namespace, "plain")


@pytest.fixture(scope="session")
def headless(namespace, release):
    """A headless Service with one pod behind it: its name, and the pod's address."""
    pods.start(pods.manifest(namespace, "backend"))
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "headless", "namespace": namespace},
            "spec": {"clusterIP": "None", "selector": {"app": "backend"}, "ports": [{"name": "web", "port": 80}]},
        }
    )
    address = kube.get("pod", "backend", "-n", namespace)["status"]["podIP"]
    return f"headless.{namespace}.svc.{pods.DOMAIN}", address


@pytest.fixture
def healthy(release, clients):
    """The release as it was installed, ready everywhere, before the test and after it."""
    release.wait_ready()
    yield release
    release.restore()

"""What an operator sees of a node: metrics over HTTP, the program's commands in its pod, logged queries."""

import json
import re

import pytest

from conftest import ADDRESS
from harness import kube, pods
from harness.pods import fresh
from harness.release import merged

PORT = 9553
API = f"kubernetes.default.svc.{pods.DOMAIN}"

# A sample of Prometheus' text format: a name, labels, a number.
SAMPLE = re.compile(r'nodedot_\w+(\{\w+="[^"\n]*"(,\w+="[^"\n]*")*\})? [-+0-9.eE]+|nodedot_\w+(\{.*\})? \+Inf')


def http_get(pod, address, path):
    """Status and content of an answer, asked for with nc: busybox's wget hides the content of a 503."""
    request = f"GET {path} HTTP/1.1\\r\\nHost: node\\r\\nConnection: close\\r\\n\\r\\n"
    text = pod("sh", "-c", f"printf '{request}' | nc -w 5 {address} {PORT}")
    head, _, content = text.replace("\r", "").partition("\n\n")
    return int(head.split()[1]), content


def samples(page):
    """{'name{labels}': value}"""
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    assert [line for line in lines if not SAMPLE.fullmatch(line)] == []
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


@pytest.fixture(scope="module")
def seen(release, node):
    """The release with metrics and every query logged, which running pods take up by themselves."""
    release.wait_ready()
    uids = {name: pod["metadata"]["uid"] for name, pod in release.pods().items()}
    logs = {name: release.log(name) for name in uids}
    config = merged(release.values["config"], {"log": {"queries": True}})
    release.upgrade(metrics={"enabled": True}, config=config)
    for name, log in logs.items():
        release.wait_for_log(name, "reload done", log)
    assert {name: pod["metadata"]["uid"] for name, pod in release.pods().items()} == uids
    yield release
    release.restore()


@pytest.fixture(scope="module")
def address(seen, node):
    return seen.pod(node)["status"]["podIP"]


def test_a_pod_scrapes_the_address_that_the_monitors_go_to(seen, client, address):
    client.answers(fresh())
    status, page = http_get(client, address, "/metrics")
    assert status == 200
    found = samples(page)
    assert found["nodedot_ready"] == 1
    assert found['nodedot_queries_total{transport="udp"}'] >= 1
    assert [name for name in found if name.startswith("nodedot_build_info{")]
    families = set(re.findall(r"(?m)^# TYPE (\w+) ", page))
    assert families == set(re.findall(r"(?m)^# HELP (\w+) ", page))


def test_the_page_names_the_pod_that_asks(seen, client, node, address):
    """The node's network translates no address on the way from a pod to its own node."""
    own = kube.get("pod", client.name, "-n", client.namespace)["status"]["podIP"]

    def named():
        client.answers(fresh())
        return f'nodedot_busiest_client_queries_per_second{{client="{own}"}}' in samples(
            http_get(client, address, "/metrics")[1]
        )

    kube.until(15, named)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_healthy_node_says_so_over_http(seen, agent, address, path):
    assert http_get(agent, address, path) == (200, "ok\n")


def test_the_metrics_port_is_not_on_the_address_that_pods_ask(seen, agent):
    assert not agent.connects(ADDRESS, PORT)


def test_without_its_upstream_a_node_is_healthy_and_not_ready(seen, agent, address, upstream):
    place = ("-n", upstream.namespace, "scale", "deployment/upstream")
    try:
        kube.kubectl(*place, "--replicas=0")
        status, content = kube.until(60, lambda: (a := http_get(agent, address, "/readyz"))[0] == 503 and a)
        assert content == "zone .: no address of upstream public is usable\n"
        assert http_get(agent, address, "/healthz")[0] == 200
        assert samples(http_get(agent, address, "/metrics")[1])["nodedot_ready"] == 0
    finally:
        kube.kubectl(*place, "--replicas=1")
        kube.kubectl("-n", upstream.namespace, "rollout", "status", "deployment/upstream", "--timeout=60s")
    kube.until(60, lambda: http_get(agent, address, "/readyz")[0] == 200)
    seen.wait_ready()


def test_status_in_the_pod_is_a_table(seen, node, upstream):
    text = seen.nodedot(node, "status")
    assert upstream.address in text
    assert "valid" in text
    assert "\x1b" not in text, "no colours where nobody looks at a terminal"


def test_status_in_the_pod_is_json_for_programs(seen, node, upstream):
    found = json.loads(seen.nodedot(node, "status", "--json"))
    assert found["ready"] is True
    addresses = {a["address"]: a for group in found["upstreams"] for a in group["addresses"]}
    assert addresses[f"{upstream.address}:853"]["state"] == "valid"
    assert addresses[f"{upstream.address}:853"]["pins_matched"] == [1]


def test_query_in_the_pod_asks_as_the_daemon_would(seen, node, upstream):
    name = fresh()
    text = seen.nodedot(node, "query", name)
    assert "192.0.2.1" in text
    assert upstream.address in text
    assert f"{name}. A" in upstream.asked()


def test_query_in_the_pod_finds_names_of_the_cluster(seen, node):
    service = kube.get("service", "kubernetes", "-n", "default")["spec"]["clusterIP"]
    assert service in seen.nodedot(node, "query", API)


def test_check_online_in_the_pod_proves_the_upstreams(seen, node, upstream):
    assert upstream.address in seen.nodedot(node, "check", "--online")


def test_the_log_of_the_pod_tells_a_query_and_its_answer(seen, node, client):
    name = fresh()
    own = kube.get("pod", client.name, "-n", client.namespace)["status"]["podIP"]
    client.answers(name)
    (line,) = kube.until(10, lambda: [line for line in seen.log(node).splitlines() if name in line])
    assert f"client={own}" in line
    assert "rcode=NOERROR" in line

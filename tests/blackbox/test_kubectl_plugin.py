"""The kubectl plugin, with a kubectl that answers from files instead of a cluster; the statuses are those of a real daemon."""

import json
import os
import pathlib
import subprocess

import pytest

from harness.program import run as run_nodedot

PLUGIN = pathlib.Path(__file__).resolve().parents[2] / "scripts/kubectl-nodedot"

# Answers what the plugin asks: the objects as their jsonpath shows them, and `exec POD -- COMMAND` from a file of its name.
KUBECTL = """#!/bin/bash
printf '%s\\n' "$*" >>"$FAKE/calls"
case " $* " in
*' get pods '*) cat "$FAKE/pods" ;;
*' get nodes '*) cat "$FAKE/nodes" ;;
*' get pod '*nodeName*) printf node2 ;;
*' get pod '*dnsPolicy*) printf 'ClusterFirst ' ;;
*' exec '*)
    while [ "$1" != exec ]; do shift; done
    [ -e "$FAKE/$2" ] || { echo 'error: unable to upgrade connection' >&2; exit 1; }
    cat "$FAKE/$2"
    [ ! -e "$FAKE/$2.status" ] || exit "$(cat "$FAKE/$2.status")" ;;
*) exit 9 ;;
esac
"""


class Cluster:
    def __init__(self, directory):
        self.directory = directory
        kubectl = directory / "kubectl"
        kubectl.write_text(KUBECTL)
        kubectl.chmod(0o755)
        self.pods, self.nodes = [], []
        self.save()

    def save(self):
        (self.directory / "pods").write_text("".join(f"{pod}\n" for pod in self.pods))
        (self.directory / "nodes").write_text("".join(f"{node}\n" for node in self.nodes))

    def node(self, name, pod=None, phase="Running", says=None):
        self.nodes.append(name)
        if pod:
            self.pods.append(f"{pod} {phase} kube-system {name}")
        if says is not None:
            (self.directory / pod).write_text(says)
        self.save()

    def plugin(self, *arguments):
        environment = {**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}", "FAKE": str(self.directory)}
        return subprocess.run([PLUGIN, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)

    def calls(self):
        return (self.directory / "calls").read_text().splitlines()


@pytest.fixture
def cluster(tmp_path):
    directory = tmp_path / "cluster"
    directory.mkdir()
    return Cluster(directory)


@pytest.fixture
def status(start, upstream):
    """What a daemon says of itself that has answered a query."""
    program = start(upstream)
    program.ask("a.test")
    return json.loads(run_nodedot("status", "-c", program.file, "--json").stdout)


def said(status, **changes):
    return json.dumps({**status, **changes}, separators=(",", ":")) + "\n"


def test_status_has_a_line_for_each_node_the_worst_first(cluster, status):
    mismatch = json.loads(said(status))
    mismatch["upstreams"][0]["addresses"][0]["state"] = "mismatch"
    cluster.node("node1", "nodedot-a", says=said(status))
    cluster.node("node2", "nodedot-b", says=said(mismatch))
    cluster.node("node3", "nodedot-c", says=said(status, ready=False))
    cluster.node("node4", "nodedot-d", phase="Pending")
    cluster.node("node5")
    cluster.node("node6", "nodedot-f")
    cluster.node("node7", "nodedot-g", says=said(status, generations_lost=3))
    shown = cluster.plugin("status")
    lines = shown.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NODE", "node5", "node4", "node6", "node3", "node2", "node7", "node1"]
    address = mismatch["upstreams"][0]["addresses"][0]["address"]
    for line, end in zip(lines[1:], [
        "no pod of nodedot", "pod nodedot-d is Pending", "no answer: error: unable to upgrade connection", "not ready",
        f"identity mismatch at {address}", "3 resolver processes lost", "ok",
    ]):
        assert line.endswith(end)
    assert lines[-1].split()[1:5] == [status["version"], "1", "1", "0"]
    assert shown.returncode == 1


def test_status_is_exit_0_when_every_node_is_well(cluster, status):
    cluster.node("node1", "nodedot-a", says=said(status))
    assert cluster.plugin("status").returncode == 0


def test_status_without_any_pod_is_an_error(cluster):
    cluster.node("node1")
    shown = cluster.plugin("status")
    assert shown.returncode == 1 and "no pods of nodedot" in shown.stderr


def test_check_runs_on_every_node_and_fails_if_one_does(cluster):
    cluster.node("node1", "nodedot-a", says="all pass\n")
    cluster.node("node2", "nodedot-b", says="one fails\n")
    assert cluster.plugin("check", "--node", "node1").stdout == "node1:\nall pass\n"
    (cluster.directory / "nodedot-b.status").write_text("1")
    shown = cluster.plugin("check")
    assert (shown.stdout, shown.returncode) == ("node1:\nall pass\nnode2:\none fails\n", 1)
    assert cluster.calls()[-1].endswith("-n kube-system exec nodedot-b -- /nodedot check --online")


def test_a_query_is_asked_on_the_node(cluster):
    cluster.node("node1", "nodedot-a", says="wrong node\n")
    cluster.node("node2", "nodedot-b", says="an answer\n")
    shown = cluster.plugin("query", "example.com", "AAAA", "--node", "node2", "--context", "other")
    assert (shown.stdout, shown.returncode) == ("an answer\n", 0)
    assert cluster.calls()[-1].endswith("--context=other -n kube-system exec nodedot-b -- /nodedot query example.com AAAA")
    shown = cluster.plugin("query", "example.com", "--node", "node3")
    assert shown.returncode == 1 and "no nodedot runs on node node3" in shown.stderr


def test_where_shows_the_name_servers_of_a_pod_and_the_nodedot_beside_it(cluster):
    cluster.node("node1", "nodedot-a")
    cluster.node("node2", "nodedot-b")
    (cluster.directory / "web").write_text("search cluster.local\nnameserver 169.254.20.10\nnameserver 10.96.0.10\n")
    lines = cluster.plugin("where", "web", "-n", "shop").stdout.splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines] == ["node", "dnsPolicy", "name", "nodedot"]
    assert lines[0].endswith(" node2") and lines[3].endswith(" nodedot-b (Running)")
    assert lines[2].strip().endswith("169.254.20.10 10.96.0.10")
    assert any("-n shop exec web" in call for call in cluster.calls())


@pytest.mark.parametrize("arguments", [["status", "extra"], ["query"], ["query", "a.test"], ["where"], ["--node"], ["nothing"]])
def test_a_wrong_usage_is_exit_2(cluster, arguments):
    assert cluster.plugin(*arguments).returncode == 2


def test_help_is_exit_0(cluster):
    shown = cluster.plugin("help")
    assert shown.returncode == 0 and "kubectl nodedot status" in shown.stdout

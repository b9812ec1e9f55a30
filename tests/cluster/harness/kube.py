"""kubectl and helm, on the cluster of KUBECONFIG or of the command in CLUSTER (see conftest.py)."""

import json
import os
import pathlib
import subprocess
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
CHART = ROOT / "helm" / "nodedot"

# A call of kubectl or helm that takes longer hangs.
CALL_LIMIT_S = 150


class Failed(AssertionError):
    """A command that did not end with 0; the text is all that it said."""


def prefix():
    cluster = os.environ.get("CLUSTER")
    return [cluster, "exec"] if cluster else []


def run(*command, stdin=None, limit=CALL_LIMIT_S):
    """What the command prints. Raises Failed."""
    done = subprocess.run([*prefix(), *map(str, command)], input=stdin, capture_output=True, timeout=limit)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise Failed(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{said}")
    return done.stdout.decode(errors="replace")


def kubectl(*arguments, **options):
    return run("kubectl", *arguments, **options)


def get(*arguments):
    return json.loads(kubectl("get", *arguments, "-o", "json"))


def apply(*manifests):
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests).encode())


def helm(*arguments, values=None, **options):
    """helm, with values (a dict) as a file on its standard input."""
    if values is None:
        return run("helm", *arguments, **options)
    return run("helm", *arguments, "--values", "-", stdin=json.dumps(values).encode(), **options)


def execute(namespace, pod, *command, **options):
    stdin = "--stdin=true" if "stdin" in options else "--stdin=false"
    return kubectl("-n", namespace, "exec", stdin, pod, "--", *command, **options)


def until(seconds, condition, *arguments):
    """The first true result of condition(*arguments), which may also raise Failed until then."""
    end = time.monotonic() + seconds
    while True:
        problem = None
        try:
            result = condition(*arguments)
            if result:
                return result
        except (Failed, IndexError, KeyError) as failure:
            problem = failure
        if time.monotonic() > end:
            name = getattr(condition, "__name__", condition)
            raise AssertionError(f"not within {seconds} s: {name}{arguments}") from problem
        time.sleep(0.3)


def nodes():
    """Names of the nodes that pods can be on."""
    return sorted(node["metadata"]["name"] for node in get("nodes")["items"] if not node["spec"].get("unschedulable"))

"""Pods that the tests ask from, and one on every node that looks at it from inside."""

import itertools
import os
import re

from . import kube

CLIENT_IMAGE = os.environ.get("CLIENT_IMAGE", "localhost/dns-client:test")
DOMAIN = os.environ.get("CLUSTER_DOMAIN", "cluster.local")


def fresh(zone="example.test"):
    """A name that no cache holds."""
    return f"{os.urandom(4).hex()}.{zone}"


def manifest(namespace, name, node=None, **spec):
    container = {
        "name": "main",
        "image": CLIENT_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
        **spec.pop("container", {}),
    }
    if node:
        spec["nodeName"] = node
    spec = {"terminationGracePeriodSeconds": 0, "restartPolicy": "Never", "containers": [container], **spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": spec,
    }


def resolver(address, namespace):
    """The resolv.conf that the kubelet would write, with another name server."""
    return {
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": [address],
            "searches": [f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN],
            "options": [{"name": "ndots", "value": "5"}],
        },
    }


class Pod:
    """A running pod with a shell."""

    def __init__(self, namespace, name):
        self.namespace = namespace
        self.name = name

    def __call__(self, *command, **options):
        return kube.execute(self.namespace, self.name, *command, **options)

    def dig(self, name, kind="A", *options):
        """RCODE and the answer's data, as kdig tells them; kdig does not use the search list."""
        text = self("kdig", "+retry=0", "+timeout=6", *options, name, kind)
        rcode = re.search(r"status: (\w+)", text).group(1)
        _, _, answer = text.partition(";; ANSWER SECTION:\n")
        lines = itertools.takewhile(str.strip, answer.splitlines())
        return rcode, [line.split(None, 4)[4] for line in lines]

    def answers(self, name, kind="A", *options):
        rcode, data = self.dig(name, kind, *options)
        return data if rcode == "NOERROR" else rcode


class Agent(Pod):
    """A privileged pod in the node's network and process namespaces."""

    def shell(self, script, *arguments):
        return self("sh", "-c", script, "sh", *arguments)

    def connects(self, address, port):
        """Is a TCP port open?"""
        try:
            self.shell('nc -w 2 "$1" "$2" </dev/null', address, str(port))
        except kube.Failed:
            return False
        return True

    def kill(self, signal, pid):
        self("kill", f"-{signal}", str(pid))

    def processes(self, container=None):
        """Processes called nodedot: {pid: {"PPid": ..., "Uid": ..., ...}} from /proc/PID/status."""
        text = self.shell(
            'for p in /proc/[0-9]*; do if [ "$(cat $p/comm 2>/dev/null)" = nodedot ]; then echo "== ${p#/proc/}";'
            " cat $p/status; echo; cat $p/cgroup; fi; done"
        )
        found = {}
        for part in text.split("== ")[1:]:
            pid, rest = part.split("\n", 1)
            if container and container not in rest:
                continue
            found[int(pid)] = dict(line.split(":", 1) for line in rest.splitlines() if re.match(r"\w+:\s", line))
        return {pid: {k: v.split() for k, v in status.items()} for pid, status in found.items()}

    def daemon(self, container):
        """The process numbers of a container's supervisor and of its resolvers."""
        found = self.processes(container)
        supervisors = [pid for pid, status in found.items() if int(status["PPid"][0]) not in found]
        assert len(supervisors) == 1, found
        return supervisors[0], sorted(set(found) - set(supervisors))

    def addresses(self):
        """{address: interface} of the node."""
        found, interface = {}, None
        for line in self("ip", "address").splitlines():
            if match := re.match(r"\d+: ([^:@]+)", line):
                interface = match.group(1)
            elif match := re.match(r"\s+inet6? ([^/\s]+)", line):
                found[match.group(1)] = interface
        return found

    def links(self):
        return set(re.findall(r"(?m)^\d+: ([^:@]+)", self("ip", "link")))


def start(*manifests):
    kube.apply(*manifests)
    for one in manifests:
        place = one["metadata"]
        kube.kubectl("-n", place["namespace"], "wait", "--for=condition=Ready", f"pod/{place['name']}", "--timeout=60s")


def agent_manifest(namespace, name, node):
    return manifest(
        namespace,
        name,
        node,
        hostNetwork=True,
        hostPID=True,
        dnsPolicy="Default",
        tolerations=[{"operator": "Exists"}],
        container={"securityContext": {"privileged": True}},
    )

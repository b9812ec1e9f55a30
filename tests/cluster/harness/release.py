"""A release of the chart."""

import json
import os
import time

from . import kube

IMAGE = os.environ.get("IMAGE", "localhost/nodedot:dev")


# Between two nudges of the kubelet.
HURRY_S = 2


def merged(first, second):
    """second over first, deep."""
    result = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


# server.reload-spread, as the chart sets it.
RELOAD_SPREAD_S = 30


class Release:
    def __init__(self, name, namespace, values):
        repository, _, tag = IMAGE.rpartition(":")
        client, _, client_tag = os.environ.get("CLIENT_IMAGE", "localhost/dns-client:test").rpartition(":")
        self.hurried = 0.0
        self.selector = f"app.kubernetes.io/instance={name},app.kubernetes.io/name=nodedot"
        self.name = name
        self.namespace = namespace
        base = {
            "image": {"repository": repository, "tag": tag},
            "test": {"image": {"repository": client, "tag": client_tag}, "publicName": "www.example.test"},
            "minReadySeconds": 1,
        }
        self.values = merged(base, values)

    def install(self, *options, **values):
        helm_options = ("--install", "--namespace", self.namespace, *options)
        return kube.helm("upgrade", self.name, kube.CHART, *helm_options, values=merged(self.values, values), limit=240)

    def upgrade(self, *options, **values):
        return self.install(*options, **values)

    def uninstall(self):
        """Until the last pod is gone; helm itself does not wait for the pods of a DaemonSet."""
        kube.helm("uninstall", self.name, "--namespace", self.namespace, "--wait", "--timeout=60s")
        kube.until(30, lambda: not kube.get("pods", "-n", self.namespace, "-l", self.selector)["items"])

    def ini(self):
        return kube.get("configmap", self.name, "-n", self.namespace)["data"]["nodedot.ini"]

    def restore(self):
        """Back to the values of the start, taken up on every node."""
        before = self.ini()
        running = {node: (pod["metadata"]["uid"], self.log(node)) for node, pod in self.pods().items()}
        self.install()
        self.wait_ready(120)
        if self.ini() == before:
            return
        for node, (uid, log) in running.items():
            if self.pod(node)["metadata"]["uid"] == uid:
                self.wait_for_log(node, "reload done", log)

    def daemonset(self):
        return kube.get("daemonset", self.name, "-n", self.namespace)

    def pods(self):
        """By node, without those that are being deleted."""
        items = kube.get("pods", "-n", self.namespace, "-l", self.selector)
        return {
            pod["spec"]["nodeName"]: pod
            for pod in items["items"]
            if "deletionTimestamp" not in pod["metadata"] and "nodeName" in pod["spec"]
        }

    def pod(self, node):
        return self.pods()[node]

    def wait_ready(self, seconds=60):
        def all_available():
            self.hurry()
            daemonset = self.daemonset()
            status = daemonset["status"]
            wanted = status["desiredNumberScheduled"]
            return (
                wanted > 0
                and status["observedGeneration"] == daemonset["metadata"]["generation"]
                and status.get("updatedNumberScheduled") == wanted
                and status.get("numberAvailable") == wanted
            )

        kube.until(seconds, all_available)

    def container_status(self, node):
        return self.pod(node)["status"]["containerStatuses"][0]

    def container(self, node):
        """The running container's name in the runtime."""
        return self.container_status(node)["containerID"].split("//")[1]

    def is_ready(self, node):
        return self.container_status(node)["ready"]

    def restarts(self, node):
        return self.container_status(node)["restartCount"]

    def log(self, node, *options):
        return kube.kubectl("-n", self.namespace, "logs", self.pod(node)["metadata"]["name"], *options)

    def nodedot(self, node, *arguments):
        """What a command of the program prints in the pod, which holds no other program."""
        return kube.execute(self.namespace, self.pod(node)["metadata"]["name"], "/nodedot", *arguments)

    def status(self, node):
        return json.loads(self.nodedot(node, "status", "--json"))

    def counter(self, node, name):
        return self.status(node)["metrics"][name]

    def hurry(self):
        """The kubelet brings a changed ConfigMap when it next looks at the pod: in a minute, or when a pod changes."""
        if time.monotonic() - self.hurried < HURRY_S:
            return
        self.hurried = time.monotonic()
        for pod in self.pods().values():
            name, mark = pod["metadata"]["name"], f"hurry={self.hurried}"
            kube.kubectl("-n", self.namespace, "annotate", "pod", name, mark, "--overwrite")

    def wait_for_log(self, node, text, before, seconds=45 + RELOAD_SPREAD_S):
        """Until the running container's log has a line with text more than it had before; returns what was added."""

        def told():
            self.hurry()
            log = self.log(node)
            return log.count(text) > before.count(text) and log

        return kube.until(seconds, told).removeprefix(before)

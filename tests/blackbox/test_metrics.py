"""The metrics port: what it tells, and what it takes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from harness import client, wire
from harness.program import READINESS_PORT, run
from harness.waiting import wait_until

METRICS_PORT = 9553
IDENTITY_STATES = {"unverified", "valid", "mismatch", "unreachable"}
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Reply:
    def __init__(self, octets):
        head, _, self.body = octets.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def connect(program, timeout=5):
    return socket.create_connection((program.address, METRICS_PORT), timeout=timeout)


def read_reply(s, head=False):
    """One reply of a connection that may go on."""
    octets = b""
    while b"\r\n\r\n" not in octets:
        more = s.recv(65536)
        if not more:
            return Reply(octets) if octets else None
        octets += more
    reply = Reply(octets)
    while not head and len(reply.body) < int(reply.headers["content-length"]):
        more = s.recv(65536)
        assert more, "cut off"
        reply.body += more
    return reply


def exchange(program, octets, head=False):
    with connect(program) as s:
        s.sendall(octets)
        return read_reply(s, head)


def get(program, path="/metrics", accept=None, method="GET", version="1.1"):
    lines = [f"{method} {path} HTTP/{version}", "Host: node"]
    if accept is not None:
        lines.append(f"Accept: {accept}")
    return exchange(program, ("\r\n".join(lines) + "\r\n\r\n").encode(), head=method == "HEAD")


def samples(program, accept=None):
    """{(name, frozenset of labels): value}"""
    found = {}
    for line in get(program, accept=accept).body.decode().splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r'([a-z0-9_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)', line)
        assert match, line
        labels = frozenset(re.findall(r'([a-z]+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
        assert (match[1], labels) not in found, f"twice: {line}"
        found[match[1], labels] = float(match[3])
    return found


def value(program, name, **labels):
    """The sum of the samples with this name and these labels."""
    wanted = set(labels.items())
    return sum(v for (n, with_labels), v in samples(program).items() if n == name and wanted <= with_labels)


@pytest.fixture
def start_metrics(start, make_config):
    """As start(), with a metrics port on the first listen address."""

    def start_metrics(*servers, wait="ready", **settings):
        config = make_config(*servers, **settings)
        host = config["server"]["listen"].rpartition(":")[0]
        config.setdefault("metrics", {"listen": f"{host}:{METRICS_PORT}"})
        return start(config=config, wait=wait)

    return start_metrics


@pytest.fixture
def program(start_metrics, upstream):
    started = start_metrics(upstream)
    started.upstream = upstream
    return started


# What is there ------------------------------------------------------------------------------------------------------------


def test_the_page_counts_queries(program):
    for i in range(3):
        program.ask("a.test")
    assert value(program, "nodedot_queries_total", transport="udp") == 3
    assert value(program, "nodedot_cache_hits_total") == 2

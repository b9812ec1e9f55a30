"""The log: one line for each change of state, which nobody from outside can forge or flood."""

import contextlib
import datetime
import json
import os
import random
import re
import signal
import socket
import struct
import time

import pytest

from harness import behaviours, wire
from harness.certificates import Authority
from harness.program import run
from harness.waiting import wait_until

PIN = "sha256/" + "A" * 43 + "="
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
VALUE = r'(?:[^\s"=]*|"(?:[^"\\]|\\.)*")'
LOGFMT = re.compile(rf"{TIME} level=(error|warn|info|debug) msg={VALUE}( [a-z0-9_-]+={VALUE})*")
EVIL = 'evil" level=error msg="forged\nlevel=error msg=forged\r\x1b[31m'


def provoke(program, upstream):
    """Everything that is worth a line."""
    program.ask("a.test")
    upstream.stop_listening()
    upstream.close_connections()
    program.ask("b.test")
    upstream.listen_again()
    program.wait_ready()
    program.signal(signal.SIGHUP)
    time.sleep(0.5)
    program.file.write_text('[server]\nlisten = "nonsense" = 1\n')
    program.signal(signal.SIGHUP)
    program.wait_log('nonsense|failed|level"?[=:]"?error')
    program.stop()
    return program.log().splitlines()


def test_every_line_is_logfmt(start, upstream):
    lines = provoke(start(upstream, log={"level": "debug"}), upstream)
    assert len(lines) >= 5
    for line in lines:
        assert LOGFMT.fullmatch(line), line


def test_every_line_is_json(start, upstream):
    lines = provoke(start(upstream, log={"level": "debug", "format": "json"}), upstream)
    assert len(lines) >= 5
    for line in lines:
        entry = json.loads(line)
        assert list(entry)[:3] == ["time", "level", "msg"]
        assert re.fullmatch(TIME, entry["time"]) and entry["level"] in ("error", "warn", "info", "debug")
        assert all(isinstance(value, (str, int)) for value in entry.values())


@pytest.mark.parametrize("form", ["text", "json"])
def test_every_line_names_the_node_that_is_configured(start, upstream, form):
    program = start(upstream, server={"node-name": "${NODE}"}, log={"format": form}, env={"NODE": "worker-1.example"})
    program.stop()
    own = "node=worker-1.example" if form == "text" else '"node":"worker-1.example"'
    assert all(own in line for line in program.log().splitlines())


def test_the_time_is_now_in_utc(nodedot):
    stamp = re.match(TIME, nodedot.log())[0]
    then = datetime.datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ")
    assert abs((datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - then).total_seconds()) < 60


@pytest.mark.parametrize(
    "level,shown", [("error", {"error"}), ("warn", {"error", "warn"}), ("info", {"error", "warn", "info"})]
)
def test_the_level_is_kept_to(start, upstream, level, shown):
    program = start(upstream, log={"level": level}, up={"pin": PIN}, wait="serving")
    program.ask("a.test")
    program.wait_log("level=error")
    program.stop()
    assert set(re.findall(r"(?m)^\S+ level=(\w+)", program.log())) <= shown


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_certificate_forges_no_line(start, make_upstream, tmp_path, form):
    """Its names are the peer's words."""
    evil = Authority(tmp_path, EVIL[:60])
    server = make_upstream(evil.issue("dot.test", common_name=EVIL[:60]))
    program = start(server, log={"format": form, "level": "debug"}, up={"pin": PIN}, wait="serving")
    program.ask("a.test")
    program.wait_log("error")
    program.stop()
    for line in program.log().splitlines():
        if form == "text":
            assert LOGFMT.fullmatch(line), line
        else:
            assert json.loads(line)["msg"] != "forged"
        assert "\x1b" not in line
    assert not re.search(r"(?m)^level=error msg=forged", program.log())


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_query_name_forges_no_line(start, upstream, form):
    program = start(upstream, log={"format": form, "level": "debug"})
    label = EVIL.encode()[:63]
    octets = wire.query("x")[:12] + bytes([len(label)]) + label + b"\4test\0\0\1\0\1"
    upstream.default = behaviours.failure(options=wire.option(wire.EDE, b"\0\x16" + EVIL.encode()))
    for transport in ("udp", "tcp"):
        assert program.exchange(octets, transport) is not None
    program.stop()
    for line in program.log().splitlines():
        assert json.loads(line) if form == "json" else LOGFMT.fullmatch(line), line
        assert "\x1b" not in line


def test_query_names_do_not_break_the_status(nodedot):
    label = b'a"{}\n\\'
    nodedot.exchange(wire.query("x")[:12] + bytes([len(label)]) + label + b"\0\0\1\0\1")
    assert nodedot.counter("queries_udp_total") >= 1


def test_no_query_name_is_logged_by_default(start, upstream):
    program = start(upstream)
    for name in ("private.example", "secret.test"):
        program.ask(name)
    upstream.behave("fails.test", behaviours.failure())
    program.ask("fails.test")
    program.stop()
    assert not re.search("private|secret|fails", program.log())


def test_clients_cannot_flood_the_log(nodedot):
    rng = random.Random(2)
    before = len(nodedot.log().splitlines())
    with nodedot.udp() as udp:
        for _ in range(2000):
            udp.send(rng.randbytes(rng.choice((5, 20, 60))))
    for _ in range(100):
        with nodedot.tcp() as tcp:
            tcp.send(rng.randbytes(30))
            tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    nodedot.ask("a.test")
    assert len(nodedot.log().splitlines()) - before <= 10


def test_an_upstream_cannot_flood_the_log(nodedot):
    nodedot.ask("a.test")
    before = len(nodedot.log().splitlines())
    nodedot.upstream.default = lambda q: [behaviours.Reply(b"\0" * 5)] * 20 + behaviours.proper()(q)
    for i in range(50):
        nodedot.ask(f"f{i}.test")
        nodedot.upstream.close_connections("rst")
    assert len(nodedot.log().splitlines()) - before <= 40


def test_a_lasting_outage_is_told_once(start, upstream):
    program = start(upstream)
    before = len(program.log())
    upstream.stop_listening()
    upstream.close_connections("rst")
    for i in range(6):
        program.ask(f"out{i}.test")
        time.sleep(0.7)
    lines = program.log()[before:].splitlines()
    assert 1 <= len(lines) <= 6, lines


def test_a_line_names_what_happened_to_whom(start, upstream):
    program = start(upstream, up={"pin": PIN}, wait="serving")
    line = program.wait_log(r"(?m)^.*level=error.*$")[0]
    assert "upstream=up" in line and f"{upstream.address}:{upstream.dot_port}" in line and "reason=" in line


def test_debug_tells_of_each_connection_when_it_begins_and_why_it_ends(start, upstream):
    program = start(upstream, log={"level": "debug"})
    where = f"upstream=up address={upstream.address}:{upstream.dot_port}"
    program.wait_log(rf'level=debug msg="upstream connection is ready" {where} reason="full handshake"')
    upstream.close_connections("notify")
    program.ask("a.test")
    program.wait_log(rf'level=debug msg="upstream connection closed" {where} reason=\S')
    program.wait_log(rf'level=debug msg="upstream connection is ready" {where} reason="resumed handshake"')
    upstream.stop_listening()
    upstream.close_connections("rst")
    program.ask("b.test")
    program.wait_log(rf'level=debug msg="upstream connection did not become ready" {where} reason="Connection refused"')


def test_a_log_that_nobody_reads_does_not_stop_the_service(start, upstream):
    """stderr may be a full pipe; here it is closed altogether after the start."""
    program = start(upstream, log={"level": "debug"})
    program.log_file.unlink()
    for i in range(10):
        program.ask(f"a{i}.test")


def test_a_reader_that_is_stuck_stops_nothing(start, upstream, tmp_path):
    """It keeps the pipe open and reads no more, so every write would wait for ever."""
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    under = ["sh", "-c", f"exec \"$@\" 2>{path}", "sh"]
    program = start(upstream, log={"level": "debug"}, under=under)
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(reader, b"x" * 4096)
        first = program.resolver()
        program.signal(signal.SIGHUP)
        wait_until(lambda: program.resolvers() not in ([], [first]) and len(program.resolvers()) == 1, 15, "a reload")
        upstream.close_connections("rst")
        for i in range(20):
            assert program.ask(f"a{i}.test").rcode() == wire.NOERROR
        assert program.is_alive() and program.is_ready()

        def lost(process):
            shown = run("status", "-c", program.file, "--json").stdout
            return json.loads(shown)["processes"][process]["log_lines_lost"]

        for process in ("supervisor", "resolver"):
            wait_until(lambda process=process: lost(process) > 0, 5, f"lines lost by the {process}")
    finally:
        program.stop()
        os.close(reader)

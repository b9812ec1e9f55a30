"""The query log: every query or a sample, as lines or as dnstap frames; it never holds up a query."""

import datetime
import ipaddress
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import dns.message
import pytest

from harness import behaviours, dnstap, wire
from harness.program import render, run as run_command
from harness.waiting import wait_until

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
VALUE = r'(?:[^\s"=]*|"(?:[^"\\]|\\.)*")'
LOGFMT = re.compile(rf"{TIME} level=(error|warn|info|debug) msg={VALUE}( [a-z0-9_-]+={VALUE})*")
EVIL = b'a" from=cache\n{"x":1}\r\x1b[31m\\'
LONG = ".".join(["x" * 60] * 4)  # as long as a name can be with a short label behind
FLOOD = 4000  # queries for LONG names: more than the ring of a worker and a socket or pipe hold


@pytest.fixture
def logged(start, upstream):
    """A function that starts the program with the query log on."""

    def run(queries="yes", form="json", log=None, **more):
        program = start(upstream, log={"queries": queries, "format": form, **(log or {})}, **more)
        program.upstream = upstream
        return program

    return run


@pytest.fixture
def tap():
    """A directory for a socket. A resolver that was started by root runs as a user of its own, and must get there."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="nodedot-tap-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def collect(tap):
    """A function that starts a collector of dnstap frames."""
    made = []

    def run(**settings):
        collector = dnstap.Collector(tap / "socket", **settings)
        made.append(collector)
        return collector

    yield run
    for collector in made:
        collector.stop()


def entries(program):
    """The query log's lines so far, as JSON."""
    parsed = [json.loads(line) for line in program.log().splitlines()]
    return [entry for entry in parsed if entry["msg"] == "query"]


def wait_entries(program, count):
    wait_until(lambda: len(entries(program)) >= count, 5, f"{count} lines\n{program.log()}")
    return entries(program)


def flood(program, count=FLOOD):
    """Asks for long names that are answered at once, one after the other."""
    with program.udp() as udp:
        for i in range(count):
            assert udp.ask(wire.query(f"{i}.{LONG[8:]}.invalid")) is not None


def test_nothing_is_logged_and_no_thread_runs_when_it_is_off(start, upstream):
    threads = {}
    for queries in ("no", "yes"):
        program = start(upstream, log={"queries": queries, "format": "json"})
        program.ask("a.test")
        threads[queries] = len(os.listdir(f"/proc/{program.resolver()}/task"))
        program.stop()
        assert len(entries(program)) == (0 if queries == "no" else 1)
        assert program.file.exists()
    assert threads["yes"] == threads["no"] + 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_line_tells_the_query_and_its_answer(logged, transport):
    program = logged()
    program.upstream.behave("slow.test", behaviours.delay(0.2))
    before = time.time()
    answer = program.exchange(wire.query("slow.test", wire.AAAA, edns=wire.opt(do=True)), transport)
    entry = wait_entries(program, 1)[0]
    assert list(entry)[:3] == ["time", "level", "msg"]
    assert entry["client"].rpartition(":")[0].startswith("127.")
    assert entry["local"] == f"{program.address}:{program.port}"
    assert (entry["transport"], entry["name"], entry["type"]) == (transport, "slow.test", "AAAA")
    assert entry["flags"] == "rd,do"
    assert (entry["from"], entry["rcode"]) == ("upstream", "NOERROR")
    assert entry["size"] == len(answer)
    assert 200_000 <= entry["duration_us"] < 5_000_000
    assert entry["upstream"] == "up" and entry["server"] == f"{program.upstream.address}:{program.upstream.dot_port}"
    arrival = datetime.datetime.strptime(entry["time"], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
    assert before - 0.01 < arrival < before + 3  # not that of the answer, nor of the writing


def test_every_source_of_an_answer_has_its_word(logged):
    program = logged(limits={"timeout": 400}, cache={"min-ttl": 0})
    up = program.upstream
    up.behave("silent.test", behaviours.drop())
    up.behave("ends.test", behaviours.proper(ttl=1))
    up.behave("bad.test", behaviours.failure())
    for name in ("a.test", "A.test", "localhost", "silent.test", "bad.test", "bad.test", "ends.test"):
        program.ask(name)
    program.exchange(wire.query("b.test", flags=0))
    program.exchange(wire.query("c.test", edns=wire.opt(version=1)))
    program.exchange(wire.query("d.test", qclass=3))
    program.exchange(wire.query("e.test")[:20])
    time.sleep(1.1)  # until the answer is stale
    up.go_dark()
    program.ask("ends.test")
    told = [(e.get("name"), e["from"], e["rcode"]) for e in wait_entries(program, 12)]
    assert told == [
        ("a.test", "upstream", "NOERROR"),
        ("a.test", "cache", "NOERROR"),
        ("localhost", "local", "NOERROR"),
        ("silent.test", "failure", "SERVFAIL"),
        ("bad.test", "upstream", "SERVFAIL"),
        ("bad.test", "cache", "SERVFAIL"),
        ("ends.test", "upstream", "NOERROR"),
        ("b.test", "policy", "REFUSED"),
        ("c.test", "policy", "BADVERS"),
        ("d.test", "policy", "REFUSED"),
        (None, "policy", "FORMERR"),
        ("ends.test", "stale", "NOERROR"),
    ]
    assert entries(program)[9]["class"] == "CH"
    assert all(("upstream" in e) == ("server" in e) == (e["from"] == "upstream") for e in entries(program))


def test_what_is_dropped_is_logged_with_its_cause(logged):
    program = logged(acl={"allow": "127.0.0.0/8", "deny": "127.0.0.99/32"})
    assert program.exchange(wire.query("denied.test"), timeout=0.3, source="127.0.0.99") is None
    assert program.exchange(b"short", timeout=0.3) is None
    first, second = wait_entries(program, 2)
    assert (first["dropped"], first["name"]) == ("acl", "denied.test") and first["client"].startswith("127.0.0.99:")
    assert second["dropped"] == "short" and "name" not in second
    assert all("from" not in e and "rcode" not in e for e in (first, second))


def test_a_client_that_leaves_before_its_answer_is_logged(logged):
    program = logged()
    program.upstream.behave("late.test", behaviours.delay(0.5))
    with program.tcp() as tcp:
        tcp.send(wire.query("late.test"))
        wait_until(lambda: program.upstream.asked("late.test"), 5, "the question at the upstream")
        tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with RST
    assert wait_entries(program, 1)[0]["dropped"] == "client_gone"


def test_a_client_that_leaves_is_not_logged_with_the_cause_of_another(logged):
    program = logged(acl={"allow": "127.0.0.0/8", "deny": "127.0.0.99/32"})
    program.upstream.behave("late.test", behaviours.delay(1))
    with program.tcp() as tcp:
        tcp.send(wire.query("late.test"))
        wait_until(lambda: program.upstream.asked("late.test"), 5, "the question at the upstream")
        tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with RST
    assert program.exchange(wire.query("denied.test"), timeout=0.3, source="127.0.0.99") is None
    told = {e["name"]: e["dropped"] for e in wait_entries(program, 2)}
    assert told == {"denied.test": "acl", "late.test": "client_gone"}


def test_a_truncated_answer_is_marked(logged):
    program = logged()
    program.upstream.behave("big.test", behaviours.addresses(200))
    program.exchange(wire.query("big.test"))
    assert wait_entries(program, 1)[0]["truncated"] == "yes"


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_name_forges_a_line(logged, form):
    program = logged(form=form)
    names = [EVIL, bytes(range(32)), bytes(range(127, 190)), b"\xff" * 63, b".", b"\\", b'"', b"=", b" "]
    for label in names:
        octets = wire.query("x")[:12] + bytes([len(label)]) + label + b"\4test\0\0\1\0\1"
        assert program.exchange(octets) is not None
    worst = b"".join(bytes([n]) + b'"' * n for n in (63, 63, 63, 59)) + b"\0"
    assert program.exchange(wire.query("x")[:12] + worst + b"\0\1\0\1") is not None
    program.stop()
    lines = program.log().splitlines()
    assert sum("query" in line and "transport" in line for line in lines) == len(names) + 1
    for line in lines:
        assert json.loads(line) if form == "json" else LOGFMT.fullmatch(line), line
        assert all(" " <= character <= "~" for character in line)
    if form == "json":
        told = entries(program)
        assert [e["from"] for e in told] == ["upstream"] * (len(names) + 1)
        assert told[0]["name"].startswith('a\\"\\032from=cache\\010{')


def test_a_sample_is_about_one_in_n_of_every_kind(logged):
    """A and AAAA in turn, as stub resolvers ask: a log of every tenth query would hold one of them alone."""
    program = logged("sampled", log={"queries-sample": 10})
    with program.udp() as udp:
        for i in range(4000):
            assert udp.ask(wire.query("localhost", wire.AAAA if i % 2 else wire.A)) is not None
    program.stop()
    types = [e["type"] for e in entries(program)]
    assert 280 < len(types) < 520  # 400 expected; the distance varies evenly from 1 to 19: sigma is 12
    assert min(types.count("A"), types.count("AAAA")) > 100


def test_a_masked_client_is_a_network(logged):
    program = logged(log={"queries-mask": "yes"})
    program.ask("a.test", source="127.1.2.3")
    assert wait_entries(program, 1)[0]["client"] == "127.1.2.0/24"
    assert "127.1.2.3" not in program.log()


def test_what_is_logged_before_a_reload_and_a_stop_is_written(logged):
    program = logged()
    for i in range(50):
        program.ask(f"a{i}.test")
    program.signal(signal.SIGHUP)
    program.wait_log("resolver ended")
    for i in range(50, 100):
        program.ask(f"a{i}.test")
    program.stop()
    assert [e["name"] for e in entries(program)] == [f"a{i}.test" for i in range(100)]


def test_counters_tell_what_was_written(logged):
    program = logged()
    for i in range(20):
        program.ask("localhost")
    program.wait_counter("query_log_total", 20)
    assert program.counter("query_log_total") == 20 and program.counter("query_log_dropped_total") == 0


def test_a_standard_error_that_nobody_reads_stops_no_query(start, upstream, tmp_path):
    directory = tmp_path / "stuck"
    directory.mkdir()
    fifo = directory / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    program = start(upstream, directory=directory, log={"queries": "yes", "format": "json"})
    flood(program)
    assert program.ask("a.test").answer
    counters = program.counters()
    assert counters["query_log_dropped_total"] > 0
    took = time.monotonic()
    program.signal(signal.SIGTERM)
    assert program.process.wait(5) == 0 and time.monotonic() - took < 3.5
    text = b""
    while chunk := _read(reader):
        text += chunk
    os.close(reader)
    fifo.unlink()
    lines = [json.loads(line) for line in text.decode().splitlines()]
    assert sum(line["msg"] == "query" for line in lines) == counters["query_log_total"]
    assert lines[-1]["msg"] == "stopped"  # what matters found room in the pipe


def _read(fd):
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""


# dnstap ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_frame_tells_the_query_and_its_answer(logged, collect, transport):
    collector = collect()
    before = time.time()
    program = logged(log={"dnstap": collector.path}, server={"node-name": "worker-1"})
    q = dns.message.make_query("a.test", "A")
    with (program.udp if transport == "udp" else program.tcp)() as c:
        port = c.socket.getsockname()[1]
        answer = c.ask(q.to_wire())
    frame = collector.wait(1)[0]
    assert frame["type"] == dnstap.CLIENT_RESPONSE
    assert frame["identity"] == b"worker-1" and frame["version"].startswith(b"nodedot ")
    server = f"{program.upstream.address}:{program.upstream.dot_port}"
    assert frame["extra"].decode() == f"from=upstream upstream=up server={server}"
    assert (frame["family"], frame["protocol"]) == (1, 1 if transport == "udp" else 2)
    assert ipaddress.ip_address(frame["query_address"]).is_loopback and frame["query_port"] == port
    assert str(ipaddress.ip_address(frame["response_address"])) == program.address
    assert frame["response_port"] == program.port
    assert frame["response_message"] == answer
    asked = frame["query_sec"] + frame["query_nsec"] / 1e9
    answered = frame["response_sec"] + frame["response_nsec"] / 1e9
    assert before - 1 < asked < answered < time.time() + 1
    assert not entries(program)
    program.stop()
    assert collector.controls == [dnstap.READY, dnstap.START, dnstap.STOP]


def test_the_largest_answer_is_in_its_frame_whole(logged, collect):
    collector = collect()
    program = logged(log={"dnstap": collector.path})
    program.upstream.behave("huge.test", behaviours.addresses(4000))
    answer = program.exchange(wire.query("huge.test"), "tcp")
    assert len(answer) > 60000
    assert collector.wait(1)[0]["response_message"] == answer


def test_a_dropped_query_is_a_frame_without_answer(logged, collect):
    collector = collect()
    program = logged(log={"dnstap": collector.path}, acl={"allow": "127.0.0.0/8", "deny": "127.0.0.99/32"})
    octets = wire.query("denied.test", id=0x4711, edns=wire.opt())
    assert program.exchange(octets, timeout=0.3, source="127.0.0.99") is None
    frame = collector.wait(1)[0]
    assert frame["type"] == dnstap.CLIENT_QUERY and frame["extra"] == b"dropped=acl"
    assert "response_message" not in frame and "response_sec" not in frame
    assert frame["query_message"] == wire.query("denied.test", id=0x4711)


def test_a_masked_client_is_a_network_in_frames_too(logged, collect):
    collector = collect()
    program = logged(log={"dnstap": collector.path, "queries-mask": "yes"})
    program.ask("a.test", source="127.1.2.3")
    frame = collector.wait(1)[0]
    assert frame["query_address"] == bytes([127, 1, 2, 0]) and "query_port" not in frame
    assert bytes([127, 1, 2, 3]) not in collector.frames[0]


def test_the_standard_tools_read_it(logged, tap):
    for tool in ("fstrm_capture", "dnstap-ldns"):
        assert shutil.which(tool), f"{tool} is not installed"
    path, taken = tap / "socket", tap / "taken"
    capture = subprocess.Popen(
        ["fstrm_capture", "-t", "protobuf:dnstap.Dnstap", "-u", path, "-w", taken], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(path.exists, 5, "the socket of fstrm_capture")
        path.chmod(0o666)
        program = logged(log={"dnstap": path})
        program.ask("a.test")
        program.ask("gone.invalid", "AAAA", "tcp")
        program.exchange(wire.query("x")[:12] + b"\3a\"\n\4test\0\0\1\0\1")
        program.stop()
    finally:
        capture.terminate()
        assert capture.wait(5) == 0
    shown = subprocess.run(["dnstap-ldns", "-q", "-r", taken], capture_output=True, text=True, check=True).stdout
    lines = [line.split(" ", 2)[2] for line in shown.splitlines()]
    assert re.fullmatch(r'CR 127\.\S+ UDP \d+b "a\.test\." IN A', lines[0])
    assert re.fullmatch(r'CR 127\.\S+ TCP \d+b "gone\.invalid\." IN AAAA', lines[1])
    assert "test." in lines[2] and len(lines) == 3


def test_a_collector_may_come_late_and_come_back(logged, collect):
    first = collect()
    first.stop()
    program = logged(log={"dnstap": first.path})
    program.wait_log("dnstap not connected")
    program.ask("early.test")
    first.__init__(first.path)  # what waited in the ring is delivered
    assert b"early" in first.wait(1)[0]["response_message"]
    first.stop()
    program.ask("between.test")
    first.__init__(first.path)
    program.ask("after.test")
    messages = [frame["response_message"] for frame in first.wait(2)]
    assert b"between" in messages[0] and b"after" in messages[1]
    assert program.counter("query_log_dropped_total") == 0


def test_a_collector_that_never_reads_stops_no_query(logged, collect):
    collector = collect(reads=False)
    program = logged(log={"dnstap": collector.path})
    flood(program)
    assert program.ask("a.test").answer
    program.wait_counter("query_log_dropped_total", 1)
    program.stop()


def test_a_collector_of_something_else_gets_nothing(logged, collect):
    collector = collect(accepts=b"protobuf:something.Else")
    program = logged(log={"dnstap": collector.path})
    program.ask("a.test")
    program.wait_log("dnstap not connected.*Frame Streams")
    assert not collector.frames
    program.stop()
    assert dnstap.START not in collector.controls


def test_without_the_log_no_collector_is_asked(start, upstream, collect):
    collector = collect()
    program = start(upstream, log={"queries": "no", "dnstap": collector.path})
    program.ask("a.test")
    program.stop()
    assert collector.connections == 0


@pytest.mark.parametrize("length,fits", [(107, True), (108, False)])
def test_a_path_that_is_no_socket_address_is_an_error(make_config, upstream, tmp_path, length, fits):
    file = tmp_path / "a.ini"
    file.write_text(render(make_config(upstream, log={"dnstap": "/" + "x" * (length - 1)})))
    checked = run_command("check", "-c", file)
    assert (checked.returncode == 0) == fits
    assert fits or "108 octets, expected the path of a Unix socket, at most 107 octets" in checked.stderr

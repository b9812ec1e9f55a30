"""The metrics port: what it tells, and what it takes."""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from harness import behaviours, client, wire
from harness.program import READINESS_PORT, binary, run
from harness.waiting import wait_until

METRICS_PORT = 9553
IDENTITY_STATES = {"unverified", "valid", "mismatch", "unreachable", "clock"}
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


def test_both_formats_parse_and_every_family_is_described_once(program):
    """The rules of the formats, by our own reading of them, and by Prometheus' where its tools are installed."""
    program.ask("a.test")
    for accept, kind in ((None, TEXT), ("application/openmetrics-text", OPENMETRICS)):
        reply = get(program, accept=accept)
        assert reply.status == 200 and reply.headers["content-type"] == kind
        page = reply.body.decode("ascii")
        check_page(page, kind == OPENMETRICS)
    if shutil.which("promtool"):
        linted = subprocess.run(
            ["promtool", "check", "metrics"], input=get(program).body, capture_output=True, timeout=20, check=False
        )
        assert linted.returncode == 0, linted.stdout + linted.stderr


def check_page(page, openmetrics):
    families, family, kind = set(), None, None
    lines = page.split("\n")
    assert lines.pop() == ""  # the last line ends with a line feed
    if openmetrics:
        assert lines.pop() == "# EOF"
    for line in lines:
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in families and re.fullmatch("nodedot_[a-z0-9_]+", family), line
            families.add(family)
            kind = None
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == family and kind in ("counter", "gauge", "histogram", "info"), line
            assert (kind == "counter") == (not openmetrics and family.endswith("_total")) or openmetrics, line
        elif line.startswith("# UNIT "):
            assert openmetrics and line.split()[2] == family and family.endswith("_" + line.split()[3]), line
        else:
            name = re.match("[a-z0-9_]+", line)[0]
            suffixes = {
                "counter": ["_total"] if openmetrics else [""],
                "gauge": [""],
                "histogram": ["_bucket", "_sum", "_count"],
                "info": ["_info"],
            }[kind]
            assert name in {family + suffix for suffix in suffixes}, line
            assert re.search(r" \d+(\.\d+)?$", line), line
    assert len(families) > 60


def test_the_kinds_of_openmetrics_are_told_by_the_accept_header(program):
    prometheus = (
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    )
    assert get(program, accept=prometheus).headers["content-type"] == OPENMETRICS
    assert get(program, accept="text/html,*/*;q=0.8").headers["content-type"] == TEXT
    assert get(program, accept="application/openmetrics-text;version=7").headers["content-type"] == TEXT


def test_both_paths_of_health_say_ok_when_all_is_well(program):
    for path in ("/healthz", "/readyz"):
        reply = get(program, path)
        assert (reply.status, reply.body) == (200, b"ok\n")


def test_readyz_follows_the_upstream_and_names_the_zone(start_metrics, make_upstream):
    server = make_upstream()
    server.stop_listening()
    program = start_metrics(server, wait="serving")
    reply = get(program, "/readyz")
    assert reply.status == 503 and reply.body == b"zone .: no address of upstream up is usable\n"
    assert get(program, "/healthz").status == 200
    assert value(program, "nodedot_ready") == 0
    server.listen_again()
    wait_until(lambda: get(program, "/readyz").status == 200, 15, "readiness")
    wait_until(lambda: value(program, "nodedot_ready") == 1, 5, "the same of the page")


def test_a_head_request_has_the_length_and_no_content(program):
    reply = get(program, method="HEAD")
    assert reply.status == 200 and int(reply.headers["content-length"]) > 10000 and reply.body == b""


def test_histograms_count_every_answer(program):
    names = [f"n{i}.test" for i in range(5)]
    for name in names:
        program.ask(name)
    for name in names * 2:
        program.ask(name, transport="tcp")
    program.ask("localhost")
    assert value(program, "nodedot_miss_duration_seconds_count") == 5
    assert value(program, "nodedot_hit_duration_seconds_count") == 11
    found = samples(program)
    for kind in ("hit", "miss"):
        buckets = [
            (dict(labels)["le"], v) for (n, labels), v in found.items() if n == f"nodedot_{kind}_duration_seconds_bucket"
        ]
        assert len(buckets) == 36 and buckets[-1][0] == "+Inf"
        assert [v for _, v in buckets] == sorted(v for _, v in buckets)
        assert [float(le) for le, _ in buckets] == sorted(float(le) for le, _ in buckets)
        assert buckets[-1][1] == found[f"nodedot_{kind}_duration_seconds_count", frozenset()]
        assert 0 < found[f"nodedot_{kind}_duration_seconds_sum", frozenset()] < 60


def test_queries_are_counted_by_type(program):
    for qtype in ("A", "A", "AAAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "CAA"):
        program.ask("a.test", qtype)
    found = {dict(labels)["type"]: v for (n, labels), v in samples(program).items() if n == "nodedot_query_types_total"}
    assert found == {
        "A": 2, "AAAA": 1, "CNAME": 1, "HTTPS": 1, "MX": 1, "NS": 1, "PTR": 1, "SOA": 1, "SRV": 1, "TXT": 1, "other": 1,
    }  # fmt: skip


def test_the_busiest_clients_come_with_their_rates_and_are_ten_at_most(program):
    for i in range(1, 15):
        source = f"127.66.0.{i}"
        with program.udp(source) as udp:
            for _ in range(3 * i):
                udp.ask(wire.query("localhost"), timeout=2)
    found = {
        dict(labels)["client"]: v
        for (n, labels), v in samples(program).items()
        if n == "nodedot_busiest_client_queries_per_second"
    }
    assert len(found) == 10
    assert max(found, key=found.get) == "127.66.0.14" and "127.66.0.1" not in found


def test_both_processes_tell_what_they_use(program):
    wait_until(lambda: value(program, "nodedot_process_resident_memory_bytes", process="supervisor") > 0, 5, "a turn")
    for process in ("supervisor", "resolver"):
        assert 10**5 < value(program, "nodedot_process_resident_memory_bytes", process=process) < 10**9
        assert 5 < value(program, "nodedot_process_open_fds", process=process) < 200
    assert value(program, "nodedot_process_cpu_seconds_total", process="resolver") > 0


def test_the_identity_of_an_upstream_is_told(program):
    state = {
        dict(labels)["state"]: v
        for (n, labels), v in samples(program).items()
        if n == "nodedot_upstream_identity_state"
    }
    assert state == {name: float(name == "valid") for name in IDENTITY_STATES}
    now = time.time()
    assert now - 60 < value(program, "nodedot_upstream_last_validation_timestamp_seconds") <= now + 1
    assert now - 60 < value(program, "nodedot_upstream_identity_since_timestamp_seconds") <= now + 1
    assert value(program, "nodedot_upstream_certificate_expiry_timestamp_seconds") > now
    assert value(program, "nodedot_upstream_pins_configured", upstream="up") == 1
    assert value(program, "nodedot_upstream_pin_matched", pin="1") == 1


def test_a_name_with_quotes_and_line_feeds_does_not_break_the_page(program):
    for name in ('a"b\\010c.test', "{}=,\\032 .test", "\\000\\255.test"):
        program.exchange(client.make_query(name, "A").to_wire())
    check_page(get(program).body.decode("ascii"), False)
    samples(program)


# Generations ----------------------------------------------------------------------------------------------------------------


def counters_of(program):
    page = get(program).body.decode()
    counters = set(re.findall(r"(?m)^# TYPE (\S+) counter$", page))
    histograms = re.findall(r"(?m)^# TYPE (\S+) histogram$", page)
    counters |= {name + suffix for name in histograms for suffix in ("_bucket", "_count", "_sum")}
    return {key: v for key, v in samples(program).items() if key[0] in counters}


def assert_none_went_back(before, after):
    back = {key: (v, after.get(key)) for key, v in before.items() if after.get(key, -1) < v}
    assert not back, back


def test_no_counter_goes_back_over_reloads_and_crashes(program):
    def works(i):
        for j in range(5):
            program.ask(f"n{i}-{j}.test")

    works(0)
    before = counters_of(program)
    for i in range(1, 4):
        old = program.resolver()
        if i == 2:
            os.kill(old, signal.SIGKILL)
        else:
            program.signal(signal.SIGHUP)
        wait_until(lambda: [r for r in program.resolvers() if r != old] == program.resolvers() != [], 15, "another")
        program.wait_ready()
        works(i)
        after = counters_of(program)
        assert_none_went_back(before, after)
        before = after
    assert value(program, "nodedot_generations_lost_total") == 1
    assert value(program, "nodedot_reloads_total", result="success") == 2
    assert value(program, "nodedot_upstream_queries_total") >= 20
    assert value(program, "nodedot_miss_duration_seconds_count") == 20


def test_no_scrape_is_lost_over_reloads(program):
    """A connection that the old generation accepted just before its end has its answer as well."""
    lost, end = [], threading.Event()

    def scrape():
        while not end.is_set():
            reply = get(program)
            if reply is None or reply.status != 200:
                lost.append(reply)

    scrapers = [threading.Thread(target=scrape) for _ in range(2)]
    for scraper in scrapers:
        scraper.start()
    try:
        for count in range(1, 7):
            program.signal(signal.SIGHUP)
            program.wait_counter("reloads_succeeded_total", count)
    finally:
        end.set()
        for scraper in scrapers:
            scraper.join()
    assert not lost


def test_a_failed_reload_shows_until_a_good_one(program):
    good = program.config
    program.write_config("[server]\nlisten = nonsense\n")
    wait_until(lambda: value(program, "nodedot_config_last_reload_successful") == 0, 15, "the failure")
    assert value(program, "nodedot_reloads_total", result="failure") >= 1
    program.write_config(good)
    wait_until(lambda: value(program, "nodedot_config_last_reload_successful") == 1, 15, "the success")


def test_a_configuration_waits_for_a_port_and_is_taken_up_when_it_is_free(program):
    with socket.create_server((program.address, 9602)):
        program.write_config({**program.config, "probes": {"liveness-port": 9602}})
        wait_until(lambda: value(program, "nodedot_config_waiting") == 1, 15, "the wait")
        program.wait_log(r"level=error .*reload failed.*9602(.*\n)+?.*level=warn .*configuration waiting")
        shown = run("status", "-c", program.file).stdout
        assert re.search(r"(?m)^configuration waiting: cannot bind .*9602", shown), shown
        reloads = json.loads(run("status", "-c", program.file, "--json").stdout)["reloads"]
        assert reloads["waiting"] is True and "9602" in reloads["reason"]
        assert program.ask("meanwhile.test").rcode() == wire.NOERROR
    wait_until(lambda: value(program, "nodedot_config_waiting") == 0, 45, "the configuration to be taken up")
    assert value(program, "nodedot_config_last_reload_successful") == 1
    assert "configuration waiting" not in run("status", "-c", program.file).stdout


def test_the_port_follows_the_configuration(program):
    other = f"{program.address}:9600"
    program.write_config({**program.config, "metrics": {"listen": other}})

    def moved():
        try:
            with socket.create_connection((program.address, 9600), timeout=1) as s:
                s.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                return read_reply(s).status == 200
        except OSError:
            return False

    wait_until(moved, 15, "the new port")
    wait_until(lambda: not accepts(program), 15, "the old port to close")


def accepts(program):
    try:
        connect(program, 1).close()
        return True
    except OSError:
        return False


def test_a_taken_port_is_named_and_a_reload_with_one_keeps_the_old(program, tmp_path):
    with socket.create_server((program.address, 9600)):
        program.write_config({**program.config, "metrics": {"listen": f"{program.address}:9600"}})
        program.wait_log(rf"cannot bind {re.escape(program.address)}:9600/tcp \(metrics port\): Address already in use")
        assert value(program, "nodedot_reloads_total", result="failure") == 1
        assert program.ask("a.test")


def test_a_port_of_another_use_is_a_configuration_error(program):
    for port in (5353, READINESS_PORT):
        config = {**program.config, "metrics": {"listen": f"{program.address}:{port}"}}
        program.write_config(config)
        checked = run("check", "-c", program.file)
        assert checked.returncode == 2 and "is taken by" in checked.stderr
    program.write_config({**program.config, "metrics": {"listen": f"{program.address}:{METRICS_PORT}"}})


# What is refused ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", 405),
        (b"DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /metrics/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /%6detrics HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),  # TLS
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET /metrics HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 100000, 431),
    ],
    ids=lambda v: v[:24].decode("latin-1") if isinstance(v, bytes) else str(v),
)
def test_a_wrong_request_is_told_what_is_wrong(program, octets, status):
    reply = exchange(program, octets)
    assert reply.status == status
    if status == 405:
        assert reply.headers["allow"] == "GET, HEAD"
    assert get(program, "/metrics?x=y").status == 200


def test_a_connection_serves_one_request_after_the_other(program):
    with connect(program) as s:
        for _ in range(3):
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_reply(s).status == 200
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 20)  # ahead
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        octets = b""
        while more := s.recv(65536):
            octets += more
        assert octets.count(b"HTTP/1.1 200 OK") == 21 and octets.count(b"\r\n\r\nok\n") == 21


def test_http_1_0_is_answered_and_closed(program):
    with connect(program) as s:
        s.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert read_reply(s).headers["connection"] == "close"
        assert s.recv(1) == b""


def test_slow_and_many_clients_harm_neither_dns_nor_who_scrapes(program):
    """Octet by octet, nothing at all, and never reading, many at once."""
    held = []
    with program.load(200, itertools.repeat("a.test")) as load:
        for i in range(150):
            s = connect(program)
            held.append(s)
            if i % 3 == 0:
                s.sendall(b"G")
            elif i % 3 == 1:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                s.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
            if i % 10 == 0:
                assert get(program).status == 200
        for s in held[::3]:
            try:
                s.sendall(b"E")
            except OSError:
                pass
        assert get(program, "/healthz").status == 200
    assert load.sent > 0 and not load.wrong and not load.lost
    for s in held:
        s.close()


FLOODS = {
    "silent": "pass",
    "half_a_request": "s.send(b'GET /metr')",
    "never_reading": "s.send(b'GET /metrics HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' * 30)",
    "endless_header": "s.send(b'GET /metrics HTTP/1.1\\r\\nHost: a\\r\\nX: ' + b'y' * 60000)",
}
FLOOD = """
import contextlib, socket, sys, time
end, held = time.monotonic() + 2, []
while time.monotonic() < end:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    s.bind((sys.argv[3], 0))
    s.settimeout(0.2)
    with contextlib.suppress(OSError):
        s.connect((sys.argv[1], int(sys.argv[2])))
        {}
    held.append(s)
    if len(held) == 300:
        for s in held[:100]:
            s.close()
        del held[:100]
"""


@pytest.mark.parametrize("kind", FLOODS)
def test_a_client_that_floods_the_port_takes_nothing_from_who_scrapes(program, address, kind):
    """However often it connects, it is its own connections that make room."""
    code = FLOOD.format(FLOODS[kind])
    flood = subprocess.Popen([sys.executable, "-c", code, program.address, str(METRICS_PORT), address()])
    scrapes = 0
    try:
        while flood.poll() is None:
            assert get(program).status == 200
            scrapes += 1
            time.sleep(0.02)
        assert flood.wait() == 0
    finally:
        flood.kill()
        flood.wait()
    assert scrapes > 5


def test_a_request_that_is_not_finished_is_given_up_after_5_s(program):
    with connect(program, timeout=12) as s:
        began = time.monotonic()
        s.sendall(b"GET /metrics HTTP/1.1\r\n")
        for _ in range(3):
            time.sleep(1)
            s.sendall(b"X")
        assert s.recv(1) == b""
        assert 4 < time.monotonic() - began < 9


def test_a_scrape_costs_little(program):
    before = value(program, "nodedot_process_cpu_seconds_total", process="resolver")
    with connect(program) as s:
        for _ in range(200):
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_reply(s).status == 200
    spent = value(program, "nodedot_process_cpu_seconds_total", process="resolver") - before
    if not program.sanitized():
        assert spent / 200 < 0.001


def test_without_the_option_there_is_no_port(nodedot):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((nodedot.address, METRICS_PORT), timeout=2)


# Every counter moves --------------------------------------------------------------------------------------------------------

OF_QUERIES = {
    *(f'nodedot_query_types_total{{type="{t}"}}' for t in "A AAAA CNAME HTTPS MX NS PTR SOA SRV TXT other".split()),
    *(f'nodedot_queries_total{{transport="{t}"}}' for t in ("udp", "tcp")),
    *(
        f'nodedot_answers_total{{rcode="{r}"}}'
        for r in ("NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "other")
    ),
    *(f'nodedot_cookies_total{{state="{s}"}}' for s in ("valid", "other")),
    "nodedot_answers_sent_total",
    "nodedot_answers_truncated_total",
    "nodedot_answers_local_total",
    "nodedot_cache_hits_total",
    "nodedot_cache_misses_total",
    "nodedot_cache_stores_total",
    "nodedot_hit_duration_seconds_count",
    "nodedot_miss_duration_seconds_count",
}
OF_BAD_CLIENTS = {
    *(f'nodedot_dropped_total{{cause="{c}"}}' for c in ("short", "acl", "client_gone", "rate", "blocked")),
    "nodedot_rate_limited_total",
    "nodedot_client_blocks_total",
    "nodedot_tcp_accepted_total",
    "nodedot_tcp_refused_total",
    "nodedot_tcp_idle_closed_total",
}
OF_WAITING = {
    "nodedot_joined_total",
    "nodedot_in_flight_refused_total",
    "nodedot_in_flight_displaced_total",
    "nodedot_interrupted_total",
    'nodedot_reloads_total{result="success"}',
    "nodedot_generations_started_total",
}
OF_THE_CACHE = {"nodedot_cache_stale_total", "nodedot_cache_evictions_total"}
OF_MESSAGES = {
    *(f'nodedot_upstream_messages_dropped_total{{cause="{c}"}}' for c in ("mismatched", "malformed")),
    "nodedot_upstream_records_dropped_total",
    "nodedot_upstream_timeouts_total",
    "nodedot_upstream_retries_total",
    "nodedot_revalidations_total",
}
OF_THE_FIRST_ADDRESS = {
    *(f'nodedot_upstream_errors_total{{cause="{c}"}}' for c in ("timeout", "connect", "identity")),
    *(f'nodedot_upstream_handshakes_total{{type="{t}"}}' for t in ("full", "resumed")),
    *(
        f"nodedot_upstream_{what}"
        for what in (
            "queries_total",
            "answers_total",
            "failures_total",
            "connects_total",
            "padding_bytes_total",
            "identity_mismatches_total",
            "request_duration_seconds_count",
        )
    ),
}
OF_THE_SECOND_ADDRESS = {"nodedot_upstream_hedges_total"}
OF_BOTH = {"nodedot_hedges_total", "nodedot_hedges_won_total"}
OF_PLAIN_UPSTREAMS = {"nodedot_upstream_truncated_total"}
OF_UNREACHABLE_CLIENTS = {'nodedot_dropped_total{cause="send"}'}
# In other tests, which ask the same table by way of `nodedot status`, or take longer to come to it.
ELSEWHERE = {
    'nodedot_upstream_messages_dropped_total{cause="late"}':
        "test_resilience: test_a_late_answer_is_counted_as_late_and_to_its_credit",
    'nodedot_reloads_total{result="failure"}': "test_a_failed_reload_shows_until_a_good_one",
    "nodedot_generations_lost_total": "test_no_counter_goes_back_over_reloads_and_crashes",
    'nodedot_process_cpu_seconds_total{process="resolver"}': "test_both_processes_tell_what_they_use",
    'nodedot_process_cpu_seconds_total{process="supervisor"}': "test_both_processes_tell_what_they_use",
    'nodedot_log_lines_lost_total{process="resolver"}': "test_logging: test_a_reader_that_is_stuck_stops_nothing",
    'nodedot_log_lines_lost_total{process="supervisor"}': "test_logging: test_a_reader_that_is_stuck_stops_nothing",
    "nodedot_upstream_octets_behind_total": "test_upstream_forms: test_octets_behind_an_answer_are_ignored_and_counted",
    'nodedot_upstream_errors_total{cause="local"}': "test_verdicts: test_no_descriptor_for_a_datagram_is_a_shortage_...",
    "nodedot_upstream_relayed_total": "test_verdicts: test_an_upstream_that_allows_two_connections_serves_all_threads",
    "nodedot_upstream_plainer_total": "test_upstream_forms: test_a_server_that_dislikes_edns_is_asked_without",
    "nodedot_prefetches_total": "test_stale_and_prefetch: test_an_answer_in_use_is_refreshed_before_it_ends",
    "nodedot_fallback_queries_total": "test_resilience: test_a_fallback_serves_while_nobody_else_does",
    "nodedot_query_log_total": "test_query_log: test_counters_tell_what_was_written",
    "nodedot_query_log_dropped_total": "test_query_log: test_a_collector_that_never_reads_stops_no_query",
}


def counts(program, server=None):
    """What was counted, as {"name{label}": number}, at one server or in all; the labels leave out upstream and address."""
    where = server and server.options()["address"]
    found = {}
    for (name, labels), v in counters_of(program).items():
        if name.endswith(("_bucket", "_sum")) or (server and ("address", where) not in labels):
            continue
        rest = ",".join(f'{k}="{value}"' for k, value in sorted(labels) if k not in ("upstream", "address"))
        key = f"{name}{{{rest}}}" if rest else name
        found[key] = found.get(key, 0) + v
    return found


def wait_grown(program, names, before, server=None, timeout=10):
    """Until each has grown since counts() returned before."""

    def still():
        now = counts(program, server)
        return sorted(name for name in names if now[name] <= before[name])

    try:
        wait_until(lambda: not still(), timeout, "every counter to grow")
    except AssertionError:
        pytest.fail(f"did not grow: {still()}\n{program.log()}")


def test_every_counter_has_a_test_that_moves_it(program):
    tested = OF_QUERIES | OF_BAD_CLIENTS | OF_WAITING | OF_THE_CACHE | OF_MESSAGES | OF_THE_FIRST_ADDRESS
    tested |= OF_THE_SECOND_ADDRESS | OF_BOTH | OF_PLAIN_UPSTREAMS | OF_UNREACHABLE_CLIENTS | set(ELSEWHERE)
    assert set(counts(program)) == tested


def test_what_is_asked_and_answered_is_counted(program):
    upstream, before = program.upstream, counts(program)
    upstream.behave("gone.test", behaviours.nxdomain())
    upstream.behave("fails.test", behaviours.failure())
    upstream.behave("large.test", behaviours.addresses(200))
    for qtype in "A AAAA CNAME HTTPS MX NS PTR SOA SRV TXT CAA".split():
        program.ask("a.test", qtype)
    for name in ("a.test", "gone.test", "fails.test", "large.test", "localhost"):
        program.ask(name)
    program.ask("a.test", transport="tcp")
    program.exchange(wire.query("a.test", qclass=3))
    program.exchange(wire.query("a.test", count=2))
    program.exchange(wire.query("a.test", flags=0x2800 | wire.RD))
    program.exchange(wire.query("a.test", edns=wire.opt(version=1)))
    with program.udp() as udp:
        cookie = b"\1\2\3\4\5\6\7\x08"
        for _ in range(2):
            octets = udp.ask(wire.query("a.test", edns=wire.opt(options=wire.option(wire.COOKIE, cookie))))
            cookie = next(o.to_wire() for o in client.parse(octets).options if int(o.otype) == wire.COOKIE)
    wait_grown(program, OF_QUERIES, before)


def test_what_bad_clients_do_is_counted(start_metrics, upstream, address):
    upstream.behave("late.test", behaviours.delay(0.5))
    limits = {"client-qps": 20, "client-block": 60, "tcp-idle": 1, "tcp-connections-per-client": 1}
    program = start_metrics(upstream, limits=limits, acl={"allow": "127.0.0.0/8", "deny": "127.0.0.99/32"})
    before = counts(program)
    program.exchange(b"short", timeout=0.1, source=address())
    program.exchange(wire.query("a.test"), timeout=0.1, source="127.0.0.99")
    with program.tcp(address()) as tcp:
        tcp.send(wire.query("late.test"))
        wait_until(lambda: upstream.asked("late.test"), 5, "the question at the upstream")
        tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with RST
    greedy = address()
    with program.tcp(greedy), program.tcp(greedy), program.udp(address()) as udp:
        for i in range(400):
            udp.send(wire.query("localhost", id=i))
            if i % 50 == 0:
                time.sleep(0.05)
        wait_grown(program, OF_BAD_CLIENTS, before)
    assert value(program, "nodedot_clients_blocked") == 1


@pytest.mark.needs_root
def test_an_answer_that_the_kernel_does_not_take_is_counted(program, address):
    """Nothing can be sent to port 0, which only a forged query comes from."""
    before = counts(program)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as s:
        s.bind((address(), 0))
        octets = wire.query("localhost")
        s.sendto(struct.pack("!HHHH", 0, program.port, 8 + len(octets), 0) + octets, (program.address, 0))
    wait_grown(program, OF_UNREACHABLE_CLIENTS, before)
    assert program.ask("a.test")


def test_what_waits_and_what_becomes_of_it_is_counted(start_metrics, upstream, address):
    upstream.default = behaviours.drop()
    program = start_metrics(upstream, limits={"in-flight": 4, "timeout": 20000})
    before = counts(program)
    greedy, other = address(), address()
    with program.udp(greedy) as udp, program.udp(other) as modest:
        for i in (0, 1, 2, 2, 3):
            udp.send(wire.query(f"mute{i}.test", id=i))
        modest.send(wire.query("mine.test"))
        wait_grown(program, {"nodedot_in_flight_displaced_total"}, before)
        program.signal(signal.SIGHUP)
        wait_grown(program, OF_WAITING, before)


def test_what_the_cache_gives_away_is_counted(start_metrics, upstream):
    program = start_metrics(upstream, cache={"size": "1M"})
    before = counts(program)
    upstream.behave("stale.test", behaviours.proper(ttl=1))
    program.ask("stale.test")
    time.sleep(2.1)
    upstream.behave("stale.test", behaviours.failure())
    assert client.addresses(program.ask("stale.test"))
    upstream.default = behaviours.addresses(100)
    with program.udp() as udp:
        for i in range(900):
            udp.ask(wire.query(f"large{i}.test"))
    wait_grown(program, OF_THE_CACHE, before)


def test_what_upstreams_send_in_vain_is_counted(start_metrics, make_upstream):
    pair = [make_upstream(), make_upstream()]
    upstream = pair[0]
    program = start_metrics(*pair, up={"policy": "ordered", "revalidate": 1}, limits={"timeout": 700})
    before = counts(program)
    upstream.behave("other.test", behaviours.wrong_first(behaviours.MISMATCHES["id_plus_one"]))
    upstream.behave("broken.test", behaviours.raw(lambda q: q.wire[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + q.question + b"\xc0"))
    owner = wire.name_octets("bank.example")
    foreign = wire.record(wire.A, 300, b"\6\6\6\6", owner=owner)
    upstream.behave("more.test", lambda q: [behaviours.Reply(wire.answer(q, wire.proper_records(q, 300), (), [foreign]))])
    for server in pair:
        server.behave("mute.test", behaviours.drop())
    upstream.behave("closes.test", lambda q: [behaviours.Close("rst")])
    for name in ("other.test", "broken.test", "more.test", "mute.test", "closes.test"):
        program.ask(name)
    wait_grown(program, OF_MESSAGES, before)


def test_a_truncated_answer_of_a_plain_upstream_is_counted(start_metrics, upstream):
    def behave(q):
        if q.transport == "udp":
            return [behaviours.Reply(wire.answer(q, flags=wire.RD | wire.RA | wire.TC))]
        return behaviours.addresses(5)(q)

    upstream.behave("big.test", behave)
    program = start_metrics(upstream, auth="plain")
    before = counts(program)
    assert len(client.addresses(program.ask("big.test"))) == 5
    wait_grown(program, OF_PLAIN_UPSTREAMS, before)


def test_every_counter_of_an_address_grows(start_metrics, make_upstream, authority):
    first, second = make_upstream(), make_upstream()
    program = start_metrics(first, second, up={"policy": "ordered"}, limits={"timeout": 700})
    at_first, at_second, before = counts(program, first), counts(program, second), counts(program)
    for i in range(60):  # enough to know what is usual
        program.ask(f"n{i}.test")
    first.behave("late.test", behaviours.drop())
    assert program.ask("late.test").answer
    wait_grown(program, OF_THE_SECOND_ADDRESS, at_second, second)
    wait_grown(program, OF_BOTH, before)
    for server in (first, second):
        server.behave("mute.test", behaviours.drop())
    assert program.ask("mute.test").rcode() == wire.SERVFAIL
    first.close_connections("rst")
    assert program.ask("again.test").answer
    first.stop_listening()
    first.close_connections("rst")
    assert program.ask("elsewhere.test").answer
    first.use_certificate(authority.issue("dot.test", first.address))
    first.listen_again()
    wait_grown(program, OF_THE_FIRST_ADDRESS, at_first, first, timeout=20)
    state = samples(program)
    where = frozenset({("upstream", "up"), ("address", first.options()["address"]), ("state", "mismatch")})
    assert state["nodedot_upstream_identity_state", where] == 1


def test_every_gauge_tells_what_is(start_metrics, make_upstream):
    first, other = make_upstream(), make_upstream(name="other.test")
    first.behave("mute.test", behaviours.drop())
    program = start_metrics(first, up={"fallback": "other"}, sections={"upstream other": other.options()})
    now = time.time()
    for name in ("start_time_seconds", "config_last_reload_success_timestamp_seconds"):
        assert now - 60 < value(program, f"nodedot_{name}") <= now + 1
    assert program.ask("a.test").answer and value(program, "nodedot_cache_entries") >= 1
    assert value(program, "nodedot_cache_bytes") == 4 << 20
    assert value(program, "nodedot_upstream_connections", upstream="up") >= 1
    assert 0 < value(program, "nodedot_upstream_rtt_seconds", upstream="up") < 5
    with program.tcp() as tcp:
        tcp.send(wire.query("mute.test"))
        wait_until(lambda: value(program, "nodedot_in_flight") == 1, 5, "the query in flight")
        assert value(program, "nodedot_tcp_connections") == 1
    assert value(program, "nodedot_upstream_fallback_active") == 0 and value(program, "nodedot_generation") == 1
    first.stop_listening()
    first.close_connections("rst")
    wait_until(lambda: value(program, "nodedot_upstream_fallback_active", upstream="up") == 1, 10, "the fallback")
    assert value(program, "nodedot_upstream_identity_state", upstream="up", state="unreachable") == 1
    wait_until(lambda: value(program, "nodedot_upstream_connections", upstream="up") == 0, 5, "no connection")
    program.signal(signal.SIGHUP)
    wait_until(lambda: value(program, "nodedot_generation") == 2, 10, "the next generation")


# nodedot status -------------------------------------------------------------------------------------------------------------


def test_the_status_table_tells_of_upstreams_and_clients(program):
    for _ in range(4):
        program.ask("a.test")
    shown = run("status", "-c", program.file)
    assert shown.returncode == 0 and "\033" not in shown.stdout
    assert re.search(r"(?m)^generation 1, pid \d+, ready; 1 started, 0 lost$", shown.stdout)
    assert re.search(r"(?m)^clients +4 queries \(4 UDP, 0 TCP\), 4 answers, SERVFAIL 0.0 %$", shown.stdout)
    assert re.search(r"(?m)^cache +hits 75.0 %", shown.stdout)
    assert re.search(r"(?m)^127\.\S+ +\d+\.\d$", shown.stdout)
    assert re.search(r"(?m)^up\n  127\.\S+ +valid .* 1 of 1 .* ms +100.0 %", shown.stdout)
    assert max(map(len, shown.stdout.splitlines())) <= 100


def test_the_status_is_to_be_had_as_json(program):
    program.ask("a.test")
    shown = json.loads(run("status", "-c", program.file, "--json").stdout)
    assert shown["ready"] is True and shown["generation"] == 1
    assert shown["metrics"]["queries_udp_total"] == 1
    (upstream,) = shown["upstreams"]
    (address,) = upstream["addresses"]
    assert (upstream["name"], address["state"], address["pins_matched"]) == ("up", "valid", [1])
    assert address["queries"] >= 1 and address["rtt_seconds"] > 0 and address["certificate_expires_at"] > time.time()
    assert shown["processes"]["resolver"]["open_fds"] > 5
    assert shown["reloads"]["last_failed"] is False


def test_the_status_can_be_watched_until_it_is_interrupted(program):
    watching = subprocess.Popen(
        [binary(), "status", "-c", program.file, "--json", "--watch=1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(2):
            assert json.loads(watching.stdout.readline())["ready"] is True
    finally:
        watching.send_signal(signal.SIGINT)
        assert watching.wait(5) == 0


def test_colours_are_for_terminals_that_want_them(program):
    def shown(**env):
        master, slave = os.openpty()
        environment = {**os.environ, "TERM": "xterm", **env}
        with subprocess.Popen([binary(), "status", "-c", program.file], stdout=slave, env=environment) as status:
            os.close(slave)
            text = b""
            try:
                while more := os.read(master, 65536):
                    text += more
            except OSError:  # the terminal is gone
                pass
            os.close(master)
        assert status.returncode == 0
        return text

    coloured = shown()
    assert b"\033[32mready\033[0m" in coloured and b"nodedot_ready" not in coloured
    assert b"\033" not in shown(NO_COLOR="1")
    assert b"\033" not in shown(TERM="dumb")


@pytest.mark.parametrize(("version", "code"), [(None, 0), (b"another", 1)])
def test_only_a_page_of_the_same_version_is_read(program, version, code):
    """What stands where is certain only in the version that wrote it, whatever the page's size."""
    listen = program.config["server"]["listen"]
    other = re.sub(r"\d+$", "1", listen)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(5)
        asking.connect("\0nodedot/" + listen)
        _, (page,), _, _ = socket.recv_fds(asking, 1, 1)
    copy = os.memfd_create("page")
    os.write(copy, os.pread(page, os.fstat(page).st_size, 0))
    os.close(page)
    if version is not None:
        os.pwrite(copy, version.ljust(32, b"\0"), 16)  # behind the magic number and the size
    with socket.socket(socket.AF_UNIX) as serving:
        serving.bind("\0nodedot/" + other)
        serving.listen(1)
        shown = subprocess.Popen(
            [binary(), "status", "-c", program.file, "--set", f"server.listen={other}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        serving.settimeout(5)
        with serving.accept()[0] as asker:
            socket.send_fds(asker, [b"x"], [copy])
        _, said = shown.communicate(timeout=5)
    os.close(copy)
    assert shown.returncode == code
    assert ("it is of another version" in said) == (version is not None)


@pytest.mark.parametrize("seconds", ["0", "3601", "", "x", "-1", "1.5"])
def test_an_interval_that_makes_no_sense_is_refused(seconds):
    assert run("status", f"--watch={seconds}").returncode == 2

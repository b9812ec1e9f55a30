"""Supervisor and generations: crash, hang, reload, stop. A pod never loses DNS."""

import os
import pathlib
import re
import signal
import socket
import struct
import tempfile
import time

import pytest

from harness import behaviours, client, wire
from harness.program import DNS_PORT, LIVENESS_PORT, READINESS_PORT, STOP_S, STOP_SLACK_S, port_open, render
from harness.waiting import stays, wait_until

HANDFUL = 10
RATE = 300
RESOLVER_USER = 65532
NOBODY = 65534


def right(answer, name):
    return answer.rcode() == wire.NOERROR and client.addresses(answer) == [wire.address_of(name)]


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        return dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)


def reloaded(program, before):
    """Waits until another resolver is the only one, and returns it."""
    return wait_until(
        lambda: (lambda now: now[0] if len(now) == 1 and now[0] != before else 0)(program.resolvers()),
        15,
        f"another resolver than {before}\n{program.log()}",
    )


# Privileges -----------------------------------------------------------------------------------------------------------------


@pytest.mark.needs_root
def test_a_resolver_runs_as_its_own_user_without_capabilities(nodedot):
    status = status_of(nodedot.resolver())
    assert status["Uid"].split() == status["Gid"].split() == [str(RESOLVER_USER)] * 4
    assert status["Groups"].split() in ([], [str(RESOLVER_USER)])
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[capabilities], 16) == 0, capabilities
    assert status["NoNewPrivs"] == "1"


@pytest.mark.needs_root
def test_every_thread_of_a_resolver_has_dropped_its_privileges(start, upstream):
    program = start(upstream, server={"workers": 2})
    pid = program.resolver()
    tasks = os.listdir(f"/proc/{pid}/task")
    assert len(tasks) >= 3  # two workers and the control thread
    for task in tasks:
        status = status_of(f"{pid}/task/{task}")
        assert set(status["Uid"].split()) == {str(RESOLVER_USER)} and int(status["CapEff"], 16) == 0


@pytest.mark.needs_root
def test_the_user_of_a_resolver_is_configurable(start, upstream):
    program = start(upstream, server={"user": 12345})
    assert status_of(program.resolver())["Uid"].split() == ["12345"] * 4


@pytest.mark.needs_root
def test_a_resolver_holds_no_open_file_but_the_log_and_its_own_figures(nodedot):
    pid = nodedot.resolver()
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    files = {link for link in links if link.startswith("/") and not link.startswith(("/memfd:", "/dev/"))}
    assert files <= {str(nodedot.log_file), f"/proc/{pid}/statm", f"/proc/{pid}/fd"}


@pytest.mark.needs_root
def test_an_ordinary_user_may_start_it_on_high_ports(start, upstream, tmp_path):
    """The resolver then stays that user."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        program = start(upstream, user=NOBODY, directory=pathlib.Path(place))
        assert right(program.ask("a.test"), "a.test")
        assert status_of(program.resolver())["Uid"].split() == [str(NOBODY)] * 4
        program.stop()


def test_memory_after_start_is_small(nodedot):
    if nodedot.sanitized():
        pytest.skip("sanitizers take their own memory")
    memory = nodedot.memory_kib()
    if memory is None:
        pytest.skip("needs root: a resolver's memory is not for others to see")
    assert memory <= 6 * 1024


# Crash ----------------------------------------------------------------------------------------------------------------------


def test_a_killed_resolver_is_replaced_and_a_handful_of_queries_lost(start, upstream):
    program = start(upstream, server={"workers": 2})
    first = program.resolver()
    with program.load(RATE) as load:
        time.sleep(1.5)
        os.kill(first, signal.SIGKILL)
        time.sleep(2)
    assert len(load.lost) + len(load.wrong) <= HANDFUL, (load.lost, load.wrong)
    assert program.resolver() != first
    assert program.is_ready() and program.is_alive()
    program.wait_log(r"level=(warn|error) .*resolver")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS], ids=lambda n: n.name)
def test_a_resolver_that_dies_of_anything_is_replaced(nodedot, number):
    nodedot.faults_expected = True
    first = nodedot.resolver()
    os.kill(first, number)
    reloaded(nodedot, first)
    assert right(nodedot.ask("a.test"), "a.test")


def test_the_cache_is_empty_after_a_crash(nodedot):
    nodedot.ask("a.test")
    first = nodedot.resolver()
    os.kill(first, signal.SIGKILL)
    reloaded(nodedot, first)
    assert right(nodedot.ask("a.test"), "a.test")
    assert len(nodedot.upstream.asked("a.test")) == 2


def test_counters_do_not_go_back_over_a_crash_and_a_reload(nodedot):
    for i in range(20):
        nodedot.ask(f"c{i}.test")
    before = nodedot.counters()
    for change in (signal.SIGKILL, signal.SIGHUP):
        first = nodedot.resolver()
        os.kill(first if change == signal.SIGKILL else nodedot.supervisor(), change)
        reloaded(nodedot, first)
        nodedot.ask("after.test")
        after = nodedot.counters()
        went_back = {n: (before[n], after[n]) for n in before if n.endswith("_total") and after.get(n, 0) < before[n]}
        assert not went_back
        before = after
    assert before["queries_udp_total"] >= 22


@pytest.mark.quiet
def test_a_hung_resolver_is_killed_and_replaced_within_five_seconds(nodedot):
    first = nodedot.resolver()
    began = time.monotonic()
    os.kill(first, signal.SIGSTOP)
    with nodedot.udp() as udp:
        udp.send(wire.query("hung.test"))
        reloaded(nodedot, first)
        assert time.monotonic() - began <= 5.0
    assert right(nodedot.ask("after.test"), "after.test")
    assert nodedot.is_alive() and not os.path.exists(f"/proc/{first}")


@pytest.mark.quiet
def test_a_resolver_that_pauses_for_a_second_is_not_killed(nodedot):
    first = nodedot.resolver()
    os.kill(first, signal.SIGSTOP)
    time.sleep(1)
    os.kill(first, signal.SIGCONT)
    assert right(nodedot.ask("a.test"), "a.test")
    stays(lambda: nodedot.resolvers() == [first], 2, "the resolver")


@pytest.mark.quiet
def test_a_drain_reads_what_its_sockets_hold_also_when_workers_get_fewer(start, upstream):
    """The old resolver stands still while the new one takes over: what its sockets were given by then is its own to answer."""
    program = start(upstream, server={"workers": 4})
    first = program.resolver()
    before = len(program.log())
    os.kill(first, signal.SIGSTOP)
    try:
        clients = [program.udp() for _ in range(64)]
        for i, udp in enumerate(clients):
            udp.send(wire.query(f"waits{i}.test"))
        program.write_config({**program.config, "server": {**program.config["server"], "workers": 1}})
        program.signal(signal.SIGHUP)
        program.wait_log("resolver draining", start=before)
    finally:
        os.kill(first, signal.SIGCONT)
    for i, udp in enumerate(clients):
        with udp:
            assert right(client.parse(udp.receive(5)), f"waits{i}.test"), i


@pytest.mark.parametrize("how", ["broken", "removed"])
@pytest.mark.parametrize("option", ["ca-file", "client-cert", "client-key", "pin-file"])
def test_a_file_that_broke_meanwhile_does_not_end_dns_at_the_next_crash(
    start, make_upstream, authority, tmp_path, option, how
):
    server = make_upstream(client_ca=authority.file)
    mine = authority.issue("node.test")
    contents = {
        "ca-file": pathlib.Path(authority.file).read_text(encoding="ascii"),
        "client-cert": mine.chain_file.read_text(encoding="ascii"),
        "client-key": mine.key_file.read_text(encoding="ascii"),
        "pin-file": server.certificate.pin + "\n",
    }
    files = {key: tmp_path / key for key in contents}
    for key, path in files.items():
        path.write_text(contents[key], encoding="ascii")
    up = {"auth": "pin+ca", "name": "dot.test", "pin": "", **{key: str(path) for key, path in files.items()}}
    program = start(server, up=up)
    program.faults_expected = True
    assert right(program.ask("before.test"), "before.test")
    if how == "broken":
        files[option].write_text("-----BEGIN CERTIFICATE-----\nnothing\n")
    else:
        files[option].unlink()
    program.wait_log("reload failed")
    first = program.resolver()
    os.kill(first, signal.SIGKILL)
    reloaded(program, first)
    program.wait_ready()
    assert right(program.ask("after.test"), "after.test")


def test_a_resolver_is_replaced_again_and_again(nodedot):
    for _ in range(4):
        first = nodedot.resolver()
        os.kill(first, signal.SIGKILL)
        reloaded(nodedot, first)
        assert right(nodedot.ask("again.test"), "again.test")
    assert nodedot.is_alive()


def test_nothing_is_left_when_the_supervisor_is_killed(nodedot):
    nodedot.upstream.behave("slow.test", behaviours.delay(0.5))
    with nodedot.udp() as udp:
        udp.send(wire.query("slow.test"))
        os.kill(nodedot.supervisor(), signal.SIGKILL)
        nodedot.process.wait(5)
        wait_until(lambda: not nodedot.processes(), 8, "the resolver to end")
    assert not port_open(nodedot.address, LIVENESS_PORT) and not port_open(nodedot.address, DNS_PORT)


# Reload ---------------------------------------------------------------------------------------------------------------------


def test_sighup_starts_a_generation_with_a_warm_cache(nodedot):
    nodedot.ask("warm.test")
    first = nodedot.resolver()
    nodedot.signal(signal.SIGHUP)
    reloaded(nodedot, first)
    assert right(nodedot.ask("warm.test"), "warm.test")
    assert len(nodedot.upstream.asked("warm.test")) == 1


def test_a_changed_file_starts_a_generation(start, upstream, make_upstream):
    program = start(upstream)
    first = program.resolver()
    other = make_upstream()
    config = {**program.config, "upstream other": other.options("plain"), "zone new.test": {"upstream": "other"}}
    program.write_config(config)
    reloaded(program, first)
    assert right(program.ask("a.new.test"), "a.new.test") and other.asked("a.new.test")


def test_a_file_written_in_place_starts_a_generation(nodedot):
    first = nodedot.resolver()
    nodedot.file.write_text(render({**nodedot.config, "limits": {"timeout": 3000}}))
    reloaded(nodedot, first)


def test_a_swapped_link_starts_a_generation(start, make_config, upstream, tmp_path):
    """As the kubelet updates a ConfigMap: file -> ..data/file, ..data -> a directory, which is replaced."""

    def version(number, config):
        directory = tmp_path / f"..{number}"
        directory.mkdir()
        (directory / "nodedot.ini").write_text(render(config))
        link = tmp_path / "..data_tmp"
        link.symlink_to(directory.name)
        link.rename(tmp_path / "..data")

    config = make_config(upstream)
    version(1, config)
    (tmp_path / "map.ini").symlink_to("..data/nodedot.ini")
    program = start(config=config, file=tmp_path / "map.ini")
    first = program.resolver()
    version(2, {**config, "limits": {"timeout": 3000}})
    reloaded(program, first)
    assert right(program.ask("a.test"), "a.test")


def test_a_changed_pin_file_starts_a_generation(start, upstream, tmp_path):
    pins = tmp_path / "pins"
    pins.write_text("sha256/" + "A" * 43 + "=\n")
    program = start(upstream, up={"pin": "", "pin-file": pins}, wait="serving")
    assert program.ask("a.test").rcode() == wire.SERVFAIL
    first = program.resolver()
    pins.write_text(upstream.certificate.pin + "\n")
    reloaded(program, first)
    program.wait_ready()
    assert right(program.ask("b.test"), "b.test")


@pytest.mark.parametrize(
    "text",
    ["[server]\nlisten = nonsense\n", "this is no INI file", "", "[limits]\ntimeout = -1\n"],
    ids=["bad_value", "no_ini", "empty", "no_upstream_and_bad_limit"],
)
def test_a_bad_file_leaves_the_old_generation_serving_and_is_counted(nodedot, text):
    first = nodedot.resolver()
    before = failed_reloads(nodedot)
    log = len(nodedot.log())
    good = nodedot.config
    nodedot.file.write_text(text)
    nodedot.signal(signal.SIGHUP)
    nodedot.wait_log(r"level=error ", start=log)
    assert nodedot.resolvers() == [first]
    assert right(nodedot.ask("still.test"), "still.test")
    assert nodedot.is_ready() and nodedot.is_alive()
    nodedot.write_config(good)
    reloaded(nodedot, first)
    assert failed_reloads(nodedot) > before
    assert right(nodedot.ask("again.test"), "again.test")


def failed_reloads(program):
    counters = program.counters()
    return next(value for name, value in counters.items() if re.search(r"reloads?_failed", name))


def test_a_missing_file_leaves_the_old_generation_serving(nodedot):
    first = nodedot.resolver()
    log = len(nodedot.log())
    nodedot.file.unlink()
    nodedot.signal(signal.SIGHUP)
    nodedot.wait_log(r"level=error ", start=log)
    assert nodedot.resolvers() == [first] and right(nodedot.ask("still.test"), "still.test")
    nodedot.write_config(nodedot.config)


def test_reloads_under_load_lose_nothing(start, upstream):
    upstream.default = behaviours.delay(0.02)
    program = start(upstream, server={"workers": 2})
    with program.load(RATE) as load:
        for _ in range(4):
            time.sleep(0.7)
            first = program.resolver()
            program.signal(signal.SIGHUP)
            reloaded(program, first)
        time.sleep(0.5)
    assert not load.lost and not load.wrong, (load.lost, load.wrong)


def test_the_old_generation_answers_what_it_took(nodedot):
    nodedot.upstream.behave("slow.test", behaviours.delay(2.0))
    with nodedot.udp() as udp, nodedot.tcp() as tcp:
        udp.send(wire.query("slow.test"))
        tcp.send(wire.query("slow.test"))
        wait_until(lambda: nodedot.upstream.asked("slow.test"), 5, "the question to reach the upstream")
        nodedot.signal(signal.SIGHUP)
        for c in (udp, tcp):
            assert right(client.parse(c.receive()), "slow.test")


def test_new_tcp_connections_during_reloads_are_all_served(nodedot):
    first = nodedot.resolver()
    for i in range(60):
        if i % 20 == 10:
            nodedot.signal(signal.SIGHUP)
        assert right(nodedot.ask(f"tcp{i}.test", transport="tcp"), f"tcp{i}.test")
        time.sleep(0.02)
    reloaded(nodedot, first)


def test_probes_stay_open_over_reloads(nodedot):
    first = nodedot.resolver()
    nodedot.signal(signal.SIGHUP)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert nodedot.is_ready() and nodedot.is_alive()
        time.sleep(0.03)
    reloaded(nodedot, first)


@pytest.mark.slow
def test_a_generation_never_replaces_a_better_one(start, upstream, make_upstream):
    """The new file names an upstream that does not answer: after 10 s the attempt is given up, and the old one stays."""
    dead = make_upstream()
    dead.stop_listening()
    program = start(upstream)
    first = program.resolver()
    before = failed_reloads(program)
    config = {**program.config, "upstream up": dead.options()}
    program.write_config(config)
    end = time.monotonic() + 9
    while time.monotonic() < end:
        assert right(program.ask("a.test"), "a.test")
        assert program.is_ready() and first in program.resolvers()
        time.sleep(0.3)
    wait_until(lambda: program.resolvers() == [first], 8, "the new generation to be given up")
    assert right(program.ask("b.test"), "b.test")
    assert failed_reloads(program) == before + 1
    program.wait_log(r"level=(warn|error) .*(ready|given up)")


def test_a_generation_that_is_not_ready_may_be_replaced_by_one_that_is_not_either(start, make_upstream):
    """Two upstreams, both dead: the second file is taken nevertheless, for its cache and local answers are as good."""
    dead = make_upstream()
    dead.stop_listening()
    program = start(dead, wait="serving")
    first = program.resolver()
    program.write_config({**program.config, "limits": {"timeout": 1000}})
    reloaded(program, first)
    assert client.addresses(program.ask("localhost")) == ["127.0.0.1"]


def test_sighup_many_times_at_once_ends_in_one_generation(nodedot):
    first = nodedot.resolver()
    for _ in range(30):
        nodedot.signal(signal.SIGHUP)
        time.sleep(0.005)
    reloaded(nodedot, first)
    assert right(nodedot.ask("a.test"), "a.test")
    wait_until(lambda: len(nodedot.resolvers()) == 1, 10, "one resolver to be left")


# Stop -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_stop_answers_what_is_in_flight_and_exits_0(nodedot, number):
    nodedot.upstream.behave("slow.test", behaviours.delay(1.0))
    with nodedot.udp() as udp, nodedot.tcp() as tcp:
        udp.send(wire.query("slow.test"))
        tcp.send(wire.query("slow.test"))
        wait_until(lambda: nodedot.upstream.asked("slow.test"), 5, "the question to reach the upstream")
        began = time.monotonic()
        nodedot.signal(number)
        for c in (udp, tcp):
            assert right(client.parse(c.receive()), "slow.test")
    assert nodedot.process.wait(STOP_S + STOP_SLACK_S) == 0
    assert time.monotonic() - began < STOP_S + STOP_SLACK_S
    assert not nodedot.processes()


def test_an_interrupt_from_the_keyboard_reaches_all_and_ends_it_in_order(nodedot):
    """Ctrl-C goes to the whole process group: the resolver must leave it to the supervisor."""
    nodedot.upstream.behave("slow.test", behaviours.delay(0.7))
    with nodedot.udp() as udp:
        udp.send(wire.query("slow.test"))
        wait_until(lambda: nodedot.upstream.asked("slow.test"), 5, "the question to reach the upstream")
        os.killpg(nodedot.process.pid, signal.SIGINT)
        assert right(client.parse(udp.receive()), "slow.test")
    assert nodedot.process.wait(STOP_S + STOP_SLACK_S) == 0


def test_a_stop_waits_two_seconds_at_most(nodedot):
    nodedot.upstream.behave("never.test", behaviours.drop())
    with nodedot.udp() as udp:
        udp.send(wire.query("never.test"))
        wait_until(lambda: nodedot.upstream.asked("never.test"), 5, "the question to reach the upstream")
        began = time.monotonic()
        nodedot.signal(signal.SIGTERM)
        assert nodedot.process.wait(STOP_S + STOP_SLACK_S) == 0
        assert time.monotonic() - began < STOP_S + 1.0


@pytest.mark.quiet
def test_an_idle_stop_is_quick(nodedot):
    nodedot.ask("a.test")
    with nodedot.tcp() as idle:  # an idle client must not hold it up
        idle.ask(wire.query("a.test"))
        began = time.monotonic()
        nodedot.signal(signal.SIGTERM)
        assert nodedot.process.wait(5) == 0
        assert time.monotonic() - began < 1.0


def test_a_second_sigterm_harms_nothing(nodedot):
    nodedot.upstream.behave("slow.test", behaviours.delay(0.7))
    with nodedot.udp() as udp:
        udp.send(wire.query("slow.test"))
        wait_until(lambda: nodedot.upstream.asked("slow.test"), 5, "the question to reach the upstream")
        for _ in range(3):
            nodedot.signal(signal.SIGTERM)
            time.sleep(0.05)
        assert right(client.parse(udp.receive()), "slow.test")
    assert nodedot.process.wait(4) == 0


def test_sigterm_right_after_start_or_during_a_reload_ends_it(start, upstream):
    for wait in (0.0, 0.005, 0.02, 0.05):
        program = start(upstream, wait=None)
        time.sleep(0.05 + wait)  # its handlers are in place some milliseconds after exec
        program.stop()
    program = start(upstream)
    program.signal(signal.SIGHUP)
    time.sleep(0.01)
    program.stop()


def test_sigterm_while_the_resolver_hangs_ends_it_all_the_same(nodedot):
    os.kill(nodedot.resolver(), signal.SIGSTOP)
    nodedot.signal(signal.SIGTERM)
    assert nodedot.process.wait(STOP_S + 3) in (0, 1)
    assert not nodedot.processes()


def test_a_restart_finds_its_ports_free(start, make_config, upstream):
    config = make_config(upstream)
    for _ in range(3):
        program = start(config=config)
        with program.tcp() as tcp:
            tcp.ask(wire.query("a.test"))
            program.stop()


# Sockets --------------------------------------------------------------------------------------------------------------------


def test_queries_that_arrive_between_two_generations_wait(nodedot):
    """Kill the resolver while queries are sent; the supervisor holds the sockets, so what comes afterwards is answered."""
    nodedot.ask("a.test")
    with nodedot.udp() as udp:
        os.kill(nodedot.resolver(), signal.SIGKILL)
        time.sleep(0.002)
        for i in range(50):
            udp.send(wire.query("wait.test", id=i))
        got = set()
        while len(got) < 50 and (octets := udp.receive(3)) is not None:
            got.add(struct.unpack_from("!H", octets)[0])
    assert len(got) >= 50 - HANDFUL


def test_listening_sockets_belong_to_the_supervisor_from_the_start(nodedot):
    with socket.socket() as s:
        with pytest.raises(OSError):
            s.bind((nodedot.address, DNS_PORT))
    assert port_open(nodedot.address, READINESS_PORT)

"""What the processes may do once they run, as the kernel sees it, and that everything works all the same.

What happens when a resolver tries something else is in tests/unit/test_sandbox.c, which enters the same sandbox."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import pytest

from harness import behaviours, client, program as programs, wire
from harness.waiting import wait_until

# capabilities(7)
KILL, SETGID, SETUID, NET_BIND_SERVICE, NET_ADMIN = 5, 6, 7, 10, 12

NOBODY = 65534
FILTER = "2"  # /proc/PID/status: seccomp(2) with a filter

pytestmark = pytest.mark.needs_root


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        return dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)


def statuses_of_threads(pid):
    return [status_of(f"{pid}/task/{task}") for task in os.listdir(f"/proc/{pid}/task")]


def capabilities(status, which):
    bits = int(status[which], 16)
    return {number for number in range(64) if bits >> number & 1}


def confined(program):
    """Is this a build whose resolvers are under the filter and Landlock?"""
    return not program.sanitized()


# Supervisor -----------------------------------------------------------------------------------------------------------------


def test_the_supervisor_keeps_the_capabilities_that_it_needs_and_no_others(nodedot):
    status = status_of(nodedot.supervisor())
    for which in ("CapPrm", "CapEff"):
        assert capabilities(status, which) == {NET_BIND_SERVICE, SETUID, SETGID, KILL}
    for which in ("CapInh", "CapAmb"):
        assert capabilities(status, which) == set()
    assert status["NoNewPrivs"] == "1"


def test_nothing_can_be_taken_from_the_bounding_set(nodedot):
    for pid in nodedot.processes():
        assert capabilities(status_of(pid), "CapBnd") == set()


def test_net_admin_stays_with_manage_address_alone(start, upstream):
    """On loopback addresses, which are left as they are."""
    managing = start(upstream, server={"manage-address": "yes"})
    assert NET_ADMIN in capabilities(status_of(managing.supervisor()), "CapEff")
    assert capabilities(status_of(managing.resolver()), "CapPrm") == set()


def test_a_reload_has_all_the_rights_it_needs(nodedot, address):
    """Another address, on a low port; the old resolver is told to end, the new one changes its user."""
    first, other = nodedot.resolver(), address()
    server = {**nodedot.config["server"], "listen": f"{nodedot.config['server']['listen']}, {other}:53"}
    nodedot.write_config({**nodedot.config, "server": server})
    wait_until(lambda: nodedot.resolvers() not in ([first], []) and first not in nodedot.resolvers(), 15, "a reload")
    with client.Udp(other, 53) as udp:
        assert client.parse(udp.ask(wire.query("low.test"))).rcode() == wire.NOERROR
    assert status_of(nodedot.resolver())["Uid"].split() == ["65532"] * 4


def test_a_service_manager_may_give_an_ordinary_user_the_low_ports(tmp_path, make_config, upstream, address, monkeypatch):
    """As AmbientCapabilities= does; the resolver has nothing of it."""
    where = address()
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        wrapper = pathlib.Path(place, "start")
        rights = f"--reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=+net_bind_service --ambient-caps=+net_bind_service"
        wrapper.write_text(f'#!/bin/sh\nexec setpriv {rights} --bounding-set=-all,+net_bind_service "{programs.binary()}" "$@"\n')
        wrapper.chmod(0o755)
        config = make_config(upstream, server={"listen": f"{where}:53"})
        made = programs.Nodedot(pathlib.Path(place), where, config, port=53)
        with monkeypatch.context() as patch:
            patch.setattr(programs, "binary", lambda: str(wrapper))
            made.start()
        try:
            assert made.ask("a.test").rcode() == wire.NOERROR
            status = status_of(made.supervisor())
            assert capabilities(status, "CapPrm") == capabilities(status, "CapEff") == {NET_BIND_SERVICE}
            for which in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert capabilities(status_of(made.resolver()), which) == set()
            made.stop()
        finally:
            made.kill()


# Resolver -------------------------------------------------------------------------------------------------------------------


def test_every_thread_of_a_resolver_is_confined(start, upstream):
    program = start(upstream, server={"workers": 2})
    threads = statuses_of_threads(program.resolver())
    assert len(threads) >= 3  # two workers and the control thread
    for status in threads:
        for which in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"):
            assert capabilities(status, which) == set(), which
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65532"}
        assert status["NoNewPrivs"] == "1"
        if confined(program):
            assert status["Seccomp"] == FILTER


def test_the_log_says_how_a_resolver_is_confined(start, upstream):
    program = start(upstream, log={"level": "debug"})
    if not confined(program):
        pytest.skip("a build with sanitizers has neither filter nor Landlock")
    program.wait_log("level=debug .*system-call filter installed")
    program.wait_log("level=debug .*Landlock")


def test_a_forbidden_call_is_named_in_the_log_and_survived(nodedot):
    """Seen from the supervisor it is this signal."""
    nodedot.faults_expected = True
    first = nodedot.resolver()
    os.kill(first, signal.SIGSYS)
    nodedot.wait_log(r'level=warn msg="resolver lost" .*reason="killed by the system-call filter"')
    wait_until(lambda: nodedot.resolvers() and first not in nodedot.resolvers(), 10, "another resolver")
    assert nodedot.ask("after.test").rcode() == wire.NOERROR
    assert nodedot.counter("generations_lost_total") == 1


def test_everything_works_under_the_filter(start, make_upstream):
    """Long enough for resumed and new connections, time-outs, reloads and drains; at the level that logs most."""
    first, second = make_upstream(), make_upstream()
    second.behave("silent.test", behaviours.drop())
    first.behave("silent.test", behaviours.drop())
    program = start(
        first, second, server={"workers": 2}, log={"level": "debug"}, up={"revalidate": 1}, limits={"timeout": 500}
    )
    for round_ in range(3):
        for transport in ("udp", "tcp"):
            assert program.ask(f"{transport}{round_}.test", transport=transport).rcode() == wire.NOERROR
        assert program.ask("silent.test").rcode() == wire.SERVFAIL
        for upstream in (first, second):
            upstream.close_connections()
        before = program.resolver()
        program.signal(signal.SIGHUP)
        wait_until(lambda: program.resolvers() and before not in program.resolvers(), 15, "a reload")
    assert program.counter("generations_lost_total") == 0


# Memory ---------------------------------------------------------------------------------------------------------------------

TRY = """
import ctypes, os, sys
pid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
for name in ("mem", "environ", "maps", "auxv"):
    try:
        with open(f"/proc/{pid}/{name}", "rb"):
            print(name)
    except PermissionError:
        pass
if libc.ptrace(16, pid, None, None) == 0:
    print("ptrace")
"""


def attempts_that_succeed(pid):
    """What an ordinary user can do to a process of the same user."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(pid)], user=NOBODY, group=NOBODY, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_another_process_of_the_same_user_can_neither_read_nor_trace_them(start, upstream):
    """A resolver's memory holds keys; and the supervisor must not be a resolver's way out."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        program = start(upstream, user=NOBODY, directory=pathlib.Path(place))
        assert attempts_that_succeed(program.supervisor()) == []
        assert attempts_that_succeed(program.resolver()) == []
        with subprocess.Popen(["sleep", "60"], user=NOBODY, group=NOBODY) as other:
            assert "environ" in attempts_that_succeed(other.pid)  # the attempts are such that can succeed
            other.kill()
        program.stop()


def test_a_crash_of_the_supervisor_leaves_no_core_dump(nodedot):
    """Whatever the kernel does with them (core_pattern); the same for a resolver is in tests/unit/test_sandbox.c."""
    nodedot.faults_expected = True
    pid = nodedot.supervisor()
    subprocess.run(["prlimit", f"--pid={pid}", "--core=unlimited:unlimited"], check=True)
    os.kill(pid, signal.SIGXCPU)
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert (ended.si_code, ended.si_status) == (os.CLD_KILLED, signal.SIGXCPU)  # not CLD_DUMPED
    nodedot.process.wait(5)


# Status socket --------------------------------------------------------------------------------------------------------------

ASK = """
import mmap, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(5)
    s.connect("\\0nodedot/" + sys.argv[1])
    _, descriptors, _, _ = socket.recv_fds(s, 1, 4)
    print(len(descriptors))
    for fd in descriptors:
        mmap.mmap(fd, 4096, prot=mmap.PROT_READ)
        for attempt in (
            lambda: mmap.mmap(fd, 4096),
            lambda: open(f"/proc/self/fd/{fd}", "r+b", buffering=0).write(b"x"),
            lambda: open(f"/proc/self/fd/{fd}", "r+b", buffering=0).truncate(0),
        ):
            try:
                attempt()
                print("written")
            except OSError:
                pass
"""


def ask_for_status_page(program, user):
    """How many descriptors whoever connects as this user is given, and whether one can be written to."""
    command = [sys.executable, "-c", ASK, program.config["server"]["listen"]]
    done = subprocess.run(command, user=user, group=user, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_status_page_is_for_root_and_can_only_be_read(nodedot):
    assert ask_for_status_page(nodedot, 0) == ["1"]
    assert ask_for_status_page(nodedot, NOBODY) == ["0"]
    assert nodedot.ask("after.test").rcode() == wire.NOERROR

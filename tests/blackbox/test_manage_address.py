"""The listen addresses on the node: there before anything is bound, gone when nobody answers on them.

Every test has a network of its own, as a node has it: with lo up, and nothing else.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from harness import client, program, wire
from harness.network import ip
from harness.program import DNS_PORT
from harness.waiting import wait_until

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("node")]

V4, V6 = "169.254.20.10", "fd00::10"
OTHER = "169.254.20.11"
INTERFACE = "nodedot0"
LIFETIME_S, RENEW_S = 60, 20
FOREVER = 2**32 - 1
NOBODY = 65534


@pytest.fixture
def manage(start, upstream):
    """A function that starts the program with manage-address, on V4 and V6 unless told otherwise."""

    def manage(*listens, **more):
        server = {"manage-address": "yes", **listen(*(listens or (V4, V6))), **more.pop("server", {})}
        return start(upstream, server=server, **more)

    return manage


def listen(*addresses):
    return {"listen": ", ".join(f"[{a}]:{DNS_PORT}" if ":" in a else f"{a}:{DNS_PORT}" for a in addresses)}


def held(address):
    """Where an address is, as [(interface, seconds that it is valid for)]."""
    links = json.loads(ip("-j", "address", "show").stdout)
    return [
        (link["ifname"], entry["valid_life_time"])
        for link in links
        for entry in link.get("addr_info", [])
        if entry.get("local") == address
    ]


def change(address, what, *more):
    """Changes one of ours where it is."""
    ip("address", what, f"{address}/{128 if ':' in address else 32}", "dev", held(address)[0][0], *more)


def is_managed(address):
    return len(held(address)) == 1 and 0 < held(address)[0][1] <= LIFETIME_S


def has_dummy():
    made = ip("link", "add", "probe0", "type", "dummy", check=False).returncode == 0
    if made:
        ip("link", "delete", "probe0")
    return made


def interfaces():
    return [link["ifname"] for link in json.loads(ip("-j", "link", "show").stdout)]


def answers(address, port=DNS_PORT):
    with client.Udp(address, port) as udp:
        return udp.ask(wire.query("localhost"), timeout=1)


def reload(made, **server):
    config = {**made.config, "server": {**made.config["server"], **server}}
    before = made.resolver()
    made.write_config(config)
    made.signal(signal.SIGHUP)
    wait_until(lambda: made.resolvers() and before not in made.resolvers(), 15, f"another resolver\n{made.log()}")


@contextlib.contextmanager
def never_away(*addresses):
    """None of the addresses is taken away meanwhile, not even for a moment."""
    with tempfile.NamedTemporaryFile() as heard:
        with subprocess.Popen(["ip", "-o", "monitor", "address"], stdout=heard) as monitor:
            try:
                wait_until(lambda: hears("127.9.9.9", heard), 5, "ip monitor")
                yield
                ip("address", "add", f"{OTHER}/8", "dev", "lo")
                wait_until(lambda: OTHER in text_of(heard), 5, "the last change")
            finally:
                monitor.kill()
        gone = [line for line in text_of(heard).splitlines() if "Deleted" in line]
        assert not [line for line in gone if any(f" {a}/" in line for a in addresses)], gone


def text_of(file):
    return pathlib.Path(file.name).read_text()


def hears(mark, heard):
    ip("address", "replace", f"{mark}/8", "dev", "lo")
    return mark in text_of(heard)


def without_net_admin(tmp_path, *arguments):
    """Runs the program to its end, as root but without the capability."""
    return subprocess.run(
        ["setpriv", "--bounding-set=-net_admin", program.binary(), *arguments],
        env=program.clean_environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        cwd=tmp_path,
    )


# Life -----------------------------------------------------------------------------------------------------------------------


def test_both_families_are_added_at_start_and_removed_at_a_stop(manage):
    made = manage()
    for address in (V4, V6):
        assert is_managed(address), held(address)
        assert answers(address)
    made.stop()
    assert held(V4) == held(V6) == []
    assert INTERFACE not in interfaces()


def test_they_are_on_a_dummy_interface_of_our_own_or_on_lo_without_such_a_device(manage):
    expected = INTERFACE if has_dummy() else "lo"
    made = manage()
    assert held(V4)[0][0] == held(V6)[0][0] == expected
    assert ("interface created" in made.log()) == (expected == INTERFACE)


def test_an_interface_that_is_there_is_used_and_left(manage):
    ip("link", "add", "mine", "type", "bridge")
    made = manage(server={"interface": "mine"})
    assert held(V4)[0][0] == held(V6)[0][0] == "mine"
    assert answers(V4) and answers(V6)
    made.stop()
    assert held(V4) == held(V6) == []
    assert "mine" in interfaces()


def test_nothing_chooses_them_as_a_source(manage):
    """A pod's interface on the node often has no address of its own: then the kernel takes one of another interface."""
    ip("link", "add", "node", "type", "bridge")
    ip("link", "set", "node", "up")
    ip("link", "add", "pod", "type", "bridge")
    ip("link", "set", "pod", "up")
    manage()
    for address in ("192.0.2.1/24", "2001:db8::1/64"):
        ip("address", "add", address, "dev", "node", *(["nodad"] if ":" in address else []))
    for pod, family, expected in (("10.1.1.1", socket.AF_INET, "192.0.2.1"), ("fd00::1:1", socket.AF_INET6, "2001:db8::1")):
        ip("route", "add", pod, "dev", "pod")
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.connect((pod, 9))
            assert s.getsockname()[0] == expected


@pytest.mark.slow
def test_they_are_renewed(manage):
    manage()
    early = RENEW_S - 5
    for address in (V4, V6):
        wait_until(lambda a=address: held(a)[0][1] <= LIFETIME_S - early, RENEW_S, f"{address} to age")
    for address in (V4, V6):
        wait_until(lambda a=address: held(a)[0][1] > LIFETIME_S - early, RENEW_S / 2, f"{address} to be renewed")


def test_a_killed_supervisor_leaves_them_to_the_kernel(manage):
    made = manage()
    made.kill()
    for address in (V4, V6):
        assert is_managed(address)


def test_the_next_one_takes_over_what_a_killed_one_left(manage):
    manage().kill()
    for address in (V4, V6):
        change(address, "change", "valid_lft", "30", "preferred_lft", "0")
    with never_away(V4, V6):
        made = manage()
    for address in (V4, V6):
        assert is_managed(address) and held(address)[0][1] > 30
    made.stop()
    assert held(V4) == held(V6) == []
    assert INTERFACE not in interfaces()


def test_they_outlive_a_resolver(manage):
    made = manage()
    with never_away(V4, V6):
        before = made.resolver()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: before not in made.resolvers() and made.resolvers(), 10, "another resolver")
        made.wait_ready()
    assert is_managed(V4) and is_managed(V6)


def test_what_cannot_start_leaves_nothing_behind(manage, upstream):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", DNS_PORT))
        made = manage(wait=None)
        assert made.process.wait(10) == 1
    assert held(V4) == held(V6) == []


# Reload ---------------------------------------------------------------------------------------------------------------------


def test_they_stay_over_a_reload(manage):
    made = manage()
    with never_away(V4, V6):
        reload(made)
    assert is_managed(V4) and is_managed(V6)


def test_a_reload_adds_and_removes_addresses(manage):
    made = manage(V4, V6)
    with never_away(V4):
        reload(made, **listen(V4, "fd00::20"))
        assert is_managed("fd00::20") and answers("fd00::20")
        wait_until(lambda: held(V6) == [], 5, f"{V6} to go\n{made.log()}")
    made.stop()
    assert held(V4) == held("fd00::20") == []


def test_a_failed_reload_takes_its_addresses_back(manage):
    made = manage(V4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ip("address", "add", "192.0.2.7/32", "dev", "lo")
        s.bind(("192.0.2.7", DNS_PORT))
        config = {**made.config, "server": {**made.config["server"], **listen(V4, V6, "192.0.2.7")}}
        made.write_config(config)
        made.signal(signal.SIGHUP)
        made.wait_log("reload failed.*192.0.2.7")
    assert held(V6) == [] and is_managed(V4)
    assert [valid for _, valid in held("192.0.2.7")] == [FOREVER]


def test_a_reload_that_switches_it_off_removes_them(manage):
    made = manage()
    made.write_config({**made.config, "server": {**made.config["server"], **listen("127.0.0.1"), "manage-address": "no"}})
    wait_until(lambda: held(V4) == held(V6) == [], 15, f"the addresses to go\n{made.log()}")


def test_a_reload_cannot_switch_it_on_and_says_why(start, upstream):
    """The right was given up at the start, when it was not needed. What is there goes on, and can be reloaded."""
    made = start(upstream, server=listen("127.0.0.1"))
    server = {**made.config["server"], **listen("127.0.0.1", V4), "manage-address": "yes"}
    made.write_config({**made.config, "server": server})
    made.signal(signal.SIGHUP)
    made.wait_log(f"level=error .*reload failed.*{V4}.*NET_ADMIN.*start.*manage-address")
    assert held(V4) == [] and answers("127.0.0.1")
    reload(made, **listen("127.0.0.1", "127.0.0.2"))
    assert answers("127.0.0.2")


def test_a_reload_switches_it_on_where_the_addresses_are_there(start, upstream):
    made = start(upstream, server=listen("127.0.0.1"))
    ip("address", "add", f"{V4}/32", "dev", "lo")
    reload(made, **listen("127.0.0.1", V4), **{"manage-address": "yes"})
    assert answers(V4) and [valid for _, valid in held(V4)] == [FOREVER]


def test_a_reload_moves_them_to_another_interface(manage):
    for name in ("one", "two"):
        ip("link", "add", name, "type", "bridge")
    made = manage(server={"interface": "one"})
    reload(made, interface="two")
    for address in (V4, V6):
        wait_until(lambda a=address: [name for name, _ in held(a)] == ["two"], 5, f"{address} to move\n{made.log()}")
    made.stop()
    assert held(V4) == held(V6) == []


# Somebody else's hands ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [V4, V6])
def test_one_that_is_removed_is_back_within_a_second(manage, one):
    made = manage()
    for _ in range(3):
        change(one, "delete")
        wait_until(lambda: is_managed(one), 1, f"{one} to be back\n{made.log()}")
        assert answers(one)
    made.wait_log(f"level=warn .*added again.* address={one}")


def test_they_are_back_within_a_second_when_the_interface_is_removed(manage):
    ip("link", "add", INTERFACE, "type", "bridge")
    made = manage()
    ip("link", "delete", INTERFACE)
    wait_until(lambda: is_managed(V4) and is_managed(V6), 1, f"the addresses to be back\n{made.log()}")
    assert answers(V4) and answers(V6)


def test_an_interface_that_is_taken_down_is_up_within_a_second(manage):
    ip("link", "add", INTERFACE, "type", "bridge")
    made = manage()
    ip("link", "set", INTERFACE, "down")
    wait_until(lambda: is_managed(V4) and is_managed(V6), 1, f"the addresses to be back\n{made.log()}")
    assert "UP" in json.loads(ip("-j", "link", "show", INTERFACE).stdout)[0]["flags"]


def test_one_that_was_removed_while_nobody_listened_to_the_kernel_is_back(manage):
    """More changes than the socket of a stopped supervisor holds: it must read everything anew."""
    made = manage()
    ip("link", "add", "busy", "type", "bridge")
    made.signal(signal.SIGSTOP)
    changes = "".join(f"address add 10.{i // 250}.{i % 250}.1/32 dev busy\n" for i in range(2000))
    ip("-batch", "-", input=changes)
    change(V4, "delete")
    made.signal(signal.SIGCONT)
    wait_until(lambda: is_managed(V4), 1.5, f"{V4} to be back\n{made.log()}")


def test_one_that_cannot_be_put_back_is_tried_again_and_said_once(manage):
    made = manage()
    setting = pathlib.Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    setting.write_text("1")
    made.wait_log(rf"level=error .*cannot be added or renewed.* address={V6} .*IPv6 is disabled")
    time.sleep(2.5)
    setting.write_text("0")
    wait_until(lambda: is_managed(V6), 3, f"{V6} to be back\n{made.log()}")
    made.wait_log("is present again")
    assert made.log().count("cannot be added or renewed") == 1
    assert is_managed(V4)


# Adopted --------------------------------------------------------------------------------------------------------------------


def test_one_that_is_there_for_ever_is_neither_renewed_nor_added_nor_removed(manage):
    ip("link", "add", "eth9", "type", "bridge")
    ip("link", "set", "eth9", "up")
    ip("address", "add", f"{V4}/24", "dev", "eth9")
    made = manage()
    assert held(V4) == [("eth9", FOREVER)]
    assert is_managed(V6)
    made.stop()
    assert held(V4) == [("eth9", FOREVER)] and held(V6) == []


def test_one_with_a_lease_on_another_interface_is_left_as_it_is(manage):
    ip("link", "add", "eth9", "type", "bridge")
    ip("address", "add", f"{V4}/24", "dev", "eth9", "valid_lft", "3600", "preferred_lft", "3600")
    made = manage(V4)
    assert [name for name, _ in held(V4)] == ["eth9"]
    made.stop()
    assert held(V4)[0][1] > 3000


def test_an_adopted_one_that_goes_is_added(manage):
    ip("address", "add", f"{V4}/32", "dev", "lo")
    made = manage(V4)
    assert held(V4) == [("lo", FOREVER)]
    ip("address", "delete", f"{V4}/32", "dev", "lo")
    wait_until(lambda: is_managed(V4), 1, f"{V4} to be back\n{made.log()}")
    made.stop()
    assert held(V4) == []


def test_loopback_addresses_are_not_touched(manage, start, upstream):
    server = {"manage-address": "yes", **listen("127.0.0.1", "::1")}
    made = start(upstream, server=server)
    assert held("127.0.0.1") == held("::1") == [("lo", FOREVER)]
    made.stop()
    assert held("127.0.0.1") == held("::1") == [("lo", FOREVER)]


# Two at once ----------------------------------------------------------------------------------------------------------------


def test_the_end_of_one_does_not_take_them_from_another(manage):
    first = manage()
    time.sleep(3)  # so that the renewals of the two can be told apart
    second = manage(
        server={"listen": f"{V4}:5354, [{V6}]:5354"},
        wait=None,
        args=["--set", "probes.liveness-port=9651", "--set", "probes.readiness-port=9652"],
    )
    second.wait_serving()
    with never_away(V4, V6):
        first.stop()
    assert answers(V4, 5354) and answers(V6, 5354)
    second.stop()
    assert held(V4) == held(V6) == []


# Rights ---------------------------------------------------------------------------------------------------------------------


def configuration(tmp_path, make_config, upstream, *addresses):
    file = tmp_path / "nodedot.ini"
    file.write_text(program.render(make_config(upstream, server={"manage-address": "yes", **listen(*addresses)})))
    return str(file)


@pytest.mark.parametrize("one", [V4, V6])
def test_without_net_admin_it_does_not_start_and_says_why(tmp_path, make_config, upstream, one):
    done = without_net_admin(tmp_path, "run", "-c", configuration(tmp_path, make_config, upstream, one))
    errors = [line for line in done.stderr.splitlines() if "level=error" in line]
    assert done.returncode == 1
    assert len(errors) == 1 and one in errors[0] and "NET_ADMIN" in errors[0], done.stderr


def test_an_ordinary_user_needs_net_admin_alone(manage, monkeypatch):
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        wrapper = pathlib.Path(place, "start")
        rights = f"--reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=+net_admin --ambient-caps=+net_admin"
        wrapper.write_text(f'#!/bin/sh\nexec setpriv {rights} --bounding-set=-all,+net_admin "{program.binary()}" "$@"\n')
        wrapper.chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setattr(program, "binary", lambda: str(wrapper))
            made = manage(directory=pathlib.Path(place))
        assert is_managed(V4) and is_managed(V6)
        made.stop()
        assert held(V4) == held(V6) == []


def test_without_net_admin_an_adopted_address_will_do(tmp_path, make_config, upstream):
    ip("address", "add", f"{V4}/32", "dev", "lo")
    with subprocess.Popen(
        ["setpriv", "--bounding-set=-net_admin", program.binary(), "-c", configuration(tmp_path, make_config, upstream, V4)],
        env=program.clean_environment(),
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(lambda: program.port_open(V4, program.READINESS_PORT), 15, "it to be ready")
        finally:
            process.terminate()
        assert process.wait(5) == 0
    assert held(V4) == [("lo", FOREVER)]


# Configuration --------------------------------------------------------------------------------------------------------------


def test_check_prints_both_options(tmp_path, make_config, upstream):
    shown = program.run("check", "-c", configuration(tmp_path, make_config, upstream, V4))
    assert "\nmanage-address = yes\ninterface = nodedot0\n" in shown.stdout


@pytest.mark.parametrize("name", ["sixteen-letters-", "a/b", "a b", "."])
def test_an_interface_that_cannot_be_is_refused(tmp_path, make_config, upstream, name):
    file = configuration(tmp_path, make_config, upstream, V4)
    shown = program.run("check", "-c", file, "--set", f"server.interface={name}")
    assert shown.returncode == 2 and "interface: " in shown.stderr

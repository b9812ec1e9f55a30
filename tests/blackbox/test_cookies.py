"""DNS cookies (RFC 7873, RFC 9018): whoever shows one is who it says it is."""

import os
import signal
import struct
import subprocess

import pytest

from harness import behaviours, client, wire
from harness.waiting import wait_until

BOTH = pytest.mark.parametrize("transport", ["udp", "tcp"])
MINE = b"\1\2\3\4\5\6\7\x08"
BADCOOKIE = 23


def cookie_query(cookie, name="cookie.test", **more):
    return wire.query(name, edns=wire.opt(options=wire.option(wire.COOKIE, cookie)), **more)


def cookie_of(answer):
    """The COOKIE of an answer; None when there is none."""
    found = [o.to_wire() for o in answer.options if int(o.otype) == wire.COOKIE]
    assert len(found) <= 1
    return found[0] if found else None


def ask(program, cookie, transport="udp", source=None, **more):
    octets = program.exchange(cookie_query(cookie, **more), transport, source=source)
    assert octets is not None
    return client.parse(octets)


def learn(program, source=None, transport="udp"):
    """A cookie that proves source."""
    return cookie_of(ask(program, MINE, transport, source))


@BOTH
def test_a_client_cookie_is_answered_with_a_server_cookie_of_rfc_9018(nodedot, transport):
    for _ in range(2):  # from upstream, and from the cache
        answer = ask(nodedot, MINE, transport)
        cookie = cookie_of(answer)
        assert client.addresses(answer) == [wire.address_of("cookie.test")]
        assert len(cookie) == 24 and cookie[:8] == MINE and cookie[8:12] == b"\1\0\0\0"
    assert nodedot.counter("cookies_valid_total") == 0
    assert not set(nodedot.upstream.asked("cookie.test")[-1].options) & {wire.COOKIE}


@BOTH
def test_who_shows_it_again_is_recognised(nodedot, transport):
    cookie = learn(nodedot, transport=transport)
    for other in ("udp", "tcp"):
        answer = ask(nodedot, cookie, other)
        assert cookie_of(answer) == cookie and answer.rcode() == wire.NOERROR
    assert nodedot.counter("cookies_valid_total") == 2


def test_all_threads_know_it(start, upstream):
    program = start(upstream, server={"workers": 2})
    cookie = learn(program)
    for _ in range(12):
        assert cookie_of(ask(program, cookie)) == cookie
    assert program.counter("cookies_valid_total") == 12


def test_it_outlives_a_crash_and_a_reload(nodedot):
    cookie = learn(nodedot)
    pid = nodedot.resolver()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: nodedot.resolver() != pid, 10, "another resolver")
    nodedot.wait_serving()
    assert cookie_of(ask(nodedot, cookie)) == cookie


def test_an_old_servers_or_another_clients_cookie_is_replaced(nodedot, address):
    cookie = learn(nodedot)
    for shown, source in ((cookie, address()), (MINE + b"x" * 16, None), (MINE + b"x" * 8, None), (MINE + b"x" * 32, None)):
        answer = ask(nodedot, shown, source=source)
        assert answer.rcode() == wire.NOERROR
        assert cookie_of(answer)[:8] == MINE and cookie_of(answer) != shown
    assert nodedot.counter("cookies_valid_total") == 0


@BOTH
@pytest.mark.parametrize("size", [0, 1, 7, 9, 15, 41, 200])
def test_a_cookie_of_a_wrong_length_is_formerr(nodedot, transport, size):
    answer = ask(nodedot, b"c" * size, transport)
    assert answer.rcode() == wire.FORMERR and cookie_of(answer) is None


@pytest.mark.parametrize("size", [8, 16, 17, 39, 40])
def test_a_cookie_of_a_good_length_is_not(nodedot, size):
    assert ask(nodedot, b"c" * size).rcode() == wire.NOERROR


def test_of_several_cookies_the_first_counts(nodedot):
    cookie = learn(nodedot)
    options = wire.option(wire.COOKIE, cookie) + wire.option(wire.COOKIE, b"other!!!")
    answer = client.parse(nodedot.exchange(wire.query("cookie.test", edns=wire.opt(options=options))))
    assert cookie_of(answer) == cookie
    options = wire.option(wire.COOKIE, cookie) + wire.option(wire.COOKIE, b"broken")
    assert client.parse(nodedot.exchange(wire.query(edns=wire.opt(options=options)))).rcode() == wire.FORMERR


@BOTH
def test_a_query_for_nothing_but_a_cookie_is_answered(nodedot, transport):
    """RFC 7873 section 5.4."""

    def ask_for_it(cookie):
        edns = wire.opt(options=wire.option(wire.COOKIE, cookie))
        octets = nodedot.exchange(wire.query(counts=(0, 0, 0, 1))[:12] + edns, transport)
        answer = client.parse(octets)
        assert not answer.question and not answer.answer
        return answer

    answer = ask_for_it(MINE)
    cookie = cookie_of(answer)
    assert answer.rcode() == wire.NOERROR and len(cookie) == 24
    answer = ask_for_it(cookie)
    assert answer.rcode() == wire.NOERROR and cookie_of(answer) == cookie
    answer = ask_for_it(MINE + b"no cookie of ours")
    assert answer.rcode() == BADCOOKIE and cookie_of(answer) == cookie
    without = wire.query(counts=(0, 0, 0, 1))[:12] + wire.opt()
    assert client.parse(nodedot.exchange(without, transport)).rcode() == wire.FORMERR


def test_every_kind_of_answer_carries_it(nodedot):
    nodedot.upstream.behave("no.test", behaviours.nxdomain())
    nodedot.upstream.behave("fails.test", behaviours.failure())
    for name, more, rcode in (
        ("no.test", {}, wire.NXDOMAIN),
        ("fails.test", {}, wire.SERVFAIL),
        ("localhost", {}, wire.NOERROR),
        ("a.test", {"qtype": wire.ANY}, wire.NOERROR),
        ("a.test", {"flags": 0}, wire.REFUSED),
        ("a.test", {"qclass": 3}, wire.REFUSED),
        ("a.test", {"flags": 2 << 11}, wire.NOTIMP),
    ):
        answer = ask(nodedot, MINE, name=name, **more)
        assert answer.rcode() == rcode and cookie_of(answer)[:8] == MINE


@pytest.mark.parametrize("size", [512, 800, 1232])
def test_its_room_is_taken_into_account(nodedot, size):
    """Answers of 16-octet records around the limit: with the cookie nothing is too long, and it is never left out."""
    edns = wire.opt(size, options=wire.option(wire.COOKIE, MINE))
    overhead = len(wire.query("r00.test", edns=wire.opt())) + 28
    fits = (size - overhead) // 16
    for count, truncated in ((fits, False), (fits + 1, True)):
        name = f"r{count:02}.test"
        nodedot.upstream.behave(name, behaviours.addresses(count))
        octets = nodedot.exchange(wire.query(name, edns=edns))
        answer = client.parse(octets)
        assert bool(octets[2] & 2) == truncated and len(octets) <= size
        assert len(client.addresses(answer)) == (0 if truncated else count)
        assert len(cookie_of(answer)) == 24


def test_datagrams_in_its_name_cannot_block_a_client_with_a_cookie(start, upstream, address):
    program = start(upstream, limits={"client-qps": 5, "client-burst": 10, "client-block": 60})
    victim = address()
    cookie = learn(program, victim)
    with program.udp(victim) as forger:  # as good as forged: it shows no cookie
        for i in range(100):
            forger.send(wire.query("localhost", id=i))
        wait_until(lambda: program.counter("dropped_blocked_total") > 0, 5, "the address to be blocked")
    assert program.exchange(wire.query("localhost"), timeout=0.4, source=victim) is None
    for _ in range(8):
        assert ask(program, cookie, source=victim).rcode() == wire.NOERROR
    false = cookie[:23] + bytes([cookie[23] ^ 1])
    assert program.exchange(cookie_query(false), timeout=0.4, source=victim) is None


def test_a_client_with_a_cookie_has_a_rate_too(start, upstream, address):
    program = start(upstream, limits={"client-qps": 1, "client-burst": 5})
    source = address()
    cookie = learn(program, source)
    codes = [ask(program, cookie, source=source).rcode() for _ in range(8)]
    assert codes[:5] == [wire.NOERROR] * 5 and codes[7] == wire.REFUSED
    assert ask(program, MINE, source=source).rcode() == wire.NOERROR


def test_a_share_of_places_in_flight_is_not_lost_to_a_forger(start, upstream, address):
    """Whoever sends in the name of a client with a cookie fills another client's share."""
    upstream.default = lambda q: [] if "mute" in q.name else behaviours.proper()(q)
    program = start(upstream, limits={"in-flight": 20})
    victim = address()
    cookie = learn(program, victim)
    with program.udp(victim) as forger:
        for i in range(100):
            forger.send(wire.query(f"r{i}.mute.test", id=i))
        program.wait_counter("in_flight_refused_total", 80)
        answer = ask(program, cookie, source=victim, name="other.test")
        assert client.addresses(answer) == [wire.address_of("other.test")]


@BOTH
def test_dig_is_content(nodedot, transport):
    """The client that most people try it with; it says whether what came back is its own."""
    command = ["dig", f"@{nodedot.address}", "-p", str(nodedot.port), "+cookie", "+tries=1", "dig.test"]
    if transport == "tcp":
        command.append("+tcp")
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    assert "(good)" in shown and "status: NOERROR" in shown
    line = next(line for line in shown.splitlines() if "COOKIE:" in line)
    cookie = line.split()[2]
    assert len(cookie) == 48
    again = subprocess.run(
        [*command, f"+cookie={cookie}"], capture_output=True, text=True, check=True, timeout=10
    ).stdout
    assert cookie in again
    assert nodedot.counter("cookies_valid_total") == 1


def test_time_is_part_of_it(nodedot):
    """A cookie that says another time than it was made at is worth nothing."""
    cookie = learn(nodedot)
    seconds = struct.unpack_from("!I", cookie, 12)[0]
    for changed in (seconds + 1, seconds - 1, seconds - 4000, 0, 0xFFFFFFFF):
        shown = cookie[:12] + struct.pack("!I", changed % 2**32) + cookie[16:]
        assert cookie_of(ask(nodedot, shown)) != shown
    assert nodedot.counter("cookies_valid_total") == 0

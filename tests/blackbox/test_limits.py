"""Limits: in flight, connections, rates, and who may ask at all."""

import time

import pytest

from harness import behaviours, client, wire
from harness.waiting import wait_until


def rcode(octets):
    return octets[3] & 15


def is_open(tcp, name="open.test"):
    """Is the connection served?"""
    try:
        return tcp.ask(wire.query(name), timeout=3) is not None
    except (ConnectionResetError, BrokenPipeError):
        return False


# In flight ------------------------------------------------------------------------------------------------------------------


def test_past_the_in_flight_limit_a_query_fails_at_once_with_a_reason(start, upstream):
    upstream.default = behaviours.delay(2.0)
    upstream.behave("cached.test", behaviours.proper())
    program = start(upstream, limits={"in-flight": 50})
    program.ask("cached.test")
    with program.udp() as udp:
        for i in range(50):
            udp.send(wire.query(f"fill{i}.test", id=i))
        wait_until(
            lambda: len([q for q in upstream.queries if q.name.startswith("fill")]) == 50, 5, "the table to be full"
        )
        began = time.monotonic()
        answer = program.ask("one-more.test", edns=True)
        assert answer.rcode() == wire.SERVFAIL and client.ede_codes(answer)
        assert time.monotonic() - began < 0.5
        assert program.ask("one-more.test", transport="tcp").rcode() == wire.SERVFAIL
        # What needs no upstream is served as ever, and so is everybody who waits.
        assert client.addresses(program.ask("cached.test")) == [wire.address_of("cached.test")]
        assert client.addresses(program.ask("localhost")) == ["127.0.0.1"]
        assert len([1 for _ in range(50) if rcode(udp.receive()) == wire.NOERROR]) == 50
    assert program.counter("in_flight_refused_total") == 2
    assert client.addresses(program.ask("afterwards.test"))


def test_the_refusal_of_a_full_table_is_not_remembered_as_a_failure(start, upstream):
    upstream.behave("hold.test", behaviours.delay(1.0))
    program = start(upstream, limits={"in-flight": 1})
    with program.udp() as udp:
        udp.send(wire.query("hold.test"))
        wait_until(lambda: upstream.asked("hold.test"), 5, "the question to reach the upstream")
        assert program.ask("refused.test").rcode() == wire.SERVFAIL
        assert udp.receive()
    assert client.addresses(program.ask("refused.test")) == [wire.address_of("refused.test")]


def test_a_full_table_with_a_mute_upstream_empties_itself(start, upstream):
    upstream.default = behaviours.drop()
    program = start(upstream, limits={"in-flight": 100, "timeout": 1000})
    for _ in range(3):
        with program.udp() as udp:
            for i in range(300):
                udp.send(wire.query(f"mute{time.monotonic()}-{i}.test", id=i))
            assert sum(udp.receive(3) is not None for _ in range(300)) == 300
    assert program.counter("in_flight") == 0
    upstream.default = behaviours.proper()
    wait_until(lambda: program.ask(f"back{time.monotonic()}.test").rcode() == wire.NOERROR, 6, "service to be back")


def test_stale_answers_are_served_past_the_limit_too(start, upstream):
    upstream.behave("stale.test", behaviours.proper(ttl=1))
    program = start(upstream, limits={"in-flight": 5})
    program.ask("stale.test")
    time.sleep(2.1)
    upstream.default = behaviours.delay(2)
    with program.udp() as udp:
        for i in range(5):
            udp.send(wire.query(f"fill{i}.test", id=i))
        wait_until(
            lambda: len([q for q in upstream.queries if q.name.startswith("fill")]) == 5, 5, "the table to be full"
        )
        answer = program.ask("stale.test", edns=True)
        assert client.addresses(answer) == [wire.address_of("stale.test")] and 3 in client.ede_codes(answer)


# Shares ---------------------------------------------------------------------------------------------------------------------


def random_names(program, source, count, suffix):
    """One client asks so many names that were never asked, without waiting for an answer. Returns its socket."""
    udp = program.udp(source)
    for i in range(count):
        udp.send(wire.query(f"r{i}.{suffix}", id=i, edns=wire.opt()))
    return udp


def answers_at_hand(udp):
    found = []
    while (octets := udp.receive(0.3)) is not None:
        found.append(client.parse(octets))
    return found


def silent_below(suffix):
    """The upstream answers everything but names below suffix."""
    return lambda q: [] if q.name.endswith(suffix) else behaviours.proper()(q)


@pytest.mark.parametrize("workers", [1, 2])
def test_one_clients_random_names_leave_room_for_all_others(start, upstream, address, workers):
    """Far more than in-flight, of an upstream that never answers; misses of eight others are answered all the same."""
    upstream.default = silent_below("mute.test")
    program = start(upstream, server={"workers": workers}, limits={"in-flight": 200})
    with random_names(program, address(), 3000, "mute.test") as flood:
        program.wait_counter("in_flight_refused_total", 1)
        for name in (f"other{i}.test" for i in range(8)):
            began = time.monotonic()
            answer = program.ask(name, source=address())
            assert client.addresses(answer) == [wire.address_of(name)]
            assert time.monotonic() - began < 1
        if workers == 1:  # of two, the other one may have had room
            assert program.counter("in_flight_displaced_total") >= 1
        for answer in answers_at_hand(flood):
            assert answer.rcode() == wire.SERVFAIL and client.ede_codes(answer)
    assert program.counter("in_flight") <= 200


def test_clients_that_all_want_everything_get_equal_shares(start, upstream, address):
    upstream.default = behaviours.drop()
    program = start(upstream, limits={"in-flight": 90, "timeout": 20000})
    clients = [random_names(program, address(), 90, f"c{i}.test") for i in range(3)]
    try:
        program.wait_counter("queries_udp_total", 270)
        refused = [len(answers_at_hand(udp)) for udp in clients]
        assert sum(refused) == 180 and all(58 <= n <= 62 for n in refused)
        assert program.counter("in_flight") == 90
    finally:
        for udp in clients:
            udp.socket.close()


def test_the_oldest_query_gives_way_and_its_question_is_given_up(start, upstream, address):
    upstream.default = silent_below("mute.test")
    program = start(upstream, limits={"in-flight": 4, "timeout": 20000})
    with random_names(program, address(), 4, "mute.test") as holder:
        wait_until(lambda: len(upstream.asked("r3.mute.test")) == 1, 5, "the last question to reach the upstream")
        assert client.addresses(program.ask("other.test", source=address()))
        oldest = client.parse(holder.receive())
        assert oldest.id == 0 and oldest.rcode() == wire.SERVFAIL and client.ede_codes(oldest)
        assert program.counter("in_flight") == 3
        assert program.counter("in_flight_displaced_total") == 1


def test_who_gives_way_is_given_a_stale_answer_if_there_is_one(start, upstream, address):
    upstream.behave("r0.test", behaviours.proper(ttl=1))
    program = start(upstream, limits={"in-flight": 3, "stale-after": 0})
    program.ask("r0.test")
    time.sleep(2.1)
    upstream.default = behaviours.drop()
    upstream.behave("r0.test", behaviours.drop())
    with random_names(program, address(), 3, "test") as holder, program.udp(address()) as other:
        wait_until(lambda: upstream.asked("r2.test"), 5, "the last question to reach the upstream")
        other.send(wire.query("other.test"))
        answer = client.parse(holder.receive(2))
        assert answer.id == 0 and client.addresses(answer) == [wire.address_of("r0.test")]
        assert 3 in client.ede_codes(answer)


def test_a_displaced_client_over_tcp_keeps_its_connection(start, upstream, address):
    upstream.default = silent_below("mute.test")
    program = start(upstream, limits={"in-flight": 4})
    with program.tcp(address()) as holder:
        holder.send(*(wire.query(f"r{i}.mute.test", id=i) for i in range(4)))
        wait_until(lambda: upstream.asked("r3.mute.test"), 5, "the last question to reach the upstream")
        assert client.addresses(program.ask("other.test", source=address()))
        oldest = holder.receive()
        assert oldest[:2] == b"\0\0" and rcode(oldest) == wire.SERVFAIL
        assert holder.ask(wire.query("localhost", id=9))[:2] == b"\0\x09"


def test_who_waits_together_for_one_answer_is_displaced_alone(start, upstream, address):
    """Another client that waits for the same question has its answer."""
    upstream.behave("shared.test", behaviours.delay(1.0))
    upstream.default = silent_below("mute.test")
    program = start(upstream, limits={"in-flight": 6})
    with program.udp(address()) as holder, program.udp(address()) as partner:
        for i in range(5):
            holder.send(wire.query("shared.test", id=i))
        partner.send(wire.query("shared.test", id=77))
        program.wait_counter("in_flight", 6)
        assert client.addresses(program.ask("other.test", source=address()))
        assert rcode(holder.receive()) == wire.SERVFAIL
        assert client.addresses(client.parse(partner.receive())) == [wire.address_of("shared.test")]
        assert [rcode(holder.receive()) for _ in range(4)] == [wire.NOERROR] * 4
    assert len(upstream.asked("shared.test")) == 1


def test_a_zone_that_never_answers_leaves_room_for_the_others(start, upstream, make_upstream):
    """Even for the client that filled the table with it."""
    mute = make_upstream()
    mute.default = behaviours.drop()
    program = start(
        upstream,
        sections={"upstream mute": mute.options("pin"), "zone mute.test": {"upstream": "mute"}},
        limits={"in-flight": 50},
    )
    with random_names(program, None, 200, "mute.test"):
        program.wait_counter("in_flight_refused_total", 150)
        for name in (f"well{i}.test" for i in range(10)):
            assert client.addresses(program.ask(name)) == [wire.address_of(name)]
        assert program.ask("one-more.mute.test").rcode() == wire.SERVFAIL


def test_prefixes_make_one_client_of_many_addresses(start, upstream, address):
    program = start(upstream, limits={"client-qps": 1, "client-burst": 3, "client-prefix-ipv4": 8})
    sources = [address() for _ in range(5)]  # before the clock of the rate runs: finding one takes a while on a busy machine
    codes = [rcode(program.exchange(wire.query("localhost"), source=source)) for source in sources]
    assert codes == [wire.NOERROR] * 3 + [wire.REFUSED] * 2


# Connections ------------------------------------------------------------------------------------------------------------------


def test_one_client_may_open_so_many_connections_and_others_as_many_again(start, upstream, address):
    program = start(upstream, limits={"tcp-connections-per-client": 3})
    greedy, other = address(), address()
    held = [program.tcp(greedy) for _ in range(3)]
    assert all(is_open(tcp) for tcp in held)
    with program.tcp(greedy) as fourth:
        assert not is_open(fourth)
    more = [program.tcp(other) for _ in range(3)]
    assert all(is_open(tcp) for tcp in held + more)
    assert program.counter("tcp_refused_total") == 1
    for tcp in held + more:
        tcp.socket.close()
    wait_until(lambda: program.counter("tcp_connections") == 0, 3, "the connections to be forgotten")
    with program.tcp(greedy) as again:
        assert is_open(again)


def test_all_clients_together_may_open_so_many_connections(start, upstream, address):
    """One with a query in flight is not closed for who would have as many as its client."""
    upstream.behave("slow.test", behaviours.delay(2.0))
    program = start(upstream, limits={"tcp-connections": 8, "tcp-connections-per-client": 4})
    held = [program.tcp(address()) for _ in range(8)]
    for tcp in held:
        tcp.send(wire.query("slow.test"))
    wait_until(lambda: program.counter("tcp_connections") == 8, 3, "eight connections")
    program.wait_counter("queries_tcp_total", 8)
    with program.tcp(address()) as ninth:
        assert not is_open(ninth)
    assert program.ask("udp.test")
    for tcp in held:
        assert rcode(tcp.receive()) == wire.NOERROR
        tcp.socket.close()
    wait_until(lambda: program.counter("tcp_connections") == 0, 3, "the connections to be forgotten")
    with program.tcp(address()) as again:
        assert is_open(again)


def test_clients_with_a_query_on_each_of_many_connections_keep_nobody_out(start, upstream, address):
    upstream.behave("mute.test", behaviours.drop())
    program = start(upstream, limits={"tcp-connections": 8, "tcp-connections-per-client": 4})
    held = [program.tcp(source) for source in (address(), address()) for _ in range(4)]
    for tcp in held:
        tcp.send(wire.query("mute.test"))
    program.wait_counter("queries_tcp_total", 8)
    with program.tcp(address()) as ninth, program.tcp(address()) as tenth:
        assert rcode(ninth.ask(wire.query("localhost"))) == wire.NOERROR
        assert rcode(tenth.ask(wire.query("localhost"))) == wire.NOERROR
        assert program.counter("tcp_connections") == 8
    for tcp in held:
        tcp.socket.close()


def test_at_the_total_limit_an_idle_connection_makes_room_or_the_new_one_is_refused(start, upstream, address):
    program = start(upstream, limits={"tcp-connections": 4, "tcp-connections-per-client": 4})
    held = [program.tcp(address()) for _ in range(4)]
    assert all(is_open(tcp) for tcp in held)
    with program.tcp(address()) as fifth:
        is_open(fifth)
        assert program.counter("tcp_connections") <= 4
    for tcp in held:
        tcp.socket.close()


def test_the_limits_hold_for_all_workers_together(start, upstream, address):
    program = start(upstream, server={"workers": 2}, limits={"tcp-connections": 1000, "tcp-connections-per-client": 10})
    source = address()
    held = [program.tcp(source) for _ in range(40)]
    served = sum(is_open(tcp) for tcp in held)
    assert served == 10
    for tcp in held:
        tcp.socket.close()


def test_the_limit_counts_idle_connections_until_they_are_closed(start, upstream):
    program = start(upstream, limits={"tcp-connections-per-client": 2, "tcp-idle": 1})
    held = [program.tcp() for _ in range(2)]
    with program.tcp() as third:
        assert not is_open(third)
    for tcp in held:
        assert tcp.wait_closed(4) < 3
    with program.tcp() as again:
        assert is_open(again)


# Access -----------------------------------------------------------------------------------------------------------------------


def answered(program, source):
    return program.exchange(wire.query("localhost"), timeout=0.4, source=source) is not None


def test_allow_and_deny(start, upstream, network):
    inside, outside, exception = network.address(), network.address(), network.address()
    program = start(upstream, acl={"allow": [f"{inside}/32", exception], "deny": exception})
    assert answered(program, inside)
    assert not answered(program, outside) and not answered(program, exception)
    program.wait_counter("dropped_acl_total", 2)


def test_an_ipv6_client_outside_the_acl_gets_nothing(start, upstream, address, network):
    port = network.port()
    program = start(upstream, server={"listen": f"{address()}:{port}, [::1]:{port}"}, acl={"allow": "127.0.0.0/8"})
    with client.Udp("::1", port) as udp:
        assert udp.ask(wire.query("localhost"), 0.4) is None
    with client.Tcp("::1", port) as tcp:
        assert not is_open(tcp)
    assert program.ask("a.test")


# Rates ------------------------------------------------------------------------------------------------------------------------


def burst(program, source, count, name="localhost"):
    """RCODEs of the answers to so many queries at once; what is not answered is missing."""
    with program.udp(source) as udp:
        for i in range(count):
            udp.send(wire.query(name, id=i))
        codes = []
        while len(codes) < count and (octets := udp.receive(0.5)) is not None:
            codes.append(rcode(octets))
    return codes


def test_within_its_rate_a_client_notices_nothing(start, upstream, address):
    program = start(upstream, limits={"client-qps": 100, "client-burst": 100})
    source = address()
    assert burst(program, source, 90) == [wire.NOERROR] * 90
    assert program.counter("rate_limited_total") == 0


def test_over_its_rate_it_is_refused_and_past_the_burst_twice_over_not_answered(start, upstream, address):
    program = start(upstream, limits={"client-qps": 10, "client-burst": 50})
    codes = burst(program, address(), 400)
    assert 45 <= codes.count(wire.NOERROR) <= 80
    assert codes.count(wire.REFUSED) >= 40
    assert len(codes) <= 200
    counters = program.counters()
    assert counters["rate_limited_total"] == codes.count(wire.REFUSED)
    assert counters["dropped_rate_total"] == 400 - len(codes)


def test_one_clients_flood_is_not_anothers(start, upstream, address):
    program = start(upstream, limits={"client-qps": 10, "client-burst": 20})
    burst(program, address(), 300)
    assert burst(program, address(), 15) == [wire.NOERROR] * 15


def test_a_client_that_calms_down_is_served_again(start, upstream, address):
    program = start(upstream, limits={"client-qps": 20, "client-burst": 10})
    source = address()
    burst(program, source, 100)
    time.sleep(2.5)
    assert burst(program, source, 10) == [wire.NOERROR] * 10


def test_a_steady_rate_at_the_limit_is_served(start, upstream, address):
    program = start(upstream, limits={"client-qps": 50, "client-burst": 10})
    with program.udp(address()) as udp:
        codes = []
        for i in range(100):
            codes.append(rcode(udp.ask(wire.query("localhost", id=i))))
            time.sleep(0.025)  # 40 a second at most
    assert codes == [wire.NOERROR] * 100


def test_a_client_far_over_its_rate_is_blocked_for_a_time(start, upstream, address):
    program = start(upstream, limits={"client-qps": 10, "client-burst": 20, "client-block": 2})
    source = address()
    burst(program, source, 500)
    assert burst(program, source, 1) == []
    with program.tcp(source) as tcp:
        assert not is_open(tcp)
    assert program.counter("dropped_blocked_total") >= 1
    assert burst(program, address(), 1) == [wire.NOERROR]
    wait_until(lambda: burst(program, source, 1) == [wire.NOERROR], 6, "the block to end")


def test_without_limits_nobody_is_limited(nodedot, address):
    assert burst(nodedot, address(), 2000) == [wire.NOERROR] * 2000


@pytest.mark.parametrize("workers", [1, 2])
def test_the_rate_holds_for_tcp_too(start, upstream, address, workers):
    program = start(upstream, server={"workers": workers}, limits={"client-qps": 10, "client-burst": 20})
    with program.tcp(address()) as tcp:
        tcp.send(*(wire.query("localhost", id=i) for i in range(30)))
        codes = [rcode(tcp.receive()) for _ in range(30)]
    assert codes.count(wire.REFUSED) >= 5 and codes[0] == wire.NOERROR

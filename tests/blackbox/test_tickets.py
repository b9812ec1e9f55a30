"""Session tickets of TLS 1.3 in every shape: a server may offer what it likes, and no offer ends a connection."""

import pytest

from harness import client, wire
from harness.tickets import SUITES, WEEK, Ticket, TicketServer
from harness.waiting import wait_until

QUERIES = 20
KIB = 1024

# Whether the library can resume with it depends on its version; answers come in any case.
SHAPES = {
    **{f"a nonce of {n} octets": [Ticket(nonce=n)] for n in (0, 1, 8, 9, 32, 255)},
    "a lifetime of 0": [Ticket(lifetime=0)],
    "a lifetime of 7 days": [Ticket(lifetime=WEEK)],
    "a lifetime above 7 days": [Ticket(lifetime=WEEK + 1)],
    "the largest lifetime": [Ticket(lifetime=2**32 - 1)],
    "4 KiB": [Ticket(size=4 * KIB)],
    "60 KiB": [Ticket(size=60 * KIB)],
    "no octet": [Ticket(size=0)],
    "lengths that do not fit": [Ticket(malformed=True)],
    "ten at once": [Ticket() for _ in range(10)],
    "ten of all kinds": [*[Ticket(nonce=n) for n in (0, 8, 32, 255)], Ticket(lifetime=0), Ticket(lifetime=WEEK + 1)]
    + [Ticket(size=4 * KIB), Ticket(size=60 * KIB), Ticket(malformed=True), Ticket()],
}


@pytest.fixture
def make_server(address, authority):
    made = []

    def make(tickets, **settings):
        where = address()
        server = TicketServer(where, authority.issue("dot.test", where), tickets, settings.pop("suite", "CHACHA20-POLY1305"))
        for name, value in settings.items():
            setattr(server, name, value)
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


def ask_many(program, prefix):
    for i in range(QUERIES):
        name = f"{prefix}{i}.test"
        assert client.addresses(program.ask(name)) == [wire.address_of(name)]


def check_answers(start, server):
    """Every query is answered, over connections that end in order if at all."""
    program = start(server)
    ask_many(program, "a")
    counters = program.counters()
    assert counters["upstream_broken_total"] == 0 and not server.ends()
    return program


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ticket_of_any_shape_ends_no_connection(start, make_server, shape):
    check_answers(start, make_server(SHAPES[shape]))


@pytest.mark.parametrize("shape", ["a nonce of 32 octets", "60 KiB", "ten of all kinds"])
@pytest.mark.parametrize("suite", SUITES)
def test_nor_does_it_under_any_cipher_suite_and_after_a_key_update(start, make_server, shape, suite):
    check_answers(start, make_server(SHAPES[shape], suite=suite, key_update=True))


@pytest.mark.parametrize("shape", ["ten at once", "ten of all kinds"])
@pytest.mark.parametrize("size", [1, 3, 100, 16384])
def test_nor_in_records_of_any_size(start, make_server, shape, size):
    tickets = [t for t in SHAPES[shape] if t.size <= 4 * KIB]
    check_answers(start, make_server(tickets, record_size=size))


@pytest.mark.parametrize("shape", SHAPES)
def test_nor_together_with_an_answer(start, make_server, shape):
    check_answers(start, make_server(SHAPES[shape], tickets_with_answers=True, record_size=16000, padding=7))


@pytest.mark.parametrize("nonce", [0, 1, 8])
def test_a_ticket_that_fits_is_resumed_with(start, make_server, nonce):
    server = make_server([Ticket(lifetime=WEEK + 1), Ticket(nonce=nonce), Ticket(size=4 * KIB)])
    program = check_answers(start, server)
    server.cut()
    wait_until(lambda: any(c.resumed for c in server.connections), 10, "a resumed connection")
    ask_many(program, "b")
    assert not any("wrong" in end or "alert" in end for end in server.ends())


def test_a_ticket_that_does_not_fit_is_never_offered(start, make_server):
    server = make_server([Ticket(lifetime=0), Ticket(size=4 * KIB), Ticket(lifetime=WEEK + 1)])
    program = check_answers(start, server)
    before = len(server.connections)
    server.cut()
    ask_many(program, "b")
    assert len(server.connections) > before and all(c.offered is None for c in server.connections)

"""Fixtures of the black-box tests. See harness/ for what they are made of."""

import os

import pytest

pytest.register_assert_rewrite("harness")

from harness import servers  # noqa: E402 (the line above must come first)
from harness.certificates import Authority
from harness.fake import FakeServer
from harness.network import Network, own_network
from harness.program import DNS_PORT, Nodedot, binary


def pytest_xdist_auto_num_workers(config):
    """Most tests wait most of the time, so there may be more of them at once than processors."""
    return 3 * (os.cpu_count() or 1)


def pytest_configure(config):
    if not os.access(binary(), os.X_OK):
        raise pytest.UsageError(f"{binary()} is not there: run make, or name the program in NODEDOT")


def pytest_collection_modifyitems(config, items):
    kept, dropped = [], []
    for item in items:
        if item.get_closest_marker("needs_root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        if item.get_closest_marker("quiet"):
            item.add_marker(pytest.mark.xdist_group("quiet"))  # one after the other, in one worker
        marker = item.get_closest_marker("needs_server")
        (dropped if marker and not servers.obtainable(marker.args[0]) else kept).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        names = sorted({item.get_closest_marker("needs_server").args[0] for item in dropped})
        config.stash[MISSING] = names
    # The longest first, so that no worker is left alone with one at the end.
    items[:] = sorted(kept, key=lambda item: not item.get_closest_marker("slow"))


MISSING = pytest.StashKey()


def pytest_terminal_summary(terminalreporter, config):
    if names := config.stash.get(MISSING, []):
        terminalreporter.write_line(f"tests left out: this distribution has no package of {', '.join(names)}")


@pytest.fixture(scope="session")
def network():
    return Network()


@pytest.fixture
def address(network):
    """A function that gives a fresh loopback address."""
    return network.address


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The certificate authority of this run."""
    return Authority(tmp_path_factory.mktemp("pki"), "Test Root")


@pytest.fixture
def make_upstream(address, authority):
    """A function that starts fake servers; each has a fresh address and, unless given, a fresh certificate."""
    made = []

    def make(certificate=None, **settings):
        where = settings.pop("address", None) or address()
        name = settings.setdefault("name", "dot.test")
        server = FakeServer(where, certificate or authority.issue(name, where), **settings)
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def node():
    """A network of its own for this test (needs_root): whatever it starts afterwards is in there. Named by usefixtures, so that
    it is there before the other fixtures."""
    with own_network():
        yield


@pytest.fixture
def upstream(make_upstream):
    """One well-behaved fake server, to be told otherwise."""
    return make_upstream()


@pytest.fixture
def make_config(address):
    """A function that makes a configuration: one upstream group "up" of the given fake servers for zone ".".

    auth: pin, ca (needs ca-file in up) or plain. up: more keys of its section. other sections by name; a dict is merged, with
    "_" in keyword sections standing for itself. Without servers there is neither upstream nor zone.
    """

    def make(*servers_of_group, auth="pin", up=None, sections=None, **named):
        config = {"server": {"listen": f"{address()}:{DNS_PORT}", "workers": 1}, "cache": {"size": "4M"}}
        if servers_of_group:
            keys = dict(servers_of_group[0].options(auth))
            keys["address"] = [s.options(auth)["address"] for s in servers_of_group]
            if auth == "pin":
                keys["pin"] = sorted({s.options(auth)["pin"] for s in servers_of_group})
            config["upstream up"] = {**keys, **(up or {})}
            config["zone ."] = {"upstream": "up"}
        for section, keys in {**(sections or {}), **named}.items():
            config[section] = {**config.get(section, {}), **keys}
        return config

    return make


@pytest.fixture
def start(tmp_path, make_config):
    """A function that starts the program with a configuration as make_config() makes it. Every program is stopped at the end,
    and must then keep the promises of a stop."""
    made = []

    def start(
        *servers_of_group,
        wait="ready",
        args=(),
        env=None,
        config=None,
        file=None,
        user=None,
        directory=None,
        under=(),
        **settings,
    ):
        config = config or make_config(*servers_of_group, **settings)
        host, _, port = config["server"]["listen"].split(",")[0].strip().rpartition(":")
        directory = directory or tmp_path / str(len(made))
        directory.mkdir(exist_ok=True)
        program = Nodedot(directory, host.strip("[]"), config, args, env, int(port), file, user, under)
        made.append(program)
        return program.start(wait)

    yield start
    problems = []
    for program in made:
        try:
            program.stop()
        except AssertionError as error:
            problems.append(str(error))
        finally:
            program.kill()
    assert not problems, "\n".join(problems)


@pytest.fixture
def nodedot(start, upstream):
    """The program with one fake upstream over DoT for everything."""
    program = start(upstream)
    program.upstream = upstream
    return program

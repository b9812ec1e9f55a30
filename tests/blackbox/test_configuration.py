"""Configuration and commands: what is read from where, what is refused, and with which exit status."""

import re
import socket

import pytest

from harness import client, wire
from harness.certificates import pem, self_signed
from harness.program import DNS_PORT, LIVENESS_PORT, READINESS_PORT, Nodedot, render, run

PIN = "sha256/" + "A" * 43 + "="
OTHER_PIN = "sha256/" + "A" * 42 + "E" + "="
MINIMAL = (
    "[server]\nlisten = 127.0.0.1:5399\n[upstream up]\naddress = 192.0.2.53\npin = "
    + PIN
    + "\n[zone .]\nupstream = up\n"
)


@pytest.fixture
def check(tmp_path):
    """A function that runs `nodedot check` on a text."""

    def check(text, *arguments, env=None):
        file = tmp_path / "nodedot.ini"
        file.write_text(text)
        return run("check", "-c", file, *arguments, env=env)

    return check


def sections(text):
    """{section: {key: value}} of INI text."""
    found, current = {}, None
    for line in text.splitlines():
        line = line.split(";")[0].strip()
        if m := re.fullmatch(r"\[(.+)\]", line):
            current = found.setdefault(m[1], {})
        elif "=" in line:
            key, _, value = line.partition("=")
            current[key.strip()] = value.strip()
    return found


# Good files -------------------------------------------------------------------------------------------------------------------


def test_check_prints_the_effective_configuration(check):
    result = check(MINIMAL + "[limits]\ntimeout = 1234\n")
    assert result.returncode == 0 and not result.stderr
    shown = sections(result.stdout)
    assert shown["limits"]["timeout"] == "1234"
    assert shown["limits"]["in-flight"] == "4096"
    assert shown["cache"]["max-ttl"] == "86400"
    assert "192.0.2.53:853" in shown["upstream up"]["address"] and shown["upstream up"]["pin"] == PIN
    assert shown["zone ."]["upstream"] == "up"


def test_what_check_prints_is_read_back_to_the_same(check):
    text = MINIMAL + (
        "[upstream two]\naddress = [2001:db8::1]:8853, 192.0.2.1:53\ntransport = plain\n[zone corp.test]\nupstream = two\n"
        "negative-max-ttl = 5\nstale-max = 0\n[acl]\nallow = 10.0.0.0/8, fd00::/8\ndeny = 10.1.2.3\n"
        "[cache]\nsize = 64M\nmin-ttl = 5\n[limits]\nclient-qps = 100\nclient-burst = 200\nclient-block = 60\n"
        "[log]\nlevel = debug\nformat = json\n[probes]\naddress = 127.0.0.1\nliveness-port = 1\nreadiness-port = 65535\n"
    )
    first = check(text)
    assert first.returncode == 0, first.stderr
    second = check(first.stdout)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout


def test_defaults_are_those_of_the_documentation(check):
    shown = sections(check("[upstream up]\naddress = 192.0.2.53\npin = " + PIN + "\n[zone .]\nupstream = up\n").stdout)
    expected = {
        "server": {"user": "65532", "manage-address": "no", "interface": "nodedot0", "reload-spread": "0"},
        "cache": {"min-ttl": "0", "max-ttl": "86400", "negative-max-ttl": "300", "stale-max": "86400"},
        "upstream up": {"transport": "dot", "auth": "pin", "pin-mode": "enforce", "revalidate": "300"},
        "limits": {
            "client-qps": "0",
            "client-burst": "0",
            "client-block": "0",
            "tcp-connections": "1024",
            "tcp-connections-per-client": "64",
            "tcp-idle": "10",
            "in-flight": "4096",
            "timeout": "4000",
            "stale-after": "1800",
        },
        "acl": {"allow": "0.0.0.0/0, ::/0"},
        "probes": {"liveness-port": "9551", "readiness-port": "9552"},
        "log": {"level": "info", "format": "text"},
    }
    for section, keys in expected.items():
        assert {k: shown[section].get(k) for k in keys} == keys, section
    assert shown["cache"]["size"] in ("32M", "33554432")
    assert shown["server"]["listen"].startswith("169.254.20.10")


def test_options_prints_every_option_as_an_ini_file(check):
    result = run("options")
    assert result.returncode == 0
    for section, keys in {
        "server": ["listen", "workers", "user", "manage-address", "interface", "reload-spread"],
        "cache": ["size", "min-ttl", "max-ttl", "negative-max-ttl", "stale-max"],
        "upstream": [
            "address",
            "transport",
            "name",
            "auth",
            "pin",
            "pin-file",
            "pin-mode",
            "ca-file",
            "client-cert",
            "client-key",
            "revalidate",
        ],
        "zone": ["upstream", "negative-max-ttl", "stale-max"],
        "limits": [
            "client-qps",
            "client-burst",
            "client-block",
            "tcp-connections",
            "tcp-connections-per-client",
            "tcp-idle",
            "in-flight",
            "timeout",
            "stale-after",
        ],
        "acl": ["allow", "deny"],
        "probes": ["address", "liveness-port", "readiness-port"],
        "log": ["level", "format"],
    }.items():
        part = re.search(rf"(?ms)^[;#]?\s*\[{section}[^\]]*\](.*?)(?=^[;#]?\s*\[|\Z)", result.stdout)
        assert part, section
        for key in keys:
            assert re.search(rf"(?m)^[;#]?\s*{key}\s*=", part[1]), f"{section}.{key}"


def test_the_options_file_is_itself_a_file_that_can_be_read(check):
    """Apart from what has no default: who is asked."""
    result = check(run("options").stdout)
    assert result.returncode in (0, 2)
    assert "cannot be parsed" not in result.stderr and "unknown" not in result.stderr.lower()


def test_comments_spaces_and_line_ends_are_read(check):
    text = (
        "# c\r\n; c\r\n"
        + MINIMAL.replace("\n", "  ; why\r\n").replace(" = ", "=")
        + "[limits]\r\n  timeout =  1000\r\n"
    )
    result = check(text)
    assert result.returncode == 0, result.stderr
    assert sections(result.stdout)["limits"]["timeout"] == "1000"


def test_without_a_pin_auth_is_ca(check):
    result = check("[upstream up]\naddress = 192.0.2.53\nname = dns.test\n[zone .]\nupstream = up\n")
    assert result.returncode in (0, 1), result.stderr  # 1: this machine has no CA file
    if result.returncode == 0:
        assert sections(result.stdout)["upstream up"]["auth"] == "ca"


# Environment and --set ----------------------------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_file_and_set_over_both(check):
    text = MINIMAL + "[limits]\ntimeout = 1000\n"
    env = {"NODEDOT_LIMITS_TIMEOUT": "2000"}
    assert sections(check(text, env=env).stdout)["limits"]["timeout"] == "2000"
    assert sections(check(text, "--set", "limits.timeout=3000", env=env).stdout)["limits"]["timeout"] == "3000"


def test_every_kind_of_section_can_be_set_by_the_environment(check):
    env = {
        "NODEDOT_CACHE_NEGATIVE_MAX_TTL": "7",
        "NODEDOT_UPSTREAM_UP_REVALIDATE": "77",
        "NODEDOT_LOG_LEVEL": "warn",
        "NODEDOT_LIMITS_TCP_CONNECTIONS_PER_CLIENT": "5",
    }
    shown = sections(check(MINIMAL, env=env).stdout)
    assert (
        shown["cache"]["negative-max-ttl"],
        shown["upstream up"]["revalidate"],
        shown["log"]["level"],
        shown["limits"]["tcp-connections-per-client"],
    ) == ("7", "77", "warn", "5")


def test_set_reaches_sections_with_names(check):
    result = check(MINIMAL, "--set", "upstream up.revalidate=99", "--set", "zone ..stale-max=5")
    assert result.returncode == 0, result.stderr
    shown = sections(result.stdout)
    assert shown["upstream up"]["revalidate"] == "99" and shown["zone ."]["stale-max"] == "5"


def test_a_variable_that_names_no_option_is_an_error_or_a_warning_not_silence(check):
    result = check(MINIMAL, env={"NODEDOT_LIMITS_TIMEOUTT": "1"})
    assert "NODEDOT_LIMITS_TIMEOUTT" in result.stderr


def test_a_value_may_name_a_variable(check):
    result = check(MINIMAL.replace(PIN, "${UPSTREAM_PIN}"), env={"UPSTREAM_PIN": OTHER_PIN})
    assert result.returncode == 0, result.stderr
    assert sections(result.stdout)["upstream up"]["pin"] == OTHER_PIN


def test_an_unset_variable_is_an_error_that_names_it(check):
    result = check(MINIMAL.replace(PIN, "${UPSTREAM_PIN}"))
    assert result.returncode == 2
    assert "UPSTREAM_PIN" in result.stderr and re.search(r"nodedot\.ini:5", result.stderr)


@pytest.mark.parametrize(
    "value,address",
    [
        ("192.0.2.53", "192.0.2.53:853"),
        ("192.0.2.53#dns.test", "192.0.2.53:853"),
        ("2001:db8::53#dns.test", "[2001:db8::53]:853"),
    ],
)
def test_dot_host_alone_is_a_configuration(tmp_path, authority, value, address):
    result = run("check", env={"DOT_HOST": value, "NODEDOT_SERVER_LISTEN": "127.0.0.1:5399"}, cwd=tmp_path)
    if result.returncode == 1:
        assert "ca-certificates" in result.stderr  # this machine has no CA file
        return
    assert result.returncode == 0, result.stderr
    shown = sections(result.stdout)
    upstreams = [keys for section, keys in shown.items() if section.startswith("upstream")]
    assert [keys["address"] for keys in upstreams] == [address]
    assert upstreams[0]["auth"] == "ca"
    assert upstreams[0].get("name", "") == value.partition("#")[2]
    assert "zone ." in shown


def test_dot_host_serves(upstream, authority, address, tmp_path):
    where = address()
    env = {
        "DOT_HOST": f"{upstream.address}:{upstream.dot_port}#dot.test",
        "NODEDOT_SERVER_LISTEN": f"{where}:{DNS_PORT}",
    }
    shown = sections(run("check", env=env).stdout)
    name = next(section for section in shown if section.startswith("upstream")).split()[1]
    env[f"NODEDOT_UPSTREAM_{name.upper().replace('-', '_')}_CA_FILE"] = str(authority.file)
    program = Nodedot(tmp_path, where, None, env=env)
    try:
        program.start()
        assert client.addresses(program.ask("a.test")) == [wire.address_of("a.test")]
        program.stop()
    finally:
        program.kill()


# Bad files --------------------------------------------------------------------------------------------------------------------


def test_all_errors_are_shown_at_once_with_file_line_section_and_key(check):
    text = (
        "[server]\nlisten = 1.2.3\nworkers = 99\n[cache]\nsize = lots\nfoo = 1\n[upstream up]\naddress = 192.0.2.53\n"
        "pin = sha256/short\ntransport = carrier-pigeon\n[zone .]\nupstream = down\n[nonsense]\na = b\n"
        "[limits]\ntimeout = 1\n[acl]\nallow = 10.0.0.0/33\n[log]\nlevel = loud\n"
    )
    result = check(text)
    assert result.returncode == 2 and not result.stdout
    for line, section, key in (
        (2, "server", "listen"),
        (3, "server", "workers"),
        (5, "cache", "size"),
        (6, "cache", "foo"),
        (9, "upstream up", "pin"),
        (10, "upstream up", "transport"),
        (12, "zone .", "upstream"),
        (16, "limits", "timeout"),
        (18, "acl", "allow"),
        (20, "log", "level"),
    ):
        assert re.search(rf"(?m)^\S*nodedot\.ini:{line}: \[{re.escape(section)}\] {key}: .+expected", result.stderr), (
            line,
            section,
            key,
        )
    assert re.search(r"(?m)^\S*nodedot\.ini:1[34]: .*nonsense", result.stderr)


# What is wrong: a section and its keys, put into a good file.
BAD = {
    "port_0": ("server", "listen = 127.0.0.1:0"),
    "port_65536": ("server", "listen = 127.0.0.1:65536"),
    "wildcard_without_acl": ("server", "listen = 0.0.0.0"),
    "wildcard6_without_acl": ("server", "listen = [::]:53"),
    "the_same_address_twice": ("server", "listen = 127.0.0.1:5399, 127.0.0.1:5399"),
    "workers_0": ("server", "workers = 0"),
    "user_root": ("server", "user = 0"),
    "cache_too_small": ("cache", "size = 1K"),
    "cache_too_large": ("cache", "size = 100G"),
    "negative": ("cache", "max-ttl = -1"),
    "not_a_number": ("limits", "in-flight = 4x"),
    "hexadecimal": ("limits", "in-flight = 0x10"),
    "overflow": ("limits", "in-flight = 99999999999999999999"),
    "no_value": ("limits", "in-flight ="),
    "pin_without_prefix": ("upstream up", "pin = " + "A" * 43 + "="),
    "pin_of_31_octets": ("upstream up", "pin = sha256/" + "A" * 42 + "="),
    "pin_sha1": ("upstream up", "pin = sha1/" + "A" * 27 + "="),
    "pin_not_canonical": ("upstream up", "pin = sha256/" + "A" * 42 + "B="),
    "auth_pin_without_pin": ("upstream two", "auth = pin\naddress = 192.0.2.1"),
    "auth_unknown": ("upstream up", "auth = hope"),
    "upstream_without_address": ("upstream two", "pin = " + PIN),
    "address_is_a_name": ("upstream up", "address = dns.test"),
    "client_cert_without_key": ("upstream up", "client-cert = /etc/hostname"),
    "zone_without_upstream": ("zone a.test", "stale-max = 1"),
    "zone_with_unknown_upstream": ("zone a.test", "upstream = nobody"),
    "zone_with_bad_name": ("zone a..test", "upstream = up"),
    "zone_name_too_long": ("zone " + "a" * 64 + ".test", "upstream = up"),
    "acl_host_bits": ("acl", "allow = 10.0.0.1/8"),
    "acl_nonsense": ("acl", "deny = everyone"),
    "probe_ports_equal": ("probes", "liveness-port = 9000\nreadiness-port = 9000"),
    "unknown_section": ("caches", "size = 1M"),
    "unknown_key": ("cache", "sizes = 1M"),
    "the_same_key_twice": ("cache", "min-ttl = 1\nmin-ttl = 2"),
    "section_without_name": ("upstream", "address = 192.0.2.1"),
    "the_same_section_twice": ("acl]\n[acl", "allow = 10.0.0.0/8"),
    "no_equals_sign": ("cache", "size"),
    "open_bracket": ("cache]\n[acl", "[cache"),
}


def with_keys(text, section, keys):
    """The text with these keys in this section, instead of what it says about them."""
    if f"[{section}]\n" not in text:
        return text + f"[{section}]\n{keys}\n"
    first = keys.split(" ")[0]
    head, rest = text.split(f"[{section}]\n")
    body, bracket, tail = rest.partition("[")
    body = "".join(line + "\n" for line in body.splitlines() if not line.startswith(first + " "))
    return f"{head}[{section}]\n{keys}\n{body}{bracket}{tail}"


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_exit_2_with_the_line(check, kind):
    section, keys = BAD[kind]
    result = check(with_keys(MINIMAL, section, keys))
    assert result.returncode == 2 and not result.stdout, result.stdout
    assert re.search(r"(?m)^\S*nodedot\.ini:\d+: ", result.stderr), result.stderr
    assert len(result.stderr.splitlines()) <= 2, result.stderr  # about this, and nothing else


def test_a_key_before_any_section_is_exit_2(check):
    result = check("size = 1M\n" + MINIMAL)
    assert result.returncode == 2 and re.search(r"nodedot\.ini:1: ", result.stderr)


@pytest.mark.parametrize(
    "text",
    ["", "[server]\nlisten = 127.0.0.1:5399\n", "[upstream up]\naddress = 192.0.2.1\npin = " + PIN + "\n"],
    ids=["empty", "no_upstream", "no_zone"],
)
def test_a_file_that_asks_nobody_is_exit_2_or_says_what_it_does(check, text):
    result = check(text)
    assert result.returncode == 2 or "zone" in result.stdout
    assert result.stderr or result.returncode == 0


def test_bad_environment_and_bad_set_are_exit_2_and_name_their_origin(check):
    result = check(MINIMAL, "--set", "limits.timeout=never", env={"NODEDOT_CACHE_SIZE": "huge"})
    assert result.returncode == 2
    assert "NODEDOT_CACHE_SIZE" in result.stderr and "--set" in result.stderr


@pytest.mark.parametrize("argument", ["limits.timeout", "timeout=1", "=1", "nowhere.key=1", ""])
def test_a_malformed_set_is_exit_2(check, argument):
    assert check(MINIMAL, "--set", argument).returncode == 2


def test_run_with_a_bad_file_is_exit_2_too(tmp_path):
    file = tmp_path / "nodedot.ini"
    file.write_text("[server]\nlisten = x\n")
    result = run("run", "-c", file)
    assert result.returncode == 2 and "listen" in result.stderr


def test_a_binary_file_and_a_huge_line_are_survived(check, tmp_path):
    for text in (
        "\x00\x01\x02" * 100,
        "[cache]\nsize = " + "9" * 100_000 + "\n",
        "[" + "a" * 100_000 + "]\n",
        "a" * 100_000,
        MINIMAL + "[acl]\nallow = " + ", ".join(["10.0.0.0/8"] * 5000) + "\n",
    ):
        assert check(text).returncode == 2


def test_wildcards_are_allowed_with_an_acl(check):
    text = MINIMAL.replace("127.0.0.1:5399", "0.0.0.0:5399, [::]:5399") + "[acl]\nallow = 10.0.0.0/8\n"
    assert check(text).returncode == 0


# What fails while starting ------------------------------------------------------------------------------------------------------


def one_line(result, *words):
    lines = [line for line in result.stderr.splitlines() if "level=error" in line or "level=" not in line]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert str(word) in lines[0]


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_missing_file_is_exit_1_and_named(tmp_path, command):
    missing = tmp_path / "missing.ini"
    result = run(command, "-c", missing)
    assert result.returncode == 1
    one_line(result, missing)


@pytest.mark.parametrize("key", ["pin-file", "ca-file"])
def test_a_missing_file_that_the_file_names_is_exit_1_and_named(check, tmp_path, key):
    missing = tmp_path / "missing.pem"
    keys = f"{key} = {missing}" + ("\nauth = pin+ca\nname = dns.test" if key == "ca-file" else "")
    result = check(with_keys(MINIMAL, "upstream up", keys))
    assert result.returncode == 1
    assert str(missing) in result.stderr


def test_a_ca_file_without_certificates_is_refused(start, tmp_path, make_config, upstream):
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing here\n")
    file = tmp_path / "nodedot.ini"
    file.write_text(render(make_config(upstream, up={"auth": "ca", "pin": "", "ca-file": empty})))
    result = run("run", "-c", file)
    assert result.returncode in (1, 2) and "empty.pem" in result.stderr


@pytest.mark.parametrize("kind", ["udp", "tcp", "liveness", "readiness"])
def test_a_port_in_use_is_exit_1_and_named(make_config, upstream, tmp_path, kind):
    config = make_config(upstream)
    host = config["server"]["listen"].rpartition(":")[0]
    port = {"liveness": LIVENESS_PORT, "readiness": READINESS_PORT}.get(kind, DNS_PORT)
    file = tmp_path / "nodedot.ini"
    file.write_text(render(config))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as other:
        other.bind((host, port))
        if kind != "udp":
            other.listen()
        result = run("run", "-c", file)
    assert result.returncode == 1
    one_line(result, f"{host}:{port}")


def test_a_second_start_on_the_same_addresses_is_exit_1(start, upstream):
    """SO_REUSEPORT must not let two daemons share a port by accident."""
    program = start(upstream)
    result = run("run", "-c", program.file)
    assert result.returncode == 1
    assert program.address in result.stderr
    assert client.addresses(program.ask("a.test")) == [wire.address_of("a.test")]


def test_an_address_that_the_machine_does_not_have_is_exit_1_and_named(make_config, upstream, tmp_path):
    file = tmp_path / "nodedot.ini"
    file.write_text(render(make_config(upstream, server={"listen": "192.0.2.1:5353"})))
    result = run("run", "-c", file)
    assert result.returncode == 1
    one_line(result, "192.0.2.1")


# Commands -----------------------------------------------------------------------------------------------------------------------


def test_help_and_version():
    help_text = run("--help")
    assert help_text.returncode == 0 and not help_text.stderr
    for word in ("run", "check", "pin", "status", "options", "-c", "--set", "--version"):
        assert word in help_text.stdout
    version = run("--version")
    assert version.returncode == 0 and re.match(r"nodedot \S+", version.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["run", "extra"],
        ["check", "-c"],
        ["pin"],
        ["run", "--set"],
        ["pin", "a", "b"],
        ["pin", "--cert"],
        ["status", "extra"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2(arguments):
    result = run(*arguments)
    assert result.returncode == 2 and result.stderr and not result.stdout


def test_run_is_the_default_command(make_config, upstream, tmp_path):
    result = run("-c", tmp_path / "missing.ini")
    assert result.returncode == 1 and "missing.ini" in result.stderr


def test_pin_shows_the_pins_of_a_server(make_upstream, authority):
    middle = authority.intermediate("Middle")
    server = make_upstream(middle.issue("dot.test"))
    result = run("pin", f"{server.address}:{server.dot_port}", "--name", "dot.test")
    assert result.returncode == 0, result.stderr
    assert server.certificate.pin in result.stdout and middle.pin in result.stdout
    assert server.connections[0].sni == "dot.test" and not server.queries


def test_pin_shows_the_pins_of_a_file(tmp_path, authority):
    certificate = self_signed(tmp_path, "a.test")
    file = tmp_path / "both.pem"
    file.write_bytes(pem(certificate.certificate) + pem(authority.certificate))
    result = run("pin", "--cert", file)
    assert result.returncode == 0
    assert certificate.pin in result.stdout and authority.pin in result.stdout


def test_what_pin_prints_can_be_pasted(start, upstream, authority, make_config):
    shown = run("pin", f"{upstream.address}:{upstream.dot_port}").stdout
    pin = re.search(r"(?m)^\s*[;#]?\s*pin = (sha256/\S{44})", shown)
    assert pin, shown
    program = start(upstream, up={"pin": pin[1].rstrip(",")})
    assert client.addresses(program.ask("a.test"))


def test_the_section_that_pin_prints_is_a_whole_one(upstream, make_config, tmp_path):
    """The last part of the output, pasted below a [server] section and above a [zone]."""
    shown = run("pin", f"{upstream.address}:{upstream.dot_port}").stdout
    section = shown[shown.index("[upstream ") :]
    name = re.match(r"\[upstream (.*)\]", section)[1]
    assert name == "dot.test" and f"\naddress = {upstream.address}:{upstream.dot_port}\n" in section
    file = tmp_path / "pasted.ini"
    file.write_text(render(make_config()) + section + f"[zone .]\nupstream = {name}\n")
    result = run("check", "-c", file)
    assert result.returncode == 0, result.stderr


def test_pin_of_nobody_is_exit_1(upstream, tmp_path):
    upstream.stop_listening()
    result = run("pin", f"{upstream.address}:{upstream.dot_port}")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    missing = run("pin", "--cert", tmp_path / "missing.pem")
    assert missing.returncode == 1 and "missing.pem" in missing.stderr


def test_pin_of_a_server_that_stalls_ends(upstream):
    upstream.mode = "stall-handshake"
    assert run("pin", f"{upstream.address}:{upstream.dot_port}", timeout=18).returncode == 1


def test_status_shows_a_running_daemon_and_is_exit_1_without_one(start, upstream):
    program = start(upstream)
    program.ask("a.test")
    result = run("status", "-c", program.file)
    assert result.returncode == 0
    assert "nodedot_queries_udp_total" not in result.stdout
    assert re.search(r"(?m)^nodedot_queries_udp_total \d+$", run("status", "-c", program.file, "--all").stdout)
    assert f"{upstream.address}:{upstream.dot_port}" in result.stdout and "valid" in result.stdout.lower()
    program.stop()
    assert run("status", "-c", program.file).returncode == 1


@pytest.mark.needs_root
@pytest.mark.usefixtures("node")
def test_status_shows_a_running_daemon_whose_file_is_broken_by_now(start, upstream, tmp_path):
    program = start(upstream)
    broken = tmp_path / "broken.ini"
    broken.write_text("[server\n")
    result = run("status", "-c", broken)  # of any daemon in this network namespace
    assert result.returncode == 0 and re.search(r"(?m)^generation \d+, pid \d+, ready", result.stdout)
    assert re.search(rf"(?m)^nodedot .*, pid {program.supervisor()}, up", result.stdout)
    assert str(broken) in result.stderr


def test_a_start_with_set_and_environment_is_what_runs(start, upstream):
    program = start(upstream, args=["--set", "cache.max-ttl=60"], env={"NODEDOT_CACHE_MIN_TTL": "40"})
    assert program.ask("a.test").answer[0].ttl <= 60
    program.ask("a.test")
    assert 55 <= program.ask("a.test").answer[0].ttl <= 60

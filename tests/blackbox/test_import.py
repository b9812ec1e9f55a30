"""`nodedot import`: what another resolver was told, as our configuration."""

import pytest

from harness import wire
from harness.program import DNS_PORT, run

COREFILE = """
.:{port} {{
    errors
    cache 30
    bind {listen}
    forward . {upstream} {{
        max_fails 3
    }}
}}
"""


def test_what_is_imported_from_a_corefile_answers(make_config, upstream, tmp_path):
    config = make_config(upstream, auth="plain")
    file = tmp_path / "Corefile"
    where = config["server"]["listen"].rpartition(":")[0]
    corefile = COREFILE.format(port=DNS_PORT, listen=where, upstream=f"{upstream.address}:{upstream.plain_port}")
    file.write_text(corefile)
    result = run("import", file)
    assert result.returncode == 0, result.stdout + result.stderr
    imported = tmp_path / "nodedot.ini"
    imported.write_text(result.stdout)
    assert run("check", "-c", imported).returncode == 0
    shown = run("query", "a.test", "-c", imported)
    assert shown.returncode == 0 and wire.address_of("a.test") in shown.stdout


@pytest.mark.parametrize("text,status", [("nameserver 192.0.2.1\n", 0), ("nameserver\n", 1), (". {\n nonsense\n}\n", 1)])
def test_the_status_says_whether_all_is_said(tmp_path, text, status):
    file = tmp_path / "file"
    file.write_text(text)
    assert run("import", file).returncode == status


def test_a_file_that_cannot_be_read_is_exit_2(tmp_path):
    result = run("import", tmp_path / "missing")
    assert result.returncode == 2 and "No such file" in result.stderr
    (tmp_path / "large").write_bytes(b"#" * (1024 * 1024 + 1))
    result = run("import", tmp_path / "large")
    assert result.returncode == 2 and "too long" in result.stderr
    assert run("import").returncode == 2

"""The recipes in docs/recipes.md: the configuration that each makes of the chart's defaults is one that nodedot takes."""

import pathlib
import re

import pytest
import yaml

from harness.program import run

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"## (.*?)\n.*?```yaml\n(.*?)```", (ROOT / "docs/recipes.md").read_text(encoding="utf-8"), re.S)
KUBE_DNS_ZONES = ["cluster.local", "in-addr.arpa", "ip6.arpa"]


def defaults(values):
    """What the chart sets itself (values.yaml, above `config`)."""
    zones = {f"zone {zone}": {"upstream": "kube-dns", "negative-max-ttl": 5, "stale-max": 0} for zone in KUBE_DNS_ZONES}
    return {
        "server": {"listen": values.get("localDns", ["169.254.20.10"]), "manage-address": True},
        "cache": {"size": "32M"},
        "upstream kube-dns": {"address": "10.96.0.10", "transport": "plain"},
        "upstream quad9": {"address": ["9.9.9.9", "149.112.112.112"], "name": "dns.quad9.net", "auth": "ca"},
        "zone .": {"upstream": "quad9"},
        **zones,
    }


def text(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(text, value)) if isinstance(value, list) else str(value)


def ini(sections):
    used = {section["upstream"] for title, section in sections.items() if title.startswith("zone ")}
    lines = []
    for title, section in sections.items():
        kind, _, name = title.partition(" ")
        if kind == "upstream" and name not in used:
            continue
        lines += [f"[{title}]", *(f"{key} = {text(value)}" for key, value in section.items() if value is not None)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("title,block", BLOCKS, ids=[title for title, _ in BLOCKS])
def test_a_recipe_is_a_valid_configuration(tmp_path, title, block):
    values = yaml.safe_load(block)
    sections = defaults(values)
    for section, keys in values.get("config", {}).items():
        sections[section] = {**sections.get(section, {}), **keys}
    file = tmp_path / "nodedot.ini"
    file.write_text(ini(sections))
    checked = run("check", "-c", file)
    assert checked.returncode == 0, f"{checked.stderr}\n{file.read_text()}"
    for name in values.get("localDns", []):
        assert name in checked.stdout


def test_every_recipe_with_values_is_found():
    assert len(BLOCKS) >= 5

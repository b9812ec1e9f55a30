"""Some files of tests begin with a table of what is tested where. Every test that one names must be there."""

import pathlib
import re

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
TABLES = ("test_floods", "test_hostile_upstreams", "test_resilience")
# A name, or the beginning of one before "...".
NAME = re.compile(r"\b[a-z0-9]+(?:_[a-z0-9]+){2,}")


def known():
    """Names of tests, their files, and the kinds of floods."""
    names = set()
    for file in (*TESTS.glob("blackbox/**/*.py"), *TESTS.glob("unit/*.c"), *TESTS.glob("fuzz/*.c")):
        names.add(file.stem.removeprefix("test_"))
        names.update(re.findall(r"^def (?:test_)?(\w+)\(", file.read_text(), re.M))
        names.update(re.findall(r"^static void (\w+)\(void \*\*state\)", file.read_text(), re.M))
    return names


def table_of(module):
    return re.match(r'"""(.*?)"""', (TESTS / "blackbox" / f"{module}.py").read_text(), re.S)[1]


@pytest.mark.parametrize("module", TABLES)
def test_what_a_table_names_is_there(module):
    names, named = known(), NAME.findall(table_of(module))
    assert len(named) > 20
    missing = [n for n in named if not any(k.startswith(n.removeprefix("test_")) for k in names)]
    assert not missing

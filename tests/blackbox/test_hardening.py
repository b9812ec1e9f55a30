"""What compiler and linker protect, on the program as it is shipped; and that the check would notice."""

import pathlib
import re
import subprocess

import pytest

from harness.program import binary

CHECK = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "check-hardening"
GOOD = ["-O2", "-fPIE", "-static-pie", "-Wl,-z,relro,-z,now,-z,noexecstack", "-s"]


def check(*files):
    return subprocess.run([CHECK, *files], capture_output=True, text=True, check=False)


def build(directory, *options, text="int main(void) { return 0; }"):
    source, made = directory / "main.c", directory / "made"
    source.write_text(text)
    subprocess.run(["gcc", *options, "-o", made, source], check=True)
    return made


def mappings(pid):
    """(first address, rights, file) of each."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        for line in maps:
            place, rights, *_, name = [*line.split(maxsplit=5), ""][:6]
            yield int(place.partition("-")[0], 16), rights, name.strip()


def sanitized():
    return b"__asan_init" in pathlib.Path(binary()).read_bytes()


@pytest.mark.skipif(sanitized(), reason="a build with sanitizers is not shipped")
def test_the_program_has_every_protection_of_the_linker():
    done = check(binary())
    assert done.returncode == 0 and "MISSING" not in done.stdout, done.stdout
    assert done.stdout.count("ok: ") == 8


def test_a_program_that_has_them_all_passes(tmp_path):
    assert check(build(tmp_path, *GOOD)).returncode == 0


@pytest.mark.parametrize(
    "options, missing",
    [
        (["-no-pie", "-static"], "position-independent"),
        (["-static-pie", "-fPIE", "-Wl,-z,norelro"], "relocations are read-only"),
        (["-pie", "-fPIE", "-Wl,-z,lazy"], "relocations are made at start"),
        ([*GOOD, "-Wl,-z,execstack"], "the stack is not executable"),
        (["-pie", "-fPIE", "-Wl,-z,now,-rpath,/tmp"], "no search path for libraries"),
        (["-shared", "-fPIC"], "a program, not a library"),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_one_that_lacks_something_is_named(tmp_path, options, missing):
    done = check(build(tmp_path, *options))
    assert done.returncode == 1 and f"MISSING: {missing}" in done.stdout, done.stdout


def test_a_segment_that_is_writable_and_executable_is_named(tmp_path):
    code = '__asm__(".section .both, \\"awx\\", @progbits; .byte 0; .previous"); int main(void) { return 0; }'
    done = check(build(tmp_path, *GOOD, text=code))
    assert done.returncode == 1 and "MISSING: nothing is both writable and executable" in done.stdout, done.stdout


CALLS = "#include <string.h>\nvoid f(char *, const char *, int); void g(const char *s) { char a[9]; strcpy(a, s); f(a, s, 1); }\n"


@pytest.mark.parametrize(
    "options, missing",
    [
        (["-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-fcf-protection=none"], r"CET"),
        (["-fno-stack-protector", "-D_FORTIFY_SOURCE=2", "-fcf-protection=full"], r"stack protector"),
        (["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-fcf-protection=full"], r"_FORTIFY_SOURCE"),
        (["-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-fcf-protection=full"], None),
    ],
    ids=["CET", "stack_protector", "fortify", "all"],
)
@pytest.mark.skipif(subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip() != "x86_64",
                    reason="CET is of x86")
def test_objects_that_were_compiled_without_something_are_named(tmp_path, options, missing):
    program = build(tmp_path, *GOOD)
    (tmp_path / "calls.c").write_text(CALLS)
    subprocess.run(["gcc", "-O2", *options, "-c", "-o", tmp_path / "calls.o", tmp_path / "calls.c"], check=True)
    subprocess.run(["ar", "rcs", tmp_path / "library.a", tmp_path / "calls.o"], check=True)
    done = check(program, tmp_path / "library.a")
    found = re.findall(r"MISSING: (\S+(?: protector)?)", done.stdout)
    assert (done.returncode, [name.rstrip(",") for name in found]) == ((1, [missing]) if missing else (0, [])), done.stdout


@pytest.mark.needs_root
def test_no_memory_of_a_running_process_is_writable_and_executable(nodedot):
    for pid in nodedot.processes():
        rights = [r for _, r, _ in mappings(pid)]
        assert rights and not [r for r in rights if "w" in r and "x" in r]


@pytest.mark.needs_root
def test_every_start_is_at_another_address(nodedot, start, upstream):
    """The kernel's choice for a position-independent program."""
    places = [
        next(place for place, _, name in mappings(program.supervisor()) if name == binary())
        for program in (nodedot, start(upstream), start(upstream))
    ]
    assert len(set(places)) > 1

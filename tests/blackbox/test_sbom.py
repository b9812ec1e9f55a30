"""The bill of materials: made of what was linked, in the form that SPDX asks for."""

import copy
import hashlib
import json
import pathlib
import subprocess

import pytest

from harness.program import binary

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(binary())
MAP = PROGRAM.with_name("nodedot.debug.map")
CERTIFICATES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")

pytestmark = pytest.mark.skipif(
    b"__asan_init" in PROGRAM.read_bytes() or not MAP.exists(), reason="a static program is what has one"
)


def make(directory, program=PROGRAM, linker_map=MAP):
    made = directory / "sbom.spdx.json"
    with made.open("w", encoding="utf-8") as out:
        done = subprocess.run(
            [ROOT / "scripts/sbom", program, linker_map, "1.2.3"], stdout=out, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    return made, done


def check(file, root=None):
    command = [ROOT / "scripts/check-sbom", file, *([root] if root else [])]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    made, done = make(tmp_path_factory.mktemp("sbom"))
    assert done.returncode == 0, done.stderr
    return json.loads(made.read_text(encoding="utf-8"))


def packages(document):
    return {package["name"]: package for package in document["packages"]}


def test_it_is_as_the_specification_wants_it_and_about_this_program(tmp_path, document):
    (tmp_path / "etc/ssl/certs").mkdir(parents=True)
    (tmp_path / "nodedot").write_bytes(PROGRAM.read_bytes())
    (tmp_path / "etc/ssl/certs/ca-certificates.crt").write_bytes(CERTIFICATES.read_bytes())
    (tmp_path / "sbom").write_text(json.dumps(document))
    done = check(tmp_path / "sbom", tmp_path)
    assert done.returncode == 0, done.stderr


def test_versions_and_sources_are_those_that_are_installed(document):
    for name, package in packages(document).items():
        if name == "nodedot":
            continue
        fields = "${Version} ${source:Package} ${source:Version}"
        shown = subprocess.run(["dpkg-query", "-W", "-f", fields, name], capture_output=True, text=True, check=True)
        version, source, source_version = shown.stdout.split()
        assert package["versionInfo"] == version
        assert package["sourceInfo"].endswith(f" {source} {source_version}")


def test_every_library_that_the_linker_was_given_is_there(document):
    """As far as something of it was used, which is so for all but libm perhaps."""
    listed = " ".join(package.get("comment", "") for package in document["packages"])
    for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines():
        if line.startswith("LIBS "):
            libraries = [word[2:] for word in line.split() if word.startswith("-l")]
    assert len(libraries) >= 4
    for library in set(libraries) - {"m"} | {"c", "gcc"}:
        assert f"lib{library}.a" in listed, library


def test_the_same_program_gives_the_same_list(tmp_path, document):
    assert json.loads(make(tmp_path)[0].read_text(encoding="utf-8")) == document


def test_a_program_with_shared_libraries_has_none(tmp_path):
    _, done = make(tmp_path, program="/bin/ls")
    assert done.returncode == 1 and "not static" in done.stderr


def test_a_map_that_names_nothing_is_refused(tmp_path):
    (tmp_path / "map").write_text("Archive member included to satisfy reference by file (symbol)\n")
    assert make(tmp_path, linker_map=tmp_path / "map")[1].returncode != 0


def broken(document):
    """Faulty copies, each with what the check must say."""

    def without(message, *path):
        made = copy.deepcopy(document)
        at = made
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]
        return message, made

    def changed(message, value, *path):
        made = copy.deepcopy(document)
        at = made
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        return message, made

    wolfssl = next(i for i, p in enumerate(document["packages"]) if "wolfssl" in p["name"])
    yield changed("spdxVersion", "SPDX-2.2", "spdxVersion")
    yield without("documentNamespace", "documentNamespace")
    yield changed("created", "yesterday", "creationInfo", "created")
    yield changed("not in order", "SPDXRef-DOCUMENT", "packages", 0, "SPDXID")
    yield without("no versionInfo", "packages", wolfssl, "versionInfo")
    yield changed("licenseConcluded", "NOASSERTION", "packages", wolfssl, "licenseConcluded")
    yield changed("no purl", "pkg:deb/wolfssl", "packages", wolfssl, "externalRefs", 0, "referenceLocator")
    yield without("check sums", "files", 0, "checksums", 0)
    yield changed("is not there", "SPDXRef-Package-nothing", "relationships", 0, "relatedSpdxElement")
    yield without("not there", "packages", wolfssl)


def test_a_list_that_is_not_in_order_is_refused(tmp_path, document):
    for number, (message, made) in enumerate(broken(document)):
        file = tmp_path / str(number)
        file.write_text(json.dumps(made))
        done = check(file)
        assert done.returncode == 1 and message in done.stderr, (message, done.stderr)


def test_another_program_is_not_the_one_that_is_listed(tmp_path, document):
    (tmp_path / "etc/ssl/certs").mkdir(parents=True)
    (tmp_path / "nodedot").write_bytes(PROGRAM.read_bytes() + b"x")
    (tmp_path / "etc/ssl/certs/ca-certificates.crt").write_bytes(CERTIFICATES.read_bytes())
    (tmp_path / "sbom").write_text(json.dumps(document))
    done = check(tmp_path / "sbom", tmp_path)
    assert done.returncode == 1 and "./nodedot: another sha256" in done.stderr
    listed = next(f for f in document["files"] if f["fileName"] == "./nodedot")
    assert listed["checksums"][1]["checksumValue"] == hashlib.sha256(PROGRAM.read_bytes()).hexdigest()

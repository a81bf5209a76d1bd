"""Builds with and without a C compiler: wheels, sdists and editable installations.

Everything is built in copies of the tree, by the build backend itself, without a network.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.helpers import ROOT

NEEDED = ["pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"]
NATIVE = "retrieval_store/indexes/native"
LIBRARY = f"{NATIVE}/kernel.so"
STALE = b"compiled of other sources"
PURE = "py3-none-any.whl"
SLOWER = "searched by numpy, several times slower"
SET = {"CC", "CFLAGS", "RETRIEVAL_STORE_BUILD", "RETRIEVAL_STORE_INSTRUCTIONS"}
NO_COMPILER = {"CC": "no-such-compiler"}
FAILING = {"CC": "false"}
MAKES_NOTHING = {"CC": "true"}
BROKEN_HEADERS = {"CFLAGS": "-include no-such-header.h"}

SEARCH = """
import numpy as np
import retrieval_store
from retrieval_store.indexes.native import kernel

print(retrieval_store.__file__)
vectors = np.random.default_rng(0).standard_normal((3_000, 32))
for _ in range(2):
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=[str(i) for i in range(len(vectors))], embeddings=vectors)
        things.optimize()
        print(*things.query(query_embeddings=vectors[7], n_results=1)["ids"][0])
print("with" if kernel() else "without")
"""


pytestmark = pytest.mark.others  # a minute of compiling


@pytest.fixture
def tree(tmp_path):
    """A copy of the files for a wheel, with the library of an earlier build."""
    return copied(tmp_path / "tree")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The wheel built from such a copy with a compiler."""
    wheel, warned = built(copied(tmp_path_factory.mktemp("compiled") / "tree"))
    assert not warned
    return wheel


def copied(tree):
    tree.mkdir()
    for name in NEEDED:
        shutil.copy(ROOT / name, tree)
    shutil.copytree(
        ROOT / "retrieval_store",
        tree / "retrieval_store",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (tree / LIBRARY).write_bytes(STALE)
    return tree


def backend(tree, target, environment):
    """The result of the backend when it builds this target into `dist`."""
    inherited = {k: v for k, v in os.environ.items() if k not in SET}
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target],
        cwd=tree,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
    )


def built(tree, target="wheel", **environment):
    """The built file, and its warnings."""
    done = backend(tree, target, environment)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    file = next(line for line in lines if line.startswith("dist"))
    return tree / file, [line for line in lines if line.startswith("warning: ")]


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def search(package, folder):
    """The output of a program that searches with the package in this folder."""
    environment = {k: v for k, v in os.environ.items() if k not in SET}
    environment["PYTHONPATH"] = str(package)
    done = subprocess.run(
        [sys.executable, "-c", SEARCH], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    used, *message = done.stdout.split()
    assert Path(used).is_relative_to(package)
    return message, done.stderr.splitlines()


def unpacked(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_a_wheel_has_the_library_and_is_for_any_python_on_one_platform(compiled):
    _, _, python, abi, platform = compiled.stem.split("-")
    assert (python, abi) == ("py3", "none")
    assert platform != "any"
    with zipfile.ZipFile(compiled) as archive:
        assert archive.read(LIBRARY) != STALE
        (reported,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        assert {f"Tag: py3-none-{platform}", "Root-Is-Purelib: false"} <= {
            *archive.read(reported).decode().splitlines()
        }


def test_a_wheel_has_no_sources_of_the_library(compiled):
    assert not [name for name in contents(compiled) if name.endswith((".c", ".h"))]


def test_a_wheel_searches_with_its_library_without_output(compiled, tmp_path):
    assert search(unpacked(compiled, tmp_path / "in"), tmp_path) == (["7", "7", "with"], [])


@pytest.mark.parametrize(
    "environment",
    [NO_COMPILER, FAILING, MAKES_NOTHING, BROKEN_HEADERS],
    ids=["no compiler", "failing", "makes nothing", "broken headers"],
)
def test_without_a_working_compiler_a_pure_wheel_is_built_with_one_warning(tree, environment):
    wheel, (line,) = built(tree, **environment)
    assert SLOWER in line
    assert wheel.name.endswith(PURE)
    assert LIBRARY not in contents(wheel)
    assert not [name for name in contents(wheel) if name.endswith((".c", ".h"))]


def test_without_a_compiler_on_path_it_installs_and_searches_by_numpy_and_logs_one_line(
    tree, tmp_path
):
    (tmp_path / "empty").mkdir()
    wheel, (warned,) = built(tree, PATH=str(tmp_path / "empty"))
    assert SLOWER in warned
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--offline"]
    command += ["--python", sys.executable, "--no-cache", "--target", str(tmp_path / "in")]
    subprocess.run([*command, str(wheel)], check=True)
    found, (line,) = search(tmp_path / "in", tmp_path)
    assert found == ["7", "7", "without"]
    assert "several times slower without the compiled part" in line


def test_a_build_without_compilation_makes_a_pure_wheel_without_output(tree):
    wheel, warned = built(tree, RETRIEVAL_STORE_BUILD="skip")
    assert wheel.name.endswith(PURE)
    assert LIBRARY not in contents(wheel)
    assert not warned


def test_building_a_release_without_the_library_fails(tree):
    done = backend(tree, "wheel", {**FAILING, "RETRIEVAL_STORE_BUILD": "require"})
    assert done.returncode != 0
    assert "RETRIEVAL_STORE_BUILD=require, and compiling failed" in done.stderr
    assert not [*tree.glob("dist/*.whl")]


def test_an_unknown_argument_is_refused_with_the_known_ones(tree):
    done = backend(tree, "wheel", {"RETRIEVAL_STORE_BUILD": "yes"})
    assert done.returncode != 0
    assert "RETRIEVAL_STORE_BUILD='yes' should be 'require', 'skip' or not set" in done.stderr


# The first releases of Python 3.11 have no filters, and later ones warn without one.
FILTERED = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def test_an_sdist_has_the_sources_and_makes_the_same_wheel(tree, compiled, tmp_path):
    sdist, _ = built(tree, "sdist")
    shutil.unpack_archive(sdist, tmp_path / "from", **FILTERED)
    (source,) = (tmp_path / "from").iterdir()
    assert not (source / LIBRARY).exists()
    wheel, _ = built(source, RETRIEVAL_STORE_BUILD="require")
    assert (wheel.name, contents(wheel)) == (compiled.name, contents(compiled))


def test_an_editable_installation_has_a_library_of_its_sources_or_none(tree, tmp_path):
    built(tree, "wheel:editable")
    assert search(tree, tmp_path) == (["7", "7", "with"], [])
    _, (warned,) = built(tree, "wheel:editable", **FAILING)
    assert SLOWER in warned
    assert not (tree / LIBRARY).exists()
    assert search(tree, tmp_path)[0] == ["7", "7", "without"]


def test_an_editable_installation_that_skips_the_build_has_no_older_library(tree):
    built(tree, "wheel:editable", RETRIEVAL_STORE_BUILD="skip")
    assert not (tree / LIBRARY).exists()

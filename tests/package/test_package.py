"""The cost of importing the package, and its public names."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from importlib.util import find_spec

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import retrieval_store
from tests.helpers import ROOT
from tests.helpers.packages import PACKAGES

HEAVY = [
    "numpy",
    "apsw",
    "orjson",
    "hnswlib",
    "re2",
    "tqdm",
    "torch",
    "wordllama",
    "importlib.metadata",
]


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, retrieval_store; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(modules.stdout.split())
    assert "retrieval_store" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert [name for name in loaded if name.startswith("retrieval_store.")] == []


def test_using_a_store_without_embedding_texts_imports_no_model_and_no_network():
    code = """
import sys, retrieval_store
collection = retrieval_store.Client().create_collection("abc")
collection.add(ids="a", embeddings=[1, 2])
collection.query(query_embeddings=[1, 2])
print(*sys.modules)
"""
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert set(modules.stdout.split()).isdisjoint(["wordllama", "torch", "requests", "http.client"])


MOST_MODULES = 67  # of ours, for a query; what takes time at the start is how many there are
NEEDED_LATER = (  # each with what is in it
    "api.chroma",
    "api.embedding_functions",
    "api.frames",
    "api.maps",
    "api.record_writer",
    "api.rerank",
    "api.unknown_keys",
    "api.why_request",
    "base.analysis",
    "base.fusion",
    "base.pca",
    "base.threads",
    "cli",
    "embeddings",
    "engine.filtering.order",
    "engine.maintenance",
    "engine.search.codes",
    "engine.search.code_search",
    "engine.search.multivectors",
    "engine.search.scorers",
    "engine.search.similarity",
    "engine.snapshots",
    "engine.stats",
    "engine.storage.write",
    "engine.text.ranking",
    "engine.transaction",
    "evaluation",
    "filters.expression",
    "filters.geo",
    "frameworks",
    "indexes.hnsw",
    "indexes.quantized",
    "loaders",
    "plugins",
    "qdrant",
    "query.formulas",
    "query.reasons",
    "query.why",
    "rerankers",
)
OF_OTHERS = (
    "asyncio",
    "bz2",
    "concurrent.futures",
    "difflib",
    "hashlib",
    "hnswlib",
    "html",
    "http",
    "importlib.metadata",
    "lzma",
    "multiprocessing",
    "re2",
    "shutil",
    "tempfile",
    "tqdm",
    "unittest",
    "urllib.request",
    "wordllama",
    "zipfile",
)
PLAIN = """
import sys, numpy
before = set(sys.modules)
import retrieval_store
with retrieval_store.Client(sys.argv[1]) as client:
    collection = client.get_collection("notes")
    assert collection.get(ids=["a"])["documents"] == ["one"]
    found = collection.query(query_embeddings=[1, 2], n_results=1, where={"year": {"$gt": 1}})
    assert found["ids"] == [["b"]]
print(*set(sys.modules) - before)
"""


def test_a_query_loads_only_what_it_needs(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("notes", embedding_function=None).add(
            ids=["a", "b"],
            embeddings=[[1, 2], [3, 4]],
            documents=["one", "two"],
            metadatas=[{"year": 1}, {"year": 2}],
        )
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, tmp_path], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    tops = {name.partition(".")[0] for name in loaded}
    assert {name for name in tops if name.startswith("retrieval_store_")} == set()
    ours = {name for name in loaded if name.partition(".")[0] == "retrieval_store"}
    assert {name for name in loaded if _is_in(name, OF_OTHERS)} == set()
    later = [f"retrieval_store.{name}" for name in NEEDED_LATER]
    assert {name for name in ours if _is_in(name, later)} == set()
    assert len(ours) <= MOST_MODULES, sorted(ours)


def _is_in(name, those):
    return any(name == one or name.startswith(f"{one}.") for one in those)


def test_modules_needed_later_exist():
    """Otherwise the test above would pass whatever is loaded."""
    for name in NEEDED_LATER:
        assert find_spec(f"retrieval_store.{name}") is not None, name


def test_public_names_exist_and_private_ones_do_not():
    assert {"Client", "Collection", "EphemeralClient", "PersistentClient"} <= set(
        dir(retrieval_store)
    )
    assert retrieval_store.Client.__name__ == "Client"
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        retrieval_store.Klient  # noqa: B018


def test_rooms_are_attributes_after_a_plain_import():
    code = """
import retrieval_store
print(retrieval_store.errors.NotFoundError.__name__)
print(retrieval_store.filters.expression.OneOf(("n",), (1,)))
print(retrieval_store.embeddings.EmbeddingFunction.__name__)
print(retrieval_store.loaders.DataLoader.__name__)
print(len(retrieval_store.plugins.available()) > 0)
"""
    run = [sys.executable, "-c", code]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split("\n")
    assert printed[:5] == [
        "NotFoundError",
        "OneOf(path=('n',), values=(1,))",
        "EmbeddingFunction",
        "DataLoader",
        "True",
    ]


@pytest.mark.others
@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_with_an_incompatible_core_reports_it(package):
    program = f"""
import retrieval_store
retrieval_store.__version__ = "0.1.7"
try:
    import {package}
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert re.fullmatch(
        r"MissingDependencyError [a-z-]+ 0\.2 wants retrieval-store >= 0\.2,<0\.3; 0\.1\.7 is "
        r"installed\n",
        done.stdout,
    ), done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), "."], check=True, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


PROJECTS = sorted((ROOT / "integrations").glob("*/pyproject.toml"))
CORE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_six_packages_surround_the_core():
    names = {tomllib.loads(path.read_text())["project"]["name"] for path in PROJECTS}
    assert names == {
        *("langchain-retrieval-store", "llama-index-vector-stores-retrieval-store"),
        *(f"retrieval-store-{name}" for name in ("agents", "cluster", "files", "server")),
    }


@pytest.mark.others
@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_a_package_wants_the_core_of_its_own_version(path):
    project = tomllib.loads(path.read_text())["project"]
    major, minor = map(int, version(project["name"]).split(".")[:2])
    wanted = [Requirement(one) for one in project["dependencies"]]
    (core,) = [one for one in wanted if one.name == "retrieval-store"]
    assert core.specifier == SpecifierSet(f">={major}.{minor},<{major}.{minor + 1}")
    assert retrieval_store.__version__ in core.specifier
    assert core.extras <= set(CORE["optional-dependencies"])
    assert project["requires-python"] == CORE["requires-python"]
    assert project["urls"]["Homepage"] == CORE["urls"]["Homepage"]


def test_nothing_that_a_package_alone_needs_is_an_extra_of_the_core():
    alone = {"langchain-core", "llama-index-core", "mcp", "grpcio", "starlette", "uvicorn", "pypdf"}
    extras = CORE["optional-dependencies"].values()
    assert alone.isdisjoint(Requirement(one).name for extra in extras for one in extra)


@pytest.mark.checks
@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_the_wheel_of_a_package_has_its_code_and_nothing_else(path, tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(path.parent)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    (folder,) = (one for one in PACKAGES.values() if path.parent in one.parents)
    files = {
        str(one.relative_to(path.parent))
        for one in folder.rglob("*")
        if one.is_file() and one.suffix != ".pyc"
    }
    assert "py.typed" in {one.rpartition("/")[2] for one in files}
    names = zipfile.ZipFile(wheel).namelist()
    assert {one for one in names if ".dist-info/" not in one} == files
    assert any(one.endswith("licenses/LICENSE") for one in names)


@pytest.mark.checks
def test_hnswlib_which_has_to_be_compiled_is_installed_only_by_extras(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    needed = re.findall(
        r"^Requires-Dist: hnswlib(.*)$", wheel.read(metadata).decode(), re.MULTILINE
    )
    extras = [re.search(r"; extra == '(.*)'$", line) for line in needed]
    assert {extra and extra[1] for extra in extras} == {
        "hnsw",
        "all",
        "bench",
    }


@pytest.mark.checks
def test_the_wheel_has_the_core_and_nothing_else(wheel):
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "retrieval_store"
    }
    assert "retrieval_store/py.typed" in names

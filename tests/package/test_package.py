"""What importing the package costs, and what it exposes."""

import inspect
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from importlib.util import find_spec

import pytest

import retrieval_store
from tests.helpers import ROOT

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
USED = (
    *("retrieval_store", "retrieval_store_files", "retrieval_store.qdrant"),
    *(
        "retrieval_store.filters.expression",
        "retrieval_store_files.readers",
        "retrieval_store.embeddings",
    ),
    *("retrieval_store.embeddings.bm25", "retrieval_store.embeddings.sentence_transformers"),
    *("retrieval_store.rerankers", "retrieval_store.indexes.hnsw", "retrieval_store.frameworks"),
    *("langchain_retrieval_store", "llama_index.vector_stores.retrieval_store"),
)
REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
OURS = (
    "retrieval_store.",
    "retrieval_store_files.",
    "langchain_retrieval_store.",
    "llama_index.vector_stores.retrieval_",
)


def classes_that_users_make():
    """The public classes with an `__init__` of their own; results and errors are made for users."""
    for name in USED:
        module = import_module(name)
        listed = getattr(module, "__all__", None)
        for one in listed or [one for one in vars(module) if one[0] != "_"]:
            kind = getattr(module, one, None)
            if not inspect.isclass(kind) or (listed is None and kind.__module__ != name):
                continue
            is_result = re.search(r"\.(measures|reports|results|reasons)$", kind.__module__)
            is_protocol = getattr(kind, "_is_protocol", False)
            init = inspect.getattr_static(kind, "__init__")
            is_ours = inspect.isfunction(init) and init.__module__.startswith(OURS)
            if is_ours and not (is_result or is_protocol or issubclass(kind, BaseException)):
                yield kind


def test_help_on_the_constructors_of_public_classes_says_what_they_take():
    made = {*classes_that_users_make()}
    assert {retrieval_store.Client, retrieval_store.Hybrid, retrieval_store.ImageLoader} <= made
    for kind in made:
        text = kind.__init__.__doc__ or kind.__doc__  # of a dataclass
        assert text, kind
        if "arguments are those of" not in text:
            parameters = [*inspect.signature(kind.__init__).parameters.values()][1:]
            named = [one.name for one in parameters if one.kind not in REST]
            assert [one for one in named if one not in text] == [], kind


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
    "engine.search.large",
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


def test_a_query_loads_what_it_needs_and_nothing_else(tmp_path):
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


def test_what_is_needed_later_is_there():
    """Else the test above would hold whatever is loaded."""
    for name in NEEDED_LATER:
        assert find_spec(f"retrieval_store.{name}") is not None, name


def test_public_names_are_there_and_others_are_not():
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


@pytest.mark.parametrize(
    ("adapter", "framework", "extra"),
    [
        ("langchain_retrieval_store", "langchain_core", "langchain"),
        ("llama_index.vector_stores.retrieval_store", "llama_index.core", "llama-index"),
    ],
)
def test_an_adapter_without_its_framework_says_which_extra_to_install(adapter, framework, extra):
    program = f"""
import sys
import zipfile
from pathlib import Path
sys.modules[{framework!r}] = None
try:
    import {adapter}
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f'pip install "retrieval-store[{extra}]"' in done.stdout, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), "."], check=True, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


NAMES = {  # by which users look for what is around the core, and what each brings
    "langchain-retrieval-store": "langchain",
    "llama-index-vector-stores-retrieval-store": "llama-index",
    "retrieval-store-agents": "mcp",
    "retrieval-store-cluster": "qdrant",
    "retrieval-store-files": "files",
    "retrieval-store-server": "server",
}


@pytest.mark.parametrize(("name", "extra"), NAMES.items())
def test_the_usual_names_bring_this_version_with_what_a_framework_needs(name, extra):
    small = tomllib.loads((ROOT / "integrations" / name / "pyproject.toml").read_text())["project"]
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = retrieval_store.__version__
    assert (small["name"], small["version"]) == (name, version)
    assert small["dependencies"] == [f"retrieval-store[{extra},standard]=={version}"]
    assert {extra, "standard"} <= set(whole["optional-dependencies"])
    assert small["requires-python"] == whole["requires-python"]
    assert small["urls"]["Homepage"] == whole["urls"]["Homepage"]


@pytest.mark.checks
@pytest.mark.parametrize("name", NAMES)
def test_the_wheels_of_the_usual_names_have_no_code(name, tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    folder = ROOT / "integrations" / name
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(folder)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert all(".dist-info/" in one for one in zipfile.ZipFile(wheel).namelist())


@pytest.mark.checks
def test_hnswlib_which_has_to_be_compiled_comes_only_by_extras_that_say_so(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    needed = re.findall(
        r"^Requires-Dist: hnswlib(.*)$", wheel.read(metadata).decode(), re.MULTILINE
    )
    extras = [re.search(r"; extra == '(.*)'$", line) for line in needed]
    assert {extra and extra[1] for extra in extras} == {
        "hnsw",
        "all",
        "bench",
        "dev",
        "dev-without-torch",
    }


@pytest.mark.checks
def test_the_wheel_has_the_package_and_what_is_around_it_and_nothing_else(wheel):
    names = wheel.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    around = {"agents", "cluster", "files", "server"}
    adapters = {"langchain_retrieval_store", "llama_index"}
    assert tops == {"retrieval_store", *adapters, *(f"retrieval_store_{one}" for one in around)}
    assert "llama_index/__init__.py" not in names
    assert "llama_index/vector_stores/__init__.py" not in names
    assert "llama_index/vector_stores/retrieval_store/__init__.py" in names
    assert "retrieval_store/py.typed" in names
    page = ROOT / "integrations/server/retrieval_store_server/view/page"
    files = {
        str(one.relative_to(ROOT / "integrations")) for one in page.rglob("*") if one.is_file()
    }
    assert files and files <= set(names)

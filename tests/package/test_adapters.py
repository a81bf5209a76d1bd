"""Adapters and packages around the core import only what users may import, like packages of others.
Packages with a store also import the core's names for them: `EXTENSION`.
"""

import ast
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from inspect import isclass, isfunction
from pathlib import Path

import pytest

from tests.helpers import ROOT

PACKAGES = {
    "langchain_retrieval_store": ROOT / "integrations/langchain/langchain_retrieval_store",
    "llama_index.vector_stores.retrieval_store": ROOT
    / "integrations/llama_index/llama_index/vector_stores/retrieval_store",
    "retrieval_store_agents": ROOT / "integrations/agents/retrieval_store_agents",
    "retrieval_store_cluster": ROOT / "integrations/cluster/retrieval_store_cluster",
    "retrieval_store_files": ROOT / "integrations/files/retrieval_store_files",
    "retrieval_store_server": ROOT / "integrations/server/retrieval_store_server",
}
PUBLIC = (
    *("retrieval_store", "retrieval_store.errors", "retrieval_store.evaluation"),
    *("retrieval_store.filters", "retrieval_store.filters.expression"),
    *("retrieval_store.embeddings", "retrieval_store.embeddings.bm25"),
    *("retrieval_store.embeddings.frameworks", "retrieval_store.frameworks"),
    *("retrieval_store.loaders", "retrieval_store.loaders.files"),
    *("retrieval_store.loaders.passages", "retrieval_store.loaders.sources"),
    *("retrieval_store.cli.plugin", "retrieval_store.plugins"),
    *("retrieval_store.qdrant", "retrieval_store.rerankers"),
)
# For who is a store in another process, or serves one; nobody else.
EXTENSION = "retrieval_store.extension"
STORES = {"retrieval_store_cluster", "retrieval_store_server"}
# Of packages around the core what a feature is of, when it is used: the names in their `__all__`, or
# else what is defined there.
OF_ADAPTERS = {"retrieval_store_agents", "retrieval_store_files", "retrieval_store_files.readers"}
FEATURES = {
    "retrieval_store_agents": {"retrieval_store_server"},
    "retrieval_store_cluster": set(),
    "retrieval_store_files": set(),
    "retrieval_store_server": {"retrieval_store_files"},
}
OWNERS = {"self", "cls"}
# Names that are documented, whatever they begin with; and those of libraries.
OPEN = {
    *("os._exit", "row._replace", "codec._is_text_encoding", "writer._add_object"),
    "encodings._CODE_PAGE_ENCODINGS",
}
LAZY = "f'{__name__}."  # begins what a package loads late of its own


@cache
def public_names(module):
    """The names in `__all__`, or else those that the module itself defines."""
    listed = getattr(import_module(module), "__all__", None)
    if listed is not None:
        return set(listed)
    tree = ast.parse(Path(find_spec(module).origin).read_text())
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        for target in node.targets if isinstance(node, ast.Assign) else ():
            names |= {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
        if isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def late(tree):
    """The imports inside functions, and those only for types."""
    for node in ast.walk(tree):
        only_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if only_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (id(one) for one in ast.walk(node))


@cache
def own_names(package):
    """The private names that the modules of a package define: attributes, functions and others."""
    trees = [ast.parse(path.read_text()) for path in PACKAGES[package].glob("**/*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {node.name for node in nodes if isinstance(node, functions)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in OWNERS
    }


def is_closed(owner, name, package):
    """Whether a private name belongs to another package: to the core, or to no class of this
    package."""
    last = owner.rpartition(".")[2].strip("()")
    is_own = owner in OWNERS or owner.startswith("super(") or name.endswith("__")
    if package in FEATURES and last not in {"client", "collection", "points", "session"}:
        is_own = is_own or name in own_names(package)
    return not is_own and f"{owner}.{name}" not in OPEN


def faults_of(text, package):
    """The uses of private names in a module of a package."""
    tree = ast.parse(text)
    loaded_late = {*late(tree)}
    features = FEATURES.get(package, OF_ADAPTERS)
    public = (*PUBLIC, EXTENSION) if package in STORES else PUBLIC
    lazy = {
        id(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.args[0]).startswith(LAZY)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            home = node.module or ""
            root = home.partition(".")[0]
            if node.level or home == package or home.startswith(f"{package}."):
                continue
            if "retrieval_store" not in home:
                continue
            names = {one.name for one in node.names}
            if root == "retrieval_store":
                known = public_names(home) if home in public else set()
                known = known | {name for name in names if f"{home}.{name}" in public}
            elif home in features and id(node) in loaded_late:
                known = public_names(home)
            else:
                known = set()
            yield from (f"{home}.{name}" for name in sorted(names - known))
        elif isinstance(node, ast.Import):
            named = (one.name for one in node.names if "retrieval_store" in one.name)
            yield from (name for name in named if name != package)
        elif isinstance(node, ast.Name) and node.id in {"import_module", "__import__"}:
            if id(node) not in lazy:
                yield node.id
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owner = ast.unparse(node.value)
            if is_closed(owner, node.attr, package):
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"getattr", "setattr"}:
            name = ast.unparse(node.args[1]).strip("'")
            owner = ast.unparse(node.args[0])
            if name.startswith("_") and is_closed(owner, name, package):
                yield f"{owner}.{name}"


@pytest.mark.others
@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_uses_only_public_names(package):
    files = sorted(PACKAGES[package].glob("**/*.py"))
    assert len(files) > 5
    found = {path.name: [*faults_of(path.read_text(), package)] for path in files}
    assert {name: faults for name, faults in found.items() if faults} == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("from retrieval_store.base.validation import quote", "retrieval_store.base.validation.quote"),
        ("from retrieval_store.frameworks.collection import items_of", "collection.items_of"),
        ("from retrieval_store.frameworks import Client", "retrieval_store.frameworks.Client"),
        ("from retrieval_store import backends", "retrieval_store.backends"),
        ("from retrieval_store.embeddings import plain_scalar", "embeddings.plain_scalar"),
        ("from llama_index.vector_stores.retrieval_store import FolderReader", "FolderReader"),
        ("from retrieval_store_files import read_folder", "retrieval_store_files.read_folder"),
        ("def f():\n  from retrieval_store_files.read import Chunk", "retrieval_store_files.read.Chunk"),
        ("from retrieval_store_server import running", "retrieval_store_server.running"),
        ("import retrieval_store.api.client", "retrieval_store.api.client"),
        ("import_module('retrieval_store.api')", "import_module"),
        ("def f(self): return self.collection._backend", "self.collection._backend"),
        ("def f(self): return getattr(self.collection, '_backend')", "self.collection._backend"),
    ],
)  # fmt: skip
def test_uses_of_internals_would_be_detected(text, fault):
    (found,) = faults_of(text, "langchain_retrieval_store")
    assert found.endswith(fault)


@pytest.mark.others
def test_uses_of_internals_in_packages_would_be_detected():
    for text in (
        "from retrieval_store.cli.shared import say",
        "from retrieval_store_server import running",  # before it is needed
        "def f():\n  from retrieval_store_server.run import running",
        "def f():\n  from retrieval_store_files import add_folder",
        "def f(client): return client()._session",
        "import_module(name)",
    ):
        assert len([*faults_of(text, "retrieval_store_agents")]) == 1, text
    for text in (
        "from retrieval_store.cli.plugin import say",
        "def f():\n  from retrieval_store_server import running",
        "def f(tools): return tools._by_name",
        "import_module(f'{__name__}.tools')",
    ):
        assert [*faults_of(text, "retrieval_store_agents")] == [], text


def test_names_for_remote_stores_are_used_only_by_them():
    text = "from retrieval_store.extension import Session"
    assert [*faults_of(text, "retrieval_store_cluster")] == []
    for package in ("langchain_retrieval_store", "retrieval_store_agents", "retrieval_store_files"):
        assert len([*faults_of(text, package)]) == 1, package
    for text in (
        "from retrieval_store.backends import Session",
        "from retrieval_store.extension import draw_sample",  # which it has from elsewhere
        "def f(client): return client._session",
        "def f(session): return getattr(session, '_store')",
    ):
        assert len([*faults_of(text, "retrieval_store_cluster")]) == 1, text


# Tests may besides run the program, and the tests that are made for who brings a plugin. What else
# they reach inside for, they have from `tests.helpers` alone.
OF_TESTS = {"retrieval_store.__main__", "retrieval_store.conformance"}


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_of_a_package_import_what_it_may(package):
    (folder,) = (one for one in PACKAGES[package].parents if one.parent.name == "integrations")
    may = {*PUBLIC, *OF_TESTS}
    if package in STORES:
        may.add(EXTENSION)
    paths = [*(folder / "tests").rglob("*.py")]
    nodes = ((path.name, one) for path in paths for one in ast.walk(ast.parse(path.read_text())))
    imports = [(name, one) for name, one in nodes if isinstance(one, ast.ImportFrom)]
    homes = {(name, one.module) for name, one in imports if one.module}
    ours = {(name, home) for name, home in homes if home.split(".")[0] == "retrieval_store"}
    assert {(name, home) for name, home in ours if home not in may} == set()
    of_others = {(name, home) for name, home in homes if home.split(".")[0] == "tests"}
    assert {
        (name, home) for name, home in of_others if not home.startswith("tests.helpers")
    } == set()
    assert ours and len(paths) > 1


def test_remote_stores_need_few_names_and_each_is_documented():
    assert len([*(ROOT / "retrieval_store/extension").glob("*.py")]) <= 4
    extension = import_module(EXTENSION)
    parts = [(name, getattr(extension, name)) for name in extension.__all__]
    assert len(parts) <= 130
    made = [(name, part) for name, part in parts if isclass(part) or isfunction(part)]
    # A dataclass without one has its signature there.
    untold = [
        name for name, part in made if not part.__doc__ or part.__doc__.startswith(f"{name}(")
    ]
    assert untold == [] and len(made) > 50
    page = (ROOT / "docs/reference/extension.md").read_text()
    others = {name for name, _ in parts} - {name for name, _ in made}
    assert [name for name in sorted(others) if f"`{name}`" not in page] == []
    assert f"{len(parts)} names" in (ROOT / "docs/write_a_store.md").read_text()


def test_commands_need_few_names_and_each_is_documented():
    plugin = import_module("retrieval_store.cli.plugin")
    assert len(plugin.__all__) <= 20
    assert [name for name in plugin.__all__ if f"`{name}`" not in plugin.__doc__] == []


def test_adapters_need_few_names_and_each_is_documented():
    frameworks = import_module("retrieval_store.frameworks")
    assert len(frameworks.__all__) <= 25
    constants = {name for name in frameworks.__all__ if name.isupper()}
    parts = {name: getattr(frameworks, name) for name in {*frameworks.__all__} - constants}
    assert [name for name, part in parts.items() if not part.__doc__] == []
    page = (ROOT / "docs/reference/frameworks.md").read_text()
    assert [name for name in constants if f"`{name}`" not in page] == []

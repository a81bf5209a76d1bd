"""The package stays small enough for a few people: few modules, unique class names, short call
paths.
"""

import ast
import gc
import sys
from collections import Counter, defaultdict
from functools import cache
from itertools import chain

import numpy as np
import pytest

import retrieval_store
from retrieval_store.qdrant import QdrantClient, models
from tests.helpers import ROOT
from tests.helpers.packages import PACKAGES

MOST_MODULES = 191  # of the core
MOST_REPLACED, MOST_PRIVATE, MOST_IMPORTED = 5, 17, 26  # of what is inside, by tests
MOST_WITH_ONE_IMPORTER = 53
FOLDERS = {"retrieval_store": ROOT / "retrieval_store", **PACKAGES}


def paths():
    """The name and file of each module."""
    return {
        ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for package, folder in FOLDERS.items()
        for path in folder.rglob("*.py")
    }


@pytest.fixture(autouse=True, scope="module")
def without_collecting():
    """Switch off the garbage collector. Trees have no reference cycles, and visiting them takes
    longer than parsing."""
    gc.disable()
    yield
    modules.cache_clear()
    gc.enable()


@cache
def modules():
    """Each module, parsed, with all its nodes."""
    trees = {name: ast.parse(path.read_text()) for name, path in paths().items()}
    return {name: [*ast.walk(tree)] for name, tree in trees.items()}


def test_the_core_has_few_modules():
    assert len([one for one in modules() if one.startswith("retrieval_store.")]) <= MOST_MODULES


def test_a_class_name_is_used_once():
    names = Counter(
        node.name
        for nodes in modules().values()
        for node in nodes
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_few_modules_are_imported_by_one_other_alone():
    """A module imported by only one other module is a part of it in another file. Imports inside
    functions and for types count. A package that re-exports names doesn't count as an importer."""
    importers = defaultdict(set)
    for name, nodes in modules().items():
        for node in nodes:
            if name != "retrieval_store" and isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    importers[inner if inner in modules() else node.module].add(name)
    rooms = {name.rpartition(".")[0] for name in modules()}
    others = {one: importers[one] - {one.rpartition(".")[0]} for one in modules()}
    alone = [one for one in modules() if len(others[one]) == 1 == len(importers[one])]
    alone = [one for one in alone if one not in rooms]
    assert len(alone) <= MOST_WITH_ONE_IMPORTER, sorted(alone)


def is_private(name):
    return name.startswith("_") and not name.endswith("_")


def private_names():
    """The private names of the package: attributes, functions, classes, variables."""
    names = set()
    for node in chain.from_iterable(modules().values()):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Store):
            names.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return {name for name in names if is_private(name)}


def imported(nodes):
    """A test module's imports from the package, by their local names; and the names of other
    imported modules."""
    ours, others = {"inside": ""}, {"self", "cls"}
    for node in nodes:
        for one in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            path = f"{getattr(node, 'module', None) or ''}.{one.name}".lstrip(".")
            name = one.asname or one.name.partition(".")[0]
            if path.partition(".")[0] == "retrieval_store":
                ours[name] = path
            elif isinstance(node, ast.Import):
                others.add(name)
    return ours, others


def replaced(node, ours):
    """Whether this node replaces a part of the package."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return any(isinstance(one, ast.Name) and one.id in ours for one in ast.walk(node.value))
    if not (isinstance(node, ast.Call) and node.args):
        return False
    function, target = node.func, node.args[0]
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called not in {"setattr", "delattr", "setitem", "patch", "object", "multiple"}:
        return False
    parts = [*ast.walk(target)]
    texts = [one.value for one in parts if isinstance(one, ast.Constant)]
    names = {one.id for one in parts if isinstance(one, ast.Name)}
    return bool(names & {*ours}) or any(str(text).startswith("retrieval_store.") for text in texts)


def test_tests_use_what_a_user_a_plugin_or_the_next_room_may_use():
    """Other internals are used only by tests/helpers: `inside` has the parts, `steps` the steps to
    replace, fail or count, `tuned` the thresholds. So an internal change needs a change only
    there."""
    private, found = private_names(), defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.is_relative_to(ROOT / "tests/helpers"):
            continue
        nodes = [*ast.walk(ast.parse(path.read_text()))]
        ours, others = imported(nodes)
        for name in ours.values():
            if name.startswith("retrieval_store.engine") or any(map(is_private, name.split("."))):
                found["imported"].append(f"{path}: {name}")
        for node in nodes:
            if replaced(node, ours):
                found["replaced"].append(f"{path}:{node.lineno}")
            owner = getattr(getattr(node, "value", None), "id", None)
            if isinstance(node, ast.Attribute) and node.attr in private and owner not in others:
                found["private"].append(f"{path}:{node.lineno} {node.attr}")
    assert len(found["replaced"]) <= MOST_REPLACED, found["replaced"]
    assert len(found["private"]) <= MOST_PRIVATE, found["private"]
    assert len(found["imported"]) <= MOST_IMPORTED, found["imported"]


def way(call):
    """The number of files of the package in a call, and the number of function calls."""
    calls = Counter()

    def note(frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and "/retrieval_store/" in path and "/tests/" not in path:
            calls[path.rpartition("/retrieval_store/")[2]] += 1

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    assert len(calls) > 10, "the calls weren't seen"
    return len(calls), calls.total()


@pytest.mark.embedded
@pytest.mark.local
def test_the_ways_through_the_package_are_short(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((1_000, 16)).astype(np.float32)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        numbers = [{"n": i % 8} for i in range(len(vectors))]
        ids = [str(i) for i in range(len(vectors))]
        things.add(ids=ids, embeddings=vectors, metadatas=numbers)

    def query():
        things.query(query_embeddings=vectors[0], where={"n": 3}, n_results=5)

    def opening():
        nonlocal client, things
        client = retrieval_store.Client(tmp_path)
        things = client.get_collection("things", embedding_function=None)
        query()

    def add():
        things.add(ids="new", embeddings=vectors[0], metadatas={"n": 3})

    try:
        files, calls = way(opening)
        assert files <= 48 and calls <= 1_300
        for _ in range(3):
            query()
        files, calls = way(query)
        assert files <= 27 and calls <= 136
        files, calls = way(add)
        assert files <= 17 and calls <= 162
    finally:
        client.close()


def test_the_way_of_a_query_of_qdrants_client_is_short():
    vectors = np.random.default_rng(0).standard_normal((1_000, 16)).tolist()
    threes = models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=3))])
    with QdrantClient(":memory:") as client:
        client.create_collection("things", models.VectorParams(size=16, distance="Dot"))
        points = [
            models.PointStruct(id=i, vector=vector, payload={"n": i % 8})
            for i, vector in enumerate(vectors)
        ]
        client.upsert("things", points)

        def query():
            client.query_points("things", query=vectors[0], query_filter=threes, limit=5)

        for _ in range(3):
            query()
        files, calls = way(query)
    assert files <= 34 and calls <= 181

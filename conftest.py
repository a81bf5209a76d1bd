"""Fixtures: stores in memory and on disk, and a collection of two-dimensional points."""

import asyncio
import gc
import importlib.metadata
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import cache, wraps
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

import retrieval_store

pytest.register_assert_rewrite("tests.helpers")

# A job in the background ignores it, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# It doesn't change meanwhile, and is asked for whenever a collection is opened: ten milliseconds.
importlib.metadata.entry_points = cache(importlib.metadata.entry_points)

settings.register_profile(  # an example may take as long as a busy machine needs for it
    "patient",
    deadline=None,
    derandomize=True,  # the same on each machine and day, so that a commit that passes goes on to
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("patient")


@pytest.fixture
def cluster() -> Iterator[retrieval_store.Client]:
    """A client of an empty cluster: the one that QDRANT_URL names, or a server for tests with
    Qdrant's engine in it."""
    from tests.helpers.real_qdrant import qdrant

    with qdrant() as qdrant_client:
        yield retrieval_store.Client(qdrant_client=qdrant_client)


@pytest.fixture(scope="session")
def _served_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from retrieval_store_server import running

    path = tmp_path_factory.mktemp("served")
    with running(str(path / "store"), durability="relaxed") as url:
        yield url


@pytest.fixture
def served(_served_url: str) -> Iterator[retrieval_store.Client]:
    """A client of an empty store that a server serves, one for all tests of a process."""
    with retrieval_store.Client(url=_served_url, allow_reset=True) as client:
        yield client
    with retrieval_store.Client(url=_served_url, allow_reset=True) as client:
        client.reset()


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[retrieval_store.Client]:
    """A client of an empty store, of each kind: in memory, on disk, served, and on a cluster. Tests
    marked `embedded` do without the last, and those marked `local`, or of the engine, without the
    one before."""
    if request.param in ("cluster", "served"):
        yield request.getfixturevalue(request.param)
        return
    path = tmp_path / "store" if request.param == "disk" else None
    with retrieval_store.Client(path) as client:
        yield client


@pytest.fixture
def collection(client: retrieval_store.Client) -> retrieval_store.Collection:
    """An empty collection without an embedding function."""
    return client.create_collection("points", embedding_function=None)


@pytest.fixture
def populated(collection: retrieval_store.Collection) -> retrieval_store.Collection:
    """Five points on a line: p0 at 0 … p4 at 4, with metadata and documents."""
    collection.add(
        ids=[f"p{i}" for i in range(5)],
        embeddings=[[i, 0] for i in range(5)],
        metadatas=[{"n": i, "even": i % 2 == 0} for i in range(5)],
        documents=[f"document {i}" for i in range(5)],
    )
    return collection


@pytest.fixture
def beside_the_loop(monkeypatch):
    """To be called on an event loop: from then on each call of a collection waits until the loop has
    gone on meanwhile, which it can't while it waits for that call."""
    from tests.helpers import PATIENCE

    loops = {}

    def waiting(method):
        @wraps(method)
        def called(*arguments, **kwargs):
            for thread, loop in loops.items():
                assert threading.get_ident() != thread, f"{method.__name__} on the loop"
                went_on = threading.Event()
                loop.call_soon_threadsafe(went_on.set)
                assert went_on.wait(PATIENCE), f"{method.__name__} holds the loop"
            return method(*arguments, **kwargs)

        return called

    for name in ("upsert", "query", "get", "delete"):
        method = getattr(retrieval_store.Collection, name)
        monkeypatch.setattr(retrieval_store.Collection, name, waiting(method))

    def begin():
        loops[threading.get_ident()] = asyncio.get_running_loop()

    return begin


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard error says that it is a terminal, and is captured."""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stores",
        metavar="KINDS",
        default="disk",
        help="the kinds of stores that tests of collections (tests/api) are run with, by commas: "
        "memory, disk, served, cluster; by default disk",
    )


def pytest_report_header() -> str:
    """Which cluster is meant."""
    url = os.environ.get("QDRANT_URL")
    return f"cluster: {url or 'none that is real, since QDRANT_URL is unset; a server with its engine'}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The kinds of stores that a test is run with; those of the conformance kit name their own. The
    engine is tried in memory, too, where all tests are run; its state machines are in both always."""
    parts = metafunc.definition.path.parts
    if "client" not in metafunc.fixturenames or "conformance" in parts:
        return
    kinds = ["disk", "memory"] if "engine" in parts else ["disk"]
    if parts[-2] == "api":
        has = metafunc.definition.get_closest_marker
        without = {"served": has("local"), "cluster": has("embedded")}
        kinds = [one for one in metafunc.config.option.stores.split(",") if not without.get(one)]
    others = pytest.mark.others
    kinds = [one if one == "disk" else pytest.param(one, marks=others) for one in kinds]
    metafunc.parametrize("client", kinds, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests with models have all-MiniLM-L6-v2 in the cache, as if it had been downloaded."""
    if item.get_closest_marker("models"):
        from tests.helpers import minilm

        minilm.install()


_NO_PARAMETERS = SimpleNamespace(params={})
SLOW_KINDS = ("property", "models", "kills", "slow")
ROOT = Path(__file__).parent
WITH_OTHERS = {"integrations", "others", "rehearsal"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What hypothesis tries is a property without being told; what lies in a package around the core,
    or among others, needs more than the core's environment has. What takes long comes first, so that
    no worker waits for another at the end."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("property")
        if WITH_OTHERS & set(item.path.relative_to(ROOT).parts):
            item.add_marker("others")
        for kind in getattr(item, "callspec", _NO_PARAMETERS).params.values():
            if isinstance(kind, str) and kind in ("memory", "disk", "served", "cluster"):
                item.add_marker("in_memory" if kind == "memory" else "elsewhere")
    items.sort(key=lambda item: not any(map(item.get_closest_marker, SLOW_KINDS)))


def pytest_collection_finish() -> None:
    """What is there before the first test stays: the collector needn't look at it again and again,
    which took a quarter of a second each time."""
    gc.collect()
    gc.freeze()


SUPPORT = str(Path(__file__).parent / "tests/support")
sys.path.insert(0, SUPPORT)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SUPPORT, os.environ.get("PYTHONPATH")]))
if "torchvision_beside_cpu_torch" not in sys.modules:
    import torchvision_beside_cpu_torch

    torchvision_beside_cpu_torch.watch()

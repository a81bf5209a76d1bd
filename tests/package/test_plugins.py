"""Installed plugins and their names, their precedence, and errors."""

import subprocess
import sys
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points

import numpy as np
import pytest

import retrieval_store
from retrieval_store import plugins, register_embedding_function
from retrieval_store.errors import (
    ConflictError,
    InvalidArgumentError,
    InvalidTypeError,
    MissingDependencyError,
    PluginError,
)
from tests.helpers import ROOT, inside
from tests.helpers.circumstances import register_only


def test_built_in_plugins_are_registered_by_entry_points_too():
    for group in plugins.BUILT_IN:
        ours = {e.name: e.value for e in entry_points(group=group) if e.dist.name == plugins.OURS}
        assert ours == plugins.BUILT_IN[group]
        for target in ours.values():
            assert plugins._import_target(target)


@pytest.mark.others
def test_a_package_registers_its_entry_points():
    for group, owners in plugins.BROUGHT.items():
        known = {e.name: e.dist.name for e in entry_points(group=group)}
        assert known == owners
        assert all(plugins.load(group, name) for name in known)


def test_a_missing_plugin_is_reported_with_its_package(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    for group, owners in plugins.BROUGHT.items():
        for name, package in owners.items():
            assert name not in plugins.names(group) and plugins.is_known(group, name)
            with pytest.raises(MissingDependencyError, match=f"needs {package}: pip install"):
                plugins.load(group, name)
    with pytest.raises(MissingDependencyError, match="a store at http://… needs retrieval-store-s"):
        retrieval_store.Client(url="http://localhost:1")
    with pytest.raises(
        MissingDependencyError, match="a Qdrant cluster needs retrieval-store-clust"
    ):
        retrieval_store.Client(url=["http://localhost:1", "http://localhost:2"])


@pytest.mark.others
def test_a_url_that_nothing_opens_is_reported_with_the_possible_ones(monkeypatch):
    for url in ("localhost:6333", "sqlitefle:///x", "qdrant-client://x"):
        with pytest.raises(InvalidArgumentError, match=r"expected http://.*http://…, https://…$"):
            retrieval_store.Client(url=url)
    with pytest.raises(InvalidTypeError, match=r"url is 5 \(int\), expected the URL of"):
        retrieval_store.Client(url=5)


def test_without_the_client_of_a_server_a_url_is_a_clusters(monkeypatch):
    opened = []
    monkeypatch.setattr(plugins, "is_installed", lambda group, name: name == "qdrant")
    monkeypatch.setattr(plugins, "load", lambda group, name: opened.append(name) or in_memory)
    with retrieval_store.Client(url="http://localhost:1") as client:
        assert client.list_collections() == [] and opened == ["qdrant"]


def in_memory(*arguments):
    return inside.session(retrieval_store.Client())


@pytest.mark.others
def test_another_package_cannot_replace_a_built_in_plugin(monkeypatch):
    entries = [EntryPoint("http", "somewhere:open_url", plugins.STORES)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)
    assert plugins.target_of(plugins.STORES, "http").startswith("retrieval_store_server.")
    with pytest.warns(UserWarning, match=r"which is of retrieval-store-server; its own isn't used"):
        assert plugins.names(plugins.STORES) == []


def test_available_lists_everything_without_importing_it():
    program = """
import sys
from retrieval_store import plugins
found = plugins.available()
print(len(found), [m for m in ("torch", "hnswlib", "PIL", "wordllama") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    count, _, imported = done.stdout.partition(" ")
    assert int(count) >= 9, done.stderr
    assert imported == "[]\n"
    names = {(p.group, p.name): p for p in plugins.available()}
    ours = names[plugins.INDEXES, "hnsw"]
    assert (ours.package, ours.version) == ("retrieval-store", retrieval_store.__version__)


@pytest.fixture
def foreign(monkeypatch):
    """Entry points of other packages: one uses a name of ours, one is broken."""
    group = plugins.EMBEDDING_FUNCTIONS
    entries = [
        EntryPoint("wordllama", "evil:Thing", group),
        EntryPoint("broken", "no_such_module_at_all:Thing", group),
    ]
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: entries if "embedding" in group else []
    )


def test_built_in_names_are_reserved_and_a_broken_plugin_breaks_only_itself(foreign):
    with pytest.warns(UserWarning, match="registers the plugin 'wordllama'.*built in"):
        assert "broken" in {p.name for p in plugins.available()}
    kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, "wordllama")
    assert kind.__name__ == "WordLlamaEmbedding"
    with (
        pytest.warns(UserWarning),
        pytest.raises(PluginError, match="'broken' of an unknown package can't be loaded"),
    ):
        plugins.load(plugins.EMBEDDING_FUNCTIONS, "broken")


class Lengths:
    def __init__(self, scale=1):
        self.scale = scale

    def settings(self):
        return {"scale": self.scale}

    def __call__(self, input):
        return [[len(text) * self.scale, 1.0] for text in input]


def test_a_class_of_the_program_can_be_registered_and_is_remembered(tmp_path, monkeypatch):
    register_only(monkeypatch)
    assert register_embedding_function("lengths")(Lengths) is Lengths
    register_embedding_function("lengths")(Lengths)  # again, as a reloaded module does
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=Lengths(3))
        things.add(ids="a", documents="four")
        assert things.configuration["embedding_function"] == {
            "name": "lengths",
            "settings": {"scale": 3},
        }
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        things.add(ids="b", documents="seven!!")
        vectors = things.get(include=["embeddings"])["embeddings"]
        assert vectors[:, 0].tolist() == [12, 21]
        with pytest.raises(ConflictError):
            client.get_collection("things", embedding_function=Lengths(4))
    listed = [p for p in plugins.available() if p.name == "lengths"]
    assert [p.package for p in listed] == ["this program"]
    for taken in ("lengths", "wordllama"):
        with pytest.raises(InvalidArgumentError, match="taken"):
            register_embedding_function(taken)(type("Other", (), {"settings": dict}))


def test_classes_that_one_function_makes_keep_their_own_names(tmp_path, monkeypatch):
    register_only(monkeypatch)

    def counting(name, letters):
        @register_embedding_function(name)
        class Counts:
            def settings(self):
                return {}

            def __call__(self, input):
                return np.array([[float(text.count(c)) for c in letters] for text in input])

        return Counts

    counting("vowels", "ae")
    consonants = counting("consonants", "xz")
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=consonants())
        things.add(ids=["x", "z"], documents=["xxx", "zzz"])
        assert things.configuration["embedding_function"]["name"] == "consonants"
    with retrieval_store.Client(tmp_path) as client:
        found = client.get_collection("things").query(query_texts="zzz")
        assert (found["ids"], found["distances"]) == ([["z", "x"]], [[0.0, 18.0]])


def test_functions_that_cannot_be_stored_are_not_registered():
    with pytest.raises(InvalidTypeError, match=r"expected a str: @register_embedding_function\('"):

        @register_embedding_function
        class Bare:
            pass

    for wrong in ("text", type("Mute", (), {"__call__": None})):
        with pytest.raises(InvalidTypeError, match="expected a class with the methods"):
            register_embedding_function("wrong")(wrong)
    with pytest.raises(PluginError, match="module imported"):
        plugins.load(plugins.EMBEDDING_FUNCTIONS, "wrong")


def test_a_class_that_its_package_exports_elsewhere_is_known_by_name(monkeypatch):
    package = __name__.partition(".")[0]
    exported = sys.modules.setdefault(f"{package}.exported", type(sys)(f"{package}.exported"))
    exported.Lengths = Lengths
    entries = [EntryPoint("lengths", f"{package}.exported:Lengths", plugins.EMBEDDING_FUNCTIONS)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)
    assert plugins.name_of(plugins.EMBEDDING_FUNCTIONS, Lengths) == "lengths"
    assert plugins.load(plugins.EMBEDDING_FUNCTIONS, "lengths") is Lengths
    with pytest.raises(InvalidArgumentError, match="taken"):
        register_embedding_function("lengths")(type("Other", (), {"settings": dict}))
    entries.append(EntryPoint("lengths", "elsewhere:Other", plugins.EMBEDDING_FUNCTIONS))
    with pytest.warns(UserWarning, match="both register the plugin 'lengths'"):
        plugins.available()
    with pytest.raises(PluginError, match="no group 'nope'"):
        plugins.load("nope", "x")


def test_the_docs_name_every_group():
    page = (ROOT / "docs" / "plugins.md").read_text()
    groups = {entry.group for entry in distribution(plugins.OURS).entry_points}
    groups -= {"console_scripts"}  # a program
    assert groups == set(plugins.BUILT_IN)
    assert all(group in page for group in groups)

"""An untrusted store: nothing stored in it selects a host, a variable or a file."""

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import retrieval_store
from retrieval_store import plugins
from retrieval_store.embeddings.wordllama import WordLlamaEmbedding
from retrieval_store.errors import (
    ConflictError,
    DamagedError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    PluginError,
    RetrievalStoreError,
)
from tests.helpers import steps
from tests.helpers.circumstances import as_a_new_process, register_only
from tests.helpers.small_stores import sql

SECRET = "RETRIEVAL_STORE_TEST_SECRET"


@pytest.fixture(autouse=True)
def nothing_given_yet(monkeypatch):
    """As in a process that has just started."""
    as_a_new_process(monkeypatch)
    register_only(monkeypatch)


@pytest.fixture
def attacker(monkeypatch):
    """A server that records every connection, and responds like OpenAI's; and a secret."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            data = [{"index": i, "embedding": [1, 2]} for i in range(len(body["input"]))]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": data}).encode())

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        def verify_request(self, request, client_address):
            seen.append(client_address)
            return True

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv(SECRET, "precious")
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


def stolen(url):
    """Settings as an attacker would store them."""
    return {"model": "m", "base_url": url, "api_key_env": SECRET, "dimensions": None}


@pytest.fixture
def store(tmp_path):
    """A store with one two-dimensional point."""
    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=["a"], embeddings=[[1, 2]], documents=["text"], metadatas=[{"n": 1}])
    return tmp_path / "store"


def put(store, **changes):
    """Change stored settings directly, with correct checksums."""
    catalog = f"file:{store}/catalog.sqlite?mode=ro"
    with closing(sqlite3.connect(catalog, uri=True)) as connection:
        ((settings,),) = connection.execute("SELECT settings FROM collections")
    changed = json.dumps({**json.loads(settings), **changes}).encode()
    sql(store / "catalog.sqlite", "UPDATE collections SET settings = ?", changed)


def put_function(store, name, settings):
    put(store, embedding_function={"name": name, "settings": settings})


def uses(things):
    """All calls that must embed something."""
    return (
        lambda: things.query(query_texts="private text"),
        lambda: things.query(query_texts="private text", mode="hybrid"),
        lambda: things.add(ids="b", documents="private text"),
        lambda: things.upsert(ids="a", documents="private text"),
        lambda: things.update(ids="a", documents="private text"),
        lambda: things.explain(query_texts="private text"),
        lambda: things.query(query_images=[np.zeros((2, 2, 3), np.uint8)]),
    )


def test_a_stored_host_and_variable_are_never_used(store, attacker):
    url, seen = attacker
    put_function(store, "openai", stolen(url))
    with retrieval_store.Client(store) as client:
        opened = [client.get_collection("things"), client.get_or_create_collection("things")]
        for things in [*opened, *client.list_collections()]:
            for use in uses(things):
                with pytest.raises(EmbeddingFunctionError) as reported:
                    use()
                assert "'openai'" in str(reported.value)
                assert url in str(reported.value)
                assert SECRET in str(reported.value)
                assert "embedding_function=" in str(reported.value)
                assert "trust=True" in str(reported.value)
                assert "precious" not in str(reported.value)
        assert client.get_collection("things").count() == 1
    assert seen == []


def test_functions_that_embed_nothing_work_as_before(store, attacker):
    url, seen = attacker
    put_function(store, "openai", stolen(url))
    with retrieval_store.Client(store) as client:
        (things,) = client.list_collections()
        assert things.configuration["embedding_function"]["settings"] == stolen(url)
        assert things.get(where={"n": 1})["ids"] == ["a"]
        assert things.query(query_embeddings=[1, 2])["ids"] == [["a"]]
        assert things.query(query_texts="text", mode="text")["ids"] == [["a"]]
        hybrid = things.query(query_texts="text", query_embeddings=[1, 2], mode="hybrid")
        assert hybrid["ids"] == [["a"]]
        things.upsert(ids="b", embeddings=[3, 4], documents="more")
        assert things.count() == 2
        own = client.get_collection("things", embedding_function=None)
        with pytest.raises(EmbeddingFunctionError, match="without an embedding function"):
            own.query(query_texts="x")
    assert seen == []


@pytest.mark.parametrize("trust", [True, False])
def test_a_client_that_trusts_the_store_makes_its_function(store, attacker, trust):
    url, seen = attacker
    put_function(store, "openai", stolen(url))
    for client in (
        retrieval_store.Client(store, trust=trust),
        retrieval_store.PersistentClient(store, trust=trust),
    ):
        with client:
            things = client.get_collection("things")
            if trust:
                assert things.query(query_texts="text")["ids"] == [["a"]]
            else:
                with pytest.raises(EmbeddingFunctionError):
                    things.query(query_texts="text")
    assert len(seen) == (2 if trust else 0)


def test_one_client_s_trust_is_not_another_s(store, attacker):
    url, seen = attacker
    put_function(store, "openai", stolen(url))
    with retrieval_store.Client(store, trust=True) as one, retrieval_store.Client(store) as other:
        assert one.get_collection("things").query(query_texts="x")["ids"] == [["a"]]
        with pytest.raises(EmbeddingFunctionError, match="trust=True"):
            other.get_collection("things").query(query_texts="x")
    assert len(seen) == 1


def test_a_function_that_was_passed_once_is_created_again_in_this_process(store, attacker):
    url, seen = attacker
    put_function(store, "openai", stolen(url))
    with retrieval_store.Client(store) as client:
        things = client.get_collection("things")
        with pytest.raises(EmbeddingFunctionError):
            things.query(query_texts="x")
        given = retrieval_store.OpenAIEmbeddingFunction("m", url, SECRET)
        client.get_collection("things", embedding_function=given)
        assert things.query(query_texts="x")["ids"] == [["a"]]
    with retrieval_store.Client(store) as client:
        assert client.list_collections()[0].query(query_texts="x")["ids"] == [["a"]]
    assert len(seen) == 2


def test_functions_passed_to_create_count_too_but_not_in_another_process(tmp_path, attacker):
    url, seen = attacker
    given = retrieval_store.OpenAIEmbeddingFunction("m", url, SECRET)
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things", embedding_function=given).add(ids="a", documents="x")
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things").query(query_texts="x")["ids"] == [["a"]]
    assert len(seen) == 2
    program = """
import sys
import retrieval_store
retrieval_store.Client(sys.argv[1]).get_collection("things").query(query_texts="x")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert "EmbeddingFunctionError" in done.stderr.splitlines()[-1]
    assert len(seen) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"api_key_env": "ANOTHER_SECRET"},
        {"base_url": "http://127.0.0.1:9"},
        {"model": "another"},
        {"dimensions": 2},
    ],
)
def test_settings_that_differ_at_all_are_refused(store, attacker, change):
    url, seen = attacker
    put_function(store, "openai", {**stolen(url), **change})
    given = retrieval_store.OpenAIEmbeddingFunction("m", url, SECRET)
    with retrieval_store.Client() as other:
        other.create_collection("things", embedding_function=given)
    with retrieval_store.Client(store) as client:
        with pytest.raises(EmbeddingFunctionError, match="trust=True"):
            client.get_collection("things").query(query_texts="x")
        with pytest.raises(ConflictError, match="'openai'"):
            client.get_collection("things", embedding_function=given)
    assert seen == []


class Noting:
    """Records its arguments; it doesn't declare what it accesses."""

    made: list = []  # noqa: RUF012

    def __init__(self, **settings):
        self._settings = settings
        Noting.made.append(settings)

    def settings(self):
        return self._settings

    def __call__(self, input):
        return [[1.0, 2.0] for _ in input]


@pytest.fixture
def noting(monkeypatch):
    monkeypatch.setattr(Noting, "made", [])
    retrieval_store.register_embedding_function("noting")(Noting)
    return Noting.made


@pytest.mark.parametrize(
    ("given", "stored"),
    [(1, True), (0, False), (1, 1.0), (0.0, -0.0), ("1", 1), (None, 0), ([1], [True]), ({}, [])],
)
def test_settings_are_equal_as_json_and_not_as_python_has_it(store, noting, given, stored):
    with retrieval_store.Client() as other:
        other.create_collection("things", embedding_function=Noting(x=given, y="z"))
    made = len(noting)
    put_function(store, "noting", {"x": stored, "y": "z"})
    with retrieval_store.Client(store) as client:
        with pytest.raises(EmbeddingFunctionError, match="'noting'"):
            client.get_collection("things").query(query_texts="x")
        assert len(noting) == made
        put_function(store, "noting", {"y": "z", "x": given})  # in whatever order
        assert client.get_collection("things").query(query_texts="x")["ids"] == [["a"]]


def test_classes_of_the_program_and_of_packages_must_declare_that_they_access_nothing(
    store, noting, monkeypatch
):
    put_function(store, "noting", {"anything": "/etc/passwd"})
    with retrieval_store.Client(store) as client:
        with pytest.raises(
            EmbeddingFunctionError, match="'noting' with {'anything': '/etc/passwd'}"
        ):
            client.get_collection("things").query(query_texts="x")
        assert noting == []
        for message in (1, "yes", False, None):  # only True is True
            monkeypatch.setattr(Noting, "self_contained", message, raising=False)
            with pytest.raises(EmbeddingFunctionError):
                client.get_collection("things").query(query_texts="x")
        assert noting == []
        monkeypatch.setattr(Noting, "self_contained", True)
        assert client.get_collection("things").query(query_texts="x")["ids"] == [["a"]]
        assert noting == [{"anything": "/etc/passwd"}]


def test_a_class_does_not_inherit_that_it_reaches_nothing(store):
    class Fetching(WordLlamaEmbedding):
        """Adds access that its base class doesn't declare."""

        def __init__(self, url):
            raise AssertionError(f"{url} was fetched")

    retrieval_store.register_embedding_function("fetching")(Fetching)
    put_function(store, "fetching", {"url": "http://127.0.0.1:9"})
    with (
        retrieval_store.Client(store) as client,
        pytest.raises(EmbeddingFunctionError, match="trust=True"),
    ):
        client.get_collection("things").query(query_texts="x")


def test_stored_paths_of_models_and_checkpoints_are_never_opened(store, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    (folder / "checkpoint.pt").write_bytes(b"pickle")
    looked = []
    for module, names in (
        ("sentence_transformers", ("SentenceTransformer", "SparseEncoder")),
        ("open_clip", ("create_model_and_transforms", "get_tokenizer")),
        ("fastembed", ("TextEmbedding",)),
    ):
        stub = type(sys)(module)
        for name in names:
            setattr(stub, name, lambda *given, **more: looked.append((given, more)))
        monkeypatch.setitem(sys.modules, module, stub)
    stored = {
        "sentence-transformers": {
            "model_name": str(folder),
            "normalize": True,
            "query_prompt": None,
            "document_prompt": None,
        },
        "open-clip": {"model_name": "RN50", "checkpoint": str(folder / "checkpoint.pt")},
        "fastembed": {
            "model_name": "BAAI/bge-small-en-v1.5",
            "specific_model_path": str(folder),
            "query_prefix": "",
            "document_prefix": "",
        },
    }
    for name, settings in stored.items():
        put_function(store, name, settings)
        with retrieval_store.Client(store) as client:
            for use in uses(client.get_collection("things")):
                with pytest.raises(EmbeddingFunctionError, match=f"'{name}'.*{folder}"):
                    use()
    assert looked == []


def test_functions_that_declare_that_they_access_nothing():
    message = {
        (group, name): vars(plugins.load(group, name)).get("self_contained", False)
        for group in (plugins.EMBEDDING_FUNCTIONS, plugins.SPARSE_EMBEDDING_FUNCTIONS)
        for name in plugins.BUILT_IN[group]
    }
    assert {name for (_, name), contained in message.items() if contained} == {
        "wordllama",
        "minilm",
        "bm25",
    }
    assert len(message) == 10


def deep(levels):
    nested = {}
    for _ in range(levels):
        nested = {"d": nested}
    return nested


def test_settings_that_a_function_cannot_have_are_an_error_of_ours(store):
    for settings in [
        {"dimension": 256},
        {"dimensions": 256, "cache_dir": "/etc"},
        {"dimensions": "256"},
        {"dimensions": True},
        {"dimensions": 10**30},
        {"self": 1},
        {"dimensions": 256, "\n": "\x1b[2J"},
        {"dimensions": deep(200)},
        {"x" * 100_000: "y" * 100_000},
    ]:
        put_function(store, "wordllama", settings)
        with retrieval_store.Client(store) as client:
            things = client.get_collection("things")
            with pytest.raises(EmbeddingFunctionError, match="'wordllama'") as reported:
                things.query(query_texts="x")
            assert len(str(reported.value)) < 2_000
            assert "\n" not in str(reported.value)
            assert "\x1b" not in str(reported.value)


def test_endlessly_nested_settings_cause_no_crash(store, noting):
    for levels in (90, 500, 900):
        put_function(store, "noting", {"d": deep(levels)})
        with retrieval_store.Client(store) as client:
            for use in (
                lambda c=client: c.get_collection("things").query(query_texts="x"),
                lambda c=client: c.get_collection("things", embedding_function=Noting(d=1)),
            ):
                with pytest.raises(RetrievalStoreError) as reported:
                    use()
                assert len(str(reported.value)) < 2_000


def test_names_of_no_function_and_very_long_ones_give_short_errors(store):
    for spec in (
        {"name": "n" * 1_000_000, "settings": {}},
        {"custom": "c" * 1_000_000},
        {"name": "", "settings": {}},
        {"name": "os:system", "settings": {}},
        {"name": "../openai", "settings": {}},
    ):
        put(store, embedding_function=spec)
        with retrieval_store.Client(store) as client:
            with pytest.raises((PluginError, EmbeddingFunctionError)) as reported:
                client.get_collection("things").query(query_texts="x")
            assert len(str(reported.value)) < 1_000


# what else of a store becomes settings of a class


class Grasping:
    """An index whose settings name a file; it doesn't declare what it accesses."""

    def __init__(self, dimension, metric, settings):
        raise AssertionError(f"{settings} was used")


def test_an_index_of_a_package_must_declare_that_it_accesses_nothing(monkeypatch):
    steps.around(
        monkeypatch,
        "load_plugin",
        lambda load, group, name: Grasping if name == "grasping" else load(group, name),
    )
    index = {"name": "grasping", "settings": {"path": "/etc/passwd"}}
    with retrieval_store.Client() as client:
        for message in (None, 1, "yes"):
            monkeypatch.setattr(Grasping, "self_contained", message, raising=False)
            with pytest.raises(PluginError, match="'grasping'.*self_contained = True"):
                client.create_collection("things", {"index": index}, embedding_function=None)
        assert client.count_collections() == 0
    monkeypatch.setattr(Grasping, "self_contained", True)
    assert plugins.find_index("grasping") is Grasping
    assert plugins.find_index("hnsw").__name__ == "HNSWIndex"


def test_stored_settings_of_words_that_cannot_be_are_an_error_of_ours(store):
    for text in [
        {"language": "../../etc/passwd", "stemming": True, "stopwords": False},
        {"language": None, "stemming": True, "stopwords": [5]},
        {"language": "klingon", "stemming": False, "stopwords": True},
    ]:
        put(store, text=text)
        with (
            retrieval_store.Client(store) as client,
            pytest.raises((DamagedError, InvalidArgumentError)),
        ):
            client.get_collection("things").query(query_texts="text", mode="text")


def test_trust_is_a_bool(tmp_path):
    for wrong in (1, "yes", None):
        with pytest.raises(InvalidArgumentError, match="trust is .*expected True or False"):
            retrieval_store.Client(tmp_path, trust=wrong)
    assert not list(tmp_path.iterdir())

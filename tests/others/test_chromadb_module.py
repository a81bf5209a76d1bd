"""Programs for chromadb in which only the import differs."""

import contextlib
import importlib
import pkgutil
import re
import types

import chromadb as theirs
import pytest
from chromadb.utils.batch_utils import create_batches as theirs_batches

import retrieval_store
import retrieval_store.chromadb
from retrieval_store.errors import NameNotHereError, RetrievalStoreError

HERE = "retrieval_store.chromadb"
PROGRAM = """
import chromadb
import chromadb.utils.embedding_functions as functions
from chromadb import Documents, EmbeddingFunction, Embeddings
from chromadb.api.models.Collection import Collection
from chromadb.api.types import Space
from chromadb.config import Settings
from chromadb.errors import ChromaError, NotFoundError


class Lengths(EmbeddingFunction[Documents]):
    def __init__(self) -> None: ...

    def __call__(self, input: Documents) -> Embeddings:
        return [[float(len(text)), 1.0] for text in input]

    def default_space(self) -> Space:
        return "l2"


client: chromadb.ClientAPI = chromadb.PersistentClient(settings=Settings(anonymized_telemetry=False))
try:
    client.get_collection("books")
except NotFoundError:
    books: Collection = client.get_or_create_collection("books", embedding_function=Lengths())
books.upsert(ids=["a", "b"], documents=["one", "two more"], metadatas=[{"n": 1}, {"n": 2}])
try:
    books.query(query_embeddings=[[1.0]])
    failed = False
except ChromaError:
    failed = True
assert failed and isinstance(client, chromadb.ClientAPI)
found = books.query(query_texts=["six"], n_results=1, where={"n": {"$lt": 3}})
same = functions.EmbeddingFunction is EmbeddingFunction
result = found["ids"], found["distances"], books.count(), same
"""
NAMES = {
    "api": "ClientAPI",
    "api.models.Collection": "Collection",
    "api.models.AsyncCollection": "AsyncCollection",
    "api.types": "Documents Document Embedding Embeddings Embeddable EmbeddingFunction Image Images "
    "ID IDs Include Loadable Metadata Metadatas URI URIs Where WhereDocument Space GetResult "
    "QueryResult DataLoader SparseVector SparseEmbeddingFunction DefaultEmbeddingFunction",
    "base_types": "Metadata SparseVector UpdateMetadata Where WhereDocument",
    "config": "Settings DEFAULT_TENANT DEFAULT_DATABASE",
    "errors": "ChromaError NotFoundError InvalidArgumentError InvalidDimensionException",
    "execution.expression.operator": "K Key Knn Rrf Val Limit Select GroupBy MinK MaxK",
    "execution.expression.plan": "Search",
    "types": "Metadata Where WhereDocument",
    "utils.data_loaders": "ImageLoader",
    "utils.embedding_functions": "DefaultEmbeddingFunction OpenAIEmbeddingFunction "
    "SentenceTransformerEmbeddingFunction ONNXMiniLM_L6_V2 register_embedding_function",
    "utils.embedding_functions.openai_embedding_function": "OpenAIEmbeddingFunction",
}


def run(package):
    program = re.sub(r"\bimport chromadb$", f"import {package} as chromadb", PROGRAM, flags=re.M)
    program = re.sub(r"(from|import) chromadb\.", rf"\1 {package}.", program)
    program = re.sub(r"from chromadb ", f"from {package} ", program)
    names = {"__name__": "program"}
    exec(program, names)
    return names["result"]


def test_a_program_behaves_the_same_after_changing_the_import(tmp_path, monkeypatch):
    results = []
    for package in ("chromadb", HERE):
        folder = tmp_path / package
        folder.mkdir()
        monkeypatch.chdir(folder)
        results.append(run(package))
        assert (folder / "chroma").is_dir()
    assert results[0] == results[1] == ([["a"]], [[0.0]], 2, True)


@pytest.mark.parametrize("module", NAMES)
def test_names_are_found_where_chromadb_has_them(module):
    theirs = importlib.import_module(f"chromadb.{module}")
    ours = importlib.import_module(f"{HERE}.{module}")
    for name in NAMES[module].split():
        assert hasattr(theirs, name) and hasattr(ours, name), name


def test_names_are_those_of_this_package():
    ours = retrieval_store.chromadb
    for name in set(ours.__all__) - {"PersistentClient", "api", "utils", "errors"}:
        if name in retrieval_store.__all__:
            assert getattr(ours, name) is getattr(retrieval_store, name)
    assert ours.errors.NotFoundError is retrieval_store.errors.NotFoundError
    assert "SentenceTransformerEmbeddingFunction" in dir(ours.utils.embedding_functions)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("from retrieval_store.chromadb import CloudClient", "Chroma's cloud"),
        ("retrieval_store.chromadb.Schema()", "nothing has to be said about indexes"),
        ("from retrieval_store.chromadb.config import System", "what chromadb is made of"),
        ("from retrieval_store.chromadb.api import AdminAPI", "tenants"),
        (
            "from retrieval_store.chromadb.utils.embedding_functions import CohereEmbeddingFunction",
            "any callable .* is taken as embedding_function",
        ),
    ],
)
def test_missing_modules_give_the_reason(line, why):
    with pytest.raises(ImportError, match=why) as refused:
        exec(line, {"retrieval_store": retrieval_store})
    assert isinstance(refused.value, RetrievalStoreError)


def test_a_missing_attribute_is_an_ordinary_error(tmp_path):
    assert not hasattr(retrieval_store.chromadb, "nothing")
    assert not hasattr(retrieval_store.chromadb.utils.embedding_functions, "nothing")
    with pytest.raises(ModuleNotFoundError, match=r"retrieval_store\.chromadb\.nothing"):
        importlib.import_module(f"{HERE}.nothing")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("api.client", "close\\(\\) lets go"),
        ("api.shared_system_client", "close\\(\\) lets go"),
        ("api.fastapi", "retrieval-store serve"),
        ("telemetry", "there is no telemetry"),
        ("telemetry.product.events", "there is no telemetry"),
        ("db.base", "what chromadb is made of"),
        ("utils.embedding_functions.cohere_embedding_function", "any callable"),
    ],
)
def test_a_missing_module_gives_the_reason(name, why):
    for _ in range(2):
        with pytest.raises(ImportError, match=rf"{HERE}\.[\w.]+ isn't here: .*{why}"):
            importlib.import_module(f"{HERE}.{name}")


def test_every_module_of_chromadb_exists_or_gives_the_reason():
    walked = pkgutil.walk_packages(theirs.__path__, "chromadb.", onerror=lambda name: None)
    names = [one.name for one in walked if ".test" not in one.name]
    assert len(names) > 100
    for name in names:
        try:
            importlib.import_module(f"retrieval_store.{name}")
        except ImportError as error:
            assert "isn't here: " in str(error)


def test_every_name_of_chromadb_exists_or_gives_the_reason():
    names = {name for name in dir(theirs) if not name.startswith("_")}
    for name in names - {"Dict", "Optional", "Union", "Path"}:  # what its module imports
        if not isinstance(getattr(theirs, name), types.ModuleType):
            with contextlib.suppress(NameNotHereError):
                getattr(retrieval_store.chromadb, name)


def test_batches_have_the_clients_size(client):
    from retrieval_store.chromadb.utils.batch_utils import create_batches

    ids, documents = [str(i) for i in range(5)], [f"text {i}" for i in range(5)]
    assert create_batches(client, ids, documents=documents) == [(ids, None, None, documents)]
    small = type("Small", (), {"get_max_batch_size": lambda self: 2})()
    made = create_batches(small, ids, documents=documents)
    assert made == theirs_batches(small, ids, documents=documents)
    assert [len(one[0]) for one in made] == [2, 2, 1]
    assert create_batches(small, []) == theirs_batches(small, [])

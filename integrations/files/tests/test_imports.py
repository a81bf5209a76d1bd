"""Stores written by chromadb, qdrant-client, lancedb and faiss, compared with their imports record
by record."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import chromadb
import lancedb
import numpy as np
import pyarrow
import pytest
import qdrant_client
from chromadb.utils import embedding_functions
from qdrant_client import models

import retrieval_store
import retrieval_store.qdrant
from retrieval_store import plugins
from retrieval_store.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    MissingDependencyError,
)
from retrieval_store_files import (
    import_chroma,
    import_faiss,
    import_lancedb,
    import_qdrant_local,
)
from retrieval_store_files.imports.common import Leftovers
from tests.helpers import steps

EVERYTHING = ["documents", "metadatas", "uris", "embeddings"]
COUNT = 250
ANOTHER = "0d9b9a0e-3f5c-4c26-9a3b-5a0a4f2c7d11"  # a database of Chroma's
VECTORS = np.random.default_rng(7).normal(size=(COUNT, 3)).astype(np.float32)


def content(directory):
    """Every file of a directory, byte by byte."""
    paths = sorted(Path(directory).rglob("*"))
    return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture
def here(tmp_path):
    with retrieval_store.Client(tmp_path / "here") as client:
        yield client


# --- Chroma


@pytest.fixture
def novels(tmp_path):
    """A directory of Chroma's with two collections."""
    directory = tmp_path / "chroma"
    with chromadb.PersistentClient(
        directory, chromadb.Settings(anonymized_telemetry=False)
    ) as there:
        novels = there.create_collection(
            "novels",
            metadata={"of": "a library"},
            configuration={"hnsw": {"space": "cosine", "ef_search": 77, "sync_threshold": 500}},
            embedding_function=None,
        )
        novels.add(
            ids=[f"ünï {i}" for i in range(COUNT)],
            embeddings=VECTORS,
            documents=[f"text {i}" for i in range(COUNT)],
            metadatas=[
                {"n": i, "x": i / 3, "even": i % 2 == 0, "tags": ["a", f"t{i}"]} if i % 5 else None
                for i in range(COUNT)
            ],
            uris=[f"file:///{i}" for i in range(COUNT)],
        )
        there.create_collection("notes").add(ids=["1"], embeddings=[[1, 2]], documents=["one"])
    return directory


def test_all_of_chroma_is_imported(novels, here):
    before = content(novels)
    report = import_chroma(novels, here, batch=100)
    assert content(novels) == before
    found = here.get_collection("novels", embedding_function=None)
    assert found.metadata == {"of": "a library"}
    hnsw = found.configuration["hnsw"]
    assert (hnsw["space"], hnsw["ef_search"]) == ("cosine", 77)
    usual = here.create_collection("usual", embedding_function=None).configuration["hnsw"]
    assert hnsw == {**usual, "space": "cosine", "ef_search": 77}
    with chromadb.PersistentClient(novels) as there:
        old = there.get_collection("novels", embedding_function=None)
        want = old.get(include=EVERYTHING)
    got = found.get(include=EVERYTHING)
    for name in ("ids", "documents", "uris"):
        assert got[name] == want[name]
    assert [one or {} for one in got["metadatas"]] == [one or {} for one in want["metadatas"]]
    assert (got["embeddings"] == np.asarray(want["embeddings"], np.float32)).all()
    by_name = {one.name: one for one in report.collections}
    assert set(by_name) == {"novels", "notes"} and report.records == COUNT + 1
    assert by_name["novels"].records == COUNT
    assert [left.what for left in by_name["novels"].left] == ["hnsw setting 'sync_threshold'"]
    assert [left.what for left in by_name["notes"].left] == ["embedding function 'default'"]


def test_some_of_chroma_under_another_name(novels, here):
    report = import_chroma(novels, here, names={"notes": "other-notes"})
    assert [(one.source, one.name) for one in report.collections] == [("notes", "other-notes")]
    assert [one.name for one in here.list_collections()] == ["other-notes"]
    with pytest.raises(InvalidArgumentError, match="no collection 'none'"):
        import_chroma(novels, here, names=["none"])


def test_an_existing_name_is_an_error_before_anything_starts(novels, here):
    mine = here.create_collection("novels", embedding_function=None)
    with pytest.raises(AlreadyExistsError, match="'novels' exists already"):
        import_chroma(novels, here)
    assert [one.name for one in here.list_collections()] == ["novels"]
    assert mine.count() == 0


def test_a_failed_import_leaves_no_half_collection(novels, here, monkeypatch):
    calls = []

    def failing():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    steps.before(monkeypatch, "fill_from_import", failing)
    with pytest.raises(KeyboardInterrupt):
        import_chroma(novels, here, batch=100)
    assert here.list_collections() == [] and len(calls) == 3


def test_collections_of_killed_imports_are_reported_and_stay(novels, here, caplog):
    left, mine = f"import-{'0a' * 16}-0", "import-of-mine-0"
    for name in (left, mine):
        here.create_collection(name, embedding_function=None)
    import_chroma(novels, here, names=["notes"])
    (reported,) = [one.message for one in caplog.records if "were killed" in one.message]
    assert left in reported and mine not in reported
    assert [one.name for one in here.list_collections()] == [left, mine, "notes"]


@pytest.mark.parametrize("kind", ["chroma", "lancedb"])
def test_fewer_records_than_are_counted_are_an_error_and_none_are_imported(
    kind, novels, table, here, monkeypatch
):
    of, name, run = {
        "chroma": (chromadb.Collection, "count", lambda: import_chroma(novels, here)),
        "lancedb": (lancedb.table.LanceTable, "count_rows", lambda: import_lancedb(table[0], here)),
    }[kind]
    monkeypatch.setattr(of, name, lambda self: COUNT + 1)
    with pytest.raises(InvalidArgumentError, match="has 251 records, but only (250|1) could be"):
        run()
    assert here.list_collections() == []


@retrieval_store.register_embedding_function
class LettersOfImports(chromadb.EmbeddingFunction):
    """A function that both sides know by name, and that accesses nothing."""

    self_contained = True

    def __init__(self, length=3):
        self.length = length

    def __call__(self, input):
        return [np.full(self.length, len(text), np.float32) for text in input]

    @staticmethod
    def name():
        return "letters-of-imports"

    def get_config(self):
        return {"length": self.length}

    @staticmethod
    def build_from_config(config):
        return LettersOfImports(**config)


class Unsafe(LettersOfImports):
    """A function that doesn't declare that it accesses nothing."""

    @staticmethod
    def name():
        return "unsafe-of-imports"

    @staticmethod
    def build_from_config(config):
        return Unsafe(**config)


def test_embedding_functions_are_created_by_name_if_they_are_safe(tmp_path, here):
    retrieval_store.register_embedding_function(Unsafe)
    for kind in (LettersOfImports, Unsafe):
        embedding_functions.register_embedding_function(kind)
    with chromadb.PersistentClient(tmp_path / "chroma") as there:
        there.create_collection("letters", embedding_function=LettersOfImports(4)).add(
            ids=["a"], documents=["word"]
        )
        there.create_collection("unsafe", embedding_function=Unsafe(2))
    report = import_chroma(tmp_path / "chroma", here)
    left = {one.name: [what.what for what in one.left] for one in report.collections}
    assert left == {
        "letters": [],
        "unsafe": ["embedding function 'unsafe-of-imports'"],
    }
    query = here.get_collection("letters").query(query_texts=["four"])
    assert query["distances"] == [[0.0]]
    assert here.get_collection("unsafe").configuration["embedding_function"] is None

    with retrieval_store.Client() as other:
        import_chroma(tmp_path / "chroma", other, trust=True)
        remembered = other.get_collection("unsafe").configuration["embedding_function"]
        assert remembered == {"name": "unsafe-of-imports", "settings": {"length": 2}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([len], r"embedding_functions is .*expected a dict of functions by the names"),
        ({"leters": len}, r"has 'leters'.* but .* these are: 'letters'"),
        ({"letters": "wordlama"}, r"embedding_functions\['letters'\] is 'wordlama'.*wordllama"),
        ({"letters": 3}, r"embedding_functions\['letters'\] is 3"),
    ],
)
def test_uncallable_embedding_functions_are_refused(tmp_path, here, given, message):
    with chromadb.PersistentClient(
        tmp_path / "chroma", chromadb.Settings(anonymized_telemetry=False)
    ) as there:
        there.create_collection("letters", embedding_function=None)
    with pytest.raises(InvalidArgumentError, match=message):
        import_chroma(tmp_path / "chroma", here, embedding_functions=given)
    assert here.list_collections() == []


@pytest.mark.parametrize(
    ("stored", "settings"),
    [
        (
            (
                "sentence_transformer",
                {"model_name": "m", "normalize_embeddings": False, "device": "cpu", "kwargs": {}},
            ),
            ("sentence-transformers", {"model_name": "m", "normalize": False}),
        ),
        (
            ("open_clip", {"model_name": "m", "checkpoint": "c"}),
            ("open-clip", {"model_name": "m", "checkpoint": "c"}),
        ),
        (
            (
                "openai",
                {"model_name": "m", "api_key_env_var": "K", "dimensions": 7, "api_base": None},
            ),
            ("openai", {"model": "m", "dimensions": 7}),
        ),
        (
            ("openai", {"model_name": "m", "api_base": "https://example.org"}),
            "its setting 'api_base'",
        ),
        (("cohere", {}), "none of this name"),
    ],
)
def test_embedding_functions_of_chromas_own_that_are_here_too(stored, settings):
    from retrieval_store_files.imports.chroma import _Functions

    name, config = stored
    old = SimpleNamespace(
        name="old", configuration_json={"embedding_function": {"name": name, "config": config}}
    )
    left = Leftovers()
    assert _Functions({}, False).of(old, left) is None and len(left.all()) == 1
    left = Leftovers()
    made = _Functions({}, True).of(old, left)
    if isinstance(settings, str):
        assert made is None and settings in left.all()[0].why
    else:
        name, wanted = settings
        assert plugins.name_of(plugins.EMBEDDING_FUNCTIONS, type(made)) == name
        assert made.settings().items() >= wanted.items() and left.all() == ()


def test_unsupported_columns_are_reported_and_the_others_imported(novels, here):
    # chromadb refuses this now, but an older one may have written it.
    with closing(sqlite3.connect(novels / "chroma.sqlite3")) as connection, connection:
        (first, second) = [
            row[0]
            for row in connection.execute(
                "SELECT id FROM embeddings WHERE embedding_id IN ('ünï 1', 'ünï 2') ORDER BY id"
            )
        ]
        connection.execute(
            "UPDATE embedding_metadata SET key = '$n' WHERE id = ? AND key = 'n'", [first]
        )
        connection.execute(
            "UPDATE embedding_metadata SET float_value = 9e999 WHERE id = ? AND key = 'x'", [second]
        )
        connection.execute(
            f"INSERT INTO databases (id, name, tenant_id) VALUES ('{ANOTHER}', 'another', 'default_tenant')"
        )
        connection.execute(f"UPDATE collections SET database_id = '{ANOTHER}' WHERE name = 'notes'")
    connection.close()
    report = import_chroma(novels, here)
    (carried,) = report.collections
    left = {one.what: one for one in carried.left if one.records}
    assert set(left) == {"metadata key '$n'", "metadata key 'x'"}
    assert left["metadata key 'x'"].why == "floats must be finite"
    assert left["metadata key 'x'"].example == "ünï 2" and left["metadata key 'x'"].records == 1
    found = here.get_collection("novels", embedding_function=None)
    assert found.count() == COUNT
    assert set(found.get(ids="ünï 2")["metadatas"][0]) == {"n", "even", "tags"}
    assert "'another'" in report.left[0].what
    assert import_chroma(novels, here, database="another").records == 1


def test_directories_that_are_not_chromas(tmp_path, here, novels):
    for path in (tmp_path / "nothing", tmp_path / "here"):
        with pytest.raises(InvalidArgumentError, match="of Chroma's"):
            import_chroma(path, here)
    (novels / "chroma.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(InvalidArgumentError, match="chromadb can't open"):
        import_chroma(novels, here)
    (novels / "linked").symlink_to("/etc/passwd")
    with pytest.raises(InvalidArgumentError, match="a link, which isn't followed"):
        import_chroma(novels, here)


# --- Qdrant's local mode


@pytest.fixture
def points(tmp_path):
    """A directory of qdrant-client's with every kind of vectors, ids and payloads."""
    directory = tmp_path / "qdrant"
    there = qdrant_client.QdrantClient(path=str(directory))
    there.create_collection(
        "plain",
        models.VectorParams(size=3, distance=models.Distance.DOT),
        metadata={"of": "me"},
    )
    there.upsert(
        "plain",
        [
            models.PointStruct(
                id=i, vector=VECTORS[i].tolist(), payload={"n": i, "in": [{"x": 1.5}]}
            )
            for i in range(100)
        ],
    )
    there.create_collection(
        "named",
        {
            "a": models.VectorParams(size=2, distance=models.Distance.EUCLID),
            "many": models.VectorParams(
                size=2,
                distance=models.Distance.DOT,
                multivector_config=models.MultiVectorConfig(
                    comparator=models.MultiVectorComparator.MAX_SIM
                ),
            ),
        },
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    there.upsert(
        "named",
        [
            models.PointStruct(
                id="8e7a0c43-52c8-4a8a-a9d5-d0e5e3b6c6aa",
                vector={
                    "a": [1, 2],
                    "many": [[1, 2], [3, 4]],
                    "words": models.SparseVector(indices=[7, 1], values=[0.5, 0.25]),
                },
                payload={"text": "both"},
            ),
            models.PointStruct(id=2**63, vector={"a": [3, 4]}, payload=None),
            models.PointStruct(id=3, vector={}),
        ],
    )
    there.create_collection("unit", models.VectorParams(size=2, distance=models.Distance.COSINE))
    there.upsert("unit", [models.PointStruct(id=1, vector=[3, 4])])
    there.update_collection_aliases(
        [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name="plain", alias_name="alias")
            )
        ]
    )
    there.close()
    return directory


def all_points(client, name):
    found, _ = client.scroll(name, limit=1000, with_vectors=True)
    return {one.id: (one.payload or {}, _comparable(one.vector)) for one in found}


def _comparable(vector):
    if isinstance(vector, dict):
        return {name: _comparable(one) for name, one in vector.items()}
    if isinstance(vector, models.SparseVector):
        return sorted(zip(vector.indices, vector.values, strict=True))
    return vector


@pytest.mark.parametrize("front", ["direct", "qdrant"])
def test_all_of_local_mode_is_imported(points, tmp_path, front):
    before = content(points)
    if front == "qdrant":
        with retrieval_store.qdrant.QdrantClient(path=str(tmp_path / "here")) as client:
            report = import_qdrant_local(points, client, trust=True, batch=30)
    else:
        with retrieval_store.Client(tmp_path / "here") as client:
            report = import_qdrant_local(points, client, trust=True, batch=30)
            assert client.get_collection("plain", embedding_function=None).count() == 100
    assert content(points) == before
    assert {one.name: one.records for one in report.collections} == {
        "named": 3, "plain": 100, "unit": 1,
    }  # fmt: skip
    left = {one.name: [left.what for left in one.left] for one in report.collections}
    assert left == {"named": [], "plain": [], "unit": ["lengths of vectors compared by cosine"]}
    there = qdrant_client.QdrantClient(path=str(points))
    with retrieval_store.qdrant.QdrantClient(path=str(tmp_path / "here")) as here:
        for name in ("plain", "named"):
            assert all_points(here, name) == all_points(there, name)
            mine, theirs = (one.get_collection(name).config.params for one in (here, there))
            assert mine.vectors == theirs.vectors
            assert mine.sparse_vectors == theirs.sparse_vectors
        assert all_points(here, "unit")[1][1] == pytest.approx([0.6, 0.8])
        config = here.get_collection("plain").config
        assert config.metadata == {"of": "me"}
        assert all_points(here, "alias") == all_points(there, "plain")
    there.close()


def test_pickles_are_not_read_without_trust(points, here):
    with pytest.raises(InvalidArgumentError, match="pickles.*trust=True"):
        import_qdrant_local(points, here)
    assert here.list_collections() == []


def test_local_mode_replaces_nothing_and_leaves_nothing(points, here, monkeypatch):
    here.create_collection("alias", embedding_function=None)
    with pytest.raises(AlreadyExistsError, match="'alias'"):
        import_qdrant_local(points, here, trust=True)
    here.delete_collection("alias")

    steps.fail(monkeypatch, "import_aliases")
    with pytest.raises(ZeroDivisionError):
        import_qdrant_local(points, here, trust=True)
    assert here.list_collections() == []
    with retrieval_store.qdrant.QdrantClient(path=str(here.path)) as client:
        assert client.get_collections().collections == []


def test_local_mode_wants_a_client_that_can_have_it(points):
    with retrieval_store.Client() as memory, pytest.raises(InvalidArgumentError, match="directory"):
        import_qdrant_local(points, memory, trust=True)
    with retrieval_store.qdrant.QdrantClient(":memory:") as client:
        report = import_qdrant_local(points, client, trust=True, names={"named": "other"})
        assert [one.name for one in report.collections] == ["other"]
        assert client.count("other").count == 3


# --- LanceDB


@pytest.fixture
def table(tmp_path):
    """A directory of LanceDB's with one table."""
    schema = pyarrow.schema(
        {
            "id": pyarrow.int64(),
            "vector": pyarrow.list_(pyarrow.float32(), 3),
            "text": pyarrow.string(),
            "n": pyarrow.int64(),
            "x": pyarrow.float64(),
            "tags": pyarrow.list_(pyarrow.string()),
            "day": pyarrow.date32(),
            "raw": pyarrow.binary(),
        }
    )
    rows = [
        {
            "id": i,
            "vector": None if i == 7 else VECTORS[i].tolist(),
            "text": f"text {i}" if i % 3 else None,
            "n": None if i % 4 == 0 else i,
            "x": float("nan") if i == 9 else i / 3,
            "tags": ["a", None] if i % 2 else [],
            "day": None,
            "raw": b"\0",
        }
        for i in range(COUNT)
    ]
    rows[8]["id"] = 6
    there = lancedb.connect(str(tmp_path / "lance"))
    there.create_table("books", data=pyarrow.Table.from_pylist(rows, schema), on_bad_vectors="null")
    return tmp_path / "lance", rows


def test_all_of_lancedb_is_imported(table, here):
    directory, rows = table
    before = content(directory)
    report = import_lancedb(directory, here, batch=100)
    assert content(directory) == before
    (carried,) = report.collections
    assert carried.records == COUNT - 2
    left = {(one.what, one.why): one.example for one in carried.left}
    assert left == {
        ("column 'raw'", "metadata can't hold binary"): None,
        ("record", "it has no vector"): "7",
        ("record", "another record before it has its id"): "6",
    }
    found = list(here.get_collection("books", embedding_function=None).iterate(include=EVERYTHING))
    want = [row for i, row in enumerate(rows) if i not in (7, 8)]
    for mine, row in zip(found, want, strict=True):
        assert mine["id"] == str(row["id"]) and mine["document"] == row["text"]
        assert mine["embedding"].tolist() == row["vector"]
        keys = {"n": row["n"], "x": row["x"], "tags": row["tags"]}
        if row["id"] == 9:
            del keys["x"]
        assert mine["metadata"] == {key: one for key, one in keys.items() if one is not None}


def test_lancedb_has_its_own_names_distance_and_halves(tmp_path, here):
    there = lancedb.connect(str(tmp_path / "lance"))
    schema = pyarrow.schema(
        {"v": pyarrow.list_(pyarrow.float16(), 3), "body": pyarrow.string(), "id": pyarrow.string()}
    )
    halves = VECTORS.astype(np.float16)
    columns = {
        "v": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(halves.ravel()), 3),
        "body": [f"b{i}" for i in range(COUNT)],
        "id": [f"i{i}" for i in range(COUNT)],
    }
    made = there.create_table("t1", data=pyarrow.table(columns, schema))
    made.create_index("v", config=lancedb.index.IvfFlat(distance_type="cosine", num_partitions=1))
    with pytest.raises(InvalidArgumentError, match="vector_column is 'vector'"):
        import_lancedb(tmp_path / "lance", here, table="t1", name="halves")
    import_lancedb(
        tmp_path / "lance",
        here,
        table="t1",
        name="halves",
        id_column=None,
        vector_column="v",
        text_column="body",
    )
    found = here.get_collection("halves", embedding_function=None)
    assert found.configuration["hnsw"]["space"] == "cosine"
    assert found.configuration["vectors"]["datatype"] == "float16"
    assert found.get(ids="3", include=["embeddings"])["embeddings"].tolist() == [halves[3].tolist()]
    assert found.get(ids="3")["documents"] == ["b3"]


@pytest.mark.parametrize("as_text", [False, True])
def test_metadata_in_a_column_of_lancedb_are_such(tmp_path, here, as_text):
    kept = [{"page": i, "by": {"name": f"n{i}"}} for i in range(3)]
    columns = {
        "vector": pyarrow.array(VECTORS[:3].tolist(), pyarrow.list_(pyarrow.float32(), 3)),
        "id": ["a", "b", "c"],
        "text": ["x", "y", "z"],
        "metadata": [json.dumps(one) for one in kept] if as_text else kept,
    }
    there = lancedb.connect(str(tmp_path / "lance"))
    there.create_table("things", data=pyarrow.table(columns))
    report = import_lancedb(tmp_path / "lance", here, table="things")
    assert here.get_collection("things", embedding_function=None).get()["metadatas"] == kept
    assert not report.collections[0].left


# --- Faiss


@pytest.fixture
def faiss():
    import faiss  # which takes a while

    return faiss


def index_of(faiss, path, kind, metric=None, numbers=None):
    metric = faiss.METRIC_L2 if metric is None else metric
    index = faiss.index_factory(3, kind, metric)
    index.train(VECTORS)
    if numbers is None:
        index.add(VECTORS)
    else:
        index.add_with_ids(VECTORS, np.array(numbers))
    faiss.write_index(index, str(path))


@pytest.mark.parametrize("kind", ["Flat", "IDMap,Flat", "IDMap2,Flat", "HNSW8", "IVF4,Flat", "SQ8"])
def test_an_index_of_faiss_and_its_records_are_imported(faiss, kind, tmp_path, here):
    numbers = [3 * i for i in reversed(range(COUNT))] if "IDMap" in kind else None
    index_of(faiss, tmp_path / "an.index", kind, faiss.METRIC_INNER_PRODUCT, numbers)
    lines = tmp_path / "records.jsonl"
    records = [{"id": f"r{i}", "document": f"text {i}", "metadata": {"n": i}} for i in range(COUNT)]
    lines.write_text("".join(json.dumps(one) + "\n" for one in records))
    before = sorted(os.listdir(tmp_path))
    report = import_faiss(tmp_path / "an.index", lines, here, "vectors")
    assert before == sorted(os.listdir(tmp_path))
    found = here.get_collection("vectors", embedding_function=None)
    assert found.configuration["hnsw"]["space"] == "ip"
    got = list(found.iterate(include=["documents", "metadatas", "embeddings"]))
    vectors = np.array([one.pop("embedding") for one in got])
    assert got == records and report.records == COUNT
    if kind == "SQ8":
        assert np.abs(vectors - VECTORS).max() < 0.05
        assert report.collections[0].left[0].what == "digits of vectors"
    else:
        assert (vectors == VECTORS).all() and report.collections[0].left == ()


def test_vectors_of_faiss_without_records_have_their_numbers(faiss, tmp_path, here):
    index_of(faiss, tmp_path / "an.index", "IDMap,Flat", numbers=range(1000, 1000 + COUNT))
    import_faiss(tmp_path / "an.index", None, here, "vectors")
    found = here.get_collection("vectors", embedding_function=None)
    assert found.get()["ids"] == [str(1000 + i) for i in range(COUNT)]
    assert found.configuration["hnsw"]["space"] == "l2"


def test_unrecoverable_faiss_indexes_are_an_error_and_create_nothing(faiss, tmp_path, here):
    lines = tmp_path / "records.jsonl"
    lines.write_text('{"id": "a"}\n')
    index_of(faiss, tmp_path / "flat.index", "Flat")
    with pytest.raises(InvalidArgumentError, match=f"{COUNT} vectors, but records.jsonl 1 records"):
        import_faiss(tmp_path / "flat.index", lines, here, "vectors")
    index_of(faiss, tmp_path / "ivf.index", "IVF4,Flat", numbers=[9 * i for i in range(COUNT)])
    with pytest.raises(InvalidArgumentError, match="numbers of their own"):
        import_faiss(tmp_path / "ivf.index", None, here, "vectors")
    index_of(faiss, tmp_path / "l1.index", "Flat", faiss.METRIC_L1)
    with pytest.raises(InvalidArgumentError, match="metric"):
        import_faiss(tmp_path / "l1.index", None, here, "vectors")
    (tmp_path / "none.index").write_bytes(b"no index at all" * 9)
    with pytest.raises(InvalidArgumentError, match="no index that faiss reads"):
        import_faiss(tmp_path / "none.index", None, here, "vectors")
    lines.write_text('{"id": "a", "embedding": [1]}\n')
    with pytest.raises(InvalidArgumentError, match="records.jsonl, line 1: it has an embedding"):
        import_faiss(tmp_path / "flat.index", lines, here, "vectors")
    assert here.list_collections() == []


@pytest.mark.parametrize("package", ["chromadb", "qdrant_client", "lancedb", "faiss", "pyarrow"])
def test_missing_packages_are_named(package, tmp_path, here, monkeypatch):
    from retrieval_store_files import add_file

    monkeypatch.setitem(__import__("sys").modules, package, None)
    for name in ("chroma.sqlite3", "meta.json", "t.lance", "t.parquet"):
        (tmp_path / name).touch()
    mine = here.create_collection("mine", embedding_function=None)
    ways = {
        "chromadb": lambda: import_chroma(tmp_path, here),
        "qdrant_client": lambda: import_qdrant_local(tmp_path, here, trust=True),
        "lancedb": lambda: import_lancedb(tmp_path, here),
        "faiss": lambda: import_faiss(tmp_path / "meta.json", None, here, "name"),
        "pyarrow": lambda: add_file(mine, tmp_path / "t.parquet"),
    }
    with pytest.raises(MissingDependencyError, match="pip install"):
        ways[package]()


def test_stores_are_imported_into_a_cluster_too(novels, cluster):
    report = import_chroma(novels, cluster)
    assert report.records == COUNT + 1
    assert [one.name for one in cluster.list_collections()] == ["notes", "novels"]
    assert cluster.get_collection("novels", embedding_function=None).count() == COUNT
    with pytest.raises(AlreadyExistsError):
        import_chroma(novels, cluster)

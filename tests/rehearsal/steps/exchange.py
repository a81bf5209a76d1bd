"""Export and import of records: files of every format, tables, other programs' stores, and
copies."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import retrieval_store
import retrieval_store_files as files
from tests.helpers import PATIENCE
from tests.rehearsal.places import EMBEDDED
from tests.rehearsal.scenario import EVERYTHING, Scenario, compare
from tests.rehearsal.shapes import Records
from tests.rehearsal.steps import step
from tests.rehearsal.steps.commands import run
from tests.rehearsal.truth import Truth

PLACES = EMBEDDED | {"served"}
FORMATS: dict[str, Callable[[Any, Path], Any]] = {
    "records.parquet": files.export_parquet,
    "records.csv": files.export_csv,
    "records.jsonl": files.export_jsonl,
    "base64.jsonl": partial(files.export_jsonl, embeddings="base64"),
    "arrays": files.export_arrays,
}


@contextmanager
def another(
    scenario: Scenario, records: Records | None = None, name: str = "another"
) -> Iterator[Any]:
    """Another collection, which is deleted with the step."""
    collection = scenario.make(scenario.client, name)
    try:
        if records is not None:
            scenario.add(records, collection)
        yield scenario.timed(collection)
    finally:
        scenario.client.delete_collection(name)


def check_all(scenario: Scenario, collection: Any, truth: Truth) -> None:
    """Check all records, with exactly equal vectors."""
    got = collection.get(include=EVERYTHING)
    compare(got["ids"], truth.ids, "ids", ordered=False)
    scenario.check_records(got, truth)
    right = np.asarray([truth.records[one].vector for one in got["ids"]], np.float32)
    assert np.array_equal(np.asarray(got["embeddings"], np.float32), right)


def in_and_out(scenario: Scenario, collection: Any, truth: Truth, formats: list[str]) -> None:
    """The file of each format is added to an empty collection, which then equals the first."""
    for name in formats:
        path = scenario.new_path(name)
        assert FORMATS[name](collection, path).records == len(truth)
        assert files.check(path).records == len(truth)
        with another(scenario, name="copy") as copy:
            own = scenario.client.get_collection("copy", embedding_function=None)
            done = files.add_file(own, path)
            assert (done.added, done.updated, done.skipped) == (len(truth), 0, 0)
            check_all(scenario, copy, truth)


@step("keys", places=PLACES)
def files_of_every_kind(scenario: Scenario) -> None:
    most = scenario.times(700, 5000, scenario.size)
    if most >= scenario.size:
        in_and_out(scenario, scenario.untimed, scenario.truth, list(FORMATS))
        return
    records = scenario.records.part(0, most)
    with another(scenario, records, "some") as _:
        some = scenario.client.get_collection("some", embedding_function=None)
        in_and_out(scenario, some, Truth(scenario.shape.metric, records), list(FORMATS))


ODD = [
    'a "quoted" word, and a comma',
    "two\nlines",
    "a carriage\r\nreturn",
    "\ttabs\t",
    " spaces ",
    "=1+1",
    "Ünïcödé – 漢字 😀",
    "\u2028\u0085\u200b",
    "null",
    "NaN",
    "007",
    "{}",
    "'",
    "\\n",
]


def odd_records(scenario: Scenario, size: int) -> Records:
    """Ids, texts and metadata that are difficult for formats."""
    random = np.random.default_rng(5)
    vectors = random.standard_normal((size, scenario.shape.dimension)).astype(np.float32)
    vectors[:, 0] *= np.float32(10.0) ** random.integers(-30, 15, size)
    ids = [f"{ODD[i % len(ODD)]} {i}" for i in range(size)]
    documents = [None if i % 5 == 0 else f"{ODD[i % 7]}{ODD[i % 11]}" for i in range(size)]
    values = [
        2**53 + 1,
        -(2**62),
        1e300,
        5e-324,
        0.1 + 0.2,
        True,
        False,
        1.0,
        [1, "x", 2.5, True],
        [],
        {"a": {"b": ["c", {"d": 1}]}},
        {},
        *ODD,
    ]
    metadatas = []
    for i in range(size):
        value = values[i % len(values)]
        row = {"value": value, f"key {i % 3}": ODD[i % len(ODD)], "a.b": i, " ": i % 2 == 0}
        metadatas.append(None if i % 9 == 0 else row)
    return Records(ids, vectors, metadatas, documents)


@step("texts", places=PLACES)
def odd_records_in_files_of_every_kind(scenario: Scenario) -> None:
    records = odd_records(scenario, scenario.times(300, 3000, 10_000))
    with another(scenario, records, "odd") as odd:
        truth = Truth(scenario.shape.metric, records)
        check_all(scenario, odd, truth)
        collection = scenario.client.get_collection("odd", embedding_function=None)
        in_and_out(scenario, collection, truth, list(FORMATS))


@step("texts", places=PLACES)
def tables(scenario: Scenario) -> None:
    """Results as data frames and tables, and records added from them and from a generator."""
    import polars

    ids = scenario.some(scenario.times(600, 10_000, 25_000))
    truth = scenario.truth.part(ids)
    got = scenario.collection.get(ids=ids, include=EVERYTHING)
    frame = retrieval_store.to_pandas(got, expand=False)
    table = retrieval_store.to_arrow(got, expand=False)
    assert len(frame) == table.num_rows == len(ids)
    rows = [
        {"id": one, "embedding": r.vector, "document": r.document, "metadata": r.metadata}
        for one, r in truth.records.items()
    ]
    sources = {
        "a frame": frame,
        "a table": table,
        "another frame": polars.from_arrow(table.drop_columns("metadata")),
        "a result": got,
        "a generator": iter(rows),
        "tables": iter([table.slice(0, 400), table.slice(400)]),
    }
    bare = scenario.truth.part(ids, without_metadata=True)
    for name, source in sources.items():
        with another(scenario) as collection:
            assert collection.add_from(source, batch=333) == len(ids), name
            check_all(scenario, collection, bare if name == "another frame" else truth)


@step("texts", places=PLACES)
def tables_of_columns(scenario: Scenario) -> None:
    """A column for each metadata key, and back."""
    ids = scenario.some(scenario.times(600, 10_000, 25_000))
    got = scenario.collection.get(ids=ids, include=EVERYTHING)
    for make in (retrieval_store.to_pandas, retrieval_store.to_arrow):
        table = make(got, expand=True)
        names = table.column_names if hasattr(table, "column_names") else list(table.columns)
        assert {"topic", "year", "price"} <= set(names), names
        with another(scenario) as collection:
            assert collection.add_from(table) == len(ids)
            back = collection.get(include=["documents", "metadatas", "embeddings"])
            for i, one in enumerate(back["ids"]):
                right = scenario.truth.records[one]
                assert back["documents"][i] == right.document
                own = back["metadatas"][i]
                for key in ("topic", "year", "price"):
                    assert own.get(key) == right.metadata.get(key), (make, one)
                assert list(own.get("tags", [])) == right.metadata.get("tags", []), (make, one)


@step("texts", places=frozenset({"disk"}))
def from_chroma(scenario: Scenario) -> None:
    import chromadb

    records = scenario.records.part(0, scenario.times(400, 5000, 20_000))
    flat = [
        {key: value for key, value in row.items() if isinstance(value, str | int | float)}
        for row in records.metadatas or []
    ]
    path, target = scenario.new_path("chroma"), scenario.new_path("from-chroma")
    with chromadb.PersistentClient(path) as theirs:
        configuration = {"hnsw": {"space": scenario.shape.metric}}
        made = theirs.create_collection(
            "passages", configuration=configuration, embedding_function=None
        )
        for first in range(0, len(records), 2000):
            part = records.part(first, first + 2000)
            made.add(part.ids, part.vectors, flat[first : first + 2000], part.documents)
        own = made.get(include=["embeddings"])
        vectors = np.asarray(own["embeddings"], np.float32)
        assert own["ids"] == records.ids
    truth = Truth(scenario.shape.metric, Records(records.ids, vectors, flat, records.documents))
    with retrieval_store.Client(target) as client:
        report = files.import_chroma(path, client, names={"passages": "novels"})
        assert [(one.name, one.records) for one in report.collections] == [("novels", len(records))]
        novels = client.get_collection("novels", embedding_function=None)
        check_all(scenario, scenario.timed(novels), truth)
        (query,) = scenario.queries(1)
        distance = novels.query([query], n_results=5, include=["distances"])["distances"][0]
        assert np.allclose(distance, truth.nearest(query, 5), rtol=1e-5, atol=1e-5)
        run("import", "chroma", path, target, "--name", "passages=by-command", "-q")
        novels = client.get_collection("by-command", embedding_function=None)
        check_all(scenario, scenario.timed(novels), truth)


@step("texts", places=frozenset({"disk"}))
def from_local_mode(scenario: Scenario) -> None:
    """The points of qdrant-client's local mode, with one vector each."""
    from qdrant_client import QdrantClient, models

    from retrieval_store.qdrant import QdrantClient as OurClient

    records = scenario.records.part(0, scenario.times(100, 1000, 5000))
    path, target = scenario.new_path("local"), scenario.new_path("from-local")
    distance = {"cosine": "Cosine", "l2": "Euclid", "ip": "Dot"}[scenario.shape.metric]
    theirs = QdrantClient(path=str(path))
    theirs.create_collection(
        "passages",
        vectors_config=models.VectorParams(
            size=scenario.shape.dimension, distance=models.Distance(distance)
        ),
    )
    points = [
        models.PointStruct(id=i, vector=vector.tolist(), payload={"name": one, **metadata})
        for i, (one, vector, metadata) in enumerate(
            zip(records.ids, records.vectors, records.metadatas, strict=True)
        )
    ]
    theirs.upsert("passages", points)
    right = theirs.scroll("passages", limit=len(points), with_vectors=True)[0]
    theirs.close()
    ours = OurClient(path=str(target))
    try:
        report = files.import_qdrant_local(path, ours, trust=True)
        assert [one.records for one in report.collections] == [len(points)]
        got = ours.scroll("passages", limit=len(points), with_vectors=True)[0]
        assert [one.id for one in got] == [one.id for one in right]
        assert [one.payload for one in got] == [one.payload for one in right]
        off = np.abs(np.asarray([one.vector for one in got]) - [one.vector for one in right])
        assert off.max() < 1e-6
    finally:
        ours.close()


@step("texts", places=frozenset({"disk"}), least="first")
def from_lancedb_and_faiss(scenario: Scenario) -> None:
    import faiss
    import lancedb

    records = scenario.records.part(0, scenario.times(300, 3000, 10_000))
    assert records.metadatas is not None and records.documents is not None
    years = [{"year": row["year"]} for row in records.metadatas]
    truth = Truth(
        scenario.shape.metric, Records(records.ids, records.vectors, years, records.documents)
    )
    path = scenario.new_path("lance")
    rows = [
        {"name": one, "vector": vector.tolist(), "text": text, **year}
        for one, vector, text, year in zip(
            records.ids, records.vectors, records.documents, years, strict=True
        )
    ]
    lancedb.connect(path).create_table("passages", rows)
    index, lines = scenario.new_path("vectors.faiss"), scenario.new_path("rows.jsonl")
    flat = faiss.IndexFlatIP(scenario.shape.dimension)
    flat.add(records.vectors)
    faiss.write_index(flat, str(index))
    reported = (
        {"id": one, "document": text, "metadata": year}
        for one, text, year in zip(records.ids, records.documents, years, strict=True)
    )
    lines.write_text("".join(json.dumps(row) + "\n" for row in reported))
    with retrieval_store.Client(scenario.new_path("brought")) as client:
        files.import_lancedb(
            path, client, id_column="name", text_column="text", space=scenario.shape.metric
        )
        files.import_faiss(index, lines, client, "from-faiss")
        for name in ("passages", "from-faiss"):
            collection = client.get_collection(name, embedding_function=None)
            check_all(scenario, scenario.timed(collection), truth)


@step(places=PLACES)
def copies_to_others(scenario: Scenario) -> None:
    """Copied into memory and into a directory; then updated with the changes."""
    with (
        retrieval_store.Client() as memory,
        retrieval_store.Client(scenario.new_path("copied")) as disk,
    ):
        for other in (memory, disk):
            assert len(scenario.client.copy_to(other, "scenario")) == 1
            copy = other.get_collection("scenario", embedding_function=None)
            assert copy.count() == len(scenario.truth)
            scenario.check(copy)
        more = scenario.more(200)
        scenario.add(more)
        gone = scenario.some(100)
        scenario.collection.delete(ids=gone)
        scenario.truth.add(more)
        scenario.truth.delete(gone)
        scenario.client.copy_to(disk, "scenario")
        scenario.check(disk.get_collection("scenario", embedding_function=None))
        left = [one for one in more.ids if one in scenario.truth.records]
        scenario.collection.delete(ids=left)
        scenario.truth.delete(left)
        lost = [one for one in gone if one in set(scenario.records.ids)]
        restore(scenario, lost)


def restore(scenario: Scenario, ids: list[str]) -> None:
    """Add records of the shape that a step has deleted, at the end."""
    places = {one: place for place, one in enumerate(scenario.records.ids)}
    for one in ids:
        record = scenario.records.part(places[one], places[one] + 1)
        scenario.add(record)
        scenario.truth.add(record)


@contextmanager
def writing(write: Callable[[int], None], most: float = np.inf) -> Iterator[Callable[[], int]]:
    """A thread that writes one batch after another, and a function that returns their number."""
    done, failed, ending = [0], [], threading.Event()

    def go_on() -> None:
        try:
            while not ending.is_set() and done[0] < most:
                write(done[0])
                done[0] += 1
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield lambda: done[0]
    finally:
        ending.set()
        thread.join(PATIENCE)
    assert not thread.is_alive() and not failed, failed


@step(places=PLACES)
def copies_beside_a_writer(scenario: Scenario) -> None:
    """Repeated copies during writes, and a final one: it has all added, changed and deleted
    records."""
    made = scenario.more(3000)
    written = Truth(scenario.shape.metric)
    with (
        another(scenario, name="written") as collection,
        retrieval_store.Client(scenario.new_path("copied")) as other,
    ):

        def write(batch: int) -> None:
            part = made.part(batch * 20 % 3000, batch * 20 % 3000 + 20)
            collection.upsert(part.ids, part.vectors, part.metadatas, part.documents)
            written.add(part)
            if batch % 3 == 2:
                gone = part.ids[::4]
                collection.delete(ids=gone)
                written.delete(gone)

        wanted = scenario.times(20, 100, 300)
        with writing(write, wanted) as reported:
            while reported() < wanted:
                scenario.client.copy_to(other, "written")
        scenario.client.copy_to(other, "written")
        copy = other.get_collection("written", embedding_function=None)
        assert copy.count() == len(written)
        compare(copy.get(include=[])["ids"], written.ids, "copied", ordered=False)
        scenario.check_records(copy.get(include=EVERYTHING), written)


@step(places=PLACES)
def exports_are_of_one_moment(scenario: Scenario) -> None:
    """In each export, all records have the same number of writes, and all batches up to one are
    there."""
    size, part = scenario.times(800, 10_000, 50_000), 20
    records = scenario.more(size)
    small = np.ascontiguousarray(records.vectors[:, :8]) + np.float32(0.5)
    with another(scenario, name="moments") as collection:
        for first in range(0, size, 5000):
            last = min(size, first + 5000)
            numbered = [{"batch": -1}] * (last - first)
            collection.add(records.ids[first:last], small[first:last], numbered)

        def write(batch: int) -> None:
            if batch % 2:
                ids = [f"{batch} {i}" for i in range(part)]
                collection.add(ids, small[:part], [{"own": batch}] * part)
            else:
                collection.update(records.ids, metadatas=[{"batch": batch}] * size)

        bare = scenario.client.get_collection("moments", embedding_function=None)
        with writing(write) as reported:
            for _ in range(scenario.times(1, 1, 2)):
                for name in ("records.jsonl", "records.csv", "records.parquet", "arrays"):
                    before, path = reported(), scenario.new_path(name)
                    FORMATS[name](bare, path)
                    check_moment(scenario, path, set(records.ids), part, before, reported())


def check_moment(
    scenario: Scenario, path: Path, ids: set[str], part: int, before: int, after: int
) -> None:
    with retrieval_store.Client() as client:
        collection = client.create_collection("read", embedding_function=None)
        files.add_file(collection, path)
        got = collection.get(include=["metadatas"])
    pairs = list(zip(got["ids"], got["metadatas"], strict=True))
    updated = {row["batch"] for one, row in pairs if one in ids}
    assert sum(one in ids for one, _ in pairs) == len(ids)
    assert len(updated) == 1, f"{path.name} has parts of the writes {sorted(updated)}"
    last = updated.pop()
    added = [row["own"] for one, row in pairs if one not in ids]
    batches = sorted(set(added))
    assert len(added) == part * len(batches), f"{path.name} has a part of a batch"
    assert batches == list(range(1, 2 * len(batches), 2)), "a batch is missing"
    newest = max([last, *batches])
    assert newest - 1 <= max([-1, *(b for b in (last, *batches) if b != newest)]) <= newest
    assert before - 1 <= newest <= after + 1

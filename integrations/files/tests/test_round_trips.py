"""A file has everything that its collection has, and so does a collection that is made from the
file."""

import csv
import json
import os
import sys
from contextlib import contextmanager

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.errors import InvalidArgumentError
from retrieval_store_files import (
    add_file,
    check,
    export_arrays,
    export_csv,
    export_jsonl,
    export_parquet,
)
from retrieval_store_files.formats.jsonl import numbers_of
from tests.helpers import steps

EVERYTHING = ("documents", "metadatas", "uris", "embeddings")
BIG = [2**63, 2**64 - 1, -(2**63), 2**53 + 1, 0, -1]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from(BIG)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
keys = texts.filter(lambda key: key and key[0] != "$" and key not in ("_document", "_uri"))
metadatas = st.none() | st.dictionaries(
    st.sampled_from(["n", "a.b", "ä"]) | keys, values, max_size=4
)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
halves = st.floats(width=16, allow_nan=False, allow_infinity=False)
sparse = st.none() | st.dictionaries(
    st.integers(0, 2**32 - 1), floats.filter(lambda x: 0 < abs(x) < 1e15), max_size=4
)


@st.composite
def records_of(draw, numbers):
    ids = draw(st.lists(texts.filter(bool), unique=True, max_size=6))
    dimension = draw(st.integers(1, 5))
    return [
        {
            "id": one,
            "document": draw(st.none() | texts),
            "uri": draw(st.none() | texts),
            "metadata": draw(metadatas),
            "embedding": draw(st.lists(numbers, min_size=dimension, max_size=dimension)),
            "sparse_embedding": draw(sparse),
        }
        for one in ids
    ]


@contextmanager
def filled(records, datatype="float32"):
    configuration = {"vectors": {"datatype": datatype}, "sparse": {}}
    with retrieval_store.Client() as client:
        made, other = (
            client.create_collection(name, configuration, embedding_function=None)
            for name in ("made", "other")
        )
        for one in records:
            weights = one.pop("sparse_embedding")
            if weights is not None:
                one["sparse_embedding"] = {
                    "indices": list(weights), "values": list(weights.values())
                }  # fmt: skip
        made.add_from(records)
        yield made, other


def exact(collection):
    """The whole content of a collection, with every bit of the floats and the type of every
    number."""
    found = collection.iterate(include=[*EVERYTHING, "sparse_embeddings"])
    return [
        {
            **one,
            "metadata": json.dumps(one["metadata"]),
            "embedding": np.asarray(one["embedding"], np.float32).tobytes(),
        }
        for one in found
    ]


WAYS = {
    "list": (".jsonl", export_jsonl),
    "base64": (".jsonl", lambda *args: export_jsonl(*args, embeddings="base64")),
    "parquet": (".parquet", export_parquet),
    "arrays": ("", export_arrays),
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=10)
@given(data=st.data())
def test_exported_records_equal_those_added_again(way, data, tmp_path_factory):
    datatype = data.draw(st.sampled_from(["float32", "float16"]))
    records = data.draw(records_of(floats if datatype == "float32" else halves))
    suffix, export = WAYS[way]
    path = tmp_path_factory.mktemp("exported") / f"all{suffix}"
    with filled(records, datatype) as (made, other):
        report = export(made, path)
        assert report.records == len(records) and report.path == path
        files = [path] if path.is_file() else list(path.iterdir())
        assert report.bytes == sum(file.stat().st_size for file in files)
        assert check(path, other).records == len(records)
        added = add_file(other, path)
        assert (added.added, added.skipped, added.updated) == (len(records), 0, 0)
        assert exact(other) == exact(made)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_numbers_are_read_as_the_same_float32(bits):
    vector = np.array(bits, np.uint32).view(np.float32)
    vector = vector[np.isfinite(vector)]
    again = np.array(json.loads(numbers_of(vector)), np.float32)
    assert again.tobytes() == vector.tobytes()


def test_numbers_are_short_where_rounding_twice_does_no_harm():
    assert numbers_of(np.array([0.1, -0.0, 1e-45], np.float32)) == b"[0.1,-0.0,1e-45]"
    # whose nine digits are so near the middle of two float32 that their float64 is the middle
    vector = np.array([0x15AE43FD, 0x0A4FB11F], np.uint32).view(np.float32)
    assert np.array(json.loads(numbers_of(vector)), np.float32).tobytes() == vector.tobytes()


@pytest.fixture
def store(tmp_path):
    with retrieval_store.Client(tmp_path / "store") as client:
        yield client


@pytest.fixture
def notes(store):
    collection = store.create_collection("notes", metadata={"of": "me"}, embedding_function=None)
    collection.add(
        ids=[f"p{i}" for i in range(2500)],
        embeddings=np.arange(5000).reshape(2500, 2) / 3,
        documents=[f"text {i}" for i in range(2500)],
        metadatas=[
            {"n": i, "even": i % 2 == 0, "mixed": i if i % 2 else str(i)} for i in range(2500)
        ],
    )
    return collection


@pytest.mark.parametrize("way", WAYS)
def test_more_than_a_batch_and_filters(notes, store, way, tmp_path):
    suffix, export = WAYS[way]
    whole, half = tmp_path / f"whole{suffix}", tmp_path / f"half{suffix}"
    other = store.create_collection("other", embedding_function=None)
    assert export(notes, whole).records == 2500
    add_file(other, whole, batch=700)
    assert list(map(str, other.iterate(include=EVERYTHING))) == list(
        map(str, notes.iterate(include=EVERYTHING))
    )
    filters = {"where": {"even": True}, "where_document": {"$contains": "text 2"}}
    makes = export_jsonl if suffix == ".jsonl" else export
    assert makes(notes, half, **filters).records == notes.count(**filters)


def test_a_line_is_a_record_and_nothing_else(notes, tmp_path):
    export_jsonl(notes, tmp_path / "notes.jsonl", where={"n": 3}, embeddings="list")
    export_jsonl(notes, tmp_path / "none.jsonl", where={"n": 3}, embeddings="none")
    export_jsonl(notes, tmp_path / "base64.jsonl", where={"n": 3}, embeddings="base64")
    plain = {"id": "p3", "document": "text 3", "metadata": {"n": 3, "even": False, "mixed": 3}}
    assert json.loads((tmp_path / "none.jsonl").read_text()) == plain
    listed = json.loads((tmp_path / "notes.jsonl").read_text())
    assert listed == {**plain, "embedding": [2, 2.3333333]}
    assert json.loads((tmp_path / "base64.jsonl").read_text())["embedding"] == "AAAAQFVVFUA="


def test_a_parquet_file_has_typed_columns_besides_the_whole_metadata(notes, tmp_path):
    notes.update(ids=["p1"], metadatas=[{"price": 1.5, "late": None, "big": 2**63}])
    export_parquet(notes, tmp_path / "notes.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "notes.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "id": "string",
        "document": "string",
        "uri": "string",
        "metadata": "string",
        "embedding": "fixed_size_list<element: float>[2]",
        "metadata.n": "int64",
        "metadata.even": "bool",
        "metadata.price": "double",
    }
    assert table["metadata.n"].to_pylist() == list(range(2500))
    assert table["metadata.price"].to_pylist() == [None, 1.5] + 2498 * [None]
    assert json.loads(table["metadata"][1].as_py())["big"] == 2**63


def test_writes_between_the_two_passes_are_in_the_metadata_and_no_error(
    notes, tmp_path, monkeypatch
):
    def then_written(kinds_of, chosen):
        kinds = kinds_of(chosen)
        notes.update(ids=["p0"], metadatas=[{"n": "a word", "new": 1}])
        return kinds

    steps.around(monkeypatch, "kinds_in_parquet", then_written)
    export_parquet(notes, tmp_path / "notes.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "notes.parquet")
    assert table["metadata.n"][0].as_py() is None
    assert json.loads(table["metadata"][0].as_py())["n"] == "a word"
    assert "metadata.new" not in table.column_names


@pytest.mark.parametrize("way", WAYS)
def test_an_export_is_one_snapshot_despite_concurrent_writes(notes, way, tmp_path, monkeypatch):
    def disturbed(pieces, self, *args):
        for some in pieces(self, *args):
            yield some
            notes.delete(ids=notes.get(limit=900)["ids"])
            notes.add(ids=[f"new {notes.count()}"], embeddings=[[0, 0]])

    steps.around(monkeypatch, "read_export", disturbed)
    suffix, export = WAYS[way]
    want = notes.get()["ids"]
    export(notes, tmp_path / f"notes{suffix}")
    with retrieval_store.Client() as client:
        other = client.create_collection("other", embedding_function=None)
        add_file(other, tmp_path / f"notes{suffix}")
        assert other.get()["ids"] == want


def test_bars_are_shown_where_they_are_wanted_on_a_terminal(notes, tmp_path, terminal, capfd):
    export_jsonl(notes, tmp_path / "notes.jsonl")
    assert capfd.readouterr() == ("", "")
    export_jsonl(notes, tmp_path / "again.jsonl", show_progress=True)
    assert "exporting" in capfd.readouterr().err
    add_file(notes, tmp_path / "notes.jsonl", resume=True, show_progress=True)
    shown = capfd.readouterr().err
    assert "checking" in shown and "adding" in shown and "2500" in shown


def test_bars_are_not_written_into_pipes_and_files(notes, tmp_path, capfd, monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # others import it
    export_jsonl(notes, tmp_path / "notes.jsonl", show_progress=True)
    assert capfd.readouterr() == ("", "")


def test_halves_stay_halves_in_parquet_and_numpy(store, tmp_path):
    halves = store.create_collection(
        "halves", {"vectors": {"datatype": "float16"}}, embedding_function=None
    )
    halves.add(ids=["a"], embeddings=[[0.1, 65504.0]])
    export_parquet(halves, tmp_path / "halves.parquet")
    export_arrays(halves, tmp_path / "halves")
    kind = pyarrow.parquet.read_schema(tmp_path / "halves.parquet").field("embedding").type
    assert str(kind) == "fixed_size_list<element: halffloat>[2]"
    assert np.load(tmp_path / "halves" / "embeddings.npy").dtype == np.float16


def test_arrays_are_what_numpy_and_json_read(notes, tmp_path):
    export_arrays(notes, tmp_path / "arrays")
    vectors = np.load(tmp_path / "arrays" / "embeddings.npy", allow_pickle=False, mmap_mode="r")
    assert vectors.dtype == np.float32 and vectors.shape == (2500, 2)
    assert (vectors == notes.get(include=["embeddings"])["embeddings"]).all()
    lines = (tmp_path / "arrays" / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == notes.get()["ids"]
    about = json.loads((tmp_path / "arrays" / "collection.json").read_text())
    assert about["name"] == "notes" and about["metadata"] == {"of": "me"}
    assert about["configuration"] == notes.configuration and about["records"] == 2500


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_replaced_and_nothing_is_left(notes, way, tmp_path, monkeypatch):
    suffix, export = WAYS[way]
    taken = tmp_path / "here" / f"taken{suffix}"
    taken.parent.mkdir()
    taken.write_text("mine")
    with pytest.raises(InvalidArgumentError, match="there already"):
        export(notes, taken)
    with pytest.raises(InvalidArgumentError, match="no directory"):
        export(notes, tmp_path / "nowhere" / f"new{suffix}")

    def interrupted(pieces, self, *args):
        yield next(pieces(self, *args))
        raise KeyboardInterrupt

    steps.around(monkeypatch, "read_export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(notes, taken.parent / f"new{suffix}")
    assert os.listdir(taken.parent) == [taken.name] and taken.read_text() == "mine"


def test_another_that_takes_the_name_meanwhile_keeps_it(notes, tmp_path, monkeypatch):
    target = tmp_path / "here" / "target"
    target.parent.mkdir()

    def disturbed(pieces, self, *args):
        target.mkdir(exist_ok=True)
        (target / "mine").write_text("mine")
        yield from pieces(self, *args)

    steps.around(monkeypatch, "read_export", disturbed)
    for export in (export_arrays, export_parquet, export_jsonl):
        with pytest.raises(InvalidArgumentError, match="there already"):
            export(notes, target)
        assert os.listdir(target) == ["mine"] and os.listdir(target.parent) == ["target"]
        (target / "mine").unlink()
        target.rmdir()


def test_embeddings_is_one_of_three(notes, tmp_path):
    with pytest.raises(InvalidArgumentError, match="embeddings is 'yes'"):
        export_jsonl(notes, tmp_path / "notes.jsonl", embeddings="yes")


ODD_TEXTS = ["", None, '"', '""', ",", "a\n\nb", 'say ""', ";", " "]


def test_csv_distinguishes_empty_and_missing_texts(store, tmp_path):
    odd = store.create_collection("odd", embedding_function=None)
    ids = [str(i) for i in range(len(ODD_TEXTS))]
    odd.add(ids, np.ones((len(ids), 2)), [{"n": i} for i in ids], ODD_TEXTS, uris=ODD_TEXTS[::-1])
    export_csv(odd, tmp_path / "odd.csv")
    again = store.create_collection("again", embedding_function=None)
    add_file(again, tmp_path / "odd.csv")
    copied = again.get(include=["documents", "uris"])
    assert (copied["documents"], copied["uris"]) == (ODD_TEXTS, ODD_TEXTS[::-1])


@pytest.mark.parametrize("name", ["some.csv", "some.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("message", [False, True])
def test_a_csv_is_split_by_its_declared_delimiter_or_by_its_id_column(
    store, tmp_path, delimiter, name, message
):
    odd = "sizes (S, M, L; XL, XXL | 1\t2)"
    rows = [["id", "document", "year", odd], ["a", "cats, dogs; a | b\t", "1999", "1"]]
    with open(tmp_path / name, "w", newline="", encoding="utf-8-sig" if message else None) as file:
        file.write(f"sep={delimiter}\r\n" if message else "")
        csv.writer(file, delimiter=delimiter).writerows(rows)
    some = store.create_collection("some", embedding_function=lambda texts: [[1, 2]] * len(texts))
    add_file(some, tmp_path / name)
    assert some.get()["documents"] == [rows[1][1]]
    assert some.get()["metadatas"] == [{"year": 1999, odd: 1}]

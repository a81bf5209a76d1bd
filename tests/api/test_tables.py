"""Records from data frames and streams, and results as data frames."""

import base64
import io
import json
import pickle
import re
import sys
from datetime import date
from itertools import cycle

import numpy as np
import pandas
import pyarrow
import pytest
from PIL import Image

import retrieval_store
from retrieval_store.api.results import QUERY_FIELDS
from retrieval_store.errors import (
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
    MissingDependencyError,
)

COUNT = 25
COLUMNS = {
    "id": [f"p{i}" for i in range(COUNT)],
    "embedding": [[float(i), 1.0] for i in range(COUNT)],
    "document": [f"text {i}" if i % 3 else None for i in range(COUNT)],
    "year": [2000 + i if i % 4 else None for i in range(COUNT)],
    "tags": [[f"t{i % 2}"] for i in range(COUNT)],
}


def records():
    for i in range(COUNT):
        yield {
            "id": COLUMNS["id"][i],
            "embedding": COLUMNS["embedding"][i],
            "document": COLUMNS["document"][i],
            "metadata": {
                key: COLUMNS[key][i] for key in ("year", "tags") if COLUMNS[key][i] is not None
            },
        }


def results():
    """The same records as `get` returns them, in two pieces."""
    every = list(records())
    for some in (every[:10], every[10:]):
        yield {
            "ids": [one["id"] for one in some],
            "embeddings": np.array([one["embedding"] for one in some], np.float32),
            "documents": [one["document"] for one in some],
            "metadatas": [one["metadata"] for one in some],
            "uris": None,
            "included": ["documents"],
        }


SOURCES = {
    "pandas": lambda: pandas.DataFrame(COLUMNS),
    "arrow": lambda: pyarrow.table(COLUMNS),
    "records": records,
    "a list": lambda: list(records()),
    "results": results,
    "arrow's batches": lambda: pyarrow.table(COLUMNS).to_batches(max_chunksize=4),
    "a reader": lambda: pyarrow.table(COLUMNS).to_reader(max_chunksize=4),
    "a table of a result": lambda: retrieval_store.to_arrow(
        {
            "ids": COLUMNS["id"],
            "embeddings": COLUMNS["embedding"],
            "documents": COLUMNS["document"],
            "metadatas": [one["metadata"] for one in records()],
        }
    ),
    "pieces": lambda: [pandas.DataFrame(COLUMNS)[:7], pyarrow.table(COLUMNS)[7:]],
}
TWICE = pandas.concat([pandas.DataFrame(COLUMNS), pandas.DataFrame({"x": [1]})], axis=1)
TWICE.insert(0, "x", 2, allow_duplicates=True)


@pytest.fixture
def things(client):
    return client.create_collection("things", embedding_function=None)


def test_a_text_is_no_list_of_ids(collection):
    for documents in (["x", "y", "z"], ["x"]):
        with pytest.raises(InvalidTypeError, match="has 'abc' .* as ids, expected a list"):
            collection.add_from({"ids": "abc", "documents": documents, "embeddings": [[1]] * 3})
    assert collection.count() == 0


@pytest.mark.parametrize(("source", "batch"), [*zip(SOURCES, cycle([7, 1, 1_000]), strict=False)])
def test_records_come_from_anywhere(things, source, batch):
    assert things.add_from(SOURCES[source](), batch=batch) == COUNT
    got = things.get(include=["embeddings", "documents", "metadatas"])
    expected = list(records())
    assert got["ids"] == COLUMNS["id"] and got["documents"] == COLUMNS["document"]
    assert got["embeddings"].tolist() == COLUMNS["embedding"]
    assert got["metadatas"] == [one["metadata"] for one in expected]
    assert all(type(one.get("year", 0)) in (int, float) for one in got["metadatas"])


def test_interrupted_adds_are_repeated_by_upsert(things):
    def breaking():
        for i, record in enumerate(records()):
            if i == 17:
                raise OSError("the line is dead")
            yield record

    with pytest.raises(OSError, match="the line is dead"):
        things.add_from(breaking(), batch=5)
    assert len(things) == 15
    with pytest.raises(IDAlreadyExistsError):
        things.add_from(records(), batch=5)
    assert things.add_from(records(), batch=5, upsert=True) == COUNT == len(things)


def test_texts_are_embedded_and_a_bar_shows_how_far_it_is(client, terminal, capfd):
    notes = client.create_collection("notes", embedding_function=lambda texts: [[1.0]] * len(texts))
    made = ({"id": str(i), "document": f"text {i}"} for i in range(30))
    assert notes.add_from(made, batch=10, show_progress=True) == 30
    assert "adding" in (message := capfd.readouterr().err) and "30record" in message.replace(
        " ", ""
    )
    copied = client.create_collection("copied", embedding_function=None)
    everything = notes.get(include=["embeddings", "documents"])
    assert copied.add_from(everything, batch=7, show_progress=True) == 30
    assert "30/30" in capfd.readouterr().err
    assert copied.get()["documents"] == notes.get()["documents"]


def test_invalid_records_are_named(things):
    for source, error, message in [
        (7, InvalidTypeError, "source is 7"),
        ("abc", InvalidTypeError, "source is 'abc'"),
        ([7], InvalidTypeError, r"source\[0\] is 7.* expected a record with 'id'"),
        ([{"name": 1}], InvalidTypeError, r"source\[0\] is {'name': 1}"),
        (
            [{"id": "a", "text": "x"}],
            InvalidArgumentError,
            r"source\[0\] has the unknown key 'text'",
        ),
        (
            {"ids": ["a"], "documents": ["x", "y"]},
            InvalidArgumentError,
            "'documents'.* has 2 items",
        ),
        (
            pandas.DataFrame({"name": ["x"]}),
            InvalidArgumentError,
            "no 'id' among the columns 'name'",
        ),
        (
            pandas.DataFrame({"id": ["a"], "documents": ["x"]}),
            InvalidArgumentError,
            "'documents' among",
        ),
        (TWICE, InvalidArgumentError, "'x' twice among the columns"),
        (
            pandas.DataFrame({"id": ["a"], "metadata": ["x"]}),
            InvalidArgumentError,
            "'x'.* 'metadata'",
        ),
        ([{"id": None, "embedding": [1.0, 2.0]}], InvalidTypeError, r"source\[0\] has the id None"),
        ({"ids": None}, InvalidTypeError, "source is {'ids': None}"),
        ({"ids": ["a"], "embeddings": 5}, InvalidTypeError, r"source\['embeddings'\] is 5"),
        (
            [{"id": "a", "embedding": [1.0, 2.0]}, {"id": "b", "document": "x"}],
            InvalidArgumentError,
            "the record 'b' has no embedding",
        ),
        ([{"id": True, "embedding": [1.0, 2.0]}], InvalidTypeError, "has the id True"),
    ]:
        with pytest.raises(error, match=message):
            things.add_from(source)
        assert len(things) == 0
        with pytest.raises(InvalidArgumentError, match="batch is 0"):
            things.add_from(records(), batch=0)


def test_dates_of_tables_are_text_that_filters_compare(things):
    frame = pandas.DataFrame({"id": ["a", "b"], "embedding": [[1.0], [2.0]]})
    frame["when"] = pandas.to_datetime(["2024-05-01", None])
    frame["day"] = [date(2020, 1, 2), date(2021, 1, 2)]
    things.add_from(frame)
    assert things.get()["metadatas"] == [
        {"when": "2024-05-01T00:00:00", "day": "2020-01-02"},
        {"day": "2021-01-02"},
    ]
    assert things.get(where={"day": {"$gt": date(2020, 6, 1)}})["ids"] == ["b"]
    things.add_from({"id": "c", "embedding": [3.0]})
    assert len(things) == 3


def test_nothing_is_added_of_nothing(things):
    for source in ([], iter(()), pandas.DataFrame({"id": []}), {"ids": []}):
        assert things.add_from(source) == 0


@pytest.fixture
def filled(things):
    things.add_from(records())
    return things


def test_results_become_frames(filled):
    got = filled.get(limit=5, include=["documents", "metadatas", "embeddings"])
    frame = retrieval_store.to_pandas(got)
    assert list(frame.columns) == ["id", "document", "metadata", "embedding"]
    assert frame["id"].tolist() == got["ids"] and frame["metadata"][1]["year"] == 2001
    assert np.array_equal(np.stack(frame["embedding"]), got["embeddings"])
    found = filled.query(query_embeddings=[[0, 1], [9, 1]], n_results=3)
    frame = retrieval_store.to_pandas(found)
    assert frame["query"].tolist() == [0, 0, 0, 1, 1, 1]
    assert frame["id"].tolist() == found["ids"][0] + found["ids"][1]
    assert frame["distance"].tolist() == found["distances"][0] + found["distances"][1]
    words = retrieval_store.to_pandas(filled.query(query_texts="text", mode="text", n_results=2))
    assert len(words) == 2 and words["distance"].isna().all()
    assert len(retrieval_store.to_pandas(filled.get(ids=[]))) == 0


def test_results_become_tables(filled):
    got = filled.get(include=["documents", "metadatas", "embeddings"])
    table = retrieval_store.to_arrow(got)
    assert table.schema.field("embedding").type == pyarrow.list_(pyarrow.float32())
    assert table["document"].to_pylist() == got["documents"]
    assert [json.loads(one) for one in table["metadata"].to_pylist()] == got["metadatas"]
    found = retrieval_store.to_arrow(filled.query(query_embeddings=[[0, 1]], n_results=3))
    assert found.num_rows == 3 and found.column_names[:3] == ["query", "id", "distance"]


def test_results_become_data_frames_if_the_packages_are_installed(filled, monkeypatch):
    for convert in (retrieval_store.to_pandas, retrieval_store.to_arrow):
        with pytest.raises(InvalidTypeError, match="result is 7"):
            convert(7)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pip install pandas"):
        retrieval_store.to_pandas(filled.get())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        retrieval_store.to_arrow(filled.get())


HOSTILE = "<script>alert(1)</script>"


def test_notebooks_show_tables_in_which_nothing_runs(client):
    things = client.create_collection("things", embedding_function=None)
    things.add(
        ids=[f"{HOSTILE}{i}" for i in range(30)],
        embeddings=[[float(i), 1.0] for i in range(30)],
        documents=[HOSTILE + "x" * 500] * 30,
        metadatas=[{HOSTILE: [HOSTILE, 1.5, None]}] * 30,
        uris=[f'javascript:"{HOSTILE}'] * 30,
    )
    found = things.query(
        query_embeddings=[0.0, 1.0], n_results=25, include=list(QUERY_FIELDS - {"data"})
    )
    got = things.get(include=["embeddings", "documents", "metadatas", "uris"])
    for shown in (found, got, things, client):
        html = shown._repr_html_()
        assert html.count("<table>") == 1 and HOSTILE not in html and "<script" not in html
    assert "&lt;script&gt;" in got._repr_html_() and "float32[2]" in got._repr_html_()
    assert "and 10 more" in got._repr_html_() and "and 5 more" in found._repr_html_()
    assert "30 points, distance l2" in things._repr_html_() and "things" in client._repr_html_()
    assert len(got._repr_html_()) < 30_000


def test_notebooks_get_no_characters_that_turn_or_hide_what_follows(client):
    things = client.create_collection("turned", embedding_function=None)
    odd = "pay \u202e001 \u2066x\x1b[31m\x00\u200b"
    things.add("a\u202e", [[1.0]], {odd: odd}, odd, uris=odd)
    got = things.get(include=["documents", "metadatas", "uris"])
    for shown in (got, things, things.query([[1.0]])):
        html = shown._repr_html_()
        assert html.isprintable() and "pay \\u202e001" in html


def test_results_are_dicts_like_any_other(filled):
    got = filled.get(limit=2)
    assert isinstance(got, dict) and json.loads(json.dumps(got)) == got
    assert pickle.loads(pickle.dumps(got)) == got and {**got}["ids"] == got["ids"]
    assert type(pickle.loads(pickle.dumps(got))) is type(got)


def test_results_have_their_public_names_and_say_that_fields_are_keys(filled):
    results = {
        "GetResult": filled.get(limit=2),
        "QueryResult": filled.query(query_texts="x", n_results=1, mode="text"),
        "Explanation": filled.explain(query_texts="x", mode="text"),
        "Stats": filled.stats(),
    }
    for name, result in results.items():
        key = next(iter(result))
        with pytest.raises(AttributeError, match=rf"{name!r} .* use result\['{key}'\]"):
            getattr(result, key)
        with pytest.raises(AttributeError, match=rf"{name!r} .* of the keys '{key}', "):
            result.hits  # noqa: B018
        assert not hasattr(result, "_repr_png_") and hasattr(result, "_repr_html_")


def test_a_loader_may_return_anything(client):
    odd = {"a": np.float32(1), "b": "\ud800<"}
    held = client.create_collection(
        "odd", embedding_function=None, data_loader=lambda u: [odd] * len(u)
    )
    held.add(ids=["a"], embeddings=[[1, 2]], uris=["u"])
    html = held.get(include=["data"])._repr_html_()
    assert "<td>" in html and html.encode()
    others = client.create_collection("others", embedding_function=None)
    assert others.add_from(held.iterate(include=["embeddings", "uris", "data"])) == 1


def test_images_are_shown_small(client):
    pictures = client.create_collection(
        "pictures",
        embedding_function=lambda images: [[float(i.mean()), 1.0] for i in images],
        data_loader=lambda uris: [
            None if uri is None else np.full((300, 200, 3), int(uri[-1]) * 20, np.uint8)
            for uri in uris
        ],
    )
    pictures.add(ids=["a", "b"], uris=["x:1", "x:9"])
    html = pictures.get(include=["uris", "data"])._repr_html_()
    images = re.findall(r'<img src="data:image/png;base64,([^"]+)">', html)
    assert len(images) == 2
    with Image.open(io.BytesIO(base64.b64decode(images[1]))) as image:
        assert image.size == (64, 96) and image.getpixel((1, 1)) == (180, 180, 180)


@pytest.fixture
def bare():
    """A collection in memory: refusals don't depend on the kind of store."""
    with retrieval_store.Client() as client:
        yield client.create_collection("bare", embedding_function=None)


SHOP = {
    "sku": [7, 12],
    "text": ["a red chair", None],
    "vec": [[1.0, 0.0], [0.0, 1.0]],
    "page": ["https://example.org/7", None],
    "price": [49.5, 120.0],
    "id": ["own", "key"],
}
NAMED = {
    "id_column": "sku", "document_column": "text", "embedding_column": "vec", "uri_column": "page"
}  # fmt: skip


def shop_rows():
    for row in zip(*SHOP.values(), strict=True):
        yield dict(zip(SHOP, row, strict=True))


SHOPS = {
    "pandas": lambda: pandas.DataFrame(SHOP),
    "arrow": lambda: pyarrow.table(SHOP),
    "records": shop_rows,
    "records that lack some": lambda: (
        {key: value for key, value in one.items() if value is not None} for one in shop_rows()
    ),
    "an index": lambda: pandas.DataFrame(SHOP).set_index("sku"),
}


@pytest.mark.parametrize("source", SHOPS)
def test_columns_are_called_as_the_table_calls_them(things, source):
    named = {**NAMED, "id_column": None} if source == "an index" else NAMED
    assert things.add_from(SHOPS[source](), batch=1, **named) == 2
    got = things.get(include=["documents", "uris", "embeddings", "metadatas"])
    assert got["ids"] == ["7", "12"] and got["documents"] == SHOP["text"]
    assert got["uris"] == SHOP["page"] and got["embeddings"].tolist() == SHOP["vec"]
    assert got["metadatas"] == [{"price": 49.5, "id": "own"}, {"price": 120.0, "id": "key"}]
    things.delete(ids=["7", "12"])
    things.add_from(SHOPS[source](), **named, metadata_columns=["price"])
    assert things.get()["metadatas"] == [{"price": 49.5}, {"price": 120.0}]


@pytest.mark.parametrize("source", SHOPS)
def test_a_missing_column_is_reported_with_the_existing_ones(bare, source):
    given = {**NAMED, "id_column": None} if source == "an index" else NAMED
    for name, argument in (
        ({"document_column": "txt"}, "document_column"),
        ({"uri_column": "txt"}, "uri_column"),
        ({"id_column": "txt"}, "id_column"),
        ({"metadata_columns": ["price", "txt"]}, "metadata_columns"),
    ):
        text = f"has no 'txt' among the columns .*'text', .*; {argument} says which"
        with pytest.raises(InvalidArgumentError, match=text):
            bare.add_from(SHOPS[source](), **{**given, **name})
    assert len(bare) == 0


def test_ids_are_texts_or_integers(bare):
    for frame, named, error, message in [
        (pandas.DataFrame({"sku": [1]}), {}, InvalidArgumentError, "no 'id'.*'sku'; id_column"),
        (
            pyarrow.table({"sku": [1]}),
            {"id_column": None},
            InvalidArgumentError,
            "columns 'sku'",
        ),
        ([{"sku": 1}], {"id_column": None}, InvalidArgumentError, "the index of a pandas Data"),
        ({"ids": ["a"]}, {"id_column": "sku"}, InvalidArgumentError, "source is what get returned"),
        (pandas.DataFrame(SHOP), {"id_column": 7}, InvalidTypeError, "id_column is 7"),
        (
            pandas.DataFrame(SHOP),
            {"id_column": "text", "document_column": "text"},
            InvalidArgumentError,
            "id_column and document_column are both 'text'",
        ),
        (pandas.DataFrame({"id": [1, None]}), {}, InvalidTypeError, "row 0 has the id 1.0.*floats"),
        (pandas.DataFrame({"id": ["a", None]}), {}, InvalidTypeError, "row 1 has the id None"),
        (pyarrow.table({"id": [True]}), {}, InvalidTypeError, "row 0 has the id True"),
        (pyarrow.table({"id": [0.5]}), {}, InvalidTypeError, "row 0 has the id 0.5"),
        (
            pandas.DataFrame({"x": [1]}, index=[0.5]),
            {"id_column": None},
            InvalidTypeError,
            "id 0.5 .* in the index",
        ),
    ]:
        with pytest.raises(error, match=message):
            bare.add_from(frame, **named)
        assert len(bare) == 0


def test_integers_of_numpy_are_ids_too(things):
    things.add_from([{"id": np.int64(3), "embedding": [1.0]}])
    things.add_from(
        pandas.DataFrame({"id": np.arange(2, dtype=np.uint8), "embedding": [[1.0]] * 2})
    )
    assert things.get()["ids"] == ["3", "0", "1"]


ODD = [
    {"year": 2000, "ratio": 0.5, "mixed": 1, "good": True, "name": "x"},
    {"year": None, "tags": ["a"], "mixed": 2.5, "id": "mine", "documents": "too"},
    {"year": 2**53 + 1, "metadata.id": 5, "query": "q", "nested": {"a": [1, None]}},
    {},
    {"huge": 2**63, "good": False, "name": "ü", "metadata.x": 1, "distance": 2},
    None,
]


def with_types(metadatas):
    """Metadata in a form in which 1 and 1.0 differ, whatever the order of keys."""
    return [one and {key: (type(v), v) for key, v in one.items()} for one in metadatas]


@pytest.fixture
def odd(things):
    things.add(
        ids=[str(i) for i in range(len(ODD))],
        embeddings=[[float(i), 0.1] for i in range(len(ODD))],
        documents=["text", None, "", "x", None, "y"],
        metadatas=ODD,
    )
    return things


@pytest.mark.parametrize("table", [retrieval_store.to_pandas, retrieval_store.to_arrow])
def test_metadata_in_columns_make_the_same_records_again(client, odd, table):
    got = odd.get(include=["documents", "metadatas", "embeddings"])
    again = client.create_collection("again", embedding_function=None)
    again.add_from(table(got, expand=True), batch=4)
    found = again.get(include=["documents", "metadatas", "embeddings"])
    assert with_types(found["metadatas"]) == with_types(got["metadatas"])
    assert (found["ids"], found["documents"]) == (got["ids"], got["documents"])
    assert np.array_equal(found["embeddings"], got["embeddings"])


def test_metadata_are_columns_on_request(odd):
    frame = retrieval_store.to_pandas(odd.get(ids=["0", "2", "4"]), expand=True)
    assert frame["year"].dtype == "Int64" and frame["year"].isna().tolist() == [False, False, True]
    assert frame["good"].dtype == "boolean" and frame["ratio"].dtype == "float64"
    assert sorted(one for one in frame if one.startswith("metadata")) == [
        "metadata.distance", "metadata.metadata.id", "metadata.query", "metadata.x"
    ]  # fmt: skip
    found = odd.query(query_embeddings=[[0.0, 0.0]], n_results=1)
    frame = retrieval_store.to_pandas(found, expand=True)
    assert frame["query"].tolist() == [0] and frame["name"].tolist() == ["x"]
    table = retrieval_store.to_arrow(odd.get(ids=["0", "1"]), expand=True)
    assert table.schema.field("year").type == pyarrow.int64()
    assert table.schema.field("metadata.id").type == pyarrow.string()
    assert json.loads(table["metadata"].to_pylist()[1])["tags"] == ["a"]
    frame = retrieval_store.to_pandas(odd.get(include=["documents"]), expand=True)
    assert list(frame.columns) == ["id", "document"]
    with pytest.raises(InvalidTypeError, match="expand is 1"):
        retrieval_store.to_pandas(odd.get(), expand=1)


@pytest.mark.others
def test_a_frame_of_polars_is_a_table_too(bare):
    import polars

    assert bare.add_from(polars.DataFrame(COLUMNS)) == COUNT
    assert bare.get("p4", include=["documents"])["documents"] == ["text 4"]
    with pytest.raises(InvalidTypeError, match="row 0 has the id True"):
        bare.add_from(polars.DataFrame({"id": [True]}))

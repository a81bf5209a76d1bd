"""A file with any content is refused as a whole, with the invalid line, or added."""

import base64
import json
import os
import tracemalloc

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.errors import (
    DimensionMismatchError,
    DuplicateIDError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidMetadataError,
)
from retrieval_store_files import add_file, check
from tests.helpers import steps

GOOD = '{"id": "good", "embedding": [1, 2]}'


@pytest.fixture
def notes():
    with retrieval_store.Client() as client:
        notes = client.create_collection("notes", embedding_function=None)
        notes.add(ids=["there"], embeddings=[[0, 1]])
        yield notes


def more(field):
    """A record with another field."""
    return b'{"id": "a", "embedding": [1, 2], %b}' % field


BAD = {
    "no JSON": (b"{", "isn't JSON"),
    "two objects": (b'{"id": "a"} {"id": "b"}', "isn't JSON"),
    "no object": (b"[1, 2]", "expected a JSON object"),
    "null": (b"null", "expected a JSON object"),
    "deep": (
        b'{"id": "a", "metadata": {"k": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
        "nested deeper",
    ),
    "deeper than we keep": (
        more(b'"metadata": {"k": ' + b"[" * 150 + b"]" * 150 + b"}"),
        "nested deeper than 100 levels",
    ),
    "NaN": (b'{"id": "a", "embedding": [NaN, 1]}', "isn't JSON"),
    "Infinity": (more(b'"metadata": {"x": -Infinity}'), "isn't JSON"),
    "a number beyond float64": (b'{"id": "a", "embedding": [1e999, 1]}', "isn't JSON"),
    "a number beyond float32": (
        b'{"id": "a", "embedding": [1e99, 1]}',
        r"embedding\[0\] is 1e\+99",
    ),
    "an integer beyond 64 bits": (
        more(b'"metadata": {"n": 18446744073709551616}'),
        r"metadata\['n'\] is 18446744073709551616 .*integers go from",
    ),
    "an integer of thousands of digits": (more(b'"metadata": {"n": ' + b"9" * 10_000 + b"}"), ""),
    "bad UTF-8": (b'{"id": "\xff\xfe", "embedding": [1, 2]}', "UTF-8"),
    "UTF-8 of a surrogate": (b'{"id": "\xed\xa0\x80", "embedding": [1, 2]}', "UTF-8"),
    "a lone surrogate": (b'{"id": "\\ud800", "embedding": [1, 2]}', "surrogate"),
    "one in a key": (more(b'"metadata": {"\\udc00": 1}'), "surrogate"),
    "no id": (b'{"embedding": [1, 2]}', "no 'id'"),
    "an empty id": (b'{"id": "", "embedding": [1, 2]}', "id is empty"),
    "an id that is a number": (b'{"id": 7, "embedding": [1, 2]}', "id is 7"),
    "an id that is null": (b'{"id": null, "embedding": [1, 2]}', "id is None"),
    "an id twice": (b'{"id": "good", "embedding": [1, 2]}', "'good' is given a second time"),
    "an unknown key": (more(b'"text": "x"'), "unknown key 'text'"),
    "another dimension": (b'{"id": "a", "embedding": [1, 2, 3]}', "embedding has 3 numbers"),
    "no dimension": (b'{"id": "a", "embedding": []}', "embedding"),
    "an embedding that is no list": (b'{"id": "a", "embedding": {"0": 1}}', "expected a list"),
    "an embedding of texts": (b'{"id": "a", "embedding": ["1", "2"]}', "embedding"),
    "an embedding of lists": (b'{"id": "a", "embedding": [[1, 2]]}', "embedding"),
    "an embedding of nulls": (b'{"id": "a", "embedding": [null, 1]}', "embedding"),
    "no base64": (b'{"id": "a", "embedding": "AA=A"}', "base64"),
    "base64 of other numbers": (b'{"id": "a", "embedding": "AAAA"}', "base64"),
    "base64 of NaN": (
        b'{"id": "a", "embedding": "'
        + base64.b64encode(np.array([np.nan, 1], "<f4").tobytes())
        + b'"}',
        "finite",
    ),
    "no embedding": (b'{"id": "a", "document": "x"}', "no embedding function"),
    "metadata that is no object": (more(b'"metadata": [1]'), "a dict"),
    "a key that is ours": (more(b'"metadata": {"$x": 1}'), r"'\$x'"),
    "a document that is none": (more(b'"document": 7'), "document is 7"),
    "a uri that is none": (more(b'"uri": ["x"]'), "uri is"),
    "a sparse vector": (
        more(b'"sparse_embedding": {"indices": [1], "values": [1]}'),
        "no sparse vectors",
    ),
    "a sparse vector that is none": (
        more(b'"sparse_embedding": {"indices": [1], "values": []}'),
        "sparse_embedding is",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_hostile_line_is_refused_by_its_number_and_nothing_is_added(kind, notes, tmp_path):
    line, why = BAD[kind]
    path = tmp_path / "notes.jsonl"
    path.write_bytes(
        b"\n".join([GOOD.encode(), b"", line, b'{"id": "after", "embedding": [1, 2]}'])
    )
    for upsert in (False, True):
        with pytest.raises(InvalidArgumentError, match=f"^notes.jsonl, line 3: .*{why}"):
            add_file(notes, path, upsert=upsert)
    with pytest.raises(InvalidArgumentError, match="^notes.jsonl, line 3: "):
        check(path, notes)
    assert notes.get()["ids"] == ["there"]


def test_errors_are_of_their_kinds(notes, tmp_path):
    path = tmp_path / "notes.jsonl"
    kinds = {
        "an id twice": DuplicateIDError,
        "another dimension": DimensionMismatchError,
        "a key that is ours": InvalidMetadataError,
    }
    for name, kind in kinds.items():
        path.write_bytes(GOOD.encode() + b"\n" + BAD[name][0])
        with pytest.raises(kind):
            add_file(notes, path)


def test_the_first_wrong_line_of_many_is_named(notes, tmp_path):
    lines = [json.dumps({"id": str(i), "embedding": [i, i]}) for i in range(5_000)]
    lines[4_321] = '{"id": "4321", "embedding": [1]}'
    lines[4_500] = "{"
    (tmp_path / "notes.jsonl").write_text("\n".join(lines))
    with pytest.raises(DimensionMismatchError, match="^notes.jsonl, line 4322: "):
        add_file(notes, tmp_path / "notes.jsonl")
    lines[4_321] = lines[100]
    (tmp_path / "notes.jsonl").write_text("\n".join(lines))
    with pytest.raises(DuplicateIDError, match="^notes.jsonl, line 4322: the id '100'"):
        add_file(notes, tmp_path / "notes.jsonl")
    assert notes.count() == 1


def test_a_line_is_as_long_as_is_allowed(notes, tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text(GOOD + "\n" + GOOD.replace("good", "best"))
    assert check(path, max_line_bytes=len(GOOD)).records == 2
    with pytest.raises(InvalidArgumentError, match="^notes.jsonl, line 1: it is longer than 34"):
        add_file(notes, path, max_line_bytes=len(GOOD) - 1)


def test_a_line_without_end_takes_no_memory(notes, tmp_path):
    path = tmp_path / "notes.jsonl"
    with path.open("wb") as file:
        file.write(b'{"id": "')
        file.truncate(1 << 31)
    limit = 8 << 20
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgumentError, match="^notes.jsonl, line 1: it is longer than"):
            add_file(notes, path, max_line_bytes=limit)
        with pytest.raises(InvalidArgumentError, match="^notes.jsonl, row 0: it is longer than"):
            add_file(notes, path, format="csv", max_line_bytes=limit)
        assert tracemalloc.get_traced_memory()[1] < 8 * limit
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=60), st.sampled_from(["jsonl", "csv", "tsv", "parquet"]))
def test_any_bytes_at_all_are_records_or_refused(data, format):
    path = f"/dev/shm/hostile-{os.getpid()}" if os.path.isdir("/dev/shm") else "hostile"
    try:
        with open(path, "wb") as file:
            file.write(data)
        check(path, format=format)
    except InvalidArgumentError:
        pass
    finally:
        os.unlink(path)


def test_missing_and_special_files_are_refused(notes, tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for path in (tmp_path / "none.jsonl", tmp_path / "pipe.jsonl", "/dev/zero"):
        with pytest.raises(InvalidArgumentError, match="path is"):
            add_file(notes, path, format="jsonl")
    with pytest.raises(InvalidArgumentError, match="embeddings.npy"):
        add_file(notes, tmp_path / "folder.jsonl")
    with pytest.raises(InvalidArgumentError, match="whose suffix is none of"):
        add_file(notes, tmp_path / "notes.xml")
    with pytest.raises(InvalidArgumentError, match="format is 'xml'"):
        add_file(notes, tmp_path / "notes.xml", format="xml")


# --- Existing files


def lines_of(path, ids):
    path.write_text("".join(json.dumps({"id": one, "embedding": [1, 2]}) + "\n" for one in ids))
    return path


def test_an_existing_id_is_named_before_anything_is_written(notes, tmp_path):
    path = lines_of(tmp_path / "notes.jsonl", [*map(str, range(1_500)), "there", "more"])
    with pytest.raises(IDAlreadyExistsError, match="^notes.jsonl, line 1501: the id 'there'"):
        add_file(notes, path)
    assert notes.count() == 1
    with pytest.raises(InvalidArgumentError, match="resume and upsert"):
        add_file(notes, path, resume=True, upsert=True)
    report = add_file(notes, path, resume=True)
    assert (report.added, report.skipped, report.updated) == (1_501, 1, 0)
    assert notes.get(ids="there", include=["embeddings"])["embeddings"].tolist() == [[0, 1]]
    report = add_file(notes, path, upsert=True)
    assert (report.added, report.skipped, report.updated) == (0, 0, 1_502)
    assert notes.get(ids="there", include=["embeddings"])["embeddings"].tolist() == [[1, 2]]


def test_interrupted_adds_are_resumed(tmp_path):
    calls = []

    def embed(texts):
        calls.append(list(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return [[len(text), 1] for text in texts]

    path = tmp_path / "notes.jsonl"
    path.write_text(
        "".join(json.dumps({"id": f"{i}", "document": f"t{i}"}) + "\n" for i in range(50))
    )
    with retrieval_store.Client() as client:
        notes = client.create_collection("notes", embedding_function=embed)
        with pytest.raises(KeyboardInterrupt):
            add_file(notes, path, batch=10)
        assert notes.count() == 20
        report = add_file(notes, path, batch=10, resume=True)
        assert (report.added, report.skipped) == (30, 20)
        assert notes.get()["ids"] == [str(i) for i in range(50)]
        assert sum(map(len, calls)) == 60


def test_records_with_and_without_embeddings_are_added_in_their_order(tmp_path):
    path = tmp_path / "notes.jsonl"
    records = [{"id": f"{i}", "document": f"text {i}"} for i in range(9)]
    for i in (2, 3, 7):
        records[i]["embedding"] = [i, i]
    path.write_text("\n".join(map(json.dumps, records)))
    with retrieval_store.Client() as client:
        notes = client.create_collection(
            "notes", embedding_function=lambda texts: [[1, 0]] * len(texts)
        )
        report = check(path, notes)
        assert (report.records, report.embedded, report.dimension) == (9, 3, 2)
        add_file(notes, path)
        found = list(notes.iterate(include=["documents", "embeddings"]))
        assert [(one["id"], one["document"]) for one in found] == [
            (one["id"], one["document"]) for one in records
        ]
        assert [one["embedding"].tolist() for one in found] == [
            one.get("embedding", [1, 0]) for one in records
        ]


def test_records_without_a_possible_vector_are_refused(tmp_path):
    path = tmp_path / "notes.jsonl"
    with retrieval_store.Client() as client:
        notes = client.create_collection(
            "notes", embedding_function=lambda texts: [[1]] * len(texts)
        )
        for given, why in (
            ({}, "neither a document nor a uri"),
            ({"document": "x", "uri": "y"}, "both a document and a uri"),
            ({"uri": "y"}, "no data loader"),
        ):
            path.write_text(json.dumps({"id": "a", **given}))
            with pytest.raises(InvalidArgumentError, match=f"line 1: it has no embedding.*{why}"):
                add_file(notes, path)
        halves = client.create_collection(
            "halves", {"vectors": {"datatype": "float16"}}, embedding_function=None
        )
        path.write_text('{"id": "a", "embedding": [65505]}')
        with pytest.raises(InvalidArgumentError, match="line 1: .*float16"):
            add_file(halves, path)


def test_a_file_that_is_written_to_while_it_is_checked_is_not_added(notes, tmp_path, monkeypatch):
    path = lines_of(tmp_path / "notes.jsonl", ["a"])

    def then_written(checked, *args):
        report = checked(*args)
        lines_of(path, ["a", "b"])
        return report

    steps.around(monkeypatch, "check_import", then_written)
    with pytest.raises(InvalidArgumentError, match="changed while it was being checked"):
        add_file(notes, path)
    assert notes.count() == 1


def test_other_names_of_columns(notes, tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"key": "a", "text": "x", "embedding": [1, 2]}')
    add_file(notes, path, id_column="key", document_column="text")
    assert notes.get(ids="a")["documents"] == ["x"]
    path.write_text('{"key": "a", "id": "b", "embedding": [1, 2]}')
    with pytest.raises(InvalidArgumentError, match="line 1: it has both 'key' and 'id'"):
        add_file(notes, path, id_column="key")


# --- CSV


def csv_of(tmp_path, text, name="books.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns_of_csv_are_fields_and_metadata(tmp_path):
    path = csv_of(
        tmp_path,
        "\ufeffid,document,uri,metadata,embedding,year,price,sold,code,mixed,name\r\n"
        'a,"two\r\nlines, ""quoted""",,"{""k"": [1]}","[1, 2]",1851,1.50,true,007,1,Ishmael\r\n'
        "b,,u,,AACAPwAAAEA=,1813,2,FALSE,8,x,\r\n"
        'c,,,,"[1, 2]",,-1e3,,,,\r\n',
    )
    with retrieval_store.Client() as client:
        books = client.create_collection("books", embedding_function=None)
        assert add_file(books, path).added == 3
        found = list(books.iterate(include=["documents", "metadatas", "uris", "embeddings"]))
    assert [one["embedding"].tolist() for one in found] == [[1, 2]] * 3
    assert [(one["id"], one["document"], one["uri"]) for one in found] == [
        ("a", 'two\r\nlines, "quoted"', None),
        ("b", None, "u"),
        ("c", None, None),
    ]
    assert [str(one["metadata"]) for one in found] == [
        str(
            {
                "k": [1],
                "year": 1851,
                "price": 1.5,
                "sold": True,
                "code": "007",
                "mixed": "1",
                "name": "Ishmael",
            }
        ),
        str({"year": 1813, "price": 2, "sold": False, "code": "8", "mixed": "x"}),
        str({"price": -1000.0}),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name\nx\n", "no column 'id' among 'name'"),
        ("id,id\nx,y\n", "the column 'id' more than once"),
        ("id" + ",x" * 2_000_000 + "\n" + "," * 2_000_000 + "\n", "2,000,001 columns"),
        ("", "it is empty"),
        ("id,embedding\na,[1]\nb,[1],c\n", "^books.csv, row 2: it has 3 cells"),
        ("id,embedding\na,[1]\nb\n", "^books.csv, row 2: it has 1 cells"),
        ("id,embedding\na,[1]\nb,[x]\n", r"^books.csv, row 2: embedding is '\[x\]'"),
        ("id,embedding\na,[1]\na,[2]\n", "^books.csv, row 2: the id 'a' is given a second"),
        ("id,embedding,metadata\na,[1],[]\n", "^books.csv, row 1: metadata is"),
        (
            'id,embedding,metadata\na,[1],"{""embedding"": 18446744073709551616}"\n',
            r"^books.csv, row 1: metadata\['embedding'\] is 18446744073709551616",
        ),
        ('id,embedding\na,[1]\nb,"[1', "^books.csv, row 2: it isn't CSV"),
        (b"id,embedding\na,[1]\n\xff,[1]\n", "^books.csv, row 2: it isn't valid UTF-8"),
        ("id,embedding\n,[1]\n", "^books.csv, row 1: it has no 'id'"),
    ],
)
def test_errors_in_csv_name_the_row(text, why, tmp_path):
    with retrieval_store.Client() as client:
        books = client.create_collection("books", embedding_function=None)
        with pytest.raises(InvalidArgumentError, match=why):
            add_file(books, csv_of(tmp_path, text))
        assert books.count() == 0


@pytest.mark.parametrize("longest", ["89445001020304050607", "-9223372036854775809"])
def test_a_column_with_an_integer_that_cannot_be_stored_stays_text(longest, tmp_path):
    path = csv_of(tmp_path, f"id,embedding,sim,size\na,[1],{longest},1e20\nb,[1],12,-0\n")
    with retrieval_store.Client() as client:
        cards = client.create_collection("cards", embedding_function=None)
        add_file(cards, path)
        metadatas = cards.get(["a", "b"])["metadatas"]
    assert metadatas == [{"sim": longest, "size": 1e20}, {"sim": "12", "size": 0.0}]


def test_tabs_and_long_cells(tmp_path):
    text = "word " * 100_000
    path = csv_of(tmp_path, f"key\ttext\n1\t{text}\n", "books.tsv")
    with retrieval_store.Client() as client:
        books = client.create_collection(
            "books", embedding_function=lambda texts: [[1.0]] * len(texts)
        )
        add_file(books, path, id_column="key", document_column="text")
        assert books.get()["documents"] == [text]


def test_a_cell_full_of_quotation_marks_takes_the_memory_of_a_cell(notes, tmp_path):
    text = 'said "yes" and ' * 200_000
    cell = text.replace('"', '""')
    path = csv_of(tmp_path, f'id,document,embedding\n1,"{cell}","[1,2]"\n2,"","[1,2]"\n')
    tracemalloc.start()
    try:
        add_file(notes, path)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(cell)
    finally:
        tracemalloc.stop()
    assert notes.get(ids=["1", "2"])["documents"] == [text, ""]


# --- Parquet, and arrays


def test_tables_of_others_are_read(tmp_path):
    table = pyarrow.table(
        {
            "key": [1, 2, 3],
            "text": ["a", None, "c"],
            "embedding": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
            "metadata.n": [1, None, 3],
            "day": pyarrow.array([0, 1, None], pyarrow.date32()),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    with retrieval_store.Client() as client:
        mine = client.create_collection("mine", embedding_function=None)
        add_file(mine, tmp_path / "t.parquet", id_column="key", document_column="text")
        found = mine.get(include=["documents", "metadatas", "embeddings"])
        assert found["ids"] == ["1", "2", "3"] and found["documents"] == ["a", None, "c"]
        assert found["embeddings"].tolist() == [[1, 2], [3, 4], [5, 6]]
        assert found["metadatas"] == [
            {"n": 1, "day": "1970-01-01"},
            {"day": "1970-01-02"},
            {"n": 3},
        ]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"id": ["a", "a"], "embedding": [[1.0], [2.0]]}, "row 2: the id 'a' is given a second"),
        ({"id": ["a", None], "embedding": [[1.0], [2.0]]}, "row 2: it has no 'id'"),
        ({"id": ["a", "b"], "embedding": [[1.0], [2.0, 3.0]]}, "row 2: embedding has 2 numbers"),
        ({"id": ["a", "b"], "embedding": [[1.0], None]}, "row 2: it has no embedding"),
        (
            {"id": ["a", "b"], "embedding": [[1.0], [float("inf")]]},
            r"row 2: embedding\[0\] is inf",
        ),
        ({"id": ["a", "b"], "embedding": [[1.0], [1.0]], "m": [b"", b""]}, "row 1: .*has bytes"),
        ({"id": ["a"], "embedding": [[1.0]], "metadata": ["{"]}, "row 1: metadata is '{'"),
        ({"name": ["a"]}, "no column 'id'"),
    ],
)
def test_errors_in_parquet_name_the_row(columns, why, tmp_path):
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    with retrieval_store.Client() as client:
        mine = client.create_collection("mine", embedding_function=None)
        with pytest.raises(InvalidArgumentError, match=f"^t.parquet.*{why}"):
            add_file(mine, tmp_path / "t.parquet")
        assert mine.count() == 0


def test_a_cut_parquet_file_is_refused(notes, tmp_path):
    table = pyarrow.table({"id": [str(i) for i in range(999)], "embedding": [[1.0, 2.0]] * 999})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    for end in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "t.parquet").write_bytes(whole[:end])
        with pytest.raises(InvalidArgumentError, match="t.parquet can't be read"):
            add_file(notes, tmp_path / "t.parquet")


def test_arrays_that_contradict_their_records_are_refused(notes, tmp_path):
    def add(vectors, lines):
        np.save(tmp_path / "embeddings.npy", vectors, allow_pickle=True)
        (tmp_path / "records.jsonl").write_text(lines)
        return add_file(notes, tmp_path)

    two = np.ones((2, 2), np.float32)
    for vectors, lines, why in (
        (two, '{"id": "a"}', "1 records, but embeddings.npy 2"),
        (two, '{"id": "a"}\n{"id": "b"}\n{"id": "c"}', "line 3: embeddings.npy has no more than 2"),
        (two, '{"id": "a", "embedding": [1, 2]}', "line 1: it has an embedding"),
        (np.array([[{}]], object), '{"id": "a"}', "embeddings.npy can't be read"),
        (np.array(["text"]), '{"id": "a"}', "expected numbers"),
        (np.array([[np.inf, 1]]), '{"id": "a"}', "line 1: embedding.* is inf"),
        (np.array([[np.nan, np.nan]]), '{"id": "a"}', "line 1: it has no embedding"),
    ):
        with pytest.raises(InvalidArgumentError, match=why):
            add(vectors, lines)
    assert notes.count() == 1
    assert add(two.astype(np.float64), '{"id": "a"}\n{"id": "b"}').added == 2

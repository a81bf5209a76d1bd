"""What `warm` loads before the first queries, what it reports, and that these queries then load
nothing.
"""

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError, NotFoundError
from tests.helpers import steps
from tests.helpers.indexed import DIMENSION, populated, until
from tests.helpers.listed import kept_of
from tests.helpers.tuned import eager_indexes, tuned

COUNT = 300
SPARSE = {"indices": [3, 5], "values": [1.0, 2.0]}


def filled(client, configuration=None):
    things = client.create_collection("things", configuration, embedding_function=None)
    things.add(
        ids=[str(i) for i in range(COUNT)],
        embeddings=np.eye(2, dtype=np.float32)[np.arange(COUNT) % 2],
        documents=[f"w{i % 7} and number {i}" for i in range(COUNT)],
        metadatas=[{"n": i, "tags": [f"t{i % 3}", "all"], "a.b": i % 5} for i in range(COUNT)],
        sparse_embeddings=[SPARSE] * COUNT if configuration else None,
    )
    return things


def answers(things):
    near = {"query_embeddings": [[1.0, 0.5]], "n_results": 5}
    return [
        things.query(**near)["ids"],
        things.query(**near, where={"n": {"$lt": 50}})["ids"],
        things.query(**near, where={"tags": {"$contains": "t2"}})["ids"],
        things.get(where={"a.b": 3})["ids"],
        things.query(query_texts="w5", mode="text")["ids"],
    ]


@pytest.fixture
def small(monkeypatch):
    """Derived files are saved for few points already."""
    tuned(monkeypatch, columns_worth=1, lists_worth=1)


@pytest.fixture
def nothing_read(monkeypatch):
    """After this call, no payload and no document may be read for columns or lists."""

    def refuse(_, points, *__):
        assert not len(points), "points were read that `warm` should have read"
        return []

    def begin():
        steps.replace(monkeypatch, "read_payloads", refuse)
        steps.replace(monkeypatch, "read_texts", refuse)

    return begin


@pytest.mark.embedded
def test_the_first_queries_find_everything_ready(client, nothing_read):
    things = filled(client)
    warmed = things.warm(keys=["n", "tags", "a.b"], text=True)
    assert warmed["points"] == COUNT
    assert warmed["spaces"] == {"": {"vectors": COUNT, "coded_slots": 0, "indexed_slots": 0}}
    assert warmed["keys"] == {"n": "built", "tags": "built", "a.b": "built"}
    assert warmed["lists"] == {"words": "built"}
    assert [*warmed["milliseconds"]] == ["state", "spaces", "keys", "lists"]
    assert all(spent >= 0 for spent in warmed["milliseconds"].values())
    nothing_read()
    expected = answers(things)
    again = things.warm(keys=["n", "tags", "a.b"], text=True)
    assert {*again["keys"].values(), *again["lists"].values()} == {"kept"}
    assert answers(things) == expected


@pytest.mark.local
@pytest.mark.embedded
def test_without_arguments_only_vectors_are_loaded(client):
    things = filled(client)
    warmed = things.warm()
    assert warmed["keys"] == warmed["lists"] == {}
    held = kept_of(things)
    assert held.columns.nonempty_keys() == held.lists.nonempty_keys() == []


@pytest.mark.embedded
def test_an_empty_collection_has_nothing_to_load(client):
    warmed = client.create_collection("empty", embedding_function=None).warm(["n"], True)
    assert (warmed["points"], warmed["spaces"]) == (0, {})
    assert warmed["keys"].keys() == {"n"}


@pytest.mark.embedded
def test_lists_of_sparse_vectors_are_loaded_without_being_named(client, monkeypatch):
    things = filled(client, {"sparse": {}})
    assert things.warm()["lists"] == {"sparse": "built"}

    error = AssertionError("sparse vectors were read again")
    steps.fail(monkeypatch, "read_sparse_vectors", error)
    found = things.query(query_sparse=SPARSE, mode="sparse", n_results=2)
    assert found["ids"] == [["0", "1"]]
    assert things.warm(text=True)["lists"] == {"sparse": "kept", "words": "built"}


@pytest.mark.embedded
@pytest.mark.usefixtures("small")
def test_built_files_are_saved_and_the_next_process_loads_them(tmp_path, nothing_read):
    def kinds():
        return sorted(file.name.split(".")[0] for file in tmp_path.glob("*/derived/*"))

    with retrieval_store.Client(tmp_path) as client:
        things = filled(client)
        things.warm("n", text=True)
        until(lambda: kinds() == ["columns", "words"], "what was warmed wasn't saved")
        expected = answers(things)
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        things = client.get_collection("things", embedding_function=None)
        warmed = things.warm(["n"], text=True)
        assert warmed["keys"] == {"n": "loaded"}
        assert warmed["lists"] == {"words": "loaded"}
        assert answers(things) == expected
        nothing_read()
        assert things.query(query_texts="w5", mode="text")["ids"] == expected[-1]
        assert things.get(where={"n": 7})["ids"] == ["7"]
    with retrieval_store.Client(tmp_path, read_only=True, rebuild=True) as client:
        things = client.get_collection("things", embedding_function=None)
        with pytest.raises(AssertionError, match="were read"):
            things.warm("n")


@pytest.mark.embedded
@pytest.mark.usefixtures("small")
def test_writes_since_saving_are_visible(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = filled(client)
        things.warm("n", text=True)
        things.optimize()
        things.update("7", [[1, 0]], {"n": -1}, "another")
        things.delete("8")
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        warmed = things.warm("n", text=True)
        assert (warmed["points"], warmed["keys"]) == (COUNT - 1, {"n": "loaded"})
        assert things.get(where={"n": {"$lt": 0}})["ids"] == ["7"]
        assert things.get(where={"n": 8})["ids"] == []
        assert things.query(query_texts="another", mode="text")["ids"] == [["7"]]


@pytest.mark.embedded
def test_a_saved_index_is_loaded_at_once(tmp_path, monkeypatch):
    pytest.importorskip("hnswlib")
    eager_indexes(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        populated(client).optimize()
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        assert things.warm()["spaces"][""]["indexed_slots"] == 1_000
        found = things.query(query_embeddings=np.zeros((1, DIMENSION)), n_results=3)
        assert len(found["ids"][0]) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"keys": 5}, InvalidTypeError, "keys is 5"),
        ({"keys": {"n": 1}}, InvalidTypeError, "keys is "),
        ({"keys": ["n", 5]}, InvalidTypeError, r"keys\[1\] is 5 .*expected a metadata key"),
        ({"keys": [""]}, InvalidTypeError, r"keys\[0\] is ''"),
        ({"keys": ["\ud800"]}, InvalidArgumentError, r"keys\[0\] is .*lone surrogate"),
        ({"text": 1}, InvalidTypeError, "text is 1 .*expected a bool"),
        ({"text": "w5"}, InvalidTypeError, "text is .w5. .*expected a bool"),
    ],
)
def test_invalid_arguments_of_warm_are_named(client, arguments, error, message):
    with pytest.raises(error, match=message):
        filled(client).warm(**arguments)


def test_keys_may_be_one_and_named_twice_and_come_in_any_sequence(client):
    things = filled(client)
    for keys in ("n", ["n", "n"], ("n",), np.array(["n"])):
        assert set(things.warm(keys)["keys"]) <= {"n"}
    assert things.get(where={"n": 7})["ids"] == ["7"]


def test_a_deleted_collection_is_not_found(client):
    things = filled(client)
    client.delete_collection("things")
    with pytest.raises(NotFoundError):
        things.warm("n", text=True)

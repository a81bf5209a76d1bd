"""Features for several programs that share a collection, and for programs that write much."""

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import DuplicateIDError, IDAlreadyExistsError, InvalidArgumentError

MINE, THEIRS = {"owner": "me"}, {"owner": "other"}


@pytest.fixture
def things(client):
    things = client.create_collection("things", embedding_function=None)
    things.add(["a", "b"], [[1, 2], [3, 4]], [{**MINE, "old": 1}, THEIRS], documents=["x", "y"])
    return things


def test_ones_own_records_are_replaced_and_new_ones_added(things):
    result = things.replace_own(MINE, ["a", "c"], [[5, 6], [7, 8]], [MINE, MINE])
    assert result == {"left_out": [], "others": []}
    found = things.get(["a", "c"])
    assert found["metadatas"] == [MINE, MINE] and found["documents"] == [None, None]


def test_foreign_records_stay_and_are_named(things):
    before = things.get(["b"], include=["metadatas", "documents", "embeddings"])
    result = things.replace_own(MINE, ["a", "b"], [[5, 6], [7, 8]], [MINE, MINE])
    assert result["others"] == ["b"]
    after = things.get(["b"], include=["metadatas", "documents", "embeddings"])
    assert np.array_equal(after.pop("embeddings"), before.pop("embeddings")) and after == before


def test_own_records_require_an_explicit_condition(things):
    with pytest.raises(InvalidArgumentError, match="own is None"):
        things.replace_own(None, ["a"], [[1, 2]])


def test_batches_written_behind_exist_at_the_end_and_errors_are_raised(client):
    made = client.create_collection("made", embedding_function=lambda texts: [[1.0]] * len(texts))
    with made.write_behind() as behind:
        for i in range(5):
            assert not behind.add(ids=[f"{i}"], documents=[f"text {i}"]).left_out
        behind.upsert(ids=["0"], documents=["another"])
    assert made.count() == 5 and made.get("0")["documents"] == ["another"]
    with pytest.raises(IDAlreadyExistsError), made.write_behind() as behind:
        behind.add(ids=["0"], documents=["again"])


def test_records_are_checked_before_a_collection_is_created():
    given = retrieval_store.check_records("a", [1, 2], {"n": np.int64(3)}, "text")
    assert given["ids"] == ["a"] and given["metadatas"] == [{"n": 3}]
    assert type(given["metadatas"][0]["n"]) is int and given["embeddings"].shape == (1, 2)
    assert {*given} == {"ids", "embeddings", "metadatas", "documents"}
    with pytest.raises(DuplicateIDError):
        retrieval_store.check_records(["a", "a"])
    with pytest.raises(InvalidArgumentError, match="documents has 1 items, but ids has 2"):
        retrieval_store.check_records(["a", "b"], documents=["x"])
    with pytest.raises(InvalidArgumentError, match="can't be stored"):
        retrieval_store.check_records(["a"], metadatas=[{"n": float("nan")}])


def test_a_collection_reports_its_data_loader(client):
    loader = retrieval_store.TextLoader()
    made = client.create_collection("made", embedding_function=None, data_loader=loader)
    assert made.data_loader is loader
    assert client.get_collection("made", embedding_function=None).data_loader is None

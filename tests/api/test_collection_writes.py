"""add, update, upsert, delete, modify: their effects, and that refused calls change nothing."""

import enum
import logging
import uuid
from collections import OrderedDict, UserDict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas
import pytest

from retrieval_store.errors import (
    AlreadyExistsError,
    ConflictError,
    DimensionMismatchError,
    DuplicateIDError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidMetadataError,
)
from tests.helpers import inside

EVERYTHING = ["metadatas", "documents", "embeddings", "uris"]


class Colour(str, Enum):  # noqa: UP042  (whose str() is another)
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Other(Enum):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: int


class Words(str):
    """A subclass of str."""


def content(collection):
    """The whole content of a collection, in a comparable form."""
    got = collection.get(include=EVERYTHING)
    return {
        point_id: (got["metadatas"][i], got["documents"][i], got["uris"][i], *got["embeddings"][i])
        for i, point_id in enumerate(got["ids"])
    }


def types_in(metadata):
    """Sorted by key, since a cluster returns keys in any order."""
    return {key: type(value) for key, value in metadata.items()}


# add


def test_added_records_are_returned_unchanged(collection):
    metadata = {"z": 1, "a": [1, "x", None, {"deep": [2**64 - 1]}], "f": 1.0, "b": True, "n": None}
    collection.add(
        ids=["one", "two"],
        embeddings=[[0.1, 2], [3, -0.0]],
        metadatas=[metadata, None],
        documents=[None, "zwei\0 ½ 🎈"],
        uris=["file:///x", None],
    )
    got = collection.get(include=EVERYTHING)
    assert got["ids"] == ["one", "two"]
    assert got["metadatas"] == [metadata, None]
    assert types_in(got["metadatas"][0]) == types_in(metadata)
    assert got["documents"] == [None, "zwei\0 ½ 🎈"]
    assert got["uris"] == ["file:///x", None]
    assert got["embeddings"].dtype == np.float32
    assert np.array_equal(got["embeddings"], np.array([[0.1, 2], [3, -0.0]], np.float32))


@pytest.mark.embedded  # a cluster gives them in any order
def test_keys_of_metadata_come_back_in_their_order(collection):
    metadata = {"z": 1, "a": {"y": 1, "b": 2}, "f": 1.0, "b": True}
    collection.add(ids="one", embeddings=[0], metadatas=metadata)
    got = collection.get()["metadatas"][0]
    assert (list(got), list(got["a"])) == (["z", "a", "f", "b"], ["y", "b"])


def test_a_single_value_counts_as_a_list_of_one(collection):
    collection.add(ids="a", embeddings=[1, 2], metadatas={"k": 1}, documents="text", uris="u:1")
    assert content(collection) == {"a": ({"k": 1}, "text", "u:1", 1.0, 2.0)}


@pytest.mark.parametrize(
    "vectors",
    [
        [[1, 2], [3, 4]],
        [(1.0, 2.0), (3.0, 4.0)],
        [np.array([1, 2]), np.array([3, 4], np.float16)],
        np.array([[1, 2], [3, 4]], np.int32),
        np.array([[1, 2], [3, 4]], np.float64, order="F"),
        ([1, 2], [3, 4]),
    ],
)
def test_vectors_may_come_in_any_shape_that_numpy_users_have(collection, vectors):
    collection.add(ids=["a", "b"], embeddings=vectors)
    assert collection.get(include=["embeddings"])["embeddings"].tolist() == [[1, 2], [3, 4]]


def test_adding_an_id_that_exists_adds_nothing_and_names_the_ids(populated):
    before = content(populated)
    with pytest.raises(IDAlreadyExistsError, match="'p1', 'p3'; nothing was added"):
        populated.add(ids=["new", "p3", "p1"], embeddings=[[1, 2]] * 3)
    assert content(populated) == before


def test_at_most_ten_existing_ids_are_named(collection):
    ids = [f"id{i:02}" for i in range(25)]
    collection.add(ids=ids, embeddings=np.ones((25, 2)))
    with pytest.raises(IDAlreadyExistsError, match="and 15 more"):
        collection.add(ids=ids, embeddings=np.ones((25, 2)))


def test_invalid_records_are_refused_and_nothing_is_written(populated):
    for arguments, error, message in [
        ({"ids": ["x", "x"], "embeddings": [[1, 2]] * 2}, DuplicateIDError, "more than once: 'x'"),
        ({"ids": [""], "embeddings": [[1, 2]]}, InvalidArgumentError, r"ids\[0\] is empty"),
        (
            {"ids": [7], "embeddings": [[1, 2]]},
            ValueError,
            r"ids\[0\] is 7 \(int\), expected a str",
        ),
        ({"ids": [None], "embeddings": [[1, 2]]}, TypeError, "expected a str"),
        ({"ids": ["\ud800"], "embeddings": [[1, 2]]}, InvalidArgumentError, "surrogate"),
        ({"ids": [], "embeddings": [[1, 2]]}, InvalidArgumentError, "ids is empty"),
        ({"ids": 7, "embeddings": [[1, 2]]}, InvalidArgumentError, "expected a str or a list"),
        (
            {"ids": ["x", "y"], "embeddings": [[1, 2]]},
            InvalidArgumentError,
            "embeddings has 1 items",
        ),
        (
            {"ids": ["x"], "embeddings": [[1, 2]], "documents": ["a", "b"]},
            InvalidArgumentError,
            "documents has 2 items, but ids has 1: 'x'",
        ),
        ({"ids": ["x"]}, InvalidArgumentError, "needs embeddings, documents"),
        ({"ids": ["x"], "metadatas": [{"a": 1}]}, InvalidArgumentError, "needs embeddings"),
        (
            {"ids": ["x"], "embeddings": [[1, 2, 3]]},
            DimensionMismatchError,
            "have 3 numbers.* of 2",
        ),
        (
            {"ids": ["x", "y"], "embeddings": [[1, 2], [1]]},
            DimensionMismatchError,
            r"embeddings\[1\] has 1 numbers, but embeddings\[0\] has 2",
        ),
        ({"ids": ["x"], "embeddings": [[1, float("nan")]]}, ValueError, r"\[0\]\[1\] is nan"),
        ({"ids": ["x"], "embeddings": [[1, float("inf")]]}, ValueError, "finite"),
        ({"ids": ["x"], "embeddings": [[1, 1e39]]}, ValueError, "1e[+]39, expected a finite"),
        ({"ids": ["x"], "embeddings": [["1", "2"]]}, TypeError, "expected numbers"),
        ({"ids": ["x"], "embeddings": [[True, False]]}, TypeError, "expected numbers"),
        ({"ids": ["x"], "embeddings": [None]}, TypeError, r"embeddings\[0\] is None"),
        ({"ids": ["x"], "embeddings": [[1, None]]}, TypeError, "expected a vector of numbers"),
        ({"ids": ["x"], "embeddings": [[]]}, InvalidArgumentError, "shape"),
        ({"ids": ["x"], "embeddings": "text"}, InvalidArgumentError, "embeddings"),
        ({"ids": ["x"], "embeddings": [[[1, 2]]]}, InvalidArgumentError, "shape"),
        ({"ids": ["x"], "embeddings": [[1j, 2]]}, TypeError, "expected numbers"),
        ({"ids": ["x"], "embeddings": bytearray(b"ab")}, TypeError, "expected vectors"),
        ({"ids": ["x"], "embeddings": np.ma.array([[1, 2]], mask=[[0, 1]])}, TypeError, "vectors"),
        ({"ids": np.array("x"), "embeddings": [[1, 2]]}, TypeError, "ids is array"),
        (
            {"ids": ["x"], "embeddings": [[1, 2]], "documents": [5]},
            TypeError,
            r"documents\[0\] is 5",
        ),
        ({"ids": ["x"], "embeddings": [[1, 2]], "documents": ["\udfff"]}, ValueError, "surrogate"),
        ({"ids": ["x"], "embeddings": [[1, 2]], "uris": [5]}, TypeError, r"uris\[0\] is 5"),
        (
            {"ids": ["x"], "embeddings": [[1, 2]], "metadatas": ["a"]},
            ValueError,
            "dict is expected",
        ),
        ({"ids": ["x"], "embeddings": [[1, 2]], "metadatas": 3}, TypeError, "metadatas is 3"),
    ]:
        before = content(populated)
        with pytest.raises(error, match=message) as caught:
            populated.add(**arguments)
        assert isinstance(caught.value, ValueError)
        assert content(populated) == before


def test_metadata_outside_the_domain_is_refused_with_its_path(collection):
    for metadata, message in [
        ({"a": float("nan")}, r"metadatas\[1\]\['a'\] is nan"),
        ({"a": [1, {"b": float("inf")}]}, r"\['a'\]\[1\]\['b'\] is inf"),
        ({"a": object()}, "can't be stored"),
        ({"a": {1, 2}}, r"\(set\), .*: write sorted\("),
        ({"a": (1, {2})}, r"\['a'\]\[1\] is .*: write sorted\("),
        ({"a": b"x"}, r"\(bytes\), .*: write a string, such as base64"),
        (
            {"a": np.array([[1]])},
            r"\(ndarray\), .*: an array .* one dimension, .*; write ….tolist\(",
        ),
        ({"a": np.array(1)}, r"\(ndarray\), .* one dimension, .*; write ….tolist\(\)"),
        ({"a": np.array(["2024-05-01"], "M8[D]")}, r"\(ndarray\), .* of numbers, strings or bools"),
        ({"a": np.array([1j])}, r"\(ndarray\), .* of numbers, strings or bools"),
        ({"a": np.array([b"x"])}, r"\(ndarray\), .* of numbers, strings or bools"),
        ({"a": np.ma.array([1, 2], mask=[0, 1])}, r"write ….tolist\(\), which has None where"),
        ({"a": np.array([1, np.nan])}, r"\['a'\]\[1\] is nan \(float\).*floats must be finite"),
        ({"a": np.array([{2}, None])}, r"\['a'\]\[0\] is \{2\} \(set\)"),
        ({"a": np.datetime64("2020-01-01")}, r"\(datetime64\), .*: write str\("),
        ({"a": np.timedelta64(5, "ns")}, "timedelta64"),
        ({"a": timedelta(days=1)}, r"write ….total_seconds\(\)"),
        ({"a": time(10)}, r"write ….isoformat\(\)"),
        ({"a": Decimal("0.1")}, r"write float\(…\), or str\("),
        ({"a": Other.ONE}, r"write its .value"),
        ({"a": pandas.NaT}, r"write None, or leave it out"),
        ({"a": datetime}, "allowed are str, int"),
        ({"a": np.longdouble(1)}, "longdouble"),
        ({"a": np.float32("nan")}, "floats must be finite"),
        ({"a": 2**64}, r"from -2\*\*63 to 2\*\*64 - 1"),
        ({"a": -(2**63) - 1}, r"from -2\*\*63"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": {"\ud800": 1}}, "surrogate"),
        ({1: "a"}, "keys must be strings"),
        ({"a": {1: "a"}}, r"\['a'\].*keys must be strings"),
        ({"": 1}, "the key ''"),
        ({"$x": 1}, "start with '[$]'"),
        ({"_document": 1}, "_document"),
        ({"_uri": 1}, "_uri"),
    ]:
        with pytest.raises(InvalidMetadataError, match=message):
            collection.add(ids=["a", "b"], embeddings=[[1], [2]], metadatas=[{"ok": 1}, metadata])
        assert collection.count() == 0


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.str_("a"), "a"),
        (Words("a"), "a"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array([1, 2**64 - 1], np.uint64), [1, 2**64 - 1]),
        (np.array([0.5, 2], np.float32), [0.5, 2.0]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array(["a", 1, None], object), ["a", 1, None]),
        (np.ma.array([1, 2]), [1, 2]),
        (np.array([]), []),
        ({"of": [np.array([1])]}, {"of": [[1]]}),
        (date(2024, 5, 1), "2024-05-01"),
        (datetime(2024, 5, 1, 10, 30, tzinfo=UTC), "2024-05-01T10:30:00+00:00"),
        (datetime(2024, 5, 1, 10, 30, 0, 5), "2024-05-01T10:30:00.000005"),
        (pandas.Timestamp("2024-05-01"), "2024-05-01T00:00:00"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (PurePosixPath("a/b.txt"), "a/b.txt"),
        ((1, (2, Colour.RED)), [1, [2, "red"]]),
        (Point(1, 2), [1, 2]),
        ([OrderedDict(a=date(2024, 5, 1))], [{"a": "2024-05-01"}]),
    ],
)
def test_values_that_represent_json_are_stored_as_it_and_found_again(collection, value, stored):
    collection.add(["a", "b"], [[1], [2]], [{"k": value, "l": {"m": value}}, {"k": "other"}])
    (found,) = collection.get("a")["metadatas"]
    assert found == {"k": stored, "l": {"m": stored}}
    assert type(found["k"]) is type(stored)
    collection.modify(metadata={"k": value})
    assert collection.metadata == {"k": stored}
    if not isinstance(stored, list | dict):
        assert collection.get(where={"k": value})["ids"] == ["a"]
        assert collection.get(where={"l.m": {"$in": [value, "x"]}})["ids"] == ["a"]
    if isinstance(value, date):
        assert collection.get(where={"k": {"$gte": date(2024, 1, 1)}})["ids"] == ["a"]
        assert collection.get(where={"k": {"$lt": datetime(2025, 1, 1)}})["ids"] == ["a"]


class Unreadable(UserDict):
    """Like objects that load their content when it is accessed."""

    def __getitem__(self, key):
        raise KeyError(key)


def test_unreadable_arguments_are_refused_by_name(collection):
    for given in ({"k": Unreadable(a=1)}, {"k": [Unreadable(a=1)]}):
        with pytest.raises(InvalidMetadataError, match="it can't be read: KeyError"):
            collection.add("a", [[1]], given)
    with pytest.raises(InvalidFilterError, match="expected"):
        collection.get(where={"k": {"$in": [Unreadable(a=1)]}})


def test_keys_may_be_members_of_enums_of_strings(collection):
    collection.add("a", [[1]], {Colour.RED: 1, np.str_("b"): 2})
    assert collection.get()["metadatas"] == [{"red": 1, "b": 2}]


def test_metadata_nested_too_deep_is_refused(collection):
    nested = value = {}
    for _ in range(5000):
        value["a"] = {}
        value = value["a"]
    with pytest.raises(InvalidMetadataError, match="deeper than"):
        collection.add(ids="a", embeddings=[1], metadatas=nested)


def test_the_callers_arguments_are_never_changed(collection):
    ids, metadatas, documents = ["a", "b"], [{"k": 1}, None], ["x", None]
    vectors = [[1, 2], [3, 4]]
    collection.add(ids=ids, embeddings=vectors, metadatas=metadatas, documents=documents)
    collection.update(ids=ids, metadatas=[{"k": None, "l": 2}, {"m": 1}])
    assert (ids, metadatas, documents) == (["a", "b"], [{"k": 1}, None], ["x", None])
    assert vectors == [[1, 2], [3, 4]]


@pytest.mark.embedded  # a limit of SQLite
def test_one_atomic_batch_may_hold_any_number_of_records(collection):
    many = 34_000  # more than the parameters that a statement of SQLite may have
    collection.add(ids=[str(i) for i in range(many)], embeddings=np.ones((many, 3)))
    assert collection.count() == many
    with pytest.raises(IDAlreadyExistsError):
        collection.add(ids=[str(-i) for i in range(many)], embeddings=np.ones((many, 3)))
    assert collection.count() == many


def test_ids_may_be_members_of_an_enum_of_strings(collection):
    class Kind(str, enum.Enum):  # noqa: UP042 (not what StrEnum is)
        CAT = "cat"

    collection.add(ids=[Kind.CAT, np.str_("dog")], embeddings=[[1], [2]])
    assert collection.get()["ids"] == ["cat", "dog"]
    assert collection.get(ids=[Kind.CAT])["ids"] == ["cat"]


def test_a_write_uses_the_checked_values_even_if_the_caller_changes_them(collection, monkeypatch):
    vectors = np.ones((3, 2), np.float32)
    put = type(inside.points(collection)).put

    def put_after_a_change(self, batch, rules):
        vectors[:] = np.nan
        return put(self, batch, rules)

    monkeypatch.setattr(type(inside.points(collection)), "put", put_after_a_change)
    collection.add(ids=["a", "b", "c"], embeddings=vectors)
    assert collection.get(include=["embeddings"])["embeddings"].tolist() == [[1, 1]] * 3


# update and upsert


def test_update_changes_the_passed_fields_and_keeps_the_rest(populated):
    before = content(populated)
    populated.update(ids="p1", metadatas={"new": "x", "even": None})
    populated.update(ids=["p2", "p3"], embeddings=[[20, 1], [30, 1]])
    populated.update(ids=["p0", "p4"], embeddings=[[0, 0], [4, 0]], documents=["zero", None])
    assert content(populated) == {
        "p0": (before["p0"][0], "zero", None, 0, 0),
        "p1": ({"n": 1, "new": "x"}, "document 1", None, 1, 0),
        "p2": (before["p2"][0], "document 2", None, 20, 1),
        "p3": (before["p3"][0], "document 3", None, 30, 1),
        "p4": before["p4"],
    }
    assert populated.query(query_embeddings=[20, 1], n_results=1)["ids"] == [["p2"]]


def test_update_ignores_unknown_ids_with_one_warning_that_counts_them(populated, caplog):
    with caplog.at_level(logging.WARNING, "retrieval_store"):
        result = populated.update(ids=["x", "p1", "y"], metadatas=[{"n": 9}] * 3)
    assert result == {"left_out": ["x", "y"]}
    assert [record.message for record in caplog.records] == [
        "update ignored ids that don't exist: 2, such as 'x'"
    ]
    assert populated.count() == 5
    assert populated.get("p1")["metadatas"] == [{"n": 9, "even": False}]


def test_update_and_upsert_refuse_ids_alone_and_wrong_dimensions(populated):
    before = content(populated)
    for method in (populated.update, populated.upsert):
        with pytest.raises(InvalidArgumentError, match="only ids"):
            method(ids=["p1"])
        for ids in ("p1", "unknown"):
            with pytest.raises(DimensionMismatchError):
                method(ids=ids, embeddings=[[1, 2, 3]], metadatas=[{"n": 100}])
    assert content(populated) == before


def test_update_by_a_filter_merges_one_metadata_into_all_that_match(populated):
    before = content(populated)
    changed = populated.update(where={"even": True}, metadatas={"even": None, "new": [1]})
    assert changed == {"left_out": [], "updated": 3}
    assert populated.get()["metadatas"] == [
        {"n": i} | ({"even": False} if i % 2 else {"new": [1]}) for i in range(5)
    ]
    assert {i: one[1:] for i, one in content(populated).items()} == {
        i: one[1:] for i, one in before.items()
    }
    assert populated.get(where={"new": {"$contains": 1}})["ids"] == ["p0", "p2", "p4"]
    assert populated.query(query_embeddings=[0, 0], where={"even": True})["ids"] == [[]]
    fields = {"where_document": {"$contains": "3"}, "metadatas": {"n": 30}}
    assert populated.update(**fields)["updated"] == 1
    both = populated.update(where={"n": {"$gt": 3}}, **fields)
    assert both["updated"] == 1
    assert populated.update(where={"n": 99}, metadatas={"n": 1}) == {"left_out": [], "updated": 0}
    assert [one["n"] for one in populated.get()["metadatas"]] == [0, 1, 2, 30, 4]
    assert populated.query(query_texts="document", mode="text")["ids"] == [
        ["p0", "p1", "p2", "p3", "p4"]
    ]


def test_update_by_a_filter_refuses_what_else_is_given(populated):
    for arguments, message in [
        ({"metadatas": {"n": 1}}, "update needs ids, where or where_document"),
        ({"ids": "p1", "where": {"n": 1}, "metadatas": {"n": 1}}, "ids and where are both given"),
        ({"ids": [], "where": {"n": 1}, "metadatas": {"n": 1}}, "ids and where are both given"),
        ({"where": {"n": 1}}, "metadatas is None.*expected one dict"),
        ({"where": {"n": 1}, "metadatas": [{"n": 1}]}, r"metadatas is \[.*expected one dict"),
        ({"where": {"n": 1}, "metadatas": {"$n": 1}}, "may not be empty, start with"),
        ({"where": {"n": 1}, "metadatas": {"n": float("nan")}}, r"metadatas\[0\]\['n'\]"),
        ({"where": {"n": 1}, "metadatas": {}, "documents": "x"}, "documents goes with ids"),
        ({"where": {"n": 1}, "embeddings": [[1, 2]]}, "embeddings goes with ids"),
        ({"where": {"n": 1}, "metadatas": {"n": 2}, "embed": "uris"}, "embed goes with ids"),
        ({"where": {"n": {"$like": 1}}, "metadatas": {"n": 2}}, "unknown operator"),
        ({"where": {}, "metadatas": {"n": 2}}, "where is {}"),
    ]:
        before = content(populated)
        with pytest.raises(InvalidArgumentError, match=message):
            populated.update(**arguments)
        assert content(populated) == before


def test_upsert_updates_known_ids_and_adds_new_ones(populated):
    populated.upsert(
        ids=["p1", "new"],
        embeddings=[[10, 0], [11, 0]],
        metadatas=[{"n": None, "k": 1}, {"n": None, "k": 2}],
        documents=[None, "brand new"],
    )
    got = content(populated)
    assert got["p1"] == ({"even": False, "k": 1}, "document 1", None, 10, 0)
    assert got["new"] == ({"n": None, "k": 2}, "brand new", None, 11, 0)
    assert list(got) == ["p0", "p1", "p2", "p3", "p4", "new"]


def test_upsert_can_replace_metadata(populated):
    populated.upsert(ids="p1", metadatas={"k": None}, replace_metadata=True)
    assert populated.get("p1")["metadatas"] == [{"k": None}]


def test_upsert_of_metadata_alone_needs_known_ids(populated):
    before = content(populated)
    with pytest.raises(InvalidArgumentError, match="no embedding is given for new ids: 'new'"):
        populated.upsert(ids=["p1", "new"], metadatas=[{"n": 9}, {"n": 9}])
    assert content(populated) == before
    populated.upsert(ids=["p1"], metadatas=[{"n": 9}])
    assert populated.get("p1")["metadatas"] == [{"n": 9, "even": False}]


# delete


def test_delete_by_id_by_filter_and_by_both(populated):
    assert populated.delete(ids=["p1", "unknown"]) == {"deleted": 1}
    assert populated.delete(where={"even": True}, where_document={"$contains": "4"}) == {
        "deleted": 1
    }
    assert populated.delete(ids=["p0", "p3"], where={"even": True}) == {"deleted": 1}
    assert populated.get()["ids"] == ["p2", "p3"]


def test_delete_never_deletes_everything_by_accident(populated):
    for arguments in ({}, {"ids": None}, {"limit": 3}):
        with pytest.raises(InvalidArgumentError, match="delete needs ids, where or where_document"):
            populated.delete(**arguments)
    with pytest.raises(InvalidFilterError):
        populated.delete(where={})
    with pytest.raises(InvalidFilterError):
        populated.delete(ids=[], where_document={})
    with pytest.raises(InvalidArgumentError, match="limit"):
        populated.delete(ids=["p1"], limit=1)
    assert populated.delete(ids=[]) == {"deleted": 0}
    assert populated.count() == 5


def test_an_empty_list_of_ids_deletes_nothing_for_any_filter(populated):
    assert populated.delete(ids=[], where={"even": False}) == {"deleted": 0}
    assert populated.delete(ids=[], where={"even": False}, limit=1) == {"deleted": 0}
    assert populated.delete(ids=(), where_document={"$contains": "document"}) == {"deleted": 0}
    assert populated.count() == 5


def test_delete_with_a_limit_takes_the_first_inserted(populated):
    assert populated.delete(where={"n": {"$gte": 1}}, limit=2) == {"deleted": 2}
    assert populated.get()["ids"] == ["p0", "p3", "p4"]
    assert populated.delete(where={"n": {"$gte": 1}}, limit=0) == {"deleted": 0}


def test_a_deleted_point_can_be_added_again_and_comes_last(populated):
    populated.delete(ids="p1")
    populated.add(ids="p1", embeddings=[7, 7])
    assert populated.get()["ids"] == ["p0", "p2", "p3", "p4", "p1"]
    assert populated.get("p1")["documents"] == [None]
    assert populated.query(query_embeddings=[7, 7], n_results=1)["ids"] == [["p1"]]


# modify


def test_modify_renames_replaces_metadata_and_changes_search_time_settings(client):
    collection = client.create_collection("old", metadata={"a": 1, "b": 2})
    collection.modify(name="new", metadata={"c": 3}, configuration={"hnsw": {"ef_search": 7}})
    assert collection.name == "new"
    assert collection.metadata == {"c": 3}
    assert collection.configuration["hnsw"]["ef_search"] == 7
    assert client.get_collection("new") == collection
    with pytest.raises(ValueError, match="'old'"):
        client.get_collection("old")


def test_modify_refuses_an_existing_or_invalid_name_and_another_distance(client):
    client.create_collection("taken")
    collection = client.create_collection("mine", metadata={"hnsw:space": "ip"})
    with pytest.raises(AlreadyExistsError, match="'taken'"):
        collection.modify(name="taken", metadata={"x": 1})
    with pytest.raises(InvalidArgumentError, match="name is 'a b'"):
        collection.modify(name="a b")
    for change in (
        {"configuration": {"hnsw": {"space": "l2"}}},
        {"metadata": {"hnsw:space": "cosine"}},
        {"configuration": {"hnsw": {"max_neighbors": 99}}},
    ):
        with pytest.raises(ConflictError, match="can't become"):
            collection.modify(**change)
    collection.modify(name="mine", metadata={"hnsw:space": "ip", "y": 1})
    assert (collection.name, collection.metadata) == ("mine", {"hnsw:space": "ip", "y": 1})


def test_a_value_too_large_to_be_shown_is_refused_like_any_other(collection):
    for bad in (10**5_000, [10**5_000], {"deep": 10**5_000}):
        with pytest.raises(InvalidMetadataError, match="metadatas"):
            collection.add(ids="a", embeddings=[[1]], metadatas={"n": bad})
        with pytest.raises(InvalidArgumentError):
            collection.get(limit=bad)
    assert collection.count() == 0

"""Filters by example: results, refusals, and queries that must stay fast."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from retrieval_store.errors import InvalidFilterError

VALUES = {
    "one": 1,
    "one_float": 1.0,
    "true": True,
    "text": "1",
    "list": [1, "x"],
    "empty": [],
    "none": None,
    "object": {"k": 1},
    "big": 2**53 + 1,
    "half": 0.5,
    "minus_zero": -0.0,
}


@pytest.fixture
def values(collection):
    """One point for each of VALUES, under the key "k", and one without metadata."""
    ids = [*VALUES, "missing"]
    metadatas = [*({"k": value} for value in VALUES.values()), None]
    collection.add(ids=ids, embeddings=np.ones((len(ids), 1)), metadatas=metadatas)
    return collection


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (1, "one one_float"),
        (1.0, "one one_float"),
        (True, "true"),
        (False, ""),
        ("1", "text"),
        (0, "minus_zero"),
        (2**53 + 1, "big"),
        (float(2**53), ""),
        ({"$eq": 1}, "one one_float"),
        ({"$in": ["1", True, 0.5]}, "true text half"),
        ({"$gt": 0.5}, "one one_float big"),
        ({"$gte": 0.5}, "one one_float big half"),
        ({"$gt": float(2**53)}, "big"),
        ({"$lt": 1}, "half minus_zero"),
        ({"$lt": 10**400}, "one one_float big half minus_zero"),
        ({"$lte": 0, "$gte": 0}, "minus_zero"),
        ({"$contains": 1}, "list"),
        ({"$contains": "x"}, "list"),
        ({"$contains": True}, ""),
        ({"$contains": "1"}, "text"),
        ({"$contains": ""}, "text"),
        ({"$prefix": "1"}, "text"),
        ({"$prefix": "x"}, ""),
        ({"$regex": r"^\d$"}, "text"),
        ({"$regex": "."}, "text"),
        ({"$ne": 1}, "true text list empty none object big half minus_zero missing"),
        ({"$nin": [1, "1", True]}, "list empty none object big half minus_zero missing"),
        (
            {"$not_contains": 1},
            "one one_float true text empty none object big half minus_zero missing",
        ),
        (
            {"$not_contains": "1", "$exists": True},
            "one one_float true list object big half minus_zero",
        ),
        ({"$not_regex": ".", "$gte": 1}, "one one_float big"),
    ],
)
def test_values_are_compared_as_decided(values, condition, expected):
    assert values.get(where={"k": condition})["ids"] == expected.split()


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ({}, "where is {}"),
        ([], r"where is \[\]"),
        ("k", "where is 'k'"),
        ({"k": {}}, r"where\['k'\] is {}"),
        ({"k": []}, r"where\['k'\] is \[\]"),
        ({"k": None}, r"where\['k'\] is None"),
        ({"k": {"$eq": None}}, r"where\['k'\]\['\$eq'\] is None"),
        ({"k": {"$eq": [1]}}, r"\['\$eq'\] is \[1\]"),
        ({"k": {"$in": []}}, r"\['\$in'\] is \[\]: expected a list"),
        ({"k": {"$in": 5}}, "expected a list"),
        ({"k": {"$in": "text"}}, "expected a list"),
        ({"k": {"$in": [1, None]}}, r"\['\$in'\]\[1\] is None"),
        ({"k": {"$gt": "\ud800"}}, "lone surrogate"),
        ({"k": {"$gt": None}}, r"\['\$gt'\] is None"),
        ({"k": {"$exists": 1}}, "expected True or False"),
        ({"k": {"$size": -1}}, "0 or more"),
        ({"k": {"$size": True}}, "how many elements"),
        ({"k": {"$not": 1}}, r"\['\$not'\] is 1: expected at least one operator"),
        ({"$nor": {"k": 1}}, r"where\['\$nor'\] is"),
        ({"k": {"$gt": True}}, "order comparisons are for numbers"),
        ({"k": {"$lt": float("nan")}}, "finite float"),
        ({"k": {"$eq": float("inf")}}, "finite float"),
        ({"k": {"$like": "a"}}, r"unknown operator '\$like'"),
        ({"k": {"gte": 1}}, r"did you mean '\$gte'"),
        ({"k": None}, "a None counts as missing"),
        ({"k": {"sub": 1}}, "unknown operator 'sub'"),
        ({"$not": {}}, r"where\['\$not'\] is {}"),
        ({"k": {"$prefix": ""}}, r"\['\$prefix'\] is '': expected a string that isn't empty"),
        ({"k": {"$prefix": 1}}, r"\['\$prefix'\] is 1: expected a string"),
        ({"k": {"$prefix": "\ud800"}}, "lone surrogate"),
        ({"k": {"$regex": "(a"}}, r"where\['k'\]\['\$regex'\] is '\(a': .*missing \)"),
        ({"k": {"$not_regex": ["a"]}}, r"\['\$not_regex'\] is \['a'\]: expected a string"),
        ({"k": {"$regex": "a" * 10_001}}, "10001 characters, expected at most 10000"),
        ({"k": {"prefix": "a"}}, r"did you mean '\$prefix'"),
        ({"$like": {"k": 1}}, r"'\$like' is neither"),
        ({"": 1}, "'' is neither"),
        ({3: 1}, "keys must be strings"),
        ({"$and": []}, r"where\['\$and'\] is \[\]"),
        ({"$or": {"k": 1}}, r"where\['\$or'\] is"),
        ({"$or": [{"k": 1}, {"$and": [{"k": {"$foo": 1}}]}]}, r"\['\$or'\]\[1\]\['\$and'\]\[0\]"),
        ({"$or": [{"k": 1}, {}]}, r"where\['\$or'\]\[1\] is {}"),
    ],
)
def test_a_malformed_where_names_its_place(values, where, place):
    for use in (values.get, values.delete, lambda where: values.query([1], where=where)):
        with pytest.raises(InvalidFilterError, match=place):
            use(where=where)
    assert values.count() == len(VALUES) + 1


@pytest.mark.parametrize(
    ("where_document", "place"),
    [
        ({}, "where_document is {}"),
        ({"$contains": ""}, r"\['\$contains'\] is '': expected a string that isn't empty"),
        ({"$contains": 5}, "is 5"),
        ({"$contains": "\ud800"}, "surrogate"),
        ({"$regex": "(a"}, r"where_document\['\$regex'\] is '\(a': .*missing \)"),
        ({"$regex": r"(a)\1"}, "not a regular expression of RE2"),
        ({"$like": "a"}, r"unknown operator '\$like'"),
        ({"k": "a"}, "unknown operator 'k'"),
        ({"$and": [{"$contains": "a"}, {"$not_regex": "["}]}, r"\['\$and'\]\[1\]\['\$not_regex'\]"),
    ],
)
def test_a_malformed_where_document_names_its_place(values, where_document, place):
    with pytest.raises(InvalidFilterError, match=place):
        values.get(where_document=where_document)


def test_document_filters_take_text_as_it_is(collection):
    documents = ["50% off", "50 off", "a_b", "axb", "CASE", "a\0b", "e\u0301", None]
    ids = [str(i) for i in range(len(documents))]
    collection.add(ids=ids, embeddings=np.ones((8, 1)), documents=documents)

    def found(where_document):
        return "".join(collection.get(where_document=where_document)["ids"])

    assert found({"$contains": "%"}) == "0"
    assert found({"$contains": "a_b"}) == "2"
    assert found({"$contains": "case"}) == ""
    assert found({"$contains": "\0"}) == "5"
    assert found({"$contains": "é"}) == ""
    assert found({"$not_contains": "o"}) == "234567"
    assert found({"$regex": "^[a-z].b$"}) == "235"
    assert found({"$not_regex": "."}) == "7"
    assert found({"$contains": "50", "$not_contains": "%"}) == "1"
    assert found({"$or": [{"$contains": "CAS"}, {"$regex": "x"}]}) == "34"


def test_numpy_scalars_and_arrays_serve_as_operands(values):
    assert values.get(where={"k": {"$gt": np.float32(0.5)}})["ids"] == ["one", "one_float", "big"]
    assert values.get(where={"k": np.int64(1)})["ids"] == ["one", "one_float"]
    assert values.get(where={"k": np.bool_(True)})["ids"] == ["true"]
    assert values.get(where={"k": {"$in": np.array([1, 7])}})["ids"] == ["one", "one_float"]


def test_a_key_with_dots_is_a_path_unless_a_key_has_that_name(collection):
    metadatas = {
        "dotted": {"a.b": 1},
        "nested": {"a": {"b": 1}},
        "both": {"a.b": 2, "a": {"b": 1}},
        "flat": {"a": 1},
        "none": {"c": 1},
    }
    collection.add(ids=[*metadatas], embeddings=np.ones((5, 1)), metadatas=[*metadatas.values()])

    def found(condition):
        return collection.get(where={"a.b": condition})["ids"]

    assert found(1) == ["dotted", "nested"]
    assert found(2) == found({"$gt": 1}) == ["both"]
    assert found({"$ne": 1}) == ["both", "flat", "none"]
    assert found({"$exists": False}) == ["flat", "none"]
    assert collection.get(where={"a..b": {"$exists": True}})["ids"] == []


def test_strings_and_times_have_an_order(collection):
    texts = {
        "may": "2024-05-01",
        "noon": "2024-05-01T12:00:00Z",
        "east": "2024-05-01T13:30:00+02:00",
        "june": "2024-06-01 08:00",
        "word": "apple",
        "number": 20240501,
    }
    collection.add(
        ids=[*texts],
        embeddings=np.ones((len(texts), 1)),
        metadatas=[{"k": text} for text in texts.values()],
    )

    def found(condition):
        return collection.get(where={"k": condition})["ids"]

    assert found({"$gte": "2024-05-01T12:00:00Z"}) == ["noon", "june", "word"]
    assert found({"$gt": datetime(2024, 5, 1, 11, tzinfo=UTC)}) == ["noon", "east", "june"]
    assert found({"$gt": datetime(2024, 5, 1, 11, 30)}) == ["noon", "june"]
    assert found({"$lte": date(2024, 5, 1)}) == ["may"]
    assert found(datetime(2024, 5, 1, 11, 30)) == ["east"]
    assert found({"$in": [date(2024, 5, 1), "apple", 20240501]}) == ["may", "word", "number"]
    assert found({"$nin": [date(2024, 5, 1), "apple"]}) == ["noon", "east", "june", "number"]
    assert found({"$gt": "aaa", "$lt": "b"}) == ["word"]
    assert found({"$gte": 20240501}) == ["number"]


def test_words_on_strings_are_pythons_own(collection):
    titles = ["The Sea", "the sea", "Under the Sea", "50% off", "", None, 7, ["The Sea", "sea"]]
    ids = [str(i) for i in range(len(titles))]
    metadatas = [{"title": title, "in": {"title": title}} for title in titles]
    collection.add(ids=ids, embeddings=np.ones((len(ids), 1)), metadatas=metadatas)

    def found(condition):
        both = [collection.get(where={key: condition})["ids"] for key in ("title", "in.title")]
        assert both[0] == both[1]
        return "".join(both[0])

    assert found({"$prefix": "The"}) == "0"
    assert found({"$not": {"$prefix": "The"}}) == "1234567"
    assert found({"$contains": "Sea"}) == "02"
    assert found({"$contains": "sea"}) == "17"  # a list has it as a whole
    assert found({"$not_contains": "The Sea"}) == "123456"
    assert found({"$contains": "%"}) == "3"
    assert found({"$regex": "(?i)^the"}) == "01"
    assert found({"$not_regex": "(?i)sea$"}) == "34567"
    assert found({"$contains": "Sea", "$not": {"$prefix": "Under"}}) == "0"
    either = [{"title": {"$contains": word}} for word in ("off", "Under", "sea")]
    assert "".join(collection.get(where={"$or": either})["ids"]) == "1237"
    assert "".join(collection.get(where={"$nor": either})["ids"]) == "0456"


def test_years_have_four_digits(collection):
    texts = {"old": "10-1-01", "new": "9-12-31", "day": "2024-05-01"}
    collection.add([*texts], np.ones((3, 1)), [{"k": text} for text in texts.values()])

    def found(condition):
        return collection.get(where={"k": condition})["ids"]

    assert found({"$gt": "10-1-01"}) == ["new", "day"]  # by their characters
    assert found({"$gte": date(1, 1, 1)}) == ["day"]
    assert found({"$lt": date(2030, 1, 1)}) == ["day"]


def test_existence_lengths_of_lists_and_negations(values):
    def found(where):
        return values.get(where=where)["ids"]

    assert found({"k": {"$exists": False}}) == ["empty", "none", "missing"]
    assert len(found({"k": {"$exists": True}})) == len(VALUES) - 2
    assert found({"k": {"$size": 2}}) == ["list"]
    assert found({"k": {"$size": 0}}) == ["empty"]
    assert found({"k": {"$size": 2, "$contains": "x"}}) == ["list"]
    assert found({"$nor": [{"k": {"$exists": False}}, {"k": {"$ne": 1}}]}) == ["one", "one_float"]
    assert found({"$not": {"k": {"$ne": 1}}}) == ["one", "one_float"]
    assert found({"k": {"$not": {"$not": {"$gt": 0.5}}}}) == found({"k": {"$gt": 0.5}})
    assert set(found({"k": {"$not": {"$size": 2}}})) == {*VALUES, "missing"} - {"list"}


@pytest.mark.embedded  # limits of SQLite
def test_large_filters_work(populated):
    many = {"$in": [*range(3, 100_003)]}
    assert populated.get(where={"n": many})["ids"] == ["p3", "p4"]
    texts = {"$in": [f"x{i}" for i in range(100_000)]}
    assert populated.get(where={"n": texts})["ids"] == []
    terms = [{"n": i} for i in range(4, 10_004)]
    assert populated.get(where={"$or": terms})["ids"] == ["p4"]
    assert populated.get(where={"$and": [{"n": {"$ne": i}} for i in range(1, 10_001)]})["ids"] == [
        "p0"
    ]
    ranges = [{"n": {"$gte": i}} for i in range(3, 10_003)]
    assert populated.get(where={"$or": ranges})["ids"] == ["p3", "p4"]


def test_many_numbers_leave_out_none_between_them(populated):
    but_three = [*range(-200, 3), *range(4, 200)]
    assert populated.get(where={"n": {"$nin": but_three}})["ids"] == ["p3"]
    assert populated.get(where={"n": {"$in": but_three}})["ids"] == ["p0", "p1", "p2", "p4"]


def test_filters_may_nest_two_hundred_levels_and_no_more(populated):
    def nested(depth):
        where = {"n": 3}
        for level in range(depth - 1):
            where = {"$and" if level % 2 else "$or": [where, {"n": {"$lt": 3}}]}
        return where

    assert "p3" in populated.get(where={"$or": [nested(199), {"n": 3}]})["ids"]
    for depth in (201, 100_000):
        with pytest.raises(InvalidFilterError, match="deeper than 200"):
            populated.get(where=nested(depth))
    with pytest.raises(InvalidFilterError):
        populated.get(where={"n": {"$eq": nested(10_000)}})

    operand = {"$eq": 3}
    for _ in range(199):
        operand = {"$not": operand}
    assert populated.get(where={"n": operand})["ids"] == ["p0", "p1", "p2", "p4"]
    with pytest.raises(InvalidFilterError, match="deeper than 200"):
        populated.get(where={"n": {"$not": operand}})

"""Unusable questions are refused by their position; equivalent ones are accepted in any form."""

import json

import numpy as np
import pytest

from retrieval_store.errors import (
    DimensionMismatchError,
    DuplicateIDError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.evaluation.measures import questions_of

GOOD = {"query": "wine", "ids": ["a", "b"]}
NO_FILE = [
    (7, "questions is 7 (int)", InvalidTypeError),
    (GOOD, "expected a list of dicts", InvalidTypeError),
    ([], "questions is empty", InvalidArgumentError),
]
REFUSED = [
    ("wine", "is 'wine' (str), expected a dict", InvalidTypeError),
    ({"query": "wine"}, "has no 'ids'", InvalidArgumentError),
    ({"ids": ["a"]}, "has no 'query'", InvalidArgumentError),
    ({**GOOD, "id": 1}, "has the unknown key 'id'", InvalidArgumentError),
    ({**GOOD, "query": " "}, "query is empty", InvalidArgumentError),
    ({**GOOD, "query": 3}, "query is 3 (int), expected a str", InvalidTypeError),
    ({**GOOD, "query": "\ud800"}, "isn't valid Unicode", InvalidArgumentError),
    ({**GOOD, "ids": []}, "ids is empty", InvalidArgumentError),
    ({**GOOD, "ids": {}}, "ids is empty", InvalidArgumentError),
    ({**GOOD, "ids": ["a", "b", "a"]}, "ids given more than once: 'a'", DuplicateIDError),
    ({**GOOD, "ids": ["a", 4]}, "ids[1] is 4 (int), expected a str", InvalidTypeError),
    ({**GOOD, "ids": [""]}, "ids[0] is empty", InvalidArgumentError),
    ({**GOOD, "ids": {"a": 0}}, "ids['a'] is 0 (int), expected a finite number above 0", InvalidArgumentError),
    ({**GOOD, "ids": {"a": -1.5}}, "ids['a'] is -1.5", InvalidArgumentError),
    ({**GOOD, "ids": {"a": float("nan")}}, "ids['a'] is nan", InvalidArgumentError),
    ({**GOOD, "ids": {"a": float("inf")}}, "ids['a'] is inf", InvalidArgumentError),
    ({**GOOD, "ids": {"a": 10**400}}, "ids['a'] is", InvalidArgumentError),
    ({**GOOD, "ids": {"a": True}}, "ids['a'] is True (bool), expected a number", InvalidTypeError),
    ({**GOOD, "ids": {"a": "2"}}, "ids['a'] is '2' (str), expected a number", InvalidTypeError),
    ({**GOOD, "embedding": ["x"]}, "embedding holds values of type", InvalidTypeError),
    ({**GOOD, "embedding": [[1, 2], [3, 4]]}, "embedding has 2 vectors", InvalidArgumentError),
    ({**GOOD, "embedding": [1, float("nan")]}, "expected a finite number", InvalidArgumentError),
    ({**GOOD, "embedding": [1, 2, 3]}, "embedding has 3 numbers, but that of", DimensionMismatchError),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message", "kind"), NO_FILE)
def test_invalid_lists_of_questions_are_refused(given, message, kind):
    with pytest.raises(kind) as error:
        questions_of(given)
    assert message in str(error.value)


@pytest.mark.parametrize(("question", "message", "kind"), REFUSED, ids=lambda one: str(one)[:40])
def test_a_question_that_cannot_be_used_is_refused_by_its_place(question, message, kind, tmp_path):
    first = {**GOOD, "embedding": [1, 2]}
    with pytest.raises(kind) as error:
        questions_of([first, question])
    assert str(error.value).startswith("questions[1]")
    assert message in str(error.value)
    file = tmp_path / "asked.jsonl"
    file.write_text(f"{json.dumps(first)}\n\n{json.dumps(question)}\n")
    with pytest.raises(kind) as error:
        questions_of(file)
    assert str(error.value).startswith("line 3 of asked.jsonl")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{nonsense", "line 1 of asked.jsonl isn't JSON"),
        ("[" * 100_000, "line 1 of asked.jsonl isn't JSON"),
        ('{"query": "a", "ids": {"x": 1, "x": 2}}', "line 1 of asked.jsonl: 'x' is twice"),
        ("[]", "line 1 of asked.jsonl is [] (list)"),
        ("", "questions is empty"),
    ],
)
def test_a_line_that_is_no_question_is_refused(line, message, tmp_path):
    (tmp_path / "asked.jsonl").write_text(line)
    with pytest.raises(InvalidArgumentError) as error:
        questions_of(str(tmp_path / "asked.jsonl"))
    assert str(error.value).startswith(message)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"nowhere\.jsonl': No such file"):
        questions_of(tmp_path / "nowhere.jsonl")
    (tmp_path / "other.jsonl").write_bytes(b'{"query": "\xff"}')
    with pytest.raises(InvalidArgumentError, match=r"other\.jsonl', which isn't UTF-8"):
        questions_of(tmp_path / "other.jsonl")


def test_a_file_gives_the_same_as_a_list(tmp_path):
    given = [
        {"query": "vin d\u2028été", "ids": ["a"]},
        {"query": "x", "ids": {"b": 2, "c": 0.5}, "embedding": [1, 2]},
    ]
    lines = "\r\n".join(json.dumps(one, ensure_ascii=False) for one in given)
    (tmp_path / "asked.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    for found in (questions_of(given), questions_of(tmp_path / "asked.jsonl")):
        assert [one.query for one in found] == ["vin d\u2028été", "x"]
        assert [one.grades for one in found] == [{"a": 1.0}, {"b": 2.0, "c": 0.5}]
        assert found[0].embedding is None
        np.testing.assert_array_equal(found[1].embedding, np.array([1, 2], np.float32))


def test_ids_and_grades_may_be_numpys_and_come_one_by_one():
    given = ({"query": "x", "ids": ids} for ids in ("a", {"b": np.float32(2)}, np.array(["c"])))
    grades = [one.grades for one in questions_of(given)]
    assert grades == [{"a": 1.0}, {"b": 2.0}, {"c": 1.0}]

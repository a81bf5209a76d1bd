"""Questions with the ids that should be found: from a file of JSON lines, or from Python."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from retrieval_store.base.arrays import Matrix, plain_scalar
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import is_unicode, path_of, shown
from retrieval_store.direct.arguments import ids_of, matrix_of
from retrieval_store.errors import (
    DimensionMismatchError,
    DuplicateIDError,
    InvalidArgumentError,
    InvalidTypeError,
)

KEYS = ("query", "ids", "embedding")
Placed = tuple[str, Any]  # a question as it came, behind the name of its place for messages


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is asked, and what should be found.

    grades: how relevant each id that should be found is, above 0; 1 where only ids were given.
    embedding: (dim,) float32, where the question brought its own.
    """

    query: str
    grades: Mapping[str, float]
    embedding: Matrix | None = None


def questions_of(questions: Any) -> tuple[Question, ...]:
    """The questions of a list of dicts, or of a file of JSON lines whose path is given; each
    checked. Errors name the place of what can't be used."""
    if isinstance(questions, str | os.PathLike):
        placed = _in_file(path_of(questions, "questions"))
    elif isinstance(questions, Iterable) and not isinstance(questions, bytes | Mapping):
        placed = ((f"questions[{i}]", one) for i, one in enumerate(questions))
    else:
        raise InvalidTypeError(
            f"questions is {shown(questions)}, expected a list of dicts, or the path of a file"
        )
    found = tuple(_of_one_dimension((place, _question(place, one)) for place, one in placed))
    if not found:
        raise InvalidArgumentError("questions is empty, expected at least one question")
    return found


def _in_file(path: Path) -> Iterator[Placed]:
    """What the lines of a file say; empty lines say nothing."""
    try:
        lines = path.read_text("utf-8-sig").split("\n")  # no other character ends a line of JSON
    except OSError as error:
        raise InvalidArgumentError(f"questions is {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgumentError(f"questions is {str(path)!r}, which isn't UTF-8") from None
    for number, line in enumerate(lines, 1):
        if line and not line.isspace():
            place = f"line {number} of {path.name}"
            yield place, _object_of(place, line)


def _object_of(place: str, line: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_without_doubles)
    except DuplicateIDError as error:
        raise DuplicateIDError(f"{place}: {error}") from None
    except (ValueError, RecursionError) as error:
        why = getattr(error, "msg", error)  # without the line, which would be that of this text
        raise InvalidArgumentError(f"{place} isn't JSON: {why}") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; Python would keep the last of two values under one key, and say nothing."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DuplicateIDError(f"{twice!r} stands twice in one object")
    return made


def _question(place: str, given: Any) -> Question:
    if not isinstance(given, Mapping):
        raise InvalidTypeError(f"{place} is {shown(given)}, expected a dict with 'query' and 'ids'")
    unknown = [key for key in given if key not in KEYS]
    missing = [key for key in KEYS[:2] if key not in given]
    if unknown or missing:
        why = f"has the unknown key {unknown[0]!r}" if unknown else f"has no {missing[0]!r}"
        raise InvalidArgumentError(f"{place} {why}; expected 'query', 'ids' and maybe 'embedding'")
    try:
        return Question(
            _query(given["query"]), _grades(given["ids"]), _embedding(given.get("embedding"))
        )
    except InvalidArgumentError as error:
        raise type(error)(f"{place}: {error}") from None


def _query(given: Any) -> str:
    if not isinstance(given, str):
        raise InvalidTypeError(f"query is {shown(given)}, expected a str")
    if not given.strip():
        raise InvalidArgumentError("query is empty, expected a text")
    if not is_unicode(given):
        raise InvalidArgumentError(f"query is {shown(given)}: it isn't valid Unicode")
    return given


def _grades(given: Any) -> dict[str, float]:
    """The grade of each id; a list of ids gives each of them 1."""
    ids = ids_of(list(given) if isinstance(given, Mapping) else given)
    if not ids:
        raise InvalidArgumentError("ids is empty, expected at least one id that should be found")
    if isinstance(given, Mapping):
        return {one: _grade(one, grade) for one, grade in zip(ids, given.values(), strict=True)}
    return dict.fromkeys(ids, 1.0)


def _grade(identity: str, given: Any) -> float:
    grade = plain_scalar(given)
    if isinstance(grade, bool) or not isinstance(grade, int | float):
        raise InvalidTypeError(f"ids[{identity!r}] is {shown(given)}, expected a number")
    if not 0 < grade <= sys.float_info.max:  # NaN isn't, either, nor an integer of 400 digits
        raise InvalidArgumentError(
            f"ids[{identity!r}] is {shown(given)}, expected a finite number above 0; what isn't "
            "relevant is left out"
        )
    return float(grade)


def _embedding(given: Any) -> Matrix | None:
    if given is None:
        return None
    rows = matrix_of(given, "embedding")
    if len(rows) > 1:
        raise InvalidArgumentError(f"embedding has {len(rows)} vectors, expected one")
    return rows.ravel()


def _of_one_dimension(placed: Iterable[tuple[str, Question]]) -> Iterator[Question]:
    """The questions; DimensionMismatchError where two have embeddings of different lengths."""
    first: tuple[str, int] | None = None
    for place, question in placed:
        if question.embedding is not None:
            length = len(question.embedding)
            first = first or (place, length)
            if length != first[1]:
                raise DimensionMismatchError(
                    f"{place}: embedding has {length} numbers, but that of {first[0]} {first[1]}"
                )
        yield question

"""Questions with the ids that they should find, and the figures of an evaluation.

`questions_of` reads questions from a file of JSON lines, or from Python. `measure_questions`
computes how good the hits of each question are: recall@k, MRR@k and nDCG@k.

- recall: Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, chapter 8.
- MRR: Voorhees, The TREC-8 Question Answering Track Report, 1999.
- nDCG: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20 (4),
  2002. As in trec_eval, the gain of a hit is its grade; it is multiplied by 1 / log2(rank + 1),
  where rank counts from 1.

`intervals_of_means` computes confidence intervals of means over questions, by the bootstrap: Efron
and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13, percentile intervals. Again and
again, n of the n questions are drawn with replacement; the interval contains the central share
`confidence` of the means. The columns of one call are resampled together, question by question. So
the interval of a difference is a paired interval: the difficulty of a question, which affects all
settings, cancels out.

An `Evaluation` has the measures of each setting, the values of each question, and the differences
between two settings (`Comparison`); `print` shows these as tables of plain text.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from retrieval_store.api.arguments import ids_of, matrix_of
from retrieval_store.api.frames import frame_of
from retrieval_store.base.arrays import Floats, Matrix, plain_scalar
from retrieval_store.base.html import table_of
from retrieval_store.base.system import count_in_words, printable
from retrieval_store.base.validation import is_unicode, list_first, path_of, quote
from retrieval_store.errors import (
    DimensionMismatchError,
    DuplicateIDError,
    InvalidArgumentError,
    InvalidTypeError,
)

LONGEST = 60  # characters of a cell
MOST_IDS = 3  # in a cell or a message


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as plain text: rows below the names of their columns, with numbers aligned to the
    right."""
    cells = [list(map(_cell, columns)), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        for i in range(len(columns))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in cells
    )


def format_interval(low: float, high: float) -> str:
    """The two ends of an interval as text."""
    return f"{low:.3f} … {high:.3f}"


def format_difference(difference: float) -> str:
    """A difference as text, with its sign. A difference that is rounded to 0 has the sign +."""
    return f"{round(difference, 3) + 0.0:+.3f}"  # which makes 0 of -0


def in_percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:g} %"


def _cell(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else printable(str(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


KEYS = ("query", "ids", "embedding")
Placed = tuple[str, Any]  # a question as it came, behind the name of its place for messages


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A question and its expected ids. grades: how relevant each expected id is, above 0; it is 1
    if only ids were passed. embedding: (dim,) float32, the vector that was passed with the
    question, or None."""

    query: str
    grades: Mapping[str, float]
    embedding: Matrix | None = None


def questions_of(questions: Any) -> tuple[Question, ...]:
    """Questions, from a list of dicts or from the path of a file of JSON lines. Raises
    InvalidArgumentError for an invalid question; the message names the question's position in the
    list or the file."""
    if isinstance(questions, str | os.PathLike):
        placed = _in_file(path_of(questions, "questions"))
    elif isinstance(questions, Iterable) and not isinstance(questions, bytes | Mapping):
        placed = ((f"questions[{i}]", question) for i, question in enumerate(questions))
    else:
        raise InvalidTypeError(
            f"questions is {quote(questions)}, expected a list of dicts, or the path of a file"
        )
    checked = tuple(
        _of_one_dimension((place, _question(place, question)) for place, question in placed)
    )
    if not checked:
        raise InvalidArgumentError("questions is empty, expected at least one question")
    return checked


def _in_file(path: Path) -> Iterator[Placed]:
    """The questions in a file with one question a line; empty lines are skipped."""
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
        why = getattr(error, "msg", error)  # without the line number, which is always 1
        raise InvalidArgumentError(f"{place} isn't JSON: {why}") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object from its pairs of keys and values. Raises an error for a repeated key, since
    Python would silently keep the last value."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DuplicateIDError(f"{twice!r} is twice in one object")
    return fields


def _question(place: str, value: Any) -> Question:
    if not isinstance(value, Mapping):
        raise InvalidTypeError(f"{place} is {quote(value)}, expected a dict with 'query' and 'ids'")
    unknown = [key for key in value if key not in KEYS]
    missing = [key for key in KEYS[:2] if key not in value]
    if unknown or missing:
        why = f"has the unknown key {unknown[0]!r}" if unknown else f"has no {missing[0]!r}"
        raise InvalidArgumentError(f"{place} {why}; expected 'query', 'ids' and maybe 'embedding'")
    try:
        return Question(
            _query(value["query"]), _grades(value["ids"]), _embedding(value.get("embedding"))
        )
    except InvalidArgumentError as error:
        raise type(error)(f"{place}: {error}") from None


def _query(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidTypeError(f"query is {quote(value)}, expected a str")
    if not value.strip():
        raise InvalidArgumentError("query is empty, expected a text")
    if not is_unicode(value):
        raise InvalidArgumentError(f"query is {quote(value)}: it isn't valid Unicode")
    return value


def _grades(value: Any) -> dict[str, float]:
    """The grade of each expected id; 1 for each id if `value` is a list."""
    ids = ids_of(list(value) if isinstance(value, Mapping) else value)
    if not ids:
        raise InvalidArgumentError("ids is empty, expected at least one id that should be found")
    if isinstance(value, Mapping):
        return {
            point_id: _grade(point_id, grade)
            for point_id, grade in zip(ids, value.values(), strict=True)
        }
    return dict.fromkeys(ids, 1.0)


def _grade(identity: str, value: Any) -> float:
    grade = plain_scalar(value)
    if isinstance(grade, bool) or not isinstance(grade, int | float):
        raise InvalidTypeError(f"ids[{identity!r}] is {quote(value)}, expected a number")
    if not 0 < grade <= sys.float_info.max:  # NaN isn't, either, nor an integer of 400 digits
        raise InvalidArgumentError(
            f"ids[{identity!r}] is {quote(value)}, expected a finite number above 0; what isn't "
            "relevant is left out"
        )
    return float(grade)


def _embedding(value: Any) -> Matrix | None:
    if value is None:
        return None
    rows = matrix_of(value, "embedding")
    if len(rows) > 1:
        raise InvalidArgumentError(f"embedding has {len(rows)} vectors, expected one")
    return rows.ravel()


def _of_one_dimension(placed: Iterable[tuple[str, Question]]) -> Iterator[Question]:
    """Yield the questions; raise DimensionMismatchError if two of them have embeddings of different
    lengths."""
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


Measure: TypeAlias = Literal["recall", "mrr", "ndcg"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
CALLED: dict[Measure, str] = {"recall": "recall", "mrr": "MRR", "ndcg": "nDCG"}


def measure_questions(
    questions: Sequence[Question], ranked_ids: Sequence[Sequence[str]], k: int
) -> dict[Measure, Floats]:
    """For each measure the values of all questions, (q,) from 0 to 1.

    ranked_ids: for each question the ids that were found, best first; only the first k ids count.
    """
    gains = _pad_rows(
        [
            [question.grades.get(point_id, 0.0) for point_id in ids[:k]]
            for question, ids in zip(questions, ranked_ids, strict=True)
        ],
        k,
    )
    grades = [sorted(question.grades.values(), reverse=True) for question in questions]
    relevant = np.array([len(grades_of_question) for grades_of_question in grades], np.float64)
    ideal = _pad_rows([grades_of_question[:k] for grades_of_question in grades], k)
    return {
        "recall": np.count_nonzero(gains, axis=1) / relevant,
        "mrr": reciprocal_ranks(gains),
        "ndcg": _share_of(gains, ideal),
    }


def reciprocal_ranks(gains: Floats) -> Floats:
    """(q,): for each question 1 / the rank of the first hit with a gain; 0 if no hit has a gain.
    gains: (q, k), best hits first."""
    relevant = gains > 0
    return np.where(relevant.any(axis=1), 1 / (1 + relevant.argmax(axis=1)), 0.0)


def discounted_gain(gains: Floats) -> Floats:
    """(q,): DCG, the sum of the gains, each multiplied by 1 / log2(rank + 1). gains: (q, k), best
    hits first."""
    summed: Floats = (gains / np.log2(np.arange(2, gains.shape[1] + 2))).sum(axis=1)
    return summed


def _share_of(gains: Floats, ideal: Floats) -> Floats:
    """(q,): the nDCG of each question. gains: the grades of the hits, the best hits first; ideal:
    the greatest grades of the expected ids, in descending order. Grades are first divided by the
    question's greatest grade, so that no sum overflows."""
    greatest = ideal[:, :1]
    return discounted_gain(gains / greatest) / discounted_gain(ideal / greatest)


def _pad_rows(rows: Sequence[Sequence[float]], k: int) -> Floats:
    """The rows as a matrix with zeros at the ends of shorter rows. The matrix has at most k
    columns, and no more than the longest row has numbers."""
    width = min(k, max(map(len, rows)))
    padded = np.zeros((len(rows), max(width, 1)))
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded


RESAMPLES = 10_000  # then seeds move an end of a 95 % interval by about a hundredth of its width
AT_ONCE = 1 << 22  # questions drawn at once: 32 MB


def intervals_of_means(values: Floats, confidence: float, seed: int) -> Floats:
    """(m, 2): the low and the high end of the confidence interval of each column's mean. values:
    (q, m).

    The same seed draws the same questions, independent of the columns.
    """
    means = values.mean(axis=0)
    apart = values - means  # so that columns of one value have intervals without rounding
    rng = np.random.default_rng(seed)
    rows = max(1, AT_ONCE // len(values))
    parts = [
        _draw_means(apart, min(rows, RESAMPLES - start), rng) for start in range(0, RESAMPLES, rows)
    ]
    tail = (1 - confidence) / 2
    intervals: Floats = means + np.quantile(np.concatenate(parts), [tail, 1 - tail], axis=0)
    return intervals.T


def _draw_means(values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """(resamples, m): the means of bootstrap draws. A draw is represented by how often each
    question occurs in it, so that all means are one matrix product."""
    count = len(values)
    drawn = rng.integers(0, count, (resamples, count))
    drawn += count * np.arange(resamples)[:, np.newaxis]
    times = np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count)
    means: Floats = times.astype(np.float64) @ values / count
    return means


EQUAL = 1e-12  # values that are no further apart than rounding takes them
SHOWN = 5  # questions that got worse, and that got better, in a table


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions, and its bootstrap interval, which shows how far the mean would vary
    with other questions of the same kind."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class SettingResult:
    """The measures of one setting.

    how: the setting's arguments of `Collection.query`; found: for each question the ids that were
    found, best first; values: by measure, the values of all questions, (q,) float64 from 0 to 1;
    estimates: by measure, the mean. Measures are "recall", "mrr" and "ndcg".
    """

    name: str
    how: Mapping[str, Any]
    found: tuple[tuple[str, ...], ...]
    values: Mapping[Measure, Floats]
    estimates: Mapping[Measure, Estimate]


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One question in two settings: its number, its value in each setting, and the ids that each
    setting has found, best first. Compare these ids with `question.grades` to see which ids were
    missed."""

    number: int
    question: Question
    first: float
    second: float
    found_by_first: tuple[str, ...]
    found_by_second: tuple[str, ...]

    @property
    def difference(self) -> float:
        """The value in the second setting minus the value in the first setting."""
        return self.second - self.first


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison:
    """Two settings, question by question. `print` shows a summary and the greatest changes.

    first, second: the names of the settings; difference: the mean of the second setting's value
    minus the first setting's value, with the interval by paired bootstrap; changes: all questions,
    in their order.
    """

    first: str
    second: str
    measure: Measure
    k: int
    confidence: float
    difference: Estimate
    changes: tuple[Change, ...]

    @property
    def worse(self) -> tuple[Change, ...]:
        """Questions for which the second setting is worse, the largest loss first."""
        lost = [change for change in self.changes if change.difference < -EQUAL]
        return tuple(sorted(lost, key=lambda change: change.difference))

    @property
    def better(self) -> tuple[Change, ...]:
        """Questions for which the second setting is better, the largest gain first."""
        gained = [change for change in self.changes if change.difference > EQUAL]
        return tuple(sorted(gained, key=lambda change: -change.difference))

    @property
    def same(self) -> tuple[Change, ...]:
        """Questions for which both settings are equally good, in their order."""
        return tuple(change for change in self.changes if abs(change.difference) <= EQUAL)

    @property
    def summary(self) -> str:
        """The mean difference and the numbers of better, worse and equal questions, in one line."""
        difference, called = self.difference, name_of_measure(self.measure, self.k)
        return (
            f"{called}: {self.second} - {self.first} = {format_difference(difference.mean)} "
            f"({in_percent(self.confidence)}: {format_difference(difference.low)} … "
            f"{format_difference(difference.high)}); "
            f"{len(self.better):,} better, {len(self.worse):,} worse, {len(self.same):,} the same"
        )

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row for each question. Its columns are "question" (its number),
        "query", "first", "second", "difference", "ids" (the expected ids), "found_by_first" and
        "found_by_second". Raises MissingDependencyError without pandas."""
        rows = self.changes
        return frame_of(
            {
                "question": [change.number for change in rows],
                "query": [change.question.query for change in rows],
                "first": [change.first for change in rows],
                "second": [change.second for change in rows],
                "difference": [change.difference for change in rows],
                "ids": [[*change.question.grades] for change in rows],
                "found_by_first": [[*change.found_by_first] for change in rows],
                "found_by_second": [[*change.found_by_second] for change in rows],
            }
        )

    def __repr__(self) -> str:
        return f"<Comparison of {self.summary}>"

    def __str__(self) -> str:
        columns, rows = self.table()
        return "\n".join([self.summary, *([plain_table(columns, rows)] if rows else [])])

    def _repr_html_(self) -> str:
        columns, rows = self.table()
        columns += [f"found by {self.first}", f"found by {self.second}"]
        found_ids = ((change.found_by_first, change.found_by_second) for change in self._most())
        rows = [
            [*row, *(list_first(ids, MOST_IDS) for ids in ids_of_both)]
            for row, ids_of_both in zip(rows, found_ids, strict=True)
        ]
        return table_of(columns, rows, self.summary)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The columns and rows that `print` shows: the largest changes, from the worst to the
        best."""
        rows: list[list[Any]] = []
        for change in self._most():
            ids = list_first([*change.question.grades], MOST_IDS)
            rows.append(
                [change.difference, change.first, change.second, change.question.query, ids]
            )
        return ["difference", self.first, self.second, "query", "expected"], rows

    def _most(self) -> list[Change]:
        return [*self.worse[:SHOWN], *reversed(self.better[:SHOWN])]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Evaluation:
    """Recall, MRR and nDCG of several settings. `print` shows them as a table.

    k: how many hits count; confidence: the confidence level of the intervals; seed: the random seed
    of the bootstrap; missing: expected ids that no point of the collection has.
    """

    k: int
    confidence: float
    seed: int
    questions: tuple[Question, ...]
    settings: Mapping[str, SettingResult]
    missing: tuple[str, ...]

    def __getitem__(self, setting: str) -> SettingResult:
        """The result of a setting; raises InvalidArgumentError for an unknown setting."""
        if setting not in [*self.settings]:  # a list, since a wrong setting may be unhashable
            raise InvalidArgumentError(
                f"there is no setting {quote(setting)}, expected one of {[*self.settings]}"
            )
        return self.settings[setting]

    def compare(self, first: str, second: str, measure: Measure = "ndcg") -> Comparison:
        """The change of a measure from the first setting to the second, question by question.

        measure: "recall", "mrr" or "ndcg". The interval of the mean difference is a percentile
        interval by paired bootstrap over the questions (Efron and Tibshirani 1993). If it contains
        0, these questions don't decide which setting is better. Raises InvalidArgumentError for an
        unknown setting or measure.
        """
        if measure not in MEASURES:
            raise InvalidArgumentError(f"measure is {quote(measure)}, expected one of {MEASURES}")
        first_result, second_result = self[first], self[second]
        values, others = first_result.values[measure], second_result.values[measure]
        found_ids = zip(first_result.found, second_result.found, strict=True)
        pairs = zip(values.tolist(), others.tolist(), strict=True)
        changes = tuple(
            Change(number, question, *pair, *ids)
            for number, (question, pair, ids) in enumerate(
                zip(self.questions, pairs, found_ids, strict=True)
            )
        )
        differences = (others - values)[:, np.newaxis]
        (difference,) = estimates_of(differences, self.confidence, self.seed)
        return Comparison(first, second, measure, self.k, self.confidence, difference, changes)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row for each question and setting. Its columns are "setting",
        "question" (its number), "query", "recall", "mrr", "ndcg", "ids" (the expected ids) and
        "found". Raises MissingDependencyError without pandas."""
        results, number = [*self.settings.values()], len(self.questions)
        columns: dict[str, Any] = {
            "setting": [result.name for result in results for _ in range(number)],
            "question": [*range(number)] * len(results),
            "query": [question.query for question in self.questions] * len(results),
        }
        for measure in MEASURES:
            columns[measure] = np.concatenate([result.values[measure] for result in results])
        columns["ids"] = [[*question.grades] for question in self.questions] * len(results)
        columns["found"] = [[*ids] for result in results for ids in result.found]
        return frame_of(columns)

    def __repr__(self) -> str:
        return (
            f"<Evaluation of {count_in_words(len(self.questions), 'question')}: {[*self.settings]}>"
        )

    def __str__(self) -> str:
        return "\n".join([plain_table(*self.table()), *self._notes()])

    def _repr_html_(self) -> str:
        return table_of(*self.table(), "; ".join(self._notes()))

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The columns and rows that `print` shows: the means of each setting, with their
        intervals."""
        columns, percent = ["setting"], in_percent(self.confidence)
        for measure in MEASURES:
            columns += [name_of_measure(measure, self.k), percent]
        rows = [[name, *_cells_of(result)] for name, result in self.settings.items()]
        return columns, rows

    def _notes(self) -> list[str]:
        notes = [count_in_words(len(self.questions), "question")]
        if self.missing:
            notes.append(about_missing(self.missing))
        return notes


def estimates_of(values: Floats, confidence: float, seed: int) -> list[Estimate]:
    """The mean of each column of `values`, (q, m), with its bootstrap interval."""
    means, ends = values.mean(axis=0), intervals_of_means(values, confidence, seed)
    return [Estimate(mean, *end) for mean, end in zip(means.tolist(), ends.tolist(), strict=True)]


def name_of_measure(measure: Measure, k: int) -> str:
    """The heading for a measure in a table."""
    return f"{CALLED[measure]}@{k}"


def about_missing(ids: tuple[str, ...]) -> str:
    """A sentence that says that some expected ids do not exist."""
    return (
        f"{count_in_words(len(ids), 'id')} that should be found can't be, since the collection has "
        f"no such point: {list_first(ids, MOST_IDS, repr)}"
    )


def _cells_of(result: SettingResult) -> list[Any]:
    cells: list[Any] = []
    for measure in MEASURES:
        estimate = result.estimates[measure]
        cells += [estimate.mean, format_interval(estimate.low, estimate.high)]
    return cells

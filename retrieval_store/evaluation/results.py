"""What an evaluation found out: figures of each setting, values of each question, and what two
settings differ in."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Floats
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.html import table_of
from retrieval_store.base.validation import shown
from retrieval_store.direct.tables.results import frame_of
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.evaluation.bootstrap import intervals_of_means
from retrieval_store.evaluation.measures import CALLED, MEASURES, Measure
from retrieval_store.evaluation.questions import Question
from retrieval_store.evaluation.tables import (
    between,
    counted,
    in_percent,
    plain_table,
    signed,
    some_of,
)

EQUAL = 1e-12  # values that are no further apart than rounding takes them
SHOWN = 5  # questions that got worse, and that got better, in a table


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions, and the interval that bootstrapping them gives: how far it would vary
    with other questions of the kind."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class SettingResult:
    """How well one setting found what it should.

    how: its arguments of `Collection.query`; found: for each question the ids that were found, best
    first; values: each measure of each question, (q,) float64 from 0 to 1; estimates: their means.
    Measures are "recall", "mrr" and "ndcg".
    """

    name: str
    how: Mapping[str, Any]
    found: tuple[tuple[str, ...], ...]
    values: Mapping[Measure, Floats]
    estimates: Mapping[Measure, Estimate]


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One question under two settings: its number, the values of both and the ids that each found,
    best first. Against `question.grades` one sees what was missed."""

    number: int
    question: Question
    first: float
    second: float
    found_by_first: tuple[str, ...]
    found_by_second: tuple[str, ...]

    @property
    def difference(self) -> float:
        """What the second is ahead of the first."""
        return self.second - self.first


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison:
    """Two settings, question by question. `print` shows a summary and what changed most.

    first, second: their names; difference: the mean of second - first, with the interval by paired
    bootstrap; changes: all questions, in their order.
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
        """Questions for which the second setting is worse, those that lose most first."""
        lost = [one for one in self.changes if one.difference < -EQUAL]
        return tuple(sorted(lost, key=lambda one: one.difference))

    @property
    def better(self) -> tuple[Change, ...]:
        """Questions for which the second setting is better, those that gain most first."""
        gained = [one for one in self.changes if one.difference > EQUAL]
        return tuple(sorted(gained, key=lambda one: -one.difference))

    @property
    def same(self) -> tuple[Change, ...]:
        """Questions for which both settings are as good, in their order."""
        return tuple(one for one in self.changes if abs(one.difference) <= EQUAL)

    @property
    def summary(self) -> str:
        """The difference and the numbers of questions, in a line."""
        found, called = self.difference, named(self.measure, self.k)
        return (
            f"{called}: {self.second} - {self.first} = {signed(found.mean)} "
            f"({in_percent(self.confidence)}: {signed(found.low)} … {signed(found.high)}); "
            f"{len(self.better):,} better, {len(self.worse):,} worse, {len(self.same):,} the same"
        )

    def to_pandas(self) -> Any:
        """A pandas.DataFrame, a row for each question: "question" (its number), "query", "first",
        "second", "difference", "ids" (those that should be found), "found_by_first",
        "found_by_second". MissingDependencyError without pandas."""
        rows = self.changes
        return frame_of(
            {
                "question": [one.number for one in rows],
                "query": [one.question.query for one in rows],
                "first": [one.first for one in rows],
                "second": [one.second for one in rows],
                "difference": [one.difference for one in rows],
                "ids": [[*one.question.grades] for one in rows],
                "found_by_first": [[*one.found_by_first] for one in rows],
                "found_by_second": [[*one.found_by_second] for one in rows],
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
        found = ((one.found_by_first, one.found_by_second) for one in self._most())
        rows = [[*row, *map(some_of, ids)] for row, ids in zip(rows, found, strict=True)]
        return table_of(columns, rows, self.summary)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows as they are shown: what changed most, from the worst to the best."""
        rows: list[list[Any]] = []
        for one in self._most():
            ids = some_of([*one.question.grades])
            rows.append([one.difference, one.first, one.second, one.question.query, ids])
        return ["difference", self.first, self.second, "query", "expected"], rows

    def _most(self) -> list[Change]:
        return [*self.worse[:SHOWN], *reversed(self.better[:SHOWN])]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Evaluation:
    """Recall, MRR and nDCG of several settings. `print` shows them as a table.

    k: how many hits count; confidence: share of the intervals; seed: of their draws; missing: ids
    that should be found, and that no point of the collection has.
    """

    k: int
    confidence: float
    seed: int
    questions: tuple[Question, ...]
    settings: Mapping[str, SettingResult]
    missing: tuple[str, ...]

    def __getitem__(self, setting: str) -> SettingResult:
        """What one setting came to; InvalidArgumentError for one that there isn't."""
        if setting not in [*self.settings]:  # which may be asked of what has no hash, too
            raise InvalidArgumentError(
                f"there is no setting {shown(setting)}, expected one of {[*self.settings]}"
            )
        return self.settings[setting]

    def compare(self, first: str, second: str, measure: Measure = "ndcg") -> Comparison:
        """What the second setting changes against the first, question by question.

        measure: "recall", "mrr" or "ndcg". The interval of the mean difference is a percentile
        interval by paired bootstrap over the questions (Efron and Tibshirani 1993): where it holds
        0, these questions don't tell which setting is better. InvalidArgumentError for a setting or
        a measure that there isn't.
        """
        if measure not in MEASURES:
            raise InvalidArgumentError(f"measure is {shown(measure)}, expected one of {MEASURES}")
        one, other = self[first], self[second]
        values, others = one.values[measure], other.values[measure]
        found = zip(one.found, other.found, strict=True)
        pairs = zip(values.tolist(), others.tolist(), strict=True)
        changes = tuple(
            Change(number, question, *pair, *ids)
            for number, (question, pair, ids) in enumerate(
                zip(self.questions, pairs, found, strict=True)
            )
        )
        differences = (others - values)[:, np.newaxis]
        (difference,) = estimates_of(differences, self.confidence, self.seed)
        return Comparison(first, second, measure, self.k, self.confidence, difference, changes)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame, a row for each question under each setting: "setting", "question"
        (its number), "query", "recall", "mrr", "ndcg", "ids" (those that should be found) and
        "found". MissingDependencyError without pandas."""
        results, number = [*self.settings.values()], len(self.questions)
        columns: dict[str, Any] = {
            "setting": [one.name for one in results for _ in range(number)],
            "question": [*range(number)] * len(results),
            "query": [one.query for one in self.questions] * len(results),
        }
        for measure in MEASURES:
            columns[measure] = np.concatenate([one.values[measure] for one in results])
        columns["ids"] = [[*one.grades] for one in self.questions] * len(results)
        columns["found"] = [[*ids] for one in results for ids in one.found]
        return frame_of(columns)

    def __repr__(self) -> str:
        return f"<Evaluation of {counted(len(self.questions), 'question')}: {[*self.settings]}>"

    def __str__(self) -> str:
        return "\n".join([plain_table(*self.table()), *self._notes()])

    def _repr_html_(self) -> str:
        return table_of(*self.table(), "; ".join(self._notes()))

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows as they are shown: of each setting the means, and their intervals."""
        columns, percent = ["setting"], in_percent(self.confidence)
        for measure in MEASURES:
            columns += [named(measure, self.k), percent]
        rows = [[name, *_cells_of(result)] for name, result in self.settings.items()]
        return columns, rows

    def _notes(self) -> list[str]:
        told = [counted(len(self.questions), "question")]
        if self.missing:
            told.append(about_missing(self.missing))
        return told


def estimates_of(values: Floats, confidence: float, seed: int) -> list[Estimate]:
    """The mean of each column of (q, m), with its interval."""
    means, ends = values.mean(axis=0), intervals_of_means(values, confidence, seed)
    return [Estimate(mean, *end) for mean, end in zip(means.tolist(), ends.tolist(), strict=True)]


def named(measure: Measure, k: int) -> str:
    """What a measure is called in a table."""
    return f"{CALLED[measure]}@{k}"


def about_missing(ids: tuple[str, ...]) -> str:
    """That ids that should be found can't be."""
    return (
        f"{counted(len(ids), 'id')} that should be found can't be, since the collection has no "
        f"such point: {some_of([repr(one) for one in ids])}"
    )


def _cells_of(result: SettingResult) -> list[Any]:
    cells: list[Any] = []
    for measure in MEASURES:
        found = result.estimates[measure]
        cells += [found.mean, between(found.low, found.high)]
    return cells

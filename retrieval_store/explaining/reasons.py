"""What a caller is told of records: data with a readable print."""

from collections.abc import Iterable, Sequence
from typing import Any

from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.printable import printable
from retrieval_store.explaining.conditions import Excluded

LONGEST = 80  # characters of a document in the print
MOST = 5  # ids in the print
COLUMNS = ("id", "result", "rank", "by", "left out by", "words shared", "words missing", "advice")


@dataclass(frozen=True, slots=True)
class Leg:
    """One way of searching, exactly and alone. rank: the place from 1 among the records that match,
    for one that a filter leaves out the place that it would have there; None for one that can't be
    ranked so, having no vector or no word of the query, or that stands too far back on a cluster.
    distance: in `dense` of a Collection, else None; score: greater is better. asked: how many
    candidates the query asks it for; None where the query doesn't search this way; beyond: whether
    it is worse than the threshold that this way has."""

    rank: int | None
    distance: float | None
    score: float | None
    asked: int | None
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Reranked:
    """What a re-ranker made of a record that it has read: the place before and after, from 1, and
    its score, None for one without a document."""

    before: int
    after: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one record was found by a query, or wasn't.

    exists: whether there is such a record; of one that there isn't nothing else is known. found:
    whether it is among the hits, and place: where, from 1, those that an offset skips counted.
    rank: the exact place, from 1, among all that match, in the ranking that the query would give if
    it were asked for that many; None where a filter leaves it out, or it can't be ranked. legs: by
    the name of the way of searching, "dense", "text" or "sparse". excluded_by: the smallest
    conditions that leave it out. shared_words: words of the query that its document has, with what
    each adds to its score in text search (None on a cluster); missing_words: those that it lacks.
    ahead: the ids before it, best first, 100 at most. same: hits that have its value under the key
    that the caller named. advice: what would have to change, in sentences. reranked: what the
    re-ranker made of it, where it has read it: then place and ahead are those after it, and rank
    and legs those before.
    """

    id: str | int
    exists: bool
    found: bool = False
    place: int | None = None
    rank: int | None = None
    legs: dict[str, Leg] = field(default_factory=dict)
    excluded_by: list[Excluded] = field(default_factory=list)
    shared_words: dict[str, float | None] = field(default_factory=dict)
    missing_words: list[str] = field(default_factory=list)
    ahead: list[str | int] = field(default_factory=list)
    same: list[str | int] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    document: str | None = None
    reranked: Reranked | None = None

    @property
    def summary(self) -> str:
        """Whether it was found, and its place, in a few words."""
        if not self.exists:
            return "there is no such record"
        if self.reranked is not None:
            before = f"({self.reranked.before} before re-ranking)"
            if self.found:
                return f"found, at place {self.place} {before}"
            return f"not found: re-ranked to place {self.reranked.after} {before}"
        if self.found:
            exact = "" if self.rank in (None, self.place) else f" (exactly: {self.rank})"
            return f"found, at place {self.place}{exact}"
        if self.excluded_by:
            return "not found: a condition leaves it out"
        return f"not found, at rank {self.rank}" if self.rank else "not found: it has no rank"

    @property
    def row(self) -> Sequence[object]:
        """What a table shows of it, in `COLUMNS`."""
        by = (f"{name}: {_told_of(leg)}" for name, leg in self.legs.items())
        return (
            str(self.id),
            self.summary,
            self.rank,
            "; ".join(by),
            "; ".join(map(str, self.excluded_by)),
            ", ".join(self.shared_words),
            ", ".join(self.missing_words),
            "; ".join(self.advice),
        )

    def __str__(self) -> str:
        return "\n".join([f"{printable(str(self.id))}: {self.summary}", *self._lines()])

    def _lines(self) -> Iterable[str]:
        if self.document:
            cut = "…" if len(self.document) > LONGEST else ""
            yield f"  document: {printable(self.document[:LONGEST])}{cut}"
        for name, leg in self.legs.items():
            yield f"  {name}: {_told_of(leg)}"
        if self.reranked is not None and self.reranked.score is not None:
            yield f"  re-ranker: score {self.reranked.score:.4g}"
        if self.shared_words or self.missing_words:
            shared = ", ".join(map(_weighed, self.shared_words.items())) or "none"
            missing = ", ".join(self.missing_words) or "none"
            yield printable(f"  words shared: {shared}; missing: {missing}")
        if self.ahead:
            yield f"  ahead of it: {_some(self.ahead)}"
        if self.same:
            yield f"  found with the same value: {_some(self.same)}"
        for said in self.advice:
            yield f"  → {printable(said)}"


class Reasons(list[Reason]):
    """The reasons of several records, which print as a text, and show as a table in notebooks.
    note: what else there is to know."""

    def __init__(self, reasons: Iterable[Reason] = (), note: str | None = None) -> None:
        super().__init__(reasons)
        self.note = note

    def __str__(self) -> str:
        said = [] if self.note is None else [printable(self.note)]
        return "\n\n".join([*said, *map(str, self)])

    def _repr_html_(self) -> str:
        from retrieval_store.base.tables import table_of

        rows = [one.row for one in self]
        return table_of(COLUMNS, rows, self.note or "", total=len(self))


def _told_of(leg: Leg) -> str:
    told = ["no rank" if leg.rank is None else f"rank {leg.rank}"]
    if leg.distance is not None:
        told.append(f"distance {leg.distance:.4g}")
    elif leg.score is not None:
        told.append(f"score {leg.score:.4g}")
    if leg.asked is None:
        told.append("not searched so")
    return ", ".join(told)


def _weighed(word: tuple[str, Any]) -> str:
    return word[0] if word[1] is None else f"{word[0]} ({word[1]:.3g})"


def _some(ids: list[str | int]) -> str:
    more = len(ids) - MOST
    listed = ", ".join(printable(str(one)) for one in ids[:MOST])
    return f"{listed} and {more} more" if more > 0 else listed

"""Why records are found by a question, or aren't: what a store is asked, and what it tells."""

from retrieval_store.base.arrays import Bools, Floats, Ints
from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.filters.nodes import And, Expression
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.interface.points import PointId, Points
from retrieval_store.interface.questions import Question, Step, among, step_among

MOST_RECORDS, MOST_AHEAD, MOST_CONDITIONS = 1_000, 100, 500


@dataclass(slots=True, eq=False)
class Inquiry:
    """A question of one step and one query, and which records are asked about: the first `limit`
    that fulfil `records`.

    beside: steps without prefetches that the question doesn't have, by which the records are ranked
    too; conditions: of each of them it is told which records fulfil it; same: a path, where hits
    are looked for that have the same value as a record; ahead: how many ids are told at most of
    what stands before a record.
    """

    question: Question
    records: Expression
    limit: int
    beside: tuple[Step, ...] = ()
    conditions: tuple[Expression, ...] = ()
    same: PayloadPath | None = None
    ahead: int = MOST_AHEAD

    def among(self, expression: Expression) -> "Inquiry":
        """The same of the points that fulfil the expression alone."""
        return replace(
            self,
            question=among(self.question, expression),
            records=And((self.records, expression)),
            beside=tuple(step_among(one, expression) for one in self.beside),
        )


@dataclass(slots=True, eq=False)
class LegFindings:
    """How one way of searching ranks the records, exactly, among all that its filter allows.

    asked: how many hits the question asks it for; None if it has no such step. ranked: how many
    points it ranks. ranks: (n,) from 1; 0 for a record that it can't rank, as one without a vector
    or without a word of the query, or that stands behind the last that the store looks at. A record
    that the filter leaves out has the rank that it would have beside those that it allows. scores:
    (n,), and distances: (n,), NaN where there is none. beyond: (n,) whether they are worse than the
    threshold of the step.
    """

    name: str
    asked: int | None
    ranked: int
    ranks: Ints
    scores: Floats
    distances: Floats
    beyond: Bools


@dataclass(slots=True, eq=False)
class WordFindings:
    """A word of a query, as the analyzer has it. weight: its idf, NaN where that isn't known;
    shares: (n,) what it adds to the score of each record, 0 where the record lacks it, NaN where it
    has it and how much it adds isn't known."""

    word: str
    weight: float
    shares: Floats


@dataclass(slots=True, eq=False)
class Findings:
    """What a store tells of the records, all of one state: n of them, in the order of insertion.

    points: with payload, document and uri. found: the hits of the question as it was asked.
    matching: how many points its filter allows, None where that isn't counted. ranks: (n,) the
    places from 1 in its exact ranking of all that match, 0 for a record that isn't in it; ahead:
    the ids before each record in it; beyond: (n,) whether the question's threshold is better than
    its score there. legs: the ways of searching; words: of the texts of the query;
    fulfilled: (conditions, n); same: for each record the hits with its value at the path.
    """

    points: Points
    found: list[PointId]
    matching: int | None
    ranks: Ints
    ahead: list[list[PointId]]
    beyond: Bools
    legs: list[LegFindings]
    words: list[WordFindings]
    fulfilled: Bools
    same: list[list[PointId]]

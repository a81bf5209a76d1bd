"""Measures the errors of scores by signs, on the vectors of a space, with hard queries
("questions").

A search by signs estimates the score of each row. It excludes a row if the estimate plus a number
of standard errors is still too low. The recall for a number of errors can't be computed from the
normal distribution, which the errors follow only approximately. And if many rows are about as near
as the last hit, each row with a larger error is lost. So the recall is measured: some questions of
each kind are answered exactly, and for each true hit the number of errors that finds it is
recorded. The kinds of questions are: stored vectors, midpoints of two stored vectors, means of
five, random directions, and stored vectors far from all others. The filters select one side of the
space, a corner of the space, or one vector in a hundred. The side and the corner lie away from the
question. The *worst* kind must reach the target, with a margin for unmeasured kinds. Before the
first measurement, `UNMEASURED` errors are used.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar

import apsw
import numpy as np
import orjson

from retrieval_store.base.arrays import Bools, Floats, Ints, Matrix, Metric, as_float32, words_of
from retrieval_store.base.system import usable_cores
from retrieval_store.base.workers import WorkerPool
from retrieval_store.engine.search.codes import MAX_SHARE, CodeSnapshot
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage.derived import (
    DerivedFile,
    DerivedFiles,
    DerivedKind,
    OutdatedError,
    find,
)
from retrieval_store.engine.storage.schema import Space
from retrieval_store.indexes import DEFAULT_RECALL, GREATEST_RECALL
from retrieval_store.indexes.exact import (
    Nearest,
    is_safe_length,
    length_of,
    max_candidates,
    nearest,
)
from retrieval_store.indexes.quantized import (
    SearchGoal,
    blocks_of,
    estimates,
    nearest_by_codes,
    scores_of,
    signs_at,
    turn_query,
)

T = TypeVar("T")
TARGETS = (0.8, 0.9, 0.95, DEFAULT_RECALL, 0.99, GREATEST_RECALL)
# Standard errors that find these shares for most vectors.
UNMEASURED = (1.5, 1.75, 2.0, 2.5, 2.75, 3.0)
# Measured numbers are at most SPARED less than unmeasured ones, and at most MOST_ERRORS.
SPARED, MOST_ERRORS = 0.25, 4.0
# The worst kind can have only 1 / SAFETY of the permitted misses: other questions may be harder.
SAFETY = 2
ROUNDINGS = 0.1  # further errors for the roundings of the tables of signs and of the upper bits
STEP = 0.25  # further errors if searches find too little
QUESTIONS = 24  # of each kind
CORES_A_THREAD = 4  # cores of a machine for each thread that searches; the others are for queries
LONELY = 5  # stored vectors from which a question far from others is chosen
HITS = (10, 100)
NOISE = 0.02  # added to a stored vector in a question, as a share of the usual size of its numbers
MEASURED_AGAIN = 1.25  # growth of the number of vectors after which the recall is measured again
MIN_MEASURED = 2_000  # vectors
AGAIN_AFTER = 1.0  # seconds until queries request a measurement again
# Seconds between two checks; share by which a space grows in a second if measuring is postponed.
LOOKS_APART, GROWS = 0.5, 0.01
CORNER = 3  # components that must all have the other sign
MIN_LIVING = 32  # with fewer vectors of points, no questions are asked
CheckCancelled: TypeAlias = Callable[[], object]


class Measured(NamedTuple):
    """The recall that searches reached for one kind of questions under one filter. recall: the
    share of the nearest `k` that the searches found, on average; least: this share for the worst
    question. k: the number of hits, among those in HITS, that has the lowest recall."""

    kind: str
    filter: str
    k: int
    recall: float
    least: float


def _recall_and_least(measured: Measured) -> tuple[float, float]:
    return measured.recall, measured.least


@dataclass(frozen=True, slots=True)
class Recall:
    """The result of a measurement with `vectors` vectors and `questions` questions. errors: for
    each of the TARGETS, the number of standard errors that reaches this recall. measured: the
    recall of each kind of questions, with the number of errors for the default target. off: the
    average error of the recall estimated for a single query. at: the time of the measurement, in
    seconds since 1970."""

    vectors: int
    questions: int
    errors: tuple[float, ...]
    measured: tuple[Measured, ...]
    off: float
    at: float

    @property
    def worst(self) -> Measured:
        """The result for the kind of questions with the lowest recall."""
        return min(self.measured, key=_recall_and_least)

    def to_json(self) -> bytes:
        """The measurement as the content of a file."""
        measured = [[*measurement] for measurement in self.measured]
        head = [TARGETS, self.vectors, self.questions, self.errors]
        content = [*head, measured, self.off, self.at]
        return orjson.dumps(content)

    @classmethod
    def from_json(cls, content: bytes) -> "Recall":
        """The measurement from the content of a file. Raises ValueError if the content is
        invalid."""
        targets, vectors, questions, errors, measured, *rest = orjson.loads(content)
        if tuple(targets) != TARGETS:
            raise OutdatedError("other targets were measured")
        errors_by_target = tuple(map(float, errors))
        in_order = len(errors_by_target) == len(TARGETS) and [*errors_by_target] == sorted(
            errors_by_target
        )
        if not in_order or not all(0 <= number <= MOST_ERRORS for number in errors_by_target):
            raise ValueError("it holds no numbers of errors")
        measurements = tuple(
            Measured(str(kind), str(filter_), int(k), float(recall), float(least))
            for kind, filter_, k, recall, least in measured
        )
        if not measurements or type(vectors) is not int or type(questions) is not int:
            raise ValueError("it contains no measurement")
        off, at = rest
        return cls(vectors, questions, errors_by_target, measurements, float(off), float(at))


class SpaceRecall(DerivedKind[None, Recall]):
    """Loads and keeps the measured recall of searches by signs in one vector space and one
    generation."""

    what: ClassVar[str] = "the measured recall"

    def __init__(self, space: Space, generation: int, files: DerivedFiles | None) -> None:
        self.key = f"recall.{space.number}.{generation}"
        self._files = files
        self._file: DerivedFile | None = None
        self._looked = files is None
        self._asked_at = 0.0
        # When maintenance last checked, and the number of slots at that time.
        self._seen: tuple[float, int] | None = None
        self._known: Recall | None = None

    @property
    def known(self) -> Recall | None:
        """The measured recall; None if it isn't loaded or measured yet."""
        return self._known

    def errors_for(self, target: float) -> float | None:
        """How many standard errors a search must allow for to reach the target; None if only an
        exact search reaches it."""
        place = next(
            (i for i, measured_target in enumerate(TARGETS) if measured_target >= target - 1e-9),
            None,
        )
        if place is None:
            return None
        return (UNMEASURED if self._known is None else self._known.errors)[place]

    def load_saved(self, connection: apsw.Connection, newer: bool = False) -> None:
        """Load the recorded file, if there is one. It is loaded only on the first call, unless
        `newer`."""
        if self._files is None or (self._looked and not newer):
            return
        derived_file = find(connection, self.key)
        if derived_file is not None and derived_file != self._file:
            recall = self.try_read(self._files, derived_file, None)
            if recall is not None:
                self.note(recall)
                self._file = derived_file
        self._looked = True

    def read(self, path: Path, derived_file: DerivedFile, source: None) -> Recall:
        return Recall.from_json(path.read_bytes())

    def note(self, recall: Recall) -> None:
        """Use this measurement from now on."""
        self._known = recall

    def lacks(self, slots: int) -> bool:
        """Whether the recall should be measured, for the first time or again. slots: the present
        number of slots."""
        recall = self._known
        few = slots < MIN_MEASURED
        return not few and (recall is None or slots >= MEASURED_AGAIN * recall.vectors)

    def asks(self, slots: int) -> bool:
        """Like `lacks`, but returns True at most once in `AGAIN_AFTER` seconds."""
        if not self.lacks(slots) or time.monotonic() < self._asked_at + AGAIN_AFTER:
            return False
        self._asked_at = time.monotonic()
        return True

    def is_settled(self, slots: int) -> bool:
        """Whether the space has hardly grown since the last maintenance. A measurement in the
        middle of an ingest would soon have to be repeated."""
        now, last_look = time.monotonic(), self._seen
        if last_look is not None and now < last_look[0] + LOOKS_APART:
            return False
        self._seen = now, slots
        return last_look is not None and slots - last_look[1] <= GROWS * slots * (
            now - last_look[0]
        )


def write_recall(path: Path, recall: Recall) -> int:
    """Write the measurement to a new file. Returns how many vectors the space had when it was
    measured."""
    path.write_bytes(recall.to_json())
    return recall.vectors


# Measuring.


class _Question(NamedTuple):
    """A query vector, and the slots that fulfil its filter, or None for all live slots."""

    vector: Matrix
    allowed: Bools | None


class _Group(NamedTuple):
    """Questions of one kind under one filter."""

    kind: str
    filter: str
    questions: Sequence[_Question]


class _Answered(NamedTuple):
    """A group of questions, and the true hits for each of them."""

    group: _Group
    true: Sequence[Nearest]


class Measurement:
    """One measurement of the vectors of a space, using their codes, which must cover all
    vectors."""

    def __init__(
        self, space: SpaceState, coded: CodeSnapshot, check_cancelled: CheckCancelled
    ) -> None:
        assert coded.together is not None
        self._space, self._coded, self._check_cancelled = space, coded, check_cancelled
        self._pieces = coded.together
        self._slots = min(space.space.slots, coded.stop)
        self._metric: Metric = space.space.metric
        self._matrix = space.vectors.rows(space.space.slots)
        self._draw = np.random.default_rng(11)
        self._threads = max(1, usable_cores() // CORES_A_THREAD)
        owners = space.row_of_slot.whole()[: self._slots]
        self._living: Bools = owners >= 0

    def run(self) -> Recall | None:
        """Run the measurement and return it; None if there is too little data for questions."""
        answered = self._questions_with_answers()
        if not answered:
            return None
        needed = [self._errors_needed(answers) for answers in answered]
        errors = [_errors_for(target, needed) for target in TARGETS]
        default = TARGETS.index(DEFAULT_RECALL)
        while True:
            measured = [self._measure(answers, errors[default]) for answers in answered]
            worst = min(
                measurement.recall for measurements in measured for measurement in measurements
            )
            if worst >= DEFAULT_RECALL or errors[default] + STEP > MOST_ERRORS:
                break
            errors[default:] = [min(MOST_ERRORS, number + STEP) for number in errors[default:]]
        worst_measured = tuple(
            min(measurements, key=_recall_and_least) for measurements in measured
        )
        questions = sum(len(answers.group.questions) for answers in answered)
        head = self._slots, questions, tuple(np.maximum.accumulate(errors).tolist())
        return Recall(
            *head, worst_measured, self._estimate_error(answered, errors[default]), time.time()
        )

    def measure_with(self, recall: Recall) -> list[Measured]:
        """The recall of each kind of questions, if searches allow for the number of standard errors
        in an earlier measurement. The list is empty if there is too little data for questions."""
        errors = recall.errors[TARGETS.index(DEFAULT_RECALL)]
        measured_groups = [
            self._measure(answers, errors) for answers in self._questions_with_answers()
        ]
        return [min(measurements, key=_recall_and_least) for measurements in measured_groups]

    def _questions_with_answers(self) -> list[_Answered]:
        """All groups of questions that have hits, with these hits."""
        if np.count_nonzero(self._living) < MIN_LIVING:
            return []
        all_answers = [self._answer(group) for group in self._groups() if group.questions]
        return [answers for answers in all_answers if any(true.chosen for true in answers.true)]

    # Questions.

    def _groups(self) -> Iterator[_Group]:
        """Yield all groups of questions. The questions of the last group are chosen according to
        the hits of other questions."""
        living = np.flatnonzero(self._living)
        stored = self._vectors(self._draw.choice(living, LONELY * QUESTIONS))
        size = float(np.abs(stored).mean())
        near = self._usable(stored[:QUESTIONS] + self._noise(size, stored[:QUESTIONS].shape))
        between = self._usable(self._means(living, 2))
        yield self._group("near a stored vector", near)
        yield self._group("half way between two", between)
        yield self._group("the mean of five", self._usable(self._means(living, 5)))
        anywhere = stored.mean(axis=0) if self._metric == "l2" else 0.0
        spread = float(stored.std()) if self._metric == "l2" else size
        directions = anywhere + self._noise(spread / NOISE, (QUESTIONS, stored.shape[1]))
        yield self._group("any direction", self._usable(directions))
        yield self._group("far from all others", self._lonely(self._usable(stored)))
        yield self._make_filtered_group(
            "near a stored vector", "the other side", near, self._other_side
        )
        yield self._make_filtered_group("half way between two", "a corner", between, self._corner)
        yield self._make_filtered_group(
            "near a stored vector", "one in a hundred", near, self._at_random
        )

    def _noise(self, size: float, shape: tuple[int, ...]) -> Matrix:
        noise = NOISE * size * self._draw.standard_normal(shape)
        rounded: Matrix = noise.astype(np.float32)
        return rounded

    def _vectors(self, slots: Ints) -> Matrix:
        self._space.vectors.verify_once(self._matrix, self._space.checksums, slots)
        vectors: Matrix = as_float32(self._matrix[slots])
        if self._metric != "cosine":
            return vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        units: Matrix = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return units

    def _means(self, living: Ints, group_size: int) -> Matrix:
        chosen = self._draw.choice(living, (group_size, QUESTIONS))
        groups = np.stack([self._vectors(slots) for slots in chosen])
        means: Matrix = groups.mean(axis=0)
        return means

    def _usable(self, vectors: Matrix) -> Matrix:
        """The vectors whose scores can be bounded."""
        good = [is_safe_length(length := length_of(vector)) and length > 0 for vector in vectors]
        return np.ascontiguousarray(vectors[np.array(good, np.bool_)], np.float32)

    def _lonely(self, stored: Matrix) -> Matrix:
        """The stored vectors whose tenth nearest neighbours are farthest away."""
        hits_by_vector = self._search_exactly(stored, 10)
        far = np.array([hits.distances[hits.chosen - 1] for hits in hits_by_vector])
        return stored[np.argsort(-far)[:QUESTIONS]]

    def _group(self, kind: str, vectors: Matrix) -> _Group:
        return _Group(kind, "all", [_Question(vector, None) for vector in vectors])

    def _make_filtered_group(
        self, kind: str, name: str, vectors: Matrix, allowed: Callable[[Matrix], Bools]
    ) -> _Group:
        questions = []
        for vector in vectors:
            self._check_cancelled()
            questions.append(_Question(vector, allowed(vector) & self._living))
        return _Group(kind, name, questions)

    def _signs_at(self, number: int) -> Bools:
        """Whether one component of each rotated vector is above 0: (slots,) bool. number: the index
        of the component."""
        signs = np.zeros(self._slots, np.bool_)
        for first, codes in self._coded.pieces:
            piece_signs = signs_at(codes, number)[: self._slots - first]
            signs[first : first + len(piece_signs)] = piece_signs
        return signs

    def _signs_by_magnitude(self, vector: Matrix) -> tuple[Ints, Bools]:
        """The component numbers of a rotated vector, sorted by magnitude, the largest first; and
        for each component, whether it is above 0."""
        rotated = turn_query(vector, self._pieces.frames[0]).own
        return np.argsort(-np.abs(rotated)), rotated > 0

    def _other_side(self, vector: Matrix) -> Bools:
        """Which slots have a vector that differs from the question in the sign of the question's
        largest component."""
        order, signs = self._signs_by_magnitude(vector)
        differs: Bools = self._signs_at(int(order[0])) != signs[order[0]]
        return differs

    def _corner(self, vector: Matrix) -> Bools:
        """Which slots have a vector that differs from the question in the signs of several of the
        question's largest components."""
        order, signs = self._signs_by_magnitude(vector)
        differences = [self._signs_at(int(number)) != signs[number] for number in order[:CORNER]]
        all_differ: Bools = np.logical_and.reduce(differences)
        return all_differ

    def _at_random(self, vector: Matrix) -> Bools:
        return self._draw.random(self._slots) < 1 / 100

    # Answers.

    def _answer(self, group: _Group) -> _Answered:
        if all(question.allowed is None for question in group.questions):
            vectors = np.array([question.vector for question in group.questions])
            return _Answered(group, self._search_exactly(vectors, HITS[-1]))
        return _Answered(group, self._call_each(self._answer_alone, group.questions))

    def _answer_alone(self, question: _Question) -> Nearest:
        return self._search_exactly_in_thread(question.vector[None], HITS[-1], question.allowed)[0]

    def _search_exactly(self, vectors: Matrix, k: int) -> list[Nearest]:
        """The true k nearest vectors to each of these vectors."""
        parts = np.array_split(vectors, self._threads)
        answer = partial(self._search_exactly_in_thread, k=k, allowed=None)
        return [hits for hits_of_part in self._call_each(answer, parts) for hits in hits_of_part]

    def _call_each(self, call: Callable[..., T], *items: Iterable[Any]) -> list[T]:
        """Call `call` once for each item, and return the results. The calls run in at most the
        number of threads for a measurement."""
        results: list[T] = []
        with WorkerPool(self._threads) as threads:
            waiting = [
                threads.submit(call, *arguments).result
                if self._threads > 1
                else partial(call, *arguments)
                for arguments in zip(*items, strict=True)
            ]
            try:
                for wait in waiting:
                    results.append(wait())
                    self._check_cancelled()  # only in this thread
            finally:
                threads.shutdown(wait=False, cancel_futures=True)
        return results

    def _search_exactly_in_thread(
        self, vectors: Matrix, k: int, allowed: Bools | None
    ) -> list[Nearest]:
        if not len(vectors):
            return []
        allowed = self._living if allowed is None else allowed
        lengths = [length_of(vector) for vector in vectors]
        goal = self._make_goal(k, allowed, None)
        hits_by_query = nearest_by_codes(vectors, lengths, self._pieces, goal, self._matrix, False)
        hard = [i for i, hits in enumerate(hits_by_query) if hits is None]
        if hard:
            slots = np.flatnonzero(allowed)
            self._space.vectors.verify_once(self._matrix, self._space.checksums, slots)
            norms = partial(self._space.vectors.norms, self._matrix, self._space.checksums, slots)
            answers = nearest(vectors[hard], self._matrix, norms, self._metric, k, slots)
            for i, answer in zip(hard, answers, strict=True):
                hits_by_query[i] = answer
        answers = [hits for hits in hits_by_query if hits is not None]
        for hits in answers:
            self._space.vectors.verify_once(self._matrix, self._space.checksums, hits.slots)
        return answers

    def _make_goal(self, k: int, allowed: Bools, errors: float | None) -> SearchGoal:
        most = max_candidates(int(np.count_nonzero(allowed)), MAX_SHARE, k)
        return SearchGoal(k, most, words_of(allowed, blocks_of(len(allowed))), None, errors)

    def _errors_needed(self, answered: _Answered) -> Floats:
        """For each true hit, the number of standard errors that a search must allow for to find
        this hit: for searches for one hit, and for each number of hits in HITS."""
        needed: list[Floats] = []
        for question, true in zip(answered.group.questions, answered.true, strict=True):
            slots, distances = true.slots[: true.chosen], true.distances[: true.chosen]
            scores = scores_of(distances, self._metric)
            guessed, errors = self._estimates(slots, question.vector)
            for k in (1, *HITS):
                first_hits = slice(0, min(k, len(slots)))
                if len(scores[first_hits]):
                    short = scores[first_hits][-1] - guessed[first_hits]
                    needed.append(short / np.maximum(errors[first_hits], np.finfo(np.float64).tiny))
        return np.concatenate(needed) if needed else np.empty(0)

    def _estimates(self, slots: Ints, vector: Matrix) -> tuple[Floats, Floats]:
        """The scores of these slots, estimated by signs, and their standard errors."""
        scores, errors = np.zeros(len(slots)), np.ones(len(slots))
        queries = {id(frame): turn_query(vector, frame) for frame in self._pieces.frames}
        for first, codes in self._coded.pieces:
            in_piece = np.flatnonzero((slots >= first) & (slots < first + codes.count))
            if len(in_piece):
                query = queries[id(codes.frame)]
                scores[in_piece], errors[in_piece] = estimates(
                    codes, slots[in_piece] - first, query
                )
        return scores, errors

    def _measure(self, answered: _Answered, errors: float) -> list[Measured]:
        """The recall of searches for each number of hits in HITS. errors: the number of standard
        errors that the searches allow for."""
        (group, true), measurements = answered, []
        for k in HITS:
            answerable = [
                pair for pair in zip(group.questions, true, strict=True) if pair[1].chosen
            ]
            if answerable:
                share = partial(self._share, k=k, errors=errors)
                shares = self._call_each(share, *zip(*answerable, strict=True))
                mean = float(np.mean(shares))
                measurements.append(Measured(group.kind, group.filter, k, mean, min(shares)))
        return measurements

    def _estimate_error(self, answered: Sequence[_Answered], errors: float) -> float:
        """The average error when the recall of a single query is estimated as in
        `code_search.estimate_recall`."""
        questions = [question for group, _ in answered for question in group.questions]
        true_hits = [true for _, hits_of_group in answered for true in hits_of_group]
        differences = self._call_each(
            partial(self._estimate_error_of, errors=errors), questions, true_hits
        )
        known_differences = [difference for difference in differences if difference is not None]
        return float(np.mean(known_differences)) if known_differences else 0.0

    def _estimate_error_of(self, question: _Question, true: Nearest, errors: float) -> float | None:
        """The error of the estimated recall for one question; None if its recall can't be
        estimated."""
        k = HITS[0]
        hits, wider_hits = (self._search(question, k, errors + wider) for wider in (0, 1))
        if not true.chosen or hits is None or wider_hits is None or not wider_hits.chosen:
            return None
        return abs(hits.share_of(wider_hits, k) - hits.share_of(true, k))

    def _search(self, question: _Question, k: int, errors: float) -> Nearest | None:
        """The hits of one search by signs; None if signs can't answer the question."""
        allowed = self._living if question.allowed is None else question.allowed
        query_and_length = question.vector[None], [length_of(question.vector)]
        goal = self._make_goal(k, allowed, errors)
        (hits,) = nearest_by_codes(*query_and_length, self._pieces, goal, self._matrix)
        return hits

    def _share(self, question: _Question, true: Nearest, k: int, errors: float) -> float:
        """The share of the true k nearest vectors that one search finds. Other hits at the same
        distance are counted too."""
        hits = self._search(question, k, errors)
        # Without hits, the question is answered exactly.
        return 1.0 if hits is None else hits.share_of(true, k)


def _errors_for(target: float, needed: Sequence[Floats]) -> float:
    """How many standard errors searches must allow for, so that the recall of every kind of
    questions is at least `target`. The number includes a margin for unmeasured kinds. needed: for
    each kind, how many standard errors each measured question needs."""
    least = UNMEASURED[TARGETS.index(target)] - SPARED
    share = 1 - (1 - target) / SAFETY
    most = max(float(np.sort(errors)[math.ceil(share * len(errors)) - 1]) for errors in needed)
    return min(MOST_ERRORS, max(least, round(most + ROUNDINGS, 2)))

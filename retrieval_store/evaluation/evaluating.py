"""The one function: questions in, figures out."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import fraction, shown, whole_number
from retrieval_store.direct.collection import Collection
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.evaluation.asking import (
    Asked,
    answerable,
    asked,
    found_by,
    unknown_to,
)
from retrieval_store.evaluation.measures import MEASURES, measured
from retrieval_store.evaluation.questions import Question, questions_of
from retrieval_store.evaluation.results import (
    Evaluation,
    SettingResult,
    about_missing,
    estimates_of,
)
from retrieval_store.evaluation.settings import (
    EvaluatedMode,
    How,
    all_settings,
    modes_of,
    needs_vectors,
    settings_of,
)

_log = log_of()


def evaluate(
    collection: Collection,
    questions: Iterable[Mapping[str, Any]] | str | os.PathLike[str],
    k: int = 10,
    *,
    modes: EvaluatedMode | Iterable[EvaluatedMode] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    where: Mapping[str, Any] | None = None,
    where_document: Mapping[str, Any] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """How well a collection finds what it should: recall@k, MRR@k and nDCG@k by mode and by
    setting, with the values of each question.

    questions: dicts, or the path of a file with one a line as JSON: "query", the text; "ids", those
    that should be found, as a list, or as a dict of ids and grades, finite numbers above 0 (1 for
    each of a list); and, where it is to be asked by a vector of its own, "embedding". Of those
    without, vectors are made once, however many settings there are.

    modes: of "dense", "text" and "hybrid"; None: those that the collection can answer, by its
    embedding function or the questions' vectors, and by its documents; () for none but the
    settings. settings: by a name of your choice arguments of `Collection.query`, such as mode,
    alpha, fusion, depth, where, exact; one called as a mode is takes its place. where,
    where_document: filters for all that have none of their own.

    recall: the share of a question's ids that are among the k found. MRR: 1 / the rank of the first
    of them, 0 without one. nDCG: the gains found over the most that can be, where a gain is the
    grade by 1 / log2(rank + 1) (Järvelin and Kekäläinen 2002, with the gains of trec_eval). Each
    mean has a percentile interval of this confidence by bootstrap over the questions (Efron and
    Tibshirani 1993), the same for the same seed.

    An id that no point has counts as not found; it is told in `missing`, and logged. Raises
    InvalidArgumentError and its kinds for what can't be used, naming the argument, the question or
    the line, EmbeddingFunctionError where vectors are wanted and can't be made, and what `query`
    raises.
    """
    if not isinstance(collection, Collection):
        raise InvalidTypeError(f"collection is {shown(collection)}, expected a Collection")
    k, seed = whole_number(k, "k", 1), whole_number(seed, "seed", 0)
    confidence = _checked_confidence(confidence)
    named, known = settings_of(settings), questions_of(questions)
    chosen = _chosen(collection, known, modes_of(modes), named)
    shared = {"where": where, "where_document": where_document}
    ways = all_settings(chosen, named, shared)
    missing = unknown_to(collection, known)
    if missing:
        _log.warning("%s", about_missing(missing))
    ready = asked(collection, known, any(map(needs_vectors, ways.values())))
    found = {
        name: _found(collection, ready, k, how, name if name in named else None)
        for name, how in ways.items()
    }
    results = _results(known, ways, found, k, confidence, seed)
    return Evaluation(k, confidence, seed, known, results, missing)


def _chosen(
    collection: Collection,
    questions: Sequence[Question],
    modes: Sequence[EvaluatedMode] | None,
    named: Mapping[str, How],
) -> Sequence[EvaluatedMode]:
    """The modes that are measured; InvalidArgumentError where nothing would be."""
    chosen = answerable(collection, questions) if modes is None else modes
    if chosen or named:
        return chosen
    if modes is not None:
        raise InvalidArgumentError("modes is empty, and there are no settings: nothing to measure")
    raise InvalidArgumentError(
        f"collection {collection.name!r} can answer no question: it has no embedding function and "
        "no documents, and not all questions bring an 'embedding'"
    )


def _found(
    collection: Collection, asked: Asked, k: int, how: How, setting: str | None
) -> list[tuple[str, ...]]:
    """What is found so; errors name the setting, where the caller named it."""
    try:
        return found_by(collection, asked, k, how)
    except InvalidArgumentError as error:
        if setting is None:
            raise
        raise type(error)(f"settings[{setting!r}]: {error}") from error


def _results(
    questions: Sequence[Question],
    ways: Mapping[str, How],
    found: Mapping[str, Sequence[tuple[str, ...]]],
    k: int,
    confidence: float,
    seed: int,
) -> dict[str, SettingResult]:
    """By setting what was found, measured. All intervals come of the same draws."""
    values = {name: measured(questions, ids, k) for name, ids in found.items()}
    columns = [values[name][measure] for name in ways for measure in MEASURES]
    estimates = iter(estimates_of(np.stack(columns, axis=1), confidence, seed))
    return {
        name: SettingResult(
            name,
            how,
            tuple(found[name]),
            values[name],
            {measure: next(estimates) for measure in MEASURES},
        )
        for name, how in ways.items()
    }


def _checked_confidence(confidence: float) -> float:
    share = fraction(confidence, "confidence")
    if share in (0, 1):
        raise InvalidArgumentError(f"confidence is {share}, expected a number between 0 and 1")
    return share

"""`evaluate` measures how well a collection answers questions.

It runs each question in several settings: in the modes that the collection can answer, and in
settings that the caller names. Each question is embedded only once.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from retrieval_store.api.collection import Collection, can_embed, embedded_queries
from retrieval_store.api.query_arguments import Hybrid, Rerank
from retrieval_store.base.arrays import Matrix
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import fraction, quote, whole_number
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError, InvalidTypeError
from retrieval_store.evaluation.measures import (
    MEASURES,
    Evaluation,
    Question,
    SettingResult,
    about_missing,
    estimates_of,
    measure_questions,
    questions_of,
)
from retrieval_store.filters.expression import DocumentContains
from retrieval_store.filters.nodes import Where

EvaluatedMode: TypeAlias = Literal["dense", "text", "hybrid"]
MODES: tuple[EvaluatedMode, ...] = get_args(EvaluatedMode)
ARGUMENTS = (
    "mode", "where", "where_document", "max_distance", "min_score", "exact", "ef", "recall",
    "group_by", "rerank",
)  # fmt: skip
How: TypeAlias = Mapping[str, Any]  # arguments of Collection.query


def modes_of(modes: Any) -> tuple[EvaluatedMode, ...] | None:
    """The passed modes without duplicates. None if `modes` is None; then the modes depend on the
    collection."""
    if modes is None:
        return None
    mode_list = [modes] if isinstance(modes, str) else modes
    if not isinstance(mode_list, Iterable):
        raise InvalidTypeError(f"modes is {quote(modes)}, expected a list of {MODES}")
    mode_names = tuple(mode_list)
    for mode in mode_names:
        if mode not in MODES:
            raise InvalidArgumentError(f"modes has {quote(mode)}, expected some of {MODES}")
    return tuple(dict.fromkeys(mode_names))


def settings_of(settings: Any) -> dict[str, How]:
    """The passed settings by name; raises an error if they are invalid."""
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        raise InvalidTypeError(
            f"settings is {quote(settings)}, expected a dict of names and arguments of query"
        )
    return {_name(name): _how(name, how) for name, how in settings.items()}


def all_settings(
    modes: Sequence[EvaluatedMode], named: Mapping[str, How], shared: How
) -> dict[str, How]:
    """All settings to measure: the modes and the named settings. A named setting replaces a mode of
    the same name. shared: arguments for all settings that don't set these arguments themselves."""
    return {
        name: {**shared, **how}
        for name, how in ({mode: {"mode": mode} for mode in modes} | {**named}).items()
    }


def needs_vectors(how: How) -> bool:
    """Whether a setting needs a vector for each question."""
    return mode_of(how) != "text"


def mode_of(how: How) -> str:
    """The mode of a setting; by default the mode of `query`."""
    mode = how.get("mode", "dense")
    return "hybrid" if isinstance(mode, Hybrid) else mode


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InvalidArgumentError(f"settings has the name {quote(name)}, expected some text")
    return name


def _how(name: str, how: Any) -> How:
    place = f"settings[{name!r}]"
    if not isinstance(how, Mapping):
        raise InvalidTypeError(f"{place} is {quote(how)}, expected a dict of arguments of query")
    for key in how:
        if key not in ARGUMENTS:
            raise InvalidArgumentError(
                f"{place} has the key {quote(key)}, expected some of {', '.join(ARGUMENTS)}"
            )
    if mode_of(how) not in MODES:  # of a sparse one questions have no vectors
        raise InvalidArgumentError(
            f"{place}: mode is {quote(mode_of(how))}, expected one of {MODES}"
        )
    return dict(how)


AT_ONCE = 1_000  # questions in one call of `query`
LOOKED_UP = 10_000  # ids in one call of `get`
_SOURCES = {
    "dense": ("query_embeddings",),
    "text": ("query_texts",),
    "hybrid": ("query_texts", "query_embeddings"),
}


@dataclass(frozen=True, slots=True)
class QueryInputs:
    """Questions in the form that `query` takes: q texts, and (q, dim) float32 vectors if vectors
    are needed."""

    texts: list[str]
    vectors: Matrix | None


def answerable(collection: Collection, questions: Sequence[Question]) -> list[EvaluatedMode]:
    """The modes in which the collection can answer the questions."""
    by_vectors = can_embed(collection) or all(
        question.embedding is not None for question in questions
    )
    by_words = collection.count(where=DocumentContains("")) > 0
    can_answer = {"dense": by_vectors, "text": by_words, "hybrid": by_vectors and by_words}
    return [cast(EvaluatedMode, mode) for mode, is_there in can_answer.items() if is_there]


def prepare_questions(
    collection: Collection, questions: Sequence[Question], needs_vectors: bool
) -> QueryInputs:
    """The questions in the form that `query` takes. If vectors are needed, each question has its
    own vector, or a vector that the collection's embedding function computes."""
    texts = [question.query for question in questions]
    return QueryInputs(texts, _vectors(collection, questions) if needs_vectors else None)


def ids_found_by(
    collection: Collection, inputs: QueryInputs, k: int, how: How
) -> list[tuple[str, ...]]:
    """For each question at most k ids that a setting finds, best first."""
    inputs_by_name: dict[str, Any] = {
        "query_texts": inputs.texts,
        "query_embeddings": inputs.vectors,
    }
    sources = {name: inputs_by_name[name] for name in _SOURCES[mode_of(how)]}
    ids: list[tuple[str, ...]] = []
    for start in range(0, len(inputs.texts), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        arguments = {name: values[part] for name, values in sources.items()}
        if how.get("rerank") is not None:
            arguments["rerank"] = Rerank.comparing(how["rerank"], inputs.texts[part])
        result = collection.query(**{**how, **arguments, "n_results": k, "include": []})
        ids += map(tuple, result["ids"])
    return ids


def unknown_to(collection: Collection, questions: Sequence[Question]) -> tuple[str, ...]:
    """The expected ids that no record has, without duplicates."""
    ids = list(dict.fromkeys(point_id for question in questions for point_id in question.grades))
    existing: set[str] = set()
    for start in range(0, len(ids), LOOKED_UP):
        existing.update(collection.get(ids[start : start + LOOKED_UP], include=[])["ids"])
    return tuple(point_id for point_id in ids if point_id not in existing)


def _vectors(collection: Collection, questions: Sequence[Question]) -> Matrix:
    """The vectors of all questions, (q, dim) float32."""
    without = [i for i, question in enumerate(questions) if question.embedding is None]
    if without and not can_embed(collection):
        raise EmbeddingFunctionError(
            f"the question {questions[without[0]].query!r} has no 'embedding', and nothing can be "
            "embedded without an embedding function: pass embedding_function= when you get the "
            "collection, or ask by words alone, by modes=['text']"
        )
    embedded = (
        embedded_queries(collection, [questions[i].query for i in without]) if without else None
    )
    own_vectors = [question.embedding for question in questions if question.embedding is not None]
    if embedded is None:
        return np.stack(own_vectors)
    if own_vectors and embedded.shape[1] != len(own_vectors[0]):
        raise EmbeddingFunctionError(
            f"the embedding function makes vectors of {embedded.shape[1]} numbers, but questions "
            f"bring some of {len(own_vectors[0])}"
        )
    embedded_rows, own_rows = iter(embedded), iter(own_vectors)
    return np.stack(
        [next(embedded_rows if question.embedding is None else own_rows) for question in questions]
    )


_log = log_of()


def evaluate(
    collection: Collection,
    questions: Iterable[Mapping[str, Any]] | str | os.PathLike[str],
    k: int = 10,
    *,
    modes: EvaluatedMode | Iterable[EvaluatedMode] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    where: Where | None = None,
    where_document: Mapping[str, Any] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Measure how well a collection finds the right records: recall@k, MRR@k and nDCG@k by mode and
    by setting, with the values of each question.

    recall: the share of a question's expected ids that are among the k ids found. MRR: 1 / the rank
    of the first expected id, 0 if no expected id is found. nDCG: the sum of the gains found,
    divided by the greatest possible sum. A gain is the grade of an id, times 1 / log2(rank + 1)
    (Järvelin and Kekäläinen 2002, with the gains of trec_eval). Each mean has a percentile interval
    by bootstrap over the questions (Efron and Tibshirani 1993). Equal seeds give equal intervals.

    An id that no point has counts as not found; it is listed in `missing`, and logged.

    Args:
        collection: the collection.
        questions: dicts, or the path of a file with one dict per line, as JSON. "query": the text.
            "ids": the ids that should be found, as a list, or as a dict of ids and grades, finite
            numbers above 0 (for a list, each grade is 1). "embedding": a query vector, instead of
            the vector of the text. Questions without an embedding are embedded once, for all
            settings.
        k: how many hits count.
        modes: some of "dense", "text" and "hybrid"; () to measure only the settings. None: all
            modes that the collection can answer, which depends on its embedding function or the
            questions' vectors, and on its documents.
        settings: arguments of `Collection.query`, such as mode, where, exact, rerank, by names of
            your choice; a setting with the name of a mode replaces that mode.
        where: a filter of metadata for all settings that don't set their own.
        where_document: a filter of documents for all settings that don't set their own.
        confidence: the confidence level of the intervals, from 0 to 1.
        seed: the random seed for drawing questions in the bootstrap.

    Raises:
        InvalidArgumentError: an invalid argument; the message names it, and the question or the
            line. The errors of `query` are raised, too.
        EmbeddingFunctionError: vectors are needed, but nothing can embed the questions.
    """
    if not isinstance(collection, Collection):
        raise InvalidTypeError(f"collection is {quote(collection)}, expected a Collection")
    k, seed = whole_number(k, "k", 1), whole_number(seed, "seed", 0)
    confidence = _check_confidence(confidence)
    named, known = settings_of(settings), questions_of(questions)
    chosen = _choose_modes(collection, known, modes_of(modes), named)
    shared = {"where": where, "where_document": where_document}
    ways = all_settings(chosen, named, shared)
    missing = unknown_to(collection, known)
    if missing:
        _log.warning("%s", about_missing(missing))
    ready = prepare_questions(collection, known, any(map(needs_vectors, ways.values())))
    ids_by_setting = {
        name: _ids_found(collection, ready, k, how, name if name in named else None)
        for name, how in ways.items()
    }
    results = _results(known, ways, ids_by_setting, k, confidence, seed)
    return Evaluation(k, confidence, seed, known, results, missing)


def _choose_modes(
    collection: Collection,
    questions: Sequence[Question],
    modes: Sequence[EvaluatedMode] | None,
    named: Mapping[str, How],
) -> Sequence[EvaluatedMode]:
    """The modes to measure; raises InvalidArgumentError if nothing would be measured."""
    chosen = answerable(collection, questions) if modes is None else modes
    if chosen or named:
        return chosen
    if modes is not None:
        raise InvalidArgumentError("modes is empty, and there are no settings: nothing to measure")
    raise InvalidArgumentError(
        f"collection {collection.name!r} can answer no question: it has no embedding function and "
        "no documents, and not all questions bring an 'embedding'"
    )


def _ids_found(
    collection: Collection, inputs: QueryInputs, k: int, how: How, setting: str | None
) -> list[tuple[str, ...]]:
    """For each question the ids that a setting finds. setting: the name that the caller has given
    to the setting, for error messages; None if the setting has no name."""
    try:
        return ids_found_by(collection, inputs, k, how)
    except InvalidArgumentError as error:
        if setting is None:
            raise
        raise type(error)(f"settings[{setting!r}]: {error}") from error


def _results(
    questions: Sequence[Question],
    ways: Mapping[str, How],
    ids_by_setting: Mapping[str, Sequence[tuple[str, ...]]],
    k: int,
    confidence: float,
    seed: int,
) -> dict[str, SettingResult]:
    """The measures of each setting. The bootstrap draws the same questions for all intervals."""
    values = {name: measure_questions(questions, ids, k) for name, ids in ids_by_setting.items()}
    columns = [values[name][measure] for name in ways for measure in MEASURES]
    estimates = iter(estimates_of(np.stack(columns, axis=1), confidence, seed))
    return {
        name: SettingResult(
            name,
            how,
            tuple(ids_by_setting[name]),
            values[name],
            {measure: next(estimates) for measure in MEASURES},
        )
        for name, how in ways.items()
    }


def _check_confidence(confidence: float) -> float:
    share = fraction(confidence, "confidence")
    if share in (0, 1):
        raise InvalidArgumentError(f"confidence is {share}, expected a number between 0 and 1")
    return share

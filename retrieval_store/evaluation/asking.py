"""What a collection finds for questions, which are embedded once, however many ways they are
asked in."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.direct.collection import Collection, can_embed, embedded_queries
from retrieval_store.errors import EmbeddingFunctionError
from retrieval_store.evaluation.questions import Question
from retrieval_store.evaluation.settings import EvaluatedMode, How, mode_of
from retrieval_store.filters.expression import DocumentContains

AT_ONCE = 1_000  # questions in one call of `query`
LOOKED_UP = 10_000  # ids in one call of `get`
_SOURCES = {
    "dense": ("query_embeddings",),
    "text": ("query_texts",),
    "hybrid": ("query_texts", "query_embeddings"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions as `query` takes them: q texts, and (q, dim) float32 where they are needed."""

    texts: list[str]
    vectors: Matrix | None


def answerable(collection: Collection, questions: Sequence[Question]) -> list[EvaluatedMode]:
    """The modes that the collection can answer: by what it has, and what the questions bring."""
    by_vectors = can_embed(collection) or all(one.embedding is not None for one in questions)
    by_words = collection.count(where=cast(Any, DocumentContains(""))) > 0
    there = {"dense": by_vectors, "text": by_words, "hybrid": by_vectors and by_words}
    return [cast(EvaluatedMode, mode) for mode, is_there in there.items() if is_there]


def asked(collection: Collection, questions: Sequence[Question], needs_vectors: bool) -> Asked:
    """The questions, with vectors if these are needed: their own, or what the collection's
    embedding function makes of those that bring none."""
    texts = [one.query for one in questions]
    return Asked(texts, _vectors(collection, questions) if needs_vectors else None)


def found_by(collection: Collection, asked: Asked, k: int, how: How) -> list[tuple[str, ...]]:
    """For each question the ids that are found so, best first, at most k."""
    given: dict[str, Any] = {"query_texts": asked.texts, "query_embeddings": asked.vectors}
    sources = {name: given[name] for name in _SOURCES[mode_of(how)]}
    if how.get("rerank") is not None:
        sources["rerank_query"] = asked.texts
    found: list[tuple[str, ...]] = []
    for start in range(0, len(asked.texts), AT_ONCE):
        part = {name: values[start : start + AT_ONCE] for name, values in sources.items()}
        result = collection.query(**part, n_results=k, include=[], **how)
        found += map(tuple, result["ids"])
    return found


def unknown_to(collection: Collection, questions: Sequence[Question]) -> tuple[str, ...]:
    """Ids that should be found and that no point has, each once."""
    wanted = list(dict.fromkeys(one for question in questions for one in question.grades))
    there: set[str] = set()
    for start in range(0, len(wanted), LOOKED_UP):
        there.update(collection.get(wanted[start : start + LOOKED_UP], include=[])["ids"])
    return tuple(one for one in wanted if one not in there)


def _vectors(collection: Collection, questions: Sequence[Question]) -> Matrix:
    """(q, dim) float32."""
    without = [i for i, one in enumerate(questions) if one.embedding is None]
    if without and not can_embed(collection):
        raise EmbeddingFunctionError(
            f"the question {questions[without[0]].query!r} has no 'embedding', and nothing can be "
            "embedded without an embedding function: pass embedding_function= when you get the "
            "collection, or ask by words alone, by modes=['text']"
        )
    made = embedded_queries(collection, [questions[i].query for i in without]) if without else None
    own = [one.embedding for one in questions if one.embedding is not None]
    if made is None:
        return np.stack(own)
    if own and made.shape[1] != len(own[0]):
        raise EmbeddingFunctionError(
            f"the embedding function makes vectors of {made.shape[1]} numbers, but questions "
            f"bring some of {len(own[0])}"
        )
    rows, theirs = iter(made), iter(own)
    return np.stack([next(rows if one.embedding is None else theirs) for one in questions])

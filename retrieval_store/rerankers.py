"""Re-rankers read a query together with its hits, and sort the hits.

A re-ranker is a callable of a query and a list of documents. It returns a number for each document,
greater for a better one. Objects with `predict` (cross-encoders of sentence-transformers) or
`score` (LangChain's) take pairs of query and document. `scorer_of` turns each of these into a
function. Registered classes can be passed by name. This module may import `embeddings`, `base` and
`errors`.

`CrossEncoderReranker` runs a cross-encoder of sentence-transformers: a model that reads a query and
a document together. `SimilarityReranker` uses an embedding function, for example a model that would
be too slow for all documents. `TokenReranker` compares the tokens of the query and of the documents
one by one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats, distinct
from retrieval_store.base.system import needing
from retrieval_store.base.validation import quote
from retrieval_store.embeddings import Embeds, QueryEmbedding
from retrieval_store.embeddings._common import LoadsModel
from retrieval_store.errors import (
    InvalidTypeError,
    RerankerError,
    RetrievalStoreError,
)

LONGEST_READ = 16_000  # characters of a document, by `TokenReranker`


class Reranker(Protocol):
    """Scores how well documents answer a query."""

    def __call__(self, query: str, documents: Sequence[str], /) -> Any:
        """(n,) numbers: the scores of n documents, a higher score for a better document. The
        optional attribute `usual_weight`, from 0 to 1, is the weight of these scores, 1 by default;
        the query's own scores have the weight 1 - `usual_weight`. See `retrieval_store.Rerank`."""


Scorer: TypeAlias = Callable[[str, list[str]], Floats]


def scorer_of(reranker: Any, argument: str) -> Scorer:
    """A function that scores documents by a re-ranker of any kind, as (n,) float64, finite. The
    function raises RerankerError if the re-ranker fails or returns a wrong number of scores.
    argument: the argument's name, for messages. Raises InvalidTypeError for an object that is no
    re-ranker."""
    method = _scoring_call(reranker)
    if method is None:
        raise InvalidTypeError(
            f"{argument} is {quote(reranker)}, expected the name of a re-ranker, a callable of a "
            "query and documents, or an object with predict(pairs) or score(pairs)"
        )

    def score(query: str, documents: list[str]) -> Floats:
        try:
            made = method(query, documents)
        except RetrievalStoreError:
            raise
        except Exception as error:  # whatever a model raises
            raise RerankerError(f"{argument} has failed: {error}") from error
        return _check_scores(made, len(documents), argument)

    return score


def _scoring_call(reranker: Any) -> Callable[[str, list[str]], Any] | None:
    """The re-ranker's method to call; None if it has no such method. The result for a class is
    None, since calling a class would create an instance."""
    if isinstance(reranker, type):
        return None
    for name in ("predict", "score"):
        of_pairs = getattr(reranker, name, None)
        if callable(of_pairs):
            return lambda query, documents: of_pairs([(query, document) for document in documents])
    return reranker if callable(reranker) else None


def _check_scores(made: Any, count: int, argument: str) -> Floats:
    try:
        scores = np.asarray(made)
        scores = np.empty(0) if np.iscomplexobj(scores) else scores.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # a tensor that wants a gradient
        scores = np.empty(0)
    if scores.shape == (count, 1):  # of a model with one label
        scores = scores[:, 0]
    if scores.shape != (count,):
        raise RerankerError(
            f"{argument} returned {quote(made)} for {count} documents, expected as many numbers"
        )
    if not np.isfinite(scores).all():
        raise RerankerError(f"{argument} returned numbers that aren't finite")
    return scores


class CrossEncoderReranker(LoadsModel):
    """Scores documents with a CrossEncoder."""

    def __init__(
        self,
        model_name: str = "cross-encoder/ms-marco-MiniLM-L6-v2",
        *,
        device: str | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
    ) -> None:
        """Choose a model. The first call loads it. `close` unloads it, and the next call loads it
        again.

        Args:
            model_name: a path, or a name, which sentence-transformers downloads if necessary.
            device: the device on which the model runs; None for a GPU, if any.
            batch_size: how many documents are scored together.
            max_length: the maximum number of tokens of query and document together; None for the
                model's own limit.

        Raises:
            MissingDependencyError: at the first call, if sentence-transformers isn't installed.
        """
        super().__init__()
        self.model_name = str(model_name)
        self._device, self._batch_size, self._max_length = device, batch_size, max_length

    def __call__(self, query: str, documents: Sequence[str]) -> Floats:
        """(n,) float64: the scores of n documents, in the model's own scale; a higher score for a
        better document."""
        model = self._load_once()
        pairs = [(query, document) for document in documents]
        scores = model.predict(pairs, batch_size=self._batch_size, show_progress_bar=False)
        return np.asarray(scores, np.float64)

    def _load(self) -> Any:
        needed = "sentence-transformers"
        with needing("CrossEncoderReranker", needed, f"[{needed}]"):
            from sentence_transformers import CrossEncoder
        more = {} if self._max_length is None else {"max_length": self._max_length}
        return CrossEncoder(self.model_name, device=self._device, **more)


class SimilarityReranker:
    """Scores documents by the cosine of the document's vector and the query's vector, from -1 to
    1."""

    def __init__(self, embedding_function: Embeds | None = None) -> None:
        """Choose the embedding function.

        Args:
            embedding_function: computes the vectors. If it has a method `embed_query`, this method
                embeds the query. None for MiniLM, which the extra `minilm` installs.
        """
        if embedding_function is None:
            from retrieval_store.embeddings.onnx.functions import MiniLMEmbedding

            embedding_function = MiniLMEmbedding()
        self._embed = embedding_function

    def __call__(self, query: str, documents: Sequence[str]) -> Floats:
        """(n,) float64: the scores of n documents; 0 if a vector is all zeros."""
        embed_query = (
            self._embed.embed_query if isinstance(self._embed, QueryEmbedding) else self._embed
        )
        of_query = np.asarray(embed_query([query]), np.float64)[0]
        of_documents = np.asarray(self._embed(list(documents)), np.float64)
        lengths = np.linalg.norm(of_documents, axis=1) * np.linalg.norm(of_query)
        products = of_documents @ of_query
        scores: Floats = np.divide(products, lengths, np.zeros_like(products), where=lengths > 0)
        return scores


class TokenReranker:
    """Scores documents by the similarity of their tokens to those of the query, from -1 to 1.

    For each token of the query, the document's most similar token is found by the vectors of
    WordLlama (extra "standard"). The score is the mean of these cosines, weighted by the lengths of
    the query's token vectors, which the model makes longer for informative tokens. See Khattab and
    Zaharia, "ColBERT" (2020); here tokens have no context. Alone it ranks poorly. So its scores
    have the weight 0.4, and the query's own scores 0.6, unless `Rerank` sets another weight. Only
    the first 16,000 characters of a document are read.
    """

    usual_weight = 0.4  # chosen on other questions than benchmarks/folder_questions.json

    def __call__(self, query: str, documents: Sequence[str]) -> Floats:
        """(n,) float64: the scores of n documents; 0 if the document or the query has no token."""
        from retrieval_store.embeddings.wordllama import tokens_of, vectors_of

        query_tokens, *read = tokens_of([query, *documents], LONGEST_READ)
        scores = np.zeros(len(documents))
        held = distinct(np.concatenate([np.empty(0, np.int64), *read]))
        (of_query, weights), (of_held, _) = vectors_of(query_tokens), vectors_of(held)
        if not weights.any():
            return scores
        alike = of_query @ of_held.T
        for i, tokens in enumerate(read):
            if len(tokens):
                nearest = alike[:, np.searchsorted(held, tokens)].max(axis=1)
                scores[i] = nearest @ weights / weights.sum()
        return scores

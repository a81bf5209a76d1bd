"""Inference: vectors of texts and images by BM25 as on a server, by registered embedding functions,
and by fastembed if it is installed.

qdrant-client finds texts and images in arguments and passes them to an embedder, which this module
defines.
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from qdrant_client import models
from qdrant_client.embed.embedder import Embedder
from qdrant_client.embed.model_embedder import ModelEmbedder, ModelEmbedderWorker
from qdrant_client.embed.type_inspector import Inspector

from retrieval_store import plugins
from retrieval_store.base.analysis import K1, B
from retrieval_store.base.system import needing
from retrieval_store.base.validation import quote
from retrieval_store.embeddings import QueryEmbedding
from retrieval_store.embeddings._common import blank_of_zeros
from retrieval_store.qdrant.refusals import bad_request, wrong
from retrieval_store.qdrant.tokenizers import Tokens, tokens_of

BM25 = "qdrant/bm25"
AVERAGE, LANGUAGE = 256.0, "english"
NONE = "none"
FUNCTIONS_KEPT = 16


class InferenceEmbedder(ModelEmbedder):
    """The embedder of qdrant-client, extended by the models that are registered here."""

    def __init__(self, parser: Any = None, is_local_mode: bool = False, **kwargs: Any) -> None:
        super().__init__(parser=parser, is_local_mode=False, **kwargs)
        self.embedder = OwnModels(**kwargs)

    @classmethod
    def _get_worker_class(cls) -> type[ModelEmbedderWorker]:
        return InferenceWorker


class InferenceWorker(ModelEmbedderWorker):
    """An `InferenceEmbedder` in a separate process."""

    def __init__(self, batch_size: int, **kwargs: Any) -> None:
        self.model_embedder = InferenceEmbedder(**kwargs)
        self.batch_size = batch_size


class OwnModels(Embedder):
    """Embeds with the models that are registered here, and with fastembed for all other models."""

    @classmethod
    def is_supported_text_model(cls, model_name: str) -> bool:
        return is_ours(model_name) or bool(super().is_supported_text_model(model_name))

    def is_supported_sparse_model(self, model_name: str) -> bool:
        return is_bm25(model_name) or bool(super().is_supported_sparse_model(model_name))

    def embed(
        self,
        model_name: str,
        texts: Any = None,
        images: Any = None,
        options: dict[str, Any] | None = None,
        is_query: bool = False,
        batch_size: int = 8,
    ) -> Any:
        inputs = images if texts is None else texts
        if is_bm25(model_name):
            return bm25_vectors(inputs, options or {}, is_query)
        if is_ours(model_name):
            return vectors_by(model_name, inputs, options or {}, is_query)
        return super().embed(model_name, texts, images, options, is_query, batch_size)


class NumbersInspector(Inspector):
    """The inspector of qdrant-client, which searches models for objects to embed. Most queries and
    points contain only numbers. The inspector skips them, because searching them for objects takes
    longer than reading them."""

    def inspect(self, points: Any) -> bool:
        if points is None:
            return False
        point_list = points if type(points) is list else (points,)
        return not all(map(_has_numbers, point_list)) and bool(super().inspect(points))


def _has_numbers(model: Any) -> bool:
    """Whether the vectors of a query or a point contain only numbers."""
    if type(model) is models.PointStruct:
        return type(model.vector) is list
    return type(model) is models.NearestQuery and type(model.nearest) is list


class ResolvesInPlace:
    """Normalises queries as qdrant-client does, but without copying the requests of a batch, since
    copying takes longer than answering them. Only a batch with texts to embed is copied. A list
    counts as a vector, without tests for other types."""

    def _resolve_query_request(self, query: Any) -> Any:
        if not isinstance(query, models.QueryRequest):
            raise bad_request(f"a request is {quote(query)}, expected qdrant_client's QueryRequest")
        return query.model_copy(update={"query": self._resolve_query(query.query)})

    def _resolve_query(self, query: Any) -> Any:
        try:
            if type(query) is list:
                return models.NearestQuery(nearest=query)
            return super()._resolve_query(query)  # type: ignore[misc]
        except ValueError as error:  # pydantic's, of numbers too large for any float, are such
            raise bad_request(
                f"query is {quote(query)}, expected what can be searched for"
            ) from error

    def get_embedding_size(self, model_name: str) -> int:
        """The dimension of a model's vectors; raises ValueError for an unknown model."""
        if is_ours(model_name):
            return size_of(model_name)
        return int(super().get_embedding_size(model_name))  # type: ignore[misc]


def is_bm25(model_name: str) -> bool:
    """Whether a model has the name that servers use for BM25."""
    return model_name.lower() == BM25


def is_ours(model_name: str) -> bool:
    """Whether a model is an embedding function registered here."""
    return plugins.is_known(plugins.EMBEDDING_FUNCTIONS, model_name)


def size_of(name: str) -> int:
    """The dimension of an embedding function's vectors."""
    return len(vectors_by(name, ["a"], {}, is_query=False)[0])


def vectors_by(name: str, inputs: Sequence[Any], options: dict[str, Any], is_query: bool) -> Any:
    """Vectors of texts or images, computed by an embedding function that is registered here.
    options: the function's arguments."""
    kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, name)
    function = _function(kind, name, json.dumps(options, sort_keys=True))
    if is_query and isinstance(function, QueryEmbedding):
        return np.asarray(function.embed_query(inputs)).tolist()
    vectors = np.asarray(function(inputs))
    place = blank_of_zeros(inputs, vectors)
    if place is not None:
        raise wrong(f"Wrong input: the text {inputs[place]!r} has nothing in it to embed")
    return vectors.tolist()


@lru_cache(maxsize=FUNCTIONS_KEPT)
def _function(kind: Any, name: str, options: str) -> Any:
    try:
        return kind(**json.loads(options))
    except TypeError as error:
        raise wrong(f"options of {name!r} are {options}: {error}") from error


def bm25_vectors(
    texts: Sequence[str], options: dict[str, Any], is_query: bool
) -> list[models.SparseVector]:
    """Sparse vectors of texts. The index of a token is the absolute value of its 32-bit
    MurmurHash3. In documents the token's value is f (k + 1) / (f + k (1 - b + b |d| / average)),
    where f is how often the token occurs among the |d| tokens of the document. In queries the value
    is 1.

    Robertson and Zaragoza, "The probabilistic relevance framework" (2009). options: the fields of
    qdrant_client.models.Bm25Config. The collection multiplies the values by the idf.
    """
    try:
        config = models.Bm25Config.model_validate(options)
        _check_bm25(config)
        tokens = _tokens(config)
    except ValueError as error:
        raise wrong(f"options of {BM25} are {options!r}: {error}") from error
    if is_query:
        return [_sparse(dict.fromkeys(tokens.tokenize_query(text), 1.0)) for text in texts]
    return [_document(config, tokens.tokenize_text(text)) for text in texts]


def _check_bm25(config: models.Bm25Config) -> None:
    """Raise ValueError for parameters with which the formula is undefined."""
    if config.avg_len is not None and not config.avg_len > 0:
        raise ValueError("avg_len should be more than 0")
    if config.k is not None and not config.k >= 0:
        raise ValueError("k should be 0 or more")
    if config.b is not None and not 0 <= config.b <= 1:
        raise ValueError("b should be from 0 to 1")


def _document(config: models.Bm25Config, tokens: Sequence[str]) -> models.SparseVector:
    k = K1 if config.k is None else config.k
    b = B if config.b is None else config.b
    average = AVERAGE if config.avg_len is None else config.avg_len
    damping = k * (1 - b + b * len(tokens) / average)
    return _sparse({token: f * (k + 1) / (f + damping) for token, f in Counter(tokens).items()})


def _sparse(values: dict[str, float]) -> models.SparseVector:
    hashed = _hash_function()
    by_index = {abs(hashed(token)): value for token, value in values.items()}
    indices = sorted(by_index)
    return models.SparseVector(indices=indices, values=[by_index[index] for index in indices])


def _hash_function() -> Any:
    with needing(BM25, "mmh3", "[qdrant]"):
        import mmh3
    return mmh3.hash


def _tokens(config: models.Bm25Config) -> Tokens:
    """The tokenizer of a text index with the same options. By default it removes the language's
    stopwords, and reduces words to their stems."""
    language = config.language or LANGUAGE
    stopwords: Any = config.stopwords
    stemmer: Any = config.stemmer
    if language != NONE:
        stopwords = language if stopwords is None else stopwords
        if stemmer is None:
            stemmer = models.SnowballParams.model_validate(
                {"type": "snowball", "language": language}
            )
    return tokens_of(
        models.TextIndexParams.model_validate(
            {
                "type": "text",
                "tokenizer": config.tokenizer,
                "lowercase": config.lowercase,
                "ascii_folding": config.ascii_folding,
                "stopwords": stopwords,
                "stemmer": stemmer,
                "min_token_len": config.min_token_len,
                "max_token_len": config.max_token_len,
            }
        )
    )

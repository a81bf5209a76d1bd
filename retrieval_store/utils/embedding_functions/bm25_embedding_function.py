"""`Bm25EmbeddingFunction` with Chroma's arguments."""

from typing import Any

from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.utils.embedding_functions.refusals import refuse


def Bm25EmbeddingFunction(
    avg_len: float | None = None,
    task: str | None = "document",
    cache_dir: str | None = None,
    k: float | None = None,
    b: float | None = None,
    language: str | None = None,
    token_max_length: int | None = None,
    disable_stemmer: bool | None = None,
    specific_model_path: str | None = None,
    query_config: Any = None,
    **kwargs: Any,
) -> BM25Embedding:
    """A `retrieval_store.embeddings.bm25.BM25Embedding`, which makes sparse vectors without a model
    or files: of documents when it is called, of queries by `embed_query`, whatever `task` and
    `query_config` say."""
    others = {
        "cache_dir": cache_dir,
        "token_max_length": token_max_length,
        "specific_model_path": specific_model_path,
    }
    refuse("Bm25EmbeddingFunction", {**others, **kwargs})
    given: dict[str, Any] = {"average_length": avg_len, "k": k, "b": b, "language": language}
    settings = {name: value for name, value in given.items() if value is not None}
    return BM25Embedding(stemming=not disable_stemmer, **settings)

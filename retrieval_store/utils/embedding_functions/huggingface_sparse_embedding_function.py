"""`HuggingFaceSparseEmbeddingFunction` with Chroma's arguments."""

from typing import Any

from retrieval_store.embeddings.splade import SpladeEmbedding
from retrieval_store.utils.embedding_functions.refusals import refuse


def HuggingFaceSparseEmbeddingFunction(
    model_name: str,
    device: str | None = None,
    task: str | None = "document",
    query_config: Any = None,
    **kwargs: Any,
) -> SpladeEmbedding:
    """A `retrieval_store.embeddings.splade.SpladeEmbedding`: sparse vectors of documents when it is
    called, of queries by `embed_query`, whatever `task` and `query_config` say."""
    refuse("HuggingFaceSparseEmbeddingFunction", kwargs)
    return SpladeEmbedding(model_name, device=device)

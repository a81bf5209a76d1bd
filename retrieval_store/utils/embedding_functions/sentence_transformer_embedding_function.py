"""`SentenceTransformerEmbeddingFunction` with Chroma's arguments."""

from typing import Any

from retrieval_store.embeddings import sentence_transformers
from retrieval_store.utils.embedding_functions.refusals import refuse


def SentenceTransformerEmbeddingFunction(
    model_name: str = "all-MiniLM-L6-v2",
    device: str | None = "cpu",
    normalize_embeddings: bool = False,
    **kwargs: Any,
) -> sentence_transformers.SentenceTransformerEmbeddingFunction:
    """A `retrieval_store.SentenceTransformerEmbeddingFunction` that puts nothing before texts, as
    Chroma's doesn't; that one does what the model's makers say. Arguments of the model's own class
    are refused."""
    refuse("SentenceTransformerEmbeddingFunction", kwargs)
    return sentence_transformers.SentenceTransformerEmbeddingFunction(
        model_name,
        normalize=normalize_embeddings,
        query_prompt="",
        document_prompt="",
        device=device,
    )

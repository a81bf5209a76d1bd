"""`OllamaEmbeddingFunction` with Chroma's arguments."""

from retrieval_store.embeddings import ollama

ROUTES = ("/api/embeddings", "/api/embed")  # with which Chroma's code may name a server


def OllamaEmbeddingFunction(
    url: str = "http://localhost:11434",
    model_name: str = "chroma/all-minilm-l6-v2-f32",
    timeout: float = 60,
) -> ollama.OllamaEmbeddingFunction:
    """A `retrieval_store.OllamaEmbeddingFunction` that puts nothing before texts, as Chroma's
    doesn't; that one does, for models which find more with it."""
    if isinstance(url, str):
        url = url.rstrip("/")
        for route in ROUTES:
            url = url.removesuffix(route)
    return ollama.OllamaEmbeddingFunction(
        model_name, url, query_prefix="", document_prefix="", timeout=timeout
    )

"""Embedding functions under the names, and with the arguments, that code for Chroma uses.

Each name makes one of `retrieval_store.embeddings`, which collections remember as that. It makes
the vectors that Chroma's makes, so that queries meet vectors that come from there; but
`DefaultEmbeddingFunction` is the default here. The modules have Chroma's names, too:
`bm25_embedding_function`, `huggingface_sparse_embedding_function`, `ollama_embedding_function`,
`onnx_mini_lm_l6_v2`, `open_clip_embedding_function`, `openai_embedding_function` and
`sentence_transformer_embedding_function`; `refusals` says what of theirs can't be. It may use
`embeddings`, `plugins`, `base` and `errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_store.embeddings import EmbeddingFunction, SparseEmbeddingFunction
    from retrieval_store.embeddings.wordllama import WordLlamaEmbedding as DefaultEmbeddingFunction
    from retrieval_store.utils.embedding_functions.bm25_embedding_function import (
        Bm25EmbeddingFunction,
    )
    from retrieval_store.utils.embedding_functions.huggingface_sparse_embedding_function import (
        HuggingFaceSparseEmbeddingFunction,
    )
    from retrieval_store.utils.embedding_functions.ollama_embedding_function import (
        OllamaEmbeddingFunction,
    )
    from retrieval_store.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2
    from retrieval_store.utils.embedding_functions.open_clip_embedding_function import (
        OpenCLIPEmbeddingFunction,
    )
    from retrieval_store.utils.embedding_functions.openai_embedding_function import (
        OpenAIEmbeddingFunction,
    )
    from retrieval_store.utils.embedding_functions.sentence_transformer_embedding_function import (
        SentenceTransformerEmbeddingFunction,
    )

__all__ = [
    "Bm25EmbeddingFunction",
    "DefaultEmbeddingFunction",
    "EmbeddingFunction",
    "HuggingFaceSparseEmbeddingFunction",
    "ONNXMiniLM_L6_V2",
    "OllamaEmbeddingFunction",
    "OpenAIEmbeddingFunction",
    "OpenCLIPEmbeddingFunction",
    "SentenceTransformerEmbeddingFunction",
    "SparseEmbeddingFunction",
    "register_embedding_function",
]
_HERE = "retrieval_store.utils.embedding_functions"
_HOMES = {
    "Bm25EmbeddingFunction": f"{_HERE}.bm25_embedding_function",
    "EmbeddingFunction": "retrieval_store.embeddings",
    "HuggingFaceSparseEmbeddingFunction": f"{_HERE}.huggingface_sparse_embedding_function",
    "ONNXMiniLM_L6_V2": f"{_HERE}.onnx_mini_lm_l6_v2",
    "OllamaEmbeddingFunction": f"{_HERE}.ollama_embedding_function",
    "OpenAIEmbeddingFunction": f"{_HERE}.openai_embedding_function",
    "OpenCLIPEmbeddingFunction": f"{_HERE}.open_clip_embedding_function",
    "SentenceTransformerEmbeddingFunction": f"{_HERE}.sentence_transformer_embedding_function",
    "SparseEmbeddingFunction": "retrieval_store.embeddings",
}


def register_embedding_function(ef_class: Any = None) -> Any:
    """Register a class of embedding functions by the name that its `name()` says: above a class,
    with parentheses or without."""
    from retrieval_store import plugins

    register = plugins.register_embedding_function
    return register if ef_class is None else register(ef_class)


if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name == "DefaultEmbeddingFunction":
            from retrieval_store.embeddings.wordllama import WordLlamaEmbedding

            return WordLlamaEmbedding
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        from retrieval_store.utils.embedding_functions.refusals import absent

        raise AttributeError(absent(name))


def __dir__() -> list[str]:
    return sorted(__all__)

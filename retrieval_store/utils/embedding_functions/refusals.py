"""What of Chroma's embedding functions can't be, and what to do instead."""

from typing import Any

from retrieval_store.base.validation import quote
from retrieval_store.errors import InvalidArgumentError

CALLABLE = (
    "any callable that turns a list of texts into vectors is taken as embedding_function, Chroma's "
    "own included"
)
_OPENAI = "OpenAIEmbeddingFunction(api_base=…) asks any server that has OpenAI's interface"
_INSTEAD = {
    "HuggingFaceEmbeddingServer": f"{_OPENAI}, as its server does",
    "ChromaBm25EmbeddingFunction": "Bm25EmbeddingFunction makes sparse vectors by BM25",
    "FastembedSparseEmbeddingFunction": "Bm25EmbeddingFunction makes those of 'Qdrant/bm25'",
    "known_embedding_functions": "retrieval_store.plugins.available() tells what is registered",
    "sparse_known_embedding_functions": "retrieval_store.plugins.available() tells what there is",
    "get_builtins": "retrieval_store.plugins.available() tells what there is",
    "config_to_embedding_function": "a function is named: embedding_function='openai'",
    "register_sparse_embedding_function": "sparse vectors are given as sparse_embeddings",
    "ChromaLangchainEmbeddingFunction": (
        "FromLangChain of retrieval_store.embeddings.frameworks takes embeddings of LangChain"
    ),
}


def is_of_chroma(name: str) -> bool:
    """Whether it is known that Chroma has something of this name."""
    return name in _INSTEAD or name.endswith("EmbeddingFunction")


def absent(name: str) -> str:
    """Says that there is no such name, and what there is."""
    what = f"module 'retrieval_store.utils.embedding_functions' has no attribute {name!r}"
    if name in _INSTEAD:
        return f"{what}: {_INSTEAD[name]}"
    return f"{what}: {CALLABLE}; {_OPENAI}" if name.endswith("EmbeddingFunction") else what


def refuse(function: str, given: dict[str, Any], instead: str = CALLABLE) -> None:
    """Raise InvalidArgumentError for arguments of Chroma's that are given and mean nothing here."""
    for name, value in given.items():
        if value is not None:
            raise InvalidArgumentError(
                f"{name} is {quote(value)}, which {function} here doesn't take: leave it out; or "
                f"{instead}"
            )

"""retrieval-store for LlamaIndex."""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise ImportError(
        "llama_index.vector_stores.retrieval_store needs llama-index-core: "
        'pip install "retrieval-store[llama-index]"'
    ) from error

from llama_index.vector_stores.retrieval_store.base import RetrievalStoreVectorStore
from llama_index.vector_stores.retrieval_store.filters import AsLlamaIndex
from llama_index.vector_stores.retrieval_store.readers import FolderReader

__all__ = ["AsLlamaIndex", "FolderReader", "RetrievalStoreVectorStore"]

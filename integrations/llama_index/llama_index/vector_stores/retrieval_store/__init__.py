"""retrieval-store for LlamaIndex."""

from retrieval_store import require_core

__version__ = "0.2.0"
require_core("llama-index-vector-stores-retrieval-store", __version__)

from llama_index.vector_stores.retrieval_store.base import RetrievalStoreVectorStore
from llama_index.vector_stores.retrieval_store.filters import AsLlamaIndex
from llama_index.vector_stores.retrieval_store.readers import FolderReader

__all__ = ["AsLlamaIndex", "FolderReader", "RetrievalStoreVectorStore"]

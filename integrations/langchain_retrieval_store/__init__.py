"""retrieval-store for LangChain."""

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError(
        'langchain_retrieval_store needs langchain-core: pip install "retrieval-store[langchain]"'
    ) from error

from langchain_retrieval_store.filters import RetrievalStoreTranslator
from langchain_retrieval_store.loaders import FolderLoader
from langchain_retrieval_store.retriever import AsLangChain, RetrievalStoreRetriever
from langchain_retrieval_store.vectorstore import RetrievalStore, RetrievalStoreIndex

__all__ = [
    "AsLangChain",
    "FolderLoader",
    "RetrievalStore",
    "RetrievalStoreIndex",
    "RetrievalStoreRetriever",
    "RetrievalStoreTranslator",
]

"""retrieval-store for LangChain."""

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError(
        'langchain_retrieval_store needs langchain-core: pip install "retrieval-store[langchain]"'
    ) from error

from langchain_retrieval_store.embeddings import AsLangChain
from langchain_retrieval_store.index import RetrievalStoreIndex
from langchain_retrieval_store.retriever import RetrievalStoreRetriever
from langchain_retrieval_store.translator import RetrievalStoreTranslator
from langchain_retrieval_store.vectorstore import RetrievalStore

__all__ = [
    "AsLangChain",
    "RetrievalStore",
    "RetrievalStoreIndex",
    "RetrievalStoreRetriever",
    "RetrievalStoreTranslator",
]

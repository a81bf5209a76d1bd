"""retrieval-store for LangChain."""

from retrieval_store import require_core

__version__ = "0.2.0"
require_core("langchain-retrieval-store", __version__)

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

"""`chromadb.utils`: `embedding_functions` and `data_loaders`. It may use all rooms below
`cli`."""

from retrieval_store.chromadb.utils import data_loaders, embedding_functions

__all__ = ["data_loaders", "embedding_functions"]

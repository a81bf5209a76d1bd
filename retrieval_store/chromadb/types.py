"""`chromadb.types`: the same."""

from retrieval_store.chromadb.base_types import *

"""`chromadb.types`: types of arguments and results."""

from retrieval_store.chromadb.base_types import *

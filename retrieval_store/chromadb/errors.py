"""`chromadb.errors`: the errors that are raised here, by the names that programs catch."""

from retrieval_store.errors import *

"""`chromadb.api.types`: types of arguments and results."""

from retrieval_store.api.chroma.search import SearchResult as SearchResult
from retrieval_store.api.chroma.types import *
from retrieval_store.api.results import GetResult as GetResult
from retrieval_store.api.results import QueryResult as QueryResult
from retrieval_store.base.arrays import SparseVector as SparseVector
from retrieval_store.embeddings import EmbeddingFunction as EmbeddingFunction
from retrieval_store.embeddings import SparseEmbeddingFunction as SparseEmbeddingFunction
from retrieval_store.embeddings.wordllama import WordLlamaEmbedding
from retrieval_store.loaders import DataLoader as DataLoader

DefaultEmbeddingFunction = WordLlamaEmbedding

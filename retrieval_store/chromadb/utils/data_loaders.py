"""`chromadb.utils.data_loaders`: loaders of images."""

from retrieval_store.utils.data_loaders import ImageLoader

__all__ = ["ImageLoader"]

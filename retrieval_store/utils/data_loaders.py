"""`ImageLoader`, with the argument of Chroma's class of that name."""

from retrieval_store.base.validation import whole_number
from retrieval_store.loaders import images

USUAL_WORKERS = 4


def ImageLoader(max_workers: int = USUAL_WORKERS) -> images.ImageLoader:
    """A loader of images from local files. max_workers: how many images are loaded at the same
    time. The result is a `retrieval_store.ImageLoader`, whose constructor also has arguments for
    URLs, limits and folders."""
    return images.ImageLoader(threads=whole_number(max_workers, "max_workers", 1))

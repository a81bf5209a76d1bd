"""Loads images for clients of a server. An untrusted PDF is drawn in a process with limits."""

import threading
from functools import cache
from pathlib import Path

from retrieval_store import ImageLoader
from retrieval_store.errors import DataLoaderError
from retrieval_store.extension import Lock, at_fork
from retrieval_store.frameworks import needing

PAGE_PIXELS = 1_000  # of the longer side of a page
KEPT_FOR = 20.0  # seconds after the last picture
WAITS_FOR = 5.0  # seconds in the queue, since waiting requests hold threads of the server
DRAWS_FOR = 5.0  # seconds for a page, plus some for the size of the file


class PageDrawer:
    """Draws pages of PDFs in a separate process with limits. The process is kept for further pages,
    since a list of hits may need several pages. When the process has been idle for some seconds, it
    is ended."""

    def __init__(self) -> None:
        with needing("a page of a PDF", "retrieval-store-files", "retrieval-store-files"):
            from retrieval_store_files import ReaderProcess
        self._process = ReaderProcess(DRAWS_FOR)
        self._lock = Lock()
        self._end: threading.Timer | None = None

    def draw(self, data: bytes, page: int, size: int) -> bytes:
        """A page of a PDF as PNG, at most `size` pixels wide and high. Raises DataLoaderError if
        the page cannot be drawn, or if other pages occupy the process for too long."""
        if not self._lock.acquire(timeout=WAITS_FOR):
            raise DataLoaderError("too many pages are being drawn: ask again in a few seconds")
        try:
            if self._end is not None:
                self._end.cancel()
            try:
                return self._process.draw(data, page, size)
            finally:
                self._end = threading.Timer(KEPT_FOR, self.close)
                self._end.daemon = True
                self._end.start()
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process, if there is one. The next page starts another process."""
        with self._lock:
            self._process.close()


@cache
def drawer() -> PageDrawer:
    """The PageDrawer of this process, which all requests share."""
    return PageDrawer()


at_fork(after_in_child=drawer.cache_clear)  # the pipes to the process are the parent's


def served_images(root: Path | None) -> ImageLoader:
    """A loader for images below a folder, if a folder is given, and for images in data URLs. The
    loader draws pages of PDFs in a separate process."""
    return ImageLoader(root=root, draw=lambda data, page: drawer().draw(data, page, PAGE_PIXELS))

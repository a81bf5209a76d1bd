"""Data loaders: what fetches the images (or other data) that URIs point at.

In come uris, which a stranger may have written; out come arrays, texts or None, or a
DataLoaderError. `images` and `texts` are loaders; both get bytes from `sources`, which reads
`files` that don't leave a folder, and the `web`, whose `addresses` must be public, all before one
`deadline`. Pixels are taken from a `budget` of the whole process. It may use `errors`.
"""

from typing import Any, Protocol


class DataLoader(Protocol):
    """Loads what URIs point at."""

    def __call__(self, uris: Any, /) -> Any:
        """A list with one item for each of a list of uris, such as images as arrays."""

"""Data loaders: what fetches the images (or other data) that URIs point at."""

from typing import Any, Protocol


class DataLoader(Protocol):
    """Loads what URIs point at."""

    def __call__(self, uris: Any, /) -> Any:
        """A list with one item for each of a list of uris, such as images as arrays."""

"""Data loaders: what fetches the images (or other data) that URIs point at."""

from collections.abc import Sequence
from typing import Any, Protocol


class DataLoader(Protocol):
    """Loads what URIs point at."""

    def __call__(self, uris: Sequence[str | None]) -> list[Any]:
        """One item for each uri, such as an image as an array; None for None."""

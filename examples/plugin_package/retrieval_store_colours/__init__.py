"""A package with an embedding function for the colours of images, and a data loader.

    pip install ./examples/plugin_package

An embedding function and a data loader are callables, which inherit from nothing. A collection
stores the result of `settings()`, to create the function again.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


class ColourHistogram:
    """Embeds images by how often each colour occurs. bins: the number of steps of red, green and
    blue each."""

    # With any settings, it reaches no network, environment variable or file. So it can be created
    # again for a store that someone else wrote.
    self_contained = True

    def __init__(self, bins: int = 4) -> None:
        if type(bins) is not int or not 2 <= bins <= 16:
            raise ValueError(f"bins is {bins!r:.50}, expected 2 to 16")
        self._bins = bins

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON."""
        return {"bins": self._bins}

    def __call__(self, input: list[np.ndarray]) -> np.ndarray:
        """(n, bins³) float32 of length 1, for n images of (height, width, 3) uint8."""
        return np.stack([self._histogram(np.asarray(image)) for image in input])

    def _histogram(self, image: np.ndarray) -> np.ndarray:
        steps = image.reshape(-1, 3).astype(np.int64) * self._bins // 256
        codes = steps @ np.array([self._bins**2, self._bins, 1])
        counts = np.sqrt(np.bincount(codes, minlength=self._bins**3)).astype(np.float32)
        return counts / np.linalg.norm(counts)


class FolderLoader:
    """Loads images by their file names in a folder."""

    def __init__(self, folder: str = ".") -> None:
        self._folder = Path(folder)

    def __call__(self, uris: list[str | None]) -> list[np.ndarray | None]:
        """The images as (height, width, 3) uint8 arrays."""
        return [None if uri is None else self._loaded(uri) for uri in uris]

    def _loaded(self, name: str) -> np.ndarray:
        with Image.open(self._folder / name) as picture:
            return np.asarray(picture.convert("RGB"))

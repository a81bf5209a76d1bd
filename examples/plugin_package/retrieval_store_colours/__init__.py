"""Images by their colours: an embedding function and a loader, as a package of its own.

    pip install ./examples/plugin_package

Nothing has to be inherited: an embedding function is a callable, and `settings()` lets collections
remember it; a data loader is a callable too.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


class ColourHistogram:
    """How much of each colour an image has; bins: steps of each of red, green and blue."""

    # Made with any settings, it reaches no network, environment or file: so collections may make it
    # again of what a store says, whoever made that.
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
    """Loads images by their names in a folder."""

    def __init__(self, folder: str = ".") -> None:
        self._folder = Path(folder)

    def __call__(self, uris: list[str | None]) -> list[np.ndarray | None]:
        """The images as (height, width, 3) uint8 arrays."""
        return [None if uri is None else self._loaded(uri) for uri in uris]

    def _loaded(self, name: str) -> np.ndarray:
        with Image.open(self._folder / name) as picture:
            return np.asarray(picture.convert("RGB"))

"""Data loaders, which load the images (or other data) to which URIs point.

A loader takes URIs, which may be untrusted, and returns arrays, texts or None, or raises a
DataLoaderError. `images` has the loaders of images and texts, and limits the pixels that the
process decodes at once. `sources` reads files that don't leave a folder; `web` reads public
addresses before a deadline. `passages` defines the metadata of records that are passages of files.
`files` opens files for imports and exports, and creates new files. The package may import `base`
and `errors`.
"""

from typing import Any, Protocol


class DataLoader(Protocol):
    """Loads the data to which URIs point."""

    def __call__(self, uris: Any, /) -> Any:
        """A list with one item for each URI in a list, for example images as arrays."""

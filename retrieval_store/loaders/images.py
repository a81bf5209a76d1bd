"""Images by URI, with Pillow."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from retrieval_store.errors import DataLoaderError, InvalidArgumentError, MissingDependencyError
from retrieval_store.loaders.sources import Sources

# Not all that Pillow knows: EPS, for one, is handed to another program.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "ICO", "AVIF", "JPEG2000", "TGA")
Image = npt.NDArray[np.uint8]
OnError = Literal["raise", "skip"]
Item = TypeVar("Item")


class ImageLoader:
    """Loads images as (height, width, 3) uint8 arrays, upright, transparent parts on white; of an
    animation the first picture. None stays None.

    Local paths, `file:` and `data:` URIs; `schemes=("https",)` and so on for more (http and https;
    others by fsspec), and then only from public addresses unless `private_addresses`. root: a
    folder that local files must lie in. Limits for each: max_bytes, max_pixels, timeout in seconds.
    on_error: "raise" a DataLoaderError that names the uri, or "skip", which gives None instead.
    """

    def __init__(
        self,
        *,
        schemes: Sequence[str] = (),
        root: str | os.PathLike[str] | None = None,
        max_bytes: int = 50_000_000,
        max_pixels: int = 50_000_000,
        timeout: float = 10.0,
        private_addresses: bool = False,
        on_error: OnError = "raise",
        threads: int = 4,
    ) -> None:
        self._sources = sources_of(schemes, root, max_bytes, timeout, private_addresses, on_error)
        self._max_pixels = max_pixels
        self._on_error: OnError = on_error
        self._threads = max(1, threads)

    def __call__(self, uris: Sequence[str | None]) -> list[Image | None]:
        """The images, in the order of the uris."""
        return loaded_all(self._load, uris, self._on_error, self._threads)

    def _load(self, uri: str) -> Image:
        return decoded(self._sources.read(uri), self._max_pixels)


def sources_of(
    schemes: Sequence[str],
    root: str | os.PathLike[str] | None,
    max_bytes: int,
    timeout: float,
    private_addresses: bool,
    on_error: str,
) -> Sources:
    """Where a loader may read from, its arguments checked."""
    if isinstance(schemes, str):
        raise InvalidArgumentError(f"schemes is {schemes!r}, expected several, as ({schemes!r},)")
    if on_error not in ("raise", "skip"):
        raise InvalidArgumentError(f"on_error is {on_error!r}, expected 'raise' or 'skip'")
    allowed = tuple(scheme.lower() for scheme in schemes)
    folder = None if root is None else Path(root)
    return Sources(allowed, folder, max_bytes, timeout, private_addresses)


def loaded_all(
    load: Callable[[str], Item], uris: Sequence[str | None], on_error: str, threads: int
) -> list[Item | None]:
    """What `load` gives for each uri, None for None; an error names the uri, or gives None too."""

    def one(uri: str | None) -> Item | None:
        if uri is None:
            return None
        try:
            return load(uri)
        except DataLoaderError as error:
            if on_error == "skip":
                return None
            shown = uri if len(uri) <= 200 else f"{uri[:200]}…"
            raise DataLoaderError(f"{shown!r} can't be loaded: {error}") from error

    if threads == 1 or len(uris) < 2:
        return [one(uri) for uri in uris]
    with ThreadPoolExecutor(min(threads, len(uris))) as pool:
        return list(pool.map(one, uris))


def decoded(data: bytes, max_pixels: int) -> Image:
    """The picture in the bytes; DataLoaderError when there is none, or too large a one."""
    try:
        from PIL import Image as Pillow
        from PIL import ImageOps
    except ImportError as error:
        raise MissingDependencyError(
            'ImageLoader needs Pillow: pip install "retrieval-store[standard]"'
        ) from error
    try:
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:  # before anything is decompressed
                raise DataLoaderError(
                    f"it has {width} x {height} pixels, more than max_pixels, {max_pixels:,}"
                )
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            return np.array(_in_colour(upright))
    except DataLoaderError:
        raise
    except Exception as error:  # what decoders raise for broken files is of many kinds
        raise DataLoaderError(f"it is no image that can be read: {error}") from error


def _in_colour(picture: Any) -> Any:
    """8-bit RGB of any mode."""
    from PIL import Image as Pillow

    if picture.mode.startswith(("I", "F")):
        numbers = np.nan_to_num(np.asarray(picture, np.float64))
        # Pillow itself would cut them off at 255. Of 32 bits nothing tells what white is, but that
        # numbers fit into 1, 8 or 16 bits; the first of these that they fit into counts.
        most = 65_535.0
        if not picture.mode.startswith("I;16"):
            most = next((m for m in (1.0, 255.0, 65_535.0) if numbers.max() <= m), numbers.max())
        grey = Pillow.fromarray(np.clip(numbers * (255.0 / most), 0, 255).astype(np.uint8))
        clear = picture.info.get("transparency")
        if isinstance(clear, int):
            grey.putalpha(Pillow.fromarray(np.where(numbers == clear, 0, 255).astype(np.uint8)))
        picture = grey
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        white = Pillow.new("RGBA", seen.size, "white")
        return Pillow.alpha_composite(white, seen).convert("RGB")
    return picture.convert("RGB")

"""Loads images by their URIs, with Pillow, and texts by their URIs (`TextLoader`).

A `Quota` limits how many pixels all threads of the process decode at the same time.
"""

import io
import itertools
import math
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from retrieval_store.base.locks import Lock
from retrieval_store.base.platform import at_fork
from retrieval_store.base.system import cut_text, needing
from retrieval_store.base.validation import quote, seconds, whole_number
from retrieval_store.base.workers import WorkerPool
from retrieval_store.errors import (
    DataLoaderError,
    InvalidArgumentError,
    InvalidTypeError,
    RetrievalStoreError,
)
from retrieval_store.loaders.sources import Sources

T = TypeVar("T")
LOCKS = 32  # that a quota is divided into


class Quota:
    """A quota, for example of pixels that are being decoded. A caller waits until enough of the
    quota is free. The quota is divided into parts; each part is a lock, and a caller takes the
    locks of the parts that it needs. A counter would not be safe: an interrupt at the beginning of
    a `with` block could leave it too high."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._turns = itertools.count()
        self.forget_after_fork()

    def forget_after_fork(self) -> None:
        """In a forked child: release the parts that the parent's threads held."""
        self._locks = [Lock() for _ in range(LOCKS)]

    def spend(self, amount: int, work: Callable[[], T]) -> T:
        """The result of `work`, which is called while this amount of the quota is held. If the
        amount exceeds the quota, the whole quota is held."""
        return _holding(self._parts(amount), work)

    def _parts(self, amount: int) -> Sequence[Lock]:
        """The parts that together have this amount: a group of 1, 2, 4 or more adjacent parts.
        Successive calls use successive groups, and begin again after the last group."""
        needed = 1
        while needed < LOCKS and needed * self._total < amount * LOCKS:
            needed *= 2
        first = next(self._turns) * needed % LOCKS
        return self._locks[first : first + needed]


def _holding(locks: Sequence[Lock], work: Callable[[], T]) -> T:
    # Always from left to right, so that no two can wait for each other.
    if not locks:
        return work()
    with locks[0]:
        return _holding(locks[1:], work)


# Not all that Pillow knows: EPS, for one, is handed to another program.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "ICO", "AVIF", "JPEG2000", "TGA")
ICON, PNG = b"\0\0\1\0", b"\x89PNG\r\n\x1a\n"  # how such files begin
PIXELS_AT_ONCE = 1 << 18  # that are converted together
# Pixels that all threads of the process decode at once: by default the limit of one picture.
MAX_DECODED = 50_000_000
DECODING = Quota(MAX_DECODED)
at_fork(after_in_child=DECODING.forget_after_fork)
Pixels = npt.NDArray[np.uint8]
OnError = Literal["raise", "skip"]
PAGE_OF_PDF = re.compile(r"(.+\.pdf)#page=(\d{1,6})", re.IGNORECASE | re.DOTALL)
PAGE_PIXELS = 1_000  # of the longer side of a page


class ImageLoader:
    """Loads images as (height, width, 3) uint8 arrays, upright, with transparent parts on white.
    For an animation it loads the first picture, and for "scan.pdf#page=3" that page. None stays
    None."""

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
        draw: Callable[[bytes, int], bytes] | None = None,
    ) -> None:
        """Choose the URIs that may be loaded: local paths, `file:` and `data:` URIs, and the
        schemes in `schemes`. All loaders together decode at most 50 million pixels at the same
        time; further images wait.

        Args:
            schemes: further schemes to allow, such as `("https",)`; http and https are built in,
                and fsspec handles others.
            root: the folder that must contain local files; relative paths are looked up there
                first.
            max_bytes: the largest size of an image file.
            max_pixels: the largest number of pixels of an image. A page of a PDF is drawn with at
                most this number of pixels.
            timeout: the seconds for a whole request.
            private_addresses: whether web servers may have addresses of private networks.
            on_error: "raise" a DataLoaderError that names the uri, or "skip" it, so that the result
                has None instead; `add` leaves out a record whose uri is skipped.
            threads: how many images of a call are read at the same time.
            draw: draws a page of a PDF. It gets the bytes of the PDF and the page's number, from 1,
                and returns the bytes of a picture, or raises DataLoaderError. None draws it in this
                process.
        """
        self._sources = sources_of(schemes, root, max_bytes, timeout, private_addresses, on_error)
        self._draw_elsewhere = draw
        self._max_pixels = whole_number(max_pixels, "max_pixels", 1)
        self.on_error: OnError = on_error
        self._threads = whole_number(threads, "threads", 1)

    def __call__(self, uris: Sequence[str | None]) -> list[Pixels | None]:
        """The images, in the order of the uris."""
        return load_all(self._load, uris, self.on_error, self._threads)

    def _load(self, uri: str) -> Pixels:
        page = None if uri[:5].lower() == "data:" else PAGE_OF_PDF.fullmatch(uri)
        if page is not None:
            return self._draw(self._sources.read(page[1]), int(page[2]))
        return decode_image(self._sources.read(uri), self._max_pixels)

    def _draw(self, data: bytes, number: int) -> Pixels:
        if self._draw_elsewhere is not None:
            return decode_image(self._draw_elsewhere(data, number), self._max_pixels)
        # The library isn't thread-safe: drawing takes the whole quota, and so runs alone.
        return DECODING.spend(MAX_DECODED, partial(draw_page, data, number, self._max_pixels))


def draw_page(data: bytes, number: int, max_pixels: int) -> Pixels:
    """A page of a PDF as a picture. number: the number of the page, counted from 1. Raises
    DataLoaderError for a page that does not exist or cannot be drawn."""
    with needing("a page of a PDF", "pypdfium2", "retrieval-store-files"):
        import pypdfium2
    try:
        # Closed here, and not when Python happens to collect it, maybe beside another's.
        with closing(pypdfium2.PdfDocument(data)) as document:
            page = document[number - 1]
            width, height = page.get_size()
            drawn = page.render(scale=_scale_of(width, height, max_pixels))
            return np.array(drawn.to_pil().convert("RGB"))
    except Exception as error:  # a page may have no area, or be broken in ways of its own
        raise DataLoaderError(f"its page {number} can't be drawn: {error}") from error


def _scale_of(width: float, height: float, max_pixels: int) -> float:
    """The factor by which a page is scaled. The picture then has the default size, and at most
    `max_pixels` pixels."""
    scale = min(PAGE_PIXELS / max(width, height), math.sqrt(max_pixels / (width * height)))
    while math.ceil(width * scale) * math.ceil(height * scale) > max_pixels:  # the size as drawn
        scale *= 0.99
    return scale


def sources_of(
    schemes: Sequence[str],
    root: str | os.PathLike[str] | None,
    max_bytes: int,
    timeout: float,
    private_addresses: bool,
    on_error: str,
) -> Sources:
    """The sources from which a loader is allowed to read, from the loader's arguments. Raises
    InvalidArgumentError for an invalid argument."""
    if isinstance(schemes, str):
        raise InvalidArgumentError(f"schemes is {schemes!r}, expected several, as ({schemes!r},)")
    if on_error not in ("raise", "skip"):
        raise InvalidArgumentError(f"on_error is {on_error!r}, expected 'raise' or 'skip'")
    schemes = tuple(schemes) if isinstance(schemes, Iterable) else schemes
    if not (isinstance(schemes, tuple) and all(isinstance(scheme, str) for scheme in schemes)):
        raise InvalidTypeError(f"schemes is {quote(schemes)}, expected several strings")
    if not isinstance(root, str | os.PathLike | None):
        raise InvalidTypeError(f"root is {quote(root)}, expected the path of a folder")
    allowed = tuple(scheme.lower() for scheme in schemes)
    folder = None if root is None else Path(root)
    if type(private_addresses) is not bool:
        raise InvalidTypeError(f"private_addresses is {quote(private_addresses)}, expected a bool")
    most, patience = whole_number(max_bytes, "max_bytes", 1), seconds(timeout, "timeout")
    return Sources(allowed, folder, most, patience, private_addresses)


def load_all(
    load: Callable[[str], T], uris: Sequence[str | None], on_error: str, threads: int
) -> list[T | None]:
    """The result of `load` for each URI, and None where the URI is None. The message of an error
    names the URI. With `on_error="skip"`, the result is None instead of an error."""

    def load_or_skip(uri: str | None) -> T | None:
        if uri is None:
            return None
        try:
            return load(uri)
        except DataLoaderError as error:
            if on_error == "skip":
                return None
            raise DataLoaderError(f"{cut_text(uri, 200)!r} can't be loaded: {error}") from error

    if threads == 1 or len(uris) < 2:
        return [load_or_skip(uri) for uri in uris]
    with WorkerPool(min(threads, len(uris))) as pool:
        return list(pool.map(load_or_skip, uris))


def decode_image(data: bytes, max_pixels: int) -> Pixels:
    """The picture in image data. Raises DataLoaderError for data that is no image, and for a
    picture that is too large."""
    try:
        pixels = _pixel_count(data, max_pixels)
        return DECODING.spend(pixels, partial(_array, data))
    except RetrievalStoreError:
        raise
    except Exception as error:  # what decoders raise for broken files is of many kinds
        raise DataLoaderError(f"it is no image that can be read: {error}") from error


def _pixel_count(data: bytes, max_pixels: int) -> int:
    """An upper bound of the number of pixels to decode, according to the header of the file."""
    most = 0
    for width, height in _sizes(data):
        if width * height > max_pixels:  # before anything is decompressed
            raise DataLoaderError(
                f"it has {width} x {height} pixels, more than max_pixels, {max_pixels:,}"
            )
        most = max(most, width * height)
    return most


def _sizes(data: bytes) -> list[tuple[int, int]]:
    """The width and height of the picture, and the widths and heights of all pictures that must be
    decoded for it."""
    if data.startswith(ICON):  # which Pillow decodes when it opens it
        return list(_sizes_in_icon(data))
    with _open_image(data) as picture:
        tags = getattr(picture, "tag_v2", {})  # of TIFF, whose tiles may be larger than the whole
        return [picture.size, (int(tags.get(322, 0)), int(tags.get(323, 0)))]


def _sizes_in_icon(data: bytes) -> Iterator[tuple[int, int]]:
    """The sizes of the pictures in an icon file, from their own headers, since the file's header
    has only one byte for each size."""
    (count,) = struct.unpack_from("<H", data, 4)
    for i in range(count):
        (start,) = struct.unpack_from("<I", data, 6 + 16 * i + 12)
        if data.startswith(PNG, start):
            yield struct.unpack_from(">II", data, start + 16)
        else:
            width, height = struct.unpack_from("<ii", data, start + 4)
            yield abs(width), abs(height)


def _open_image(data: bytes) -> Any:
    with needing("ImageLoader", "Pillow", "[standard]"):
        from PIL import Image
    # An icon as nothing else: what fails as one, Pillow would try as TGA, of another size.
    formats = ("ICO",) if data.startswith(ICON) else FORMATS
    return Image.open(io.BytesIO(data), formats=formats)


def _array(data: bytes) -> Pixels:
    from PIL import ImageOps

    with _open_image(data) as picture:
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        white = _white(picture) if picture.mode.startswith(("I", "F")) else 0.0
        pixels = np.empty((picture.height, picture.width, 3), np.uint8)
        for left, top, right, bottom in _boxes(picture.width, picture.height):
            part = _in_colour(picture.crop((left, top, right, bottom)), white)
            pixels[top:bottom, left:right] = np.asarray(part)
        return pixels


def _boxes(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """The boxes into which a picture is divided. They are converted one by one, so that copies need
    little memory."""
    wide = min(width, PIXELS_AT_ONCE)
    high = PIXELS_AT_ONCE // wide
    for top in range(0, height, high):
        for left in range(0, width, wide):
            yield left, top, min(left + wide, width), min(top + high, height)


def _numbers(picture: Any) -> npt.NDArray[np.float64]:
    return np.nan_to_num(np.asarray(picture, np.float64))


def _white(picture: Any) -> float:
    """The number that means white in this picture. Pictures with 32 bits do not declare that
    number. For them it is 1, 255 or 65,535: the first of these that no pixel exceeds."""
    if picture.mode.startswith("I;16"):
        return 65_535.0
    boxes = _boxes(picture.width, picture.height)
    most = max(float(_numbers(picture.crop(box)).max()) for box in boxes)
    return next((m for m in (1.0, 255.0, 65_535.0) if most <= m), most)


def _in_colour(picture: Any, white: float) -> Any:
    """A picture of any mode as 8-bit RGB."""
    from PIL import Image

    if picture.mode.startswith(("I", "F")):  # Pillow itself would cut them off at 255
        numbers = _numbers(picture)
        grey = Image.fromarray(np.clip(numbers * (255.0 / white), 0, 255).astype(np.uint8))
        clear = picture.info.get("transparency")
        if isinstance(clear, int):
            grey.putalpha(Image.fromarray(np.where(numbers == clear, 0, 255).astype(np.uint8)))
        picture = grey
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        paper = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(paper, seen).convert("RGB")
    return picture.convert("RGB")


class TextLoader:
    """Loads texts. None stays None."""

    def __init__(
        self,
        *,
        encoding: str = "utf-8",
        schemes: Sequence[str] = (),
        root: str | os.PathLike[str] | None = None,
        max_bytes: int = 10_000_000,
        timeout: float = 10.0,
        private_addresses: bool = False,
        on_error: OnError = "raise",
        threads: int = 4,
    ) -> None:
        """Choose the URIs that may be loaded; see `ImageLoader`.

        Args:
            encoding: the encoding of the texts.
            schemes: as of `ImageLoader`.
            root: as of `ImageLoader`.
            max_bytes: the largest size of a text.
            timeout: as of `ImageLoader`.
            private_addresses: as of `ImageLoader`.
            on_error: as of `ImageLoader`.
            threads: how many texts of a call are read at the same time.
        """
        self._sources = sources_of(schemes, root, max_bytes, timeout, private_addresses, on_error)
        try:
            "".encode(encoding)
        except (LookupError, TypeError, ValueError):
            raise InvalidArgumentError(
                f"encoding is {quote(encoding)}, expected the name of one that Python knows for "
                "texts, such as 'utf-8'"
            ) from None
        self._encoding, self.on_error = encoding, on_error
        self._threads = whole_number(threads, "threads", 1)

    def __call__(self, uris: Sequence[str | None]) -> list[str | None]:
        """The texts, in the order of the uris."""
        return load_all(self._load, uris, self.on_error, self._threads)

    def _load(self, uri: str) -> str:
        try:
            return self._sources.read(uri).decode(self._encoding)
        except UnicodeError as error:
            raise DataLoaderError(f"it isn't a text in {self._encoding}: {error}") from error

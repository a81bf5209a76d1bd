"""Renders HTML tables for notebooks. Stored data may be hostile, so all of it is escaped, and
images are re-encoded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from retrieval_store.base.system import cut_text, printable
from retrieval_store.base.validation import shorten

ROWS, CHARACTERS = 20, 200  # rows of a table, and characters of a cell's text
THUMBNAIL = 96  # pixels


def table_of(
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    title: str = "",
    total: int | None = None,
    most: int = ROWS,
) -> str:
    """An HTML table of the first `most` rows. names: the names of the columns. total: the number of
    all rows, by default that of `rows`; the table says how many rows it leaves out."""
    left = (len(rows) if total is None else total) - min(len(rows), most)
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in rows[:most])
    more = f"<p>and {left} more</p>" if left else ""
    above = f"<p><b>{_text(title)}</b></p>" if title else ""
    return f"{above}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cells(row: Iterable[Any]) -> str:
    return "".join(f"<td>{_cell(value)}</td>" for value in row)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, np.ndarray):
        return _thumbnail(value) or _text(shape_of(value))
    if isinstance(value, float):
        return f"{value + 0.0:.4g}"  # adding 0.0 converts -0 to 0
    text = _as_json(value) if isinstance(value, Mapping | list) else str(value)
    return _text(cut_text(text, CHARACTERS))


def _text(text: str) -> str:
    from html import escape  # imported here because showing a text as a line doesn't need it

    return escape(printable(text).encode(errors="replace").decode())


def _as_json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a loader may return anything
        return shorten(value)


def shape_of(value: Any) -> str:
    """The type and shape of an array, as text. The text is empty for None."""
    return "" if value is None else f"{np.asarray(value).dtype}{list(np.shape(value))}"


def _thumbnail(pixels: Any) -> str | None:
    """An image as a small PNG in a data URI. None if the pixels aren't an image, or if Pillow isn't
    installed."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        return None
    try:
        from PIL import Image

        image = Image.fromarray(pixels)
    except (ImportError, TypeError, ValueError):
        return None
    import base64
    import io

    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.convert("RGB").save(file, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'

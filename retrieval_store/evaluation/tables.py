"""Tables of plain text, as `print` shows results."""

from collections.abc import Sequence
from typing import Any

from retrieval_store.base.html import printable

LONGEST = 60  # characters of a cell


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows under the names of their columns, numbers to the right."""
    cells = [list(map(_cell, columns)), *([_cell(one) for one in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        for i in range(len(columns))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in cells
    )


def between(low: float, high: float) -> str:
    """An interval."""
    return f"{low:.3f} … {high:.3f}"


def signed(difference: float) -> str:
    """A difference, with its sign; + where it is 0 but for rounding."""
    return f"{round(difference, 3) + 0.0:+.3f}"  # which makes 0 of -0


def in_percent(share: float) -> str:
    """A share of 1, as it is spoken of."""
    return f"{100 * share:g} %"


def counted(number: int, what: str) -> str:
    """So many of something, in words."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def some_of(ids: Sequence[str], most: int = 3) -> str:
    """The first of some ids, and how many more there are."""
    more = f" and {len(ids) - most:,} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


def _cell(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else printable(str(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
